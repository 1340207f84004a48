"""Commands never write through a link or over a foreign file, inside or outside a run folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from unrolled import cli, storage

pytestmark = pytest.mark.usefixtures("one_thread")
posix = pytest.mark.skipif(os.name == "nt", reason="needs links of POSIX")

ROWS = "".join(f"a good film {n}\tpos\na bad film {n}\tneg\n" for n in range(25))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `run` that answers with labels, and its data."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "films.tsv").write_text("text\tlabel\n" + ROWS, encoding="utf-8")
    small = ("--model.embedding_size", "4", "--model.hidden_size", "4", "--training.max_steps", "1")
    files = ("--data", str(folder / "films.tsv"), "--out", str(folder / "run"))
    device = ("--training.device", "cpu")
    assert cli.main(["train", "--task", "classify", *files, *small, *device]) == 0
    return folder


@pytest.fixture
def run(labelled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(labelled / "run", tmp_path / "run"))


def evaluate(run: Path, *more: str) -> int:
    return cli.main(["evaluate", str(run), "--words", "none", *more])


def predict(run: Path, *more: str) -> int:
    return cli.main(["predict", str(run), "a good film", *more])


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl", ".report.html.partial"])
def test_a_report_is_not_written_through_a_link(run: Path, tmp_path: Path, name: str, link) -> None:
    mine = tmp_path / "mine"
    mine.write_text("once", encoding="utf-8")
    (run / "evaluation-test").mkdir()
    link(mine, run / "evaluation-test" / name)
    assert evaluate(run) == 0
    assert mine.read_text(encoding="utf-8") == "once"
    names = sorted(path.name for path in (run / "evaluation-test").iterdir())
    assert names == ["predictions.jsonl", "report.html"]


@posix
def test_a_report_is_not_written_through_a_linked_folder(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = run / "evaluation-test"
    folder.symlink_to(tmp_path / "elsewhere")
    assert evaluate(run) == 2
    assert capsys.readouterr().err.startswith(f"unrolled: {folder} is a link to ")
    assert evaluate(run, "--out", str(tmp_path / "elsewhere")) == 0
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


@posix
def test_predictions_are_not_written_through_a_link(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, text = tmp_path / "mine", tmp_path / "in.txt"
    mine.write_text("once", encoding="utf-8")
    text.write_text("a good film\n", encoding="utf-8")
    link = run / "answers.txt"
    link.symlink_to(mine)
    assert cli.main(["predict", str(run), "--input", str(text), "--output", str(link)]) == 2
    assert evaluate(run, "--record", str(link)) == 2
    told = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"unrolled: {link} is a link to '{mine}'; ") for line in told)
    assert len(told) == 2
    assert mine.read_text(encoding="utf-8") == "once"
    own = tmp_path / "link"  # the user's own link is followed, as everywhere
    own.symlink_to(mine)
    assert cli.main(["predict", str(run), "--input", str(text), "--output", str(own)]) == 0
    assert mine.read_text(encoding="utf-8") != "once"


def test_a_run_can_be_used_while_it_is_being_trained(run: Path) -> None:
    with storage.locked(run):
        assert evaluate(run) == 0
        assert predict(run) == 0


def test_a_run_in_training_is_distinguished_from_a_finished_one(
    labelled: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--task", "classify", "--data", str(labelled / "films.tsv"), "--out", str(run))
    with storage.locked(run):
        for more in ((), ("--force",), ("--resume",), ("--from", str(labelled / "run"))):
            arguments = data[2:] if "--from" in more else data
            assert cli.main(["train", *arguments, "--training.max_steps", "2", *more]) == 2
            assert capsys.readouterr().err.startswith(f"unrolled: {run} is being written by this ")


def test_a_sample_is_not_written_over_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.tsv").write_text("my own\trows\n", encoding="utf-8")
    assert cli.main(["sample", "order", str(tmp_path), "--n", "80"]) == 2
    assert "the file exists with other content than the sample" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["train.tsv"]
