"""Conditions of questions, such as "that cost more than 5", with their SQL."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeVar

from unrolled.samples.shop.domains import Attribute, Domain, Entity, rows

_MONTH_NAMES = """
January February March April May June July August September October November December
"""
MONTHS = tuple(_MONTH_NAMES.split())
_NUMBER_NAMES = "zero one two three four five six seven eight nine ten eleven twelve thirteen"
NUMBERS = tuple(_NUMBER_NAMES.split())

_SINGULAR = {"cost": "costs", "have": "has", "are": "is", "were": "was", "live": "lives"} | {
    "come": "comes",
    "belong": "belongs",
}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of an entity.

    Args:
        kind: for the shape of the query.
        text: what follows the noun, without a relative pronoun: "cost more than 5".
        form: an "adjunct" such as "from Oslo", a "verb" whose subject is the noun, or another "clause",
            such as "Ada Bell ordered".
        where: the condition in SQL.
        adjective: what may stand before the noun instead: "garden"; "" if nothing can.
    """

    kind: str
    text: str
    form: Literal["adjunct", "verb", "clause"]
    where: str
    adjective: str = ""

    def of_one(self) -> Condition:
        """The condition on a single row: "costs more than 5"."""
        first, blank, rest = self.text.partition(" ")
        if self.form != "verb" or first not in _SINGULAR:
            return self
        return replace(self, text=f"{_SINGULAR[first]}{blank}{rest}")


@dataclass(frozen=True)
class Conditions:
    """Conditions on the rows of an entity.

    Args:
        before: what stands before the noun, with a blank after it: "garden ".
        after: what stands after it, with a blank before it: " that cost more than 5".
        where: their SQL, with " WHERE " before it.
        kinds: their kinds, for the shape of the query.
        predicate: the conditions as the predicate of "which products …": "cost more than 5"; "" if they
            cannot be one.
    """

    before: str
    after: str
    where: str
    kinds: str
    predicate: str


