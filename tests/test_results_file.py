"""The commit that a results file names: that of the code, not of the results themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from unrolled.predictors.results_file import commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs Git")


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with code and results, without changes."""
    folder = tmp_path / "tree"
    for name in ("src/code.py", "docs/results.jsonl", "docs/results.jsonl.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("first\n", encoding="utf-8")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def test_a_record_does_not_make_the_next_one_dirty(tree: Path) -> None:
    results = tree / "docs" / "results.jsonl"
    clean = commit_of(tree / "src", results)
    assert clean is not None
    assert not clean.endswith("-dirty")
    results.write_text("first\nsecond\n", encoding="utf-8")
    assert commit_of(tree / "src", results) == clean
    git(tree, "add", ".")  # staged, it is still only the results
    assert commit_of(tree / "src", results) == clean


@pytest.mark.parametrize("name", ["src/code.py", "docs/results.jsonl.md"])
def test_any_other_change_does(tree: Path, name: str) -> None:
    results = tree / "docs" / "results.jsonl"
    clean = commit_of(tree / "src", results)
    (tree / name).write_text("changed\n", encoding="utf-8")
    assert commit_of(tree / "src", results) == f"{clean}-dirty"


def test_results_outside_the_tree_change_nothing(tree: Path, tmp_path: Path) -> None:
    clean = commit_of(tree / "src", tmp_path / "results.jsonl")
    assert clean == commit_of(tree, tree / "docs" / "results.jsonl")
    (tree / "docs" / "results.jsonl").write_text("changed\n", encoding="utf-8")
    assert commit_of(tree / "src", tmp_path / "results.jsonl") == f"{clean}-dirty"
    (tree / "new.py").write_text("", encoding="utf-8")  # untracked, as for `git describe --dirty`
    git(tree, "checkout", "--", "docs")
    assert commit_of(tree / "src", tmp_path / "results.jsonl") == clean


def test_without_a_commit_there_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "unrolled").mkdir(parents=True)
    assert commit_of(tmp_path / "site-packages" / "unrolled", tmp_path / "results.jsonl") is None
    git(tmp_path, "init")
    assert commit_of(tmp_path, tmp_path / "results.jsonl") is None
