"""What counting and training share: the settings, the folder, and the record of what is done."""

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
_MOST_OF_RECORD = 256 << 20  # bytes; some texts are of millions of files
_MOST_CHUNKS = 10**6
_LARGEST = 1 << 63
_WORK_FOLDER = "work"

BEGIN_OF_CONFIG = "# Unrolled vectors, format 1"
"""What makes a folder one of vectors; in those of older versions only the names of the settings do."""

WORK: storage.Holds = {
    r"parts\.jsonl|pairs|state-\d{6,}\.safetensors": None,
    r"part-\d{6,}": None,
    r"sums-\d+-\d{6,}": MATRIX,
}
"""What the folder `work` holds."""

HOLDS: storage.Holds = {
    r"vectors\.toml": None,
    r"record\.json": None,
    r"vocabulary\.tsv|vectors\.safetensors|README\.md": None,
    COUNTS_FOLDER: MATRIX,
    _WORK_FOLDER: WORK,
}
"""What a folder of vectors holds, and all that is ever removed with it."""


def is_vectors(folder: Path) -> bool:
    """Whether a folder is one of vectors, finished or begun, by what `vectors.toml` says."""
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
    known = {each.name for each in dataclasses.fields(VectorsConfig)}
    return {"min_count", "window", "x_max", "rate"} <= names <= known


@dataclass
class Record:
    """What is done, and how; `record.json`, replaced after each thing that is.

    Args:
        corpus: the settings of the text.
        files: path, size and time of change of each.
        tokenizer: its checksum, or nothing.
        counted_in: the folder whose counts these are, or nothing.
        sessions: of each start, when it was, the package's version, and the instruction set of the
            kernels, or `plain`.
        is_read: whether the text is.
        n_parts: of the text, once it is.
        n_different: words that the text holds.
        n_tokens: of the text, words of no vector included.
        n_counted: tokens (and borders) of the chunks counted so far.
        n_stretches: of which sums are on the disk.
        is_counted: whether the counts are complete.
        losses: of each epoch that is saved.
        state: the file of what training goes on from.
        is_finished: whether the vectors are complete.
        seconds: that it took, up to the last replacement.
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
        """Read it; an empty one where there is none yet.

        Raises:
            RunError: it is damaged.
        """
        try:
            found = documents.read_json(path, _MOST_OF_RECORD)
        except documents.DocumentError as error:
            if error.is_missing:
                return cls()
            raise RunError(f"{path}: damaged ({error.problem}); train again (--force)") from None
        problem = _why_no_record(found)
        if problem is not None:
            raise RunError(f"{path}: damaged ({problem}); train again (--force)")
        return cls(**found)


def _why_no_record(found: Any) -> str | None:
    """What is wrong with a record as a file holds it; None for nothing."""
    if not isinstance(found, dict):
        return "expected an object"
    kinds = {each.name: str(each.type) for each in dataclasses.fields(Record)}
    for name, value in found.items():
        if name not in kinds or not _is_right(value, kinds[name]):
            return f"'{name[:40]}' is unknown, or not as it was written"
    if not _STATE.fullmatch(found.get("state", "")):
        return "'state' is no file of the folder 'work'"
    if found.get("n_stretches", 0) > _MOST_CHUNKS:
        return f"'n_stretches' is above {_MOST_CHUNKS:,}"
    if found.get("is_finished") and not found.get("losses"):
        return "'losses' are missing"
    return None


def _is_right(value: Any, kind: str) -> bool:
    """Whether a value read from JSON can be that of a field of this type."""
    if kind == "dict[str, Any]":
        return isinstance(value, dict)
    if kind == "list[list[Any]]":  # of files: path, size, time of change
        return isinstance(value, list) and all(map(_is_stamp, value))
    if kind == "list[dict[str, str]]":
        return isinstance(value, list) and all(map(_is_session, value))
    if kind == "list[float]":
        return isinstance(value, list) and all(_is_right(each, "float") for each in value)
    if kind == "float":
        return type(value) in (int, float) and abs(value) < _LARGEST
    if kind == "int":
        return type(value) is int and 0 <= value < _LARGEST
    return type(value).__name__ == kind


def _is_session(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_stamp(value: Any) -> bool:
    """Path, size and time of change of a file; of some file systems the last is a text, or nothing."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    path, size, changed = value
    is_time = changed is None or isinstance(changed, str) or type(changed) in (int, float)
    return isinstance(path, str) and "\0" not in path and _is_right(size, "int") and is_time


@dataclass
class Job:
    """One folder on its way from text to vectors.

    Args:
        config: what to count and how to train.
        corpus: the text.
        out: the folder.
        splitter: pieces of text to words.
        implementation: `native` or `plain`.
        cluster: that reads and counts, or None.
        tokenizer: its checksum, or nothing.
        record: what is done.
        files: of the text, in order; known once it is to be read.
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
        """What a resumed run goes on from; it is there while vectors are being made."""
        return self.out / _WORK_FOLDER

    @property
    def counts(self) -> Path:
        """The folder of X."""
        return self.out / COUNTS_FOLDER

    @property
    def vocabulary(self) -> Path:
        """The file of the words."""
        return self.out / VOCABULARY_FILE

    def passed(self) -> float:
        """Seconds that all of it took until now."""
        now = time.monotonic()
        self.record.seconds += now - self._tick
        self._tick = now
        return self.record.seconds

    def begin_session(self) -> None:
        """Note who works on it from now on."""
        is_native = self.implementation is native and kernels is not None
        session = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "unrolled": package_version() or "unknown",
            "instruction_set": kernels.instruction_set() if is_native else "plain",
        }
        self.record.sessions.append(session)

    def save_record(self) -> None:
        """Replace `record.json`.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        self.passed()
        content = json.dumps(dataclasses.asdict(self.record), indent=1) + "\n"
        storage.write_whole(self.out / RECORD_FILE, content.encode())

    def save_config(self) -> None:
        """Replace `vectors.toml`.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        content = f"{BEGIN_OF_CONFIG}\n\n{settings.to_toml(self.config)}".encode()
        storage.write_whole(self.out / CONFIG_FILE, content)
