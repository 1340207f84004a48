"""`unrolled predict`: one text, a file, standard input, or text typed at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from cyclopts import Parameter

from unrolled import storage
from unrolled.cli import lines
from unrolled.cli.app import app
from unrolled.cli.label_lines import (
    Words,
    check_words,
    fields_of,
    joined,
    one_line,
    print_words,
    tagged_line,
    warn_of_unread,
)
from unrolled.cli.options import (
    DECODING_HELP,
    STDIN,
    Overrides,
    Precision,
    check_room_for_torch,
    decoding_from_options,
    is_typed,
    print_message,
    shown_on,
)
from unrolled.errors import ConfigError
from unrolled.quoting import shell_command

if TYPE_CHECKING:
    from unrolled.predictors.code import CodePredictor
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.queries import QueryPredictor
    from unrolled.predictors.seq2seq import Predictor
    from unrolled.predictors.unknown import UnknownWords
    from unrolled.tasks.predictions import LabelPrediction, Prediction


@app.command(usage="Usage: unrolled predict [OPTIONS] RUN [TEXTS...]", help_epilogue=DECODING_HELP)
def predict(
    run: Path,
    /,
    *texts: str,
    input_file: Annotated[Path | None, Parameter(name="--input")] = None,
    output_file: Annotated[Path | None, Parameter(name="--output")] = None,
    n_best: int | None = None,
    scores: bool = False,
    attention: Path | None = None,
    words: Words = "none",
    precision: Precision = "float32",
    baseline: bool = False,
    overrides: Overrides = (),
) -> None:
    """Run a trained model on sentences, a file, or standard input.

    If neither TEXTS nor --input are given, or one of them is -, standard input is read. One line is
    printed per input line, in the same order (empty for an empty line). In files and standard input, the
    two texts of a pair are separated by a tab. Before a text that begins with a dash, write -- alone.

    Output by task: translate, the translation; code, the code, highlighted at a terminal, and elsewhere
    on one line with escaped line breaks; classify and pair, the label, a tab and its probability; tag,
    each word with its tag (word/TAG) for TEXTS and for lines typed at a terminal, and only the tags, one
    per token, separated by spaces, for a file or standard input.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        texts: sentences to run the model on, each in quotes; for pair, the two texts.
        input_file: text file with one sentence per line; for tag, also a CoNLL file (.conll, .conllu,
            .iob, .bio, …) with one token per line, output with the tags as an added column.
        output_file: file to write; standard output by default.
        n_best: for translate and code: number of answers per input, best first, separated by tabs; by
            default decoding.n_best of the run.
        scores: also print scores. translate and code: the length-normalized log-probability of each
            answer. classify and pair: all labels with their probabilities. tag: one line of JSON
            with tokens, tags, probabilities and spans; for a CoNLL file, one more column, the
            probability.
        attention: for models with attention: plot the attention weights of each sentence and save them
            to this file: a page (.html), or a picture (.png); pictures of several sentences are numbered
            (name-1.png, name-2.png, …); of many sentences, those of the first are drawn.
        words: for classify and pair: attribution method. How much each word supports (positive) or
            contradicts (negative) the predicted label is printed to standard error.
        precision: for translate: precision of the recurrent weights; bfloat16 and int8 can be faster but
            are less accurate, and need the native kernels (see 'unrolled doctor').
        baseline: for classify, pair and tag: predict with the best of the run's baselines on validation
            data instead of the network. An NB-SVM has no probabilities, so that only labels are printed.
    """
    lines.check(texts, input_file, output_file, attention)
    lines.warn_of_files(texts, "unrolled predict {run} --input {file}", run)
    texts = () if texts == (STDIN,) else texts
    input_file = None if str(input_file) == STDIN else input_file
    if output_file is not None:
        storage.require_no_link_in(run, output_file)

    is_plain = attention is None and words == "none" and not baseline
    predictor = _opened(run, precision, is_plain and 0 < len(texts) <= _FEW_TEXTS)
    if input_file is not None and getattr(predictor, "n_texts", 1) == 1:
        lines.warn_of_table(input_file, run)
    arguments = _Arguments(
        run,
        texts,
        input_file,
        output_file,
        n_best,
        scores,
        attention,
        words,
        precision,
        baseline,
        overrides,
    )
    if baseline and not predictor.task.kind.has_baselines:
        raise ConfigError(
            f"--baseline: {run} is of task '{predictor.task.name}', which has no baselines to predict "
            "with; remove it"
        )
    _ANSWER[predictor.task.kind.name](predictor, arguments)


_FEW_TEXTS = 16
"""Number of texts that take less time one by one than torch takes to be imported."""


def _opened(run: Path, precision: Precision, is_short: bool) -> Any:
    """A predictor; for a few texts in float32 without torch, if possible.

    Args:
        run: the run folder.
        precision: of the weights.
        is_short: whether only some texts given as arguments are to be predicted.
    """

    def loaded() -> Any:
        from unrolled.predictors.load import load

        check_room_for_torch()
        return load(run, precision=precision)

    found = None
    if is_short and precision == "float32":
        from unrolled.predictors.without_torch import opened

        found = opened(run, loaded)
    return loaded() if found is None else found


@dataclass(frozen=True)
class _Arguments:
    """The arguments of `predict`."""

    run: Path
    texts: tuple[str, ...]
    input_file: Path | None
    output_file: Path | None
    n_best: int | None
    scores: bool
    attention: Path | None
    words: Words
    precision: Precision
    baseline: bool
    overrides: Overrides

    @property
    def is_typed(self) -> bool:
        """Whether texts are given one by one, by somebody who reads what is printed."""
        return bool(self.texts) or (self.input_file is None and is_typed())


_MOST_DRAWN = {".png": 20, ".html": 100}
"""Number of sentences whose attention is drawn, by kind of file."""


class _Drawing:
    """Collects predictions to draw their attention, up to a maximum number."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._drawn: list[Prediction | LabelPrediction] = []
        self._n = 0

    def add(self, predictions: Sequence[Prediction | LabelPrediction]) -> None:
        if self.path is not None:
            room = _MOST_DRAWN[self.path.suffix.lower()] - len(self._drawn)
            self._drawn += predictions[:room]
            self._n += len(predictions)

    def save(self) -> None:
        if self.path is None:
            return
        from unrolled.inspect.attention import draw_attention

        first = draw_attention(self._drawn, self.path, shell_command("unrolled", *sys.argv[1:]))
        n = len(self._drawn)
        more = " and the following" if first != self.path else ""
        those = "" if n == self._n else f" (of the first {n:,} of {self._n:,} sentences)"
        print(f"attention: {first}{more}{those}", file=sys.stderr)


