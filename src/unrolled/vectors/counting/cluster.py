"""Reading and counting on a cluster of machines, with Dask (`pip install 'unrolled[scale]'`).

Each task reads a part of the text from wherever fsspec reaches, and numbers its words; the words of
all parts make the vocabulary; each part is then counted by itself, with the last words of the part
before, and the sums are added up by ranges of rows. Sums are integers, so the counts are those of one
machine, bit for bit, on any number of workers. The workers hold the ids and the sums of all parts among
them, on their disks where Dask has to; a task holds no more than `VectorsConfig.memory`. Nothing passes
through the client but words and the finished rows, a range at a time.
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

from unrolled.errors import ConfigError, DataError, UnavailableError, UnrolledError
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
_BLOCK = 1 << 20
_ADDED_AT_ONCE = 8
_ENTRIES = 1 << 22  # made at once
_LEAST_TOKENS, _MOST_TOKENS = 1 << 16, 1 << 31  # of a chunk, whose positions are 32 bits
_PATIENCE = 300.0  # seconds without a single worker
_ASKED_EVERY = 10.0  # seconds in which nothing was finished


@dataclass(frozen=True)
class Slice:
    """Lines of a file that begin in a range of its bytes.

    Args:
        url: of the file.
        start: of the range.
        stop: its end; None for that of the file.
        packing: the ending that says how the file is packed, or nothing; a packed file is not cut.
    """

    url: str
    start: int
    stop: int | None
    packing: str = ""


@dataclass(frozen=True, eq=False)
class EncodedShard:
    """A part of the text on the cluster.

    Args:
        ids: of its pieces, and borders.
        starts: where the words of each piece start in `words`, `[pieces + 1]`.
        words: by their first appearance.
        counts: `[words]`, how often the piece of each was seen.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    words: list[str]
    counts: NDArray[np.int64]


class CountingContext(NamedTuple):
    """What counting needs besides a part of the text.

    Args:
        words: the vocabulary, by rank.
        weights: of pairs.
        implementation: `native` or `plain`.
        n_bytes: that a task may take.
    """

    words: list[str]
    weights: PairWeights
    implementation: str
    n_bytes: int


