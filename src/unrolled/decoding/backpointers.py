"""Back-pointers: the choices of each step, and tracing a hypothesis back from where it ended.

During the search, each step only stores references to tensors that exist anyway. They are read once, at
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
    """Where and how one hypothesis ended.

    Args:
        step: the step of its last choice, counted from 0.
        slot: its slot: of the input of `step` if it chose the end of sentence there, of the output of
            `step` if it was cut off.
        log_prob: its log-probability, including the end of sentence if finished.
        score: its log-probability divided by its length penalty.
        finished: whether its last choice was the end of sentence.
    """

    step: int
    slot: int
    log_prob: float
    score: float
    finished: bool

    @classmethod
    def at(cls, step: int, slot: int, log_prob: float, alpha: float, finished: bool) -> Ending:
        """Create an ending and compute its score, after `step` + 1 choices."""
        score = log_prob / length_penalty(step + 1, alpha)
        return cls(step, slot, log_prob, score, finished)


@dataclass
class History:
    """The steps of one search over a shrinking batch.

    Args:
        alive: the sentence of each row of the next step; see `keep`.
        with_attention: whether to store the attention of each step.
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
        """Record that slot q of row b chose `tokens[b, q]` and extends the old slot `parents[b, q]`."""
        self.rows.append(self._rows)
        self.tokens.append(tokens_BQ)
        self.parents.append(parents_BQ)
        if self.with_attention and attention is not None:
            self.attention.append(attention)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows from the next step on."""
        self.alive = [self.alive[row] for row in rows]
        self._rows = {sentence: row for row, sentence in enumerate(self.alive)}

    def hypotheses(self, endings: Sequence[Sequence[Ending]]) -> list[list[Hypothesis]]:
        """Return the hypotheses that lead to each sentence's endings."""
        tokens = [step.tolist() for step in self.tokens]
        parents = [step.tolist() for step in self.parents]
        width = min((step.shape[2] for step in self.attention), default=0)
        return [
            [self._trace(sentence, ending, tokens, parents, width) for ending in sentence_endings]
            for sentence, sentence_endings in enumerate(endings)
        ]

    def _trace(self, sentence: Any, ending: Any, tokens: Any, parents: Any, width: Any) -> Any:
        path, weights = [], []
        slot = ending.slot
        for step in range(ending.step, -1, -1):
            row = self.rows[step][sentence]
            if step < ending.step or not ending.finished:
                path.append(tokens[step][row][slot])
                slot = parents[step][row][slot]
            if self.attention:
                weights.append(self.attention[step][row, slot, :width])
        attention = torch.stack(weights[::-1]) if weights else None
        return Hypothesis(
            tuple(path[::-1]), ending.score, ending.log_prob, attention, ending.finished
        )
