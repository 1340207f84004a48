"""Quoted spans of a description as slots, and back."""

from __future__ import annotations

import ast

import pytest

from unrolled.code.slots import MOST, SLOTS, Slotted, slotted
from unrolled.code.tokens import split

ONE, TWO = SLOTS[:2]


@pytest.mark.parametrize(
    ("text", "slots", "spans"),
    [
        ("sort `a_b` by 'c d'", f"sort `{ONE}` by '{TWO}'", ("a_b", "c d")),
        ('say "it\'s"', f'say "{ONE}"', ("it's",)),
        ("don't touch Tom's car", "don't touch Tom's car", ()),
        ("``a`` and `a`", f"``{ONE}`` and `{ONE}`", ("a",)),
        ("an empty '' and ' '", "an empty '' and ' '", ()),
        ("an open `a", "an open `a", ()),
        ("", "", ()),
    ],
)
def test_quoted_spans_become_slots(text: str, slots: str, spans: tuple[str, ...]) -> None:
    found = slotted(text)
    assert (found.text, found.spans) == (slots, spans)


@pytest.mark.parametrize(
    ("spans", "code", "hidden"),
    [
        (("my_list",), "sorted(my_list)", f"sorted({ONE})"),
        (("a",), "a = data[a]", f"{ONE} = data[{ONE}]"),
        (("a b",), "f('a b', 'a bc')", f"f('{ONE}', 'a bc')"),
        (("x", "x.y"), "x.y(x)", f"{TWO}({ONE})"),
        (("%d-%m",), "strftime('%d-%m')", f"strftime('{ONE}')"),
        (("(a",), "f(a)", f"f{ONE})"),
        ((), "f(a)", "f(a)"),
    ],
)
def test_code_is_hidden_and_shown(spans: tuple[str, ...], code: str, hidden: str) -> None:
    found = Slotted("", spans)
    assert found.hide(code) == hidden
    assert found.show(hidden) == code


def test_only_so_many_spans_are_slots() -> None:
    text = " ".join(f"`n{i}`" for i in range(MOST + 3))
    found = slotted(text)
    assert len(found.spans) == MOST
    assert found.text.endswith(f"`n{MOST}` `n{MOST + 1}` `n{MOST + 2}`")


def test_a_slot_without_span_stays() -> None:
    assert Slotted("", ("a",)).show(f"f({ONE}, {TWO})") == f"f(a, {TWO})"


def test_text_with_the_mark_is_left_alone() -> None:
    found = slotted(f"print `a` and {ONE}")
    assert found.spans == ()
    assert Slotted("", ("a",)).hide(f"a = '{ONE}'") == f"a = '{ONE}'"


def test_slots_are_names_and_single_tokens() -> None:
    for slot in SLOTS:
        ast.parse(f"{slot}.f({slot})")
        for language in ("python", "bash", "text"):
            assert split(f"f('{slot}', {slot})", language).count(slot) == 2
