"""The grammar of `samples.expressions`: descriptions, code and meaning, built together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Variables = dict[str, Any]
Meaning = Callable[[Variables], Any]

_ADJECTIVES = ("old", "new", "big", "small", "daily", "all", "my", "raw", "last", "good", "our")
_NUMBERS = ("prices", "ages", "scores", "weights", "sizes", "costs", "times", "points")
_TEXTS = ("names", "words", "cities", "lines", "labels", "tags", "titles", "files")
_LETTERS = "abcdefghiklmnoprstuw"
_SEPARATORS = (", ", "; ", " ", "-", "/", ":", " and ", "+")
NAME = re.compile(rf"\b(?:(?:{'|'.join(_ADJECTIVES)})_)?(?:{'|'.join(_NUMBERS + _TEXTS)})\b")


class Draw:
    """Random choices that are the same on every machine.

    Args:
        random: the only source of randomness.
    """

    def __init__(self, random: Random) -> None:
        self._random = random.random

    def chance(self, rate: float) -> bool:
        """True with this probability."""
        return self._random() < rate

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally probable."""
        return items[int(self._random() * len(items))]

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        return least + int(self._random() * (most - least + 1))

    def letters(self, least: int, most: int) -> str:
        """A text of so many letters."""
        return "".join(self.pick(_LETTERS) for _ in range(self.number(least, most)))

    def name(self, nouns: Sequence[str]) -> str:
        """The name of a list."""
        noun = self.pick(nouns)
        return f"{self.pick(_ADJECTIVES)}_{noun}" if self.chance(0.6) else noun

    def value(self, name: str) -> list[Any]:
        """A value for a list of this name."""
        n = self.number(3, 8)
        if name.rpartition("_")[2] in _NUMBERS:
            return [self.number(-5, 60) for _ in range(n)]
        return [self.letters(1, 7) for _ in range(n)]


@dataclass(frozen=True)
class Node:
    """A part of an expression.

    Args:
        text: its description.
        code: its code.
        shape: its code with kinds of names and literals in place of them.
        meaning: its value, given the variables.
    """

    text: str
    code: str
    shape: str
    meaning: Meaning


@dataclass(frozen=True)
class _Items:
    """A list that is being built: `[item for x in source if condition]`.

    Args:
        text: its description.
        source, condition, item: their code; "" for none, and "x" for the item itself.
        shape: their shapes, in this order.
        meaning: the value of the list.
    """

    text: str
    source: str
    condition: str
    item: str
    shape: tuple[str, str, str]
    meaning: Meaning

    def as_loop(self) -> tuple[str, str]:
        """Code and shape without brackets, as the argument of a function."""
        return _loop(self.source, self.condition, self.item), _loop(*self.shape)

    def as_list(self) -> Node:
        """The list."""
        code, shape = self.source, self.shape[0]
        if self.condition or self.item != "x":
            code, shape = (f"[{each}]" for each in self.as_loop())
        return Node(self.text, code, shape, self.meaning)


def _loop(source: str, condition: str, item: str) -> str:
    if not condition and item == "x":
        return source
    return f"{item} for x in {source}" + (f" if {condition}" if condition else "")


@dataclass(frozen=True)
class _Step:
    """What is done with each item of a list, or asked of it.

    Args:
        text: description, with `{}` for the value or the list.
        code: code with `x` for the item and `{}` for the value.
        meaning: item, value → result.
        kind: the kind of the value, "n" a number, "s" a small one, "t" a text, "" none.
    """

    text: str
    code: str
    meaning: Callable[[Any, Any], Any]
    kind: str = ""

    def value(self, draw: Draw) -> Any:
        """A random value."""
        if self.kind == "t":
            return draw.letters(1, 3)
        return draw.number(1, {"n": 50, "s": 6}[self.kind]) if self.kind else ""

    def asked(self, value: Any) -> str:
        """The description as a predicate: "are above 20", "start with 'a'"."""
        text = self.text.format(value)
        return text.removeprefix("that ") if text.startswith("that ") else f"are {text}"


