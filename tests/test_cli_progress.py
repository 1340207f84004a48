from __future__ import annotations

import io
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console

from unrolled.cli.progress import line_of, show
from unrolled.training.events import Best, Evaluated, Event, Finished, Saved, Started, Step

STARTED = Started(
    0, "rows", {"train": 1009, "valid": 53}, {"train": 7}, {"source": 211}, 10007, 13, "cpu"
)
EVALUATED = Evaluated(7, 1, 3.5, {"bleu": 1.25}, False, 61.0)
FINISHED = Finished(13, "max_steps", Best(7, "bleu", 1.25, 3.5, {"bleu": 1.25}), 125.0)


def step(number: int) -> Step:
    return Step(number, 1, 4.25, 1e-3, 0.5, 3812.4, 0.5, 252.4, 60.0)


def printed(events: list[Event], terminal: bool = False) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, soft_wrap=True, highlight=False)
    show((event for event in events), Path("runs/a"), 'predict {run} "…"', console)
    return output.getvalue().splitlines()


def test_a_log_has_all_evaluations_but_few_steps() -> None:
    events: list[Event] = [STARTED, *map(step, range(1, 8)), EVALUATED, Saved(7, Path("x"))]
    assert printed([*events, EVALUATED, FINISHED]) == [
        "rows: train 1,009, valid 53 · 7 left out · source vocabulary 211 · 10,007 parameters · "
        "13 steps per epoch · cpu",
        "step 1 · epoch 1 · loss 4.250 · 3,812 tokens/s · 50% · 4:12 left",
        "step 7 · epoch 1 · valid loss 3.500 · bleu 1.25 · 1:01",
        "step 7 · epoch 1 · valid loss 3.500 · bleu 1.25 · 1:01",
        "finished at step 13 after 2:05 · stopped by max_steps · best bleu 1.250 at step 7",
        'run: runs/a · try: unrolled predict runs/a "…"',
    ]


def test_a_terminal_shows_every_step_in_place() -> None:
    text = "\n".join(printed([STARTED, step(1), step(2)], terminal=True))
    assert "step 2 · epoch 1" in text
    assert text.endswith('try: unrolled predict runs/a "…"')


def test_no_limit_means_no_time_left() -> None:
    assert line_of(Step(1, 1, 4.0, 1e-3, 0.5, 10.0, 0.0, None, 1.0)) == (
        "step 1 · epoch 1 · loss 4.000 · 10 tokens/s"
    )


def test_ctrl_c_closes_the_run_and_says_how_to_resume(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    closed = []

    def events() -> Generator[Event, None, None]:
        try:
            yield STARTED
            yield step(1)
        finally:
            closed.append(True)

    class Interrupting(Console):
        def print(self, *objects: object, **options: object) -> None:
            super().print(*objects, **options)  # type: ignore[arg-type]
            if str(objects[0]).startswith("step 1"):
                raise KeyboardInterrupt

    output = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        show(events(), tmp_path, 'predict {run} "…"', Interrupting(file=output, soft_wrap=True))
    assert closed == [True]
    assert output.getvalue().endswith(f"resume with: `unrolled train --resume --out {tmp_path}`\n")
