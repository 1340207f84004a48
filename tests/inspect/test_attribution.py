"""Integrated gradients are complete, ignore padding, and equal results worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unrolled import nn, ops
from unrolled.inspect.attribution import Attribution, integrated_gradients, occlusion
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

E, H = 5, 3
LENGTHS = torch.tensor([7, 1, 0, 4])
T = 7


def padded(dtype: torch.dtype = torch.float64, filling: float = float("nan")) -> Padded:
    """Rows of different lengths, with invalid values in the padding."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(len(LENGTHS), T, E, generator=generator, dtype=dtype)
    mask = torch.arange(T) < LENGTHS.unsqueeze(1)
    return Padded(torch.where(mask.unsqueeze(2), values, filling), LENGTHS)


class Reader(torch.nn.Module):
    """The final states of both directions, and one of three scores for each row."""

    def __init__(self, kind: str = "LSTM", dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encoder = getattr(nn, kind)(E, H, batch_first=True, bidirectional=True, dtype=dtype)
        self.head = torch.nn.Linear(2 * H, 3, dtype=dtype)

    def forward(self, x: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
        _, state = self.encoder(x, lengths=lengths)
        h = state[0] if isinstance(state, tuple) else state
        logits = self.head(torch.cat([h[0], h[1]], dim=1))
        return logits[torch.arange(len(rows)), rows % 3]


def gaps(found: Attribution) -> Tensor:
    """`[B]`, the difference between the sum over tokens and the change of the score."""
    return found.tokens.sum(1) - (found.outputs - found.baseline_outputs)


def by_definition(score, x: Padded, start: Tensor, n_steps: int) -> Tensor:
    """The definition, row by row, with the midpoint rule."""
    tokens = torch.zeros(x.values.shape[:2], dtype=x.values.dtype)
    alphas = (torch.arange(n_steps, dtype=x.values.dtype) + 0.5) / n_steps
    for row, length in enumerate(x.lengths.tolist()):
        real, begin = x.values[row, :length], start.expand(x.values.shape)[row, :length]
        at = (begin + alphas[:, None, None] * (real - begin)).requires_grad_()
        if length:
            values = score(at, torch.full((n_steps,), length), torch.full((n_steps,), row))
            (gradient,) = torch.autograd.grad(values.sum(), at)
            tokens[row, :length] = ((real - begin) * gradient.mean(0)).sum(1)
    return tokens


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("with_baseline", [False, True])
def test_integrated_gradients_are_the_integral_of_the_definition(
    kind: str, with_baseline: bool
) -> None:
    x, score = padded(), Reader(kind)
    vector = torch.linspace(-0.5, 0.5, E, dtype=torch.float64) if with_baseline else None
    found = integrated_gradients(score, x, vector, n_steps=24)
    start = torch.zeros(E, dtype=torch.float64) if vector is None else vector
    expected = by_definition(score, x, start, n_steps=100)
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_attributions_sum_to_the_score_difference(kind: str) -> None:
    x, score = padded(), Reader(kind)
    found = integrated_gradients(score, x, n_steps=48)
    rows = torch.arange(len(LENGTHS))
    with torch.no_grad():
        real = torch.where(x.mask.unsqueeze(2), x.values, 0)
        torch.testing.assert_close(found.outputs, score(real, LENGTHS, rows))
        nothing = score(torch.zeros_like(real), LENGTHS, rows)
    torch.testing.assert_close(found.baseline_outputs, nothing)
    rise = found.outputs - found.baseline_outputs
    assert rise.abs().max() > 0.1
    torch.testing.assert_close(found.tokens.sum(1), rise, rtol=0, atol=1e-9)
    # One step is too few: the sums must differ.
    assert gaps(integrated_gradients(score, x, n_steps=1)).abs().max() > 1e-4


def test_kernels_and_reference_give_equal_attributions() -> None:
    x, score = padded(torch.float32), Reader(dtype=torch.float32)
    found = integrated_gradients(score, x)
    with ops.using("reference"):
        expected = integrated_gradients(score, x)
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=2e-6)
    assert gaps(found).abs().max() < 5e-6


def test_padding_cannot_be_seen() -> None:
    score = Reader()
    found = [integrated_gradients(score, padded(filling=f)) for f in (0.0, float("nan"), 1e30)]
    left_out = [occlusion(score, padded(filling=f)) for f in (0.0, float("nan"), 1e30)]
    for other in found[1:]:
        assert torch.equal(found[0].tokens, other.tokens)
        assert torch.equal(found[0].outputs, other.outputs)
        assert torch.equal(found[0].baseline_outputs, other.baseline_outputs)
    assert all(torch.equal(left_out[0], other) for other in left_out[1:])
    past = torch.arange(T) >= LENGTHS.unsqueeze(1)
    assert (found[0].tokens[past] == 0).all()
    assert (left_out[0][past] == 0).all()


@pytest.mark.parametrize("max_tokens", [1, 29])
def test_max_tokens_is_respected_and_changes_nothing(max_tokens: int) -> None:
    reader, sizes = Reader(), list[tuple[int, int]]()

    def score(x: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
        sizes.append((x.shape[0], x.shape[1]))
        return reader(x, lengths, rows)

    found = integrated_gradients(score, padded(), n_steps=5, max_tokens=max_tokens)
    left_out = occlusion(score, padded(), max_tokens=max_tokens)
    assert all(n_rows == 1 or n_rows * n_steps <= max_tokens for n_rows, n_steps in sizes)
    expected = integrated_gradients(reader, padded(), n_steps=5)
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=1e-12)
    torch.testing.assert_close(left_out, occlusion(reader, padded()), rtol=0, atol=1e-12)


def test_linear_scores_are_attributed_exactly_in_one_step() -> None:
    x = padded()
    weights = torch.randn(T, E, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def score(x: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
        return (x * weights[: x.shape[1]]).sum((1, 2)) + rows

    start = torch.ones(E, dtype=torch.float64)
    found = integrated_gradients(score, x, start, n_steps=1)
    expected = torch.where(x.mask, ((x.values - 1) * weights).sum(2), 0)
    torch.testing.assert_close(found.tokens, expected)
    # Without a word, the others move up and get other weights.
    real = torch.where(x.mask.unsqueeze(2), x.values, 0)
    shorter = torch.cat([real[3, :1], real[3, 2:4]])
    drop = (real[3] * weights).sum() - (shorter * weights[:3]).sum()
    torch.testing.assert_close(occlusion(score, x)[3, 1], drop)


def test_occlusion_is_the_score_without_each_word() -> None:
    x, score = padded(), Reader()
    found = occlusion(score, x)
    for row, length in enumerate(LENGTHS.tolist()):
        for place in range(length):
            words = [x.values[row, t] for t in range(length) if t != place]
            kept = torch.stack(words) if words else torch.zeros(1, E, dtype=torch.float64)
            rows = torch.tensor([row])
            with torch.no_grad():
                whole = score(x.values[row : row + 1, :length], torch.tensor([length]), rows)
                without = score(kept.unsqueeze(0), torch.tensor([length - 1]), rows)
            torch.testing.assert_close(found[row, place], (whole - without)[0])


def test_a_baseline_may_differ_from_token_to_token() -> None:
    x, score = padded(), Reader()
    start = torch.randn(x.values.shape, dtype=torch.float64)
    found = integrated_gradients(score, x, start, n_steps=24)
    expected = by_definition(score, x, start, n_steps=100)
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-4)
    same = integrated_gradients(score, x, x.values)
    assert (same.tokens == 0).all()
    torch.testing.assert_close(same.outputs, same.baseline_outputs)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_work_if_the_caller_disabled_them(mode) -> None:
    score = Reader()
    expected = integrated_gradients(score, padded())
    with mode():
        found = integrated_gradients(score, padded())
    assert torch.equal(found.tokens, expected.tokens)
    assert not found.tokens.requires_grad
    assert all(parameter.grad is None for parameter in score.parameters())


def test_attributions_leave_no_gradients_on_embeddings() -> None:
    x = padded()
    values = x.values.clone().requires_grad_()
    found = integrated_gradients(Reader(), Padded(values, x.lengths))
    assert not found.tokens.requires_grad
    assert values.grad is None
    assert not occlusion(Reader(), Padded(values, x.lengths)).requires_grad


def test_an_empty_batch_is_accepted() -> None:
    x = Padded(torch.zeros(0, 3, E), torch.zeros(0, dtype=torch.int64))
    found = integrated_gradients(Reader(dtype=torch.float32), x)
    assert found.tokens.shape == (0, 3)
    assert found.outputs.shape == (0,)
    assert occlusion(Reader(dtype=torch.float32), x).shape == (0, 3)


def test_empty_rows_have_no_attributions() -> None:
    x = Padded(torch.full((2, 3, E), float("nan")), torch.zeros(2, dtype=torch.int64))
    found = integrated_gradients(Reader(dtype=torch.float32), x)
    assert (found.tokens == 0).all()
    assert torch.equal(found.outputs, found.baseline_outputs)
    assert isinstance(found, Attribution)


def test_invalid_arguments_are_refused() -> None:
    x, score = padded(), Reader()
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        integrated_gradients(score, x, n_steps=0)
    with pytest.raises(ValueError, match=r"baseline must be \[5\] or \[4, 7, 5\], got \[4\]"):
        integrated_gradients(score, x, torch.zeros(4))
    ids = Padded(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 1]))
    with pytest.raises(ValueError, match=r"must be embeddings .* look up the embeddings"):
        integrated_gradients(score, ids)
    with pytest.raises(ValueError, match="must be embeddings"):
        occlusion(score, ids)
    for attribute in (integrated_gradients, occlusion):
        with pytest.raises(ValueError, match="the score must be one number per row"):
            attribute(lambda x, lengths, rows: x.sum(2), x)
    for constant in (lambda x, *_: x.detach().sum((1, 2)), lambda x, *_: torch.ones(len(x))):
        with pytest.raises(ValueError, match="the score has no gradient with respect to the"):
            integrated_gradients(constant, x)
