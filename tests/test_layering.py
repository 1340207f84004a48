"""Imports follow the order of the folders, and the source contains nothing forbidden."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import unrolled

SOURCE = Path(unrolled.__file__).parent

ORDER = (
    "out_of_memory",
    "wording",
    "quoting",
    "errors",
    "storage",
    "documents",
    "tensor_files",
    "system",
    "reporting",
    "shapes",
    "config",
    "kernels",
    "searching",
    "generating",
    "code",
    "text",
    "samples",
    "ops",
    "nn",
    "vectors",
    "metrics",
    "sql",
    "layers",
    "decoding",
    "baselines",
    "tasks",
    "inference",
    "diagnosis",
    "training",
    "hub",
    "data_report",
    "exports",
    "predictors",
    "inspect",
    "comparison",
    "doctor",
    "cli",
    "__main__",
)
"""Modules and folders of the package; each may import itself and what stands before it.

Inside `training`, `inspect`… the order is free; `unrolled/__init__` only names where things are.
"""

MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")

FORBIDDEN_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def place(path: Path) -> str:
    """The entry of `ORDER` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> list[tuple[str, int]]:
    """Full names of what a file imports, late imports and those for type checkers included."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            found += ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_the_order_lists_every_part_of_the_package() -> None:
    assert {place(path) for path in MODULES} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("part", ORDER)
def test_imports_never_go_upward(part: str) -> None:
    own = ORDER.index(part)
    for path in files_of(part):
        for name, line in imported(path):
            package, _, rest = name.partition(".")
            if package != "unrolled":
                continue
            where, other = f"{path}, line {line}", rest.split(".")[0]
            assert other in ORDER, f"{where}: import {name} from the module that defines it"
            assert ORDER.index(other) <= own, f"{where}: {part} imports {name}, above it"


@pytest.mark.parametrize("part", ORDER)
def test_nothing_is_pickled(part: str) -> None:
    for path in files_of(part):
        for name, line in imported(path):
            assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{path}, line {line}: {name}"
            assert name not in ("torch.load", "torch.save"), f"{path}, line {line}: {name}"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("load", "save"):
                where = f"{path}, line {node.lineno}"
                assert ast.unparse(node) not in ("torch.load", "torch.save"), where
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", f"{path}, line {node.lineno}"


def files_of(part: str) -> list[Path]:
    """The modules of an entry of `ORDER`."""
    return [path for path in MODULES if place(path) == part]


@pytest.mark.parametrize(
    "folder",
    [
        "text",
        "vectors",
        "baselines",
        "metrics",
        "sql",
        "config.py",
        "documents.py",
        "errors.py",
        "kernels.py",
        "quoting.py",
        "tensor_files.py",
    ],
)
def test_modules_without_models_do_not_import_torch(folder: str) -> None:
    for path in MODULES:
        if path.relative_to(SOURCE).parts[0] == folder:
            names = {name.split(".")[0] for name, _ in imported(path)}
            assert "torch" not in names, path.name


def test_import_and_help_load_nothing_heavy() -> None:
    program = (
        "import sys, unrolled, unrolled.text, unrolled.cli\n"
        "dir(unrolled)\n"
        "for words in ('', 'train', 'predict', 'ask', 'vectors', 'vectors train', 'vectors map'):\n"
        "    assert unrolled.cli.main([*words.split(), '--help']) == 0\n"
        "print('heavy:', sorted({'torch', 'numpy', 'sacrebleu'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
    )
    assert done.stdout.endswith("heavy: []\n")


def test_no_file_mentions_a_path_of_one_machine() -> None:
    root = SOURCE.parents[1]
    folders = [root / name for name in ("src", "tests", "docs", "recipes", "benchmarks")]
    files = [
        *root.glob("*.md"),
        *root.glob("*.toml"),
        root / "Makefile",
        *(
            path
            for folder in folders
            for path in folder.rglob("*")
            if path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".jsonl")
        ),
    ]
    if not (root / "pyproject.toml").is_file():
        files = MODULES
    # A folder at the root of a disk, not the end of an address or of a relative path.
    roots = "|".join(("work", "tmp", "home", "root", "Users"))
    machine_path = re.compile(rf"(?<![\w.~$}}<)\]/-])(?:[A-Z]:)?[/\\](?:{roots})\b")
    found = [
        f"{path.relative_to(root)}, line {number}: {line.strip()}"
        for path in files
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if machine_path.search(line)
    ]
    assert found == []
