"""Settings of `[model]` whose models no export holds yet, each refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError
from unrolled.tasks.language_model import check_forward
from unrolled.training.run_folder import check_single

_OF_TEXTS = ("classify", "pair")
_AS = {"ONNX": "to ONNX", "C": "as C", "page": "as a page"}


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


def check_run(predictor: Any) -> None:
    """Refuse an ensemble, and a language model that reads backwards.

    Args:
        predictor: the run, from `load`.

    Raises:
        ConfigError: it is one of them; for an ensemble, the message names a member.
    """
    if predictor.folder is not None:
        check_single(predictor.folder, "an export holds")
    check_forward(predictor.recipe.model, "an export")


def check_settings(predictor: Any, form: str) -> None:
    """Refuse a run whose model an export does not hold.

    Args:
        predictor: the run, from `load`.
        form: "ONNX", "C" or "page".

    Raises:
        ConfigError: a setting of its model cannot be exported; the message names the setting and what to
            do.
    """
    config: Any = predictor.recipe.model
    for refused in _refused(predictor.task.name, config, form):
        has_other = _is_for_onnx(predictor.task.name, config, form)
        other = "export with --onnx" if has_other else "use the run itself"
        option = f"--model.{refused.name}"
        instead = f"with {option} {refused.instead}" if refused.instead else f"without {option}"
        raise ConfigError(
            f"model.{refused.name} is {refused.value}, which cannot be exported "
            f"{_AS[form]} yet; {other}, or train {instead}"
        )


def _is_for_onnx(task: str, config: Any, form: str) -> bool:
    """Whether a run that is not exported as C can be exported to ONNX."""
    return form == "C" and next(_refused(task, config, "ONNX"), None) is None


def _refused(task: str, config: Any, form: str) -> Iterator[_Refused]:
    characters = getattr(config, "characters", "none")
    spells = characters != "none" and getattr(config, "char_size", 0) > 0
    if spells and (task in _OF_TEXTS or (form == "C" and characters == "convolution")):
        instead = "none" if task in _OF_TEXTS else "recurrent"
        yield _Refused("characters", f"'{characters}'", instead)
    if ngrams := getattr(config, "ngrams", 0):
        yield _Refused("ngrams", str(ngrams), "0")
    features: Sequence[str] = getattr(config, "features", ())
    if features:
        yield _Refused("features", f"'{' '.join(features)}'")
    pretrained: Sequence[str] = getattr(config, "pretrained", ())
    if form == "C" and pretrained:
        yield _Refused("pretrained", f"'{' '.join(pretrained)}'")
    if form == "C" and getattr(config, "pooling", "") == "concat":
        yield _Refused("pooling", "'concat'", "max")
