"""Shared by commands: default output folders, settings as options, standard streams."""

from __future__ import annotations

import ast
import inspect
import mmap
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TextIO

from cyclopts import Parameter

from unrolled.errors import ConfigError, DataError, UnavailableError, UnrolledError
from unrolled.quoting import escape_lines, one_message
from unrolled.wording import wrapped

if TYPE_CHECKING:
    from unrolled.decoding.config import DecodingConfig
    from unrolled.training.recipe import Recipe

_SETTING = re.compile(r"(?<![\w./\\-])(\w+\.\w+)(?![\w/\\-])(?!\.\w)")


def default_out(name: str, root: str, what: str) -> Path:
    """The default output folder for a recipe, a data file, a folder of texts, or a pattern.

    Args:
        name: path or pattern as given.
        root: parent folder of the output folder.
        what: kind of output, for the message.

    Raises:
        ConfigError: no name can be derived from it.

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
            f"cannot derive a name for the {what} from {given}; add --out {root}/NAME"
        )
    return Path(root) / last


def out_for(recipe: Path | None, chosen: Recipe, root: str, what: str) -> Path:
    """The default output folder of what a recipe, or its training data, is used for.

    Args:
        recipe: the recipe file, if there is one.
        chosen: the recipe.
        root, what: as for `default_out`.

    Raises:
        ConfigError: there is neither a file nor data, or no name can be derived from it.
    """
    name = str(recipe) if recipe else next(iter(chosen.data.train), None)
    if name is None:
        raise ConfigError("no training data; give a recipe or --data FILE")
    return default_out(name, root, what)


@contextmanager
def settings_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Replace names of settings in error messages by the options of a command.

    Args:
        options: option by name of the setting.

    >>> with settings_as_options({"vectors.min_count": "--min-count"}):
    ...     raise ConfigError("vectors.min_count must be at least 1, got 0")
    Traceback (most recent call last):
    unrolled.errors.ConfigError: --min-count must be at least 1, got 0
    """

    def renamed(text: str) -> str:
        return _SETTING.sub(lambda match: options.get(match[1], match[1]), text)

    try:
        yield
    except UnrolledError as error:  # the same error is raised, with its attributes
        place = ""
        if isinstance(error, DataError):  # a path is never a setting, whatever its name
            place = str(error).removesuffix(error.problem)
            error.problem = renamed(error.problem)
        error.args = (place + renamed(str(error).removeprefix(place)),)
        raise


def standard_input() -> BinaryIO:
    """The bytes of standard input.

    Raises:
        ConfigError: standard input is closed.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed; give the text as an argument, or in a file")
    return sys.stdin.buffer


STDIN = "-"
"""The name of standard input, among texts and files."""


def named_files(texts: Sequence[str]) -> list[str]:
    """The texts, if all of them are names of files, which were probably meant to be read."""
    return list(texts) if all(map(_is_file, texts)) else []


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or a null byte
        return False


def is_typed() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def shown_on(stream: TextIO, text: str) -> str:
    """Text for a stream: unchanged for a file or pipe, with control characters escaped for a terminal."""
    return escape_lines(text) if stream.isatty() else text


def print_message(text: str, prefix: str = "unrolled: ") -> None:
    """Print a message on standard error: on one line, or at a terminal in lines broken between words."""
    message = one_message(f"{prefix}{text}")
    lines: Iterable[str] = [message]
    if sys.stderr.isatty():
        with suppress(OSError):
            lines = wrapped(message, os.get_terminal_size(sys.stderr.fileno()).columns)
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def text_width() -> int:
    """Number of columns for tables: those of the terminal, or of COLUMNS; 80 for a file or pipe."""
    return min(max(shutil.get_terminal_size().columns, _NARROWEST), 160)


_NARROWEST = 40


_ADDRESS_SPACE_OF_TORCH = 600 << 20


def check_room_for_torch() -> None:
    """Check that PyTorch can be loaded; its libraries abort the process if they cannot be mapped.

    Raises:
        UnavailableError: the address space is smaller than PyTorch needs to be loaded (`ulimit -v`).
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
    """Restore the docstrings that `python -OO` removes, because help texts are made from them.

    If the source is not available, help has no texts.
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


DECODING_HELP = """

For translate, --decoding.FIELD VALUE changes how translations are decoded, for example
--decoding.beam_size 10. To list the fields, run 'unrolled config'.
"""


SETTINGS_HELP = """

