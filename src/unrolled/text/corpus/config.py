"""The source of running text, and its division into documents."""

from __future__ import annotations

import codecs
import encodings.aliases
from dataclasses import dataclass
from typing import Literal

from unrolled.config import Documents, OnInvalid, Rate, check_fields, require
from unrolled.errors import ConfigError, did_you_mean
from unrolled.text.files import PACKED

Part = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class CorpusConfig:
    """The source of running text, and its division into documents.

    A part without its own files is split off the end of the training text, at the start of a line (of a
    word, if there are no lines), so that train, valid and test follow one another. Only if every file is
    a document, and at least 20 files contain text, are whole files drawn instead, by a seeded hash of
    their content; then neither their names nor their order matter, and copies of a file stay together.

    Args:
        train: files, folders and patterns (`src/**/*.py`); `.gz`, `.bz2` and `.xz` files are
            unpacked. Folders are read recursively, sorted by path, without names that start with a
            dot. A file named twice is read once.
        valid: the same for validation; empty to split it from `train`.
        test: the same for the test; empty to split it from `train`.
        suffixes: read only the files in folders that have these suffixes (`.py`); empty for all files.
        documents: what a document is: a `file`, a `line` (even an empty one), a `paragraph` (separated by
            blank lines), or the text between lines that are exactly the `separator`.
        separator: the line that separates documents.
        valid_share: share of the training text's characters to split off for validation; 0 for none.
        test_share: the same for the test.
        split_seed: random seed for drawing files.
        on_invalid: how to treat bytes that are invalid in the encoding: `error`, `replace` them by
            U+FFFD, or `skip` their line (of a line of several MB, only the MB around them is skipped, and
            the text before and after it is not joined).
        encoding: encoding of all files.

    Raises:
        ConfigError: a value is out of range or unknown.

    >>> CorpusConfig(train=("src",), suffixes=(".py",)).documents
    'file'
    """

    train: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    documents: Documents = "file"
    separator: str = ""
    valid_share: Rate = 0.05
    test_share: Rate = 0.05
    split_seed: int = 1
    on_invalid: OnInvalid = "error"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        check_fields(self, "data")
        for suffix in self.suffixes:
            good = len(suffix) > 1 and suffix.startswith(".") and suffix.lower() not in PACKED
            wanted = f"suffixes like .py, without {' or '.join(PACKED)}"
            require(good, "data.suffixes", wanted, suffix)
        wanted = "the line between documents, as data.documents is 'separator'"
        given = bool(self.separator) and "\n" not in self.separator
        separated = self.documents == "separator"
        require(given or not separated, "data.separator", wanted, self.separator)
        wanted = "empty, as data.documents is not 'separator'"
        require(separated or not self.separator, "data.separator", wanted, self.separator)
        total = self.valid_share + self.test_share
        require(total < 1, "data.valid_share and data.test_share", "below 1 together", total)
        _check_encoding(self.encoding)


def _check_encoding(name: str) -> None:
    try:
        codec = codecs.lookup(name)
        line_end = "\n".encode(name) if getattr(codec, "_is_text_encoding", True) else b""
    except (LookupError, ValueError):
        known = {*encodings.aliases.aliases, *encodings.aliases.aliases.values()}
        hint = did_you_mean(name.lower(), sorted(alias.replace("_", "-") for alias in known))
        raise ConfigError(f"unknown data.encoding '{name}'{hint}") from None
    wanted = "one whose line ends are the byte 0A (convert the files, e.g. with: iconv -t utf-8)"
    require(line_end in (b"\n", codecs.BOM_UTF8 + b"\n"), "data.encoding", wanted, name)
