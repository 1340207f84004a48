"""A trained model that answers questions about a database."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from unrolled.decoding.config import DecodingConfig
from unrolled.errors import ConfigError
from unrolled.predictors.seq2seq import Predictor
from unrolled.sql.database import Database, Result
from unrolled.sql.linking import Link
from unrolled.sql.parsing import QueryError
from unrolled.sql.scoring import QueryScores, measure
from unrolled.sql.source import Source
from unrolled.sql.tokens import describe
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.tasks.sql.answers import cut, names_nothing, unknown_words, unused_values
from unrolled.tasks.sql.examples import QueryExample
from unrolled.text.rows import Row
from unrolled.training.evaluation import predictions
from unrolled.wording import percent


@dataclass(frozen=True)
class Candidate:
    """Another query that may answer a question.

    Args:
        sql: the query.
        confidence: its probability under the model, 0…1.
        problem: why it does not run; "" if it does, or if there is no database to run it on.
    """

    sql: str
    confidence: float
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Asked:
    """A question and its answer.

    Args:
        question: the question.
        sql: the query; "" if there is no answer.
        reason: why there is no answer; "" if there is one.
        result: what the query returns; None if there is no answer or no database to run it on.
        confidence: probability of the query under the model, 0…1.
        others: the next best queries.
        words: the words of the question.
        written: the query as the model wrote it, piece by piece.
        copied: for each piece, the step of the memory that it points at, or None.
        memory: what the model looked at: the words, then tables and columns, then values of the database.
        attention: `[pieces + 1, memory]`, the attention weights of each piece and of the end.
        links: pairs of a word and a step of the memory that its letters are linked to.
        n_truncated: words at the end of the question that were not read (`decoding.max_input_length`).
        unknown: words that stand neither in the training questions nor in the database, so that the query
            does not take them into account.
        unused: numbers and values of the database that the question mentions and the query does not have,
            a sign that it answers another question.
    """

    question: str
    sql: str
    reason: str = ""
    result: Result | None = None
    confidence: float = 0.0
    others: tuple[Candidate, ...] = ()
    words: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    copied: tuple[int | None, ...] = ()
    memory: tuple[str, ...] = ()
    attention: Tensor | None = None
    links: tuple[tuple[int, int], ...] = ()
    n_truncated: int = 0
    unknown: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if not self.sql:
            return f"Asked({self.question!r}, no answer: {self.reason})"
        rows = "" if self.result is None else f", {len(self.result.rows):,} rows"
        return f"Asked({self.question!r}, {self.sql!r}{rows}, confidence={self.confidence:.2f})"


PathOrDatabase = str | PathLike[str] | Database


class QueryPredictor(Predictor):
    """A model that answers questions about databases. Created by `load`."""

    def predict(  # type: ignore[override]  # it needs to know the database
        self,
        texts: str | Iterable[str],
        database: PathOrDatabase,
        decoding: DecodingConfig | None = None,
        *,
        n_best: int | None = None,
        with_attention: bool = False,
    ) -> list[Prediction]:
        """Return one prediction per question about a database, in order.

        Args:
            texts: the questions, or a single one.
            database: an SQLite file, or the description of a schema.
            decoding: decoding settings; by default those of the recipe.
            n_best: queries per question; by default that of the decoding settings.
            with_attention: whether to return attention weights.

        Raises:
            ConfigError: `n_best` is larger than the beam, or a question is not a text.
            DataError: the database cannot be read.
        """
        path = _path_of(database)
        questions = [texts] if isinstance(texts, str) else list(texts)
        for question in questions:
            _check_question(question)
        examples = [self._encode(question, path) for question in questions]
        return self._decoded(examples, decoding, n_best, with_attention)

    @overload  # type: ignore[override]  # it needs to know the database
    def __call__(self, texts: str, database: PathOrDatabase) -> str: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Iterable[str], database: PathOrDatabase) -> list[str]: ...
    def __call__(self, texts: str | Iterable[str], database: PathOrDatabase) -> str | list[str]:
        """Return the query for one question, or for each of several; "" for no answer."""
        answers = [each.text for each in self.predict(texts, database)]
        return answers[0] if isinstance(texts, str) else answers

    def _decoded(
        self,
        examples: Sequence[QueryExample],
        decoding: DecodingConfig | None,
        n_best: int | None = None,
        with_attention: bool = False,
    ) -> list[Prediction]:
        settings = (decoding or self.recipe.decoding).for_answers_of(self._longest_target)
        if n_best is not None:
            settings = replace(settings, n_best=n_best)
        return predictions(
            self.model, self.task, examples, self.tokenizers, settings, with_attention
        )

    def _encode(self, question: str, path: str) -> QueryExample:
        example: QueryExample = self.task.encode((question, path), self.tokenizers)
        return example

    def _answers(self, rows: Sequence[Row], decoding: DecodingConfig | None) -> list[Prediction]:
        return self._decoded([self._encode(*row.texts[:2]) for row in rows], decoding)

    def evaluate(  # type: ignore[override]  # the scores of queries
        self, rows: Sequence[Row], decoding: DecodingConfig | None = None
    ) -> QueryScores:
        """Answer the question of each row, and compare the query with that of the row.

        Args:
            rows: question, path of the database and query, as returned by `held_out` or `read`.
            decoding: decoding settings; by default those of the recipe.
        """
        began = time.perf_counter()
        answers = [each.text for each in self._answers(rows, decoding)]
        seconds = time.perf_counter() - began
        scores = measure(answers, [self.task.reference(row) for row in rows])
        return replace(scores, seconds=seconds)

    def ask(
        self,
        question: str,
        database: PathOrDatabase,
        n_best: int = 5,
        decoding: DecodingConfig | None = None,
        most_rows: int = 1_000,
    ) -> Asked:
        """Answer a question: the query, what it returns, and what the model looked at.

        Args:
            question: the question.
            database: an SQLite file, which is only read; or the description of a schema.
            n_best: number of queries, with the answer.
            decoding: decoding settings; by default those of the recipe.
            most_rows: maximum number of rows to return.

        Raises:
            ConfigError: the question is not a text, `database` is neither a path nor a database, or a
                number is out of range.
            DataError: the database cannot be read.
        """
        _check_question(question)
        _check_number("n_best", n_best, 1)
        _check_number("most_rows", most_rows, 0)
        path = _path_of(database)
        example = self._encode(question, path)
        if not example.words:
            return Asked(question, "", "the question is empty")
        settings = decoding or self.recipe.decoding
        n_words = len(example.words)
        example = cut(example, settings.max_input_length, self.tokenizers)
        if settings.method == "beam":
            n_hypotheses = max(settings.beam_size, n_best)
            settings = replace(settings, beam_size=n_hypotheses, n_best=n_hypotheses)
        elif settings.method == "sample":
            settings = replace(settings, n_best=max(settings.n_best, n_best))
        (prediction,) = self._decoded([example], settings, with_attention=True)
        asked = _asked(question, example, prediction, n_best, most_rows)
        return replace(asked, n_truncated=n_words - len(example.words))


def _path_of(database: PathOrDatabase) -> str:
    if isinstance(database, Database):
        return str(database.path)
    if not isinstance(database, (str, PathLike)):
        raise ConfigError(
            f"a database must be the path of an SQLite file; found {type(database).__name__}"
        )
    if not str(database):
        raise ConfigError("no database given; name an SQLite file")
    return str(Path(database))


def _check_question(question: object) -> None:
    if not isinstance(question, str):
        raise ConfigError(
            f"a question must be a text; found {type(question).__name__} {question!r:.40}"
        )


def _check_number(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r:.40}")


def _asked(
    question: str, example: QueryExample, prediction: Prediction, n_best: int, most_rows: int
) -> Asked:
    answers = [answer for answer in prediction.hypotheses if answer.text]
    best = answers[0] if answers else None
    has_answer = bool(prediction.text) and best is not None
    others = answers[1:] if has_answer else answers
    source = example.source
    common: dict[str, Any] = {
        "question": question,
        "others": tuple(
            _candidate(answer, source)
            for answer in _by_probability(_distinct(others, prediction.text)[: n_best - 1])
        ),
        "words": example.words,
        "memory": memory_of(example),
        "unknown": unknown_words(example),
        "links": tuple(
            (int(word), len(example.words) + int(item))
            for word, item in zip(*(example.links >= Link.PART).nonzero(), strict=True)
        ),
    }
    if not has_answer:
        why = _why_none(best, example)
        return Asked(sql="", reason=why, confidence=_probability(best), **common)
    assert best is not None
    result, reason = None, ""
    if source.has_rows:
        try:
            result = source.run(best.text, most_rows)
        except QueryError as error:
            reason = str(error)
    return Asked(
        sql="" if reason else best.text,
        reason=reason,
        result=result,
        confidence=_probability(best),
        written=best.pieces,
        copied=best.copied,
        attention=best.attention,
        unused=() if reason else unused_values(example, best.text),
        **common,
    )


def _by_probability(answers: Sequence[Answer]) -> list[Answer]:
    """Answers that were chosen by their score, the most probable first."""
    return sorted(answers, key=lambda answer: -answer.log_prob)


def _probability(answer: Answer | None) -> float:
    return 0.0 if answer is None else min(1.0, math.exp(answer.log_prob))


def _why_none(best: Answer | None, example: QueryExample) -> str:
    if best is None:
        return "no query of the search is complete"
    if names_nothing(example):
        return "the question names nothing of the database, and has unknown words"
    problem = _candidate(best, example.source).problem
    if problem:
        return f"the best query does not run: {problem}"
    share = percent(_probability(best), 2)
    return f"the best query has a probability of {share}, too little to be an answer"


def _distinct(answers: Sequence[Answer], first: str) -> list[Answer]:
    seen = {first}
    kept = []
    for answer in answers:
        if answer.text not in seen:
            seen.add(answer.text)
            kept.append(answer)
    return kept


def _candidate(answer: Answer, source: Source) -> Candidate:
    problem = ""
    if source.has_rows:
        try:
            source.run(answer.text, most_rows=1, most_seconds=1.0)
        except QueryError as error:
            problem = str(error)
    return Candidate(answer.text, _probability(answer), problem)


def memory_of(example: QueryExample) -> tuple[str, ...]:
    """What the model looks at, as text: the words, then tables and columns, then values."""
    names = describe(list(example.items.items), example.source.schema)
    return (*example.words, *names, *(value.text for value in example.values))