Every setting of the recipe is also an option, --SECTION.FIELD VALUE, for example
--training.max_steps 500 --model.cell gru; repeat the option to give a list.
To list all settings and their values, run 'unrolled config'.
"""


DATA_SETTINGS_HELP = """

Settings of the sections data and text of the recipe are also options, --SECTION.FIELD VALUE, for example
--data.max_length 50 --text.kind word; repeat the option to give a list.
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
    begun: Path | None = None,
    *,
    counting: bool = True,
) -> Recipe:
    """The recipe of a file, or of `base` over a task's defaults, with the options applied to it.

    Without both, the defaults suit the amount of data (`training.sized`), or are those of a run that goes
    on.

    Args:
        path: the recipe file.
        task … seed: as for `unrolled train`.
        overrides: settings given as options.
        base: settings to start from.
        begun: a run that goes on with these options, if there is one.
        counting: whether n-grams may be counted beside a network, if that suits the data.
    """
    from unrolled.tasks import TASKS
    from unrolled.training.recipe import Recipe, recipe_from_toml

    if path is not None and _is_data(path):
        raise ConfigError(
            f"{path} was given as a recipe (a TOML file); give data with --data {path}"
        )
    if path is not None and task is not None:
        raise ConfigError("both a recipe and --task are given; remove --task, the recipe sets it")
    for file in (*data, *valid, *test, *columns):
        if file.endswith(".toml"):
            raise ConfigError(
                f"{file} was given as data; put the recipe first: unrolled COMMAND RECIPE [OPTIONS]"
            )
    dotted = {name for name, _ in overrides}
    given: list[tuple[str, str | None]] = []
    options = {"data": ("train", data), "valid": ("valid", valid), "test": ("test", test)}
    for option, (key, values) in {**options, "columns": ("columns", columns)}.items():
        if values and f"data.{key}" in dotted:
            raise ConfigError(f"--{option} and --data.{key} set the same field; use one")
        given += [(f"data.{key}", value) for value in values]
    if task is not None:
        given.append(("task", task))
    if seed is not None:
        given.append(("seed", str(seed)))
    given += overrides
    if path is not None:
        return recipe_from_toml(path, TASKS, given)
    if not base:
        plain = Recipe.from_mapping({}, TASKS, given)
        base = _suiting(given, begun, plain if counting else None)
    return Recipe.from_mapping(base, TASKS, given)


def _suiting(
    given: Sequence[tuple[str, str | None]], begun: Path | None, plain: Recipe | None
) -> dict[str, Any]:
    """The settings that suit the amount of data, as tables; those of a run that goes on are its own."""
    from unrolled.training.run_folder import flat, is_run, read_config
    from unrolled.training.sized import sized_settings

    values = dict(given)
    files = [value for name, value in given if name == "data.train" and value is not None]
    settings = sized_settings(values.get("task") or "", files, values, plain)
    if begun is not None and is_run(begun):
        own = flat(read_config(begun))
        settings = {name: own[name] for name in settings if name in own}
    tables: dict[str, Any] = {}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        tables.setdefault(section, {})[key] = value
    return tables


def _is_data(path: Path) -> bool:
    from unrolled.text.conll import is_column_file
    from unrolled.text.files import endings
    from unrolled.text.tables import TABLES

    return endings(path)[0] in (*TABLES, ".txt") or is_column_file(path)


def settings_to_start_from(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run inherits from the run it starts from: all but data, text and training."""
    from unrolled.tasks import TASKS

    base = {key: config[key] for key in ("task", "model", "decoding")}
    inherited = TASKS[config["task"]].inherited if config["task"] in TASKS else ()
    reading = {key: config["data"][key] for key in inherited if key in config["data"]}
    return base | ({"data": reading} if reading else {})


def decoding_from_options(
    decoding: DecodingConfig, overrides: Sequence[tuple[str, str | None]]
) -> DecodingConfig:
    """The run's decoding settings, overridden by those of the command line."""
    from unrolled.config import apply_overrides, from_mapping, to_mapping

    for name, _ in overrides:
        if not name.startswith("decoding."):
            raise ConfigError(
                f"--{name}: only --decoding.… settings can be changed for a trained run"
            )
    mapping = apply_overrides({"decoding": to_mapping(decoding)}, overrides)
    return from_mapping(type(decoding), mapping["decoding"], "decoding")
