"""Push a run to the hub."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

from unrolled import documents, storage
from unrolled.errors import ConfigError, RunError
from unrolled.hub.address import Address
from unrolled.hub.contents import CARD, MOST_BYTES_OF_CARD, check_names, check_paths, files_of
from unrolled.hub.session import asking, client
from unrolled.reporting import begun
from unrolled.tasks.task import AnyTask
from unrolled.training.run_folder import load_run, read_recipe

_PIPELINES = {
    "translate": "translation",
    "classify": "text-classification",
    "pair": "text-classification",
    "tag": "token-classification",
    "language_model": "text-generation",
    "code": "text-generation",
}
"""The names of our tasks on the hub, by which it finds models."""


def push(
    run: str | PathLike[str],
    address: str,
    *,
    private: bool = False,
    with_paths: bool = False,
    task: AnyTask | None = None,
) -> str:
    """Push a run to a repository on the Hugging Face Hub, which is created if it does not exist.

    The weights (safetensors), settings, vocabularies, scores, baselines and the model card are pushed;
    checkpoints and reports, which contain texts, are not. The run is opened before, so a damaged one is
    refused. Files of an earlier push that this run does not have are removed in the same commit.

    Args:
        run: the run folder.
        address: `hf://user/name`, or `hf://user/name@branch`; a new branch is created.
        private: whether a new repository is private; an existing one must be.
        with_paths: whether to push a run whose files name absolute paths of this machine.
        task: your own task, if the run was trained with one.

    Returns:
        The address of the new commit, `hf://user/name@hash`.

    Raises:
        ConfigError: the address is not valid, or a commit, which cannot be changed.
        RunError: the folder is not a run, is damaged, has other files in it or names absolute paths; or
            the repository has other files in it, is not accessible, or is public against `private`.
        UnavailableError: the hub cannot be reached.
    """
    where, folder = Address.of(address), Path(run)
    if where.is_commit:
        raise ConfigError(f"{where} is a commit, and commits do not change; name a branch, or none")
    names = files_of(folder)
    if not with_paths:
        check_paths(folder)
    with storage.locked(Path(os.path.realpath(folder))), asking(where):
        load_run(folder, task)
        return str(where.at(_pushed(folder, names, where, private)))


def _pushed(folder: Path, names: list[Path], where: Address, private: bool) -> str:
    """Push files; returns the hash of the commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    begun(f"pushing to {where}")
    api = client()
    there = _prepared(api, where, private)
    content: dict[str, Any] = {name.as_posix(): folder / name for name in names}
    content[CARD] = _card(folder, where).encode()
    added = [CommitOperationAdd(name, each) for name, each in content.items()]
    removed = [CommitOperationDelete(name) for name in there if name not in content]
    done = api.create_commit(
        where.repository,
        [*removed, *added],
        commit_message=f"Push {folder.resolve().name}",
        revision=where.revision or None,
    )
    return str(done.oid)


def _prepared(api: Any, where: Address, private: bool) -> list[str]:
    """Create the repository and its branch, where they do not exist; returns the files there."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = api.repo_info(where.repository)
    except RepositoryNotFoundError:
        api.create_repo(where.repository, private=private)
        info = api.repo_info(where.repository)
    if private and not info.private:
        raise RunError(
            f"{where} exists and is public; make it private on the hub, or choose another name"
        )
    if where.revision:
        try:
            info = api.repo_info(where.repository, revision=where.revision)
        except RevisionNotFoundError:
            api.create_branch(where.repository, branch=where.revision)
            info = api.repo_info(where.repository, revision=where.revision)
    names = [file.rfilename for file in info.siblings or ()]
    return [str(path) for path in check_names(names, where, is_complete=False)]


def _card(folder: Path, where: Address) -> str:
    """The model card of a run, with what the hub reads of it, and how to pull the run."""
    recipe, task = read_recipe(folder)
    text = ""
    if (folder / CARD).exists():
        text = documents.read_text(folder / CARD, MOST_BYTES_OF_CARD)
    if not text.startswith("---\n"):
        pipeline = _PIPELINES.get(task.name)
        known = f"pipeline_tag: {pipeline}\n" if pipeline else ""
        cell = getattr(recipe.model, "cell", "")
        tags = ["recurrent", *([str(cell)] if str(cell).isalnum() else [])]
        text = f"---\nlibrary_name: unrolled\n{known}tags: [{', '.join(tags)}]\n---\n\n{text}"
    if _PULL not in text:
        text += f"\n{_PULL}\n\n```\nunrolled pull {where} {where.repository.split('/')[1]}\n```\n"
    return text


_PULL = "## From the hub"
