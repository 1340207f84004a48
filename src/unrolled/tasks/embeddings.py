"""The settings of an embedding, shared by all tasks: `[model.embeddings]` of a recipe.

A task's configuration has a field of this type for each embedding table; translation has two,
`source_embeddings` and `target_embeddings`. Earlier versions had a flat key for every setting; recipes
and run folders with these keys can still be read (`OLD_NAMES`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from torch import nn

from unrolled.config import Count, Range, check_fields, require
from unrolled.errors import ConfigError
from unrolled.layers import pretrained
from unrolled.layers.embedding import Tuning
from unrolled.text.config import Kind
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.formats.detect import read_vectors

ExtraWords = Annotated[int, Range(0, 4_000_000)]
"""Number of words that a vocabulary takes from a file of vectors."""


@dataclass(frozen=True)
class EmbeddingsConfig:
    """The source of the vectors of an embedding, and whether training changes them.

    Args:
        file: pretrained word vectors, in any format of `unrolled.vectors.formats.detect`; only read when
            a run starts, and not needed after that.
        missing: initial vectors of words that are not in the file: "random" numbers, the "mean" of the
            vectors, or "zero".
        tuning: "trained"; "frozen"; or "thawed", which is frozen for the first `frozen_epochs` epochs and
            then trained.
        frozen_epochs: see `tuning`.
        extra_words: number of the first words in the file, which are the most frequent ones, to add to
            the vocabulary even if they do not occur in the training part. When such a word occurs later,
            its vector is used, and it is not an unknown word.
    """

    file: str | None = None
    missing: pretrained.Missing = "random"
    tuning: Tuning = "trained"
    frozen_epochs: Count = 0
    extra_words: ExtraWords = 0

    def check(self, where: str, *, simple: bool = False) -> None:
        """Check that the settings are valid and match each other.

        Args:
            where: the section, for messages, e.g. "model.embeddings".
            simple: whether the task can neither thaw an embedding nor take words from the file.

        Raises:
            ConfigError: a value is out of range, random embeddings are not trained, or a setting needs a
                file.
        """
        check_fields(self, where)
        if self.tuning != "trained" and self.file is None:
            raise ConfigError(
                f"{where}.tuning is '{self.tuning}', but randomly initialised embeddings must be "
                f"trainable; name a file of vectors in {where}.file"
            )
        if simple and (self.tuning == "thawed" or self.extra_words):
            name, value = (
                ("tuning", "'thawed'")
                if self.tuning == "thawed"
                else ("extra_words", self.extra_words)
            )
            raise ConfigError(
                f"{where}.{name} is {value}, which is only available for tasks whose output is labels; "
                "remove it"
            )
        thaws = self.tuning == "thawed"
        require(
            self.frozen_epochs >= 1 if thaws else self.frozen_epochs == 0,
            f"{where}.frozen_epochs",
            f"{'at least 1' if thaws else '0'} where {where}.tuning is '{self.tuning}'",
            self.frozen_epochs,
        )
        require(
            bool(self.file) or not self.extra_words,
            f"{where}.extra_words",
            f"0 where {where}.file names no file",
            self.extra_words,
        )

    def check_file(self, where: str, width: int, kind: Kind) -> None:
        """Check that the file of vectors can initialise an embedding of this width.

        Raises:
            ConfigError: the vectors have a different width, or tokens are parts of words.
            DataError: the file cannot be read.
        """
        if self.file is not None:
            pretrained.check(self.file, width, kind, setting=f"{where}.file")

    def extend(self, tokenizer: Tokenizer) -> Tokenizer:
        """The vocabulary, extended by the first `extra_words` words of the file."""
        if not self.extra_words:
            return tokenizer
        assert self.file is not None  # see `check`
        words = read_vectors(self.file, limit=self.extra_words).words
        # Composed, as in every vocabulary.
        return tokenizer.extended(unicodedata.normalize("NFC", word) for word in words)

    def load(
        self, embedding: nn.Embedding, words: Tokenizer, where: str, scale: float = 1.0
    ) -> tuple[str, ...]:
        """Initialise an embedding with the vectors of the file, if there is one, and return notes.

        Args:
            embedding: `[V, E]`, one row per id.
            words: the vocabulary.
            where: the section, for notes.
            scale: the factor by which the model multiplies embeddings.
        """
        if self.file is None:
            return ()
        return pretrained.fill(
            embedding, words, self.file, missing=self.missing, setting=f"{where}.file", scale=scale
        )


def check_sections(config: Any, *, simple: bool = False) -> None:
    """Check every `EmbeddingsConfig` of a task's configuration; called in its `__post_init__`.

    Raises:
        ConfigError: as for `EmbeddingsConfig.check`, or the field is not an `EmbeddingsConfig`.
    """
    Config: type = type(config)
    for name in sections(Config):
        settings = getattr(config, name)
        if not isinstance(settings, EmbeddingsConfig):
            raise ConfigError(
                f"model.{name} is {settings!r}, expected an EmbeddingsConfig; pass "
                "unrolled.tasks.embeddings.EmbeddingsConfig(file=…)"
            )
        settings.check(f"model.{name}", simple=simple)


OLD_NAMES = {
    "embeddings_missing": "missing",
    "embeddings_tuning": "tuning",
    "embeddings_frozen": "tuning",
    "embeddings_frozen_epochs": "frozen_epochs",
    "embeddings_extra_words": "extra_words",
}
"""Keys of `[model]` up to version 0.1.0, and their names in `EmbeddingsConfig`.

