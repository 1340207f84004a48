"""`unrolled export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unrolled.cli.app import app
from unrolled.cli.options import print_message
from unrolled.errors import ConfigError
from unrolled.quoting import shell_command

if TYPE_CHECKING:
    from unrolled.exports.gate import Agreement

Precision = Literal["float32", "float16", "int8"]


@app.command(
    usage="Usage: unrolled export RUN (--onnx FOLDER | --page FILE | --c FOLDER) [OPTIONS]"
)
def export(
    run: Path,
    /,
    *,
    onnx: Path | None = None,
    page: Path | None = None,
    c: Path | None = None,
    precision: Precision = "float32",
    force: bool = False,
) -> None:
    """Write a trained run in a form that needs neither Unrolled nor PyTorch: ONNX graphs, a page, or C.

    Its answers are compared with those of the model before the export appears; if they differ, nothing
    is written. An ONNX folder contains the graphs, the vocabularies, the settings, a model card, and
    infer.py, a program that predicts with NumPy, tokenizers and ONNX Runtime; 'unrolled predict' and
    'unrolled evaluate' take it like a run. A page is one HTML file that runs the model in the browser,
    from disk, without a server or the network. A C folder contains a network without memory allocation
    (model.h), its weights, and a program that reads standard input (main.c).

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        onnx: new folder for ONNX graphs.
        page: new HTML file; texts are answered as they are typed.
        c: new folder for C code; for language_model with characters, classify and tag.
        precision: how weights are stored: float16 (only with --onnx) takes half the space of float32,
            int8 a quarter. What rounding costs on the validation part is printed and on the model card.
        force: replace an earlier export of the same form.
    """
    if sum(each is not None for each in (onnx, page, c)) != 1:
        raise ConfigError("give one of --onnx FOLDER, --page FILE and --c FOLDER")
    if onnx is not None:
        _export_onnx(run, onnx, precision, force)
    elif page is not None:
        _export_page(run, page, precision, force)
    elif c is not None:
        _export_c(run, c, precision, force)


def _export_onnx(run: Path, folder: Path, precision: Precision, force: bool) -> None:
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.exporting import export_onnx

    with reported_on_stderr():
        agreement = export_onnx(run, folder, precision, force=force)
    print_message(f"wrote {folder}", prefix="")
    _print_agreement(agreement, precision)
    print(f"try: {shell_command('python', folder / 'infer.py')}")


def _print_agreement(agreement: Agreement, precision: Precision) -> None:
    print(
        f"largest difference of a score {agreement.largest:.1e}, {agreement.n_answers} answers compared, "
        f"on {agreement.inputs}"
    )
    for name, (before, after) in agreement.scores.items():
        print(f"{name}: {before:.4f} in float32, {after:.4f} in {precision}")


def _export_page(run: Path, file: Path, precision: Precision, force: bool) -> None:
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.exporting import export_page

    if precision == "float16":
        raise ConfigError("--precision float16 is for --onnx; a page has float32 or int8")
    with reported_on_stderr():
        written = export_page(run, file, precision, force=force)
    print_message(f"wrote {file} ({written.n_bytes / 1e6:.2f} MB)", prefix="")
    _print_agreement(written.agreement, precision)
    if written.node:
        print(f"answers compared in Node.js {written.node}; open {file} in a browser")
    else:
        print_message(
            "no answer was compared, because Node.js 20 or later was not found (pip install "
            "'unrolled[page]'); the arithmetic was compared in NumPy, and the page compares "
            f"{written.n_stored} stored answers when it is opened"
        )


def _export_c(run: Path, folder: Path, precision: Precision, force: bool) -> None:
    from unrolled.exports.c import export_c
    from unrolled.exports.c.export import check_free
    from unrolled.predictors.load import load

    if precision == "float16":
        raise ConfigError("--precision float16 is for --onnx; C code has float32 or int8")
    check_free(folder, force)
    agreement = export_c(load(run), folder, precision, force=force)
    print(f"wrote {folder}; its answers agree with the model's, compared by {agreement.how}:")
    for each in agreement.compared:
        print(f"  {each}")
    print(f"  largest difference of a number {agreement.worst:.1e}")
    for name, (before, after) in agreement.cost.items():
        print(f"  {name} on the validation part: {before:.4f}, with int8 {after:.4f}")
    for note in agreement.notes:
        print_message(note)
