"""The variants of a comparison: the settings that vary, all combinations of values, and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from unrolled.errors import ConfigError
from unrolled.quoting import quote

Override = tuple[str, str]
"""The dotted name of a setting, and a value as typed."""

_SETTING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_BARE = ("model.cell",)
_MOST_VARIANTS = 100
_LONGEST_KEY = 80

_FIXED = {
    "data.valid": "all variants must be scored on the same data",
    "data.test": "all variants must be scored on the same data",
    "data.split_seed": "all variants must be scored on the same data",
    "training.threads": "each run gets an equal share of the threads; see --jobs",
}
"""Settings that cannot vary, and why."""


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it takes.

    Args:
        name: dotted name of the setting.
        values: the values as typed.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One combination of values.

    Args:
        name: name in tables, such as "LSTM, attention none".
        key: name in folders, such as "lstm-none".
        settings: the value of each setting that varies.
    """

    name: str
    key: str
    settings: tuple[Override, ...]


def axes_of(texts: Iterable[str], option: str) -> tuple[Axis, ...]:
    """Read the values of `--over` or `--tune`.

    Args:
        texts: one `SETTING=VALUE,VALUE` for each option.
        option: name of the option, for messages.

    Raises:
        ConfigError: a text has another form, names a setting that cannot vary, or repeats one.

    >>> axes_of(["model.cell=rnn,gru", "data.columns=[1,2],[2,1]"], "--over")[1].values
    ('[1,2]', '[2,1]')
    """
    axes: list[Axis] = []
    for text in texts:
        axis = _axis(text, option)
        if axis.name in [other.name for other in axes]:
            raise ConfigError(
                f"{option} {axis.name} is given twice; give all its values in one option, separated by "
                "commas"
            )
        axes.append(axis)
    return tuple(axes)


def _axis(text: str, option: str) -> Axis:
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name == "seed":
        raise ConfigError(f"{option} seed: seeds are not variants; set their number with --seeds")
    if not equals or not _SETTING.fullmatch(name):
        raise ConfigError(
            f"{option} {quote(text)}: expected a setting with its section, and its values separated by "
            f"commas, such as {option} model.cell=gru,lstm"
        )
    if name in _FIXED:
        raise ConfigError(f"{option} {name} cannot vary: {_FIXED[name]}")
    chosen = tuple(value.strip() for value in _split(values))
    if len(chosen) < 2 or "" in chosen:
        raise ConfigError(
            f"{option} {name} needs at least two values separated by commas, got {quote(values)}"
        )
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"{option} {name} has the same value twice: {quote(values)}")
    return Axis(name, chosen)


def _split(values: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in values:
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def variants_of(axes: Sequence[Axis]) -> tuple[Variant, ...]:
    """All combinations of values, the first setting varying slowest.

    Raises:
        ConfigError: there are too many.

    >>> axes = axes_of(["model.cell=gru,lstm", "model.n_layers=1,2"], "--over")
    >>> [variant.name for variant in variants_of(axes)][:2]
    ['GRU, n_layers 1', 'GRU, n_layers 2']
    >>> [variant.key for variant in variants_of(axes)][:2]
    ['gru-n_layers1', 'gru-n_layers2']
    """
    n = 1
    for axis in axes:
        n *= len(axis.values)
    if n > _MOST_VARIANTS:
        raise ConfigError(f"{n:,} variants are too many to compare; give at most {_MOST_VARIANTS}")
    chosen = [
        tuple(zip((axis.name for axis in axes), values, strict=True))
        for values in product(*(axis.values for axis in axes))
    ]
    keys = unique_keys([key_of(settings) for settings in chosen])
    return tuple(
        Variant(_name_of(settings), key, settings)
        for settings, key in zip(chosen, keys, strict=True)
    )


def combinations_of(axes: Sequence[Axis]) -> list[tuple[Override, ...]]:
    """All combinations of the values to tune; one without settings if there are none."""
    names = [axis.name for axis in axes]
    return [
        tuple(zip(names, values, strict=True))
        for values in product(*(axis.values for axis in axes))
    ]


def key_of(settings: Sequence[Override]) -> str:
    """Settings as part of the name of a folder; see `Variant.key`.

    >>> key_of([("training.learning_rate", "1e-3"), ("data.columns", "[1, 2]")])
    'learning_rate1e-3-columns1_2'
    """
    parts = []
    for name, value in settings:
        safe = re.sub(r"[^\w.+-]+", "_", value, flags=re.ASCII).strip("_.")
        parts.append(safe if name in _BARE else f"{_short(name)}{safe}")
    return "-".join(parts)[:_LONGEST_KEY]


def unique_keys(keys: Sequence[str]) -> list[str]:
    """Keys with a number where two are equal."""
    seen: dict[str, int] = {}
    unique = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        unique.append(key if seen[key] == 1 else f"{key}_{seen[key]}")
    return unique


def _name_of(settings: Sequence[Override]) -> str:
    return ", ".join(
        value.upper() if name in _BARE else f"{_short(name)} {value}" for name, value in settings
    )


def _short(name: str) -> str:
    """The last part of a setting's name; with the one before it, if that says more than the section.

    >>> _short("model.attention"), _short("model.embeddings.tuning")
    ('attention', 'embeddings.tuning')
    """
    return name.partition(".")[2]
