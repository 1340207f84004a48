"""`unrolled vectors train`: word vectors from a text of one's own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unrolled.cli.app import vectors
from unrolled.cli.options import default_out, settings_as_options, standard_input
from unrolled.errors import ConfigError, RunError
from unrolled.quoting import escape

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from unrolled.vectors.events import VectorsEvent

_LOG_EVERY_N_SECONDS = 10.0
_STANDARD_INPUT = "-"
_OF_TEXT = ("documents", "separator", "suffixes", "on_invalid", "encoding")


@vectors.command
def train(
    *corpus: Annotated[str, Parameter(allow_leading_hyphen=True)],  # for - alone
    out: Path | None = None,
    size: int = 100,
    tokens: Literal["space", "word"] = "space",
    lowercase: bool = False,
    tokenizer: Path | None = None,
    borders: Literal["line", "document", "none"] = "line",
    documents: Literal["file", "line", "paragraph", "separator"] | None = None,
    separator: str = "",
    suffixes: tuple[str, ...] = (),
    on_invalid: Literal["error", "replace", "skip"] = "error",
    encoding: str = "utf-8",
    min_count: int = 5,
    max_words: int = 0,
    window: int = 10,
    left_only: Annotated[bool, Parameter(negative=())] = False,
    weighting: Literal["harmonic", "flat"] = "harmonic",
    x_max: float = 100.0,
    alpha: float = 0.75,
    rate: float = 0.05,
    clip: float = 100.0,
    epochs: int = 25,
    seed: int = 1,
    memory: str = "4GB",
    threads: int = 0,
    save_every_n_seconds: float = 10.0,
    cluster: str | None = None,
    counts: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Train word vectors on a text (GloVe).

    Args:
        corpus: files, folders and patterns; `.gz`, `.bz2` and `.xz` files are unpacked; - is standard
            input. On a cluster, also URLs of files, folders and patterns.
        out: folder to make; by default vectors/ and the name of the text.
        size: numbers of a vector.
        tokens: what a word is: whatever stands between white space (space; "don't," is one), or words and
            punctuation marks apart (word; it is do, n't and a comma).
        lowercase: fold upper case away.
        tokenizer: tokenizer.json of a run, to split words as it does.
        borders: what no window reaches over the end of.
        documents: with --borders document, what a document is; by default a file.
        separator: with --documents separator, the line between documents.
        suffixes: of folders, only files with these suffixes.
        on_invalid: what becomes of bytes that are not in the encoding.
        encoding: of all files.
        min_count: words seen less often are left out.
        max_words: the most words to keep; 0 for all.
        window: words to each side that are context.
        left_only: only words to the left are context.
        weighting: a word at distance d counts 1/d, or 1.
        x_max: counts from here on weigh as much as any.
        alpha: exponent of smaller counts' weights.
        rate: learning rate.
        clip: largest size of one number of a gradient.
        epochs: passes over the counts.
        seed: start of every random choice.
        memory: what all of it may take, e.g. 512MB; the rest goes to the disk. On a cluster, what one
            task on a worker may take.
        threads: 0 for all; the result is the same.
        save_every_n_seconds: an epoch's end is saved when so much time has gone by since the last was; 0
            saves every epoch.
        cluster: address of a Dask scheduler to count on.
        counts: folder of vectors on whose counts to train again, without a text; of counting, all is as
            it was there.
        resume: go on with what was begun in the folder; where nothing was, start.
        force: replace what is in the folder.
    """
    if not corpus and counts is None:
        raise ConfigError(
            "no text given; `unrolled vectors train FILE…` trains on files and folders"
        )
    if counts is not None and out is None:
        raise ConfigError("no folder for the new vectors given; name one (--out)")
    if counts is not None and corpus:
        raise ConfigError("counts are of a text already; leave out the text, or --counts")
    if counts is not None:
        given = (documents, separator, suffixes, on_invalid, encoding)
        _refuse_text_options(dict(zip(_OF_TEXT, given, strict=True)))
    _refuse_unknown_options(corpus)
    if borders != "document" and (documents is not None or separator):
        option = "--documents" if documents is not None else "--separator"
        raise ConfigError(
            f"{option} says what a document is, but windows end with --borders {borders}; leave it out, "
            "or add --borders document"
        )
    folder = out or default_out(corpus[0], "vectors", "vectors")
    spool = _spool_of(folder) if _STANDARD_INPUT in corpus else None
    if spool is not None and cluster is not None:
        raise ConfigError(
            "standard input is read here, not on a cluster; give files or URLs, or leave out --cluster"
        )

    from unrolled.text.corpus.corpus import CorpusConfig
    from unrolled.text.tokenizer import Tokenizer
    from unrolled.vectors.config import VectorsConfig
    from unrolled.vectors.train import fit_vectors

    with settings_as_options(_options()):
        config = VectorsConfig(
            size=size,
            tokens=tokens,
            lowercase=lowercase,
            borders=borders,
            min_count=min_count,
            max_words=max_words,
            window=window,
            symmetric=not left_only,
            weighting=weighting,
            x_max=x_max,
            alpha=alpha,
            rate=rate,
            clip=clip,
            epochs=epochs,
            seed=seed,
            memory=memory,
            threads=threads,
            save_every_n_seconds=save_every_n_seconds,
        )
        text = CorpusConfig(
            train=tuple(str(spool) if name == _STANDARD_INPUT else name for name in corpus),
            suffixes=suffixes,
            documents=documents or "file",
            separator=separator,
            on_invalid=on_invalid,
            encoding=encoding,
        )
        events = fit_vectors(
            config,
            text if counts is None else None,
            folder,
            tokenizer=None if tokenizer is None else Tokenizer.load(tokenizer),
            resume=resume,
            force=force,
            cluster=cluster,
            counts=counts,
            provided=None if spool is None else _standard_input_kept(spool, folder, resume),
        )
        if spool is not None:
            events = _until_counted(events, spool)
        _show(events, folder)