def _predict_labels(predictor: LabelPredictor, arguments: _Arguments) -> None:
    from unrolled.predictors.unknown import UnknownWords
    from unrolled.text.conll import is_column_file

    if arguments.baseline:
        predictor = _baseline(predictor, arguments)
    _check_label_options(predictor, arguments)
    check_words(predictor, arguments.words)
    input_file, output_file, scores = arguments.input_file, arguments.output_file, arguments.scores
    if predictor.task.by_token and input_file is not None and is_column_file(input_file):
        from unrolled.cli.tag_columns import add_columns

        add_columns(predictor, input_file, output_file, scores)
        return
    drawing, unknown = _Drawing(arguments.attention), UnknownWords()
    with_words = predictor.task.by_token and not scores and arguments.is_typed

    def label(texts: list[str]) -> list[str]:
        nonlocal unknown
        inputs = [fields_of(line, predictor) for line in texts]
        predictions = predictor.predict(inputs)
        warn_of_unread(texts, predictions, predictor)
        drawing.add(predictions)
        if arguments.words != "none":
            print_words(predictor, inputs, arguments.words)
        for each, prediction in zip(inputs, predictions, strict=True):
            if not arguments.baseline:
                _count_unknown(predictor, each, prediction, unknown)
        unknown = _reported(unknown, arguments)
        if with_words:
            return [tagged_line(prediction) for prediction in predictions]
        return [one_line(prediction, predictor, scores) for prediction in predictions]

    def check(line: str) -> None:
        fields_of(line, predictor)

    texts = joined(predictor, arguments.run, arguments.texts)
    lines.run(label, texts, input_file, output_file, check)
    lines.warn_of_unknown(unknown)
    drawing.save()


def _baseline(predictor: LabelPredictor, arguments: _Arguments) -> LabelPredictor:
    """The best baseline of a run, in place of its network.

    Raises:
        ConfigError: the run has no baselines, or an option does not apply to the baseline.
    """
    from unrolled.baselines.config import baseline_title
    from unrolled.predictors.baseline import baseline_of

    given = {"words": arguments.words != "none", "attention": arguments.attention is not None}
    for option in given:
        if given[option]:
            raise ConfigError(
                f"--{option} explains the network, and --baseline predicts without it; remove one"
            )
    baseline = baseline_of(predictor)
    name = baseline_title(baseline.baseline_name)
    if arguments.scores and not baseline.has_probabilities:
        raise ConfigError(f"--scores: the baseline is an {name}, without probabilities; remove it")
    if not arguments.is_typed:
        print_message(f"predicting with the baseline {name}", "note: ")
    return baseline


def _check_label_options(predictor: LabelPredictor, arguments: _Arguments) -> None:
    """Refuse options that do not apply to a model that predicts labels.

    Raises:
        ConfigError: there is such an option, or attention is to be drawn and the model has none.
    """
    run, task = arguments.run, predictor.task.name
    given = {"n-best": arguments.n_best is not None, "precision": arguments.precision != "float32"}
    given |= {name: True for name, _ in arguments.overrides}
    for name in given:
        if given[name]:
            raise ConfigError(
                f"--{name} does not apply to {run}, which is of task '{task}'; remove it"
            )
    if arguments.attention is not None:
        if predictor.task.by_token:
            raise ConfigError(
                f"--attention: {run} is of task '{task}', whose models have no attention; remove it"
            )
        (probe,) = predictor.predict([("a",) * predictor.n_texts])
        if all(weights is None for weights in probe.weights):
            trained = "model.pooling = 'attentive'"
            if predictor.n_texts > 1:
                trained = "model.encoder = 'attention', 'word_by_word' or 'aligned'"
            raise ConfigError(
                f"--attention: {run} has no attention; use --words gradients, or train with {trained}"
            )


