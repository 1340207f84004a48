"""The usual white space between two tokens of a line: one blank or none.

Tokens are compared by their sort: "w" a word, "k" a keyword of Python, "0" a number, "_" underscores, "q"
a quotation mark, "'s" the end of a contraction, "\\\\" an escaped letter, "u" a sign of another script;
any other token is its own sort. What is usual was counted in commands, in Python's standard library and
in English descriptions; a wrong guess costs one mark and loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


def _sorts(written: str) -> frozenset[str]:
    return frozenset(written.split())


# Written out, so that tokens do not depend on the version of Python that runs this.
KEYWORDS = _sorts(
    "and as assert async await break class continue def del elif else except finally for from global if "
    "import in is lambda nonlocal not or pass raise return try while with yield"
)
QUOTES = frozenset(["'", '"', "'''", '"""', "`"])
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
CONTRACTIONS = _sorts("'s 't 're 've 'll 'd 'm")

_IN_NAMES = _sorts("as from is with")  # keywords that more often begin a name before an underscore
_BINARY = _sorts(
    "= + - * / // % ** == != < > <= >= & | ^ @ << >> -> := += -= *= /= //= %= **= &= |= ^= @= >>= <<= "
    "<> ~ ! ? $"
)
_UNARY = _sorts("+ - * ** ~ @ ! / ? $ %")
_ENDS_OPERAND = CLOSING | {"w", "0", "_", "q", "u", "..."}


@lru_cache(1 << 16)
def sort_of(token: str) -> str:
    """The sort of a token, by its first character unless it is known as a whole."""
    if token in KEYWORDS:
        return "k"
    if token in QUOTES:
        return "q"
    if token in CONTRACTIONS:
        return "'s"
    first = token[:1]
    if first.isalpha():
        return "w"
    if first.isdigit():
        return "0"
    if first == "_":
        return "_"
    if first == "\\" and len(token) > 1:
        return "\\\\" if token[1].isalnum() else token
    return "u" if first > "\x7f" else token


def may_touch(before: str, after: str) -> bool:
    """Whether two words can touch without being one: `get` and `Name`, not `a` and `b`."""
    return "A" <= after[:1] <= "Z" and before[-1:].isalpha()


def is_name(before: str, after: str) -> bool:
    """Whether a keyword more often begins a name than it stands before a word: `assertEqual`."""
    return before == "assert" and may_touch(before, after)


@dataclass(frozen=True)
class Spacing:
    """What is usual in one kind of text.

    Args:
        after: sorts that nothing separates from the next token.
        before: sorts that nothing separates from the token before.
        as_before: pairs with a blank between them if there is white space before the first.
        opposite: pairs with a blank between them if there is none.
        blank, none: pairs that are exceptions from `after` and `before`.
    """

    after: frozenset[str]
    before: frozenset[str]
    as_before: frozenset[tuple[str, str]]
    opposite: frozenset[tuple[str, str]]
    blank: frozenset[tuple[str, str]]
    none: frozenset[tuple[str, str]]

    def is_blank(self, before: str, after: str, gapped: bool) -> bool:
        """Whether a blank is usual between two sorts.

        Args:
            before, after: the sorts.
            gapped: whether there is white space before the first.
        """
        before, after = "w" if before == "k" else before, "w" if after == "k" else after
        pair = before, after
        if pair in self.as_before:
            return gapped
        if pair in self.opposite:
            return not gapped
        if pair in self.blank:
            return True
        return not (pair in self.none or before in self.after or after in self.before)


def _pairs(*written: str) -> frozenset[tuple[str, str]]:
    """Pairs, each written as two sorts with a blank between them."""
    found = [pair.split() for pair in written]
    return frozenset((before, after) for before, after in found)


TEXT = Spacing(
    after=OPENING
    | _sorts(r"_ / \ % $ @ # ~ - -- = . .. < * + ^ | // :: ${ $( u \\ \. \* \" \' \( & ! ?"),
    before=CLOSING | _sorts(r"_ , . ; : ! ? / \ = - > * % // u [ + & | \\ 's @ ^ ++"),
    as_before=_pairs("w /", "w *", "= w", "= 0", "/ q", "> w"),
    opposite=_pairs("* w"),
    blank=_pairs("w %", "! w", "? w", "* q", "- -", "| w", "+ w"),
    none=_pairs(),
)
"""Natural language, and code of other languages."""

