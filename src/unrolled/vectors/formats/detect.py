"""Read and write files of word vectors in common formats.

| format            | first line | then, for each word                                             |
|-------------------|------------|-----------------------------------------------------------------|
| `glove`           |            | the word and D decimal numbers, separated by spaces             |
| `word2vec`        | V D        | the same                                                        |
| `word2vec-binary` | V D        | the word, a space, D little-endian float32, perhaps a line end  |
| `safetensors`     |            | row i of `w`, for word i of the `vocabulary.tsv` beside it      |

The first three may be compressed (`.gz`, `.bz2`, `.xz`). gensim reads and writes both word2vec formats:
`save_word2vec_format` and `KeyedVectors.load_word2vec_format`. Its own `.model` and `.kv` files are
pickled; they are refused, because loading one can run code. Text is UTF-8 and lines end in LF or CRLF.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.text.files import endings
from unrolled.vectors.formats import safetensors, text, word2vec_binary
from unrolled.vectors.formats.files import BYTE_ORDER_MARK, opened
from unrolled.vectors.formats.safetensors import VOCABULARY_FILE, Which, read_vocabulary
from unrolled.vectors.formats.stored import StoredVectors, not_finite
from unrolled.vectors.formats.text import header_of, is_number

__all__ = [
    "VOCABULARY_FILE",
    "Format",
    "StoredVectors",
    "Which",
    "format_for",
    "format_of",
    "not_finite",
    "read_vectors",
    "read_vocabulary",
    "write_vectors",
]

Format = Literal["glove", "word2vec", "word2vec-binary", "safetensors"]

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_PICKLED = (
    "a pickled file, which is not loaded because it can run code; save it in gensim with "
    "save_word2vec_format"
)
_FOREIGN = {
    b"\x80\x02": _PICKLED,
    b"\x80\x03": _PICKLED,
    b"\x80\x04": _PICKLED,
    b"\x80\x05": _PICKLED,
    b"PK\x03\x04": "a zip archive; unpack it and give the file inside",
    b"\x28\xb5\x2f\xfd": "a zstd file; decompress it, or compress it as .gz, .bz2 or .xz",
    b"\xba\x16\x4f\x2f": "a fastText model; give its .vec file",
    b"\x93NUMPY": "a NumPy array, which has no words; give a file of word vectors",
    b"\xff\xfe": "a UTF-16 file, expected UTF-8; save it again as UTF-8",
    b"\xfe\xff": "a UTF-16 file, expected UTF-8; save it again as UTF-8",
}

_ENDINGS: dict[str, Format] = {
    ".txt": "glove",
    ".vec": "word2vec",
    ".bin": "word2vec-binary",
    ".safetensors": "safetensors",
}


def read_vectors(
    path: str | PathLike[str],
    keep: Container[str] | None = None,
    *,
    format: Format | None = None,
    which: Which = "sum",
    limit: int | None = None,
) -> StoredVectors:
    r"""Read the vectors of a file, or of a folder with `vectors.safetensors` and `vocabulary.tsv`.

    Text and binary files are read as a stream, so only the kept words take memory. If a word occurs
    twice, its first vector is kept; a word that is not valid UTF-8 is left out; the notes report both. In
    text, a word may contain spaces: the last D fields are its numbers.

    Args:
        path: the file or folder.
        keep: words to keep; None for all.
        format: file format; None to detect it from the content.
        which: for a safetensors file with word and context vectors (GloVe's W and W̃), their `sum`, as
            in Pennington et al. 2014, section 4.2, or one of them.
        limit: stop after this many kept words.

    Raises:
        DataError: the file is missing, empty, truncated or pickled, or a line has a wrong number of
            fields, or a field that is not a finite number; the message names the line.
        ConfigError: the format is unknown.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.txt"
    >>> _ = path.write_text("ice 1 0.5\nsteam -1 2\n", encoding="utf-8")
    >>> stored = read_vectors(path, keep={"steam", "water"})
    >>> stored.words, stored.matrix.tolist()
    (['steam'], [[-1.0, 2.0]])
    """
    path = Path(path)
    if format is None:
        format = format_of(path)
    require(format in get_args(Format), "format", f"one of {', '.join(get_args(Format))}", format)
    require(which in get_args(Which), "which", f"one of {', '.join(get_args(Which))}", which)
    require(limit is None or limit >= 1, "limit", "at least 1", limit)
    if format == "safetensors":
        return safetensors.read(path, keep, limit, which)
    if format == "word2vec-binary":
        return word2vec_binary.read(path, keep, limit)
    return text.read(path, keep, limit, has_header=format == "word2vec")


def write_vectors(
    path: str | PathLike[str],
    words: Sequence[str],
    matrix: NDArray[np.float32],
    *,
    format: Format | None = None,
    counts: NDArray[np.int64] | None = None,
) -> None:
    r"""Write vectors as exact float32 values; the file is replaced atomically.

    Args:
        path: the file; with the suffix `.gz`, `.bz2` or `.xz` it is compressed. For safetensors,
            `vocabulary.tsv` is written in the same folder.
        words: V words.
        matrix: `[V, D]`.
        format: file format; None to choose it by the suffix: `.txt` is GloVe's text, `.vec` word2vec's
            text, `.bin` word2vec's binary, `.safetensors`.
        counts: `[V]` word counts for `vocabulary.tsv`.

    Raises:
        ConfigError: the suffix is unknown, the folder does not exist, or `path` is a folder; for
            safetensors, also if the folder has the vocabulary of other vectors.
        DataError: the format cannot represent a word, or a number is not finite.
        RunError: the disk is full, or the file cannot be written.

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
            f"cannot write {path}: the folder '{path.parent}' does not exist; create it, or name another"
        )
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; name a file in it")
    if len(words) != len(matrix):
        raise DataError(f"{len(words):,} words, but {len(matrix):,} vectors", path)
    for number, word in enumerate(words, start=1):
        problem = _unwritable(word, format, is_first=number == 1)
        if problem:
            raise DataError(f"cannot write word {number:,}, {word!r}: {problem}", path)
    row = not_finite(matrix)
    if row is not None:
        problem = "its vector is not finite; remove it, or train again"
        raise DataError(f"cannot write word {row + 1:,}, {words[row]!r}: {problem}", path)
    if format == "safetensors":
        safetensors.write(path, words, matrix, counts)
    elif format == "word2vec-binary":
        word2vec_binary.write(path, words, matrix)
    else:
        text.write(path, words, matrix, has_header=format == "word2vec")


