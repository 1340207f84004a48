"""Write a trained run as C, after checking that the C code answers as the model does.

The folder of an export:

    model.h       the network: its state, one step, what comes out; no allocation, only libc's math
    weights.h     its weights, as constants
    text.h        text as tokens
    tables.h      the vocabulary, and tables of Unicode
    main.c        a program that reads standard input and answers as `unrolled` does
    README.md     how to use it, what was compared, sizes
    export.json   the same for programs, with the checksum of the run's weights

It is written as a whole, and only if the answers agree.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from unrolled import storage
from unrolled.config import require
from unrolled.errors import ConfigError, RunError, UnrolledError
from unrolled.exports import folder as exports
from unrolled.exports.c import (
    check_labels,
    check_language_model,
    classify,
    compiler,
    language_model,
    tag,
)
from unrolled.exports.c.agreement import Agreement, write
from unrolled.exports.c.card import card
from unrolled.exports.c.network import Precision
from unrolled.exports.c.plan import Plan
from unrolled.exports.refusal import check_run, check_settings
from unrolled.system import package_version
from unrolled.tasks import TASKS
from unrolled.training.checkpoint import MODEL_FILE
from unrolled.wording import count_of

FORMAT = "Unrolled C export, format 1"
HOLDS: storage.Holds = {r"export\.json|README\.md|(model|weights|text|tables)\.h|main\.c": None}
"""The files of an export."""

MOST_NUMBERS = 8_000_000
"""Weights of the largest model that is written as C."""

Planner = Callable[[Any, Precision], Plan]
Gate = Callable[[Plan, Any, Mapping[str, str], Path], Agreement]


def export_c(
    predictor: Any,
    folder: str | os.PathLike[str],
    precision: Precision = "float32",
    *,
    force: bool = False,
) -> Agreement:
    """Write a trained run as C.

    Args:
        predictor: the run, as `unrolled.load` returns it.
        folder: the new folder.
        precision: "float32", or "int8": weights as integers of 8 bits, with a scale for each row.
        force: whether to replace an earlier export as C.

    Returns:
        What was compared.

    Raises:
        ConfigError: the run cannot be written as C; the message says why, and what to do instead.
        RunError: the folder is in the way or cannot be written; the C code does not compile, or does not
            answer as the model does; nothing is written then. With int8: the validation part cannot be
            read, so that the cost of rounding is not known.
    """
    require(precision in get_args(Precision), "precision", "'float32' or 'int8'", precision)
    path = Path(folder)
    check_free(path, force)
    task = predictor.task
    check_run(predictor, "C")
    planner, gate = _of_task(task)
    check_settings(predictor)
    check_size(predictor.model)
    plan = planner(predictor, precision)
    name = predictor.folder.resolve().name if predictor.folder is not None else task.name
    title = f"The model '{name}' ({task.name}), written by Unrolled."
    files = plan.files(title)
    with tempfile.TemporaryDirectory(prefix="unrolled-") as scratch:
        agreement = gate(plan, predictor, files, Path(scratch))
    files["README.md"] = card(plan, title, files, agreement)
    files["export.json"] = json.dumps(_record(plan, predictor, agreement), indent=1) + "\n"
    with exports.beginning(path, force, FORMAT, HOLDS) as partial:
        for name, text in files.items():
            exports.write(partial, name, text)
    return agreement


def check_free(path: Path, force: bool) -> None:
    """Check that an export can be written to a path; see `exports.folder.check_free`.

    Raises:
        RunError: there is an export and `force` is False, or something else.
    """
    exports.check_free(Path(os.path.realpath(path)), force, FORMAT, HOLDS)


def check_size(model: Any) -> None:
    """Refuse models that no compiler can take.

    Raises:
        ConfigError: it has too many weights.
    """
    n = sum(parameter.numel() for parameter in model.parameters())
    if n > MOST_NUMBERS:
        raise ConfigError(
            f"the model has {n:,} parameters, and C source of more than {MOST_NUMBERS:,} numbers takes "
            "compilers too much memory; export with --onnx"
        )


def _of_task(task: Any) -> tuple[Planner, Gate]:
    """What plans and checks the runs of a task.

    Raises:
        ConfigError: there is none.
    """
    if not any(task is known for known in TASKS.values()):
        raise ConfigError(
            f"'{task.name}' is a task of your own, whose model cannot be written as C, because its "
            "equations are not known; use the model in Python"
        )
    if task.name not in _EXPORTS:
        raise ConfigError(
            f"runs of task '{task.name}' cannot be exported as C, only those of {', '.join(_EXPORTS)}; "
            "export with --onnx"
        )
    return _EXPORTS[task.name]


def _gate_language_model(
    plan: Plan, predictor: Any, files: Mapping[str, str], scratch: Path
) -> Agreement:
    rounded, exact = _rounded(plan, predictor)
    stream, notes = _held_out(predictor, plan)
    tokenizer = predictor.tokenizers["text"]
    most = check_language_model.n_rows_that_fit(len(tokenizer))
    ids = [] if stream is None else [int(i) for i in stream.ids[:most]]
    rows = check_language_model.token_rows(tokenizer, ids)
    command = compiler.find()
    if command is None:
        found = check_language_model.numbers_by_numpy(plan, files["weights.h"], rows)
    else:
        write(scratch, dict(files))
        found = check_language_model.numbers_of_program(command, scratch, rows)
    n, worst = check_language_model.check_numbers(plan, exact.model, rows, found)
    compared = [f"{n:,} distributions of the next token"]
    if command is not None:
        program = compiler.compiled(command, scratch / "main.c")
        texts = check_language_model.texts_of(tokenizer, ids)
        compared += check_language_model.check_program(program, rounded, exact, texts)
    cost = _cost(plan, predictor, rounded, stream)
    return Agreement(_how(command), tuple(compared), worst, cost, notes)


def _gate_labels(plan: Plan, predictor: Any, files: Mapping[str, str], scratch: Path) -> Agreement:
    rounded, exact = _rounded(plan, predictor)
    rows, notes = _held_out(predictor, plan)
    lines = check_labels.lines_of(predictor, rows or [])
    command = compiler.find()
    tags = plan.task == "tag"
    if command is None:
        numpy = check_labels.tag_by_numpy if tags else check_labels.classify_by_numpy
        compared = [f"the scores of {count_of(len(lines), 'text')}"]
        worst = numpy(plan, rounded, exact, lines, files["weights.h"])
    else:
        write(scratch, dict(files))
        if tags:
            compared, worst = check_labels.check_tagger(rounded, exact, lines, command, scratch)
        else:
            options = (*compiler.OPTIONS, "-DDIGITS=9")
            program = compiler.compiled(command, scratch / "main.c", options)
            compared, worst = check_labels.check_classifier(rounded, exact, lines, program)
    return Agreement(
        _how(command), tuple(compared), worst, _cost(plan, predictor, rounded, rows), notes
    )


def _rounded(plan: Plan, predictor: Any) -> tuple[Any, Any]:
    """The run with the weights of the export, and the same in double precision."""
    models = plan.model.eval(), copy.deepcopy(plan.model).double().eval()
    first, second = (
        type(predictor)(
            predictor.recipe, predictor.task, predictor.tokenizers, model, predictor.folder
        )
        for model in models
    )
    return first, second


def _how(command: Sequence[str] | None) -> str:
    if command is None:
        return "NumPy, from the arrays of weights.h, because there is no C compiler"
    return f"the compiled C code ({command[0]})"


def _cost(plan: Plan, predictor: Any, rounded: Any, part: Any) -> dict[str, tuple[float, float]]:
    """The scores on the validation part, with the model's weights and with the rounded ones."""
    if part is None or plan.builder.precision == "float32":
        return {}
    before, after = (each.evaluate(part).scores for each in (predictor, rounded))
    return {name: (value, after[name]) for name, value in before.items()}


