"""Atomic writes, safe removal, and locks for files and folders.

- A file or folder is written under a temporary name, flushed to the disk and renamed. Under its final
  name it is always complete, even after a power cut. It has the permissions of any new file (umask).
- No write and no removal follows a link: a link is replaced or refused, and its target stays unchanged.
- Only names listed in a description (`Holds`) are removed, and only if they are of the kind it says.
- `locked` keeps other processes out of a folder. The system releases the lock when the process dies.
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

from unrolled.errors import RunError

Holds: TypeAlias = "Mapping[str, Holds | Callable[[Path], bool] | None]"
"""The possible content of a folder: for each pattern of names, the kind of entry.

None stands for a regular file, a function for a regular file for which it is true, a mapping for a folder
with that content. The temporary names of all entries match too. Entries listed first are removed last.
"""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_TEMPORARY = re.compile(r"\.(.+)\.(?:partial|replaced)", re.DOTALL)


# Error messages


@contextmanager
def writing(path: Path, then: str = "continue with --resume") -> Iterator[None]:
    """Turn an OSError while writing `path` into a RunError with a one-line message.

    Args:
        path: the file or folder.
        then: what to do once there is space on the disk.

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
    """Whether a write failed for lack of disk space or quota."""
    return error.errno in _DISK_FULL


# Files


def partial(path: Path) -> Path:
    """The temporary name of a file or folder that is being written."""
    return path.with_name(f".{path.name}.partial")


def replaced(path: Path) -> Path:
    """The temporary name of a folder that is being replaced."""
    return path.with_name(f".{path.name}.replaced")


def new_file(path: Path) -> BinaryIO:
    """Create a file to write, replacing a file or link of this name; the target of a link is kept.

    Raises:
        OSError: the file cannot be created.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    return path.open("xb")


@contextmanager
def replacing(path: Path, then: str = "continue with --resume") -> Iterator[BinaryIO]:
    """Write a new file that replaces `path` once it is complete, or leaves nothing on failure.

    Args:
        path: the file.
        then: what to do once there is space on the disk, for the message.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with writing(path, then), whole(path) as stream:
        yield stream


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Like `replacing`, but raises plain OSErrors, for callers with their own messages.

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


def write_whole(path: Path, content: bytes, then: str = "continue with --resume") -> None:
    """Replace a file atomically: a reader sees the old content or the new, never a part.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with replacing(path, then) as stream:
        stream.write(content)


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to, never through a link.

    Raises:
        OSError: the file cannot be written, or is a link.
    """
    if is_link(path):
        raise OSError(errno.ELOOP, "it is a link, and links are not written through; remove it")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with os.fdopen(os.open(path, flags, 0o666), "ab") as stream:
        yield stream


def safetensors_header(header: Mapping[str, Any]) -> bytes:
    """The first bytes of a `.safetensors` file: length and header, padded to a multiple of 8 bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def flush(stream: Any) -> None:
    """Flush the content of a file to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    if os.name != "nt":  # Windows cannot open folders, and keeps renames in order
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
    """Whether the file is a link or has hard links, so that a change would affect another name too."""
    return is_link(path) or (path.exists() and path.stat().st_nlink > 1)


def require_own_folder(path: Path) -> None:
    """Check that a subfolder of a run is a real folder, if it exists.

    Raises:
        RunError: it is a link, or not a folder.
    """
    if is_link(path):
        raise RunError(
            f"{path} is a link to {os.readlink(path)!r}; nothing is written or removed through links, so "
            "replace it by the folder itself"
        )
    if os.path.lexists(path) and not path.is_dir():
        raise RunError(f"{path} is not a folder; remove it")


def new_folder(path: Path) -> None:
    """Create a folder that must not exist yet, and its parents.

    Raises:
        OSError: it cannot be created, or its name is taken.
    """
    make_folder(path.parent)
    path.mkdir()
    flush_folder(path.parent)


def require_no_link_in(folder: Path, file: Path) -> None:
    """Refuse to write a file in a folder if its name is a link; links elsewhere are the user's choice.

    Raises:
        RunError: the file is in the folder, and is a link.
    """
    inside = Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(folder))
    if inside and is_link(file):
        raise RunError(
            f"{file} is a link to {os.readlink(file)!r}; nothing is written through links in a run, so "
            "choose another file"
        )


