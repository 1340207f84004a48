"""Write the splits of a sample to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from unrolled import storage
from unrolled.errors import DataError


def write_labelled(
    folder: str | PathLike[str], parts: Iterable[tuple[str, Iterable[tuple[str, str]]]]
) -> None:
    """Write a table of texts and labels for each part, such as train.tsv, with a header `text<tab>label`.

    Args:
        folder: output folder; created if it does not exist.
        parts: the name of each part, and its texts and labels.

    Raises:
        DataError: as for `write_parts`.
    """
    contents = {
        f"{name}.tsv": "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
        for name, rows in parts
    }
    write_parts(folder, contents)


def write_parts(
    folder: str | PathLike[str], contents: Mapping[str, str], what: str = "the sample"
) -> None:
    """Write files in UTF-8 with LF line ends, the same bytes on every machine.

    Args:
        folder: output folder; created if it does not exist.
        contents: contents by file name.
        what: name of the contents, for messages.

    Raises:
        DataError: the folder cannot be created or written, or a file exists with another content; then
            nothing is written.
    """
    folder = Path(folder)
    encoded = {name: content.encode("utf-8") for name, content in contents.items()}
    try:
        existing = {
            name: (folder / name).read_bytes() for name in encoded if (folder / name).exists()
        }
        for name, content in existing.items():
            if content != encoded[name]:
                raise DataError(
                    f"the file exists with other content than {what}; choose another folder, or move it",
                    folder / name,
                )
        storage.make_folder(folder)
        for name in encoded.keys() - existing.keys():
            with storage.whole(folder / name) as stream:
                stream.write(encoded[name])
    except OSError as error:
        raise DataError(
            f"cannot write {what} to this folder ({error.strerror}); choose another folder", folder
        ) from error
