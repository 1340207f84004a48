"""Training on existing counts gives the same vectors as counting the text again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from brute_force import same_counts

from unrolled import cli
from unrolled.errors import ConfigError, DataError
from unrolled.vectors import reuse_counts
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.events import Epoch, Finished
from unrolled.vectors.train import fit_vectors, train_vectors
from unrolled.vectors.word_vectors import WordVectors

COUNTED = VectorsConfig(
    size=5, min_count=2, window=4, borders="none", epochs=2, threads=2, save_every_n_seconds=0
)
OTHER = VectorsConfig(size=7, epochs=3, rate=0.1, seed=4, x_max=9.0, alpha=0.5, threads=1)
ANEW = replace(OTHER, min_count=2, window=4, borders="none")
FILES = ("vectors.safetensors", "vectors.toml")


@pytest.fixture
def counted(text: Path, tmp_path: Path) -> Path:
    train_vectors(COUNTED, text, tmp_path / "counted")
    return tmp_path / "counted"


def same_vectors(folder: Path, other: Path) -> bool:
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in FILES)


@pytest.mark.parametrize("copies", [False, True])
def test_vectors_are_trained_on_existing_counts(
    text: Path, counted: Path, tmp_path: Path, copies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError("this file system has no links")

    if copies:
        monkeypatch.setattr(reuse_counts.os, "link", no_link)
    train_vectors(ANEW, text, tmp_path / "anew")
    events = list(fit_vectors(OTHER, None, tmp_path / "again", counts=counted))
    assert [type(event) for event in events] == [Epoch, Epoch, Epoch, Finished]
    assert same_vectors(tmp_path / "again", tmp_path / "anew")
    assert same_counts(tmp_path / "again", counted)
    values = [folder / "counts" / "values.npy" for folder in (counted, tmp_path / "again")]
    assert values[0].samefile(values[1]) != copies
    shutil.rmtree(counted)  # the new folder does not depend on the old one
    words = ("w1", "w2", "w3")
    ratios = [WordVectors.load(tmp_path / name).ratio(*words) for name in ("again", "anew")]
    assert ratios[0] == ratios[1]
    card = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert card.replace("again", "anew") == (tmp_path / "anew" / "README.md").read_text(
        encoding="utf-8"
    )


def test_counts_of_unfinished_vectors_can_be_used(text: Path, tmp_path: Path) -> None:
    events = fit_vectors(COUNTED, text, tmp_path / "begun")
    while not isinstance(next(events), Epoch):
        pass
    events.close()
    train_vectors(OTHER, None, tmp_path / "again", counts=tmp_path / "begun")
    train_vectors(ANEW, text, tmp_path / "anew")
    assert same_vectors(tmp_path / "again", tmp_path / "anew")


def test_training_on_counts_resumes_after_any_event(counted: Path, tmp_path: Path) -> None:
    train_vectors(OTHER, None, tmp_path / "whole", counts=counted)
    for n_events in range(1, 4):
        out = tmp_path / str(n_events)
        events = fit_vectors(OTHER, None, out, counts=counted)
        for _ in range(n_events):
            next(events)
        events.close()
        train_vectors(OTHER, None, out, counts=counted, resume=True)
        assert same_vectors(out, tmp_path / "whole")


def test_training_resumes_after_a_kill_before_the_counts(
    counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_vectors(OTHER, None, tmp_path / "whole", counts=counted)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("_share", "Counts"):
        out = tmp_path / name
        monkeypatch.setattr(reuse_counts, name, killed)
        with pytest.raises((KeyboardInterrupt, AttributeError)):
            train_vectors(OTHER, None, out, counts=counted)
        monkeypatch.undo()
        train_vectors(OTHER, None, out, counts=counted, resume=True)
        assert same_vectors(out, tmp_path / "whole")


def test_training_resumes_without_the_folder_of_the_counts(counted: Path, tmp_path: Path) -> None:
    train_vectors(OTHER, None, tmp_path / "whole", counts=counted)
    out = tmp_path / "out"
    events = fit_vectors(OTHER, None, out, counts=counted)
    next(events)
    events.close()
    shutil.rmtree(counted)
    with pytest.raises(DataError, match="no counts found"):
        fit_vectors(OTHER, None, out, counts=tmp_path / "others", resume=True)
    with pytest.raises(ConfigError, match=r"window is 5, but .*out was counted with 4"):
        fit_vectors(replace(OTHER, window=5), None, out, counts=counted, resume=True)
    train_vectors(OTHER, None, out, counts=counted, resume=True)
    assert same_vectors(out, tmp_path / "whole")


def test_arguments_that_contradict_the_counts_are_refused(
    text: Path, counted: Path, tmp_path: Path
) -> None:
    def refusal(config: VectorsConfig = OTHER, corpus: Path | None = None, **options) -> str:
        with pytest.raises((ConfigError, DataError)) as caught:
            fit_vectors(config, corpus, tmp_path / "out", **{"counts": counted, **options})
        assert not (tmp_path / "out").exists()
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert refusal(replace(OTHER, window=5)) == (
        "vectors.window is 5, but counted was counted with 4; leave it out, or count the text again"
    )
    assert refusal(replace(OTHER, lowercase=True)).startswith(
        "vectors.lowercase is True, but counted was counted with False"
    )
    assert (
        refusal(corpus=text)
        == "--counts reuses existing counts and cannot be combined with a corpus"
    )
    assert refusal(counts=None) == (
        "no corpus given; name files or folders, or existing counts (--counts)"
    )
    assert refusal(counts=tmp_path) == (
        f"{tmp_path}: no counts found; give a folder written by `unrolled vectors train`"
    )
    with pytest.raises(ConfigError, match="is both the output folder and the folder of the counts"):
        fit_vectors(OTHER, None, counted, counts=counted, force=True)
    events = fit_vectors(COUNTED, text, tmp_path / "begun")
    next(events)
    events.close()
    assert refusal(counts=tmp_path / "begun") == (
        "begun: the counts are not complete; finish that training first (--resume)"
    )


def test_the_command_trains_on_counts(
    text: Path, counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_vectors(replace(ANEW, alpha=0.75), text, tmp_path / "anew")
    command = ["vectors", "train", "--counts", str(counted), "--size", "7", "--epochs", "3"]
    command += ["--rate", "0.1", "--seed", "4", "--x-max", "9", "--threads", "1"]
    assert cli.main([*command, "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.startswith("event=epoch epoch=3 epochs=3 loss=")
    assert same_vectors(tmp_path / "again", tmp_path / "anew")
    for arguments, sentence in (
        (command, "no output folder given; add --out FOLDER"),
        (
            [*command, str(text), "--out", "x"],
            "--counts reuses existing counts and cannot be combined with a corpus",
        ),
    ):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == f"unrolled: {sentence}\n"
