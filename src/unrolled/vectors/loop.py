"""From a text to word vectors, as a generator of events.

    for event in fit_vectors(VectorsConfig(size=100), "talk.txt", "vectors/talk"):
        print(event)

Whoever reads the events decides when to stop. Killed anywhere, or closed, the folder goes on with
`resume=True`: from the last part of the text that was read, the last stretch that was counted, the last
epoch that was saved; and ends in the same bits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
import tomllib
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from unrolled import config as settings
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.text.corpus import CorpusConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors import native, plain, storage, words
from unrolled.vectors.config import CHANGEABLE, OF_TRAINING, VectorsConfig
from unrolled.vectors.cooccurrence import (
    Counts,
    Room,
    Stretch,
    SumsWriter,
    count_stretch,
    merge,
    require_longer,
    require_pairs,
    stretches,
)
from unrolled.vectors.events import (
    Counted,
    Epoch,
    Finished,
    Read,
    VectorsEvent,
    VocabularyMade,
)
from unrolled.vectors.formats_safetensors import CONFIG_FILE, VECTORS_FILE, VOCABULARY_FILE
from unrolled.vectors.glove import Parameters, deal_pairs, train_epoch
from unrolled.vectors.ratios import COUNTS_FOLDER
from unrolled.vectors.records import PairWeights
from unrolled.vectors.vocabulary import Vocabulary, WordCounts

RECORD_FILE = "record.json"
_WORK_FOLDER = "work"

_LEAST_PART, _MOST_PART = 1 << 18, 32 << 20  # bytes of text

Implementation = Literal["native", "plain"]


def train_vectors(
    config: VectorsConfig,
    corpus: words.CorpusLike,
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
    """
    *_, end = fit_vectors(config, corpus, out, **options)
    assert isinstance(end, Finished)
    return end


def fit_vectors(
    config: VectorsConfig,
    corpus: words.CorpusLike,
    out: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None = None,
    resume: bool = False,
    force: bool = False,
    cluster: Any = None,
    implementation: Implementation | None = None,
) -> Generator[VectorsEvent, None, None]:
    """Read, count and train, and report what happens.

    Events come in this order: `Read`, `VocabularyMade`, `Counted`, `Epoch`, `Finished`.
    What can be checked at once is checked in the call; the rest happens as the events are read.

    Args:
        config: what to count and how to train.
        corpus: files, folders and patterns, or a `CorpusConfig` that says more of them; all of its
            `train` is read, and where `config.borders` are its documents', they are as it says.
        out: the folder to make, or to go on with; see `unrolled.vectors` for what it holds.
        tokenizer: splits and folds instead of `config.tokens` and `config.lowercase`; of kind `word` or
            `space`.
        resume: go on with what was begun in `out`, if anything was.
        force: replace what is in `out`.
        cluster: a `distributed.Client`, or the address of a scheduler, to read and count on; the text
            may then be anything that fsspec opens. The counts are the same.
        implementation: `native` or `plain` (NumPy, slow); by default the first that there is.

    Raises:
        ConfigError: a setting cannot be, or differs from that of the vectors to go on with.
        DataError: a file cannot be read as asked, or holds too little.
        RunError: something is in the way at `out` or damaged, or the disk is full.
        NonFiniteError: a gradient is not finite; the pair of words is named.
        UnavailableError: there is no cluster to be had, or what is needed to use one.
    """
    out = Path(os.path.abspath(out))
    if resume and force:
        raise ConfigError("--resume goes on with what is there; leave out --force")
    corpus = words.as_corpus(corpus)
    splitter = words.Splitter(config, tokenizer)
    if tokenizer is not None and (config.tokens != "space" or config.lowercase):
        raise ConfigError("the tokenizer says what a word is; leave out tokens and lowercase")
    begun = (out / CONFIG_FILE).is_file()
    if begun and resume:
        _check_same(config, out)
    elif not (begun and force):
        _check_free(out, begun)
    module = implementation_named(implementation)
    remote = None if cluster is None else _on_cluster(cluster)
    text = hashlib.sha256(tokenizer.inner.to_str().encode()).hexdigest() if tokenizer else ""
    job = _Job(config, corpus, out, splitter, module, remote, text)
    return job.events(goes_on=begun and resume)


