"""Files of running text: find them by name, read blocks of whole lines, decode and check them."""

from __future__ import annotations

import codecs
import glob
import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from unrolled import documents
from unrolled.errors import ConfigError, DataError
from unrolled.reporting import counted
from unrolled.text.corpus.config import CorpusConfig
from unrolled.text.files import endings, opened
from unrolled.text.lines import end_in_cr

_BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Place:
    """The position where a line starts, or the next part of a long line."""

    offset: int = 0  # bytes of the unpacked file before it
    line: int = 0  # line ends before it
    characters: int = 0  # characters before it
    in_line: bool = False

    def after(self, raw: bytes, text: str) -> Place:
        return Place(
            self.offset + len(raw),
            self.line + raw.count(b"\n"),
            self.characters + len(text),
            not raw.endswith(b"\n") if raw else self.in_line,
        )


BEGIN = Place()


@dataclass(frozen=True)
class ScannedFile:
    path: Path
    sha256: str
    stamp: tuple[int, int]  # size and modification time when it was read
    marks: tuple[Place, ...]  # some line starts, a block apart
    n_characters: int
    n_invalid: int  # lines
    first_invalid: int  # line
    ends_in_cr: bool = False  # its lines end in CR alone


@dataclass(frozen=True)
class Span:
    """Whole lines of a file."""

    file: ScannedFile
    start: Place
    stop: Place | None  # None for the end of the file

    @property
    def end(self) -> int | None:
        """The end in bytes of the unpacked file; None for the end of the file."""
        return None if self.stop is None else self.stop.offset

    @property
    def n_characters(self) -> int:
        stop = self.file.n_characters if self.stop is None else self.stop.characters
        return stop - self.start.characters


class Block(NamedTuple):
    """A block of text from one file: whole lines, or a part of a line of more than a mebibyte.

    Args:
        text: the text, not empty; line ends are LF.
        offset: bytes of the unpacked file up to the end of this block, where `read_blocks` continues.
        line: number of line ends up to there.
    """

    text: str
    offset: int
    line: int


def find_files(config: CorpusConfig) -> list[Path]:
    """The files that `config.train` names, in the order in which they are read, without duplicates.

    Raises:
        ConfigError: no file is given.
        DataError: a folder contains no files, or a pattern matches none.
    """
    if not config.train:
        raise ConfigError("no data given; name files, folders or patterns")
    return expand(config.train, config.suffixes)


def read_blocks(
    path: Path, config: CorpusConfig, offset: int = 0, line: int = 0, in_line: bool = False
) -> Iterator[Block]:
    """Read, decode and check a file, starting where a block ended.

    Args:
        path: the file.
        config: the encoding, and how to treat invalid bytes.
        offset: bytes of the unpacked file before the start.
        line: number of line ends before the start.
        in_line: whether the start is in the middle of a line.

    Raises:
        DataError: the file cannot be read with these settings; raised when the invalid part is reached.
    """
    place = Place(offset, line, in_line=in_line)
    for raw in read_raw(path, config.encoding, place):
        text, _ = decode(raw, path, place, config)
        place = place.after(raw, text)
        if text:
            yield Block(text, place.offset, place.line)


def decode_block(
    raw: bytes, name: str, offset: int, config: CorpusConfig, in_line: bool = False
) -> str:
    """Decode and check a block that was read elsewhere, as `read_blocks` would.

    Args:
        raw: the bytes; whole lines, or a part of a long line.
        name: name of the file, for messages, which give byte positions because lines are not known.
        offset: bytes of the file before the block.
        config: the encoding, and how to treat invalid bytes.
        in_line: whether the block begins in the middle of a line.

    Raises:
        DataError: the bytes cannot be decoded with these settings.
    """
    try:
        return decode(raw, Path(name), Place(offset, in_line=in_line), config)[0]
    except DataError as error:
        raise DataError(error.problem, name) from error


# Finding files


