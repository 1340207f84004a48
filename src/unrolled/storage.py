"""Files and folders that are whole or not there, stay inside their folder, and have one writer.

- A file or folder is written under a temporary name, flushed to the disk and renamed. Who sees it under
  its own name sees all of it, after a power cut too. It has the permissions of any new file (umask).
- No write and no removal follows a link: a link is replaced or refused; what it leads to stays as it was.
- Only names that a description (`Holds`) lists are removed, and only where they are what it says.
- `locked` keeps a second process out of a folder. The system takes the lock back when the process dies.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from filelock import lock_descriptor

from unrolled.errors import RunError

Holds: TypeAlias = "Mapping[str, Holds | Callable[[Path], bool] | None]"
"""What a folder of ours can hold: for each pattern of names, what stands under it.

None is a regular file, a function a regular file that it recognises, a mapping a folder and what that
holds. The temporary names of all of these count too. What is described first is removed last.
"""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_TEMPORARY = re.compile(r"\.(.+)\.(?:partial|replaced)", re.DOTALL)


# Errors in one sentence


@contextmanager
def writing(path: Path, then: str = "go on with --resume") -> Iterator[None]:
    """Turn a failure to write `path` into one sentence.

    Args:
        path: the file or folder.
        then: what to do when there is space on the disk again.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise RunError(f"disk full while writing {path}; free space and {then}") from error
        raise RunError(f"cannot write {path} ({error.strerror or error})") from error


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for want of space, or of quota."""
    return error.errno in _DISK_FULL


# Files


def partial(path: Path) -> Path:
    """The temporary name of a file or folder that is being written."""
    return path.with_name(f".{path.name}.partial")


def replaced(path: Path) -> Path:
    """The temporary name of a folder whose place another takes."""
    return path.with_name(f".{path.name}.replaced")


def new_file(path: Path) -> BinaryIO:
    """A new file to write, in place of a file or link of this name; what a link leads to stays.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    return path.open("xb")


@contextmanager
def replacing(path: Path, then: str = "go on with --resume") -> Iterator[BinaryIO]:
    """A new file, which takes its place once it is whole, or leaves nothing.

    Args:
        path: the file.
        then: what to do after a full disk.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with writing(path, then), whole(path) as stream:
        yield stream


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """`replacing`, for who tells failures in words of its own.

    Raises:
        OSError: the file cannot be written.
    """
    stream = new_file(partial(path))
    try:
        with stream:
            yield stream
            flush(stream)
        os.replace(partial(path), path)
    except (Exception, KeyboardInterrupt, GeneratorExit):
        with suppress(OSError):
            partial(path).unlink()
        raise
    flush_folder(path.parent)


def write_whole(path: Path, content: bytes, then: str = "go on with --resume") -> None:
    """Replace a file at once: who reads it sees the old content or the new, never half.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with replacing(path, then) as stream:
        stream.write(content)


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """A file to add to, never through a link.

    Raises:
        OSError: it cannot be written, or is a link.
    """
    if is_link(path):
        raise OSError(errno.ELOOP, "it is a link, and nothing is written through one; remove it")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with os.fdopen(os.open(path, flags, 0o666), "ab") as stream:
        yield stream


def safetensors_header(header: Mapping[str, Any]) -> bytes:
    """What a `.safetensors` file begins with, as long as a multiple of eight bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def flush(stream: Any) -> None:
    """Have what was written to a file put on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def flush_folder(path: Path) -> None:
    """Have the names in a folder put on the disk."""
    if os.name != "nt":  # Windows cannot open a folder, and orders renames by itself
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# Folders


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link, or on Windows a junction."""
    return path.is_symlink() or bool(getattr(os.path, "isjunction", lambda _: False)(path))


def is_shared(path: Path) -> bool:
    """Whether the file has another name, by a link, under which a change would show too."""
    return is_link(path) or (path.exists() and path.stat().st_nlink > 1)


def require_own_folder(path: Path) -> None:
    """Refuse a part of a run that is not a folder in it but leads elsewhere; it may be missing.

    Raises:
        RunError: it is a link, or no folder.
    """
    if is_link(path):
        raise RunError(
            f"{path} is a link to {os.readlink(path)!r}; nothing is written or removed through a link: "
            "put the folder itself there"
        )
    if os.path.lexists(path) and not path.is_dir():
        raise RunError(f"{path} is not a folder; remove it")


def new_folder(path: Path) -> None:
    """Make a folder that is not there yet, and those around it.

    Raises:
        OSError: it cannot be made, or something has its name.
    """
    make_folder(path.parent)
    path.mkdir()
    flush_folder(path.parent)


def require_no_link_in(folder: Path, file: Path) -> None:
    """Refuse to write a file in a folder where its name is a link; elsewhere a link is the user's own.

    Raises:
        RunError: it is one.
    """
    inside = Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(folder))
    if inside and is_link(file):
        raise RunError(
            f"{file} is a link to {os.readlink(file)!r}; nothing is written through a link in a run: "
            "name another file"
        )


def make_folder(path: Path) -> None:
    """Make a folder and those around it, for good; one that is there stays as it is.

    Raises:
        OSError: one cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        flush_folder(folder.parent)


