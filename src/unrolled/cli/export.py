"""`unrolled export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unrolled.cli.app import app
from unrolled.cli.options import print_message
from unrolled.errors import ConfigError


@app.command
def export(
    run: Path, /, *, c: Path | None = None, precision: Literal["float32", "int8"] = "float32"
) -> None:
    """Write a trained model in another form, which needs neither Unrolled nor Python.

    Its answers are compared with those of the model before it is written; if they differ, nothing is
    written.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        c: new folder for C code: a network without memory allocation (model.h), its weights, and a
            program that reads standard input (main.c); for language_model with characters, classify and
            tag.
        precision: precision of the weights; int8 takes a quarter of the space and states what it costs on
            the validation part.
    """
    if c is None:
        raise ConfigError(f"nothing to write; give a folder: unrolled export {run} --c FOLDER")
    _export_c(run, c, precision)


def _export_c(run: Path, folder: Path, precision: Literal["float32", "int8"]) -> None:
    from unrolled.exports.c import export_c
    from unrolled.exports.c.export import check_free
    from unrolled.predictors.load import load

    check_free(folder)
    agreement = export_c(load(run), folder, precision)
    print(f"wrote {folder}; its answers agree with the model's, compared by {agreement.how}:")
    for each in agreement.compared:
        print(f"  {each}")
    print(f"  largest difference of a number {agreement.worst:.1e}")
    for name, (before, after) in agreement.cost.items():
        print(f"  {name} on the validation part: {before:.4f}, with int8 {after:.4f}")
    for note in agreement.notes:
        print_message(note)
