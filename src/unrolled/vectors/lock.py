"""One process at a time writes a folder.

The system holds the lock for as long as the process lives, so that a kill leaves nothing locked. It lies
on an empty file beside the folder, for the folder itself may be replaced.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unrolled.errors import RunError
from unrolled.vectors import storage

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
"""What systems say of a lock that another process has; anything else is that there are no locks here."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from writing a folder, which need not exist yet.

    Raises:
        RunError: somebody else does, or the place cannot be written.
    """
    path = folder.with_name(f".{folder.name}.lock")
    made = [parent for parent in path.parents if not parent.exists()]
    with storage.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _taken(path)
    if handle is None:
        raise RunError(
            f"{folder} is being written by another process; wait until it ends, or choose another name "
            "(--out)"
        )
    try:
        yield
    finally:
        _give_back(handle, path)
        with suppress(OSError):  # in which nothing came to stand
            for parent in made:
                parent.rmdir()


def _taken(path: Path) -> int | None:
    """The file, open and locked; None where another process has the lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno not in _TAKEN:  # a file system without locks
                return handle
            os.close(handle)
            return None
        # Whoever had it before may have removed the file since it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def _give_back(handle: int, path: Path) -> None:
    if sys.platform == "win32":  # no open file can be removed
        os.close(handle)
        with suppress(OSError):
            path.unlink()
    else:
        with suppress(OSError):
            path.unlink()
        os.close(handle)
