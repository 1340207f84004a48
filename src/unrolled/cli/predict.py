"""`unrolled predict`: one text, a file, standard input, or what is typed at a terminal."""

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
from unrolled.cli.options import Overrides, Precision, decoding_from_options, shown_on
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import brief, escape_breaks, json_line, quote

if TYPE_CHECKING:
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.seq2seq import Predictor
    from unrolled.tasks.predictions import LabelPrediction
    from unrolled.text.conll import ColumnLine


Words = Literal["none", "attention", "gradients", "occlusion"]


@app.command(help_epilogue="Options --decoding.field VALUE change how answers are searched for.")
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
    words: Literal["none", "attention", "gradients", "occlusion"] = "none",
    precision: Precision = "float32",
    overrides: Overrides = (),
) -> None:
    """Answer one sentence, a file, standard input, or you.

    Labels are followed by a tab and their probability. The two texts of a pair are given one after the
    other, or in a line with a tab between them; every other run answers one text at a time. Without TEXT
    and --input, standard input is read; from a terminal, sentence by sentence. Each input line gives
    exactly one output line, in order, empty ones included. Of tags there is one for each token, separated
    by spaces; with --scores a line of JSON tells the tokens and the spans too.

    Args:
        run: run folder.
        text: one sentence, in quotes.
        second: the second text, where the run reads pairs.
        input_file: text file, one sentence per line; of tags also a file with a token on each line
            (.conll), to which they are added as a column.
        output_file: where to write; standard output by default.
        n_best: how many answers per sentence, separated by tabs.
        scores: put its score after each answer, separated by a tab.
        attention: picture of what each word of the answer looked at: FILE.png or FILE.html.
        words: show on standard error which words spoke for a label (above 0) or against it: by attention,
            by integrated gradients, or by leaving each out.
        precision: what single steps keep the recurrent weights in; less is faster and coarser.
    """
    lines.check(text, input_file, output_file, attention)
    if output_file is not None:
        storage.require_no_link_in(run, output_file)

    from unrolled.predictors.load import load

    predictor = load(run, precision=precision)
    given = _Given(
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
    _ANSWER[predictor.task.kind.name](predictor, given)


@dataclass(frozen=True)
class _Given:
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


def _predict_labels(predictor: LabelPredictor, given: _Given) -> None:
    from unrolled.text.conll import is_column_file

    if given.attention is not None or given.n_best is not None or given.overrides:
        raise ConfigError(
            "--attention, --n-best and --decoding apply to translation runs; for label runs use --scores "
            f"or --words attention ({given.run} is of task '{predictor.task.name}')"
        )
    text = given.text
    if given.second is not None:
        text = joined(predictor, given.run, str(text), given.second)
    check_words(predictor, given.words)
    input_file, output_file, scores = given.input_file, given.output_file, given.scores
    if predictor.task.by_token and input_file is not None and is_column_file(input_file):
        add_columns(predictor, input_file, output_file, scores)
        return

    def label(texts: list[str]) -> list[str]:
        inputs = [fields_of(line, predictor) for line in texts]
        predictions = predictor.predict(inputs)
        warn_of_unread(texts, predictions, predictor)
        if given.words != "none":
            print_words(predictor, inputs, given.words)
        return [one_line(each, predictor, scores) for each in predictions]

    def check(line: str) -> None:
        fields_of(line, predictor)

    lines.run(label, text, input_file, output_file, check)


def _predict_text(predictor: Predictor, given: _Given) -> None:
    _require_no_labels(given)
    n_best, overrides = given.n_best, given.overrides
    method = dict(overrides).get("decoding.method", predictor.recipe.decoding.method)
    if method == "greedy" and n_best is not None and n_best > 1:
        raise ConfigError(
            f"--n-best {n_best}: decoding.method is greedy, which finds one answer; give "
            "--decoding.method beam"
        )
    added = [("decoding.n_best", str(n_best))] if n_best is not None else []
    decoding = decoding_from_options(predictor.recipe.decoding, [*overrides, *added])
    if given.attention is not None and given.text is not None:
        from unrolled.inspect.attention import draw_attention

        command = shlex.join(["unrolled", *sys.argv[1:]])
        picture = predictor.predict([given.text], decoding, with_attention=True)
        draw_attention(picture, given.attention, command)
        print(f"attention: {given.attention}", file=sys.stderr)

    def answer(texts: list[str]) -> list[str]:
        predictions = predictor.predict(texts, decoding)
        lines.warn_of_unread(texts, predictions)
        return [lines.one_line(each, decoding.n_best, given.scores) for each in predictions]

    lines.run(answer, given.text, given.input_file, given.output_file)


def _predict_running_text(predictor: LanguagePredictor, given: _Given) -> None:
    _require_no_labels(given)
    raise ConfigError(
        f"{given.run} is a language model; use `unrolled generate` or `unrolled complete`"
    )


def _require_no_labels(given: _Given) -> None:
    if given.second is not None or given.words != "none":
        raise ConfigError(f"{given.run} does not output labels; give one sentence, in quotes")


_ANSWER: Mapping[str, Callable[[Any, _Given], None]] = {
    "seq2seq": _predict_text,
    "labels": _predict_labels,
    "language_model": _predict_running_text,
}
"""By name of the kind of task, which is not imported before a command needs it."""


TAB = "\t"


def one_line(prediction: LabelPrediction, predictor: LabelPredictor, with_scores: bool) -> str:
    r"""The answer, a tab and its probability; with scores every label's, the likeliest first.

    Line ends and tabs in a label, and spaces in a tag, are written as escapes (`\\n`, `\\t`, `\\x20`).

    In tagging the tags, separated by spaces; with scores a line of JSON: the tokens, their tags, the
    probability of each tag, and the spans that they write.
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
    """Write a file with a token on each line, its tag after it as one more column.

    Comments, blank lines and what else is no token stay as they are; tags that are there are not read.

    Args:
        predictor: of tags.
        input_file: such a file.
        output_file: where to write; None for standard output.
        with_scores: whether the tag's probability is another column.

    Raises:
        DataError: the file cannot be read, or has no such column.
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
    said = predictor.predict([sentence for sentence in sentences if sentence])
    sure = (probabilities_of(each, predictor.labels) for each in said)
    tags = chain.from_iterable(
        zip(a.labels, b, strict=True) for a, b in zip(said, sure, strict=True)
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
    """Two texts as the line that `fields_of` takes apart.

    Raises:
        ConfigError: the run does not read pairs, so that the second is no part of the first's input.
    """
    if predictor.n_texts != 2:
        raise ConfigError(
            f"{run} reads one text, found two; quote a text that contains spaces, and give several as "
            "lines of standard input or of --input FILE"
        )
    return "\t".join(text.replace("\t", " ") for text in (first, second))


def warn_of_unread(
    lines: Sequence[str], said: Sequence[LabelPrediction], predictor: LabelPredictor
) -> None:
    """Say on standard error which inputs were too long to be read whole."""
    data = predictor.recipe.data
    for line, prediction in zip(lines, said, strict=True):
        if prediction.n_truncated:
            print(
                f"unrolled: {quote(line[:30] + '…')}: {prediction.n_truncated:,} tokens were not read; "
                f"the run has data.max_length = {data.max_length} and data.keep = '{data.keep}'",
                file=sys.stderr,
            )


def fields_of(line: str, predictor: LabelPredictor) -> str | list[str]:
    """The texts of an input line, separated by a tab where there are two.

    Raises:
        DataError: a line of another number of texts.
    """
    if predictor.n_texts == 1:
        return line
    fields = line.split("\t")
    if len(fields) != predictor.n_texts:
        wanted = " and ".join(predictor.task.columns[:-1])
        raise DataError(f"expected {wanted}, separated by a tab; found {quote(line, 40)}")
    return fields


def check_words(predictor: LabelPredictor, method: Words) -> None:
    """Refuse words that cannot be told, before anything is answered or written.

    Raises:
        ConfigError: there are as many answers as words, or attention of a model that has none.
    """
    if method == "none":
        return
    if predictor.task.by_token:
        raise ConfigError(
            "--words tells what spoke for a label of a text; these are tags of its words"
        )
    from unrolled.inspect.attribution import check_method

    check_method(predictor, method)


def print_words(predictor: LabelPredictor, inputs: Sequence[Any], method: Words) -> None:
    """Which words spoke for each answer, and against it, on standard error."""
    from unrolled.inspect.attribution import explain_words

    for texts in explain_words(predictor, inputs, method):
        for words in texts:
            print(
                "  ".join(f"{brief(word)} {weight:+.2f}" for word, weight in words), file=sys.stderr
            )
