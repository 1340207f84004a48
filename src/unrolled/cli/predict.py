"""`unrolled predict`: one text, a file, standard input, or text typed at a terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from unrolled import storage
from unrolled.cli import lines
from unrolled.cli.app import app
from unrolled.cli.options import (
    DECODING_HELP,
    Overrides,
    Precision,
    decoding_from_options,
    is_typed,
    shown_on,
)
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import brief, escape_breaks, json_line, quote

if TYPE_CHECKING:
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.seq2seq import Predictor
    from unrolled.tasks.predictions import LabelPrediction
    from unrolled.text.conll import ColumnLine


Words = Literal["none", "attention", "gradients", "occlusion"]


@app.command(help_epilogue=DECODING_HELP)
def predict(
    run: Path,
    text: str | None = None,
    second: str | None = None,
    /,
    *,
    input_file: Annotated[Path | None, Parameter(name="--input")] = None,
    output_file: Annotated[Path | None, Parameter(name="--output")] = None,
    n_best: int | None = None,
    scores: bool = False,
    attention: Path | None = None,
    words: Words = "none",
    precision: Precision = "float32",
    overrides: Overrides = (),
) -> None:
    """Run a trained model on one sentence, a file, or standard input.

    If neither TEXT nor --input is given, standard input is read. One line is printed per input line, in
    the same order (empty for an empty line). In files and standard input, the two texts of a pair
    are separated by a tab.

    Output by task: translate, the translation; classify and pair, the label, a tab and its probability;
    tag, one tag per token, separated by spaces.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        text: sentence to run the model on, in quotes.
        second: second text, for task pair, in quotes.
        input_file: text file with one sentence per line; for tag, also a CoNLL file (.conll, .conllu,
            .iob, .bio, …) with one token per line, output with the tags as an added column.
        output_file: file to write; standard output by default.
        n_best: for translate: number of translations per sentence, best first, separated by tabs; by
            default decoding.n_best of the run.
        scores: also print scores. translate: a tab and the length-normalized log-probability after each
            translation. classify and pair: all labels with their probabilities. tag: one line of JSON
            with tokens, tags, probabilities and spans; for a CoNLL file, one more column, the
            probability.
        attention: for translate, with TEXT: plot the attention weights and save them to this file (.png
            or .html).
        words: for classify and pair: attribution method. How much each word supports (positive) or
            contradicts (negative) the predicted label is printed to standard error.
        precision: for translate: precision of the recurrent weights; bfloat16 and int8 can be faster but
            are less accurate, and need the native kernels (see 'unrolled doctor').
    """
    lines.check(text, input_file, output_file, attention)
    if output_file is not None:
        storage.require_no_link_in(run, output_file)

    from unrolled.predictors.load import load

    predictor = load(run, precision=precision)
    arguments = _Arguments(
        run,
        text,
        second,
        input_file,
        output_file,
        n_best,
        scores,
        attention,
        words,
        overrides,
    )
    _ANSWER[predictor.task.kind.name](predictor, arguments)


@dataclass(frozen=True)
class _Arguments:
    """The arguments of `predict`."""

    run: Path
    text: str | None
    second: str | None
    input_file: Path | None
    output_file: Path | None
    n_best: int | None
    scores: bool
    attention: Path | None
    words: Words
    overrides: Overrides


def _predict_labels(predictor: LabelPredictor, arguments: _Arguments) -> None:
    from unrolled.text.conll import is_column_file

    if arguments.attention is not None or arguments.n_best is not None or arguments.overrides:
        raise ConfigError(
            "--attention, --n-best and --decoding only apply to translate, and "
            f"{arguments.run} is of task '{predictor.task.name}'; use --scores or --words attention"
        )
    text = arguments.text
    if arguments.second is not None:
        text = joined(predictor, arguments.run, str(text), arguments.second)
    check_words(predictor, arguments.words)
    input_file, output_file, scores = arguments.input_file, arguments.output_file, arguments.scores
    if predictor.task.by_token and input_file is not None and is_column_file(input_file):
        add_columns(predictor, input_file, output_file, scores)
        return

    def label(texts: list[str]) -> list[str]:
        inputs = [fields_of(line, predictor) for line in texts]
        predictions = predictor.predict(inputs)
        warn_of_unread(texts, predictions, predictor)
        if _is_single(arguments) and not predictor.task.by_token and predictor.n_texts == 1:
            pieces = [prediction.pieces[0] for prediction in predictions]
            lines.warn_of_unknown(texts, pieces, predictor.tokenizers.get("text"))
        if arguments.words != "none":
            print_words(predictor, inputs, arguments.words)
        return [one_line(prediction, predictor, scores) for prediction in predictions]

    def check(line: str) -> None:
        fields_of(line, predictor)

    lines.run(label, text, input_file, output_file, check)


def _predict_text(predictor: Predictor, arguments: _Arguments) -> None:
    if arguments.second is not None or arguments.words != "none":
        raise ConfigError(f"{arguments.run} does not output labels; give one sentence, in quotes")
    n_best, overrides = arguments.n_best, arguments.overrides
    added = [] if n_best is None else [("decoding.n_best", str(n_best))]
    changed, usual = dict(overrides), predictor.recipe.decoding
    if (
        n_best is not None
        and n_best > 1
        and changed.get("decoding.method", usual.method) == "greedy"
    ):
        if "decoding.method" in changed:
            raise ConfigError(
                f"--n-best {n_best}: decoding.method is greedy, which gives one answer; add "
                "--decoding.method beam"
            )
        beam_size = changed.get("decoding.beam_size") or str(max(n_best, usual.beam_size))
        added += [("decoding.method", "beam"), ("decoding.beam_size", beam_size)]
        print(
            f"unrolled: --n-best {n_best} uses beam search, beam size {beam_size}; the run decodes "
            "greedily by default",
            file=sys.stderr,
        )
    decoding = decoding_from_options(predictor.recipe.decoding, [*overrides, *added])
    if arguments.attention is not None and arguments.text is not None:
        from unrolled.inspect.attention import draw_attention

        command = shlex.join(["unrolled", *sys.argv[1:]])
        picture = predictor.predict([arguments.text], decoding, with_attention=True)
        draw_attention(picture, arguments.attention, command)
        print(f"attention: {arguments.attention}", file=sys.stderr)

    def answer(texts: list[str]) -> list[str]:
        predictions = predictor.predict(texts, decoding)
        lines.warn_of_cuts(texts, predictions)
        if _is_single(arguments) and getattr(predictor.recipe.model, "copying", "none") == "none":
            pieces = [prediction.source_pieces for prediction in predictions]
            lines.warn_of_unknown(texts, pieces, predictor.tokenizers.get("source"))
        return [
            lines.one_line(prediction, decoding.n_best, arguments.scores)
            for prediction in predictions
        ]

    lines.run(answer, arguments.text, arguments.input_file, arguments.output_file)


def _is_single(arguments: _Arguments) -> bool:
    """Whether texts are given one by one, by somebody who reads what is printed."""
    return arguments.text is not None or (arguments.input_file is None and is_typed())


def _predict_running_text(predictor: LanguagePredictor, arguments: _Arguments) -> None:
    raise ConfigError(
        f"{arguments.run} is a language model; use `unrolled generate`, `unrolled complete` or "
        "`unrolled score`"
    )


_ANSWER: Mapping[str, Callable[[Any, _Arguments], None]] = {
    "seq2seq": _predict_text,
    "labels": _predict_labels,
    "language_model": _predict_running_text,
}
"""By the name of a task's kind; a name, because kinds are only imported when a command needs them."""


