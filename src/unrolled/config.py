"""Settings: strict conversion of TOML and command-line options to frozen dataclasses, and back.

One converter handles recipes, run folders and `--section.field value`, so that a wrong name or value
gives the same message wherever it was written. The dataclasses stay plain: their annotations say what
is allowed, and `__post_init__` calls `check_fields` to check single fields and `require` to check
combinations of fields.

Allowed annotations: `str`, `int`, `float`, `bool`, `Literal[...]`, `tuple[X, ...]`, `tuple[X, Y]`,
unions (mostly `X | None`), other dataclasses, and `object` for an unconverted value. The bounds of a
number are part of its annotation, `Annotated[int, Range(1, 64)]`; common ones have names here (`Width`,
`Rate` and others). They allow every model that somebody might train, but no value that would only
exhaust memory, because a run folder can come from anywhere. Whatever its bounds, a whole number has at
most 63 bits, a number is finite, and a string has at most 10,000 characters and no NUL.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from os import PathLike
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from unrolled import documents
from unrolled.errors import ConfigError, did_you_mean
from unrolled.quoting import listed, quote

T = TypeVar("T")

_MOST_BYTES = 1 << 20  # bytes of a recipe file
_LONGEST_CHOICE = 200  # characters in a message
_LONGEST_TEXT = 10_000  # characters
_LARGEST = (1 << 63) - 1

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: '"none"',
}
_OPTION = re.compile(r"--([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+)(?:=(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Range:
    """The bounds of a number, for the annotation of a field.

    Args:
        least: inclusive lower bound.
        most: inclusive upper bound.
        above: exclusive lower bound, instead of `least`.
        below: exclusive upper bound, instead of `most`.

    >>> Range(1, 65_536).why_not(70_000), Range(0, below=1).why_not(-1), Range(above=0).why_not(5)
    ('at most 65,536', 'at least 0 and below 1', None)
    """

    least: float = -math.inf
    most: float = math.inf
    above: float | None = None
    below: float | None = None

    def why_not(self, value: float) -> str | None:
        """The violated bound in words, or None; NaN violates every bound."""
        is_above = value >= self.least if self.above is None else value > self.above
        is_below = value <= self.most if self.below is None else value < self.below
        if is_above and is_below:
            return None
        lower = f"at least {self.least:,}" if self.above is None else f"above {self.above:,}"
        upper = f"at most {self.most:,}" if self.below is None else f"below {self.below:,}"
        if self.below is not None or self.most <= 1:  # for a share, name both bounds
            return f"{lower} and {upper}"
        return upper if is_above else lower


Width = Annotated[int, Range(1, 65_536)]
"""Number of dimensions of an embedding or a hidden state."""

OptionalWidth = Annotated[int, Range(0, 65_536)]
"""Like `Width`, or 0 for none."""

Layers = Annotated[int, Range(1, 64)]
"""Number of stacked layers."""

Rate = Annotated[float, Range(0, below=1)]
"""A share below 1, such as a dropout or decay rate."""

Share = Annotated[float, Range(0, 1)]
"""A share up to and including 1."""

Count = Annotated[int, Range(0, 10**12)]
"""Number of steps, rows or words; 0 mostly means none, or no limit."""

PositiveCount = Annotated[int, Range(1, 10**12)]
"""Like `Count`, but at least 1."""

Seed = Annotated[int, Range(0, _LARGEST)]
"""Random seed."""

Threads = Annotated[int, Range(0, 1024)]
"""Number of threads; 0 for as many as there are."""

Documents = Literal["file", "line", "paragraph", "separator"]
"""The unit of running text that is a document."""

OnInvalid = Literal["error", "replace", "skip"]
"""What to do with bytes that are invalid in the encoding of a text."""

BleuTokenizer = Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
"""sacrebleu's tokenizer for BLEU; "auto" chooses by the references, see `metrics.translation`."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """The allowed names of a setting, looked up in a table when the setting is read.

    It is part of the annotation, like `Range`: `Annotated[str, Choices(names)]`.

    Args:
        names: returns the allowed names.
    """

    names: Callable[[], tuple[str, ...]]


class OptionText(str):
    """A value as typed on the command line; it is parsed according to the type of its field."""

    __slots__ = ()


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Build an instance of the dataclass `cls` from a TOML table.

    Missing keys have their defaults. An integer is accepted for a float, a single string for a list
    of strings, and the string "none" for None, which TOML lacks.

    Args:
        cls: a dataclass.
        mapping: values by field name.
        where: dotted name of the section, for messages; empty at the top level of a recipe.

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
            shown = quote(key) if isinstance(key, str) else "that is not a string"
            raise ConfigError(f"unknown key {shown}{section}{suggestion(str(key), fields)}")
    hints = get_type_hints(cls)
    for name, hint in get_type_hints(cls, include_extras=True).items():
        for annotation in getattr(hint, "__metadata__", ()):
            if isinstance(annotation, Choices):
                hints[name] = Literal[annotation.names()]
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
    """Convert an instance to tables from which `from_mapping` builds an equal one; tuples become lists.

    None is left out if it is the default, and written as "none" otherwise.

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
    """Read the tables of a TOML file.

    Raises:
        ConfigError: the file is missing, not UTF-8 or not TOML; the message names the line.
    """
    try:
        return documents.read_toml(path, _MOST_BYTES)
    except documents.DocumentError as error:
        raise ConfigError(_sentence(path, error)) from None


