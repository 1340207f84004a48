r"""Running text of any size: files and folders to documents, and documents to one stream of ids.

Nothing is held whole in memory. Text is read in blocks of a mebibyte, handed on in pieces that end
where a line does, and encoded into a file that is mapped afterwards. A piece ends before a line end
whose next line starts with anything but white space: no token of any kind reaches across that
place, so the ids of the pieces are the ids of the whole document.

Text is UTF-8 unless said otherwise, with or without a byte-order mark, plain or gzipped. Lines end
in LF or CRLF, and in nothing else; CRLF becomes LF.
"""

from __future__ import annotations

import codecs
import encodings.aliases
import glob
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import sys
import time
import unicodedata
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.config import require
from unrolled.errors import ConfigError, DataError, did_you_mean
from unrolled.text.readers import _nearest_file, _suffixes
from unrolled.text.tokenizer import EOS_ID, UNK_ID, Tokenizer

Documents = Literal["file", "line", "paragraph", "separator"]
OnInvalid = Literal["error", "replace", "skip"]
Part = Literal["train", "valid", "test"]

_BLOCK = 1 << 20  # bytes read at a time
_PIECE = 1 << 16  # characters handed on at a time, where lines allow it
_LONGEST = 1 << 20  # characters after which text without a place to cut is cut all the same
_BATCH = 1 << 19  # characters encoded at a time; the tokeniser's records take 100 bytes a token
_FEWEST_FILES = 20  # from here on whole files are drawn for a part: 5 % of them are at least one
_CHECKSUM_BELOW = 64 << 20  # bytes of ids that are read again to be sure of them
_FORMAT = 1  # of what stands in the cache; another number, and everything is encoded anew


@dataclass(frozen=True)
class CorpusConfig:
    """Where running text comes from, and where its documents end.

    A part without files of its own is cut from the training text: off its end, at the start of a
    line (of a word, where there are no lines), so that train, valid and test follow one another. Only
    where every file is a document and at least 20 of them hold text are whole files drawn instead, by
    a seeded hash of their content; then neither their names nor their order matter, and copies of one
    file stay together.

    Args:
        train: files, folders and patterns (`src/**/*.py`); `.gz` files are unpacked. Folders are
            read to any depth, sorted by path, without names that start with a dot. A file named
            twice is read once.
        valid: the same for validation; empty to cut it from `train`.
        test: the same for the test; empty to cut it from `train`.
        suffixes: of folders, only files with these suffixes (`.py`); empty for every file.
        documents: what a document is: a `file`, a `line` (an empty one too), a `paragraph` (blank
            lines stand between), or what stands between the lines that are exactly the `separator`.
        separator: that line.
        valid_share: of the training text's characters, the share to cut for validation; 0 for none.
        test_share: the same for the test.
        split_seed: another seed, other files drawn.
        on_invalid: bytes that are not in the encoding are an `error`, or become U+FFFD (`replace`),
            or their line is left out (`skip`; of a line of several MB, the MB around them).
        encoding: of all files.

    Raises:
        ConfigError: a value that cannot be.

    >>> CorpusConfig(train=("src",), suffixes=(".py",)).documents
    'file'
    """

    train: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    documents: Documents = "file"
    separator: str = ""
    valid_share: float = 0.05
    test_share: float = 0.05
    split_seed: int = 1
    on_invalid: OnInvalid = "error"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        for suffix in self.suffixes:
            good = len(suffix) > 1 and suffix.startswith(".") and suffix.lower() != ".gz"
            require(good, "data.suffixes", "suffixes like .py, without .gz", suffix)
        for name, value, choices in (
            ("documents", self.documents, get_args(Documents)),
            ("on_invalid", self.on_invalid, get_args(OnInvalid)),
        ):
            require(value in choices, f"data.{name}", f"one of {', '.join(choices)}", value)
        wanted = "the line between documents, as data.documents is 'separator'"
        given = bool(self.separator) and "\n" not in self.separator
        separated = self.documents == "separator"
        require(given or not separated, "data.separator", wanted, self.separator)
        wanted = "empty, as data.documents is not 'separator'"
        require(separated or not self.separator, "data.separator", wanted, self.separator)
        for name, share in (("valid_share", self.valid_share), ("test_share", self.test_share)):
            require(0 <= share < 1, f"data.{name}", "at least 0 and below 1", share)
        total = self.valid_share + self.test_share
        require(total < 1, "data.valid_share and data.test_share", "below 1 together", total)
        _check_encoding(self.encoding)


