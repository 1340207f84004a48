"""Words that a model reads as unknown: found in a text, counted, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from unrolled.quoting import listed
from unrolled.text.config import EOS_ID, UNK_ID
from unrolled.text.tokenizer import Tokenizer

_MOST_NAMED = 10


def as_written(
    tokenizer: Any,
    text: str,
    pieces: Sequence[str],
    cut: Callable[[list[str]], list[str]] = list,
) -> tuple[str, ...]:
    """The pieces of a text, with its words as written where the model read an unknown word.

    Args:
        tokenizer: the tokenizer of the text; the pieces of one of another class are returned unchanged.
        text: the text.
        pieces: its pieces as the model read them, perhaps with the end of sentence.
        cut: words of the text → those that the model read; by default, it read from the beginning.
    """
    if not isinstance(tokenizer, Tokenizer):
        return tuple(pieces)
    end, unknown = tokenizer.pieces([EOS_ID, UNK_ID])
    if unknown not in pieces:
        return tuple(pieces)
    words = cut(tokenizer.split(text))
    n_read = len(pieces) - (bool(pieces) and pieces[-1] == end)
    if len(words) < n_read:  # its pieces are not words
        return tuple(pieces)
    return tuple(
        words[place] if piece == unknown and place < n_read else piece
        for place, piece in enumerate(pieces)
    )


class UnknownWords:
    """Counts the words of texts, and those that the model does not know.

    >>> from unrolled.text.config import TextConfig
    >>> words = UnknownWords()
    >>> words.add(Tokenizer.train(["to be"], TextConfig(kind="word")), "to bee")
    >>> words.report()
    '1 of 2 words is unknown to the model: bee'
    """

    def __init__(self) -> None:
        self.n, self.n_unknown = 0, 0
        self._named: dict[str, None] = {}
        self._unit = "word"

    def add(self, tokenizer: Any, text: str) -> None:
        """Count the words of a text; tokenizers of other classes and byte pairs are skipped."""
        if not isinstance(tokenizer, Tokenizer) or tokenizer.kind == "bpe":
            return
        ids = tokenizer.encode(text)
        if tokenizer.kind == "char":
            self._unit = "character"
        self._count(ids, lambda: tokenizer.split(text))

    def add_tokens(self, tokenizer: Any, tokens: Sequence[str]) -> None:
        """Count tokens that are looked up whole."""
        if isinstance(tokenizer, Tokenizer):
            self._count(tokenizer.ids_of(tokens), lambda: tokens)

    def _count(self, ids: Sequence[int], words: Any) -> None:
        self.n += len(ids)
        unknown = [place for place, number in enumerate(ids) if number == UNK_ID]
        self.n_unknown += len(unknown)
        if not unknown:
            return
        written = words()
        if len(written) == len(ids) and len(self._named) <= _MOST_NAMED:
            self._named |= dict.fromkeys(written[place] for place in unknown)

    def report(self) -> str:
        """How many words are unknown, and the first of them; "" if all are known."""
        if not self.n_unknown:
            return ""
        words = f"{self._unit}{'s' * (self.n > 1)} {'is' if self.n_unknown == 1 else 'are'}"
        return (
            f"{self.n_unknown:,} of {self.n:,} {words} unknown to the model: {_listed(self._named)}"
        ).removesuffix(": ")


def _listed(names: Iterable[str]) -> str:
    return listed(names, most=_MOST_NAMED)
