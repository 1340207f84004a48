"""Files of word vectors, read as a stream and written so that others can read them.

| format            | first line | then, for each word                                             |
|-------------------|------------|-----------------------------------------------------------------|
| `glove`           |            | the word and D decimal numbers, separated by spaces             |
| `word2vec`        | V D        | the same                                                        |
| `word2vec-binary` | V D        | the word, a space, D little-endian float32, perhaps a line end  |
| `safetensors`     |            | row i of `w`, for word i of the `vocabulary.tsv` beside it      |

The first three may be gzipped. gensim reads and writes both of word2vec's: `save_word2vec_format` and
`KeyedVectors.load_word2vec_format`. Its own `.model` and `.kv` files are pickled, which can run code, and
are refused. Text is UTF-8 and lines end in LF or CRLF.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import zlib
from array import array
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.text.readers import _nearest_file, _suffixes

Format = Literal["glove", "word2vec", "word2vec-binary", "safetensors"]
Which = Literal["sum", "word", "context"]

VECTORS_FILE = "vectors.safetensors"
VOCABULARY_FILE = "vocabulary.tsv"

_LONGEST_LINE = 16 << 20  # bytes; a file without line ends must not fill the memory
_WIDEST = 1 << 16
_BLOCK = 1 << 20  # bytes of a binary file read at a time
_ROWS = 1 << 14  # of a matrix, looked at together

_HEADER = re.compile(rb"(\d{1,15})[ \t]+(\d{1,9})")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FRACTION = re.compile(rb"[-+]?\d*\.\d+([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+")
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PICKLED = (
    "a pickled file, which can run code as it is read and is never loaded; in gensim, write it with "
    "save_word2vec_format"
)
_FOREIGN = {
    b"\x80\x02": _PICKLED,
    b"\x80\x03": _PICKLED,
    b"\x80\x04": _PICKLED,
    b"\x80\x05": _PICKLED,
    b"PK\x03\x04": "a zip archive; unpack it and give the file inside",
    b"\xba\x16\x4f\x2f": "a fastText model; give its .vec file",
    b"\x93NUMPY": "a NumPy array, which has no words; expected a file of word vectors",
    b"\xff\xfe": "UTF-16, expected UTF-8; save it again as UTF-8",
    b"\xfe\xff": "UTF-16, expected UTF-8; save it again as UTF-8",
}

_ENDINGS: dict[str, Format] = {
    ".txt": "glove",
    ".vec": "word2vec",
    ".bin": "word2vec-binary",
    ".safetensors": "safetensors",
}
_TENSOR_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """What stood in a file.

    Args:
        words: in the order of the file, each once.
        matrix: `[V, D]`, row i for word i; mapped from the disk where a whole safetensors file is read.
        counts: how often each word occurs, where the file tells.
        notes: what a reader should know, one sentence each, with file and line.
    """

    words: list[str]
    matrix: NDArray[np.float32]
    counts: NDArray[np.int64] | None
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """D; known even where no word was kept."""
        return self.matrix.shape[1]


def read_vectors(
    path: str | PathLike[str],
    keep: Container[str] | None = None,
    *,
    format: Format | None = None,
    which: Which = "sum",
    limit: int | None = None,
) -> StoredVectors:
    r"""The vectors of a file, or of a folder with `vectors.safetensors` and `vocabulary.tsv`.

    Text and binary files are read as a stream: memory is that of the words kept. A word that stands
    twice keeps its first vector; a word that is not UTF-8 is left out; both are told in the notes. In
    text, a word may contain spaces: the last D fields are its numbers.

    Args:
        path: the file or folder.
        keep: words to keep; None for all.
        format: None to tell it from the content.
        which: of a safetensors file with word and context vectors (GloVe's W and W̃), their `sum`, as
            in Pennington et al. 2014, section 4.2, or one of them.
        limit: stop after so many kept words.

    Raises:
        DataError: the file is missing, empty, cut short, pickled, or a line has a wrong number of
            fields, or a number that is none or not finite; the message names the line.
        ConfigError: an unknown format.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.txt"
    >>> _ = path.write_text("ice 1 0.5\nsteam -1 2\n", encoding="utf-8")
    >>> found = read_vectors(path, keep={"steam", "water"})
    >>> found.words, found.matrix.tolist()
    (['steam'], [[-1.0, 2.0]])
    """
    path = Path(path)
    if format is None:
        format = format_of(path)
    require(format in get_args(Format), "format", f"one of {', '.join(get_args(Format))}", format)
    require(which in get_args(Which), "which", f"one of {', '.join(get_args(Which))}", which)
    require(limit is None or limit >= 1, "limit", "at least 1", limit)
    if format == "safetensors":
        return _read_safetensors(path, keep, limit, which)
    if format == "word2vec-binary":
        return _read_binary(path, keep, limit)
    return _read_text(path, keep, limit, format)


def write_vectors(
    path: str | PathLike[str],
    words: Sequence[str],
    matrix: NDArray[np.float32],
    *,
    format: Format | None = None,
    counts: NDArray[np.int64] | None = None,
) -> None:
    r"""Write vectors, float32 to the last bit, under a temporary name and then in place.

    Args:
        path: the file; `.gz` at its end packs it. Of safetensors, `vocabulary.tsv` is written beside it.
        words: V of them.
        matrix: `[V, D]`.
        format: None to tell it from the ending: `.txt` is GloVe's text, `.vec` word2vec's text, `.bin`
            word2vec's binary, `.safetensors`.
        counts: of the words, for `vocabulary.tsv`.

    Raises:
        ConfigError: no format can be told from the ending, or there is no such folder.
        DataError: a word that the format cannot hold.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.vec"
    >>> write_vectors(path, ["ice", "steam"], np.array([[1, 0.1], [0, -2]], np.float32))
    >>> print(path.read_text(encoding="utf-8"), end="")
    2 2
    ice 1.0 0.1
    steam 0.0 -2.0
    """
    path = Path(path)
    format = format or format_for(path)
    require(format in get_args(Format), "format", f"one of {', '.join(get_args(Format))}", format)
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot write {path}: there is no folder '{path.parent}'; make it, or name another"
        )
    if len(words) != len(matrix):
        raise DataError(f"{len(words):,} words, but {len(matrix):,} vectors", path)
    for number, word in enumerate(words, start=1):
        problem = _unwritable(word, format)
        if problem:
            raise DataError(f"cannot hold word {number:,}, {word!r}: {problem}", path)
    if format == "safetensors":
        _write_safetensors(path, words, matrix, counts)
        return
    with _written(path) as stream:
        if format != "glove":
            stream.write(b"%d %d\n" % matrix.shape)
        for start in range(0, len(words), _ROWS):
            block = np.asarray(matrix[start : start + _ROWS], np.float32)
            rows = _binary_rows(block) if format == "word2vec-binary" else _text_rows(block)
            for word, row in zip(words[start : start + _ROWS], rows, strict=True):
                stream.write(b"%b %b\n" % (word.encode("utf-8"), row))


def format_of(path: str | PathLike[str]) -> Format:
    """The format of a file, told from its content.

    Raises:
        DataError: the file is missing or empty, or of a kind that is known and is not one of these.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".safetensors":
        return "safetensors"
    with _opened(path) as stream:
        head = stream.read(1 << 16)
    if not head:
        raise DataError("the file is empty; expected word vectors", path)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"this is {what}", path)
    first, _, rest = head.removeprefix(_BYTE_ORDER_MARK).partition(b"\n")
    if not _HEADER.fullmatch(first.strip()):
        return "glove"
    record = rest.partition(b"\n")[0]
    is_text = not _CONTROL.search(record) and any(map(_is_number, record.split()[-3:]))
    return "word2vec" if is_text or not record else "word2vec-binary"


