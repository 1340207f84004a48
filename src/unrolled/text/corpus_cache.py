"""A part as ids, kept in KEY.ids, KEY.starts and, written last, KEY.json, which says what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.text.tokenizer import UNK_ID

FORMAT = 2
"""Of what stands in the cache; another number, and everything is encoded anew."""

_BLOCK = 1 << 20  # ids looked at together
_CHECKSUM_BELOW = 64 << 20  # bytes of ids that are read again to be sure of them


@dataclass(frozen=True, eq=False)
class TokenStream:
    """The documents of one part as ids, one after another, each followed by `EOS_ID`.

    Args:
        ids: unsigned, 16 bits where the vocabulary has room in them; not to be written to.
        starts: where in `ids` each document starts.
        n_characters: of the text that the ids stand for, in Unicode normal form C. Where documents
            are not whole files, `EOS_ID` stands for their last line end, which is counted.
        n_bytes: of that text in UTF-8.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    starts: NDArray[np.int64]
    n_characters: int
    n_bytes: int

    @property
    def n_tokens(self) -> int:
        """Ids, the end of each document included."""
        return len(self.ids)

    @cached_property
    def n_unknown(self) -> int:
        """Ids that stand for whatever the vocabulary has not."""
        steps = range(0, len(self.ids), _BLOCK)
        return sum(int((self.ids[i : i + _BLOCK] == UNK_ID).sum()) for i in steps)


def default_cache_folder() -> Path:
    """Where encoded text is kept: `$UNROLLED_CACHE`, or the platform's folder for what can be remade.

    >>> default_cache_folder().is_absolute()
    True
    """
    if named := os.environ.get("UNROLLED_CACHE"):
        return Path(named).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unrolled"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unrolled"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "")
    # A relative path there is to be ignored, says the XDG base directory specification.
    return (caches if caches.is_absolute() else home / ".cache") / "unrolled"


_LEFT_FOR_DEAD = 24 * 3600  # seconds after which nobody writes to a temporary file any more


def _remove_leftovers(folder: Path) -> None:
    """The temporary files of processes that were killed."""
    for path in folder.glob("*.partial"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_FOR_DEAD:
                path.unlink()


class CacheEntry:
    """Files under temporary names, which `keep` puts in their place; otherwise they vanish."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._mark = f"{os.getpid()}-{secrets.token_hex(4)}.partial"

    def __enter__(self) -> CacheEntry:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self._folder)
            self.ids = self._temporary("ids").open("xb")
            self.starts = self._temporary("starts").open("xb")
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.ids.close()
            self.starts.close()
        except OSError as late:  # what was still to be written found no room
            error = error or late
        for name in ("ids", "starts", "json"):
            self._temporary(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._refused(error) from error

    def keep(self, record: dict[str, Any]) -> None:
        with self._temporary("json").open("xb") as about:
            about.write(json.dumps(record, indent=1).encode("utf-8"))
            for stream in (self.ids, self.starts, about):
                stream.flush()
                os.fsync(stream.fileno())
        self.ids.close()
        self.starts.close()
        for name in ("ids", "starts", "json"):
            try:
                os.replace(self._temporary(name), self._folder / f"{self._key}.{name}")
            except PermissionError:
                # On Windows a file that another process has mapped stays; it holds the same.
                if from_cache(self._folder, self._key) is None:
                    raise

    def _temporary(self, name: str) -> Path:
        return self._folder / f"{self._key}.{name}.{self._mark}"

    def _refused(self, error: OSError) -> DataError:
        return DataError(
            f"encoded text cannot be kept here ({error.strerror or error}); make room, or name "
            "another folder with the environment variable UNROLLED_CACHE",
            self._folder,
        )


def from_cache(folder: Path, key: str) -> TokenStream | None:
    """What was kept under this key; None where there is nothing, or not what was written."""
    try:
        record = json.loads((folder / f"{key}.json").read_bytes())
        arrays = []
        for name, dtype, count in (
            ("ids", np.dtype(record["dtype"]), record["n_ids"]),
            ("starts", np.dtype(np.int64), record["n_documents"]),
        ):
            path = folder / f"{key}.{name}"
            size = path.stat().st_size
            if size != count * dtype.itemsize:
                return None
            if size < _CHECKSUM_BELOW:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, hashlib.blake2b).hexdigest()
                if digest != record[f"{name}_blake2b"]:
                    return None
            arrays.append(np.memmap(path, dtype, mode="r", shape=(count,)))
        return TokenStream(arrays[0], arrays[1], record["n_characters"], record["n_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
