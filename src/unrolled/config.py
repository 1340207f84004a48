"""Settings: from TOML and the command line to frozen dataclasses, strictly, and back.

One converter serves recipes, run folders and `--section.field value`, so that a wrong name or
value gets the same sentence wherever it was written. The dataclasses stay plain: their annotations
say what is allowed, and `__post_init__` checks ranges with `require`.

Allowed annotations: `str`, `int`, `float`, `bool`, `Literal[...]`, `tuple[X, ...]`, `tuple[X, Y]`,
unions (`X | None` above all), other dataclasses, and `object` for a value taken as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from unrolled.errors import ConfigError, did_you_mean
from unrolled.quoting import listed, quote

T = TypeVar("T")

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: '"none"',
}
_OPTION = re.compile(r"--([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+)(?:=(.*))?", re.DOTALL)


class OptionText(str):
    """A value as typed on the command line; the type of its field decides how it is read."""

    __slots__ = ()


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `cls` from what a TOML table holds.

    Keys that are absent keep their defaults. Whole numbers are accepted where a number is wanted,
    one string where a list of text is wanted, and the string "none" for None, which TOML lacks.

    Args:
        cls: a dataclass.
        mapping: its values by field name.
        where: dotted name of the section, for messages; empty at the top of a recipe.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Adam:
    ...     learning_rate: float = 0.001
    >>> from_mapping(Adam, {"learning_rate": 1}, "adam")
    Adam(learning_rate=1.0)
    >>> from_mapping(Adam, {"learning_rat": 1}, "adam")
    Traceback (most recent call last):
    unrolled.errors.ConfigError: unknown key 'learning_rat' in [adam]; did you mean 'learning_rate'?
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(_mismatch(cls, mapping, where))
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    section = f" in [{where}]" if where else ""
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"unknown key {quote(key)}{section}{suggestion(key, fields)}")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(
                hints[name], mapping[name], f"{where}.{name}" if where else name
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing key '{name}'{section}: expected {_expected(hints[name])}")
    return cls(**values)


def to_mapping(instance: object) -> dict[str, Any]:
    """The tables from which `from_mapping` makes an equal instance; tuples become lists.

    None is left out where it is the default, and written as "none" elsewhere.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Limits:
    ...     minutes: float | None = None
    ...     sizes: tuple[int, ...] = (3, 5)
    >>> to_mapping(Limits())
    {'sizes': [3, 5]}
    """
    mapping: dict[str, Any] = {}
    for field in dataclasses.fields(instance):  # type: ignore[arg-type]
        value = getattr(instance, field.name)
        if field.init and not (value is None and field.default is None):
            mapping[field.name] = _plain(value)
    return mapping


def to_toml(instance: object) -> str:
    """The instance as TOML text.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Limits:
    ...     minutes: float = 2.5
    >>> print(to_toml(Limits()), end="")
    minutes = 2.5
    """
    import tomli_w

    return tomli_w.dumps(to_mapping(instance))


def read_toml(path: str | PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is missing, is not UTF-8 or is not TOML; the message names the line.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected a TOML file") from None
    except (IsADirectoryError, PermissionError) as error:
        if Path(path).is_dir():
            raise ConfigError(f"{path}: is a folder; expected a TOML file") from None
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).removesuffix(")").rpartition(" (at ")
        if place == "end of document":
            n_lines = content.count(b"\n") + 1
            place = f"line {n_lines}"
        raise ConfigError(f"{path}, {place}: not valid TOML: {problem}") from None


def split_options(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Take `--section.field value` and `--section.field=value` out of a command line.

    An option takes one value; an option without one (`--model.tied`) switches a setting on, and is
    given as None. Nothing after `--` is an option.

    Returns:
        The other arguments in order, and (dotted name, value) for each option.

    >>> split_options(["train", "a.toml", "--model.cell", "gru", "--model.tied", "--resume"])
    (['train', 'a.toml', '--resume'], [('model.cell', 'gru'), ('model.tied', None)])
    """
    rest: list[str] = []
    options: list[tuple[str, str | None]] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return rest + list(arguments[position:]), options
        position += 1
        match = _OPTION.fullmatch(argument)
        if match is None:
            rest.append(argument)
            continue
        value = match[2]
        if value is None and position < len(arguments) and arguments[position][:2] != "--":
            value = arguments[position]
            position += 1
        options.append((match[1].replace("-", "_"), value))
    return rest, options


