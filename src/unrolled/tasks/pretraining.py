"""Start a task's encoder with language models: the settings of `[model]`, and whether the models fit.

`model.pretrained` names the run of a language model that reads forwards, or two, the second of which
reads backwards. The encoder then has their recurrent layers (`layers.lm_encoder`), the task has their
vocabulary, and all of these weights are copied when the run starts. `model.pretrained_sizes` keeps the
widths of these layers, so that the model can be built later without the language models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

from unrolled.errors import ConfigError
from unrolled.layers.lm_encoder import LanguageModelEncoder
from unrolled.quoting import brief
from unrolled.tasks.embeddings import sections
from unrolled.tasks.language_model import LanguageModelConfig

_MOST_MODELS = 2


@runtime_checkable
class Pretrainable(Protocol):
    """The settings of a `[model]` section whose encoder can start with language models.

    Args:
        cell: the recurrent cell.
        embedding_size: width of the embeddings; those of two language models are put side by side.
        dropout_rate: on embeddings, between layers and after the last.
        pretrained: run folders of a forward and, perhaps, a backward language model; () for none.
        pretrained_sizes: widths of the recurrent layers of each, first to last.
    """

    @property
    def cell(self) -> str: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def dropout_rate(self) -> float: ...
    @property
    def pretrained(self) -> tuple[str, ...]: ...
    @property
    def pretrained_sizes(self) -> tuple[int, ...]: ...


TASKS = ("classify", "pair", "tag", "translate")
"""The tasks whose encoder can start with language models."""

REPLACED = {
    "classify": ("hidden_size", "n_layers"),
    "translate": ("encoder_size", "encoder_layers"),
}
"""For tasks whose recurrent layers are those of the language models: the settings of their width and
number. Other tasks have layers of their own above."""


@dataclass(frozen=True)
class Source:
    """A language model that an encoder starts with.

    Args:
        path: its run folder.
        config: its `[model]` section.
    """

    path: str
    config: LanguageModelConfig


def check_pretrained_settings(config: Pretrainable) -> None:
    """Check the settings alone; called in the `__post_init__` of a `[model]` section.

    Raises:
        ConfigError: there are too many runs, or a setting contradicts another.
    """
    if len(config.pretrained) > _MOST_MODELS:
        raise ConfigError(
            f"model.pretrained names {len(config.pretrained)} runs; name one language model that reads "
            "forwards and, if you like, one that reads backwards"
        )
    if config.pretrained_sizes and not config.pretrained:
        raise ConfigError(
            "model.pretrained_sizes belongs to model.pretrained, which names no run; remove it"
        )
    for name in sections(type(config)) if config.pretrained else ():
        if name != "target_embeddings" and getattr(config, name).file is not None:
            raise ConfigError(
                f"model.{name}.file and model.pretrained both set the embeddings; remove one"
            )


def language_model_encoder(config: Pretrainable, n_columns: int = 0) -> LanguageModelEncoder:
    """The encoder of a model that starts with language models.

    Args:
        config: its `[model]` section.
        n_columns: number of input columns beside the embeddings.

    Raises:
        ConfigError: the widths are not known.
    """
    if not config.pretrained_sizes:
        raise ConfigError(
            "model.pretrained_sizes is empty; `unrolled.train` and recipes fill it in from the runs in "
            "model.pretrained, or call unrolled.training.pretrained.completed(recipe)"
        )
    return LanguageModelEncoder(
        config.cell,
        config.embedding_size,
        config.pretrained_sizes,
        n_directions=len(config.pretrained),
        n_columns=n_columns,
        dropout_rate=config.dropout_rate,
    )


def check_sources(sources: Sequence[Source]) -> None:
    """Check that language models can be used together.

    Raises:
        ConfigError: one has no embeddings, they read in the wrong directions, or their sizes differ.
    """
    for place, (source, wanted) in enumerate(zip(sources, ("forward", "backward"), strict=False)):
        config = source.config
        if config.embedding == "one_hot":
            raise ConfigError(
                f"model.pretrained: {source.path} reads one-hot vectors and has no embeddings; train it "
                "with model.embedding = 'learned'"
            )
        if config.direction != wanted:
            which = ("first", "second")[place]
            raise ConfigError(
                f"model.pretrained: {source.path} reads {config.direction}s, but the {which} run must "
                f"read {wanted}s (model.direction of the language model)"
            )
    for name in ("cell", "embedding_size", "sizes"):
        values = [getattr(source.config, name) for source in sources]
        if any(value != values[0] for value in values):
            raise ConfigError(
                f"model.pretrained: the {_NAMES.get(name, name)} of {sources[0].path} is "
                f"{brief(repr(values[0]))}, that of {sources[1].path} is {brief(repr(values[1]))}; train "
                "both with the same model settings"
            )


_NAMES = {"sizes": "list of widths of recurrent layers"}


def following(task: str) -> tuple[str, ...]:
    """The names of the settings of `[model]` that follow from the language models."""
    own = (*REPLACED[task], "bidirectional") if task in REPLACED else ()
    return ("cell", "embedding_size", "pretrained_sizes", *own)


def settings_from(task: str, sources: Sequence[Source]) -> dict[str, Any]:
    """The settings of `[model]` that follow from the language models, by name.

    Args:
        task: name of the task.
        sources: what `check_sources` has accepted.
    """
    first = sources[0].config
    found: dict[str, Any] = {
        "cell": first.cell,
        "embedding_size": sum(source.config.embedding_size for source in sources),
        "pretrained_sizes": first.sizes,
    }
    if task in REPLACED:
        width, number = REPLACED[task]
        found |= {width: first.sizes[0], number: len(first.sizes)}
        found["bidirectional"] = len(sources) == _MOST_MODELS
    return found


def fitted(task: str, config: Any, sources: Sequence[Source], given: Collection[str]) -> Any:
    """The `[model]` section with the settings that follow from the language models.

    Args:
        task: name of the task.
        config: the section.
        sources: the language models.
        given: names of the settings that were set on purpose.

    Raises:
        ConfigError: one of these does not fit, or the language models do not fit each other.
    """
    if task not in TASKS:
        raise ConfigError(
            f"model.pretrained: task '{task}' cannot start with a language model; only "
            f"{', '.join(TASKS)} can"
        )
    check_sources(sources)
    wanted = settings_from(task, sources)
    for name, value in wanted.items():
        own = getattr(config, name)
        if name in given and own != value:
            raise ConfigError(_misfit(name, own, value, sources))
    return replace(config, **wanted)


def check_fit(task: str, config: Any, sources: Sequence[Source]) -> None:
    """Check that a complete `[model]` section fits the language models.

    Raises:
        ConfigError: a setting does not fit; it is named.
    """
    fitted(task, config, sources, {field.name for field in fields(config)})


def _misfit(name: str, own: Any, wanted: Any, sources: Sequence[Source]) -> str:
    paths = " and ".join(source.path for source in sources)
    if name == "bidirectional":
        named = "names one that reads forwards"
        instead = "name one that reads backwards, too"
        if wanted:
            named, instead = "names a language model for each direction", "name one run"
        return (
            f"model.bidirectional is {str(own).lower()}, but model.pretrained {named}; leave it out, or "
            f"{instead}"
        )
    why = ""
    if name == "embedding_size" and len(sources) > 1:
        why = ", the embeddings of both side by side"
    return (
        f"model.{name} is {brief(repr(own))}, but the language model in {paths} (model.pretrained) has "
        f"{brief(repr(wanted))}{why}; leave it out, or name another run"
    )
