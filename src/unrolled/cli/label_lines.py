"""Labels as lines: the texts of an input line, a prediction as a line, how words support it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unrolled.cli import lines
from unrolled.cli.options import print_message
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import brief, escape_breaks, json_line, quote
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.tasks.predictions import LabelPrediction

Words = Literal["none", "attention", "gradients", "occlusion"]

TAB = "\t"


def one_line(prediction: LabelPrediction, predictor: LabelPredictor, with_scores: bool) -> str:
    r"""The label, a tab and its probability; with scores all labels, the most probable first.

    Line breaks and tabs in a label, and spaces in a tag, are written as escapes (`\\n`, `\\t`, `\\x20`).

    For tagging: the tags, separated by spaces; with scores a line of JSON with the tokens, their tags,
    the probability of each tag, and the spans that the tags encode.
    """
    from unrolled.predictors.label_answers import given_labels, probability_fields, probability_of

    if predictor.task.by_token:
        if not with_scores:
            return " ".join(escape_breaks(tag, also="\t ") for tag in prediction.labels)
        line = {"tokens": list(prediction.pieces[0]), "tags": list(prediction.labels)}
        return json_line(line | probability_fields(prediction, predictor.labels))
    if not with_scores:
        given = escape_breaks(given_labels(prediction), also="\t")
        if not prediction.probabilities.size:  # of an NB-SVM
            return given
        return f"{given}\t{probability_of(prediction, predictor.labels):.4f}"
    pairs = zip(predictor.labels.names, prediction.probabilities.tolist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    return "\t".join(f"{escape_breaks(name, TAB)}\t{p:.4f}" for name, p in ordered)


def tagged_line(prediction: LabelPrediction) -> str:
    """The words of a sentence, each followed by a slash and its tag."""
    pairs = zip(prediction.pieces[0], prediction.labels, strict=True)
    return " ".join(f"{word}/{escape_breaks(tag, also=TAB)}" for word, tag in pairs)


def joined(predictor: LabelPredictor, run: Path, texts: Sequence[str]) -> tuple[str, ...]:
    """The lines that `fields_of` splits: for pairs, the two texts joined by a tab.

    Raises:
        ConfigError: the run takes pairs, and there are other than two texts.
    """
    if predictor.n_texts == 1 or len(texts) < 2:
        lines.warn_of_single_words(texts)
        return tuple(texts)
    if len(texts) != predictor.n_texts:
        raise ConfigError(
            f"{run} takes two texts, got {len(texts)}; quote a text that contains spaces, and give "
            "several pairs as lines of standard input or of --input FILE"
        )
    return (TAB.join(text.replace(TAB, " ") for text in texts),)


def warn_of_unread(
    lines: Sequence[str], predictions: Sequence[LabelPrediction], predictor: LabelPredictor
) -> None:
    """Warn on standard error about inputs that were truncated."""
    data = predictor.recipe.data
    for line, prediction in zip(lines, predictions, strict=True):
        if prediction.n_truncated:
            were = "was" if prediction.n_truncated == 1 else "were"
            print_message(
                f"{quote(line[:30] + '…')}: {count_of(prediction.n_truncated, 'token')} {were} not read; "
                f"the run has data.max_length = {data.max_length} and data.keep = '{data.keep}'"
            )


def fields_of(line: str, predictor: LabelPredictor) -> str | list[str]:
    """The texts of an input line; two texts are separated by a tab.

    Raises:
        DataError: the line has another number of texts.
    """
    if predictor.n_texts == 1:
        return line
    fields = line.split("\t")
    if len(fields) != predictor.n_texts:
        wanted = " and ".join(predictor.task.columns[:-1])
        raise DataError(f"expected {wanted}, separated by a tab; found {quote(line, 40)}")
    return fields


def check_words(predictor: LabelPredictor, method: Words) -> None:
    """Refuse an attribution method that does not apply, before anything is predicted or written.

    Raises:
        ConfigError: the run is a tagger, or the method is attention and the model has none.
    """
    if method == "none":
        return
    if predictor.task.by_token:
        raise ConfigError(
            "--words explains labels of texts and is not available for tagging; remove it"
        )
    from unrolled.inspect.attribution import check_method

    check_method(predictor, method)


def print_words(predictor: LabelPredictor, inputs: Sequence[Any], method: Words) -> None:
    """Print on standard error how much each word supports the predicted label or counts against it."""
    from unrolled.inspect.attribution import explain_words

    for texts in explain_words(predictor, inputs, method):
        for words in texts:
            print(
                "  ".join(f"{brief(word)} {weight:+.2f}" for word, weight in words), file=sys.stderr
            )