def format_of(path: str | PathLike[str]) -> Format:
    """Detect the format of a file from its content.

    Raises:
        DataError: the file is missing or empty, or has a known but unsupported format.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".safetensors":
        return "safetensors"
    with opened(path) as stream:
        head = stream.read(1 << 16)
    if not head:
        raise DataError("the file is empty; expected word vectors", path)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"this is {what}", path)
    first, _, rest = head.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    if header_of(first, path) is None:
        return "glove"
    record = rest.partition(b"\n")[0]
    is_text = not _CONTROL.search(record) and any(map(is_number, record.split()[-3:]))
    return "word2vec" if is_text or not record else "word2vec-binary"


def format_for(path: str | PathLike[str]) -> Format:
    """The format of a new file, by its suffix.

    Raises:
        ConfigError: the suffix is unknown.

    >>> format_for("vectors.bin.gz")
    'word2vec-binary'
    """
    path = Path(path)
    ending, packing = endings(path)
    if ending not in _ENDINGS:
        known = ", ".join(f"{ending} ({format})" for ending, format in _ENDINGS.items())
        raise ConfigError(
            f"'{path.name}' has no known suffix; use one of {known}, or give the format"
        )
    if packing and ending == ".safetensors":
        problem = "a compressed safetensors file cannot be mapped"
        raise ConfigError(f"{path}: {problem}; leave out {packing}")
    return _ENDINGS[ending]


def _unwritable(word: str, format: Format, is_first: bool) -> str | None:
    """Why a format cannot represent a word, with what to do; None if it can."""
    if not word:
        return "it is empty; remove it"
    if "\n" in word or "\r" in word or "\0" in word:
        return "it contains a line end or a NUL byte; remove it"
    if is_first and word.startswith("\ufeff") and format in ("glove", "safetensors"):
        return "it begins with a byte order mark, which readers remove; put another word first"
    if format == "safetensors":
        return "it contains a tab; remove it" if "\t" in word else None
    if " " not in word:
        return None
    if format != "glove":
        return "a space ends a word in word2vec's formats; use GloVe's format or safetensors"
    if word != word.strip(" ") or is_number(word.rpartition(" ")[2].encode("utf-8")):
        return "its space cannot be distinguished from those between numbers; use safetensors"
    return None
