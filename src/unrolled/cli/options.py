"""What commands share: the folder of a result, settings by the names of options, standard streams."""

from __future__ import annotations

import ast
import inspect
import mmap
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TextIO

from cyclopts import Parameter

from unrolled.errors import ConfigError, DataError, UnavailableError, UnrolledError
from unrolled.quoting import escape_lines

if TYPE_CHECKING:
    from unrolled.decoding.config import DecodingConfig
    from unrolled.training.recipe import Recipe

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


def standard_input() -> BinaryIO:
    """The bytes of standard input.

    Raises:
        ConfigError: it is closed.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed; give the text as an argument, or in a file")
    return sys.stdin.buffer


def is_typed() -> bool:
    """Whether somebody types what standard input holds."""
    return sys.stdin is not None and sys.stdin.isatty()


def shown_on(stream: TextIO, text: str) -> str:
    """Text of data for a stream: a file or a pipe gets it as it is, a terminal nothing it would obey."""
    return escape_lines(text) if stream.isatty() else text


_ADDRESS_SPACE_OF_TORCH = 600 << 20


def check_room_for_torch() -> None:
    """Refuse what would end in a crash: PyTorch's libraries abort where they cannot be mapped.

    Raises:
        UnavailableError: less memory may be addressed than PyTorch takes to be loaded (`ulimit -v`).
    """
    if "torch" in sys.modules:
        return
    try:
        mmap.mmap(-1, _ADDRESS_SPACE_OF_TORCH).close()
    except (OSError, MemoryError, ValueError):
        raise UnavailableError(
            "out of memory: PyTorch cannot be loaded; raise the limit (ulimit -v), or free memory"
        ) from None


def restore_docstrings(*modules: ModuleType) -> None:
    """Functions get back the docstrings that `python -OO` takes away: help texts are made of them.

    Where the source is not at hand, help has no texts.
    """
    if sys.flags.optimize < 2:
        return
    for module in modules:
        with suppress(OSError):
            for node in ast.parse(inspect.getsource(module)).body:
                if isinstance(node, ast.FunctionDef):
                    getattr(module, node.name).__doc__ = ast.get_docstring(node, clean=False)


Files = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]


Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]


Precision = Literal["float32", "bfloat16", "int8"]


Overrides = Annotated[tuple[tuple[str, str | None], ...], Parameter(parse=False)]


SETTINGS_HELP = """

Every setting of the recipe is an option too: --section.field VALUE, for example
--training.max_steps 500 --model.cell gru. A list is given by repeating the option.
`unrolled config` prints all of them with their values.
"""


def recipe_from_options(
    path: Path | None,
    task: str | None,
    data: Sequence[str],
    valid: Sequence[str],
    test: Sequence[str],
    columns: Sequence[str],
    seed: int | None,
    overrides: Sequence[tuple[str, str | None]],
    base: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """The recipe that a file, or `base` over a task's defaults, and the options over it describe."""
    from unrolled.tasks import TASKS
    from unrolled.training.recipe import Recipe, recipe_from_toml

    if path is not None and task is not None:
        raise ConfigError("both a recipe and --task; the recipe names its task")
    for file in (*data, *valid, *test, *columns):
        if file.endswith(".toml"):
            raise ConfigError(f"{file} is taken for data; a recipe stands before the options")
    dotted = {name for name, _ in overrides}
    given: list[tuple[str, str | None]] = []
    options = {"data": ("train", data), "valid": ("valid", valid), "test": ("test", test)}
    for option, (key, values) in {**options, "columns": ("columns", columns)}.items():
        if values and f"data.{key}" in dotted:
            raise ConfigError(f"--{option} and --data.{key} say the same; give one of them")
        given += [(f"data.{key}", value) for value in values]
    if task is not None:
        given.append(("task", task))
    if seed is not None:
        given.append(("seed", str(seed)))
    given += overrides
    if path is not None:
        return recipe_from_toml(path, TASKS, given)
    return Recipe.from_mapping(base, TASKS, given)


def settings_to_start_from(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that starts from another takes over: all but its data, text and training."""
    from unrolled.tasks import TASKS

    base = {key: config[key] for key in ("task", "model", "decoding")}
    inherited = TASKS[config["task"]].inherited if config["task"] in TASKS else ()
    reading = {key: config["data"][key] for key in inherited if key in config["data"]}
    return base | ({"data": reading} if reading else {})


def decoding_from_options(
    decoding: DecodingConfig, overrides: Sequence[tuple[str, str | None]]
) -> DecodingConfig:
    """The run's decoding options with those of the command line over them."""
    from unrolled.config import apply_overrides, from_mapping, to_mapping

    for name, _ in overrides:
        if not name.startswith("decoding."):
            raise ConfigError(f"--{name}: a trained run takes only --decoding.… settings")
    mapping = apply_overrides({"decoding": to_mapping(decoding)}, overrides)
    return from_mapping(type(decoding), mapping["decoding"], "decoding")
