"""Which words mattered: what each of them gave to a score, for any model that reads embeddings.

Integrated gradients (Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks",
section 3) go on a straight line from a baseline x' that says nothing to the text x, and sum up the
gradients on the way:

    IG_i = (x_i − x'_i) ∫_0^1 ∂f(x' + α (x − x')) / ∂x_i dα

They are complete: Σ_i IG_i = f(x) − f(x') (proposition 1), up to the error of summing a finite number of
steps, which is given with them. Occlusion is the plain question beside it: how much does the score fall
when a word is left out?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unrolled.config import require
from unrolled.errors import ConfigError
from unrolled.predictors.labels import LabelPredictor
from unrolled.shapes import Float, Padded
from unrolled.tasks.predictions import LabelPrediction

Score: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`[R, T, E]` embeddings, `[R]` lengths, `[R]` which row of the batch each is → `[R]` scores.

Lengths and rows are int64 on the CPU. The rows are for what else belongs to one: the label whose score is
asked for, or the other text. No dropout: a row's score must not depend on chance, nor on what it is
scored together with.
"""


@dataclass(frozen=True)
class Attribution:
    """What each word gave to the score.

    Args:
        tokens: `[B, T]`, the sum over a token's embedding; 0 in the padding.
        outputs: `[B]`, the score of the text.
        baseline_outputs: `[B]`, the score of the baseline.
    """

    tokens: Tensor
    outputs: Tensor
    baseline_outputs: Tensor