def implementation_named(name: Implementation | None) -> ModuleType:
    """The module that counts and trains.

    Raises:
        ConfigError: there are no kernels here, and they are asked for by name.
    """
    if name == "plain":
        return plain
    reason = native.why_not()
    if reason is None:
        return native
    if name == "native":
        raise ConfigError(f"the native kernels cannot run: {reason}")
    return plain


def _on_cluster(cluster: Any) -> Any:
    from unrolled.vectors import scale

    return scale.Cluster(cluster)


def _check_free(out: Path, begun: bool) -> None:
    if begun:
        raise RunError(
            f"{out} already holds vectors; go on with them (--resume), replace them (--force), or choose "
            "another name (--out)"
        )
    # A start that was killed may have left a half-written configuration.
    left = {storage.partial(out / CONFIG_FILE).name}
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= left):
        raise RunError(
            f"{out} exists and holds no vectors, so it is left alone; choose another name (--out)"
        )


def _check_same(config: VectorsConfig, out: Path) -> None:
    path = out / CONFIG_FILE
    try:
        before = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RunError(f"{path}: damaged ({error}); train again (--force)") from None
    changeable = CHANGEABLE
    if not Record.load(out / RECORD_FILE).losses:
        changeable |= OF_TRAINING
    for name, value in settings.to_mapping(config).items():
        if name not in changeable and before.get(name) != value:
            raise ConfigError(
                f"vectors.{name} is {value}, but {out} was begun with {before.get(name)}; leave it as "
                "it was, or choose another name (--out)"
            )