They applied to every embedding table; `embeddings_frozen`, true or false, to those with a file. The file
itself was the value of `embeddings`, `source_embeddings` or `target_embeddings`, which are now sections.
"""

TRAINING_ONLY = ("missing", "tuning", "frozen_epochs")
"""Settings that do not affect which weights a model has."""


@cache
def sections(Config: Any) -> tuple[str, ...]:
    """The names of the fields of a task's configuration that are an `EmbeddingsConfig`."""
    hints = get_type_hints(Config)
    return tuple(name for name, hint in hints.items() if hint is EmbeddingsConfig)


def with_new_names(model: Any, Config: type, *, strict: bool = False) -> Any:
    """Replace the old embedding keys in the `[model]` section of a recipe by the new ones.

    Args:
        model: the section as read; returned unchanged if it is not a table.
        Config: the configuration to which it belongs.
        strict: whether to raise an error if both the old and the new key of a setting are present;
            otherwise the old one takes precedence, so that options with old names override the recipe.

    Raises:
        ConfigError: both keys are present, or the old key has an invalid value.

    >>> from unrolled.tasks.tag import TagConfig
    >>> with_new_names({"embeddings": "glove.txt", "embeddings_missing": "zero"}, TagConfig)
    {'embeddings': {'file': 'glove.txt', 'missing': 'zero'}}
    """
    names = sections(Config)
    if not names or not isinstance(model, Mapping):
        return model
    result = {key: value for key, value in model.items() if key not in OLD_NAMES}
    for name in names:
        if name in result and not isinstance(result[name], Mapping | EmbeddingsConfig):
            result[name] = {"file": result[name]}
    old = {key: model[key] for key in OLD_NAMES if key in model}
    tables = {name: dict(result.get(name, {})) for name in names} if old else {}
    for key, value in old.items():
        new = value if key != "embeddings_frozen" else _tuning(value)
        have_file = [name for name in names if tables[name].get("file") not in (None, "none")]
        # A randomly initialised table is trained even if the other one is frozen.
        affected = have_file if new == "frozen" and have_file else names
        for name in affected:
            if strict and OLD_NAMES[key] in tables[name]:
                raise ConfigError(
                    f"model.{key} and model.{name}.{OLD_NAMES[key]} set the same field; use the latter"
                )
            tables[name][OLD_NAMES[key]] = new
    return {**result, **tables}


def options_with_new_names(
    overrides: Iterable[tuple[str, str | None]], Config: type
) -> list[tuple[str, str | None]]:
    """Rename command-line options: `--model.embeddings FILE` to `--model.embeddings.file FILE`.

    >>> from unrolled.tasks.tag import TagConfig
    >>> options_with_new_names([("model.embeddings", "glove.txt"), ("seed", "3")], TagConfig)
    [('model.embeddings.file', 'glove.txt'), ('seed', '3')]
    """
    files = {f"model.{name}" for name in sections(Config)}
    return [(f"{name}.file" if name in files else name, value) for name, value in overrides]


def _tuning(is_frozen: Any) -> str:
    text = str(is_frozen).lower()
    if text not in ("true", "false"):
        raise ConfigError(
            f"model.embeddings_frozen: expected true or false, got {is_frozen!r}; use "
            "model.embeddings.tuning, which is 'trained' or 'frozen'"
        )
    return "frozen" if text == "true" else "trained"