def format_for(path: str | PathLike[str]) -> Format:
    """The format that the ending of a new file stands for.

    Raises:
        ConfigError: it stands for none.

    >>> format_for("vectors.bin.gz")
    'word2vec-binary'
    """
    path = Path(path)
    ending, packed = _suffixes(path)
    if ending not in _ENDINGS:
        known = ", ".join(f"{ending} ({format})" for ending, format in _ENDINGS.items())
        raise ConfigError(
            f"cannot tell the format from '{path.name}'; end the name in {known}, or name the format"
        )
    if packed and ending == ".safetensors":
        raise ConfigError(f"{path}: a packed safetensors file cannot be mapped; leave out .gz")
    return _ENDINGS[ending]


def read_vocabulary(path: str | PathLike[str]) -> tuple[list[str], NDArray[np.int64] | None]:
    r"""Words and counts of a `vocabulary.tsv`: on each line a word, a tab and its count.

    Returns:
        The words, and `[V]` counts, or None where no line has one.

    Raises:
        DataError: the file is missing or empty, or a line is not as above.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "vocabulary.tsv"
    >>> _ = path.write_text("ice\t31\nsteam\t12\n", encoding="utf-8")
    >>> read_vocabulary(path)
    (['ice', 'steam'], array([31, 12]))
    """
    path = Path(path)
    words: list[str] = []
    counts: list[int] = []
    with _opened(path) as stream:
        for number, line in _lines(stream, path):
            word, tab, count = line.partition(b"\t")
            has_count = bool(tab) if number == 1 else bool(counts)
            if not word or bool(tab) != has_count or (tab and not count.isdigit()):
                wanted = "a word, a tab and its count" if has_count else "a word"
                raise DataError(f"expected {wanted}, found '{_shown(line)}'", path, number)
            try:
                words.append(word.decode("utf-8"))
            except UnicodeDecodeError:
                raise DataError(f"'{_shown(word)}' is not UTF-8", path, number) from None
            if tab:
                counts.append(int(count))
    if not words:
        raise DataError("the file is empty; expected a word, a tab and its count per line", path)
    return words, np.array(counts, np.int64) if counts else None


