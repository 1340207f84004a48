"""Atomic writes, safe removal, and the lock that keeps a second process out."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import storage
from unrolled.errors import RunError

posix = pytest.mark.skipif(os.name == "nt", reason="needs links and locks of POSIX")

HOLDS: storage.Holds = {r"mark": None, r"data-\d+": None, "inner": {r"part\.bin": None}}


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Files


def test_a_new_file_has_default_permissions(tmp_path: Path) -> None:
    storage.write_whole(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@posix
@pytest.mark.parametrize("name", ["file", ".file.partial"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_is_never_written_through_a_link(
    tmp_path: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"once")
    link(precious, tmp_path / name)
    storage.write_whole(tmp_path / "file", b"new")
    assert precious.read_bytes() == b"once"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
    assert listed(tmp_path) == ["file", "precious"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught:
        storage.write_whole(path, b"new", "try again")
    assert str(caught.value) == f"disk full while writing {path}; free space and try again"
    assert listed(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


@posix
def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"once")
    (tmp_path / "log").symlink_to("precious")
    with pytest.raises(OSError, match="it is a link"):
        with storage.appending(tmp_path / "log"):
            pass
    assert (tmp_path / "precious").read_bytes() == b"once"


# Folders


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")


def test_only_what_is_described_is_removed(tmp_path: Path) -> None:
    ours = ("mark", "data-1", ".data-2.partial", "inner/part.bin", ".inner.replaced/part.bin")
    others = ("data-x", "inner/mine.txt", "notes.txt", "data-3/part.bin")
    make(tmp_path, *ours, *others)
    assert storage.first_foreign(tmp_path, HOLDS) == tmp_path / "data-3"
    storage.remove(tmp_path, HOLDS)
    assert listed(tmp_path) == ["data-3", "data-3/part.bin", "data-x", "inner", *others[1:3]]


def test_a_folder_with_known_content_is_removed_entirely(tmp_path: Path) -> None:
    make(tmp_path / "out", "mark", "data-1", "inner/part.bin")
    assert storage.first_foreign(tmp_path / "out", HOLDS) is None
    storage.remove(tmp_path / "out", HOLDS)
    assert listed(tmp_path) == []


def test_the_ownership_file_is_removed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "out", "mark", "data-1", "inner/part.bin")
    gone, inner = [], Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (gone.append(path.name), inner(path))[1])
    storage.remove(tmp_path / "out", HOLDS)
    assert gone == ["part.bin", "data-1", "mark"]


@posix
@pytest.mark.parametrize("name", ["out", "out/inner", "out/data-1", "out/.inner.partial"])
def test_nothing_is_removed_through_a_link(tmp_path: Path, name: str) -> None:
    make(tmp_path / "precious", "part.bin", "data-1", "mark")
    if name != "out":
        make(tmp_path / "out", "mark")
    is_file = name == "out/data-1"
    (tmp_path / name).symlink_to(tmp_path / "precious" / ("mark" if is_file else ""))
    storage.remove(tmp_path / "out", HOLDS)
    assert listed(tmp_path / "precious") == ["data-1", "mark", "part.bin"]
    assert os.path.islink(tmp_path / name), "nobody proved whose it is"


def test_a_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
    make(tmp_path, "out/mark", "out/data-1", ".out.partial/mark", ".out.partial/data-2")
    make(tmp_path, ".out.replaced/mark")
    storage.commit(tmp_path / "out", HOLDS)
    assert listed(tmp_path) == ["out", "out/data-2", "out/mark"]


def test_a_failed_replacement_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "out/mark")  # and nothing is to take its place
    with pytest.raises(FileNotFoundError):
        storage.commit(tmp_path / "out", HOLDS)
    assert listed(tmp_path) == ["out", "out/mark"]


# One writer


def test_the_owner_of_a_lock_is_named(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with storage.locked(out):
        with pytest.raises(RunError) as caught:
            with storage.locked(out):
                pass
    since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(
        rf"{re.escape(str(out))} is being written by this process, since {since}; read its events to the "
        r"end or close them, or choose another name \(--out\)",
        str(caught.value),
    )
    assert listed(tmp_path) == []


HOLDER = """
import sys, time
from pathlib import Path
from unrolled import storage
with storage.locked(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@posix
def test_a_lock_is_released_when_its_process_dies(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"holds\n"
        for name in ("out", "moved"):  # a folder that is moved meanwhile stays locked
            out = out.rename(tmp_path / name)
            with pytest.raises(RunError, match="is being written by") as caught:
                with storage.locked(out):
                    pass
            assert (f"process {child.pid} on " in str(caught.value)) == (name == "out")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    out = out.rename(tmp_path / "out")
    with storage.locked(out):
        pass
    assert listed(tmp_path) == ["out"]


@posix
@pytest.mark.parametrize("kind", ["text", "symlink", "hard link", "folder", "pipe"])
def test_a_foreign_file_in_place_of_the_lock_is_kept(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / ".out.lock", tmp_path / "precious"
    precious.write_bytes(b"my own notes")
    match kind:
        case "text":
            path.write_bytes(b"my own notes")
        case "symlink":
            path.symlink_to(precious)
        case "hard link":
            path.hardlink_to(precious)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(RunError, match=re.escape(f"{path} is needed as a lock file")):
        with storage.locked(tmp_path / "out"):
            pass
    assert path.lstat().st_ino == before.st_ino
    assert precious.read_bytes() == b"my own notes"


def test_a_lock_file_of_an_older_version_is_accepted(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").touch()
    with storage.locked(tmp_path / "out"):
        pass
    assert listed(tmp_path) == []


def test_a_file_system_root_is_refused_as_output(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is the root of a file system"):
        with storage.locked(Path(tmp_path.anchor)):
            pass
