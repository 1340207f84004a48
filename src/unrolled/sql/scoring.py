"""The scores of predicted queries against gold queries, as text and by what they return.

`score` gives the scores, `measure` also the counts behind them, and `judge` what holds for each row. A
prediction is read in SQLite's dialect, or, if its names do not resolve then, in the dialect of the gold
query. An empty prediction is no answer, and wrong by every score.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from unrolled.metrics.display import WIDTH, aligned, short_repr, signature_lines, title
from unrolled.sql.database import MOST_SECONDS, Database
from unrolled.sql.execution import MOST_ROWS_COMPARED, Expected, expected_rows
from unrolled.sql.match import CLAUSES, Forms, canonical, forms, in_common
from unrolled.sql.parsing import LONGEST_QUERY, QueryError, parse_select
from unrolled.sql.schema import Schema
from unrolled.sql.schema_files import is_schema_file, read_schema
from unrolled.sql.target import render
from unrolled.sql.variants import write_variants

_LEAST_SECONDS = 2.0
_TIMES_THE_GOLD = 10.0
_CACHED_QUERIES = 4_096

GoldRows = Literal["some", "none", "fails", "no data"]
"""What a gold query returns: rows, no rows, or nothing that can be compared, because it fails, takes too
long or returns too many rows, or because there is no data to run it on."""

Counts = Mapping[str, tuple[int, int, int]]
"""By clause: the parts in both queries, in the gold query, and in the predicted one."""


@dataclass(frozen=True)
class Gold:
    """A query that is right.

    Args:
        query: the query.
        database: path of its database: an SQLite file, or a schema without data (`.csv`, `.json`; see
            `read_schema`).
        dialect: the dialect of sqlglot it is written in: "sqlite", or "mysql" if texts are in double
            quotes.
        question: the question that it answers.
    """

    query: str
    database: str
    dialect: str = "sqlite"
    question: str = ""


@dataclass(frozen=True)
class Verdict:
    """What holds for one prediction.

    Args:
        is_answered: whether there is a prediction.
        is_valid: whether it parses, names only what exists, and runs if there is data.
        is_exact, is_normalized, is_set_match: whether it equals the gold query; see `sql.match`.
        is_same_rows: whether it returns the rows of the gold query; None if this cannot be said.
        is_same_on_variants: the same, on the database and on all its variants.
        components: what it has in common with the gold query.
        components_without_values: the same, with all values equal.
        problem: why it is not valid; "" if it is.
        gold_rows: what the gold query returns.
        is_gold_resolved: whether the names of the gold query exist; otherwise queries are compared as
            written.
    """

    is_answered: bool
    is_valid: bool
    is_exact: bool
    is_normalized: bool
    is_set_match: bool
    is_same_rows: bool | None
    is_same_on_variants: bool | None
    components: Counts
    components_without_values: Counts
    problem: str
    gold_rows: GoldRows
    is_gold_resolved: bool


@dataclass(frozen=True, repr=False)
class QueryScores:
    """The scores of predicted queries, and the counts behind them.

    Args:
        n_questions: number of rows.
        right: by score, the number of rows that are right.
        components: what predicted and gold queries have in common, summed over the rows.
        components_without_values: the same, with all values equal.
        gold_rows: the number of gold queries by what they return.
        n_gold_unresolved: the number of gold queries with names that their database does not have.
        n_variants: maximum number of variants of a database; 0 for none.
        seconds: how long it took.
    """

    n_questions: int
    right: Mapping[str, int]
    components: Counts
    components_without_values: Counts
    gold_rows: Mapping[GoldRows, int]
    n_gold_unresolved: int = 0
    n_variants: int = 0
    seconds: float = 0.0

    @classmethod
    def of(
        cls, verdicts: Sequence[Verdict], n_variants: int = 0, seconds: float = 0.0
    ) -> QueryScores:
        """The scores of verdicts."""
        right = {
            "exact": sum(each.is_exact for each in verdicts),
            "normalized": sum(each.is_normalized for each in verdicts),
            "set_match": sum(each.is_set_match for each in verdicts),
            "execution": sum(each.is_same_rows is True for each in verdicts),
            "execution_variants": sum(each.is_same_on_variants is True for each in verdicts),
            "valid": sum(each.is_valid for each in verdicts),
            "answered": sum(each.is_answered for each in verdicts),
        }
        kinds: tuple[GoldRows, ...] = ("some", "none", "fails", "no data")
        return cls(
            len(verdicts),
            right,
            _summed([each.components for each in verdicts]),
            _summed([each.components_without_values for each in verdicts]),
            {kind: sum(each.gold_rows == kind for each in verdicts) for kind in kinds},
            sum(not each.is_gold_resolved for each in verdicts),
            n_variants,
            seconds,
        )

    @property
    def n_gradable(self) -> int:
        """Number of rows whose gold query runs."""
        return self.gold_rows["some"] + self.gold_rows["none"]

    def scores(self) -> dict[str, float]:
        """All scores by name, in percent; `execution` only if a gold query runs."""
        of = dict.fromkeys(self.right, self.n_questions)
        of |= dict.fromkeys(("execution", "execution_variants"), self.n_gradable)
        values = {name: _percent(n, of[name]) for name, n in self.right.items() if of[name]}
        values["components"] = _mean_f1(self.components)
        values["components_without_values"] = _mean_f1(self.components_without_values)
        return {name: values[name] for name in signature(self.n_variants) if name in values}

    def lines(self, width: int = WIDTH, *, signatures: bool = False) -> Iterator[str]:
        """The scores as text: a line per score, and F1 by clause.

        Args:
            width: maximum width of a line.
            signatures: whether to add how each score was computed.
        """
        rate = self.n_questions / self.seconds if self.seconds else float("inf")
        yield f"{self.n_questions:,} queries in {self.seconds:.1f} s ({rate:,.0f}/s)"
        yield from self._notes()
        yield ""
        rows = [["score", "value"]]
        rows += [[title(name), f"{value:.2f}"] for name, value in self.scores().items()]
        yield from aligned(rows, width)
        yield ""
        rows = [["clause", "F1", "without values", "gold parts", "predicted parts"]]
        for clause in CLAUSES:
            _, n_gold, n_predicted = self.components[clause]
            if n_gold or n_predicted:
                pair = (self.components[clause], self.components_without_values[clause])
                values = [f"{_f1(counts):.2f}" for counts in pair]
                rows.append([clause, *values, f"{n_gold:,}", f"{n_predicted:,}"])
        yield from aligned(rows, width)
        if signatures:
            yield ""
            yield from signature_lines(signature(self.n_variants))

    def _notes(self) -> Iterator[str]:
        runs, fails = self.n_gradable, self.gold_rows["fails"]
        if runs:
            yield f"gold queries that run: {runs:,} ({self.gold_rows['none']:,} return no rows)"
        if fails:
            yield f"gold queries that cannot be run, and do not count for execution: {fails:,}"
        if self.gold_rows["no data"]:
            yield f"gold queries for a schema without data: {self.gold_rows['no data']:,}"
        if self.n_gold_unresolved:
            yield (
                "gold queries with names that their database does not have, compared as written: "
                f"{self.n_gold_unresolved:,}"
            )

    def figures(self) -> dict[str, object]:
        """The entries for a results file."""
        return {
            "questions": self.n_questions,
            "seconds": round(self.seconds, 1),
            **self.scores(),
            "clauses": {clause: _f1(self.components[clause]) for clause in CLAUSES},
            "gold_rows": dict(self.gold_rows),
            "gold_unresolved": self.n_gold_unresolved,
            "signatures": signature(self.n_variants),
        }

    def __repr__(self) -> str:
        return short_repr(self)


def score(predicted: Sequence[str], golds: Sequence[Gold], variants: int = 0) -> dict[str, float]:
    """The scores of predicted queries, in percent; larger is better. See `signature` for what they are.

    `execution` is left out if no gold query can be run.

    Args:
        predicted: a query for each gold query; "" for no answer. It may be anything.
        golds: the gold queries.
        variants: maximum number of variants of each database on which a query must also return the gold
            rows for `execution_variants` (see `sql.variants`); 0 leaves this score out.

    Raises:
        DataError: a database or schema cannot be read.
        UnavailableError: sqlglot is not installed.
        ValueError: the numbers of queries differ.
    """
    return measure(predicted, golds, variants).scores()


def measure(predicted: Sequence[str], golds: Sequence[Gold], variants: int = 0) -> QueryScores:
    """The scores of predicted queries and the counts behind them; arguments and errors as for `score`."""
    began = time.monotonic()
    verdicts = judge(predicted, golds, variants)
    return QueryScores.of(verdicts, variants, time.monotonic() - began)


def judge(predicted: Sequence[str], golds: Sequence[Gold], variants: int = 0) -> list[Verdict]:
    """What holds for each prediction; arguments and errors as for `score`."""
    if len(predicted) != len(golds):
        raise ValueError(
            f"there are {len(golds):,} gold and {len(predicted):,} predicted queries: pass one "
            "prediction for each"
        )
    by_database: dict[str, list[int]] = {}
    for index, gold in enumerate(golds):
        by_database.setdefault(gold.database, []).append(index)
    verdicts: dict[int, Verdict] = {}
    for path, indices in by_database.items():
        with ExitStack() as stack:
            judged = _Judge.of(Path(path), stack)
            if variants:
                judged.add_variants([golds[index] for index in indices], variants, stack)
            for index in indices:
                verdicts[index] = judged.verdict(predicted[index].strip(), golds[index])
    return [verdicts[index] for index in range(len(golds))]


@dataclass(frozen=True)
class _Read:
    """A query that was read.

    Args:
        forms: what is compared of it; None if it is no SELECT.
        runnable: the query in SQLite's dialect.
        problem: why its names do not resolve; "" if they do.
    """

    forms: Forms | None
    runnable: str
    problem: str


@lru_cache(maxsize=_CACHED_QUERIES)
def _read(query: str, schema: Schema, dialect: str) -> _Read:
    try:
        tree = canonical(query, schema, dialect)
        return _Read(forms(tree, schema), query if dialect == "sqlite" else render(tree), "")
    except QueryError as error:
        problem = str(error)
    try:
        return _Read(forms(parse_select(query, dialect), schema), query, problem)
    except QueryError:
        return _Read(None, query, problem)


def _read_prediction(query: str, schema: Schema, dialect: str) -> _Read:
    """A prediction, read in the first dialect in which its names resolve."""
    if len(query) > LONGEST_QUERY:  # not to be kept in the cache
        return _Read(None, "", f"the query is longer than {LONGEST_QUERY:,} characters")
    first = _read(query, schema, "sqlite")
    if dialect == "sqlite" or not first.problem:
        return first
    second = _read(query, schema, dialect)
    return first if second.problem else second


_NO_COUNTS: Counts = dict.fromkeys(CLAUSES, (0, 0, 0))


@dataclass(frozen=True)
class _Data:
    """A database.

    Args:
        database: the database.
        rows: what gold queries return, as far as they were run; None for those that fail.
    """

    database: Database
    rows: dict[str, Expected | None] = field(default_factory=dict)

    def expected(self, gold: str) -> Expected | None:
        """What a gold query returns; None if nothing can be compared with it."""
        if gold not in self.rows:
            try:
                self.rows[gold] = expected_rows(gold, self.database)
            except QueryError:
                self.rows[gold] = None
        return self.rows[gold]

    def compare(self, gold: str, predicted: str) -> tuple[bool | None, str]:
        """Whether a prediction returns the rows of a gold query, and why it does not run."""
        expected = self.expected(gold)
        seconds = MOST_SECONDS
        if expected is not None:
            seconds = max(_LEAST_SECONDS, _TIMES_THE_GOLD * expected.result.seconds)
        try:
            found = self.database.run(predicted, MOST_ROWS_COMPARED, seconds)
        except QueryError as error:
            return (None if expected is None else False), str(error)
        return (None if expected is None else expected.equals(found)), ""


@dataclass(frozen=True)
class _Judge:
    """Judges the predictions for one database.

    Args:
        schema: its schema.
        data: the database; None for a schema without data.
        variants: its variants.
    """

    schema: Schema
    data: _Data | None
    variants: list[_Data] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, stack: ExitStack) -> _Judge:
        if is_schema_file(path):
            return cls(read_schema(path), None)
        database = stack.enter_context(Database(path))
        return cls(database.schema, _Data(database))

    def add_variants(self, golds: Sequence[Gold], n: int, stack: ExitStack) -> None:
        """Make variants of the database that tell these queries from others."""
        if self.data is None:
            return
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="unrolled-variants-")))
        queries = [self._read(gold).runnable for gold in golds]
        runnable = [query for query in queries if self.data.expected(query) is not None]
        for file in write_variants(self.data.database.path, runnable, n, folder):
            self.variants.append(_Data(stack.enter_context(Database(file))))

    def _read(self, gold: Gold) -> _Read:
        return _read(gold.query.strip(), self.schema, gold.dialect)

    def verdict(self, predicted: str, gold: Gold) -> Verdict:
        ours = self._read(gold)
        is_same_text = predicted == gold.query.strip()
        if not predicted:
            theirs = _Read(None, "", "no answer")
        elif is_same_text:
            theirs = ours
        else:
            theirs = _read_prediction(predicted, self.schema, gold.dialect)
        is_exact = is_same_text or _agree("exact", ours, theirs)
        is_same_rows, problem = self._run(ours, theirs, is_exact)
        problem = theirs.problem or problem
        return Verdict(
            is_answered=bool(predicted),
            is_valid=not problem,
            is_exact=is_exact,
            is_normalized=is_same_text or _agree("normalized", ours, theirs),
            is_set_match=is_same_text or _agree("sets", ours, theirs),
            is_same_rows=is_same_rows,
            is_same_on_variants=is_same_rows
            and (is_exact or self._is_same_on_variants(ours, theirs)),
            components=_counts("parts", ours, theirs),
            components_without_values=_counts("parts_without_values", ours, theirs),
            problem=problem,
            gold_rows=self._gold_rows(ours.runnable),
            is_gold_resolved=not ours.problem,
        )

    def _gold_rows(self, query: str) -> GoldRows:
        if self.data is None:
            return "no data"
        expected = self.data.expected(query)
        if expected is None:
            return "fails"
        return "some" if expected.result.rows else "none"

    def _run(self, ours: _Read, theirs: _Read, is_exact: bool) -> tuple[bool | None, str]:
        """Whether a prediction returns the rows of the gold query, and why it does not run."""
        if self.data is None:
            return None, ""
        is_gradable = self.data.expected(ours.runnable) is not None
        if not theirs.runnable:
            return (False if is_gradable else None), theirs.problem
        if is_exact and is_gradable:
            return True, ""
        return self.data.compare(ours.runnable, theirs.runnable)

    def _is_same_on_variants(self, ours: _Read, theirs: _Read) -> bool:
        """Whether no variant on which the gold query runs tells the queries apart."""
        return all(
            data.compare(ours.runnable, theirs.runnable)[0] is not False for data in self.variants
        )


def _agree(form: str, ours: _Read, theirs: _Read) -> bool:
    if ours.forms is None or theirs.forms is None or bool(ours.problem) != bool(theirs.problem):
        return False
    return bool(getattr(ours.forms, form) == getattr(theirs.forms, form))


def _counts(form: str, ours: _Read, theirs: _Read) -> Counts:
    if ours.forms is None:
        return _NO_COUNTS
    return in_common(
        getattr(ours.forms, form), {} if theirs.forms is None else getattr(theirs.forms, form)
    )


def _summed(counts: Sequence[Counts]) -> Counts:
    sums = {}
    for clause in CLAUSES:
        columns = zip(*(each[clause] for each in counts), strict=True)
        both, gold, predicted = map(sum, columns) if counts else (0, 0, 0)
        sums[clause] = (both, gold, predicted)
    return sums


def _f1(counts: tuple[int, int, int]) -> float:
    both, gold, predicted = counts
    return _percent(2 * both, gold + predicted)


def _mean_f1(counts: Counts) -> float:
    """The mean of F1 over the clauses that occur."""
    values = [_f1(each) for each in counts.values() if any(each)]
    return round(sum(values) / len(values), 4) if values else 0.0


def _percent(n: int, of: int) -> float:
    return round(100 * n / of, 4) if of else 0.0


_CANONICAL = "sqlglot trees|names:qualified, renamed, any case"
_HOW = {
    "exact": f"equal / all|{_CANONICAL}|order:kept|values:yes",
    "normalized": f"equal / all|{_CANONICAL}|operands of AND, OR, =, <>, +, * and IN:sorted|> as <",
    "components": "F1 of the parts of a clause, summed over all rows, mean over clauses|values:yes",
    "components_without_values": "as components|values:no",
    "set_match": "equal / all|exact set match of Spider: no values, DISTINCT, ON; foreign keys merged",
    "execution": (
        "same rows / gold queries that run|multiset; in order if the outermost gold has ORDER BY, ties "
        f"free|columns:in order|numbers:1e-6|NULL=NULL|rows:at most {MOST_ROWS_COMPARED:,}|"
        f"time:max({_LEAST_SECONDS:g} s, {_TIMES_THE_GOLD:g} x gold)"
    ),
    "valid": "parses, names resolve, runs if there is data / all",
    "answered": "not empty / all",
}


def signature(variants: int = 0) -> dict[str, str]:
    """How each score is computed, one line each; only scores with equal signatures are comparable.

    Args:
        variants: maximum number of variants of a database; see `score`.
    """
    lines = dict(_HOW)
    if variants:
        lines["execution_variants"] = (
            f"as execution, on the database and its variants|variants:at most {variants}|seed:1|version:1"
        )
    return lines
