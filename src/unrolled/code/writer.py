"""The text that tokens stand for: what is usual is added, and marks say where something else stands.

The same state decides while text is split and while tokens are joined, so that both agree on what is
usual after any sequence of tokens.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from unrolled.code import spacing
from unrolled.code.lexer import Language
from unrolled.code.marks import DEDENT, INDENT, JOIN, LINE_ENDS, MARKS, RESET, SPACE, SPACED
from unrolled.code.spacing import CLOSING, OPENING, QUOTED, SHELL, STRING, TEXT, sort_of

UNIT = "    "
_MARKS = frozenset(MARKS)
_TEXTS = {"python": STRING, "bash": QUOTED, "text": TEXT}


@dataclass
class _Bracket:
    """An open bracket."""

    sign: str
    column: int  # after it
    line: str  # the indentation of its line
    inner: str | None = None  # the indentation of the last line that began inside it


class Writer:
    """Writes tokens one after another.

    Args:
        language: the language, which determines what is usual.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self.levels: list[str] = []
        self._brackets: list[_Bracket] = []
        self._quote = ""  # of the open string; "#" in a comment
        self._inner = ""  # of an open quotation inside it, or in natural language
        self._spaced = False
        self._before = ""  # the last token of the line, with its sort
        self._sort = ""
        self._gapped = False  # whether white space stands before it
        self._after_sign = ""  # the token before it if they touch
        self._operand = False  # whether it ends an operand
        self._unary = False
        self._gap: list[str] | None = None  # given by marks since the last token
        self._at_line_start = True  # whether indentation is still to be added
        self._column = 0
        self._line = ""  # the indentation of the line

    @property
    def in_blocks(self) -> bool:
        """Whether a line that begins here may open or close a level of indentation."""
        if self._quote in ("'''", '"""') or (self._quote and self.language != "python"):
            return False
        return not (self._brackets and self.language == "python")

    @property
    def quote(self) -> str:
        """The quotation mark of the open string, "#" in a comment; "" for none."""
        return self._quote

    @property
    def is_at_start(self) -> bool:
        """Whether nothing but white space has been written."""
        return not self._before

    @property
    def is_closed(self) -> bool:
        """Whether nothing is open: no level, bracket, string or comment."""
        return not (self.levels or self._brackets or self._quote or self._inner or self._spaced)

    @property
    def unit(self) -> str:
        """What one level adds to the indentation."""
        return self.levels[0] if self.levels else UNIT

    def indentation(self, token: str) -> str:
        """The usual indentation of a line that begins with this token."""
        top = self.levels[-1] if self.levels else ""
        if self.language != "python" or not self._brackets or self._quote in ("'''", '"""'):
            return top
        bracket = self._brackets[-1]
        if token in CLOSING and (
            bracket.inner is None or self._before in OPENING or self._before == ","
        ):
            return bracket.line
        if bracket.inner is not None:
            return bracket.inner
        return bracket.line + UNIT if self._before in OPENING else " " * bracket.column

    def gap(self, token: str) -> str:
        """The white space that will stand before this token if it is written now."""
        if self._gap is None:
            if self._at_line_start:
                return self.indentation(token)
            if token == "#" and self.language == "python" and not (self._quote or self._spaced):
                return "  "  # before a comment
            return " " if self._is_spaced(token) else ""
        return "".join([*self._gap, self.indentation(token) if self._at_line_start else ""])

    def write(self, token: str) -> str:
        """Write a token or take note of a mark; return the text that this adds."""
        if token in _MARKS:
            self._mark(token)
        elif token.isspace():
            self._space(token)
        elif token:
            return self._write(token)
        return ""

    def rest(self) -> str:
        """The white space given since the last token."""
        return "".join(self._gap or ())

    def copy(self) -> Writer:
        """An independent writer in the same state."""
        other = copy.copy(self)
        other.levels = list(self.levels)
        other._brackets = [replace(bracket) for bracket in self._brackets]
        other._gap = None if self._gap is None else list(self._gap)
        return other

    def _mark(self, mark: str) -> None:
        if mark in LINE_ENDS:
            self._give(LINE_ENDS[mark])
            self._at_line_start = True
            if self._quote not in ("'''", '"""') and (
                self.language == "python" or self._quote == "#"
            ):
                self._quote = self._inner = ""
        elif mark == SPACE:
            self._space(" ")
        elif mark == JOIN:
            self._space("")
        elif mark == INDENT:
            self._indent()
        elif mark == DEDENT:
            if self.levels:
                self.levels.pop()
        elif mark == SPACED:
            self._spaced = True
        elif mark == RESET:
            self.levels, self._brackets, self._quote, self._inner = [], [], "", ""
            self._spaced = False

    def _space(self, white: str) -> None:
        self._give(white)
        self._at_line_start = False

    def _give(self, white: str) -> None:
        self._gap = [] if self._gap is None else self._gap
        self._gap.append(white)

    def _indent(self) -> None:
        """Open a level: the white space that the line begins with if there is any, else one unit more."""
        given = "" if self._at_line_start else "".join(self._gap or ()).rpartition("\n")[2]
        top = self.levels[-1] if self.levels else ""
        self.levels.append(given if given else top + self.unit)

    def _write(self, token: str) -> str:
        gap = self.gap(token)
        starts = self.is_at_start or "\n" in gap
        if starts:
            self._line = gap.rpartition("\n")[2]
            self._column = len(self._line)
            if self._brackets and token not in CLOSING:
                self._brackets[-1].inner = self._line
        else:
            self._column += len(gap)
        self._column += len(token)
        self._gap, self._at_line_start = None, False
        self._advance(token, gap, starts)
        return gap + token

    def _advance(self, token: str, gap: str, starts_line: bool) -> None:
        """Take note of what a token opens and closes, and of what may follow it."""
        sort = sort_of(token)
        gapped = bool(gap) or starts_line
        after_operand = self._operand and not starts_line
        if self._quote:
            sort = self._in_string(token, sort, gapped)
        elif sort == "q" and token != "`" and self.language != "text":
            self._quote, self._inner, sort = token, "", "("
        elif token == "#" and (self.language == "python" or starts_line):
            self._quote, self._inner = "#", ""
        elif sort == "q":
            sort = self._nested(token, gapped)
        elif token in OPENING:
            self._brackets.append(_Bracket(token, self._column, self._line))
        elif token in CLOSING and self._brackets:
            self._brackets.pop()
        self._unary = spacing.is_unary(token, after_operand)
        self._operand = spacing.ends_operand(sort)
        self._after_sign = "" if gapped else self._before
        self._before, self._sort, self._gapped = token, sort, gapped

    def _in_string(self, token: str, sort: str, gapped: bool) -> str:
        """The sort of a token of a string or comment."""
        if token == self._quote and token != "#":
            self._quote = self._inner = ""
            return "q"
        return self._nested(token, gapped) if sort == "q" else sort

    def _nested(self, quote: str, gapped: bool) -> str:
        """The sort of a quotation mark that is no border of a string: a bracket if it opens."""
        if self._inner == quote:
            self._inner = ""
            return "q"
        if self._inner or not (
            gapped or self._sort in OPENING or self._sort not in ("w", "0", "k", "_", "q")
        ):
            return "q"
        self._inner = quote
        return "("

    def _is_spaced(self, token: str) -> bool:
        """Whether one blank is usual before this token of the same line."""
        before, sort = self._sort, sort_of(token)
        if sort == "q" and token in (self._quote, self._inner):
            return False
        if self._quote:
            return self._in_words(token, sort)
        if self._spaced:
            return self._is_apart(token, sort)
        if self.language == "text":
            return self._in_words(token, sort)
        if self.language == "bash":
            if before == "w" and (sort == "0" or self._after_sign in ("-", "--")) and sort in "0/.":
                return self._after_sign in ("-", "--") and self._before != "print"  # `-print0`
            return SHELL.is_blank(before, sort, self._gapped)
        if (before == "w" and sort == "w") or spacing.is_name(self._before, token):
            return False  # parts of one name
        return spacing.in_python(
            before,
            sort,
            gapped=self._gapped,
            was_unary=self._unary,
            after_operand=self._operand,
            bracket=self._brackets[-1].sign if self._brackets else "",
            first=self._before,
            second=token,
        )

    def _in_words(self, token: str, sort: str) -> bool:
        """Whether a blank is usual in a string, a comment or natural language."""
        if self._quote == "#" and self._before == "#":
            return True
        if self._before == "." and sort in ("w", "k"):
            return token[:1].isupper() and self.language != "bash"
        return _TEXTS[self.language].is_blank(self._sort, sort, self._gapped)

    def _is_apart(self, token: str, sort: str) -> bool:
        """Whether a blank is usual where all tokens of code are apart, except for the parts of one."""
        before = self._sort
        if "_" in (before, sort):
            return not {before, sort} <= {"_", "w", "k", "0"}
        if spacing.is_name(self._before, token):
            return False
        if before in ("w", "0") and sort in ("w", "0"):
            return before == sort == "w" and not spacing.may_touch(self._before, token)
        return not (before == "w" and sort == "q") and not (
            "0" in (before, sort) and "." in (before, sort)
        )
