"""Open trained runs as Python objects: `load`, and one function per kind of task.

The class that `load` returns depends on the run; a type checker can only infer it from the argument
`task`. Each of the other functions returns one class and raises an error for other runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TypeVar, cast, overload

from unrolled.errors import ConfigError
from unrolled.exports.folder import is_export
from unrolled.exports.opened import opened, read_task
from unrolled.predictors.code import CodePredictor
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.precision import set_precision
from unrolled.predictors.queries import QueryPredictor
from unrolled.predictors.seq2seq import Predictor
from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.task import AnyTask, CodeTask, LabelTask, QueryTask, StreamTask, Task
from unrolled.training.run_folder import load_run, read_recipe

AnyPredictor = Predictor | QueryPredictor | CodePredictor | LabelPredictor | LanguagePredictor

P = TypeVar("P", Predictor, QueryPredictor, CodePredictor, LabelPredictor, LanguagePredictor)

_TABLE: Mapping[Kind, type[AnyPredictor]] = {
    SEQ2SEQ: Predictor,
    QUERIES: QueryPredictor,
    CODE: CodePredictor,
    LABELLING: LabelPredictor,
    LANGUAGE_MODEL: LanguagePredictor,
}


@overload
def load(
    path: str | PathLike[str], task: QueryTask, device: str = ..., precision: str = ...
) -> QueryPredictor: ...
@overload
def load(
    path: str | PathLike[str], task: CodeTask, device: str = ..., precision: str = ...
) -> CodePredictor: ...
@overload
def load(
    path: str | PathLike[str], task: Task, device: str = ..., precision: str = ...
) -> Predictor: ...
@overload
def load(
    path: str | PathLike[str], task: LabelTask, device: str = ..., precision: str = ...
) -> LabelPredictor: ...
@overload
def load(
    path: str | PathLike[str], task: StreamTask, device: str = ..., precision: str = ...
) -> LanguagePredictor: ...
@overload
def load(
    path: str | PathLike[str], task: AnyTask | None = ..., device: str = ..., precision: str = ...
) -> AnyPredictor: ...
def load(
    path: str | PathLike[str],
    task: AnyTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> AnyPredictor:
    """Open a run folder, or an export of a run.

    Args:
        path: the folder that training or `export_onnx` wrote. An export runs in ONNX Runtime on the
            CPU, in its own precision.
        task: your own task, if the run was trained with one.
        device: "cpu" or "cuda".
        precision: precision of the recurrent weights in step-by-step inference: "float32", "bfloat16" or
            "int8". For few rows, the time of a step is that of reading the weights.

    Returns:
        A `Predictor` if the output is text, a `CodePredictor` if it is code, a `LabelPredictor` if it is
        labels, or a `LanguagePredictor` for a language model.

    Raises:
        ConfigError: the precision is unknown, or there are no kernels for it on this machine or for this
            model; or a precision, a device or a task that an export does not have.
        RunError: the folder or one of its files is missing or damaged; the message names the file.

    A phrasebook trained by `unrolled demo`:

        >>> translator = unrolled.load("demo/attention")                        # doctest: +SKIP
        >>> translator("The old teacher does not read the red books.")          # doctest: +SKIP
        'El viejo profesor no lee los libros rojos.'
    """
    if is_export(Path(path)):
        if task is not None:
            raise ConfigError(f"{path} is an export, which knows its task; leave task out")
        run = opened(Path(path), device, precision)
    else:
        run = load_run(path, task, device)
        set_precision(run.model, precision)
    # Each class takes tasks of one kind; the table matches them.
    return _TABLE[run.task.kind](
        run.recipe,
        run.task,  # type: ignore[arg-type]
        run.tokenizers,
        run.model,
        run.folder,
    )


def load_translator(
    path: str | PathLike[str],
    task: Task | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Predictor:
    """Open a run whose output is text; the arguments are those of `load`.

    Raises:
        ConfigError: the run is of another kind; otherwise as for `load`.
        RunError: as for `load`.
    """
    return _load(Predictor, path, task, device, precision)


def load_labels(
    path: str | PathLike[str],
    task: LabelTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> LabelPredictor:
    """Open a run whose output is labels; the arguments are those of `load`.

    Raises:
        ConfigError: the run is of another kind; otherwise as for `load`.
        RunError: as for `load`.
    """
    return _load(LabelPredictor, path, task, device, precision)


def load_language_model(
    path: str | PathLike[str],
    task: StreamTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> LanguagePredictor:
    """Open a language model; the arguments are those of `load`.

    Raises:
        ConfigError: the run is of another kind; otherwise as for `load`.
        RunError: as for `load`.
    """
    return _load(LanguagePredictor, path, task, device, precision)


def load_queries(
    path: str | PathLike[str],
    task: QueryTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> QueryPredictor:
    """Open a run that answers questions about databases; the arguments are those of `load`.

    Raises:
        ConfigError: the run is of another kind; otherwise as for `load`.
        RunError: as for `load`.
    """
    return _load(QueryPredictor, path, task, device, precision)


def load_code(
    path: str | PathLike[str],
    task: CodeTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> CodePredictor:
    """Open a run that writes code; the arguments are those of `load`.

    Raises:
        ConfigError: the run is of another kind; otherwise as for `load`.
        RunError: as for `load`.
    """
    return _load(CodePredictor, path, task, device, precision)


_FUNCTIONS = {
    Predictor: ("text", load_translator.__name__),
    QueryPredictor: ("queries", load_queries.__name__),
    CodePredictor: ("code", load_code.__name__),
    LabelPredictor: ("labels", load_labels.__name__),
    LanguagePredictor: ("the continuation of a text", load_language_model.__name__),
}
"""For each class, the output of its runs, and the function that opens them."""


def _load(
    wanted: type[P],
    path: str | PathLike[str],
    task: AnyTask | None,
    device: str,
    precision: str,
) -> P:
    folder = Path(path)
    run_task = read_task(folder)[1] if is_export(folder) else read_recipe(folder, task)[1]
    actual = _TABLE[run_task.kind]
    if actual is not wanted:
        output, function = _FUNCTIONS[actual]
        raise ConfigError(
            f"{path} is a run of task '{run_task.name}', whose output is {output}; open it with "
            f"unrolled.{function}"
        )
    return cast(P, load(path, task, device, precision))
