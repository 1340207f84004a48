"""Runs that an export does not hold yet, and settings of `[model]` that C code does not, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unrolled.errors import ConfigError
from unrolled.tasks.language_model import check_forward
from unrolled.training.run_folder import check_single

_OF_TEXTS = ("classify", "pair")
_HOLDS = {"C": "C code", "page": "a page"}


@dataclass(frozen=True)
class _Refused:
    """A setting that C code does not hold.

    Args:
        name: its name in `[model]`.
        value: its value, as written in a command.
        instead: the value to train with; "" for none, without the setting.
    """

    name: str
    value: str
    instead: str = ""


def check_run(predictor: Any, form: Literal["ONNX", "C", "page"]) -> None:
    """Refuse a run that an export does not hold.

    An ONNX export and a page hold ensembles that predict labels of texts; only an ONNX export holds
    language models that read backwards. None holds n-grams of characters, or those by first text.

    Args:
        predictor: the run, from `load`.
        form: the form of export.

    Raises:
        ConfigError: it is one of them; for an ensemble, the message names a member.
    """
    for refused in _uncounted(predictor.recipe.model):
        raise ConfigError(
            f"model.{refused.name} is {refused.value}, which cannot be exported yet; predict with the "
            f"run itself, or train with --model.{refused.name} {refused.instead}"
        )
    averages = form != "C" and predictor.task.name in _OF_TEXTS
    if predictor.folder is not None and not averages:
        check_single(predictor.folder, "an export of this task or form holds")
    if form != "ONNX":
        try:
            check_forward(predictor.recipe.model, _HOLDS[form])
        except ConfigError as error:
            raise ConfigError(f"{error}; export with --onnx") from None


def check_settings(predictor: Any) -> None:
    """Refuse a run whose model cannot be written as C.

    Args:
        predictor: the run, from `load`.

    Raises:
        ConfigError: a setting of its model cannot be exported; the message names the setting and what to
            do.
    """
    for refused in _refused(predictor.task.name, predictor.recipe.model):
        option = f"--model.{refused.name}"
        instead = f"with {option} {refused.instead}" if refused.instead else f"without {option}"
        raise ConfigError(
            f"model.{refused.name} is {refused.value}, which cannot be exported as C yet; export with "
            f"--onnx, or train {instead}"
        )


def _uncounted(config: Any) -> Iterator[_Refused]:
    """What is counted and in no export."""
    if longest := getattr(config, "ngram_characters", 0):
        yield _Refused("ngram_characters", str(longest), "0")
    if getattr(config, "ngrams_by_first", False):
        yield _Refused("ngrams_by_first", "true", "false")


def _refused(task: str, config: Any) -> Iterator[_Refused]:
    characters = getattr(config, "characters", "none")
    spells = characters != "none" and getattr(config, "char_size", 0) > 0
    if spells and (task in _OF_TEXTS or characters == "convolution"):
        instead = "none" if task in _OF_TEXTS else "recurrent"
        yield _Refused("characters", f"'{characters}'", instead)
    if ngrams := getattr(config, "ngrams", 0):
        yield _Refused("ngrams", str(ngrams), "0")
    pretrained: Sequence[str] = getattr(config, "pretrained", ())
    if pretrained:
        yield _Refused("pretrained", f"'{' '.join(pretrained)}'")
    if getattr(config, "pooling", "") == "concat":
        yield _Refused("pooling", "'concat'", "max")
