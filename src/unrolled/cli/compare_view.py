"""Progress of a comparison: at a terminal a table that fills, in a log a line for each run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from unrolled.cli.screen import duration, key_values, print_text, shown
from unrolled.comparison.compare import Begun, Compared, Event, Updated
from unrolled.comparison.plan import RUNS
from unrolled.comparison.report import interval_shown, score_shown
from unrolled.comparison.schedule import Waiting
from unrolled.metrics.display import title
from unrolled.wording import count_of, percent

_MOST_SEEDS_SHOWN = 10
_TAIL = 4096  # bytes of a log of metrics; a line has some hundred


class CompareView:
    """Shows the events of a comparison; see `progress.View`.

    Args:
        out: folder of the comparison.

    Attributes:
        data: the content of `compare.json`, so far.
        costs: the content of `costs.json`, so far.
        failed: why runs have no result, by key.
    """

    def __init__(self, out: Path) -> None:
        self.data: dict[str, Any] | None = None
        self.costs: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self._out = out
        self._running: tuple[str, ...] = ()
        self._began = time.monotonic()
        self._n_before = 0

    def take(self, event: Event) -> None:
        """See `View`."""
        if isinstance(event, Waiting):
            self._running = event.running
            return
        self.data, self.costs = event.data, event.costs
        if isinstance(event, Begun):
            self._began, self._n_before = time.monotonic(), event.n_done
        if isinstance(event, Updated):
            self._running = tuple(key for key in self._running if key != event.ended.run.key)
        if isinstance(event, Compared):
            self.failed = event.failed

    def is_passing(self, event: Event) -> bool:
        """See `View`."""
        return isinstance(event, Waiting)

    def log(self, event: Event) -> list[str]:
        """See `View`."""
        if isinstance(event, Begun):
            about = {"runs": event.n_runs, "finished": event.n_done, "folder": self._out}
            lines = [key_values("comparison", {**about, "threads": event.plan.threads})]
            for each in event.sizing.variants:
                sizes = {"name": each.name, "parameters": each.parameters, **each.widths}
                lines.append(key_values("variant", sizes))
            return lines
        if isinstance(event, Updated):
            run, score = event.ended.run, event.data["score"]
            about = {"name": run.key, "done": event.ended.n_done, "runs": event.ended.n_runs}
            result = event.ended.result or {}
            value = result.get("scores", {}).get(score)
            problem = event.ended.problem or result.get("problem")
            return [key_values("run", {**about, score or "score": value, "problem": problem})]
        if isinstance(event, Waiting):
            running = ", ".join(self._progress(key) for key in event.running)
            return [key_values("running", {"runs": running})]
        return []

    def print(self, event: Event, console: Console) -> None:
        """See `View`."""
        if isinstance(event, Begun):
            n = len(event.sizing.variants)
            parts = f"{count_of(n, 'variant')}, {count_of(event.plan.seeds, 'seed')}"
            done = f", {event.n_done:,} of them finished" if event.n_done else ""
            print_text(console, f"{parts}: {count_of(event.n_runs, 'run')}{done}")
            for each in event.sizing.variants if event.sizing.target else ():
                solved = ", ".join(f"{name} {width}" for name, width in each.widths.items())
                share = each.parameters / event.sizing.target - 1
                about = f"{each.parameters:,} parameters ({share:+.2%}) with {solved}"
                print_text(console, about, prefix=f"{each.name}: ")
            for note in event.sizing.notes:
                print_text(console, note, prefix="note: ")
        if isinstance(event, Updated):
            result = event.ended.result or {}
            problem = event.ended.problem or result.get("problem")
            if problem:
                print_text(console, str(problem), prefix=f"{event.ended.run.key}: ")

    def living(self, console: Console) -> RenderableType:
        """The table of scores by seed, and the runs that are being made."""
        if self.data is None:
            return Text("")
        table = Table.grid(padding=(0, 2))
        seeds = self.data["seeds"][:_MOST_SEEDS_SHOWN]
        score = self.data["score"]
        name = title(score) if score else "score"
        table.add_row("", *(f"seed {seed}" for seed in seeds), f"{name}, mean", style="dim")
        for variant in self.data["variants"]:
            cells = dict.fromkeys(seeds, Text("·", style="dim"))
            for run in variant["runs"]:
                if run["seed"] in cells:
                    cells[run["seed"]] = self._cell(run, score)
            table.add_row(variant["name"], *cells.values(), interval_shown(variant, score))
        lines = Table.grid()
        lines.add_row(table)
        lines.add_row(Text(shown(self._state(), console), style="dim", overflow="ellipsis"))
        return lines

    def _cell(self, run: dict[str, Any], score: str) -> Text:
        if run["state"] == "finished":
            return Text(score_shown(run["scores"].get(score), score))
        if run["state"] == "failed":
            return Text("not finite", style="red")
        key = run["folder"].rpartition("/")[2]
        if key in self._running:
            return Text(self._share(key), style="cyan")
        return Text("failed" if run["problem"] else "·", style="red" if run["problem"] else "dim")

    def _state(self) -> str:
        assert self.data is not None
        done, n = self.data["n_done"], self.data["n_runs"]
        parts = [f"{done} of {n} runs"]
        if self._running:
            parts.append(f"running {', '.join(self._progress(key) for key in self._running)}")
        here = done - self._n_before
        if here > 0 and done < n:
            left = (time.monotonic() - self._began) / here * (n - done)
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)

    def _progress(self, key: str) -> str:
        return f"{key} {self._share(key)}"

    def _share(self, key: str) -> str:
        """How far a run has come, from the end of its log of metrics."""
        try:
            with (self._out / RUNS / key / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().splitlines()
            events = [
                json.loads(line) for line in lines[1:] if line.startswith(b'{"event": "step"')
            ]
            return percent(float(events[-1]["fraction_done"]), 0)
        except (OSError, ValueError, LookupError, TypeError):
            return "…"
