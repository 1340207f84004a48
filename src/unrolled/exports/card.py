"""The model card of an export: how to use it, how far it agrees with its run, and the card of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unrolled.exports.gate import TOLERANCE, Agreement

_USE = {
    "classify": '"a text"',
    "pair": '"one text" "another text"',
    "tag": '"A sentence."',
    "translate": '"A sentence."',
    "language_model": '"The beginning of a text"',
}
_SECTIONS = ("## Quality", "## Made with")
"""The part of a run's model card that also holds for an export: from the first to before the second."""


def card(
    name: str,
    record: Mapping[str, Any],
    agreement: Agreement,
    models: Mapping[str, Any],
    run: Path | None,
    example_call: str,
) -> str:
    """The text of `README.md`.

    Args:
        name: name of the folder.
        record: content of `export.json`.
        agreement: what was measured.
        models: the graphs by the names of their files.
        run: folder of the run.
        example_call: Python code that calls the model.
    """
    return "\n".join(_lines(name, record, agreement, models, run, example_call)) + "\n"


def _lines(
    name: str,
    record: Mapping[str, Any],
    agreement: Agreement,
    models: Mapping[str, Any],
    run: Path | None,
    example_call: str,
) -> Iterator[str]:
    task, precision = record["task"], record["precision"]
    yield f"# {name}\n"
    yield f"A model for the task `{task}`, trained with Unrolled and exported to ONNX in {precision}.\n"
    yield "## Use\n"
    yield f"```\npip install numpy onnxruntime tokenizers\npython infer.py {_USE[task]}\n```\n"
    yield "`infer.py` needs nothing of Unrolled. With Unrolled (`pip install 'unrolled[onnx]'`):\n"
    path = json.dumps(name, ensure_ascii=False)
    yield f"```python\nimport unrolled\nmodel = unrolled.load({path})\n{example_call}\n```\n"
    yield "## Graphs\n"
    yield "Ids are int64, and id 0 is padding at the ends of rows; everything else is float32.\n"
    for file, model in models.items():
        yield f"`{file}`, opset 17:\n"
        yield "| | name | shape |\n|---|---|---|"
        for what, values in (("input", model.graph.input), ("output", model.graph.output)):
            for value in values:
                yield f"| {what} | `{value.name}` | {', '.join(_shape(value))} |"
        yield ""
    yield "## Agreement with the run\n"
    yield (
        f"Before this folder appeared, the graphs were compared with the model on {agreement.inputs}, "
        "and on an empty text, single words, the longest text, longer texts and unknown "
        "words, in ragged batches and alone. The largest difference of a score was "
        f"{agreement.largest:.1e} of the largest score (tolerance {TOLERANCE:g}). {agreement.n_answers} "
        f"answers of `infer.py` were those of the {'run' if precision == 'float32' else 'rounded model'}"
        f"{_ties(agreement.n_ties)}.\n"
    )
    yield from _costs(precision, agreement, "tokens" if task == "language_model" else "rows")
    yield f"Run: SHA-256 `{record['run']}`.\n"
    if run is not None:
        yield from _of_run(run / "README.md")


def _ties(n_ties: int) -> str:
    return f", except for {n_ties} between equally good answers" if n_ties else ""


def _shape(value: Any) -> list[str]:
    dimensions = value.type.tensor_type.shape.dim
    return [each.dim_param or str(each.dim_value) for each in dimensions]


def _costs(precision: str, agreement: Agreement, unit: str) -> Iterator[str]:
    if precision == "float32":
        return
    yield f"The weights are rounded to {precision}, and everything is computed in float32.\n"
    if not agreement.scores:
        yield "What that costs is not known: the validation data of the run were not here.\n"
        return
    yield f"| score on {agreement.n_scored:,} {unit} of the validation part | run | export |"
    yield "|---|---|---|"
    for name, (before, after) in agreement.scores.items():
        yield f"| {name} | {before:.4f} | {after:.4f} |"
    yield ""


def _of_run(path: Path) -> Iterator[str]:
    """What the card of the run says of its quality, data and settings."""
    if not path.is_file():
        return
    text = path.read_text("utf-8", "replace")
    first, last = (text.find(f"\n{title}") for title in _SECTIONS)
    if first >= 0:
        yield text[first : last if last > first else None].strip() + "\n"
