"""Predictions and evaluations as HTML for notebooks: escaped, of bounded size, without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from unrolled.quoting import brief
from unrolled.wording import percent

_MOST_CELLS = 60  # rows and columns of a table of weights
_MOST_BARS = 10
_BLUE = "8,81,156"


def weights_table(
    title: str, columns: Sequence[str], rows: Sequence[str], weights: Sequence[Sequence[float]]
) -> str:
    """Weights of 0…1 as a table with coloured cells, under a title.

    >>> weights_table("la", ["the"], ["la"], [[1.0]]).count("<td title=")
    1
    """
    columns, rows = columns[:_MOST_CELLS], rows[:_MOST_CELLS]
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th style='text-align:right'>{_text(name)}</th>"
        + "".join(
            f'<td title="{weight:.3f}" style="background:rgba({_BLUE},{weight:.3f})"></td>'
            for weight in row[: len(columns)]
        )
        + "</tr>"
        for name, row in zip(rows, weights, strict=False)
    )
    return f"<p>{_text(title, 1000)}</p><table><tr><th></th>{head}</tr>{body}</table>"


def bars(shares: Sequence[tuple[str, float]]) -> str:
    """Named shares of 0…1 as bars, the largest first.

    >>> html = bars([("bad", 0.25), ("good", 0.75)])
    >>> html.index("good") < html.index("bad"), "75.0%" in html
    (True, True)
    """
    shown = sorted(shares, key=lambda pair: -pair[1])[:_MOST_BARS]
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th {left}>{_text(name)}</th><td>{percent(share)}</td><td {left}>{_bar(share)}</td></tr>"
        for name, share in shown
    )
    rest = len(shares) - len(shown)
    return f"<table>{rows}</table>" + (
        f"<p>… and {rest:,} less probable labels</p>" if rest else ""
    )


def _bar(share: float) -> str:
    style = f"width:{150 * share:.0f}px;height:0.7em;background:rgba({_BLUE},0.65)"
    return f'<div style="{style}"></div>'


def tagged(pairs: Iterable[tuple[str, str]]) -> str:
    """Words with their tags below them."""
    cells = [(_text(word), _text(tag)) for word, tag in pairs][:_MOST_CELLS]
    words = "".join(f"<td>{word}</td>" for word, _ in cells)
    tags = "".join(f"<th>{tag}</th>" for _, tag in cells)
    return f"<table><tr>{words}</tr><tr>{tags}</tr></table>"


def preformatted(lines: Iterable[str]) -> str:
    """Lines of text in a fixed-width font.

    >>> preformatted(["a<b", "c"])
    '<pre>a&lt;b\\nc</pre>'
    """
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _text(text: str, limit: int = 60) -> str:
    return escape(brief(text, limit))
