"""The model of the task `tag` in NumPy, with its CRF; see `tasks.tag.model.Tagger` and `layers.crf`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inference.recurrence import Floats, LanguageModelLayers, Layers
from unrolled.inference.refusal import Refused
from unrolled.inference.softmax import softmax
from unrolled.inference.weights import Weights
from unrolled.inference.words import linear, spelling_of
from unrolled.metrics.schemes import transitions
from unrolled.tasks.tagged import TagExample
from unrolled.text.labels import Labels


class Tagger:
    """Word and character embeddings, recurrent layers, scores, and perhaps a CRF.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_words, n_characters: sizes of the vocabularies.
        labels: the tags.
    """

    def __init__(
        self, config: Any, weights: Weights, n_words: int, n_characters: int, labels: Labels
    ) -> None:
        if config.head not in ("crf", "softmax"):
            raise Refused("a head of another kind")
        E, C = config.embedding_size, len(labels)
        self.embedding = weights.take("embedding.weight", n_words, E)
        weights.take("seen_once", n_words)
        self.spelling = spelling_of(config, weights.of("spelling"), n_characters)
        n_columns, self.context = self.spelling.output_size if self.spelling else 0, None
        width = E + n_columns
        if config.pretrained:
            self.context = LanguageModelLayers(config, weights.of("context"), n_columns)
            width = self.context.output_size
        self.encoder = Layers(
            config.cell,
            weights.of("encoder.recurrent"),
            width,
            config.hidden_size,
            config.n_layers,
            bidirectional=config.bidirectional,
        )
        self.weight, self.bias = linear(weights.of("scorer"), C, self.encoder.output_size)
        self.crf = None
        if config.head == "crf":
            is_free = config.transitions == "free" or not labels.scheme or labels.n_ill_formed
            self.crf = Chain(weights.of("crf"), labels, constrained=not is_free)

    def predict(self, example: TagExample) -> tuple[Floats, NDArray[np.int64]]:
        """The probabilities of the tags of each token, `[T, C]`, and the predicted ones, `[T]`."""
        size = example.piece or max(1, len(example.words))
        starts = range(0, max(1, len(example.words)), size)
        scores_TC = np.concatenate([self._scores(example, start, size) for start in starts])
        if not np.isfinite(scores_TC).all():
            raise Refused("scores that are not finite")
        if self.crf is None:
            return softmax(scores_TC), scores_TC.argmax(1)
        return self.crf.marginals(scores_TC), self.crf.best(scores_TC)

    def _scores(self, example: TagExample, start: int, size: int) -> Floats:
        """The scores of a piece that is read at once."""
        x_TE = self.embedding[example.words[start : start + size]]
        if self.spelling is not None:
            spelled = self.spelling(example.spellings[start : start + size])
            x_TE = np.concatenate([x_TE, spelled], axis=1)
        if self.context is not None:
            x_TE, _ = self.context(x_TE)
        y_TD, _ = self.encoder(x_TE)
        scores_TC: Floats = y_TD @ self.weight.T + self.bias
        return scores_TC


class Chain:
    """The best path of tags and their marginals, in float64 with logarithms; see `layers.crf`.

    Args:
        weights: of the module.
        labels: the tags.
        constrained: whether only what their scheme allows is possible.
    """

    def __init__(self, weights: Weights, labels: Labels, *, constrained: bool) -> None:
        C = len(labels)
        parts = [
            weights.take("start_weight", C),
            weights.take("transition_weight", C, C),
            weights.take("end_weight", C),
        ]
        if constrained:
            allowed = transitions(labels.names, labels.scheme)
            masks = (allowed.starts, allowed.steps, allowed.ends)
            parts = [
                np.where(np.array(mask, np.bool_), part, -np.inf)
                for mask, part in zip(masks, parts, strict=True)
            ]
        self.start_C, self.step_CC, self.end_C = (part.astype(np.float64) for part in parts)

    def best(self, scores_TC: Floats) -> NDArray[np.int64]:
        """The most probable path (Viterbi 1967)."""
        e_TC = scores_TC.astype(np.float64)
        T = len(e_TC)
        if not T:
            return np.zeros(0, np.int64)
        into_CC = self.step_CC.T
        v_C, origins = e_TC[0] + self.start_C, []
        for t in range(1, T):
            reached_CC = v_C + into_CC
            origins.append(reached_CC.argmax(1))
            v_C = reached_CC.max(1) + e_TC[t]
        path = [int((v_C + self.end_C).argmax())]
        for origin_C in reversed(origins):
            path.append(int(origin_C[path[-1]]))
        return np.array(path[::-1])

    def marginals(self, scores_TC: Floats) -> Floats:
        """p(y_t = c) by the forward and the backward recursion (Rabiner 1989, section III.A)."""
        e_TC = scores_TC.astype(np.float64)
        T = len(e_TC)
        a_TC, b_TC = np.empty_like(e_TC), np.empty_like(e_TC)
        for t in range(T):
            a_TC[t] = self.start_C if not t else _reached(a_TC[t - 1] + e_TC[t - 1], self.step_CC)
        for t in reversed(range(T)):
            last = t == T - 1
            b_TC[t] = self.end_C if last else _reached(b_TC[t + 1] + e_TC[t + 1], self.step_CC.T)
        joint_TC = a_TC + e_TC + b_TC
        if T and not np.isfinite(joint_TC.max(axis=1)).all():
            raise Refused("no path of tags is possible")
        return softmax(joint_TC).astype(np.float32) if T else scores_TC


def _reached(before_C: NDArray[np.float64], step_CC: NDArray[np.float64]) -> NDArray[np.float64]:
    """log Σ_c exp(before_c + step_cd) for each d; −∞ where nothing leads."""
    total_CC = before_C[:, None] + step_CC
    peak_C = total_CC.max(0)
    base_C = np.where(np.isfinite(peak_C), peak_C, 0.0)
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.log(np.exp(total_CC - base_C).sum(0)) + base_C
    return found