class _Kept:
    """Words and their numbers as they come: the first vector of each word that is asked for.

    Args:
        path: of the file.
        unit: what is counted in it, for messages: "line" or "word".
        keep, limit: as for `read_vectors`.
    """

    def __init__(
        self, path: Path, unit: str, keep: Container[str] | None, limit: int | None
    ) -> None:
        self.numbers = array("f")
        self.notes: list[str] = []
        self._path, self._unit, self._keep, self._limit = path, unit, keep, limit
        self._places: dict[str, int] = {}
        self._left_out: dict[str, tuple[int, int, str]] = {}

    @property
    def is_full(self) -> bool:
        return self._limit is not None and len(self._places) >= self._limit

    def wants(self, raw: bytes, place: int) -> bool:
        """Whether this word is kept; then its numbers must follow."""
        try:
            word = raw.decode("utf-8")
        except UnicodeDecodeError:
            self._leave_out("not in UTF-8", place, _shown(raw))
            return False
        if not word:
            self._leave_out("empty", place, "")
        elif word in self._places:
            self._leave_out("there before", place, word)
        elif self._keep is None or word in self._keep:
            self._places[word] = place
            return True
        return False

    def error(self, problem: str, place: int) -> DataError:
        """About one line or word."""
        if self._unit == "line":
            return DataError(problem, self._path, place)
        return DataError(f"{self._unit} {place:,}: {problem}", self._path)

    def stored(self, width: int) -> StoredVectors:
        """All that was kept."""
        if not self._places and self._keep is None:
            raise DataError("there are no word vectors in this file", self._path)
        matrix = np.zeros((0, width), np.float32)
        if self._places:
            matrix = np.frombuffer(self.numbers, np.float32).reshape(-1, width)
        words, places = list(self._places), list(self._places.values())
        row = not_finite(matrix)
        if row is not None:
            raise self.error(f"{_not_finite(words[row], matrix[row])}; remove it", places[row])
        for why, (n, place, word) in self._left_out.items():
            which = f", first '{word}'" if word else ""
            what = "the first vector of each stays" if why == "there before" else "left out"
            sentence = f"{_several(n, 'word')} {why}{which}; {what}"
            self.notes.append(str(self.error(sentence, place)))
        return StoredVectors(words, matrix, None, tuple(self.notes))

    def _leave_out(self, why: str, place: int, word: str) -> None:
        n, first, first_word = self._left_out.get(why, (0, place, word))
        self._left_out[why] = n + 1, first, first_word


