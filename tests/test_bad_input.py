"""User errors give one message and exit code 2, and leave the disk unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unrolled import cli
from unrolled.training.checkpoint import load_checkpoint
from unrolled.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder, with its content; None for a folder."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


class Refusal:
    """Runs commands that must be refused."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def of(self, *arguments: str | Path) -> str:
        """The sentence that a command is refused with."""
        before = snapshot(self.folder)
        assert cli.main([str(argument) for argument in arguments]) == 2
        printed = self.capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("unrolled: ")
        assert printed.err.count("\n") == 1, "one line, and so no traceback"
        assert snapshot(self.folder) == before, "nothing half-written"
        return printed.err.removeprefix("unrolled: ").rstrip()


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    return Refusal(tmp_path, capsys)


@pytest.fixture
def copied_run(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def table(path: Path, *lines: bytes) -> Path:
    """A TSV of the given lines, after a header and twenty good rows."""
    good = [f"I see {n} cats.\tVeo {n} gatos.".encode() for n in range(2, 22)]
    path.write_bytes(b"\n".join([b"en\tes", *good, *lines, b""]))
    return path


# Data files


def test_a_missing_file_is_named(refusal: Refusal, recipe_file: Path, tmp_path: Path) -> None:
    table(tmp_path / "pairs.tsv")
    asked = tmp_path / "pears.tsv"
    arguments = ("train", recipe_file, "--data", asked, "--out", tmp_path / "run")
    expected = f"{asked}: no such file; did you mean 'pairs.tsv'?"
    assert refusal.of(*arguments) == expected
    assert refusal.of("data", asked) == expected


@pytest.mark.parametrize(
    ("task", "setting"), [("translate", "target_embeddings"), ("language_model", "embeddings")]
)
def test_pretrained_vectors_are_checked_before_the_data(
    refusal: Refusal, tmp_path: Path, task: str, setting: str
) -> None:
    path = tmp_path / "vectors.txt"
    setting = f"{setting}.file"
    option, size = (f"--model.{setting}", path), ("--model.embedding_size", "100")
    arguments = ("train", "--task", task, "--data", tmp_path / "absent.tsv")
    place = ("--out", tmp_path / "run", "--text.kind", "word", "--training.max_steps", "2")
    assert refusal.of(*arguments, *place, *size, *option) == (
        f"{path}: no such file (model.{setting})"
    )
    path.write_text("ice 0.1 0.2 0.3\n", encoding="utf-8")
    assert refusal.of(*arguments, *place, *size, *option) == (
        f"model.embedding_size is 100, but the vectors in {path} (model.{setting}) have 3 "
        "dimensions; set model.embedding_size = 3"
    )
    path.write_bytes(b"\x80\x04K\x01.")
    assert refusal.of(*arguments, *place, *size, *option) == (
        f"{path}: this is a pickled file, which is not loaded because it can run code; save it in "
        f"gensim with save_word2vec_format (model.{setting})"
    )


def test_a_wrong_column_lists_the_available_ones(
    refusal: Refusal, recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    arguments = ("train", recipe_file, "--data", pairs_file, "--out", tmp_path / "run")
    assert refusal.of(*arguments, "--columns", "en", "ess") == (
        f"{pairs_file}: no column 'ess'; the columns are en, es; did you mean 'es'?"
    )
    assert refusal.of(*arguments, "--columns", "en") == (
        f"{pairs_file}: expected the names of 2 columns, got 1: en"
    )


def test_an_empty_file_is_named(refusal: Refusal, recipe_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.tsv"
    empty.write_bytes(b"")
    sentence = refusal.of("train", recipe_file, "--data", empty, "--out", tmp_path / "run")
    assert sentence == f"{empty}: the file is empty"


def test_parallel_files_of_different_length_are_counted(
    refusal: Refusal, recipe_file: Path, tmp_path: Path
) -> None:
    english, spanish = tmp_path / "a.en", tmp_path / "a.es"
    english.write_text("One.\nTwo.\nThree.\n", encoding="utf-8")
    spanish.write_text("Uno.\nDos.\n", encoding="utf-8")
    arguments = ("train", recipe_file, "--data", english, spanish, "--out", tmp_path / "run")
    assert refusal.of(*arguments) == (
        f"{english}, {spanish}: parallel files must have the same number of lines, found 3 lines "
        "and 2 lines"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "Two.\tMañana.".encode("latin-1"),
            "not UTF-8 at byte {} (0xF1); convert it, e.g. with: iconv -f latin1 -t utf-8",
        ),
        (b"Two.\tDo\x00s.", "NUL byte at byte {}; this is not a text file"),
        (b"Two.", "expected 2 fields separated by tabs as in the header, found 1"),
    ],
    ids=["latin-1", "NUL", "one field"],
)
def test_a_bad_line_is_named(
    refusal: Refusal, recipe_file: Path, tmp_path: Path, line: bytes, problem: str
) -> None:
    path = table(tmp_path / "pairs.tsv", line, b"Three.\tTres.")
    byte = path.read_bytes().index(line) + 7
    sentence = refusal.of("train", recipe_file, "--data", path, "--out", tmp_path / "run")
    assert sentence == f"{path}, line 22: {problem.format(byte)}"


def test_a_bad_line_of_the_input_is_named(
    refusal: Refusal, trained_run: Path, tmp_path: Path
) -> None:
    given = tmp_path / "in.txt"
    given.write_bytes(b"\xff\xfehello\n")
    assert refusal.of("predict", trained_run, "--input", given) == (
        f"{given}, line 1: this is UTF-16, expected UTF-8; save it again as UTF-8"
    )


def test_a_folder_is_not_data(refusal: Refusal, recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs.tsv"
    folder.mkdir()
    sentence = refusal.of("train", recipe_file, "--data", folder, "--out", tmp_path / "run")
    assert sentence == f"{folder}: this is a folder; give a file"


@pytest.mark.parametrize("part", ["train", "valid"])
def test_an_overlong_line_is_left_out_of_training(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, tmp_path: Path, part: str
) -> None:
    train, valid = table(tmp_path / "train.tsv"), table(tmp_path / "valid.tsv")
    endless = b"cats " * 100_000 + b"\t" + b"gatos " * 100_000
    table(tmp_path / f"{part}.tsv", endless)
    files = ("--data", train, "--valid", valid, "--test", valid, "--out", tmp_path / "run")
    arguments = ("train", recipe_file, *files, "--training.max_steps", "2")
    assert cli.main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    rows = next(line for line in lines if line.startswith("event=start "))
    note = next(line for line in lines if line.startswith("event=note "))
    instead = ", or set data.too_long = 'truncate'" if part == "train" else ""
    assert note == (
        f'event=note text="{part}: left out 1 row (4.8%) longer than data.max_length = 100 tokens; '
        f'raise it{instead}"'
    )
    assert rows.startswith("event=start step=0 rows_train=20 rows_valid=20 rows_test=")
    assert " left_out=1 " in rows
    assert "event=end step=2 " in printed.out


# Recipes and options


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "[training]\nlearning_rat = 1e-3",
            "unknown key 'learning_rat' in [training]; did you mean 'learning_rate'?",
        ),
        ("[trainin]\nmax_steps = 1", "unknown key 'trainin'; did you mean 'training'?"),
        (
            "[model]\nhiden_size = 16",
            "unknown key 'hiden_size' in [model]; did you mean 'hidden_size'?",
        ),
        (
            '[training]\nmax_steps = "many"',
            "training.max_steps: expected a whole number, got 'many'",
        ),
        ("[training]\nlearning_rate = -1.0", "training.learning_rate must be above 0, got"),
        (
            '[model]\ncell = "lstmm"',
            "model.cell: expected one of 'rnn', 'rnn_relu', 'gru', 'lstm', got 'lstmm'; did you mean "
            "'lstm'?",
        ),
        ("[decoding]\nbeam_size = 0", "decoding.beam_size must be at least 1, got 0"),
    ],
)
def test_a_wrong_recipe_key_gets_a_suggestion(
    refusal: Refusal, pairs_file: Path, tmp_path: Path, line: str, problem: str
) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(line + "\n", encoding="utf-8")
    sentence = refusal.of("train", recipe, "--data", pairs_file, "--out", tmp_path / "run")
    assert sentence.startswith(f"{recipe}: {problem}")
    assert refusal.of("config", recipe) == sentence


