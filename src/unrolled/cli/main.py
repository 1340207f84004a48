"""Run one command: parse the arguments, call it, and turn errors into one-line messages.

A command only reads its arguments, calls the function that does the work and prints. Its imports
are inside it, so that `unrolled --help` does not wait for torch. Options with a dot in their name
(`--training.max_steps 500`) are settings of the recipe: they are removed before cyclopts sees the
arguments, and handled by `unrolled.config` like the lines of a TOML file.

Exit codes: 0; 1 if `ask` has no answer to its only question; 2 for an error with a message; 130 for
Ctrl-C; 141 if the reader of a pipe has gone.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from cyclopts import App, CycloptsError, Token, UnknownOptionError, UnusedCliTokensError

from unrolled.cli import app as tree
from unrolled.cli import (
    ask,
    compare,
    dashes,
    data,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    hub,
    inspect,
    options,
    predict,
    runs,
    sample,
    train,
    vectors,
    vectors_train,
)
from unrolled.cli.app import app
from unrolled.config import split_options
from unrolled.errors import ConfigError, UnrolledError
from unrolled.out_of_memory import is_out_of_memory
from unrolled.quoting import quote

NEED_TORCH = (
    *(train, compare, evaluate, ask, inspect, export, hub),
    *(data, doctor, demo),
)
COMMANDS = (*NEED_TORCH, generate, predict, runs, sample, vectors, vectors_train, tree)
"""The modules of the commands; importing one registers its commands with `app`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: arguments after `unrolled`; those of this process by default.

    Returns:
        The exit code.
    """
    _prepare_streams()
    if sys.stdout is None:
        _complain("standard output is closed; send it to a file, or to the null device")
        return 2
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _give_up_output()
        return 141
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return 141  # rich exits by itself when the reader of a pipe has gone
    except UnusedCliTokensError as error:
        unused = ", ".join(quote(dashes.unmark(token)) for token in error.unused_tokens or ())
        instead = "quote an argument that contains spaces"
        problem = f"unexpected {unused}; {_INSTEAD.get(''.join(given[:1]), instead)}"
    except UnknownOptionError as error:
        problem = dashes.unmark(str(error)) + _about_option(given, error.token)
        if list(given[:1]) == ["evaluate"] and error.token.keyword == "--baselines":
            problem = (
                "unknown option --baselines; to fit the baselines of a run, use 'unrolled train --resume "
                "--out RUN --baselines', and evaluate compares with them"
            )
    except (UnrolledError, CycloptsError) as error:
        problem = dashes.unmark(str(error))
    except (
        KeyboardInterrupt,
        OSError,
        MemoryError,
        ImportError,
        RuntimeError,
        SystemError,
    ) as error:
        if _is_interrupt(error):
            _complain("interrupted", before="\n")
            return 130
        if isinstance(error, OSError) and not is_out_of_memory(error):
            place = f"{error.filename}: " if error.filename else ""
            problem = f"{place}{error.strerror or error}"
        elif is_out_of_memory(error):
            problem = "out of memory; free memory, or reduce the batch size"
        else:
            raise
    _flush_output()
    _complain(problem)
    return 2


def _prepare_streams() -> None:
    """Make both streams accept any text; if standard error is closed, discard what is written to it."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  it stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _complain(problem: str, before: str = "") -> None:
    with suppress(OSError, ValueError):  # its reader may have gone
        sys.stderr.write(before)
        options.print_message(problem)


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _give_up_output()


def _give_up_output() -> None:
    """Discard further output, so that the interpreter does not fail when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error; during an import it may be raised as another error."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _run(arguments: Sequence[str]) -> int:
    rest, overrides = split_options(arguments)
    options.restore_docstrings(*COMMANDS)
    marked = dashes.mark(rest, _options_of(rest)) if dashes.may_be_texts(rest[1:]) else rest
    command, bound, ignored = app.parse_args(marked, exit_on_error=False, print_error=False)
    bound.arguments.update({name: dashes.unmark(each) for name, each in bound.arguments.items()})
    if "overrides" in ignored:
        bound.arguments["overrides"] = tuple(overrides)
    elif overrides and rest and rest[0] in app:
        raise ConfigError(f"--{overrides[0][0]}: `unrolled {rest[0]}` takes no recipe settings")
    if sys.modules[command.__module__] in NEED_TORCH:
        options.check_room_for_torch()
    return command(*bound.args, **bound.kwargs) or 0


def _options_of(arguments: Sequence[str]) -> set[str]:
    """The names of the options of the command that the arguments begin with."""
    command = app.parse_commands(list(arguments))[1][-1]
    names: set[str] = set()
    if getattr(command.default_command, "__module__", "").startswith("unrolled."):
        parameters = command.assemble_argument_collection()
        names = {name for parameter in parameters for name in parameter.names}
    return names | {*command.help_flags, *command.version_flags}


_INSTEAD = {
    "train": "give data with --data FILE",
    "compare": "give data with --data FILE",
    "config": "give data with --data FILE",
    "evaluate": "give other data with --data FILE",
    "generate": "give the text to continue with --prompt TEXT, in quotes",
}
"""What to do with an argument that a command does not take."""


def _about_option(arguments: Sequence[str], token: Token) -> str:
    """The end of a message about an unknown option: the usage if another command has it, or a text."""
    command = app.parse_commands(list(arguments))[1][-1]
    name = (token.keyword or token.value).partition("=")[0]
    if arguments[0] in _TAKE_SETTINGS and (settings := _settings_named(name)):
        return f" Settings are named with their section: {' or '.join(settings)}"
    if name not in _options_within(app):
        return dashes.hint(arguments, _takes_texts(arguments))
    return f" {command.usage}" if command.usage else ""


def _settings_named(option: str) -> list[str]:
    """The options of the recipe's settings with a name that was given without its section."""
    options.check_room_for_torch()
    from unrolled.config import to_mapping
    from unrolled.tasks import TASKS
    from unrolled.training.recipe import Recipe

    wanted = option.removeprefix("--").replace("-", "_")
    recipes = [to_mapping(Recipe.from_mapping({"task": task}, TASKS)) for task in TASKS]
    return list(
        {
            f"--{section}.{wanted}": None
            for recipe in recipes
            for section, fields in recipe.items()
            if isinstance(fields, dict) and wanted in fields
        }
    )


_TAKE_SETTINGS = ("train", "compare", "config", "data", "inspect")


def _options_within(command: App) -> set[str]:
    """The names of the options of all commands below a command."""
    names = set[str]()
    for name, each in command.resolved_commands().items():
        if name.startswith("-"):  # --help and --version
            continue
        if each.default_command is not None:
            names |= {option for one in each.assemble_argument_collection() for option in one.names}
        names |= _options_within(each)
    return names


_TAKE_TEXTS = ("predict", "ask", "complete", "score", "inspect", "vectors")


def _takes_texts(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in _TAKE_TEXTS
