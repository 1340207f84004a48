"""Trained runs as Python objects: `load`, and one function for each kind of task.

`load` returns what the run is, which a type checker learns only from a `task` that is given. The others
return one class, and refuse every other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TypeVar, cast, overload

from unrolled.errors import ConfigError
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.precision import set_precision
from unrolled.predictors.seq2seq import Predictor
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL, SEQ2SEQ, Kind
from unrolled.tasks.task import AnyTask, LabelTask, StreamTask, Task
from unrolled.training.run_folder import load_run, read_recipe

AnyPredictor = Predictor | LabelPredictor | LanguagePredictor

P = TypeVar("P", Predictor, LabelPredictor, LanguagePredictor)

_TABLE: Mapping[Kind, type[AnyPredictor]] = {
    SEQ2SEQ: Predictor,
    LABELLING: LabelPredictor,
    LANGUAGE_MODEL: LanguagePredictor,
}


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
    """Open a run folder.

    Args:
        path: the folder that training wrote.
        task: your own task, where the run was trained with one.
        device: "cpu" or "cuda".
        precision: precision of the recurrent weights in step-by-step inference: "float32", "bfloat16" or
            "int8". A step of few rows takes as long as reading the weights does.

    Returns:
        A `Predictor` where the output is text, a `LabelPredictor` where it is labels, a
        `LanguagePredictor` for a language model.

    Raises:
        ConfigError: an unknown precision, or one that this machine or model has no kernels for.
        RunError: the folder or one of its files is missing or damaged; the file is named.

    A phrasebook trained by `unrolled demo`:

        >>> translator = unrolled.load("demo/attention")                        # doctest: +SKIP
        >>> translator("The old teacher does not read the red books.")          # doctest: +SKIP
        'El viejo profesor no lee los libros rojos.'
    """
    run = load_run(path, task, device)
    set_precision(run.model, precision)
    # Each class takes the tasks of its own kind, as the table pairs them.
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
        ConfigError: the run is of another kind; otherwise as `load`.
        RunError: as `load`.
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
        ConfigError: the run is of another kind; otherwise as `load`.
        RunError: as `load`.
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
        ConfigError: the run is of another kind; otherwise as `load`.
        RunError: as `load`.
    """
    return _load(LanguagePredictor, path, task, device, precision)


_FUNCTIONS = {
    Predictor: ("text", load_translator.__name__),
    LabelPredictor: ("labels", load_labels.__name__),
    LanguagePredictor: ("the continuation of a text", load_language_model.__name__),
}
"""For each class what its runs output, and the function that opens them."""


def _load(
    wanted: type[P],
    path: str | PathLike[str],
    task: AnyTask | None,
    device: str,
    precision: str,
) -> P:
    found_task = read_recipe(Path(path), task)[1]
    found = _TABLE[found_task.kind]
    if found is not wanted:
        output, function = _FUNCTIONS[found]
        raise ConfigError(
            f"{path} is a run of task '{found_task.name}', whose output is {output}; open it with "
            f"unrolled.{function}"
        )
    return cast(P, load(path, task, device, precision))
