"""The text that tokens stand for: what is usual is added, and marks say where something else stands.

The same state decides while text is split and while tokens are joined, so that both agree on what is usual after any
sequence of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.code import spacing
from unrolled.code.lexer import Language
from unrolled.code.marks import DEDENT, INDENT, JOIN, LINE_ENDS, MARKS, RESET, SPACE, SPACED
from unrolled.code.spacing import CLOSING, OPENING, sort_of

UNIT = "    "
_MARKS = frozenset(MARKS)


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
        self.parts: list[str] = []
        self.levels: list[str] = []
        self._brackets: list[_Bracket] = []
        self._quote = ""  # of the open string; "#" in a comment
        self._spaced = False
        self._before = ""  # the last token of the line, with its sort
        self._sort = ""
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
    def is_at_start(self) -> bool:
        """Whether nothing but white space has been written."""
        return not self._before

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
            return " " if self._is_spaced(token) else ""
        return "".join([*self._gap, self.indentation(token) if self._at_line_start else ""])

    def write(self, token: str) -> None:
        """Write a token or take note of a mark."""
        if token in _MARKS:
            self._mark(token)
        elif token.isspace():
            self._space(token)
        elif token:
            self._write(token)

    def text(self) -> str:
        """All text written."""
        return "".join([*self.parts, *(self._gap or ())])

    def _mark(self, mark: str) -> None:
        if mark in LINE_ENDS:
            self._give(LINE_ENDS[mark])
            self._at_line_start = True
            if self._quote not in ("'''", '"""') and (
                self.language == "python" or self._quote == "#"
            ):
                self._quote = ""
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
            self.levels, self._brackets, self._quote, self._spaced = [], [], "", False

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

    def _write(self, token: str) -> None:
        gap = self.gap(token)
        starts = self.is_at_start or "\n" in gap
        self.parts += (gap, token)
        if starts:
            self._line = gap.rpartition("\n")[2]
            self._column = len(self._line)
            if self._brackets and token not in CLOSING:
                self._brackets[-1].inner = self._line
        else:
            self._column += len(gap)
        self._column += len(token)
        self._gap, self._at_line_start = None, False
        self._advance(token, starts)

    def _advance(self, token: str, starts_line: bool) -> None:
        """Take note of what a token opens and closes, and of what may follow it."""
        sort = sort_of(token)
        opens = False
        if self._quote:
            if token == self._quote:
                self._quote = ""
        elif sort == "q" and token != "`" and self.language != "text":
            self._quote, opens = token, True
        elif token == "#" and (self.language == "python" or starts_line):
            self._quote = "#"
        elif token in OPENING:
            self._brackets.append(_Bracket(token, self._column, self._line))
        elif token in CLOSING and self._brackets:
            self._brackets.pop()
        after_operand = self._operand and not starts_line
        self._unary = not self._quote and spacing.is_unary(token, after_operand)
        self._operand = not self._quote and spacing.ends_operand(sort, token)
        self._before, self._sort = token, "(" if opens else sort

    def _is_spaced(self, token: str) -> bool:
        """Whether one blank is usual before this token of the same line."""
        before, sort = self._sort, sort_of(token)
        if self._quote:
            if token == self._quote or (before == "(" and self._before == self._quote):
                return False
            return spacing.in_text(before, sort)
        words = ("w", "k")
        if self._spaced:
            if "_" in (before, sort):
                return not {before, sort} <= {"_", "w", "k", "0"}
            if before in ("w", "0") and sort in ("w", "0"):
                return before == sort == "w" and not spacing.may_touch(self._before, token)
            return not (before == "w" and sort == "q") and not (before == "0" and sort == ".")
        if self.language == "python":
            if before == "w" and sort == "w":
                return not spacing.may_touch(self._before, token)
            return spacing.in_python(
                before,
                sort,
                was_unary=self._unary,
                after_operand=self._operand,
                bracket=self._brackets[-1].sign if self._brackets else "",
                word=token,
            )
        if before in words and sort in words:
            return True
        if self.language == "bash":
            return spacing.in_bash(before, sort)
        return spacing.in_text(before, sort)
