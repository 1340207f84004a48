"""The command line of the programs that convert public data sets to tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

Converter = Callable[[Path, Path], None]
"""Reads a set from the folder of all original sets, and writes it to a folder of its own."""


def convert(description: str | None, sets: Mapping[str, Converter]) -> None:
    """Convert the sets that the command line names.

    Args:
        description: the docstring of the program.
        sets: the sets by name.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder with the original data sets")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument(
        "--sets", nargs="+", choices=sets, default=list(sets), help="data sets to convert"
    )
    arguments = parser.parse_args()
    for name in arguments.sets:
        sets[name](arguments.source, arguments.out / name)