def test_a_recipe_that_is_not_toml_names_the_line(refusal: Refusal, tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text("seed = 1\n[training\n", encoding="utf-8")
    assert refusal.of("train", recipe).startswith(f"{recipe}, line 2")
    assert refusal.of("train", tmp_path / "none.toml") == (
        f"{tmp_path / 'none.toml'}: no such file; expected a TOML file"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            "--training.learning_rat 1",
            "unknown key 'learning_rat' in [training]; did you mean 'learning_rate'?",
        ),
        ("--training.max_steps soon", "training.max_steps: expected a whole number, got 'soon'"),
        ("--model.hidden_size 0", "model.hidden_size must be at least 1, got 0"),
        ("--dta x", "Unknown option: --dta. Did you mean --data?"),
        (
            "--task translat",
            "unknown task 'translat'; did you mean 'translate'?",
        ),
        (
            "--task x",
            "unknown task 'x'; choose from translate, language_model, classify, pair, tag, sql, code",
        ),
        (
            "--training.max_steps 0 --training.patience 0",
            "training has no stopping criterion; set training.max_minutes, max_epochs, max_steps "
            "or patience",
        ),
        (
            "--training.metric accuracy --training.max_steps 1",
            "training.metric must be one of loss, bleu, bleu_lower, chrf, exact_match, got 'accuracy'",
        ),
    ],
)
def test_a_wrong_option_gets_a_suggestion(
    refusal: Refusal, pairs_file: Path, tmp_path: Path, options: str, problem: str
) -> None:
    arguments = ("train", "--data", pairs_file, "--out", tmp_path / "run")
    assert refusal.of(*arguments, *options.split()) == problem


