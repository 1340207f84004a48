"""Read and count on a cluster of machines with Dask (`pip install 'unrolled[scale]'`).

Each task reads a part of the text from any place that fsspec supports, and encodes its words as ids. The
words of all parts make up the vocabulary. Then each part is counted separately, together with the last
words of the previous part, and the sums are merged by ranges of rows. Sums are integers, so the counts
are the same as on one machine, bit for bit, on any number of workers. The workers share the ids and sums
of all parts, in memory or, if Dask spills them, on disk; a task holds no more than
`VectorsConfig.memory`. Only words and finished rows, one range at a time, pass through the client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import (
    ConfigError,
    DataError,
    UnavailableError,
    UnrolledError,
    missing_package,
)
from unrolled.text.corpus.corpus import CorpusConfig, decode_block, find_files
from unrolled.text.corpus.files import end_of_last_character
from unrolled.text.files import endings, unpacked
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting import text_shards as words
from unrolled.vectors.counting.cooccurrence import (
    SumsWriter,
    chunks,
    require_longer,
    row_batches,
)
from unrolled.vectors.counting.ratios import COUNTS_FOLDER
from unrolled.vectors.counting.text_shards import Marker, Splitter, border_of, partial_word
from unrolled.vectors.counting.vocabulary import WordCounts
from unrolled.vectors.events import Counted, Read, VectorsEvent, VocabularyMade
from unrolled.vectors.formats.safetensors import VOCABULARY_FILE
from unrolled.vectors.kernels import native
from unrolled.vectors.kernels import reference as plain
from unrolled.vectors.kernels.types import BORDER, Matrix, PairWeights, Rows

_LEAST_PART, _MOST_PART = 1 << 20, 1 << 30  # bytes of text
_BLOCK = 1 << 20  # bytes read at a time
_ADDED_AT_ONCE = 8  # matrices
_ENTRIES = 1 << 22  # of a matrix that are computed at once
_LEAST_TOKENS, _MOST_TOKENS = 1 << 16, 1 << 31  # of a chunk, whose positions have 32 bits
_PATIENCE = 300.0  # seconds to wait while there are no workers
_ASKED_EVERY = 10.0  # seconds between checks for workers


@dataclass(frozen=True)
class Slice:
    """The lines of a file that begin in a range of bytes.

    Args:
        url: URL of the file.
        start: first byte of the range.
        stop: end of the range; None for the end of the file.
        packing: suffix of the compression, or empty; a compressed file is not split.
    """

    url: str
    start: int
    stop: int | None
    packing: str = ""


@dataclass(frozen=True, eq=False)
class EncodedShard:
    """A part of the text on the cluster.

    Args:
        ids: ids of its pieces, and borders.
        starts: where the words of each piece start in `words`, `[pieces + 1]`.
        words: the words, in order of first occurrence.
        counts: `[words]`, the count of the piece of each word.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    words: list[str]
    counts: NDArray[np.int64]


class CountingContext(NamedTuple):
    """What counting needs besides a part of the text.

    Args:
        words: the vocabulary, by rank.
        weights: weights of pairs.
        implementation: `native` or `plain`.
        n_bytes: memory limit of a task in bytes.
    """

    words: list[str]
    weights: PairWeights
    implementation: str
    n_bytes: int


