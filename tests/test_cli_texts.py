"""Texts on the command line: with dashes, several of them, with unknown words and attention."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled import cli
from unrolled.cli import dashes
from unrolled.quoting import shell_command
from unrolled.tasks.predictions import Answer, LabelPrediction, Prediction

FILES = Path(__file__).parent / "old_files"
CLASSIFY = str(FILES / "classify" / "run")


@pytest.mark.parametrize("text", ["-good", "-good film", "- good", "-- good", "-1 star"])
def test_a_text_may_begin_with_a_dash(capsys, text: str) -> None:
    model = unrolled.load(CLASSIFY)
    assert cli.main(["predict", CLASSIFY, text]) == 0
    plain = capsys.readouterr().out
    assert plain.split("\t")[0] == model(text)
    assert cli.main(["predict", CLASSIFY, "--scores", "--", text]) == 0
    assert capsys.readouterr().out.count("\t") > 1


def test_a_value_may_begin_with_a_dash(capsys) -> None:
    run = str(FILES / "words" / "run")
    assert cli.main(["generate", run, "--prompt", "-a", "--max-tokens", "2"]) == 0
    separate = capsys.readouterr().out
    assert cli.main(["generate", run, "--prompt=-a", "--max-tokens", "2"]) == 0
    assert capsys.readouterr().out == separate


def test_marks_are_removed_from_values() -> None:
    marked = dashes.mark(["predict", "-a run", "--k", "-5", "-good"], ["--k"])
    assert dashes.unmark(marked) == ["predict", "-a run", "--k", "-5", "-good"]
    assert dashes.unmark(Path(marked[1])) == Path("-a run")
    assert marked[3] == "-5"
    assert marked[4] != "-good"


def test_several_sentences_are_answered_and_drawn(
    trained_run: Path, tmp_path: Path, capsys
) -> None:
    page = tmp_path / "two.html"
    texts = ["I see two red cats.", "I see <xyzzy> horses."]
    assert cli.main(["predict", str(trained_run), *texts, "--attention", str(page)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert f"attention: {page}" in printed.err
    content = page.read_text(encoding="utf-8")
    assert content.count("<figure>") == 2
    assert "<xyzzy" not in content
    lines = tmp_path / "in.txt"
    lines.write_text("I see two cats.\n\n" * 101, encoding="utf-8")
    arguments = ["predict", str(trained_run), "--input", str(lines), "--attention", str(page)]
    assert cli.main([*arguments, "--decoding.method", "greedy"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 202
    assert "(of the first 100 of 101 sentences)" in printed.err
    assert page.read_text(encoding="utf-8").count("<figure>") == 100


def test_models_without_attention_say_so(capsys, tmp_path: Path) -> None:
    page = str(tmp_path / "a.html")
    tagger = str(FILES / "tag" / "run")
    assert cli.main(["predict", tagger, "a film", "--attention", page]) == 2
    assert "is of task 'tag', whose models have no attention" in capsys.readouterr().err
    assert cli.main(["predict", CLASSIFY, "a film", "--precision", "int8"]) == 2
    assert "--precision does not apply to" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["complete", "score", "generate"])
def test_unknown_words_of_language_models_are_named(capsys, tmp_path: Path, task: str) -> None:
    data = tmp_path / "text.txt"
    data.write_text("the cat sees the dog .\n" * 200, encoding="utf-8")
    run = tmp_path / "run"
    quick = "--text.kind=word --model.hidden_size=4 --training.max_epochs=1 --training.threads=1"
    train = ["train", "--task", "language_model", "--data", str(data), "--out", str(run)]
    assert cli.main([*train, *quick.split()]) == 0
    capsys.readouterr()
    text = "the xyzzy sees "
    rest = ["--prompt", text, "--max-tokens", "1"] if task == "generate" else [text]
    assert cli.main([task, str(run), *rest]) == 0
    assert capsys.readouterr().err == "unrolled: 1 of 3 words is unknown to the model: xyzzy\n"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


def test_predictions_are_short_and_escaped_in_notebooks() -> None:
    text = "<script>alert(1)</script>"
    answer = Answer(text, -0.5, -1.0, (text, "</s>"), torch.eye(2), True)
    prediction = Prediction(text, -0.5, ("<unk>", "</s>"), (answer,), 0, ("<b>", "</s>"))
    assert repr(prediction) == f"Prediction({text!r}, score=-0.5000, 1 hypothesis)"
    tags = Tags(prediction._repr_html_()).tags
    assert set(tags) == {"p", "table", "tr", "th", "td"}
    assert tags.count("td") == 4
    shares = np.array([0.25, 0.75], np.float32)
    label = LabelPrediction((text,), shares, ((text,),), (None,), names=("no", text))
    assert repr(label) == f"LabelPrediction({text!r}, probability=0.7500)"
    html = label._repr_html_()
    assert "script" not in Tags(html).tags
    assert html.index("75.0%") < html.index("25.0%")
    tagged = LabelPrediction(("A", "B"), np.eye(2, dtype=np.float32), (("x", "y"),), (None,))
    assert repr(tagged) == "LabelPrediction('x/A y/B')"
    assert Tags(tagged._repr_html_()).tags.count("th") == 2


def test_loading_a_run_does_not_import_a_compiler() -> None:
    import subprocess
    import sys

    code = (
        "import sys, unrolled\n"
        "for run in sys.argv[1:]:\n"
        "    unrolled.load(run)('a film')\n"
        "    print('torch._dynamo' in sys.modules)\n"
    )
    runs = [str(FILES / task / "run") for task in ("classify", "translate", "tag")]
    command = [sys.executable, "-c", code, *runs]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n" * len(runs)


def test_words_are_shown_as_written_where_unknown(capsys) -> None:
    arguments = ["predict", CLASSIFY, "a xyzzy film <plugh>", "--words"]
    for method in ("gradients", "occlusion"):
        assert cli.main([*arguments, method]) == 0
        shown = capsys.readouterr().err.splitlines()[0]
        assert shown.split("  ")[1].startswith("xyzzy ")
        assert "<unk>" not in shown


@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_words_of_a_truncated_text_are_as_written(keep: str) -> None:
    model = unrolled.load_labels(CLASSIFY)
    n = model.recipe.data.max_length
    model.recipe = replace(model.recipe, data=replace(model.recipe.data, keep=keep))
    words = [f"word{i}" for i in range(2 * n)]
    read = {"start": words[:n], "end": words[n:]}
    read["both"] = [*words[: -(-n // 2)], *words[len(words) - n // 2 :]]
    (prediction,) = model.predict([" ".join(words)])
    assert prediction.words == (tuple(read[keep]),)


def test_scored_tokens_are_shown_as_written(capsys) -> None:
    run = str(FILES / "words" / "run")
    assert cli.main(["score", run, "the xyzzy sees", "--tokens"]) == 0
    tokens = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert tokens == ["the", "xyzzy", "sees"]


@pytest.fixture
def typed_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def give(text: str) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8")
        monkeypatch.setattr(sys, "stdin", stream)

    return give


LANGUAGE_MODEL = str(FILES / "words" / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", CLASSIFY],
        ["predict", str(FILES / "tag" / "run")],
        ["score", LANGUAGE_MODEL],
        ["complete", LANGUAGE_MODEL],
    ],
)
def test_a_dash_alone_is_standard_input(capsys, typed_in, arguments: list[str]) -> None:
    printed = []
    given = [[], ["-"]] if arguments[0] == "complete" else [[], ["-"], ["--input", "-"]]
    for how in given:
        typed_in("a good film\na bad one\n")
        assert cli.main([*arguments, *how]) == 0
        printed.append(capsys.readouterr())
    assert printed[0].out
    assert len(set(printed)) == 1


def test_a_prompt_and_a_list_of_words_come_from_standard_input(
    capsys, typed_in, tmp_path: Path
) -> None:
    typed_in("the cat\n")
    generate = ["generate", LANGUAGE_MODEL, "--max-tokens", "3"]
    assert cli.main([*generate, "--prompt-file", "-"]) == 0
    printed = capsys.readouterr().out
    assert cli.main([*generate, "--prompt", "the cat"]) == 0
    assert capsys.readouterr().out == printed
    typed_in("the\n\nof\n")
    assert cli.vectors.read_word_list(Path("-")) == ["the", "of"]


def test_the_name_of_a_file_as_text_gets_a_hint(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a film.txt").write_text("a good film\n", encoding="utf-8")
    said = "unrolled: a film.txt is a file, but its name is read as text; to read a file, run "
    file, model = shell_command("a film.txt"), shell_command(LANGUAGE_MODEL)
    reads = {
        "predict": f"`unrolled predict {shell_command(CLASSIFY)} --input {file}`",
        "score": f"`unrolled score {model} --input {file}`",
        "complete": f"`unrolled complete {model} < {file}`",
    }
    for command, how in reads.items():
        run = CLASSIFY if command == "predict" else LANGUAGE_MODEL
        assert cli.main([command, run, "a film.txt"]) == 0
        assert capsys.readouterr().err.startswith(f"{said}{how}\n")
        assert cli.main([command, run, "a film"]) == 0
        assert "is a file" not in capsys.readouterr().err


def test_rows_are_not_read_from_standard_input(capsys) -> None:
    assert cli.main(["evaluate", CLASSIFY, "--data", "-"]) == 2
    printed = capsys.readouterr().err
    assert printed == "unrolled: -: rows are not read from standard input; write them to a file\n"


def test_a_table_as_input_gets_a_hint(capsys, tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    table.write_text("text,label\na good film,pos\n", encoding="utf-8")
    assert cli.main(["predict", CLASSIFY, "--input", str(table)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert f"{table} is a table, but each line is read as a text" in printed.err
    assert shell_command("unrolled", "evaluate", CLASSIFY, "--data", table) in printed.err
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a film\ta good one\n", encoding="utf-8")
    assert cli.main(["predict", str(FILES / "pair" / "run"), "--input", str(pairs)]) == 0
    assert "is a table" not in capsys.readouterr().err