def test_training_needs_a_limit_and_data(
    refusal: Refusal, pairs_file: Path, tmp_path: Path
) -> None:
    unlimited = ("--training.patience", "0")
    assert refusal.of("train", "--data", pairs_file, "--out", tmp_path / "run", *unlimited) == (
        "training has no stopping criterion; set training.max_minutes, max_epochs, max_steps or patience"
    )
    assert refusal.of("train") == "no training data; give a recipe or --data FILE"
    limit = ("--training.max_steps", "1")
    assert "--data" in refusal.of("train", "--out", tmp_path / "run", *limit)


def test_running_out_of_memory_is_one_message_and_keeps_the_run(
    refusal: Refusal,
    recipe_file: Path,
    pairs_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def update(training: Trainer) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(Trainer, "update", update)
    run = tmp_path / "run"
    arguments = ("train", recipe_file, "--data", pairs_file, "--out", run)
    assert cli.main([str(argument) for argument in arguments]) == 2
    printed = refusal.capsys.readouterr()
    assert printed.err.startswith("unrolled: out of memory; lower training.max_tokens, here 128")
    assert printed.err.count("\n") == 1
    assert load_checkpoint(run).progress.step == 0


# Run folders


@pytest.mark.parametrize(
    "arguments",
    [("predict", "birds"), ("evaluate",)],
    ids=["predict", "evaluate"],
)
@pytest.mark.parametrize("n_bytes", [0, 7, 1009, -1])
def test_a_truncated_model_is_named(
    refusal: Refusal, copied_run: Path, arguments: tuple[str, ...], n_bytes: int
) -> None:
    model = copied_run / "model.safetensors"
    model.write_bytes(model.read_bytes()[:n_bytes])
    command, *rest = arguments
    sentence = refusal.of(command, copied_run, *rest)
    assert sentence.startswith(f"{model}: cut short or overwritten")
    assert sentence.endswith("; restore the file from a copy, or train the run again (--force)")


def test_a_damaged_model_is_refused_everywhere(
    refusal: Refusal, copied_run: Path, recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    model = copied_run / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-3] ^= 8
    model.write_bytes(content)
    (tmp_path / "in.txt").write_text("birds\n", encoding="utf-8")
    problem = f"{model}: its checksum does not match; restore the file from a copy, or train the "
    files = ("--input", tmp_path / "in.txt", "--output", tmp_path / "out.txt")
    assert refusal.of("predict", copied_run, *files).startswith(problem)
    files = ("--data", pairs_file, "--out", tmp_path / "new", "--from", copied_run)
    assert refusal.of("train", recipe_file, *files).startswith(problem)


def test_a_truncated_checkpoint_is_named(refusal: Refusal, copied_run: Path) -> None:
    (state,) = (copied_run / "checkpoints").glob("step-0000060*/optimiser.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    arguments = ("train", "--resume", "--out", copied_run, "--training.max_steps", "70")
    config = (copied_run / "config.toml").read_bytes()
    assert cli.main([str(argument) for argument in arguments]) == 2
    printed = refusal.capsys.readouterr()
    assert printed.err.startswith(f"unrolled: {state}: cut short or overwritten: ")
    assert printed.err.count("\n") == 1
    assert (copied_run / "config.toml").read_bytes() == config, "the run is as it was"


def test_a_folder_that_is_not_a_run_is_not_replaced(
    refusal: Refusal, recipe_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("once", encoding="utf-8")
    for command in (("predict", folder, "birds"), ("evaluate", folder)):
        assert refusal.of(*command) == f"{folder} is not a run folder; it has no config.toml"
    assert refusal.of("predict", tmp_path / "no", "birds") == (
        f"{tmp_path / 'no'}: no such run folder"
    )
    arguments = ("train", recipe_file, "--data", pairs_file, "--out", folder)
    for more in ((), ("--force",)):
        assert refusal.of(*arguments, *more) == (
            f"{folder} exists and is not a run folder, so it is not replaced; choose another name "
            "(--out)"
        )
    assert refusal.of("train", "--resume", "--out", tmp_path / "no") == (
        f"{tmp_path / 'no'}: no such run folder; to start a run, give a recipe, or --task and --data"
    )


def test_a_trained_run_takes_no_other_settings(refusal: Refusal, trained_run: Path) -> None:
    assert refusal.of("predict", trained_run, "birds", "--n-best", "4").startswith(
        "decoding.n_best must be at most decoding.beam_size, 3, got 4"
    )
    greedy = ("--decoding.method", "greedy")
    assert refusal.of("predict", trained_run, "birds", "--n-best", "2", *greedy) == (
        "--n-best 2: decoding.method is greedy, which gives one answer; add --decoding.method beam"
    )
    assert refusal.of("evaluate", trained_run, "--model.cell", "gru") == (
        "--model.cell: only --decoding.… settings can be changed for a trained run"
    )
    assert refusal.of("predict", trained_run, "birds", "--decoding.bem_size", "2") == (
        "unknown key 'bem_size' in [decoding]; did you mean 'beam_size'?"
    )
