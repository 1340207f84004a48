"""The state that counting and training share: settings, folder, and the record of progress."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from unrolled import config as settings
from unrolled import documents, storage
from unrolled.errors import RunError
from unrolled.kernels import kernels
from unrolled.system import package_version
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting import text_shards
from unrolled.vectors.counting.cooccurrence import MATRIX
from unrolled.vectors.counting.ratios import COUNTS_FOLDER
from unrolled.vectors.formats.safetensors import CONFIG_FILE, VOCABULARY_FILE
from unrolled.vectors.kernels import native

RECORD_FILE = "record.json"

_STATE = re.compile(r"(?:state-\d{6,}\.safetensors)?", re.ASCII)
_MOST_OF_RECORD = 256 << 20  # bytes; some corpora have millions of files
_MOST_CHUNKS = 10**6
_LARGEST = 1 << 63
_WORK_FOLDER = "work"

BEGIN_OF_CONFIG = "# Unrolled vectors, format 1"
"""Marks a folder of vectors; folders of older versions are recognized by the names of the settings."""

WORK: storage.Holds = {
    r"parts\.jsonl|pairs|state-\d{6,}\.safetensors": None,
    r"part-\d{6,}": None,
    r"sums-\d+-\d{6,}": MATRIX,
}
"""Contents of the folder `work`."""

HOLDS: storage.Holds = {
    r"vectors\.toml": None,
    r"record\.json": None,
    r"vocabulary\.tsv|vectors\.safetensors|README\.md": None,
    COUNTS_FOLDER: MATRIX,
    _WORK_FOLDER: WORK,
}
"""Contents of a folder of vectors; nothing else is ever removed with it."""


def is_vectors(folder: Path) -> bool:
    """Whether a folder contains vectors, finished or not, according to its `vectors.toml`."""
    path = folder / CONFIG_FILE
    if storage.is_link(path):
        return False
    try:
        text = documents.read_text(path)
        if text.startswith(f"{BEGIN_OF_CONFIG}\n"):
            return True
        names = set(documents.parse_toml(path, text))
    except RunError:
        return False
    known = {field.name for field in dataclasses.fields(VectorsConfig)}
    return {"min_count", "window", "x_max", "rate"} <= names <= known


@dataclass
class Record:
    """The progress of a training; `record.json`, which is rewritten after each completed step.

    Args:
        corpus: settings of the corpus.
        files: path, size and modification time of each file.
        tokenizer: checksum of the tokenizer, or empty.
        counted_in: folder from which the counts were taken over, or empty.
        sessions: for each start, the time, the package version, and the instruction set of the kernels
            or `plain`.
        is_read: whether the text was read completely.
        n_parts: number of parts of the text, known when it was read.
        n_different: number of different words in the text.
        n_tokens: number of words in the text, including words without a vector.
        n_counted: tokens (and borders) of the chunks counted so far.
        n_stretches: number of chunks whose sums are on disk.
        is_counted: whether the counts are complete.
        losses: loss of each saved epoch.
        state: file from which training can be resumed.
        is_finished: whether the vectors are complete.
        seconds: time taken so far, as of the last write.
    """

    corpus: dict[str, Any] = field(default_factory=dict)
    files: list[list[Any]] = field(default_factory=list)
    tokenizer: str = ""
    counted_in: str = ""
    sessions: list[dict[str, str]] = field(default_factory=list)
    is_read: bool = False
    n_parts: int = 0
    n_different: int = 0
    n_tokens: int = 0
    n_counted: int = 0
    n_stretches: int = 0
    is_counted: bool = False
    losses: list[float] = field(default_factory=list)
    state: str = ""
    is_finished: bool = False
    seconds: float = 0.0

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record; an empty one if the file does not exist.

        Raises:
            RunError: the file is damaged.
        """
        try:
            content = documents.read_json(path, _MOST_OF_RECORD)
        except documents.DocumentError as error:
            if error.is_missing:
                return cls()
            raise RunError(f"{path}: damaged ({error.problem}); train again (--force)") from None
        problem = _why_no_record(content)
        if problem is not None:
            raise RunError(f"{path}: damaged ({problem}); train again (--force)")
        return cls(**content)


