"""Kill training at random instants, and see that nothing is lost.

    python tests/kills/campaign.py                       # all kinds, 40 instants each, and 30 pairs
    python tests/kills/campaign.py --kinds tag --trials 5 --pairs 0 --seed 7

A trial starts a small run, kills it (SIGKILL), resumes it, kills that too (in a third of the trials
twice), and resumes to the end. After each kill the folder must load or say in a sentence why not. At the
end weights, optimiser, checkpoint, metrics, settings and vocabularies must be those of a run that nobody
disturbed, to the bit (but for times), and nothing may be left over. A pair is two commands at once on one
folder: one wins or both end well, and the run is the undisturbed one.

The command is the same each time, with `--resume`. Prints a table; ends with 1 where something differed.
Children are forked, which spares them the imports, so that it needs an operating system with `fork`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled import cli

STEPS = 12
TRAINING = (
    *("--training.device", "cpu", "--training.threads", "1"),
    *("--training.max_steps", str(STEPS), "--training.max_tokens", "60"),
    *("--training.log_every_n_steps", "1", "--training.evaluate_every_n_steps", "3"),
    *("--training.checkpoint_every_n_steps", "2"),
)
SMALL = ("--model.embedding_size", "8", "--model.hidden_size", "8")
TRANSLATE = (
    *("--task", "translate", "--text.kind", "word", *SMALL, "--model.encoder_size", "8"),
    *("--training.valid_sentences", "3", "--data.valid_size", "7", "--data.test_size", "5"),
)


@dataclass(frozen=True)
class Kind:
    """A kind of run: the words of its command after `unrolled`, and the file it reads."""

    data: str
    options: tuple[str, ...]
    is_vectors: bool = False

    def command(self, data: Path, out: Path, resume: bool) -> list[str]:
        """All words after `unrolled`."""
        file = str(data / self.data)
        more = ["--out", str(out), *(["--resume"] if resume else [])]
        if self.is_vectors:
            return ["vectors", "train", file, *self.options, *more]
        return ["train", "--data", file, *self.options, *TRAINING, *more]


LABELS = (*SMALL, "--baselines", "none")
VECTORS = ("--size", "5", "--min-count", "1", "--epochs", "6", "--save-every-n-seconds", "0")
KINDS = {
    "translate": Kind("pairs.tsv", TRANSLATE),
    "translate, chrf": Kind("pairs.tsv", (*TRANSLATE, "--training.metric", "chrf")),
    "language_model": Kind("text.txt", ("--task", "language_model", *SMALL, "--data.n_rows", "2")),
    "classify": Kind("classify.tsv", ("--task", "classify", *LABELS)),
    "tag": Kind("tag.conll", ("--task", "tag", *LABELS, "--model.char_size", "4")),
    "pair": Kind("pair.tsv", ("--task", "pair", *LABELS)),
    "vectors": Kind("text.txt", VECTORS, is_vectors=True),
    "vectors, memory": Kind("text.txt", (*VECTORS, "--memory", "100MB"), is_vectors=True),
}


def write_data(folder: Path) -> None:
    """The files that the kinds read."""
    draw = random.Random(1)
    words = {"two": "dos", "three": "tres", "cats": "gatos", "dogs": "perros", "run": "corren"}
    names = list(words)
    rows = [tuple(draw.choice(names) for _ in range(draw.randint(2, 6))) for _ in range(150)]
    rows = list(dict.fromkeys(rows))
    texts = [" ".join(row) for row in rows]
    answers = [" ".join(words[name] for name in row) for row in rows]
    labels = ["many" if len(row) > 4 else "few" for row in rows]
    tags = [
        "\n".join(f"{name} {'O' if name == 'run' else 'B-X'}" for name in row) + "\n"
        for row in rows
    ]
    files = {
        "pairs.tsv": [("en", "es"), *zip(texts, answers, strict=True)],
        "classify.tsv": [("text", "label"), *zip(texts, labels, strict=True)],
        "pair.tsv": [
            ("first", "second", "label"),
            *zip(texts, reversed(texts), labels, strict=True),
        ],
    }
    for name, lines in files.items():
        text = "".join("\t".join(line) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "tag.conll").write_text("\n".join(tags), encoding="utf-8")
    (folder / "text.txt").write_text("\n".join(texts * 4) + "\n", encoding="utf-8")


# Children


@dataclass
class Child:
    """A forked process that runs a command, with what it printed on standard error."""

    pid: int
    errors: Path

    def kill(self) -> None:
        """As `kill -9`, unless it has ended."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code; below 0 where it was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def said(self) -> str:
        """What it printed on standard error."""
        return self.errors.read_text(encoding="utf-8", errors="replace")


