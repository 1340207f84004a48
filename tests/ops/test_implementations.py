"""Every implementation compared with `torch.nn`: outputs, final states and each gradient by name."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import product

import pytest
import torch
from recurrence_cases import (
    LENGTHS,
    TORCH_KINDS,
    Case,
    assert_as_exact_as_torch,
    collect,
    make_case,
    relative_error,
    run_ours,
    run_rows_alone,
    torch_module,
)
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import ops
from unrolled.ops import bfloat16


def installed(name: str, *more: str) -> object:
    """A test parameter, skipped for the kernels if they are not installed."""
    is_missing = name == "native" and ops.native.kernels is None
    return pytest.param(name, *more, marks=pytest.mark.skipif(is_missing, reason="not installed"))


IMPLEMENTATIONS = [installed(name) for name in ops.IMPLEMENTATIONS]
# The native kernels are float32, and are also compared with float64 in test_native.py.
DOUBLE = [name for name in ops.IMPLEMENTATIONS if name != "native"]
FAST = [installed(name) for name in ops.IMPLEMENTATIONS if name != "reference"]


def precision(implementation: str) -> torch.dtype:
    """The widest type that an implementation supports."""
    return torch.float32 if implementation == "native" else torch.float64


def rounding(implementation: str) -> float:
    """The possible difference between two orders of summation, for values of about 1."""
    return 1e-6 if precision(implementation) is torch.float32 else 1e-12


def assert_same(given: dict[str, Tensor], exact: dict[str, Tensor], tolerance: float) -> None:
    assert given.keys() == exact.keys()
    for name, part in exact.items():
        assert given[name].shape == part.shape, name
        torch.testing.assert_close(
            given[name], part, atol=tolerance, rtol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", DOUBLE)
def test_equals_torch_on_each_row_alone(
    implementation: str, kind: ops.Kind, lengths: list[int] | None, reverse: bool
) -> None:
    case = make_case(kind, lengths, reverse=reverse)
    with ops.using(implementation):
        assert_same(run_ours(case), run_rows_alone(case), 1e-10)


@pytest.mark.parametrize("lengths", [None, [1, 0, 1, 1, 0]], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", DOUBLE)
def test_one_step_without_biases_equals_torch(
    implementation: str, kind: ops.Kind, lengths: list[int] | None
) -> None:
    case = make_case(kind, lengths, n_steps=1, bias=False)
    with ops.using(implementation):
        assert_same(run_ours(case), run_rows_alone(case), 1e-10)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", TORCH_KINDS)
# The reference is the definition, tested in float64 above; the fast ones are tested in float32 here.
@pytest.mark.parametrize("implementation", FAST)
def test_float32_is_as_exact_as_torch(
    implementation: str, kind: ops.Kind, lengths: list[int] | None
) -> None:
    runs = []
    for seed in range(3):
        # Weights that preserve the size of a signal: with larger ones, the recurrence is chaotic.
        case = make_case(
            kind, lengths, input_size=29, hidden_size=37, dtype=torch.float32, seed=seed,
            weight_scale=37**-0.5,
        )  # fmt: skip
        with ops.using("reference"):
            exact = run_ours(case.to(torch.float64))
        with ops.using(implementation):
            runs.append((run_ours(case), _run_torch_packed(case), exact))
    assert_as_exact_as_torch(runs)


def _run_torch_packed(case: Case) -> dict[str, Tensor]:
    """`torch.nn` over packed rows, without empty ones, as its users do it."""
    module = torch_module(case)
    n_steps, n_rows, _ = case.x.shape
    lengths = torch.full((n_rows,), n_steps) if case.lengths is None else case.lengths
    rows = lengths.nonzero().squeeze(1)
    y = case.x.new_zeros(n_steps, n_rows, case.weights.hidden_size)
    if len(rows) == 0:
        return collect(case, y + 0 * case.x.sum(), case.state)
    packed = pack_padded_sequence(case.x[:, rows], lengths[rows], enforce_sorted=False)
    start = tuple(part[rows].unsqueeze(0) for part in case.state)
    named = dict(zip(dict(module.named_parameters()), case.weights.tensors, strict=True))
    out, end = torch.func.functional_call(
        module, named, (packed, start if case.kind == "lstm" else start[0])
    )
    real, _ = pad_packed_sequence(out, total_length=n_steps)
    ends = end if case.kind == "lstm" else (end,)
    state = tuple(
        part.index_copy(0, rows, e.squeeze(0)) for part, e in zip(case.state, ends, strict=True)
    )
    return collect(case, y.index_copy(1, rows, real), state)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", ["ragged", "mostly padding", "all shorter", "all empty"])
@pytest.mark.parametrize(
    ("implementation", "kind"),
    [
        *(installed(*pair) for pair in product(ops.IMPLEMENTATIONS, TORCH_KINDS)),
        ("reference", "rnn_sigmoid"),
    ],
)
def test_padding_cannot_be_seen(
    implementation: str, kind: ops.Kind, lengths: str, reverse: bool
) -> None:
    case = make_case(kind, LENGTHS[lengths], reverse=reverse, dtype=torch.float32)
    padding = torch.arange(7).unsqueeze(1) >= case.lengths
    with ops.using(implementation):
        clean = run_ours(case.with_padding(0.0))
        for value in (float("nan"), float("inf")):
            dirty = run_ours(case.with_padding(value))
            for name, part in clean.items():
                assert torch.equal(part, dirty[name]), (value, name)
            assert not dirty["grad x"][padding].any()
            assert not dirty["y"][padding].any()


@pytest.mark.parametrize("lengths", ["ragged", "mostly padding"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_row_cannot_see_another(implementation: str, kind: ops.Kind, lengths: str) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=precision(implementation))
    spoilt = case.x.detach().clone()
    spoilt[:, 1:] = float("nan")
    with ops.using(implementation):
        y, state = ops.unroll(case.kind, case.x, case.lengths, case.state, case.weights)
        y_spoilt, state_spoilt = ops.unroll(
            case.kind, spoilt, case.lengths, case.state, case.weights
        )
    assert torch.equal(y[:, 0], y_spoilt[:, 0])
    for part, part_spoilt in zip(state, state_spoilt, strict=True):
        assert torch.equal(part[0], part_spoilt[0])


@pytest.mark.parametrize("lengths", ["no lengths", "ragged", "mostly padding"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_graph_can_be_walked_twice(implementation: str, kind: ops.Kind, lengths: str) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=torch.float32)
    with ops.using(implementation):
        y, _ = ops.unroll(case.kind, case.x, case.lengths, case.state, case.weights)
    leaves = [case.x, *case.weights.tensors]
    first = torch.autograd.grad(y.square().sum(), leaves, retain_graph=True)
    second = torch.autograd.grad(y.square().sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("lengths", ["no lengths", "ragged", "mostly padding"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_without_gradients_the_values_are_the_same(
    implementation: str, kind: ops.Kind, lengths: str
) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=precision(implementation))
    with ops.using(implementation):
        y, state = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
        with torch.inference_mode():
            y_still, state_still = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
    tolerance = rounding(implementation)
    torch.testing.assert_close(y_still, y.detach(), atol=tolerance, rtol=0)
    for part, still in zip(state, state_still, strict=True):
        torch.testing.assert_close(still, part.detach(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_absent_state_is_zeros(implementation: str, kind: ops.Kind) -> None:
    case = make_case(kind, LENGTHS["ragged"], dtype=precision(implementation))
    zeros = ops.initial_state(kind, case.x, case.weights.hidden_size)
    with ops.using(implementation):
        y, _ = ops.unroll(kind, case.x, case.lengths, None, case.weights)
        y_zeros, _ = ops.unroll(kind, case.x, case.lengths, zeros, case.weights)
    assert torch.equal(y, y_zeros)


@pytest.mark.parametrize(("n_steps", "n_rows"), [(0, 5), (7, 0), (0, 0)])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_empty_input_returns_the_initial_state(
    implementation: str, kind: ops.Kind, n_steps: int, n_rows: int
) -> None:
    case = make_case(kind, [0] * n_rows, n_steps=n_steps, dtype=precision(implementation))
    for lengths in (None, case.lengths):
        with ops.using(implementation):
            y, state = ops.unroll(kind, case.x, lengths, case.state, case.weights)
        assert y.shape == (n_steps, n_rows, 11)
        assert all(torch.equal(a, b) for a, b in zip(state, case.state, strict=True))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_reverse_outputs_align_with_inputs(implementation: str) -> None:
    """A row of one step must give the same result in both directions, at the same position."""
    case = make_case("gru", [1, 1, 7, 1, 1], dtype=precision(implementation))
    with ops.using(implementation):
        forward = run_ours(case)
        reverse = run_ours(replace(case, reverse=True))
    torch.testing.assert_close(forward["y"][0, [0, 1, 3, 4]], reverse["y"][0, [0, 1, 3, 4]])
    assert not torch.allclose(forward["y"][:, 2], reverse["y"][:, 2])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_strides_do_not_matter(implementation: str, kind: ops.Kind, transposed: bool) -> None:
    case = make_case(kind, LENGTHS["ragged"], dtype=precision(implementation))
    x = case.x.detach().transpose(0, 1).contiguous().transpose(0, 1) if transposed else None
    if x is None:
        x = torch.stack([case.x.detach(), case.x.detach()], dim=3)[..., 0]
    assert not x.is_contiguous()
    with ops.using(implementation):
        assert_same(
            run_ours(replace(case, x=x.requires_grad_())), run_ours(case), rounding(implementation)
        )


@pytest.mark.parametrize("lengths", ["no lengths", "ragged", "mostly padding"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_autocast_runs_and_stays_close(kind: ops.Kind, lengths: str) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=torch.float32)
    exact, bound = run_ours(case), 0.1
    with torch.autocast("cpu", torch.bfloat16):
        chosen = ops.explain(kind, case.x, weights=case.weights).chosen
        y, state = ops.unroll(kind, case.x, case.lengths, case.state, case.weights)
    if chosen == "native":
        # Their definition is closer still; at the kink of a ReLU, it is far from float32 itself.
        given = (kind, case.x, case.lengths, case.state, case.weights)
        defined, ends = bfloat16.unroll(*given)
        exact, bound = collect(case, defined.float(), ends), 0.01
    close = collect(case, y.float(), tuple(part.float() for part in state))
    for name, part in exact.items():
        assert relative_error(close[name], part) < bound, name


@pytest.mark.parametrize("name", ["unroll", "why_not"])
def test_implementations_have_the_signature_of_the_reference(name: str) -> None:
    expected = inspect.signature(getattr(ops.IMPLEMENTATIONS["reference"], name))
    assert [*expected.parameters] == ["kind", "x", "lengths", "state", "weights", "reverse"]
    for module in ops.IMPLEMENTATIONS.values():
        assert inspect.signature(getattr(module, name)) == expected, module.__name__


@pytest.mark.parametrize("kind", [*TORCH_KINDS, "rnn_sigmoid"])
def test_the_pinned_implementation_runs(kind: ops.Kind) -> None:
    case = make_case(kind, LENGTHS["ragged"], dtype=torch.float32)
    given = (kind, case.x, case.lengths, case.state, case.weights)
    fastest = "torch_native" if ops.native.kernels is None else "native"
    chosen = ops.explain(*given).chosen
    assert chosen == ("reference" if kind == "rnn_sigmoid" else fastest)
    with ops.using(chosen):
        pinned, _ = ops.unroll(*given)
    free, _ = ops.unroll(*given)
    assert torch.equal(free, pinned)
    torch.testing.assert_close(free, ops.reference.unroll(*given)[0])
