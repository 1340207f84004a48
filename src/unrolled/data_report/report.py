"""The report of `unrolled data`, by kind of task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unrolled.data_report import cost
from unrolled.data_report.labels import render_labels, survey_labels
from unrolled.data_report.pairs import Encoded, render, survey
from unrolled.data_report.queries import report_queries
from unrolled.data_report.running_text import report_text
from unrolled.errors import UnrolledError
from unrolled.tasks import text_labels
from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import AnyTask, CodeTask, LabelTask, StreamTask, Task
from unrolled.text.labels import Labels
from unrolled.text.rows import Row, hint_of_separator
from unrolled.training.dataset import given_words
from unrolled.training.device import within_memory
from unrolled.training.recipe import Recipe

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(task: AnyTask, recipe: Recipe) -> RenderableType:
    """Describe data as a training run would read it, for `rich.print`, and estimate its cost.

    Args:
        task: the task the data are for.
        recipe: the recipe of the run, for this task.

    Raises:
        ConfigError: no file is given.
        DataError: a file cannot be read as requested, or cannot be split.
    """
    return _TABLE[task.kind](task, recipe)


def _rows(task: Task, recipe: Recipe) -> RenderableType:
    began = time.perf_counter()
    words = next(iter(given_words(recipe)), None)
    most = recipe.training.max_tokens
    result = survey(recipe.data, recipe.text, max_tokens=most, words=words)
    if len(result.columns) != len(task.columns):
        names = " and ".join(task.columns)
        problem = f"choose the columns for {names} with --columns"
        if len(result.columns) == 1:
            one = f"the file has one column, and {task.name} needs {names}"
            problem = one + hint_of_separator(result.columns[0].name)
        return render(replace(result, estimate=(("time", f"not estimated: {problem}"),)))
    encoded = result.encoded

    def tokenizers() -> Tokenizers:
        if len(task.columns) == 2 and task.train_tokenizers.__module__.startswith("unrolled."):
            return dict(zip(("source", "target"), encoded.tokenizers, strict=True))
        return task.train_tokenizers(encoded.splits.train, recipe.text)

    skips = recipe.data.too_long == "skip"
    facts = _cost(recipe, task, encoded, tokenizers, {"train": skips, "valid": True}, began)
    return render(replace(result, estimate=facts))


def _code(task: CodeTask, recipe: Recipe) -> RenderableType:
    began = time.perf_counter()
    result = survey(
        recipe.data,
        recipe.text,
        max_tokens=recipe.training.max_tokens,
        names=task.columns,
        reading=task.reading,
    )
    encoded = result.encoded

    def tokenizers() -> Tokenizers:
        return task.train_tokenizers(encoded.splits.train, recipe.text)

    facts = _cost(recipe, task, encoded, tokenizers, {"train": True, "valid": True}, began)
    return render(replace(result, estimate=facts))


def _labels(task: LabelTask, recipe: Recipe) -> RenderableType:
    began = time.perf_counter()
    given = given_words(recipe)
    result = survey_labels(task, recipe.data, recipe.text, *given)
    encoded = result.encoded

    def tokenizers() -> Tokenizers:
        rows, data = encoded.splits.train, recipe.data
        # Without reading all rows again, which takes long if there are many labels.
        is_plain = task.train_tokenizers is text_labels.train_tokenizers
        if is_plain and (data.label_separator or not result.n_bare):
            names = [name for name, n in result.labels.items() if n["train"]]
            multi_label = bool(data.label_separator)
            labels = Labels.of(names, multi_label=multi_label, averaged=data.averaged)
            found = {text_labels.ROLE: encoded.tokenizers[0], LABELS: labels}
        else:
            found = task.train_tokenizers(rows, recipe.text, data, *given)
        return task.learn(recipe.model, rows, task.extend(recipe.model, found), data)

    skips = {"train": recipe.data.too_long == "skip", "valid": False}
    facts = _cost(recipe, task, encoded, tokenizers, skips, began)
    return render_labels(replace(result, estimate=facts))


def _cost(
    recipe: Recipe,
    task: Task | LabelTask,
    encoded: Encoded,
    tokenizers: Callable[[], Tokenizers],
    skips: Mapping[str, bool],
    began: float,
) -> tuple[tuple[str, str], ...]:
    """The lines on time and memory, or why there is no estimate."""
    if not encoded.splits.train or not encoded.splits.valid:
        return ()
    try:
        with within_memory(
            task.kind.memory_hint.format(training=recipe.training, data=recipe.data)
        ):
            words = tokenizers()
            train, valid = (
                _read(task, encoded, part, words, recipe, skips[part])
                for part in ("train", "valid")
            )
            seconds = time.perf_counter() - began
            return tuple(cost.of_rows(recipe, task, words, train, valid, seconds).facts())
    except UnrolledError as error:
        problem = getattr(error, "problem", str(error))
        return (("time", f"not estimated, because training stops with an error: {problem}"),)


def _read(
    task: Task | LabelTask,
    encoded: Encoded,
    part: str,
    tokenizers: Tokenizers,
    recipe: Recipe,
    skips: bool,
) -> tuple[Sequence[Row], Sequence[tuple[int, ...]]]:
    """The rows of a part that training reads, and their lengths as in `Task.lengths`."""
    rows: Sequence[Row] = getattr(encoded.splits, part)
    lengths = encoded.lengths[part]
    first: Any = rows[0].fields if isinstance(task, LabelTask) else rows[0].texts
    options = (recipe.data,) if isinstance(task, LabelTask) else ()
    # An end of sentence, for example, is not counted in the report.
    lengths = lengths + task.lengths(task.encode(first, tokenizers, *options)) - lengths[0]
    fits = lengths.max(axis=1) <= recipe.data.max_length
    if skips:
        rows, lengths = [row for row, fit in zip(rows, fits, strict=True) if fit], lengths[fits]
    elif task.kind is not LABELLING or not getattr(task, "by_token", False):
        lengths = lengths.clip(max=recipe.data.max_length)
    return rows, [tuple(row) for row in lengths.tolist()]


def _running_text(task: StreamTask, recipe: Recipe) -> RenderableType:
    return report_text(task, recipe)


_TABLE: Mapping[Kind, Callable[[Any, Recipe], RenderableType]] = {
    SEQ2SEQ: _rows,
    QUERIES: report_queries,
    CODE: _code,
    LABELLING: _labels,
    LANGUAGE_MODEL: _running_text,
}
