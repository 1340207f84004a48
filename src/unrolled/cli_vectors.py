"""`unrolled vectors train`: word vectors from a text of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

    from unrolled.vectors.events import VectorsEvent

_LOG_EVERY_N_SECONDS = 10.0


def train(
    *corpus: str,
    out: Path | None = None,
    size: int = 100,
    tokens: Literal["space", "word"] = "space",
    lowercase: bool = False,
    tokenizer: Path | None = None,
    borders: Literal["line", "document", "none"] = "line",
    documents: Literal["file", "line", "paragraph", "separator"] = "file",
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
    cluster: str | None = None,
    counts: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Train word vectors on a text (GloVe).

    Args:
        corpus: files, folders and patterns; `.gz` files are unpacked. On a cluster, also URLs.
        out: folder to make; by default vectors/ and the name of the text.
        size: numbers of a vector.
        tokens: words are what stands between white space, or words and punctuation marks apart.
        lowercase: fold upper case away.
        tokenizer: tokenizer.json of a run, to split words as it does.
        borders: what no window reaches over the end of.
        documents: what a document is, where borders are theirs.
        separator: the line between documents.
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
        memory: what all of it may take, e.g. 512MB; the rest goes to the disk.
        threads: 0 for all; the result is the same.
        cluster: address of a Dask scheduler to count on.
        counts: folder of vectors on whose counts to train again, without a text; of counting, all is as
            it was there.
        resume: go on with what was begun in the folder.
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

    from unrolled.text.corpus import CorpusConfig
    from unrolled.text.tokenizer import Tokenizer
    from unrolled.vectors.config import VectorsConfig
    from unrolled.vectors.loop import fit_vectors

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
    )
    text = CorpusConfig(
        train=corpus,
        suffixes=suffixes,
        documents=documents,
        separator=separator,
        on_invalid=on_invalid,
        encoding=encoding,
    )
    folder = out or Path("vectors") / Path(corpus[0]).name.split(".")[0]
    events = fit_vectors(
        config,
        text if counts is None else None,
        folder,
        tokenizer=None if tokenizer is None else Tokenizer.load(tokenizer),
        resume=resume,
        force=force,
        cluster=cluster,
        counts=counts,
    )
    _show(events, folder)


def _show(events: Generator[VectorsEvent, None, None], out: Path) -> None:
    """Run to the end: one living line at a terminal, a line now and then in a log."""
    import time
    from contextlib import ExitStack, closing

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from unrolled.cli_progress import first_interrupt_noted
    from unrolled.vectors.events import Counted, Read

    console = Console(soft_wrap=True, highlight=False)
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
                    console.print(_line_of(event), markup=False)
                elif time.monotonic() >= next_log:
                    next_log = time.monotonic() + _LOG_EVERY_N_SECONDS
                    console.print(_line_of(event), markup=False)
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
    from unrolled.cli_progress import duration
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
