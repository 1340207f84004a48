"""The model of the task `pair` in NumPy; see `tasks.pair.PairClassifier` and `layers.conditional`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled.inference.recurrence import (
    CELLS,
    Floats,
    LanguageModelLayers,
    Layers,
    State,
    joined,
)
from unrolled.inference.refusal import Refused
from unrolled.inference.softmax import softmax
from unrolled.inference.weights import Weights
from unrolled.inference.words import linear, spelling_of
from unrolled.tasks.examples import LabelledExample
from unrolled.text.config import SPECIALS

_CONTROLS = {"first_only": slice(0, 1), "second_only": slice(1, 2)}
Encodings = tuple[Floats, Floats, Floats]
"""The vector of a pair, and the encodings of both texts."""
Encode = Callable[[Floats, Floats], Encodings]


class PairClassifier:
    """Embedding, an encoder of two texts, scores.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_words, n_labels, n_characters: sizes of the vocabularies.
    """

    def __init__(
        self, config: Any, weights: Weights, n_words: int, n_labels: int, n_characters: int
    ) -> None:
        if config.encoder not in _ENCODERS or config.cell not in CELLS:
            raise Refused("an encoder of another kind")
        self.features = frozenset(config.features)
        self.sides = _CONTROLS.get(config.encoder, slice(None))
        # A control reads the column in its name, regardless of `condition`.
        self.is_first = config.condition == "first" or config.encoder in _CONTROLS
        E = config.embedding_size
        self.embedding = weights.take("embedding.weight", n_words, E)
        self.spelling = spelling_of(config, weights.of("spelling"), n_characters)
        beside = (self.spelling.output_size if self.spelling else 0) + ("overlap" in self.features)
        self.context = None
        if config.pretrained:
            self.context = LanguageModelLayers(config, weights.of("context"), beside)
            E, beside = self.context.output_size, 0
        self.projection = None
        if config.projection_size:
            self.projection = linear(weights.of("projection"), config.projection_size, E)
            E = config.projection_size
        E += beside
        inner = "encoder.encoder" if self.features - {"overlap"} else "encoder"
        self.encode, D, encoded = _ENCODERS[config.encoder](config, weights.of(inner), E)
        D += encoded * len(self.features - {"overlap"})
        self.scorer = _scorer(config.head, weights.of("head.scorer"), n_labels, D)

    def logits(self, example: LabelledExample) -> Floats:
        """The scores of the labels."""
        texts = [self._embedded(example, side) for side in (0, 1)]
        hidden, u, v = self.encode(*(texts if self.is_first else reversed(texts)))
        parts = [hidden]
        if "difference" in self.features:
            parts.append(np.abs(u - v))
        if "product" in self.features:
            parts.append(u * v)
        return self.scorer(np.concatenate(parts))

    def _embedded(self, example: LabelledExample, side: int) -> Floats:
        ids, others = example.texts[side], frozenset(example.texts[1 - side])
        x_TE = self.embedding[ids]
        parts = [x_TE if self.context is not None else self._projected(x_TE)]
        if self.spelling is not None:
            assert example.facts is not None
            parts.append(self.spelling(example.facts.spellings[side]))
        if "overlap" in self.features:
            common = [[float(id_ >= len(SPECIALS) and id_ in others)] for id_ in ids]
            parts.append(np.array(common, np.float32).reshape(len(ids), 1))
        x_TE = np.concatenate(parts, axis=1)
        return x_TE if self.context is None else self._projected(self.context(x_TE)[0])

    def _projected(self, x_TE: Floats) -> Floats:
        if self.projection is None:
            return x_TE
        weight, bias = self.projection
        projected_TE: Floats = x_TE @ weight.T + bias
        return projected_TE


def _scorer(kind: str, weights: Weights, n_labels: int, D: int) -> Callable[[Floats], Floats]:
    if kind == "linear":
        weight, bias = linear(weights, n_labels, D)
        return lambda hidden: weight @ hidden + bias
    if kind == "literal":
        weight = weights.take("weight", n_labels, D)
        return lambda hidden: np.tanh(weight @ hidden)
    weight = weights.take("weight", D, D)
    output, bias = linear(weights.of("output"), n_labels, D)
    return lambda hidden: output @ np.tanh(weight @ hidden) + bias


def _starts(config: Any, weights: Weights, n_directions: int) -> list[State]:
    """The initial state of each direction: zeros, or learned."""
    H, names = config.hidden_size, ("h_0", "c_0")[: CELLS[config.cell].n_states]
    if not config.learned_start:
        return [tuple(np.zeros(H, np.float32) for _ in names)] * n_directions
    parts = [weights.take(f"start.{name}", n_directions, H) for name in names]
    return [tuple(part[n] for part in parts) for n in range(n_directions)]


def _reader(config: Any, weights: Weights, name: str, E: int, n_directions: int) -> Layers:
    inner = weights.of(f"{name}.recurrent")
    return Layers(config.cell, inner, E, config.hidden_size, bidirectional=n_directions == 2)


def _single(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    N = 1 + config.bidirectional
    starts, reader = _starts(config, weights, N), _reader(config, weights, "reader", E, N)

    def encode(first: Floats, second: Floats) -> Encodings:
        text = {"first_only": first, "second_only": second}.get(config.encoder)
        if text is None:
            text = np.concatenate([first, second])
        h = joined(reader(text, starts)[1][0])[0]
        return h, h, h

    return encode, reader.output_size, 0


def _independent(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    N = 1 + config.bidirectional
    starts = _starts(config, weights, N)
    readers = [_reader(config, weights, name, E, N) for name in ("first", "second")]

    def encode(first: Floats, second: Floats) -> Encodings:
        ends = [reader(x, starts)[1][0] for reader, x in zip(readers, (first, second), strict=True)]
        u, v = (joined(end)[0] for end in ends)
        return np.concatenate([u, v]), u, v

    width = readers[0].output_size
    return encode, 2 * width, width


class _Conditional:
    """Reads the second text from the cell state of the first; of a GRU or an RNN, from its h."""

    def __init__(self, config: Any, weights: Weights, E: int, n_first: int, n: int) -> None:
        self.starts, self.n_first = _starts(config, weights, n), n_first
        self.first = _reader(config, weights, "first", E, n_first)
        self.second = _reader(config, weights, "second", E, n)

    def __call__(self, first: Floats, second: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """The outputs of both layers, and the encodings of both texts."""
        y, (ends,) = self.first(first, self.starts[: self.n_first])
        crossed = [
            (*start[:-1], ends[min(n, len(ends) - 1)][-1]) for n, start in enumerate(self.starts)
        ]
        h, (last,) = self.second(second, crossed)
        return y, h, joined(ends)[0], joined(last)[0]


def _conditional(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    both = config.encoder == "bidirectional_conditional"
    n_first = 2 if both and config.target == "both_ways" else 1
    read = _Conditional(config, weights, E, n_first, 1 + both)

    def encode(first: Floats, second: Floats) -> Encodings:
        _, _, u, v = read(first, second)
        return v, u, v

    return encode, read.second.output_size, read.second.output_size


def _attention(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    H, read = config.hidden_size, _Conditional(config, weights.of("conditional"), E, 1, 1)
    query, key = (weights.take(f"attention.{name}_weight", H, H) for name in ("query", "key"))
    energy = weights.take("attention.energy_weight", H)
    seen, last = (weights.take(f"{name}_weight", H, H) for name in ("seen", "last"))

    def encode(first: Floats, second: Floats) -> Encodings:
        y, _, u, v = read(first, second)
        r = np.zeros(H, np.float32)
        if len(y):
            r = softmax(np.tanh(y @ key.T + query @ v) @ energy) @ y
        return np.tanh(seen @ r + last @ v), u, v

    return encode, H, H


def _word_by_word(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    H, read = config.hidden_size, _Conditional(config, weights.of("conditional"), E, 1, 1)
    names = ("key", "query", "seen_query", "next", "seen", "last")
    key, query, seen_query, following, seen, last = (
        weights.take(f"{name}_weight", H, H) for name in names
    )
    energy = weights.take("energy_weight", H)

    def encode(first: Floats, second: Floats) -> Encodings:
        y, h, u, v = read(first, second)
        keys, r = y @ key.T, np.zeros(H, np.float32)
        for known in h @ query.T if len(y) else ():
            looked = softmax(np.tanh(keys + (known + seen_query @ r)) @ energy)
            r = looked @ y + np.tanh(following @ r)
        return np.tanh(seen @ r + last @ v), u, v

    return encode, H, H


def _aligned(config: Any, weights: Weights, E: int) -> tuple[Encode, int, int]:
    H, starts = config.hidden_size, _starts(config, weights, 2)
    reader, composition = (
        _reader(config, weights, name, size, 2)
        for name, size in (("reader", E), ("composition", H))
    )
    weight, bias = linear(weights.of("projection"), H, 8 * H)

    def composed(own: Floats, other: Floats) -> Floats:
        if not len(own):
            return np.zeros(4 * H, np.float32)
        compared = np.concatenate([own, other, own - other, own * other], axis=1)
        v, _ = composition(np.maximum(compared @ weight.T + bias, 0), starts)
        return np.concatenate([v.mean(0), v.max(0)])

    def seen(energies: Floats, other: Floats) -> Floats:
        if not energies.size:
            return np.zeros((len(energies), 2 * H), np.float32)
        return softmax(energies) @ other

    def encode(first: Floats, second: Floats) -> Encodings:
        (a, _), (b, _) = reader(first, starts), reader(second, starts)
        energies = a @ b.T
        u, v = composed(a, seen(energies, b)), composed(b, seen(energies.T, a))
        return np.concatenate([u, v]), u, v

    return encode, 8 * H, 4 * H


_ENCODERS: dict[str, Callable[[Any, Weights, int], tuple[Encode, int, int]]] = {
    **dict.fromkeys(("first_only", "second_only", "concatenated"), _single),
    "independent": _independent,
    **dict.fromkeys(("conditional", "bidirectional_conditional"), _conditional),
    "attention": _attention,
    "word_by_word": _word_by_word,
    "aligned": _aligned,
}
"""For each encoder: settings, weights and input width → the function, its width, that of an encoding."""
