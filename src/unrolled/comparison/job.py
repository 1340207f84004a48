"""One run of a comparison as a process of its own: train or resume, score, and measure.

    python -m unrolled.comparison.job < task.json

Standard input is one line of JSON, a `Job`. It stays open as long as the run is wanted: when it is
closed, because the process that started this one asks for the end or was killed, training stops after the
current update with a checkpoint. The result is written last, and whole: a run is finished if it is there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import storage
from unrolled.errors import NonFiniteError, RunError, UnrolledError
from unrolled.out_of_memory import is_out_of_memory

STOPPED = 130
_GRACE = 10.0  # seconds for the current update and a checkpoint
_POLL = 0.2


@dataclass(frozen=True)
class Job:
    """A run to make.

    Args:
        recipe: the complete recipe, as tables.
        run: the run folder.
        result: file for the scores.
        costs: file for what was measured.
        part: the part to score on, "test" or "valid".
        threads: number of CPU threads.
        folder: the working folder, to which the paths of the recipe are relative.
    """

    recipe: Any
    run: str
    result: str
    costs: str
    part: str
    threads: int
    folder: str


class Lifeline:
    """Notes that standard input was closed.

    Attributes:
        is_cut: whether it was.
        has_begun: whether there is a checkpoint to write before the process ends.
    """

    def __init__(self) -> None:
        self.is_cut = self.has_begun = False

    def watch(self) -> None:
        """Watch standard input in a thread, from the second line on."""
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        # Not through `sys.stdin`, whose lock would be held when the interpreter ends.
        while os.read(0, 4096):
            pass
        self.is_cut = True
        if self.has_begun:
            time.sleep(_GRACE)
        os._exit(STOPPED)  # whatever is incomplete is as after a kill, which runs survive


def main() -> int:
    """Run the job that standard input describes; returns the exit code."""
    # Ctrl-C at the terminal is for the process that started this one, which then closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = Job(**json.loads(sys.stdin.buffer.readline()))
    lifeline = Lifeline()
    lifeline.watch()
    os.chdir(job.folder)
    sys.argv[:] = ["unrolled", "train", "--resume", "--out", job.run]  # for the model card
    try:
        return make_run(job, lifeline)
    except UnrolledError as error:
        problem = str(error)
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and not is_out_of_memory(error):
            problem = f"{error.filename or job.run}: {error.strerror or error}"
        elif is_out_of_memory(error):
            problem = "out of memory; free memory, or reduce the batch size"
        else:
            raise
    print(problem, file=sys.stderr)
    return 2


def make_run(job: Job, lifeline: Lifeline) -> int:
    """Train or resume a run, and write its result and costs.

    Returns:
        0, also if the run failed because a number is not finite; `STOPPED` if the lifeline was cut.

    Raises:
        UnrolledError: the run cannot be trained or scored.
    """
    run = Path(job.run)
    _wait_for(run)
    if Path(job.result).exists():  # whoever wrote the run before finished it
        return 0
    import torch

    from unrolled.comparison.scoring import result_of, training_costs
    from unrolled.tasks import TASKS
    from unrolled.training.loop import Finished, Started, fit
    from unrolled.training.recipe import Recipe

    torch.set_num_threads(job.threads)
    events = fit(Recipe.from_mapping(job.recipe, TASKS), run, resume=True)
    first_step = last_step = 0
    seconds = 0.0
    try:
        for event in events:
            if isinstance(event, Started):
                first_step = event.step
            if isinstance(event, Finished):
                last_step, seconds = event.step, event.seconds
            lifeline.has_begun = True
            if lifeline.is_cut:
                events.close()  # writes a checkpoint
                return STOPPED
    except NonFiniteError as error:
        _write(job.result, {"problem": _first_clause(str(error))})
        return 0
    lifeline.has_begun = False
    costs = training_costs(run, seconds, has_trained=last_step > first_step)
    result, more = result_of(run, job.part)
    _write(job.costs, costs | more)
    _write(job.result, result)
    return 0


def _first_clause(message: str) -> str:
    """What happened; the rest depends on when the run was interrupted."""
    return message.partition(";")[0]


def _wait_for(run: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until no other process writes a run, as one whose parent was killed does for a moment."""
    while True:
        try:
            with storage.locked(Path(os.path.realpath(run))):
                return
        except RunError as error:
            if "is being written" not in str(error):
                raise
        pause(_POLL)


def _write(path: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    storage.write_whole(Path(path), text.encode(), "start the same command again")


def line_of(job: Job) -> bytes:
    """The job as the first line of standard input."""
    return json.dumps(dataclasses.asdict(job)).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
