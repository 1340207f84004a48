"""`unrolled evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unrolled import storage
from unrolled.cli.options import (
    DECODING_HELP,
    Files,
    Names,
    Overrides,
    Precision,
    decoding_from_options,
    print_message,
    text_width,
)
from unrolled.config import BleuTokenizer, from_mapping, to_mapping
from unrolled.errors import ConfigError
from unrolled.quoting import escape, listed_paths, shell_command
from unrolled.wording import wrapped

if TYPE_CHECKING:
    from unrolled.predictors.code import CodePredictor
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.queries import QueryPredictor
    from unrolled.predictors.seq2seq import Predictor
from unrolled.cli.app import app

Words = Literal["none", "attention", "gradients", "occlusion"]


@app.command(help_epilogue=DECODING_HELP)
def evaluate(
    run: Path,
    /,
    *,
    data: Files = (),
    columns: Names = (),
    split: Literal["test", "valid"] = "test",
    record: Path | None = None,
    precision: Precision = "float32",
    cache: int = 0,
    cache_theta: float | None = None,
    cache_weight: float | None = None,
    bleu_tokenizer: BleuTokenizer | None = None,
    shuffle_words: bool = False,
    words: Words | None = None,
    out: Path | None = None,
    signatures: bool = False,
    overrides: Overrides = (),
) -> None:
    """Evaluate a trained model on held-out data.

    For classify, pair and tag, report.html and predictions.jsonl are written too.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        data: data to evaluate on instead of held-out data, in the same format and with the same columns
            as the training data; for a language model, text files.
        columns: columns of --data to read, by name or number, if they are not those of the training data;
            --data.header no (or yes) says whether a TSV or CSV has a header.
        split: if --data is not given: part of the run's data to evaluate on.
        record: file to append the scores to, as one line of JSON with the date and, if known, Unrolled's
            git commit.
        precision: for translate and language models: precision of the recurrent weights; bfloat16 and
            int8 can be faster but are less accurate, and need the native kernels (see 'unrolled
            doctor'). With either, a language model reads text one token at a time.
        cache: for language models: size of a continuous cache (Grave et al. 2017). The model's
            distribution is mixed with one over the words after the last CACHE hidden states, by
            similarity to the current state; 0 for no cache.
        cache_theta: θ of the cache, at least 0: how strongly similar states are preferred (with 0, all
            states count equally); 0.3 by default.
        cache_weight: weight λ of the cache in the mixture, at least 0 and less than 1; 0.1 by default.
        bleu_tokenizer: for translate: sacrebleu's tokenizer for BLEU. By default the run's setting
            training.bleu_tokenizer, auto, which chooses by the references: 13a for text with blanks
            between words, zh for Chinese, ja-mecab or char for Japanese, char for Thai and others.
        shuffle_words: for classify, pair and tag: also score the same texts with their words in random
            order, to measure how much the model relies on word order.
        words: for classify and pair: attribution method, by default gradients. The report shows how much
            each word contributed to the worst mistakes.
        out: for classify, pair and tag: folder for report.html and predictions.jsonl; by default
            evaluation-NAME in the run folder; NAME is the split or the data file's name up to a dot.
        signatures: also print how each score was computed; scores with the same signature are comparable.
            The signatures are always in the file of --record and in report.html.
    """
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.load import load
    from unrolled.predictors.results_file import record as append_record

    if record is not None:
        storage.require_no_link_in(run, record)
    if not cache and (cache_theta is not None or cache_weight is not None):
        raise ConfigError("--cache-theta and --cache-weight need --cache; add --cache SIZE")
    predictor = load(run, precision=precision)
    about: dict[str, object] = {"run": run.name, "data": list(data) or split}
    if precision != "float32":
        about["precision"] = precision
    reading = {name: value for name, value in overrides if name in _READING}
    overrides = tuple(override for override in overrides if override[0] not in reading)
    given = {
        "columns": bool(columns),
        **dict.fromkeys(reading, True),
        "cache": bool(cache),
        "shuffle-words": shuffle_words,
        "words": words is not None,
        "out": out is not None,
        "precision": precision != "float32",
        "bleu-tokenizer": bleu_tokenizer is not None,
        **{name: True for name, _ in overrides},
    }
    kind = predictor.task.kind.name
    _refuse_others(predictor.task.name, _OPTIONS[kind], [name for name in given if given[name]])
    if columns or reading:
        if not data:
            option = "columns" if columns else next(iter(reading))
            raise ConfigError(f"--{option} describes other files; give them with --data")
        settings = to_mapping(predictor.recipe.data)
        settings |= {name.removeprefix("data."): value for name, value in reading.items()}
        settings |= {"columns": list(columns)} if columns else {}
        described = from_mapping(type(predictor.recipe.data), settings, "data")
        predictor.recipe = replace(predictor.recipe, data=described)
    arguments = _Arguments(
        run,
        data,
        split,
        cache,
        cache_theta,
        cache_weight,
        bleu_tokenizer,
        shuffle_words,
        words,
        out,
        signatures,
        overrides,
    )
    with reported_on_stderr():
        evaluation, more = _EVALUATE[kind](predictor, arguments)
    if record is not None:
        append_record(evaluation, record, **about, **more)


_OF_TABLES = ("columns", "data.header")
_OF_QUERIES = ("data.database", "data.split_by", "data.dialect")
_OF_CODE = ("data.language",)
_READING = ("data.header", *_OF_QUERIES, *_OF_CODE)
"""Settings of `[data]` that describe how the files of --data are read."""

_OPTIONS: Mapping[str, Sequence[str]] = {
    "seq2seq": ("decoding.", "precision", "bleu-tokenizer", *_OF_TABLES),
    "queries": ("decoding.", "precision", *_OF_TABLES, *_OF_QUERIES),
    "code": ("decoding.", "precision", *_OF_TABLES, *_OF_CODE),
    "labels": ("shuffle-words", "words", "out", *_OF_TABLES),
    "language_model": ("cache", "precision"),
}
"""By the name of a task's kind: the options that only apply to some kinds."""


def _refuse_others(task: str, applicable: Sequence[str], given: Sequence[str]) -> None:
    for name in given:
        if not name.startswith(tuple(applicable)) and not (
            "." in name and "decoding." in applicable
        ):
            raise ConfigError(f"--{name} does not apply to task '{task}'; remove it")


def _about_data(predictor: Any, arguments: _Arguments) -> list[str]:
    """What the run is evaluated on, as words; a path is one word."""
    run, data = str(arguments.run), predictor.recipe.data
    if arguments.data:
        return [run, "on", listed_paths(arguments.data)]
    part = {"test": "test", "valid": "validation"}[arguments.split]
    words = [run, "on", "the", part, "part"]
    if files := getattr(data, arguments.split):
        return [*words, f"({listed_paths(files)})"]
    return [*words, "(held", "out", "of", f"{listed_paths(data.train)})"]


@dataclass(frozen=True)
class _Arguments:
    """The arguments of `evaluate` that depend on the kind of task."""

    run: Path
    data: Files
    split: Literal["test", "valid"]
    cache: int
    cache_theta: float | None
    cache_weight: float | None
    bleu_tokenizer: BleuTokenizer | None
    shuffle_words: bool
    words: Words | None
    out: Path | None
    signatures: bool
    overrides: Overrides


_Scored = tuple[Any, dict[str, object]]
"""An evaluation, already printed, and further entries for its record."""


def _evaluate_running_text(predictor: LanguagePredictor, arguments: _Arguments) -> _Scored:
    from unrolled.layers.neural_cache import ContinuousCache

    data = arguments.data
    stream = predictor.read(data) if data else predictor.held_out(arguments.split)
    memory = None
    if arguments.cache:
        options = {"theta": arguments.cache_theta, "weight": arguments.cache_weight}
        memory = ContinuousCache(
            arguments.cache, **{name: value for name, value in options.items() if value is not None}
        )
    evaluation = predictor.evaluate(stream, memory)
    _print_evaluation(predictor, evaluation, arguments)
    return evaluation, {}


def _evaluate_labels(predictor: LabelPredictor, arguments: _Arguments) -> _Scored:
    from unrolled.cli.label_lines import check_words
    from unrolled.exports.runtime import is_exported
    from unrolled.inspect.label_evaluation import (
        OF_PARTS,
        baseline_lines,
        evaluate_baselines,
        evaluate_parts,
        write_evaluation,
    )

    run, data, split = arguments.run, arguments.data, arguments.split
    notes: list[str] = []
    rows = predictor.read(data, notes) if data else predictor.held_out(split)
    _print_notes(notes)
    has_none = predictor.task.by_token or is_exported(predictor)
    words = arguments.words or ("none" if has_none else "gradients")
    check_words(predictor, words)
    seed = predictor.recipe.seed if arguments.shuffle_words else None
    evaluation = predictor.evaluate(rows, data[0] if data else f"the {split} part", seed)
    baselines = evaluate_baselines(predictor, run, rows, evaluation)
    _print_evaluation(predictor, evaluation, arguments)
    if evaluation.parts:
        print()
        parts = evaluate_parts(predictor, evaluation)
        _print(baseline_lines(parts, evaluation, text_width(), OF_PARTS))
    if baselines:
        print()
        _print(baseline_lines(baselines, evaluation, text_width()))
    name = Path(data[0]).name.split(".")[0] if data else split
    folder = arguments.out or run / f"evaluation-{name}"
    if arguments.out is None:
        storage.require_own_folder(folder)
    page, predictions = write_evaluation(
        folder,
        predictor,
        rows,
        evaluation,
        title=f"{run.name} on {name}",
        files=data or getattr(predictor.recipe.data, split) or predictor.recipe.data.train,
        baselines=baselines,
        words=words,
        command=shell_command("unrolled", *sys.argv[1:]),
    )
    print()
    for name, path in (("report:", page), ("predictions:", predictions)):
        _print_words([name, str(path)])
    return evaluation, {}


def _evaluate_queries(predictor: QueryPredictor, arguments: _Arguments) -> _Scored:
    return _evaluate_rows(predictor, arguments)


def _evaluate_code(predictor: CodePredictor, arguments: _Arguments) -> _Scored:
    return _evaluate_rows(predictor, arguments)


def _evaluate_text(predictor: Predictor, arguments: _Arguments) -> _Scored:
    return _evaluate_rows(predictor, arguments, bleu_tokenizer=arguments.bleu_tokenizer)


def _evaluate_rows(predictor: Predictor, arguments: _Arguments, **options: Any) -> _Scored:
    """Decode and score rows; `options` are those of the predictor's `evaluate`."""
    decoding = decoding_from_options(predictor.recipe.decoding, arguments.overrides)
    data, notes = arguments.data, list[str]()
    rows = predictor.read(data, notes) if data else predictor.held_out(arguments.split)
    _print_notes(notes)
    evaluation = predictor.evaluate(rows, decoding, **options)
    _print_evaluation(predictor, evaluation, arguments)
    return evaluation, {"decoding": asdict(decoding)}


def _print_evaluation(predictor: Any, evaluation: Any, arguments: _Arguments) -> None:
    _print_words(_about_data(predictor, arguments))
    _print(evaluation.lines(text_width(), signatures=arguments.signatures))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(escape(line))


def _print_words(words: Sequence[str]) -> None:
    """Print words, some of them paths: on one line, or at a terminal in lines broken between them."""
    is_terminal = sys.stdout.isatty()
    _print(wrapped(words, text_width()) if is_terminal else [" ".join(words)])


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print_message(note, "note: ")


_EVALUATE: Mapping[str, Callable[[Any, _Arguments], _Scored]] = {
    "seq2seq": _evaluate_text,
    "queries": _evaluate_queries,
    "code": _evaluate_code,
    "labels": _evaluate_labels,
    "language_model": _evaluate_running_text,
}
"""By the name of a task's kind; a name, because kinds are only imported when a command needs them."""
