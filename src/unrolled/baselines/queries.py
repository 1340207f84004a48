"""Baselines that answer a question with a query seen in training, its values replaced.

A query is a template with slots for the values that stand in its question. Both baselines choose a
template and fill its slots with values of the new question:

- `NearestQuestion` takes the template of the nearest training question (`RetrievalBaseline`).
- `TemplateClassifier` predicts the template by logistic regression on n-grams, like the baseline of
  Finegan-Dollak et al. (2018), "Improving text-to-SQL evaluation methodology", section 4.2.

A second logistic regression tells for each value of a question which slot it fills, from the words beside
it. Values are known from training queries and from the text columns of the database; all values of a
template that the question lacks stay as they were in training. Neither baseline writes a query that has
another form than those seen in training, so neither can answer on a split by query, or on a database that
training has not seen; for the latter, they give no answer.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.config import BaselineConfig, Family
from unrolled.baselines.fit import Labelled, fit_one
from unrolled.baselines.model import Baseline
from unrolled.baselines.retrieval import RetrievalBaseline
from unrolled.errors import DataError
from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError, library
from unrolled.sql.schema_files import is_schema_file
from unrolled.sql.tokens import is_number
from unrolled.text.rows import Row

_WORD = re.compile(r"\d+(?:\.\d+)?|\w+|[^\w\s]")
_COMPARED = re.compile(r"([\w.`\"\[\]]+)\s*(?:[=<>!]+|NOT\s+LIKE|LIKE|IN\s*\(|BETWEEN)\s*$", re.I)
_LONGEST_VALUE = 6  # words
_SHORTEST_IN_ANY_CASE = 3  # characters; "OR" and "in" are states, too
_MOST_VALUES = 10_000  # of a column
_MARKS = ("'", '"')
_NO_SLOT = "-"
_MANY_TEXTS = 2_000  # of more, rare n-grams are left out: a third of the time
_TEMPLATES = Family(2, "tfidf", (30.0,))
_SLOTS = Family(1, "presence", (1.0,))


@dataclass(frozen=True)
class Template:
    """A query without the values that stand in its question.

    Args:
        texts: the text before, between and after its values.
        slots: the slot of each value, so that equal values share one.
    """

    texts: tuple[str, ...]
    slots: tuple[str, ...]

    @property
    def numeric(self) -> frozenset[str]:
        """The slots whose values stand without quotation marks."""
        pairs = zip(self.slots, self.texts, strict=False)
        return frozenset(slot for slot, text in pairs if text[-1:] not in _MARKS)

    def filled(self, values: Mapping[str, str]) -> str:
        """The query with a value for each slot."""
        query = self.texts[0]
        for slot, text in zip(self.slots, self.texts[1:], strict=True):
            mark = query[-1:]
            value = values[slot]
            query += value.replace(mark, mark * 2) if mark in _MARKS else value
            query += text
        return query


@dataclass(frozen=True)
class Value:
    """A value in a question.

    Args:
        start, end: its words are start … end − 1.
        text: the value as queries write it.
        column: the column that it most often belongs to.
    """

    start: int
    end: int
    text: str
    column: str


class QueryBaseline(ABC):
    """A baseline for one or several databases.

    Args:
        rows: training rows of question, database and query.
        dialect: the dialect of the queries; see `sql.parsing.parse_select`.

    Raises:
        DataError: there are no rows.
        UnavailableError: scikit-learn or sqlglot is not installed.
    """

    def __init__(self, rows: Sequence[Row], dialect: str = "sqlite") -> None:
        if not rows:
            raise DataError("baselines need training rows; there are none")
        self._dialect = dialect
        by_database: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in rows:
            question, database, query = row.texts
            by_database[database].append((question, query))
        self._fitted = {
            database: self._fit(_Examples.of(pairs, database, dialect))
            for database, pairs in by_database.items()
        }

    def predict(self, questions: Sequence[str], database: str) -> list[str]:
        """A query for each question, in the dialect of the training rows; "" for an unseen database."""
        fitted = self._fitted.get(database)
        return [""] * len(questions) if fitted is None else fitted.predict(questions)

    def predict_rows(self, rows: Sequence[Row]) -> list[str]:
        """A query for each row of question, database and query, which is not looked at."""
        by_database: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            by_database[row.texts[1]].append(index)
        queries: dict[int, str] = {}
        for database, indices in by_database.items():
            found = self.predict([rows[i].texts[0] for i in indices], database)
            queries.update(zip(indices, found, strict=True))
        return [queries[index] for index in range(len(rows))]

    @abstractmethod
    def _fit(self, examples: _Examples) -> _Fitted: ...


class NearestQuestion(QueryBaseline):
    """The query of the nearest training question, with the values of the new question."""

    def _fit(self, examples: _Examples) -> _Fitted:
        masked = [" ".join(each.masked) for each in examples.questions]
        pairs = [(text, str(index)) for index, text in enumerate(masked)]
        return _Nearest(examples, _SlotModel.fit(examples), RetrievalBaseline(pairs))


class TemplateClassifier(QueryBaseline):
    """The most probable template, with the values of the new question."""

    def _fit(self, examples: _Examples) -> _Fitted:
        # The first row of a template has the values of its slots that a question lacks.
        first: dict[Template, int] = {}
        for index, (template, _) in enumerate(examples.queries):
            first.setdefault(template, index)
        targets = [str(first[template]) for template, _ in examples.queries]
        model = _fitted_model([each.framed for each in examples.questions], targets, _TEMPLATES)
        return _Classified(examples, _SlotModel.fit(examples), model)


@dataclass(frozen=True)
class _Question:
    """A question as words, and the values in it."""

    words: tuple[str, ...]
    values: tuple[Value, ...]

    @property
    def masked(self) -> list[str]:
        """Its words in lower case, with each value replaced by its column."""
        words: list[str] = []
        at = 0
        for value in self.values:
            words += [word.lower() for word in self.words[at : value.start]]
            words.append(f"<{value.column}>")
            at = value.end
        return words + [word.lower() for word in self.words[at:]]

    @property
    def framed(self) -> list[str]:
        """The same with marks at its ends, and the number of its values."""
        return ["^", *self.masked, "$", f"<{len(self.values)} values>"]

    def features(self, value: Value) -> list[str]:
        """What tells which slot a value fills: its columns and the words beside it."""
        lower = ["", "", "", *(word.lower() for word in self.words), "", "", ""]
        start, end = value.start + 3, value.end + 3
        place = self.values.index(value)
        before, after = lower[start - 3 : start], lower[end : end + 2]
        return [
            f"column {value.column}",
            f"place {place}",
            f"of its column {sum(v.column == value.column for v in self.values[:place])}",
            f"column {value.column} after {before[-1]}",
            *(f"-{3 - i} {word}" for i, word in enumerate(before)),
            *(f"+{i + 1} {word}" for i, word in enumerate(after)),
            f"-2 {before[-2]} {before[-1]}",
        ]


@dataclass(frozen=True)
class _Values:
    """The values that questions may contain, by their words in lower case."""

    columns: Mapping[str, Counter[str]]
    spellings: Mapping[str, str]

    @classmethod
    def of(cls, literals: Sequence[_Literal], database: str) -> _Values:
        columns: dict[str, Counter[str]] = defaultdict(Counter)
        spellings: dict[str, str] = {}
        for literal in literals:
            columns[_key(literal.text)][literal.column] += 1
            spellings.setdefault(_key(literal.text), literal.text)
        for column, text in _stored_values(database):
            columns[_key(text)][column] += 0  # used in queries counts first
            spellings.setdefault(_key(text), text)
        columns.pop("", None)  # values of blanks alone
        return cls(dict(columns), spellings)

    def find(self, question: str) -> _Question:
        """The longest known values in a question, and its numbers, from left to right.

        Values of training queries come before those of the database.
        """
        words = tuple(_WORD.findall(question))
        values: list[Value] = []
        start = 0
        while start < len(words):
            value = self._longest(words, start)
            if value is not None:
                values.append(value)
            start = start + 1 if value is None else value.end
        return _Question(words, tuple(values))

    def _longest(self, words: tuple[str, ...], start: int) -> Value | None:
        longest = min(len(words), start + _LONGEST_VALUE)
        for is_used, end in product((True, False), range(longest, start, -1)):
            key = " ".join(words[start:end]).lower()
            columns = self.columns.get(key)
            if columns and bool(columns.total()) == is_used:
                text = self.spellings[key]
                if len(text) < _SHORTEST_IN_ANY_CASE and text != " ".join(words[start:end]):
                    continue
                return Value(start, end, text, _most_common(columns))
        word = words[start]
        return Value(start, start + 1, word, "number") if word[0].isdecimal() else None


def _most_common(columns: Counter[str]) -> str:
    return min(columns, key=lambda column: (-columns[column], column))


def _key(text: str) -> str:
    return " ".join(_WORD.findall(text)).lower()


def _stored_values(path: str) -> Iterator[tuple[str, str]]:
    """Columns and their values as text; nothing for a schema without data."""
    if is_schema_file(Path(path)):
        return
    with Database(Path(path)) as database:
        for table in database.schema.tables:
            for column in table.columns:
                if column.kind in ("text", "other"):
                    yield from _values_of(database, table.name, column.name)


def _values_of(database: Database, table: str, column: str) -> Iterator[tuple[str, str]]:
    quoted = [name.replace('"', '""') for name in (column, table)]
    try:
        result = database.run('SELECT DISTINCT "{}" FROM "{}"'.format(*quoted), _MOST_VALUES)
    except QueryError:  # such as a view of a table that is gone
        return
    for (value,) in result.rows:
        if isinstance(value, str):
            yield column.lower(), value


@dataclass(frozen=True)
class _Literal:
    """A value in a query: where its text stands, without quotation marks, and the column beside it."""

    start: int
    end: int
    text: str
    column: str


def _literals(query: str, dialect: str) -> list[_Literal]:
    try:
        tokens = library().tokenize(query, read=dialect)
    except library().errors.SqlglotError:
        return []
    found = []
    column = ""
    for token in tokens:
        kind = token.token_type.name
        if kind not in ("STRING", "NUMBER"):
            continue
        margin = 1 if kind == "STRING" else 0
        start, end = token.start + margin, token.end + 1 - margin
        text = query[start:end]
        start += len(text) - len(text.lstrip("%"))
        end -= len(text) - len(text.rstrip("%"))
        match = _COMPARED.search(query[max(0, token.start - 200) : token.start])
        if match is not None:  # a further value of IN or BETWEEN has the column of the first
            column = match[1].rpartition(".")[2].strip('`"[]').lower()
        if start < end:
            mark = query[token.start] if margin else ""
            text = query[start:end].replace(mark * 2, mark) if mark else query[start:end]
            found.append(_Literal(start, end, text, column))
    return found


@dataclass(frozen=True)
class _Examples:
    """Training questions and their queries as templates, for one database."""

    questions: list[_Question]
    queries: list[tuple[Template, dict[str, str]]]
    values: _Values

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]], database: str, dialect: str) -> _Examples:
        literals = [_literals(query, dialect) for _, query in pairs]
        values = _Values.of([each for query in literals for each in query], database)
        questions = [values.find(question) for question, _ in pairs]
        queries = [
            _template(query, found, question)
            for (_, query), found, question in zip(pairs, literals, questions, strict=True)
        ]
        return cls(questions, queries, values)


def _template(
    query: str, literals: Sequence[_Literal], question: _Question
) -> tuple[Template, dict[str, str]]:
    """A query as a template, and the values of its slots."""
    there = {_key(value.text) for value in question.values}
    slots: dict[str, str] = {}
    texts, order, values, at = [], [], {}, 0
    n_of: Counter[str] = Counter()
    for literal in literals:
        key = _key(literal.text)
        if key not in there:
            continue
        if key not in slots:
            slots[key] = f"{literal.column} {n_of[literal.column]}"
            n_of[literal.column] += 1
        texts.append(query[at : literal.start])
        order.append(slots[key])
        values[slots[key]] = literal.text
        at = literal.end
    return Template((*texts, query[at:]), tuple(order)), values


def _fitted_model(
    texts: Sequence[Sequence[str]], targets: Sequence[str], family: Family
) -> Baseline:
    """Logistic regression on n-grams; one value of C, so there is nothing to choose."""
    data = Labelled([[text] for text in texts], targets)
    config = BaselineConfig(min_texts=2 if len(texts) > _MANY_TEXTS else 1)
    baseline: Baseline = fit_one(
        "queries", family, (0,), data, Labelled(data.texts[:1], targets[:1]), _no_score, config
    ).baseline
    return baseline


def _no_score(gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    return 0.0


@dataclass(frozen=True, eq=False)
class _SlotModel:
    """Tells which slot a value of a question fills; None if no training query has a slot."""

    model: Baseline | None

    @classmethod
    def fit(cls, examples: _Examples) -> _SlotModel:
        texts, targets = [], []
        for question, (_, values) in zip(examples.questions, examples.queries, strict=True):
            slots = {_key(text): slot for slot, text in values.items()}
            for value in question.values:
                texts.append(question.features(value))
                targets.append(slots.get(_key(value.text), _NO_SLOT))
        return cls(_fitted_model(texts, targets, _SLOTS) if texts else None)

    def values(
        self, question: _Question, template: Template, default: Mapping[str, str]
    ) -> dict[str, str]:
        """A value for each slot: those of the question that fit best, or those of training."""
        chosen = dict(default)
        slots = list(dict.fromkeys(template.slots))
        if self.model is None or not slots or not question.values:
            return chosen
        scores_VS = self._scores(question, slots, template.numeric)
        while np.isfinite(scores_VS).any():
            value, slot = np.unravel_index(int(scores_VS.argmax()), scores_VS.shape)
            chosen[slots[slot]] = question.values[value].text
            scores_VS[value, :] = scores_VS[:, slot] = -np.inf
        return chosen

    def _scores(
        self, question: _Question, slots: Sequence[str], numeric: frozenset[str]
    ) -> NDArray[np.float64]:
        """`[values, slots]`: log-odds of each slot against none; −∞ for a text as a number."""
        assert self.model is not None
        odds_VC = self.model.margins([[question.features(value)] for value in question.values])
        scores_VS = odds_VC[:, [self._column_of[slot] for slot in slots]]
        if _NO_SLOT in self._column_of:
            scores_VS = scores_VS - odds_VC[:, [self._column_of[_NO_SLOT]]]
        for v, value in enumerate(question.values):
            if not is_number(value.text):
                scores_VS[v, [slot in numeric for slot in slots]] = -np.inf
        return scores_VS

    @cached_property
    def _column_of(self) -> dict[str, int]:
        assert self.model is not None
        return {label: index for index, label in enumerate(self.model.labels)}


@dataclass(frozen=True, eq=False)
class _Fitted(ABC):
    """A baseline for one database."""

    examples: _Examples
    slots: _SlotModel

    def predict(self, questions: Sequence[str]) -> list[str]:
        found = [self.examples.values.find(question) for question in questions]
        queries = []
        for question, index in zip(found, self.indices(found), strict=True):
            template, default = self.examples.queries[index]
            queries.append(template.filled(self.slots.values(question, template, default)))
        return queries

    @abstractmethod
    def indices(self, questions: Sequence[_Question]) -> list[int]:
        """For each question, the training row whose template is used."""


@dataclass(frozen=True, eq=False)
class _Nearest(_Fitted):
    retrieval: RetrievalBaseline

    def indices(self, questions: Sequence[_Question]) -> list[int]:
        found = self.retrieval.translate([" ".join(each.masked) for each in questions])
        return [int(index) for index in found]


@dataclass(frozen=True, eq=False)
class _Classified(_Fitted):
    model: Baseline

    def indices(self, questions: Sequence[_Question]) -> list[int]:
        found = self.model.predict([[each.framed] for each in questions])
        return [int(str(index)) for index in found]
