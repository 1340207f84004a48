"""Which tokens may come next in Python code."""

from __future__ import annotations

import sys

import pytest

from unrolled.code import matcher as module
from unrolled.code.marks import DEDENT, INDENT, JOIN, NEWLINE, RESET, SPACED
from unrolled.code.matcher import CodeMatcher, PythonClasses, class_of
from unrolled.code.tokens import split
from unrolled.errors import UnavailableError

pytest.importorskip("llguidance")

PROGRAMS = [
    "x = 1",
    "sorted(my_list, key=lambda x: (x[1], -x[0]), reverse=True)",
    "[getValue(x) for x in rows if x not in seen]",
    "{k: v for k, v in zip(a, b)}",
    "print('a  b\\n', \"c's\", r'\\d+', b'', 0x1, 1e-5, 3.14)",
    "def f(a, *b, c=1, **d): return a if c else (yield)",
    "if x:\n    y()\n    if z:\n        w()\nelse:\n    pass",
    "for i in range(3):\n    for j in i:\n        f(i, j)\ng()",
    "x, *y = a[1:2, ::3]",
    "from . import a as b, c",
    "else:",
    "except ValueError as error:",
    "@property",
    "with open('a') as f, g() as h:",
    "a . b ( c , 'd' ) [ 0 ] . e",
    "raise ValueError ( 'a' ) from None",
    "x = 1; y = 2",
    "assert not a is not b, c",
    "d = {'a': [1, 2],\n     'b': (3,)}",
    '"""text\nof lines"""',
    "async def f(): await g()",
]


def all_tokens() -> list[str]:
    return [token for program in PROGRAMS for token in split(program, "python")]


@pytest.fixture(scope="module")
def classes() -> PythonClasses:
    extra = [RESET, SPACED, JOIN, "if", "in", ")", "]", "}", "lambda", "§"]
    return PythonClasses([*all_tokens(), *extra])


def follow(classes: PythonClasses, tokens: list[str]) -> tuple[CodeMatcher, int]:
    """The matcher after tokens, and how many of them were allowed."""
    matcher = classes.start()
    for place, token in enumerate(tokens):
        if not matcher.allowed()[classes.place(token)]:
            return matcher, place
        matcher = matcher.advance(class_of(token))
    return matcher, len(tokens)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_allowed_token_by_token(classes: PythonClasses, program: str) -> None:
    tokens = split(program, "python")
    matcher, n_allowed = follow(classes, tokens)
    assert tokens[:n_allowed] == tokens
    assert matcher.may_end


@pytest.mark.parametrize(
    ("begin", "allowed", "forbidden"),
    [
        ("", ["x", "if", "(", "@", "'"], [")", "]", ":", "*=", "§"]),
        ("f(", ["x", ")", "*", "'"], ["]", "="]),
        ("f(x", [")", ",", "=", "if", "["], ["]", "}"]),
        ("x = ", ["1", "lambda", "(", "not"], ["=", ")", ":"]),
        ("if x", [":", "in", "."], [")"]),
        ("print('a", ["b", ")", "if", "'", "§"], [NEWLINE]),
        ("for x in", ["y", "("], [":", ")"]),
        ("x = is", ["_", JOIN], ["x", "(", "="]),  # the beginning of a name
    ],
)
def test_what_may_come_next(
    classes: PythonClasses, begin: str, allowed: list[str], forbidden: list[str]
) -> None:
    matcher, _ = follow(classes, split(begin.strip(), "python"))
    found = {
        token: bool(matcher.allowed()[classes.place(token)])
        for token in (*allowed, *forbidden)
        if classes.place(token) >= 0
    }
    expected = dict.fromkeys(allowed, True) | dict.fromkeys(forbidden, False)
    assert found == {token: expected[token] for token in found}


@pytest.mark.parametrize("begin", ["f(", "x =", "if x", "'a", "[1, 2", "for x in", "lambda"])
def test_what_is_not_complete_may_not_end(classes: PythonClasses, begin: str) -> None:
    matcher, n_allowed = follow(classes, split(begin, "python"))
    assert n_allowed == len(split(begin, "python"))
    assert not matcher.may_end


def test_levels_open_and_close_at_line_ends(classes: PythonClasses) -> None:
    head = split("if x:", "python")
    matcher, _ = follow(classes, [*head, NEWLINE])
    assert matcher.allowed()[classes.place(INDENT)]
    assert not matcher.allowed()[classes.place("x")]  # a body must be indented
    matcher, n_allowed = follow(classes, [*head, NEWLINE, INDENT, "x", NEWLINE, DEDENT, "y"])
    assert n_allowed == len(head) + 6
    assert matcher.may_end
    _, n_allowed = follow(classes, ["x", NEWLINE, INDENT])
    assert n_allowed == 2


def test_nothing_follows_what_is_not_allowed(classes: PythonClasses) -> None:
    matcher = classes.start().advance(")")
    assert not matcher.allowed().any()
    assert not matcher.may_end
    assert not matcher.advance("x").allowed().any()


def test_matchers_branch_and_are_shared(classes: PythonClasses) -> None:
    one = classes.start().advance("word")
    before = one.allowed().copy()
    assert one.advance("(").allowed()[classes.place(")")]
    assert (one.allowed() == before).all()
    assert one.advance("(") is one.advance("(")


def test_words_are_one_class_and_unknown_classes_have_no_place(classes: PythonClasses) -> None:
    assert classes.place("rows") == classes.place("seen") != classes.place("if")
    assert class_of("Value") != class_of("value")
    assert class_of("37") == class_of("5") != class_of("0")
    assert classes.place("") == classes.place("¶") == -1


def test_the_grammar_needs_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    module.library.cache_clear()
    with pytest.raises(UnavailableError, match=r"pip install 'unrolled\[code\]'"):
        module.library()
    module.library.cache_clear()
