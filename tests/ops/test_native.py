"""The native kernels: every instruction set, awkward sizes, strides, threads, and what they refuse."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import torch
from instruction_sets import INSTRUCTION_SETS, pinned, restored
from recurrence_cases import (
    LENGTHS,
    TORCH_KINDS,
    Case,
    assert_as_exact_as_torch,
    make_case,
    run_ours,
    run_rows_alone,
)
from torch import Tensor

from unrolled import ops
from unrolled.ops import Weights, native

pytestmark = pytest.mark.skipif(
    native.kernels is None, reason=f"native kernels: {native.missing_because}"
)
# T, B, D, H: full and partial tiles; one vector and many; one row; more steps than in a chunk.
SIZES = [
    (7, 5, 29, 37),
    (1, 1, 1, 1),
    (13, 17, 5, 67),
    (61, 11, 19, 16),
    (3, 41, 131, 130),
    (5, 2, 7, 97),
]


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """New memory contains NaN, so reading it before writing shows."""
    native.kernels.poison_workspaces(True)
    torch.use_deterministic_algorithms(True)  # fills torch.empty with NaN
    yield
    torch.use_deterministic_algorithms(False)
    native.kernels.poison_workspaces(False)


def lengths_for(n_rows: int, n_steps: int) -> list[int]:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, n_steps + 1, (n_rows,), generator=generator).tolist()


def assert_exact_on_every_instruction_set(cases: Iterable[Case]) -> None:
    """As exact as torch; its results, and those in float64, are computed once for all of them."""
    others = []
    for case in cases:
        with ops.using("reference"):
            others.append((case, run_rows_alone(case), run_ours(case.to(torch.float64))))
    with restored(), ops.using("native"):
        for name in pinned():
            runs = [(run_ours(case), theirs, exact) for case, theirs, exact in others]
            assert_as_exact_as_torch(runs, name)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_as_exact_as_torch_on_every_instruction_set(
    kind: ops.Kind, size: tuple[int, ...], ragged: bool, reverse: bool
) -> None:
    n_steps, n_rows, input_size, hidden_size = size
    lengths = lengths_for(n_rows, n_steps) if ragged else [n_steps] * n_rows
    assert_exact_on_every_instruction_set(
        make_case(
            kind,
            lengths,
            n_steps=n_steps,
            input_size=input_size,
            hidden_size=hidden_size,
            reverse=reverse,
            dtype=torch.float32,
            seed=seed,
            # Larger weights make wide layers chaotic: results with different rounding diverge.
            weight_scale=hidden_size**-0.5,
        )
        for seed in range(3)
    )


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_without_biases(kind: ops.Kind, lengths: list[int] | None) -> None:
    assert_exact_on_every_instruction_set(
        make_case(kind, lengths, bias=False, dtype=torch.float32, seed=seed) for seed in range(3)
    )


@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("n_threads", [1, 2, 3, 5])
@pytest.mark.parametrize("n_rows", [1, 3, 23])
def test_threads_change_only_the_rounding(kind: ops.Kind, n_threads: int, n_rows: int) -> None:
    # Enough steps for several chunks: threads that run ahead must not overwrite what others still read.
    case = make_case(
        kind, lengths_for(n_rows, 61), n_steps=61, input_size=31, hidden_size=110,
        dtype=torch.float32, weight_scale=110**-0.5,
    )  # fmt: skip
    before = torch.get_num_threads()
    with ops.using("native"):
        try:
            torch.set_num_threads(1)
            alone = run_ours(case)
            torch.set_num_threads(n_threads)
            for _ in range(5):
                together = run_ours(case)
                with torch.inference_mode():
                    y, _ = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
                torch.testing.assert_close(y, alone["y"], atol=1e-5, rtol=1e-5)
                for name, part in alone.items():
                    scale = float(part.abs().max()) if part.numel() else 1.0
                    torch.testing.assert_close(together[name], part, atol=1e-5 * scale, rtol=1e-5)
        finally:
            torch.set_num_threads(before)


def strided(kind: str, x: Tensor) -> Tensor:
    n_steps, n_rows, width = x.shape
    if kind == "batch first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if kind == "part of a wider tensor":
        return torch.cat([x, x + 1, x], 2)[:, :, width : 2 * width] - 1
    if kind == "every second step":
        return torch.stack([x, x * 9], 1).flatten(0, 1)[::2]
    if kind == "columns apart":
        return torch.stack([x, x * 9], 3).flatten(2)[:, :, ::2]
    assert kind == "one row for all"
    return x[:, :1].expand(n_steps, n_rows, width)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(
    "layout",
    [
        "batch first",
        "part of a wider tensor",
        "every second step",
        "columns apart",
        "one row for all",
    ],
)
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_any_strides_give_the_same(kind: ops.Kind, layout: str, reverse: bool) -> None:
    case = make_case(kind, LENGTHS["ragged"], reverse=reverse, dtype=torch.float32)
    x = strided(layout, case.x)
    with ops.using("native"):
        there = run_ours(replace(case, x=x))
        plain = run_ours(replace(case, x=x.detach().contiguous().requires_grad_()))
    for name, part in plain.items():
        torch.testing.assert_close(there[name], part, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_gradients_may_come_in_any_layout(kind: ops.Kind) -> None:
    case = make_case(kind, LENGTHS["ragged"], dtype=torch.float32)
    leaves = [case.x, *case.state, *case.weights.tensors]
    with ops.using("native"):
        y, ends = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
    for loss in (y.sum(), y.transpose(0, 2).contiguous().sum(), ends[0].sum() + y.mean(1).sum()):
        ours = torch.autograd.grad(loss, leaves, retain_graph=True)
        assert all(torch.isfinite(g).all() for g in ours)
    given = torch.randn(11, 5, 7).transpose(0, 2)
    apart = torch.autograd.grad(y, leaves, given, retain_graph=True)
    plain = torch.autograd.grad(y, leaves, given.contiguous())
    for a, b in zip(apart, plain, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("lengths", ["no lengths", "ragged", "all empty"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_both_directions_at_once_equal_separate_runs(kind: ops.Kind, lengths: str) -> None:
    there = make_case(kind, LENGTHS[lengths], dtype=torch.float32)
    back = make_case(kind, LENGTHS[lengths], dtype=torch.float32, seed=4)
    leaves = [
        there.x, *there.state, *back.state, *there.weights.tensors, *back.weights.tensors
    ]  # fmt: skip
    results = []
    for together in (True, False):
        if together:
            y, ends = ops.unroll_both(
                kind,
                there.x,
                there.lengths,
                (there.state, back.state),
                (there.weights, back.weights),
            )
        else:
            runs = [
                ops.unroll(kind, there.x, there.lengths, case.state, case.weights, reverse)
                for case, reverse in ((there, False), (back, True))
            ]
            y, ends = torch.cat([run[0] for run in runs], 2), tuple(run[1] for run in runs)
        values = [y, *ends[0], *ends[1]]
        factors = torch.linspace(-1, 1, y.numel()).view_as(y)
        loss = (y * factors).sum() + sum(part.square().sum() for part in values[1:])
        results.append([*values, *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_only_requested_gradients_are_computed(kind: ops.Kind) -> None:
    case = make_case(kind, LENGTHS["ragged"], dtype=torch.float32)
    leaves = {"x": case.x} | dict(zip("hc", case.state, strict=False))
    leaves |= dict(zip(("w_ih", "w_hh", "b_ih", "b_hh"), case.weights.tensors, strict=True))
    with ops.using("native"):
        results = run_ours(case)
        whole = {
            name: results[f"grad {name}_0" if name in "hc" else f"grad {name}"] for name in leaves
        }
        for wanted, leaf in leaves.items():
            for name, other in leaves.items():
                other.requires_grad_(name == wanted)
            y, ends = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
            generator = torch.Generator().manual_seed(2)
            loss = sum(
                (
                    part * torch.randn(part.shape, generator=generator, dtype=torch.float64).float()
                ).sum()
                for part in (y, *ends)
            )
            (gradient,) = torch.autograd.grad(loss, [leaf])
            torch.testing.assert_close(gradient, whole[wanted], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("lengths", ["no lengths", "ragged", "all empty"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_second_derivatives_are_those_of_the_reference(kind: ops.Kind, lengths: str) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=torch.float32)
    leaves = list(case.leaves.values())
    found = []
    for name in ("native", "reference"):
        with ops.using(name):
            y, ends = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
        loss = y.square().sum() + sum(part.square().sum() for part in ends)
        first = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        total = sum(g.square().sum() for g in first if g is not None and g.requires_grad)
        found.append(torch.autograd.grad(total, leaves, allow_unused=True))
    for a, b in zip(*found, strict=True):
        if b is None:
            assert a is None or not a.any()
        else:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_saved_tensors_may_come_back_in_any_layout() -> None:
    case = make_case("lstm", LENGTHS["ragged"], dtype=torch.float32)
    leaves = list(case.leaves.values())

    def swapped(tensor: Tensor) -> Tensor:
        return tensor.clone().movedim(0, -1).contiguous().movedim(-1, 0)

    found = []
    with ops.using("native"):
        for unpack in (Tensor.clone, swapped):
            with torch.autograd.graph.saved_tensors_hooks(Tensor.clone, unpack):
                y, _ = ops.unroll("lstm", case.x, case.lengths, case.state, case.weights)
            found.append(torch.autograd.grad(y.square().sum(), leaves))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_python_threads_do_not_disturb_each_other() -> None:
    cases = [
        make_case(kind, LENGTHS["ragged"], hidden_size=90, dtype=torch.float32, seed=seed)
        for seed, kind in enumerate(TORCH_KINDS)
    ]
    with ops.using("native"):
        alone = [run_ours(case) for case in cases]
    wrong: list[str] = []

    def work(case: Case, expected: dict[str, Tensor]) -> None:
        with ops.using("native"):
            for _ in range(20):
                for name, part in run_ours(case).items():
                    if not torch.allclose(part, expected[name], atol=1e-5):
                        wrong.append(f"{case.kind} {name}")

    threads = [threading.Thread(target=work, args=pair) for pair in zip(cases, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _forward_sum(case: Case, queue: multiprocessing.Queue) -> None:
    y, _ = ops.unroll(case.kind, case.x, case.lengths, case.state, case.weights)
    queue.put(float(y.sum()))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_runs() -> None:
    case = make_case("lstm", n_steps=9, hidden_size=150, dtype=torch.float32)
    with torch.no_grad():
        y, _ = ops.unroll(case.kind, case.x, case.lengths, case.state, case.weights)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_forward_sum, args=(case, queue))
        child.start()
        assert queue.get(timeout=60) == pytest.approx(float(y.sum()), rel=1e-5)
        child.join()


def test_memory_does_not_grow() -> None:
    pytest.importorskip("resource")
    # A separate process: in this one, the peak of an earlier test would hide any growth.
    code = """
