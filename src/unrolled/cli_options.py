"""What commands share: the folder that a result is kept in, and settings by the names of options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from unrolled.errors import ConfigError, DataError, UnrolledError

_SETTING = re.compile(r"(?<![\w./\\-])(\w+\.\w+)(?![\w/\\-])(?!\.\w)")


def default_out(name: str, root: str, what: str) -> Path:
    """The folder for what is made of a recipe, a data file, a folder of texts, or a pattern.

    Args:
        name: as it was given.
        root: the folder it goes into.
        what: it is, for the message.

    Raises:
        ConfigError: there is no name in it.

    >>> default_out("texts/**/*.txt", "vectors", "vectors").as_posix()
    'vectors/texts'
    """
    import glob

    parts = Path(name).resolve().parts
    first_magic = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    last = Path(parts[first_magic - 1]).name.split(".")[0] if first_magic > 1 else ""
    if not last or name == "-":
        given = "standard input" if name == "-" else name
        raise ConfigError(
            f"{given} gives the {what} no name; name the folder with --out {root}/NAME"
        )
    return Path(root) / last


@contextmanager
def settings_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Have messages name the option of a command where they name a setting.

    Args:
        options: by the name of the setting.

    >>> with settings_as_options({"vectors.min_count": "--min-count"}):
    ...     raise ConfigError("vectors.min_count must be at least 1, got 0")
    Traceback (most recent call last):
    unrolled.errors.ConfigError: --min-count must be at least 1, got 0
    """

    def renamed(text: str) -> str:
        return _SETTING.sub(lambda found: options.get(found[1], found[1]), text)

    try:
        yield
    except UnrolledError as error:  # it stays what it is, with all that it carries
        place = ""
        if isinstance(error, DataError):  # a path is no setting, whatever it is called
            place = str(error).removesuffix(error.problem)
            error.problem = renamed(error.problem)
        error.args = (place + renamed(str(error).removeprefix(place)),)
        raise
