"""How the training of an ensemble is shown: each member like any run, and their mean."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from unrolled.cli.progress import follow, print_commands
from unrolled.cli.screen import default_console, key_values, print_parts, print_text, score
from unrolled.cli.training_view import TrainingView
from unrolled.metrics.display import title
from unrolled.quoting import shell_command
from unrolled.training.config import TrainingConfig
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.training.ensemble import EnsembleEvent, EnsembleFinished, MemberStarted


class EnsembleView:
    """A `View` of the events of an ensemble.

    Args:
        training: settings of the members.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self._training = training
        self._view = TrainingView(training)

    def take(self, event: EnsembleEvent) -> None:
        """See `View`."""
        from unrolled.training.ensemble import EnsembleFinished, MemberStarted

        if isinstance(event, MemberStarted):
            self._view = TrainingView(self._training)
        elif not isinstance(event, EnsembleFinished):
            self._view.take(event)

    def is_passing(self, event: EnsembleEvent) -> bool:
        """See `View`."""
        from unrolled.training.ensemble import EnsembleFinished, MemberStarted

        if isinstance(event, MemberStarted | EnsembleFinished):
            return False
        return self._view.is_passing(event)

    def log(self, event: EnsembleEvent) -> list[str]:
        """See `View`."""
        from unrolled.training.ensemble import EnsembleFinished, MemberStarted

        if isinstance(event, MemberStarted):
            return [key_values("member", _member_values(event))]
        if isinstance(event, EnsembleFinished):
            members = _of_members(event)
            values: dict[str, object] = {"members": len(event.members), **event.scores}
            values |= {f"mean_member_{name}": mean(found) for name, found in members.items()}
            return [key_values("ensemble", values)]
        return self._view.log(event)

    def print(self, event: EnsembleEvent, console: Console) -> None:
        """See `View`."""
        from unrolled.training.ensemble import EnsembleFinished, MemberStarted

        if isinstance(event, MemberStarted):
            done = ", trained before" if event.is_finished else ""
            print_text(
                console, f"member {event.number} of {event.n_members}, seed {event.seed}{done}"
            )
        elif isinstance(event, EnsembleFinished):
            print_parts(console, _end_parts(event))
        else:
            self._view.print(event, console)

    def living(self, console: Console) -> RenderableType:
        """See `View`."""
        return self._view.living(console) or Text("")


def _member_values(event: MemberStarted) -> dict[str, object]:
    values: dict[str, object] = {"number": event.number, "members": event.n_members}
    return values | {"seed": event.seed, "run": event.folder, "trained": event.is_finished}


def _of_members(event: EnsembleFinished) -> Mapping[str, list[float]]:
    """The scores of the members, by the names of those of the ensemble that all of them have."""
    found = {
        name: [
            best.scores[name] for best in event.members if best is not None and name in best.scores
        ]
        for name in event.scores
    }
    return {name: values for name, values in found.items() if len(values) == len(event.members)}


def _end_parts(event: EnsembleFinished) -> list[str]:
    """The validation scores of the ensemble, the chosen metric first, each beside its members'."""
    members, parts = _of_members(event), list[str]()
    for name in sorted(event.scores, key=event.metric.__ne__):
        part = f"{title(name)} {score(event.scores[name])}"
        if name in members:
            low, high = score(min(members[name])), score(max(members[name]))
            part += f" (members {low} to {high})"
        parts.append(part)
    head = f"ensemble of {count_of(len(event.members), 'model')}"
    return [f"{head}: {parts[0]}", *parts[1:]] if parts else [head]


def show_ensemble(
    events: Generator[EnsembleEvent, None, None],
    out: Path,
    use: str,
    training: TrainingConfig,
    console: Console | None = None,
) -> None:
    """Train an ensemble to its end and show its progress; the arguments are those of `progress.show`."""
    from unrolled.training.run_folder import ENSEMBLE_FILE

    console = console or default_console()
    resume = shell_command("unrolled", "train", "--resume", "--out", out)
    follow(events, EnsembleView(training), console=console, resume=(out / ENSEMBLE_FILE, resume))
    print_commands(console, out, use)
