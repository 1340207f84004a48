"""How the words of a question are linked to the names of a schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unrolled.sql.pieces import items_of
from unrolled.sql.question import stem
from unrolled.sql.schema import Schema

_IN_NAMES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


@lru_cache(maxsize=100_000)
def name_words(name: str) -> tuple[str, ...]:
    """The words of the name of a table or column, in lower case.

    >>> name_words("StuID"), name_words("CITY_NAME"), name_words("order date")
    (('stu', 'id'), ('city', 'name'), ('order', 'date'))
    """
    return tuple(word.lower() for word in _IN_NAMES.findall(name)) or (name.lower(),)


class Link(IntEnum):
    """How a word of a question is linked to an item of the schema."""

    NONE = 0
    PART = 1
    """The word is one of several words of the name."""
    NAME = 2
    """The word belongs to a place where the whole name stands."""
    VALUE = 3
    """The word belongs to a value of the column."""


N_LINKS = len(Link)


@lru_cache(maxsize=1_000)
def _stems_of(schema: Schema) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(stem(word) for word in name_words(_name(schema, item.table, item.column)))
        for item in items_of(schema)
    )


def _name(schema: Schema, table: int, column: int | None) -> str:
    found = schema.tables[table]
    return found.name if column is None else found.columns[column].name


def link(words: Sequence[str], schema: Schema) -> NDArray[np.uint8]:
    """The links between words and the names of a schema, `[words, items]`, as values of `Link`.

    Args:
        words: the words of a question.
        schema: its items are in the order of `pieces.items_of`.
    """
    stems = [stem(word) for word in words]
    places: dict[str, list[int]] = {}
    for place, each in enumerate(stems):
        places.setdefault(each, []).append(place)
    names = _stems_of(schema)
    links_WI = np.zeros((len(words), len(names)), np.uint8)
    for item, name in enumerate(names):
        for part in name:
            if part in _COMMON and len(name) > 1:
                continue
            links_WI[places.get(part, []), item] = Link.PART
        for start in places.get(name[0], ()):
            if stems[start : start + len(name)] == list(name):
                links_WI[start : start + len(name), item] = Link.NAME
    return links_WI


_COMMON = frozenset(("of", "the", "a", "in", "to", "by", "is", "and", "or", "for", "on", "at"))