STRING = Spacing(
    after=OPENING | _sorts(r"_ / \ % $ @ # ~ - -- . .. < * ^ | // :: u \\ \. \* \" \' \( ! & >>="),
    before=CLOSING
    | _sorts(r"_ , . ; : ! ? / \ - > * ( [ // u + & | \\ 's @ ^ ... \. \* \" \' \) #"),
    as_before=_pairs(
        "= w",
        "= 0",
        "= q",
        "= _",
        "0 w",
        "w -",
        "w +",
        "+ w",
        "+ 0",
        "- w",
        "- 0",
        "> w",
        "= [",
        "= (",
        "/ w",
    ),
    opposite=_pairs(),
    blank=_pairs("! w", "& w", "w ...", ", (", ": (", "= {", "-- w", "? w", "% ("),
    none=_pairs("w 0"),
)
"""Strings and comments of Python."""

QUOTED = Spacing(
    after=OPENING
    | _sorts(
        r"_ / \ % $ @ # ~ - . .. < * + : ^ ? // ${ $( u \\ \. \* \" \' \( \) \| \n & ! = , \/ \$"
    ),
    before=CLOSING
    | _sorts(
        r"_ , . ; : ! ? / \ = - > * ( [ // u + & | \\ 's @ ^ ] \. \* \" \' \( \) \| \n # < "
        r"\/ \$ \;"
    ),
    as_before=_pairs("| w", "w -", ", q", "= w", "&& w"),
    opposite=_pairs("* *"),
    blank=_pairs(", $", "+ w", "w {", ": q", "- -"),
    none=_pairs("w 0", "0 w", "0 q", "0 %", "} q"),
)
"""Quoted strings of a shell."""

SHELL = Spacing(
    after=OPENING
    | _sorts(r"_ / \ % $ @ # - -- = . ${ $( * + : ^ ? <( >( , &> >& <& u ~ \. \* \/ [ | < \$"),
    before=CLOSING | _sorts(r"_ / . = , : ; ? % ] @ ^ u & # * \. \/ \*"),
    as_before=_pairs(
        "w /", "w .", "0 /", "w u", "w %", "0 q", "0 %", "w [", "w $", "0 .", "q ~", "w ,", "> /"
    ),
    opposite=_pairs("0 >", r"w \*", "q w", "0 2>"),
    blank=_pairs(
        "w /",
        "/ -",
        ". -",
        "* -",
        "~ -",
        "= -",
        "- -",
        "+ -",
        "w *",
        "| w",
        "/ |",
        ". |",
        "* |",
        "+ |",
        r"+ \;",
        r". \(",
        "w *",
        "w $",
        "~ |",
        r"/ \(",
        ") .",
        "} /",
        "* |",
        ". !",
        "/ !",
        "- |",
        "| (",
        "- q",
        "0 0",
        "q /",
        "q *",
        "} .",
        ". >",
        ". {",
        "/ >",
        "< <(",
    ),
    none=_pairs("0 w"),
)
"""Commands of a shell."""


def ends_operand(sort: str) -> bool:
    """Whether an operator of Python after this sort takes two operands."""
    return sort in _ENDS_OPERAND


def is_unary(token: str, after_operand: bool) -> bool:
    """Whether a sign is an operator of Python with one operand."""
    return token in _UNARY and not after_operand


def in_python(
    before: str,
    after: str,
    *,
    gapped: bool,
    was_unary: bool,
    after_operand: bool,
    bracket: str,
    first: str,
    second: str,
) -> bool:
    """Whether a blank is usual between two sorts of tokens of Python, outside of strings and comments.

    Args:
        before, after: the sorts.
        gapped: whether there is white space before the first.
        was_unary: whether the first is an operator with one operand.
        after_operand: whether the first ends an operand.
        bracket: the innermost open bracket, or "".
        first, second: the tokens.
    """
    if before == "_" or after == "_":
        if {before, after} <= {"_", "w", "0"}:
            return False
        if {before, after} == {"_", "k"}:
            return before == "k" and gapped and first not in _IN_NAMES
    if was_unary or before in OPENING or after in CLOSING or after in (",", ";", ":"):
        return False
    if before == ".":
        return second == "import"
    if after == ".":
        return before == "k"
    if before == ":":
        return bracket != "["
    if before in (",", ";"):
        return True
    if after == "=" and bracket == "(":
        return False
    if before in _BINARY:
        return gapped
    if after in _BINARY:
        return before == "k" or not is_unary(after, after_operand)
    if before == "k" or after in ("k", "#"):
        return True
    if after in OPENING:
        return after == "{"
    return before in ("q", ")", "]", "}")
