"""Small files of JSON and TOML, read as if a stranger had written them.

A run folder can come from anywhere. Whoever reads one of its small files reads it here: a regular file
alone (a pipe would hang, a device never ends), no longer than a limit, UTF-8, not nested deeply, and
without what no later step expects: a key given twice, a number of hundreds of digits, one that is not
finite, half a surrogate pair.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any, NoReturn

from unrolled.errors import RunError

MOST_BYTES = 16 << 20
"""Of a small file, unless its reader says otherwise."""

DEEPEST = 32
"""Lists and objects inside one another."""

_LONGEST_NUMBER = 40  # characters
_MOST_BITS = 10_000
_OPEN_ALREADY = (
    "/dev/fd/",
    "/proc/self/fd/",
    "/dev/stdin",
)  # whoever started us holds the other end
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class DocumentError(RunError):
    """A small file that cannot be used.

    Args:
        path: the file.
        problem: what is wrong with it, without its place.
        is_missing: whether it is not there at all.
        is_folder: whether it is one.
        n_lines: of the file, where it was read; up to the fault, where it is not UTF-8.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        problem: str,
        *,
        is_missing: bool = False,
        is_folder: bool = False,
        n_lines: int = 0,
    ) -> None:
        self.path, self.problem = path, problem
        self.is_missing, self.is_folder, self.n_lines = is_missing, is_folder, n_lines
        super().__init__(f"{path}: {problem}; restore it from a copy")


def open_regular(path: str | PathLike[str], *, pipes: bool = False) -> io.BufferedReader:
    """Open a regular file to read bytes; links are followed, and nothing is waited for.

    Args:
        path: the file.
        pipes: whether a pipe that was open when the program started is good too, as of `<(command)`.

    Raises:
        OSError: it is missing, may not be read, or is a folder, a pipe, a device or a socket; `strerror`
            says so in words.
    """
    pipes = pipes and os.fspath(path).startswith(_OPEN_ALREADY)
    try:
        _check_kind(os.stat(path).st_mode, path, pipes)  # to open a device can do something already
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags | (0 if pipes else getattr(os, "O_NONBLOCK", 0)))
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name", os.fspath(path)) from None
    try:
        _check_kind(os.fstat(handle).st_mode, path, pipes)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(mode: int, path: str | PathLike[str], pipes: bool) -> None:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", os.fspath(path))
    if kind in _KINDS and not (pipes and kind == stat.S_IFIFO):
        problem = f"it is {_KINDS[kind]}, not a regular file"
        raise OSError(errno.EINVAL, problem, os.fspath(path))


def read_bytes(path: str | PathLike[str], limit: int = MOST_BYTES) -> bytes:
    """What a regular file holds.

    Args:
        path: the file.
        limit: the most bytes it may have.

    Raises:
        DocumentError: it is missing, may not be read, is no regular file, or is too large.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise cannot_be_read(path, error) from None
    if len(content) > limit:
        raise DocumentError(path, f"larger than {limit:,} bytes, which such a file never is")
    return content


def cannot_be_read(path: str | PathLike[str], error: OSError) -> RunError:
    """The error for a file that the system refuses.

    It is a `DocumentError` but where reading is forbidden: then there is nothing to restore, whatever the
    reader would advise.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DocumentError(path, "missing", is_missing=True)
    if isinstance(error, PermissionError):
        return RunError(
            f"{path}: permission denied; allow reading it (chmod a+r), or ask its owner"
        )
    is_folder = isinstance(error, IsADirectoryError)
    problem = f"cannot be read ({error.strerror or error})"
    return DocumentError(path, problem, is_folder=is_folder)


def read_text(path: str | PathLike[str], limit: int = MOST_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without a byte-order mark.

    Raises:
        DocumentError: as for `read_bytes`, or it is not UTF-8; the line is named.
    """
    return decoded(path, read_bytes(path, limit))


def decoded(path: str | PathLike[str], content: bytes) -> str:
    """Bytes of a file as text.

    Raises:
        DocumentError: they are not UTF-8; the line is named.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8 text (byte {error.start})"
        raise DocumentError(path, problem, n_lines=line) from error


def read_json(path: str | PathLike[str], limit: int = MOST_BYTES) -> Any:
    """What a file of JSON holds.

    Raises:
        DocumentError: as for `read_text`, or it is not JSON, or not such as this toolkit writes.
    """
    return parse_json(path, read_text(path, limit))


def parse_json(path: str | PathLike[str], text: str, *, surrogates: bool = False) -> Any:
    """What a text of JSON holds; `path` is for messages.

    Args:
        path: of the file, for messages.
        text: of JSON.
        surrogates: whether a text in it may hold half a surrogate pair.

    Raises:
        DocumentError: it is not JSON, or not such as this toolkit writes.

    >>> parse_json("a.json", '{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse_json("a.json", "[NaN]")
    Traceback (most recent call last):
    unrolled.documents.DocumentError: a.json: not valid JSON (NaN is no number); restore it from a copy
    """
    with _parsing(path, text, "JSON"):
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        _check(value, has_escapes=not surrogates and "\\u" in text)
    return value


def read_toml(path: str | PathLike[str], limit: int = MOST_BYTES) -> dict[str, Any]:
    """The tables of a file of TOML.

    Raises:
        DocumentError: as for `read_text`, or it is not TOML, or nested too deeply.
    """
    return parse_toml(path, read_text(path, limit))


def parse_toml(path: str | PathLike[str], text: str) -> dict[str, Any]:
    """The tables of a text of TOML; `path` is for messages.

    Raises:
        DocumentError: it is not TOML, or nested too deeply.
    """
    with _parsing(path, text, "TOML"):
        tables = tomllib.loads(text)
        _check(tables, has_escapes=False)
    return tables


@contextmanager
def _parsing(path: str | PathLike[str], text: str, language: str) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise DocumentError(path, f"not valid {language} (nested too deeply)") from None
    except ValueError as error:
        problem = f"not valid {language} ({str(error)[:200]})"
        raise DocumentError(path, problem, n_lines=text.count("\n") + 1) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check(value: Any, *, has_escapes: bool) -> None:
    """Refuse what no file of ours holds, level by level, for Python's own recursion has a limit.

    Half surrogate pairs, which only escapes can write; numbers in base 16 of more digits than Python
    would write in base 10; nesting.
    """
    level = [value]
    for _ in range(DEEPEST):
        for each in level:
            if isinstance(each, int) and each.bit_length() > _MOST_BITS:
                raise ValueError("a number of thousands of digits")
            for text in each if isinstance(each, dict) else (each,):
                if has_escapes and isinstance(text, str) and not text.isascii():
                    _check_surrogates(text)
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("an escape holds half a surrogate pair") from None
