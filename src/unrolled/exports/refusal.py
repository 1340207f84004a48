"""Runs that a form of export does not hold yet, and settings of `[model]`, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unrolled.errors import ConfigError
from unrolled.tasks.language_model import check_forward
from unrolled.training.run_folder import check_single

_OF_TEXTS = ("classify", "pair")
_HOLDS = {"C": "C code", "page": "a page"}
_AS = {"C": "as C", "page": "as a page"}


@dataclass(frozen=True)
class _Refused:
    """A setting that a form of export does not hold.

    Args:
        name: its name in `[model]`.
        value: its value, as written in a command.
        instead: the value to train with; "" for none, without the setting.
    """

    name: str
    value: str
    instead: str = ""


def check_run(predictor: Any, form: Literal["ONNX", "C", "page"]) -> None:
    """Refuse an ensemble, and a language model that reads backwards, where an export does not hold them.

    An ONNX export holds language models that read backwards, and ensembles that predict labels of texts.

    Args:
        predictor: the run, from `load`.
        form: the form of export.

    Raises:
        ConfigError: it is one of them; for an ensemble, the message names a member.
    """
    averages = form == "ONNX" and predictor.task.name in _OF_TEXTS
    if predictor.folder is not None and not averages:
        check_single(predictor.folder, "an export of this task or form holds")
    if form != "ONNX":
        check_forward(predictor.recipe.model, _HOLDS[form])


def check_settings(predictor: Any, form: Literal["C", "page"]) -> None:
    """Refuse a run whose model a form of export does not hold.

    Args:
        predictor: the run, from `load`.
        form: the form of export.

    Raises:
        ConfigError: a setting of its model cannot be exported; the message names the setting and what to
            do.
    """
    refusals = _refused_as_c if form == "C" else _refused_as_page
    for refused in refusals(predictor.task.name, predictor.recipe.model):
        option = f"--model.{refused.name}"
        instead = f"with {option} {refused.instead}" if refused.instead else f"without {option}"
        raise ConfigError(
            f"model.{refused.name} is {refused.value}, which cannot be exported {_AS[form]} yet; export "
            f"with --onnx, or train {instead}"
        )


def _refused_as_page(task: str, config: Any) -> Iterator[_Refused]:
    characters = getattr(config, "characters", "none")
    if characters != "none" and task in _OF_TEXTS:
        yield _Refused("characters", f"'{characters}'", "none")
    if ngrams := getattr(config, "ngrams", 0):
        yield _Refused("ngrams", str(ngrams), "0")
    if features := getattr(config, "features", ()):
        yield _Refused("features", f"'{' '.join(features)}'")


def _refused_as_c(task: str, config: Any) -> Iterator[_Refused]:
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
