"""A record of a beam search: which hypotheses were alive at each step, and which of them ended.

    with recorded() as searches:
        translator.predict(["the red cat"])
    searches[0].sentences[0].steps[3].totals      # log-probabilities of the hypotheses after four tokens

A search outside such a block records nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor

from unrolled.decoding.backpointers import Ending


@dataclass(frozen=True)
class SearchStep:
    """The hypotheses of a sentence after one step, the most probable first.

    Args:
        tokens: the last token of each.
        parents: which hypothesis of the step before each extends.
        totals: their log-probabilities; −∞ in an empty slot.
        n_kept: how many of them may still be among the best, so that the search goes on with them.
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    totals: Sequence[float]
    n_kept: int


@dataclass
class SentenceSearch:
    """The search for one sentence.

    Args:
        steps: its steps.
        endings: the endings that were among the n best when they were found, in this order.
        best: the n best endings, best first.
    """

    steps: list[SearchStep] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    best: Sequence[Ending] = ()


class SearchRecord:
    """One call of beam search.

    Args:
        n_sentences: the number of its sentences.
        length_penalty: alpha of its scores.

    Attributes:
        sentences: the search for each.
    """

    def __init__(self, n_sentences: int, length_penalty: float) -> None:
        self.length_penalty = length_penalty
        self.sentences = [SentenceSearch() for _ in range(n_sentences)]

    def add_step(
        self,
        alive: Sequence[int],
        tokens_BQ: Tensor,
        parents_BQ: Tensor,
        totals_BQ: Tensor,
        n_kept: Sequence[int],
    ) -> None:
        """Add a step of the sentences that are still searched."""
        tokens, parents, totals = (values.tolist() for values in (tokens_BQ, parents_BQ, totals_BQ))
        for row, sentence in enumerate(alive):
            step = SearchStep(tokens[row], parents[row], totals[row], n_kept[row])
            self.sentences[sentence].steps.append(step)


_searches: ContextVar[list[SearchRecord] | None] = ContextVar("recorded searches", default=None)


@contextmanager
def recorded() -> Iterator[list[SearchRecord]]:
    """Record every beam search inside a `with` block, in this thread or task only.

    Yields:
        The list to which each search is added as it begins. Greedy decoding and sampling are no searches.
    """
    searches: list[SearchRecord] = []
    token = _searches.set(searches)
    try:
        yield searches
    finally:
        _searches.reset(token)


def is_recording() -> bool:
    """Whether this is inside `recorded`."""
    return _searches.get() is not None


def new_record(n_sentences: int, length_penalty: float) -> SearchRecord | None:
    """A record for a search that begins; None outside `recorded`."""
    searches = _searches.get()
    if searches is None:
        return None
    searches.append(SearchRecord(n_sentences, length_penalty))
    return searches[-1]
