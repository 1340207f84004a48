"""A mask with which decoding writes only queries that the schema of each sentence has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.shapes import Int
from unrolled.sql.grammar import QueryGrammar, QueryMatcher


@dataclass(frozen=True)
class QueryMask:
    """Which ids may follow each of Q hypotheses of B queries; a `TokenMask`.

    Args:
        classes_BW: the class of each id in the grammar of its row, int64, on the device of the model.
            Ids of the class END are the end of sentence; ids of the class NOTHING are never allowed.
        matchers: what each hypothesis has written.
        has_begun: whether the begin of sentence has been read.
    """

    classes_BW: Tensor
    matchers: tuple[tuple[QueryMatcher, ...], ...]
    has_begun: bool = False

    @classmethod
    def of(cls, grammars: Sequence[QueryGrammar], classes_BW: Int[Tensor, "B W"]) -> QueryMask:
        """The mask before the begin of sentence.

        Args:
            grammars: the grammar of each row.
            classes_BW: the class of each id; W = V + S, see `TokenMask.allowed`.

        Raises:
            ValueError: there is not one grammar per row.
        """
        if len(grammars) != len(classes_BW):
            raise ValueError(
                f"there must be one grammar per row, got {len(grammars)} for {len(classes_BW)} rows"
            )
        starts = {id(grammar): grammar.start() for grammar in grammars}
        return cls(classes_BW, tuple((starts[id(grammar)],) for grammar in grammars))

    def advance(self, tokens: Int[Tensor, "B Q"]) -> QueryMask:
        """The mask after one more id; the first one is the begin of sentence."""
        if not self.has_begun:
            return QueryMask(self.classes_BW, self.matchers, has_begun=True)
        classes_BQ = self.classes_BW.gather(1, tokens).tolist()
        return self._with(
            tuple(matcher.advance(number) for matcher, number in zip(row, classes, strict=True))
            for row, classes in zip(self.matchers, classes_BQ, strict=True)
        )

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """The ids that may come next, bool, `[B, Q, n_words]`; n_words is at most W."""
        n_classes = max(matcher.n_classes for (matcher, *_) in self.matchers)
        allowed_BQK = np.zeros((len(self.matchers), len(self.matchers[0]), n_classes), dtype=bool)
        for row, matchers in enumerate(self.matchers):
            for slot, matcher in enumerate(matchers):
                allowed_BQK[row, slot, : matcher.n_classes] = matcher.allowed()
        classes_BQW = self.classes_BW[:, None, :n_words].expand(-1, allowed_BQK.shape[1], -1)
        return (
            torch.from_numpy(allowed_BQK).to(classes_BQW.device).gather(2, classes_BQW).to(device)
        )

    def reorder(self, hypotheses: Int[Tensor, "B K"]) -> QueryMask:
        """As `StepState.reorder`; hypotheses share matchers."""
        return self._with(
            tuple(row[parent] for parent in parents)
            for row, parents in zip(self.matchers, hypotheses.tolist(), strict=True)
        )

    def keep(self, sentences: Int[Tensor, " K"]) -> QueryMask:
        """As `StepState.keep`."""
        rows = [self.matchers[sentence] for sentence in sentences.tolist()]
        return QueryMask(self.classes_BW[sentences], tuple(rows), self.has_begun)

    def _with(self, rows: Iterable[tuple[QueryMatcher, ...]]) -> QueryMask:
        return QueryMask(self.classes_BW, tuple(rows), self.has_begun)
