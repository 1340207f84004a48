"""Encode texts word by word, with the ids of each word computed once.

No token of any kind extends across a single space between two other characters, so the ids of a text are
the ids of its words one after another. Looking words up is several times as fast as encoding the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

Ids = tuple[int, ...]
Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts → the ids of each."""

_LONGEST_WORD = 40
_MOST_WORDS = 1 << 17


class UnsuitableError(Exception):
    """A text has spaces that are not single, or a long word; it must be encoded as a whole."""


class WordIds(dict[str, Ids]):
    """The ids of words; a missing word is encoded when it is looked up.

    Args:
        encode: encodes texts as wholes.
        before: what precedes each word in a text: " ", or "" at the start, or if it makes no difference.

    >>> ids = WordIds(lambda texts: [[len(text)] for text in texts], " ")
    >>> ids["word"], ids.can_hold("two words "), "word" in ids
    ((5,), False, True)
    """

    def __init__(self, encode: Encode, before: str) -> None:
        super().__init__()
        self._encode, self._before = encode, before

    def __missing__(self, word: str) -> Ids:
        if not self.can_hold(word):
            raise UnsuitableError
        ids = tuple(self._encode([self._before + word])[0])
        if len(self) < _MOST_WORDS:
            self[word] = ids
        return ids

    def learn(self, words: Sequence[str]) -> None:
        """Encode new words together, as many as there is room for."""
        words = [word for word in words if word not in self and self.can_hold(word)]
        words = words[: _MOST_WORDS - len(self)]
        rows = self._encode([self._before + word for word in words])
        self.update(zip(words, map(tuple, rows), strict=True))

    @staticmethod
    def can_hold(word: str) -> bool:
        """Whether the spaces around a string are single, and it is not too long to remember."""
        return 0 < len(word) <= _LONGEST_WORD and not (word[0].isspace() or word[-1].isspace())


class WordEncoder:
    """Encode texts word by word.

    Args:
        encode: encodes texts as wholes.
        keeps_spaces: whether a word has other ids at the start of a text than after a space.
    """

    def __init__(self, encode: Encode, keeps_spaces: bool) -> None:
        self._first = WordIds(encode, "")
        self._others = WordIds(encode, " ") if keeps_spaces else self._first

    def encode(self, text: str) -> list[int] | None:
        """The ids of a text; None if it must be encoded as a whole."""
        first, *others = text.split(" ")
        try:
            return [
                *self._first[first],
                *chain.from_iterable(map(self._others.__getitem__, others)),
            ]
        except UnsuitableError:
            return None

    def learn(self, texts: Sequence[str]) -> None:
        """Encode the new words of some texts together, which uses all cores."""
        firsts, others = dict[str, None](), dict[str, None]()
        for text in texts:
            first, *rest = text.split(" ")
            if first and "" not in rest:
                firsts[first] = None
                others.update(dict.fromkeys(rest))
        if self._first is self._others:
            self._first.learn(list(firsts | others))
        else:
            self._first.learn(list(firsts))
            self._others.learn(list(others))