_NUMBER_CONDITIONS = (
    _Step("above {}", "x > {}", lambda x, k: x > k, "n"),
    _Step("below {}", "x < {}", lambda x, k: x < k, "n"),
    _Step("of at least {}", "x >= {}", lambda x, k: x >= k, "n"),
    _Step("other than {}", "x != {}", lambda x, k: x != k, "n"),
    _Step("that are even", "x % 2 == 0", lambda x, _: x % 2 == 0),
    _Step("that are multiples of {}", "x % {} == 0", lambda x, k: x % k == 0, "n"),
)
_TEXT_CONDITIONS = (
    _Step("that start with '{}'", "x.startswith('{}')", lambda x, k: x.startswith(k), "t"),
    _Step("that end with '{}'", "x.endswith('{}')", lambda x, k: x.endswith(k), "t"),
    _Step("that contain '{}'", "'{}' in x", lambda x, k: k in x, "t"),
    _Step("without '{}'", "'{}' not in x", lambda x, k: k not in x, "t"),
    _Step("longer than {}", "len(x) > {}", lambda x, k: len(x) > k, "s"),
    _Step("shorter than {}", "len(x) < {}", lambda x, k: len(x) < k, "s"),
)
_NUMBER_MAPS = (
    _Step("the squares of {}", "x ** 2", lambda x, _: x**2),
    _Step("the doubles of {}", "x * 2", lambda x, _: x * 2),
    _Step("the absolute values of {}", "abs(x)", lambda x, _: abs(x)),
    _Step("the sums of {0} and {1}", "x + {1}", lambda x, k: x + k, "n"),
    _Step("the remainders of {0} modulo {1}", "x % {1}", lambda x, k: x % k, "n"),
)
_TEXT_MAPS = (
    _Step("the upper case of {}", "x.upper()", lambda x, _: x.upper()),
    _Step("the first letters of {}", "x[0]", lambda x, _: x[0]),
    _Step("the reverses of {}", "x[::-1]", lambda x, _: x[::-1]),
    _Step("{0} with '{1}' appended", "x + '{1}'", lambda x, k: x + k, "t"),
    _Step("{0} with '{1}' removed", "x.replace('{1}', '')", lambda x, k: x.replace(k, ""), "t"),
)
Rule = tuple[str, str, Callable[[Any], Any]]
"""Description and code with `{}` for a node, and the function it is."""

_NUMBER_ORDERS: tuple[Rule, ...] = (
    ("{} in ascending order", "sorted({})", sorted),
    ("{} in descending order", "sorted({}, reverse=True)", lambda v: sorted(v, reverse=True)),
    ("{} in reverse order", "{}[::-1]", lambda v: v[::-1]),
    ("the different values of {} in order", "sorted(set({}))", lambda v: sorted(set(v))),
)
_TEXT_ORDERS: tuple[Rule, ...] = (
    ("{} in alphabetical order", "sorted({})", sorted),
    ("{} by length", "sorted({}, key=len)", lambda v: sorted(v, key=len)),
    ("{} in reverse order", "{}[::-1]", lambda v: v[::-1]),
    ("the different items of {} in order", "sorted(set({}))", lambda v: sorted(set(v))),
)
_NUMBER_RESULTS: tuple[Rule, ...] = (
    ("the sum of {}", "sum({})", sum),
    ("the largest of {}", "max({})", max),
    ("the smallest of {}", "min({})", min),
)
_TEXT_RESULTS: tuple[Rule, ...] = (
    ("the longest of {}", "max({}, key=len)", lambda v: max(v, key=len)),
    ("the shortest of {}", "min({}, key=len)", lambda v: min(v, key=len)),
    ("the first of {}", "{}[0]", lambda v: v[0]),
    ("the last of {}", "{}[-1]", lambda v: v[-1]),
)


