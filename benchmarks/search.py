"""Measure translation by beam search: in one call of the kernels, step by step, and with ONNX Runtime.

    python benchmarks/search.py RUN --data FILE [--onnx FOLDER …] [--rounds 3] [--threads 1]

FILE has a header and a sentence per line, or columns of which the first is read. A folder of `--onnx`
is an export of the run (`unrolled export RUN --onnx --out FOLDER`); there may be several.
All take turns in one process: one sentence at a time, then batches of 100 (without ONNX Runtime, as its
program has no batches). Prints the median time, and the median processor time, of a sentence.

With `--length`, each search ends after that many words, so that a run with random weights does the work
of a trained one; an export takes the setting from its `generate.json`.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import unrolled
from unrolled.decoding.config import DecodingConfig
from unrolled.tasks.seq2seq_search import TranslatorSteps


@contextmanager
def step_by_step() -> Iterator[None]:
    """Search without the kernels' search, but with their steps."""
    search = TranslatorSteps.search
    TranslatorSteps.search = lambda *arguments, **named: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        TranslatorSteps.search = search  # type: ignore[method-assign]


def program(folder: Path) -> Any:
    """The model of an export's `infer.py`."""
    spec = importlib.util.spec_from_file_location(f"infer_{folder.name}", folder / "infer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))  # for the other modules of the program
    spec.loader.exec_module(module)
    sys.path.remove(str(folder))
    return module.Model(folder)


def measure(
    ways: dict[str, Callable[[Sequence[str]], object]],
    batches: Sequence[Sequence[str]],
    rounds: int,
) -> None:
    """Print the medians of each way over all batches and rounds, per sentence."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        way(batches[0])
    for _ in range(rounds):
        for batch in batches:
            for name, way in ways.items():
                wall, used = time.perf_counter(), time.process_time()
                way(batch)
                both = time.perf_counter() - wall, time.process_time() - used
                taken[name].append((both[0] / len(batch), both[1] / len(batch)))
    for name, times in taken.items():
        wall_ms, used_ms = (1e3 * statistics.median(part) for part in zip(*times, strict=True))
        print(f"  {name:<24} {wall_ms:8.2f} ms, {used_ms:8.2f} ms of processor time")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of a translator")
    parser.add_argument("--data", required=True, help="sentences to translate")
    parser.add_argument("--onnx", nargs="*", type=Path, default=[], help="exports of the run")
    parser.add_argument(
        "--sentences", type=int, default=50, help="sentences measured one at a time"
    )
    parser.add_argument("--length", type=int, help="words after which each search ends")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    translator = unrolled.load_translator(arguments.run)
    decoding = DecodingConfig(beam_size=arguments.beam)
    if arguments.length:
        decoding = replace(
            decoding, max_length_ratio=0.0, max_length_extra=arguments.length, min_length_limit=0
        )
    with open(arguments.data, encoding="utf-8") as file:
        texts = [line.split("\t")[0].strip() for line in file][1:]

    def native(batch: Sequence[str]) -> list[Any]:
        return translator.predict(batch, decoding)

    def slow(batch: Sequence[str]) -> list[Any]:
        with step_by_step():
            return translator.predict(batch, decoding)

    sample = texts[:20]
    same = sum(a.text == b.text for a, b in zip(native(sample), slow(sample), strict=True))
    lengths = [len(a.hypotheses[0].pieces) for a in native(sample)]
    print(f"{same} of {len(sample)} equal, {statistics.mean(lengths):.1f} words each")
    ways: dict[str, Callable[[Sequence[str]], object]] = {
        "in one call": native,
        "step by step": slow,
    }
    models = {f"ONNX Runtime, {folder.name}": program(folder) for folder in arguments.onnx}
    alone = ways | {name: model.predict for name, model in models.items()}
    print(f"beam {arguments.beam}, one sentence at a time")
    measure(alone, [[text] for text in texts[: arguments.sentences]], arguments.rounds)
    print(f"beam {arguments.beam}, batches of 100, per sentence")
    measure(ways, [texts[:100]], arguments.rounds)


if __name__ == "__main__":
    main()
