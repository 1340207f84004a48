"""The first stage of a training: read and count the text, so that a kill at any point loses little.

Text that was read is stored in parts, each with a line in `parts.jsonl`; text that was counted is stored
as matrices of sums. Both are in the folder `work` until the counts are complete.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unrolled import documents, storage
from unrolled.errors import RunError
from unrolled.system import trim_memory
from unrolled.vectors import memory
from unrolled.vectors.counting import text_shards
from unrolled.vectors.counting.cooccurrence import (
    MATRIX,
    MOST_MERGED,
    Chunk,
    Counts,
    SumsWriter,
    chunks,
    count_chunk,
    merge,
    require_longer,
    require_pairs,
)
from unrolled.vectors.counting.vocabulary import Vocabulary, WordCounts
from unrolled.vectors.events import Counted, Read, VectorsEvent, VocabularyMade
from unrolled.vectors.glove.model import Parameters
from unrolled.vectors.kernels.types import PairWeights
from unrolled.vectors.memory import MemoryPlan
from unrolled.vectors.run_state import WORK, Job

PARTS_FILE = "parts.jsonl"

_MOST_OF_PARTS = 1 << 30  # bytes; a line has about a hundred for each MB of text


class DonePart(NamedTuple):
    """A part of the text that is saved on disk; a line of `parts.jsonl`.

    Args:
        n_tokens: number of words.
        n_borders: number of borders between them.
        end: where the next part begins.
        seconds: training time up to this part.
    """

    n_tokens: int
    n_borders: int
    end: text_shards.Place
    seconds: float

    @classmethod
    def of(cls, line: bytes) -> DonePart:
        """Parse a line of the file.

        Raises:
            ValueError: the line is damaged.
        """
        try:
            n_tokens, n_borders, (file, offset, number, carried, in_line), seconds = json.loads(
                line
            )
        except (TypeError, RecursionError):
            raise ValueError("no part") from None
        counts = (n_tokens, n_borders, file, offset, number)
        is_good = all(type(count) is int and 0 <= count < 1 << 63 for count in counts)
        is_good &= isinstance(carried, str) and isinstance(in_line, bool)
        if not is_good or type(seconds) not in (int, float) or not 0 <= seconds < 1 << 63:
            raise ValueError("no part")
        carried.encode()  # raises a ValueError for an unpaired surrogate
        place = text_shards.Place(file, offset, number, carried, in_line)
        return cls(n_tokens, n_borders, place, seconds)


class CountingRun:
    """Reads and counts the text of a job.

    Raises:
        DataError: the text cannot be read as specified, or is too short.
        ConfigError: the memory limit is too low.
        RunError: the state of an earlier session is damaged, or the disk is full.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._parts: list[DonePart] = []

    def events(self) -> Iterator[VectorsEvent]:
        """Yield `Read`, `VocabularyMade` and `Counted`."""
        job = self._job
        if job.cluster is not None:
            yield from self._count_on_cluster()
            return
        work = memory.work_of(job.config)
        job.splitter.most_remembered = memory.pieces_of(work)
        self._parts = self._done_parts()
        if not job.record.is_read:
            yield from self._read(work)
        trim_memory()
        vocabulary = self._vocabulary()
        n_kept = int(vocabulary.counts.sum())
        yield VocabularyMade(len(vocabulary), job.record.n_different, job.record.n_tokens, n_kept)
        require_longer(n_kept, job.config.window)
        weights = PairWeights.of(job.config, int(vocabulary.counts[0]))
        yield from self._count(vocabulary, weights, self._plan(vocabulary, weights))

    # Text to parts

    def _done_parts(self) -> list[DonePart]:
        """The complete parts; an incomplete last line, left by a killed run, is cut off."""
        path, record = self._job.work / PARTS_FILE, self._job.record
        content = b""
        if path.exists():
            try:
                content = documents.read_bytes(path, _MOST_OF_PARTS)
            except documents.DocumentError as error:
                raise RunError(
                    f"{path}: damaged ({error.problem}); train again (--force)"
                ) from None
        done, whole = [], 0
        for line in content.split(b"\n")[:-1]:
            try:
                done.append(DonePart.of(line))
            except ValueError:
                break
            whole += len(line) + 1
        if whole < len(content) or storage.is_shared(path):
            storage.write_whole(path, content[:whole])
        if record.is_read and record.n_parts != len(done):
            raise RunError(f"{path}: missing or damaged; train again (--force)")
        if done:
            record.seconds = max(record.seconds, done[-1].seconds)
        return done

    def _read(self, work: int) -> Iterator[VectorsEvent]:
        job = self._job
        sizes = [size for _, size, _ in job.record.files]
        n_threads = job.config.n_threads
        n_tokens = sum(part.n_tokens for part in self._parts)
        n_new, tick = 0, time.monotonic()
        waiting: tuple[Future[None], text_shards.Part] | None = None

        def keep() -> Read:
            nonlocal n_new
            assert waiting is not None
            future, part = waiting
            future.result()
            n_part = int(part.counts.sum())
            n_new += n_part
            self._note(DonePart(n_part, len(part.ids) - n_part, part.end, job.passed()))
            return Read(
                n_tokens + n_new,
                n_new / max(1e-9, time.monotonic() - tick),
                _share_read(part.end, sizes),
            )

        with ThreadPoolExecutor(1) as saver:
            for part in text_shards.read_parts(
                job.files,
                job.corpus,
                job.config,
                job.implementation,
                memory.part_bytes_of(work, sum(sizes), n_threads),
                memory.readers_of(work, n_threads),
                self._parts[-1].end if self._parts else text_shards.Place(),
            ):
                if waiting is not None:
                    yield keep()
                waiting = saver.submit(part.save, self._part(len(self._parts))), part
            if waiting is not None:
                yield keep()
        job.record.is_read, job.record.n_parts = True, len(self._parts)
        job.save_record()

    def _note(self, part: DonePart) -> None:
        path = self._job.work / PARTS_FILE
        line = [
            part.n_tokens,
            part.n_borders,
            text_shards.place_as_list(part.end),
            round(part.seconds, 3),
        ]
        with storage.writing(path), storage.appending(path) as stream:
            stream.write(json.dumps(line).encode() + b"\n")
            storage.flush(stream)
        self._parts.append(part)

    def _part(self, number: int) -> Path:
        return self._job.work / f"part-{number:06}"

    def _part_files(self) -> list[Path]:
        return [self._part(number) for number in range(self._job.record.n_parts)]

    # Parts to counts

    def _vocabulary(self) -> Vocabulary:
        """Select the vocabulary from the text that was read, or load it if it exists."""
        job = self._job
        if not job.record.n_different:
            seen = WordCounts()
            for part in self._part_files():
                seen.add(*job.splitter.of_pieces(*text_shards.load_counts(part)))
            seen.vocabulary(job.config).save(job.vocabulary)
            job.record.n_different, job.record.n_tokens = len(seen), seen.n_tokens
            job.save_record()
            # In memory, the selected words are scattered among the others; loading makes them compact.
            del seen
        vocabulary = Vocabulary.load(job.vocabulary)
        trim_memory()
        return vocabulary

    def _plan(self, vocabulary: Vocabulary, weights: PairWeights) -> MemoryPlan:
        """The memory plan for counting; fails before counting if the limit is too low for training."""
        config, n_words, names = self._job.config, len(vocabulary), memory.names_of(vocabulary)
        largest = max(path.stat().st_size for path in self._part_files())
        splits = self._job.splitter.remembers
        refusals = []
        try:
            memory.room_for_pairs(
                config, n_words, names, Parameters.n_bytes_of(n_words, config.size)
            )
        except memory.TooLittleMemory as error:
            refusals.append(error)
        try:
            plan = MemoryPlan.of(config, n_words, names, weights.width, largest, splits)
        except memory.TooLittleMemory as error:
            refusals.append(error)
        if refusals:  # report the largest requirement, so that one change is enough
            raise max(refusals, key=lambda error: error.n_bytes)
        return plan

    def _count(
        self, vocabulary: Vocabulary, weights: PairWeights, plan: MemoryPlan
    ) -> Iterator[VectorsEvent]:
        job, record = self._job, self._job.record
        n_kept = int(vocabulary.counts.sum())
        n_most = n_kept + sum(part.n_borders for part in self._parts)
        tokens = text_shards.tokens_of(
            self._part_files(), vocabulary, job.splitter, job.implementation
        )
        whole = n_most <= plan.n_tokens and not record.n_stretches
        started = record.n_counted
        tick = time.monotonic()
        for chunk in chunks(tokens, weights.window, min(n_most, plan.n_tokens), record.n_counted):
            folder = job.counts if whole else self._sums(0, record.n_stretches)
            with SumsWriter(folder, weights if whole else None, weights.width) as writer:
                share = self._counting(chunk, vocabulary, weights, plan, writer)
                total = chunk.end if whole else n_most
                for done in share:
                    n_done = record.n_counted + done * (chunk.end - record.n_counted)
                    seconds = max(1e-9, time.monotonic() - tick)
                    yield Counted(
                        int(n_kept * min(1.0, n_done / total)),
                        writer.n_nonzeros,
                        n_kept * (n_done - started) / total / seconds,
                        min(1.0, n_done / total),
                    )
            record.n_counted = chunk.end
            record.n_stretches += not whole
            if not whole:
                job.save_record()
        if not whole:
            yield from self._merge_all(n_kept, weights, plan)
        self._counts_are_complete(n_kept)

    def _counting(
        self,
        chunk: Chunk,
        vocabulary: Vocabulary,
        weights: PairWeights,
        plan: MemoryPlan,
        writer: SumsWriter,
    ) -> Iterator[float]:
        """Count a chunk; yield the completed fraction."""
        seen = np.cumsum(vocabulary.counts) / vocabulary.counts.sum()
        row = 0
        for rows in count_chunk(
            chunk,
            len(vocabulary),
            weights,
            self._job.implementation,
            plan.n_entries,
            self._job.config.n_threads,
        ):
            writer.write(rows)
            row += len(rows.sizes)
            yield float(seen[row - 1])

    # Sums of many chunks: level 0 has one for each chunk; each of level n + 1 merges `MOST_MERGED` of
    # level n.

    def _sums(self, level: int, number: int) -> Path:
        return self._job.work / f"sums-{level}-{number:06}"

    def _merge_all(
        self, n_kept: int, weights: PairWeights, plan: MemoryPlan
    ) -> Iterator[VectorsEvent]:
        level, n_sums = 0, self._job.record.n_stretches
        while n_sums > MOST_MERGED:
            level, n_sums = level + 1, -(-n_sums // MOST_MERGED)
            for number in range(n_sums):
                yield from self._merge_some(level, number, n_kept, weights, plan)
        parts = [self._sums(level, number) for number in range(n_sums)]
        yield from self._merge(parts, self._job.counts, weights, n_kept, weights, plan)

    def _merge_some(
        self, level: int, number: int, n_kept: int, weights: PairWeights, plan: MemoryPlan
    ) -> Iterator[VectorsEvent]:
        """Merge sums of one level into one of the next and remove them, unless that is done already."""
        first = number * MOST_MERGED
        n_below = -(-self._job.record.n_stretches // MOST_MERGED ** (level - 1))
        parts = [self._sums(level - 1, i) for i in range(first, min(first + MOST_MERGED, n_below))]
        whole = self._sums(level, number)
        if not whole.exists():
            if not any(path.exists() for path in parts):
                return  # they are already merged into a higher level
            yield from self._merge(parts, whole, None, n_kept, weights, plan)
        for path in parts:
            storage.remove(path, MATRIX)

    def _merge(
        self,
        parts: list[Path],
        whole: Path,
        as_counts: PairWeights | None,
        n_kept: int,
        weights: PairWeights,
        plan: MemoryPlan,
    ) -> Iterator[VectorsEvent]:
        job, tick = self._job, time.monotonic()
        with SumsWriter(whole, as_counts, weights.width) as writer:
            for share, rows in merge(
                parts, weights, job.implementation, plan.n_entries, job.config.n_threads
            ):
                writer.write(rows)
                seconds = max(1e-9, time.monotonic() - tick)
                yield Counted(n_kept, writer.n_nonzeros, n_kept * share / seconds, share)

    def _counts_are_complete(self, n_kept: int) -> None:
        job = self._job
        require_pairs(Counts.open(job.counts).n_nonzeros, job.config.window, n_kept)
        job.record.is_counted = True
        job.save_record()
        counted = {
            name: holds for name, holds in WORK.items() if name.startswith(("part-", "sums-"))
        }
        with storage.writing(job.work):
            storage.remove_in(job.work, counted)

    def _count_on_cluster(self) -> Iterator[VectorsEvent]:
        job, n_kept = self._job, 0
        for event in job.cluster.count(
            job.files, job.corpus, job.config, job.splitter, job.implementation, job.out
        ):
            if isinstance(event, VocabularyMade):
                job.record.n_different, job.record.n_tokens = event.n_different, event.n_tokens
                n_kept = event.n_kept
            yield event
        job.record.is_read = True
        self._counts_are_complete(n_kept)


def _share_read(end: text_shards.Place, sizes: list[int]) -> float:
    here = min(end.offset, sizes[end.file]) if end.file < len(sizes) else 0
    return min(1.0, (sum(sizes[: end.file]) + here) / max(1, sum(sizes)))
