"""The grammar of questions and queries.

A query is a head, such as "how many products", with up to two conditions, such as "cost more than 5". The
shape of a query is its head and the kinds of its conditions; some shapes are kept for a test set. Every
head can be asked in several ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from unrolled.samples.shop.conditions import NUMBERS, Conditions, ConditionSource
from unrolled.samples.shop.domains import Attribute, Domain, Entity
from unrolled.samples.shop.wordings import (
    AGGREGATE,
    COUNT,
    FIRST,
    FUNCTIONS,
    GROUPS,
    HAVING,
    LIST,
    MORE,
    PER_GROUP,
    TOP,
)


@dataclass(frozen=True)
class Question:
    """A question and its query, with the shape of the query."""

    text: str
    query: str
    shape: str

    @property
    def key(self) -> str:
        """The question without what only its form changes: capitals and the last punctuation mark."""
        return self.text.casefold().rstrip("?. ")


class Asker(ConditionSource):
    """Draws questions about one domain."""

    def __init__(self, domain: Domain, source: Random) -> None:
        super().__init__(domain, source)
        self.heads: tuple[Callable[[Entity], Question | None], ...] = (
            *(self.listing,) * 3,
            *(self.counting,) * 2,
            *(self.aggregate,) * 2,
            self.superlative,
            self.top,
            self.by_group,
            self.large_groups,
            self.most_common_group,
            self.most_events,
            self.often,
            self.events_in,
            self.amount_by_group,
            self.values,
            self.above_average,
            self.done_by,
        )

    def question(self) -> Question | None:
        """A random question; None if the parts drawn do not fit together."""
        entity = self.source.choice((self.domain.subject, self.domain.thing))
        question = self.source.choice(self.heads)(entity)
        return None if question is None else self._finished(question)

    def _finished(self, question: Question) -> Question:
        """The question with or without capitals and a punctuation mark."""
        text, how = question.text, self.source.random()
        is_asked = re.match(r"(how|what|which|who|where|when|in|since)\b", text) is not None
        if self.source.random() < (0.55 if is_asked else 0.05):
            text += "?"
        if how < 0.35:
            text = text[0].upper() + text[1:]
        elif how < 0.43:
            text = text.lower()
        elif how < 0.46:
            text = text.upper()
        return Question(text, question.query, question.shape)

    def _asked(
        self, templates: tuple[str, ...], noun: str, conditions: Conditions, **words: object
    ) -> str:
        noun = f"{conditions.before}{noun}"
        return self.pick(templates).format(n=noun, t=conditions.after, **words)

    def _noun(self, entity: Entity) -> tuple[str, str]:
        """What a row is called, mostly as its table is."""
        return entity.nouns[0] if self.source.random() < 0.65 else self.source.choice(entity.nouns)

    def _number(self, number: int) -> str:
        """A number, in digits or in words."""
        return NUMBERS[number] if self.source.random() < 0.2 else str(number)

    def listing(self, entity: Entity) -> Question | None:
        """Names of the rows that satisfy conditions."""
        conditions, (_, plural) = self.conditions(entity), self._noun(entity)
        query = f"SELECT {entity.table}.{entity.name} FROM {entity.table}{conditions.where}"
        if conditions.predicate and self.source.random() < 0.4:
            subject = f"which {conditions.before}{plural}"
            if entity.relative == "who" and not conditions.before and self.source.random() < 0.4:
                subject = "who"
            # "who" is followed by a verb in the singular, which is the same in the past.
            text = f"{subject} {conditions.predicate}"
            if subject != "who" or not re.search(r"\b(live|are|come|have)\b", text):
                return Question(text, query, f"list, {conditions.kinds}")
        text = self._asked(LIST, plural, conditions)
        return Question(text, query, f"list, {conditions.kinds}")

    def done_by(self, entity: Entity) -> Question | None:
        """The things that one person did something with: the same query as that of a list."""
        event, thing = self.domain.event, self.domain.thing
        name = self.source.choice(self.rows[event.subject.table])[1]
        (_, plural), verb = self._noun(thing), self.pick(event.infinitive)
        text = self.pick((f"what did {name} {verb}", f"which {plural} did {name} {verb}"))
        query = (
            f"SELECT {thing.table}.{thing.name} FROM {thing.table} WHERE {thing.table}.id IN "
            f"(SELECT {event.table}.{event.thing_key} FROM {event.table} JOIN {event.subject.table} "
            f"ON {event.table}.{event.subject_key} = {event.subject.table}.id "
            f"WHERE {event.subject.table}.{event.subject.name} = '{name}')"
        )
        return Question(text, query, "list, event")

    def counting(self, entity: Entity) -> Question | None:
        """The number of rows that satisfy conditions."""
        conditions, (_, plural) = self.conditions(entity), self._noun(entity)
        text = self._asked(COUNT, plural, conditions)
        if conditions.predicate and self.source.random() < 0.4:
            text = f"how many {conditions.before}{plural} {conditions.predicate}"
        query = f"SELECT COUNT(*) FROM {entity.table}{conditions.where}"
        return Question(text, query, f"count, {conditions.kinds}")

    def aggregate(self, entity: Entity) -> Question | None:
        """Mean, sum, largest or smallest value."""
        attribute = self.numeric(entity)
        if attribute is None:
            return None
        name, function, words = self.source.choice(FUNCTIONS)
        conditions, (_, plural) = self.conditions(entity, 1), self._noun(entity)
        word, noun = self.pick(words), self.pick(attribute.nouns)
        text = self._asked(AGGREGATE, plural, conditions, w=word, a=noun)
        if name == "total" and attribute.sums and self.source.random() < 0.4:
            text = self.pick(attribute.sums).format(
                f"{conditions.before}{plural}{conditions.after}"
            )
        query = (
            f"SELECT {function}({entity.table}.{attribute.column}) FROM "
            f"{entity.table}{conditions.where}"
        )
        return Question(text, query, f"{name}, {conditions.kinds}")

    def superlative(self, entity: Entity) -> Question | None:
        """The row with the largest or smallest value."""
        return self._ordered(entity, 1)

    def top(self, entity: Entity) -> Question | None:
        """The rows with the largest or smallest values."""
        return self._ordered(entity, self.source.randrange(2, 11))

    def _ordered(self, entity: Entity, n: int) -> Question | None:
        attribute = self.source.choice([each for each in entity.attributes if each.most])
        is_most = self.source.random() < 0.6
        conditions = self.conditions(entity, 1, is_one=n == 1)
        adjective = self.pick(attribute.most if is_most else attribute.least)
        noun = self._noun(entity)[n > 1]
        number = self._number(n)
        if attribute.kind == "number" and self.source.random() < 0.2:
            word = self.source.choice(("highest", "largest") if is_most else ("lowest", "smallest"))
            what = f"the {conditions.before}{noun}" if n == 1 else f"the {number} {noun}"
            if n > 1 and conditions.before:
                what = f"the {number} {conditions.before}{noun}"
            text = f"{what} with the {word} {self.pick(attribute.nouns)}{conditions.after}"
        else:
            text = self._asked(FIRST if n == 1 else TOP, noun, conditions, s=adjective, k=number)
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table}{conditions.where} "
            f"ORDER BY {entity.table}.{attribute.column}{' DESC' if is_most else ''} LIMIT {n}"
        )
        return Question(text, query, f"{'first' if n == 1 else 'top'}, {conditions.kinds}")

    def by_group(self, entity: Entity) -> Question | None:
        """The number of rows, or the mean of a column, for each value of another."""
        group = _text_attribute(entity)
        conditions, (_, plural) = self.conditions(entity, 1), self._noun(entity)
        column, attribute = f"{entity.table}.{group.column}", self.numeric(entity)
        each = self.pick(PER_GROUP).format(g=self.pick(group.nouns))
        noun = f"{conditions.before}{plural}{conditions.after}"
        if attribute is not None and self.source.random() < 0.5:
            measure, name = f"AVG({entity.table}.{attribute.column})", "mean by group"
            what = f"{self.pick(('average', 'mean'))} {self.pick(attribute.nouns)}"
            text = self.pick(("what is the {} of {} {}", "{} of {} {}", "show the {} of {} {}"))
            text = text.format(what, noun, each)
        else:
            measure, name = "COUNT(*)", "count by group"
            openings = (
                "how many {} are there {}",
                "number of {} {}",
                "count the {} {}",
                "how many {} {}",
            )
            text = self.pick(openings).format(noun, each)
        query = (
            f"SELECT {column}, {measure} FROM {entity.table}{conditions.where} GROUP BY {column}"
        )
        return Question(text, query, f"{name}, {conditions.kinds}")

    def large_groups(self, entity: Entity) -> Question | None:
        """The values that more or fewer than so many rows have."""
        group, (_, plural) = _text_attribute(entity), self._noun(entity)
        n, (word, sign) = self.source.randrange(1, 8), self.source.choice(MORE)
        column = f"{entity.table}.{group.column}"
        opening = self.pick(GROUPS).format(g=self.pick(group.groups))
        query = f"SELECT {column} FROM {entity.table} GROUP BY {column} HAVING COUNT(*) {sign} {n}"
        text = f"{opening} {word} {self._number(n)} {plural}"
        return Question(text, query, "large groups, none")

    def most_common_group(self, entity: Entity) -> Question | None:
        """The value that most or fewest rows have."""
        group, (_, plural) = _text_attribute(entity), self._noun(entity)
        is_most = self.source.random() < 0.7
        column = f"{entity.table}.{group.column}"
        opening = self.pick(
            (
                "which {} has the {}",
                "the {} with the {}",
                "what is the {} with the {}",
                "which {} has {}",
            )
        )
        text = opening.format(self.pick(group.nouns), "most" if is_most else "fewest")
        query = (
            f"SELECT {column} FROM {entity.table} GROUP BY {column} "
            f"ORDER BY COUNT(*){' DESC' if is_most else ''} LIMIT 1"
        )
        return Question(f"{text} {plural}", query, "most common group, none")

    def most_events(self, entity: Entity) -> Question | None:
        """Who did most, or what it was most done with."""
        event, (singular, _) = self.domain.event, self._noun(entity)
        is_subject = entity is event.subject
        key = event.subject_key if is_subject else event.thing_key
        is_most = self.source.random() < 0.7
        events, word = self.pick([each[1] for each in event.nouns]), "most" if is_most else "fewest"
        openings = [
            f"which {singular} has the",
            f"find the {singular} with the",
            f"show the {singular} with the",
            f"the {singular} with the",
        ]
        if is_subject:
            made = self.source.choice(event.made)[1]
            openings += [f"which {singular} {made} the", f"who {made} the", "who has the"]
        text = f"{self.pick(openings)} {word} {events}"
        if not is_subject and self.source.random() < 0.3:
            adverb = "most often" if is_most else "least often"
            text = f"which {singular} was {self.pick(event.past)} {adverb}"
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table} JOIN {event.table} "
            f"ON {event.table}.{key} = {entity.table}.id GROUP BY {entity.table}.id "
            f"ORDER BY COUNT(*){' DESC' if is_most else ''} LIMIT 1"
        )
        return Question(text, query, "most events, none")

    def often(self, entity: Entity) -> Question | None:
        """Who did it more than so often."""
        event, (_, plural) = self.domain.event, self._noun(entity)
        is_subject = entity is event.subject
        key = event.subject_key if is_subject else event.thing_key
        n, (word, sign) = self.source.randrange(3, 14), self.source.choice(MORE)
        openings = [each.format(n=plural) for each in HAVING]
        if is_subject:
            made = self.source.choice(event.made)[1]
            openings += [f"which {plural} {made}", f"who {made}"]
        query = (
            f"SELECT {entity.table}.{entity.name} FROM {entity.table} JOIN {event.table} ON "
            f"{event.table}.{key} = {entity.table}.id GROUP BY {entity.table}.id "
            f"HAVING COUNT(*) {sign} {n}"
        )
        events = self.pick([each[1] for each in event.nouns])
        text = f"{self.pick(openings)} {word} {self._number(n)} {events}"
        return Question(text, query, "often, none")

    def events_in(self, entity: Entity) -> Question | None:
        """The number of events, or their total, on or around a date or of one person or thing."""
        event = self.domain.event
        is_count = self.source.random() < 0.5
        nouns = self.pick([each[1] for each in event.nouns])
        if self.source.random() < 0.5:
            made = self.source.choice(event.made)[1]
            when = self.dated(f"{event.table}.{event.day}", "")
            where, kind, by = f" WHERE {when.where}", when.kind, f" {when.text}"
            asked = f"how many {nouns} were {made}{by}"
        else:
            is_subject = entity is event.subject
            key = event.subject_key if is_subject else event.thing_key
            name, kind = self.source.choice(self.rows[entity.table])[1], "name"
            where = (
                f" JOIN {entity.table} ON {event.table}.{key} = {entity.table}.id "
                f"WHERE {entity.table}.{entity.name} = '{name}'"
            )
            by = f" {self.pick(('by', 'of', 'from') if is_subject else ('of', 'for'))} "
            by += f"{'' if is_subject else event.article}{name}"
            asked = f"how many {nouns} were there{by}"
            if is_subject:
                verb, done = self.source.choice(event.made)
                asked = self.pick((f"did {name} {verb}", f"has {name} {done}"))
                asked = f"how many {nouns} {asked}"
        if is_count:
            openings = [f"how many {nouns} were there", f"count the {nouns}", f"number of {nouns}"]
            openings += [f"how many {nouns}", f"number of all {nouns}"]
            text = asked if self.source.random() < 0.3 else f"{self.pick(openings)}{by}"
            query = f"SELECT COUNT(*) FROM {event.table}{where}"
            return Question(text, query, f"count events, {kind}")
        opening = self.pick(
            ("what is the total {} of {}", "show the total {} of {}", "total {} of {}")
        )
        query = f"SELECT SUM({event.table}.{event.amount.column}) FROM {event.table}{where}"
        text = f"{opening.format(self.pick(event.amount.nouns), nouns)}{by}"
        if kind == "name" and entity is event.subject and self.source.random() < 0.4:
            text = self.pick(event.amount.sums).format(name, self.pick(event.infinitive))
        return Question(text, query, f"total of events, {kind}")

    def amount_by_group(self, entity: Entity) -> Question | None:
        """The total of the events for each group of people or things, or their number in each month."""
        event = self.domain.event
        key = event.subject_key if entity is event.subject else event.thing_key
        group, events = _text_attribute(entity), self.pick([each[1] for each in event.nouns])
        column = f"{entity.table}.{group.column}"
        is_count = self.source.random() < 0.5
        measure = "COUNT(*)" if is_count else f"SUM({event.table}.{event.amount.column})"
        what = (
            f"number of {events}"
            if is_count
            else f"total {self.pick(event.amount.nouns)} of {events}"
        )
        opening = self.pick(("show the ", "what is the ", "", "give me the "))
        each = self.source.choice(("for each", "per", "by"))
        if is_count and self.source.random() < 0.25:
            month = f"STRFTIME('%Y-%m', {event.table}.{event.day})"
            query = f"SELECT {month}, COUNT(*) FROM {event.table} GROUP BY {month}"
            text = self.pick((f"{opening}{what} {each} month", f"how many {events} per month"))
            return Question(text, query, "count by month, none")
        query = (
            f"SELECT {column}, {measure} FROM {event.table} JOIN {entity.table} "
            f"ON {event.table}.{key} = {entity.table}.id GROUP BY {column}"
        )
        text = f"{opening}{what} {each} {self._noun(entity)[0]} {self.pick(group.nouns)}"
        return Question(text, query, f"{'count' if is_count else 'total'} by joined group, none")

    def values(self, entity: Entity) -> Question | None:
        """The different values of a column, their number, or the value of one row."""
        attribute = self.source.choice(entity.attributes)
        column, (_, plural) = f"{entity.table}.{attribute.column}", self._noun(entity)
        if self.source.random() < 0.5 and attribute.kind == "text":
            groups = self.pick(attribute.groups)
            if self.source.random() < 0.4:
                texts = (
                    f"how many different {groups} are there",
                    f"number of {groups} of {plural}",
                    f"how many {groups} are there",
                    f"in how many {groups} are {plural}",
                )
                query = f"SELECT COUNT(DISTINCT {column}) FROM {entity.table}"
                return Question(self.pick(texts), query, "count distinct, none")
            opening = self.pick(("what are the different", "list the distinct", "which different"))
            text = f"{opening} {groups} of {plural}"
            if self.source.random() < 0.3:
                text = self.pick((f"which {groups} are there", f"all {groups}"))
            query = f"SELECT DISTINCT {column} FROM {entity.table}"
            return Question(text, query, "distinct, none")
        name = self.source.choice(self.rows[entity.table])[1]
        is_thing = entity is self.domain.thing and self.source.random() < 0.7
        name_asked = f"{self.domain.event.article if is_thing else ''}{name}"
        openings = ("what is the {} of {}", "show the {} of {}", "tell me the {} of {}", "{} of {}")
        text = self.pick(openings).format(self.pick(attribute.nouns), name_asked)
        if attribute.asks and self.source.random() < 0.4:
            text = self.pick(attribute.asks).format(name_asked)
        query = f"SELECT {column} FROM {entity.table} WHERE {entity.table}.{entity.name} = '{name}'"
        return Question(text, query, f"value, {attribute.kind}")

    def above_average(self, entity: Entity) -> Question | None:
        """The rows above or below the mean."""
        attribute, (_, plural) = self.numeric(entity), self._noun(entity)
        if attribute is None:
            return None
        word, sign = self.source.choice((("above", ">"), ("below", "<")))
        column = f"{entity.table}.{attribute.column}"
        is_count = self.source.random() < 0.3
        head = "COUNT(*)" if is_count else f"{entity.table}.{entity.name}"
        start = f"how many {plural} have" if is_count else self.pick(HAVING).format(n=plural)
        query = (
            f"SELECT {head} FROM {entity.table} WHERE {column} {sign} "
            f"(SELECT AVG({column}) FROM {entity.table})"
        )
        average = self.pick(("average", "the average", "the mean"))
        text = f"{start} a {self.pick(attribute.nouns)} {word} {average}"
        return Question(text, query, f"{'count' if is_count else 'list'}, average")

    def numeric(self, entity: Entity) -> Attribute | None:
        """A random column of numbers."""
        numbers = [each for each in entity.attributes if each.kind == "number"]
        return self.source.choice(numbers) if numbers else None


def _text_attribute(entity: Entity) -> Attribute:
    return next(each for each in entity.attributes if each.kind == "text")
