"""What a trained task returns for one input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unrolled.metrics.slices import Mistake
from unrolled.metrics.tally import SMALLER_IS_BETTER


@dataclass(frozen=True)
class Prediction:
    """One answer to one input.

    Args:
        text: the best answer, as readable text.
        score: its length-normalised log-probability, natural logarithm.
        source_pieces: the input as the model read it, one string per token.
        hypotheses: the n best, best first.
        n_truncated: tokens at the end of the input that were left out (`decoding.max_input_length`).
    """

    text: str
    score: float
    source_pieces: tuple[str, ...]
    hypotheses: tuple[Answer, ...]
    n_truncated: int = 0


@dataclass(frozen=True)
class Answer:
    """One of the n best answers.

    Args:
        text: readable text.
        score: length-normalised log-probability, natural logarithm.
        log_prob: summed log-probability of the tokens, end of sentence included.
        pieces: the answer as the model wrote it, one string per token, end of sentence last.
        attention: `[T, S]`, how much answer token t looked at source piece s; None without attention.
        finished: whether the model ended the answer itself, rather than the length limit.
    """

    text: str
    score: float
    log_prob: float
    pieces: tuple[str, ...]
    attention: Tensor | None
    finished: bool


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """The labels of one input, or of each of its tokens.

    Args:
        labels: the answer: one label; for several labels to an input those that reach their thresholds,
            none included; in tagging one for each token.
        probabilities: `[C]` of each label, in tagging `[T, C]`; they sum to 1 where an input, or a token,
            has one label.
        pieces: the tokens of each text of the input, as the model read them; in tagging as they are
            written.
        weights: for each text how much each of its tokens was looked at, `[T]`; None without attention.
        n_truncated: tokens that were left out because the texts are longer than `data.max_length`.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    pieces: tuple[tuple[str, ...], ...]
    weights: tuple[NDArray[np.float32] | None, ...]
    n_truncated: int = 0


@dataclass(frozen=True, eq=False)
class LabelScores:
    """What is measured of labels.

    Args:
        measured: the figures, with `scores()`, `signature()` and `lines()`.
        count: → `tally`, which is made when it is asked for: validation needs the figures alone.
        mistakes: texts of the examples → wrong answers, the surest first.
    """

    measured: Any
    count: Callable[[], Any]
    mistakes: Callable[[Sequence[str]], list[Mistake]]

    @cached_property
    def tally(self) -> Any:
        """What each example adds to the figures, for intervals and slices; a `Scorable`."""
        return self.count()

    def scores(self) -> dict[str, float]:
        """The scores of which larger is better, 0…1."""
        found: dict[str, float] = self.measured.scores()
        return {name: value for name, value in found.items() if name not in SMALLER_IS_BETTER}