# Text


def _read_text(
    path: Path, keep: Container[str] | None, limit: int | None, format: Format
) -> StoredVectors:
    kept = _Kept(path, "line", keep, limit)
    n_found = 0
    with _opened(path) as stream:
        lines = _lines(stream, path)
        _, first = next(lines, (1, b""))
        header = _HEADER.fullmatch(first.strip())
        if header is None:
            width = _width_of(first, path)
            lines = chain([(1, first)], lines)
        else:
            width = _checked_width(header, path)
        if (format == "glove") != (header is None):
            kept.notes.append(str(kept.error(_OTHER_HEADER[format], 1)))
        for number, line in lines:
            if kept.is_full:
                break
            line = line.rstrip(b" ")  # word2vec ends its lines with a space
            if line:
                n_found += 1
                _add_line(kept, line, number, width)
    if header is not None and n_found != int(header[1]) and not kept.is_full:
        sentence = f"{int(header[1]):,} words are promised here, and {n_found:,} follow"
        kept.notes.append(str(kept.error(sentence, 1)))
    return kept.stored(width)


_OTHER_HEADER = {
    "glove": "the header of word2vec's format is skipped",
    "word2vec": "no header with the number of words and their width; read as GloVe's format",
}


def _add_line(kept: _Kept, line: bytes, number: int, width: int) -> None:
    n_spaces = line.count(b" ")
    if n_spaces < width:
        raise kept.error(_wrong_width(width, n_spaces), number)
    word, *fields = line.split(b" ") if n_spaces == width else line.rsplit(b" ", width)
    if n_spaces > width:
        word = word.strip(b" ")
        # A word may have spaces, but hardly a part such as 0.25: that is a number too many.
        if _FRACTION.fullmatch(word.rpartition(b" ")[2]):
            n_more = sum(map(_is_number, word.split(b" ")[1:]))
            raise kept.error(_wrong_width(width, width + n_more), number)
    if not kept.wants(word, number):
        return
    try:
        kept.numbers.extend(map(float, fields))
    except ValueError:
        wrong = next(i for i, field in enumerate(fields) if not _is_number(field))
        raise kept.error(
            f"number {wrong + 1} of '{_shown(word)}' is '{_shown(fields[wrong])}'; "
            "expected decimal numbers, one space between them",
            number,
        ) from None


def _wrong_width(expected: int, found: int) -> str:
    wanted, given = _several(expected, "number"), _several(found, "number")
    return f"expected a word and {wanted} as before, found {given}"


def _width_of(first: bytes, path: Path) -> int:
    """How many numbers end the first line of a file without a header."""
    fields = first.rstrip(b" ").split(b" ")
    n_numbers = 0
    for field in reversed(fields[1:]):
        if not _is_number(field):
            break
        n_numbers += 1
    if not n_numbers:
        raise DataError(
            f"expected a word and its numbers, one space between them, found '{_shown(first)}'",
            path,
            1,
        )
    return n_numbers


