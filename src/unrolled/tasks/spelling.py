"""Words as characters: what tasks that also read words from their characters share, without a model.

The characters of a word are those of the text as it was written, before it is converted to lower case: a
capital letter often marks a name. They are in Unicode normal form C, as every text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from unrolled.tasks.roles import CHARACTERS
from unrolled.text.by_word import split_words
from unrolled.text.config import TextConfig
from unrolled.text.splits import MaxCharacters
from unrolled.text.tokenizer import Tokenizer

__all__ = [
    "CHARACTERS",
    "MaxCharacters",
    "Spelling",
    "WrittenWords",
    "characters_of",
    "distinct",
    "learn_characters",
    "spelled",
]

Spelling = tuple[int, ...]
"""The character ids of a word."""


def characters_of(word: str, most: int) -> str:
    """The characters of a word that a model reads: of a longer word the first and the last ones.

    >>> characters_of("unbelievable", 5)
    'unble'
    """
    characters = unicodedata.normalize("NFC", word)
    if len(characters) <= most:
        return characters
    n_last = most // 2
    return characters[: most - n_last] + characters[len(characters) - n_last :]


def learn_characters(words: Iterable[str], most: int) -> Tokenizer:
    """The vocabulary of the characters of words, of which each has at most `most`."""
    return Tokenizer.train((characters_of(word, most) for word in words), TextConfig(kind="char"))


def spelled(
    words: Sequence[str],
    letters: Tokenizer,
    most: int,
    known: dict[str, Spelling] | None = None,
) -> Iterator[Spelling]:
    """The character ids of each word; a character that is not in the vocabulary is unknown.

    Args:
        words: the words.
        letters: the vocabulary of characters.
        most: maximum number of characters of a word.
        known: words that have been looked up before; new ones are added.
    """
    known = {} if known is None else known
    for word in words:
        if word not in known:
            known[word] = tuple(letters.ids_of(characters_of(word, most)))
        yield known[word]


class WrittenWords:
    """The tokens of texts, one for each id, also of those that are not in the vocabulary.

    Args:
        tokenizer: the tokenizer of the texts, of kind `word` or `space`.
        folded: whether they are in lower case if the vocabulary is; otherwise they are as written.

    >>> words = Tokenizer.train(["to be"], TextConfig(kind="word", lowercase=True))
    >>> WrittenWords(words)("To Be.", words.encode("To Be."))
    ['To', 'Be', '.']
    """

    def __init__(self, tokenizer: Tokenizer, *, folded: bool = False) -> None:
        self._tokenizer, self._folded = tokenizer, folded
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str, ids: Sequence[int]) -> list[str]:
        """The tokens of a text whose ids are given."""
        # How a word is split depends on nothing around it (`text.by_word`).
        parts = map(self._split, split_words(unicodedata.normalize("NFC", text)))
        tokens = list(chain.from_iterable(parts))
        if len(tokens) != len(ids):
            tokens = self._tokenizer.split(text)
        # Words that are too long to be encoded at once have no tokens of their own.
        return tokens if len(tokens) == len(ids) else self._tokenizer.pieces(ids)

    def _split(self, word: str) -> list[str]:
        word = word.strip()
        if word not in self._known:
            self._known[word] = self._tokenizer.split(word, folded=self._folded)
        return self._known[word]


def distinct(rows: Iterable[Sequence[Spelling]], numbers: dict[Spelling, int]) -> list[list[int]]:
    """The number of each word of each row, counted in the order in which distinct words occur.

    Args:
        rows: the spellings of the words of each row.
        numbers: the words that are known so far; new ones are added.

    >>> numbers = {}
    >>> distinct([[(4,), (5, 6)], [(5, 6)]], numbers), list(numbers)
    ([[0, 1], [1]], [(4,), (5, 6)])
    """
    return [[numbers.setdefault(word, len(numbers)) for word in row] for row in rows]
