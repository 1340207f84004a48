"""What a run or a file of vectors answers, as plain values that JSON can hold.

`make.py` wrote `expected.json` by these functions, and the tests ask again by them. Where the package
renames what is called here, this file changes, and no `expected.json`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import unrolled
from unrolled import WordVectors, cli
from unrolled.baselines.config import baseline_title
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.seq2seq import Predictor

Input = str | list[str]
"""What a model takes: a text, the texts of a pair, or the tokens of a sentence."""

SEPARATE = ("seconds", "signatures")
"""Of an evaluation's figures: the time it took, and how the others are computed, in words."""


def of_run(folder: Path, inputs: Sequence[Input]) -> dict[str, Any]:
    """Ask a run in Python.

    Args:
        folder: run folder; its data are found from the working directory.
        inputs: what its model takes: texts, pairs of texts or lists of tokens.
    """
    predictor = unrolled.load(folder)
    if isinstance(predictor, LanguagePredictor):
        found = _of_language_model(predictor, inputs)
    elif isinstance(predictor, LabelPredictor):
        found = _of_labels(predictor, inputs)
    else:
        found = _of_translator(predictor, inputs)
    return _rounded(found)


def _of_translator(predictor: Predictor, inputs: Sequence[Any]) -> dict[str, Any]:
    answers = []
    for text in inputs:
        [one] = predictor.predict([text], n_best=2, with_attention=True)
        [best, second] = one.hypotheses
        assert best.attention is not None
        answers.append(
            {
                "text": predictor(text),
                "pieces": list(best.pieces),
                "score": best.score,
                "log_prob": best.log_prob,
                "second": second.text,
                "second_score": second.score,
                "attention": best.attention.tolist(),
            }
        )
    evaluation = predictor.evaluate(predictor.held_out("valid"))
    return {"answers": answers, "valid": _figures(evaluation)}


def _of_labels(predictor: LabelPredictor, inputs: Sequence[Input]) -> dict[str, Any]:
    answers = [
        {"labels": list(one.labels), "probabilities": one.probabilities.tolist()}
        for one in predictor.predict(inputs)
    ]
    return {
        "labels": list(predictor.labels.names),
        "answers": answers,
        "valid": _figures(predictor.evaluate(predictor.held_out("valid"))),
        "test": _figures(predictor.evaluate(predictor.held_out("test"), shuffle_words=1)),
    }


def _of_language_model(predictor: LanguagePredictor, inputs: Sequence[Any]) -> dict[str, Any]:
    answers = []
    for text in inputs:
        surprises = predictor.continuation().surprise(text)
        answers.append(
            {
                "likeliest": predictor.generate(text, max_tokens=12, temperature=0),
                "drawn": predictor.generate(text, max_tokens=12, temperature=0.8, seed=3),
                "completions": [[one.text, one.probability] for one in predictor.complete(text)],
                "pieces": [one.piece for one in surprises],
                "bits": [one.bits for one in surprises],
                "ranks": [one.rank for one in surprises],
            }
        )
    return {
        "answers": answers,
        "valid": _figures(predictor.evaluate(predictor.held_out("valid"))),
        "test": _figures(predictor.evaluate(predictor.held_out("test"))),
    }


def _figures(evaluation: Any) -> dict[str, Any]:
    return {name: one for name, one in evaluation.figures().items() if name not in SEPARATE}


def of_vectors(path: Path) -> dict[str, Any]:
    """Ask a file of vectors, or the folder of a training, in Python."""
    vectors = WordVectors.load(path)
    found: dict[str, Any] = {
        "words": list(vectors.words),
        "matrix": np.asarray(vectors.matrix).tolist(),
        "similarity": vectors.similarity("dogs", "cats"),
        "nearest": [list(one) for one in vectors.nearest("dogs", k=3)],
        "analogy": [list(one) for one in vectors.analogy("cat", "cats", "dog", k=3)],
    }
    for which in ("word", "context") if path.is_dir() else ():
        found[which] = WordVectors.load(path, which=which)["dogs"].tolist()
    return _rounded(found)


def ratios(path: Path) -> list[Any]:
    """Ratios of co-occurrence, from the counts in the folder of a training."""
    found = WordVectors.load(path).ratio("dog", "cat", "red", "sees", "bird", "rotten")
    return _rounded([[one.probe, one.first, one.second] for one in found])