def _check_encoding(name: str) -> None:
    try:
        found = codecs.lookup(name)
        line_end = "\n".encode(name) if getattr(found, "_is_text_encoding", True) else b""
    except (LookupError, ValueError):
        known = {*encodings.aliases.aliases, *encodings.aliases.aliases.values()}
        hint = did_you_mean(name.lower(), sorted(each.replace("_", "-") for each in known))
        raise ConfigError(f"unknown data.encoding '{name}'{hint}") from None
    wanted = "one whose line ends are the byte 0A (convert the files, e.g. with: iconv -t utf-8)"
    require(line_end in (b"\n", codecs.BOM_UTF8 + b"\n"), "data.encoding", wanted, name)


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


class CorpusFile(NamedTuple):
    """A file that a part reads, whole or in part; the checksum is of the file as it lies there."""

    part: Part
    path: Path
    sha256: str


@dataclass(frozen=True)
class _Place:
    """Where a line starts, or the next part of a long one."""

    offset: int = 0  # bytes of the unpacked file before it
    line: int = 0  # line ends before it
    characters: int = 0  # of the text before it

    def after(self, raw: bytes, text: str) -> _Place:
        return _Place(
            self.offset + len(raw), self.line + raw.count(b"\n"), self.characters + len(text)
        )


_BEGIN = _Place()


@dataclass(frozen=True)
class _File:
    path: Path
    sha256: str
    stamp: tuple[int, int]  # size and time of change when it was read
    marks: tuple[_Place, ...]  # some line starts, a block apart
    n_characters: int
    n_invalid: int  # lines
    first_invalid: int  # line


@dataclass(frozen=True)
class _Span:
    """Whole lines of a file."""

    file: _File
    start: _Place
    stop: _Place | None  # None for the end of the file

    @property
    def end(self) -> int | None:
        """In bytes of the unpacked file; None for the end of the file."""
        return None if self.stop is None else self.stop.offset

    @property
    def n_characters(self) -> int:
        stop = self.file.n_characters if self.stop is None else self.stop.characters
        return stop - self.start.characters


class _Piece(NamedTuple):
    text: str
    ends: bool  # whether the document ends here
    line_end: bool  # whether a line end that is not in the text stood there


