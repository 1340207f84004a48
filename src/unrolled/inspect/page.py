"""HTML pages: one shell, shared parts, and templates that escape every value automatically.

The pages are jinja2 templates in `templates/`, with autoescape on. Building elements in Python would
escape values, too, but editors check templates as HTML, templates show a page in reading order, and
jinja2 is always installed with torch. `shell.html` contains what every page has (head, style, title,
footer) and `parts.html` what several pages draw: tables, bars, intervals, heat maps, weighted words.

Pages are safe regardless of the texts in them: every value passes `_printable` and autoescape, attributes
are in quotation marks, and no template contains a script or marks a text as safe. In addition, the
content security policy in the shell forbids everything that is not in the file, and all scripts but the
one of this package that a page may have (`Script`), whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
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
from unrolled.wording import percent, with_minus

_TEMPLATES = Path(__file__).with_name("templates")

# Control characters and halves of surrogate pairs, which HTML cannot contain, unlike tabs and line feeds.
_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class HeatmapCell:
    """A cell of a heat map.

    Args:
        weight: strength of the colour, 0…1.
        title: tooltip of the cell.
        text: text in the cell.
        kind: CSS classes; "correct" is blue, "error" orange, "weight" blue up to full strength.
        note: smaller text below it.
    """

    weight: float
    title: str
    text: str = ""
    kind: str = "weight"
    note: str = ""


@dataclass(frozen=True)
class HeatmapRow:
    """A row of a heat map, with its name on the left.

    Args:
        name: name of the row.
        cells: one cell per column.
    """

    name: str
    cells: Sequence[HeatmapCell]


@dataclass(frozen=True)
class Script:
    """The script of a page, which its content security policy allows by its hash.

    Args:
        source: the text of a file of this package, never of data.
        sha256: its hash in base64.
    """

    source: Markup
    sha256: str

    @classmethod
    def named(cls, name: str) -> Script:
        """The script in a file in `templates/`."""
        source = (_TEMPLATES / name).read_text(encoding="utf-8")
        digest = hashlib.sha256(source.encode("utf-8")).digest()
        return cls(Markup(source), base64.b64encode(digest).decode("ascii"))


def render(template: str, *, title: str, command: str = "", script: str = "", **values: Any) -> str:
    """Render a page from its template.

    Args:
        template: the name of a file in `templates/` that extends `shell.html`.
        title: heading of the page and title of its window.
        command: the command that creates the page, for the footer; empty if there is none.
        script: the name of a script in `templates/`, for the pages that need one.
        values: the other values that the template uses.

    Returns:
        One HTML page that needs no other file and no network. Characters that HTML cannot contain are
        replaced by U+FFFD.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    page = _environment().get_template(template)
    return page.render(
        title=title,
        command=command,
        version=package_version(),
        script=Script.named(script) if script else None,
        **values,
    )


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
    environment.filters |= {
        "number": format,
        "percent": percent,
        "shorten": shorten,
        "signed": _signed,
    }
    return environment


def _signed(value: float) -> str:
    """A number of two decimals with its sign."""
    return with_minus(f"{value:+.2f}")


def _printable(value: Any) -> Any:
    """Replace characters that HTML cannot contain; the output of a macro has none of them left."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NOT_IN_HTML.sub("\ufffd", value)
    return value