def _lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line, without its end."""
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise DataError("a line of 16 MB; this is no file of word vectors", path, number)
        if b"\0" in line:
            raise DataError("a NUL byte; this is not a text file", path, number)
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


# word2vec's binary


def _read_binary(path: Path, keep: Container[str] | None, limit: int | None) -> StoredVectors:
    kept = _Kept(path, "word", keep, limit)
    with _opened(path) as stream:
        header = _HEADER.fullmatch(stream.readline(100).strip())
        if header is None:
            raise DataError("expected a first line with the number of words and their width", path)
        n_promised, width = int(header[1]), _checked_width(header, path)
        records = _Records(stream, 4 * width)
        for number in range(1, n_promised + 1):
            if kept.is_full:
                break
            record = records.next()
            if record is None:
                raise DataError(
                    f"cut short: {n_promised:,} words are promised in its first line, and word "
                    f"{number:,} is not whole; copy or download the file again",
                    path,
                )
            word, numbers = record
            if kept.wants(word, number):
                kept.numbers.frombytes(numbers)
        else:
            if records.rest().strip(b"\r\n"):
                sentence = f"bytes after the last of {n_promised:,} words left out"
                kept.notes.append(str(DataError(sentence, path)))
    if sys.byteorder == "big":
        kept.numbers.byteswap()
    return kept.stored(width)


class _Records:
    """Words and the bytes of their vectors, from blocks of the file.

    Args:
        stream: after the header.
        size: bytes of a vector.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._block, self._position = b"", 0

    def next(self) -> tuple[bytes, bytes] | None:
        """The next word and its vector; None where the file ends before they do."""
        end = self._block.find(b" ", self._position)
        while end < 0 or end + 1 + self._size > len(self._block):
            read = self._stream.read(max(_BLOCK, self._size))
            if not read or (end < 0 and len(self._block) > _LONGEST_LINE):
                return None
            self._block = self._block[self._position :] + read
            self._position = 0
            end = self._block.find(b" ")
        # Some writers end each vector with a line end, others do not.
        word = self._block[self._position : end].lstrip(b"\r\n")
        self._position = end + 1 + self._size
        return word, self._block[end + 1 : self._position]

    def rest(self) -> bytes:
        """Some of what follows the last record."""
        return self._block[self._position :] + self._stream.read(_BLOCK)


def _checked_width(header: re.Match[bytes], path: Path) -> int:
    width = int(header[2])
    if not 1 <= width <= _WIDEST:
        wanted = f"1 to {_WIDEST:,} numbers a word"
        raise DataError(f"expected {wanted}, found '{_shown(header[0])}'", path, 1)
    return width


# safetensors


def _read_safetensors(
    path: Path, keep: Container[str] | None, limit: int | None, which: Which
) -> StoredVectors:
    file = path / VECTORS_FILE if path.is_dir() else path
    vocabulary = file.with_name(VOCABULARY_FILE)
    tensors = _mapped(file)
    main, added = _chosen(tensors, which, file)
    words, counts = read_vocabulary(vocabulary)
    if len(words) != len(main):
        raise DataError(
            f"{len(words):,} words, but {len(main):,} vectors in {file.name}", vocabulary
        )
    rows, n_again = _rows_to_keep(words, keep, limit)
    sentence = f"{_several(n_again, 'word')} there before; the first vector of each stays"
    notes = (str(DataError(sentence, vocabulary)),) if n_again else ()
    if len(rows) == len(main) and added is None and main.dtype == np.float32:
        return StoredVectors(words, main, counts, notes)
    chosen = np.fromiter(rows.values(), np.int64, len(rows))
    matrix = np.empty((len(chosen), main.shape[1]), np.float32)
    for start in range(0, len(chosen), _ROWS):
        block = chosen[start : start + _ROWS]
        matrix[start : start + _ROWS] = main[block] if added is None else main[block] + added[block]
    wrong = not_finite(matrix)
    if wrong is not None:
        problem = _not_finite(words[chosen[wrong]], matrix[wrong])
        raise DataError(f"{problem}; remove it, or train again", file)
    kept_counts = None if counts is None else counts[chosen]
    return StoredVectors(list(rows), matrix, kept_counts, notes)


def _rows_to_keep(
    words: Sequence[str], keep: Container[str] | None, limit: int | None
) -> tuple[dict[str, int], int]:
    """The first row of each word to keep, and how many rows are of a word that has one."""
    rows: dict[str, int] = {}
    n_again = 0
    for row, word in enumerate(words):
        if keep is None or word in keep:
            n_again += word in rows
            rows.setdefault(word, row)
            if len(rows) == limit:
                break
    return rows, n_again


def _chosen(
    tensors: Mapping[str, NDArray[np.floating[Any]]], which: Which, file: Path
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]:
    """The matrix of the vectors, and one to add to it or None."""
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 2}
    if "w" not in matrices and len(matrices) == 1:
        matrices = {"w": next(iter(matrices.values()))}
    wanted = {"sum": "w", "word": "w", "context": "w_context"}[which]
    if wanted not in matrices or not matrices[wanted].size:
        there = ", ".join(sorted(tensors)) or "nothing"
        raise DataError(f"no matrix '{wanted}' in this file, only {there}", file)
    added = matrices.get("w_context") if which == "sum" else None
    if added is not None and added.shape != matrices["w"].shape:
        raise DataError("'w' and 'w_context' are of different shapes; train again", file)
    return matrices[wanted], added


