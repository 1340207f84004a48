"""`unrolled vectors train`: GloVe vectors from a corpus."""

from __future__ import annotations

import sys
from collections.abc import Container
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unrolled.cli.app import vectors
from unrolled.cli.options import default_out, settings_as_options
from unrolled.config import Documents, OnInvalid
from unrolled.errors import ConfigError
from unrolled.quoting import shell_command
from unrolled.vectors.config import Borders, Tokens, VectorsConfig, Weighting

_DEFAULT = VectorsConfig()
_CORPUS_OPTIONS = ("documents", "separator", "suffixes", "on_invalid", "encoding")
_LOG_EVERY_N_SECONDS = 5.0


@vectors.command(usage="Usage: unrolled vectors train [OPTIONS] [CORPUS...]")
def train(
    *corpus: Annotated[str, Parameter(allow_leading_hyphen=True)],  # for - alone
    out: Path | None = None,
    size: int = _DEFAULT.size,
    tokens: Tokens = _DEFAULT.tokens,
    lowercase: bool = _DEFAULT.lowercase,
    tokenizer: Path | None = None,
    borders: Borders = _DEFAULT.borders,
    documents: Documents | None = None,
    separator: str = "",
    suffixes: tuple[str, ...] = (),
    on_invalid: OnInvalid | None = None,
    encoding: str | None = None,
    min_count: int = _DEFAULT.min_count,
    max_words: int = _DEFAULT.max_words,
    window: int = _DEFAULT.window,
    left_only: Annotated[bool, Parameter(negative=())] = not _DEFAULT.symmetric,
    weighting: Weighting = _DEFAULT.weighting,
    x_max: float = _DEFAULT.x_max,
    alpha: float = _DEFAULT.alpha,
    rate: float = _DEFAULT.rate,
    clip: float = _DEFAULT.clip,
    epochs: int = _DEFAULT.epochs,
    seed: int = _DEFAULT.seed,
    memory: str = _DEFAULT.memory,
    threads: int = _DEFAULT.threads,
    save_every_n_seconds: float = _DEFAULT.save_every_n_seconds,
    cluster: str | None = None,
    counts: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Train word vectors on a text with GloVe.

    Args:
        corpus: text files, folders or glob patterns; at least one, or --counts. Compressed files (.gz,
            .bz2, .xz) are read too; - is standard input. With --cluster, also URLs.
        out: output folder; by default vectors/NAME, the name of the first file or folder up to a dot.
        size: number of dimensions of a vector.
        tokens: how text is split into words: at white space (space; "don't," is one word), or into words
            and punctuation marks (word; "don't," becomes do, n't and a comma).
        lowercase: convert the text to lower case.
        tokenizer: tokenizer file of a run with text.kind word or space (RUN/tokenizer-….json), to split
            text as that run does; instead of --tokens and --lowercase.
        borders: where context windows stop: at the end of a line, at the end of a document, or nowhere
            (none).
        documents: with --borders document: what a document is; by default, each file.
        separator: with --documents separator: line that separates documents, exactly as it is in the
            text.
        suffixes: suffix of the files to read in folders, such as .txt; repeat the option for several. By
            default, all files are read.
        on_invalid: treatment of bytes that are invalid in the encoding: stop with an error, replace them
            by U+FFFD, or skip their line; by default error.
        encoding: encoding of the text; by default UTF-8.
        min_count: minimum number of occurrences of a word; rarer words are removed from the text before
            counting.
        max_words: maximum size of the vocabulary (the most frequent words); 0 for no limit.
        window: number of context words on each side.
        left_only: use only the words to the left as context.
        weighting: how much a context word at distance d adds to the co-occurrence count: 1/d (harmonic)
            or 1 (flat).
        x_max: x_max in GloVe's loss weighting f(x) = min(1, (x / x_max)^alpha), where x is a
            co-occurrence count.
        alpha: exponent alpha in the loss weighting; see --x-max.
        rate: learning rate.
        clip: clip every gradient component to [-CLIP, CLIP].
        epochs: number of passes over the co-occurrence counts.
        seed: random seed.
        memory: memory limit, e.g. 512MB; data that exceed it are stored on disk. With --cluster, the
            limit of one task on a worker.
        threads: number of threads; 0 for all. The number does not change the result.
        save_every_n_seconds: minimum time between checkpoints, in seconds; they are only written when an
            epoch ends (with 0, after every epoch).
        cluster: address of a Dask scheduler: read and count the text on that cluster.
        counts: folder written by 'unrolled vectors train': reuse its co-occurrence counts instead of
            reading CORPUS. The options for reading and counting cannot be changed then, and --out is
            required.
        resume: resume the training in the output folder; start a new one if the folder has none.
        force: replace the vectors in the output folder.
    """
    given = dict(locals())  # before any other local variable is set
    _refuse_unknown_options(corpus)
    parameters = signature(train).parameters
    changed = {name for name in given if given[name] != parameters[name].default}
    corpus_options = {name: given[name] for name in _CORPUS_OPTIONS if name in changed}
    _check_text(corpus, counts, out, borders, changed)
    folder = out or default_out(corpus[0], "vectors", "vectors")

    from unrolled.cli.progress import follow
    from unrolled.cli.screen import default_console
    from unrolled.cli.vectors_view import VectorsView
    from unrolled.text.corpus.config import CorpusConfig
    from unrolled.text.tokenizer import Tokenizer
    from unrolled.vectors.train import fit_vectors

    with settings_as_options(_options()):
        settings = {
            field.name: given[field.name]
            for field in fields(VectorsConfig)
            if field.init and field.name in given
        }
        events = fit_vectors(
            VectorsConfig(**settings, symmetric=not left_only),
            None if counts is not None else CorpusConfig(train=corpus, **corpus_options),
            folder,
            tokenizer=None if tokenizer is None else Tokenizer.load(tokenizer),
            resume=resume,
            force=force,
            cluster=cluster,
            counts=counts,
            standard_input=None if sys.stdin is None else sys.stdin.buffer,
        )
        follow(
            events,
            VectorsView(),
            console=default_console(),
            resume=(folder / "vectors.toml", _resume_command(folder)),
            log_every_n_seconds=_LOG_EVERY_N_SECONDS,
            first_log_after=_LOG_EVERY_N_SECONDS,
        )


def _check_text(
    corpus: tuple[str, ...],
    counts: Path | None,
    out: Path | None,
    borders: str,
    changed: Container[str],
) -> None:
    """Refuse a corpus together with counts, neither of them, and options that would have no effect.

    Args:
        corpus, counts, out, borders: arguments of `train`.
        changed: names of the arguments that differ from their defaults.
    """
    if counts is None and not corpus:
        raise ConfigError("no text given; run `unrolled vectors train FILE…` on files or folders")
    if counts is not None:
        if out is None:
            raise ConfigError("no output folder given; add --out FOLDER")
        if corpus:
            raise ConfigError(
                "--counts reuses existing counts and cannot be combined with a corpus"
            )
        for name in (*_CORPUS_OPTIONS, "tokenizer", "cluster"):
            if name in changed:
                raise ConfigError(
                    f"--{name.replace('_', '-')} applies to reading a text and has no effect with "
                    "--counts; remove it"
                )
    option = next((name for name in ("documents", "separator") if name in changed), None)
    if borders != "document" and option is not None:
        raise ConfigError(
            f"--{option} defines documents, but context windows end with --borders {borders}; remove it, "
            "or add --borders document"
        )


def _refuse_unknown_options(corpus: tuple[str, ...]) -> None:
    """Refuse an argument that starts with a hyphen, other than - alone, as a mistyped option."""
    from unrolled.errors import did_you_mean

    for name in corpus:
        if name.startswith("-") and name != "-":
            options = [f"--{each.replace('_', '-')}" for each in signature(train).parameters]
            raise ConfigError(
                f"unknown option {name}{did_you_mean(name.partition('=')[0], options)}"
            )


def _options() -> dict[str, str]:
    """Options of `train` by the names of the settings they set."""
    names = [("vectors", field.name) for field in fields(VectorsConfig)]
    names += [("data", name) for name in _CORPUS_OPTIONS]
    options = {f"{section}.{name}": f"--{name.replace('_', '-')}" for section, name in names}
    return options | {"vectors.symmetric": "symmetric (without --left-only)"}


def _resume_command(folder: Path) -> str:
    """The command of this process, with --resume and the output folder."""
    arguments = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
    names = {argument.partition("=")[0] for argument in arguments}
    out = [] if "--out" in names else ["--out", folder]
    return shell_command("unrolled", *arguments, *out, "--resume")
