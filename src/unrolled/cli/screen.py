"""Lines for a terminal, wrapped to its width, and lines of key=value pairs for a log."""

from __future__ import annotations

import locale
import re
import sys
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from unrolled.quoting import escape, one_message, shell_command
from unrolled.wording import wrapped

SEPARATOR = " · "

_ASCII = str.maketrans(
    {"·": "|", "…": "...", "★": "*", "→": ">", "░": ".", "▒": ":", "▓": "*", "█": "#"}
)
_BARE = re.compile(r"""[^\s"'\\=`$]+""")
_QUOTED = re.compile(r'["\\]')


class TerminalConsole(Console):
    """A console that knows the encoding of the terminal, as our output streams always write UTF-8."""

    @property
    def encoding(self) -> str:
        """The encoding of the locale."""
        return "utf-8" if sys.platform == "win32" else locale.getencoding().lower()


def default_console() -> Console:
    """Standard output; it is a terminal only if the stream is one, whatever the environment says."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return TerminalConsole(force_terminal=is_terminal, highlight=False, emoji=False, markup=False)


def is_living(console: Console) -> bool:
    """Whether a line can be replaced on the console: it is a terminal, and can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


def shown(text: str, console: Console) -> str:
    """Replace our symbols by ASCII characters if the terminal cannot show them."""
    return text if console.encoding.startswith("utf") else text.translate(_ASCII)


def print_parts(console: Console, parts: Sequence[str]) -> None:
    """Print parts in lines of the terminal's width, broken between parts where possible."""
    for line in joined(parts, console.width):
        print_text(console, line)


def joined(parts: Sequence[str], width: int) -> list[str]:
    """Join parts by a separator in as few lines as possible.

    >>> joined(["rows: train 90, valid 5", "211 words", "cpu"], 40)
    ['rows: train 90, valid 5 · 211 words', 'cpu']
    """
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{SEPARATOR}{part}" if lines else part
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def fitting(parts: Sequence[str], width: int) -> str:
    """Join as many of the first parts as fit into one line.

    >>> fitting(["step 7", "epoch 1", "12,345 tokens/s"], 20)
    'step 7 · epoch 1'
    """
    chosen = list(parts)
    while len(chosen) > 1 and cell_len(SEPARATOR.join(chosen)) > width:
        chosen.pop()
    return SEPARATOR.join(chosen)


def print_text(console: Console, text: str, prefix: str = "") -> None:
    """Print a text, wrapped between words, with a hanging indent below its prefix."""
    safe = shown(one_message(text), console)
    indent = cell_len(prefix) if cell_len(prefix) < console.width // 2 else 0
    head = prefix
    for line in wrapped(safe, max(1, console.width - indent)):
        console.print(Text(f"{head}{line}"), markup=False, soft_wrap=True)
        head = " " * indent


def print_command(console: Console, command: str, prefix: str = "") -> None:
    """Print a command on one line, however long, so that it can be copied."""
    console.print(Text(f"{prefix}{escape(command)}"), markup=False, soft_wrap=True)


def command_for(template: str, run: object) -> str:
    """A command with the folder of a run, quoted for the shell.

    >>> command_for("predict {run} -", "my runs/a")
    "unrolled predict 'my runs/a' -"
    """
    return f"unrolled {template.format(run=shell_command(run))}"


def key_values(event: str, values: Mapping[str, object]) -> str:
    r"""One line of a log. Values with blanks, quotes or `=` are quoted; `shlex.split` splits the line.

    >>> print(key_values("step", {"step": 1500, "loss": 1.25, "note": 'a "b"', "left": None}))
    event=step step=1500 loss=1.25 note="a \"b\""
    >>> import shlex
    >>> shlex.split(r'event=note text="a \"b\" $c"')
    ['event=note', 'text=a "b" $c']
    """
    written = (f"{key}={_value(value)}" for key, value in values.items() if value is not None)
    return " ".join((f"event={event}", *written))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = one_message(str(value))
    return text if _BARE.fullmatch(text) else '"' + _QUOTED.sub(r"\\\g<0>", text) + '"'


_LONGEST_SHOWN = 100 * 365.25 * 86_400


def duration(seconds: float) -> str:
    """Format seconds for people.

    >>> duration(7), duration(252.4), duration(3725), duration(float("inf"))
    ('7 s', '4:12', '1:02:05', 'over 100 years')
    """
    if not seconds < _LONGEST_SHOWN:  # limits may be as large as a float can be
        return "over 100 years"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def clock(seconds: float) -> str:
    """Format seconds for a column.

    >>> clock(7), clock(252.4), clock(3725)
    ('0:07', '4:12', '1:02:05')
    """
    text = duration(seconds)
    return f"0:{round(seconds):02}" if text.endswith(" s") else text


def loss(value: float) -> str:
    """Format a loss.

    >>> loss(1.25), loss(348319.4), loss(float("nan"))
    ('1.250', '3.48e+05', 'nan')
    """
    return f"{value:.3f}" if not value >= 10_000 else f"{value:.3g}"


def score(value: float) -> str:
    """Format a score.

    >>> score(93.4), score(348319.4)
    ('93.40', '3.48e+05')
    """
    return f"{value:.2f}" if not value >= 100_000 else f"{value:.3g}"