def expression(draw: Draw) -> Node:
    """A random expression."""
    is_number = draw.chance(0.5)
    items = _items(draw, is_number)
    if draw.chance(0.15):
        return _question(draw, items, is_number)
    if is_number and draw.chance(0.3):
        return _of_loop(draw, items)
    node = items.as_list()
    if draw.chance(0.4):
        orders = _NUMBER_ORDERS if is_number else _TEXT_ORDERS
        node = _applied(draw.pick(orders), node)
    if draw.chance(0.25):
        node = _slice(draw, node)
    ending = draw.number(0, 9)
    if ending < 2:
        return _applied(("the number of {}", "len({})", len), node)
    if ending < 4 and not is_number:
        return _joined(draw, node)
    if ending < 6 and not is_number:
        return _applied(draw.pick(_TEXT_RESULTS), node)
    return node if node.code != items.source else _applied(_LENGTH, node)


_LENGTH: Rule = ("the number of {}", "len({})", len)


def _items(draw: Draw, is_number: bool) -> _Items:
    """A list, possibly filtered, with something done with each item."""
    name = draw.name(_NUMBERS if is_number else _TEXTS)
    kind = "N" if is_number else "T"
    items = _Items(f"`{name}`", name, "", "x", (kind, "", "x"), lambda v: list(v[name]))
    if draw.chance(0.5):
        step = draw.pick(_NUMBER_CONDITIONS if is_number else _TEXT_CONDITIONS)
        items = _filtered(items, step, step.value(draw), "values" if is_number else "items")
    if draw.chance(0.4):
        step = draw.pick(_NUMBER_MAPS if is_number else _TEXT_MAPS)
        items = _mapped(items, step, step.value(draw))
    return items


def _filtered(items: _Items, step: _Step, value: Any, what: str) -> _Items:
    return _Items(
        f"the {what} of {items.text} {step.text.format(value)}",
        items.source,
        step.code.format(value),
        "x",
        (items.shape[0], step.code.format(step.kind), "x"),
        lambda v: [x for x in items.meaning(v) if step.meaning(x, value)],
    )


def _mapped(items: _Items, step: _Step, value: Any) -> _Items:
    return _Items(
        step.text.format(items.text, value),
        items.source,
        items.condition,
        step.code.format("", value),
        (*items.shape[:2], step.code.format("", step.kind)),
        lambda v: [step.meaning(x, value) for x in items.meaning(v)],
    )


def _applied(rule: Rule, node: Node) -> Node:
    text, code, meaning = rule
    return Node(
        text.format(node.text),
        code.format(node.code),
        code.format(node.shape),
        lambda v: meaning(node.meaning(v)),
    )


def _slice(draw: Draw, node: Node) -> Node:
    n = draw.number(2, 9)
    if draw.chance(0.5):
        return _applied((f"the first {n} of {{}}", f"{{}}[:{n}]", lambda v: v[:n]), node)
    return _applied((f"the last {n} of {{}}", f"{{}}[-{n}:]", lambda v: v[-n:]), node)


def _joined(draw: Draw, node: Node) -> Node:
    sign = draw.pick(_SEPARATORS)
    joined = _applied((f"{{}} joined with '{sign}'", f"'{sign}'.join({{}})", sign.join), node)
    return Node(joined.text, joined.code, f"'t'.join({node.shape})", joined.meaning)


def _of_loop(draw: Draw, items: _Items) -> Node:
    """A function of a list that needs no brackets."""
    text, code, meaning = draw.pick(_NUMBER_RESULTS)
    loop, shape = items.as_loop()
    return Node(
        text.format(items.text),
        code.format(loop),
        code.format(shape),
        lambda v: meaning(items.meaning(v)),
    )


def _question(draw: Draw, items: _Items, is_number: bool) -> Node:
    """Whether any or all items meet a condition."""
    step = draw.pick(_NUMBER_CONDITIONS if is_number else _TEXT_CONDITIONS)
    value, all_of, node = step.value(draw), draw.chance(0.5), items.as_list()
    function: Callable[[Any], bool] = all if all_of else any
    word = function.__name__
    return Node(
        f"whether {word} of {node.text} {step.asked(value)}",
        f"{word}({step.code.format(value)} for x in {node.code})",
        f"{word}({step.code.format(step.kind)} for x in {node.shape})",
        lambda v: function(step.meaning(x, value) for x in node.meaning(v)),
    )
