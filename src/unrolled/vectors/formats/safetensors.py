"""Word vectors as `vectors.safetensors`, mapped from disk, with the words in `vocabulary.tsv`."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled import documents, tensor_files
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import shell_command
from unrolled.storage import flush_folder
from unrolled.text.files import nearest_file
from unrolled.text.limits import longest_line
from unrolled.vectors.formats import arrays
from unrolled.vectors.formats.files import BYTE_ORDER_MARK, lines, opened, shown, written
from unrolled.vectors.formats.stored import (
    ROWS,
    StoredVectors,
    is_kept,
    not_finite,
    what_is_not_finite,
)
from unrolled.wording import count_of

Which = Literal["sum", "word", "context"]

VECTORS_FILE = "vectors.safetensors"
VOCABULARY_FILE = "vocabulary.tsv"
CONFIG_FILE = "vectors.toml"

_LONGEST_COUNT = 18  # digits
_AT_ONCE = 4 << 20  # bytes of a vocabulary that are parsed at once
_TENSOR_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def read(path: Path, keep: Container[str] | None, limit: int | None, which: Which) -> StoredVectors:
    """Read the vectors of a file or folder; mapped from disk if all rows of one matrix are needed."""
    file = path / VECTORS_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise DataError(_why_no_vectors(path), path)
    vocabulary = file.with_name(VOCABULARY_FILE)
    tensors = _mapped(file)
    main, added = _chosen(tensors, which, file)
    words, counts = read_vocabulary(vocabulary, most=len(main))
    if len(words) > len(main):
        raise DataError(
            f"more words than the {len(main):,} vectors in {file.name}; copy the whole folder again",
            vocabulary,
        )
    if len(words) < len(main):
        raise DataError(
            f"{count_of(len(words), 'word')}, but {len(main):,} vectors in {file.name}; copy the whole "
            "folder again",
            vocabulary,
        )
    rows, n_again = _rows_to_keep(words, keep, limit)
    sentence = f"{count_of(n_again, 'duplicate word')}; the first vector of each is used"
    notes = (str(DataError(sentence, vocabulary)),) if n_again else ()
    if len(rows) == len(main) and added is None and main.dtype == np.float32:
        return StoredVectors(words, main, counts, notes)
    matrix = _gathered(main, added, rows)
    wrong = not_finite(matrix)
    if wrong is not None:
        problem = what_is_not_finite(words[rows[wrong]], matrix[wrong])
        raise DataError(f"{problem}; remove it, or train again", file)
    if len(rows) < len(main):
        words = [words[row] for row in rows]
        counts = None if counts is None else counts[rows]
    return StoredVectors(words, matrix, counts, notes)


def write(
    path: Path,
    words: Sequence[str],
    matrix: NDArray[np.float32],
    counts: NDArray[np.int64] | None,
) -> None:
    """Write the matrix as `w`, and the words as `vocabulary.tsv` in the same folder."""
    vocabulary, fresh = path.with_name(VOCABULARY_FILE), path.with_name(f".{path.name}.new")
    _check_place(path, vocabulary)

    def rows() -> Iterator[NDArray[np.float32]]:
        return (matrix[start : start + ROWS] for start in range(0, len(matrix), ROWS))

    try:
        with written(vocabulary) as stream:
            for number, word in enumerate(words):
                count = "" if counts is None else f"\t{counts[number]}"
                stream.write(f"{word}{count}\n".encode())
            stream.flush()
            arrays.write_tensors(fresh, {"w": (matrix.shape, rows)}, "try again")
            path.unlink(missing_ok=True)  # new words must never be beside old vectors
        os.replace(fresh, path)
        flush_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def read_vocabulary(
    path: str | PathLike[str], most: int | None = None
) -> tuple[list[str], NDArray[np.int64] | None]:
    r"""Read words and counts from a `vocabulary.tsv`: on each line a word, a tab and its count.

    Args:
        path: the file.
        most: expected number of words; reading stops somewhat after it.

    Returns:
        The words, and `[V]` counts, or None if no line has one.

    Raises:
        DataError: the file is missing or empty, or a line has another form.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "vocabulary.tsv"
    >>> _ = path.write_text("ice\t31\nsteam\t12\n", encoding="utf-8")
    >>> read_vocabulary(path)
    (['ice', 'steam'], array([31, 12]))
    """
    path = Path(path)
    with opened(path) as stream:
        words_and_counts = _by_block(stream, most)
    if words_and_counts is not None:
        return words_and_counts
    words: list[str] = []
    counts: list[int] = []
    with opened(path) as stream:
        for number, line in lines(stream, path):
            word, tab, count = line.partition(b"\t")
            has_count = bool(tab) if number == 1 else bool(counts)
            is_count = count.isdigit() and len(count) <= _LONGEST_COUNT
            if not word or bool(tab) != has_count or (tab and not is_count):
                wanted = "a word, a tab and its count" if has_count else "a word"
                raise DataError(f"expected {wanted}, found '{shown(line)}'", path, number)
            try:
                words.append(word.decode("utf-8"))
            except UnicodeDecodeError:
                raise DataError(f"'{shown(word)}' is not valid UTF-8", path, number) from None
            if tab:
                counts.append(int(count))
            if most is not None and len(words) > most:
                break
    if not words:
        raise DataError("the file is empty; expected a word, a tab and its count per line", path)
    return words, np.array(counts, np.int64) if counts else None


def _by_block(stream: BinaryIO, most: int | None) -> tuple[list[str], NDArray[np.int64]] | None:
    """Parse many lines at once; None if the lines must be read one by one."""
    words: list[str] = []
    counts: list[NDArray[np.int64]] = []
    rest = b""
    longest = longest_line()
    while block := stream.read(_AT_ONCE):
        block = rest + block
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        parsed = _well_formed(block[:end])
        if parsed is None or len(rest) > longest:
            return None
        words += parsed[0]
        counts.append(parsed[1])
        if most is not None and len(words) > most:
            break
    else:
        if rest:
            return None
    return (words, np.concatenate(counts)) if words else None


def _well_formed(content: bytes) -> tuple[list[str], NDArray[np.int64]] | None:
    """Parse some lines at once, in a quarter of the time; None if they must be read one by one."""
    characters = np.frombuffer(content, np.uint8)
    ends = characters[(characters == ord("\t")) | (characters == ord("\n"))]
    if not content.endswith(b"\n") or len(ends) % 2:
        return None
    if (ends[::2] != ord("\t")).any() or (ends[1::2] != ord("\n")).any():
        return None
    if any(unusual in content for unusual in (b"\0", b"\r", BYTE_ORDER_MARK)):
        return None
    # Whether a byte belongs to a word with its tab, or to a count with its line end. Counts are not
    # converted to strings, which would lie between the words in memory and leave holes.
    is_end = np.zeros(len(characters) + 1, np.int8)
    is_end[1:] = characters == ord("\t")
    is_end[1:] -= characters == ord("\n")
    of_count = np.cumsum(is_end[:-1], dtype=np.int8).view(bool)
    try:
        words = characters[~of_count].tobytes().decode("utf-8").split("\t")
    except UnicodeDecodeError:
        return None
    words.pop()
    digits = characters[of_count]
    is_line_end = digits == ord("\n")
    lengths = np.diff(np.flatnonzero(is_line_end), prepend=-1) - 1
    is_digit = (digits >= ord("0")) & (digits <= ord("9"))
    if not all(words) or not (is_digit | is_line_end).all():
        return None
    if lengths.min() < 1 or lengths.max() > _LONGEST_COUNT:
        return None
    return words, np.fromstring(digits.tobytes(), np.int64, sep="\n")


def _why_no_vectors(folder: Path) -> str:
    if (folder / CONFIG_FILE).exists():
        return (
            "the training of these vectors is not finished; run its command again with "
            f"{shell_command('--resume', '--out', folder)}"
        )
    return f"this folder has no {VECTORS_FILE}; give the folder of a training, or a file of vectors"


def _check_place(path: Path, vocabulary: Path) -> None:
    """Refuse to overwrite the vocabulary of other vectors."""
    folder = path.parent
    if (folder / CONFIG_FILE).exists():
        raise ConfigError(
            f"cannot write {path}: '{folder}' is the folder of a training, whose vocabulary and counts "
            "belong to the vectors trained there; choose another folder"
        )
    others = sorted(other.name for other in folder.glob("*.safetensors") if other.name != path.name)
    if others and vocabulary.exists():
        raise ConfigError(
            f"cannot write {path}: {vocabulary} is the vocabulary of {others[0]}; choose another folder"
        )


def _rows_to_keep(
    words: Sequence[str], keep: Container[str] | None, limit: int | None
) -> tuple[Sequence[int], int]:
    """The first row of each word to keep, and the number of rows of duplicate words."""
    if keep is None and limit is None and len(set(words)) == len(words):
        return range(len(words)), 0
    rows: dict[str, int] = {}
    n_again = 0
    for row, word in enumerate(words):
        if is_kept(word, keep):
            n_again += word in rows
            rows.setdefault(word, row)
            if len(rows) == limit:
                break
    return list(rows.values()), n_again


def _gathered(
    main: NDArray[np.floating[Any]], added: NDArray[np.floating[Any]] | None, rows: Sequence[int]
) -> NDArray[np.float32]:
    """Some rows of a matrix, or of the sum of two matrices."""
    matrix = np.empty((len(rows), main.shape[1]), np.float32)
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        # A slice copies nothing.
        block = slice(some.start, some.stop) if isinstance(some, range) else some
        if added is None:
            matrix[start : start + ROWS] = main[block]
        else:
            np.add(main[block], added[block], out=matrix[start : start + ROWS], casting="same_kind")
    return matrix


def _chosen(
    tensors: Mapping[str, NDArray[np.floating[Any]]], which: Which, file: Path
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]:
    """The matrix of the vectors, and the matrix to be added to it, or None."""
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 2}
    if "w" not in matrices and len(matrices) == 1:
        matrices = {"w": next(iter(matrices.values()))}
    wanted = {"sum": "w", "word": "w", "context": "w_context"}[which]
    if wanted not in matrices or not matrices[wanted].size:
        names = sorted(tensors) or ["no tensors"]
        shown_names = ", ".join([*names[:5], *(["…"] if len(names) > 5 else [])])
        raise DataError(f"expected a matrix '{wanted}', found {shown_names}", file)
    added = matrices.get("w_context") if which == "sum" else None
    if added is not None and added.shape != matrices["w"].shape:
        raise DataError("'w' and 'w_context' have different shapes; train again", file)
    return matrices[wanted], added


def _mapped(path: Path) -> dict[str, NDArray[np.floating[Any]]]:
    """The tensors of a safetensors file, mapped from disk."""
    try:
        header = tensor_files.read_header(path)
        if not _is_whole(os.path.realpath(path), os.stat(path).st_mtime_ns, header.checksum):
            raise DataError(
                "its checksum does not match; copy the file again, or train again", path
            )
    except documents.DocumentError as error:
        if error.is_missing:
            raise DataError(f"no such file{nearest_file(path)}", path) from None
        raise DataError(
            f"not a complete safetensors file ({error.problem}); copy it again, or train again",
            path,
        ) from None
    tensors = {}
    for name, info in header.tensors.items():
        if info.dtype not in _TENSOR_TYPES or 0 in info.shape:
            continue
        tensor = np.memmap(path, _TENSOR_TYPES[info.dtype], "r", info.offset, info.shape)
        tensors[name] = np.asarray(tensor)
    return tensors


@lru_cache(maxsize=64)
def _is_whole(path: str, changed: int, checksum: str | None) -> bool:
    """Whether the checksum matches; cached until the file changes."""
    return tensor_files.is_whole(path, tensor_files.read_header(path))
