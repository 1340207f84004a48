"""Running text to ids: read once, in parts that are kept on the disk until they are counted.

A part holds its own list of different words and the text as ids into it, so that parts can be made side
by side, on several threads or machines. What stands between ASCII white space is numbered first, and each
*different* such piece is then made into words once: folding case, normal forms and splitting cost nothing
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
from unrolled.text.corpus.corpus import CorpusConfig, find_files, read_blocks
from unrolled.text.limits import line_too_long, longest_line
from unrolled.text.tokenizer import SPECIALS, TextConfig, Tokenizer
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary, composed
from unrolled.vectors.formats.arrays import array_header, numbers
from unrolled.vectors.kernels.types import BORDER

CorpusLike = str | PathLike[str] | Sequence[str | PathLike[str]] | CorpusConfig

_DOCUMENT_END = "\0"  # no text holds it: readers refuse it


def as_corpus(corpus: CorpusLike) -> CorpusConfig:
    """A path, several, or what says more about them.

    >>> as_corpus("talk.txt").train
    ('talk.txt',)
    """
    if isinstance(corpus, CorpusConfig):
        return corpus
    paths = [corpus] if isinstance(corpus, str | PathLike) else list(corpus)
    return CorpusConfig(train=tuple(str(path) for path in paths))


@dataclass(frozen=True)
class Place:
    """Where reading goes on.

    Args:
        file: its number in the list of files.
        offset: bytes of the unpacked file before it.
        line: line ends before it.
        carried: the beginning of a word that the text before it was cut in.
        in_line: whether that was in the midst of a line.
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
        ids: of its pieces, in order; `BORDER` between those that share no window.
        pieces: by id, in UTF-8, a line end after each.
        counts: how often each piece was seen.
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
        """Write it as three arrays, one behind the other, each with its checksum.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        with storage.replacing(path) as stream:
            for values in (self.counts, numbers(self.pieces, np.uint8), self.ids):
                # np.save would not notice that the disk is full before its last few kilobytes.
                about = np.lib.format.header_data_from_array_1_0(values)
                np.lib.format.write_array_header_1_0(stream, about)
                content = np.ascontiguousarray(values).data
                stream.write(content)
                stream.write(crc32(content).to_bytes(4, "little"))


def load_counts(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Pieces and their counts of a part that was saved.

    Raises:
        RunError: it is missing or damaged.
    """
    pieces, counts, _ = _load(path, 2)
    return pieces, counts


