r"""Running text of any size: from files and folders to documents, and from documents to a stream of ids.

No text is held in memory as a whole. It is read in blocks of a mebibyte, passed on in pieces that end at
line ends, and encoded into a file that is then memory-mapped. A piece ends before a line end if the next
line does not start with white space: no token of any kind extends across such a position, so the ids of
the pieces are the ids of the whole document.

Text is UTF-8 by default, with or without a byte-order mark, plain or compressed (`.gz`, `.bz2`, `.xz`).
Lines end in LF or CRLF, or all in CR alone, and in nothing else; each end becomes LF.

`files.py` finds and reads files, `splits.py` splits off parts, `segments.py` makes and encodes pieces,
and `cache.py` stores ids.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

import numpy as np

from unrolled.config import Documents, OnInvalid
from unrolled.errors import ConfigError, DataError
from unrolled.reporting import counted
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.cache import (
    FORMAT,
    CacheEntry,
    NoCacheError,
    TokenStream,
    default_cache_folder,
    from_cache,
)
from unrolled.text.corpus.config import CorpusConfig, Part
from unrolled.text.corpus.files import (
    BEGIN,
    Block,
    Span,
    decode_block,
    expand,
    find_files,
    read_blocks,
    scan,
    span_texts,
)
from unrolled.text.corpus.segments import (
    Piece,
    batches_of,
    composed,
    document,
    encoder_of,
    is_blank,
    lines_of,
    n_bytes_of,
    single_lines,
)
from unrolled.text.corpus.splits import (
    FEWEST_FILES,
    cut_notes,
    cut_off,
    draw_files,
    empty_notes,
    invalid_notes,
    shared_notes,
)
from unrolled.text.files import endings
from unrolled.text.tokenizer import Tokenizer

__all__ = [
    "Block",
    "Corpus",
    "CorpusConfig",
    "CorpusFile",
    "Documents",
    "OnInvalid",
    "Part",
    "TokenStream",
    "decode_block",
    "default_cache_folder",
    "find_files",
    "open_corpus",
    "read_blocks",
]


class CorpusFile(NamedTuple):
    """A file that a part reads, wholly or partly; the checksum is that of the file on disk."""

    part: Part
    path: Path
    sha256: str


class Corpus:
    r"""Text with a known split, which is read again each time it is used.

    Created by `open_corpus`.

    >>> import tempfile
    >>> from unrolled.text.config import TextConfig
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
        self, config: CorpusConfig, spans: dict[Part, list[Span]], notes: Sequence[str]
    ) -> None:
        self.config = config
        self._spans = spans
        self._notes = tuple(notes)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The names of the parts: which of train, valid and test exist."""
        return tuple(self._spans)

    @property
    def files(self) -> list[CorpusFile]:
        """Every file with the part that reads it; a file that was split is listed several times."""
        return [
            CorpusFile(part, span.file.path, span.file.sha256)
            for part, spans in self._spans.items()
            for span in spans
        ]

    def n_characters(self, part: Part) -> int:
        """Number of characters in the files of a part, counting each line end as one."""
        return sum(span.n_characters for span in self._of(part))

    def notes(self) -> list[str]:
        """Notes for the user: how parts were split off, and what was replaced or left out."""
        return list(self._notes)

    def texts(self, part: Part) -> Iterator[str]:
        """The text of a part in pieces that end at line ends, for training a tokenizer.

        Pieces have at most 65,536 characters if lines allow it, and otherwise at most 1,048,576.

        Raises:
            DataError: there is no such part, or a file changed since the corpus was opened.
        """
        return (piece.text for piece in self._pieces(self._of(part)) if piece.text)

    def encode(self, part: Part, tokenizer: Tokenizer, cache: Path | None = None) -> TokenStream:
        """Return the part as ids, which are computed once and cached.

        The same text, settings and tokenizer share the same cached files, regardless of the names of the
        text files; damaged files are computed again. Several processes may encode at the same time. If
        the cache cannot be written, the ids are kept in memory, and `notes` reports it.

        Args:
            part: `train`, `valid` or `test`.
            tokenizer: the tokenizer; one with byte pairs must be trained with `running=True`.
            cache: the cache folder, created if necessary (see `default_cache_folder`); None to keep the
                ids in memory.

        Raises:
            ConfigError: the tokenizer puts a space before each text.
            DataError: there is no such part, it contains no documents, or a file changed since the
                corpus was opened.
        """
        spans = self._of(part)
        if not tokenizer.running:
            raise ConfigError(
                "this tokenizer puts a space before each text and cannot encode running text; "
                "train it with running=True"
            )
        if cache is None:
            return self._in_memory(spans, tokenizer)
        key = self._key(spans, tokenizer)
        stream = from_cache(cache, key, len(tokenizer))
        try:
            if stream is None:
                with CacheEntry(cache, key, len(tokenizer)) as entry:
                    entry.keep(self._write(spans, tokenizer, entry.ids, entry.starts))
                stream = from_cache(cache, key, len(tokenizer))
            if stream is None:
                raise NoCacheError(f"the files written to {cache} cannot be read back")
        except NoCacheError as error:
            note = (
                f"encoded text is kept in memory and not cached: {error}; set another folder with the "
                "environment variable UNROLLED_CACHE"
            )
            self._notes = tuple(dict.fromkeys((*self._notes, note)))
            return self._in_memory(spans, tokenizer)
        return stream

    def _in_memory(self, spans: Sequence[Span], tokenizer: Tokenizer) -> TokenStream:
        return stored_in_memory(lambda *streams: self._write(spans, tokenizer, *streams))

    def _of(self, part: Part) -> list[Span]:
        if part not in self._spans:
            where = "--data"
            if part != "train":
                where = f"--{part}, or in training a share with --data.{part}_share"
            raise DataError(f"no text for {part}; give files with {where}")
        return self._spans[part]

    def _pieces(self, spans: Sequence[Span]) -> Iterator[Piece]:
        config = self.config
        for span in spans:
            texts = span_texts(span, config)
            if config.documents == "file":
                yield from document(texts, keep_line_end=True)
            elif config.documents == "line":
                yield from single_lines(texts)
            else:
                is_border = is_blank if config.documents == "paragraph" else self._is_separator
                for border, lines in groupby(lines_of(texts), key=is_border):
                    if not border:
                        yield from document(lines, keep_line_end=False)

    def _is_separator(self, line: str) -> bool:
        return line.removesuffix("\n") == self.config.separator

    def _key(self, spans: Sequence[Span], tokenizer: Tokenizer) -> str:
        """A hash of everything on which the ids depend, and nothing else, such as the names of files."""
        config = self.config
        content = [(span.file.sha256, span.start.offset, span.end) for span in spans]
        packed = [endings(span.file.path)[1] for span in spans]
        how = (config.documents, config.separator, config.on_invalid, config.encoding)
        text = json.dumps([FORMAT, sys.byteorder, content, packed, how, tokenizer.inner.to_str()])
        if any(span.file.ends_in_cr for span in spans):  # earlier versions read other text
            text += "CR"
        return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

    def _write(
        self, spans: Sequence[Span], tokenizer: Tokenizer, ids: BinaryIO, starts: BinaryIO
    ) -> dict[str, Any]:
        """Encode the documents into two binary streams; return the record that describes them."""
        total = sum(span.n_characters for span in spans)
        record = write_pieces(self._pieces(spans), total, tokenizer, ids, starts)
        if not record["n_documents"]:
            raise DataError("only blank lines; there is no document to read", spans[0].file.path)
        return record


def stored_in_memory(write: Callable[[BinaryIO, BinaryIO], dict[str, Any]]) -> TokenStream:
    """The stream that a function writes; see `write_pieces`."""
    buffers = io.BytesIO(), io.BytesIO()
    record = write(*buffers)
    ids = np.frombuffer(buffers[0].getbuffer(), record["dtype"])
    starts = np.frombuffer(buffers[1].getbuffer(), np.int64)
    for values in (ids, starts):
        values.flags.writeable = False
    return TokenStream(ids, starts, record["n_characters"], record["n_bytes"])


def write_pieces(
    pieces: Iterable[Piece], total: int, tokenizer: Tokenizer, ids: BinaryIO, starts: BinaryIO
) -> dict[str, Any]:
    """Encode pieces of documents into two binary streams; return the record that describes them.

    Args:
        pieces: the pieces in order.
        total: their number of characters, for reports of progress.
        tokenizer: the tokenizer.
        ids: gets the ids of all documents.
        starts: gets the place at which each document starts.
    """
    code = "H" if len(tokenizer) <= 1 << 16 else "I"
    encode = encoder_of(tokenizer, code)
    digests = hashlib.blake2b(), hashlib.blake2b()
    n_ids = n_documents = n_characters = n_bytes = 0
    opens = True  # whether the next piece starts a document
    for batch in counted(batches_of(pieces), "encoding", "characters", total, _n_characters):
        texts = [composed(piece.text) for piece in batch]
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
        n_bytes += sum(map(n_bytes_of, texts)) + n_line_ends
        for values, stream, digest in zip(
            (new_ids, new_starts), (ids, starts), digests, strict=True
        ):
            digest.update(values)
            stream.write(values)
    return {
        "format": FORMAT,
        "dtype": np.dtype(code).str,
        "n_ids": n_ids,
        "n_documents": n_documents,
        "n_characters": n_characters,
        "n_bytes": n_bytes,
        "ids_blake2b": digests[0].hexdigest(),
        "starts_blake2b": digests[1].hexdigest(),
    }


def _n_characters(batch: Sequence[Piece]) -> int:
    return sum(len(piece.text) + piece.line_end for piece in batch)


def open_corpus(config: CorpusConfig) -> Corpus:
    """Read all files once, to check that they can be read and to determine where the parts begin.

    Files of which columns are read (`StreamConfig.columns`) are tables, and kept in memory.

    Raises:
        ConfigError: no file is given.
        DataError: a file cannot be read with these settings, or a part cannot be split off.
    """
    if getattr(config, "columns", ()):
        from unrolled.text.corpus.tables import open_tables

        return open_tables(config)
    if not (config.train or config.valid or config.test):
        raise ConfigError("no data given; use --data FILE, or data.train in the recipe")
    given: dict[Part, tuple[str, ...]] = {
        "train": config.train,
        "valid": config.valid,
        "test": config.test,
    }
    files = {
        part: [scan(path, config) for path in expand(names, config.suffixes)]
        for part, names in given.items()
        if names
    }
    notes = [*invalid_notes(files, config), *empty_notes(files)]
    files = {part: [file for file in of if file.n_characters] for part, of in files.items()}
    for part, of in files.items():
        if not of:
            raise DataError("contains no text", ", ".join(given[part]))
    spans = {part: [Span(file, BEGIN, None) for file in of] for part, of in files.items()}
    shares: dict[Part, float] = {}
    if "train" in files:
        wanted: dict[Part, float] = {"valid": config.valid_share, "test": config.test_share}
        shares = {part: share for part, share in wanted.items() if share and part not in files}
    if shares:
        by_file = config.documents == "file" and len(files["train"]) >= FEWEST_FILES
        cut = draw_files if by_file else cut_off
        spans |= cut(files["train"], shares, config)
        notes += cut_notes(files["train"], spans, shares, by_file)
    order: tuple[Part, ...] = get_args(Part)
    spans = {part: spans[part] for part in order if part in spans}
    return Corpus(config, spans, notes + shared_notes(files))
