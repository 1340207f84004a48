"""Encode text as ids: it is read once, in parts that are kept on disk until they are counted.

A part has its own list of different words and the text as ids into it, so that parts can be made in
parallel, on several threads or machines. First the pieces between ASCII white space are numbered; then
each *different* piece is split into words once. So lower-casing, normal forms and splitting cost nothing
per word of the text.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from unrolled import documents, storage
from unrolled.errors import ConfigError, RunError
from unrolled.text.config import SPECIALS, TextConfig
from unrolled.text.corpus.corpus import CorpusConfig, find_files, read_blocks
from unrolled.text.limits import line_too_long, longest_line
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary, composed
from unrolled.vectors.formats.arrays import array_header, numbers
from unrolled.vectors.kernels.types import BORDER

CorpusLike = str | PathLike[str] | Sequence[str | PathLike[str]] | CorpusConfig

_DOCUMENT_END = "\0"  # never occurs in a text: readers refuse it


def as_corpus(corpus: CorpusLike) -> CorpusConfig:
    """A path or several paths as a `CorpusConfig`; a `CorpusConfig` is returned as it is.

    >>> as_corpus("talk.txt").train
    ('talk.txt',)
    """
    if isinstance(corpus, CorpusConfig):
        return corpus
    paths = [corpus] if isinstance(corpus, str | PathLike) else list(corpus)
    return CorpusConfig(train=tuple(str(path) for path in paths))


@dataclass(frozen=True)
class Place:
    """The position from which reading continues.

    Args:
        file: index in the list of files.
        offset: bytes of the decompressed file before it.
        line: line ends before it.
        carried: first part of a word that was split at this position.
        in_line: whether the position is inside a line.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    carried: str = ""
    in_line: bool = False


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the text.

    Args:
        ids: ids of its pieces, in order; `BORDER` between those that share no window.
        pieces: the different pieces by id, in UTF-8, each followed by a line end.
        counts: frequency of each piece.
        end: where the next part begins.
    """

    ids: NDArray[np.int32]
    pieces: bytes
    counts: NDArray[np.int64]
    end: Place

    def listed(self) -> list[str]:
        """The pieces by id."""
        return self.pieces.decode("utf-8").split("\n")[:-1]

    def save(self, path: Path) -> None:
        """Write it as three consecutive arrays, each with its checksum.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        with storage.replacing(path) as stream:
            for values in (self.counts, numbers(self.pieces, np.uint8), self.ids):
                # np.save may not notice a full disk while it writes the last few kilobytes.
                about = np.lib.format.header_data_from_array_1_0(values)
                np.lib.format.write_array_header_1_0(stream, about)
                content = np.ascontiguousarray(values).data
                stream.write(content)
                stream.write(crc32(content).to_bytes(4, "little"))