def expand(names: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    found: dict[str, Path] = {}
    for name in names:
        for path in _expanded(name, suffixes):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def files_in_any_order(names: Sequence[str], suffixes: Sequence[str]) -> Iterator[Path]:
    """The files of `expand`, yielded as they are found, for callers that do not need all of them."""
    for name in names:
        if not os.path.isdir(name):
            yield from _expanded(name, suffixes)
            continue
        for path, is_wanted in _in_any_order(Path(name), suffixes):
            if is_wanted:
                yield path


def _expanded(name: str, suffixes: Sequence[str]) -> list[Path]:
    """The files that a file name, folder or pattern denotes."""
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, suffixes)
    if path.exists() or not glob.has_magic(name):
        return [path]
    matches = [Path(match) for match in glob.glob(name, recursive=True)]
    files = sorted((match for match in matches if match.is_file()), key=Path.as_posix)
    if not files:
        only = "only folders match" if matches else "no file matches"
        raise DataError(f"{only} this pattern; '**' stands for folders of any depth", name)
    return files


def _in_folder(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    others: set[str] = set()
    for path, is_wanted in _in_any_order(folder, suffixes):
        if is_wanted:
            files.append(path)
        else:
            others.add(endings(path)[0] or path.name)
    if files:
        return sorted(files, key=lambda path: path.relative_to(folder).as_posix())
    if not others:
        raise DataError("no files in this folder", folder)
    there = ", ".join(sorted(others)[:5]) + ", …" * (len(others) > 5)
    raise DataError(f"no files with suffix {' or '.join(suffixes)} here, only {there}", folder)


def _in_any_order(folder: Path, suffixes: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """The files of a folder, and whether each has one of the suffixes."""
    chosen = {suffix.lower() for suffix in suffixes}
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            # A suffix may have several dots, as in .d.ts.
            plain = path.name.lower().removesuffix(endings(path)[1])
            yield path, not chosen or any(plain.endswith(suffix) for suffix in chosen)


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"cannot be read ({error.strerror or error})", error.filename)


# Reading

_LONGEST_TICK = 2_000_000_000
"""Coarsest time resolution of a file system, in nanoseconds: that of FAT."""


def scan(path: Path, config: CorpusConfig) -> ScannedFile:
    """Read a whole file and record what splitting needs; the result is cached until the file changes.

    A file that has just changed may change again within the same tick of the file system's clock, so its
    result is not cached.
    """
    how = CorpusConfig(encoding=config.encoding, on_invalid=config.on_invalid)
    stamp, version = _stamp(path), _version(path)
    read = _scanned if _is_settled(version) else _scanned.__wrapped__
    return read(path, os.getcwd(), stamp, version, how)


@lru_cache(maxsize=100_000)
def _scanned(
    path: Path, folder: str, stamp: tuple[int, int], version: _Version, config: CorpusConfig
) -> ScannedFile:
    place = BEGIN
    marks = [place]
    n_invalid = first_invalid = 0
    blocks = read_raw(path, config.encoding)
    total = None if endings(path)[1] else stamp[0]
    for raw in counted(blocks, f"reading {path.name}", "bytes", total, len):
        text, invalid = decode(raw, path, place, config)
        n_invalid += len(invalid)
        first_invalid = first_invalid or next(iter(invalid), 0)
        place = place.after(raw, text)
        if raw.endswith(b"\n"):
            marks.append(place)
    with opened(path) as stream:
        ends_in_cr = _ends_in_cr(stream, config.encoding)
    sha256 = sha256_of(path)
    return ScannedFile(
        path, sha256, stamp, tuple(marks), place.characters, n_invalid, first_invalid, ends_in_cr
    )


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with documents.open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0  # opening the file will report what is wrong
    return status.st_size, status.st_mtime_ns


class _Version(NamedTuple):
    """Values of which at least one differs after any change of a file: `changed` cannot be set back."""

    modified: int
    changed: int
    inode: int


def _version(path: Path) -> _Version:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return _Version(0, 0, 0)
    return _Version(status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_settled(version: _Version) -> bool:
    return time.time_ns() - max(version.modified, version.changed) > _LONGEST_TICK


def span_texts(span: Span, config: CorpusConfig) -> Iterator[str]:
    """Yield decoded blocks of whole lines; a line longer than a block is split into parts."""
    path, place = span.file.path, span.start
    if _stamp(path) != span.file.stamp:
        raise DataError("this file changed while it was in use; start again", path)
    for raw in read_raw(path, config.encoding, place, span.end):
        text, _ = decode(raw, path, place, config)
        place = place.after(raw, text)
        yield text


def read_raw(
    path: Path, encoding: str, start: Place = BEGIN, stop: int | None = None
) -> Iterator[bytes]:
    """Yield blocks of bytes that end at a line end, or inside a line that is longer than a block."""
    line = start.line

    def where() -> str:
        return f" after line {line}" if line else " from its first byte"

    with opened(path, where) as stream:
        is_cr = _ends_in_cr(stream, encoding)
        stream.seek(start.offset)
        position, rest = start.offset, b""
        while True:
            # At most one block at once, so that a longer line is split at the same positions wherever
            # reading began.
            room = max(1, _BLOCK - len(rest))
            read = stream.read(room if stop is None else min(room, stop - position))
            if not read:
                break
            position += len(read)
            rest += read.replace(b"\r", b"\n") if is_cr else read
            end = rest.rfind(b"\n") + 1
            if not end and len(rest) >= _BLOCK:
                end = end_of_last_character(rest, encoding, path)
            if end:
                yield rest[:end]
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
        if rest:
            yield rest


def _ends_in_cr(stream: BinaryIO, encoding: str) -> bool:
    """Whether the lines of a file end in CR alone, if that is one byte of this encoding."""
    return "\r".encode(encoding).endswith(b"\r") and end_in_cr(stream.read(_BLOCK))


def end_of_last_character(raw: bytes, encoding: str, name: str | Path) -> int:
    """Where to split inside a line, so that neither a character nor a CRLF is split.

    Raises:
        DataError: the encoding is stateful, so that the line cannot be split anywhere.
    """
    decoder = codecs.getincrementaldecoder(_without_mark(encoding))("ignore")
    at_start = decoder.getstate()[1]
    decoder.decode(raw)
    kept, state = decoder.getstate()
    if state != at_start:
        raise DataError(
            f"a line has more than {_BLOCK:,} bytes, and {encoding} cannot be read in parts; convert the "
            "file to UTF-8, or break the line",
            name,
        )
    end = len(raw) - len(kept)
    return end - raw.endswith(b"\r", 0, end)


def _without_mark(encoding: str) -> str:
    """The encoding without its byte-order mark, which is only removed at the start of a file."""
    return "utf-8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def decode(raw: bytes, path: Path, place: Place, config: CorpusConfig) -> tuple[str, list[int]]:
    """Decode a block; return its text, and the numbers of lines with invalid bytes."""
    encoding = _without_mark(config.encoding)
    if not place.offset and raw.startswith((b"\xff\xfe", b"\xfe\xff")) and encoding == "utf-8":
        raise DataError("this is UTF-16, expected UTF-8; save it again as UTF-8", path)
    if b"\0" in raw:
        at = raw.index(b"\0")
        line = place.line + raw.count(b"\n", 0, at) + 1
        problem = f"NUL byte at byte {place.offset + at}; this is not a text file"
        raise DataError(problem, path, line)
    invalid: list[int] = []
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = "".join(_decode_lines(raw, encoding, path, place, config, invalid))
    if not place.offset:
        text = text.removeprefix("\ufeff")
    return (text.replace("\r\n", "\n") if "\r" in text else text), invalid


def _decode_lines(
    raw: bytes,
    encoding: str,
    path: Path,
    place: Place,
    config: CorpusConfig,
    invalid: list[int],
) -> Iterator[str]:
    offset, in_line = place.offset, place.in_line
    for number, line in enumerate(io.BytesIO(raw), start=place.line + 1):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            if config.on_invalid == "error":
                name = "UTF-8" if encoding == "utf-8" else encoding
                advice = "convert the file" if name == "UTF-8" else "set data.encoding"
                raise DataError(
                    f"not {name} at byte {offset + error.start} (0x{line[error.start]:02X}); "
                    f"{advice}, or set data.on_invalid to replace or skip",
                    path,
                    number,
                ) from error
            invalid.append(number)
            if config.on_invalid == "replace":
                yield line.decode(encoding, "replace")
            elif in_line:  # a part of a long line; keep the words around it apart
                yield "\n" if line.endswith(b"\n") else " "
        offset, in_line = offset + len(line), False
