"""What to change for each diagnosis: settings of a recipe or arguments of layers, with reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they need torch, which commands without a model do not load
    from unrolled.diagnosis.flow import GradientFlow
    from unrolled.diagnosis.updates import Updates

_USUAL_OF_ADAM = 1e-3

_OPEN = 3.0  # a bias of the forget gate: σ(3) = 0.95

_WANTED_RATIO = 1e-2
"""The change per update at which a suggested learning rate aims, as a share of the weights."""


@dataclass(frozen=True)
class Cure:
    """A change.

    Args:
        setting: dotted name of a setting of the recipe, or an argument of a layer of `unrolled.nn`.
        value: the value to try, as it is typed.
        reason: why it helps.
        is_setting: whether it is a setting of the recipe.
        also: further settings that must be changed with it, each with its value; the reason names them.
    """

    setting: str
    value: str
    reason: str
    is_setting: bool = True
    also: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.setting} = {self.value}: {self.reason}"


def cures_for(
    kind: str,
    flow: GradientFlow,
    updates: Updates | None,
    settings: Mapping[str, Any] | None,
) -> Iterator[Cure]:
    """The cures of a diagnosis, the most promising first; only settings that the recipe has.

    Args:
        kind: the diagnosis; see `verdict.NAMES`.
        flow, updates, settings: as for `verdict.judge`.
    """
    functions = {
        "vanishing": _vanishing,
        "exploding": _exploding,
        "saturated": _saturated,
        "dead_relu": _dead,
        "learning_rate": _rate,
        "non_finite": _not_finite,
    }
    if kind not in functions:
        return
    for cure in functions[kind](flow, updates, settings or {}):
        if settings is None:
            if not cure.is_setting:
                yield cure
        elif cure.is_setting and cure.setting in settings and not _is_set(cure, settings):
            yield cure


def _is_set(cure: Cure, settings: Mapping[str, Any]) -> bool:
    return str(settings[cure.setting]).lower() == cure.value.strip('"')


def _cell(
    value: str, settings: Mapping[str, Any], reason: str, init: str = "orthogonal"
) -> Iterator[Cure]:
    """Another cell instead of a plain one, with the initial weights that it needs."""
    if settings.get("model.cell") in ("lstm", "gru"):
        return
    now = settings.get("model.recurrent_init", "orthogonal")
    is_needed = now != init and "identity" in (now, init)
    also = (("model.recurrent_init", f'"{init}"'),) if is_needed else ()
    needed = "".join(f"with {name} = {needed}, " for name, needed in also)
    yield Cure("model.cell", value, needed + reason, also=also)


def _orthogonal(settings: Mapping[str, Any], reason: str) -> Iterator[Cure]:
    if settings.get("model.recurrent_init") == "uniform":
        yield Cure("model.recurrent_init", '"orthogonal"', reason)
    yield Cure("recurrent_init", '"orthogonal"', reason, is_setting=False)


def _identity(settings: Mapping[str, Any], reason: str) -> Iterator[Cure]:
    if settings.get("model.cell") == "rnn_relu":
        yield Cure("model.recurrent_init", '"identity"', reason)


def _vanishing(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    kinds = {layer.kind for layer in flow.layers}
    gated = bool(kinds) and kinds <= {"lstm", "gru"}
    if not gated:
        reason = (
            "its cell state is multiplied by the forget gate alone, which can stay near 1, and not by U "
            "and tanh' at every step"
        )
        yield from _cell('"lstm"', settings, reason)
        yield Cure("unrolled.nn.LSTM", "…", reason, is_setting=False)
        reason = "its spectral radius is then 1, so that U by itself does not shrink the gradient"
        yield from _orthogonal(settings, reason)
        reason = "U = I and ReLU pass the gradient of active units unchanged (Le et al. 2015)"
        yield from _identity(settings, reason)
        if settings.get("model.cell") == "rnn":
            yield from _cell('"rnn_relu"', settings, reason, "identity")
        yield Cure(
            'unrolled.nn.RNN(…, nonlinearity="relu", recurrent_init="identity")', "…", reason, False
        )
    elif "lstm" in kinds:
        open_ = [
            part.derivative for layer in flow.layers for part in layer.parts if part.name == "f"
        ]
        reason = (
            "the forget gate is then near 1 at the start, and the cell state passes the gradient on"
            if open_
            else "the cell state then passes the gradient on"
        )
        if settings.get("model.forget_bias", _OPEN) < _OPEN:
            yield Cure("model.forget_bias", str(_OPEN), reason)
        yield Cure("forget_bias", str(_OPEN), reason, is_setting=False)
    if settings.get("model.pooling") == "final":
        yield Cure(
            "model.pooling", '"max"', "the loss then reads every step directly, however far it is"
        )
    if settings.get("model.attention") == "none":
        yield Cure(
            "model.attention",
            '"additive"',
            "the decoder then reads every step of the source directly",
        )
    if settings.get("model.encoder") in ("conditional", "concatenated", "independent"):
        yield Cure(
            "model.encoder",
            '"attention"',
            "the loss then reads every step of the first text directly",
        )
    if settings.get("model.bidirectional") is False and "model.encoder" not in settings:
        yield Cure(
            "model.bidirectional", "true", "each end of the text is then near for one direction"
        )
    span = max((layer.span for layer in flow.layers), default=0)
    reach = _steps_left(flow)
    if 0 < reach < span:
        yield from _windows(
            settings,
            reach,
            f"beyond {reach} steps less than 1/1000 of the gradient is left now, so that longer texts "
            "cost time and teach little",
        )


def _steps_left(flow: GradientFlow) -> int:
    """The number of steps over which the gradient stays above 1/1000, of the best layer."""
    best = 0
    for layer in flow.layers:
        curve = layer.curve
        best = max(best, next((d for d in range(len(curve)) if curve[d] < 1e-3), layer.span))
    return best


def _windows(settings: Mapping[str, Any], steps: int, reason: str) -> Iterator[Cure]:
    for name in ("data.k1", "data.max_length"):
        if isinstance(settings.get(name), int) and settings[name] > steps:
            yield Cure(name, str(max(8, steps)), reason)


def _lower_rate(settings: Mapping[str, Any], reason: str) -> Iterator[Cure]:
    if rate := settings.get("training.learning_rate"):
        yield Cure("training.learning_rate", f"{rate / 10:g}", reason)


def _clipping(settings: Mapping[str, Any]) -> Iterator[Cure]:
    if settings.get("training.clip_norm") == 0.0:
        yield Cure("training.clip_norm", "1.0", "single large updates are then limited")


def _exploding(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    clip = settings.get("training.clip_norm", 0.0)
    if not clip or clip > 1.0:
        now = "is off" if not clip else f"begins at {clip:g}"
        yield Cure(
            "training.clip_norm",
            "1.0",
            f"clipping {now}; it limits the length of an update and keeps its direction (Pascanu et al. "
            "2013)",
        )
    elif clip:
        yield Cure(
            "training.clip_norm",
            f"{clip / 4:g}",
            f"clipping to {clip:g} keeps updates short; a smaller norm also weakens rows whose gradient "
            "explodes against the others",
        )
    radii = [max(layer.radius.values()) for layer in flow.layers if layer.radius]
    radius = max(radii, default=math.nan)
    known = f" (it is {radius:.2f})" if math.isfinite(radius) else ""
    yield from _orthogonal(
        settings, f"the spectral radius of the recurrent weights is then 1{known}"
    )
    yield Cure(
        "clip_grad_norm_",
        "1.0",
        "it limits the length of an update and keeps its direction",
        is_setting=False,
    )
    yield from _cell(
        '"lstm"', settings, "its forget gate is at most 1, and so bounds the path of the cell state"
    )
    yield from _lower_rate(settings, "the weights then grow less per update")
    span = max((layer.span for layer in flow.layers), default=0)
    yield from _windows(
        settings, max(8, span // 4), "fewer factors are multiplied over a shorter window"
    )


def _saturated(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    yield from _lower_rate(
        settings,
        "large updates push the weights to where the functions are flat; train again from the start",
    )
    yield from _clipping(settings)
    if (
        settings.get("training.weight_decay") == 0.0
        and settings.get("training.optimiser") != "lazy_adam"
    ):
        yield Cure("training.weight_decay", "0.01", "it keeps the weights small")
    yield from _cell(
        '"lstm"', settings, "its cell state passes the gradient on outside the flat functions"
    )
    yield from _orthogonal(
        settings,
        "weights with a spectral radius of 1 and inputs of about 1 stay out of the flat ends",
    )


def _dead(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    yield from _lower_rate(
        settings,
        "a large update can push the sum below 0 for every input; train again from the start",
    )
    yield from _cell(
        '"lstm"',
        settings,
        "tanh and sigmoid have a gradient everywhere, so no unit is lost for good",
    )
    reason = "units then keep their sum, and biases of 0 leave them active for some inputs"
    yield from _identity(settings, reason)
    yield Cure("recurrent_init", '"identity"', reason, is_setting=False)


def _rate(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    if updates is None:
        return
    _, ratio = updates.largest
    factor = 10.0
    if math.isfinite(ratio) and ratio > _WANTED_RATIO:
        factor = max(factor, 10.0 ** round(math.log10(ratio / _WANTED_RATIO)))
    wanted = updates.learning_rate / factor
    reason = (
        f"an update should change the weights by about {_WANTED_RATIO:.0%} of their norm or less"
    )
    if not ratio and "adam" in str(settings.get("training.optimiser")):
        wanted = min(wanted, _USUAL_OF_ADAM)
        reason = (
            "Adam changes each weight by up to the learning rate, and this one is usual (Kingma and Ba "
            "2015)"
        )
    yield Cure("training.learning_rate", _power(wanted), reason)
    if settings.get("training.warmup_steps") == 0:
        yield Cure(
            "training.warmup_steps",
            "200",
            "the first updates are then small, while Adam's averages are still uncertain",
        )
    yield from _clipping(settings)


def _power(rate: float) -> str:
    """A rate in a form that a recipe takes.

    >>> _power(0.001), _power(1e4), _power(0.02)
    ('0.001', '10000', '0.02')
    """
    return f"{float(f'{rate:.0e}'):g}"


def _not_finite(
    flow: GradientFlow, updates: Updates | None, settings: Mapping[str, Any]
) -> Iterator[Cure]:
    yield from _lower_rate(
        settings, "the weights have left the range in which the model can be computed"
    )
    yield from _clipping(settings)