def _refuse_unknown_options(corpus: tuple[str, ...]) -> None:
    """What begins with a hyphen and is not standard input was meant for an option."""
    from inspect import signature

    from unrolled.errors import did_you_mean

    for name in corpus:
        if name.startswith("-") and name != _STANDARD_INPUT:
            options = [f"--{each.replace('_', '-')}" for each in signature(train).parameters]
            raise ConfigError(
                f"unknown option {name}{did_you_mean(name.partition('=')[0], options)}"
            )


def _refuse_text_options(given: dict[str, object]) -> None:
    """Options that say how a text is read have no use where none is."""
    from inspect import signature

    usual = signature(train).parameters
    for name, value in given.items():
        if value != usual[name].default:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{option} says how a text is read, but counts are of a text already; leave it out"
            )


def _options() -> dict[str, str]:
    """The options of `train` by the names of their settings."""
    from dataclasses import fields

    from unrolled.vectors.config import VectorsConfig

    names = [("vectors", field.name) for field in fields(VectorsConfig)]
    names += [("data", name) for name in _OF_TEXT]
    options = {f"{section}.{name}": f"--{name.replace('_', '-')}" for section, name in names}
    return options | {"vectors.symmetric": "symmetric (without --left-only)"}


# Standard input is read once, but a run that goes on may have to read its text again


def _spool_of(folder: Path) -> Path:
    """Where standard input is kept until it is counted: beside the folder, by a name that stays."""
    folder = Path(os.path.realpath(folder))
    return folder.with_name(f".{folder.name}.standard-input")


