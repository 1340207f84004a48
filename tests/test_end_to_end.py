"""The command line from a file of sentence pairs to translations, as in real use."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.predictors.load import load
from unrolled.predictors.seq2seq import Predictor
from unrolled.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(unrolled.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def translator(trained_run: Path) -> Predictor:
    return load(trained_run)  # type: ignore[return-value]


def done(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that succeeds prints."""
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_from_a_file_of_pairs_to_scores_and_a_prediction(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "animals"
    steps = ("--training.max_steps", "12")
    told = done(capsys, "train", recipe_file, "--data", pairs_file, "--out", run, *steps)
    *_, finished, saved, first_try, last, compared = told.splitlines()
    sizes = "event=start step=0 rows_train=52 rows_valid=5 rows_test=7 vocabulary_source="
    assert sizes in told
    assert finished.startswith("event=end step=12 reason=max_steps ")
    assert saved == f"event=saved run={run}"
    assert first_try == f'event=try command="unrolled predict {run} \\"…\\""'
    assert last == f'event=try command="unrolled evaluate {run}"'
    assert compared.startswith("event=comparison ")  # with the nearest training row
    assert {path.name for path in run.iterdir()} == {
        "README.md",
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "split.json",
        "tokenizer-source.json",
        "tokenizer-target.json",
    }

    results = tmp_path / "results.jsonl"
    assert "\n7 sentences in " in done(capsys, "evaluate", run, "--record", results)
    assert "\n5 sentences in " in done(capsys, "evaluate", run, "--split", "valid")
    greedy = ("--data", pairs_file, "--decoding.method", "greedy", "--signatures")
    scored = done(capsys, "evaluate", run, *greedy)
    assert "\n64 sentences in " in scored
    assert re.search(r"^BLEU +\d+\.\d\d$", scored, re.MULTILINE)
    assert re.search(r"^bleu +nrefs:1\|case:mixed", scored, re.MULTILINE)
    assert re.search(r"^chrf +nrefs:1", scored, re.MULTILINE)
    (line,) = results.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["sentences"] == 7

    answer = done(capsys, "predict", run, "I see two red cats.")
    assert answer == load(run)("I see two red cats.") + "\n"


def test_a_run_without_a_name_is_named_after_its_data(
    capsys: pytest.CaptureFixture[str],
    recipe_file: Path,
    pairs_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = tomllib.loads(recipe_file.read_text(encoding="utf-8"))["model"]
    model = [word for key, value in given.items() for word in (f"--model.{key}", str(value))]
    told = done(capsys, "train", "--data", pairs_file, *model, "--training.max_steps", "1")
    assert f"event=saved run={Path('runs/animals')}\n" in told
    assert (tmp_path / "runs" / "animals" / "model.safetensors").is_file()


def test_a_file_is_answered_line_by_line(
    capsys: pytest.CaptureFixture[str], trained_run: Path, translator: Predictor, tmp_path: Path
) -> None:
    texts = ["I see two red cats.", "", "I see five horses.", "  ", "birds"]
    given, answers = tmp_path / "in.txt", tmp_path / "out.txt"
    given.write_bytes("\r\n".join([*texts, ""]).encode())
    assert done(capsys, "predict", trained_run, "--input", given, "--output", answers) == ""
    expected = translator([text.strip() for text in texts])
    assert answers.read_bytes().decode() == "\n".join([*expected, ""])
    assert [bool(answer) for answer in expected] == [True, False, True, False, True]


def test_standard_input_is_answered_line_by_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained_run: Path,
    translator: Predictor,
) -> None:
    given = b"I see two red cats.\r\n\r\nI see five horses."
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    first, third = translator(["I see two red cats.", "I see five horses."])
    assert done(capsys, "predict", trained_run) == f"{first}\n\n{third}\n"


def test_the_module_is_the_command(trained_run: Path, translator: Predictor) -> None:
    answered = subprocess.run(
        [sys.executable, "-m", "unrolled", "predict", str(trained_run)],
        input=b"I see two red cats.\n\nI see three black birds.\n",
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    first, third = translator(["I see two red cats.", "I see three black birds."])
    assert answered.stderr == b""
    assert answered.returncode == 0
    assert answered.stdout.decode("utf-8").splitlines() == [first, "", third]


def test_several_answers_and_their_scores(
    capsys: pytest.CaptureFixture[str], trained_run: Path, translator: Predictor
) -> None:
    text = "I see two red cats."
    (prediction,) = translator.predict([text], n_best=3)
    texts = [answer.text for answer in prediction.hypotheses]
    told = done(capsys, "predict", trained_run, text, "--n-best", "3")
    assert told == "\t".join(texts) + "\n"
    told = done(capsys, "predict", trained_run, text, "--n-best", "3", "--scores")
    cells = told.removesuffix("\n").split("\t")
    assert cells[::2] == texts
    scores = [float(cell) for cell in cells[1::2]]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([answer.score for answer in prediction.hypotheses], abs=1e-3)
    assert done(capsys, "predict", trained_run, text, "--scores").count("\t") == 1


def test_attention_is_drawn_as_a_page(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "attention.html"
    code = cli.main(["predict", str(trained_run), "I see two red cats.", "--attention", str(page)])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, f"attention: {page}\n")
    assert printed.out.count("\n") == 1
    text = page.read_text(encoding="utf-8")
    for piece in ("two", "red", "cats", "&lt;/s&gt;"):
        assert f"<bdi>{piece}</bdi></th>" in text


def test_unread_text_of_a_long_line_is_reported(
    capsys: pytest.CaptureFixture[str],
    trained_run: Path,
    translator: Predictor,
    tmp_path: Path,
) -> None:
    given = tmp_path / "in.txt"
    given.write_text(f"birds\n{'cats ' * 100_000}\ndogs\n", encoding="utf-8")
    arguments = ["--input", str(given), "--decoding.max_input_length", "7"]
    assert cli.main(["predict", str(trained_run), *arguments]) == 0
    printed = capsys.readouterr()
    expected = translator(["birds", "cats " * 7, "dogs"])
    assert printed.out == "\n".join([*expected, ""])
    assert printed.err == (
        f"unrolled: '{('cats ' * 7)[:30]}…': the last 99,993 tokens were not read; raise "
        "--decoding.max_input_length to read more\n"
    )


def test_the_resolved_recipe_is_a_recipe(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    told = done(capsys, "config", recipe_file, "--data", pairs_file, "--model.cell", "gru")
    tables = tomllib.loads(told)
    assert tables["data"]["train"] == [str(pairs_file)]
    assert (tables["model"]["cell"], tables["model"]["hidden_size"]) == ("gru", 16)
    assert tables["training"]["beta2"] == 0.999
    (tmp_path / "whole.toml").write_text(told, encoding="utf-8")
    assert done(capsys, "config", tmp_path / "whole.toml") == told


def test_data_is_described(capsys: pytest.CaptureFixture[str], pairs_file: Path) -> None:
    told = done(capsys, "data", pairs_file)
    assert "64 read = 58 train + 3 valid + 3 test" in told
    for column in ("en", "es"):
        assert re.search(rf"^ *{column} +58 ", told, re.MULTILINE)


def test_a_run_is_not_overwritten_without_force(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["train", str(recipe_file), "--data", str(pairs_file), "--out", str(run)]
    done(capsys, *command, "--training.max_steps", "5")
    before = content(run)
    assert cli.main([*command, "--training.max_steps", "5"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"unrolled: {run} already holds a run; resume it (--resume), replace it (--force), or "
        "choose another name (--out)\n"
    )
    assert content(run) == before

    told = done(capsys, *command, "--resume", "--training.max_steps", "9")
    assert "event=start step=5 " in told
    assert "event=end step=9 " in told
    assert load_checkpoint(run).progress.step == 9
    told = done(capsys, "train", "--resume", "--out", run, "--training.max_steps", "11")
    assert "event=start step=9 " in told

    told = done(capsys, *command, "--force", "--training.max_steps", "3")
    assert "going on" not in told
    assert load_checkpoint(run).progress.step == 3


def test_a_resumed_run_equals_an_uninterrupted_one(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    command = ["train", str(recipe_file), "--data", str(pairs_file)]
    done(capsys, *command, "--out", whole, "--training.max_steps", "14")
    done(capsys, *command, "--out", halves, "--training.max_steps", "6")
    done(capsys, *command, "--out", halves, "--training.max_steps", "14", "--resume")
    for name in ("model.safetensors", "optimiser.safetensors"):
        (first,) = (whole / "checkpoints").glob(f"step-0000014*/{name}")
        (second,) = (halves / "checkpoints").glob(f"step-0000014*/{name}")
        assert first.read_bytes() == second.read_bytes()


def test_a_run_can_start_from_another(
    capsys: pytest.CaptureFixture[str], trained_run: Path, recipe_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "plants.tsv"
    colours = ("red", "rojos"), ("black", "negros"), ("white", "blancos"), ("blue", "azules")
    lines = [
        f"I see {n} {english} trees.\tVeo {n} árboles {spanish}."
        for n in range(2, 13)
        for english, spanish in colours
    ]
    other.write_text("\n".join(["en\tes", *lines, ""]), encoding="utf-8")
    new = tmp_path / "new"
    options = ("--data", other, "--out", new, "--from", trained_run)
    told = done(capsys, "train", recipe_file, *options, "--training.max_steps", "4")
    assert "event=end step=4 " in told
    for name in ("tokenizer-source.json", "tokenizer-target.json"):
        assert (new / name).read_bytes() == (trained_run / name).read_bytes()
    assert (new / "model.safetensors").read_bytes() != (
        trained_run / "model.safetensors"
    ).read_bytes()
    assert done(capsys, "predict", new, "I see two red cats.").strip()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process on Windows")
@pytest.mark.parametrize(
    ("by", "code", "complaint"),
    [(signal.SIGINT, 130, "\nunrolled: interrupted\n"), (signal.SIGTERM, -signal.SIGTERM, "")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_leaves_a_run_that_can_be_resumed(
    capsys: pytest.CaptureFixture[str],
    recipe_file: Path,
    pairs_file: Path,
    tmp_path: Path,
    by: signal.Signals,
    code: int,
    complaint: str,
) -> None:
    run = tmp_path / "my run"
    command = ["train", str(recipe_file), "--data", str(pairs_file), "--out", str(run)]
    # No evaluation and no checkpoint comes by itself, and the end is far away.
    never = "--training.evaluate_every_n_steps=9999999 --training.checkpoint_every_n_steps=9999999"
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "unrolled",
            *command,
            *never.split(),
            "--training.max_steps=9999999",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = next((line for line in process.stdout if line.startswith("event=step ")), "")
        process.send_signal(by)
        told, error = process.stdout.read(), process.stderr.read()
    assert seen, error
    assert (process.returncode, error) == (code, complaint)
    assert told.splitlines()[-1] == (
        f"event=stopped resume_with=\"unrolled train --resume --out '{run}'\""
    )

    step = load_checkpoint(run).progress.step
    assert step >= int(seen.split()[1].removeprefix("step="))
    told = done(capsys, "train", "--resume", "--out", run, f"--training.max_steps={step + 2}")
    assert f"event=start step={step} " in told
    assert f"event=end step={step + 2} " in told
