"""HTML pages: one shell, parts that pages share, and templates that escape every value by themselves.

The pages are jinja2 templates in `templates/`, with autoescape on. A builder of elements in Python would
escape as well; templates are files that editors check as HTML and that show a page in reading order, and
jinja2 is there wherever torch is. `shell.html` holds what every page has (head, style, title, footer) and
`parts.html` what several pages draw: tables, bars, intervals, heat maps, weighted words.

Whatever their texts hold, pages are safe because every value passes `_printable` and autoescape, because
attributes are in quotation marks, and because no template has a script or marks a text as safe. The
content security policy in the shell forbids scripts, and whatever is not in the file, once more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from unrolled.quoting import shorten
from unrolled.system import package_version

_TEMPLATES = Path(__file__).with_name("templates")

# Control characters and halves of surrogate pairs, which HTML cannot hold; tabs and line feeds it can.
_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class HeatmapCell:
    """A cell of a heat map.

    Args:
        weight: how strong the colour is, 0…1.
        title: shown when the pointer rests on the cell.
        text: in the cell.
        kind: CSS classes; "correct" is blue, "error" orange, "weight" blue up to full strength.
    """

    weight: float
    title: str
    text: str = ""
    kind: str = "weight"


@dataclass(frozen=True)
class HeatmapRow:
    """A row of a heat map, named on the left.

    Args:
        name: of the row.
        cells: one for each column.
    """

    name: str
    cells: Sequence[HeatmapCell]


def render(template: str, *, title: str, command: str = "", **values: Any) -> str:
    """Fill in a page's template.

    Args:
        template: the name of a file in `templates/` that extends `shell.html`.
        title: heading of the page and of its window.
        command: that made the page, for the footer; empty if there was none.
        values: what else the template names.

    Returns:
        One HTML page that needs no other file and no network. Characters that HTML cannot hold are
        replaced by U+FFFD.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    page = _environment().get_template(template)
    return page.render(title=title, command=command, version=package_version(), **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": format, "shorten": shorten}
    return environment


def _printable(value: Any) -> Any:
    """A value without characters that HTML cannot hold; what a macro has rendered has none any more."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NOT_IN_HTML.sub("\ufffd", value)
    return value
