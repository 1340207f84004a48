"""The parts of a sample as files."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from unrolled.errors import DataError


def write_parts(
    folder: str | PathLike[str], contents: Mapping[str, str], what: str = "the sample"
) -> None:
    """Write files in UTF-8 with LF at the end of lines, the same bytes on every machine.

    Args:
        folder: where; made if it is not there.
        contents: by the name of the file.
        what: they are, for messages.

    Raises:
        DataError: the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content.encode("utf-8"))
    except OSError as error:
        raise DataError(
            f"cannot write {what} here ({error.strerror}); choose another folder", folder
        ) from error
