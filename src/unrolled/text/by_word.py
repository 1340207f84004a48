r"""Work on texts word by word, so that each distinct word is tokenised once.

A *word* here is a run of characters without white space, together with all white space before it; white
space at the end of a text is also a word. How a word is split into tokens depends on nothing around it,
for tokens of any kind: in the patterns of byte pairs, white space is only joined with white space and, if
it is a blank, with what follows; the other patterns only look for letters on both sides. So the tokens of
a text are those of its words, one after another. Looking words up is several times as fast as splitting
the text.

Nearly all words have one blank before them, or none at the start of a text. These are found by
`str.split`, other words by a regular expression.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter

Ids = tuple[int, ...]
Encode = Callable[[Sequence[str], bool], Iterable[Sequence[int]]]
"""Words, and whether they have no white space in them but one blank before them → the ids of each."""

_LONGEST_STORED = 40  # characters
_MOST_STORED = 1 << 18
_LONGEST_WORD = 1 << 16
_COUNTED_AT_ONCE = 1 << 16

# White_Space of Unicode, as \s in the patterns of the tokenizers; \s of Python has four more characters.
_SPACE = "\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD = re.compile(f"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+")
_WITHOUT_SPACE = re.compile(f"[^{_SPACE}]+")
_LINE_START = re.compile(f"(?<=[^{_SPACE}])(?=\n)")


def split_words(text: str) -> list[str]:
    r"""Split a text into words with the white space before them.

    >>> split_words("to be,\n\n  or\n")
    ['to', ' be,', '\n\n  or', '\n']
    """
    return _WORD.findall(text)


def split_lines(text: str) -> list[str]:
    r"""Split a text before each line end after a word; the words of the lines are those of the text.

    >>> split_lines("to be\n\nor not\n")
    ['to be', '\n\nor not', '\n']
    """
    return _LINE_START.split(text) if "\n" in text else [text]


class WordEncoder:
    """Encode texts with the ids of each word stored.

    Args:
        encode: encodes words.
        starts_with_blank: whether texts are encoded as with a blank before them.

    >>> lengths = WordEncoder(lambda words, _: [[len(word)] for word in words], starts_with_blank=False)
    >>> lengths.encode(["to be", "to  be"])
    [[2, 2], [2, 4]]
    """

    def __init__(self, encode: Encode, starts_with_blank: bool) -> None:
        self._encode, self._starts_with_blank = encode, starts_with_blank
        self._after_blank: dict[str, Ids] = {}  # words with one blank before them, without it
        self._others: dict[str, Ids] = {"": ()}

    def __len__(self) -> int:
        return len(self._after_blank) + len(self._others) - 1

    def encode(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of texts; None for a text with a word of more than 65,536 characters."""
        lines: list[str] = []
        ends: list[int] = []
        for text in texts:
            lines += _lines_of(text, self._starts_with_blank)
            ends.append(len(lines))
        words = [line.split(" ") for line in lines]
        rows = list(map(self._look_up, words))
        if new := [place for place, ids in enumerate(rows) if ids is None]:
            self._encode_new(new, lines, words, rows)
        return rows if len(lines) == len(texts) else _joined(rows, ends)

    def _encode_new(
        self,
        places: Sequence[int],
        lines: Sequence[str],
        words: list[list[str]],
        rows: list[list[int] | None],
    ) -> None:
        """Set the ids of lines with new words, or with other white space than single blanks."""
        # A word has no white space in it, so that there is one blank before it, in this line, too.
        learned = [words[place] for place in places]
        new = self._learn(self._after_blank, chain.from_iterable(learned), _WITHOUT_SPACE)
        new_others = self._learn(self._others, map(itemgetter(0), learned), _WORD)
        for place in places:
            rows[place] = self._look_up(words[place])
        odd = {place: split_words(lines[place]) for place in places if rows[place] is None}
        new_others += self._learn(self._others, chain.from_iterable(odd.values()), _WORD)
        for place, words_ in odd.items():
            rows[place] = self._look_up_odd(words_)
        self._forget(self._after_blank, new)
        self._forget(self._others, new_others)

    def _look_up(self, words: Sequence[str]) -> list[int] | None:
        """The ids of a line that was split at blanks; None if it has other white space."""
        stored = self._after_blank
        try:
            rest = chain.from_iterable(map(stored.__getitem__, words[1:]))
            return [*self._others[words[0]], *rest]
        except KeyError:
            return None

    def _look_up_odd(self, words: Sequence[str]) -> list[int] | None:
        """The ids of any line from `split_words`; None if a word is too long."""
        try:
            return [*chain.from_iterable(map(self._others.__getitem__, words))]
        except KeyError:
            return None

    def _learn(
        self, store: dict[str, Ids], words: Iterable[str], form: re.Pattern[str]
    ) -> list[str]:
        """Store the ids of words of this form; return those that are new."""
        new = [
            word
            for word in set(words).difference(store)
            if len(word) <= _LONGEST_WORD and form.fullmatch(word)
        ]
        if new:
            ids = self._encode(new, store is self._after_blank)
            store.update(zip(new, map(tuple, ids), strict=True))
        return new

    def _forget(self, store: dict[str, Ids], new: list[str]) -> None:
        """Remove new words that are too long to be stored, and those for which there is no room."""
        n_over = max(0, len(self) - _MOST_STORED)
        long = [word for word in new if len(word) > _LONGEST_STORED]
        for word in chain(new[max(0, len(new) - n_over) :], long):
            store.pop(word, None)


