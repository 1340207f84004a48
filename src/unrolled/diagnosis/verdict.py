"""A diagnosis in words: what the gradient flow and the updates say, and which setting to change.

Each threshold follows from what its quantity means:

    vanishing      less than 1/1000 of the gradient is left at the far end. The gradient of a weight is a
                   sum over steps; a contribution that is a thousand times smaller than the nearest one is
                   below the sampling noise of a batch of fewer than 1000² examples.
    exploding      a state d steps earlier gets more than 10 times the gradient of the step itself, and
                   more than d times: then it outweighs all nearer steps together, and an update follows
                   it alone. Less than d times is a sum of paths, as in an LSTM that forgets nothing.
                   Where the loss is known to fall at this rate and with this clipping, more than 1000
                   times: the near steps are then what vanishes.
    saturated      the values of a function of sums with weights are in the flat ends, where less than
                   1/20 of the largest derivative is left, in at least half of all units and steps; and
                   that hampers learning: less than 1/100 of the gradient that enters the states arrives
                   at these sums; or most values of all such functions are flat, and the gradient vanishes
                   over the steps. What a model stores at the ends of tanh passes less, but enough.
    dead ReLU      at least half of the units are 0 at every step of every row: their weights get no
                   gradient at all, so they never change on such data.
    learning rate  the loss on the same rows is higher after some updates than before: beyond the rate
    too high       at which gradient descent descends (2 / curvature). Or an update is as large as the
                   weights: it replaces what was learned. Or the loss is three times that of the first
                   update: a model that knows nothing would do better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unrolled.diagnosis.cures import Cure, cures_for
from unrolled.wording import count_of, percent

if TYPE_CHECKING:  # they need torch, which commands without a model do not load
    from unrolled.diagnosis.flow import GradientFlow, LayerFlow
    from unrolled.diagnosis.updates import Updates

VANISHED = 1e-3
EXPLODED = 10.0
BLOCKED = 0.5
ARRIVED = 0.01
DEAD = 0.5
REPLACED = 1.0
JUMPED = 3.0

_FEW_STEPS = 10
_SMALL_UPDATE = 0.1

NAMES = {
    "non_finite": "not finite",
    "learning_rate": "learning rate too high",
    "exploding": "exploding gradient",
    "dead_relu": "dead ReLU",
    "saturated": "saturated",
    "vanishing": "vanishing gradient",
    "healthy": "healthy",
}
"""The diagnoses, the most urgent first: one that comes first may cause those that follow."""


@dataclass(frozen=True)
class Finding:
    """One diagnosis.

    Args:
        kind: a key of `NAMES`.
        where: the name of the layer or group; empty for the whole model.
        evidence: what was measured, in one sentence.
        number: the number that decides.
        threshold: the number that it is compared with.
        cures: what to change, the most promising first.
    """

    kind: str
    where: str
    evidence: str
    number: float
    threshold: float
    cures: tuple[Cure, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The diagnosis of a model.

    Args:
        findings: what was found, the most urgent first; a single "healthy" one if nothing is wrong.
    """

    findings: tuple[Finding, ...]

    @property
    def kind(self) -> str:
        """The most urgent diagnosis, a key of `NAMES`."""
        return self.findings[0].kind

    @property
    def kinds(self) -> tuple[str, ...]:
        """All diagnoses, each once."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings))

    def __str__(self) -> str:
        """The most urgent diagnosis in one sentence, with its first cure."""
        first = self.findings[0]
        cure = f"; {first.cures[0]}" if first.cures else ""
        return f"{NAMES[first.kind]}: {first.evidence}{cure}"

    def lines(self) -> Iterator[str]:
        """Each finding with its cures, a paragraph per line."""
        for finding in self.findings:
            where = f" ({finding.where})" if finding.where else ""
            yield f"{NAMES[finding.kind]}{where}: {finding.evidence}"
            for cure in finding.cures:
                yield f"  change: {cure}"


def judge(
    flow: GradientFlow,
    updates: Updates | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Verdict:
    """Diagnose a model.

    Args:
        flow: its gradient flow.
        updates: what updates of its weights did, if that is known.
        settings: the settings of its recipe by dotted name, such as "model.cell", for the cures; None for
            a model without a recipe, whose cures are arguments of the layers in `unrolled.nn`.

    >>> from unrolled.diagnosis.flow import GradientFlow
    >>> judge(GradientFlow(math.nan)).kind
    'non_finite'
    """
    learns = updates is not None and _learns(updates)
    found = [*_of_loss(flow), *_of_layers(flow, learns)]
    if updates is not None:
        exploding = any(finding.kind == "exploding" for finding in found)
        found += _of_updates(updates, exploding)
    found = found or [_healthy(flow, learns)]
    order = list(NAMES)
    found.sort(key=lambda finding: order.index(finding.kind))
    return Verdict(
        tuple(
            replace(finding, cures=tuple(cures_for(finding.kind, flow, updates, settings)))
            for finding in found
        )
    )


def _of_loss(flow: GradientFlow) -> Iterator[Finding]:
    if not math.isfinite(flow.loss):
        evidence = f"the loss is {flow.loss:g} even in double precision"
        yield Finding("non_finite", "", evidence, flow.loss, math.inf)


def _of_layers(flow: GradientFlow, learns: bool) -> Iterator[Finding]:
    """The findings of all layers, of each kind the worst.

    Args:
        flow: the gradient flow.
        learns: whether it is known that updates reduce the loss.
    """
    worst: dict[str, Finding] = {}
    for layer in flow.layers:
        for finding in (*_of_span(layer, learns), *_of_parts(layer)):
            before = worst.get(finding.kind)
            is_worse = before is None or (
                finding.number < before.number
                if finding.kind == "vanishing"
                else finding.number > before.number
            )
            if is_worse:
                worst[finding.kind] = finding
    yield from worst.values()


def _of_span(layer: LayerFlow, learns: bool) -> Iterator[Finding]:
    curve = layer.curve
    if layer.span < 1:
        return
    most_allowed = [max(1 / VANISHED if learns else EXPLODED, d) for d in range(len(curve))]
    place, last = int((curve / most_allowed).argmax()), float(curve[-1])
    if not curve[place] <= most_allowed[place]:
        largest = float(curve[place])
        evidence = (
            f"the loss at a step changes the state {count_of(place, 'step')} earlier "
            f"{largest:.3g} times as much as that of the step itself"
        )
        yield Finding("exploding", layer.name, evidence, largest, most_allowed[place])
    elif last < VANISHED:
        tenth = next((d for d in range(len(curve)) if curve[d] < 0.1), layer.span)
        evidence = (
            f"the loss at the last step changes the state {count_of(layer.span, 'step')} earlier by "
            f"{last:.2g} of what it changes the state of the step itself; a tenth is left after "
            f"{count_of(tenth, 'step')}"
        )
        yield Finding("vanishing", layer.name, evidence, last, VANISHED)


def _of_parts(layer: LayerFlow) -> Iterator[Finding]:
    n_steps = sum(map(len, layer.loss))
    for part in layer.parts:
        if part.dead >= DEAD and n_steps >= _FEW_STEPS:
            evidence = (
                f"{percent(part.dead)} of the units are 0 at all {n_steps:,} steps, where a ReLU "
                "has derivative 0"
            )
            yield Finding("dead_relu", layer.name, evidence, part.dead, DEAD)
    sums = [part for part in layer.parts if part.is_sum and part.function != "relu"]
    if not sums:
        return
    flattest = max(sums, key=lambda part: part.saturated)
    share = sum(part.saturated for part in sums) / len(sums)
    lost = ""
    if flattest.saturated >= BLOCKED and layer.arrives < ARRIVED:
        lost = f"{layer.arrives:.2g} of the gradient that enters the states arrives at the weights"
    elif share >= BLOCKED and layer.span >= 1 and layer.reach_at(layer.span) < VANISHED:
        left = layer.reach_at(layer.span)
        lost = f"{left:.2g} of the gradient is left after {count_of(layer.span, 'step')}"
    if lost:
        evidence = (
            f"{percent(flattest.saturated)} of the values of {flattest.name} are in the flat ends of "
            f"its {flattest.function}, where the derivative is below 1/20 of the largest, and only "
            f"{lost}"
        )
        yield Finding("saturated", layer.name, evidence, flattest.saturated, BLOCKED)


def _learns(updates: Updates) -> bool:
    """Whether updates at the rate and with the clipping of the recipe reduce the loss."""
    if updates.losses:
        return not _rises(updates.losses)
    first, last = updates.first_loss, updates.last_loss
    return first is not None and last is not None and last < first


def _rises(losses: Sequence[float]) -> bool:
    """Whether the loss is higher after trial updates than before."""
    return not _end(losses) <= losses[0] + 1e-3 * abs(losses[0])


def _end(losses: Sequence[float]) -> float:
    """The mean of the last three."""
    last = losses[-3:]
    return sum(last) / len(last)


def _of_updates(updates: Updates, exploding: bool) -> Iterator[Finding]:
    group, ratio = updates.largest
    rate = f"at learning rate {updates.learning_rate:g}"
    if updates.losses:
        start, end = updates.losses[0], _end(updates.losses)
        if _rises(updates.losses) and not (exploding and ratio < _SMALL_UPDATE):
            n = len(updates.losses) - 1
            evidence = (
                f"{rate}, {count_of(n, 'update')} on the same rows move their loss from {start:.4g} to "
                f"{end:.4g}, and an update changes {group or 'weights'} by {ratio:.2g} of its norm"
            )
            yield Finding("learning_rate", group, evidence, end / max(start, 1e-12), 1.0)
            return
    first, loss = updates.first_loss, updates.last_loss
    if first is not None and loss is not None and not loss <= JUMPED * max(first, 1e-12):
        evidence = f"{rate}, the loss is {loss:.4g}, and was {first:.4g} at the first update"
        yield Finding("learning_rate", "", evidence, loss / max(first, 1e-12), JUMPED)
    elif not ratio < REPLACED:
        evidence = f"{rate}, an update changes {group or 'the weights'} by {ratio:.3g} of its norm"
        yield Finding("learning_rate", group, evidence, ratio, REPLACED)


def _healthy(flow: GradientFlow, learns: bool) -> Finding:
    measured = [layer for layer in flow.layers if layer.span >= 1]
    if not measured:
        evidence = "no recurrent layer has a path of several steps that the loss depends on"
        return Finding("healthy", "", evidence, math.nan, VANISHED)
    least = min(measured, key=lambda layer: layer.reach_at(layer.span))
    number = least.reach_at(least.span)
    evidence = (
        f"the loss at the last step changes the state {count_of(least.span, 'step')} earlier by "
        f"{number:.2g} of what it changes the state of the step itself"
    )
    most = max((layer.curve for layer in measured), key=lambda curve: float(curve.max()))
    if most.max() > EXPLODED:
        reason = "but updates reduce the loss" if learns else "less than the nearer steps together"
        distance = count_of(int(most.argmax()), "step")
        evidence += f"; {distance} earlier, it is {most.max():.3g} times as large, {reason}"
    return Finding("healthy", least.name, evidence, number, VANISHED)
