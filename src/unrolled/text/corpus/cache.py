"""The cache of encoded parts: KEY.ids, KEY.starts and, written last, KEY.json, which describes them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unrolled import documents
from unrolled.documents import DocumentError
from unrolled.text.config import UNK_ID

FORMAT = 2
"""Format version of the cache; if it changes, everything is encoded again."""

_BLOCK = 1 << 20  # ids checked at a time
_MOST_OF_RECORD = 1 << 16  # bytes
_CHECKSUM_BELOW = 64 << 20  # bytes; the checksums of larger files are not verified


@dataclass(frozen=True, eq=False)
class TokenStream:
    """The documents of one part as ids, one after another, each followed by `EOS_ID`.

    Args:
        ids: unsigned integers, of 16 bits if the vocabulary is small enough; read-only.
        starts: the index in `ids` at which each document starts.
        n_characters: number of characters of the encoded text, in Unicode normal form C. If documents
            are not whole files, `EOS_ID` stands for their last line end, which is counted.
        n_bytes: number of bytes of that text in UTF-8.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    starts: NDArray[np.int64]
    n_characters: int
    n_bytes: int

    @property
    def n_tokens(self) -> int:
        """Number of ids, including the end of each document."""
        return len(self.ids)

    @cached_property
    def n_unknown(self) -> int:
        """Number of ids for unknown tokens."""
        steps = range(0, len(self.ids), _BLOCK)
        return sum(int((self.ids[i : i + _BLOCK] == UNK_ID).sum()) for i in steps)


class NoCacheError(Exception):
    """Encoded text cannot be cached, for the reason in the message. A run continues without a cache."""


def default_cache_folder() -> Path | None:
    """The folder for encoded text: `$UNROLLED_CACHE`, or the platform's cache folder.

    None if the user has no home folder, as in some containers.

    >>> default_cache_folder().is_absolute()
    True
    """
    try:
        if named := os.environ.get("UNROLLED_CACHE"):
            return Path(named).expanduser().absolute()
        home = Path.home()
    except (RuntimeError, OSError, ValueError):
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unrolled"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unrolled"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "")
    # The XDG base directory specification requires that relative paths be ignored.
    return (caches if caches.is_absolute() else home / ".cache") / "unrolled"


_LEFT_FOR_DEAD = 24 * 3600  # seconds after which a temporary file counts as abandoned
_TEMPORARY = re.compile(r"[0-9a-f]{32}\.(ids|starts|json)\.\d+-[0-9a-f]{8}\.partial")


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes; the folder may also contain other files."""
    for path in folder.glob("*.partial"):
        with suppress(OSError):
            is_ours = _TEMPORARY.fullmatch(path.name) is not None
            if is_ours and time.time() - path.lstat().st_mtime > _LEFT_FOR_DEAD:
                path.unlink()


class CacheEntry:
    """Files with temporary names, which `keep` renames; otherwise they are removed.

    If the folder has to be created, only this user gets access: whoever can write there controls what is
    learned.

    Args:
        folder: the cache.
        key: hash of everything on which the ids depend.
        n_words: size of the vocabulary.

    Raises:
        NoCacheError: the files cannot be written.
    """

    def __init__(self, folder: Path, key: str, n_words: int) -> None:
        self._folder, self._key, self._n_words = folder, key, n_words
        self._mark = f"{os.getpid()}-{secrets.token_hex(4)}.partial"

    def __enter__(self) -> CacheEntry:
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            _remove_leftovers(self._folder)
            self.ids = self._temporary("ids").open("xb")
            self.starts = self._temporary("starts").open("xb")
        except (OSError, ValueError) as error:
            raise self._refused(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.ids.close()
            self.starts.close()
        except OSError as late:  # writing the buffered rest failed, e.g. because the disk is full
            error = error or late
        for name in ("ids", "starts", "json"):
            with suppress(OSError):
                self._temporary(name).unlink()
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
                # On Windows, a file that another process has mapped cannot be replaced; it is equal.
                if from_cache(self._folder, self._key, self._n_words) is None:
                    raise

    def _temporary(self, name: str) -> Path:
        return self._folder / f"{self._key}.{name}.{self._mark}"

    def _refused(self, error: Exception) -> NoCacheError:
        reason = getattr(error, "strerror", None) or error
        return NoCacheError(f"{self._folder} cannot be written ({reason})")


def from_cache(folder: Path, key: str, n_words: int) -> TokenStream | None:
    """Read the ids cached under this key; None if there are none, or they are damaged.

    Args:
        folder: the cache.
        key: hash of everything on which the ids depend.
        n_words: size of the vocabulary; ids beyond it mean that the file is damaged.
    """
    try:
        record = documents.read_json(folder / f"{key}.json", _MOST_OF_RECORD)
        counts = [record[name] for name in ("n_ids", "n_documents", "n_characters", "n_bytes")]
        if not all(type(count) is int and count >= 0 for count in counts):
            return None
        if record["dtype"] not in ("<u2", "<u4", ">u2", ">u4"):
            return None
        ids = _mapped(folder / f"{key}.ids", record["dtype"], counts[0], record["ids_blake2b"])
        starts = _mapped(folder / f"{key}.starts", np.int64, counts[1], record["starts_blake2b"])
        if ids is None or starts is None or not _fit(ids, starts, n_words):
            return None
        return TokenStream(ids, starts, counts[2], counts[3])
    except (DocumentError, OSError, ValueError, KeyError, TypeError, MemoryError):
        return None


def _mapped(path: Path, dtype: DTypeLike, count: int, digest: str) -> NDArray[Any] | None:
    size = count * np.dtype(dtype).itemsize
    with documents.open_regular(path) as stream:
        if not size or os.fstat(stream.fileno()).st_size != size:
            return None
        is_small = size < _CHECKSUM_BELOW
        if is_small and hashlib.file_digest(stream, hashlib.blake2b).hexdigest() != digest:
            return None
        return np.memmap(stream, dtype, mode="r", shape=(count,))


def _fit(ids: NDArray[Any], starts: NDArray[np.int64], n_words: int) -> bool:
    """Whether all ids are in the vocabulary, and the starts of documents are increasing and in range."""
    blocks = (ids[i : i + _BLOCK] for i in range(0, len(ids), _BLOCK))
    if any(int(block.max()) >= n_words for block in blocks):
        return False
    rises = bool((starts[1:] > starts[:-1]).all())
    return rises and int(starts[0]) == 0 and int(starts[-1]) < len(ids)