class Corpus:
    r"""Text whose split is known, and which is read again whenever it is asked for.

    Made by `open_corpus`.

    >>> import tempfile
    >>> from unrolled.text.tokenizer import TextConfig
    >>> path = Path(tempfile.mkdtemp()) / "play.txt"
    >>> _ = path.write_text("to be\nor not\n" * 50, encoding="utf-8")
    >>> corpus = open_corpus(CorpusConfig(train=(str(path),), documents="line", test_share=0))
    >>> corpus.parts
    ('train', 'valid')
    >>> words = Tokenizer.train(corpus.texts("train"), TextConfig(kind="space"))
    >>> corpus.encode("valid", words).ids.tolist()[:6]
    [7, 4, 3, 6, 5, 3]
    """

    def __init__(
        self, config: CorpusConfig, spans: dict[Part, list[_Span]], notes: Sequence[str]
    ) -> None:
        self.config = config
        self._spans = spans
        self._notes = tuple(notes)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Which of train, valid and test there are."""
        return tuple(self._spans)

    @property
    def files(self) -> list[CorpusFile]:
        """Every file with the part that reads it; a file that was cut stands in several."""
        return [
            CorpusFile(part, span.file.path, span.file.sha256)
            for part, spans in self._spans.items()
            for span in spans
        ]

    def n_characters(self, part: Part) -> int:
        """Characters of a part as its files hold them, line ends as one."""
        return sum(span.n_characters for span in self._of(part))

    def notes(self) -> list[str]:
        """What a reader should know: how parts were cut, what was replaced or left out."""
        return list(self._notes)

    def texts(self, part: Part) -> Iterator[str]:
        """The text of a part in pieces that end at line ends, for training a tokeniser.

        Pieces have at most 65,536 characters where lines allow it, and 1,048,576 where not.

        Raises:
            DataError: there is no such part, or a file changed since the corpus was opened.
        """
        return (piece.text for piece in self._pieces(self._of(part)) if piece.text)

    def encode(self, part: Part, tokenizer: Tokenizer, cache: Path | None = None) -> TokenStream:
        """The part as ids, made once and kept in `cache`.

        The same text, settings and tokeniser find the same files there, whatever the names of the
        text's files; files that are damaged are made anew. Processes may encode at the same time.

        Args:
            part: `train`, `valid` or `test`.
            tokenizer: trained with `running=True`, if it makes byte pairs.
            cache: a folder, made if it is not there (see `default_cache_folder`); None to hold the
                ids in memory.

        Raises:
            ConfigError: the tokeniser puts a space before each text.
            DataError: there is no such part, it holds no documents, a file changed since the
                corpus was opened, or the cache cannot be written.
        """
        spans = self._of(part)
        if not tokenizer.running:
            raise ConfigError(
                "this tokenizer puts a space before each text, which running text has not; "
                "train it with running=True"
            )
        if cache is None:
            in_memory = io.BytesIO(), io.BytesIO()
            record = self._write(spans, tokenizer, *in_memory)
            ids = np.frombuffer(in_memory[0].getbuffer(), record["dtype"])
            starts = np.frombuffer(in_memory[1].getbuffer(), np.int64)
            for values in (ids, starts):
                values.flags.writeable = False
            return TokenStream(ids, starts, record["n_characters"], record["n_bytes"])
        key = self._key(spans, tokenizer)
        found = _from_cache(cache, key)
        if found is None:
            with _Entry(cache, key) as entry:
                entry.keep(self._write(spans, tokenizer, entry.ids, entry.starts))
            found = _from_cache(cache, key)
        if found is None:
            raise DataError("what was written here cannot be read back; check the disk", cache)
        return found

    def _of(self, part: Part) -> list[_Span]:
        if part not in self._spans:
            where = "--data"
            if part != "train":
                where = f"--{part}, or in training a share with --data.{part}_share"
            raise DataError(f"no text for {part}; give files with {where}")
        return self._spans[part]

    def _pieces(self, spans: Sequence[_Span]) -> Iterator[_Piece]:
        config = self.config
        for span in spans:
            texts = _texts(span, config)
            if config.documents == "file":
                yield from _document(texts, keep_line_end=True)
            elif config.documents == "line":
                yield from _single_lines(texts)
            else:
                is_border = _is_blank if config.documents == "paragraph" else self._is_separator
                for border, lines in groupby(_lines(texts), key=is_border):
                    if not border:
                        yield from _document(lines, keep_line_end=False)

    def _is_separator(self, line: str) -> bool:
        return line.removesuffix("\n") == self.config.separator

    def _key(self, spans: Sequence[_Span], tokenizer: Tokenizer) -> str:
        """What the ids depend on, and nothing else: a file that moved is still the same text."""
        config = self.config
        content = [(span.file.sha256, span.start.offset, span.end) for span in spans]
        packed = [_is_packed(span.file.path) for span in spans]
        how = (config.documents, config.separator, config.on_invalid, config.encoding)
        text = json.dumps([_FORMAT, sys.byteorder, content, packed, how, tokenizer.inner.to_str()])
        return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

    def _write(
        self, spans: Sequence[_Span], tokenizer: Tokenizer, ids: BinaryIO, starts: BinaryIO
    ) -> dict[str, Any]:
        """Encode the documents into two streams of numbers; returns the record of what they hold."""
        code = "H" if len(tokenizer) <= 1 << 16 else "I"
        encode = _encoder(tokenizer, code)
        digests = hashlib.blake2b(), hashlib.blake2b()
        n_ids = n_documents = n_characters = n_bytes = 0
        opens = True  # whether the next piece starts a document
        for batch in _batches(self._pieces(spans)):
            texts = [_composed(piece.text) for piece in batch]
            new_ids, new_starts = array(code), array("q")
            for piece, row in zip(batch, encode(texts), strict=True):
                if opens:
                    new_starts.append(n_ids + len(new_ids))
                new_ids.extend(row)
                if piece.ends:
                    new_ids.append(EOS_ID)
                opens = piece.ends
            n_ids += len(new_ids)
            n_documents += len(new_starts)
            n_line_ends = sum(piece.line_end for piece in batch)
            n_characters += sum(map(len, texts)) + n_line_ends
            n_bytes += sum(map(_n_bytes, texts)) + n_line_ends
            for values, stream, digest in zip(
                (new_ids, new_starts), (ids, starts), digests, strict=True
            ):
                digest.update(values)
                stream.write(values)
        if not n_documents:
            raise DataError("only blank lines; there is no document to read", spans[0].file.path)
        return {
            "format": _FORMAT,
            "dtype": np.dtype(code).str,
            "n_ids": n_ids,
            "n_documents": n_documents,
            "n_characters": n_characters,
            "n_bytes": n_bytes,
            "ids_blake2b": digests[0].hexdigest(),
            "starts_blake2b": digests[1].hexdigest(),
        }


def open_corpus(config: CorpusConfig) -> Corpus:
    """Read all files once, to know that they can be read and where the parts begin.

    Raises:
        ConfigError: no file is given.
        DataError: a file cannot be read as asked, or a part cannot be cut.
    """
    if not (config.train or config.valid or config.test):
        raise ConfigError("no data given; use --data FILE, or data.train in the recipe")
    given: dict[Part, tuple[str, ...]] = {
        "train": config.train,
        "valid": config.valid,
        "test": config.test,
    }
    files = {
        part: [_scan(path, config) for path in _find(names, config.suffixes)]
        for part, names in given.items()
        if names
    }
    notes = [*_invalid_notes(files, config), *_empty_notes(files)]
    files = {part: [each for each in of if each.n_characters] for part, of in files.items()}
    for part, of in files.items():
        if not of:
            raise DataError("no text in it", ", ".join(given[part]))
    spans = {part: [_Span(each, _BEGIN, None) for each in of] for part, of in files.items()}
    shares: dict[Part, float] = {}
    if "train" in files:
        wanted: dict[Part, float] = {"valid": config.valid_share, "test": config.test_share}
        shares = {part: share for part, share in wanted.items() if share and part not in files}
    if shares:
        by_file = config.documents == "file" and len(files["train"]) >= _FEWEST_FILES
        cut = _draw_files if by_file else _cut_off
        spans |= cut(files["train"], shares, config)
        notes += _cut_notes(files["train"], spans, shares, by_file)
    order: tuple[Part, ...] = get_args(Part)
    spans = {part: spans[part] for part in order if part in spans}
    return Corpus(config, spans, notes + _shared_notes(files))


def default_cache_folder() -> Path:
    """Where encoded text is kept: `$UNROLLED_CACHE`, or the platform's folder for what can be remade.

    >>> default_cache_folder().is_absolute()
    True
    """
    if named := os.environ.get("UNROLLED_CACHE"):
        return Path(named).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unrolled"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unrolled"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "")
    # A relative path there is to be ignored, says the XDG base directory specification.
    return (caches if caches.is_absolute() else home / ".cache") / "unrolled"


class Block(NamedTuple):
    """Text of one file as it is read: whole lines, or a part of a line of more than a mebibyte.

    Args:
        text: not empty; line ends are LF.
        offset: bytes of the unpacked file up to the end of this block; `read_blocks` goes on there.
        line: line ends up to there.
    """

    text: str
    offset: int
    line: int


def find_files(config: CorpusConfig) -> list[Path]:
    """The files that `config.train` names, in the order in which they are read; none twice.

    Raises:
        ConfigError: no file is given.
        DataError: a folder or pattern holds none.
    """
    if not config.train:
        raise ConfigError("no data given; name files, folders or patterns")
    return _find(config.train, config.suffixes)


def read_blocks(
    path: Path, config: CorpusConfig, offset: int = 0, line: int = 0
) -> Iterator[Block]:
    """Read a file once, decoded and checked, from a place where a block ended.

    Raises:
        DataError: the file cannot be read as asked; raised when the faulty place is reached.
    """
    place = _Place(offset, line)
    for raw in _read(path, config.encoding, place):
        text, _ = _decode(raw, path, place, config)
        place = place.after(raw, text)
        if text:
            yield Block(text, place.offset, place.line)


def decode_block(raw: bytes, name: str, offset: int, config: CorpusConfig) -> str:
    """Whole lines of a file that was read elsewhere, decoded and checked as `read_blocks` would.

    Args:
        raw: the bytes.
        name: of the file, for messages; only its bytes are counted there, for its lines are not known.
        offset: bytes of the file before them.
        config: encoding, and what becomes of bytes that are not in it.

    Raises:
        DataError: the bytes cannot be read as asked.
    """
    try:
        return _decode(raw, Path(name), _Place(offset), config)[0]
    except DataError as error:
        raise DataError(error.problem, name) from error


# Finding files


def _find(names: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    found: dict[str, Path] = {}
    for name in names:
        for path in _expanded(name, suffixes):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _expanded(name: str, suffixes: Sequence[str]) -> list[Path]:
    """The files that one file name, folder or pattern stands for."""
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, suffixes)
    if path.exists() or not glob.has_magic(name):
        return [path]
    matches = [Path(each) for each in glob.glob(name, recursive=True)]
    files = sorted((each for each in matches if each.is_file()), key=Path.as_posix)
    if not files:
        only = "only folders match" if matches else "no file matches"
        raise DataError(f"{only} this pattern; '**' stands for folders of any depth", name)
    return files


def _in_folder(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    chosen = {suffix.lower() for suffix in suffixes}
    files: list[Path] = []
    others: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            suffix = _suffixes(path)[0]
            # A suffix may have several dots, as in .d.ts.
            plain = path.name.lower().removesuffix(".gz")
            if not chosen or any(plain.endswith(each) for each in chosen):
                files.append(path)
            else:
                others.add(suffix or path.name)
    if files:
        return sorted(files, key=lambda path: path.relative_to(folder).as_posix())
    if not others:
        raise DataError("no files in this folder", folder)
    there = ", ".join(sorted(others)[:5]) + ", …" * (len(others) > 5)
    raise DataError(f"no files with suffix {' or '.join(suffixes)} here, only {there}", folder)


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"cannot be read ({error.strerror or error})", error.filename)


# Reading


def _is_packed(path: Path) -> bool:
    return _suffixes(path)[1]


def _scan(path: Path, config: CorpusConfig) -> _File:
    """Read a whole file, and note what splitting it needs; once, as long as it does not change."""
    how = CorpusConfig(encoding=config.encoding, on_invalid=config.on_invalid)
    return _scanned(path, os.getcwd(), _stamp(path), how)


@lru_cache(maxsize=100_000)
def _scanned(path: Path, folder: str, stamp: tuple[int, int], config: CorpusConfig) -> _File:
    place = _BEGIN
    marks = [place]
    n_invalid = first_invalid = 0
    for raw in _read(path, config.encoding):
        text, invalid = _decode(raw, path, place, config)
        n_invalid += len(invalid)
        first_invalid = first_invalid or next(iter(invalid), 0)
        place = place.after(raw, text)
        if raw.endswith(b"\n"):
            marks.append(place)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return _File(path, sha256, stamp, tuple(marks), place.characters, n_invalid, first_invalid)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0  # whoever opens it will say what is wrong
    return found.st_size, found.st_mtime_ns


def _texts(span: _Span, config: CorpusConfig) -> Iterator[str]:
    """Decoded blocks of whole lines; a line longer than a block comes in parts."""
    path, place = span.file.path, span.start
    if _stamp(path) != span.file.stamp:
        raise DataError("this file changed while it was in use; start again", path)
    for raw in _read(path, config.encoding, place, span.end):
        text, _ = _decode(raw, path, place, config)
        place = place.after(raw, text)
        yield text


def _read(
    path: Path, encoding: str, start: _Place = _BEGIN, stop: int | None = None
) -> Iterator[bytes]:
    """Blocks of bytes that end in a line end, or inside a line of more than a block."""
    line = start.line
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with gzip.open(path) if _is_packed(path) else path.open("rb") as stream:
            stream.seek(start.offset)
            position, rest = start.offset, b""
            while read := stream.read(_BLOCK if stop is None else min(_BLOCK, stop - position)):
                position += len(read)
                rest += read
                end = rest.rfind(b"\n") + 1
                if not end and len(rest) >= _BLOCK:
                    end = _end_of_last_character(rest, encoding)
                if end:
                    yield rest[:end]
                    line += rest.count(b"\n", 0, end)
                    rest = rest[end:]
            if rest:
                yield rest
    except FileNotFoundError as error:
        raise DataError(f"no such file{_nearest_file(path)}", path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        after = f"after line {line}" if line else "from its first byte"
        raise DataError(f"damaged gzip file {after}; copy or download it again", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from error


def _end_of_last_character(raw: bytes, encoding: str) -> int:
    """Where to cut inside a line: neither a character nor a CRLF may be torn."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    decoder.decode(raw)
    end = len(raw) - len(decoder.getstate()[0])
    return end - raw.endswith(b"\r", 0, end)