def first_foreign(folder: Path, holds: Holds) -> Path | None:
    """The first thing in a folder, by name, that `holds` does not describe; None where all is ours."""
    for path in sorted(folder.iterdir()):
        place, inside = _described(path, holds)
        if place < 0:
            return path
        if inside is not None:
            foreign = first_foreign(path, inside)
            if foreign is not None:
                return foreign
    return None


def remove(folder: Path, holds: Holds) -> None:
    """Remove what `holds` describes in a folder, then the folder if nothing is left in it.

    Raises:
        OSError: something cannot be removed.
    """
    if not is_link(folder) and folder.is_dir():
        remove_in(folder, holds)
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def remove_in(folder: Path, holds: Holds, kept: Container[str] = ()) -> None:
    """Remove what `holds` describes in a folder, but for some names.

    Raises:
        OSError: something cannot be removed.
    """
    if is_link(folder) or not folder.is_dir():
        return
    found = [(path, *_described(path, holds)) for path in sorted(folder.iterdir())]
    # What is described first goes last: it says whose the folder is, and a kill may come between.
    for path, place, inside in sorted(found, key=lambda each: -each[1]):
        if place < 0 or path.name in kept:
            continue
        if inside is not None:
            remove(path, inside)
        else:
            path.unlink()


def remove_leftovers(folder: Path, holds: Holds) -> None:
    """Remove the files in a folder, not below it, that a kill left under a temporary name.

    Raises:
        OSError: one cannot be removed.
    """
    for path in sorted(folder.iterdir()):
        place, inside = _described(path, holds)
        if place >= 0 and inside is None and path.name.startswith("."):
            path.unlink()


def _described(path: Path, holds: Holds) -> tuple[int, Holds | None]:
    """Which description, from 0, fits what is at a path, -1 for none; and what a folder there holds."""
    names = [path.name]
    if temporary := _TEMPORARY.fullmatch(path.name):
        names.append(temporary[1])
    kind = None if is_link(path) else path.lstat().st_mode
    for place, (pattern, what) in enumerate(holds.items()):
        if kind is None or not any(re.fullmatch(pattern, name) for name in names):
            continue
        if isinstance(what, Mapping):
            if stat.S_ISDIR(kind):
                return place, what
        elif stat.S_ISREG(kind) and (what is None or what(path)):
            return place, None
    return -1, None


def commit(path: Path, holds: Holds) -> None:
    """Give the folder under the temporary name of `path` its own name, on the disk too.

    What was there is put aside, and removed as far as `holds` describes it; a kill between leaves both.

    Raises:
        OSError: it cannot be done; what was there stands.
    """
    aside = replaced(path)
    remove(aside, holds)
    was_there = os.path.lexists(path)
    if was_there:
        os.replace(path, aside)
    try:
        os.replace(partial(path), path)
    except (Exception, KeyboardInterrupt):
        if was_there and not os.path.lexists(path):
            os.replace(aside, path)
        raise
    flush_folder(path.parent)
    remove(aside, holds)


# One writer

_MARK = b"\nunrolled: "  # on Windows nobody can read the first byte, for it is what is locked


