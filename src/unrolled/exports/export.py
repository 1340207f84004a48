"""Export a run: build the graphs, write them under a temporary name, compare, and only then move them."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from unrolled.config import require
from unrolled.exports import folder as files
from unrolled.exports.card import card
from unrolled.exports.ensembles import kind_of_run
from unrolled.exports.gate import (
    Agreement,
    compare_answers,
    compare_scores,
    inputs_to_answer,
    run_program,
)
from unrolled.exports.graph import check_installed, describe, models
from unrolled.exports.inputs import Inputs, inputs_for
from unrolled.exports.kinds import Kind, check_tokenizers
from unrolled.exports.opened import opened, sessions_of
from unrolled.exports.refusal import check_run
from unrolled.exports.rounding import PRECISIONS, Precision, rounded
from unrolled.reporting import begun
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.roles import NGRAMS
from unrolled.training.run_folder import file_of
from unrolled.training.split_file import SPLIT_FILE, SplitRecord

_MOST_ROWS, _MOST_TRANSLATED, _MOST_TOKENS = 2_000, 200, 50_000
_IMPORT = re.compile(r"from unrolled\.exports\.programs\.(\w+) import")


def export(
    predictor: Any, path: Path, precision: Precision = "float32", force: bool = False
) -> Agreement:
    """Write a run as ONNX graphs with everything that using them needs; see `exports.folder`.

    Args:
        predictor: the run, from `load`.
        path: the new folder.
        precision: how weight matrices are stored: "float32", "float16" or "int8".
        force: whether to replace an earlier export.

    Raises:
        ConfigError: the run cannot be exported; the message says why.
        RunError: the path is not free, or the export does not compute or answer what the run does.
        UnavailableError: onnx or onnxruntime is not installed.
    """
    require(precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", precision)
    check_installed("onnx", "onnxruntime")
    check_run(predictor, "ONNX")
    kind = kind_of_run(predictor)
    check_tokenizers(predictor.tokenizers)
    with files.beginning(path, force) as partial:
        begun("building the graphs")
        reference = with_model(predictor, rounded(predictor.model, precision).eval())
        graphs = models(kind.graphs(reference.model, precision))
        settings = settings_of(predictor, kind)
        _write_texts(partial, predictor, kind, settings)
        _write_graphs(partial, graphs)
        inputs = inputs_for(predictor)
        agreement = _compared(partial, predictor, reference, kind, settings, graphs, inputs)
        if precision != "float32":
            exported = with_model(predictor, stand_in(predictor, kind, settings, graphs))
            agreement.scores, agreement.n_scored = cost_of(predictor, exported, inputs)
        record = _record(predictor, precision, agreement)
        for model in graphs.values():
            describe(model, _properties(record))
        _write_graphs(partial, graphs)
        text = card(
            path.name, record, agreement, graphs, predictor.folder, predictor.task.example_call
        )
        files.write(partial, "README.md", text)
        record["files"] = files.checksums(partial)
        files.write_json(partial, files.EXPORT_FILE, record)
        opened(partial)  # raises an error if what was written cannot be read
    return agreement


def settings_of(predictor: Any, kind: Kind) -> dict[str, Any]:
    """What predicting needs beside the graphs.

    Raises:
        ConfigError: a setting of the run cannot be exported.
    """
    longest = 0
    if predictor.folder is not None and (predictor.folder / SPLIT_FILE).exists():
        longest = SplitRecord.load(predictor.folder).longest_target
    return kind.settings(predictor.recipe, predictor.tokenizers, predictor.model, longest)


def with_model(predictor: Any, model: Any) -> Any:
    """The same predictor with another model."""
    return type(predictor)(
        predictor.recipe, predictor.task, predictor.tokenizers, model, predictor.folder
    )


def _write_texts(partial: Path, predictor: Any, kind: Kind, settings: Mapping[str, Any]) -> None:
    for role, vocabulary in predictor.tokenizers.items():
        vocabulary.save(partial / file_of(role))
    files.write(partial, files.RECIPE_FILE, predictor.recipe.to_toml())
    if predictor.folder is not None and (predictor.folder / SPLIT_FILE).exists():
        files.write(partial, SPLIT_FILE, (predictor.folder / SPLIT_FILE).read_bytes())
    files.write_json(partial, files.SETTINGS_FILE, {"task": predictor.task.name, **settings})
    _write_program(partial, kind.program, "infer.py", predictor.tokenizers)


def _write_program(partial: Path, program: str, name: str, roles: Container[str]) -> None:
    """Write a program, and those that it imports, if the model has what they are for."""
    text = (resources.files("unrolled.exports.programs") / f"{program}.py").read_text("utf-8")
    for module in set(_IMPORT.findall(text)):
        if module not in _FOR or _FOR[module] in roles:
            _write_program(partial, module, f"{module}.py", roles)
    files.write(partial, name, _IMPORT.sub(r"from \1 import", text))


_FOR = {"counts": NGRAMS}
"""What programs are for that only some models need: by name, the role of its tokenizer."""


def _write_graphs(partial: Path, graphs: Mapping[str, Any]) -> None:
    for name, model in graphs.items():
        files.write(partial, name, model.SerializeToString())


def stand_in(
    predictor: Any, kind: Kind, settings: Mapping[str, Any], graphs: Mapping[str, Any]
) -> Any:
    sessions = sessions_of({name: each.SerializeToString() for name, each in graphs.items()})
    model = kind.restored(
        predictor.recipe, predictor.tokenizers, settings, sessions, n_parameters_of(predictor)
    )
    return model.eval()


def n_parameters_of(predictor: Any) -> int:
    return sum(parameter.numel() for parameter in predictor.model.parameters())


def _compared(
    partial: Path,
    predictor: Any,
    reference: Any,
    kind: Kind,
    settings: Mapping[str, Any],
    graphs: Mapping[str, Any],
    inputs: Inputs,
) -> Agreement:
    agreement = Agreement(inputs.source)
    begun("comparing scores with the model")
    compare_scores(kind, reference, stand_in(predictor, kind, settings, graphs), inputs, agreement)
    begun("comparing answers with the model")
    texts = inputs_to_answer(reference, inputs)
    found = run_program(partial, texts)
    compare_answers(texts, found, reference, agreement, "infer.py of the export")
    return agreement


def cost_of(
    predictor: Any, exported: Any, inputs: Inputs
) -> tuple[dict[str, tuple[float, float]], int]:
    """The scores of the run and of an export on its validation part, and the number of rows."""
    if inputs.rows is None:
        return {}, 0
    begun("scoring the validation part")
    rows = inputs.rows
    if predictor.task.kind is LANGUAGE_MODEL:
        rows = replace(rows, ids=rows.ids[:_MOST_TOKENS])
        before, after = (each.evaluate(rows).scores for each in (predictor, exported))
        n_scored, names = rows.n_tokens, ["perplexity"]
    else:
        is_translated = hasattr(predictor.task, "decode")
        rows = rows[: _MOST_TRANSLATED if is_translated else _MOST_ROWS]
        both = [each.evaluate(rows) for each in (predictor, exported)]
        before, after = (each.total.scores if is_translated else each.scores for each in both)
        n_scored, names = len(rows), list(before)
    return {name: (float(before[name]), float(after[name])) for name in names}, n_scored


def _record(predictor: Any, precision: str, agreement: Agreement) -> dict[str, Any]:
    versions = {}
    for package in ("unrolled", "torch", "tokenizers", "onnx", "onnxruntime"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "format": files.FORMAT,
        "task": predictor.task.name,
        "precision": precision,
        "parameters": n_parameters_of(predictor),
        "run": "" if predictor.folder is None else files.run_hash(predictor.folder),
        "agreement": agreement.figures(),
        "versions": versions,
    }


def _properties(record: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a graph."""
    agreement = record["agreement"]
    return {
        "task": record["task"],
        "precision": record["precision"],
        "run_sha256": record["run"],
        "largest_difference": f"{agreement['largest_difference']:.3g}",
        "tolerance": f"{agreement['tolerance']:g}",
        "settings": files.SETTINGS_FILE,
    }
