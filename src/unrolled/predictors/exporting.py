"""Export a trained run to ONNX, or as a page."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

from unrolled.errors import ConfigError
from unrolled.exports import page
from unrolled.exports.export import export
from unrolled.exports.folder import is_export
from unrolled.exports.gate import Agreement
from unrolled.exports.graph import check_installed
from unrolled.exports.kinds import TABLE
from unrolled.exports.page import PageAgreement
from unrolled.exports.rounding import Precision
from unrolled.predictors.load import load
from unrolled.tasks.task import AnyTask
from unrolled.training.run_folder import read_config


def export_onnx(
    run: str | PathLike[str],
    folder: str | PathLike[str],
    precision: Precision = "float32",
    *,
    task: AnyTask | None = None,
    force: bool = False,
) -> Agreement:
    """Write a trained run as ONNX graphs, which run without Unrolled and PyTorch.

    The folder appears only if the graphs compute what the model computes, and if the program in it gives
    the same answers; see `docs/export.md`. `load` opens it like a run.

    Args:
        run: the run folder.
        folder: the new folder.
        precision: how weight matrices are stored: "float32", "float16" or "int8".
        task: your own task, which is refused with the reason.
        force: whether to replace an earlier export.

    Returns:
        How far the export agrees with the run and, in a lower precision, what that costs.

    Raises:
        ConfigError: the run cannot be exported; the message says why.
        RunError: the run is missing or damaged, the folder is in the way, or the export does not agree
            with the model.
        UnavailableError: onnx or onnxruntime is not installed.
    """
    check_installed("onnx", "onnxruntime")
    _check(Path(run), task, "an ONNX export")
    return export(load(run), Path(folder), precision, force)


def export_page(
    run: str | PathLike[str],
    file: str | PathLike[str],
    precision: Literal["float32", "int8"] = "float32",
    *,
    task: AnyTask | None = None,
    force: bool = False,
) -> PageAgreement:
    """Write a trained run as one HTML page, which runs the model in the browser, from disk.

    The page appears only if it computes what the model computes, and answers as the model where Node.js
    is installed; see `docs/export.md`.

    Args:
        run: the run folder.
        file: the new file, which ends in .html.
        precision: how weight matrices are stored: "float32" or "int8".
        task: your own task, which is refused with the reason.
        force: whether to replace an earlier page.

    Returns:
        What was compared, and the size of the file.

    Raises:
        ConfigError: the run cannot be exported as a page; the message says why.
        RunError: the run is missing or damaged, the file is in the way, or the page does not agree with
            the model.
    """
    _check(Path(run), task, "a page")
    return page.export_page(load(run), file, precision, force)


def _check(path: Path, task: AnyTask | None, form: str) -> None:
    """Refuse an export, and a run of a task of the user's own.

    Raises:
        ConfigError: it is one of them.
    """
    if is_export(path):
        raise ConfigError(f"{path} is an export already; export the run that it was made of")
    name = read_config(path).get("task")
    if task is None and name in TABLE:
        return
    from unrolled.tasks import TASKS

    if task is not None or name not in TASKS:
        shown = task.name if task is not None else str(name)[:100]
        raise ConfigError(
            f"{path} is a run of your own task '{shown}', and {form} has a graph built by hand for each "
            f"kind of model; runs of {', '.join(TABLE)} can be exported"
        )