class ConditionSource:
    """Draws conditions about one domain."""

    def __init__(self, domain: Domain, source: Random) -> None:
        self.domain, self.source = domain, source
        self.rows = rows(domain)

    def pick(self, options: Sequence[_T]) -> _T:
        """One of several; the first of several wordings half of the time."""
        if isinstance(options[0], str) and self.source.random() < 0.3:
            return options[0]
        return self.source.choice(options)

    def conditions(self, entity: Entity, most: int = 2, is_one: bool = False) -> Conditions:
        """Random conditions, of a single row if `is_one`."""
        n = self.source.choice((0, 1, 1, 2)[: most + 2])
        drawn: list[Condition] = []
        while len(drawn) < n:
            condition = self.condition(entity)
            if condition.kind not in {each.kind for each in drawn}:
                drawn.append(condition.of_one() if is_one else condition)
        return self._joined(entity, drawn)

    def _joined(self, entity: Entity, drawn: list[Condition]) -> Conditions:
        if not drawn:
            return Conditions("", "", "", "none", "")
        drawn.sort(key=lambda condition: condition.form != "adjunct")
        word = "and" if len(drawn) < 2 or self.source.random() < 0.75 else "or"
        where = f" {word.upper()} ".join(condition.where for condition in drawn)
        kinds = f" {word} ".join(sorted(condition.kind for condition in drawn))
        before, left = "", drawn
        adjectives = [each for each in drawn if each.adjective]
        if adjectives and word == "and" and self.source.random() < 0.4:
            before = f"{adjectives[0].adjective} "
            left = [each for each in drawn if each is not adjectives[0]]
        after, is_open = "", False
        for index, condition in enumerate(left):
            join = f" {word}" if index and (word == "or" or is_open) else ""
            pronoun = "" if is_open or condition.form == "adjunct" else f" {entity.relative}"
            after += f"{join}{pronoun} {condition.text}"
            is_open = is_open or condition.form != "adjunct"
        is_predicate = bool(left) and all(each.form == "verb" for each in left)
        predicate = f" {word} ".join(each.text for each in left) if is_predicate else ""
        return Conditions(before, after, f" WHERE {where}", kinds, predicate)

    def condition(self, entity: Entity) -> Condition:
        """A random condition."""
        attribute = self.source.choice((*entity.attributes, None))
        if attribute is None:
            return self.with_event(entity)
        column = f"{entity.table}.{attribute.column}"
        if attribute.kind == "text":
            value = self.value(entity, attribute)
            is_adjunct = self.source.random() < 0.7
            text = self.pick(attribute.adjuncts if is_adjunct else attribute.clauses)
            form: Literal["adjunct", "verb"] = "adjunct" if is_adjunct else "verb"
            return Condition(
                "text", text.format(value), form, f"{column} = '{value}'", adjective=str(value)
            )
        if attribute.kind == "date":
            return self.dated(column, f"{self.pick(attribute.verbs)} ")
        return self._compared(entity, attribute, column)

    def _compared(self, entity: Entity, attribute: Attribute, column: str) -> Condition:
        """A comparison with a number, or a range of numbers."""
        value = self.value(entity, attribute)
        verb, noun = attribute.above[0].split()[0], attribute.nouns[0]
        how = self.source.random()
        if how < 0.12:
            low, high = sorted((float(str(value)), float(str(self.value(entity, attribute)))))
            numbers = f"{low:g} and {high:g}"
            where = f"{column} BETWEEN {low:g} AND {high:g}"
            if verb == "cost" and self.source.random() < 0.5:
                return Condition("number", f"cost between {numbers}", "verb", where)
            return Condition("number", f"with a {noun} between {numbers}", "adjunct", where)
        if how < 0.24:
            word, sign = self.source.choice((("at least", ">="), ("at most", "<=")))
            where = f"{column} {sign} {value}"
            if verb == "cost":
                return Condition("number", f"cost {word} {value}", "verb", where)
            return Condition("number", f"have a {noun} of {word} {value}", "verb", where)
        shown = value
        if how < 0.3:  # a number with a separator
            number = self.source.randrange(10, 60) * 100
            value, shown = str(number), f"{number:,}"
        is_above, is_adjunct = self.source.random() < 0.5, self.source.random() < 0.4
        sign = ">" if is_above else "<"
        if is_adjunct:
            texts = attribute.over if is_above else attribute.under
        else:
            texts = attribute.above if is_above else attribute.below
        return Condition(
            "number",
            self.pick(texts).format(shown),
            "adjunct" if is_adjunct else "verb",
            f"{column} {sign} {value}",
        )

    def dated(self, column: str, verb: str) -> Condition:
        """A condition on a date: before or after a day, or within a month or a year."""
        year, month = self.source.choice((2023, 2024)), self.source.randrange(1, 13)
        how = self.source.randrange(9)
        if how < 3:
            last_day = monthrange(year, month)[1]
            first, last = f"{year}-{month:02}-01", f"{year}-{month:02}-{last_day}"
            where = f"{column} BETWEEN '{first}' AND '{last}'"
            of = self.source.choice(("", "", "of "))
            return Condition("month", f"{verb}in {MONTHS[month - 1]} {of}{year}", "verb", where)
        if how == 3:
            where = f"STRFTIME('%m', {column}) = '{month:02}'"
            return Condition("any month", f"{verb}in {MONTHS[month - 1]}", "verb", where)
        if how == 4:
            where = f"{column} BETWEEN '{year}-01-01' AND '{year}-12-31'"
            return Condition("year", f"{verb}in {year}", "verb", where)
        day = self.source.randrange(1, 29)
        written = f"{year}-{month:02}-{day:02}"
        spoken = self.source.choice((f"{day} {MONTHS[month - 1]} {year}",) + (written,) * 2)
        word, sign = (("after", ">"), ("before", "<"))[how % 2]
        return Condition("date", f"{verb}{word} {spoken}", "verb", f"{column} {sign} '{written}'")

    def with_event(self, entity: Entity) -> Condition:
        """A condition on what somebody did, or never did."""
        event = self.domain.event
        is_subject = entity is event.subject
        own = event.subject_key if is_subject else event.thing_key
        inside = f"SELECT {event.table}.{own} FROM {event.table}"
        column = f"{entity.table}.id"
        past = self.pick(event.past)
        if self.source.random() < 0.4:
            return self._never(is_subject, past, f"{column} NOT IN ({inside})")
        other, key = (
            (event.thing, event.thing_key) if is_subject else (event.subject, event.subject_key)
        )
        name = self.source.choice(self.rows[other.table])[1]
        join = f" JOIN {other.table} ON {event.table}.{key} = {other.table}.id"
        where = f"{column} IN ({inside}{join} WHERE {other.table}.{other.name} = '{name}')"
        if is_subject:
            return Condition("event", f"{past} {event.article}{name}", "verb", where)
        if self.source.random() < 0.4:
            return Condition("event", f"were {past} by {name}", "verb", where)
        return Condition("event", f"{name} {past}", "clause", where)

    def _never(self, is_subject: bool, past: str, where: str) -> Condition:
        nouns = self.domain.event.nouns[0][1]
        if self.source.random() < 0.25:
            return Condition("never", f"without {nouns}", "adjunct", where)
        if is_subject:
            text = self.pick((f"never {past} anything", f"have no {nouns}"))
            return Condition("never", text, "verb", where)
        if self.source.random() < 0.5:
            return Condition("never", f"were never {past}", "verb", where)
        return Condition("never", f"nobody {past}", "clause", where)

    def value(self, entity: Entity, attribute: Attribute) -> object:
        """A value of a column, as it is written in a question and a query."""
        position = [each.column for each in entity.attributes].index(attribute.column) + 2
        value = self.source.choice(self.rows[entity.table])[position]
        return value if isinstance(value, str) else f"{value:g}"
