"""A trained run as an object that answers."""

from __future__ import annotations

from os import PathLike

from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.precision import set_precision
from unrolled.predictors.seq2seq import Predictor
from unrolled.tasks.task import AnyTask, LabelTask, StreamTask
from unrolled.training.run_folder import load_run


def load(
    path: str | PathLike[str],
    task: AnyTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Predictor | LabelPredictor | LanguagePredictor:
    """Open a run folder.

    Args:
        path: the folder that training wrote.
        task: your own task, where the run was trained with one.
        device: "cpu" or "cuda".
        precision: what single steps keep the recurrent weights as: "float32", "bfloat16" or "int8";
            a step of few rows costs what it must read.

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
    if isinstance(run.task, StreamTask):
        return LanguagePredictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)
    if isinstance(run.task, LabelTask):
        return LabelPredictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)
    return Predictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)
