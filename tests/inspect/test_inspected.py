"""Runs of every task on a text: what is measured, drawn, compared and refused."""

from __future__ import annotations

import builtins
import csv
import sqlite3
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import INPUTS, SEQ, SIZES, TEXT, predictor

import unrolled
from unrolled.inspect import inspected
from unrolled.inspect.drawing import write_figures
from unrolled.inspect.figures import Bars, Beam
from unrolled.inspect.inspected import InspectedText, check_comparable, comparison_lines
from unrolled.tasks import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS: dict[str, dict[str, Any]] = {
    "classify": SIZES,
    "pair": {**SIZES, "encoder": "attention"},
    "tag": {**SIZES, "char_size": 2},
    "translate": SEQ,
    "language_model": SIZES,
}


def look(name: str) -> InspectedText:
    return unrolled.inspect_text(predictor(name, **MODELS[name]), INPUTS[name])


@pytest.mark.parametrize("name", MODELS)
def test_every_task_has_its_figures(name: str) -> None:
    found = look(name)
    kinds = [type(figure).__name__ for figure in found.figures()]
    assert "Lines" in kinds
    assert "Units" in kinds
    assert kinds.count("Bars") == (2 if name == "pair" else 1)
    assert ("Weights" in kinds) == (name in ("pair", "translate"))
    assert ("Beam" in kinds) == (name == "translate")
    assert ("NextTokens" in kinds) == (name == "language_model")
    titles = [section.title for section in found.sections()]
    assert ("Beam search" in titles) == (name == "translate")
    assert ("Next tokens" in titles) == (name == "language_model")


def test_each_figure_is_written_as_three_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one_of_each = {type(figure): figure for figure in look("translate").figures()}
    assert {each.__name__ for each in one_of_each} == {"Lines", "Bars", "Beam", "Weights", "Units"}
    files = write_figures(one_of_each.values(), tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        path.name for path in files
    )
    assert len(files) == 3 * len(one_of_each)
    for svg, png, _ in zip(files[::3], files[1::3], files[2::3], strict=True):
        ElementTree.parse(svg)
        assert png.read_bytes().startswith(b"\x89PNG")
    assert ">rojo" in (tmp_path / "figures" / "beam.svg").read_text(encoding="utf-8")


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_numbers_of_a_figure_are_those_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = look("translate")
    chosen = [figure for figure in found.figures() if isinstance(figure, (Bars, Beam))]
    write_figures(chosen, tmp_path)
    headings, *rows = rows_of(tmp_path / "saliency.csv")
    assert headings == ["token", "contribution", "gradient norm"]
    assert [row[0] for row in rows] == list(found.saliency[0].tokens)
    given = np.array([[float(each) for each in row[1:]] for row in rows])
    np.testing.assert_allclose(given[:, 0], found.saliency[0].contributions, rtol=1e-5)
    np.testing.assert_allclose(given[:, 1], found.saliency[0].norms, rtol=1e-5)
    headings, *rows = rows_of(tmp_path / "beam.csv")
    assert found.search is not None
    assert [row[3] for row in rows] == [node.text for node in found.search.nodes]


def test_figures_of_one_name_get_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = next(figure for figure in look("classify").figures() if isinstance(figure, Bars))
    files = write_figures([figure, figure], tmp_path)
    assert [path.name for path in files[::3]] == ["saliency.svg", "saliency-2.svg"]