class Cluster:
    """A Dask cluster that reads and counts.

    Args:
        client: a `distributed.Client`, or the address of a scheduler. In the second case the connection
            is closed after counting.

    Raises:
        UnavailableError: Dask is not installed, or no scheduler answers at the address.
    """

    def __init__(self, client: Any) -> None:
        try:
            import distributed
        except ImportError:
            raise missing_package("counting on a cluster", "dask.distributed", "scale") from None
        self._is_ours = isinstance(client, str)
        if isinstance(client, str):
            try:
                client = distributed.Client(client)
            except (OSError, ValueError) as error:
                raise UnavailableError(f"no Dask scheduler answers at {client} ({error})") from None
        self._client = client
        self._names: dict[str, str] = {}

    def files_of(self, corpus: CorpusConfig) -> list[str]:
        """The files in the order in which they are read; local files as on one machine.

        Raises:
            ConfigError: no files are given.
            DataError: a folder or pattern has no files.
        """
        names: dict[str, str] = {}
        for name in corpus.train:
            if "://" in name:
                name_of_url = {url: url for url in _found(name, corpus.suffixes)}
            else:
                local = CorpusConfig(train=(name,), suffixes=corpus.suffixes)
                name_of_url = {str(path.resolve()): str(path) for path in find_files(local)}
            for url, given in name_of_url.items():
                names.setdefault(url, given)
        if not names:
            raise ConfigError("no corpus given; name files, folders or patterns")
        self._names = names
        return list(names)

    def stamps(self, files: Sequence[str]) -> list[list[Any]]:
        """Name, size and modification time of each file; for local files as on one machine."""
        all_stamps = []
        for url in files:
            if "://" in url:
                all_stamps.append([url, _size(url), _changed(url)])
            else:
                all_stamps += words.stamps([Path(self._names.get(url, url))])
        return all_stamps

    def count(
        self,
        files: Sequence[str],
        corpus: CorpusConfig,
        config: VectorsConfig,
        splitter: Splitter,
        implementation: ModuleType,
        out: Path,
    ) -> Iterator[VectorsEvent]:
        """Count the text; write `vocabulary.tsv` and `counts` to `out`.

        Raises:
            DataError: a file cannot be read as specified, or the text is too short.
            RunError: the disk is full.
            UnavailableError: the connection to the cluster is lost, it has no workers, or a worker fails.
        """
        with ExitStack() as stack:
            if self._is_ours:
                stack.callback(self._close)
            stack.enter_context(_one_sentence())
            yield from self._count(files, corpus, config, splitter, implementation, out)

    def _close(self) -> None:
        with suppress(Exception):  # the cluster may be gone already
            self._client.close()

    def _count(
        self,
        files: Sequence[str],
        corpus: CorpusConfig,
        config: VectorsConfig,
        splitter: Splitter,
        implementation: ModuleType,
        out: Path,
    ) -> Iterator[VectorsEvent]:
        client, name = self._client, _name_of(implementation)
        slices = [part for url in files for part in _slices(url, _part_bytes(config.n_bytes))]
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=_PATIENCE)
        self._require_workers()
        (asked,) = client.scatter([(corpus, config, splitter, name)], broadcast=True)
        parts = client.map(_number, slices, asked=asked, pure=False)
        seen, tick = WordCounts(), monotonic()
        summaries = self._finished(client.map(_summary, parts, pure=False))
        for done, future in enumerate(summaries, start=1):
            seen.add(*future.result())
            seconds = max(1e-9, monotonic() - tick)
            yield Read(seen.n_tokens, seen.n_tokens / seconds, done / len(slices))
        vocabulary = seen.vocabulary(config)
        vocabulary.save(out / VOCABULARY_FILE)
        n_kept = int(vocabulary.counts.sum())
        yield VocabularyMade(len(vocabulary), len(seen), seen.n_tokens, n_kept)
        require_longer(n_kept, config.window)
        weights = PairWeights.of(config, int(vocabulary.counts[0]))
        local_context = CountingContext(vocabulary.words, weights, name, config.n_bytes)
        (context,) = client.scatter([local_context], broadcast=True)
        before = self._before(parts, context, weights.window)
        sums = client.map(_count, parts, before, context=context, pure=False)
        del parts  # each is released when it has been counted
        tick = monotonic()
        sizes = self._finished(client.map(_n_entries, sums, pure=False))
        for done, future in enumerate(sizes, start=1):
            share = done / len(sums)
            rate = n_kept * share / max(1e-9, monotonic() - tick)
            yield Counted(int(n_kept * share), future.result(), rate, share)
        yield from self._gather(sums, n_kept, context, local_context, out)

    def _before(self, parts: Sequence[Any], context: Any, window: int) -> list[NDArray[np.int32]]:
        """The last words before each part, which may come from several earlier parts."""
        tails = self._client.map(_tail, parts, context=context, pure=False)
        for _ in self._finished(tails):
            pass
        before = [np.empty(0, np.int32)]
        for tail in self._client.gather(tails)[:-1]:
            before.append(np.concatenate([before[-1], tail])[-window:])
        return before

    def _gather(
        self,
        sums: Sequence[Any],
        n_kept: int,
        context: Any,
        local_context: CountingContext,
        out: Path,
    ) -> Iterator[VectorsEvent]:
        """Merge the sums of all parts, one range of rows at a time, and write them in order."""
        client, weights, tick = self._client, local_context.weights, monotonic()
        (ends,) = self._finished([self._added(client.map(_ends, sums, pure=False), _add_ends)])
        ranges = row_batches(ends.result(), _entries_of_range(local_context.n_bytes, weights.width))
        n_words, n_ahead = len(local_context.words), max(1, sum(client.nthreads().values()))
        waiting: deque[tuple[int, Any]] = deque()
        is_last = False
        with SumsWriter(out / COUNTS_FOLDER, weights, weights.width) as writer:
            while waiting or not is_last:
                while not is_last and len(waiting) < n_ahead:
                    first, stop = next(ranges)
                    cut = client.map(_cut, sums, first=first, stop=stop, pure=False)
                    waiting.append((stop, self._added(cut, _add, context=context)))
                    is_last = stop == n_words
                stop, future = waiting.popleft()
                (future,) = self._finished([future])
                matrix = future.result()
                writer.write(Rows(np.diff(matrix.ends).astype(np.int64), *matrix[1:]))
                share = stop / n_words
                seconds = max(1e-9, monotonic() - tick)
                yield Counted(n_kept, writer.n_nonzeros, n_kept * share / seconds, share)

    def _added(self, level: list[Any], add: Callable[..., Any], **given: Any) -> Any:
        """Add the results of several tasks, a few at a time, so that no task holds all of them."""
        while len(level) > 1:
            level = [
                self._client.submit(add, level[i : i + _ADDED_AT_ONCE], **given, pure=False)
                for i in range(0, len(level), _ADDED_AT_ONCE)
            ]
        return level[0]

    def _finished(self, futures: Sequence[Any]) -> Iterator[Any]:
        """Yield futures as they are completed; stop waiting if the cluster has no workers for long."""
        from distributed import wait

        waiting, alone_since = list(futures), None
        del futures
        while waiting:
            try:
                with self._client.as_current():
                    done, rest = wait(waiting, _ASKED_EVERY, return_when="FIRST_COMPLETED")
            except TimeoutError:
                if self._client.nthreads():
                    alone_since = None
                    continue
                alone_since = alone_since or monotonic()
                if monotonic() - alone_since >= _PATIENCE:
                    self._require_workers()
                continue
            waiting, alone_since = list(rest), None
            yield from done

    def _require_workers(self) -> None:
        if not self._client.nthreads():
            raise UnavailableError(
                f"the Dask cluster has had no workers for {_PATIENCE:.0f} seconds; start workers and "
                "continue with --resume"
            )


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Convert exceptions of Dask to errors with one sentence.

    Raises:
        UnavailableError: the connection to the cluster is lost, or a worker fails.
    """
    from distributed import KilledWorker
    from distributed.client import CancelledError  # type: ignore[attr-defined]

    try:
        yield
    except UnrolledError:
        raise
    except KilledWorker:
        raise UnavailableError(
            "workers of the Dask cluster were killed repeatedly while processing the same part of the "
            "text; give them more memory, or lower the limit of a task (--memory), and resume with "
            "--resume"
        ) from None
    except (CancelledError, OSError) as error:
        reason = "its scheduler is gone" if isinstance(error, CancelledError) else _briefly(error)
        raise UnavailableError(
            f"the connection to the Dask cluster was lost during counting ({reason}); restart the "
            "cluster, or leave out --cluster, and continue with --resume"
        ) from None
    except Exception as error:
        raise UnavailableError(
            f"a worker of the Dask cluster failed ({type(error).__name__}: {_briefly(error)}); install "
            "the same versions of Python, unrolled and Dask on all workers, and continue with --resume"
        ) from error


def _briefly(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _part_bytes(n_bytes: int) -> int:
    """Text of a task with a memory limit; its ids, pairs and sums take many times more memory."""
    return max(_LEAST_PART, min(_MOST_PART, n_bytes // 64))


def _entries_of_range(n_bytes: int, width: int) -> int:
    """Number of entries to add at once, so that the inputs and the result fit."""
    return max(_ENTRIES, n_bytes // 4 // (4 + 8 * width))


def _name_of(implementation: ModuleType) -> str:
    return "plain" if implementation is plain else "native"


def _named(name: str) -> ModuleType:
    """The module of an implementation; NumPy, with the same results, on a worker without kernels."""
    return native if name == "native" and native.why_not() is None else plain


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise missing_package("reading from a URL", "fsspec", "scale") from None
    return fsspec


def _found(url: str, wanted: Sequence[str]) -> list[str]:
    """The files of a URL, which may be that of a file, a folder or a pattern."""
    try:
        fs, path = _fsspec().core.url_to_fs(url)
        if fs.isdir(path):
            urls = [str(fs.unstrip_protocol(file)) for file in _in_folder(fs, path, wanted)]
        else:
            files = _fsspec().open_files(url)
            urls = [str(file.fs.unstrip_protocol(file.path)) for file in files]
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot be found ({error})", url) from None
    if not urls:
        suffixed = f" with suffix {' or '.join(wanted)}" if wanted else ""
        raise DataError(f"found no file{suffixed}; check the URL", url)
    return sorted(urls)


def _in_folder(fs: Any, folder: str, wanted: Sequence[str]) -> Iterator[str]:
    """Files at any depth, except those whose name or folder starts with a dot, as in a local folder."""
    chosen = tuple(suffix.lower() for suffix in wanted)
    for path in fs.find(folder):
        inner = PurePosixPath(str(path).removeprefix(folder.rstrip("/") + "/"))
        plain = inner.name.lower().removesuffix(endings(inner)[1])
        is_hidden = any(part.startswith(".") for part in inner.parts)
        if not is_hidden and (not chosen or plain.endswith(chosen)):
            yield path


def _size(url: str) -> int:
    try:
        fs, path = _fsspec().core.url_to_fs(url)
        return int(fs.size(path) or 0)
    except FileNotFoundError:
        raise DataError("no such file", url) from None
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot be read ({error})", url) from None


def _changed(url: str) -> str:
    """Modification time of a file, or empty; a resumed run recognizes its text by it."""
    try:
        fs, path = _fsspec().core.url_to_fs(url)
        return str(fs.modified(path))
    except (NotImplementedError, AttributeError, OSError, ValueError):
        return ""


def _slices(url: str, part_bytes: int) -> list[Slice]:
    packing = endings(PurePosixPath(url))[1]
    size = _size(url)
    if packing:
        return [Slice(url, 0, None, packing)]
    starts = range(0, max(1, size), part_bytes)
    return [
        Slice(url, start, start + part_bytes if start + part_bytes < size else None)
        for start in starts
    ]


# Functions that run on the workers


def _number(part: Slice, asked: tuple[CorpusConfig, VectorsConfig, Splitter, str]) -> EncodedShard:
    """Read and encode a part of the text."""
    corpus, config, splitter, name = asked
    texts = _texts(part, corpus, config)
    if part.packing:
        texts = _bounded(texts, part, config)
    ids, pieces, counts = _named(name).encode(texts, border_of(corpus, config))
    listed = pieces.decode("utf-8").split("\n")[:-1]
    words, lengths = splitter.words(listed)
    seen = counts if lengths is None else np.repeat(counts, lengths)
    return EncodedShard(ids, splitter.starts(lengths, len(listed)), words, np.array(seen))


def _bounded(texts: Iterable[bytes], part: Slice, config: VectorsConfig) -> Iterator[bytes]:
    """The text of a compressed file; an error if it is too long for the memory limit of a task."""
    n_bytes = 0
    for text in texts:
        n_bytes += len(text)
        if n_bytes > config.n_bytes // 3:
            raise DataError(
                f"contains too much text for one task with {config.memory}, and a compressed file cannot "
                "be split; decompress it, compress it in parts, or raise the limit (--memory)",
                part.url,
            )
        yield text


def _texts(part: Slice, corpus: CorpusConfig, config: VectorsConfig) -> Iterator[bytes]:
    """The text of a part in blocks of whole words."""
    mark = Marker(corpus, config)
    carried, at_line_start = "", True
    for raw, offset, in_line in _raw_blocks(part, corpus.encoding):
        decoded = decode_block(raw, part.url, offset, corpus, in_line)
        text = carried + mark(decoded, at_line_start)
        at_line_start = decoded.endswith("\n") if decoded else at_line_start
        carried = "" if at_line_start else partial_word(text)
        if len(carried) > _BLOCK:
            raise DataError(
                f"found a word of more than {_BLOCK:,} characters at byte {offset}; expected a text file",
                part.url,
            )
        yield text[: len(text) - len(carried)].encode("utf-8")
    yield (carried + (mark.end_of_file if part.stop is None else "")).encode("utf-8")


def _raw_blocks(part: Slice, encoding: str) -> Iterator[tuple[bytes, int, bool]]:
    """Blocks of whole lines, or of parts of a long line; with offset and whether it is inside a line."""
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_fsspec().open(part.url, "rb"))
            if part.packing:
                stream = stack.enter_context(unpacked(stream, part.packing, part.url))
            offset = _first_line(stream, part.start)
            rest, in_line = b"", False
            while True:
                room = max(1, _BLOCK - len(rest))  # as on one machine
                position = offset + len(rest)
                if part.stop is None or position < part.stop:
                    left = room if part.stop is None else part.stop - position
                    read = stream.read(min(room, left))
                elif rest or in_line:
                    read = stream.readline(room)  # the line that begins before `stop`
                else:
                    break
                if not read:
                    break
                rest += read
                end = rest.rfind(b"\n") + 1
                if not end and len(rest) >= _BLOCK:
                    end = end_of_last_character(rest, encoding, part.url)
                if end:
                    yield rest[:end], offset, in_line
                    in_line = not rest.endswith(b"\n", 0, end)
                    offset, rest = offset + end, rest[end:]
            if rest:
                yield rest, offset, in_line
    except FileNotFoundError:
        raise DataError("no such file", part.url) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error})", part.url) from None


def _first_line(stream: Any, start: int) -> int:
    """Move to the first line that begins at `start` or after it; return its offset."""
    if not start:
        return 0
    stream.seek(start - 1)
    offset = start - 1
    while read := stream.readline(_BLOCK):
        offset += len(read)
        if read.endswith(b"\n"):
            break
    return offset


def _summary(part: EncodedShard) -> tuple[list[str], NDArray[np.int64]]:
    return part.words, part.counts


def _tokens(part: EncodedShard, context: CountingContext) -> NDArray[np.int32]:
    ranks = {word: rank for rank, word in enumerate(context.words)}
    word_ranks = np.fromiter(
        (ranks.get(word, BORDER) for word in part.words), np.int32, len(part.words)
    )
    implementation = _named(context.implementation)
    tokens: NDArray[np.int32] = implementation.expand(part.ids, part.starts, word_ranks)
    return tokens


def _tail(part: EncodedShard, context: CountingContext) -> NDArray[np.int32]:
    """The last tokens of a part, as many as a window."""
    return _tokens(part, context)[-context.weights.window :].copy()


def _count(part: EncodedShard, before: NDArray[np.int32], context: CountingContext) -> Matrix:
    """The sums of a part; windows of its first words include the words `before` it."""
    weights, n_words = context.weights, len(context.words)
    implementation = _named(context.implementation)
    tokens = _tokens(part, context)
    most = max(_LEAST_TOKENS, min(_MOST_TOKENS, context.n_bytes // 64))
    total: Matrix | None = None
    for chunk in chunks([before, tokens], weights.window, min(most, len(tokens)), len(before)):
        rows = implementation.count_rows(chunk.tokens, chunk.first, n_words, weights, _ENTRIES, 1)
        matrix = _as_matrix(list(rows), n_words, weights)
        total = matrix if total is None else _add([total, matrix], context)
    return _as_matrix([], n_words, weights) if total is None else total


def _n_entries(matrix: Matrix) -> int:
    return len(matrix.columns)


def _ends(matrix: Matrix) -> NDArray[np.uint64]:
    return matrix.ends


def _add_ends(totals: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.sum(totals, axis=0, dtype=np.uint64)


def _as_matrix(batches: Sequence[Rows], n_words: int, weights: PairWeights) -> Matrix:
    sizes = [rows.sizes for rows in batches] or [np.zeros(n_words, np.int64)]
    ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.uint64)
    shape = (0, 2) if weights.is_wide else 0
    columns = np.concatenate([np.empty(0, np.uint32), *(rows.columns for rows in batches)])
    values = np.concatenate([np.empty(shape, np.uint64), *(rows.values for rows in batches)])
    return Matrix(ends, columns, values)


def _cut(matrix: Matrix, first: int, stop: int) -> Matrix:
    """A range of rows of a matrix."""
    start, end = int(matrix.ends[first]), int(matrix.ends[stop])
    ends = matrix.ends[first : stop + 1] - matrix.ends[first]
    return Matrix(ends, matrix.columns[start:end].copy(), matrix.values[start:end].copy())


def _add(matrices: Sequence[Matrix], context: CountingContext) -> Matrix:
    n_words, weights = len(context.words), context.weights
    rows = _named(context.implementation).merge_rows(list(matrices), n_words, weights, 1)
    return _as_matrix([rows], n_words, weights)