def _decode(raw: bytes, path: Path, place: _Place, config: CorpusConfig) -> tuple[str, list[int]]:
    """The text of a block, and the numbers of the lines that were not valid."""
    utf8 = codecs.lookup(config.encoding).name in ("utf-8", "utf-8-sig")
    encoding = "utf-8" if utf8 else config.encoding
    if not place.offset and raw.startswith((b"\xff\xfe", b"\xfe\xff")) and utf8:
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
        text = "".join(_decode_lines(raw, encoding, path, place, config.on_invalid, invalid))
    if not place.offset:
        text = text.removeprefix("\ufeff")
    return (text.replace("\r\n", "\n") if "\r" in text else text), invalid


def _decode_lines(
    raw: bytes, encoding: str, path: Path, place: _Place, on_invalid: OnInvalid, invalid: list[int]
) -> Iterator[str]:
    offset = place.offset
    for number, line in enumerate(io.BytesIO(raw), start=place.line + 1):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            if on_invalid == "error":
                name = "UTF-8" if encoding == "utf-8" else encoding
                advice = "convert the file" if name == "UTF-8" else "set data.encoding"
                raise DataError(
                    f"not {name} at byte {offset + error.start} (0x{line[error.start]:02X}); "
                    f"{advice}, or set data.on_invalid to replace or skip",
                    path,
                    number,
                ) from error
            invalid.append(number)
            if on_invalid == "replace":
                yield line.decode(encoding, "replace")
        offset += len(line)


