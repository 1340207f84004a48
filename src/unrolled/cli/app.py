"""The command line: `unrolled train`, `evaluate`, `predict` and the rest.

A command only reads its arguments, calls the function that does the work and prints. What it
needs is imported inside it, so that `unrolled --help` does not wait for torch. Options with a dot
in their name (`--training.max_steps 500`) are settings of the recipe: they are taken out before
cyclopts sees the arguments and go through `unrolled.config`, as the lines of a TOML file do.

Exit codes: 0; 2 for an error with a sentence; 130 for Ctrl-C; 141 when a pipe's reader has gone.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from unrolled import storage
from unrolled.cli import options as cli_options
from unrolled.cli import vectors_train
from unrolled.cli import vectors as cli_words
from unrolled.config import split_options
from unrolled.errors import ConfigError, UnrolledError
from unrolled.out_of_memory import is_out_of_memory
from unrolled.quoting import escape, one_message, quote

if TYPE_CHECKING:
    from unrolled.decoding.types import DecodingConfig
    from unrolled.training.recipe import Recipe

Files = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]
Precision = Literal["float32", "bfloat16", "int8"]
Overrides = Annotated[tuple[tuple[str, str | None], ...], Parameter(parse=False)]

_SETTINGS = """

Every setting of the recipe is an option too: --section.field VALUE, for example
--training.max_steps 500 --model.cell gru. A list is given by repeating the option.
`unrolled config` prints all of them with their values.
"""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("unrolled")
    except PackageNotFoundError:
        return "not installed"


app = App(
    name="unrolled",
    help="Recurrent sequence models for text that you train, look inside and ship.",
    version=_version,
    default_parameter=Parameter(negative=()),
)
sample = App(name="sample", help="Write a data set that the toolkit generates itself.")
app.command(sample)
vectors = App(
    name="vectors",
    help="Word vectors from your own text: train them, ask them, measure them, draw them.",
)
app.command(vectors)
for command in (
    vectors_train.train,
    cli_words.nearest,
    cli_words.analogy,
    cli_words.similarity,
    cli_words.ratio,
    cli_words.evaluate,
    cli_words.convert,
):
    vectors.command(command)
vectors.command(cli_words.map_, name="map")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `unrolled`; those of this process by default.

    Returns:
        The exit code.
    """
    _prepare_streams()
    if sys.stdout is None:
        _complain("standard output is closed; send it to a file, or to the null device")
        return 2
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        _give_up_output()
        return 141
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return 141  # rich has its own answer to a pipe whose reader has gone
    except UnusedCliTokensError as error:
        unused = ", ".join(quote(token) for token in error.unused_tokens or ())
        problem = f"unexpected {unused}; quote an argument that contains spaces"
    except (UnrolledError, CycloptsError) as error:
        problem = str(error)
    except (
        KeyboardInterrupt,
        OSError,
        MemoryError,
        ImportError,
        RuntimeError,
        SystemError,
    ) as error:
        if _is_interrupt(error):
            _complain("interrupted", before="\n")
            return 130
        if isinstance(error, OSError) and not is_out_of_memory(error):
            place = f"{error.filename}: " if error.filename else ""
            problem = f"{place}{error.strerror or error}"
        elif is_out_of_memory(error):
            problem = "out of memory; give it more, or less to do at once"
        else:
            raise
    _flush_output()
    _complain(problem)
    return 2


def _prepare_streams() -> None:
    """Any text can be written; where standard error is closed, what is told there is lost."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  it stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _complain(problem: str, before: str = "") -> None:
    with suppress(OSError, ValueError):  # who reads it may have gone
        print(f"{before}unrolled: {one_message(problem)}", file=sys.stderr, flush=True)


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _give_up_output()


def _give_up_output() -> None:
    """Nothing more can be written: the interpreter, which flushes on its way out, shall not complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: in the midst of an import it may come as another."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _run(arguments: Sequence[str]) -> None:
    rest, overrides = split_options(arguments)
    cli_options.restore_docstrings(sys.modules[__name__], vectors_train, cli_words)
    command, bound, ignored = app.parse_args(rest, exit_on_error=False, print_error=False)
    if "overrides" in ignored:
        bound.arguments["overrides"] = tuple(overrides)
    elif overrides and rest and rest[0] in app:
        raise ConfigError(f"--{overrides[0][0]}: `unrolled {rest[0]}` takes no recipe settings")
    if command.__module__ == __name__ and command.__name__ not in _WITHOUT_TORCH:
        cli_options.check_room_for_torch()
    command(*bound.args, **bound.kwargs)