import resource, torch
from unrolled import ops
weights = ops.Weights(*(torch.randn(*n, requires_grad=True) for n in ((44, 3), (44, 11), (44,), (44,))))
x, lengths = torch.randn(7, 5, 3, requires_grad=True), torch.tensor([7, 3, 5, 0, 1])
def calls(n):
    for _ in range(n):
        y, _ = ops.unroll("lstm", x, lengths, None, weights)
        torch.autograd.grad(y.sum(), [x, *weights.tensors])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = calls(500)
print(calls(10_000) - before)
"""
    result = run_python(code)
    assert int(result.stdout) < 2_000 * (1024 if sys.platform == "darwin" else 1), result.stderr


@pytest.mark.parametrize(
    ("x", "kind", "reason"),
    [
        (torch.zeros(7, 5, 3, dtype=torch.float64), "gru",
         "the kernels are float32, but this is float64"),
        (torch.zeros(7, 5, 3, device="meta"), "gru",
         "the kernels run on the CPU, but this is on meta"),
        (torch.zeros(7, 5, 3), "rnn_sigmoid", "there is no kernel for rnn_sigmoid"),
        (torch.zeros(7, 5, 0), "gru", "the kernels need inputs of width at least 1"),
        (torch._neg_view(torch.zeros(7, 5, 3)), "gru",
         "the kernels read memory, but this is a negated view of it"),
        (torch._efficientzerotensor((7, 5, 3)), "gru",
         "the kernels read memory, but this tensor has none"),
        (torch.zeros(7, 5, 3).to_mkldnn(), "gru",
         "the kernels read dense tensors, but this is torch._mkldnn"),
    ],
)  # fmt: skip
def test_why_not_gives_the_reason(x: Tensor, kind: ops.Kind, reason: str) -> None:
    assert native.why_not(kind, x) == reason


def test_why_not_reports_autocast_and_transforms() -> None:
    x = torch.zeros(7, 5, 3)
    with torch.autocast("cpu", dtype=torch.float16):
        assert native.why_not("gru", x) == (
            "autocast asks for float16, but the kernels are bfloat16"
        )
    reasons = []

    def seen(x: Tensor) -> Tensor:
        reasons.append(native.why_not("gru", x))
        return x.sum()

    torch.func.grad(seen)(x)
    assert reasons == ["torch.func transforms do not support the kernels"]


def test_projections_are_refused() -> None:
    weights = Weights(torch.zeros(4 * 7, 3), torch.zeros(4 * 7, 5))
    reason = native.why_not("lstm", torch.zeros(7, 5, 3), weights=weights)
    assert reason == "the kernels do not support projections"


def test_without_the_kernels_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "kernels", None)
    monkeypatch.setattr(native, "missing_because", "the kernels are not installed (no file)")
    explanation = ops.explain("gru", torch.zeros(7, 5, 3))
    assert explanation.chosen == "torch_native"
    assert explanation.reasons["native"] == "the kernels are not installed (no file)"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_environment_pins_an_instruction_set() -> None:
    code = "from unrolled.kernels import kernels; print(kernels.instruction_set())"
    for name in INSTRUCTION_SETS:
        assert run_python(code, UNROLLED_INSTRUCTION_SET=name).stdout == f"{name}\n"


def test_the_kernels_can_be_left_out() -> None:
    code = "from unrolled.kernels import kernels, missing_because; print(kernels, missing_because)"
    told = run_python(code, UNROLLED_INSTRUCTION_SET="none").stdout
    assert told == "None UNROLLED_INSTRUCTION_SET is 'none'; unset it to use them\n"


def test_an_unknown_instruction_set_is_refused_by_name() -> None:
    result = run_python("import unrolled.kernels", UNROLLED_INSTRUCTION_SET="mmx")
    listed = ", ".join(native.kernels.instruction_sets())
    assert (
        f"UNROLLED_INSTRUCTION_SET: no instruction set 'mmx' here; there are {listed}, none"
        in result.stderr
    )
