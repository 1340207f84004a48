from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from unrolled import documents
from unrolled.documents import DocumentError

ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def refused(path: Path, content: bytes, how: str = "json") -> str:
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        (documents.read_json if how == "json" else documents.read_toml)(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 33 + b"]" * 33, "nested too deeply"),
        (b'{"a": ' * 200 + b"1" + b"}" * 200, "nested too deeply"),
        (b"9" * 400, "a number of 400 digits"),
        (b"9" * 5000, "a number of 5,000 digits"),
        (b"[1e999]", "a number that is not finite"),
        (b"[NaN]", "NaN is not a number"),
        (b"-Infinity", "-Infinity is not a number"),
        (b'["\\ud800"]', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": 1, "a": 2}', "a key is given twice"),
        (b'["\xff"]', "not UTF-8 text (byte 2)"),
        (b"", "Expecting value"),
        (b"{]", "Expecting property name"),
    ],
)
def test_damaged_json_gets_one_message(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refused(tmp_path / "a.json", content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = " + b"[" * 10_000, "nested too deeply"),
        (b"a = " + b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b".".join([b"a"] * 3000) + b" = 1", "nested too deeply"),
        (b"a = " + b"9" * 5000, "not valid TOML"),
        (b"a = 0x" + b"f" * 6000, "a number of thousands of digits"),
        (b"a = 1\na = 2", "not valid TOML"),
        (b"a = 1\nb = \xff", "not UTF-8 text (byte 10)"),
    ],
)
def test_damaged_toml_gets_one_message(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refused(tmp_path / "a.toml", content, "toml")


def test_moderate_nesting_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [{"b": [[]]}], "c": "\\u00e9 \\ud83d\\ude00"}', encoding="utf-8")
    assert documents.read_json(path) == {"a": [{"b": [[]]}], "c": "é 😀"}


def test_a_file_longer_than_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("1" * 30)
    assert documents.read_bytes(path, 30) == b"1" * 30
    with pytest.raises(DocumentError, match="larger than 29 bytes"):
        documents.read_bytes(path, 29)


@ON_UNIX
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_only_regular_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "a"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "socket":
            monkeypatch.chdir(tmp_path)  # the name of a socket must be short
            listener.bind("a")
        else:
            path.mkdir()
        with pytest.raises(DocumentError, match=f"it is a {kind}, not a"):
            documents.read_text(path)


def test_missing_and_forbidden_are_distinguished(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="missing; restore it from a copy") as caught:
        documents.read_text(tmp_path / "none" / "a")
    assert caught.value.is_missing
    (tmp_path / "a").write_text("")
    with pytest.raises(DocumentError, match="missing"):
        documents.read_text(tmp_path / "a" / "b")
    problem = documents.cannot_be_read(tmp_path, PermissionError(13, "Permission denied"))
    assert "permission denied; make it readable" in str(problem)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_an_invalid_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DocumentError, match=r"invalid file name|missing"):
        documents.read_text(tmp_path / name)


@ON_UNIX
def test_a_pipe_open_from_the_start_can_be_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    path = Path(f"/dev/fd/{reader}")
    if not path.exists():
        pytest.skip("no /dev/fd here")
    with pytest.raises(OSError, match="it is a pipe, not a regular file"):
        documents.open_regular(path)
    with documents.open_regular(path, pipes=True) as stream:
        assert stream.read() == b"text"
    os.close(reader)