_WITHOUT_TORCH = ("version", "phrasebook", "order", "tagging")


@app.command(help_epilogue=_SETTINGS)
def train(
    recipe: Path | None = None,
    /,
    *,
    task: str | None = None,
    data: Files = (),
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    seed: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    force: bool = False,
    start_from: Annotated[Path | None, Parameter(name="--from")] = None,
    baselines: bool = False,
    overrides: Overrides = (),
) -> None:
    """Train a model and keep it in a run folder.

    Args:
        recipe: TOML file that describes the run; what it leaves out has defaults.
        task: what to train for, when there is no recipe.
        data: training data: one TSV, CSV or JSONL file, or parallel text files, plain or packed (.gz,
            .bz2, .xz); for a language model, text files, folders and patterns; for tags, a file with a
            token on each line too (.conll).
        valid: data for early stopping; by default a part of --data that shares no sentence with it,
            and of running text its end.
        test: data for the final scores; by default another such part.
        columns: which columns to read, by name, in the order that the task expects; where a token
            stands on each line, by number, from 1, or from the end, -1.
        seed: start of every random choice.
        out: run folder; by default runs/ and the name of the recipe or data file.
        resume: go on with the run in the folder, exactly where its last checkpoint stands; where none was
            begun yet, start it.
        force: replace the run in the folder; refused where the folder holds anything else.
        start_from: a finished run whose weights and vocabulary to start from (fine-tuning).
        baselines: of a task that answers with labels: also fit bag-of-words baselines on the same data,
            which cannot see order, and keep them in the run folder.
    """
    if resume and recipe is None and task is None and not data and out is not None:
        from unrolled.training.run_folder import begun_recipe, unnamed_settings

        recipe = begun_recipe(out)
        typed = {name for name, _ in overrides}
        unnamed = [each for each in unnamed_settings(out) if each[0] not in typed]
        overrides = (*unnamed, *overrides)
    base = {}
    if start_from is not None and recipe is None:
        from unrolled.training.run_folder import read_config

        base = _to_start_from(read_config(start_from))
    chosen = _recipe(recipe, task, data, valid, test, columns, seed, overrides, base)
    if out is None:
        name = str(recipe) if recipe else next(iter(chosen.data.train), None)
        if name is None:
            raise ConfigError("nothing to train on; give a recipe or --data FILE")
        out = cli_options.default_out(name, "runs", "run")

    from unrolled.cli.progress import show
    from unrolled.tasks import TASKS, LabelTask
    from unrolled.training.loop import fit

    if baselines:  # what they could not do is known before an hour of training
        if not isinstance(TASKS[chosen.task], LabelTask):
            names = ", ".join(name for name, each in TASKS.items() if isinstance(each, LabelTask))
            raise ConfigError(
                f"--baselines are of tasks that answer with labels ({names}), and this is "
                f"'{chosen.task}'; leave it out"
            )
        from unrolled.baselines.sklearn_models import Scikit

        Scikit.load()
    events = fit(chosen, out, resume=resume, force=force, start_from=start_from)
    show(events, out, TASKS[chosen.task].use)
    if baselines:
        from unrolled.cli.labels import fit_and_save_baselines

        with storage.locked(Path(os.path.realpath(out))):
            fit_and_save_baselines(out)


