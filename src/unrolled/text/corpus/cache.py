"""A part as ids, kept in KEY.ids, KEY.starts and, written last, KEY.json, which says what they hold."""

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
from unrolled.text.tokenizer import UNK_ID

FORMAT = 2
"""Of what stands in the cache; another number, and everything is encoded anew."""

_BLOCK = 1 << 20  # ids looked at together
_MOST_OF_RECORD = 1 << 16  # bytes
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


class NoCacheError(Exception):
    """Encoded text cannot be kept; the message says why. It ends no run, which goes on without."""


def default_cache_folder() -> Path | None:
    """Where encoded text is kept: `$UNROLLED_CACHE`, or the platform's folder for what can be remade.

    None where this user has no home folder, as in some containers.

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
    # A relative path there is to be ignored, says the XDG base directory specification.
    return (caches if caches.is_absolute() else home / ".cache") / "unrolled"


_LEFT_FOR_DEAD = 24 * 3600  # seconds after which nobody writes to a temporary file any more
_TEMPORARY = re.compile(r"[0-9a-f]{32}\.(ids|starts|json)\.\d+-[0-9a-f]{8}\.partial")


def _remove_leftovers(folder: Path) -> None:
    """The temporary files of processes that were killed; the folder may hold other things too."""
    for path in folder.glob("*.partial"):
        with suppress(OSError):
            is_ours = _TEMPORARY.fullmatch(path.name) is not None
            if is_ours and time.time() - path.lstat().st_mtime > _LEFT_FOR_DEAD:
                path.unlink()


class CacheEntry:
    """Files under temporary names, which `keep` puts in their place; otherwise they vanish.

    A folder that is made for them is open to nobody else: who can write there decides what is learned.

    Args:
        folder: the cache.
        key: what the ids depend on.
        n_words: size of the vocabulary.

    Raises:
        NoCacheError: they cannot be written.
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
        except OSError as late:  # what was still to be written found no room
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
                # On Windows a file that another process has mapped stays; it holds the same.
                if from_cache(self._folder, self._key, self._n_words) is None:
                    raise

    def _temporary(self, name: str) -> Path:
        return self._folder / f"{self._key}.{name}.{self._mark}"

    def _refused(self, error: Exception) -> NoCacheError:
        reason = getattr(error, "strerror", None) or error
        return NoCacheError(f"{self._folder} cannot be written ({reason})")


def from_cache(folder: Path, key: str, n_words: int) -> TokenStream | None:
    """What was kept under this key; None where there is nothing, or not what was written.

    Args:
        folder: the cache.
        key: what the ids depend on.
        n_words: size of the vocabulary; ids beyond it are damage.
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
    """Whether ids are of the vocabulary, and documents start one after another among them."""
    blocks = (ids[i : i + _BLOCK] for i in range(0, len(ids), _BLOCK))
    if any(int(block.max()) >= n_words for block in blocks):
        return False
    rises = bool((starts[1:] > starts[:-1]).all())
    return rises and int(starts[0]) == 0 and int(starts[-1]) < len(ids)
