"""The command line: one file for each command, `main` to run one."""

from unrolled.cli.main import main

__all__ = ["main"]