def _why_no_record(content: Any) -> str | None:
    """What is wrong with the content of a record file; None if it is valid."""
    if not isinstance(content, dict):
        return "expected an object"
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Record)}
    for name, value in content.items():
        if name not in kinds or not _is_right(value, kinds[name]):
            return f"the field '{name[:40]}' is unknown or has an invalid value"
    if not _STATE.fullmatch(content.get("state", "")):
        return "'state' is not the name of a state file"
    if content.get("n_stretches", 0) > _MOST_CHUNKS:
        return f"'n_stretches' is above {_MOST_CHUNKS:,}"
    if content.get("is_finished") and not content.get("losses"):
        return "'losses' is missing"
    return None


def _is_right(value: Any, kind: str) -> bool:
    """Whether a value read from JSON is valid for a field of this type."""
    if kind == "dict[str, Any]":
        return isinstance(value, dict)
    if kind == "list[list[Any]]":  # files: path, size, modification time
        return isinstance(value, list) and all(map(_is_stamp, value))
    if kind == "list[dict[str, str]]":
        return isinstance(value, list) and all(map(_is_session, value))
    if kind == "list[float]":
        return isinstance(value, list) and all(_is_right(number, "float") for number in value)
    if kind == "float":
        return type(value) in (int, float) and abs(value) < _LARGEST
    if kind == "int":
        return type(value) is int and 0 <= value < _LARGEST
    return type(value).__name__ == kind


def _is_session(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_stamp(value: Any) -> bool:
    """Whether a value is path, size and modification time; the last may be a text, or None."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    path, size, changed = value
    is_time = changed is None or isinstance(changed, str) or type(changed) in (int, float)
    return isinstance(path, str) and "\0" not in path and _is_right(size, "int") and is_time


@dataclass
class Job:
    """A training in one folder, from text to vectors.

    Args:
        config: counting and training settings.
        corpus: the text.
        out: the output folder.
        splitter: splits pieces of text into words.
        implementation: module of the kernels, `native` or `reference`.
        cluster: the cluster that reads and counts, or None.
        tokenizer: checksum of the tokenizer, or empty.
        record: the progress.
        files: files of the text, in order; filled in before it is read.
    """

    config: VectorsConfig
    corpus: CorpusConfig
    out: Path
    splitter: text_shards.Splitter
    implementation: ModuleType
    cluster: Any
    tokenizer: str
    record: Record = field(default_factory=Record)
    files: list[Any] = field(default_factory=list)
    _tick: float = field(default_factory=time.monotonic)

    @property
    def work(self) -> Path:
        """The folder from which a run is resumed; it exists during training."""
        return self.out / _WORK_FOLDER

    @property
    def counts(self) -> Path:
        """The folder of the counts X."""
        return self.out / COUNTS_FOLDER

    @property
    def vocabulary(self) -> Path:
        """The vocabulary file."""
        return self.out / VOCABULARY_FILE

    def passed(self) -> float:
        """Training time so far in seconds, including earlier sessions."""
        now = time.monotonic()
        self.record.seconds += now - self._tick
        self._tick = now
        return self.record.seconds

    def begin_session(self) -> None:
        """Add a session to the record: start time, version and instruction set."""
        is_native = self.implementation is native and kernels is not None
        session = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "unrolled": package_version() or "unknown",
            "instruction_set": kernels.instruction_set() if is_native else "plain",
        }
        self.record.sessions.append(session)

    def save_record(self) -> None:
        """Write `record.json`.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        self.passed()
        content = json.dumps(dataclasses.asdict(self.record), indent=1) + "\n"
        storage.write_whole(self.out / RECORD_FILE, content.encode())

    def save_config(self) -> None:
        """Write `vectors.toml`.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        content = f"{BEGIN_OF_CONFIG}\n\n{settings.to_toml(self.config)}".encode()
        storage.write_whole(self.out / CONFIG_FILE, content)
