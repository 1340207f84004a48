"""What to say of an unusable file of a run."""

from __future__ import annotations

from pathlib import Path

from unrolled.errors import RunError

_RESTORE = "restore the file from a copy, or train the run again (--force)"


def damaged(path: Path, problem: str) -> RunError:
    """The error to raise for an unusable file of a run."""
    return RunError(f"{path}: {problem}; {_RESTORE}")
