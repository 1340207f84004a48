"""Describe running text before training a language model: `unrolled data FILE --task language_model`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unrolled.data_report import cost
from unrolled.data_report.parts import Fitting, parts_table
from unrolled.errors import UnrolledError
from unrolled.quoting import listed_paths
from unrolled.tasks.task import StreamTask
from unrolled.text.corpus.corpus import Part, TokenStream, default_cache_folder, open_corpus
from unrolled.training.data_notes import few_tokens
from unrolled.training.dataset import ROLE, PreparedText
from unrolled.training.device import within_memory
from unrolled.training.recipe import Recipe
from unrolled.wording import percent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def report_text(task: StreamTask, recipe: Recipe) -> RenderableType:
    """Read, split and encode text as a training run would, and describe it.

    Encoded text is cached, so that a training run does not encode it again.

    Raises:
        ConfigError: no file is given.
        DataError: a file cannot be read, or a part cannot be split off.
    """
    from rich.console import Group
    from rich.text import Text

    from unrolled.data_report.pairs import facts_grid

    began = time.perf_counter()
    corpus = open_corpus(recipe.data)
    part = corpus.parts[0]
    tokenizer = task.train_tokenizer(corpus.texts(part), recipe.text)
    cache = default_cache_folder()
    streams = {name: corpus.encode(name, tokenizer, cache) for name in corpus.parts}
    seconds = time.perf_counter() - began
    facts = [
        ("task", f"{task.name} (change it with --task NAME)"),
        (
            "files",
            f"{len({file.path for file in corpus.files}):,}, document: {recipe.data.documents}",
        ),
        ("tokens", f"{recipe.text.kind}, vocabulary of {len(tokenizer):,}"),
        *(("note", note) for note in corpus.notes()),
    ]
    if "valid" in streams:
        notes = few_tokens(streams["valid"].n_tokens, recipe.data)
        facts += [("too few", note) for note in notes]
    if "train" in streams and "valid" in streams:
        prepared = PreparedText(streams["train"], streams["valid"], 0, [], {ROLE: tokenizer})
        facts += _cost(recipe, task, prepared, seconds)
    paths = recipe.data.train or recipe.data.valid or recipe.data.test
    return Group(
        Text(listed_paths(paths), style="bold"), Fitting(_table(streams)), facts_grid(facts)
    )


def _cost(
    recipe: Recipe, task: StreamTask, prepared: PreparedText, seconds: float
) -> list[tuple[str, str]]:
    try:
        with within_memory(
            task.kind.memory_hint.format(training=recipe.training, data=recipe.data)
        ):
            return cost.of_text(recipe, task, prepared, seconds).facts()
    except UnrolledError as error:
        return [("time", f"not estimated, because training stops with an error: {error}")]


def _table(streams: Mapping[Part, TokenStream]) -> Table:
    columns = ("documents", "characters", "tokens", "characters/token", "unknown")
    table = parts_table("part ", columns)
    for name, stream in streams.items():
        n_tokens = max(1, stream.n_tokens)
        table.add_row(
            name,
            f"{len(stream.starts):,}",
            f"{stream.n_characters:,}",
            f"{stream.n_tokens:,}",
            f"{stream.n_characters / n_tokens:.2f}",
            percent(stream.n_unknown / n_tokens),
        )
    return table