# Cutting parts from the training text


def _cut_off(
    files: list[_File], shares: dict[Part, float], config: CorpusConfig
) -> dict[Part, list[_Span]]:
    """Consecutive parts, each from the first line that starts in its share.

    Where that leaves a part without a line, as in a text of one endless line, they are cut between
    words, or else between characters.
    """
    for start in (_line_start, _word_start, _character_start):
        parts = _cut_at(files, shares, start, config)
        empty = [name for name, spans in parts.items() if not spans]
        if not empty:
            return parts
    raise _cannot_cut(empty[0], shares, _count(sum(f.n_characters for f in files), "character"))


def _cut_at(
    files: list[_File],
    shares: dict[Part, float],
    start: Callable[[list[_File], int, CorpusConfig], tuple[int, _Place]],
    config: CorpusConfig,
) -> dict[Part, list[_Span]]:
    total = sum(each.n_characters for each in files)
    before = total - sum(round(total * share) for share in shares.values())
    bounds = [(0, _BEGIN)]
    for share in shares.values():
        bounds.append(start(files, before, config))
        before += round(total * share)
    bounds.append((len(files), _BEGIN))
    names: list[Part] = ["train", *shares]
    return {
        name: _between(files, first, last)
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True)
    }


def _line_start(files: list[_File], before: int, config: CorpusConfig) -> tuple[int, _Place]:
    """The first line start with at least so many characters before it: (index of file, place)."""
    for index, file in enumerate(files):
        if before >= file.n_characters:
            before -= file.n_characters
            continue
        nearest = bisect_right(file.marks, before, key=lambda mark: mark.characters) - 1
        place, at_line_start = file.marks[nearest], True
        for raw in _read(file.path, config.encoding, place):
            for line in io.BytesIO(raw):
                if place.characters >= before and at_line_start:
                    return index, place
                place = place.after(line, _decode(line, file.path, place, config)[0])
                at_line_start = line.endswith(b"\n")
        return index + 1, _BEGIN
    return len(files), _BEGIN


