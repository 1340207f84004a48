"""Which files of a run are on the hub, and what may be in a repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath

from unrolled import documents, storage
from unrolled.baselines.model import HOLDS as BASELINE
from unrolled.errors import RunError
from unrolled.hub.address import Address
from unrolled.quoting import quote
from unrolled.training.checkpoint import MODEL_FILE
from unrolled.training.run_folder import (
    CONFIG_FILE,
    ENSEMBLE_FILE,
    HOLDS,
    MEMBERS,
    is_run,
    read_config,
)
from unrolled.training.split_file import SPLIT_FILE, SplitRecord

CARD, MOST_BYTES_OF_CARD = "README.md", 4 << 20

_ONE_RUN: storage.Holds = {
    r"config\.toml": None,
    r"labels\.json|metrics\.jsonl|split\.json|README\.md|model\.safetensors": None,
    r"tokenizer-[\w-]+\.json|ngrams\.safetensors": None,
    "baselines": {r"\w+": BASELINE},
}

ON_HUB: storage.Holds = {
    **_ONE_RUN,
    r"ensemble\.json": None,
    MEMBERS: {r"seed-\d+": _ONE_RUN},
}
"""What a run consists of on the hub: all but checkpoints, and reports with texts of the data."""

_OF_THE_HUB = {".gitattributes"}
"""Files that the hub itself puts into every repository."""


def is_on_hub(name: PurePath, holds: storage.Holds = ON_HUB) -> bool:
    """Whether a file, named relative to its run, is one that is on the hub."""
    first, *rest = name.parts or ("",)
    for pattern, inside in holds.items():
        if re.fullmatch(pattern, first):
            if isinstance(inside, Mapping):
                return bool(rest) and is_on_hub(PurePath(*rest), inside)
            return not rest
    return False


def files_of(run: Path) -> list[Path]:
    """The files of a run that are on the hub, relative to its folder.

    Raises:
        RunError: the folder is not a run, or something else is in it; the message names it.
    """
    if not is_run(run):
        read_config(run)  # raises the error that says what is wrong
        raise RunError(f"{run} is not a run; give a folder that 'unrolled train' wrote")
    foreign = storage.first_foreign(run, HOLDS)
    if foreign is not None:
        raise RunError(
            f"{foreign} does not belong to the run in {run}, and only runs are pushed; move it elsewhere"
        )
    found = [path.relative_to(run) for path in _walk(run)]
    return sorted(name for name in found if is_on_hub(name))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def check_names(
    names: Iterable[str], where: Address, *, is_complete: bool = True
) -> list[PurePosixPath]:
    """The files of a run in a repository.

    Args:
        names: the names of all files in the repository.
        where: its address.
        is_complete: whether the files that every run has must be there.

    Raises:
        RunError: a file is none of a run's, or one that every run has is missing.
    """
    files = sorted(set(names) - _OF_THE_HUB)
    for name in files:
        path = PurePosixPath(name)
        if str(path) != name or not is_on_hub(path):
            raise RunError(
                f"{where} holds {quote(name)}, which is no file of a run; choose a repository that holds "
                "only what 'unrolled push' writes"
            )
    needed = (CONFIG_FILE, ENSEMBLE_FILE if ENSEMBLE_FILE in files else MODEL_FILE)
    for name in needed if is_complete else ():
        if name not in files:
            raise RunError(f"{where} is not a run; it has no {name}")
    return [PurePosixPath(name) for name in files]


def check_paths(run: Path) -> None:
    """Refuse a run whose files name absolute paths of this machine.

    Raises:
        RunError: a data file, a setting or a word of the model card is one; the message names it.
    """
    for folder in (run, *sorted(run.glob(f"{MEMBERS}/seed-*"))):
        named = [str(value) for value in _values(read_config(folder))]
        if (folder / SPLIT_FILE).exists():
            named += [file["path"] for file in SplitRecord.load(folder).files]
        if (folder / CARD).exists():
            words = documents.read_text(folder / CARD, MOST_BYTES_OF_CARD).split()
            named += [word.strip("`'\"") for word in words]
        for value in named:
            if _is_absolute(value):
                raise RunError(
                    f"{folder} names {quote(value)}, a path of this machine, which others would see; "
                    "train with relative paths, or push it as it is (--with-paths)"
                )


def _values(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)
    else:
        yield value


def _is_absolute(value: str) -> bool:
    return re.match(r"(/|~/|[A-Za-z]:[\\/]|\\\\)[\w.~-]", value) is not None
