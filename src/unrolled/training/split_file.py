"""`split.json`: what a run was trained on, and the checksums of what it was written with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import RunError
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.text.corpus.files import files_in_any_order
from unrolled.training import checkpoint
from unrolled.training.dataset import checksums

SPLIT_FILE = "split.json"

_PARTS = ("train", "valid", "test")
_LONGEST_TARGET = 10**6
_MOST_BYTES = 256 << 20  # some texts are of millions of files
_AS_GOOD_AS_EMPTY = 64  # bytes; packed files that hold nothing have some, and are of no part


@dataclass(frozen=True)
class SplitRecord:
    """What is read of `split.json`.

    Args:
        files: part, path and SHA-256 of every data file, in order.
        begins_with: what there is to tell of what the model began with.
        contents: SHA-256 of the run's own files that never change, by name; none in older runs.
        longest_target: tokens of the longest target that was learned from; 0 where it is not known.
    """

    files: tuple[dict[str, str], ...]
    begins_with: tuple[str, ...]
    contents: dict[str, str]
    longest_target: int = 0

    @classmethod
    def load(cls, folder: Path) -> SplitRecord:
        """Read it.

        Raises:
            RunError: it is missing or damaged.
        """
        path = folder / SPLIT_FILE
        try:
            found = documents.read_json(path, _MOST_BYTES)
        except documents.DocumentError as error:
            raise checkpoint.damaged(path, f"unreadable ({error.problem})") from None
        try:
            return cls(
                tuple(_texts(each, ("part", "path", "sha256")) for each in found["files"]),
                tuple(_text(each) for each in found.get("begins_with", ())),
                {_text(name): _text(each) for name, each in found.get("contents", {}).items()},
                _count(found.get("longest_target", 0)),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise checkpoint.damaged(path, "unreadable (not as it was written)") from None

    def of_part(self, part: str) -> SplitRecord:
        """The record of the files of one part."""
        return replace(self, files=tuple(each for each in self.files if each["part"] == part))


def _texts(value: Any, names: Iterable[str]) -> dict[str, str]:
    return {name: _text(value[name]) for name in names}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LONGEST_TARGET:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def contents_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files of a folder, by name."""
    return {name: _sha256(folder / name) for name in names}


def check_contents(folder: Path) -> None:
    """Compare the run's own files with the checksums that were written with them.

    Runs of older versions have none, and are taken as they are.

    Raises:
        RunError: a file is missing or changed, or `split.json` is damaged.
    """
    if not (folder / SPLIT_FILE).exists():
        return
    for name, digest in SplitRecord.load(folder).contents.items():
        path = folder / Path(name).name
        try:
            found = _sha256(path)
        except OSError as error:
            raise documents.cannot_be_read(path, error) from None
        if found != digest:
            raise checkpoint.damaged(path, f"its checksum is not the one in {SPLIT_FILE}")


def check_data(folder: Path, data: Any) -> None:
    """Check that data files are those that a run was split and trained on.

    A file is compared by its checksum alone before anything in it is taken for text, and only regular
    files are opened: so a run folder of a stranger cannot have other files of this machine read.

    Raises:
        RunError: a file has other content, or the split's record is damaged.
    """
    _check(folder, data, SplitRecord.load(folder), _START_ANOTHER)


def check_part(folder: Path, data: Any, part: str) -> Any:
    """Check that the files of one part are those of the run, and give the data with no others.

    Raises:
        RunError: a file has other content, or the split's record is damaged.
    """
    others = {name: () for name in _PARTS if name != part}
    data = replace(data, **others)
    _check(
        folder, data, SplitRecord.load(folder).of_part(part), "score other files with --data FILE"
    )
    return data


_START_ANOTHER = "start another run from this one (--from)"


def _check(folder: Path, data: Any, record: SplitRecord, instead: str) -> None:
    known = {each["sha256"] for each in record.files}
    for path in _paths(data):
        if _is_unknown(path, known):
            raise _other(path, folder, instead)
    new = checksums(data)
    if [(each["part"], each["sha256"]) for each in record.files] == [
        (each["part"], each["sha256"]) for each in new
    ]:
        return
    others = [each["path"] for each in new if each["sha256"] not in known]
    if others:
        raise _other(others[0], folder, instead)
    present = {each["sha256"] for each in new}
    gone = [each["path"] for each in record.files if each["sha256"] not in present]
    if gone:
        raise RunError(f"{gone[0]}, which {folder} was trained on, is not among the data files")
    raise RunError(
        f"{folder} was trained on the same data files as other parts or in another order"
    )


def _paths(data: Any) -> Iterator[Path]:
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
        return False  # whoever reads it says what is wrong


def _other(path: str | Path, folder: Path, instead: str) -> RunError:
    return RunError(
        f"{path} is not a file that {folder} was trained on, or its content differs; give the same "
        f"files, or {instead}"
    )


def _sha256(path: Path) -> str:
    with documents.open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
