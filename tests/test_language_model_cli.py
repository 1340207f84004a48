"""Language models at the command line: training, scores, generation, and invalid requests."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from unrolled.cli import main
from unrolled.cli.options import default_out
from unrolled.ops import native
from unrolled.predictors.load import load

SETTINGS = [
    "--task", "language_model", "--text.kind", "char", "--model.hidden_size", "24",
    "--model.embedding_size", "8", "--data.n_rows", "8", "--data.k1", "24",
    "--training.max_steps", "80", "--training.learning_rate", "0.02",
]  # fmt: skip


needs_kernels = pytest.mark.skipif(
    native.kernels is None, reason="the native kernels were not built"
)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    draw = random.Random(3)
    for name in ("first", "second"):
        lines = (f"Dear {draw.choice(['Ann', 'Bob'])}, thank you.\n" for _ in range(150))
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(letters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "letters"
    assert main(["train", *SETTINGS, "--data", str(letters), "--out", str(out)]) == 0
    return out


def test_training_reports_tokens_and_how_to_try_the_run(
    letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *SETTINGS, "--data", str(letters), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "event=start step=0 tokens_train=" in printed
    for part in ("valid", "test"):
        assert f'event=note text="{part}: cut from the end of the training text, ' in printed
    assert 'event=note text="valid: 316 tokens are too few to choose the best model by; ' in printed
    first_try = printed.splitlines()[-2]
    assert first_try == f'event=try command="unrolled generate {out} --prompt \\"…\\""'
    assert "bits_per_character" in printed
    assert 'unrolled generate run --prompt "…"' in (out / "README.md").read_text(encoding="utf-8")


def test_a_trained_run_is_scored_and_recorded(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "results.jsonl"
    assert main(["evaluate", str(run), "--record", str(record)]) == 0
    heading, first, _, _, loss, perplexity, bits = capsys.readouterr().out.splitlines()
    line = json.loads(record.read_text(encoding="utf-8"))
    assert first.startswith(f"{line['tokens']:,} tokens, {line['characters']:,} characters in ")
    assert heading.startswith(f"{run} on the test part (")
    assert loss.split() == ["loss,", "nats", "per", "token", f"{line['loss']:.4f}"]
    assert perplexity.split() == ["perplexity", f"{line['perplexity']:.3f}"]
    assert bits.split()[-1] == f"{line['bits_per_character']:.3f}"
    assert line["signatures"]["perplexity"].startswith("e^(mean nats)|")
    assert line["data"] == "test"


@pytest.mark.parametrize(
    ("data", "out"),
    [("a/b/**/*.py", "b"), ("*.txt", "here"), (".", "here"), ("x/letters/", "letters")],
)
def test_a_run_is_named_after_its_data(
    data: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert default_out(data, "runs", "run") == Path("runs") / out


def test_fine_tuning_inherits_the_text_settings(letters: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    how = ["--data.documents", "line", "--data.restart", "true", "--training.max_steps", "2"]
    assert main(["train", *SETTINGS[:-4], *how, "--data", str(letters), "--out", str(first)]) == 0
    more = ["train", "--from", str(first), "--data", str(letters), "--training.max_steps", "2"]
    assert main([*more, "--out", str(second)]) == 0
    data = load(second).recipe.data
    assert (data.documents, data.restart, data.n_rows, data.k1) == ("line", True, 8, 24)


def test_other_text_can_be_scored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text("Dear Ann, thank you.\n", encoding="utf-8")
    assert main(["evaluate", str(run), "--data", str(tmp_path / "other.txt")]) == 0
    assert "\n22 tokens, 21 characters in " in capsys.readouterr().out


def loss_of(arguments: list[str], folder: Path) -> float:
    record = folder / "results.jsonl"
    assert main(["evaluate", *arguments, "--record", str(record)]) == 0
    return json.loads(record.read_text(encoding="utf-8").splitlines()[-1])["loss"]


@needs_kernels
def test_the_score_uses_the_requested_precision(run: Path, tmp_path: Path) -> None:
    exact, coarse, coarser = (
        loss_of([str(run), "--precision", precision], tmp_path)
        for precision in ("float32", "bfloat16", "int8")
    )
    assert exact != coarse != coarser
    assert coarse == pytest.approx(exact, abs=0.02)
    assert coarser == pytest.approx(exact, abs=0.1)


def test_a_cache_is_mixed_in_and_reported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Words the model has not seen, over and over: what a cache is for.
    (tmp_path / "other.txt").write_text("zyx qwk jvb. " * 20, encoding="utf-8")
    other = [str(run), "--data", str(tmp_path / "other.txt")]
    without = loss_of(other, tmp_path)
    capsys.readouterr()
    assert loss_of([*other, "--cache", "30", "--cache-weight", "0.5"], tmp_path) < without - 0.3
    same = loss_of([*other, "--cache", "30", "--cache-weight", "0"], tmp_path)
    assert same == pytest.approx(without, rel=1e-6)
    assert main(["evaluate", *other, "--cache", "30", "--signatures"]) == 0
    assert "|continuous cache of 30, θ = 0.3, λ = 0.1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "precision",
    ["float32", *(pytest.param(each, marks=needs_kernels) for each in ("bfloat16", "int8"))],
)
def test_it_generates_completes_and_scores(
    run: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", precision]
    ask = ["generate", str(run), "--prompt", "Dear Ann, th", "--temperature", "0", "--stop", "."]
    assert main([*ask, *options]) == 0
    assert capsys.readouterr().out.rstrip("\n") == "ank you"
    assert main(["complete", str(run), "Dear Bob, tha", "--k", "1", *options]) == 0
    assert "thank" in capsys.readouterr().out
    assert main(["score", str(run), "Dear Ann, thank you.", *options]) == 0
    assert "bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["predict", "RUN", "a sentence"],
            "RUN is a language model; use `unrolled generate`, `unrolled complete` or `unrolled score`",
        ),
        (
            ["predict", "RUN", "a sentence", "another", "--words", "attention"],
            "RUN is a language model; use `unrolled generate`, `unrolled complete` or `unrolled score`",
        ),
        (
            ["evaluate", "RUN", "--decoding.beam_size", "3"],
            "--decoding.beam_size does not apply to task 'language_model'; remove it",
        ),
        (
            ["evaluate", "RUN", "--cache", "30", "--cache-weight", "1"],
            "weight must be at least 0 and below 1, got 1.0",
        ),
        (
            ["evaluate", "RUN", "--cache-theta", "1"],
            "--cache-theta and --cache-weight need --cache; add --cache SIZE",
        ),
        (
            ["train", *SETTINGS, "--data", "LETTERS", "--model.head", "sampled"],
            "model.head is 'sampled', which needs a vocabulary in order of decreasing frequency, but "
            "text.kind is 'char'; use 'full', or text.kind 'word' or 'space'",
        ),
        (
            ["train", *SETTINGS, "--data", "/"],
            "cannot derive a name for the run from /; add --out runs/NAME",
        ),
        (
            ["train", *SETTINGS, "--data", "no-such-file.txt", "--out", "run"],
            "no-such-file.txt: no such file",
        ),
        (
            ["train", *SETTINGS, "--data", "LETTERS", "--columns", "en"],
            "LETTERS: is not a table: data.columns (--columns) names columns of TSV, CSV, JSON Lines",
        ),
        (
            ["train", *SETTINGS, "--data", "LETTERS", "--data.k2", "3"],
            "data.k2 must be at least data.k1 = 24, or 0, got 3",
        ),
        (
            ["train", *SETTINGS, "--data", "LETTERS", "--model.cell", "gur"],
            "model.cell: expected one of 'rnn', 'rnn_relu', 'gru', 'lstm', got 'gur'; did you mean "
            "'gru'?",
        ),
    ],
)
def test_invalid_requests_get_one_message(
    run: Path,
    letters: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"RUN": str(run), "LETTERS": str(letters)}
    given = [names.get(argument, argument) for argument in arguments]
    for name, path in names.items():
        message = message.replace(name, path)
    assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"unrolled: {message}")
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
