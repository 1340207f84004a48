"""Reading and counting on a cluster of machines, with Dask (`pip install 'unrolled[scale]'`).

Each task reads a part of the text from wherever fsspec reaches, and numbers its words; the words of
all parts make the vocabulary; each part is then counted by itself, with the last words of the part
before, and the sums are added up by ranges of rows. Sums are integers, so the counts are those of one
machine, bit for bit, on any number of workers. Nothing passes through the client but words and the
finished rows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, DataError, UnavailableError
from unrolled.text.corpus import CorpusConfig, decode_block, find_files
from unrolled.vectors import native, plain
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.cooccurrence import (
    SumsWriter,
    require_longer,
    stretches,
)
from unrolled.vectors.events import Counted, Read, VectorsEvent, VocabularyMade
from unrolled.vectors.formats_safetensors import VOCABULARY_FILE
from unrolled.vectors.ratios import COUNTS_FOLDER
from unrolled.vectors.records import BORDER, Matrix, PairWeights, Rows
from unrolled.vectors.vocabulary import WordCounts
from unrolled.vectors.words import Marker, Splitter, border_of, torn

PART_BYTES = 64 << 20
_BLOCK = 1 << 20
_ADDED_AT_ONCE = 8
_ENTRIES = 1 << 22
_TOKENS_OF_RANGE = 50_000_000


@dataclass(frozen=True)
class Slice:
    """Lines of a file that begin in a range of its bytes.

    Args:
        url: of the file.
        start: of the range.
        stop: its end; None for that of the file.
        is_packed: whether the file is gzipped; then it is not cut.
    """

    url: str
    start: int
    stop: int | None
    is_packed: bool


@dataclass(frozen=True, eq=False)
class Numbered:
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


class Cluster:
    """A Dask cluster that reads and counts.

    Args:
        client: a `distributed.Client`, or the address of a scheduler.

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
        if isinstance(client, str):
            try:
                client = distributed.Client(client)
            except (OSError, ValueError) as error:
                raise UnavailableError(f"no Dask scheduler answers at {client} ({error})") from None
        self._client = client

    def files_of(self, corpus: CorpusConfig) -> list[str]:
        """The files in the order in which they are read; local ones as on one machine.

        Raises:
            ConfigError: none is given.
            DataError: a folder or a pattern holds none.
        """
        files: list[str] = []
        for name in corpus.train:
            if "://" in name:
                found = _globbed(name)
            else:
                its = CorpusConfig(train=(name,), suffixes=corpus.suffixes)
                found = [str(path.resolve()) for path in find_files(its)]
            files += [each for each in found if each not in files]
        if not files:
            raise ConfigError("no data given; name files, folders or patterns")
        return files

    def stamps(self, files: Sequence[str]) -> list[list[Any]]:
        """Name and size of each file."""
        return [[each, _size(each), 0] for each in files]

    def count(
        self,
        files: Sequence[str],
        corpus: CorpusConfig,
        config: VectorsConfig,
        splitter: Splitter,
        implementation: ModuleType,
        out: Path,
        part_bytes: int | None = None,
    ) -> Iterator[VectorsEvent]:
        """Write `vocabulary.tsv` and `counts` into `out`.

        Raises:
            DataError: a file cannot be read as asked, or holds too little.
            RunError: the disk is full.
        """
        from distributed import as_completed

        client, name = self._client, _name_of(implementation)
        slices = [each for url in files for each in _slices(url, part_bytes or PART_BYTES)]
        (asked,) = client.scatter([(corpus, config, splitter, name)], broadcast=True)
        parts = client.map(_number, slices, asked=asked, pure=False)
        summaries = client.map(_summary, parts, pure=False)
        seen, tick = WordCounts(), monotonic()
        for done, future in enumerate(as_completed(summaries), start=1):
            seen.add(*future.result())
            seconds = max(1e-9, monotonic() - tick)
            yield Read(seen.n_tokens, seen.n_tokens / seconds, done / len(slices))
        vocabulary = seen.vocabulary(config)
        vocabulary.save(out / VOCABULARY_FILE)
        n_kept = int(vocabulary.counts.sum())
        yield VocabularyMade(len(vocabulary), len(seen), seen.n_tokens, n_kept)
        require_longer(n_kept, config.window)
        weights = PairWeights.of(config, int(vocabulary.counts[0]))
        (known,) = client.scatter([(vocabulary.words, weights, name)], broadcast=True)
        before = self._before(parts, known, weights.window)
        sums = client.map(_count, parts, before, known=known, pure=False)
        yield from self._gather(sums, vocabulary.counts, weights, known, out)

    def _before(self, parts: Sequence[Any], known: Any, window: int) -> list[NDArray[np.int32]]:
        """The last words before each part, which may be of several."""
        tails = self._client.gather(self._client.map(_tail, parts, known=known, pure=False))
        before = [np.empty(0, np.int32)]
        for tail in tails[:-1]:
            before.append(np.concatenate([before[-1], tail])[-window:])
        return before

    def _gather(
        self,
        sums: Sequence[Any],
        seen: NDArray[np.int64],
        weights: PairWeights,
        known: Any,
        out: Path,
    ) -> Iterator[VectorsEvent]:
        """Add the sums of all parts up, a range of rows at a time, and write them in order."""
        client, n_kept, tick = self._client, int(seen.sum()), monotonic()
        n_ranges = max(1, n_kept // _TOKENS_OF_RANGE)
        ends = np.searchsorted(np.cumsum(seen), np.arange(1, n_ranges) * (n_kept / n_ranges))
        bounds = sorted({0, *(int(end) + 1 for end in ends if end + 1 < len(seen)), len(seen)})
        ranges = []
        for first, stop in pairwise(bounds):
            level = client.map(_cut, sums, first=first, stop=stop, pure=False)
            while len(level) > 1:
                level = [
                    client.submit(_add, level[i : i + _ADDED_AT_ONCE], known, pure=False)
                    for i in range(0, len(level), _ADDED_AT_ONCE)
                ]
            ranges.append(level[0])
        with SumsWriter(out / COUNTS_FOLDER, weights, weights.width) as writer:
            for number, future in enumerate(ranges, start=1):
                matrix = future.result()
                writer.write(Rows(np.diff(matrix.ends).astype(np.int64), *matrix[1:]))
                share = number / len(ranges)
                seconds = max(1e-9, monotonic() - tick)
                yield Counted(
                    int(n_kept * share), writer.n_nonzeros, n_kept * share / seconds, share
                )


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


def _globbed(url: str) -> list[str]:
    try:
        files = _fsspec().open_files(url)
        found = [str(each.fs.unstrip_protocol(each.path)) for each in files]
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot be found ({error})", url) from None
    if not found:
        raise DataError("no file matches", url)
    return sorted(found)


def _size(url: str) -> int:
    try:
        fs, path = _fsspec().core.url_to_fs(url)
        return int(fs.size(path) or 0)
    except FileNotFoundError:
        raise DataError("no such file", url) from None
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot be read ({error})", url) from None


def _slices(url: str, part_bytes: int) -> list[Slice]:
    if url.lower().endswith(".gz"):
        return [Slice(url, 0, None, True)]
    size = _size(url)
    starts = range(0, max(1, size), part_bytes)
    return [
        Slice(url, start, start + part_bytes if start + part_bytes < size else None, False)
        for start in starts
    ]


# What runs on the workers


def _number(part: Slice, asked: tuple[CorpusConfig, VectorsConfig, Splitter, str]) -> Numbered:
    """Read and number a part of the text."""
    corpus, config, splitter, name = asked
    texts = list(_texts(part, corpus, config))
    ids, pieces, counts = _named(name).encode(texts, border_of(corpus, config))
    listed = pieces.decode("utf-8").split("\n")[:-1]
    words, lengths = splitter.words(listed)
    seen = counts if lengths is None else np.repeat(counts, lengths)
    return Numbered(ids, splitter.starts(lengths, len(listed)), words, np.array(seen))


def _texts(part: Slice, corpus: CorpusConfig, config: VectorsConfig) -> Iterator[bytes]:
    """The text of a part, no word torn."""
    mark = Marker(corpus, config)
    carried, at_line_start = "", True
    for raw, offset in _raw_blocks(part):
        decoded = decode_block(raw, part.url, offset, corpus)
        text = carried + mark(decoded, at_line_start)
        at_line_start = decoded.endswith("\n") if decoded else at_line_start
        carried = "" if at_line_start else torn(text)
        if len(carried) > _BLOCK:
            raise DataError(
                f"a word of more than {_BLOCK:,} characters at byte {offset}; is this a text?",
                part.url,
            )
        yield text[: len(text) - len(carried)].encode("utf-8")
    yield (carried + (mark.end_of_file if part.stop is None else "")).encode("utf-8")


def _raw_blocks(part: Slice) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, or of parts of a longer line, with the byte each begins at."""
    try:
        with _fsspec().open(part.url, "rb") as opened:
            stream = gzip.GzipFile(fileobj=opened) if part.is_packed else opened
            offset = _first_line(stream, part.start)
            rest, in_line = b"", False
            while True:
                is_before = part.stop is None or offset + len(rest) < part.stop
                if is_before:
                    room = _BLOCK if part.stop is None else part.stop - offset - len(rest)
                    read = stream.read(min(_BLOCK, room))
                elif rest or in_line:
                    read = stream.readline(_BLOCK)  # the line that began before the stop
                else:
                    break
                if not read:
                    break
                rest += read
                end = rest.rfind(b"\n") + 1
                if not end and len(rest) >= _BLOCK:
                    end = _end_of_character(rest)
                if end:
                    in_line = not rest.endswith(b"\n", 0, end)
                    yield rest[:end], offset
                    offset, rest = offset + end, rest[end:]
            if rest:
                yield rest, offset
    except FileNotFoundError:
        raise DataError("no such file", part.url) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file ({error}); copy it again", part.url) from None
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


def _end_of_character(raw: bytes) -> int:
    """Where a block inside a line ends: no character is torn, in UTF-8 or any code of single bytes."""
    end = len(raw)
    while end > len(raw) - 4 and raw[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if raw[end - 1] >= 0xC0 or raw[end - 1] == 0x0D else end


def _summary(part: Numbered) -> tuple[list[str], NDArray[np.int64]]:
    return part.words, part.counts


Known = tuple[list[str], PairWeights, str]


def _tokens(part: Numbered, known: Known) -> NDArray[np.int32]:
    words, _, name = known
    ranks = {word: rank for rank, word in enumerate(words)}
    its = np.fromiter((ranks.get(word, BORDER) for word in part.words), np.int32, len(part.words))
    found: NDArray[np.int32] = _named(name).expand(part.ids, part.starts, its)
    return found


def _tail(part: Numbered, known: Known) -> NDArray[np.int32]:
    """Its last words."""
    return _tokens(part, known)[-known[1].window :].copy()


def _count(part: Numbered, before: NDArray[np.int32], known: Known) -> Matrix:
    """The sums of a part, whose first words have those `before` it in their windows."""
    words, weights, name = known
    tokens = _tokens(part, known)
    n_words = len(words)
    found = []
    if len(tokens):
        both = np.concatenate([before, tokens])
        for stretch in stretches([both], weights.window, len(tokens), len(before)):
            rows = _named(name).count_rows(
                stretch.tokens, stretch.first, n_words, weights, _ENTRIES, 1
            )
            found = list(rows)
    return _as_matrix(found, n_words, weights)


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


def _add(matrices: Sequence[Matrix], known: Known) -> Matrix:
    words, weights, name = known
    rows = _named(name).merge_rows(list(matrices), len(words), weights, 1)
    return _as_matrix([rows], len(words), weights)
