"""The parts of a sample as files."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from unrolled import storage
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
        DataError: the folder cannot be made or written, or a file of this name with another content is
            there; then nothing is written.
    """
    folder = Path(folder)
    encoded = {name: content.encode("utf-8") for name, content in contents.items()}
    try:
        there = {name: (folder / name).read_bytes() for name in encoded if (folder / name).exists()}
        for name, content in there.items():
            if content != encoded[name]:
                raise DataError(
                    f"already there with other content than {what}; choose another folder, or move it",
                    folder / name,
                )
        storage.make_folder(folder)
        for name in encoded.keys() - there.keys():
            with storage.whole(folder / name) as stream:
                stream.write(encoded[name])
    except OSError as error:
        raise DataError(
            f"cannot write {what} here ({error.strerror}); choose another folder", folder
        ) from error
