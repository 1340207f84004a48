"""`unrolled runs`: what the files of runs say, quickly and without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparing import Made

from unrolled import cli
from unrolled.comparison import run_list
from unrolled.comparison.run_list import differing, facts_of, is_run, run_folders
from unrolled.errors import ConfigError
from unrolled.training import run_folder


def test_facts_are_those_of_the_run(compared: Made) -> None:
    run = compared.end.data["variants"][1]["runs"][0]
    facts = facts_of(compared.folder / run["folder"])
    assert (facts.task, facts.cell, facts.steps) == ("classify", "lstm", 6)
    assert facts.parameters == compared.end.data["variants"][1]["parameters"]
    assert facts.best == f"accuracy {run['value']:.4g}"
    assert facts.problem == ""


def test_runs_of_a_comparison_are_found(compared: Made) -> None:
    names = [path.name for path in run_folders(compared.folder)]
    assert names == ["gru-seed1", "gru-seed2", "lstm-seed1", "lstm-seed2"]


def test_a_run_is_known_by_the_lines_that_training_writes() -> None:
    assert run_folder.BEGIN_OF_CONFIG.encode() == run_list.FIRST_LINE
    assert run_folder.END_OF_CONFIG.encode().startswith(run_list.LAST_LINE)


def test_runs_of_old_versions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[1] / "old_files"
    assert cli.main(["runs", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        *("run", "task", "cell", "parameters", "steps", "best", "validation", "score", "date")
    ]
    assert len(out.splitlines()) == 1 + len(list(folder.glob("*/run/config.toml")))


def test_differing_settings_are_listed(compared: Made, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (str(compared.folder / "runs" / name) for name in ("gru-seed1", "lstm-seed2"))
    assert [name for name, _, _ in differing(Path(first), Path(second))] == [
        *("seed", "model.cell", "model.hidden_size")
    ]
    assert cli.main(["runs", "--diff", first, second]) == 0
    assert ["model.cell", "gru", "lstm"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]
    assert cli.main(["runs", "--diff", first, first]) == 0
    assert capsys.readouterr().out == "all settings are equal\n"


def test_a_damaged_run_is_listed_with_its_problem(compared: Made, tmp_path: Path) -> None:
    run = tmp_path / "damaged"
    shutil.copytree(compared.folder / "runs" / "gru-seed1", run)
    (run / "checkpoints" / "pointer.json").write_text("{", encoding="utf-8")
    facts = facts_of(run)
    assert facts.cell == "gru"
    assert facts.steps is None
    assert "pointer.json" in facts.problem


def test_a_hundred_runs_take_less_than_a_second(compared: Made, tmp_path: Path) -> None:
    source = compared.folder / "runs" / "gru-seed1"
    for number in range(100):
        shutil.copytree(source, tmp_path / f"run{number:03}")
    began = time.process_time()
    assert len([facts_of(path) for path in run_folders(tmp_path)]) == 100
    assert time.process_time() - began < 1


def test_listing_needs_no_torch(compared: Made) -> None:
    program = (
        "import sys; from unrolled import cli\n"
        "assert cli.main(sys.argv[1:]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, "runs", str(compared.folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        list(run_folders(tmp_path / "nowhere"))
    assert cli.main(["runs", str(tmp_path)]) == 2
