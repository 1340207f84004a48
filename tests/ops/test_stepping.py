"""Packed weights: single steps equal the reference step, in every precision."""

from __future__ import annotations

import re

import pytest
import torch
from instruction_sets import pinned, restored
from recurrence_cases import TORCH_KINDS, make_case

from unrolled import ops
from unrolled.errors import ConfigError
from unrolled.ops import native
from unrolled.ops.cells import CELLS
from unrolled.ops.stepping import PackedStep, Stream

needs_kernels = pytest.mark.skipif(
    native.kernels is None, reason=f"native kernels: {native.missing_because}"
)
PRECISIONS = ["float32", *(pytest.param(p, marks=needs_kernels) for p in ("bfloat16", "int8"))]


def rounded(weights: ops.Weights, precision: str) -> ops.Weights:
    """The weights rounded to the precision."""
    if precision == "float32":
        return weights
    if precision == "bfloat16":
        matrices = [w.bfloat16().float() for w in (weights.w_ih, weights.w_hh)]
    else:
        matrices = []
        for w in (weights.w_ih, weights.w_hh):
            scale = w.abs().amax(1, keepdim=True) / 127
            matrices.append((w / scale).round() * scale)
    return ops.Weights(*matrices, weights.b_ih, weights.b_hh)


@pytest.mark.parametrize("sizes", [(1, 1), (29, 37), (64, 48), (131, 130)], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", TORCH_KINDS)
@torch.no_grad()
def test_packed_steps_equal_the_reference_on_every_set(
    kind: ops.Kind, precision: str, sizes: tuple[int, int]
) -> None:
    for n_rows in (1, 2, 5, 8, 37):
        case = make_case(
            kind, [1] * n_rows, 1, input_size=sizes[0], hidden_size=sizes[1], dtype=torch.float32
        )
        kept = rounded(case.weights, precision)
        exact = CELLS[kind].step(
            case.x[0].double(),
            tuple(part.double() for part in case.state),
            ops.Weights(*(w.double() for w in kept.tensors)),
        )
        with restored():
            for name in pinned():
                found = PackedStep(kind, case.weights, precision)(case.x[0], case.state)
                for ours, right in zip(found, exact, strict=True):
                    torch.testing.assert_close(
                        ours.double(),
                        right,
                        atol=2e-5,
                        rtol=1e-5,
                        msg=lambda m, at=(n_rows, name): f"rows, instruction set {at}: {m}",
                    )


def test_without_biases_and_with_strides() -> None:
    case = make_case("gru", [1] * 6, 1, bias=False, dtype=torch.float32)
    wide = torch.cat([case.x[0], case.x[0]], 1)[:, 3:].detach()
    apart = case.state[0].detach().repeat(2, 1)[::2]
    (ours,) = PackedStep("gru", case.weights)(wide, (apart,))
    with torch.no_grad():
        (right,) = CELLS["gru"].step(wide, (apart,), case.weights)
    torch.testing.assert_close(ours, right, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", TORCH_KINDS)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_a_stream_equals_the_unroll(kind: ops.Kind, n_rows: int) -> None:
    case = make_case(kind, [7] * n_rows, dtype=torch.float32)
    stream = Stream(kind, case.weights, n_rows, state=tuple(p.detach() for p in case.state))
    with torch.no_grad():
        y, ends = ops.unroll(kind, case.x, None, case.state, case.weights)
        steps = [stream.step(x).clone() for x in case.x]
    torch.testing.assert_close(torch.stack(steps), y, atol=1e-6, rtol=1e-5)
    for ours, right in zip(stream.state, ends, strict=True):
        torch.testing.assert_close(ours, right, atol=1e-6, rtol=1e-5)


def test_a_stream_can_be_restarted() -> None:
    case = make_case("lstm", [7], dtype=torch.float32)
    stream = Stream("lstm", case.weights)
    first = [stream.step(x.detach()).clone() for x in case.x]
    stream.restart(tuple(torch.zeros(1, 11) for _ in range(2)))
    again = [stream.step(x.detach()).clone() for x in case.x]
    assert torch.equal(torch.stack(first), torch.stack(again))


def test_later_weight_changes_have_no_effect() -> None:
    case = make_case("gru", [1], 1, dtype=torch.float32)
    step = PackedStep("gru", case.weights)
    (before,) = step(case.x[0], case.state)
    with torch.no_grad():
        case.weights.w_ih.fill_(0)
    (after,) = step(case.x[0], case.state)
    assert torch.equal(before, after)


def test_without_kernels_float32_steps_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "kernels", None)
    monkeypatch.setattr(native, "missing_because", "the kernels are not installed (no file)")
    case = make_case("lstm", [7], dtype=torch.float32)
    stream = Stream("lstm", case.weights)
    with torch.no_grad():
        y, _ = ops.unroll("lstm", case.x, None, None, case.weights)
    torch.testing.assert_close(torch.stack([stream.step(x.detach()).clone() for x in case.x]), y)
    message = "int8 weights need the native kernels: the kernels are not installed (no file)"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        PackedStep("lstm", case.weights, "int8")


def test_wrong_input_is_refused() -> None:
    case = make_case("gru", [1], 1, dtype=torch.float32)
    with pytest.raises(ConfigError, match="precision is 'int4'; choose from 'float32', 'bfloat16'"):
        PackedStep("gru", case.weights, "int4")  # type: ignore[arg-type]
    stream = Stream("gru", case.weights)
    message = "a step of this stream takes float32 [1, 3], got float32 [2, 3]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        stream.step(torch.zeros(2, 3))
    message = "a step of this stream takes float32 [1, 3], got float64 [1, 3]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        stream.step(torch.zeros(1, 3, dtype=torch.float64))
    if native.kernels is not None:
        with pytest.raises(ValueError, match="a step of gru takes x and states of"):
            PackedStep("gru", case.weights)(torch.zeros(1, 4), case.state)
