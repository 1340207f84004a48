"""A language model step by step, and generation in one call of the native kernels, on NumPy arrays.

The steps are those of `unrolled.tasks.language_model`, in float32. A word is chosen by the rules of
`decoding.drawing`: the largest score, or the word at a random number in the cumulative distribution. The
words are the same, except where two scores, or the number and a boundary, are equal up to rounding.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unrolled.kernels import kernels
from unrolled.searching import PRECISIONS, Array, Cell, LayerWeights, address_of

COMPLETE, ENDED, UNDECIDED = range(3)
"""Why `LanguageKernels.generate` returned: see `native/language.h`."""


@dataclass(frozen=True)
class LanguageWeights:
    """The weights of a language model of V words.

    Args:
        cell: the cell.
        embedding: `[V, E]`, the words; None for one-hot vectors.
        scale: factor of the embedding on input.
        layers: the recurrent layers, of any widths.
        precision: in which the weights of the layers are stored: see `ops.stepping.PackedStep`.
        head, bias: `[V, H]`, `[V]`, the output layer, with the width H of the last layer.
    """

    cell: Cell
    embedding: Array | None
    scale: float
    layers: tuple[LayerWeights, ...]
    precision: str
    head: Array
    bias: Array

    @property
    def arrays(self) -> list[Array]:
        """All that there are."""
        parts = (self.embedding, *(w for layer in self.layers for w in layer), self.head, self.bias)
        return [part for part in parts if part is not None]

    def converted(self, convert: Callable[[Array], Array]) -> LanguageWeights:
        """The same with other arrays."""
        layers = tuple(
            LayerWeights(*(None if w is None else convert(w) for w in layer))
            for layer in self.layers
        )
        embedding = None if self.embedding is None else convert(self.embedding)
        head, bias = convert(self.head), convert(self.bias)
        return replace(self, embedding=embedding, layers=layers, head=head, bias=bias)


@dataclass(frozen=True)
class Choice:
    """How words are chosen.

    Args:
        temperature, top_k, top_p: as in `decoding.DecodingConfig`; without random numbers, of no effect.
        barred: ids that are never chosen.
        end: the id of the end of a document.
        stops: whether the end of a document ends generation.
        restarts: whether a document begins in the initial state.
    """

    temperature: float
    top_k: int
    top_p: float
    barred: Sequence[int]
    end: int
    stops: bool
    restarts: bool


class LanguageKernels:
    """A language model in the kernels. A state is a row of numbers: h, and c of an LSTM, of each layer.

    Args:
        weights: arrays of NumPy in float32. They are read where they are, and must not change; in a lower
            precision, the recurrent weights are converted once.
        n_threads: at most so many threads take part.

    Raises:
        ValueError: shapes or types do not match.
    """

    def __init__(self, weights: LanguageWeights, n_threads: int = 1) -> None:
        _check(weights)
        self._kept: list[Array] = []  # the kernels read their memory
        self.n_words, self.hidden_size = weights.head.shape
        self._n_threads = n_threads
        input_size = weights.layers[0].w_ih.shape[1]
        kernel, table = weights.cell.kernel, self._address(weights.embedding)
        self._inner = kernels.LanguageModel(kernel, self.n_words, input_size, table, weights.scale)
        stored = PRECISIONS.index(weights.precision)
        for layer in weights.layers:
            addresses = map(self._address, layer)
            self._inner.add_layer(layer.w_ih.shape[1], layer.w_hh.shape[1], *addresses, stored)
        self._inner.head(self._address(weights.head), self._address(weights.bias), self.hidden_size)
        self.width = weights.cell.n_states * sum(w.w_hh.shape[1] for w in weights.layers)
        last = self.width - weights.cell.n_states * self.hidden_size
        self._hidden = slice(last, last + self.hidden_size)

    def _address(self, array: Array | None) -> int:
        return address_of(array, self._kept)

    def read(self, words: Sequence[int], state: Array) -> Array:
        """Read a word in each of R rows: ids and a state `[R, width]` → the new state, in new memory."""
        words, state = self._checked(words), self._checked_state(state, len(words))
        after = np.empty_like(state)
        self._inner.read(words, state.ctypes.data, after.ctypes.data, self._n_threads)
        return after

    def scores(self, state: Array) -> Array:
        """The scores of the next word of R rows, `[R, V]`, up to a common summand of a row."""
        hidden = np.ascontiguousarray(self._checked_state(state, len(state))[:, self._hidden])
        scores = np.empty((len(state), self.n_words), np.float32)
        self._inner.score(len(state), hidden.ctypes.data, scores.ctypes.data, self._n_threads)
        return scores

    def hidden(self, state: Array) -> Array:
        """The input of the output layer, `[R, H]`."""
        return state[:, self._hidden]

    def generate(
        self, state: Array, n: int, uniforms: Array | None, choice: Choice
    ) -> tuple[list[int], int, Array]:
        """Choose up to n words after a state `[1, width]`.

        Args:
            state: the state.
            n: their number.
            uniforms: `[n]` float64 in [0, 1), one for each word; None takes the most probable word.
            choice: how they are chosen.

        Returns:
            The words, why there are no more (`COMPLETE`, `ENDED` or `UNDECIDED`, if a score is not a
            finite number), and the state after them.
        """
        state = self._checked_state(state, 1).copy()
        self._checked(choice.barred)
        if uniforms is not None:
            uniforms = np.ascontiguousarray(uniforms, np.float64)
            if uniforms.shape != (n,):
                raise ValueError(f"{n} words need as many random numbers, got {uniforms.shape}")
        if len(set(choice.barred)) >= self.n_words:
            raise ValueError(f"all of the {self.n_words} words are barred")
        words, outcome = self._inner.generate(
            n, state.ctypes.data, 0 if uniforms is None else uniforms.ctypes.data, choice.temperature,
            choice.top_k, choice.top_p, list(choice.barred), choice.end, choice.stops, choice.restarts,
            self._n_threads,
        )  # fmt: skip
        return words, outcome, state

    def _checked(self, words: Sequence[int]) -> list[int]:
        ids = list(map(int, words))
        if not all(0 <= word < self.n_words for word in ids):
            raise ValueError(f"ids must be below {self.n_words}, got {ids}")
        return ids

    def _checked_state(self, state: Array, n_rows: int) -> Array:
        if state.shape != (n_rows, self.width) or state.dtype != np.float32:
            wanted = f"float32 of {(n_rows, self.width)}"
            raise ValueError(f"a state must be {wanted}, got {state.dtype} of {state.shape}")
        return np.ascontiguousarray(state)


def _check(weights: LanguageWeights) -> None:
    """Check all that the kernels rely on, because they read memory according to it."""
    V, width = weights.head.shape[0], weights.layers[0].w_ih.shape[1]
    wanted: list[tuple[Array | None, tuple[int, ...]]] = [(weights.embedding, (V, width))]
    if weights.embedding is None and width != V:
        raise ValueError(f"one-hot vectors have the width {V}, but the first layer reads {width}")
    for layer in weights.layers:
        H = layer.w_hh.shape[1]
        rows = weights.cell.n_gates * H
        wanted += [(layer.w_ih, (rows, width)), (layer.w_hh, (rows, H))]
        wanted += [(layer.b_ih, (rows,)), (layer.b_hh, (rows,))]
        width = H
    wanted += [(weights.head, (V, width)), (weights.bias, (V,))]
    for array, shape in wanted:
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(f"a weight must be of shape {shape}, got {tuple(array.shape)}")