def load_part(path: Path) -> tuple[list[str], NDArray[np.int32]]:
    """Pieces and ids of a part that was saved.

    Raises:
        RunError: it is missing or damaged.
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
        types = [each.dtype for each in (counts, letters, *ids)]
        if types != [np.int64, np.uint8, np.int32][:n_arrays] or len(counts) != len(pieces):
            raise ValueError
        if any(len(e) and not BORDER <= e.min() <= e.max() < len(pieces) for e in ids):
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
    """Pieces to words, as a configuration says, or as a tokeniser does.

    >>> Splitter(VectorsConfig(tokens="word", lowercase=True)).words(["Don't", "stop."])
    (['do', "n't", 'stop', '.'], [2, 2])
    """

    most_remembered = 1 << 20
    """Different pieces whose words are remembered; the commonest come early in a text."""

    def __init__(self, config: VectorsConfig, tokenizer: Tokenizer | None = None) -> None:
        self._lowercase = config.lowercase
        self._split: Callable[[str], list[str]] | None = None
        if tokenizer is not None:
            if tokenizer.kind not in ("word", "space"):
                raise ConfigError(
                    f"this tokenizer makes {tokenizer.kind} tokens; vectors are of words: give one "
                    "of kind word or space"
                )
            self._split = _by(tokenizer)
        elif config.tokens == "word":
            self._split = _by(_untrained(config.lowercase))
        self._seen: dict[str, list[str]] = {}

    @property
    def remembers(self) -> bool:
        """Whether a piece may be several words, and what it is has been remembered."""
        return self._split is not None

    def words(self, pieces: Sequence[str]) -> tuple[list[str], list[int] | None]:
        """The words of all pieces, and how many each has; None where each is one."""
        if self._split is None:
            text = composed("\n".join(pieces))
            words = (text.lower() if self._lowercase else text).split("\n")
            return (words if pieces else []), None
        words, lengths = [], []
        for piece in pieces:
            its = self._seen.get(piece)
            if its is None:
                its = self._split(piece)
                if len(self._seen) < self.most_remembered:
                    self._seen[piece] = its
            words += its
            lengths.append(len(its))
        return words, lengths

    def starts(self, lengths: list[int] | None, n_pieces: int) -> NDArray[np.int64]:
        """Where in the list of words each piece's start, `[pieces + 1]`."""
        if lengths is None:
            return np.arange(n_pieces + 1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    def of_pieces(
        self, pieces: Sequence[str], counts: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.int64]]:
        """All words, and how often the piece of each was seen."""
        words, lengths = self.words(pieces)
        return words, counts if lengths is None else np.repeat(counts, lengths)

    def ranks(
        self, pieces: Sequence[str], ranks: dict[str, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Where the words of each piece start, and the rank of each word; -1 where it has none."""
        words, lengths = self.words(pieces)
        its = np.fromiter((ranks.get(word, BORDER) for word in words), np.int32, len(words))
        return self.starts(lengths, len(pieces)), its


def _untrained(lowercase: bool) -> Tokenizer:
    return Tokenizer.train(["a"], TextConfig(kind="word", lowercase=lowercase))


def _by(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """How a tokeniser splits and folds, whatever its vocabulary knows.

    Neither of its kinds looks over white space, so that a piece is split as the text around it would be.
    """
    normalizer, splitter = tokenizer.inner.normalizer, tokenizer.inner.pre_tokenizer

    def split(piece: str) -> list[str]:
        normal = normalizer.normalize_str(piece)
        if normal.isascii() and normal.isalpha():  # most are, and this is quick
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
    """The text from a place on, in parts of about so many bytes, in order.

    Parts are made by so many threads; reading ahead is bounded by their number.

    Raises:
        DataError: a file cannot be read as asked, or holds no text.
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
    """The byte that stands where no window reaches over."""
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
    """A file's text, no word torn, each with where reading goes on after it; its end is a line's end."""
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
    """What follows the last ASCII white space."""
    return text[max(text.rfind(space) for space in " \t\n\r\v\f\0") + 1 :]


class Marker:
    """Puts a mark where documents end, where borders are theirs."""

    def __init__(self, corpus: CorpusConfig, config: VectorsConfig) -> None:
        by_document = config.borders == "document"
        self.end_of_file = _DOCUMENT_END if by_document and corpus.documents != "line" else "\n"
        self._ends: Callable[[str], bool] | None = None
        if by_document and corpus.documents == "paragraph":
            self._ends = _is_blank
        elif by_document and corpus.documents == "separator":
            self._ends = lambda line: line == corpus.separator

    def __call__(self, text: str, at_line_start: bool) -> str:
        """The text of whole lines, or of a line's parts, with its marks."""
        if self._ends is None:
            return text
        lines = text.split("\n")
        # A last line without an end is the file's last, or a part of one too long to be a mark.
        for i, line in enumerate(lines if lines[-1] else lines[:-1]):
            if (i or at_line_start) and self._ends(line):
                lines[i] = _DOCUMENT_END
        return "\n".join(lines)


def _is_blank(line: str) -> bool:
    return not line.strip()


def files_of(corpus: CorpusConfig) -> list[Path]:
    """The files in the order in which they are read.

    Raises:
        ConfigError: none is given, or it is not on this machine.
        DataError: a folder or a pattern holds none.
    """
    for name in corpus.train:
        if "://" in name:
            raise ConfigError(f"{name}: a URL is read on a cluster; give one (--cluster ADDRESS)")
    return find_files(corpus)


def stamps(files: Sequence[Path]) -> list[list[Any]]:
    """Path, size and time of change of each file, by which a resumed run knows its text."""
    found: list[list[Any]] = []
    for path in files:
        try:
            of_file = path.stat()
        except OSError:
            found.append([str(path), 0, 0])  # whoever opens it says what is wrong
        else:
            found.append([str(path), of_file.st_size, of_file.st_mtime_ns])
    return found


def place_as_list(place: Place) -> list[Any]:
    """For a file in JSON."""
    return list(asdict(place).values())


def tokens_of(
    paths: Sequence[Path], vocabulary: Vocabulary, splitter: Splitter, implementation: ModuleType
) -> Iterator[NDArray[np.int32]]:
    """The text again, as ranks of the vocabulary and borders; words without a rank are left out."""
    ranks = vocabulary.ranks()
    for path in paths:
        pieces, ids = load_part(path)
        starts, its = splitter.ranks(pieces, ranks)
        yield implementation.expand(ids, starts, its)
