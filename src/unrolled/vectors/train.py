"""Train word vectors on a corpus; a generator of training events.

    for event in fit_vectors(VectorsConfig(size=100), "talk.txt", "vectors/talk"):
        print(event)

The caller can stop at any time. After a kill at any point, or after the generator is closed,
`resume=True` continues from the last part of the text that was read, the last chunk that was counted or
the last epoch that was saved. The result is the same, bit for bit.
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
from unrolled.wording import count_of

Implementation = Literal["native", "plain"]


def train_vectors(
    config: VectorsConfig,
    corpus: text_shards.CorpusLike | None,
    out: str | os.PathLike[str],
    **options: Any,
) -> Finished:
    """Train word vectors to the end. Arguments and errors are those of `fit_vectors`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("ice is cold\\nsteam is hot\\n" * 9)
    >>> config = VectorsConfig(size=5, min_count=1, epochs=2)
    >>> train_vectors(config, folder / "a.txt", folder / "vectors").n_words
    5

    Train again on the same counts:

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
    """Read and count a corpus, train word vectors, and yield events.

    Events come in this order: `Read`, `VocabularyMade`, `Counted`, `Epoch`, `Finished`; without the first
    three if the counts exist already.
    Arguments are checked in the call; reading and training happen as the events are consumed.

    Args:
        config: counting and training settings.
        corpus: files, folders and patterns, or a `CorpusConfig` with more settings. All files of its
            `train` are read; if `config.borders` is `document`, it defines what a document is. None
            with `counts`.
        out: the output folder, new or to be resumed; see `unrolled.vectors` for its files. Only one
            process at a time can write it.
        tokenizer: splits and lower-cases instead of `config.tokens` and `config.lowercase`; of kind
            `word` or `space`.
        resume: resume the training in `out`, or start it if there is none.
        force: replace the vectors in `out`; an error if the folder holds anything else.
        cluster: a `distributed.Client`, or the address of a scheduler, to read and count on; the corpus
            may then be anything that fsspec opens. The counts are the same.
        implementation: `native` or `plain` (NumPy; slow, and not limited to `config.memory`); by default
            `native` if it is available.
        counts: a folder of vectors whose counts to train on again. Counting settings of `config` must be
            equal to theirs or left at their defaults. A resumed run that has taken over the counts no
            longer needs the folder.
        standard_input: the stream that is read, once, for `-` in `corpus`.

    Raises:
        ConfigError: a setting is invalid, or differs from that of the vectors to be resumed or of the
            counts; or the memory limit is too low (then everything done so far is kept).
        DataError: a file cannot be read as specified, or the text is too short.
        RunError: `out` is occupied or damaged, another process writes there, or the disk is full.
        NonFiniteError: a number is not finite; the message names the word or the pair of words.
        UnavailableError: the cluster, or a package that it needs, is not available.
    """
    out = Path(os.path.realpath(out))  # a process that uses another name for it takes the same lock
    if resume and force:
        raise ConfigError("--resume and --force cannot be combined; use one of them")
    earlier = None
    if counts is not None:
        others = {"corpus": corpus, "tokenizer": tokenizer, "cluster": cluster}
        if excluded := [name for name, value in others.items() if value is not None]:
            raise ConfigError(
                f"--counts reuses existing counts and cannot be combined with a {excluded[0]}"
            )
        folder = Path(os.path.abspath(counts))
        if Path(os.path.realpath(folder)) == out:
            raise ConfigError(
                f"{out} is both the output folder and the folder of the counts; choose another output "
                "folder (--out)"
            )
        has_them = resume and _has_counts_of(folder, out)
        earlier = EarlierCounts.open(out if has_them else folder)
        config, corpus = earlier.configured(config), earlier.corpus
    elif corpus is None:
        raise ConfigError("no corpus given; name files or folders, or existing counts (--counts)")
    given, spool = Spool.of(text_shards.as_corpus(corpus), out, standard_input)
    if spool is not None and cluster is not None:
        raise ConfigError(
            "standard input (-) cannot be read on a cluster; give files or URLs, or remove --cluster"
        )
    splitter = text_shards.Splitter(config, tokenizer)
    if tokenizer is not None and (config.tokens != "space" or config.lowercase):
        raise ConfigError(
            "a tokenizer cannot be combined with tokens or lowercase; leave those out"
        )
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
        # Check again, now that no other process can change the folder.
        goes_on = _goes_on(job.config, job.out, resume, force)
        with nullcontext() if spool is None else spool.filled(resume):
            for event in _Run(job, earlier, lock).events(goes_on):
                if spool is not None and isinstance(event, Epoch):
                    spool.remove()
                yield event


def implementation_named(name: Implementation | None) -> ModuleType:
    """The module with the counting and training functions.

    Raises:
        ConfigError: `native` is requested, but the kernels are not available.
    """
    if name == "plain":
        return reference
    reason = native.why_not()
    if reason is None:
        return native
    if name == "native":
        raise ConfigError(f"the native kernels are not available: {reason}")
    return reference


def _on_cluster(cluster: Any) -> Any:
    from unrolled.vectors.counting import cluster as scale

    return scale.Cluster(cluster)


