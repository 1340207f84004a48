"""The task from the command line: data, train, evaluate, predict, resume, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.errors import ConfigError
from unrolled.samples.expressions import generate, write
from unrolled.tasks.code.answers import CodeDecoding

TINY = (
    *("--model.embedding_size", "12", "--model.encoder_size", "12", "--model.hidden_size", "24"),
    *("--training.max_steps", "30", "--training.learning_rate", "0.01", "--training.threads", "1"),
    *("--training.evaluate_every_n_steps", "15", "--training.valid_sentences", "5"),
)
DESCRIPTION = "the sum of `my_prices`"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    write(folder, generate(120, 10, 10))
    return folder


@pytest.fixture(scope="module")
def run(sample: Path) -> Path:
    out = sample / "run"
    parts = [("--data", "train"), ("--valid", "valid"), ("--test", "test")]
    files = [word for option, part in parts for word in (option, str(sample / f"{part}.tsv"))]
    assert cli.main(["train", "--task", "code", *files, "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture(scope="module")
def prior(sample: Path) -> Path:
    text, out = sample / "code.txt", sample / "prior"
    codes = [line.split("\t")[1] for line in (sample / "train.tsv").read_text().splitlines()[1:]]
    text.write_text("\n".join(codes) + "\n", encoding="utf-8")
    options = ("--text.kind", "code", "--text.language", "python", "--data.k1", "8")
    sizes = ("--model.embedding_size", "8", "--model.hidden_size", "8", "--data.n_rows", "4")
    steps = ("--training.max_steps", "10", "--training.threads", "1")
    data = ("train", "--task", "language_model", "--data", str(text), "--out", str(out))
    assert cli.main([*data, *options, *sizes, *steps]) == 0
    return out


def test_a_description_is_inspected(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert cli.main(["inspect", str(run), DESCRIPTION, "--out", str(page)]) == 0
    assert "<h2>Beam search</h2>" in page.read_text(encoding="utf-8")
    found = unrolled.inspect_text(unrolled.load_code(run), DESCRIPTION)
    (prediction,) = unrolled.load_code(run).predict([DESCRIPTION])
    assert found.search is not None
    *_, last = (node for node in found.search.nodes if node.is_answer)
    assert last.log_prob == prediction.hypotheses[0].log_prob


def test_the_model_is_evaluated_beside_a_baseline(
    run: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = sample / "results.jsonl"
    assert cli.main(["evaluate", str(run), "--record", str(record), "--signatures"]) == 0
    shown = capsys.readouterr().out
    assert "nearest description" in shown
    assert "equal ast trees / all" in shown
    entry = json.loads(record.read_text(encoding="utf-8"))
    names = {"exact_match", "exact_tree", "bleu", "sentence_bleu", "parses"}
    assert names <= entry.keys()
    assert names == entry["nearest_description"].keys()


def test_code_is_predicted_one_line_per_description(
    run: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", str(run), DESCRIPTION, "--n-best", "2", "--scores"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line.split("\t")) == 4
    source, output = sample / "in.txt", sample / "out.txt"
    source.write_text(f"{DESCRIPTION}\n\nthe number of `files`\n", encoding="utf-8")
    for grammar in ("false", "true"):
        files = ("--input", str(source), "--output", str(output))
        assert cli.main(["predict", str(run), *files, "--decoding.grammar", grammar]) == 0
        assert output.read_text(encoding="utf-8").splitlines()[1] == ""


def test_attention_is_drawn_over_spans(run: Path, sample: Path) -> None:
    page = sample / "attention.html"
    assert cli.main(["predict", str(run), DESCRIPTION, "--attention", str(page)]) == 0
    assert "my_prices" in page.read_text(encoding="utf-8")


def test_code_is_highlighted_at_a_terminal(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert cli.main(["predict", str(run), DESCRIPTION, "--n-best", "2"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert "1  " in shown


def test_data_are_described(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", str(sample / "train.tsv"), "--training.max_steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert "description" in shown
    assert "python" not in shown.split("examples")[-1].splitlines()[-1]


def test_a_run_is_loaded_and_resumed_bit_for_bit(run: Path, tmp_path: Path) -> None:
    shorter, recipe = tmp_path / "run", str(run / "config.toml")
    steps = ("--out", str(shorter), "--training.max_steps")
    assert cli.main(["train", recipe, *steps, "15"]) == 0
    assert cli.main(["train", "--resume", "--out", str(shorter), "--training.max_steps", "30"]) == 0
    one, other = (unrolled.load_code(folder).model.state_dict() for folder in (run, shorter))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_a_prior_takes_part_and_its_weight_can_be_chosen(run: Path, prior: Path) -> None:
    model = unrolled.load_code(run)
    settings = CodeDecoding(prior=str(prior), prior_weight=3.0)
    plain, other = (model.predict([DESCRIPTION], each)[0] for each in (None, settings))
    assert plain.hypotheses[0].log_prob != other.hypotheses[0].log_prob
    weight = model.choose_prior_weight(settings)
    assert weight in (0.0, 0.05, 0.1, 0.2, 0.3)
    (chosen,) = model.predict([DESCRIPTION], CodeDecoding(prior=str(prior), prior_weight=-1.0))
    (given,) = model.predict([DESCRIPTION], CodeDecoding(prior=str(prior), prior_weight=weight))
    assert chosen.text == given.text


def test_a_prior_must_be_a_language_model_of_such_tokens(run: Path, sample: Path) -> None:
    model = unrolled.load_code(run)
    with pytest.raises(ConfigError, match="is of task 'code'; give a run of a language model"):
        model.predict([DESCRIPTION], CodeDecoding(prior=str(run)))
    text, out = sample / "other.txt", sample / "characters"
    text.write_text("nothing in common\n" * 40, encoding="utf-8")
    data = ("train", "--task", "language_model", "--data", str(text), "--out", str(out))
    options = ("--text.kind", "word", "--training.max_steps", "1", "--data.k1", "8")
    assert cli.main([*data, *options, "--data.n_rows", "2", "--training.threads", "1"]) == 0
    with pytest.raises(
        ConfigError, match=r"of the tokens of this model; train it with --text\.kind"
    ):
        model.predict([DESCRIPTION], CodeDecoding(prior=str(out)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data.language", "cobol"), "data.language"),
        (("--data.unparsable", "refuse"), "line 3"),
        (("--training.metric", "char_bleu"), "training.metric"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "a.tsv"
    rows = ["description\tcode", "one\tf(x)", "two\tf(", *(f"do {i}\tf({i})" for i in range(60))]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = ("--task", "code", "--data", str(table), "--out", str(tmp_path / "run"))
    assert cli.main(["train", *data, *options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_bash_is_learned_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tree_sitter_bash")
    table, out = tmp_path / "a.jsonl", tmp_path / "run"
    lines = [
        {"nl": f"list {i} files of d{i}", "bash": f"ls -l d{i} | head -{i}"} for i in range(80)
    ]
    table.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    data = ("--task", "code", "--data", str(table), "--data.language", "bash")
    assert cli.main(["train", *data, "--out", str(out), *TINY]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(out)]) == 0
    assert "template match" in capsys.readouterr().out