class Lock:
    """What a process holds while it writes a folder; see `locked`."""

    def __init__(self) -> None:
        self._handles: list[int] = []

    def hold(self, folder: Path) -> None:
        """Lock a folder itself as well, so that nobody writes it by another name, or once it is moved.

        Nothing happens where the system cannot lock folders.

        Raises:
            RunError: another process writes it.
        """
        if os.name == "nt":
            return
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        held = [os.fstat(other) for other in self._handles]
        self._handles.append(handle)
        is_new = not any(os.path.samestat(os.fstat(handle), other) for other in held)
        if is_new and _is_taken(handle):
            raise _busy(folder, b"")

    def close(self) -> None:
        """Give back what `hold` locked."""
        while self._handles:
            os.close(self._handles.pop())


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Keep others from writing a folder, which need not be there yet.

    The lock lies on a file beside the folder, for the folder may be replaced, and on the folder itself.
    Where the file system has no locks, nobody is kept out.

    Args:
        folder: its real path, so that all its names mean the same lock.

    Raises:
        RunError: another process writes it; the message names the process and since when.
    """
    if not folder.name:
        raise RunError(f"{folder} is a whole disk; choose another name (--out)")
    path = folder.with_name(f".{folder.name}.lock")
    made = [parent for parent in path.parents if not parent.exists()]
    owner, handle, lock = os.getpid(), None, Lock()
    try:
        handle = _opened(path, folder)
        if folder.is_dir():
            lock.hold(folder)
        yield lock
    finally:
        lock.close()
        if handle is not None:
            _give_back(handle, path, owner == os.getpid())  # a copy by `fork` holds nothing
        with suppress(OSError):  # in which nothing came to stand
            for parent in made:
                parent.rmdir()


def _opened(path: Path, folder: Path) -> int | None:
    """The file of a lock, open and locked; None where none can be made beside a folder that is there."""
    try:
        make_folder(path.parent)
        return _taken(path, folder)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and folder.is_dir():
            return None
        if is_link(path) or path.is_dir():
            raise _in_the_way(path) from error
        with writing(path):
            raise


def _taken(path: Path, folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    while True:
        handle = os.open(path, flags, 0o666)
        try:
            about = _about_holder(handle)
            if about is None:
                raise _in_the_way(path)
            if _is_taken(handle):
                raise _busy(folder, about)
            # Whoever had it before may have removed the file since it was opened here.
            if _is_at(handle, path):
                _write_holder(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        return not lock_descriptor(handle, blocking=False)
    except OSError as error:
        return error.errno == errno.EDEADLK  # anything else: a file system without locks


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _about_holder(handle: int) -> bytes | None:
    """What a lock's file says; None where it is none."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return None
    os.lseek(handle, 1, os.SEEK_SET)
    about, mark = os.read(handle, 1000), _MARK[1:]
    return about if about.startswith(mark) or mark.startswith(about) else None


def _write_holder(handle: int) -> None:
    since = datetime.now(UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{since} UTC"}
    with suppress(OSError):  # a full disk; the lock holds all the same
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, _MARK + json.dumps(about).encode() + b"\n")


def _give_back(handle: int, path: Path, is_owner: bool) -> None:
    try:
        with suppress(OSError):
            if is_owner and os.name != "nt" and _is_at(handle, path):
                path.unlink()
    finally:
        os.close(handle)
    with suppress(OSError):
        if is_owner and os.name == "nt":  # no open file can be removed
            path.unlink()


def _busy(folder: Path, about: bytes) -> RunError:
    try:
        holder = json.loads(about[len(_MARK) - 1 :])
        pid, host, since = int(holder["pid"]), str(holder["host"]), str(holder["since"])
        since = str(datetime.fromisoformat(since.removesuffix(" UTC"))) + " UTC"
    except (ValueError, KeyError, TypeError, RecursionError):
        who = "another process"
    else:
        who = f"process {pid} on {host[:99]!r}, since {since}"
        if (pid, host) == (os.getpid(), socket.gethostname()):
            return RunError(
                f"{folder} is being written by this process, since {since}; read its events to the "
                "end or close them, or choose another name (--out)"
            )
    return RunError(
        f"{folder} is being written by {who}; wait until it ends, or choose another name (--out)"
    )


def _in_the_way(path: Path) -> RunError:
    return RunError(
        f"{path} is needed to keep other processes out, and something else stands there; remove it, or "
        "choose another name (--out)"
    )
