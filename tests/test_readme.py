"""The commands in the README and the recipes are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from unrolled.cli.app import app
from unrolled.config import split_options
from unrolled.tasks import TASKS
from unrolled.training.recipe import recipe_from_toml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "recipes").iterdir())]


def commands(page: Path) -> list[str]:
    """The `unrolled …` commands of a page's blocks, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\n# ", "\n").replace("\\\n", " ")
    found = re.findall(r"^(?:\$ |cat \S+ \| )?\s*(unrolled \w.*)$", text, flags=re.MULTILINE)
    return [line.split("   #")[0].strip() for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_parsed(page: Path) -> None:
    assert commands(page)
    for command in commands(page):
        rest, _ = split_options(shlex.split(command.replace("$seed", "1"))[1:])
        app.parse_args(rest, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_every_recipe_is_valid(path: Path) -> None:
    assert recipe_from_toml(path, TASKS).training.has_limit


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*.toml")])
def test_no_figure_is_missing(page: Path) -> None:
    assert "@@" not in page.read_text(encoding="utf-8")