@dataclass
class Record:
    """What is done, and how; `record.json`, replaced after each thing that is.

    Args:
        corpus: the settings of the text.
        files: path, size and time of change of each.
        tokenizer: its checksum, or nothing.
        parts: of each part of the text, tokens, borders, and where the next begins.
        is_read: whether there is no next.
        n_different: words that the text holds.
        n_tokens: of the text, words of no vector included.
        n_counted: tokens (and borders) of the stretches counted so far.
        n_stretches: of which sums are on the disk.
        is_counted: whether the counts are complete.
        losses: of each epoch that is saved.
        state: the file of what training goes on from.
        is_finished: whether the vectors are complete.
        seconds: that it took, up to the last replacement.
    """

    corpus: dict[str, Any] = field(default_factory=dict)
    files: list[list[Any]] = field(default_factory=list)
    tokenizer: str = ""
    parts: list[list[Any]] = field(default_factory=list)
    is_read: bool = False
    n_different: int = 0
    n_tokens: int = 0
    n_counted: int = 0
    n_stretches: int = 0
    is_counted: bool = False
    losses: list[float] = field(default_factory=list)
    state: str = ""
    is_finished: bool = False
    seconds: float = 0.0

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read it.

        Raises:
            RunError: it is damaged.
        """
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path}: damaged ({error}); train again (--force)") from None


class _Job:
    """One folder on its way from text to vectors."""

    def __init__(
        self,
        config: VectorsConfig,
        corpus: CorpusConfig,
        out: Path,
        splitter: words.Splitter,
        implementation: ModuleType,
        cluster: Any,
        tokenizer: str,
    ) -> None:
        self.config, self.corpus, self.out = config, corpus, out
        self.splitter, self.implementation, self.cluster = splitter, implementation, cluster
        self.work = out / _WORK_FOLDER
        self._aside = out.with_name(f".{out.name}.replaced")
        self._is_new = False
        self.tokenizer = tokenizer
        self.record = Record()
        self._tick = time.monotonic()

    def events(self, goes_on: bool) -> Generator[VectorsEvent, None, None]:
        try:
            self._begin(goes_on)
            if not self.record.is_counted:
                yield from self._count_all()
        except (DataError, ConfigError):
            if self._is_new:  # nothing in it is worth going on with
                shutil.rmtree(self.out, ignore_errors=True)
                if self._aside.exists():
                    os.replace(self._aside, self.out)
            raise
        with storage.writing(self._aside):
            shutil.rmtree(self._aside, ignore_errors=True)
        record = self.record
        if not record.is_finished:
            yield from self._train()
        with storage.writing(self.work):
            shutil.rmtree(self.work, ignore_errors=True)
        n_words = len(Counts.open(self.out / COUNTS_FOLDER).ends) - 1
        yield Finished(self.out, n_words, self.config.size, record.losses[-1], record.seconds)

    def _begin(self, goes_on: bool) -> None:
        if goes_on:
            self.record = self._going_on()
            self.work.mkdir(exist_ok=True)
            self._write_config()
            return
        record = self._record_of_text()
        with storage.writing(self.out):
            if self.out.exists():  # kept until there are counts to take its place
                shutil.rmtree(self._aside, ignore_errors=True)
                os.replace(self.out, self._aside)
            self._is_new = True
            self.out.mkdir(parents=True)
            self._write_config()
            self.work.mkdir()
            self.record = record
            self._save_record()

    def _record_of_text(self) -> Record:
        find = words.files_of if self.cluster is None else self.cluster.files_of
        stamp = words.stamps if self.cluster is None else self.cluster.stamps
        self.files = find(self.corpus)
        return Record(settings.to_mapping(self.corpus), stamp(self.files), self.tokenizer)

    def _going_on(self) -> Record:
        old = Record.load(self.out / RECORD_FILE)
        if not old.files:  # killed before there was a record
            return self._record_of_text()
        if old.corpus != settings.to_mapping(self.corpus) or old.tokenizer != self.tokenizer:
            raise ConfigError(
                f"the text is to be read otherwise than {self.out} was begun with; name the same files "
                "and settings, or choose another name (--out)"
            )
        done = len(old.losses)
        if old.is_finished and self.config.epochs != done:
            raise RunError(
                f"{self.out} is finished after {done} epochs, and AdaGrad's sums are not kept; train "
                "again (--force)"
            )
        if self.config.epochs < done:
            raise ConfigError(
                f"vectors.epochs is {self.config.epochs}, but {self.out} has {done} epochs behind it; "
                "give as many at least, or choose another name (--out)"
            )
        if not old.is_counted:  # afterwards the text is not needed
            self._check_files(old.files, self._record_of_text().files)
        return old

    def _check_files(self, old: list[list[Any]], new: list[list[Any]]) -> None:
        for before, now in zip(old, new, strict=False):
            if before != now:
                raise RunError(
                    f"{now[0]} is not the text that {self.out} was begun with: its name, size or time of "
                    "change differ; give the same files, or choose another name (--out)"
                )
        if len(old) != len(new):
            raise RunError(f"{self.out} was begun with {len(old)} files, but {len(new)} are given")

    def _write_config(self) -> None:
        content = settings.to_toml(self.config).encode()
        storage.write_whole(self.out / CONFIG_FILE, content)

    def _save_record(self) -> None:
        now = time.monotonic()
        self.record.seconds += now - self._tick
        self._tick = now
        content = json.dumps(dataclasses.asdict(self.record), indent=1) + "\n"
        storage.write_whole(self.out / RECORD_FILE, content.encode())

    # Text to counts

    def _count_all(self) -> Iterator[VectorsEvent]:
        vocabulary = None
        if self.cluster is not None:
            yield from self._count_on_cluster()
            return
        if not self.record.is_read:
            yield from self._read()
        vocabulary = self._vocabulary()
        n_kept = int(vocabulary.counts.sum())
        yield VocabularyMade(len(vocabulary), self.record.n_different, self.record.n_tokens, n_kept)
        require_longer(n_kept, self.config.window)
        weights = PairWeights.of(self.config, int(vocabulary.counts[0]))
        yield from self._count(vocabulary, weights)

    def _read(self) -> Iterator[VectorsEvent]:
        record = self.record
        start = words.Place(*record.parts[-1][2]) if record.parts else words.Place()
        sizes = [size for _, size, _ in record.files]
        n_tokens = sum(n for n, _, _ in record.parts)
        n_new, tick = 0, time.monotonic()
        waiting: tuple[Future[None], words.Part] | None = None

        def keep() -> Read:
            nonlocal n_new
            assert waiting is not None
            future, part = waiting
            future.result()
            n_part = int(part.counts.sum())
            n_new += n_part
            n_borders = len(part.ids) - n_part
            record.parts.append([n_part, n_borders, words.place_as_list(part.end)])
            self._save_record()
            return Read(
                n_tokens + n_new,
                n_new / max(1e-9, time.monotonic() - tick),
                self._share_read(part.end, sizes),
            )

        with ThreadPoolExecutor(1) as saver:
            for part in words.read_parts(
                self.files,
                self.corpus,
                self.config,
                self.implementation,
                self._part_bytes(sum(sizes)),
                start,
            ):
                if waiting is not None:
                    yield keep()
                path = self._part(len(record.parts))
                waiting = saver.submit(part.save, path), part
            if waiting is not None:
                yield keep()
        record.is_read = True
        self._save_record()

    def _part_bytes(self, total: int) -> int:
        """Of a part: small enough that some are made at once, and that a few fit into memory."""
        n_threads = self.config.n_threads
        of_memory = self.config.n_bytes // (24 * (n_threads + 2))
        return max(_LEAST_PART, min(_MOST_PART, of_memory, total // (4 * n_threads)))

    @staticmethod
    def _share_read(end: words.Place, sizes: list[int]) -> float:
        here = min(end.offset, sizes[end.file]) if end.file < len(sizes) else 0
        return min(1.0, (sum(sizes[: end.file]) + here) / max(1, sum(sizes)))

    def _part(self, number: int) -> Path:
        return self.work / f"part-{number:06}"

    def _parts(self) -> list[Path]:
        return [self._part(number) for number in range(len(self.record.parts))]

    def _vocabulary(self) -> Vocabulary:
        """Chosen from what was read, or as it was chosen before."""
        path = self.out / VOCABULARY_FILE
        if self.record.n_different:
            return Vocabulary.load(path)
        seen = WordCounts()
        for part in self._parts():
            seen.add(*self.splitter.of_pieces(*words.load_counts(part)))
        vocabulary = seen.vocabulary(self.config)
        vocabulary.save(path)
        self.record.n_different, self.record.n_tokens = len(seen), seen.n_tokens
        self._save_record()
        return vocabulary

    def _count(self, vocabulary: Vocabulary, weights: PairWeights) -> Iterator[VectorsEvent]:
        record, config = self.record, self.config
        room = Room.of(config.n_bytes, len(vocabulary), config.n_threads, weights.width)
        n_kept = int(vocabulary.counts.sum())
        n_most = n_kept + sum(n_borders for _, n_borders, _ in record.parts)
        tokens = words.tokens_of(self._parts(), vocabulary, self.splitter, self.implementation)
        whole = n_most <= room.n_tokens and not record.n_stretches
        started = record.n_counted
        tick = time.monotonic()
        for stretch in stretches(
            tokens, weights.window, min(n_most, room.n_tokens), record.n_counted
        ):
            folder = self.out / COUNTS_FOLDER if whole else self._sums(record.n_stretches)
            with SumsWriter(folder, weights if whole else None, weights.width) as writer:
                share = self._counting(stretch, vocabulary, weights, room, writer)
                total = stretch.end if whole else n_most
                for done in share:
                    n_done = record.n_counted + done * (stretch.end - record.n_counted)
                    seconds = max(1e-9, time.monotonic() - tick)
                    yield Counted(
                        int(n_kept * min(1.0, n_done / total)),
                        writer.n_nonzeros,
                        n_kept * (n_done - started) / total / seconds,
                        min(1.0, n_done / total),
                    )
            record.n_counted = stretch.end
            record.n_stretches += not whole
            if not whole:
                self._save_record()
        if not whole:
            yield from self._merge(n_kept, weights, room)
        self._counts_are_complete(n_kept)

    def _sums(self, number: int) -> Path:
        return self.work / f"sums-{number:06}"

    def _counting(
        self,
        stretch: Stretch,
        vocabulary: Vocabulary,
        weights: PairWeights,
        room: Room,
        writer: SumsWriter,
    ) -> Iterator[float]:
        """Count a stretch; yields the share of it that is done."""
        seen = np.cumsum(vocabulary.counts) / vocabulary.counts.sum()
        row = 0
        for rows in count_stretch(
            stretch,
            len(vocabulary),
            weights,
            self.implementation,
            room.n_entries,
            self.config.n_threads,
        ):
            writer.write(rows)
            row += len(rows.sizes)
            yield float(seen[row - 1])

    def _merge(self, n_kept: int, weights: PairWeights, room: Room) -> Iterator[VectorsEvent]:
        matrices = [Counts.open(self._sums(i)) for i in range(self.record.n_stretches)]
        n_words, tick = matrices[0].n_words, time.monotonic()
        with SumsWriter(self.out / COUNTS_FOLDER, weights, weights.width) as writer:
            for row, rows in merge(
                matrices, weights, self.implementation, room.n_entries, self.config.n_threads
            ):
                writer.write(rows)
                seconds = max(1e-9, time.monotonic() - tick)
                share = row / n_words
                yield Counted(n_kept, writer.n_nonzeros, n_kept * share / seconds, share)

    def _counts_are_complete(self, n_kept: int) -> None:
        counts = Counts.open(self.out / COUNTS_FOLDER)
        require_pairs(counts.n_nonzeros, self.config.window, n_kept)
        self.record.is_counted = True
        self._save_record()
        for path in [*self._parts(), *map(self._sums, range(self.record.n_stretches))]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _count_on_cluster(self) -> Iterator[VectorsEvent]:
        n_kept = 0
        for event in self.cluster.count(
            self.files, self.corpus, self.config, self.splitter, self.implementation, self.out
        ):
            if isinstance(event, VocabularyMade):
                self.record.n_different, self.record.n_tokens = event.n_different, event.n_tokens
                n_kept = event.n_kept
            yield event
        self.record.is_read = True
        self._counts_are_complete(n_kept)

    # Counts to vectors

    def _train(self) -> Iterator[VectorsEvent]:
        record, config = self.record, self.config
        vocabulary = Vocabulary.load(self.out / VOCABULARY_FILE)
        counts = Counts.open(self.out / COUNTS_FOLDER)
        n_words = len(vocabulary)
        if counts.n_words != n_words:
            raise RunError(
                f"{self.out}: the counts are not of its vocabulary; train again (--force)"
            )
        if record.state:
            parameters = Parameters.load(self.work / record.state, n_words, config.size)
        else:
            parameters = Parameters.begin(n_words, config)
        losses = list(record.losses)
        saved = time.monotonic()
        if len(losses) < config.epochs:
            pairs = deal_pairs(counts, config, self.implementation, self.work / "pairs")
        try:
            while len(losses) < config.epochs:
                tick, epoch = time.monotonic(), len(losses) + 1
                loss = train_epoch(
                    pairs, parameters, epoch, config, self.implementation, vocabulary
                )
                seconds = max(1e-9, time.monotonic() - tick)
                losses.append(loss / counts.n_nonzeros)
                is_last = epoch >= config.epochs
                if not is_last and time.monotonic() - saved >= config.save_every_n_seconds:
                    self._save_state(parameters, losses)
                    saved = time.monotonic()
                yield Epoch(
                    epoch,
                    config.epochs,
                    losses[-1],
                    seconds,
                    counts.n_nonzeros / seconds,
                    seconds * (config.epochs - epoch),
                )
        except GeneratorExit:
            if len(losses) > len(record.losses):
                self._save_state(parameters, losses)
            raise
        record.losses = losses
        card = "\n".join(_card(self.out.name, config, record, n_words, counts.n_nonzeros))
        storage.write_whole(self.out / "README.md", (card + "\n").encode())
        parameters.save(self.out / VECTORS_FILE, with_sums=False)
        record.is_finished = True
        self._save_record()

    def _save_state(self, parameters: Parameters, losses: list[float]) -> None:
        before = self.record.state
        name = f"state-{len(losses):06}.safetensors"
        parameters.save(self.work / name, with_sums=True)
        self.record.losses, self.record.state = list(losses), name
        self._save_record()
        if before and before != name:
            (self.work / before).unlink(missing_ok=True)


def _card(
    name: str, config: VectorsConfig, record: Record, n_words: int, n_nonzeros: int
) -> Iterator[str]:
    sides = "to both sides" if config.symmetric else "to the left"
    yield f"# {name}\n"
    yield f"{n_words:,} word vectors of {config.size} numbers, trained with Unrolled by GloVe.\n"
    yield "## Use\n"
    yield (
        "```python\nfrom safetensors.numpy import load_file\n"
        f'tensors = load_file("{name}/{VECTORS_FILE}")\n'
        'vectors = tensors["w"] + tensors["w_context"]\n```\n'
    )
    yield f"Row i is the word on line i + 1 of `{VOCABULARY_FILE}`.\n"
    yield "## Text\n"
    yield f"{record.n_tokens:,} words, {record.n_different:,} different, of:\n"
    for path, size, _ in record.files[:20]:
        yield f"- `{Path(path).name}`, {size:,} bytes"
    if len(record.files) > 20:
        yield f"- … {len(record.files):,} files in all"
    yield "\n## Training\n"
    yield f"{n_nonzeros:,} pairs of words within {config.window} words {sides}."
    yield f"Loss after {len(record.losses)} epochs: {record.losses[-1]:.6f} a pair."
    yield f"All settings: `{CONFIG_FILE}`; what was done: `{RECORD_FILE}`."
