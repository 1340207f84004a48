"""Damage to files, drawn at random: byte by byte, and in what JSON, TOML and safetensors are made of."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Draw = random.Random

_DEEP = "[" * 600 + "]" * 600
OUTSIDE = "../../outside/bait.json"

JSON_VALUES = (
    "null",
    "true",
    "-1",
    "0",
    "1",
    "2",
    "1.5",
    "-0.0",
    "9" * 400,
    "9" * 5000,
    "10000000000",
    "1000000",
    "9223372036854775808",
    "1e300",
    "1e999",
    "NaN",
    '""',
    '"a"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\u001b]0;x\\u0007"',
    '"line\\u2028end"',
    f'"{OUTSIDE}"',
    '"../../outside"',
    '"/dev/zero"',
    '"."',
    f'"{"x" * 20_000}"',
    "[]",
    "{}",
    '[["a"]]',
    '["a", "a"]',
    "[1, 2, 3]",
    '{"a": 1}',
    _DEEP,
    "[" * 600,
)
"""In the place of a value."""

TOML_VALUES = (
    "true",
    "-1",
    "0",
    "1",
    "2",
    "63",
    "1.5",
    "inf",
    "nan",
    "9" * 400,
    "0x" + "f" * 6000,
    "10000000000",
    "1000000000",
    "100000",
    "1e300",
    "1e-300",
    '""',
    '"none"',
    '"a"',
    '"\\u0000"',
    '"\\u001b]0;x\\u0007"',
    f'"{OUTSIDE}"',
    '"/dev/zero"',
    f'"{"x" * 20_000}"',
    "[]",
    "{}",
    "[[]]",
    "{a = 1}",
    '["a", "b"]',
    '["\\u0000"]',
    '["/dev/zero"]',
    "[1, 2]",
    "2020-01-01",
    "07:32:00",
    _DEEP,
    "[" * 600,
)


_NUMBER = re.compile(r"-?[0-9][0-9_.e+-]*|inf|nan|0x.*")


def _like(values: tuple[str, ...], before: str, draw: Draw) -> str:
    """A value in the place of another; of a number mostly a number, for those come further."""
    numbers = [each for each in values if _NUMBER.fullmatch(each)]
    is_number = _NUMBER.fullmatch(before) is not None
    return draw.choice(numbers if is_number and draw.random() < 0.7 else values)


def mutated(content: bytes, name: str, draw: Draw) -> bytes:
    """The content of a file of this name with one to three faults."""
    ways = _ways(name)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(ways)(content, draw)
    return content


def _ways(name: str) -> list[Callable[[bytes, Draw], bytes]]:
    structural: dict[str, Callable[[bytes, Draw], bytes]] = {
        ".json": _json,
        ".toml": _toml,
        ".safetensors": _safetensors,
        ".jsonl": _json_lines,
        ".npy": _npy,
    }
    ending = re.sub(r".*(?=\.)", "", name)
    if ending in structural:
        return [structural[ending]] * 2 + [_bytes]
    return [_bytes]


# Bytes


def _bytes(content: bytes, draw: Draw) -> bytes:
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    stop = min(stop, start + draw.choice((1, 2, 8, 100, 10_000)))
    some = content[start:stop]
    new: bytes = draw.choice(
        (
            bytes(byte ^ 1 << draw.randrange(8) for byte in some),
            b"",
            some * draw.choice((2, 3, 50)),
            draw.randbytes(draw.choice((1, 4, 64))),
            b"\0" * len(some),
            b"\xff" * len(some),
            draw.choice(TEXTS),
        )
    )
    return draw.choice((content[:start] + new + content[stop:],) * 9 + (content[:start],))


TEXTS = (
    b"\t",
    b"\n\n",
    b"\r",
    b"\x00",
    b"\x1b[2J",
    b'"',
    b"\xef\xbb\xbf",
    "\u2028".encode(),
    b"\xed\xa0\x80",
    b"9" * 400,
    b"nan",
    b"1e999",
    b"-1",
    b" ",
    b"\\ud800",
    b"x" * 20_000,
    b"[" * 600,
    b"\x1f",
)


# JSON: every value, key and list is a place


def _json(content: bytes, draw: Draw) -> bytes:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, draw)
    places = list(_places(value, ()))
    if not places:
        return draw.choice(JSON_VALUES).encode()
    path = draw.choice(places)
    way = draw.randrange(6)
    if way == 0:
        return _encoded(_without(value, path))
    if way == 1:
        return _encoded(_twice(value, path))
    if way == 2:
        return draw.choice(JSON_VALUES).encode()
    before = json.dumps(_parent(value, path)[path[-1]])
    return _encoded(_with(value, path, _like(JSON_VALUES, before, draw)))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _json_lines(content: bytes, draw: Draw) -> bytes:
    lines = content.split(b"\n")
    number = draw.randrange(len(lines))
    lines[number] = _json(lines[number], draw)
    return b"\n".join(lines)


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Some of the places of a value; of long lists and objects the first and the last."""
    if len(path) > 6:
        return
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys if len(keys) <= 60 else [*keys[:20], *keys[-20:]]:
        yield (*path, key)
        yield from _places(value[key], (*path, key))