def start(command: Sequence[str], errors: Path, cache: Path, modules: Path | None = None) -> Child:
    """Run `unrolled` with these words in a child, which leaves the names of its modules in a file."""
    pid = os.fork()
    if pid:
        return Child(pid, errors)
    code = 99
    try:
        os.environ["UNROLLED_CACHE"] = str(cache)
        for number, path in ((1, os.devnull), (2, str(errors))):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        code = cli.main(command)
        sys.stderr.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules), encoding="utf-8")
    except BaseException:
        import traceback

        with open(errors, "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def import_all(names: Sequence[str]) -> None:
    """Import modules here, so that no child has to; importing them starts no thread, as training does."""
    for name in names:
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


# What must be equal


_TIMED = {"seconds", "update_seconds", "eta_seconds", "tokens_per_second"}
_OF_SESSIONS = {"sessions", "metrics_bytes", "metrics_sha256", "sha256"}


def essence(folder: Path) -> dict[str, object]:
    """All that must be equal: content of files by name, without times and what follows from them."""
    return {
        path.relative_to(folder).as_posix(): _essence_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "README.md"
    }


def _essence_of(path: Path) -> object:
    if path.suffix == ".json" and not path.name.startswith("tokenizer"):
        return _untimed(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl":
        return [_untimed(json.loads(line)) for line in path.read_bytes().splitlines()]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        skipped = _TIMED | _OF_SESSIONS
        return {name: _untimed(inner) for name, inner in value.items() if name not in skipped}
    return value


def _as_one_checkpoint(found: dict[str, object]) -> dict[str, object]:
    """The essence with checkpoints under their steps: one saved again after a kill has a second name."""
    renamed = {}
    for name, content in found.items():
        if name.startswith("checkpoints/step-"):
            folder, _, file = name.removeprefix("checkpoints/").partition("/")
            name = f"checkpoints/{'-'.join(folder.split('-')[:2])}/{file}"
        elif name == "checkpoints/pointer.json":
            assert isinstance(content, dict)
            steps = {key: each and each["folder"].split("-")[1] for key, each in content.items()}
            content = steps
        renamed[name] = content
    return renamed


def differences(found: Path, expected: Path) -> list[str]:
    """The files in which two folders differ, and what is left over beside them."""
    one, other = (_as_one_checkpoint(essence(folder)) for folder in (found, expected))
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    hidden = [path.name for path in found.parent.glob(".*") if path.name != ".cache"]
    hidden += [str(path.relative_to(found)) for path in found.rglob(".*")]
    return names + [f"left over: {name}" for name in sorted(hidden)]


def fault_of_loading(out: Path, is_vectors: bool) -> str | None:
    """Why a folder that a kill left cannot be used, where that is not told in a sentence; else None."""
    from unrolled import load
    from unrolled.errors import UnrolledError
    from unrolled.vectors.formats.detect import read_vectors

    if not out.exists():
        return None
    try:
        if is_vectors:
            read_vectors(out)
        else:
            load(out)
    except UnrolledError as error:
        # Vectors are there once they are finished; a run is whole from its first instant.
        return None if is_vectors else str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


# Trials


@dataclass
class Tally:
    """What happened to one kind."""

    trials: int = 0
    kills: int = 0
    pairs: int = 0
    faults: list[str] = field(default_factory=list)


class Campaign:
    """Trials of one kind.

    Args:
        kind: of run.
        work: an empty folder.
        data: folder of `write_data`.
        draw: of the instants.
    """

    def __init__(self, kind: Kind, work: Path, data: Path, draw: random.Random) -> None:
        self.kind, self.work, self.data, self.draw = kind, work, data, draw
        self.tally, self.number = Tally(), 0
        self.whole = work / "whole" / "run"
        first = self._start(work / "first" / "run", resume=False, modules=work / "modules")
        assert first.wait() == 0, first.said
        import_all((work / "modules").read_text(encoding="utf-8").split("\n"))
        began = time.monotonic()
        child = self._start(self.whole, resume=False)
        assert child.wait() == 0, child.said
        self.seconds = time.monotonic() - began

    def trial(self) -> None:
        """One start, killed and resumed."""
        out = self._new_folder()
        self.tally.trials += 1
        for again in range(3 if self.draw.random() < 1 / 3 else 2):
            child = self._start(out, resume=again > 0)
            time.sleep(self.draw.uniform(0, self.seconds * (1.0 if again == 0 else 0.7)))
            child.kill()
            code = child.wait()
            self.tally.kills += code == -signal.SIGKILL
            if code not in (0, -signal.SIGKILL):
                self._fault(f"ended with {code}: {child.said[-300:]}")
            self._in_child(lambda: fault_of_loading(out, self.kind.is_vectors))
        self._finish(out)

    def pair(self) -> None:
        """Two commands at once."""
        out = self._new_folder()
        self.tally.pairs += 1
        if self.draw.random() < 0.5:  # on what a killed start has left
            child = self._start(out, resume=False)
            time.sleep(self.draw.uniform(0, self.seconds))
            child.kill()
            child.wait()
        resume = out.exists() or self.draw.random() < 0.5
        children = [self._start(out, resume=resume)]
        time.sleep(self.draw.choice((0.0, self.draw.uniform(0, self.seconds / 2))))
        children.append(self._start(out, resume=resume))
        codes = [child.wait() for child in children]
        if 0 not in codes:
            self._fault(f"nobody won: {[child.said[-200:] for child in children]}")
        for code, child in zip(codes, children, strict=True):
            is_told = "is being written by" in child.said or "already holds" in child.said
            if code and not (code == 2 and is_told):
                self._fault(f"the loser ended with {code}: {child.said[-300:]}")
        self._in_child(lambda: fault_of_loading(out, self.kind.is_vectors))
        self._finish(out)

    def _finish(self, out: Path) -> None:
        child = self._start(out, resume=True)
        code = child.wait()
        if code:
            self._fault(f"the last resume ended with {code}: {child.said[-300:]}")
            return
        found = differences(out, self.whole)
        if found:
            self._fault(f"differs in {', '.join(found)}")
        shutil.rmtree(out.parent)

    def _new_folder(self) -> Path:
        self.number += 1
        return self.work / str(self.number) / "run"

    def _start(self, out: Path, resume: bool, modules: Path | None = None) -> Child:
        out.parent.mkdir(parents=True, exist_ok=True)
        errors = self.work / f"errors-{random.getrandbits(64):x}"
        command = self.kind.command(self.data, out, resume)
        return start(command, errors, out.parent / ".cache", modules)

    def _in_child(self, look: Callable[[], str | None]) -> None:
        """Look at a folder in a process of its own, so that this one never has threads."""
        errors = self.work / "looked"
        pid = os.fork()
        if not pid:
            errors.write_text(look() or "", encoding="utf-8")
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        fault = errors.read_text(encoding="utf-8")
        if fault or code:
            self._fault(f"cannot be loaded ({code}): {fault}")

    def _fault(self, what: str) -> None:
        self.tally.faults.append(f"{self.number}: {what}")


def run(names: Sequence[str], trials: int, pairs: int, seed: int) -> Iterator[tuple[str, Tally]]:
    """The tallies of kinds, one after the other."""
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as folder,
        contextlib.suppress(BrokenPipeError),
    ):
        data = Path(folder, "data")
        data.mkdir()
        write_data(data)
        for name in names:
            work = Path(folder, name)
            work.mkdir()
            campaign = Campaign(KINDS[name], work, data, random.Random(f"{seed} {name}"))
            for _ in range(trials):
                campaign.trial()
            for _ in range(pairs):
                campaign.pair()
            yield name, campaign.tally


def main() -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--trials", type=int, default=40, help="random instants of each kind")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of starts of each kind")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    import unrolled.predictors.load
    import unrolled.training.loop
    import unrolled.vectors.train  # noqa: F401

    print(f"{'kind':18}{'trials':>8}{'kills':>8}{'pairs':>8}{'faults':>8}")
    n_faults = 0
    for name, tally in run(given.kinds, given.trials, given.pairs, given.seed):
        counts = (tally.trials, tally.kills, tally.pairs, len(tally.faults))
        print(f"{name:18}" + "".join(f"{count:8}" for count in counts), flush=True)
        for fault in tally.faults:
            print(f"  {fault}")
        n_faults += len(tally.faults)
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
