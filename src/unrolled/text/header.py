"""Whether the first line of a table names its columns, or is already a row.

A field of the first line speaks for a row if its column has the same value again, as labels have, if the
column holds numbers and it is one, if it is a sentence like the others, or one with punctuation at its
end. It speaks for a header if it consists of usual names of columns, if it stands above numbers and is
none, or if it is far shorter than the values below it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import chain
from statistics import median
from typing import Literal

Header = Literal["auto", "yes", "no"]
"""Whether a table has a header; "auto" to find out."""

Verdict = Literal["header", "unsure", "row"]

SAMPLE = 1000
"""Rows that are compared with the first line."""

_Column = Sequence[str]

_MOST_WORDS, _MOST_CHARACTERS = 8, 40
"""Words, and characters of a word, above which a field without usual names is no name of a column."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|NaN")
_SENTENCE_END = tuple('.!?…。！？।؟"”’»)')
_LETTERS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_IDENTIFIER = re.compile(r"[^\W\d]\w*_\w+|[a-z]+(?:[A-Z][a-z]+)+")
_SEPARATORS = re.compile(r"[\s|;,]+")
# Scripts that are written without blanks between words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)

# Usual names of columns, and codes of languages.
_KNOWN_NAMES = """
abstract aggression airline annotation answer article aspect author body category char chinese cites
class classes cls cmd code col column command comment confidence content context count country date
description dev dialog document dutch emotion en english entities entity example explanation features
file filename form formal fr french from genre german gold goldlabel group hate hypothesis id ids idx
index informal input intent intents italian item japanese key kind label labels lang language lemma
length line logical mail message mt name names negative ner nl no number opinion original output pairid
paragraph paraphrase phrase portuguese pos positive post prediction premise price product prompt query
question questions rating ratings reference reply response result review reviews row russian score sent
sentence sentences sentiment sex sms snippet source span spanish split sql src stance star stars start
subject subtitle summary tag tags target task text texts tgt timestamp title to token tokens topic toxic
train translated translation trg tweet tweets type url user username utterance utterances valid value
values version word words year
"""
_NAMES = frozenset(_KNOWN_NAMES.split())
_KNOWN_CODES = """
ar bg bn ca cs da de deu el en eng es et eu fa fi fr fra ga gl he hi hr hu hy id is it ita ja jpn ka ko
lt lv mk ms nb nl nld nn no pl por pt ro ru rus sk sl spa sq sr sv ta te th tl tr uk ur vi zh zho
"""
_CODES = frozenset(_KNOWN_CODES.split())


def judge(
    first: Sequence[str], rows: Sequence[Sequence[str]], labels: Collection[str] = ()
) -> Verdict:
    """Whether the first line of a table is its header.

    Args:
        first: its fields.
        rows: the next rows, at most `SAMPLE`; as many fields each.
        labels: known labels, the values of the last column.

    >>> rows = [["good tea again", "pos"], ["very bad tea", "neg"], ["nothing new here", "neg"]]
    >>> judge(["text", "label"], rows), judge(["the tea was bad", "neg"], rows)
    ('header', 'row')
    """
    if list(first) in ([str(i + start) for i in range(len(first))] for start in (0, 1)):
        return "header"  # as pandas numbers columns that have no names
    others = [
        row for row in rows if list(row) != list(first)
    ]  # files with headers, one after another
    columns: list[_Column] = list(zip(*others, strict=True)) or [()] * len(first)
    repeated = has_sentence = False
    said = set[str]()
    for place, (field, column) in enumerate(zip(first, columns, strict=True)):
        is_last = place == len(first) - 1
        if not field.strip():
            continue
        has_sentence |= _ends(field) and _n_words(field) >= _FEWEST_WORDS
        if _recurs(field, column, labels if is_last else (), is_last):
            repeated = True
            said.add("row")
        elif _is_name(field, column):
            said.add("name")
        else:
            said.add("row" if _is_sentence(field, column) else "either")
    if "name" in said:
        return "unsure" if repeated or has_sentence else "header"
    if said == {"row"} or repeated or has_sentence:
        return "row"
    return "unsure"


def label_is_first(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first field of labelled rows seems to be the label, and the last one a text.

    >>> label_is_first([["pos", f"tea number {i}"] for i in range(9)])
    True
    """
    firsts, lasts = ([row[at] for row in rows] for at in (0, -1))
    n_labels, n_texts = len(set(firsts)), len(set(lasts))
    is_repeated = len(rows) >= _FEWEST_ROWS and 4 * n_labels <= len(rows) < 2 * n_texts
    return is_repeated and median(map(_n_words, lasts)) > median(map(_n_words, firsts))


_FEWEST_ROWS = 8
_FEWEST_WORDS = 3  # of a sentence


def _recurs(field: str, column: _Column, labels: Collection[str], is_last: bool) -> bool:
    """Whether a field is one of the values of its column, or a number in a column of numbers."""
    if field in labels or field in column:
        return True
    if _NUMBER.fullmatch(field):
        return _are_numbers(column)
    parts = [part for part in _SEPARATORS.split(field) if part]
    if not is_last or len(parts) < 2:
        return False
    # Tags, or several labels: few different ones, which return in other combinations.
    values = list(chain.from_iterable(map(_SEPARATORS.split, column)))
    kinds = {*values, *labels}
    return len(kinds) * 3 <= len(values) and kinds.issuperset(parts)


def _are_numbers(column: _Column) -> bool:
    n_numbers = sum(_NUMBER.fullmatch(value.strip()) is not None for value in column)
    return n_numbers > 0.9 * len(column) > 0


def _is_name(field: str, column: _Column) -> bool:
    words = _LETTERS.findall(field)
    n_known = sum(
        word.lower() in _NAMES
        or (word.lower() in _CODES and (len(words) <= 2 or word.isupper()))  # "is" is also a word
        for word in words
    )
    fewest = (len(words) + 1) // 2 if len(words) <= 2 else len(words) - 1
    if 1 <= len(words) <= 4 and n_known >= fewest and not _ends(field):
        return True
    if _NUMBER.fullmatch(field):
        return False
    if _are_numbers(column):
        return True
    if _ends(field) or not column:
        return False
    if _IDENTIFIER.fullmatch(field):
        return sum(_IDENTIFIER.fullmatch(value) is not None for value in column) * 5 < len(column)
    n_words, lengths = _n_words(field), [_n_words(value) for value in column]
    if n_words > _MOST_WORDS or max(map(len, field.split()), default=0) > _MOST_CHARACTERS:
        return False
    n_as_short = sum(length <= n_words for length in lengths)
    if 3 * n_words > median(lengths) or n_as_short * 20 > len(column):
        return False
    seen = set(chain.from_iterable(value.lower().split() for value in column))
    parts = field.lower().split()
    return len(parts) == 1 or not seen.issuperset(parts)


def _is_sentence(field: str, column: _Column) -> bool:
    if _ends(field):
        return not column or 5 * sum(map(_ends, column)) >= len(column)
    shortest = min(map(_n_words, column), default=0)
    return _n_words(field) >= max(_FEWEST_WORDS, shortest // 2)


def _ends(text: str) -> bool:
    text = text.rstrip()
    return len(text) > 1 and text.endswith(_SENTENCE_END) and not _in_brackets(text)


def _in_brackets(text: str) -> bool:
    """Whether a text ends with a remark in brackets, as names of columns may: "English (UK)"."""
    return text.endswith(")") and "(" in text


def _n_words(text: str) -> int:
    return max(len(text.split()), len(_UNSPACED.findall(text)) // 2)
