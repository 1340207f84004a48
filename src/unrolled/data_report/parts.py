"""What all reports of `unrolled data` say about the parts: how rows add up, and what parts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.metrics.display import aligned
from unrolled.quoting import brief, quote
from unrolled.text.rows import Row
from unrolled.text.splits import Splits, same_text
from unrolled.training.data_notes import few_rows, repeated
from unrolled.wording import count_of, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

PARTS = ("train", "valid", "test")
HELD_OUT = ("valid", "test")

Counts = Mapping[str, Mapping[str, int]]
"""A number by name and part."""


def facts_of_rows(
    unit: str,
    linked: str,
    sizes: Mapping[str, int],
    n_too_long: Mapping[str, int],
    splits: Splits,
    data: Any,
) -> list[tuple[str, str]]:
    """How the rows that were read add up, and which are left out.

    Args:
        unit: what a row is, "row" or "sentence".
        linked: what is never in two parts, e.g. "text".
        sizes: rows by part, before those that are too long are left out.
        n_too_long: rows by part that are left out because they are too long.
        splits: the parts.
        data: the `[data]` section.
    """
    used = {part: sizes[part] - n_too_long.get(part, 0) for part in PARTS}
    n_repeated = Counter(row.part for row in splits.duplicates)
    left_out = {
        "with an empty field": {"train": splits.n_empty},
        "repeated": dict(n_repeated),
        "too long": dict(n_too_long),
    }
    n_out = sum(sum(counts.values()) for counts in left_out.values())
    terms = [f"{used[part]:,} {part}" for part in PARTS if used[part] or part in sizes]
    text = f"{sum(used.values()) + n_out:,} read = {' + '.join(terms)}"
    if n_out:
        text += f" + {n_out:,} left out"
    if splits.cut:
        text += f"; {' and '.join(splits.cut)} split off train, with no {linked} in two parts"
    facts = [(f"{unit}s", text)]
    reasons = [
        f"{sum(counts.values()):,} {why}{_where(counts)}"
        for why, counts in left_out.items()
        if sum(counts.values())
    ]
    if reasons:
        facts.append(("left out", ", ".join(reasons)))
    if splits.duplicates:
        facts.append(("", repeated(splits.duplicates, unit)))
    return facts + [("too few", note) for note in few_rows(used, data, unit)]


def _where(counts: Mapping[str, int]) -> str:
    """The parts of rows that are left out, if they are not only of the training part."""
    places = [f"{counts[part]:,} of {part}" for part in PARTS if counts.get(part)]
    return f" ({', '.join(places)})" if counts.keys() - {"train"} else ""


def facts_of_groups(splits: Splits, column: str, unit: str) -> list[tuple[str, str]]:
    """The number of groups by part, and of those in two parts; nothing without `data.group`."""
    if not column:
        return []
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    groups = {
        part: {same_text(row.group) for row in rows if row.group.strip()}
        for part, rows in parts.items()
    }
    counts = ", ".join(f"{len(names):,} in {part}" for part, names in groups.items())
    shared = [f"{n:,} of {part}" for part in HELD_OUT if (n := len(groups[part] & groups["train"]))]
    where = f"{' and '.join(shared)} also in train" if shared else "none of train in another part"
    n_alone = sum(not row.group.strip() for rows in parts.values() for row in rows)
    alone = f"; {count_of(n_alone, unit)} without a value, each on its own" if n_alone else ""
    return [("groups", f"{quote(column)}: {counts}; {where}{alone}")]


def count_shared(
    names: Sequence[str], parts: Mapping[str, Sequence[Row]], whole: str
) -> dict[str, dict[str, int]]:
    """The number of rows of other parts with a text that also occurs in training, by side.

    Args:
        names: names of the text columns.
        parts: rows by part.
        whole: name for all texts together; used if there are several.
    """
    counts: dict[str, dict[str, int]] = {}
    sides: list[tuple[str, Sequence[int]]] = [(name, [i]) for i, name in enumerate(names)]
    if len(names) > 1:
        sides.append((whole, range(len(names))))
    keys = {
        part: [tuple(map(same_text, row.fields[: len(names)])) for row in rows]
        for part, rows in parts.items()
    }
    for name, chosen in sides:
        seen = {tuple(key[i] for i in chosen) for key in keys["train"]}
        counts[name] = {
            part: sum(tuple(key[i] for i in chosen) in seen for key in keys[part])
            for part in HELD_OUT
        }
    return counts


def shared_table(shared: Counts, sizes: Mapping[str, int]) -> Table | None:
    """The rows of other parts whose texts also occur in training; None if there are none."""
    if not any(n for counts in shared.values() for n in counts.values()):
        return None
    table = parts_table("text also in train", HELD_OUT)
    for name, counts in shared.items():
        cells = [
            f"{counts[part]:,} ({percent(counts[part] / max(1, sizes[part]))})" for part in HELD_OUT
        ]
        table.add_row(_text(name), *cells)
    return table


def unknown_table(columns: Mapping[str, Mapping[str, float]]) -> Table | None:
    """The share of unknown tokens by column and part; None if there are none anywhere."""
    if not any(share for shares in columns.values() for share in shares.values()):
        return None
    table = parts_table("unknown tokens in", PARTS)
    for name, shares in columns.items():
        cells = [percent(shares[part]) if part in shares else "–" for part in PARTS]
        table.add_row(_text(name), *cells)
    return table


def parts_table(heading: str, columns: Sequence[str]) -> Table:
    """An empty table whose columns after the first hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(heading, style="cyan", overflow="fold", min_width=min(len(heading), 20))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


@dataclass(frozen=True)
class Fitting:
    """A table that a narrow terminal shows as several ones below each other, so that no number is cut.

    Args:
        table: the table, whose first column names the rows.
    """

    table: Table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """What rich prints."""
        from rich.text import Text

        width = options.max_width
        whole = options.update(max_width=_WIDEST)
        if width >= _NARROW or console.measure(self.table, options=whole).maximum <= width:
            yield self.table
            return
        columns = [[each.header, *each.cells] for each in self.table.columns]
        rows = [list(map(str, row)) for row in zip(*columns, strict=True)]
        yield Text("\n".join((*aligned(rows, width), "")))


_NARROW, _WIDEST = 60, 1000  # cells of a terminal


def _text(name: str) -> Any:
    from rich.text import Text

    return Text(brief(name))
