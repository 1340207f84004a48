"""Running text from columns of tables: each text is a document.

A language model is tuned on the texts of a task in this way, without their labels. Parts without files
of their own are split off as for tasks whose output is labels (`text.splits`), so that the language model
does not learn from rows that the task holds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from unrolled.config import require
from unrolled.errors import DataError
from unrolled.text.conll import is_column_file
from unrolled.text.corpus.cache import TokenStream
from unrolled.text.corpus.config import CorpusConfig, Part
from unrolled.text.corpus.corpus import Corpus, CorpusFile, stored_in_memory, write_pieces
from unrolled.text.corpus.files import sha256_of
from unrolled.text.corpus.segments import Piece
from unrolled.text.files import endings
from unrolled.text.rows import Field, as_text
from unrolled.text.splits import DataConfig, Reading, Splits, read_splits
from unrolled.text.tables import TABLES
from unrolled.text.tokenizer import Tokenizer

_PARTS: tuple[Part, ...] = ("train", "valid", "test")


class TableCorpus(Corpus):
    """The texts of tables, which are held in memory.

    Created by `open_tables`.

    >>> import tempfile
    >>> from unrolled.text.corpus.windows import StreamConfig
    >>> path = Path(tempfile.mkdtemp()) / "reviews.tsv"
    >>> _ = path.write_text("text\\tlabel\\n" + "".join(f"film {n}\\tgood\\n" for n in range(40)))
    >>> corpus = open_tables(StreamConfig(train=(str(path),), columns=("text",)))
    >>> corpus.parts, sum(1 for _ in corpus.texts("train"))
    (('train', 'valid', 'test'), 36)
    """

    def __init__(self, config: Any, splits: Splits) -> None:
        super().__init__(config, {}, splits.notes)
        rows = {"train": splits.train, "valid": splits.valid, "test": splits.test}
        if config.test_share == 0 and not config.test:
            rows |= {"train": splits.train + splits.test, "test": []}
        self._texts: dict[Part, list[str]] = {
            part: [
                as_text(field)
                for row in rows[part]
                for field in row.fields
                if as_text(field).strip()
            ]
            for part in _PARTS
            if rows[part]
        }

    @property
    def parts(self) -> tuple[Part, ...]:
        """The names of the parts that have rows."""
        return tuple(self._texts)

    @property
    def files(self) -> list[CorpusFile]:
        """Every file with the part that reads it; a file that was split is listed several times."""
        named = {part: getattr(self.config, part) or self.config.train for part in self._texts}
        return [
            CorpusFile(part, Path(path), sha256_of(Path(path)))
            for part, paths in named.items()
            for path in paths
        ]

    def n_characters(self, part: Part) -> int:
        """Number of characters of the texts of a part, counting the end of each as one."""
        return sum(len(text) + 1 for text in self._of_part(part))

    def texts(self, part: Part) -> Iterator[str]:
        """The texts of a part."""
        return iter(self._of_part(part))

    def encode(self, part: Part, tokenizer: Tokenizer, cache: Path | None = None) -> TokenStream:
        """The part as ids in memory; see `Corpus.encode`."""
        pieces = (Piece(text, ends=True, line_end=True) for text in self._of_part(part))
        total = self.n_characters(part)
        return stored_in_memory(lambda *streams: write_pieces(pieces, total, tokenizer, *streams))

    def _of_part(self, part: Part) -> list[str]:
        if part not in self._texts:
            self._of(part)  # raises the error
        return self._texts[part]


def open_tables(config: Any) -> TableCorpus:
    """Read the texts of the columns `data.columns`, and split them.

    Args:
        config: a `StreamConfig` with columns.

    Raises:
        ConfigError: no file is given, or a setting does not apply to tables.
        DataError: a file cannot be read with these settings, or cannot be split.
    """
    defaults = {field.name: field.default for field in fields(CorpusConfig)}
    for name, or_none in (("valid_share", ""), ("test_share", " or 0"), ("encoding", "")):
        value = getattr(config, name)
        wanted = (
            f"{defaults[name]!r}{or_none} with data.columns: tables are UTF-8, and split as for tasks "
            "with labels (5% of the rows each, at most 2,000) or by files (--valid, --test)"
        )
        is_allowed = value == defaults[name] or bool(or_none and value == 0)
        require(is_allowed, f"data.{name}", wanted, value)
    for path in (*config.train, *config.valid, *config.test):
        if not is_table(path):
            raise DataError(
                "is not a table: data.columns (--columns) names columns of TSV, CSV, JSON Lines or CoNLL "
                "files; leave it out for plain text",
                path,
            )
    data = DataConfig(
        train=config.train,
        valid=config.valid,
        test=config.test,
        columns=config.columns,
        header=config.header,
        split_seed=config.split_seed,
    )
    reading = Reading(is_full=_has_text, linked=_as_one, lists="all", by_token=_is_by_token(config))
    return TableCorpus(config, read_splits(data, len(config.columns), reading))


def texts_of_tables(config: Any, part: Part) -> list[str]:
    """The texts of a part; [] if there is no such part.

    Raises:
        ConfigError, DataError: as for `open_tables`.
    """
    corpus = open_tables(config)
    return list(corpus.texts(part)) if part in corpus.parts else []


def is_table(path: str) -> bool:
    """Whether a file has columns, by its name."""
    return endings(Path(path))[0] in TABLES or is_column_file(path)


def _is_by_token(config: Any) -> bool:
    return any(is_column_file(Path(path)) for part in _PARTS for path in getattr(config, part))


def _has_text(row: Sequence[Field]) -> bool:
    return any(as_text(field).strip() for field in row)


def _as_one(row: Sequence[Field]) -> Sequence[Field]:
    # As in the tasks `classify`, `pair` and `tag`, so that the same rows are held out.
    return ("\n".join(map(as_text, row)),)
