"""Generated descriptions of small computations, and the Python expressions that carry them out.

    the sum of the values of `old_prices` above 20     sum(x for x in old_prices if x > 20)
    the first 3 of the upper case of `labels`          [x.upper() for x in labels][:3]

Names in backquotes and texts in quotation marks are to be copied; names of the validation and test part
may be new. The shape of an expression is its code without names, numbers and texts. No two parts share a
shape, so a model that is right on the test part combines what it has seen in other combinations.

Every expression has a meaning besides its code, a function of its variables; both are evaluated on values
drawn at random and must give the same result. Only expressions written by this generator are evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from random import Random
from typing import Any, Literal

from unrolled.errors import ConfigError
from unrolled.samples.expression_grammar import NAME, Draw, Meaning, Variables, expression
from unrolled.samples.files import write_parts

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")

_SHARES: dict[Part, float] = {"train": 0.8, "valid": 0.9, "test": 1.0}
"""Of the shapes, cumulated."""

_N_CHECKS = 3
_MOST_TRIES = 2_000


@dataclass(frozen=True)
class Expression:
    """A description and its code.

    Args:
        text: the description.
        code: a Python expression.
        shape: its shape.
    """

    text: str
    code: str
    shape: str


@dataclass(frozen=True)
class ExpressionSample:
    """Three parts without common shapes."""

    train: list[Expression]
    valid: list[Expression]
    test: list[Expression]


def generate(
    n_train: int = 4_000, n_valid: int = 250, n_test: int = 500, seed: int = 1
) -> ExpressionSample:
    """Generate the sample; the same arguments give the same expressions on every machine.

    Args:
        n_train: number of training expressions.
        n_valid: number of validation expressions.
        n_test: number of test expressions.
        seed: random seed.

    Raises:
        ConfigError: a number is negative, or larger than the number of expressions of the grammar.

    >>> first = generate(2, 0, 0).train[0]
    >>> first.text, first.code
    ('the number of `old_labels`', 'len(old_labels)')
    """
    sizes = dict(zip(PARTS, (n_train, n_valid, n_test), strict=True))
    for name, size in sizes.items():
        if size < 0:
            raise ConfigError(f"n_{name} must be at least 0, got {size}")
    return ExpressionSample(**{part: _part(part, sizes[part], seed) for part in PARTS})


def write(folder: str | PathLike[str], sample: ExpressionSample) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `description<tab>code`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {}
    for part in PARTS:
        lines = [f"{each.text}\t{each.code}\n" for each in getattr(sample, part)]
        contents[f"{part}.tsv"] = "".join(["description\tcode\n", *lines])
    write_parts(folder, contents)


def part_of(shape: str) -> Part:
    """The part that a shape belongs to, by its hash."""
    digest = hashlib.blake2b(shape.encode("utf-8"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return next(part for part in PARTS if place < _SHARES[part] or part == PARTS[-1])


def _part(part: Part, n: int, seed: int) -> list[Expression]:
    draw = Draw(Random(len(PARTS) * seed + PARTS.index(part)))
    found: dict[str, Expression] = {}
    n_tries = 0
    while len(found) < n:
        n_tries += 1
        if n_tries > _MOST_TRIES:
            raise ConfigError(
                f"the sample has only {len(found)} expressions for {part}, but {n} are requested; "
                "request fewer"
            )
        node = expression(draw)
        if node.text in found or part_of(node.shape) != part:
            continue
        verify(node.code, node.meaning, draw)
        found[node.text] = Expression(node.text, node.code, node.shape)
        n_tries = 0
    return list(found.values())


def verify(code: str, meaning: Meaning, draw: Draw) -> None:
    """Evaluate an expression of this generator on random values, and compare it with its meaning.

    Raises:
        RuntimeError: they differ.
    """
    for _ in range(_N_CHECKS):
        variables = {name: draw.value(name) for name in sorted(set(NAME.findall(code)))}
        found, wanted = _evaluated(code, variables), _result(lambda: meaning(variables))  # noqa: B023
        if found != wanted or type(found) is not type(wanted):
            raise RuntimeError(f"{code} is {found!r}, but should be {wanted!r}")


def _evaluated(code: str, variables: Variables) -> Any:
    return _result(lambda: eval(code, {"__builtins__": {}, **_FUNCTIONS, **variables}))


def _result(call: Callable[[], Any]) -> Any:
    """What a call returns, or the class of the error that empty lists cause."""
    try:
        return call()
    except (ZeroDivisionError, IndexError, ValueError) as error:
        return type(error)


_FUNCTIONS: dict[str, Any] = {
    function.__name__: function for function in (sum, len, max, min, sorted, set, any, all, abs)
}
