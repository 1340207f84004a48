"""Read descriptions and code from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unrolled import documents
from unrolled.code.parsing import ProgramLanguage, problem
from unrolled.config import check_fields, require
from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.text.files import endings
from unrolled.text.lines import read_lines
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Field, Grouping, Row, as_paths
from unrolled.text.splits import DataConfig, Length, Reading, TooLong
from unrolled.wording import count_of

COLUMNS = ("description", "code")

_DESCRIPTIONS = ("description", "rewritten_intent", "intent", "nl", "anno")
_CODES = ("code", "snippet", "bash", "cm")
_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class CodeData(DataConfig):
    """The source of descriptions and code; other settings are as in `DataConfig`.

    Args:
        columns: names of the columns with the description and the code; by default those with these
            names, or with those of CoNaLa (`rewritten_intent`, or `intent` where it is missing, and
            `snippet`) or NL2Bash (`nl` and `bash`).
        language: language of the code: "python" or "bash".
        slots: whether quoted spans of a description are single words, which are copied as a whole.
        unparsable: what is done with training rows whose code does not parse: "keep" them, "skip" them,
            or "refuse" the data.
        max_length: maximum number of tokens of a training row on any side, including end of sentence.
        too_long: "skip"; code cannot be cut off.

    Raises:
        ConfigError: a value is out of range or unknown.
    """

    language: ProgramLanguage = "python"
    slots: bool = True
    unparsable: Literal["keep", "skip", "refuse"] = "keep"
    max_length: Length = 200
    too_long: TooLong = "skip"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "data")
        wanted = "'skip' for code, of which a part is no example"
        require(self.too_long == "skip", "data.too_long", wanted, self.too_long)


def read(
    data: CodeData, paths: Sequence[str], part: str, notes: list[str] | None = None
) -> list[Row]:
    """The rows of a part: description, code, language, and "slots" if there are to be slots.

    The last two are settings that a row carries to where only rows are known.

    Raises:
        DataError: a file cannot be read, or `data.unparsable` refuses a row; the line is named.
    """
    found: list[str] = []
    is_split = part == "train" and not (data.valid and data.test)
    settings = (data.language, "slots" if data.slots else "")
    rows = []
    for row in _rows(data, paths, notes, found, is_split):
        description, code = (str(field) for field in row.fields)
        fields = (" ".join(description.split()), _plain(code), *settings)
        rows.append(replace(row, fields=fields))
    return _parsed(rows, data, paths[0], notes) if part == "train" else rows


def _plain(code: str) -> str:
    r"""Code with `\n` as the only line end, and without blank lines or spaces around it."""
    lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    return "\n".join(lines).strip() if len(lines) <= 1 else "\n".join(lines).rstrip()


def _rows(
    data: CodeData,
    paths: Sequence[str],
    notes: list[str] | None,
    found: list[str],
    is_split: bool,
) -> Iterator[Row]:
    files = as_paths(paths)
    if len(files) == 1 and endings(files[0])[0] in (".json", ".jsonl"):
        yield from _objects(files[0], data)
        return
    yield from read_rows(
        paths,
        _columns(data, paths),
        2,
        names=COLUMNS,
        header=data.header,
        notes=notes,
        grouping=Grouping(data.group, is_needed=is_split),
        found=found,
    )


def _columns(data: CodeData, paths: Sequence[str]) -> tuple[str, ...] | None:
    """The columns to read; None for the two columns that there are."""
    if data.columns or len(paths) > 1:
        return data.columns or None
    names = column_names(paths, data.header)
    chosen = tuple(
        next((name for name in known if name in names), "") for known in (_DESCRIPTIONS, _CODES)
    )
    return chosen if all(chosen) else None


def _objects(path: Path, data: CodeData) -> Iterator[Row]:
    """The rows of a file of JSON lines, or with one list of JSON objects."""
    if len(data.columns) not in (0, 2):
        problem_ = f"expected the names of description and code, got {listed(data.columns)}"
        raise DataError(problem_, path)
    n = 0
    for line, entry in _entries(path):
        if not isinstance(entry, dict):
            raise DataError(f"expected an object, found {quote(repr(entry), 40)}", path, line)
        names: list[tuple[str, ...]] = [(name,) for name in data.columns]
        names = names or [_DESCRIPTIONS, _CODES]
        fields = tuple(
            _field(entry, each, what, path, line) for each, what in zip(names, COLUMNS, strict=True)
        )
        group = entry.get(data.group, "") if data.group else ""
        yield Row(fields, line, group=str(group))
        n += 1
    if not n:
        raise DataError("the file has no rows", path)


def _field(entry: Mapping[str, Any], names: Sequence[str], what: str, path: Path, line: int) -> str:
    """The text under the first of these names that is not null."""
    for name in names:
        value = entry.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            raise DataError(f"expected a text, found {quote(repr(value), 40)}", path, line, name)
    if any(name in entry for name in names):
        return ""
    expected = f"expected one of {listed(names)}"
    raise DataError(
        f"no {what}: {expected}; the keys are {listed(sorted(map(str, entry)))}; choose two with "
        "--columns",
        path,
        line,
    )


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file with their line, or their number in a list."""
    lines = iter(read_lines(path))
    pending: list[str] = []
    size = 0
    for line in lines:
        if not pending and not line.text.strip():
            continue
        if not pending and not line.text.lstrip().startswith("["):
            yield line.number, _parsed_json(path, line.text, line.number)
            continue
        size += len(line.text)
        if size > _MOST_BYTES:
            raise DataError(f"larger than {_MOST_BYTES:,} bytes", path)
        pending.append(line.text)
    if pending:
        yield from enumerate(_parsed_json(path, "\n".join(pending), None), start=1)


def _parsed_json(path: Path, text: str, line: int | None) -> Any:
    try:
        return documents.parse_json(path, text)
    except documents.DocumentError as error:
        raise DataError(error.problem, path, line) from None


def _parsed(rows: list[Row], data: CodeData, path: str, notes: list[str] | None) -> list[Row]:
    """The rows, without those whose code does not parse if they are to be skipped."""
    bad: dict[int, str] = {}
    for index, row in enumerate(rows):
        description, code, *_ = row.texts
        if description and code.strip() and (found := problem(code, data.language)):
            bad[index] = found
    if not bad:
        return rows
    first, why = next(iter(bad.items()))
    line = rows[first].line
    if data.unparsable == "refuse":
        raise DataError(
            f"the code does not parse as {data.language}: {why}; correct it, or set data.unparsable to "
            "'keep' or 'skip'",
            path,
            line,
            COLUMNS[1],
        )
    if notes is not None:
        have = "has" if len(bad) == 1 else "have"
        done = "left out" if data.unparsable == "skip" else "kept"
        notes.append(
            f"train: {len(bad):,} of {count_of(len(rows), 'row')} {have} code that does not parse as "
            f"{data.language}, {done} (data.unparsable); the first one is line {line}: {why}"
        )
    if data.unparsable == "keep":
        return rows
    return [row for index, row in enumerate(rows) if index not in bad]


def _is_full(fields: Sequence[Field]) -> bool:
    return bool(str(fields[0]).strip() and str(fields[1]).strip())


def _linked(fields: Sequence[Field]) -> Sequence[Field]:
    return fields[:2]


READING = Reading(is_full=_is_full, linked=_linked, read=read)
"""How rows are read."""
