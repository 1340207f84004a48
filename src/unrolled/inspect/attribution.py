"""Word attribution: the contribution of each word to a score, for any model that reads embeddings.

Integrated gradients (Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks",
section 3) integrate the gradients along a straight line from an uninformative baseline x' to the text x:

    IG_i = (x_i − x'_i) ∫_0^1 ∂f(x' + α (x − x')) / ∂x_i dα

They are complete: Σ_i IG_i = f(x) − f(x') (proposition 1), up to the error of summing a finite number of
steps, which can be computed from the result. Occlusion is the simpler alternative: how much the score
decreases if a word is left out.
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
from unrolled.exports.runtime import is_exported
from unrolled.predictors.labels import LabelPredictor
from unrolled.shapes import Float, Padded
from unrolled.tasks import beside
from unrolled.tasks.predictions import LabelPrediction

Score: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`[R, T, E]` embeddings, `[R]` lengths, `[R]` index of each row in the batch → `[R]` scores.

Lengths and indices are int64 on the CPU. The indices serve to look up other data of a row: the label
whose score is wanted, or the other text. There must be no dropout: the score of a row must depend neither
on chance nor on the rows with which it is scored.
"""


@dataclass(frozen=True)
class Attribution:
    """The contribution of each token to the score.

    Args:
        tokens: `[B, T]`, summed over the embedding of each token; 0 in the padding.
        outputs: `[B]`, the score of the text.
        baseline_outputs: `[B]`, the score of the baseline.
    """

    tokens: Tensor
    outputs: Tensor
    baseline_outputs: Tensor


@torch.inference_mode(False)  # the caller may have enabled it, and it does not allow gradients
def integrated_gradients(
    score: Score,
    x: Padded,
    baseline: Tensor | None = None,
    n_steps: int = 32,
    max_tokens: int = 8192,
) -> Attribution:
    """Attribute a score to the tokens of each row.

    The integral is approximated by Gauss–Legendre quadrature, which needs a few dozen steps where the
    equal steps of the paper need hundreds. If `tokens` do not sum to `outputs − baseline_outputs`, use
    more steps.

    Args:
        score: must be differentiable with respect to the embeddings.
        x: embeddings, values `[B, T, E]`; padding is ignored, even NaN.
        baseline: `[E]`, one vector for every token, e.g. that of <unk> or <pad>, or the shape of
            `x.values`; None means zeros. The lengths are those of x.
        n_steps: number of gradients per row, at least 1.
        max_tokens: maximum number of tokens, including padding, scored at once, to limit memory. At least
            one row is scored at a time, however long.

    Raises:
        ValueError: `n_steps` is below 1, shapes do not match, or the score is not one number per row or
            does not depend on the embeddings.

    The first token has weight 2, the second 3:

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
    outputs = [_all_scores(score, at, x.lengths, max_tokens) for at in (x_BTE, start_BTE)]
    return Attribution(tokens_BT, *outputs)


@torch.no_grad()
def occlusion(score: Score, x: Padded, max_tokens: int = 8192) -> Float[Tensor, "B T"]:
    """How much each row's score decreases if one token is removed from the sequence: `[B, T]`.

    0 in the padding. A text of n tokens is read n + 1 times.

    Args:
        score: as for `integrated_gradients`, but need not be differentiable; for a row of one token, it
            is also called with length 0.
        x: embeddings, values `[B, T, E]`; padding is ignored.
        max_tokens: maximum number of tokens, including padding, scored at once.

    Raises:
        ValueError: shapes do not match, or the score is not one number per row.

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
    """The embeddings, detached, and with zeros in the padding."""
    if x.values.dim() != 3 or not x.values.is_floating_point():
        raise ValueError(
            f"x must be embeddings [B, T, E], got {x.values.dtype} {list(x.values.shape)}; look up the "
            "embeddings of ids first"
        )
    return torch.where(x.mask.unsqueeze(2), x.values.detach(), 0)