def test_figures_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = look("classify")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(unrolled.RunError, match=r"cannot write .*file"):
        found.write_figures(tmp_path / "file")
    with pytest.raises(unrolled.ConfigError, match=r"folder .* does not exist; create it"):
        found.write_figures(tmp_path / "no" / "figures")


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, plain = look("classify"), builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        unrolled.UnavailableError, match=r"needs matplotlib; run pip install 'unrolled\[figures\]'"
    ):
        found.write_figures(tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []


def test_models_of_different_tasks_are_not_compared() -> None:
    one, other = predictor("classify", **SIZES), predictor("pair", **SIZES)
    with pytest.raises(
        unrolled.ConfigError,
        match="task 'classify' and None of task 'pair'; compare two runs of one",
    ):
        check_comparable(one, other)
    check_comparable(one, predictor("classify", **SIZES))


def test_a_comparison_has_a_column_for_each_model() -> None:
    one = predictor("classify", **SIZES)
    models = [
        inspected.inspected_example(each, inspected.example_of(each, TEXT))
        for each in (one, predictor("classify", embedding_size=5, hidden_size=3))
    ]
    _, *rows = [line.split("  ") for line in comparison_lines(models, 100)]
    assert [row[0] for row in rows] == [
        "answer",
        "loss, nats per target",
        "diagnosis",
        "gradient left at the far end",
        "most saturated",
        "largest spectral radius",
    ]
    assert [f"{each.trace.loss:.4g}" for each in models] == [
        cell.strip() for cell in rows[1][1:] if cell.strip()
    ]


@pytest.fixture(scope="module")
def sql_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of a few updates that answers questions, and its database."""
    folder = tmp_path_factory.mktemp("sql")
    database = folder / "words.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE word (text TEXT, n INTEGER)")
        connection.executemany("INSERT INTO word VALUES (?, ?)", [("tea", 1), ("cup", 2)])
        connection.commit()
    rows = [f"which words above {n}\tSELECT text FROM word WHERE n > {n}" for n in range(8)]
    rows += [f"how many words, {n}\tSELECT count(*) FROM word" for n in range(8)]
    lines = ["question\tquery\tdatabase", *(f"{row}\twords.sqlite" for row in rows), ""]
    (folder / "sql.tsv").write_text("\n".join(lines), encoding="utf-8")
    mapping = {
        "task": "sql",
        "data": {part: [str(folder / "sql.tsv")] for part in ("train", "valid", "test")},
        "model": {"embedding_size": 8, "encoder_size": 8, "hidden_size": 12, "dropout_rate": 0.0},
        "decoding": {"least_confidence": 0.0, "max_input_length": 30, "max_length_extra": 15},
        "training": {"max_steps": 12, "learning_rate": 0.03, "valid_sentences": 2},
    }
    unrolled.train(unrolled.Recipe.from_mapping(mapping, TASKS), folder / "run")
    return folder / "run", database


def test_a_run_that_writes_queries_is_inspected(sql_run: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    run, database = sql_run
    one = unrolled.load_queries(run)
    question = "which words above 1"
    answer = one.predict([question], database)[0]
    found = unrolled.inspect_text(one, question, database=str(database))
    assert found.trace.answer == answer.text
    assert found.saliency[0].tokens == tuple(question.split())
    decoder = found.trace["decoder.recurrent layer 0 forward"]
    assert decoder.tokens == ("<s>", *answer.hypotheses[0].pieces)
    assert found.search is not None
    *_, last = (node for node in found.search.nodes if node.is_answer)
    assert last.log_prob == answer.hypotheses[0].log_prob
    assert last.text == " ".join((*answer.hypotheses[0].pieces, "</s>"))
    given = "SELECT n FROM word"
    assert unrolled.inspect_text(one, question, given, str(database)).trace.answer == given
    page = found.write_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Beam search" in page
    with pytest.raises(unrolled.ConfigError, match="a question needs its database"):
        unrolled.inspect_text(one, question)


def test_a_long_question_is_cut_and_it_says_so(sql_run: tuple[Path, Path]) -> None:
    pytest.importorskip("llguidance")
    run, database = sql_run
    one = unrolled.load_queries(run)
    found = unrolled.inspect_text(one, "which words " * 25_000, "SELECT n FROM word", str(database))
    assert found.trace.notes == ("the question has more than 30 words; the first 30 are inspected",)
    assert len(found.saliency[0].tokens) == 30
