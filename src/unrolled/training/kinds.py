"""Data preparation and batch loading for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.training import distill
from unrolled.training.dataset import prepare_rows, prepare_text
from unrolled.training.loaders import Loader, RowLoader, WindowLoader
from unrolled.training.recipe import Recipe


class Prepared(Protocol):
    """The encoded data of a run.

    Attributes:
        tokenizers: tokenizers by role.
        sizes: sizes by part.
    """

    @property
    def tokenizers(self) -> Tokenizers: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...

    def record(self, data: Any) -> dict[str, Any]:
        """The content of `split.json` for the data that a `[data]` section describes."""


@dataclass(frozen=True)
class _OfKind:
    """The functions for one kind of task.

    Args:
        prepare: recipe, task, tokenizers or None → encoded data.
        loader: recipe, task, result of `prepare` → loader.
    """

    prepare: Callable[[Recipe, Any, Tokenizers | None], Any]
    loader: Callable[[Recipe, Any, Any], Loader]


_TABLE: Mapping[Kind, _OfKind] = {
    SEQ2SEQ: _OfKind(prepare_rows, RowLoader),
    QUERIES: _OfKind(prepare_rows, RowLoader),
    CODE: _OfKind(prepare_rows, RowLoader),
    LABELLING: _OfKind(distill.prepare, distill.loader),
    LANGUAGE_MODEL: _OfKind(prepare_text, WindowLoader),
}


def prepare(recipe: Recipe, task: AnyTask, tokenizers: Tokenizers | None = None) -> Prepared:
    """Read the data, train tokenizers on the training part unless they are given, and encode.

    Raises:
        ConfigError: `training.metric` is not a score of the data.
        DataError: a file cannot be read, or no training data are left.
    """
    prepared: Prepared = _TABLE[task.kind].prepare(recipe, task, tokenizers)
    return prepared


def build_loader(recipe: Recipe, task: AnyTask, prepared: Prepared) -> Loader:
    """The loader of a task's prepared data.

    Args:
        recipe: recipe of the run.
        task: task of the run.
        prepared: result of `prepare` for this task.
    """
    return _TABLE[task.kind].loader(recipe, task, prepared)
