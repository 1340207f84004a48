"""Show predicted code: highlighted at a terminal, one line per description elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from unrolled.quoting import escape_breaks, escape_lines

if TYPE_CHECKING:
    from unrolled.tasks.predictions import Answer, Prediction


def highlighted(
    prediction: Prediction, n_best: int, with_scores: bool, language: str, console: Console
) -> str:
    """The best answers as coloured text, numbered if there are several.

    Args:
        prediction: a prediction.
        n_best: number of answers.
        with_scores: whether to give the score of each.
        language: language of the code; "" if it is not known.
        console: the terminal.
    """
    answers = prediction.hypotheses[:n_best]
    with console.capture() as capture:
        for place, answer in enumerate(answers, start=1):
            _print(console, place if n_best > 1 else None, answer, with_scores, language)
    return capture.get().removesuffix("\n")


def _print(
    console: Console, place: int | None, answer: Answer, with_score: bool, language: str
) -> None:
    from rich.syntax import Syntax

    code = "\n".join(escape_lines(line) for line in answer.text.split("\n"))
    text = Text(code)
    if language:
        text = Syntax("", language, theme="ansi_dark").highlight(code)
        text.right_crop(1)  # a line end
    head = "" if place is None else f"{place}  "
    if with_score:
        head += f"{answer.score:.4f}  "
    indent = " " * len(head)
    for number, line in enumerate(text.split("\n", allow_blank=True)):
        before = Text(head if number == 0 else indent, style="dim")
        console.print(before + line, soft_wrap=True)


def one_line(prediction: Prediction, n_best: int, with_scores: bool) -> str:
    r"""The best answers as one line, separated by tabs; line breaks and tabs in code are `\n` and `\t`.

    Args:
        prediction: a prediction.
        n_best: number of answers.
        with_scores: whether each is followed by a tab and its score.
    """
    cells: list[str] = []
    for answer in prediction.hypotheses[:n_best]:
        cells.append(escape_breaks(answer.text, also="\t"))
        if with_scores:
            cells.append(f"{answer.score:.4f}")
    return "\t".join(cells)