def load_counts(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Load the pieces of a saved part and their counts.

    Raises:
        RunError: the file is missing or damaged.
    """
    pieces, counts, _ = _load(path, 2)
    return pieces, counts


def load_part(path: Path) -> tuple[list[str], NDArray[np.int32]]:
    """Load the pieces and ids of a saved part.

    Raises:
        RunError: the file is missing or damaged.
    """
    pieces, _, (ids,) = _load(path, 3)
    return pieces, ids


def _load(
    path: Path, n_arrays: int
) -> tuple[list[str], NDArray[np.int64], list[NDArray[np.int32]]]:
    try:
        with documents.open_regular(path) as stream:
            counts, letters, *ids = (_checked(stream) for _ in range(n_arrays))
        pieces = letters.tobytes().decode("utf-8").split("\n")[:-1]
        types = [array.dtype for array in (counts, letters, *ids)]
        if types != [np.int64, np.uint8, np.int32][:n_arrays] or len(counts) != len(pieces):
            raise ValueError
        if any(len(i) and not BORDER <= i.min() <= i.max() < len(pieces) for i in ids):
            raise ValueError
        return pieces, counts, ids
    except (OSError, ValueError):
        raise RunError(f"{path}: missing or damaged; train again (--force)") from None


def _checked(stream: BinaryIO) -> NDArray[Any]:
    shape, dtype = array_header(stream)
    n = math.prod(shape)
    if len(shape) != 1 or stream.tell() + n * dtype.itemsize > os.fstat(stream.fileno()).st_size:
        raise ValueError
    values: NDArray[Any] = np.fromfile(stream, dtype, n)
    if crc32(values.data) != int.from_bytes(stream.read(4), "little"):
        raise ValueError
    return values


class Splitter:
    """Splits pieces into words, according to a configuration or a tokenizer.

    >>> Splitter(VectorsConfig(tokens="word", lowercase=True)).words(["Don't", "stop."])
    (['do', "n't", 'stop', '.'], [2, 2])
    """

    most_remembered = 1 << 20
    """Number of different pieces whose words are cached; frequent pieces occur early in a text."""

    def __init__(self, config: VectorsConfig, tokenizer: Tokenizer | None = None) -> None:
        self._lowercase = config.lowercase
        self._split: Callable[[str], list[str]] | None = None
        if tokenizer is not None:
            if tokenizer.kind not in ("word", "space"):
                raise ConfigError(
                    f"the tokenizer is of kind {tokenizer.kind}, but vectors need words; give one of "
                    "kind word or space"
                )
            self._split = _by(tokenizer)
        elif config.tokens == "word":
            self._split = _by(_untrained(config.lowercase))
        self._seen: dict[str, list[str]] = {}

    @property
    def remembers(self) -> bool:
        """Whether pieces are split, and their words are cached."""
        return self._split is not None

    def words(self, pieces: Sequence[str]) -> tuple[list[str], list[int] | None]:
        """The words of all pieces, and the number of words in each; None if each is one word."""
        if self._split is None:
            text = composed("\n".join(pieces))
            words = (text.lower() if self._lowercase else text).split("\n")
            return (words if pieces else []), None
        words, lengths = [], []
        for piece in pieces:
            piece_words = self._seen.get(piece)
            if piece_words is None:
                piece_words = self._split(piece)
                if len(self._seen) < self.most_remembered:
                    self._seen[piece] = piece_words
            words += piece_words
            lengths.append(len(piece_words))
        return words, lengths

    def starts(self, lengths: list[int] | None, n_pieces: int) -> NDArray[np.int64]:
        """Where the words of each piece start in the list of words, `[pieces + 1]`."""
        if lengths is None:
            return np.arange(n_pieces + 1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    def of_pieces(
        self, pieces: Sequence[str], counts: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The words of all pieces, each with the count of its piece."""
        words, lengths = self.words(pieces)
        return words, counts if lengths is None else np.repeat(counts, lengths)

    def ranks(
        self, pieces: Sequence[str], ranks: dict[str, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Where the words of each piece start, and the rank of each word; -1 if it has none."""
        words, lengths = self.words(pieces)
        word_ranks = np.fromiter((ranks.get(word, BORDER) for word in words), np.int32, len(words))
        return self.starts(lengths, len(pieces)), word_ranks


def _untrained(lowercase: bool) -> Tokenizer:
    return Tokenizer.train(["a"], TextConfig(kind="word", lowercase=lowercase))


def _by(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """A function that normalizes and splits like a tokenizer, regardless of its vocabulary.

    Tokenizers of both kinds split at white space, so a piece is split as it would be within its text.
    """
    normalizer, splitter = tokenizer.inner.normalizer, tokenizer.inner.pre_tokenizer

    def split(piece: str) -> list[str]:
        normal = normalizer.normalize_str(piece)
        if normal.isascii() and normal.isalpha():  # the most frequent case, and fast
            return [normal]
        return [word for word, _ in splitter.pre_tokenize_str(normal) if word not in SPECIALS]

    return split


def read_parts(
    files: Sequence[Path],
    corpus: CorpusConfig,
    config: VectorsConfig,
    implementation: ModuleType,
    part_bytes: int,
    n_threads: int,
    start: Place = Place(),
) -> Iterator[Part]:
    """Read the text from a position on, in parts of about `part_bytes` bytes, in order.

    `n_threads` threads make parts; at most that many are read ahead.

    Raises:
        DataError: a file cannot be read as specified, or contains no text.
    """
    border = border_of(corpus, config)
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[tuple[Future[Any], Place]] = deque()
        try:
            for texts, end in _portions(files, corpus, config, part_bytes, start):
                waiting.append((pool.submit(implementation.encode, texts, border), end))
                if len(waiting) > n_threads:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            for future, _ in waiting:
                future.cancel()


def _finished(future: Future[Any], end: Place) -> Part:
    ids, pieces, counts = future.result()
    return Part(ids, pieces, counts, end)


def border_of(corpus: CorpusConfig, config: VectorsConfig) -> bytes:
    """The byte that marks a border, which no window crosses."""
    by_line = config.borders == "line" or (
        config.borders == "document" and corpus.documents == "line"
    )
    return b"\n" if by_line else _DOCUMENT_END.encode()


def _portions(
    files: Sequence[Path],
    corpus: CorpusConfig,
    config: VectorsConfig,
    part_bytes: int,
    start: Place,
) -> Iterator[tuple[list[bytes], Place]]:
    texts: list[bytes] = []
    size = 0
    for number in range(start.file, len(files)):
        here = start if number == start.file else Place()
        for text, end in _file(files[number], number, corpus, config, here):
            texts.append(text)
            size += len(text)
            if size >= part_bytes:
                yield texts, end
                texts, size = [], 0
    if texts:
        yield texts, Place(len(files))


def _file(
    path: Path, number: int, corpus: CorpusConfig, config: VectorsConfig, start: Place
) -> Iterator[tuple[bytes, Place]]:
    """The text of a file in blocks of whole words, each with the position after it.

    The end of the file is a line end.
    """
    mark = Marker(corpus, config)
    carried = start.carried
    at_line_start = not start.in_line
    longest = longest_line()
    for block in read_blocks(path, corpus, start.offset, start.line, start.in_line):
        text = carried + mark(block.text, at_line_start)
        at_line_start = block.text.endswith("\n")
        carried = "" if at_line_start else partial_word(text)
        if len(carried) > longest:
            raise line_too_long(path, block.line + 1, what="word")
        whole = text[: len(text) - len(carried)]
        if whole:
            end = Place(number, block.offset, block.line, carried, not at_line_start)
            yield whole.encode("utf-8"), end
    yield (carried + mark.end_of_file).encode("utf-8"), Place(number + 1)


def partial_word(text: str) -> str:
    """The text after the last ASCII white space."""
    return text[max(text.rfind(space) for space in " \t\n\r\v\f\0") + 1 :]


class Marker:
    """Marks the ends of documents if `config.borders` is `document`."""

    def __init__(self, corpus: CorpusConfig, config: VectorsConfig) -> None:
        by_document = config.borders == "document"
        self.end_of_file = _DOCUMENT_END if by_document and corpus.documents != "line" else "\n"
        self._ends: Callable[[str], bool] | None = None
        if by_document and corpus.documents == "paragraph":
            self._ends = _is_blank
        elif by_document and corpus.documents == "separator":
            self._ends = lambda line: line == corpus.separator

    def __call__(self, text: str, at_line_start: bool) -> str:
        """Add marks to the text of whole lines, or of parts of a line."""
        if self._ends is None:
            return text
        lines = text.split("\n")
        # A last line without an end is the last of the file, or a part of one too long to be a mark.
        for i, line in enumerate(lines if lines[-1] else lines[:-1]):
            if (i or at_line_start) and self._ends(line):
                lines[i] = _DOCUMENT_END
        return "\n".join(lines)


def _is_blank(line: str) -> bool:
    return not line.strip()


def files_of(corpus: CorpusConfig) -> list[Path]:
    """The files in the order in which they are read.

    Raises:
        ConfigError: no files are given, or one is a URL.
        DataError: a folder or pattern has no files.
    """
    for name in corpus.train:
        if "://" in name:
            raise ConfigError(
                f"{name} is a URL, which can only be read on a cluster; give one (--cluster ADDRESS)"
            )
    return find_files(corpus)


def stamps(files: Sequence[Path]) -> list[list[Any]]:
    """Path, size and modification time of each file, by which a resumed run recognizes its text."""
    all_stamps: list[list[Any]] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            all_stamps.append(
                [str(path), 0, 0]
            )  # opening the file will raise an error that explains it
        else:
            all_stamps.append([str(path), status.st_size, status.st_mtime_ns])
    return all_stamps


def place_as_list(place: Place) -> list[Any]:
    """A position as a list, for JSON."""
    return list(asdict(place).values())


def tokens_of(
    paths: Sequence[Path], vocabulary: Vocabulary, splitter: Splitter, implementation: ModuleType
) -> Iterator[NDArray[np.int32]]:
    """Read saved parts as ranks of the vocabulary and borders; words without a rank are left out."""
    ranks = vocabulary.ranks()
    for path in paths:
        pieces, ids = load_part(path)
        starts, word_ranks = splitter.ranks(pieces, ranks)
        yield implementation.expand(ids, starts, word_ranks)
