"""A language model as a session uses it: states, and the probabilities of the next token after them.

`Steps` is the interface. `KernelSteps` needs no torch; `model_steps.ModelSteps` runs a module of torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.generating import UNDECIDED, Choice, LanguageKernels, LanguageWeights

Array = NDArray[Any]

State = Any
"""The states of R rows after what they have read; of a form that its `Steps` knows. Never changed."""


class Steps(ABC):
    """A language model with its current weights; V tokens."""

    @abstractmethod
    def start(self) -> State:
        """The initial state of one row, from which nothing can be predicted."""

    @abstractmethod
    def read(self, tokens: Sequence[int], state: State) -> State:
        """Read a token in each of R rows."""

    @abstractmethod
    def log_probs(self, *states: State) -> Any:
        """Log-probabilities of the token after each row, `[R, V]`: an array, or a tensor on the CPU."""

    @abstractmethod
    def scores_of(self, state: State, tokens: Array) -> Array:
        """Log-probabilities of some tokens after a state of one row, `[N]`, up to a common summand."""

    @abstractmethod
    def rows(self, parts: Sequence[tuple[State, Sequence[int]]]) -> State:
        """Some rows of several states, one after another."""

    def current(self) -> Steps:
        """The same model with the weights that it has now."""
        return self

    def prepared(self) -> Steps:
        """The same, after work that many steps repay."""
        return self

    def quick(self, state: State, *, is_long: bool) -> tuple[Steps, State]:
        """What takes several steps fastest, and the same state of one row there.

        Args:
            state: the state.
            is_long: whether these are so many that weights can be converted for them.
        """
        return self.prepared(), state

    def generate(
        self, state: State, n: int, uniforms: Array | None, choice: Choice
    ) -> tuple[list[int], int, State]:
        """Choose up to n tokens at once: see `generating.LanguageKernels.generate`.

        `UNDECIDED` without any token where the next one has to be chosen from `log_probs`.
        """
        return [], UNDECIDED, state


class KernelSteps(Steps):
    """A language model in the kernels; a state is a row of numbers.

    Args:
        weights: its weights, as arrays of NumPy, which must not change.
        n_threads: at most so many threads take part.
    """

    def __init__(self, weights: LanguageWeights, n_threads: int = 1) -> None:
        self._weights, self._kernels = weights, LanguageKernels(weights, n_threads)

    def start(self) -> Array:
        return np.zeros((1, self._kernels.width), np.float32)

    def read(self, tokens: Sequence[int], state: Array) -> Array:
        return self._kernels.read(tokens, state)

    def log_probs(self, *states: Array) -> Array:
        return log_softmax(self._kernels.scores(np.concatenate(states)))

    def scores_of(self, state: Array, tokens: Array) -> Array:
        weights, hidden_H = self._weights, self._kernels.hidden(state)[0]
        scores: Array = weights.head[tokens] @ hidden_H + weights.bias[tokens]
        return scores

    def rows(self, parts: Sequence[tuple[Array, Sequence[int]]]) -> Array:
        return np.concatenate([state[list(rows)] for state, rows in parts])

    def generate(
        self, state: Array, n: int, uniforms: Array | None, choice: Choice
    ) -> tuple[list[int], int, Array]:
        return self._kernels.generate(state, n, uniforms, choice)


def log_softmax(scores: Array) -> Array:
    """Log-probabilities from scores, over the last axis."""
    with np.errstate(invalid="ignore"):  # of infinite scores
        shifted = scores - scores.max(axis=-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
