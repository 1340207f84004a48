"""A mask with which decoding writes only what can be completed to code that parses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from unrolled.code.matcher import CodeMatcher, PythonClasses
from unrolled.shapes import Int
from unrolled.text.config import EOS_ID


@dataclass(frozen=True)
class CodeMask:
    """Which ids may follow each of Q hypotheses of B programs; a `TokenMask`.

    Args:
        names: the classes of tokens.
        classes_BW: the class of each id in its row, int64, on the device of the model: K for the end of
            sentence, K + 1 for ids that are never allowed.
        matchers: what each hypothesis has written.
        has_begun: whether the begin of sentence has been read.
    """

    names: tuple[str, ...]
    classes_BW: Tensor
    matchers: tuple[tuple[CodeMatcher, ...], ...]
    has_begun: bool = False

    @classmethod
    def of(
        cls, vocabulary: Sequence[str], copied: Sequence[Sequence[str]], end: int = EOS_ID
    ) -> CodeMask:
        """The mask before the begin of sentence.

        Args:
            vocabulary: the token of each id; "" for those that are never allowed.
            copied: for each row, the tokens of the ids that follow.
            end: the id of the end of sentence.

        Raises:
            UnavailableError: llguidance is not installed.
        """
        classes = PythonClasses([*vocabulary, *chain.from_iterable(copied)])
        never = len(classes) + 1
        known = [_place(classes, token) for token in vocabulary]
        known[end] = len(classes)
        longest = max(map(len, copied), default=0)
        classes_BW = torch.full((len(copied), len(known) + longest), never, dtype=torch.int64)
        classes_BW[:, : len(known)] = torch.tensor(known)
        for row, tokens in enumerate(copied):
            places = torch.tensor([_place(classes, token) for token in tokens], dtype=torch.int64)
            classes_BW[row, len(known) : len(known) + len(tokens)] = places
        return cls(classes.names, classes_BW, ((classes.start(),),) * len(copied))

    def advance(self, tokens: Int[Tensor, "B Q"]) -> CodeMask:
        """The mask after one more id; the first one is the begin of sentence."""
        if not self.has_begun:
            return replace(self, has_begun=True)
        classes_BQ = self.classes_BW.gather(1, tokens.to(self.classes_BW.device)).tolist()
        return self._with(
            tuple(matcher.advance(self._name(c)) for matcher, c in zip(row, classes, strict=True))
            for row, classes in zip(self.matchers, classes_BQ, strict=True)
        )

    def _name(self, place: int) -> str:
        return self.names[place] if place < len(self.names) else ""

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """The ids that may come next, bool, `[B, Q, n_words]`; n_words is at most W."""
        B, Q, K = len(self.matchers), len(self.matchers[0]), len(self.names)
        allowed_BQK = np.zeros((B, Q, K + 2), dtype=bool)
        for row, matchers in enumerate(self.matchers):
            for slot, matcher in enumerate(matchers):
                allowed_BQK[row, slot, :K] = matcher.allowed()
                allowed_BQK[row, slot, K] = matcher.may_end
        classes_BQW = self.classes_BW[:, None, :n_words].expand(-1, Q, -1).cpu()
        return torch.from_numpy(allowed_BQK).gather(2, classes_BQW).to(device)

    def reorder(self, hypotheses: Int[Tensor, "B K"]) -> CodeMask:
        """As `StepState.reorder`; hypotheses share matchers."""
        return self._with(
            tuple(row[parent] for parent in parents)
            for row, parents in zip(self.matchers, hypotheses.tolist(), strict=True)
        )

    def keep(self, sentences: Int[Tensor, " K"]) -> CodeMask:
        """As `StepState.keep`."""
        rows = tuple(self.matchers[sentence] for sentence in sentences.tolist())
        chosen = sentences.to(self.classes_BW.device)
        return replace(self, classes_BW=self.classes_BW[chosen], matchers=rows)

    def _with(self, rows: Iterable[tuple[CodeMatcher, ...]]) -> CodeMask:
        return replace(self, matchers=tuple(rows))


def _place(classes: PythonClasses, token: str) -> int:
    place = classes.place(token)
    return len(classes) + 1 if place < 0 else place