def _word_start(files: list[_File], before: int, config: CorpusConfig) -> tuple[int, _Place]:
    return _start_inside(files, before, config, re.compile(r"(?<=\s)\S"))


def _character_start(files: list[_File], before: int, config: CorpusConfig) -> tuple[int, _Place]:
    return _start_inside(files, before, config, re.compile(r"(?s)."))


def _start_inside(
    files: list[_File], before: int, config: CorpusConfig, wanted: re.Pattern[str]
) -> tuple[int, _Place]:
    """The first match with at least so many characters before it, in its block or after."""
    for index, file in enumerate(files):
        if before >= file.n_characters:
            before -= file.n_characters
            continue
        nearest = bisect_right(file.marks, before, key=lambda mark: mark.characters) - 1
        place = file.marks[nearest]
        for raw in _read(file.path, config.encoding, place):
            text = _decode(raw, file.path, place, config)[0]
            found = wanted.search(text, max(0, before - place.characters))
            # Bytes are found again from characters only where decoding dropped and joined nothing.
            exact = text.encode(config.encoding) == raw
            if found and exact and place.characters + len(text) > before:
                head = text[: found.start()]
                return index, place.after(head.encode(config.encoding), head)
            place = place.after(raw, text)
        return index + 1, _BEGIN
    return len(files), _BEGIN


def _between(
    files: list[_File], first: tuple[int, _Place], last: tuple[int, _Place]
) -> list[_Span]:
    spans = [
        _Span(
            files[i],
            first[1] if i == first[0] else _BEGIN,
            last[1] if i == last[0] else None,
        )
        for i in range(first[0], min(last[0] + 1, len(files)))
    ]
    return [span for span in spans if span.n_characters]