@contextmanager
def _standard_input_kept(spool: Path, folder: Path, resume: bool) -> Iterator[None]:
    """Standard input is on the disk, unless it is counted; afterwards only if it will be read again.

    Entered while nobody else can write the folder.
    """
    import shutil

    from unrolled import storage
    from unrolled.vectors.run_state import RECORD_FILE, Record

    is_counted = resume and Record.load(folder / RECORD_FILE).is_counted
    if not is_counted and not (resume and _is_to_be_read(spool, folder)):
        with _interrupted_at_once(), storage.replacing(spool, "try again") as stream:
            shutil.copyfileobj(standard_input(), stream, 1 << 20)
    try:
        yield
    finally:
        if not _is_to_be_read(spool, folder):
            spool.unlink(missing_ok=True)


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """The first Ctrl-C is a `KeyboardInterrupt`, for whoever waits at a terminal may wait for ever."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_to_be_read(spool: Path, folder: Path) -> bool:
    """Whether what was begun in the folder goes on with just this file."""
    from unrolled.vectors.counting import text_shards
    from unrolled.vectors.run_state import RECORD_FILE, Record

    try:
        record = Record.load(folder / RECORD_FILE)
    except RunError:  # it is damaged, and nothing goes on
        return False
    return not record.is_counted and text_shards.stamps([spool])[0] in record.files


def _until_counted(
    events: Generator[VectorsEvent, None, None], spool: Path
) -> Generator[VectorsEvent, None, None]:
    """The events; training needs no text, and may take long, so that there is room on the disk again."""
    from unrolled.vectors.events import Epoch

    try:
        for event in events:
            if isinstance(event, Epoch):
                spool.unlink(missing_ok=True)
            yield event
    finally:
        events.close()


def _show(events: Generator[VectorsEvent, None, None], out: Path) -> None:
    """Run to the end: one living line at a terminal, a line now and then in a log."""
    import time
    from contextlib import ExitStack, closing

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from unrolled.cli.progress import first_interrupt_noted
    from unrolled.vectors.events import Counted, Read

    console = Console(soft_wrap=True, highlight=False, emoji=False)
    next_log = time.monotonic() + _LOG_EVERY_N_SECONDS
    try:
        with ExitStack() as stack:
            live = None
            if console.is_terminal:
                live = stack.enter_context(Live(console=console, transient=True))
            stack.enter_context(closing(events))
            interrupted = stack.enter_context(first_interrupt_noted())
            for event in events:
                passing = isinstance(event, Read | Counted)
                if passing and live is not None:
                    live.update(Text(_line_of(event), overflow="ellipsis", no_wrap=True))
                elif not passing:
                    console.print(escape(_line_of(event)), markup=False)
                elif time.monotonic() >= next_log:
                    next_log = time.monotonic() + _LOG_EVERY_N_SECONDS
                    console.print(escape(_line_of(event)), markup=False)
                if interrupted.is_set():
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if (out / "vectors.toml").exists():
            console.print(
                f"the same command with --resume --out {out} goes on from here", markup=False
            )
        raise


def _line_of(event: VectorsEvent) -> str:
    """An event in one line."""
    from unrolled.cli.progress import duration
    from unrolled.vectors.events import Counted, Epoch, Finished, Read, VocabularyMade

    match event:
        case Read():
            parts = [
                f"read {event.n_tokens:,} words",
                f"{event.tokens_per_second:,.0f} words/s",
                f"{event.fraction_done:.0%}",
            ]
        case VocabularyMade():
            share = event.n_kept / max(1, event.n_tokens)
            parts = [
                f"{event.n_tokens:,} words, {event.n_different:,} different",
                f"vocabulary {event.n_words:,}, which is {share:.1%} of the text",
            ]
        case Counted():
            parts = [
                f"counted {event.n_tokens:,} words",
                f"{event.n_nonzeros:,} pairs",
                f"{event.tokens_per_second:,.0f} words/s",
                f"{event.fraction_done:.0%}",
            ]
        case Epoch():
            parts = [
                f"epoch {event.epoch} of {event.n_epochs}",
                f"loss {event.loss:.6f}",
                f"{event.seconds:.2f} s",
                f"{event.pairs_per_second / 1e6:.1f} M pairs/s",
                f"{duration(event.eta_seconds)} left",
            ]
        case Finished():
            parts = [
                f"{event.folder}: {event.n_words:,} vectors of {event.size}",
                f"loss {event.loss:.6f}",
                duration(event.seconds),
            ]
    return " · ".join(parts)