def at_command_line(folder: Path, inputs: Sequence[Input]) -> dict[str, Any]:
    """Ask a run at the command line.

    Args:
        folder: with the run, `run`, and its data; the working directory.
        inputs: as for `of_run`.

    Returns:
        What was printed, as strings, and the figures of evaluations.
    """
    found: dict[str, Any] = {}
    kind = tomllib.loads((folder / "run" / "config.toml").read_text(encoding="utf-8"))["task"]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        record = scratch / "record.jsonl"
        if kind == "language_model":
            found["generate"] = [
                printed("generate", "run", "--prompt", text, "--max-tokens", "12", *how)
                for text in inputs
                for how in (("--temperature", "0"), ("--seed", "2"))
            ]
            found["complete"] = [printed("complete", "run", text).split() for text in inputs]
            found["score"] = [_numbers(printed("score", "run", text)) for text in inputs]
            printed("evaluate", "run", "--data", "../text/test.txt", "--record", str(record))
            found["figures"] = _record(record)
            return found
        lines = scratch / "lines.txt"
        separator = " " if kind == "tag" else "\t"
        texts = [one if isinstance(one, str) else separator.join(one) for one in inputs]
        lines.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        found["predict"] = _cells(printed("predict", "run", "--input", str(lines)))
        if kind == "tag":
            scored = printed("predict", "run", "--input", str(lines), "--scores")
            found["scores"] = [json.loads(line) for line in scored.splitlines()]
            tagged = printed("predict", "run", "--input", "valid.conll", "--scores")
            found["file"] = [line.split(" ") for line in tagged.splitlines()]
        else:
            found["scores"] = _cells(printed("predict", "run", "--input", str(lines), "--scores"))
        to = () if kind == "translate" else ("--out", str(scratch / "evaluation"))
        shown = printed("evaluate", "run", "--split", "valid", *to, "--record", str(record))
        found["figures"] = _record(record)
        if kind != "translate":
            answers = (scratch / "evaluation" / "predictions.jsonl").read_text(encoding="utf-8")
            found["predictions"] = [json.loads(line) for line in answers.splitlines()]
            found["baselines"] = _baselines(folder / "run", shown)
    return found


def _baselines(run: Path, shown: str) -> dict[str, str]:
    """Of each baseline in the run folder, the score that was printed after its name."""
    names = sorted(path.name for path in run.glob("baselines/*"))
    found = {}
    for name in names:
        title = re.escape(baseline_title(name))
        match = re.search(rf"^{title}\s.*?(\d+\.\d+)%", shown, re.MULTILINE)
        assert match is not None, f"no score of the baseline {name} in:\n{shown}"
        found[name] = match[1]
    return found


def printed(*arguments: str) -> str:
    """What a command prints on standard output."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    with contextlib.redirect_stdout(output):
        code = cli.main(arguments)
    output.flush()
    text = output.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
    assert code == 0, f"unrolled {' '.join(arguments)}: exit code {code}"
    return text


def _cells(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.removesuffix("\n").split("\n")]


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,]*(?:\.\d+)?", text)


def of_everything(folder: Path, inputs: Sequence[Input]) -> dict[str, Any]:
    """Ask a run in both ways, and for what its training came to; its folder is the working directory."""
    return {
        "python": of_run(folder / "run", inputs),
        "command_line": at_command_line(folder, inputs),
        "training": of_training(folder / "run"),
    }


def of_training(run: Path) -> dict[str, Any]:
    """How many numbers a trained model has, and its loss after the steps at which it was evaluated."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    evaluated = [one for one in map(json.loads, lines) if one["event"] == "evaluated"]
    losses = {str(one["step"]): one["loss"] for one in evaluated}
    tensors = load_file(run / "model.safetensors")
    return _rounded({"numbers": sum(one.size for one in tensors.values()), "losses": losses})


def _record(path: Path) -> dict[str, Any]:
    """The figures of the only line that `unrolled evaluate --record` wrote."""
    [line] = path.read_text(encoding="utf-8").splitlines()
    named = (*SEPARATE, "run", "data", "date", "commit", "decoding")
    return {name: one for name, one in json.loads(line).items() if name not in named}


def _rounded(value: Any) -> Any:
    """The same with six digits."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_rounded(one) for one in value]
    return value


def as_json(value: Any, indent: str = "") -> str:
    """JSON with a line for each entry of a mapping, and one for each list without mappings."""
    inner = indent + "  "
    if isinstance(value, Mapping):
        lines = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {as_json(one, inner)}"
            for name, one in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return "[\n" + ",\n".join(inner + as_json(one, inner) for one in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)