class Cluster:
    """A Dask cluster that reads and counts.

    Args:
        client: a `distributed.Client`, or the address of a scheduler; then the connection is closed when
            all is counted.

    Raises:
        UnavailableError: Dask is not installed, or nobody answers at the address.
    """

    def __init__(self, client: Any) -> None:
        try:
            import distributed
        except ImportError:
            raise UnavailableError(
                "counting on a cluster needs dask.distributed; pip install 'unrolled[scale]'"
            ) from None
        self._is_ours = isinstance(client, str)
        if isinstance(client, str):
            try:
                client = distributed.Client(client)
            except (OSError, ValueError) as error:
                raise UnavailableError(f"no Dask scheduler answers at {client} ({error})") from None
        self._client = client
        self._names: dict[str, str] = {}

    def files_of(self, corpus: CorpusConfig) -> list[str]:
        """The files in the order in which they are read; local ones as on one machine.

        Raises:
            ConfigError: none is given.
            DataError: a folder or a pattern holds none.
        """
        names: dict[str, str] = {}
        for name in corpus.train:
            if "://" in name:
                found = {url: url for url in _found(name, corpus.suffixes)}
            else:
                its = CorpusConfig(train=(name,), suffixes=corpus.suffixes)
                found = {str(path.resolve()): str(path) for path in find_files(its)}
            for url, given in found.items():
                names.setdefault(url, given)
        if not names:
            raise ConfigError("no data given; name files, folders or patterns")
        self._names = names
        return list(names)

    def stamps(self, files: Sequence[str]) -> list[list[Any]]:
        """Name, size and time of change of each file; of local ones as on one machine."""
        found = []
        for url in files:
            if "://" in url:
                found.append([url, _size(url), _changed(url)])
            else:
                found += words.stamps([Path(self._names.get(url, url))])
        return found

    def count(
        self,
        files: Sequence[str],
        corpus: CorpusConfig,
        config: VectorsConfig,
        splitter: Splitter,
        implementation: ModuleType,
        out: Path,
    ) -> Iterator[VectorsEvent]:
        """Write `vocabulary.tsv` and `counts` into `out`.

        Raises:
            DataError: a file cannot be read as asked, or holds too little.
            RunError: the disk is full.
            UnavailableError: the cluster is lost, has no workers, or they cannot do it.
        """
        with ExitStack() as stack:
            if self._is_ours:
                stack.callback(self._close)
            stack.enter_context(_one_sentence())
            yield from self._count(files, corpus, config, splitter, implementation, out)

    def _close(self) -> None:
        with suppress(Exception):  # a cluster that is gone need not be told
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
        slices = [each for url in files for each in _slices(url, _part_bytes(config.n_bytes))]
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
        del parts  # they are released as their counts are made
        tick = monotonic()
        sizes = self._finished(client.map(_n_entries, sums, pure=False))
        for done, future in enumerate(sizes, start=1):
            share = done / len(sums)
            rate = n_kept * share / max(1e-9, monotonic() - tick)
            yield Counted(int(n_kept * share), future.result(), rate, share)
        yield from self._gather(sums, n_kept, context, local_context, out)

    def _before(self, parts: Sequence[Any], context: Any, window: int) -> list[NDArray[np.int32]]:
        """The last words before each part, which may be of several."""
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
        """Add the sums of all parts up, a range of rows at a time, and write them in order."""
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
        """The sum of what several tasks make, some at a time; no task holds all of them."""
        while len(level) > 1:
            level = [
                self._client.submit(add, level[i : i + _ADDED_AT_ONCE], **given, pure=False)
                for i in range(0, len(level), _ADDED_AT_ONCE)
            ]
        return level[0]

    def _finished(self, futures: Sequence[Any]) -> Iterator[Any]:
        """What is submitted, as it is done; does not wait for a cluster that has no workers."""
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
                f"the Dask cluster has had no worker for {_PATIENCE:.0f} seconds; start some, and go on "
                "with --resume"
            )


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what Dask raises into one sentence.

    Raises:
        UnavailableError: the cluster is lost, or cannot do what is asked.
    """
    from distributed import KilledWorker
    from distributed.client import CancelledError  # type: ignore[attr-defined]

    try:
        yield
    except UnrolledError:
        raise
    except KilledWorker:
        raise UnavailableError(
            "workers of the Dask cluster died again and again over one part of the text; give them more "
            "memory, or a task less of it (--memory), and go on with --resume"
        ) from None
    except (CancelledError, OSError) as error:
        reason = "its scheduler is gone" if isinstance(error, CancelledError) else _briefly(error)
        raise UnavailableError(
            f"the Dask cluster was lost while it counted ({reason}); start it again, or leave out "
            "--cluster, and go on with --resume"
        ) from None
    except Exception as error:
        raise UnavailableError(
            f"a worker of the Dask cluster failed ({type(error).__name__}: {_briefly(error)}); have "
            "the same versions of Python, unrolled and Dask on all of them, and go on with --resume"
        ) from error


def _briefly(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _part_bytes(n_bytes: int) -> int:
    """Text of a task that may take so many bytes; its ids, pairs and their sums are many times more."""
    return max(_LEAST_PART, min(_MOST_PART, n_bytes // 64))


def _entries_of_range(n_bytes: int, width: int) -> int:
    """Of all parts' sums, those that are added up together: the sums and their sum fit."""
    return max(_ENTRIES, n_bytes // 4 // (4 + 8 * width))


def _name_of(implementation: ModuleType) -> str:
    return "plain" if implementation is plain else "native"


def _named(name: str) -> ModuleType:
    """On a worker without kernels NumPy counts the same."""
    return native if name == "native" and native.why_not() is None else plain


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise UnavailableError(
            "reading from a URL needs fsspec; pip install 'unrolled[scale]'"
        ) from None
    return fsspec


def _found(url: str, wanted: Sequence[str]) -> list[str]:
    """The files that the URL of a file, a folder or a pattern stands for."""
    try:
        fs, path = _fsspec().core.url_to_fs(url)
        if fs.isdir(path):
            found = [str(fs.unstrip_protocol(each)) for each in _in_folder(fs, path, wanted)]
        else:
            files = _fsspec().open_files(url)
            found = [str(each.fs.unstrip_protocol(each.path)) for each in files]
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot be found ({error})", url) from None
    if not found:
        suffixed = f" with suffix {' or '.join(wanted)}" if wanted else ""
        raise DataError(f"no file{suffixed} is there", url)
    return sorted(found)


def _in_folder(fs: Any, folder: str, wanted: Sequence[str]) -> Iterator[str]:
    """Files at any depth, without names that start with a dot, as in a local folder."""
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
    """When the file was changed, where that is known; a run that goes on knows its text by it."""
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


# What runs on the workers


def _number(part: Slice, asked: tuple[CorpusConfig, VectorsConfig, Splitter, str]) -> EncodedShard:
    """Read and number a part of the text."""
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
    """The text of a packed file, which one task must number, as long as its words have room there."""
    n_bytes = 0
    for text in texts:
        n_bytes += len(text)
        if n_bytes > config.n_bytes // 3:
            raise DataError(
                f"holds too much text for one task in {config.memory}, and a packed file cannot be cut; "
                "unpack it, pack it in parts, or give a task more (--memory)",
                part.url,
            )
        yield text


def _texts(part: Slice, corpus: CorpusConfig, config: VectorsConfig) -> Iterator[bytes]:
    """The text of a part, no word torn."""
    mark = Marker(corpus, config)
    carried, at_line_start = "", True
    for raw, offset, in_line in _raw_blocks(part, corpus.encoding):
        decoded = decode_block(raw, part.url, offset, corpus, in_line)
        text = carried + mark(decoded, at_line_start)
        at_line_start = decoded.endswith("\n") if decoded else at_line_start
        carried = "" if at_line_start else partial_word(text)
        if len(carried) > _BLOCK:
            raise DataError(
                f"a word of more than {_BLOCK:,} characters at byte {offset}; is this a text?",
                part.url,
            )
        yield text[: len(text) - len(carried)].encode("utf-8")
    yield (carried + (mark.end_of_file if part.stop is None else "")).encode("utf-8")


def _raw_blocks(part: Slice, encoding: str) -> Iterator[tuple[bytes, int, bool]]:
    """Blocks of whole lines, or of parts of a longer line; the byte each begins at, and if in a line."""
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
                    read = stream.readline(room)  # the line that began before the stop
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
    """Go to the first line that begins at `start` or after it."""
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
    its = np.fromiter((ranks.get(word, BORDER) for word in part.words), np.int32, len(part.words))
    implementation = _named(context.implementation)
    found: NDArray[np.int32] = implementation.expand(part.ids, part.starts, its)
    return found


def _tail(part: EncodedShard, context: CountingContext) -> NDArray[np.int32]:
    """Its last words."""
    return _tokens(part, context)[-context.weights.window :].copy()


def _count(part: EncodedShard, before: NDArray[np.int32], context: CountingContext) -> Matrix:
    """The sums of a part, whose first words have those `before` it in their windows."""
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


def _as_matrix(found: Sequence[Rows], n_words: int, weights: PairWeights) -> Matrix:
    sizes = [rows.sizes for rows in found] or [np.zeros(n_words, np.int64)]
    ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.uint64)
    shape = (0, 2) if weights.is_wide else 0
    columns = np.concatenate([np.empty(0, np.uint32), *(rows.columns for rows in found)])
    values = np.concatenate([np.empty(shape, np.uint64), *(rows.values for rows in found)])
    return Matrix(ends, columns, values)


def _cut(matrix: Matrix, first: int, stop: int) -> Matrix:
    """Some rows of a matrix."""
    start, end = int(matrix.ends[first]), int(matrix.ends[stop])
    ends = matrix.ends[first : stop + 1] - matrix.ends[first]
    return Matrix(ends, matrix.columns[start:end].copy(), matrix.values[start:end].copy())


def _add(matrices: Sequence[Matrix], context: CountingContext) -> Matrix:
    n_words, weights = len(context.words), context.weights
    rows = _named(context.implementation).merge_rows(list(matrices), n_words, weights, 1)
    return _as_matrix([rows], n_words, weights)
