"""`unrolled export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unrolled.cli.app import app
from unrolled.cli.options import print_message
from unrolled.quoting import shell_command


@app.command(usage="Usage: unrolled export RUN --onnx FOLDER [OPTIONS]")
def export(
    run: Path,
    /,
    *,
    onnx: Path,
    precision: Literal["float32", "float16", "int8"] = "float32",
    force: bool = False,
) -> None:
    """Write a trained run as ONNX graphs, which run without Unrolled and PyTorch.

    The folder contains the graphs, the vocabularies, the settings, a model card, and infer.py, a
    program that predicts with NumPy, tokenizers and ONNX Runtime. It appears only if the graphs compute
    what the model computes and infer.py gives the same answers. 'unrolled predict' and 'unrolled
    evaluate' take it like a run.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        onnx: the new folder.
        precision: how weights are stored: float16 takes half the space of float32, int8 a quarter. All is
            computed in float32. What rounding costs on the validation part is printed and on the model
            card.
        force: replace an earlier export.
    """
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.exporting import export_onnx

    with reported_on_stderr():
        agreement = export_onnx(run, onnx, precision, force=force)
    print_message(f"wrote {onnx}", prefix="")
    print(
        f"largest difference of a score {agreement.largest:.1e}, {agreement.n_answers} answers compared, "
        f"on {agreement.inputs}"
    )
    for name, (before, after) in agreement.scores.items():
        print(f"{name}: {before:.4f} in float32, {after:.4f} in {precision}")
    print(f"try: {shell_command('python', onnx / 'infer.py')}")
