"""Parse checks and normal forms of Python and bash."""

from __future__ import annotations

import sys

import pytest

from unrolled.code import parsing
from unrolled.code.parsing import LONGEST, normal_form, parses, problem
from unrolled.code.template import template, template_similarity
from unrolled.errors import UnavailableError

pytest.importorskip("tree_sitter_bash")


@pytest.mark.parametrize(
    "code",
    [
        "else:",
        "elif x :",
        "except ValueError , KeyError :" if sys.version_info >= (3, 14) else "except ValueError:",
        "finally :",
        "try :",
        "@ property",
        "class A ( B ) :",
        "for i in x :",
        "with open ( a ) as f:",
        "if x: y()",
        "try:\n    f()\nexcept ValueError:\n    pass",
        " x = 1",
        "return x",
        "r'\\d'",
        "'\\d'",
    ],
)
def test_statements_and_fragments_parse(code: str) -> None:
    assert problem(code, "python") == ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("f(", "never closed"),
        ("if x:\n\ty\n        z", "tabs"),
        ("x\0y", "null"),
        ("x" * (LONGEST + 1), "more than 20,000 characters"),
        ("a b", "invalid syntax"),
    ],
)
def test_why_python_does_not_parse(code: str, message: str) -> None:
    assert message in problem(code, "python")
    assert normal_form(code, "python") is None


def test_deeply_nested_code_does_not_crash() -> None:
    for code in ("(" * 9_000, "-" * 15_000 + "1", "[" * 5_000 + "]" * 5_000):
        assert not parses(code, "python")
        assert isinstance(parses(code, "bash"), bool)


def test_layout_quotes_and_parentheses_make_no_difference() -> None:
    assert normal_form("f(  'a' )# c", "python") == normal_form('(f("a"))', "python")
    assert normal_form("f('a')", "python") != normal_form("f('b')", "python")
    assert normal_form("else:", "python") != normal_form("x", "python")


def test_bash_parses_and_is_compared_word_by_word() -> None:
    assert parses("find . -name '*.py' | xargs -I{} wc -l {} > out 2>&1", "bash")
    assert not parses("ls 'abc", "bash")
    assert not parses("if true; then", "bash")
    assert normal_form("ls   -l a", "bash") == normal_form("ls -l a # all", "bash")
    assert normal_form("ls 'a  b'", "bash") != normal_form("ls 'a b'", "bash")


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("ls", "ls"),
        ("sudo rm -rf /a/-b", "sudo rm -rf"),
        ("find . -type f -exec chmod +x {} \\;", "find -type -exec chmod"),
        ("ps -ef | grep x | awk '{print $2}'", "ps -ef grep awk"),
        ("tar --exclude=a -czf b.tgz c", "tar --exclude -czf"),
        ("echo $(date +%F) > out", "echo date"),
        ("A=1 make -j 4 all", "make -j"),
        ("cd a && ! test -e b", "cd test -e"),
        ("head -5 a", "head -5"),
        ("", ""),
    ],
)
def test_templates_hold_utilities_and_flags(command: str, parts: str) -> None:
    assert template(command) == tuple(parts.split())


def test_the_most_similar_reference_counts() -> None:
    assert template_similarity("ls -a", ["ls -l", "cp"]) == pytest.approx(0.5)
    assert template_similarity("ls -a", []) == 0
    assert template_similarity("", ["ls"]) == 0


def test_bash_needs_tree_sitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    parsing._bash_parser.cache_clear()
    with pytest.raises(UnavailableError, match=r"pip install 'unrolled\[code\]'"):
        parses("ls", "bash")
    parsing._bash_parser.cache_clear()