@app.command(help_epilogue="Options --decoding.field VALUE change how answers are searched for.")
def evaluate(
    run: Path,
    /,
    *,
    data: Files = (),
    split: Literal["test", "valid"] = "test",
    record: Path | None = None,
    precision: Precision = "float32",
    cache: int = 0,
    cache_theta: float | None = None,
    cache_weight: float | None = None,
    shuffle_words: bool = False,
    words: Literal["none", "attention", "gradients", "occlusion"] = "gradients",
    out: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Score a trained run on data it has not seen.

    A run that answers with labels also writes report.html and predictions.jsonl.

    Args:
        run: run folder.
        data: data to score on, with the columns of the training data, or text for a language model.
        split: which held-out part of the run's own data to score on, without --data.
        record: file to append the scores to as a line of JSON, with date and commit.
        precision: what single steps keep the recurrent weights in; less is faster and coarser. A
            language model is then read step by step.
        cache: of a language model: mix in the words that followed the last CACHE states, the nearest
            the most (Grave et al. 2017); 0 = off.
        cache_theta: how much nearer states count in the cache; 0.3 by default.
        cache_weight: the cache's share of the mixture; 0.1 by default.
        shuffle_words: of a run that answers with labels: score the same texts with their words in random
            order too, which tells what their order was worth.
        words: how the report finds which words of the worst mistakes mattered.
        out: folder for report.html and predictions.jsonl; by default one in the run folder.
    """
    from unrolled.predictors import load as predict
    from unrolled.layers.neural_cache import ContinuousCache
    from unrolled.text.readers import read_rows

    if record is not None:
        storage.require_no_link_in(run, record)
    if not cache and (cache_theta is not None or cache_weight is not None):
        raise ConfigError("--cache-theta and --cache-weight belong to --cache; give its size")
    predictor = predict.load(run, precision=precision)
    about: dict[str, object] = {"run": run.name, "data": list(data) or split}
    if precision != "float32":
        about["precision"] = precision
    if isinstance(predictor, predict.LanguagePredictor):
        if overrides:
            raise ConfigError(f"--{overrides[0][0]}: a language model is scored without decoding")
        stream = predictor.read(data) if data else predictor.held_out(split)
        memory = None
        if cache:
            given = {"theta": cache_theta, "weight": cache_weight}
            memory = ContinuousCache(
                cache, **{name: value for name, value in given.items() if value is not None}
            )
        evaluation: Any = predictor.evaluate(stream, memory)
    elif isinstance(predictor, predict.LabelPredictor):
        if overrides or cache:
            name = overrides[0][0] if overrides else "cache"
            raise ConfigError(f"--{name}: labels are scored without it; leave it out")
        from unrolled.cli import labels

        evaluation = labels.evaluate(
            predictor,
            run,
            predictor.read(data) if data else predictor.held_out(split),
            Path(data[0]).name.split(".")[0] if data else split,
            data[0] if data else f"the {split} part",
            shuffle_words=shuffle_words,
            out=out,
            words=words,
            command=shlex.join(["unrolled", *sys.argv[1:]]),
        )
    else:
        if cache:
            raise ConfigError(f"--cache {cache}: {run} is not a language model")
        decoding = _decoding(predictor.recipe.decoding, overrides)
        about["decoding"] = asdict(decoding)
        if data:
            columns = predictor.recipe.data.columns
            rows = list(read_rows(data, columns or None, len(predictor.task.columns)))
        else:
            rows = predictor.held_out(split)
        evaluation = predictor.evaluate(rows, decoding)
    if not isinstance(predictor, predict.LabelPredictor):
        for line in evaluation.lines():
            print(escape(line))
    if record is not None:
        predict.record(evaluation, record, **about)


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
    from unrolled.cli import labels
    from unrolled.cli import lines as cli_predict

    cli_predict.check(text, input_file, output_file, attention)
    if output_file is not None:
        storage.require_no_link_in(run, output_file)

    from unrolled.predictors.load import LabelPredictor, Predictor, load
    from unrolled.text.readers import is_column_file

    predictor = load(run, precision=precision)
    if isinstance(predictor, LabelPredictor):
        if attention is not None or n_best is not None or overrides:
            raise ConfigError(
                f"{run} answers with labels; --attention, --n-best and --decoding are of translations: "
                "give --scores for all labels, --words attention for what was looked at"
            )
        if second is not None:
            text = labels.joined(predictor, run, str(text), second)
        labels.check_words(predictor, words)
        if predictor.task.by_token and input_file is not None and is_column_file(input_file):
            labels.add_columns(predictor, input_file, output_file, scores)
            return

        def label(lines: list[str]) -> list[str]:
            inputs = [labels.fields_of(line, predictor) for line in lines]
            said = predictor.predict(inputs)
            labels.warn_of_unread(lines, said, predictor)
            if words != "none":
                labels.print_words(predictor, inputs, words)
            return [labels.one_line(each, predictor, scores) for each in said]

        def check(line: str) -> None:
            labels.fields_of(line, predictor)

        cli_predict.run(label, text, input_file, output_file, check)
        return
    if second is not None or words != "none":
        raise ConfigError(f"{run} does not answer with labels; give one sentence, in quotes")
    if not isinstance(predictor, Predictor):
        raise ConfigError(
            f"{run} is a language model, which answers nothing; `unrolled generate` and "
            "`unrolled complete` go on with a text"
        )
    given = [("decoding.n_best", str(n_best))] if n_best is not None else []
    method = dict(overrides).get("decoding.method", predictor.recipe.decoding.method)
    if method == "greedy" and n_best is not None and n_best > 1:
        raise ConfigError(
            f"--n-best {n_best}: decoding.method is greedy, which finds one answer; give "
            "--decoding.method beam"
        )
    decoding = _decoding(predictor.recipe.decoding, [*overrides, *given])
    if attention is not None and text is not None:
        from unrolled.inspect.attention import draw_attention

        draw_attention(predictor.predict([text], decoding, with_attention=True), attention)
        print(f"attention: {attention}", file=sys.stderr)

    def answer(texts: list[str]) -> list[str]:
        predictions = predictor.predict(texts, decoding)
        cli_predict.warn_of_unread(texts, predictions)
        return [cli_predict.one_line(each, decoding.n_best, scores) for each in predictions]

    cli_predict.run(answer, text, input_file, output_file)


@app.command
def generate(
    run: Path,
    /,
    *,
    prompt: str | None = None,
    prompt_file: Path | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: tuple[str, ...] = (),
    stop_at_end: bool = False,
    n: int = 1,
    seed: int = 1,
    precision: Precision = "float32",
) -> None:
    """Let a language model go on with a text; what it writes appears as it comes.

    Args:
        run: run folder of a language model.
        prompt: text to go on with; without it, a new document.
        prompt_file: file that holds the text to go on with.
        max_tokens: the most tokens to write.
        temperature: below 1 keeps to the probable, above 1 strays; 0 always takes the likeliest.
        top_k: draw from the k likeliest tokens only; 0 is all.
        top_p: draw from the fewest likeliest tokens that hold this share of the probability.
        stop: text to end at, which is not shown; may be given several times.
        stop_at_end: end with the document (the line, where each line is one).
        n: how many samples, separated by lines of ---.
        seed: of the draws; sample i is the first of seed + i - 1.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    from unrolled.cli import generate as cli_generate

    text = cli_generate.prompt_text(prompt, prompt_file)
    continuation = cli_generate.open_run(run, "generate", precision)
    continuation.feed(text)
    cli_generate.generate(
        continuation,
        sys.stdout,
        n_samples=n,
        max_tokens=max_tokens,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        stop_at_end=stop_at_end,
    )


@app.command
def complete(
    run: Path, text: str | None = None, /, *, k: int = 5, precision: Precision = "float32"
) -> None:
    """Complete the last word of a text, or say which comes next.

    Without TEXT, suggestions appear as you type and Tab takes the first. When standard input is not a
    terminal, each line of it is answered by a line of JSON.

    Args:
        run: run folder of a language model.
        text: text whose last word to complete; after a space, the next word.
        k: how many completions.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    from unrolled.cli import generate as cli_generate

    cli_generate.complete(cli_generate.open_run(run, "complete", precision), text, k)


@app.command
def score(
    run: Path,
    text: str | None = None,
    /,
    *,
    input_file: Annotated[Path | None, Parameter(name="--input")] = None,
    tokens: bool = False,
    precision: Precision = "float32",
) -> None:
    """Say how well a language model foresees a text, in bits; standard input without TEXT and --input.

    Args:
        run: run folder of a language model.
        text: the text, in quotes.
        input_file: file that holds the text.
        tokens: show the bits of each token, and its place among all tokens by probability.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    from unrolled.cli import generate as cli_generate

    text = cli_generate.read_score_text(text, input_file)
    continuation = cli_generate.open_run(run, "score", precision)
    cli_generate.print_score(continuation, text, tokens)


@app.command(help_epilogue=_SETTINGS)
def data(
    *files: str,
    task: str | None = None,
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    overrides: Overrides = (),
) -> None:
    """Look at data before training: sizes, labels, lengths, duplicates, unknown words, time and memory.

    Args:
        files: one TSV, CSV or JSONL file, or parallel text files, plain or packed (.gz, .bz2,
            .xz); a file with a token on each line (.conll); or a recipe, whose data are looked at.
        task: what the data are for: translate, classify, pair or tag. By default what their names say: a
            .conll file holds tags, and a last column called label makes one text classify, two pair.
        valid: data for validation; by default a part of the files.
        test: data for the test; by default another such part.
        columns: which columns to read, by name.
    """
    if not files:
        raise ConfigError("no file given; `unrolled data FILE` describes a data file")
    from rich.console import Console

    from unrolled.tasks import TASKS, LabelTask, StreamTask
    from unrolled.data_report.labels import likely_task, render_labels, survey_labels
    from unrolled.data_report.pairs import render, survey

    recipe, rest = (Path(files[0]), files[1:]) if files[0].endswith(".toml") else (None, files)
    if recipe is None and task is None:
        task = likely_task(rest, columns)
    chosen = _recipe(recipe, task, rest, valid, test, columns, None, overrides)
    found_task = TASKS[chosen.task]
    if isinstance(found_task, LabelTask):
        labelled = survey_labels(found_task, chosen.data, chosen.text)
        Console().print(render_labels(labelled))
        return
    if isinstance(found_task, StreamTask):
        raise ConfigError(
            f"task '{chosen.task}' reads running text; `unrolled data` describes rows: translate, "
            "classify, pair or tag"
        )

    from unrolled.data_report.cost import estimate

    found = survey(chosen.data, chosen.text, max_tokens=chosen.training.max_tokens)
    if len(found.columns) > 1:
        source, target = found.columns[0], found.columns[-1]
        n_tokens = target.n_tokens + found.sizes["train"]
        sizes = (source.n_vocabulary, target.n_vocabulary)
        found = replace(found, estimate=str(estimate(n_tokens, sizes, target.median)))
    Console().print(render(found))


@app.command(help_epilogue=_SETTINGS)
def config(
    recipe: Path | None = None,
    /,
    *,
    task: str | None = None,
    data: Files = (),
    overrides: Overrides = (),
) -> None:
    """Print the resolved recipe, every setting included, as TOML.

    Args:
        recipe: TOML file; what it leaves out has defaults.
        task: what to train for, when there is no recipe.
        data: training data.
    """
    chosen = _recipe(recipe, task, data, (), (), (), None, overrides)
    print(cli_options.shown_on(sys.stdout, chosen.to_toml()), end="")


@app.command
def doctor() -> None:
    """Say what this machine has, what each cell will run on, and whether it agrees here."""
    from unrolled.doctor import diagnose, render

    print(render(diagnose()))


@sample.command
def phrasebook(folder: Path, /) -> None:
    """Write the English-Spanish phrasebook: training, validation and test part.

    Args:
        folder: where to write; created when it is not there.
    """
    from unrolled.samples.phrasebook.generator import generate, write

    write(folder, generate())
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def order(folder: Path, /, *, n: int = 4000, seed: int = 1) -> None:
    """Write sentences in which only the order of the words tells what is meant.

    Every bag of words occurs equally often under both labels, in each part.

    Args:
        folder: where to write; created when it is not there.
        n: training sentences; validation and test have an eighth and a quarter as many.
        seed: another seed, other sentences.
    """
    from unrolled.samples.order import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def commands(folder: Path, /, *, n: int = 8000, seed: int = 1) -> None:
    """Write commands and the steps that carry them out, for a translator with a dozen target words.

    Args:
        folder: where to write; created when it is not there.
        n: training commands; validation and test have a sixteenth and an eighth as many.
        seed: another seed, other commands.
    """
    from unrolled.samples.commands import generate, write

    write(folder, generate(n, n // 16, n // 8, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def tagging(folder: Path, /, *, n: int = 2000, seed: int = 1) -> None:
    """Write sentences with parts of speech and noun phrases, in which order tells what a word is.

    Args:
        folder: where to write; created when it is not there.
        n: training sentences; validation and test have an eighth and a quarter as many.
        seed: another seed, other sentences.
    """
    from unrolled.samples.tagging import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.conll, valid.conll, test.conll")


@app.command
def demo(folder: Path = Path("demo"), /) -> None:
    """Train a translator on the phrasebook, score it, and draw what it looks at.

    Args:
        folder: where runs and pictures go.
    """
    from unrolled.cli.demo import run

    run(folder)


@app.command
def version() -> None:
    """Print the version."""
    print(_version())


def _recipe(
    path: Path | None,
    task: str | None,
    data: Sequence[str],
    valid: Sequence[str],
    test: Sequence[str],
    columns: Sequence[str],
    seed: int | None,
    overrides: Sequence[tuple[str, str | None]],
    base: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """The recipe that a file, or `base` over a task's defaults, and the options over it describe."""
    from unrolled.config import apply_overrides
    from unrolled.tasks import TASKS
    from unrolled.training.recipe import Recipe, recipe_from_toml

    if path is not None and task is not None:
        raise ConfigError("both a recipe and --task; the recipe names its task")
    for file in (*data, *valid, *test, *columns):
        if file.endswith(".toml"):
            raise ConfigError(f"{file} is taken for data; a recipe stands before the options")
    dotted = {name for name, _ in overrides}
    given: list[tuple[str, str | None]] = []
    options = {"data": ("train", data), "valid": ("valid", valid), "test": ("test", test)}
    for option, (key, values) in {**options, "columns": ("columns", columns)}.items():
        if values and f"data.{key}" in dotted:
            raise ConfigError(f"--{option} and --data.{key} say the same; give one of them")
        given += [(f"data.{key}", value) for value in values]
    if task is not None:
        given.append(("task", task))
    if seed is not None:
        given.append(("seed", str(seed)))
    given += overrides
    if path is not None:
        return recipe_from_toml(path, TASKS, given)
    return Recipe.from_mapping(apply_overrides(base, given), TASKS)


def _to_start_from(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that starts from another takes over: all but its data, text and training."""
    base = {key: config[key] for key in ("task", "model", "decoding")}
    # How running text is read belongs to what its model has learned, and so do labels.
    of_text = ("documents", "separator", "suffixes", "n_rows", "k1", "k2", "restart")
    kept = (*of_text, "label_separator", "averaged", "keep", "scheme")
    reading = {key: config["data"][key] for key in kept if key in config["data"]}
    return base | ({"data": reading} if reading else {})


def _decoding(
    decoding: DecodingConfig, overrides: Sequence[tuple[str, str | None]]
) -> DecodingConfig:
    """The run's decoding options with those of the command line over them."""
    from unrolled.config import apply_overrides, from_mapping, to_mapping

    for name, _ in overrides:
        if not name.startswith("decoding."):
            raise ConfigError(f"--{name}: a trained run takes only --decoding.… settings")
    mapping = apply_overrides({"decoding": to_mapping(decoding)}, overrides)
    return from_mapping(type(decoding), mapping["decoding"], "decoding")


if __name__ == "__main__":
    sys.exit(main())
