"""Imports follow the order of the folders, and the source contains nothing forbidden."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
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
IDS = [path.relative_to(SOURCE).as_posix() for path in MODULES]

FORBIDDEN_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def place(path: Path) -> str:
    """The entry of `ORDER` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Full names of what a file imports, late imports and those for type checkers included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_the_order_lists_every_part_of_the_package() -> None:
    assert {place(path) for path in MODULES} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_imports_never_go_upward(path: Path) -> None:
    own = ORDER.index(place(path))
    for name, line in imported(path):
        package, _, rest = name.partition(".")
        if package != "unrolled":
            continue
        part = rest.split(".")[0]
        assert part in ORDER, f"line {line}: import {name} from the module that defines it"
        assert ORDER.index(part) <= own, f"line {line}: {place(path)} imports {name}, above it"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_nothing_is_pickled(path: Path) -> None:
    for name, line in imported(path):
        assert name.split(".")[0] not in FORBIDDEN_MODULES, f"line {line}: {name}"
        assert name not in ("torch.load", "torch.save"), f"line {line}: {name}"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("torch.load", "torch.save"), f"line {node.lineno}"
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle", f"line {node.lineno}"


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
