"""Tables of Unicode for C: normal form C, lower case, and classes of characters.

They are derived from what the library `tokenizers` does, so that C splits text exactly as it was split in
training; only the order of combining marks comes from Python's own tables.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby

from tokenizers import Regex, normalizers, pre_tokenizers

_HANGUL = range(0xAC00, 0xD7A4)  # composed by computation
_SEPARATOR = "\n"
_BEFORE, _BELOW = "a", "\u0334"  # a letter, and a mark that stands before all others

Range = tuple[int, int]
"""The first and the last code point of a range."""


def _points() -> Iterator[int]:
    """The code points that may have a property: no surrogates, private use, unassigned planes."""
    for first, end in ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000)):
        yield from range(first, end)


@cache
def _all() -> tuple[str, ...]:
    return tuple(map(chr, _points()))


def _of_each(normalizer: normalizers.Normalizer, characters: Iterable[str]) -> list[str]:
    """What a normaliser does to each character by itself."""
    given = list(characters)
    found = normalizer.normalize_str(_SEPARATOR.join(given)).split(_SEPARATOR)
    if _SEPARATOR in given:  # it was taken for two empty ones
        place = given.index(_SEPARATOR)
        found[place : place + 2] = [_SEPARATOR]
    return found


@dataclass(frozen=True)
class NormalForm:
    """The tables of normal form C.

    Args:
        pairs: point, and the one or two points that it decomposes into (the second may be 0), by point.
        composing: numbers of the pairs that compose, ordered by their two points.
        marks: first and last point of a range of combining marks, and their place in the order of marks.
    """

    pairs: tuple[tuple[int, int, int], ...]
    composing: tuple[int, ...]
    marks: tuple[tuple[int, int, int], ...]


@cache
def normal_form() -> NormalForm:
    """The tables of normal form C."""
    parts_of = {
        character: parts
        for character, parts in zip(_all(), _of_each(normalizers.NFD(), _all()), strict=True)
        if character != parts and ord(character) not in _HANGUL
    }
    stable = set(_of_each(normalizers.NFC(), parts_of))
    # Of several characters with the same parts, the one that these compose.
    ordered = sorted(parts_of.items(), key=lambda item: item[0] in stable)
    whole = {parts: character for character, parts in ordered if len(parts) > 1}
    pairs, composes = [], []
    for character, parts in parts_of.items():
        first = parts[:-1] if len(parts) <= 2 else whole[parts[:-1]]
        second = parts[-1] if len(parts) > 1 else ""
        pairs.append((ord(character), ord(first or parts), ord(second or "\0")))
        composes.append(
            bool(second) and normalizers.NFC().normalize_str(first + second) == character
        )
    composing = sorted(
        (place for place, is_one in enumerate(composes) if is_one), key=lambda at: pairs[at][1:]
    )
    return NormalForm(tuple(pairs), tuple(composing), tuple(_marks()))


def _marks() -> Iterator[tuple[int, int, int]]:
    orders = {ord(mark): order for mark in _all() if (order := unicodedata.combining(mark))}
    marks = list(orders)
    # A mark that the library does not know yet stays where it is.
    probes = [f"{_BEFORE}{chr(point)}{_BELOW}" for point in marks]
    moved = normalizers.NFD().normalize_str(_SEPARATOR.join(probes)).split(_SEPARATOR)
    known = {
        point: orders[point]
        for point, before, after in zip(marks, probes, moved, strict=True)
        if orders[point] == 1 or before != after
    }
    for _, group in groupby(enumerate(known), key=lambda at: (at[1] - at[0], known[at[1]])):
        points = [point for _, point in group]
        yield points[0], points[-1], known[points[0]]


@cache
def capitals() -> tuple[tuple[int, int, int, int], ...]:
    """First and last point of a range, its step, and what is added to get the lower case.

    The only letter that becomes two, the capital I with a dot, is left out.
    """
    small = zip(_all(), _of_each(normalizers.Lowercase(), _all()), strict=True)
    changes = {ord(a): ord(b) - ord(a) for a, b in small if a != b and len(b) == 1}
    ranges: list[list[int]] = []
    for point, change in changes.items():
        last = ranges[-1] if ranges else [0, -9, 1, 0]
        step = point - last[1]
        if change == last[3] and step <= 2 and (last[0] == last[1] or step == last[2]):
            last[1:3] = [point, step]
        else:
            ranges.append([point, point, 1, change])
    return tuple((first, last, step, change) for first, last, step, change in ranges)


@cache
def classes() -> dict[str, tuple[Range, ...]]:
    """The ranges of letters (L), marks (M) and digits (N), as in the patterns of the tokenizers."""
    every = "".join(_all())
    runs = pre_tokenizers.Split(Regex(r"\p{L}+|\p{M}+|\p{N}+"), "isolated").pre_tokenize_str(every)
    firsts = "".join(every[start] for _, (start, _) in runs)
    ranges: dict[str, tuple[Range, ...]] = {}
    for name in "LMN":
        # One piece for each first character of a run of this class.
        members = pre_tokenizers.Split(Regex(rf"\p{{{name}}}"), "removed", invert=True)
        places = [start for _, (start, _) in members.pre_tokenize_str(firsts)]
        points = (map(ord, every[slice(*runs[place][1])]) for place in places)
        ranges[name] = _ranges(chain.from_iterable(points))
    return ranges


def holding(is_member: Callable[[str], bool]) -> tuple[Range, ...]:
    """The ranges of characters for which a function is true."""
    return _ranges(ord(character) for character in _all() if is_member(character))


def united(*classes: Iterable[Range]) -> tuple[Range, ...]:
    """The ranges of characters in any of some classes."""
    return _ranges(
        sorted(
            {point for each in classes for first, last in each for point in range(first, last + 1)}
        )
    )


def _ranges(points: Iterable[int]) -> tuple[Range, ...]:
    """Ascending points as ranges."""
    ranges: list[list[int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return tuple((first, last) for first, last in ranges)
