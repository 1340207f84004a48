"""The answers of a model that writes queries on databases."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unrolled.sql.database import Result


@dataclass(frozen=True)
class Candidate:
    """A query that was considered.

    Args:
        sql: the query.
        confidence: how probable it is that it is right, 0…1.
        problem: why it does not run; "" if it does.
    """

    sql: str
    confidence: float
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Asked:
    """The answer to a question.

    Args:
        question: the question.
        sql: the query; "" if there is no answer.
        reason: why there is no answer; "" if there is one.
        result: what the query returns.
        confidence: how probable it is that the query is right, 0…1.
        others: the next best queries.
        words: the words of the question.
        written: the pieces of the query as text.
        copied: for each piece the index in `memory` of what it points at, or None.
        memory: the words, then the names of tables and columns, then values found in the database.
        attention: for each piece the weights of `memory`.
        links: pairs of the index of a word and the index in `memory` of what it may stand for.
    """

    question: str
    sql: str
    reason: str
    result: Result | None
    confidence: float
    others: tuple[Candidate, ...]
    words: tuple[str, ...]
    written: tuple[str, ...]
    copied: tuple[int | None, ...]
    memory: tuple[str, ...]
    attention: Tensor | None
    links: tuple[tuple[int, int], ...]
