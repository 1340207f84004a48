"""The end of `unrolled train`: baselines unasked, the closing sentence, and `predict --baseline`."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import unrolled
from unrolled import cli
from unrolled.baselines import load_baseline
from unrolled.baselines.sklearn_models import Scikit
from unrolled.cli.baseline_view import print_baselines
from unrolled.errors import ConfigError, missing_package
from unrolled.metrics.intervals import Comparison, paired_bootstrap
from unrolled.predictors.closing import Closing
from unrolled.predictors.run_baselines import affordable, baseline_inputs, load_run_baselines
from unrolled.tasks import TASKS
from unrolled.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

pytest.importorskip("sklearn")

GOOD, BAD = ("fine", "lovely", "great"), ("awful", "dull", "poor")
THINGS = ("film", "book", "song", "play", "meal", "walk")
ROWS = [
    (f"the {thing} number {n} is {word} today", label)
    for thing in THINGS
    for label, words in (("good", GOOD), ("bad", BAD))
    for word in words
    for n in (1, 2, 3)
]
QUICK = ["--training.max_steps", "2", "--model.hidden_size", "5", "--data.valid_size", "20"]
TEXTS = ["a lovely film", "the dull walk number 9", "zzz", "great great"]


def train_command(
    folder: Path, *options: str, task: str = "classify", rows=ROWS, columns=None
) -> list[str]:
    data, out = folder / "data.tsv", folder / "run"
    lines = [columns or ("text", "label"), *rows]
    data.write_text("\n".join("\t".join(row) for row in lines) + "\n", encoding="utf-8")
    alone = [] if task == "tag" else ["--model.ngrams", "0"]  # so that the baselines are better
    return [
        "train",
        "--task",
        task,
        "--data",
        str(data),
        "--out",
        str(out),
        *QUICK,
        *alone,
        *options,
    ]


def train(folder: Path, *options: str, **given) -> Path:
    assert cli.main(train_command(folder, *options, **given)) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    from contextlib import redirect_stdout

    printed = io.StringIO()
    with redirect_stdout(printed):
        run = train(tmp_path_factory.mktemp("closing"))
    return run, printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def run(trained: tuple[Path, list[str]]) -> Path:
    return trained[0]


def values(line: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(line))


def test_training_ends_with_the_comparison(trained: tuple[Path, list[str]]) -> None:
    run, lines = trained
    assert [line.split()[:2] for line in lines[-4:-1]] == [
        ["event=baselines", 'fitting="nb_svm,'],
        ["event=baseline", "name=nb_svm"],
        ["event=baseline", "name=bigrams"],
    ]
    said = values(lines[-1])
    model = unrolled.load(run)
    rows = model.held_out("valid")
    tally = model.evaluate(rows, "valid").tally
    baseline = load_baseline(run / "baselines" / said["name"])
    texts, gold = baseline_inputs(model, rows)
    other = model.tally(gold, baseline.predict(texts))
    wanted = paired_bootstrap([tally], [other], "accuracy")
    assert said["event"] == "comparison"
    for name in ("difference", "low", "high"):
        assert float(said[name]) == pytest.approx(100 * getattr(wanted, name), abs=1e-3)
    assert (float(said["model"]), float(said["baseline"])) == pytest.approx(
        (100 * wanted.a, 100 * wanted.b), abs=1e-3
    )
    assert said["rows"] == "20"
    assert said["better"] == "baseline"
    assert said["text"].endswith(
        f"; the baseline is better here; use it: unrolled predict {run} --baseline"
    )


def test_a_baseline_predicts_like_its_module(run: Path, tmp_path: Path, capsys) -> None:
    model = unrolled.load(run)
    for name in ("bigrams", "nb_svm"):
        module = load_baseline(run / "baselines" / name)
        words = [model.words([text]) for text in TEXTS]
        found = model.baseline(name).predict(TEXTS)
        assert [one.labels[0] for one in found] == module.predict(words)
        if name == "bigrams":
            probabilities = np.array([one.probabilities for one in found])
            np.testing.assert_allclose(probabilities, module.probabilities(words), atol=1e-6)
            assert model.labels.names == module.labels
        else:
            assert all(one.probabilities.size == 0 for one in found)
    scores = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))["fitted"]["score"]
        for path in run.glob("baselines/*/baseline.json")
    }
    best = max(sorted(scores), key=scores.__getitem__)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS), encoding="utf-8")
    assert cli.main(["predict", str(run), "--baseline", "--input", str(lines)]) == 0
    printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    wanted = model.baseline(best).predict(TEXTS)
    assert [line[0] for line in printed] == [one.labels[0] for one in wanted]
    assert model.baseline()(TEXTS) == [line[0] for line in printed]
    assert model.baseline()("a lovely film") == printed[0][0]


@pytest.mark.parametrize("name", ["bigrams", "nb_svm"])
def test_only_baselines_with_probabilities_show_them(run: Path, tmp_path, capsys, name) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for other in (copy / "baselines").iterdir():
        if other.name != name:
            shutil.rmtree(other)
    assert cli.main(["predict", str(copy), "--baseline", "a lovely film"]) == 0
    assert len(capsys.readouterr().out.rstrip("\n").split("\t")) == (2 if name == "bigrams" else 1)
    code = cli.main(["predict", str(copy), "--baseline", "--scores", "a lovely film"])
    printed = capsys.readouterr()
    if name == "bigrams":
        assert code == 0
        assert len(printed.out.split("\t")) == 4
    else:
        assert code == 2
        assert printed.err == (
            "unrolled: --scores: the baseline is an NB-SVM, without probabilities; remove it\n"
        )


def test_pairs_are_compared_on_both_texts(tmp_path: Path, capsys) -> None:
    rows = [
        (target, f"give me {n} {thing}", "yes" if (target == "ice") == (thing == "snow") else "no")
        for target in ("ice", "sun")
        for thing in ("snow", "sand")
        for n in range(30)
    ]
    run = train(tmp_path, task="pair", rows=rows, columns=("first", "second", "label"))
    said = values(capsys.readouterr().out.splitlines()[-1])
    assert said["event"] == "comparison"
    assert sorted(path.name for path in (run / "baselines").iterdir()) == ["bigrams", "nb_svm"]
    assert cli.main(["predict", str(run), "--baseline", "ice", "give me 3 snow"]) == 0
    label = capsys.readouterr().out.split()[0]
    model = unrolled.load(run)
    assert model.baseline(said["name"])("ice", "give me 3 snow") == label


def test_taggers_are_compared_with_token_baselines(tmp_path: Path, capsys) -> None:
    data = tmp_path / "names.conll"
    sentences = [[("Ann", "B-X"), ("met", "O"), (f"Bob{n}", "B-X")] for n in range(60)]
    text = "\n".join("".join(f"{w}\t{t}\n" for w, t in each) for each in sentences)
    data.write_text(text, encoding="utf-8")
    command = [
        "train",
        "--task",
        "tag",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        *QUICK,
    ]
    assert cli.main(command) == 0
    said = values(capsys.readouterr().out.splitlines()[-1])
    assert said["name"] in ("token_logistic", "frequent_tag")
    assert "; the token baseline (" in said["text"]
    assert cli.main(["predict", str(tmp_path / "run"), "--baseline", "Ann met Bob3"]) == 0
    words = [each.rpartition("/") for each in capsys.readouterr().out.split()]
    module = load_baseline(tmp_path / "run" / "baselines" / said["name"])
    assert [tag for _, _, tag in words] == module.predict([["Ann", "met", "Bob3"]])[0]


def test_a_resumed_run_keeps_its_baselines(run: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    assert cli.main(["train", "--resume", "--out", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert "event=baselines" not in printed
    assert "event=comparison" in printed
    (copy / "baselines" / "bigrams").rename(copy / "baselines" / ".bigrams.partial")  # a kill
    assert list(load_run_baselines(copy)) == ["nb_svm"]
    assert cli.main(["train", "--resume", "--out", str(copy)]) == 0
    assert "event=baseline name=bigrams" in capsys.readouterr().out
    assert sorted(path.name for path in (copy / "baselines").iterdir()) == ["bigrams", "nb_svm"]


def test_no_baselines_are_fitted_if_none_are_wanted(tmp_path: Path, capsys) -> None:
    run = train(tmp_path, "--baselines", "none")
    assert capsys.readouterr().out.splitlines()[-1].startswith("event=try ")
    assert not (run / "baselines").exists()
    assert cli.main(["predict", str(run), "--baseline", "a film"]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: {run} has no baselines; fit them: unrolled train --resume --out {run} --baselines\n"
    )
    with pytest.raises(ConfigError, match="has no baselines; fit them"):
        unrolled.load(run).baseline()
    resume = ["train", "--resume", "--out", str(run)]
    assert cli.main(resume) == 0
    assert "event=baseline" not in capsys.readouterr().out
    assert not (run / "baselines").exists()
    assert cli.main([*resume, "--baselines", "majority"]) == 0
    assert "event=baseline name=majority" in capsys.readouterr().out
    assert not (run / "no-baselines.txt").exists()


def test_a_run_interrupted_without_baselines_stays_without(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", stopped)
        code = cli.main(train_command(tmp_path, "--baselines", "none"))
    assert code == 130
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "event=end" in printed
    assert "event=baseline" not in printed


def test_without_scikit_learn_a_note_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    def missing(_: type) -> Scikit:
        raise missing_package("fitting baselines", "scikit-learn", "baselines")

    monkeypatch.setattr(Scikit, "load", classmethod(missing))
    run = train(tmp_path)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        'event=note text="no comparison with a baseline: fitting baselines needs scikit-learn'
    )
    assert not (run / "baselines").exists()


def test_large_data_are_fitted_in_bounded_time(run: Path, tmp_path, monkeypatch, capsys) -> None:
    task = TASKS["classify"]
    assert affordable(task, 1_000, 2) == (("nb_svm", "bigrams"), 1.0)
    assert affordable(task, 10**6, 1_000)[1] < 0.1
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "baselines")
    place = "unrolled.predictors.run_baselines"
    monkeypatch.setattr(f"{place}._FEWEST_ROWS", 1)
    monkeypatch.setattr(f"{place}.AUTOMATIC_SECONDS", 14e-6 * 160)
    print_baselines(copy, is_automatic=True)
    first = values(capsys.readouterr().out.splitlines()[0])
    n, n_all = int(first["rows"]), int(first["of"])
    assert 5 < n < n_all
    from unrolled.predictors.closing import closing_of

    model = unrolled.load(copy)
    sentence = closing_of(model, model.parts()).sentence(copy)
    assert f"(NB-SVM), fitted on {n} of {n_all} rows, has " in sentence
    shutil.rmtree(copy / "baselines")
    monkeypatch.setattr(f"{place}._FEWEST_ROWS", 50)
    print_baselines(copy, is_automatic=True)
    assert "no n-gram baseline: with these labels, fitting one on" in capsys.readouterr().out
    assert not (copy / "baselines").exists()


@pytest.mark.parametrize(
    ("low", "high", "verdict", "ending"),
    [
        (0.01, 0.03, "model", "(+2.0, 1.0 to 3.0)"),
        (-0.03, -0.01, "baseline", "(−2.0, −3.0 to −1.0); the baseline is better here; use it: "),
        (-0.01, 0.02, "neither", "; no difference shown; to use the baseline: unrolled predict"),
    ],
)
def test_the_sentence_says_which_is_better(low, high, verdict, ending) -> None:
    difference = 0.02 if low > 0 else -0.02 if high < 0 else 0.005
    comparison = Comparison("macro_f1", 0.5 + difference, 0.5, low, high, 0.5, "")
    closing = Closing("bigrams", comparison, 1, "row", 5, 5)
    assert closing.verdict == verdict
    sentence = closing.sentence("a b")
    assert sentence.startswith(
        f"macro F1 {50 + 100 * difference:.1f}; the n-gram baseline (bigrams)"
    )
    assert "on the same 1 validation row (" in sentence
    assert ending in sentence
    assert ("unrolled predict 'a b' --baseline" in sentence) == (verdict != "model")


def test_the_sentence_fits_a_terminal(run: Path, monkeypatch) -> None:
    from unrolled.cli.baseline_view import print_closing

    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=60, highlight=False)
    monkeypatch.setattr("unrolled.cli.baseline_view.default_console", lambda: console)
    model = unrolled.load(run)
    print_closing(model, model.parts())
    lines = terminal.getvalue().splitlines()
    assert re.match(r"accuracy [\d.]+; the n-gram baseline \(", lines[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--words", "gradients"],
            "--words explains the network, and --baseline predicts without it",
        ),
        (
            ["--attention", "a.png"],
            "--attention explains the network, and --baseline predicts with",
        ),
        (["--n-best", "2"], "--n-best does not apply to"),
    ],
)
def test_options_of_the_network_are_refused(run: Path, capsys, options, message) -> None:
    assert cli.main(["predict", str(run), "--baseline", "a film", *options]) == 2
    assert message in capsys.readouterr().err


def test_other_tasks_have_no_baseline_to_predict(trained_run: Path, capsys) -> None:
    assert cli.main(["predict", str(trained_run), "--baseline", "a"]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: --baseline: {trained_run} is of task 'translate', which has no baselines to predict "
        "with; remove it\n"
    )


def test_an_unknown_baseline_is_named(run: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"has no baseline 'nb_svn'; did you mean 'nb_svm'\?; it has"
    ):
        unrolled.load(run).baseline("nb_svn")
    with pytest.raises(ConfigError, match="a baseline is not evaluated alone; evaluate the run"):
        unrolled.load(run).baseline().evaluate([])
    assert (
        repr(unrolled.load(run).baseline("nb_svm")) == f"BaselinePredictor('NB-SVM', run='{run}')"
    )
