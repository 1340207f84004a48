"""What is known of the tokens of an example beside their ids: their characters, and counted n-grams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from unrolled.tasks.roles import CHARACTERS, NGRAMS
from unrolled.tasks.spelling import Spelling, WrittenWords, spelled
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from unrolled.baselines.character_ngrams import Indices
    from unrolled.baselines.counting import CountedText
    from unrolled.baselines.ngram_scores import NgramScores

OF_WORDS = ("word", "space")
"""The kinds of tokens that are words."""


class Tokens:
    """Splits the texts of a row into tokens, as written or as the vocabulary writes them."""

    def __init__(self, words: Tokenizer, folded: bool) -> None:
        self._words = words
        self._split = WrittenWords(words, folded=folded) if words.kind in OF_WORDS else None

    def __call__(self, texts: Iterable[str]) -> Iterator[list[str]]:
        for text, ids in zip(texts, self._words.encode_batch(list(texts)), strict=True):
            yield self.of(text, ids)

    def of(self, text: str, ids: Sequence[int]) -> list[str]:
        """The tokens of a text whose ids are known."""
        if self._split is not None:
            return self._split(text, ids)
        tokens = self._words.split(text)
        return tokens if len(tokens) == len(ids) else self._words.pieces(ids)


@dataclass(frozen=True, eq=False)
class TokenFacts:
    """What is known of the tokens of an example beside their ids; each list is as long as its text.

    Args:
        spellings: the character ids of the tokens of each text; () if they are not read.
        counted: the tokens of each text as they are counted; () if none are.
        scores: the scores of n-grams; None if none are counted.
    """

    spellings: tuple[list[Spelling], ...] = ()
    counted: tuple[CountedText, ...] = ()
    scores: NgramScores | None = None

    def changed(self, change: Callable[[int, list[Any]], list[Any]]) -> TokenFacts:
        """The facts of some of the tokens, or of tokens in another order.

        Args:
            change: the index of a text and a list of facts → the list for the new tokens.
        """
        return TokenFacts(
            tuple(change(side, facts) for side, facts in enumerate(self.spellings)),
            tuple(text.changed(partial(change, side)) for side, text in enumerate(self.counted)),
            self.scores,
        )

    def is_known(self, sides: slice, silent: frozenset[int]) -> bool:
        """Whether training has seen a character or a counted token of the texts that are read.

        Args:
            sides: the texts that are read.
            silent: the ids of characters without content, and of unknown ones.
        """
        letters = chain.from_iterable(chain.from_iterable(self.spellings[sides]))
        return any(id_ not in silent for id_ in letters) or any(
            text.is_known for text in self.counted[sides]
        )


def token_facts(
    texts: Sequence[Sequence[str]],
    ids: Sequence[Sequence[Sequence[int]]],
    words: Tokenizer,
    tokenizers: Mapping[str, Any],
    data: LabelData,
) -> list[TokenFacts | None]:
    """The facts of each row; None if the tokenizers have neither characters nor n-grams.

    Args:
        texts: for each side, the text of each row.
        ids: for each side, the ids of each text.
        words: the tokenizer.
        tokenizers: the tokenizers by role.
        data: the `[data]` section.
    """
    letters: Tokenizer | None = tokenizers.get(CHARACTERS)
    scores: NgramScores | None = tokenizers.get(NGRAMS)
    n_rows = len(texts[0])
    if letters is None and scores is None:
        return [None] * n_rows
    known: dict[str, Spelling] = {}
    known_grams: list[dict[str, Indices]] = [{} for _ in texts]
    written, folded = Tokens(words, folded=False), Tokens(words, folded=True)
    found: list[TokenFacts | None] = []
    for row in range(n_rows):
        sides = [(text[row], rows[row]) for text, rows in zip(texts, ids, strict=True)]
        spellings: tuple[list[Spelling], ...] = ()
        counted: tuple[CountedText, ...] = ()
        if letters is not None:
            most = data.max_characters
            spellings = tuple(
                list(spelled(written.of(*side), letters, most, known)) for side in sides
            )
        if scores is not None:
            tokens = [folded.of(*side) for side in sides]
            first = truncate(tokens[0], data)
            counted = scores.counting.texts_of(tokens, first, known_grams)
        found.append(TokenFacts(spellings, counted, scores))
    return found


def truncate(ids: list[Any], data: LabelData) -> list[Any]:
    """The tokens of a text that are kept according to `data.keep`.

    >>> truncate([1, 2, 3, 4, 5], LabelData(max_length=3, keep="both"))
    [1, 2, 5]
    """
    n_over = len(ids) - data.max_length
    if n_over <= 0:
        return ids
    n_first = {"start": data.max_length, "end": 0, "both": -(-data.max_length // 2)}[data.keep]
    return ids[:n_first] + ids[n_first + n_over :]
