"""The folder of an export, readable with `ls` and `cat`.

    export.json               format, precision, run, agreement with the model, checksums of all files
    *.onnx                    the graphs
    generate.json             the settings that prediction needs
    infer.py                  a program that predicts, without Unrolled; it may import the others
    tokenizer-<role>.json     the vocabularies
    ngrams.safetensors        counted n-grams, with model.ngrams
    labels.json               the labels, for classify, pair and tag
    recipe.toml, split.json   the recipe of the run, and its data files with checksums
    README.md                 the model card

An export appears completely or not at all: it is written next to its final place under a temporary name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrolled import documents, storage
from unrolled.errors import RunError
from unrolled.training.run_folder import (
    ENSEMBLE_FILE,
    LABELS_FILE,
    MEMBERS,
    NGRAMS_FILE,
    is_there,
)
from unrolled.training.split_file import SPLIT_FILE

EXPORT_FILE = "export.json"
RECIPE_FILE = "recipe.toml"
SETTINGS_FILE = "generate.json"
FORMAT = "Unrolled export, format 1"
_MOST_BYTES = 64 << 20
_MOST_GRAPH_BYTES = 1 << 31

HOLDS: storage.Holds = {
    r"export\.json": None,
    r"(model|encoder|step)(-\d+)?\.onnx": None,
    r"generate\.json|labels\.json|split\.json|recipe\.toml|README\.md": None,
    r"(infer|words|spelling|counts)\.py": None,
    r"tokenizer-[\w-]+\.json|ngrams\.safetensors": None,
    "__pycache__": {r"(infer|words|spelling|counts)\.cpython-\d+\.pyc": None},
    r"evaluation-.+": {r"report\.html|predictions\.jsonl": None},
}
"""The content of an export; nothing else in it is ever removed."""


def is_export(path: Path, format: str = FORMAT) -> bool:
    """Whether a folder is an export of a format, by the beginning of its `export.json`."""
    file = path / EXPORT_FILE
    if storage.is_link(file) or not file.is_file():
        return False
    with documents.open_regular(file) as stream:
        return format.encode() in stream.read(200)


def check_free(path: Path, force: bool, format: str = FORMAT, holds: storage.Holds = HOLDS) -> None:
    """Check that an export can be written to a path.

    Args:
        path: the path.
        force: whether to replace an earlier export of the same format.
        format: the format.
        holds: what an export of this format can contain.

    Raises:
        RunError: there is an export and `force` is False, or something else.
    """
    for temporary in (storage.partial(path), storage.replaced(path)):
        if os.path.lexists(temporary) and _foreign(temporary, holds):
            raise RunError(
                f"{temporary} is in the way and was not written by Unrolled; move it elsewhere, or "
                "choose another folder"
            )
    if not is_there(path):
        return
    if storage.is_link(path) or not is_export(path, format):
        raise RunError(
            f"{path} exists and is not an export, so it is not replaced; choose another folder"
        )
    if not force:
        raise RunError(
            f"{path} already holds an export; replace it (--force), or choose another folder"
        )
    if (foreign := storage.first_foreign(path, holds)) is not None:
        raise RunError(
            f"{foreign} does not belong to the export in {path}, which would be removed as a whole; move "
            "it elsewhere, or choose another folder"
        )


def _foreign(path: Path, holds: storage.Holds) -> bool:
    is_folder = path.is_dir() and not storage.is_link(path)
    return not is_folder or storage.first_foreign(path, holds) is not None


@contextmanager
def beginning(
    path: Path, force: bool, format: str = FORMAT, holds: storage.Holds = HOLDS
) -> Iterator[Path]:
    """Make the temporary folder of a new export, and move it to its place if all went well.

    The arguments are those of `check_free`.

    Raises:
        RunError: the path is not free, another process writes to it, or it cannot be written.
    """
    path = Path(os.path.realpath(path))
    check_free(path, force, format, holds)
    with storage.locked(path):
        check_free(path, force, format, holds)
        with storage.making(path, holds, "export again") as partial:
            yield partial


def write(folder: Path, name: str, content: bytes | str) -> None:
    """Write one file of an export."""
    storage.write_whole(
        folder / name, content if isinstance(content, bytes) else content.encode(), "export again"
    )


def write_json(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write one file of an export as JSON."""
    write(folder, name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of all files but `export.json`, by name."""
    return {
        path.name: _sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != EXPORT_FILE
    }


def _sha256(path: Path) -> str:
    with documents.open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `export.json`, with the files that it names checked.

    Raises:
        RunError: a file is missing or damaged; it is named.
    """
    path = folder / EXPORT_FILE
    record = read_json(folder, EXPORT_FILE)
    files = record.get("files")
    is_valid = (
        record.get("format") == FORMAT
        and isinstance(record.get("task"), str)
        and isinstance(record.get("precision"), str)
        and type(record.get("parameters")) is int
        and isinstance(files, dict)
        and all(isinstance(each, str) for item in files.items() for each in item)
    )
    if not is_valid:
        raise damaged(path, "unexpected content")
    for name, digest in record["files"].items():
        file = folder / Path(name).name
        try:
            current = _sha256(file)
        except OSError as error:
            raise documents.cannot_be_read(file, error) from None
        if current != digest:
            raise damaged(file, f"its checksum differs from the one in {EXPORT_FILE}")
    return record


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of an export.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        content = documents.read_json(folder / name, _MOST_BYTES)
    except documents.DocumentError as error:
        raise damaged(folder / name, error.problem) from None
    if not isinstance(content, dict):
        raise damaged(folder / name, "expected an object")
    return content


def read_graph(folder: Path, name: str) -> bytes:
    """The content of a graph.

    Raises:
        RunError: the file is missing or too large.
    """
    try:
        return documents.read_bytes(folder / name, _MOST_GRAPH_BYTES)
    except documents.DocumentError as error:
        raise damaged(folder / name, error.problem) from None


def damaged(path: Path, problem: str) -> RunError:
    """The error to raise for an unusable file of an export."""
    return RunError(f"{path}: {problem}; restore the file from a copy, or export the run again")


def run_files(run: Path) -> list[Path]:
    """The files of a run that an export depends on."""
    names = [path for path in sorted(run.iterdir()) if path.match("tokenizer-*.json")]
    return [
        run / "config.toml",
        *sorted(run.glob(f"{MEMBERS}/seed-*/model.safetensors")),
        *names,
        *(run / name for name in _MAY_HAVE if (run / name).exists()),
    ]


_MAY_HAVE = ("model.safetensors", ENSEMBLE_FILE, LABELS_FILE, NGRAMS_FILE, SPLIT_FILE)


def run_hash(run: Path) -> str:
    """SHA-256 over the names and checksums of the files of a run that an export depends on."""
    digest = hashlib.sha256()
    for path in run_files(run):
        digest.update(f"{path.relative_to(run).as_posix()} {_sha256(path)}\n".encode())
    return digest.hexdigest()
