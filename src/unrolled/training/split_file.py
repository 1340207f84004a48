"""`split.json`: the data files of a run and checksums of its own files."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import DataError, RunError
from unrolled.training.damage import damaged

SPLIT_FILE = "split.json"

_PARTS = ("train", "valid", "test")
_MOST_TOKENS = 10**6  # of a target
_MOST_BYTES = 256 << 20  # some texts consist of millions of files
# Compressed files without content have some bytes, and belong to no part.
_AS_GOOD_AS_EMPTY = 64


@dataclass(frozen=True)
class SplitRecord:
    """The parts of `split.json` that are read back.

    Args:
        files: part, path and SHA-256 of every data file, in order.
        begins_with: notes on the initial weights of the model.
        contents: SHA-256 of the run's own files that never change, by name; empty in older runs.
        longest_target: number of tokens of the longest training target; 0 if unknown.
        columns: names of the columns of the training data, in the task's order; () if they have none, or
            in older runs.
        sizes: number of rows, or of tokens of running text, by part; empty if unknown.
        teacher: what identifies the teacher of a distilled model; "" if there is none.
    """

    files: tuple[dict[str, str], ...]
    begins_with: tuple[str, ...]
    contents: dict[str, str]
    longest_target: int = 0
    columns: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    teacher: str = ""

    @classmethod
    def load(cls, folder: Path) -> SplitRecord:
        """Read the record of a run.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = folder / SPLIT_FILE
        try:
            record = documents.read_json(path, _MOST_BYTES)
        except documents.DocumentError as error:
            raise damaged(path, f"unreadable ({error.problem})") from None
        try:
            return cls(
                tuple(_texts(file, ("part", "path", "sha256")) for file in record["files"]),
                tuple(_text(note) for note in record.get("begins_with", ())),
                {_text(name): _text(digest) for name, digest in record.get("contents", {}).items()},
                _count(record.get("longest_target", 0)),
                tuple(_text(name) for name in record.get("columns", ())),
                {_text(part): _size(n) for part, n in record.get("sizes", {}).items()},
                _text(record.get("teacher", "")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise damaged(path, "unreadable (unexpected content)") from None

    def of_part(self, part: str) -> SplitRecord:
        """The record of the files of one part."""
        return replace(self, files=tuple(file for file in self.files if file["part"] == part))


def _texts(value: Any, names: Iterable[str]) -> dict[str, str]:
    return {name: _text(value[name]) for name in names}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_TOKENS:
        raise ValueError
    return value


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def trained_columns(folder: Path | None) -> tuple[str, ...]:
    """The names of the columns that a run was trained on; () if unknown.

    Raises:
        RunError: the record is damaged.
    """
    if folder is None or not (folder / SPLIT_FILE).exists():
        return ()
    return SplitRecord.load(folder).columns


def contents_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    return {name: _sha256(folder / name) for name in names}


def check_contents(folder: Path) -> None:
    """Compare the run's own files with the checksums in `split.json`.

    Runs of older versions have no checksums, and are not checked.

    Raises:
        RunError: a file is missing or changed, or `split.json` is damaged.
    """
    if not (folder / SPLIT_FILE).exists():
        return
    for name, digest in SplitRecord.load(folder).contents.items():
        path = folder / Path(name).name
        try:
            current = _sha256(path)
        except OSError as error:
            raise documents.cannot_be_read(path, error) from None
        if current != digest:
            raise damaged(path, f"its checksum differs from the one in {SPLIT_FILE}")


def check_data(folder: Path, data: Any) -> Any:
    """Find the data files that a run was trained on, and check that they are the same.

    Relative paths are looked up in the current folder, and then in the folders above the run's, so that
    a run can be evaluated and resumed from any folder, and moved together with its data.

    The checksum of a file is compared before its content is parsed, and only regular files are opened, so
    that an untrusted run folder cannot cause other files on this machine to be read.

    Returns:
        The data with the paths where the files are.

    Raises:
        DataError: a file is missing.
        RunError: a file has other content, or the split's record is damaged.
    """
    missing = "name it: --data FILE to evaluate, --data.train FILE to resume"
    return _found(folder, data, SplitRecord.load(folder), _START_ANOTHER, missing)


def check_part(folder: Path, data: Any, part: str) -> Any:
    """Find and check the files of one part, as `check_data`; returns the data with this part only.

    Raises:
        DataError: a file is missing.
        RunError: a file has other content, or the split's record is damaged.
    """
    others = {name: () for name in _PARTS if name != part}
    data = replace(data, **others)
    score_others = "score other files with --data FILE"
    record = SplitRecord.load(folder).of_part(part)
    return _found(folder, data, record, score_others, score_others)


_START_ANOTHER = "start another run from this one (--from)"


def _found(folder: Path, data: Any, record: SplitRecord, instead: str, missing: str) -> Any:
    """The first of several places where all files are those of the record."""
    try:
        _check(folder, data, record, instead)
        return data
    except (DataError, RunError):
        for moved in _elsewhere(folder, data):
            with suppress(DataError, RunError):
                _check(folder, moved, record, instead)
                return moved
        for name in _names(data):
            if not _exists(name):
                raise DataError(
                    f"no such file here or in a folder above {folder}; run the command in the folder "
                    f"in which the run was trained, or {missing}",
                    name,
                ) from None
        raise


def _elsewhere(folder: Path, data: Any) -> Iterator[Any]:
    """The data with paths relative to each folder above a run, if all of them exist there."""
    for base in Path(os.path.realpath(folder)).parents:
        names = {part: tuple(str(base / name) for name in getattr(data, part)) for part in _PARTS}
        if all(_exists(name) for part in names.values() for name in part):
            yield replace(data, **names)


def _names(data: Any) -> Iterator[str]:
    for part in _PARTS:
        yield from getattr(data, part)


def _exists(name: str) -> bool:
    try:
        return os.path.exists(name) or (
            glob.has_magic(name) and next(glob.iglob(name, recursive=True), None) is not None
        )
    except ValueError:  # a null byte
        return False


def _check(folder: Path, data: Any, record: SplitRecord, instead: str) -> None:
    known = {file["sha256"] for file in record.files}
    for path in _paths(data):
        if _is_unknown(path, known):
            raise _other(path, folder, instead)
    from unrolled.training.dataset import checksums  # which needs torch

    new = checksums(data)
    if [(file["part"], file["sha256"]) for file in record.files] == [
        (file["part"], file["sha256"]) for file in new
    ]:
        return
    others = [file["path"] for file in new if file["sha256"] not in known]
    if others:
        raise _other(others[0], folder, instead)
    present = {file["sha256"] for file in new}
    missing = [file["path"] for file in record.files if file["sha256"] not in present]
    if missing:
        raise RunError(f"{missing[0]}, which {folder} was trained on, is not among the data files")
    raise RunError(
        f"{folder} was trained on these data files in another order, or as other parts; give them as "
        "they were then"
    )


def _paths(data: Any) -> Iterator[Path]:
    # Late, as predicting needs the record alone.
    from unrolled.text.corpus.corpus import CorpusConfig
    from unrolled.text.corpus.files import files_in_any_order

    for part in _PARTS:
        names = getattr(data, part)
        if isinstance(data, CorpusConfig):
            yield from files_in_any_order(names, data.suffixes)
        else:
            yield from map(Path, names)


def _is_unknown(path: Path, known: set[str]) -> bool:
    try:
        if path.stat().st_size <= _AS_GOOD_AS_EMPTY:
            return False
        return _sha256(path) not in known
    except (OSError, ValueError):
        return False  # the error is reported when the file is read


def _other(path: str | Path, folder: Path, instead: str) -> RunError:
    return RunError(
        f"{path} is not a file that {folder} was trained on, or its content has changed; give the same "
        f"files, or {instead}"
    )


def _sha256(path: Path) -> str:
    with documents.open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
