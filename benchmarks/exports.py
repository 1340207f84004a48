"""Runs beside their exports: size, time and score of the run, of ONNX graphs, of pages and of C code.

    python benchmarks/exports.py RUN [RUN …]

A row for each form and precision: bytes (of the weights of the run, of all graphs, of the page, of code
and constants in C), microseconds of processor time for a text of the validation part, one at a time (of a
language model for a token that is read and scored), and its score. Graphs run in `infer.py`, pages in
Node.js, and C is compiled with -O2. Times are medians; those of the forms alternate. What cannot be
exported in a form is named instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import unrolled
import unrolled.exports.page
from unrolled.exports.c import compiler, export_c
from unrolled.exports.inputs import inputs_for
from unrolled.exports.page import engine
from unrolled.tasks.kind import LANGUAGE_MODEL

_N_TEXTS, _N_ROUNDS, _REPEATED = 30, 3, 20

_IN_NODE = """
const fs = require("fs"), vm = require("vm"), html = fs.readFileSync(process.argv[1], "utf-8");
const script = html.match(/<script>([^]*)<\\/script>/)[1];
const { opened } = vm.runInThisContext(`(function () {${script}\\nreturn { opened };})`)();
const part = (name) => html.match(new RegExp(`<template id="${name}">([^]*?)</template>`))[1];
opened(part).then(({ model }) => {
  const inputs = JSON.parse(fs.readFileSync(0, "utf-8"));
  const answer = (text) => (model.score ? model.score(text) : model.predict(text));
  const seconds = [0, 1, 2, 3].map(() => {
    const before = process.cpuUsage();
    inputs.forEach(answer);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  });
  process.stdout.write(String(Math.min(...seconds)));
});
"""


@dataclass
class Form:
    """A run in one form.

    Args:
        name: its name.
        n_bytes: its size.
        answer: answers texts one by one, and returns the processor time in seconds.
        scores: its scores on the validation part.
    """

    name: str
    n_bytes: int
    answer: Callable[[Sequence[Any]], float]
    scores: str


def timed(answer: Callable[[Any], Any]) -> Callable[[Sequence[Any]], float]:
    """Processor time of answers in this process."""

    def run(texts: Sequence[Any]) -> float:
        began = time.process_time()
        for text in texts:
            answer(text)
        return time.process_time() - began

    return run


def native(run: Path, predictor: Any) -> Form:
    """The run itself."""
    if predictor.task.kind is LANGUAGE_MODEL:
        answer = timed(lambda text: predictor.continuation().surprise(text))
    else:
        answer = timed(lambda text: predictor.predict([text]))
    return Form("run", (run / "model.safetensors").stat().st_size, answer, "")


def graphs(run: Path, predictor: Any, folder: Path) -> Iterator[Form]:
    """ONNX graphs in each precision."""
    for precision in ("float32", "float16", "int8"):
        path = folder / f"onnx_{precision}"
        agreement = unrolled.export_onnx(run, path, precision)
        size = sum(file.stat().st_size for file in path.glob("*.onnx"))
        model = _program(path)
        is_stream = predictor.task.kind is LANGUAGE_MODEL
        answer = timed(
            model.score if is_stream else lambda text, model=model: model.predict([text])
        )
        yield Form(f"ONNX {precision}", size, answer, _scores(agreement.scores))


def _program(folder: Path) -> Any:
    """The model of the `infer.py` of an export."""
    sys.path.insert(0, str(folder))
    for name in ("words", "spelling", "counts"):
        sys.modules.pop(name, None)
    spec = importlib.util.spec_from_file_location(f"infer_{folder.name}", folder / "infer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(folder))
    return module.Model(folder)


def pages(predictor: Any, folder: Path) -> Iterator[Form]:
    """Pages in each precision."""
    node = engine.find()
    assert node is not None, "there is no Node.js"
    for precision in ("float32", "int8"):
        path = folder / f"{precision}.html"
        made = unrolled.exports.page.export_page(predictor, path, precision)
        answer = _in_node([node, "-e", _IN_NODE, str(path)])
        yield Form(f"page {precision}", made.n_bytes, answer, _scores(made.agreement.scores))


def _in_node(command: list[str]) -> Callable[[Sequence[Any]], float]:
    """Processor time of the script of a page for texts, the least of four times."""

    def run(texts: Sequence[Any]) -> float:
        done = subprocess.run(
            command, input=json.dumps(texts).encode(), check=True, capture_output=True
        )
        return float(done.stdout)

    return run


def code(predictor: Any, folder: Path) -> Iterator[Form]:
    """C code in each precision."""
    command = compiler.find()
    assert command is not None, "there is no C compiler"
    for precision in ("float32", "int8"):
        path = folder / f"c_{precision}"
        agreement = export_c(predictor, path, precision)
        program = compiler.compiled(command, path / "main.c")
        sizes = subprocess.run(
            ["size", program.name], cwd=path, check=True, capture_output=True, text=True
        )
        n_bytes = int(sizes.stdout.splitlines()[1].split()[0])
        words = ["score"] if predictor.task.kind is LANGUAGE_MODEL else []
        yield Form(
            f"C {precision}", n_bytes, _processes([str(program), *words]), _scores(agreement.cost)
        )


def _processes(command: list[str]) -> Callable[[Sequence[Any]], float]:
    """Processor time of a program for texts, without that of its start."""

    def seconds(text: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(command, input=text.encode(), check=True, capture_output=True)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    def run(texts: Sequence[Any]) -> float:
        lines = [each if isinstance(each, str) else " ".join(each) for each in texts]
        given = "".join(f"{line}\n" for line in lines)
        return (seconds(given * (1 + _REPEATED)) - seconds(given)) / _REPEATED

    return run


def _scores(scores: Any) -> str:
    shown = {name: pair for name, pair in scores.items() if name in _SHOWN}
    return ", ".join(
        f"{name} {before:.4f} → {after:.4f}" for name, (before, after) in shown.items()
    )


_SHOWN = ("accuracy", "f1", "perplexity", "bleu")


def measure(run: Path, folder: Path) -> None:
    """Print the table of one run."""
    predictor: Any = unrolled.load(run)
    texts = [text for text in inputs_for(predictor).texts if text][:_N_TEXTS]
    n = len(texts)
    if predictor.task.kind is LANGUAGE_MODEL:
        texts = [text.replace("\n", " ") for text in texts]
        n = sum(map(len, predictor.tokenizers["text"].encode_batch(texts)))
    forms = [native(run, predictor)]
    for made in (graphs(run, predictor, folder), pages(predictor, folder), code(predictor, folder)):
        try:
            forms += made
        except unrolled.UnrolledError as error:
            print(f"{run}: {error}")
    times: list[list[float]] = [[] for _ in forms]
    for _ in range(_N_ROUNDS):
        for each, form in zip(times, forms, strict=True):
            each.append(form.answer(texts) / n * 1e6)
    parameters = sum(each.numel() for each in predictor.model.parameters())
    print(f"{run}: {predictor.task.name}, {parameters:,} parameters, {len(texts)} texts")
    for form, each in zip(forms, times, strict=True):
        print(f"| {form.name} | {form.n_bytes:,} | {statistics.median(each):.1f} | {form.scores} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    for run in parser.parse_args().runs:
        with tempfile.TemporaryDirectory() as folder:
            measure(run, Path(folder))


if __name__ == "__main__":
    main()