@torch.inference_mode(False)  # a caller's may be on, in which no gradient can be had
def integrated_gradients(
    score: Score,
    x: Padded,
    baseline: Tensor | None = None,
    n_steps: int = 32,
    max_tokens: int = 8192,
) -> Attribution:
    """Attribute a score to the tokens of each row.

    The integral is summed by Gauss and Legendre's rule, which needs a few dozen steps where the paper's
    equal ones need hundreds. Where `tokens` do not sum to `outputs − baseline_outputs`,
    take more.

    Args:
        score: differentiable in the embeddings.
        x: embeddings, values `[B, T, E]`; the padding cannot be seen, NaN included.
        baseline: `[E]`, one vector for every token, e.g. that of <unk> or <pad>, or as `x.values`; None
            means zeros. The lengths are those of x.
        n_steps: gradients per row, at least 1.
        max_tokens: of a batch of rows that the score is asked for; bounds the memory. One row is always
            taken, however long.

    Raises:
        ValueError: no steps; shapes that do not fit; a score that is not one number per row, or does not
            depend on the embeddings.

    The first token weighs 2, the second 3:

    >>> x = Padded(torch.ones(1, 3, 5), torch.tensor([2]))
    >>> def score(x, lengths, rows):
    ...     return 2 * x[:, 0].mean(-1) + 3 * x[:, 1].mean(-1)
    >>> integrated_gradients(score, x).tokens.round(decimals=4)
    tensor([[2., 3., 0.]])
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    x_BTE, mask_BT1 = _checked(x), x.mask.unsqueeze(2)
    start_BTE = torch.zeros_like(x_BTE)
    if baseline is not None:
        if baseline.shape not in (x_BTE.shape, x_BTE.shape[2:]):
            raise ValueError(
                f"baseline must be [{x_BTE.shape[2]}] or {list(x_BTE.shape)}, got {list(baseline.shape)}"
            )
        start_BTE = torch.where(mask_BT1, baseline.detach().to(x_BTE), start_BTE)
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    alphas_K = torch.tensor((nodes + 1) / 2).to(x_BTE)
    weights_K = torch.tensor(weights / 2).to(x_BTE)
    tokens_BT = x_BTE.new_zeros(x_BTE.shape[:2])
    for cases_R, width in _chunks(x.lengths.repeat_interleave(n_steps), x_BTE.shape[1], max_tokens):
        rows_R, steps_R = cases_R // n_steps, (cases_R % n_steps).to(x_BTE.device)
        way_RTE = x_BTE[rows_R, :width] - start_BTE[rows_R, :width]
        with torch.enable_grad():
            at_RTE = start_BTE[rows_R, :width] + alphas_K[steps_R, None, None] * way_RTE
            at_RTE.requires_grad_()
            scores_R = _scores(score, at_RTE, x.lengths[rows_R], rows_R)
            gradient_RTE = _gradient(scores_R, at_RTE)
        parts_RT = (gradient_RTE * way_RTE).sum(dim=2) * weights_K[steps_R, None]
        tokens_BT[:, :width].index_add_(0, rows_R.to(x_BTE.device), parts_RT)
    tokens_BT = torch.where(x.mask, tokens_BT, 0)
    outputs = [_all_scores(score, each, x.lengths, max_tokens) for each in (x_BTE, start_BTE)]
    return Attribution(tokens_BT, *outputs)


@torch.no_grad()
def occlusion(score: Score, x: Padded, max_tokens: int = 8192) -> Float[Tensor, "B T"]:
    """How much each row's score falls when one token is left out and the rest moves up: `[B, T]`.

    0 in the padding. A text of n tokens is read n + 1 times.

    Args:
        score: as for `integrated_gradients`, but need not be differentiable; a row of one token is
            scored at length 0 without it.
        x: embeddings, values `[B, T, E]`; the padding cannot be seen.
        max_tokens: of a batch of rows that the score is asked for.

    Raises:
        ValueError: shapes that do not fit, or a score that is not one number per row.

    >>> x = Padded(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([3]))
    >>> occlusion(lambda x, lengths, rows: x[:, :, 0].sum(1), x)
    tensor([[1., 2., 4.]])
    """
    x_BTE = _checked(x)
    drops_BT = x_BTE.new_zeros(x_BTE.shape[:2])
    rows_N, places_N = x.mask.cpu().nonzero(as_tuple=True)
    whole_B = _all_scores(score, x_BTE, x.lengths, max_tokens)
    lengths_N = x.lengths[rows_N] - 1
    for cases_R, width in _chunks(lengths_N, x_BTE.shape[1], max_tokens):
        rows_R, places_R, lengths_R = rows_N[cases_R], places_N[cases_R], lengths_N[cases_R]
        steps_T = torch.arange(width)
        kept_RT = steps_T + (steps_T >= places_R[:, None])
        kept_RT = kept_RT.clamp_(max=x_BTE.shape[1] - 1)
        left_RTE = x_BTE[rows_R[:, None], kept_RT]
        is_there_RT1 = (steps_T < lengths_R[:, None]).unsqueeze(2).to(x_BTE.device)
        left_RTE = torch.where(is_there_RT1, left_RTE, 0)
        scores_R = _scores(score, left_RTE, lengths_R, rows_R)
        drops_BT[rows_R, places_R] = whole_B[rows_R] - scores_R
    return drops_BT


def _checked(x: Padded) -> Float[Tensor, "B T E"]:
    """The embeddings, without their history, and with zeros in the padding."""
    if x.values.dim() != 3 or not x.values.is_floating_point():
        raise ValueError(
            f"x must be embeddings [B, T, E], got {x.values.dtype} {list(x.values.shape)}; look the ids "
            "up first"
        )
    return torch.where(x.mask.unsqueeze(2), x.values.detach(), 0)


def _chunks(lengths_N: Tensor, n_steps: int, max_tokens: int) -> Iterator[tuple[Tensor, int]]:
    """Which cases are scored together, and the longest of them; one step at least, if there is any."""
    size = max(1, max_tokens // max(1, n_steps))
    for cases_R in torch.arange(len(lengths_N)).split(size):
        longest = int(lengths_N[cases_R].max()) if len(cases_R) else 0
        if len(cases_R):
            yield cases_R, min(n_steps, max(1, longest))


def _all_scores(score: Score, x_BTE: Tensor, lengths_B: Tensor, max_tokens: int) -> Tensor:
    with torch.no_grad():
        parts = [
            _scores(score, x_BTE[rows_R, :width], lengths_B[rows_R], rows_R)
            for rows_R, width in _chunks(lengths_B, x_BTE.shape[1], max_tokens)
        ]
    return torch.cat(parts) if parts else x_BTE.new_zeros(0)


def _scores(score: Score, x_RTE: Tensor, lengths_R: Tensor, rows_R: Tensor) -> Tensor:
    scores_R = score(x_RTE, lengths_R, rows_R)
    if scores_R.shape != (len(rows_R),):
        raise ValueError(
            f"the score must be one number per row, [{len(rows_R)}]; got {list(scores_R.shape)}"
        )
    return scores_R


def _gradient(scores_R: Tensor, x_RTE: Tensor) -> Tensor:
    gradient = None
    if scores_R.requires_grad:
        (gradient,) = torch.autograd.grad(scores_R.sum(), x_RTE, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "the score has no gradient for the embeddings; compute it from them, without detach and "
            "without no_grad"
        )
    return gradient


Words = list[tuple[str, float]]
"""The tokens of a text with how much each spoke for the answer (above 0) or against it, −1…1."""


def explain_words(
    predictor: LabelPredictor, inputs: Sequence[Any], method: str = "gradients", n_steps: int = 32
) -> list[list[Words]]:
    """Which words of each input spoke for the label that it was given.

    The score that is attributed is the log-odds of that label (of several, of the likeliest one); weights
    are shares of the largest of the input.

    Args:
        predictor: a run that gives one answer to each input.
        inputs: as for `LabelPredictor.predict`.
        method: "gradients" (`integrated_gradients`), "occlusion", or "attention": what an attentive
            pooling or encoder looked at.
        n_steps: of integrated gradients.

    Returns:
        For each input and each of its texts, the tokens with their weights.

    Raises:
        ConfigError: an unknown method, attention of a model that has none, or a run of tags.
    """
    check_method(predictor, method)
    said = predictor.predict(inputs)
    if method == "attention":
        weights = [each.weights for each in said]
    else:
        weights = [
            _weights(predictor, one, answer, method, n_steps)
            for one, answer in zip(inputs, said, strict=True)
        ]
    return [_shares(each, parts) for each, parts in zip(said, weights, strict=True)]


def check_method(predictor: LabelPredictor, method: str) -> None:
    """Refuse what `explain_words` could not do, before there is anything to explain.

    Raises:
        ConfigError: as `explain_words`.
    """
    methods = ("gradients", "occlusion", "attention")
    require(method in methods, "words", f"one of {', '.join(methods)}", method)
    (said,) = predictor.predict([("a",) * predictor.n_texts])
    if said.probabilities.ndim > 1:
        raise ConfigError("every token has an answer of its own here; ask for words = 'none'")
    if method == "attention" and all(part is None for part in said.weights):
        trained = "model.pooling = 'attentive'"
        if predictor.n_texts > 1:
            trained = "model.encoder = 'attention' or 'word_by_word'"
        raise ConfigError(
            f"this model has no attention; ask for gradients or occlusion, or train with {trained}"
        )


def _weights(
    predictor: LabelPredictor, one: Any, said: LabelPrediction, method: str, n_steps: int
) -> tuple[Any, ...]:
    """For each text of an input `[T]`."""
    model: Any = predictor.model
    label = int(said.probabilities.argmax())
    with torch.no_grad():
        batch = predictor.task.collate([predictor.encode(one)]).to(model.head.thresholds.device)
        texts = [model.embed(text) for text in batch.texts]

    def score_of(side: int) -> Score:
        def score(x: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
            parts = [
                Padded(x, lengths)
                if other == side
                else Padded(
                    text.values.expand(len(x), -1, -1), text.lengths.expand(len(x)).contiguous()
                )
                for other, text in enumerate(texts)
            ]
            logits = model.head.logits(model.read(*parts)[0])
            if model.head.multi_label:
                return logits[:, label]
            others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
            return logits[:, label] - others.logsumexp(1)

        return score

    found = []
    for side, text in enumerate(texts):
        if not int(text.lengths[0]):
            found.append(np.zeros(0, np.float32))
        elif method == "occlusion":
            found.append(occlusion(score_of(side), text)[0].numpy(force=True))
        elif _is_read(predictor, side):
            attributed = integrated_gradients(score_of(side), text, n_steps=n_steps)
            found.append(attributed.tokens[0].numpy(force=True))
        else:
            found.append(np.zeros(int(text.lengths[0]), np.float32))
    return tuple(found)


def _is_read(predictor: LabelPredictor, side: int) -> bool:
    """Whether the answer depends on a text at all; a control's does not on the other one."""
    encoder = getattr(predictor.recipe.model, "encoder", "")
    return encoder != ("second_only", "first_only")[side]


def _shares(said: LabelPrediction, weights: Sequence[Any]) -> list[Words]:
    given = [
        np.zeros(len(pieces)) if part is None else np.asarray(part, np.float64)[: len(pieces)]
        for pieces, part in zip(said.pieces, weights, strict=True)
    ]
    largest = max((float(np.abs(part).max(initial=0)) for part in given), default=0.0)
    return [
        [
            (piece, float(weight) / largest if largest else 0.0)
            for piece, weight in zip(pieces, part, strict=True)
        ]
        for pieces, part in zip(said.pieces, given, strict=True)
    ]
