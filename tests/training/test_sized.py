"""Settings that suit the amount of data, where there is no recipe."""

from __future__ import annotations

import gzip
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from unrolled import cli
from unrolled.cli.options import recipe_from_options
from unrolled.training.sized import MOST_ROWS, measured, sized_settings

NGRAMS = 2 if find_spec("sklearn") else 0
needs_sklearn = pytest.mark.skipif(not NGRAMS, reason="n-grams are counted with scikit-learn")
pytestmark = pytest.mark.usefixtures("one_thread")


def table(path: Path, n: int) -> Path:
    rows = [f"the number {i} is here\t{('odd', 'even')[i % 2]}" for i in range(n)]
    text = "\n".join(["text\tlabel", *rows]) + "\n"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def config(capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert cli.main(["config", *options]) == 0
    return tomllib.loads(capsys.readouterr().out)


def test_small_classifiers_get_other_defaults(tmp_path: Path, capsys) -> None:
    plain = config(capsys, "--task", "classify")
    data = str(table(tmp_path / "a.tsv", 500))
    small = config(capsys, "--task", "classify", "--data", data)
    assert plain["training"]["patience"] == -1
    assert (small["training"]["patience"], small["training"]["max_epochs"]) == (0, 30)
    assert small["training"]["schedule"] == "linear"
    assert small["training"]["metric"] == "accuracy"
    assert small["model"] == plain["model"] | {"dropout_rate": 0.5, "ngrams": NGRAMS}


@needs_sklearn
def test_ngrams_are_counted_where_that_is_possible(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(table(tmp_path / "a.tsv", 2_000))
    options = ("--task", "classify", "--data", data)
    assert config(capsys, *options)["model"]["ngrams"] == 2
    for given in (
        ("--model.ngrams", "1"),
        ("--text.kind", "char"),
        ("--data.word_order", "random"),
        ("--columns", "label", "text"),  # 2,000 labels
    ):
        assert config(capsys, *options, *given)["model"]["ngrams"] == int(given[-1] == "1")
    monkeypatch.setattr("unrolled.training.sized._MOST_COUNTED_BYTES", 1_000)
    assert config(capsys, *options)["model"]["ngrams"] == 0


@needs_sklearn
def test_ngrams_are_not_counted_without_the_library(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(table(tmp_path / "a.tsv", 2_000))
    monkeypatch.setattr("unrolled.training.sized.find_spec", lambda name: None)
    assert config(capsys, "--task", "classify", "--data", data)["model"]["ngrams"] == 0


@needs_sklearn
def test_a_comparison_does_not_count(tmp_path: Path) -> None:
    data = str(table(tmp_path / "a.tsv", 2_000))
    given = (None, "classify", (data,), (), (), (), None, ())
    assert recipe_from_options(*given).model.ngrams == 2
    assert recipe_from_options(*given, counting=False).model.ngrams == 0


def test_pairs_are_aligned_unless_an_encoder_is_given(tmp_path: Path, capsys) -> None:
    data = str(table(tmp_path / "a.tsv", 500))
    options = ("--task", "pair", "--data", data, "--columns", "text", "text", "label")
    found = config(capsys, *options)
    assert (found["model"]["encoder"], found["model"]["features"]) == ("aligned", ["overlap"])
    assert (found["training"]["patience"], found["training"]["metric"]) == (-1, "accuracy")
    found = config(capsys, *options, "--data.averaged", "odd", "--data.averaged", "even")
    assert found["training"]["metric"] == "mean_f1"
    found = config(capsys, *options, "--model.encoder", "second_only")
    assert (found["model"]["encoder"], found["model"]["features"]) == ("second_only", [])
    found = config(
        capsys,
        *options,
        "--model.target",
        "one_way",
        "--model.encoder",
        "bidirectional_conditional",
    )
    assert found["model"]["features"] == []


def test_data_of_other_sizes_and_files_keep_them(tmp_path: Path) -> None:
    large = table(tmp_path / "a.tsv", MOST_ROWS + 1)
    packed = table(tmp_path / "b.tsv.gz", 20)
    assert sized_settings("classify", [str(large)]) == {}
    assert sized_settings("classify", [str(tmp_path / "missing.tsv")]) == {}
    assert sized_settings("classify", []) == {}
    assert measured((str(packed),))[0] == 21
    assert sized_settings("classify", [str(packed)])["training.max_epochs"] == 150
    assert sized_settings("tag", [str(packed)]) == {}


def test_a_recipe_file_keeps_its_defaults(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "a.tsv", 500)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'task = "classify"\n[data]\ntrain = [{str(data)!r}]\n', encoding="utf-8")
    found = config(capsys, str(recipe))
    assert (found["training"]["patience"], found["model"]["dropout_rate"]) == (-1, 0.3)


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ("training.max_steps", {"training.schedule", "training.patience", "training.max_epochs"}),
        ("training.patience", {"training.schedule", "training.patience", "training.max_epochs"}),
        ("training.weight_decay", {"training.optimiser", "training.learning_rate"}),
        ("training.metric", {"training.metric"}),
        (
            "training.average_after",
            {
                "training.average",
                "training.schedule",
                "training.patience",
                "training.max_epochs",
            },
        ),
    ],
)
def test_what_is_given_is_kept_with_what_depends_on_it(tmp_path, given, left_out) -> None:
    data = [str(table(tmp_path / "a.tsv", 300))]
    every = sized_settings("classify", data)
    assert every.keys() - sized_settings("classify", data, {given: "1"}).keys() == left_out
    several = sized_settings("classify", data, {"data.label_separator": "|"})
    assert several["training.metric"] == "micro_f1"


@pytest.mark.parametrize(("n", "n_epochs"), [(50, 40), (2_000, 15), (20_000, 8)])
def test_an_encoder_that_starts_with_language_models_is_tuned(
    tmp_path: Path, n: int, n_epochs: int
) -> None:
    data, given = [str(table(tmp_path / "a.tsv", n))], {"model.pretrained": "runs/words"}
    settings = sized_settings("classify", data, given)
    assert settings["training.max_epochs"] == n_epochs
    assert settings["training.layer_divisor"] == 1.3
    assert (settings["training.schedule"], settings["model.pooling"]) == ("slanted", "concat")
    assert "model.pooling" not in sized_settings("pair", data, given)
    kept = sized_settings("classify", data, given | {"training.max_epochs": "3"})
    assert settings.keys() - kept.keys() == {
        "training.schedule",
        "training.patience",
        "training.max_epochs",
    }


def test_a_run_with_the_usual_defaults_is_resumed(tmp_path: Path, capsys) -> None:
    data, out = str(table(tmp_path / "a.tsv", 60)), str(tmp_path / "run")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'task = "classify"\n[data]\ntrain = [{data!r}]\nvalid_size = 9\n[model]\nhidden_size = 4\n'
        "[training]\nmax_steps = 2\n",
        encoding="utf-8",
    )
    assert cli.main(["train", str(recipe), "--out", out, "--baselines", "none"]) == 0
    typed = ["--task", "classify", "--data", data, "--data.valid_size", "9"]
    typed += ["--model.hidden_size", "4", "--training.max_steps", "3", "--baselines", "none"]
    capsys.readouterr()
    assert cli.main(["train", *typed, "--resume", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert "event=start step=2 " in printed
    assert "settings that suit" not in printed
    assert cli.main(["train", *typed, "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert (
        'event=note text="settings that suit about 61 rows: model.dropout_rate = 0.5, ' in printed
    )
