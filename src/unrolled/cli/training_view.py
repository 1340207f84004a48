"""How training is shown: a table of evaluations and a bar at a terminal, key=value lines in a log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unrolled.cli.screen import (
    clock,
    duration,
    fitting,
    key_values,
    loss,
    print_parts,
    print_text,
    score,
    shown,
)
from unrolled.diagnosis.verdict import NAMES
from unrolled.training.config import TrainingConfig
from unrolled.training.events import (
    Evaluated,
    Event,
    Finished,
    Inspected,
    Saved,
    Started,
    Step,
    Warned,
)
from unrolled.wording import count_of, percent

_WEIGHT_OF_OLD_LOSS = 0.9
"""Decay rate of the smoothed loss, per event."""

_GAP = "  "
_BEST = " ★"

_REPEATS = {"micro_f1": "accuracy"}
"""Scores that equal another where both are given: with one label per example, micro F1 is accuracy."""


@dataclass(frozen=True)
class Column:
    """A column of the table of evaluations.

    Args:
        name: its header.
        width: its width, without the gap before it.
        rank: the higher, the sooner it is left out of a narrow table.
    """

    name: str
    width: int
    rank: int


class TrainingView:
    """A `View` of the events of training.

    Args:
        training: settings of the run, for its limits and its metric.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self._training = training
        self._started: Started | None = None
        self._step: Step | None = None
        self._best: Evaluated | None = None
        self._last: Evaluated | None = None
        self._improved_step = 0
        self._smoothed = self._weight = 0.0
        self._since: list[
            tuple[int, float]
        ] = []  # updates and mean loss, since the last evaluation
        self._train_loss = math.nan
        self._columns: list[Column] = []
        self._table_width = 0

    def take(self, event: Event) -> None:
        """See `View`."""
        match event:
            case Started():
                self._started, self._improved_step = event, event.step
            case Step():
                before = self._step or self._started
                n_updates = max(1, event.step - (before.step if before else 0))
                self._since.append((n_updates, event.loss))
                rate = _WEIGHT_OF_OLD_LOSS
                self._smoothed = rate * self._smoothed + (1 - rate) * event.loss
                self._weight = rate * self._weight + (1 - rate)
                self._step = event
            case Evaluated():
                n_updates = sum(n for n, _ in self._since)
                total = sum(n * mean for n, mean in self._since)
                self._train_loss = total / n_updates if n_updates else math.nan
                self._since, self._last = [], event
                self._best = event if event.is_best else self._best
                if not event.n_without_improvement:
                    self._improved_step = event.step

    def is_passing(self, event: Event) -> bool:
        """See `View`."""
        return isinstance(event, Step)

    def log(self, event: Event) -> list[str]:
        """See `View`.

        >>> view = TrainingView(TrainingConfig(metric="bleu"))
        >>> print(*view.log(Evaluated(1500, 2, 1.25, {"bleu": 31.4}, True, 252.4)))
        event=evaluation step=1500 epoch=2 valid_loss=1.25 bleu=31.4 best=yes seconds=252.4
        """
        match event:
            case Started():
                lines = [key_values("start", _start_values(event))]
                lines += [key_values("note", {"text": note}) for note in event.notes]
                return lines
            case Step():
                return [
                    key_values(
                        "step",
                        {
                            "step": event.step,
                            "epoch": event.epoch,
                            "train_loss": event.loss,
                            "learning_rate": event.learning_rate,
                            "grad_norm": event.grad_norm,
                            "tokens_per_second": round(event.tokens_per_second),
                            "done": round(event.fraction_done, 4) if event.fraction_done else None,
                            "seconds_left": _finite(event.eta_seconds),
                            "seconds": round(event.seconds, 1),
                        },
                    )
                ]
            case Evaluated():
                return [
                    key_values(
                        "evaluation",
                        {
                            "step": event.step,
                            "epoch": event.epoch,
                            "train_loss": None
                            if math.isnan(self._train_loss)
                            else self._train_loss,
                            "valid_loss": event.loss,
                            **self._scores(event.scores),
                            "best": event.is_best,
                            "seconds": round(event.seconds, 1),
                        },
                    )
                ]
            case Inspected():
                values = {"step": event.step, "verdict": NAMES[event.verdict.kind]}
                values |= {"text": str(event.verdict)}
                return [key_values("inspection", values)]
            case Warned():
                return [key_values("warning", {"step": event.step, "text": event.text})]
            case Finished():
                return [key_values("end", self._end_values(event))]
            case Saved():
                return []

    def print(self, event: Event, console: Console) -> None:
        """See `View`."""
        match event:
            case Started():
                print_parts(console, _start_parts(event))
                for note in event.notes:
                    print_text(console, note, prefix="note: ")
            case Evaluated():
                self._print_row(event, console)
            case Inspected():
                print_text(console, str(event.verdict), prefix=f"step {event.step:,}: ")
            case Warned():
                print_text(console, event.text, prefix=f"warning, step {event.step:,}: ")
            case Finished():
                for parts in self._end_parts(event):
                    print_parts(console, parts)

    def living(self, console: Console) -> RenderableType:
        """See `View`: a bar, and below it the figures of the last updates."""
        step = self._step
        if step is None:
            return Text("")
        width = console.width
        figures = [
            f"step {step.step:,}",
            f"epoch {step.epoch:,}",
            f"loss {loss(self._smoothed / self._weight)}",
            f"{step.tokens_per_second:,.0f} tokens/s",
            f"lr {step.learning_rate:.3g}",
            f"grad norm {step.grad_norm:.3g}",
        ]
        figures_line = shown(fitting(figures, width), console)
        share, parts = self._how_far(step)
        head, tail = parts[:1], parts[1:]
        room = min(40, width - len(head[0]) - 2)
        text = " ".join(head)
        if tail:  # what fits beside a bar of at least 10 cells
            text = fitting(parts, max(len(head[0]), width - 12))
            room = min(40, width - len(text) - 2)
        line = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [Text(shown(text, console), no_wrap=True, overflow="crop")]
        if room >= 10:
            cells.insert(0, ProgressBar(total=1.0, completed=share, width=room - 1))
        line.add_row(*cells)
        return Group(line, Text(figures_line, no_wrap=True, overflow="crop"))

    def _how_far(self, step: Step) -> tuple[float, list[str]]:
        """The share of the bar, and what is said beside it, the most important first."""
        training = self._training
        if step.eta_seconds is not None:
            share = step.fraction_done
            parts = [percent(share, 0)]
            if math.isfinite(step.eta_seconds):
                parts.append(f"{duration(step.eta_seconds)} left")
        else:
            n_steps = max(1, self._steps_per_epoch)
            share = min(1.0, (step.step - (step.epoch - 1) * n_steps) / n_steps)
            share = max(0.0, share)
            parts = [f"{percent(share, 0)} of epoch {step.epoch:,}"]
        if self._best is not None:
            name = "loss" if training.metric == "loss" else training.metric
            parts.append(f"best {name} {self._metric_of(self._best)}")
        if self._last is not None and (waiting := self._waiting(step)):
            parts.append(waiting)
        return share, parts

    def _waiting(self, step: Step) -> str | None:
        """How much of the patience is used, once an evaluation has not improved."""
        assert self._last is not None
        if not self._training.patience or not self._last.n_without_improvement:
            return None
        n_evaluations, n_steps = self._patience()
        text = (
            f"no improvement in {self._last.n_without_improvement} of {n_evaluations} evaluations"
        )
        if n_steps:
            text += f", {step.step - self._improved_step:,} of {n_steps:,} steps"
        return text

    def _patience(self) -> tuple[int, int]:
        return self._training.patience_for(self._steps_per_epoch)

    @property
    def _steps_per_epoch(self) -> int:
        return self._started.steps_per_epoch if self._started else 1

    def _metric_of(self, event: Evaluated) -> str:
        metric = self._training.metric
        if metric == "loss":
            return loss(event.loss)
        return score(event.scores.get(metric, math.nan))

    def _scores(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores to show, the chosen metric first, without those that repeat another."""
        metric = self._training.metric
        hidden = {
            (equal if metric == name else name)
            for name, equal in _REPEATS.items()
            if name in scores and equal in scores
        }
        names = sorted((name for name in scores if name not in hidden), key=metric.__ne__)
        return {name: scores[name] for name in names}

    def _cells(self, event: Evaluated) -> list[tuple[str, str]]:
        """Header and cell of each column, in order; the chosen metric is the third."""
        train_loss = "–" if math.isnan(self._train_loss) else loss(self._train_loss)
        scores = [(name, score(value)) for name, value in self._scores(event.scores).items()]
        losses = [("valid loss", loss(event.loss)), ("train loss", train_loss)]
        is_loss = self._training.metric not in event.scores
        measures = [*losses, *scores] if is_loss else [scores[0], *losses, *scores[1:]]
        name, cell = measures[0]
        measures[0] = f"{name}{' ' * len(_BEST)}", cell + (_BEST if event.is_best else "  ")
        first = [("step", f"{event.step:,}"), ("epoch", f"{event.epoch:,}")]
        return [*first, *measures, ("time", clock(event.seconds))]

    def _print_row(self, event: Evaluated, console: Console) -> None:
        cells = self._cells(event)
        by_name = dict(cells)
        fits = all(len(by_name.get(column.name, "")) <= column.width for column in self._columns)
        if not self._columns or not fits or self._table_width != console.width:
            self._table_width = console.width
            self._columns = _columns(cells, console.width)
            header = _GAP.join(column.name.rjust(column.width) for column in self._columns)
            console.print(Text(header.rstrip(), style="bold"), soft_wrap=True)
        row = _GAP.join(
            by_name.get(column.name, "").rjust(column.width) for column in self._columns
        )
        style = "bold" if event.is_best else ""
        console.print(Text(shown(row.rstrip(), console), style=style), soft_wrap=True)

    def _reason(self, event: Finished) -> str:
        """The stopping criterion in words, with the setting."""
        training, name = self._training, event.reason
        match event.reason:
            case "max_epochs":
                limit = f"after {count_of(training.max_epochs, 'epoch')}"
            case "max_steps":
                limit = f"after {count_of(training.max_steps, 'step')}"
            case "max_minutes":
                limit = f"at the limit of {count_of(training.max_minutes, 'minute')}"
            case _:
                limit = training.end_of_patience(self._steps_per_epoch)
        return f"stopped {limit} (training.{name})"

    def _end_parts(self, event: Finished) -> Iterator[list[str]]:
        step = [f"step {event.step:,}"] if event.reason != "max_steps" else []
        yield [self._reason(event), *step, clock(event.seconds)]
        best = event.best
        if best is None:
            yield ["no evaluation gave a number, so the weights are those of the last step"]
            return
        scores = [f"{name} {score(value)}" for name, value in self._scores(best.scores).items()]
        measures = [f"valid loss {loss(best.loss)}", *scores]
        if best.metric in best.scores:
            measures[0], measures[1] = measures[1], measures[0]
        yield [f"best model, of step {best.step:,}: {measures[0]}", *measures[1:]]

    def _end_values(self, event: Finished) -> dict[str, object]:
        values: dict[str, object] = {
            "step": event.step,
            "reason": event.reason,
            "text": self._reason(event),
            "seconds": round(event.seconds, 1),
        }
        if event.best is not None:
            best = event.best
            values |= {"best_step": best.step, "metric": best.metric, "best_valid_loss": best.loss}
            scores = self._scores(best.scores)
            values |= {f"best_{name}": value for name, value in scores.items()}
        return values


def _columns(cells: list[tuple[str, str]], width: int) -> list[Column]:
    """The columns of the table, without the least important ones if it would be too wide."""
    least = {"step": 7, "epoch": 5, "time": 7}
    first = {"step": 0, cells[2][0]: 1, "time": 2, "valid loss": 3, "train loss": 4, "epoch": 5}
    columns = [
        Column(name, max(len(name), len(cell), least.get(name, 8)), first.get(name, 6 + place))
        for place, (name, cell) in enumerate(cells)
    ]
    while len(columns) > 1 and sum(c.width + len(_GAP) for c in columns) - len(_GAP) > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    return columns


def _start_parts(event: Started) -> list[str]:
    sizes = ", ".join(f"{name} {size:,}" for name, size in event.sizes.items())
    skipped = sum(event.skipped.values())
    return [
        f"{event.unit}: {sizes}",
        *([f"{skipped:,} left out"] if skipped else []),
        *(
            f"{n:,} {role}" if role in ("labels", "ngrams") else f"{role} vocabulary {n:,}"
            for role, n in event.vocabulary_sizes.items()
        ),
        f"{event.parameters:,} parameters",
        f"{count_of(event.steps_per_epoch, 'step')} per epoch",
        event.device,
        *([f"resuming from step {event.step:,}"] if event.step else []),
    ]


def _start_values(event: Started) -> dict[str, object]:
    return {
        "step": event.step,
        **{f"{event.unit}_{name}": size for name, size in event.sizes.items()},
        "left_out": sum(event.skipped.values()) or None,
        **{
            "labels" if role == "labels" else f"vocabulary_{role}": n
            for role, n in event.vocabulary_sizes.items()
        },
        "parameters": event.parameters,
        "steps_per_epoch": event.steps_per_epoch,
        "device": event.device,
    }


def _finite(seconds: float | None) -> int | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds)