def make_folder(path: Path) -> None:
    """Create a folder and its parents, flushed to the disk; existing ones are left as they are.

    Raises:
        OSError: a folder cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        flush_folder(folder.parent)


def first_foreign(folder: Path, holds: Holds) -> Path | None:
    """The first entry in a folder, by name, that `holds` does not describe; None if there is none."""
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
    """Remove what `holds` describes in a folder, then the folder itself if it is empty.

    Raises:
        OSError: something cannot be removed.
    """
    if not is_link(folder) and folder.is_dir():
        remove_in(folder, holds)
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def remove_in(folder: Path, holds: Holds, kept: Container[str] = ()) -> None:
    """Remove what `holds` describes in a folder, except for some names.

    Raises:
        OSError: something cannot be removed.
    """
    if is_link(folder) or not folder.is_dir():
        return
    entries = [(path, *_described(path, holds)) for path in sorted(folder.iterdir())]
    # Entries described first are removed last: they identify the folder if the removal is interrupted.
    for path, place, inside in sorted(entries, key=lambda entry: -entry[1]):
        if place < 0 or path.name in kept:
            continue
        if inside is not None:
            remove(path, inside)
        else:
            path.unlink()


def remove_leftovers(folder: Path, holds: Holds) -> None:
    """Remove files that a killed process left in a folder (not below it) under temporary names.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in sorted(folder.iterdir()):
        place, inside = _described(path, holds)
        if place >= 0 and inside is None and path.name.startswith("."):
            path.unlink()


def _described(path: Path, holds: Holds) -> tuple[int, Holds | None]:
    """The index of the description that matches a path, or -1; and, for a folder, its content."""
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
    """Move the folder from the temporary name of `path` to `path`, and flush it to the disk.

    An existing folder is moved aside, then removed as far as `holds` describes it; a kill in between
    leaves both.

    Raises:
        OSError: the folder cannot be moved; an existing one stays in place.
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


@contextmanager
def making(path: Path, holds: Holds, then: str) -> Iterator[Path]:
    """Fill a new folder under its temporary name, and move it to `path` if all goes well.

    Otherwise nothing is left, nor any parent that was created for it. An existing folder is replaced.

    Args:
        path: the final, real path, which the caller has locked and found free.
        holds: what the folder can contain.
        then: what to do once there is space on the disk.

    Yields:
        The temporary folder.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    folder = partial(path)
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        with writing(path, then):
            remove(folder, holds)
            new_folder(folder)
        yield folder
        with writing(path, then):
            commit(path, holds)
    except BaseException:
        with suppress(OSError):  # raised by the first parent that is no longer empty
            remove(folder, holds)
            for parent in made:
                parent.rmdir()
        raise


# One writer

_MARK = b"\nunrolled: "  # on Windows the first byte is unreadable, because it is what is locked


class Lock:
    """The lock of a process on a folder that it writes; see `locked`."""

    def __init__(self) -> None:
        self._handles: list[int] = []

    def hold(self, folder: Path) -> None:
        """Lock the folder itself too, against writers that use another name, or after it was moved.

        Does nothing if the system cannot lock folders.

        Raises:
            RunError: another process is writing it.
        """
        if os.name == "nt":
            return
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        locked_before = [os.fstat(other) for other in self._handles]
        self._handles.append(handle)
        is_new = not any(os.path.samestat(os.fstat(handle), other) for other in locked_before)
        if is_new and _is_taken(handle):
            raise _busy(folder, b"")

    def close(self) -> None:
        """Release what `hold` locked."""
        while self._handles:
            os.close(self._handles.pop())


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Keep other processes from writing a folder, which need not exist yet.

    The lock is on a file next to the folder, because the folder may be replaced, and on the folder
    itself. If the file system has no locks, other processes are not kept out.

    Args:
        folder: its real path, so that all its names share one lock.

    Raises:
        RunError: another process is writing it; the message names the process and since when.
    """
    if not folder.name:
        raise RunError(f"{folder} is the root of a file system; choose another folder (--out)")
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
            _give_back(handle, path, owner == os.getpid())  # a copy made by `fork` has no lock
        with suppress(OSError):  # raised by the first that is not empty
            for parent in made:
                parent.rmdir()


def _opened(path: Path, folder: Path) -> int | None:
    """The open and locked lock file; None if it cannot be created next to an existing folder."""
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
            # The previous owner may have removed the file since it was opened here.
            if _is_at(handle, path):
                _write_holder(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_taken(handle: int) -> bool:
    from filelock import lock_descriptor  # late, as its import takes longer than reading a run

    try:
        return not lock_descriptor(handle, blocking=False)
    except OSError as error:
        return error.errno == errno.EDEADLK  # any other error: a file system without locks


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _about_holder(handle: int) -> bytes | None:
    """The content of a lock file; None if the file is not a lock file."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return None
    os.lseek(handle, 1, os.SEEK_SET)
    about, mark = os.read(handle, 1000), _MARK[1:]
    return about if about.startswith(mark) or mark.startswith(about) else None


def _write_holder(handle: int) -> None:
    since = datetime.now(UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{since} UTC"}
    with suppress(OSError):  # for example a full disk; the lock is effective anyway
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
        if is_owner and os.name == "nt":  # open files cannot be removed
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
        f"{path} is needed as a lock file, but something else has this name; remove it, or choose "
        "another name (--out)"
    )
