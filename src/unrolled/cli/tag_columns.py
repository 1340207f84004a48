"""Tagging a CoNLL file: the predicted tag is one more column of its lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from unrolled.cli.options import shown_on
from unrolled.quoting import escape_breaks

if TYPE_CHECKING:
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.text.conll import ColumnLine


def add_columns(
    predictor: LabelPredictor, input_file: Path, output_file: Path | None, with_scores: bool
) -> None:
    """Copy a file with one token per line, with the predicted tag as an additional column.

    Comments, blank lines and other lines without a token are copied unchanged; existing tags are not
    read.

    Args:
        predictor: a tagger.
        input_file: file in CoNLL format.
        output_file: file to write; None for standard output.
        with_scores: whether to add the tag's probability as another column.

    Raises:
        DataError: the file cannot be read, or has no token column.
    """
    from unrolled.text.conll import column_lines

    lines, held = column_lines(input_file), []
    with ExitStack() as stack:
        output: TextIO = sys.stdout
        if output_file is not None:
            output = stack.enter_context(open(output_file, "w", encoding="utf-8", newline="\n"))
        for line in lines:
            held.append(line)
            if line.ends and len(held) >= _LINES_TAGGED_TOGETHER:
                _write(output, _with_tags(predictor, input_file, held, with_scores))
                held = []
        _write(output, _with_tags(predictor, input_file, held, with_scores))


_LINES_TAGGED_TOGETHER = 20_000


def _write(output: TextIO, lines: Iterator[str]) -> None:
    output.writelines(f"{shown_on(output, line)}\n" for line in lines)


def _with_tags(
    predictor: LabelPredictor, path: Path, lines: Sequence[ColumnLine], with_scores: bool
) -> Iterator[str]:
    from unrolled.tasks.tagged import probabilities_of
    from unrolled.text.conll import token_column

    sentences: list[list[str]] = [[]]
    for line in lines:
        if line.ends:
            sentences.append([])
        elif line.values is not None:
            column = token_column(path, len(line.values), predictor.recipe.data.columns)
            sentences[-1].append(line.values[column])
    tags = chain.from_iterable(
        zip(prediction.labels, probabilities_of(prediction, predictor.labels), strict=True)
        for prediction in predictor.predict([sentence for sentence in sentences if sentence])
    )
    for line in lines:
        cells = [line.text]
        if line.values is not None:
            tag, probability = next(tags)
            cells = [
                line.text.rstrip(" "),
                escape_breaks(tag, also="\t "),
                *([f"{probability:.4f}"] if with_scores else []),
            ]
        yield ("\t" if "\t" in line.text else " ").join(cells)
