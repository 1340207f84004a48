"""`unrolled compare` as a command: its messages, and a kill of everything while runs are made."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparing import HereRunner, Made, made

from unrolled import cli
from unrolled.comparison import runners
from unrolled.comparison.plan import read_plan


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert cli.main(["compare", *map(str, words)]) == 2
    return capsys.readouterr().err.strip()


def test_errors_say_what_to_do(tiny: Path, tmp_path: Path, capsys) -> None:
    out = ("--out", tmp_path / "out")
    over = ("--over", "model.cell=gru,lstm")
    assert error_of(capsys) == "unrolled: nothing to compare; give a recipe, or --task and --data"
    assert "nothing varies" in error_of(capsys, tiny, *out)
    assert "--jobs must be from 1 to 1024, got 0" in error_of(capsys, tiny, *over, "--jobs", 0)
    assert "--seeds must be from 1" in error_of(capsys, tiny, *over, "--seeds", 0)
    both = error_of(capsys, tiny, *over, "--model.cell", "rnn", *out)
    assert "--model.cell is given, but model.cell varies; remove --model.cell" in both
    assert "holds no comparison" in error_of(capsys, *out)
    assert not (tmp_path / "out").exists()


def test_a_finished_comparison_is_shown_at_once(compared: Made, capsys) -> None:
    assert cli.main(["compare", "--out", str(compared.folder)]) == 0
    out = capsys.readouterr().out
    assert "LSTM and GRU: no difference in accuracy is shown" in " ".join(out.split())
    assert out.rstrip().endswith("report.html")
    assert "event=comparison runs=4 finished=4" in out


def test_a_finished_comparison_is_shown_without_its_data(
    compared: Made, tiny: Path, tmp_path: Path, capsys
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(compared.folder, copy)
    plan = (copy / "plan.toml").read_text(encoding="utf-8")
    moved = plan.replace(str(tiny.parent / "texts.tsv"), str(tmp_path / "moved.tsv"))
    assert moved != plan
    (copy / "plan.toml").write_text(moved, encoding="utf-8")
    before = (copy / "compare.json").read_bytes()
    assert cli.main(["compare", "--out", str(copy)]) == 0
    assert "no difference in accuracy is shown" in " ".join(capsys.readouterr().out.split())
    changed = json.loads((copy / "compare.json").read_text(encoding="utf-8"))
    assert changed["recipe"]["data"].pop("train") == [str(tmp_path / "moved.tsv")]
    wanted = json.loads(before)
    assert wanted["recipe"]["data"].pop("train") == [str(tiny.parent / "texts.tsv")]
    assert changed == wanted
    message = error_of(capsys, "--out", copy, "--seeds", 3)
    assert message == f"unrolled: {tmp_path / 'moved.tsv'}: no such file"
    assert read_plan(copy).seeds == 2


def test_another_score_needs_no_new_runs(compared: Made, tmp_path: Path, capsys) -> None:
    shutil.copytree(compared.folder, tmp_path / "copy")
    words = ["compare", "--out", str(tmp_path / "copy"), "--score", "macro_f1"]
    assert cli.main(words) == 0
    assert "macro F1" in capsys.readouterr().out
    assert read_plan(tmp_path / "copy").score == "macro_f1"


def test_the_page_keeps_the_command_that_planned_it(
    tiny: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(runners, "LocalRunner", lambda _: HereRunner())
    out = tmp_path / "out"
    words = [
        "compare",
        str(tiny),
        "--over",
        "model.cell=gru,lstm",
        "--seeds",
        "1",
        "--out",
        str(out),
    ]
    for arguments in (words, ["compare", "--out", str(out)]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["unrolled", *arguments])
            assert cli.main(arguments) == 0
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "--over model.cell=gru,lstm --seeds 1" in page


def test_a_finished_comparison_is_recorded(compared: Made, tmp_path: Path, capsys) -> None:
    record = tmp_path / "results.jsonl"
    words = ["compare", "--out", str(compared.folder), "--record", str(record)]
    assert cli.main(words) == 0
    (line,) = record.read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert found["comparison"] == compared.folder.name
    assert {"date", "commit"} < set(found)
    for recorded, variant in zip(found["variants"], compared.end.data["variants"], strict=True):
        scores = [run["scores"][found["score"]] for run in variant["runs"]]
        assert list(recorded["by_seed"].values()) == scores
        assert recorded["mean"] == pytest.approx(sum(scores) / len(scores))
    assert found["differences"] == [each["sentence"] for each in compared.end.data["differences"]]


def test_a_file_that_cannot_be_written_is_refused_first(tiny: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    words = (tiny, "--over", "model.cell=gru,lstm", "--out", out, "--record", tmp_path / "no" / "x")
    assert "name a file in an existing folder" in error_of(capsys, *words)
    assert not out.exists()


def test_settings_of_a_plan_are_not_given_again(compared: Made, capsys) -> None:
    message = error_of(capsys, "--out", compared.folder, "--over", "model.cell=gru,rnn")
    assert "--over is part of the plan" in message


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_comparison_ends_the_same_bit_for_bit(
    compared: Made, tiny: Path, tmp_path: Path
) -> None:
    made(dataclasses.replace(compared.plan, seeds=1), tmp_path / "alone")
    words = ["compare", str(tiny), "--over", "model.cell=gru,lstm", "--seeds", "1"]
    command = [sys.executable, "-m", "unrolled", *words, "--out", str(tmp_path / "out")]
    folders = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "out" / "runs" / "gru-seed1" / "checkpoints" / "pointer.json"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "out" / "results" / "lstm-seed1.json").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = (tmp_path / "alone" / "compare.json").read_bytes()
    assert (tmp_path / "out" / "compare.json").read_bytes() == whole
    assert list((tmp_path / "out" / "logs").iterdir()) == []