def _goes_on(config: VectorsConfig, out: Path, resume: bool, force: bool) -> bool:
    """Whether there is a run to resume; an error if `out` is occupied by something else."""
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
                f"{out} already contains vectors; resume their training (--resume), replace them "
                "(--force), or choose another output folder (--out)"
            )
        _require_no_foreign(out)
    elif os.path.lexists(out) and not _is_empty(out):
        raise RunError(
            f"{out} exists, but it is not a folder of vectors; choose another output folder (--out)"
        )


def _require_no_foreign(folder: Path) -> None:
    """Refuse to remove a folder that contains anything but vectors."""
    is_folder = folder.is_dir() and not storage.is_link(folder)
    foreign = storage.first_foreign(folder, HOLDS) if is_folder else folder
    if foreign is not None:
        raise RunError(
            f"{foreign} does not belong to the vectors in {folder}, and would be removed with them; move "
            "it elsewhere, or choose another output folder (--out)"
        )


def _is_empty(out: Path) -> bool:
    """Whether it is an empty folder; a killed start may have left a partial configuration."""
    left = {storage.partial(out / CONFIG_FILE).name}
    return out.is_dir() and {path.name for path in out.iterdir()} <= left


def _is_within(name: str | Path, folder: Path) -> bool:
    """Whether a file of the corpus, which may be a URL, is in a folder on this machine."""
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
                f"vectors.{name} is {value}, but {out} was started with {brief(before.get(name))}; use "
                "that value, or choose another output folder (--out)"
            )


class _Run:
    """A training run in one folder, from text to vectors."""

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
            if self._is_new:  # it holds nothing worth resuming
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
                job.save_record()  # the run may have been killed before it was first written
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
        """Move the folder to be replaced aside; it is kept until the new counts are complete."""
        out = self._job.out
        self._was_there = out.exists()
        if not self._was_there or _is_empty(out):
            return
        if self._aside.exists() and not _is_counted(out):
            storage.remove_in(out, HOLDS)  # an unfinished replacement of the folder set aside
            return
        storage.remove(self._aside, HOLDS)
        os.replace(out, self._aside)
        storage.flush_folder(out.parent)

    def _take_back(self) -> None:
        """Restore the folder as it was before this start, or before an earlier unfinished replacement."""
        out = self._job.out
        with suppress(OSError):  # the error that is being raised matters more
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
        # Files in the output folder are never part of the corpus, whether they exist yet or not.
        job.files = [file for file in find(job.corpus) if not _is_within(file, job.out)]
        if not job.files:
            raise DataError(
                "all files of the corpus are in the output folder, which is not read; give other files, "
                "or choose another output folder (--out)",
                job.out,
            )
        return Record(corpus, stamp(job.files), job.tokenizer)

    def _going_on(self) -> Record:
        job = self._job
        old = Record.load(job.out / RECORD_FILE)
        if not old.files:  # killed before the record was written
            return self._record_of_text()
        if old.corpus != settings.to_mapping(job.corpus) or old.tokenizer != job.tokenizer:
            raise ConfigError(
                f"the corpus, its settings or the tokenizer differ from those that {job.out} was started "
                "with; use the same, or choose another output folder (--out)"
            )
        done = len(old.losses)
        if old.is_finished and job.config.epochs != done:
            raise RunError(
                f"{job.out} is finished after {done} epochs and cannot be trained further, because "
                "AdaGrad's sums are not kept; train again (--force), or on its counts in a new folder "
                "(--counts)"
            )
        if job.config.epochs < done:
            raise ConfigError(
                f"vectors.epochs is {job.config.epochs}, but {job.out} is already trained for {done} "
                f"epochs; give at least {done}, or choose another output folder (--out)"
            )
        if not old.is_counted:  # after counting, the text is no longer needed
            _check_files(job.out, old, self._record_of_text())
        return old


def _has_counts_of(folder: Path, out: Path) -> bool:
    """Whether all counts were taken over from that folder."""
    record = Record.load(out / RECORD_FILE)
    return record.is_counted and record.counted_in == str(folder)


def _is_counted(out: Path) -> bool:
    try:
        return Record.load(out / RECORD_FILE).is_counted
    except RunError:  # damaged
        return False


def _check_files(out: Path, old: Record, new: Record) -> None:
    if old.counted_in != new.counted_in:
        before, now = (
            f"the counts of {record.counted_in}" if record.counted_in else "a corpus"
            for record in (old, new)
        )
        raise RunError(
            f"{out} was started with {before}, now {now} is given; give the same, or choose another "
            "output folder (--out)"
        )
    for old_file, new_file in zip(old.files, new.files, strict=False):
        if old_file != new_file:
            raise RunError(
                f"{new_file[0]} is not the file that {out} was started with: its name, size or "
                "modification time differs; give the same files, or choose another output folder (--out)"
            )
    if len(old.files) != len(new.files):
        n_old, n_new = len(old.files), len(new.files)
        raise RunError(
            f"{out} was started with {count_of(n_old, 'file')}, but {n_new} are given; give the same, or "
            "choose another output folder (--out)"
        )