def _count_unknown(
    predictor: LabelPredictor, one: Any, prediction: LabelPrediction, unknown: UnknownWords
) -> None:
    tokenizer = predictor.tokenizers.get("text")
    if predictor.task.by_token:
        unknown.add_tokens(tokenizer, prediction.pieces[0])
        return
    for text in [one] if isinstance(one, str) else one:
        unknown.add(tokenizer, text)


def _reported(unknown: UnknownWords, arguments: _Arguments) -> UnknownWords:
    """Name unknown words at once if lines are typed at a terminal; otherwise, go on counting."""
    from unrolled.predictors.unknown import UnknownWords

    if arguments.texts or not arguments.is_typed:
        return unknown
    lines.warn_of_unknown(unknown)
    return UnknownWords()


def _predict_code(predictor: CodePredictor, arguments: _Arguments) -> None:
    from unrolled.cli.code_view import highlighted, one_line
    from unrolled.cli.screen import default_console

    console = default_console()
    if arguments.output_file is not None or not console.is_terminal:
        _predict_text(predictor, arguments, one_line)
        return
    write = partial(highlighted, language=predictor.language or "", console=console)
    _predict_text(predictor, arguments, write, show=lambda _, text: text)


def _predict_text(
    predictor: Predictor,
    arguments: _Arguments,
    write: Callable[[Prediction, int, bool], str] = lines.one_line,
    show: Callable[[TextIO, str], str] = shown_on,
) -> None:
    """Predict texts.

    Args:
        predictor: the model.
        arguments: the arguments of the command.
        write: prediction, number of answers, whether with scores → a line.
        show: stream, line → what is written.
    """
    from unrolled.predictors.unknown import UnknownWords

    run, n_best, overrides = arguments.run, arguments.n_best, arguments.overrides
    if arguments.words != "none":
        raise ConfigError(
            f"--words explains labels, and {run} is of task '{predictor.task.name}'; use --attention FILE"
        )
    if arguments.attention is not None and _has_no_attention(predictor):
        raise ConfigError(
            f"--attention: {run} has no attention (model.attention = 'none'); remove it"
        )
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
        print_message(
            f"--n-best {n_best} uses beam search, beam size {beam_size}; the run decodes greedily by "
            "default"
        )
    decoding = decoding_from_options(predictor.recipe.decoding, [*overrides, *added])
    drawing, unknown = _Drawing(arguments.attention), UnknownWords()
    is_copying = getattr(predictor.recipe.model, "copying", "none") != "none"

    def answer(texts: list[str]) -> list[str]:
        nonlocal unknown
        with_attention = drawing.path is not None
        predictions = predictor.predict(texts, decoding, with_attention=with_attention)
        lines.warn_of_cuts(texts, predictions)
        drawing.add(predictions)
        for text in texts:
            if not is_copying:
                unknown.add(predictor.tokenizers.get("source"), text)
        unknown = _reported(unknown, arguments)
        return [write(prediction, decoding.n_best, arguments.scores) for prediction in predictions]

    lines.warn_of_single_words(arguments.texts)
    inputs = arguments.texts, arguments.input_file, arguments.output_file
    lines.run(answer, *inputs, show=show)
    lines.warn_of_unknown(unknown)
    drawing.save()


def _refuse_queries(predictor: QueryPredictor, arguments: _Arguments) -> None:
    """Questions need a database, and answers are more than one line of text."""
    raise ConfigError(
        f"{arguments.run} is of task 'sql', which answers questions about a database; use "
        f"{shell_command('unrolled', 'ask', str(arguments.run), '--database', 'FILE')}"
    )


def _has_no_attention(predictor: Predictor) -> bool:
    return getattr(predictor.recipe.model, "attention", None) == "none"


def _predict_running_text(predictor: LanguagePredictor, arguments: _Arguments) -> None:
    from unrolled.tasks.language_model import check_forward

    check_forward(predictor.recipe.model, "continuing a text")
    raise ConfigError(
        f"{arguments.run} is a language model; use `unrolled generate`, `unrolled complete` or "
        "`unrolled score`"
    )


_ANSWER: Mapping[str, Callable[[Any, _Arguments], None]] = {
    "seq2seq": _predict_text,
    "queries": _refuse_queries,
    "code": _predict_code,
    "labels": _predict_labels,
    "language_model": _predict_running_text,
}
"""By the name of a task's kind; a name, because kinds are only imported when a command needs them."""
