"""The report of `unrolled data`, by kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unrolled.data_report.labels import render_labels, survey_labels
from unrolled.data_report.pairs import render, survey
from unrolled.errors import ConfigError
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL, SEQ2SEQ, Kind
from unrolled.tasks.seq2seq import TranslateConfig
from unrolled.tasks.task import AnyTask, LabelTask, StreamTask, Task
from unrolled.text.tokenizer import TextConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(task: AnyTask, data: Any, text: TextConfig, max_tokens: int) -> RenderableType:
    """Describe data as a training run would read it, for `rich.print`.

    Args:
        task: the task the data are for.
        data: the `[data]` section.
        text: the `[text]` section.
        max_tokens: token budget of a batch.

    Raises:
        ConfigError: the task reads running text, or no file is given.
        DataError: a file cannot be read as requested, or cannot be split.
    """
    return _TABLE[task.kind](task, data, text, max_tokens)


def _rows(task: Task, data: Any, text: TextConfig, max_tokens: int) -> RenderableType:
    result = survey(data, text, max_tokens=max_tokens)
    # The estimate is measured with the default translation model.
    if len(result.columns) > 1 and task.Config is TranslateConfig:
        from unrolled.data_report.cost import estimate

        source, target = result.columns[0], result.columns[-1]
        n_tokens = target.n_tokens + result.sizes["train"]
        sizes = (source.n_vocabulary, target.n_vocabulary)
        result = replace(result, estimate=str(estimate(n_tokens, sizes, target.median)))
    return render(result)


def _labels(task: LabelTask, data: Any, text: TextConfig, max_tokens: int) -> RenderableType:
    return render_labels(survey_labels(task, data, text))


def _running_text(task: StreamTask, data: Any, text: TextConfig, max_tokens: int) -> RenderableType:
    from unrolled.tasks import TASKS

    *names, last = (name for name, other in TASKS.items() if other.kind is not LANGUAGE_MODEL)
    raise ConfigError(
        f"task '{task.name}' reads running text; `unrolled data` describes rows: use --task "
        f"{', '.join(names)} or {last}"
    )


_TABLE: Mapping[Kind, Callable[[Any, Any, TextConfig, int], RenderableType]] = {
    SEQ2SEQ: _rows,
    LABELLING: _labels,
    LANGUAGE_MODEL: _running_text,
}