TAB = "\t"


def one_line(prediction: LabelPrediction, predictor: LabelPredictor, with_scores: bool) -> str:
    r"""The label, a tab and its probability; with scores all labels, the most probable first.

    Line breaks and tabs in a label, and spaces in a tag, are written as escapes (`\\n`, `\\t`, `\\x20`).

    For tagging: the tags, separated by spaces; with scores a line of JSON with the tokens, their tags,
    the probability of each tag, and the spans that the tags encode.
    """
    from unrolled.predictors.labels import given_labels, probability_fields, probability_of

    if predictor.task.by_token:
        if not with_scores:
            return " ".join(escape_breaks(tag, also="\t ") for tag in prediction.labels)
        line = {"tokens": list(prediction.pieces[0]), "tags": list(prediction.labels)}
        return json_line(line | probability_fields(prediction, predictor.labels))
    if not with_scores:
        given = escape_breaks(given_labels(prediction), also="\t")
        return f"{given}\t{probability_of(prediction, predictor.labels):.4f}"
    pairs = zip(predictor.labels.names, prediction.probabilities.tolist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    return "\t".join(f"{escape_breaks(name, TAB)}\t{p:.4f}" for name, p in ordered)


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
    from unrolled.tasks.tag.task import probabilities_of
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


def joined(predictor: LabelPredictor, run: Path, first: str, second: str) -> str:
    """Join two texts to the line that `fields_of` splits.

    Raises:
        ConfigError: the run does not take pairs.
    """
    if predictor.n_texts != 2:
        raise ConfigError(
            f"{run} takes one text, got two; quote a text that contains spaces, and give several texts "
            "as lines of standard input or of --input FILE"
        )
    return "\t".join(text.replace("\t", " ") for text in (first, second))


def warn_of_unread(
    lines: Sequence[str], predictions: Sequence[LabelPrediction], predictor: LabelPredictor
) -> None:
    """Warn on standard error about inputs that were truncated."""
    data = predictor.recipe.data
    for line, prediction in zip(lines, predictions, strict=True):
        if prediction.n_truncated:
            print(
                f"unrolled: {quote(line[:30] + '…')}: {prediction.n_truncated:,} tokens were not read; "
                f"the run has data.max_length = {data.max_length} and data.keep = '{data.keep}'",
                file=sys.stderr,
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
