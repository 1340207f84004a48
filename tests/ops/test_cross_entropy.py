"""Softmax cross-entropy on our kernels: values and gradients, on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from instruction_sets import INSTRUCTION_SETS, pinned, restored
from torch import Tensor
from torch.nn import functional as F

from unrolled.ops import cross_entropy, native
from unrolled.ops.cross_entropy import _by_blocks, softmax_cross_entropy, why_not

pytestmark = pytest.mark.skipif(
    native.kernels is None, reason=f"native kernels: {native.missing_because}"
)
# Rows, width, words: one of each; partial vectors, tiles, chunks; several blocks of rows.
SIZES = [
    (1, 1, 1),
    (1, 5, 3),
    (7, 3, 65),
    (33, 8, 64),
    (131, 67, 257),
    (5, 130, 19),
    (40, 17, 1031),
    (211, 2048, 67),
]


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernels.instruction_set()
    native.kernels.use_instruction_set(request.param)
    yield request.param
    native.kernels.use_instruction_set(before)


@pytest.fixture(autouse=True)
def any_number_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "LEAST_WORDS", 0)


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    native.kernels.poison_workspaces(True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    native.kernels.poison_workspaces(False)


def make(M: int, H: int, V: int, bias: bool = True) -> tuple[list[Tensor], Tensor]:
    leaves = [torch.randn(M, H), torch.randn(V, H) / math.sqrt(H)]
    if bias:
        leaves.append(torch.randn(V))
    return leaves, torch.randint(V, (M,))


def run(
    leaves: list[Tensor], targets: Tensor, smoothing: float, dtype: torch.dtype, ours: bool
) -> list[Tensor]:
    given = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
    hidden, weight, bias = (*given, None)[:3]
    if ours:
        total = softmax_cross_entropy(hidden, weight, bias, targets, smoothing)
    else:
        total = F.cross_entropy(
            F.linear(hidden, weight, bias), targets, reduction="sum", label_smoothing=smoothing
        )
    return [total.detach(), *torch.autograd.grad(total, given)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
def test_as_exact_as_torch_on_every_instruction_set(
    size: tuple[int, int, int], smoothing: float, bias: bool
) -> None:
    leaves, targets = make(*size, bias=bias)
    assert why_not(*(*leaves, None)[:3]) is None
    torchs = run(leaves, targets, smoothing, torch.float32, ours=False)
    exact = run(leaves, targets, smoothing, torch.float64, ours=False)
    with restored():
        for name in pinned():
            ours = run(leaves, targets, smoothing, torch.float32, ours=True)
            for one, other, right in zip(ours, torchs, exact, strict=True):
                scale = right.abs().max() + 1e-3
                error, allowed = (
                    (each.double() - right).abs().max() / scale for each in (one, other)
                )
                assert error <= max(2 * allowed, 1e-6), name


@pytest.mark.parametrize("size", SIZES)
def test_without_gradients_the_values_are_the_same(
    instruction_set: str, size: tuple[int, int, int]
) -> None:
    (hidden, weight, bias), targets = make(*size)
    weight.requires_grad_()
    with_gradients = softmax_cross_entropy(hidden, weight, bias, targets, 0.1)
    with torch.no_grad():
        without = softmax_cross_entropy(hidden, weight, bias, targets, 0.1)
    torch.testing.assert_close(without, with_gradients.detach(), rtol=1e-6, atol=1e-6)
    assert not without.requires_grad


@pytest.mark.parametrize("size", SIZES)
def test_the_number_of_threads_changes_nothing_but_rounding(size: tuple[int, int, int]) -> None:
    leaves, targets = make(*size)
    before = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 2, 5):
            torch.set_num_threads(n_threads)
            results.append(run(leaves, targets, 0.1, torch.float32, ours=True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blocks_equal_the_kernels(smoothing: float) -> None:
    (hidden, weight, bias), targets = make(97, 41, 300)
    ours = run([hidden, weight, bias], targets, smoothing, torch.float32, ours=True)
    total, gradients = _by_blocks(hidden, weight, bias, targets, smoothing, True)
    for one, other in zip(ours, (total, *gradients), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_words_with_infinite_negative_bias_are_ignored(instruction_set: str) -> None:
    (hidden, weight, bias), _ = make(9, 5, 200)
    bias[64:] = -torch.inf  # whole chunks of words, too
    targets = torch.arange(9)
    total, d_hidden, d_weight, d_bias = run(
        [hidden, weight, bias], targets, 0.0, torch.float32, ours=True
    )
    right = run([hidden, weight[:64], bias[:64]], targets, 0.0, torch.float32, ours=False)
    torch.testing.assert_close(total, right[0])
    torch.testing.assert_close(d_hidden, right[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d_weight[:64], right[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d_bias[:64], right[3], rtol=1e-4, atol=1e-5)
    assert d_weight[64:].abs().max() < 1e-30
    assert d_bias[64:].abs().max() < 1e-30


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_non_finite_values_reach_the_loss(instruction_set: str, bad: float, where: int) -> None:
    leaves, targets = make(9, 5, 200)
    leaves[where].view(-1)[3] = bad
    assert not run(leaves, targets, 0.0, torch.float32, ours=True)[0].isfinite()


@pytest.mark.parametrize("targets", [[0, 200], [-1, 3]])
def test_an_invalid_target_is_refused(targets: list[int]) -> None:
    (hidden, weight, bias), _ = make(2, 5, 200)
    message = f"target out of bounds: the words are 0 to 199, got {min(targets)} to {max(targets)}"
    with pytest.raises(IndexError, match=message):
        softmax_cross_entropy(hidden, weight, bias, torch.tensor(targets))


def test_several_python_threads_may_call_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    leaves, targets = make(131, 67, 257)
    right = run(leaves, targets, 0.0, torch.float32, ours=True)
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(run, leaves, targets, 0.0, torch.float32, ours=True) for _ in range(12)
        ]
    for call in calls:
        for one, two in zip(call.result(), right, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5 * float(two.abs().max()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weight", r"weight must be \[600, 5\], got \[600, 4\]"),
        ("bias", r"bias must be \[600\], got \[599\]"),
        ("targets", r"targets must be \[3\], got \[2\]"),
    ],
)
def test_mismatched_shapes_are_refused(name, message):
    given = {
        "hidden": torch.zeros(3, 5),
        "weight": torch.zeros(600, 5),
        "bias": torch.zeros(600),
        "targets": torch.zeros(3, dtype=torch.int64),
    }
    given[name] = given[name][..., :-1]
    with pytest.raises(Exception, match=rf"{message}|Type-check error"):
        softmax_cross_entropy(**given)


def test_targets_may_be_a_column():
    hidden, weight = torch.randn(3, 5), torch.randn(600, 5)
    column = torch.tensor([[1, 10**6], [0, 10**6], [599, 10**6]])[:, 0]
    given = softmax_cross_entropy(hidden, weight, None, column)
    exact = torch.nn.functional.cross_entropy(hidden @ weight.T, column, reduction="sum")
    torch.testing.assert_close(given, exact)
    with pytest.raises(Exception, match=r"targets must be torch.int64|Type-check error"):
        softmax_cross_entropy(hidden, weight, None, column.int())