def _draw_files(
    files: list[_File], shares: dict[Part, float], config: CorpusConfig
) -> dict[Part, list[_Span]]:
    """Whole files for each part, up to its share; at least one, be it larger."""
    copies: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        copies.setdefault(file.sha256, []).append(i)
    left = sorted(
        copies.values(), key=lambda group: _draw(config.split_seed, files[group[0]].sha256)
    )

    def size(group: list[int]) -> int:
        return sum(files[i].n_characters for i in group)

    total = sum(map(size, left))
    parts: dict[Part, list[int]] = {}
    for name, share in shares.items():
        room = round(total * share)
        taken: list[list[int]] = []
        for group in left:
            if size(group) <= room:
                taken.append(group)
                room -= size(group)
        if not taken and left:
            taken = [min(left, key=size)]
        parts[name] = [i for group in taken for i in group]
        gone = set(parts[name])
        left = [group for group in left if group[0] not in gone]
    parts["train"] = [i for group in left for i in group]
    for name, chosen in parts.items():
        if not chosen:
            copied = f"{len(files):,} files with {_count(len(copies), 'different text')}"
            raise _cannot_cut(name, shares, copied)
    return {name: [_Span(files[i], _BEGIN, None) for i in sorted(parts[name])] for name in parts}


def _draw(seed: int, content: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{content}".encode(), digest_size=16).digest()


def _cannot_cut(name: Part, shares: dict[Part, float], what: str) -> DataError:
    cut = " and ".join(shares)
    return DataError(
        f"cannot cut {cut} from {what}: nothing is left for {name}; give files with "
        f"{' and '.join(f'--{part}' for part in shares)}, or more text"
    )


# What is said about it


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _invalid_notes(files: dict[Part, list[_File]], config: CorpusConfig) -> list[str]:
    notes = []
    for part, of in files.items():
        faulty = [each for each in of if each.n_invalid]
        if faulty:
            n_lines = sum(each.n_invalid for each in faulty)
            done = "left out" if config.on_invalid == "skip" else "read with U+FFFD in their place"
            notes.append(
                f"{part}: {_count(n_lines, 'line')} with bytes that are not {config.encoding} "
                f"{done}, in {_count(len(faulty), 'file')}; "
                f"the first is line {faulty[0].first_invalid} of {faulty[0].path}"
            )
    return notes


def _empty_notes(files: dict[Part, list[_File]]) -> list[str]:
    counts = {part: sum(not each.n_characters for each in of) for part, of in files.items()}
    return [
        f"{part}: {n_empty} of {_count(len(files[part]), 'file')} without text"
        for part, n_empty in counts.items()
        if n_empty
    ]


def _cut_notes(
    files: list[_File], spans: dict[Part, list[_Span]], shares: dict[Part, float], by_file: bool
) -> list[str]:
    total = sum(each.n_characters for each in files)
    notes = []
    for part in shares:
        size = sum(span.n_characters for span in spans[part])
        how = (
            f"{len(spans[part]):,} of {_count(len(files), 'file')} drawn from the training text"
            if by_file
            else "cut from the end of the training text"
        )
        notes.append(f"{part}: {how}, {size:,} characters ({size / total:.1%})")
    return notes


def _shared_notes(files: dict[Part, list[_File]]) -> list[str]:
    trained = {each.sha256 for each in files.get("train", [])}
    counts = {
        part: sum(each.sha256 in trained for each in of)
        for part, of in files.items()
        if part != "train"
    }
    return [
        f"{part}: {n_shared} of {_count(len(files[part]), 'file')} also in the training text"
        for part, n_shared in counts.items()
        if n_shared
    ]


# Documents in pieces

# Before this line end every kind of token ends. White space that follows would make one token with
# it; after it, white space before it would no longer be followed by anything.
_BORDER = re.compile(r"\n(?=\S)")


def _document(texts: Iterable[str], keep_line_end: bool) -> Iterator[_Piece]:
    """The pieces of one document; none where it is empty."""
    before = ""
    for text in _cut(texts):
        if before:
            yield _Piece(before, ends=False, line_end=False)
        before = text
    line_end = before.endswith("\n") and not keep_line_end
    text = before[:-1] if line_end else before
    if text:
        yield _Piece(text, ends=True, line_end=line_end)


def _cut(texts: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that can be encoded one by one; none is empty."""
    rest = ""
    searched = 0  # up to where there is no border
    for text in texts:
        rest += text
        while len(rest) > _PIECE:
            end = 0 if searched else _last_border(rest, _PIECE)
            if not end:
                border = _BORDER.search(rest, max(searched, _PIECE))
                end = min(border.start() if border else len(rest), _LONGEST)
                if not border and end < _LONGEST:
                    searched = len(rest) - 1
                    break
            yield rest[:end]
            rest, searched = rest[end:], 0
    if rest:
        yield rest


def _last_border(text: str, most: int) -> int:
    end = text.rfind("\n", 0, most)
    while end > 0 and text[end + 1].isspace():
        end = text.rfind("\n", 0, end)
    return max(end, 0)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their line ends; a line of more than a mebibyte of characters in parts."""
    rest = ""
    for text in texts:
        for line in io.StringIO(rest + text, newline="\n"):
            while len(line) > _LONGEST:
                yield line[:_LONGEST]
                line = line[_LONGEST:]
            rest = line
            if line.endswith("\n"):
                yield line
                rest = ""
    if rest:
        yield rest


def _single_lines(texts: Iterable[str]) -> Iterator[_Piece]:
    ends = True
    for line in _lines(texts):
        ends = line.endswith("\n")
        yield _Piece(line[:-1] if ends else line, ends, line_end=ends)
    if not ends:
        yield _Piece("", ends=True, line_end=False)


def _is_blank(line: str) -> bool:
    return not line.strip()


# Ids


def _batches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text) + 1
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _encoder(tokenizer: Tokenizer, code: str) -> Callable[[list[str]], Iterable[Iterable[int]]]:
    """`encode_batch`, or for characters a table, which is a hundred times quicker."""
    normalizer = tokenizer.inner.normalizer
    if tokenizer.kind != "char" or normalizer is None or normalizer.normalize_str("A") != "A":
        return tokenizer.encode_batch
    table = np.full(sys.maxunicode + 1, UNK_ID, np.dtype(code))
    for i, character in enumerate(tokenizer.token_bytes()):
        if character:
            table[ord(character.decode("utf-8"))] = i

    def look_up(texts: list[str]) -> Iterator[Iterable[int]]:
        points = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), "<u4")
        ids = array(code, table[points].tobytes())
        start = 0
        for text in texts:
            yield ids[start : start + len(text)]
            start += len(text)

    return look_up


