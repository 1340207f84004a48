"""Safe reading of small JSON and TOML files from untrusted sources.

A run folder can come from anywhere, so all its small files are read with the functions of this module.
They accept only regular files (a pipe would block, a device never ends) that are not too large, UTF-8,
not deeply nested, and free of what later steps do not expect: duplicate keys, numbers of hundreds of
digits, numbers that are not finite, lone surrogates.
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
"""Maximum size of a file, unless the caller sets another limit."""

DEEPEST = 32
"""Maximum nesting depth of lists and objects."""

_LONGEST_NUMBER = 40  # characters
_MOST_BITS = 10_000
_OPEN_ALREADY = (
    "/dev/fd/",
    "/proc/self/fd/",
    "/dev/stdin",
)  # opened by the process that started this one
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
        problem: what is wrong with it, without naming the file.
        is_missing: whether the file does not exist.
        is_folder: whether it is a folder.
        n_lines: number of lines of the file, if it was read; up to the error, if it is not UTF-8.
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
    """Open a regular file to read bytes; links are followed, and the call never blocks.

    Args:
        path: the file.
        pipes: whether to accept a pipe that was open when the program started, such as `<(command)`.

    Raises:
        OSError: the file is missing, may not be read, or is a folder, a pipe, a device or a socket;
            `strerror` says which.
    """
    pipes = pipes and os.fspath(path).startswith(_OPEN_ALREADY)
    try:
        _check_kind(os.stat(path).st_mode, path, pipes)  # merely opening a device can have effects
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags | (0 if pipes else getattr(os, "O_NONBLOCK", 0)))
    except ValueError:
        raise OSError(errno.EINVAL, "invalid file name", os.fspath(path)) from None
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
    """Read a regular file.

    Args:
        path: the file.
        limit: maximum size in bytes.

    Raises:
        DocumentError: the file is missing, may not be read, is not a regular file, or is too large.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise cannot_be_read(path, error) from None
    if len(content) > limit:
        raise DocumentError(path, f"larger than {limit:,} bytes, the limit for such a file")
    return content


def cannot_be_read(path: str | PathLike[str], error: OSError) -> RunError:
    """The error to raise for a file that the operating system refuses to open.

    It is a `DocumentError`, except if permission is denied: then the file need not be restored.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DocumentError(path, "missing", is_missing=True)
    if isinstance(error, PermissionError):
        return RunError(
            f"{path}: permission denied; make it readable (chmod a+r), or ask its owner"
        )
    is_folder = isinstance(error, IsADirectoryError)
    problem = f"cannot be read ({error.strerror or error})"
    return DocumentError(path, problem, is_folder=is_folder)


def read_text(path: str | PathLike[str], limit: int = MOST_BYTES) -> str:
    """Read a regular text file in UTF-8, with or without a byte-order mark.

    Raises:
        DocumentError: as for `read_bytes`, or the file is not UTF-8; the line is counted in `n_lines`.
    """
    return decoded(path, read_bytes(path, limit))


def decoded(path: str | PathLike[str], content: bytes) -> str:
    """Decode the content of a file.

    Raises:
        DocumentError: it is not UTF-8; the line is counted in `n_lines`.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8 text (byte {error.start})"
        raise DocumentError(path, problem, n_lines=line) from error


def read_json(path: str | PathLike[str], limit: int = MOST_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        DocumentError: as for `read_text`, or the file is not JSON that this toolkit accepts.
    """
    return parse_json(path, read_text(path, limit))


def parse_json(path: str | PathLike[str], text: str, *, surrogates: bool = False) -> Any:
    """Parse a JSON text.

    Args:
        path: path of the file, for messages.
        text: JSON text.
        surrogates: whether strings may contain lone surrogates.

    Raises:
        DocumentError: the text is not JSON that this toolkit accepts.

    >>> parse_json("a.json", '{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse_json("a.json", "[NaN]")
    Traceback (most recent call last):
    unrolled.documents.DocumentError: a.json: not valid JSON (NaN is not a number); restore it from a copy
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
    """Read a TOML file.

    Raises:
        DocumentError: as for `read_text`, or the file is not TOML, or is nested too deeply.
    """
    return parse_toml(path, read_text(path, limit))


def parse_toml(path: str | PathLike[str], text: str) -> dict[str, Any]:
    """Parse a TOML text; `path` is for messages.

    Raises:
        DocumentError: the text is not TOML, or is nested too deeply.
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
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key is given twice")
    return mapping


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
    raise ValueError(f"{name} is not a number")


def _check(value: Any, *, has_escapes: bool) -> None:
    """Refuse values that no file of this toolkit contains.

    These are lone surrogates, which only escapes can produce; hexadecimal numbers with more digits than
    Python converts to decimal; and deep nesting. The check goes level by level, because Python limits
    recursion.
    """
    level = [value]
    for _ in range(DEEPEST):
        for item in level:
            if isinstance(item, int) and item.bit_length() > _MOST_BITS:
                raise ValueError("a number of thousands of digits")
            for text in item if isinstance(item, dict) else (item,):
                if has_escapes and isinstance(text, str) and not text.isascii():
                    _check_surrogates(text)
        level = [inner for item in level for inner in _inside(item)]
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
        raise ValueError("an escape is a lone surrogate") from None
