"""The usual white space between two tokens of a line: one blank or none.

Tokens are compared by their sort: "w" a word, "k" a keyword of Python, "0" a number, "_" underscores, "q" a quotation
mark, "u" a sign of another script; any other token is its own sort.
"""

from __future__ import annotations

from functools import lru_cache

# Written out, so that tokens do not depend on the version of Python that runs this.
KEYWORDS = frozenset(
    ["and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield"]
)
QUOTES = frozenset(["'", '"', "'''", '"""', "`"])
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")

_BINARY = frozenset(
    ["=", "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">", "<=", ">=", "&", "|", "^", "@", "<<", ">>", "->", ":=", "+=", "-=", "*=", "/=", "//=", "%=", "**=", "&=", "|=", "^=", "@=", ">>=", "<<=", "<>", "~", "!"]
)
_OPERANDS_END = CLOSING | {"w", "0", "_", "q", "u", "..."}
_UNARY = frozenset(["+", "-", "*", "**", "~", "@", "!", "/"])


@lru_cache(1 << 16)
def sort_of(token: str) -> str:
    """The sort of a token, by its first character unless it is known as a whole."""
    if token in KEYWORDS:
        return "k"
    if token in QUOTES:
        return "q"
    first = token[:1]
    if first.isalpha():
        return "w"
    if first.isdigit():
        return "0"
    if first == "_":
        return "_"
    return "u" if first > "\x7f" else token


def may_touch(before: str, after: str) -> bool:
    """Whether two words can stand next to each other without being one: `get` and `Name`, not `a` and `b`."""
    return "A" <= after[:1] <= "Z" and before[-1:].isalpha()


# Text in strings and comments, and natural language.

_AFTER_NOTHING = OPENING | frozenset(
    ["_", "/", "\\", "%", "$", "@", "#", "~", "-", "--", "=", ".", "..", "<", "&", "*", "^", "|", "//", "\\\\", "::", "${", "$(", "u"]
)
_BEFORE_NOTHING = CLOSING | frozenset(["_", ",", ".", ";", ":", "!", "?", "/", "\\", "=", "-", ">", "*", ")", "%", "//", "...", "u", "(", "[", "+", "&", "|"])
_IN_TEXT = {
    (".", "w"): True,
    ("w", "("): True,
    (",", "k"): True,
    ("w", "%"): True,
    ("k", "%"): True,
    ("w", "0"): True,
}


def in_text(before: str, after: str) -> bool:
    """Whether a blank is usual between two sorts of tokens of a string, a comment or a sentence."""
    before = "w" if before == "k" else before
    after = "w" if after == "k" else after
    known = _IN_TEXT.get((before, after))
    if known is not None:
        return known
    return not (
        before in _AFTER_NOTHING
        or after in _BEFORE_NOTHING
        or before[0] == "\\"
        or after[0] == "\\"
    )


# Commands of a shell.

_BASH_AFTER = OPENING | frozenset(
    ["_", "/", "\\", "%", "$", "@", "#", "~", "-", "--", "=", ".", "${", "$(", "!", "*", "+", ":", "^", "?", "<(", ">(", ",", "&>", ">&", "<&", "u"]
)
_BASH_BEFORE = CLOSING | frozenset(["_", "/", ".", "=", ",", ":", ";", "*", "+", "?", "%", "]", "[", "@", "^", "u", "--", "~", "#", "&"])
_IN_BASH = {
    ("w", "0"): False,
    ("0", "w"): False,
    ("w", "--"): True,
    ("0", "--"): True,
    ("q", "--"): True,
    ("w", "-"): True,
    ("0", "-"): True,
    ("q", "-"): True,
    ("w", "/"): False,
}


def in_bash(before: str, after: str) -> bool:
    """Whether a blank is usual between two sorts of tokens of a command, outside of quotation marks."""
    before = "w" if before == "k" else before
    after = "w" if after == "k" else after
    known = _IN_BASH.get((before, after))
    if known is not None:
        return known
    return not (before in _BASH_AFTER or after in _BASH_BEFORE)


# Python outside of strings and comments.


def ends_operand(sort: str, token: str) -> bool:
    """Whether an operator after this token takes two operands."""
    return sort in _OPERANDS_END


def is_unary(token: str, after_operand: bool) -> bool:
    """Whether a sign is an operator with one operand."""
    return token in _UNARY and not after_operand


def in_python(
    before: str, after: str, *, was_unary: bool, after_operand: bool, bracket: str, word: str
) -> bool:
    """Whether a blank is usual between two sorts of tokens of Python, outside of strings and comments.

    Args:
        before, after: the sorts.
        was_unary: whether the first is an operator with one operand.
        after_operand: whether the first ends an operand.
        bracket: the innermost open bracket, or "".
        word: the second token.
    """
    if "_" in (before, after) and {before, after} <= {"_", "w", "k", "0"}:
        return False
    if was_unary or before in OPENING or after in CLOSING or after in (",", ";", ":"):
        return False
    if before == ".":
        return after == "k" and word == "import"
    if after == ".":
        return before == "k"
    if before == ":":
        return bracket != "["
    if "=" in (before, after):
        return bracket != "("
    if before in (",", ";", "#") or after == "#":
        return True
    if before in _BINARY:
        return True
    if after in _BINARY:
        return not (is_unary(after, after_operand) and before not in ("k",)) or before == "k"
    if before == "k" or after == "k":
        return True
    if after in OPENING:
        return after == "{"
    if before == "w" and after == "q":
        return False
    return before in ("q", ")", "]", "}")
