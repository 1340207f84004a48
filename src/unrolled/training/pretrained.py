"""Start the encoder of a new run with language models: read their runs, check them, copy the weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unrolled import config
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.layers.lm_encoder import embedding_of, encoder_in, groups_below
from unrolled.quoting import brief
from unrolled.shapes import Padded
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.tasks.pretraining import Source, check_fit, fitted
from unrolled.tasks.task import AnyTask, LabelTask
from unrolled.text.config import EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.corpus.config import Part as CorpusPart
from unrolled.text.corpus.tables import texts_of_tables
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.splits import read_splits, same_text
from unrolled.text.tokenizer import Tokenizer
from unrolled.training import run_folder
from unrolled.training.dataset import ROLE, Part, checksums
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import SplitRecord, check_data
from unrolled.wording import count_of, percent

_READ: tuple[CorpusPart, ...] = ("train", "valid")
_MANY_UNKNOWN = 0.02
_RIGHT_TO_LEFT = {"forward": "from left to right", "backward": "from right to left"}


def sources_of(paths: Iterable[str]) -> list[Source]:
    """The language models in run folders.

    Raises:
        ConfigError: a run is missing, damaged, or of another task.
    """
    return [Source(path, _recipe_of(path).model) for path in paths]  # type: ignore[arg-type]


def _recipe_of(path: str) -> Recipe:
    try:
        recipe, task = run_folder.read_recipe(Path(path))
    except RunError as error:
        raise ConfigError(f"model.pretrained: {error}") from None
    if not isinstance(recipe.model, LanguageModelConfig):
        raise ConfigError(
            f"model.pretrained: {path} is a run of task '{task.name}'; name a run of a language model"
        )
    return recipe


# Settings


def followed(
    task: AnyTask, model: Any, text: Mapping[str, Any], given: Collection[str]
) -> tuple[Any, TextConfig]:
    """Complete the sections `[model]` and `[text]` with what follows from `model.pretrained`.

    Args:
        task: the task.
        model: its `[model]` section.
        text: the settings of `[text]` that were set on purpose.
        given: names of the settings of `[model]` that were set on purpose.

    Raises:
        ConfigError: a setting that was set on purpose does not fit, or a run cannot be read.
    """
    sources = sources_of(model.pretrained)
    completed = fitted(task.name, model, sources, given)
    own = _recipe_of(model.pretrained[0]).text
    wanted = config.from_mapping(TextConfig, {**config.to_mapping(own), **text}, "text")
    for name in text:
        if getattr(wanted, name) != getattr(own, name):
            raise ConfigError(
                f"text.{name} is {brief(repr(getattr(wanted, name)))}, but {model.pretrained[0]} "
                f"(model.pretrained) was trained with {brief(repr(getattr(own, name)))}, and its "
                "vocabulary is used; leave out the section [text], or name another run"
            )
    return completed, own


def completed(recipe: Recipe, task: AnyTask) -> Recipe:
    """A recipe written in Python, completed with what follows from `model.pretrained`.

    Settings that differ from their defaults count as set on purpose.

    Raises:
        ConfigError: as for `followed`.
    """
    model: Any = recipe.model
    if not getattr(model, "pretrained", ()) or model.pretrained_sizes:
        return recipe
    text = _changed(recipe.text, {**config.to_mapping(TextConfig()), **task.text})
    given = _changed(model, config.to_mapping(task.Config())) - {"pretrained"}
    own = {name: getattr(recipe.text, name) for name in text}
    model, text_config = followed(task, model, own, given)
    return replace(recipe, model=model, text=text_config)


def _changed(section: Any, defaults: Mapping[str, Any]) -> set[str]:
    """The names of the fields whose values are not the defaults."""
    values = config.to_mapping(section)
    return {field.name for field in fields(section)} & {
        name for name, value in values.items() if value != defaults.get(name)
    }


def check_layer_settings(recipe: Recipe, source: Path | None) -> None:
    """Refuse settings of single layers without layers that have been trained before.

    Args:
        recipe: the recipe of a new run.
        source: the run that it starts from, if any.

    Raises:
        ConfigError: there are no such layers.
    """
    training = recipe.training
    is_language_model = isinstance(recipe.model, LanguageModelConfig)
    if getattr(recipe.model, "pretrained", ()) or (is_language_model and source is not None):
        return
    for name, off in (("unfreeze_every_n_epochs", 0), ("layer_divisor", 1.0)):
        if getattr(training, name) != off:
            raise ConfigError(
                f"training.{name} is for the layers of a language model; name its run in "
                "model.pretrained (for a language model, in --from), or remove it"
            )


# Vocabulary


def words_of(paths: Sequence[str]) -> Tokenizer:
    """The vocabulary of one or two language models.

    Raises:
        ConfigError: their vocabularies differ, or a run is damaged.
    """
    try:
        vocabularies = [run_folder.load_tokenizers(Path(path))[ROLE] for path in paths]
    except RunError as error:
        raise ConfigError(f"model.pretrained: {error}") from None
    first: Tokenizer = vocabularies[0]
    for path, other in zip(paths, vocabularies, strict=True):
        if other.inner.to_str() != first.inner.to_str():
            raise ConfigError(
                f"model.pretrained: the vocabulary of {path} ({other.kind}, {len(other):,} tokens) is "
                f"not that of {paths[0]} ({first.kind}, {len(first):,} tokens), so that their ids mean "
                "different words; train both on the same text with the same [text] section"
            )
    return first


# Weights


def check_sources_fit(recipe: Recipe, task: AnyTask) -> None:
    """Check, before any data are read, that the language models fit a complete recipe.

    Raises:
        ConfigError: they do not fit, or cannot be read.
    """
    model: Any = recipe.model
    if getattr(model, "pretrained", ()):
        check_fit(task.name, model, sources_of(model.pretrained))
        words_of(model.pretrained)


def load(model: nn.Module, recipe: Recipe) -> tuple[str, ...]:
    """Copy the weights of the language models into a new model; returns notes about what was copied.

    Raises:
        RunError: a run is damaged.
    """
    paths: tuple[str, ...] = getattr(recipe.model, "pretrained", ())
    encoder = encoder_in(model)
    embedding = embedding_of(model) if encoder is not None else None
    if not paths or encoder is None or embedding is None:
        return ()
    notes = []
    width = embedding.embedding_dim // len(paths)
    for place, (path, stack) in enumerate(zip(paths, encoder.stacks, strict=True)):
        run = run_folder.load_run(Path(path))
        own = run.model
        assert isinstance(own, LanguageModel)
        columns = slice(place * width, (place + 1) * width)
        with torch.no_grad():
            embedding.weight[:, columns] = own.scaled_embedding()
        stack.load_state_dict(own.layers.state_dict())
        with torch.no_grad():
            mark = own(Padded.from_rows([[EOS_ID]], PAD_ID), own.start(1))
        encoder.start_after(place, mark.state)
        notes.append(_what_is_taken(path, own, len(run.tokenizers[ROLE])))
    with torch.no_grad():
        embedding.weight[PAD_ID] = 0
    return (*notes, _what_is_new(model, embedding))


def _what_is_taken(path: str, model: LanguageModel, n_words: int) -> str:
    sizes = ", ".join(map(str, model.config.sizes))
    layers = count_of(len(model.config.sizes), "recurrent layer")
    return (
        f"model.pretrained: taken from {path}, which reads {_RIGHT_TO_LEFT[model.config.direction]}: its "
        f"vocabulary ({n_words:,}), embeddings ({model.config.embedding_size}) and {layers} "
        f"({model.config.cell}, {sizes}); not taken: its output layer"
    )


def _what_is_new(model: nn.Module, embedding: nn.Embedding) -> str:
    """The parts of a model with weights that no language model has."""
    taken = {id(p) for group in groups_below(model) for p in group} | {id(embedding.weight)}
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in taken:
            part = name.split(".")[0]
            parts[part] = parts.get(part, 0) + parameter.numel()
    shown = ", ".join(f"{part} ({size:,} weights)" for part, size in parts.items())
    return f"model.pretrained: new in this run: {shown}"


# What the language models have read


def notes_on(recipe: Recipe, task: AnyTask, prepared: Any) -> tuple[str, ...]:
    """Notes on how the language models suit the data: unknown words, test rows that they have read."""
    paths: tuple[str, ...] = getattr(recipe.model, "pretrained", ())
    if not paths:
        return ()
    notes = [*_unknown(task, prepared.train, paths[0])]
    for path in paths:
        notes += _overlap(recipe, task, path)
    return tuple(notes)


def _unknown(task: AnyTask, train: Part, path: str) -> list[str]:
    """A note if the vocabulary lacks many words of the training part."""
    if not isinstance(task, LabelTask):
        return []
    ids = [id_ for example in train.examples for id_ in task.tokens(example)]
    share = ids.count(UNK_ID) / max(1, len(ids))
    if share < _MANY_UNKNOWN:
        return []
    return [
        f"train: {percent(share)} of the words are not in the vocabulary of {path}; add them when tuning "
        "it on these texts (data.new_words), and if they are written differently there (split marks, "
        "capitals), prepare the texts in the same way"
    ]


def _overlap(recipe: Recipe, task: AnyTask, path: str) -> list[str]:
    """A warning if a language model was trained on the test rows of this run, as far as files tell."""
    record, data = SplitRecord.load(Path(path)), recipe.data
    read = {file["sha256"] for file in record.files if file["part"] in _READ}
    own = checksums(data)
    as_test = [file["path"] for file in own if file["part"] == "test" and file["sha256"] in read]
    if as_test:
        return [
            f"warning: {path} was trained on {as_test[0]}, which is the test data of this run; its test "
            "scores mean little"
        ]
    if data.test or not any(file["part"] == "train" and file["sha256"] in read for file in own):
        return []
    what = _test_rows_read(recipe, task, path)
    if what is None:
        return []
    return [
        f"warning: {path} was trained on {what}; test scores of this run mean little: name the text "
        "column with --columns when tuning a language model, or give the test rows in a file of their "
        "own (--test)"
    ]


def _test_rows_read(recipe: Recipe, task: AnyTask, path: str) -> str | None:
    """Which test rows of this run, split off from a file that a language model has read, it has read."""
    source, corpus = recipe.data.train[0], _recipe_of(path).data
    if not isinstance(corpus, StreamConfig) or not corpus.columns:
        return f"{source}, from which the test rows of this run are split off"
    try:
        found = check_data(Path(path), corpus)
        texts = {same_text(text) for part in _READ for text in texts_of_tables(found, part)}
    except (DataError, RunError):  # its files have been moved, so that this is not known
        return None
    rows = read_splits(recipe.data, len(task.columns), task.reading).test  # type: ignore[union-attr]
    last = len(rows[0].fields) - 1 if rows else 0
    n_read = sum(all(same_text(field) in texts for field in row.fields[:last]) for row in rows)
    return f"{n_read:,} of the {count_of(len(rows), 'test row')} of this run" if n_read else None
