"""Pull a run from the hub."""

from __future__ import annotations

import os
import shutil
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from unrolled import storage
from unrolled.errors import RunError
from unrolled.hub.address import Address
from unrolled.hub.contents import check_names
from unrolled.hub.session import asking, client
from unrolled.reporting import counted
from unrolled.tasks.task import AnyTask
from unrolled.training.run_folder import HOLDS, is_there, load_run


def pull(
    address: str,
    folder: str | PathLike[str],
    *,
    task: AnyTask | None = None,
) -> str:
    """Pull a run from a repository on the Hugging Face Hub into a new folder.

    The revision is resolved to a commit once, and all files are those of this commit. Nothing is
    downloaded from a repository with files that no run has. The run is opened before its folder appears.

    Args:
        address: `hf://user/name`, or `hf://user/name@revision`: a branch, a tag or the hash of a commit.
        folder: the new folder.
        task: your own task, if the run was trained with one.

    Returns:
        The address with the hash of the commit, `hf://user/name@hash`, which always gives the same run.

    Raises:
        ConfigError: the address is not valid.
        RunError: the folder is in the way; the repository is not a run or not accessible; the run is
            damaged.
        UnavailableError: the hub cannot be reached.
    """
    where, path = Address.of(address), Path(os.path.realpath(folder))
    _check_free(path)
    with storage.locked(path), asking(where):
        _check_free(path)
        api = client()
        info = api.repo_info(where.repository, revision=where.revision or None)
        pinned = where.at(str(info.sha))
        names = check_names([file.rfilename for file in info.siblings or ()], where)
        with storage.making(path, HOLDS, "pull again") as partial:
            for name in counted(names, f"pulling {where}", "files", len(names)):
                _download(api, pinned, name, partial)
            _check_opens(partial, pinned, task)
    return str(pinned)


def _check_free(path: Path) -> None:
    if is_there(path):
        raise RunError(f"{path} exists; choose another folder, or move it elsewhere")
    partial = storage.partial(path)
    if os.path.lexists(partial):
        is_folder = partial.is_dir() and not storage.is_link(partial)
        if not is_folder or storage.first_foreign(partial, HOLDS) is not None:
            raise RunError(
                f"{partial} is in the way and was not written by Unrolled; move it elsewhere, or choose "
                "another folder"
            )


def _download(api: Any, pinned: Address, name: PurePosixPath, folder: Path) -> None:
    """Copy a file of a commit from the cache of huggingface_hub, which downloads it first."""
    cached = api.hf_hub_download(pinned.repository, str(name), revision=pinned.revision)
    file = folder / name
    with storage.writing(file, "pull again"):
        storage.make_folder(file.parent)
        with open(cached, "rb") as source, storage.whole(file) as stream:
            shutil.copyfileobj(source, stream)


def _check_opens(folder: Path, pinned: Address, task: AnyTask | None) -> None:
    try:
        load_run(folder, task)
    except RunError as error:
        problem = str(error).replace(str(folder), str(pinned))
        raise RunError(f"{problem} (nothing was written)") from None