def _held_out(predictor: Any, plan: Plan) -> tuple[Any, tuple[str, ...]]:
    """The validation part, or why it cannot be read."""
    try:
        return predictor.held_out("valid"), ()
    except UnrolledError as error:
        if plan.builder.precision == "int8":
            raise RunError(
                "int8 has to state what it costs on the validation part, which cannot be read "
                f"({error}); make it readable, or use --precision float32"
            ) from None
        return None, (f"No held-out text was compared, as it cannot be read: {error}",)


def _record(plan: Plan, predictor: Any, agreement: Agreement) -> dict[str, Any]:
    weights = None
    if predictor.folder is not None:
        content = (predictor.folder / MODEL_FILE).read_bytes()
        weights = hashlib.sha256(content).hexdigest()
    return {
        "format": FORMAT,
        "task": plan.task,
        "precision": plan.builder.precision,
        "sha256_of_model": weights,
        "bytes_of_weights": plan.builder.n_bytes,
        "bytes_of_state": plan.state_bytes,
        "compared_by": agreement.how,
        "compared": list(agreement.compared),
        "largest_difference": agreement.worst,
        "validation": {name: list(values) for name, values in agreement.cost.items()},
        "notes": list(agreement.notes),
        "unrolled": package_version(),
    }


_EXPORTS: Mapping[str, tuple[Planner, Gate]] = {
    "language_model": (language_model.plan, _gate_language_model),
    "classify": (classify.plan, _gate_labels),
    "tag": (tag.plan, _gate_labels),
}
"""By the name of a task."""