_HOLE = "\ue000hole\ue000"


def _with(value: Any, path: tuple[Any, ...], literal: str) -> str:
    copy = json.loads(json.dumps(value))
    _parent(copy, path)[path[-1]] = _HOLE
    return json.dumps(copy, ensure_ascii=False).replace(f'"{_HOLE}"', literal)


def _without(value: Any, path: tuple[Any, ...]) -> str:
    copy = json.loads(json.dumps(value))
    del _parent(copy, path)[path[-1]]
    return json.dumps(copy)


def _twice(value: Any, path: tuple[Any, ...]) -> str:
    """A key given twice, or an item of a list repeated."""
    copy = json.loads(json.dumps(value))
    parent, key = _parent(copy, path), path[-1]
    if isinstance(parent, list):
        parent.append(parent[key])
        return json.dumps(copy)
    again = json.dumps({key: parent[key]})[1:-1]
    parent[key] = _HOLE
    text = json.dumps(copy, ensure_ascii=False)
    return text.replace(f'"{_HOLE}"', f"null, {again}")


def _parent(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


# TOML: lines


def _toml(content: bytes, draw: Draw) -> bytes:
    text = content.decode("utf-8", "replace")
    # A list that stands on several lines becomes one.
    text = re.sub(r"(?<= = )\[\n[^\[\]]*\n\]", _on_one_line, text)
    lines = text.split("\n")
    settings = [n for n, line in enumerate(lines) if " = " in line]
    if not settings:
        return _bytes(content, draw)
    number = draw.choice(settings)
    name = lines[number].partition(" = ")[0]
    way = draw.randrange(8)
    if way == 0:
        del lines[number]
    elif way == 1:
        lines.insert(number, lines[number])
    elif way == 2:
        lines.insert(number, f"{draw.choice(('other', 'a.b.c', 'seed', 'x' * 999))} = 1")
    else:
        before = lines[number].partition(" = ")[2]
        lines[number] = f"{name} = {_like(TOML_VALUES, before, draw)}"
    return "\n".join(lines).encode("utf-8", "replace")


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split())


# Binary files with a header


def _safetensors(content: bytes, draw: Draw) -> bytes:
    length = int.from_bytes(content[:8], "little")
    if draw.random() < 0.1:
        return draw.choice((0, 1, 2**40, 2**63)).to_bytes(8, "little") + content[8:]
    header = _json(content[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


_NPY_FIELDS = (
    (rb"'<..'", (b"'|O'", b"'<U9'", b"'<f8'", b"'|V0'", b"'<u4'", b"[('a', '<u4')]", b"((")),
    (rb"\(\d+,\)", (b"(10**9,)", b"(-1,)", b"()", b"(2, 2, 2)", b"(9223372036854775807,)")),
    (
        rb"\(\d+,\)",
        (b"(True,)", b"'a'", b"(1, 1)", b"(((((((((("),
    ),
    (rb"False", (b"True", b"None", b"0", b"'\0'")),
)


def _npy(content: bytes, draw: Draw) -> bytes:
    pattern, values = draw.choice(_NPY_FIELDS)
    header = re.sub(pattern, lambda _: draw.choice(values), content[:128])
    return (header + b" " * 128)[:127] + b"\n" + content[128:]