_LEFT_FOR_DEAD = 24 * 3600  # seconds after which nobody writes to a temporary file any more


def _remove_leftovers(folder: Path) -> None:
    """The temporary files of processes that were killed."""
    for path in folder.glob("*.partial"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_FOR_DEAD:
                path.unlink()


# The cache: KEY.ids, KEY.starts, and KEY.json, which is written last and says what they hold


class _Entry:
    """Files under temporary names, which `keep` puts in their place; otherwise they vanish."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._mark = f"{os.getpid()}-{secrets.token_hex(4)}.partial"

    def __enter__(self) -> _Entry:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self._folder)
            self.ids = self._temporary("ids").open("xb")
            self.starts = self._temporary("starts").open("xb")
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.ids.close()
            self.starts.close()
        except OSError as late:  # what was still to be written found no room
            error = error or late
        for name in ("ids", "starts", "json"):
            self._temporary(name).unlink(missing_ok=True)
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
                if _from_cache(self._folder, self._key) is None:
                    raise

    def _temporary(self, name: str) -> Path:
        return self._folder / f"{self._key}.{name}.{self._mark}"

    def _refused(self, error: OSError) -> DataError:
        return DataError(
            f"encoded text cannot be kept here ({error.strerror or error}); make room, or name "
            "another folder with the environment variable UNROLLED_CACHE",
            self._folder,
        )


def _from_cache(folder: Path, key: str) -> TokenStream | None:
    """What was kept under this key; None where there is nothing, or not what was written."""
    try:
        record = json.loads((folder / f"{key}.json").read_bytes())
        arrays = []
        for name, dtype, count in (
            ("ids", np.dtype(record["dtype"]), record["n_ids"]),
            ("starts", np.dtype(np.int64), record["n_documents"]),
        ):
            path = folder / f"{key}.{name}"
            size = path.stat().st_size
            if size != count * dtype.itemsize:
                return None
            if size < _CHECKSUM_BELOW:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, hashlib.blake2b).hexdigest()
                if digest != record[f"{name}_blake2b"]:
                    return None
            arrays.append(np.memmap(path, dtype, mode="r", shape=(count,)))
        return TokenStream(arrays[0], arrays[1], record["n_characters"], record["n_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