def _chunks(lengths_N: Tensor, n_steps: int, max_tokens: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the indices of cases to score together, and the largest of their lengths, at least 1."""
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
            "the score has no gradient with respect to the embeddings; compute it from them, without "
            "detach and without no_grad"
        )
    return gradient


Words = list[tuple[str, float]]
"""The tokens of a text with their weights, −1…1: above 0 for the prediction, below 0 against it.

Words that the model does not know are as written.
"""


def explain_words(
    predictor: LabelPredictor, inputs: Sequence[Any], method: str = "gradients", n_steps: int = 32
) -> list[list[Words]]:
    """Compute which words of each input support the predicted label.

    The score that is attributed is the log-odds of that label (in multi-label runs, of the most probable
    one), in an ensemble the mean of its members' log-odds; the weights of an input are divided by the
    largest of them.

    Args:
        predictor: a run that predicts labels of whole inputs.
        inputs: as for `LabelPredictor.predict`.
        method: "gradients" (`integrated_gradients`), "occlusion", or "attention": the weights of an
            attentive pooling or encoder.
        n_steps: number of steps of integrated gradients.

    Returns:
        For each input and each of its texts, the tokens with their weights.

    Raises:
        ConfigError: the method is unknown, the model has no attention although the method needs it, or
            the run is a tagger.
    """
    check_method(predictor, method)
    predictions = predictor.predict(inputs)
    if method == "attention":
        weights = [prediction.weights for prediction in predictions]
    else:
        weights = [
            _weights(predictor, item, prediction, method, n_steps)
            for item, prediction in zip(inputs, predictions, strict=True)
        ]
    return [
        _shares(prediction, parts) for prediction, parts in zip(predictions, weights, strict=True)
    ]


def check_method(predictor: LabelPredictor, method: str) -> None:
    """Check whether `explain_words` supports a method, before there is anything to explain.

    Raises:
        ConfigError: as for `explain_words`.
    """
    methods = ("gradients", "occlusion", "attention")
    require(method in methods, "words", f"one of {', '.join(methods)}", method)
    if method != "attention" and is_exported(predictor):
        raise ConfigError(
            "an export only has the attention weights of words; use words = 'attention' if it has "
            "attention, or explain the run that it was made of"
        )
    (prediction,) = predictor.predict([("a",) * predictor.n_texts])
    if prediction.probabilities.ndim > 1:
        raise ConfigError("words cannot be explained for a tagger; set words = 'none'")
    if method == "attention" and all(part is None for part in prediction.weights):
        trained = "model.pooling = 'attentive'"
        if predictor.n_texts > 1:
            trained = "model.encoder = 'attention', 'word_by_word' or 'aligned'"
        raise ConfigError(
            f"this model has no attention; use gradients or occlusion, or train with {trained}"
        )


def _weights(
    predictor: LabelPredictor, item: Any, prediction: LabelPrediction, method: str, n_steps: int
) -> tuple[Any, ...]:
    """The weights of the tokens of each text of an input, each `[T]`; of an ensemble, their mean."""
    members = getattr(predictor.model, "members", [predictor.model])
    parts = [_of_model(model, predictor, item, prediction, method, n_steps) for model in members]
    return tuple(np.mean(np.stack(sides), 0) for sides in zip(*parts, strict=True))


def _of_model(
    model: Any,
    predictor: LabelPredictor,
    item: Any,
    prediction: LabelPrediction,
    method: str,
    n_steps: int,
) -> tuple[Any, ...]:
    label = int(prediction.probabilities.argmax())
    with torch.no_grad():
        batch = predictor.task.collate([predictor.encode(item)]).to(model.head.thresholds.device)
        texts = beside.counted(model, beside.embedded(model, batch), batch)

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
            logits = model.head.logits(beside.read(model, parts)[0])
            if model.head.multi_label:
                return logits[:, label]
            others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
            return logits[:, label] - others.logsumexp(1)

        return score

    weights = []
    for side, text in enumerate(texts):
        if not int(text.lengths[0]):
            weights.append(np.zeros(0, np.float32))
        elif method == "occlusion":
            weights.append(occlusion(score_of(side), text)[0].numpy(force=True))
        elif _is_read(predictor, side):
            attributed = integrated_gradients(score_of(side), text, n_steps=n_steps)
            weights.append(attributed.tokens[0].numpy(force=True))
        else:
            weights.append(np.zeros(int(text.lengths[0]), np.float32))
    return tuple(weights)


def _is_read(predictor: LabelPredictor, side: int) -> bool:
    """Whether the prediction depends on a text; an encoder of a single text ignores the other."""
    encoder = getattr(predictor.recipe.model, "encoder", "")
    return encoder != ("second_only", "first_only")[side]


def _shares(prediction: LabelPrediction, weights: Sequence[Any]) -> list[Words]:
    written = prediction.words or prediction.pieces
    arrays = [
        np.zeros(len(pieces)) if part is None else np.asarray(part, np.float64)[: len(pieces)]
        for pieces, part in zip(prediction.pieces, weights, strict=True)
    ]
    largest = max((float(np.abs(part).max(initial=0)) for part in arrays), default=0.0)
    return [
        [
            (word, float(weight) / largest if largest else 0.0)
            for word, weight in zip(words, part, strict=True)
        ]
        for words, part in zip(written, arrays, strict=True)
    ]
