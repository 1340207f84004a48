"""Export a trained run to ONNX."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from unrolled.errors import ConfigError
from unrolled.exports.export import export
from unrolled.exports.folder import is_export
from unrolled.exports.gate import Agreement
from unrolled.exports.graph import check_installed
from unrolled.exports.kinds import TABLE
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
    path = Path(run)
    if is_export(path):
        raise ConfigError(f"{path} is an export already; export the run that it was made of")
    name = read_config(path).get("task")
    if task is not None or name not in TABLE:
        from unrolled.tasks import TASKS

        if task is not None or name not in TASKS:
            shown = task.name if task is not None else str(name)[:100]
            raise ConfigError(
                f"{path} is a run of your own task '{shown}', and an ONNX export has a graph built by "
                f"hand for each kind of model; runs of {', '.join(TABLE)} can be exported"
            )
    return export(load(path), Path(folder), precision, force)
