"""Standard input as a corpus. It can only be read once, but a resumed run may need the text again."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from unrolled import storage
from unrolled.errors import ConfigError, RunError
from unrolled.text.corpus.config import CorpusConfig
from unrolled.vectors.counting import text_shards
from unrolled.vectors.run_state import RECORD_FILE, Record

STANDARD_INPUT = "-"
"""Name of standard input in the list of files of a corpus."""


@dataclass(frozen=True)
class Spool:
    """A copy of standard input on disk, beside the folder of the vectors, kept until it is counted.

    Args:
        path: the copy.
        folder: the folder of the vectors.
        stream: standard input; None if it is closed.
    """

    path: Path
    folder: Path
    stream: BinaryIO | None

    @classmethod
    def of(
        cls, corpus: CorpusConfig, folder: Path, stream: BinaryIO | None
    ) -> tuple[CorpusConfig, Spool | None]:
        """The corpus with the copy in place of standard input, and the spool; None if it is not used."""
        if STANDARD_INPUT not in corpus.train:
            return corpus, None
        path = folder.with_name(f".{folder.name}.standard-input")
        names = tuple(str(path) if name == STANDARD_INPUT else name for name in corpus.train)
        return replace(corpus, train=names), cls(path, folder, stream)

    @contextmanager
    def filled(self, resume: bool) -> Iterator[None]:
        """Copy standard input unless a resumed run has it; remove the copy when it is no longer needed.

        The caller must hold the lock of the folder.

        Raises:
            ConfigError: standard input is closed.
            RunError: the disk is full.
        """
        is_counted = resume and Record.load(self.folder / RECORD_FILE).is_counted
        if not is_counted and not (resume and self._is_to_be_read()):
            if self.stream is None:
                raise ConfigError(
                    "standard input is closed; pipe the text into the command, or name a file"
                )
            with _interrupted_at_once(), storage.replacing(self.path, "try again") as copy:
                shutil.copyfileobj(self.stream, copy, 1 << 20)
        try:
            yield
        finally:
            if not self._is_to_be_read():
                self.remove()

    def remove(self) -> None:
        """Remove the copy to free disk space: training only needs the counts, and may take long."""
        self.path.unlink(missing_ok=True)

    def _is_to_be_read(self) -> bool:
        """Whether the unfinished training in the folder needs exactly this copy to resume."""
        try:
            record = Record.load(self.folder / RECORD_FILE)
        except RunError:  # it is damaged; nothing can be resumed
            return False
        return not record.is_counted and text_shards.stamps([self.path])[0] in record.files


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Turn the first Ctrl-C into a `KeyboardInterrupt`, since waiting for input may never end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