def _mapped(path: Path) -> dict[str, NDArray[np.floating[Any]]]:
    """The tensors of a safetensors file, left on the disk until they are read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:  # checks the header, and that nothing is cut off
            names = list(file.keys())
        with path.open("rb") as stream:
            n_bytes = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(n_bytes))
    except FileNotFoundError:
        raise DataError(f"no such file{_nearest_file(path)}", path) from None
    except (SafetensorError, ValueError) as error:
        raise DataError(f"not a whole safetensors file ({error})", path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from None
    tensors = {}
    for name in names:
        about = header[name]
        if about["dtype"] not in _TENSOR_TYPES or 0 in about["shape"]:
            continue
        offset = 8 + n_bytes + about["data_offsets"][0]
        tensor = np.memmap(path, _TENSOR_TYPES[about["dtype"]], "r", offset, tuple(about["shape"]))
        tensors[name] = np.asarray(tensor)
    return tensors


# Writing


def _unwritable(word: str, format: Format) -> str | None:
    """Why a format cannot hold a word; None where it can."""
    if not word:
        return "it is empty"
    if "\n" in word or "\r" in word or "\0" in word:
        return "it has a line end or a NUL byte in it"
    if format == "safetensors":
        return "it has a tab in it" if "\t" in word else None
    if " " not in word:
        return None
    if format != "glove":
        return "a space ends a word in word2vec's formats; write GloVe's or safetensors"
    if word != word.strip(" ") or _is_number(word.rpartition(" ")[2].encode("utf-8")):
        return "its space could not be told from those between numbers; write safetensors"
    return None


def _text_rows(block: NDArray[np.float32]) -> Iterator[bytes]:
    """Decimal numbers, as short as gives the same float32 again."""
    for row in block:
        yield " ".join(map(str, row)).encode("ascii")


def _binary_rows(block: NDArray[np.float32]) -> Iterator[bytes]:
    for row in block.astype("<f4"):
        yield row.tobytes()


def _write_safetensors(
    path: Path,
    words: Sequence[str],
    matrix: NDArray[np.float32],
    counts: NDArray[np.int64] | None,
) -> None:
    from safetensors.numpy import save

    tensor = np.ascontiguousarray(matrix, np.float32)
    with _written(path.with_name(VOCABULARY_FILE)) as vocabulary, _written(path) as stream:
        stream.write(save({"w": tensor}))
        for number, word in enumerate(words):
            count = "" if counts is None else f"\t{counts[number]}"
            vocabulary.write(f"{word}{count}\n".encode())


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A new file, packed where its name ends in `.gz`, which takes its place once it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with ExitStack() as stack:
            stream: BinaryIO = stack.enter_context(partial.open("wb"))
            if _suffixes(path)[1]:
                # No name and no time in it: the same vectors are the same bytes.
                packed = gzip.GzipFile("", "wb", 6, stream, mtime=0)
                stream = cast(BinaryIO, stack.enter_context(packed))
            yield stream
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file, unpacked where its content is packed."""
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with path.open("rb") as stream:
            if stream.peek(2)[:2] == _GZIP:
                with gzip.open(stream) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                yield stream
    except FileNotFoundError as error:
        raise DataError(f"no such file{_nearest_file(path)}", path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("damaged gzip file; copy or download it again", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from error


def not_finite(matrix: NDArray[np.floating[Any]]) -> int | None:
    """The first row of `[V, D]` with a number that is infinite or none; None where there is none."""
    for start in range(0, len(matrix), _ROWS):
        good = np.isfinite(matrix[start : start + _ROWS]).all(axis=1)
        if not good.all():
            return start + int(good.argmin())
    return None


def _not_finite(word: str, row: NDArray[np.floating[Any]]) -> str:
    place = int(np.isfinite(row).argmin())
    return f"number {place + 1} of '{word}' is {row[place]}, expected finite numbers"


def _several(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _shown(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    return text if len(text) <= 40 else f"{text[:39]}…"