def _lines_of(text: str, starts_with_blank: bool) -> list[str]:
    if starts_with_blank and text:
        text = f" {text}"
    return split_lines(text)


def _joined(rows: Sequence[list[int] | None], ends: Iterable[int]) -> list[list[int] | None]:
    """The ids of each text from those of its lines; None if those of a line are unknown."""
    joined: list[list[int] | None] = []
    start = 0
    for end in ends:
        of_text = [ids for ids in rows[start:end] if ids is not None]
        is_known = len(of_text) == end - start
        joined.append([*chain.from_iterable(of_text)] if is_known else None)
        start = end
    return joined


class WordCounts:
    r"""How often each word occurs in texts.

    Args:
        starts_with_blank: whether texts are split as with a blank before them.

    >>> counts = WordCounts(starts_with_blank=True)
    >>> for text in ("to be", "to\nbe"):
    ...     counts.add(text)
    >>> sorted(counts.pop_all().items())
    [('\nbe', 1), (' be', 1), (' to', 2)]
    """

    def __init__(self, starts_with_blank: bool) -> None:
        self._starts_with_blank = starts_with_blank
        self._after_blank: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._waiting: list[str] = []  # words after a blank; counting many at a time is faster

    def __len__(self) -> int:
        """The number of different words, except some that were added last."""
        return len(self._after_blank) + len(self._others)

    def add(self, text: str) -> None:
        """Count the words of a text."""
        for line in _lines_of(text, self._starts_with_blank):
            if _has_single_blanks(line):
                first, *words = line.split(" ")
                if first:
                    self._others[first] += 1
                self._waiting += words
            else:
                self._others.update(split_words(line))
        if len(self._waiting) >= _COUNTED_AT_ONCE:
            self._count()

    def _count(self) -> None:
        self._after_blank.update(self._waiting)
        self._waiting = []

    def pop_all(self) -> Mapping[str, int]:
        """The words as they are, with their counts, which start again at 0."""
        self._count()
        counts = self._others
        for word, count in self._after_blank.items():
            counts[f" {word}"] += count
        self._after_blank, self._others = Counter(), Counter()
        return counts


def _has_single_blanks(line: str) -> bool:
    """Whether the only white space is single blanks and a line end at the start; False if in doubt."""
    words = line[1:] if line.startswith((" ", "\n")) else line
    # The blank is the only white space that is printable.
    return (
        words.isprintable()
        and "  " not in words
        and words[:1] not in ("", " ")
        and words[-1] != " "
    )
