"""What was chosen at each step, and the way back from an ending to its hypothesis.

During the search a step costs one record of the tensors that exist anyway; they are read once, at
the end, and only along the hypotheses that are returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.types import Hypothesis, length_penalty


@dataclass(frozen=True)
class Ending:
    """How one hypothesis ended.

    Args:
        step: the step, from 0, of its last choice.
        slot: where to find it: among the slots that `step` read from if it chose the end of
            sentence there, among those that it wrote to if it was cut off.
        log_prob: its log-probability, end included if finished.
        score: over its length penalty.
        finished: whether its last choice was the end of sentence.
    """

    step: int
    slot: int
    log_prob: float
    score: float
    finished: bool

    @classmethod
    def at(cls, step: int, slot: int, log_prob: float, alpha: float, finished: bool) -> Ending:
        """An ending and its score: after `step` + 1 choices."""
        score = log_prob / length_penalty(step + 1, alpha)
        return cls(step, slot, log_prob, score, finished)


@dataclass
class History:
    """The steps of one search over a shrinking batch.

    Args:
        alive: which sentences the rows of the next step are; see `keep`.
        with_attention: whether to hold on to the attention of each step.
    """

    alive: list[int]
    with_attention: bool
    rows: list[dict[int, int]] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    parents: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = {sentence: row for row, sentence in enumerate(self.alive)}

    def append(self, tokens_BQ: Tensor, parents_BQ: Tensor, attention: Tensor | None) -> None:
        """Slot q of row b chose `tokens[b, q]`, going on from the former slot `parents[b, q]`."""
        self.rows.append(self._rows)
        self.tokens.append(tokens_BQ)
        self.parents.append(parents_BQ)
        if self.with_attention and attention is not None:
            self.attention.append(attention)

    def keep(self, rows: Sequence[int]) -> None:
        """From the next step on only these rows are there."""
        self.alive = [self.alive[row] for row in rows]
        self._rows = {sentence: row for row, sentence in enumerate(self.alive)}

    def hypotheses(self, endings: Sequence[Sequence[Ending]]) -> list[list[Hypothesis]]:
        """The hypotheses behind each sentence's endings."""
        tokens = [step.tolist() for step in self.tokens]
        parents = [step.tolist() for step in self.parents]
        width = min((step.shape[2] for step in self.attention), default=0)
        return [
            [self._trace(sentence, ending, tokens, parents, width) for ending in its_endings]
            for sentence, its_endings in enumerate(endings)
        ]

    def _trace(self, sentence: Any, ending: Any, tokens: Any, parents: Any, width: Any) -> Any:
        path, looked = [], []
        slot = ending.slot
        for step in range(ending.step, -1, -1):
            row = self.rows[step][sentence]
            if step < ending.step or not ending.finished:
                path.append(tokens[step][row][slot])
                slot = parents[step][row][slot]
            if self.attention:
                looked.append(self.attention[step][row, slot, :width])
        attention = torch.stack(looked[::-1]) if looked else None
        return Hypothesis(
            tuple(path[::-1]), ending.score, ending.log_prob, attention, ending.finished
        )