def _sentence(path: str | PathLike[str], error: documents.DocumentError) -> str:
    if error.is_missing:
        return f"{path}: no such file; expected a TOML file"
    if error.is_folder:
        return f"{path}: is a folder; expected a TOML file"
    if isinstance(error.__cause__, tomllib.TOMLDecodeError):
        problem, _, place = str(error.__cause__).removesuffix(")").rpartition(" (at ")
        if place == "end of document":
            place = f"line {error.n_lines}"
        return f"{path}, {place}: not valid TOML: {problem[:200]}"
    if isinstance(error.__cause__, UnicodeDecodeError):
        return f"{path}, line {error.n_lines}: {error.problem}; save the file as UTF-8"
    return f"{path}: {error.problem}; expected a TOML file"


def split_options(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Remove `--section.field value` and `--section.field=value` from a command line.

    An option takes one value; an option without one (`--model.tied`) switches a setting on, and its
    value is None. Nothing after `--` is an option.

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
    """A copy of the mapping in which command-line options override the values at their dotted names.

    A repeated name gives a list. A value in brackets is read as a TOML list.

    Raises:
        ConfigError: part of a name is a value, not a section.

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
    """The end of a message about an unknown name: the most similar valid name, or all of them.

    >>> suggestion("bean", ["beam", "greedy"])
    "; did you mean 'beam'?"
    >>> suggestion("fast", ["beam", "greedy"])
    '; choose from beam, greedy'
    """
    names = list(valid)
    return did_you_mean(wrong.replace("-", "_"), names) or f"; choose from {listed(names, most=40)}"


def require(holds: bool, name: str, wanted: str, given: object) -> None:
    """Refuse an invalid value; every range check of a setting uses this wording.

    Args:
        holds: whether the value is valid.
        name: dotted name of the setting.
        wanted: end of the sentence "NAME must be …".
        given: the value.

    Raises:
        ConfigError: the value is invalid.

    >>> require(0 >= 1, "training.max_tokens", "at least 1", 0)
    Traceback (most recent call last):
    unrolled.errors.ConfigError: training.max_tokens must be at least 1, got 0
    """
    if not holds:
        raise ConfigError(f"{name} must be {wanted}, got {_shown(given)}")


def check_fields(instance: object, section: str) -> None:
    """Check all fields against their annotations: the range of numbers, the choices of names.

    Args:
        instance: a dataclass that calls this in its `__post_init__`.
        section: prefix of field names in messages; may be empty.

    Raises:
        ConfigError: a field is invalid; names the field, its value, and what was expected.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Stack:
    ...     n_layers: Layers = 1
    ...     def __post_init__(self) -> None:
    ...         check_fields(self, "model")
    >>> Stack(n_layers=10**9)
    Traceback (most recent call last):
    unrolled.errors.ConfigError: model.n_layers must be at most 64, got 1000000000
    """
    for name, (bounds, choices) in _checks(type(instance)).items():  # type: ignore[arg-type]
        value = getattr(instance, name)
        where = f"{section}.{name}" if section else name
        for item in value if isinstance(value, tuple) else () if value is None else (value,):
            wanted = bounds.why_not(item) if bounds is not None else None
            require(wanted is None, where, str(wanted), item)
            if isinstance(choices, Choices):
                choices = choices.names()
            if choices:
                wanted = f"one of {', '.join(map(str, choices))}"
                require(item in choices, where, wanted, item)


@cache
def _checks(cls: type) -> dict[str, tuple[Range | None, Choices | tuple[Any, ...]]]:
    """Bounds and choices in the annotation of each field, by field name."""
    hints = get_type_hints(cls, include_extras=True)
    checks = {name: _checks_in(hint) for name, hint in hints.items()}
    return {name: check for name, check in checks.items() if check != (None, ())}


def _checks_in(hint: Any) -> tuple[Range | None, Choices | tuple[Any, ...]]:
    """The first bounds and the first choices anywhere in an annotation."""
    if get_origin(hint) is Literal:
        return None, get_args(hint)
    annotations = getattr(hint, "__metadata__", ())
    for annotation in annotations:
        if isinstance(annotation, Choices):
            return None, annotation
    inner = [_checks_in(member) for member in get_args(hint) if not isinstance(member, Range)]
    ranges = [annotation for annotation in annotations if isinstance(annotation, Range)]
    ranges += [bounds for bounds, _ in inner if bounds is not None]
    choices = [allowed for _, allowed in inner if allowed]
    return (ranges[0] if ranges else None), (choices[0] if choices else ())


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Convert a value to `kind`, or raise a ConfigError that names the setting."""
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
    if kind is float and type(value) is int and abs(value) <= _LARGEST:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(_mismatch(kind, value, where))
    _check_plain(kind, value, where)
    return value


def _check_plain(kind: Any, value: Any, where: str) -> None:
    """Refuse values that no setting may have, whatever its bounds."""
    if kind is float and not math.isfinite(value):
        raise ConfigError(_mismatch(kind, value, where))
    problem = "of at most 63 bits" if kind is int and abs(value) > _LARGEST else ""
    if kind is str:
        problem = _why_not_text(value)
    if problem:
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}expected {_expected(kind)} {problem}, got {_shown(value)}")


def _why_not_text(value: str) -> str:
    if len(value) > _LONGEST_TEXT:
        return f"of at most {_LONGEST_TEXT:,} characters"
    if "\0" in value:
        return "without NUL characters"
    is_encodable = value.isascii() or not any(
        "\ud800" <= character <= "\udfff" for character in value
    )
    return "" if is_encodable else "in UTF-8"


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
            value = documents.parse_toml("", f"list = {value}")["list"]
        except documents.DocumentError:
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
    """Parse typed text as `kind`; return the text unchanged if that fails."""
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
    """A value as written in TOML, shortened for a message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        shown = f"[{', '.join(_shown(item) for item in value)}]"
    elif isinstance(value, int) and abs(value) > 10**50:
        return (
            "a number of more than 50 digits"  # converting it to text is slow, or refused by Python
        )
    else:
        shown = str.__repr__(value[:100]) if isinstance(value, str) else str(value)
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