def apply_overrides(
    mapping: Mapping[str, Any], overrides: Iterable[tuple[str, str | None]]
) -> dict[str, Any]:
    """A copy of the mapping with dotted names set to what was typed on the command line.

    A name given several times makes a list. A value in brackets is read as a TOML list.

    Raises:
        ConfigError: a name goes through something that is not a section.

    >>> apply_overrides({"seed": 1}, [("training.max_steps", "7"), ("model.tied", None)])
    {'seed': 1, 'training': {'max_steps': '7'}, 'model': {'tied': True}}
    """
    given: dict[str, list[OptionText | bool]] = {}
    for name, value in overrides:
        given.setdefault(name, []).append(True if value is None else OptionText(value))
    result = copy.deepcopy(dict(mapping))
    for name, values in given.items():
        *sections, key = name.split(".")
        table = result
        for depth, section in enumerate(sections):
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                path = ".".join(sections[: depth + 1])
                raise ConfigError(f"--{name}: '{path}' is a value, not a section")
        table[key] = values[0] if len(values) == 1 else values
    return result


def suggestion(wrong: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one, or all of them.

    >>> suggestion("bean", ["beam", "greedy"])
    "; did you mean 'beam'?"
    >>> suggestion("fast", ["beam", "greedy"])
    '; choose from beam, greedy'
    """
    names = list(valid)
    return did_you_mean(wrong.replace("-", "_"), names) or f"; choose from {listed(names, most=40)}"


def require(holds: bool, name: str, wanted: str, given: object) -> None:
    """Refuse a value that cannot be; every range check of a setting has this wording.

    Args:
        holds: whether the value is as wanted.
        name: dotted name of the setting.
        wanted: what follows "must be".
        given: the value.

    Raises:
        ConfigError: it is not.

    >>> require(0 >= 1, "training.max_tokens", "at least 1", 0)
    Traceback (most recent call last):
    unrolled.errors.ConfigError: training.max_tokens must be at least 1, got 0
    """
    if not holds:
        raise ConfigError(f"{name} must be {wanted}, got {_shown(given)}")


def _convert(kind: Any, value: Any, where: str) -> Any:
    """The value as `kind`, or a ConfigError that names the place."""
    origin = get_origin(kind)
    if kind is object or kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else from_mapping(kind, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        for choice in get_args(kind):
            same_type = type(value) is type(choice) and value == choice
            if same_type or (isinstance(value, OptionText) and value == str(choice)):
                return choice
        choices = [str(choice) for choice in get_args(kind)]
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise ConfigError(_mismatch(kind, value, where) + hint)
    if origin is tuple:
        return _convert_tuple(kind, value, where)
    if isinstance(value, OptionText):
        value = _read_typed(kind, value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and math.isnan(value)):
        raise ConfigError(_mismatch(kind, value, where))
    return value


def _convert_union(kind: Any, value: Any, where: str) -> Any:
    members = get_args(kind)
    if types.NoneType in members and (value is None or value == "none"):
        return None
    others = [member for member in members if member is not types.NoneType]
    for member in others:
        try:
            return _convert(member, value, where)
        except ConfigError:
            if dataclasses.is_dataclass(member):
                raise
    raise ConfigError(_mismatch(kind, value, where))


def _convert_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, OptionText) and value.startswith("["):
        try:
            value = tomllib.loads(f"list = {value}")["list"]
        except tomllib.TOMLDecodeError:
            raise ConfigError(_mismatch(kind, value, where)) from None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError(_mismatch(kind, value, where))
    members = get_args(kind)
    if members[-1] is Ellipsis:
        members = members[:1] * len(value)
    if len(members) != len(value):
        raise ConfigError(_mismatch(kind, value, where))
    return tuple(
        _convert(member, item, f"{where}, item {number}")
        for number, (member, item) in enumerate(zip(members, value, strict=True), start=1)
    )


def _read_typed(kind: type, text: OptionText) -> Any:
    """What was typed, as `kind` where it can be read so; otherwise the text."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        return str(text)


def _expected(kind: Any) -> str:
    """A type in words."""
    origin, members = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(member) for member in members)
    if origin is Literal:
        return f"one of {', '.join(_shown(choice) for choice in members)}"
    if origin is tuple:
        if members[-1] is Ellipsis:
            return f"a list, each item {_expected(members[0])}"
        return f"a list of {len(members)}: {', '.join(_expected(member) for member in members)}"
    if dataclasses.is_dataclass(kind):
        return "a section with its own keys"
    return _WORDS.get(kind, str(kind))


def _shown(value: Any) -> str:
    """A value as it stands in TOML, cut to the length of a message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        shown = f"[{', '.join(_shown(item) for item in value)}]"
    else:
        shown = str.__repr__(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _mismatch(kind: Any, value: Any, where: str) -> str:
    place = f"{where}: " if where else ""
    return f"{place}expected {_expected(kind)}, got {_shown(value)}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return "none" if value is None else value
