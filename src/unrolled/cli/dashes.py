"""Texts, words and values that begin with a dash, such as "-good", are not taken for options.

Before the arguments are parsed, a mark is put in front of what begins with a dash and cannot be an
option; afterwards, it is removed from the values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import ConfigError
from unrolled.quoting import shell_command

_MARK = "\uf8ff"
_NUMBER = re.compile(r"-\.?\d\S*")
_OPTION = re.compile(r"--[\w-]+(\.[\w-]+)*(=.*)?", re.DOTALL)


def mark(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """Mark the arguments that begin with a dash and are no options.

    Options have two dashes. What has one is a text, unless it is the name of an option.

    Args:
        arguments: the arguments of a command.
        options: the names of its options, with their dashes.

    Raises:
        ConfigError: an argument is an option with one dash instead of two.

    >>> [argument[0] for argument in mark(["-good", "--out", "--no way", "--", "-x"], ["--out"])]
    ['\uf8ff', '-', '\uf8ff', '-', '-']
    """
    marked, ended = [], False
    for argument in arguments:
        ended = ended or argument == "--"
        is_text = (
            not ended
            and argument.startswith("-")
            and not _NUMBER.fullmatch(argument)
            and not _OPTION.fullmatch(argument)
            and argument not in options
        )
        name = f"-{argument.partition('=')[0]}"
        if is_text and name in options:
            raise ConfigError(f"unknown option {argument}; did you mean {name}?")
        marked.append(_MARK + argument if is_text else argument)
    return marked


def may_be_texts(arguments: Sequence[str]) -> bool:
    """Whether any argument begins with a dash and is not written like an option."""
    return any(
        each.startswith("-") and each != "-h" and not _OPTION.fullmatch(each) for each in arguments
    )


def unmark(value: Any) -> Any:
    """A value, or a tuple or list of values, without marks."""
    if isinstance(value, str):
        return value.replace(_MARK, "")
    if isinstance(value, Path):
        return Path(str(value).replace(_MARK, "")) if _MARK in str(value) else value
    if isinstance(value, tuple | list):
        return type(value)(unmark(each) for each in value)
    return value


def hint(arguments: Sequence[str], texts_follow: bool) -> str:
    """The end of a message about an unknown option that may have been meant as a text.

    Args:
        arguments: the arguments of the process, the unknown option among them.
        texts_follow: whether the command takes texts.
    """
    if not texts_follow:
        return ""
    place = next((i for i, each in enumerate(arguments) if each.startswith("--")), len(arguments))
    before, after = arguments[:place], arguments[place:]
    if not after or any(each.startswith("--") for each in after[1:]):
        return " If it is a text, write -- alone before it, and options before that"
    return f" If it is a text, run: {shell_command('unrolled', *before, '--', *after)}"
