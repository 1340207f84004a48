"""From a text to word vectors, as a generator of events.

    for event in fit_vectors(VectorsConfig(size=100), "talk.txt", "vectors/talk"):
        print(event)

Whoever reads the events decides when to stop. Killed anywhere, or closed, the folder goes on with
`resume=True`: from the last part of the text that was read, the last chunk that was counted, the last
epoch that was saved; and ends in the same bits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal

from unrolled import config as settings
from unrolled import documents, storage
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.quoting import brief
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors import memory
from unrolled.vectors.config import CHANGEABLE, OF_TRAINING, VectorsConfig
from unrolled.vectors.count_stage import CountingRun
from unrolled.vectors.counting import text_shards
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.events import Epoch, Finished, VectorsEvent
from unrolled.vectors.formats.safetensors import CONFIG_FILE
from unrolled.vectors.kernels import native, reference
from unrolled.vectors.reuse_counts import EarlierCounts
from unrolled.vectors.run_state import HOLDS, RECORD_FILE, WORK, Job, Record, is_vectors
from unrolled.vectors.stdin_spool import Spool
from unrolled.vectors.train_stage import TrainingRun

Implementation = Literal["native", "plain"]


def train_vectors(
    config: VectorsConfig,
    corpus: text_shards.CorpusLike | None,
    out: str | os.PathLike[str],
    **options: Any,
) -> Finished:
    """Train to the end. The arguments and errors are those of `fit_vectors`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("ice is cold\\nsteam is hot\\n" * 9)
    >>> config = VectorsConfig(size=5, min_count=1, epochs=2)
    >>> train_vectors(config, folder / "a.txt", folder / "vectors").n_words
    5

    Again on the same counts:

    >>> config = VectorsConfig(size=3, epochs=4)
    >>> train_vectors(config, None, folder / "smaller", counts=folder / "vectors").size
    3
    """
    *_, end = fit_vectors(config, corpus, out, **options)
    assert isinstance(end, Finished)
    return end


def fit_vectors(
    config: VectorsConfig,
    corpus: text_shards.CorpusLike | None,
    out: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None = None,
    resume: bool = False,
    force: bool = False,
    cluster: Any = None,
    implementation: Implementation | None = None,
    counts: str | os.PathLike[str] | None = None,
    standard_input: BinaryIO | None = None,
) -> Generator[VectorsEvent, None, None]:
    """Read, count and train, and report what happens.

    Events come in this order: `Read`, `VocabularyMade`, `Counted`, `Epoch`, `Finished`; without the first
    three where there are counts already.
    What can be checked at once is checked in the call; the rest happens as the events are read.

    Args:
        config: what to count and how to train.
        corpus: files, folders and patterns, or a `CorpusConfig` that says more of them; all of its
            `train` is read, and where `config.borders` are its documents', they are as it says. None
            where `counts` are given.
        out: the folder to make, or to go on with; see `unrolled.vectors` for what it holds. One
            process at a time writes it.
        tokenizer: splits and folds instead of `config.tokens` and `config.lowercase`; of kind `word` or
            `space`.
        resume: go on with what was begun in `out`, if anything was, else start.
        force: replace the vectors in `out`; refused where the folder holds anything else.
        cluster: a `distributed.Client`, or the address of a scheduler, to read and count on; the text
            may then be anything that fsspec opens. The counts are the same.
        implementation: `native` or `plain` (NumPy, slow, and in more memory than `config.memory`); by
            default the first that there is.
        counts: a folder of vectors on whose counts to train again. What `config` says of counting is
            theirs, or left at its default. What goes on and has them already needs the folder no more.
        standard_input: what `-` among the files of `corpus` is read from, once.

    Raises:
        ConfigError: a setting cannot be, or differs from that of the vectors to go on with, or of the
            counts; or memory is too little, and then what was done so far stays.
        DataError: a file cannot be read as asked, or holds too little.
        RunError: something is in the way at `out` or damaged, another process writes there, or the disk
            is full.
        NonFiniteError: a number is not finite; the word or the pair of words is named.
        UnavailableError: there is no cluster to be had, or what is needed to use one.
    """
    out = Path(os.path.realpath(out))  # whoever writes it by another name takes the same lock
    if resume and force:
        raise ConfigError("--resume goes on with what is there; leave out --force")
    earlier = None
    if counts is not None:
        others = {"corpus": corpus, "tokenizer": tokenizer, "cluster": cluster}
        if excluded := [name for name, value in others.items() if value is not None]:
            raise ConfigError(
                f"--counts reuses existing counts and cannot be combined with a {excluded[0]}"
            )
        folder = Path(os.path.abspath(counts))
        if Path(os.path.realpath(folder)) == out:
            raise ConfigError(f"{out} holds the counts to train on; choose another name (--out)")
        has_them = resume and _has_counts_of(folder, out)
        earlier = EarlierCounts.open(out if has_them else folder)
        config, corpus = earlier.configured(config), earlier.corpus
    elif corpus is None:
        raise ConfigError("no text given; name files and folders, or counts to train on")
    given, spool = Spool.of(text_shards.as_corpus(corpus), out, standard_input)
    if spool is not None and cluster is not None:
        raise ConfigError(
            "standard input is read on this machine, not on a cluster; give files or URLs, or remove "
            "--cluster"
        )
    splitter = text_shards.Splitter(config, tokenizer)
    if tokenizer is not None and (config.tokens != "space" or config.lowercase):
        raise ConfigError("the tokenizer says what a word is; leave out tokens and lowercase")
    memory.work_of(config)
    with storage.locked(out):
        _goes_on(config, out, resume, force)
    module = implementation_named(implementation)
    remote = None if cluster is None else _on_cluster(cluster)
    if earlier is not None:
        text = earlier.record.tokenizer
    else:
        text = hashlib.sha256(tokenizer.inner.to_str().encode()).hexdigest() if tokenizer else ""
    job = Job(config, given, out, splitter, module, remote, text)
    return _events(job, earlier, resume, force, spool)


def _events(
    job: Job,
    earlier: EarlierCounts | None,
    resume: bool,
    force: bool,
    spool: Spool | None,
) -> Generator[VectorsEvent, None, None]:
    with storage.locked(job.out) as lock:
        # Once more, now that nobody else can change it.
        goes_on = _goes_on(job.config, job.out, resume, force)
        with nullcontext() if spool is None else spool.filled(resume):
            for event in _Run(job, earlier, lock).events(goes_on):
                if spool is not None and isinstance(event, Epoch):
                    spool.remove()
                yield event


def implementation_named(name: Implementation | None) -> ModuleType:
    """The module that counts and trains.

    Raises:
        ConfigError: there are no kernels here, and they are asked for by name.
    """
    if name == "plain":
        return reference
    reason = native.why_not()
    if reason is None:
        return native
    if name == "native":
        raise ConfigError(f"the native kernels cannot run: {reason}")
    return reference


def _on_cluster(cluster: Any) -> Any:
    from unrolled.vectors.counting import cluster as scale

    return scale.Cluster(cluster)


def _goes_on(config: VectorsConfig, out: Path, resume: bool, force: bool) -> bool:
    """Whether there is something to go on with; refuses what is in the way."""
    if resume and os.path.lexists(out / CONFIG_FILE):
        _check_same(config, out)
        return True
    _check_free(out, force)
    return False


def _check_free(out: Path, force: bool) -> None:
    aside = storage.replaced(out)
    if os.path.lexists(aside):
        _require_no_foreign(aside)
    if is_vectors(out):
        if not force:
            raise RunError(
                f"{out} already holds vectors; go on with them (--resume), replace them (--force), or "
                "choose another name (--out)"
            )
        _require_no_foreign(out)
    elif os.path.lexists(out) and not _is_empty(out):
        raise RunError(
            f"{out} exists and holds no vectors, so it is left alone; choose another name (--out)"
        )


def _require_no_foreign(folder: Path) -> None:
    """Refuse to remove a folder that holds something else than vectors."""
    is_folder = folder.is_dir() and not storage.is_link(folder)
    foreign = storage.first_foreign(folder, HOLDS) if is_folder else folder
    if foreign is not None:
        raise RunError(
            f"{foreign} does not belong to the vectors in {folder}, which would be removed with all it "
            "holds; move it elsewhere, or choose another name (--out)"
        )


def _is_empty(out: Path) -> bool:
    """Whether it is a folder of nothing; a start that was killed may have left half a configuration."""
    left = {storage.partial(out / CONFIG_FILE).name}
    return out.is_dir() and {path.name for path in out.iterdir()} <= left


def _is_within(name: str | Path, folder: Path) -> bool:
    """Whether a file of the text, which may be a URL, is in a folder of this machine."""
    local = str(name).removeprefix("file://")
    return "://" not in local and Path(os.path.realpath(local)).is_relative_to(folder)


def _check_same(config: VectorsConfig, out: Path) -> None:
    path = out / CONFIG_FILE
    try:
        before = documents.read_toml(path)
    except documents.DocumentError as error:
        raise RunError(f"{path}: damaged ({error.problem}); train again (--force)") from None
    changeable = CHANGEABLE
    if not Record.load(out / RECORD_FILE).losses:
        changeable |= OF_TRAINING
    for name, value in settings.to_mapping(config).items():
        if name not in changeable and before.get(name) != value:
            raise ConfigError(
                f"vectors.{name} is {value}, but {out} was begun with {brief(before.get(name))}; leave "
                "it as it was, or choose another name (--out)"
            )


class _Run:
    """One folder on its way from text to vectors."""

    def __init__(self, job: Job, earlier: EarlierCounts | None, lock: storage.Lock) -> None:
        self._job, self._earlier, self._lock = job, earlier, lock
        self._aside = storage.replaced(job.out)
        self._is_new = self._was_there = False

    def events(self, goes_on: bool) -> Iterator[VectorsEvent]:
        job = self._job
        try:
            self._begin(goes_on)
            if job.record.is_counted and not job.record.is_finished:
                Counts.open(job.counts).require_whole()
            if self._earlier is not None and not job.record.is_counted:
                self._earlier.adopt(job)
                job.save_record()
            if not job.record.is_counted:
                yield from CountingRun(job).events()
        except memory.TooLittleMemory:
            raise
        except (DataError, ConfigError):
            if self._is_new:  # nothing in it is worth going on with
                self._take_back()
            raise
        with storage.writing(self._aside):
            storage.remove(self._aside, HOLDS)
        if not job.record.is_finished:
            yield from TrainingRun(job).events()
        with storage.writing(job.work):
            storage.remove(job.work, WORK)
        n_words, record = Counts.open(job.counts).n_words, job.record
        yield Finished(job.out, n_words, job.config.size, record.losses[-1], record.seconds)

    def _begin(self, goes_on: bool) -> None:
        job = self._job
        if goes_on:
            for folder in (job.work, job.counts):
                storage.require_own_folder(folder)
            job.record = self._going_on()
            with storage.writing(job.work):
                storage.make_folder(job.work)
            job.save_config()
            if not job.record.is_finished:
                job.begin_session()
                job.save_record()  # a kill may have come before there was one
            return
        record = self._record_of_text()
        with storage.writing(job.out):
            self._make_room()
            self._is_new = True
            storage.make_folder(job.out)
            self._lock.hold(job.out)
            job.save_config()
            storage.new_folder(job.work)
            job.record = record
            job.begin_session()
            job.save_record()

    def _make_room(self) -> None:
        """Put what is replaced aside; it is kept until there are counts to take its place."""
        out = self._job.out
        self._was_there = out.exists()
        if not self._was_there or _is_empty(out):
            return
        if self._aside.exists() and not _is_counted(out):
            storage.remove_in(out, HOLDS)  # it never took the place of what is aside
            return
        storage.remove(self._aside, HOLDS)
        os.replace(out, self._aside)
        storage.flush_folder(out.parent)

    def _take_back(self) -> None:
        """As it was before this start, or before an earlier one that was to replace it."""
        out = self._job.out
        with suppress(OSError):  # a refusal is on its way, and is more to the point
            storage.remove_in(out, HOLDS)
            if self._aside.exists():
                out.rmdir()
                os.replace(self._aside, out)
            elif not self._was_there:
                out.rmdir()

    def _record_of_text(self) -> Record:
        job, corpus = self._job, settings.to_mapping(self._job.corpus)
        if self._earlier is not None:
            files, counted_in = self._earlier.record.files, str(self._earlier.folder)
            return Record(corpus, files, job.tokenizer, counted_in)
        find = text_shards.files_of if job.cluster is None else job.cluster.files_of
        stamp = text_shards.stamps if job.cluster is None else job.cluster.stamps
        # What is written here is no text, whether it is there already or not.
        job.files = [each for each in find(job.corpus) if not _is_within(each, job.out)]
        if not job.files:
            raise DataError(
                "the vectors go here, so that its files are no text; give others, or choose another name "
                "(--out)",
                job.out,
            )
        return Record(corpus, stamp(job.files), job.tokenizer)

    def _going_on(self) -> Record:
        job = self._job
        old = Record.load(job.out / RECORD_FILE)
        if not old.files:  # killed before there was a record
            return self._record_of_text()
        if old.corpus != settings.to_mapping(job.corpus) or old.tokenizer != job.tokenizer:
            raise ConfigError(
                f"the text is to be read otherwise than {job.out} was begun with; name the same files "
                "and settings, or choose another name (--out)"
            )
        done = len(old.losses)
        if old.is_finished and job.config.epochs != done:
            raise RunError(
                f"{job.out} is finished after {done} epochs, and AdaGrad's sums are not kept; train "
                "again (--force), or anew on its counts (--counts)"
            )
        if job.config.epochs < done:
            raise ConfigError(
                f"vectors.epochs is {job.config.epochs}, but {job.out} has {done} epochs behind it; "
                "give as many at least, or choose another name (--out)"
            )
        if not old.is_counted:  # afterwards the text is not needed
            _check_files(job.out, old, self._record_of_text())
        return old


def _has_counts_of(folder: Path, out: Path) -> bool:
    """Whether the counts were taken over from there, all of them."""
    record = Record.load(out / RECORD_FILE)
    return record.is_counted and record.counted_in == str(folder)


def _is_counted(out: Path) -> bool:
    try:
        return Record.load(out / RECORD_FILE).is_counted
    except RunError:  # damaged
        return False


def _check_files(out: Path, old: Record, new: Record) -> None:
    if old.counted_in != new.counted_in:
        given = [f"the counts of {each.counted_in or 'no folder'}" for each in (old, new)]
        raise RunError(
            f"{out} was begun with {given[0]}, but {given[1]} are given; give the same, or choose "
            "another name (--out)"
        )
    for before, now in zip(old.files, new.files, strict=False):
        if before != now:
            raise RunError(
                f"{now[0]} is not the text that {out} was begun with: its name, size or time of "
                "change differ; give the same files, or choose another name (--out)"
            )
    if len(old.files) != len(new.files):
        n_old, n_new = len(old.files), len(new.files)
        raise RunError(
            f"{out} was begun with {n_old} files, but {n_new} are given; give the same, or choose "
            "another name (--out)"
        )
