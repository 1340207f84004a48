"""Where running text comes from, and where its documents end."""

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
    """Where running text comes from, and where its documents end.

    A part without files of its own is cut from the training text: off its end, at the start of a
    line (of a word, where there are no lines), so that train, valid and test follow one another. Only
    where every file is a document and at least 20 of them hold text are whole files drawn instead, by
    a seeded hash of their content; then neither their names nor their order matter, and copies of one
    file stay together.

    Args:
        train: files, folders and patterns (`src/**/*.py`); `.gz`, `.bz2` and `.xz` files are
            unpacked. Folders are read to any depth, sorted by path, without names that start with a
            dot. A file named twice is read once.
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
            or their line is left out (`skip`; of a line of several MB, the MB around them, and what
            stands on both sides stays apart).
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
        found = codecs.lookup(name)
        line_end = "\n".encode(name) if getattr(found, "_is_text_encoding", True) else b""
    except (LookupError, ValueError):
        known = {*encodings.aliases.aliases, *encodings.aliases.aliases.values()}
        hint = did_you_mean(name.lower(), sorted(each.replace("_", "-") for each in known))
        raise ConfigError(f"unknown data.encoding '{name}'{hint}") from None
    wanted = "one whose line ends are the byte 0A (convert the files, e.g. with: iconv -t utf-8)"
    require(line_end in (b"\n", codecs.BOM_UTF8 + b"\n"), "data.encoding", wanted, name)
