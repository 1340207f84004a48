"""The grammar of questions and queries.

A query is a head, such as "how many products", with up to two conditions, such as "cost more than 5". The
shape of a query is its head and the kinds of its conditions; some shapes are kept for a test set.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from unrolled.samples.shop.domains import Attribute, Domain, Entity, rows

_MONTH_NAMES = """
January February March April May June July August September October November December
"""
MONTHS = tuple(_MONTH_NAMES.split())


@dataclass(frozen=True)
class Question:
    """A question and its query, with the shape of the query."""

    text: str
    query: str
    shape: str


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of an entity.

    Args:
        kind: for the shape of the query.
        text: a relative clause without its pronoun: "cost more than 5".
        is_adjunct: whether the text is "from Oslo" rather than a clause with a verb.
        where: the condition in SQL.
    """

    kind: str
    text: str
    is_adjunct: bool
    where: str


class Asker:
    """Draws questions about one domain."""

    def __init__(self, domain: Domain, source: Random) -> None:
        self.domain, self.source = domain, source
        self.rows = rows(domain)
        self.heads: tuple[Callable[[Entity], Question | None], ...] = (
            self.listing,
            self.listing,
            self.listing,
            self.counting,
            self.counting,
            self.aggregate,
            self.superlative,
            self.top,
            self.by_group,
            self.large_groups,
            self.most_events,
            self.often,
            self.events_in,
            self.amount_by_group,
            self.values,
            self.above_average,
        )

    def question(self) -> Question | None:
        """A random question; None if the parts drawn do not fit together."""
        entity = self.source.choice((self.domain.subject, self.domain.thing))
        return self.source.choice(self.heads)(entity)

    # Conditions

    def conditions(self, entity: Entity, most: int = 2) -> tuple[str, str, str]:
        """Random conditions: their text, their SQL with WHERE, and their kinds."""
        n = self.source.choice((0, 1, 1, 2)[: most + 2])
        drawn: list[Condition] = []
        while len(drawn) < n:
            condition = self.condition(entity)
            if condition.kind not in {each.kind for each in drawn}:
                drawn.append(condition)
        if not drawn:
            return "", "", "none"
        drawn.sort(key=lambda condition: not condition.is_adjunct)
        word = "and" if len(drawn) < 2 or self.source.random() < 0.75 else "or"
        text, is_open = "", False
        for i, condition in enumerate(drawn):
            join = f" {word}" if i and (word == "or" or is_open) else ""
            if condition.is_adjunct:
                text += f"{join} {condition.text}"
            else:
                pronoun = "" if is_open else f" {entity.relative}"
                text += f"{join}{pronoun} {condition.text}"
                is_open = True
        where = f" {word.upper()} ".join(condition.where for condition in drawn)
        kinds = f" {word} ".join(sorted(condition.kind for condition in drawn))
        return text, f" WHERE {where}", kinds

    def condition(self, entity: Entity) -> Condition:
        """A random condition."""
        attribute = self.source.choice((*entity.attributes, None))
        if attribute is None:
            return self.with_event(entity)
        column = f"{entity.table}.{attribute.column}"
        if attribute.kind == "text":
            value = self.value(entity, attribute)
            return Condition(
                "text", f"{attribute.with_value} {value}", True, f"{column} = '{value}'"
            )
        if attribute.kind == "date":
            return self.dated(column, attribute.with_value)
        value = self.value(entity, attribute)
        if self.source.random() < 0.5:
            return Condition("number", f"{attribute.above} {value}", False, f"{column} > {value}")
        return Condition("number", f"{attribute.below} {value}", False, f"{column} < {value}")

    def dated(self, column: str, verb: str) -> Condition:
        """A condition on a date: before or after a day, or within a month."""
        year, month = self.source.choice((2023, 2024)), self.source.randrange(1, 13)
        how = self.source.randrange(3)
        if how == 2:
            last_day = monthrange(year, month)[1]
            first, last = f"{year}-{month:02}-01", f"{year}-{month:02}-{last_day}"
            text = f"{verb} in {MONTHS[month - 1]} {year}"
            return Condition("month", text, False, f"{column} BETWEEN '{first}' AND '{last}'")
        day = f"{year}-{month:02}-{self.source.randrange(1, 29):02}"
        word, sign = (("after", ">"), ("before", "<"))[how]
        return Condition("date", f"{verb} {word} {day}", False, f"{column} {sign} '{day}'")

    def with_event(self, entity: Entity) -> Condition:
        """A condition on what somebody did, or never did."""
        event = self.domain.event
        is_subject = entity is event.subject
        own = event.subject_key if is_subject else event.thing_key
        other, other_key = (
            (event.thing, event.thing_key) if is_subject else (event.subject, event.subject_key)
        )
        inside = f"SELECT {event.table}.{own} FROM {event.table}"
        column = f"{entity.table}.id"
        if self.source.random() < 0.4:
            text = f"never {event.past} anything" if is_subject else f"nobody {event.past}"
            return Condition("never", text, False, f"{column} NOT IN ({inside})")
        name = self.source.choice(self.rows[other.table])[1]
        join = f" JOIN {other.table} ON {event.table}.{other_key} = {other.table}.id"
        where = f" WHERE {other.table}.{other.name} = '{name}'"
        text = f"{event.past} the {name}" if is_subject else f"{name} {event.past}"
        if self.domain.name == "library" and is_subject:
            text = f"{event.past} {name}"
        return Condition("event", text, False, f"{column} IN ({inside}{join}{where})")

    def value(self, entity: Entity, attribute: Attribute) -> object:
        """A value of a column, as it is written in a question and a query."""
        position = [each.column for each in entity.attributes].index(attribute.column) + 2
        value = self.source.choice(self.rows[entity.table])[position]
        return value if isinstance(value, str) else f"{value:g}"

    # Heads

    def listing(self, entity: Entity) -> Question | None:
        """Names of the rows that satisfy conditions."""
        text, where, kinds = self.conditions(entity)
        opening = self.source.choice(
            (
                "show the {}",
                "list all {}",
                "which {} are there",
                "give me the names of {}",
                "what are the {}",
            )
        ).format(entity.plural)
        query = f"SELECT {entity.table}.{entity.name} FROM {entity.table}{where}"
        return Question(f"{opening}{text}", query, f"list, {kinds}")

    def counting(self, entity: Entity) -> Question | None:
        """The number of rows that satisfy conditions."""
        text, where, kinds = self.conditions(entity)
        opening = self.source.choice(
            ("how many {} are there", "count the {}", "what is the number of {}", "number of {}")
        ).format(entity.plural)
        return Question(
            f"{opening}{text}", f"SELECT COUNT(*) FROM {entity.table}{where}", f"count, {kinds}"
        )

    def aggregate(self, entity: Entity) -> Question | None:
        """Mean, sum, largest or smallest value."""
        attribute = self.numeric(entity)
        if attribute is None:
            return None
        word, function = self.source.choice(
            (("average", "AVG"), ("total", "SUM"), ("highest", "MAX"), ("lowest", "MIN"))
        )
        text, where, kinds = self.conditions(entity, 1)
        opening = self.source.choice(("what is the", "show the", "tell me the"))
        query = f"SELECT {function}({entity.table}.{attribute.column}) FROM {entity.table}{where}"
        question = f"{opening} {word} {attribute.noun} of {entity.plural}{text}"
        return Question(question, query, f"{word}, {kinds}")

    def superlative(self, entity: Entity) -> Question | None:
        """The row with the largest or smallest value."""
        return self._ordered(entity, 1)

    def top(self, entity: Entity) -> Question | None:
        """The rows with the largest or smallest values."""
        return self._ordered(entity, self.source.randrange(2, 8))

    def _ordered(self, entity: Entity, n: int) -> Question | None:
        attribute = self.source.choice([each for each in entity.attributes if each.most])
        is_most = self.source.random() < 0.6
        text, where, kinds = self.conditions(entity, 1)
        adjective = attribute.most if is_most else attribute.least
        what = f"{adjective} {entity.singular}" if n == 1 else f"{n} {adjective} {entity.plural}"
        opening = self.source.choice(
            ("which is the", "show the", "find the")
            if n == 1
            else ("show the", "which are the", "list the")
        )
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table}{where} "
            f"ORDER BY {entity.table}.{attribute.column}{' DESC' if is_most else ''} LIMIT {n}"
        )
        return Question(
            f"{opening} {what}{text}", query, f"{'first' if n == 1 else 'top'}, {kinds}"
        )

    def by_group(self, entity: Entity) -> Question | None:
        """The number of rows, or the mean of a column, for each value of another."""
        group = next(each for each in entity.attributes if each.kind == "text")
        text, where, kinds = self.conditions(entity, 1)
        column, attribute = f"{entity.table}.{group.column}", self.numeric(entity)
        if attribute is not None and self.source.random() < 0.5:
            what, measure = (
                f"average {attribute.noun} of {entity.plural}",
                f"AVG({entity.table}.{attribute.column})",
            )
            opening, name = "what is the", "mean by group"
        else:
            what, measure, opening, name = (
                f"many {entity.plural} are there",
                "COUNT(*)",
                "how",
                "count by group",
            )
        query = f"SELECT {column}, {measure} FROM {entity.table}{where} GROUP BY {column}"
        return Question(f"{opening} {what}{text} in each {group.noun}", query, f"{name}, {kinds}")

    def large_groups(self, entity: Entity) -> Question | None:
        """The values that more or fewer than so many rows have."""
        group = next(each for each in entity.attributes if each.kind == "text")
        n, (word, sign) = (
            self.source.randrange(1, 8),
            self.source.choice((("more", ">"), ("fewer", "<"))),
        )
        column = f"{entity.table}.{group.column}"
        plural = {"category": "categories", "city": "cities"}.get(group.noun, f"{group.noun}s")
        opening = self.source.choice(("which {} have", "show the {} with", "list {} that have"))
        query = f"SELECT {column} FROM {entity.table} GROUP BY {column} HAVING COUNT(*) {sign} {n}"
        return Question(
            f"{opening.format(plural)} {word} than {n} {entity.plural}", query, "large groups, none"
        )

    def most_events(self, entity: Entity) -> Question | None:
        """Who did most, or what it was most done with."""
        event = self.domain.event
        key = event.subject_key if entity is event.subject else event.thing_key
        is_most = self.source.random() < 0.7
        opening = self.source.choice(
            ("which {} has the", "find the {} with the", "show the {} with the")
        )
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table} JOIN {event.table} "
            f"ON {event.table}.{key} = {entity.table}.id GROUP BY {entity.table}.id "
            f"ORDER BY COUNT(*){' DESC' if is_most else ''} LIMIT 1"
        )
        text = f"{opening.format(entity.singular)} {'most' if is_most else 'fewest'} {event.plural}"
        return Question(text, query, "most events, none")

    def often(self, entity: Entity) -> Question | None:
        """Who did it more than so often."""
        event = self.domain.event
        key = event.subject_key if entity is event.subject else event.thing_key
        n = self.source.randrange(3, 14)
        opening = self.source.choice(("which {} have", "list the {} with", "show {} that have"))
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table} JOIN {event.table} "
            f"ON {event.table}.{key} = {entity.table}.id GROUP BY {entity.table}.id HAVING COUNT(*) > {n}"
        )
        return Question(
            f"{opening.format(entity.plural)} more than {n} {event.plural}", query, "often, none"
        )

    def events_in(self, entity: Entity) -> Question | None:
        """The number of events, or their total, on or around a date or of one person or thing."""
        event = self.domain.event
        if self.source.random() < 0.5:
            when = self.dated(f"{event.table}.{event.day}", "")
            text, join, kind = when.text, f" WHERE {when.where}", when.kind
        else:
            key = event.subject_key if entity is event.subject else event.thing_key
            name = self.source.choice(self.rows[entity.table])[1]
            text = f" {'by' if entity is event.subject else 'of'} {name}"
            join = (
                f" JOIN {entity.table} ON {event.table}.{key} = {entity.table}.id "
                f"WHERE {entity.table}.{entity.name} = '{name}'"
            )
            kind = "name"
        if self.source.random() < 0.5:
            opening = self.source.choice(("how many {} were there", "count the {}", "number of {}"))
            query = f"SELECT COUNT(*) FROM {event.table}{join}"
            return Question(f"{opening.format(event.plural)}{text}", query, f"count events, {kind}")
        opening = self.source.choice(("what is the total {} of {}", "show the total {} of {}"))
        query = f"SELECT SUM({event.table}.{event.amount.column}) FROM {event.table}{join}"
        start = opening.format(event.amount.noun, event.plural)
        return Question(f"{start}{text}", query, f"total of events, {kind}")

    def amount_by_group(self, entity: Entity) -> Question | None:
        """The total of the events for each group of people or things."""
        event = self.domain.event
        key = event.subject_key if entity is event.subject else event.thing_key
        group = next(each for each in entity.attributes if each.kind == "text")
        column = f"{entity.table}.{group.column}"
        is_count = self.source.random() < 0.5
        measure = "COUNT(*)" if is_count else f"SUM({event.table}.{event.amount.column})"
        what = (
            f"number of {event.plural}"
            if is_count
            else f"total {event.amount.noun} of {event.plural}"
        )
        opening = self.source.choice(("show the", "what is the"))
        query = (
            f"SELECT {column}, {measure} FROM {event.table} JOIN {entity.table} "
            f"ON {event.table}.{key} = {entity.table}.id GROUP BY {column}"
        )
        text = f"{opening} {what} for each {entity.singular} {group.noun}"
        return Question(text, query, f"{'count' if is_count else 'total'} by joined group, none")

    def values(self, entity: Entity) -> Question | None:
        """The different values of a column, or the value of one row."""
        attribute = self.source.choice(entity.attributes)
        column = f"{entity.table}.{attribute.column}"
        if self.source.random() < 0.4 and attribute.kind == "text":
            opening = self.source.choice(
                ("what are the different", "list the distinct", "which different")
            )
            plural = {"category": "categories", "city": "cities"}.get(
                attribute.noun, f"{attribute.noun}s"
            )
            query = f"SELECT DISTINCT {column} FROM {entity.table}"
            return Question(f"{opening} {plural} of {entity.plural}", query, "distinct, none")
        name = self.source.choice(self.rows[entity.table])[1]
        opening = self.source.choice(
            ("what is the {} of {}", "show the {} of {}", "tell me the {} of {}")
        )
        query = f"SELECT {column} FROM {entity.table} WHERE {entity.table}.{entity.name} = '{name}'"
        return Question(opening.format(attribute.noun, name), query, f"value, {attribute.kind}")

    def above_average(self, entity: Entity) -> Question | None:
        """The rows above or below the mean."""
        attribute = self.numeric(entity)
        if attribute is None:
            return None
        word, sign = self.source.choice((("above", ">"), ("below", "<")))
        column = f"{entity.table}.{attribute.column}"
        opening = self.source.choice(("which {} have", "show the {} with", "list {} that have"))
        is_count = self.source.random() < 0.3
        head = "COUNT(*)" if is_count else f"{entity.table}.{entity.name}"
        start = f"how many {entity.plural} have" if is_count else opening.format(entity.plural)
        query = (
            f"SELECT {head} FROM {entity.table} WHERE {column} {sign} "
            f"(SELECT AVG({column}) FROM {entity.table})"
        )
        text = f"{start} a {attribute.noun} {word} average"
        return Question(text, query, f"{'count' if is_count else 'list'}, average")

    def numeric(self, entity: Entity) -> Attribute | None:
        """A random column of numbers."""
        numbers = [each for each in entity.attributes if each.kind == "number"]
        return self.source.choice(numbers) if numbers else None
