"""Predictions and evaluation of a trained translator."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled import cli
from unrolled.errors import ConfigError, RunError
from unrolled.ops import native
from unrolled.predictors.load import load
from unrolled.predictors.results_file import record
from unrolled.predictors.seq2seq import Predictor, judge
from unrolled.tasks import TASKS
from unrolled.text.rows import Row
from unrolled.text.splits import read_splits

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [
    "I see two red cats.",
    "birds",
    "I see five horses. I see three black dogs. I see four white birds. I see two cats.",
    "I see three black dogs.",
    "I see four strange birds.",
    "I see five horses.",
    "I see four white birds.",
]


@pytest.fixture(scope="module")
def translator(trained_run: Path) -> Predictor:
    return load(trained_run)  # type: ignore[return-value]


def words(n: int) -> str:
    """A source of n words."""
    return " ".join((["I", "see", "two", "red", "cats", "and", "five", "black", "dogs"] * n)[:n])


def test_a_text_gives_a_text_and_a_list_gives_a_list(translator: Predictor) -> None:
    assert isinstance(translator(TEXTS[0]), str)
    assert translator([TEXTS[0]]) == [translator(TEXTS[0])]
    assert translator([]) == []


def test_input_that_is_not_text_is_refused(translator: Predictor) -> None:
    with pytest.raises(ConfigError, match="an input must be a text; found NoneType None"):
        translator.predict(["birds", None])  # type: ignore[list-item]


def test_the_name_of_a_task_is_no_task(trained_run: Path) -> None:
    with pytest.raises(
        ConfigError, match="task must be a task of your own, not the name 'tag'; leave"
    ):
        load(trained_run, task="tag")  # type: ignore[call-overload]


def test_a_run_is_loaded_by_string_or_path(trained_run: Path) -> None:
    first, second = unrolled.load(str(trained_run)), unrolled.load(trained_run)
    assert not first.model.training
    assert first(TEXTS[0]) == second(TEXTS[0])
    assert first.task is TASKS["translate"]


@pytest.mark.skipif(native.kernels is None, reason="the native kernels were not built")
@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.2), ("int8", 0.5)])
def test_steps_may_use_lower_precision(
    translator: Predictor, trained_run: Path, precision: str, tolerance: float
) -> None:
    coarse = load(trained_run, precision=precision)
    exact_scores, coarse_scores = (
        [answer.score for answer in each.predict(TEXTS)] for each in (translator, coarse)
    )
    assert coarse_scores != exact_scores
    assert coarse_scores == pytest.approx(exact_scores, abs=tolerance)
    assert translator.predict(TEXTS)[0].score == exact_scores[0]


def test_an_unknown_precision_is_refused(trained_run: Path) -> None:
    message = "precision must be one of float32, bfloat16, int8, got 'int4'"
    with pytest.raises(ConfigError, match=message):
        load(trained_run, precision="int4")


def test_predictions_come_in_the_order_of_the_texts(translator: Predictor) -> None:
    answers = translator(TEXTS)
    assert len(set(answers)) > 3
    assert translator(TEXTS[::-1]) == answers[::-1]
    pieces = [prediction.source_pieces[:-1] for prediction in translator.predict(TEXTS)]
    assert [len(each) for each in pieces] == [6, 1, 22, 6, 6, 5, 6]
    assert "".join(pieces[1]) == "birds"


def test_an_empty_text_has_an_empty_prediction(translator: Predictor) -> None:
    assert translator("") == ""
    assert translator(["", TEXTS[0], " \t", TEXTS[3]]) == [
        "",
        translator(TEXTS[0]),
        "",
        translator(TEXTS[3]),
    ]
    (empty,) = translator.predict([""], n_best=3, with_attention=True)
    assert (empty.text, len(empty.hypotheses), empty.n_truncated) == ("", 1, 0)


def test_several_answers_come_best_first(translator: Predictor) -> None:
    for one, three in zip(
        translator.predict(TEXTS), translator.predict(TEXTS, n_best=3), strict=True
    ):
        assert len(one.hypotheses) == 1
        assert len(three.hypotheses) == 3
        scores = [answer.score for answer in three.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == 3
        assert (three.text, three.score) == (three.hypotheses[0].text, scores[0])
        assert three.text == one.text
        assert all(answer.log_prob < 0 for answer in three.hypotheses)


def test_no_more_answers_than_the_beam_has(translator: Predictor) -> None:
    with pytest.raises(ConfigError) as caught:
        translator.predict(TEXTS, n_best=4)
    assert str(caught.value).startswith(
        "decoding.n_best must be at most decoding.beam_size, 3, got 4"
    )


def test_attention_has_target_rows_and_source_columns(
    translator: Predictor,
) -> None:
    for prediction in translator.predict(TEXTS, n_best=2, with_attention=True):
        assert prediction.source_pieces[-1] == "</s>"
        for answer in prediction.hypotheses:
            assert answer.attention is not None
            assert answer.attention.shape == (len(answer.pieces), len(prediction.source_pieces))
            sums_T = answer.attention.sum(1)
            torch.testing.assert_close(sums_T, torch.ones_like(sums_T))
    (without,) = translator.predict(TEXTS[:1])
    assert without.hypotheses[0].attention is None


@pytest.mark.parametrize("method", ["beam", "greedy", "sample"])
def test_a_prediction_does_not_depend_on_its_batch(translator: Predictor, method: str) -> None:
    decoding = replace(translator.recipe.decoding, method=method)
    together = translator.predict(TEXTS, decoding, with_attention=True)
    for text, among in zip(TEXTS, together, strict=True):
        (alone,) = translator.predict([text], decoding, with_attention=True)
        assert alone.text == among.text
        assert alone.source_pieces == among.source_pieces
        assert alone.score == pytest.approx(among.score, rel=1e-4, abs=1e-5)
        torch.testing.assert_close(
            alone.hypotheses[0].attention, among.hypotheses[0].attention, rtol=1e-3, atol=1e-5
        )


def test_a_long_source_is_truncated_and_reported(translator: Predictor) -> None:
    decoding = replace(translator.recipe.decoding, max_input_length=5)
    texts = [words(5), words(13), words(6), "birds"]
    exact, long, one_more, short = translator.predict(texts, decoding, with_attention=True)
    assert [each.n_truncated for each in (exact, long, one_more, short)] == [0, 8, 1, 0]
    for cut in (long, one_more):
        assert cut.source_pieces == exact.source_pieces
        assert len(cut.source_pieces) == 5 + 1
        assert cut.text == exact.text
        assert cut.score == pytest.approx(exact.score, rel=1e-4)
        assert cut.hypotheses[0].attention is not None
        assert cut.hypotheses[0].attention.shape[1] == 5 + 1
    assert [each.n_truncated for each in translator.predict(texts)] == [0] * 4


def test_length_groups_contain_every_sentence_once(translator: Predictor) -> None:
    held_out = translator.held_out("test")
    longer = [Row((words(n), "Veo dos gatos."), line=n) for n in (1, 9, 10, 19, 20, 31)]
    rows = [*longer[::2], *held_out, *longer[1::2]]
    evaluation = translator.evaluate(rows)
    counts = {label: part.n_sentences for label, part in evaluation.by_length.items()}
    assert counts == {"1–9": len(held_out) + 2, "10–19": 2, "20+": 2}
    assert sum(counts.values()) == evaluation.total.n_sentences == len(rows)
    assert evaluation.answers == translator([row.fields[0] for row in rows])
    assert (
        set(evaluation.total.scores)
        == set(evaluation.signatures)
        == {"bleu", "bleu_lower", "chrf", "exact_match"}
    )
    assert evaluation.seconds > 0


def test_groups_without_a_sentence_are_left_out(translator: Predictor) -> None:
    evaluation = translator.evaluate(translator.held_out("test"))
    assert list(evaluation.by_length) == ["1–9"]
    assert evaluation.by_length["1–9"] == evaluation.total
    first, *others = evaluation.lines()
    assert re.fullmatch(r"7 sentences in \d+\.\d s \([\d,]+/s\)", first)
    rows = [re.split(r"\s{2,}", line) for line in others if line]
    names = ["score", "sentences", "BLEU", "BLEU, lower case", "chrF", "exact match"]
    assert [row[0] for row in rows] == names
    assert rows[:2] == [["score", "all"], ["sentences", "7"]]
    assert rows[4][1] == f"{evaluation.total.scores['chrf']:.2f}"
    signed = list(evaluation.lines(signatures=True))
    assert signed[-2] == f"chrf         {evaluation.signatures['chrf']}"


def test_references_get_perfect_scores() -> None:
    rows = [
        Row(("I see two red cats.", "Veo dos gatos rojos."), 2),
        Row(("I see five horses.", "Veo cinco caballos."), 3),
    ]
    references = [row.fields[1] for row in rows]
    perfect = judge(TASKS["translate"], rows, references, seconds=0.5)
    assert perfect.total.scores == {
        "bleu": 100.0,
        "bleu_lower": 100.0,
        "chrf": 100.0,
        "exact_match": 100.0,
    }
    assert (perfect.answers, perfect.seconds) == (references, 0.5)
    worse = judge(TASKS["translate"], rows, references[::-1])
    assert worse.total.scores["chrf"] < 100
    assert worse.total.n_sentences == 2


def test_an_evaluation_is_recorded_as_one_line(translator: Predictor, tmp_path: Path) -> None:
    evaluation = translator.evaluate(translator.held_out("valid"))
    path = tmp_path / "results.jsonl"
    record(evaluation, path, run="pingüinos", data=["valid"])
    record(evaluation, path, run="another")
    text = path.read_text(encoding="utf-8")
    first, second = (json.loads(line) for line in text.splitlines())
    assert "pingüinos" in text
    assert (first["run"], first["data"], second["run"]) == ("pingüinos", ["valid"], "another")
    assert datetime.fromisoformat(first["date"]).utcoffset() is not None
    assert first["commit"] is None or first["commit"]
    assert first["sentences"] == 5
    assert {name: first[name] for name in evaluation.signatures} == evaluation.total.scores
    assert first["by_length"] == {"1–9": evaluation.total.scores}
    assert first["signatures"] == evaluation.signatures


def test_the_held_out_parts_are_those_of_the_training(
    translator: Predictor, trained_run: Path
) -> None:
    splits = read_splits(translator.recipe.data, 2)
    assert translator.held_out("valid") == splits.valid
    assert translator.held_out("test") == splits.test
    sizes = json.loads((trained_run / "split.json").read_text(encoding="utf-8"))["sizes"]
    assert sizes == {"train": 52, "valid": len(splits.valid), "test": len(splits.test)}
    seen = {text for row in splits.train for text in row.fields}
    assert not seen & {text for row in (*splits.valid, *splits.test) for text in row.fields}


def missing(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def overwritten(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * (path.stat().st_size // 2))


@pytest.mark.parametrize("harm", [missing, emptied, cut_short, overwritten])
@pytest.mark.parametrize(
    "name",
    ["config.toml", "model.safetensors", "tokenizer-source.json", "tokenizer-target.json"],
)
def test_a_damaged_file_of_a_run_is_named(
    trained_run: Path, tmp_path: Path, name: str, harm
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    harm(run / name)
    with pytest.raises(RunError) as caught:
        load(run)
    assert str(run) in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_changed_byte_of_the_weights_is_noticed(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises(RunError) as caught:
        load(run)
    assert str(caught.value) == (
        f"{run / 'model.safetensors'}: its checksum does not match; restore the file from a copy, "
        "or train the run again (--force)"
    )


def test_a_file_is_not_a_run(pairs_file: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        load(pairs_file)


def test_a_part_is_not_cut_from_a_file_that_changed_since(
    translator: Predictor, trained_run: Path, tmp_path: Path
) -> None:
    data = translator.recipe.data
    changed = tmp_path / "pairs.tsv"
    lines = Path(data.train[0]).read_text(encoding="utf-8").splitlines(keepends=True)
    changed.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")
    recipe = replace(translator.recipe, data=replace(data, train=(str(changed),)))
    moved = Predictor(recipe, translator.task, translator.tokenizers, translator.model, trained_run)
    expected = (
        f"{changed} is not a file that {trained_run} was trained on, or its content has changed"
    )
    with pytest.raises(RunError, match=re.escape(expected)):
        moved.held_out("test")


def test_an_empty_source_is_counted_among_the_shortest() -> None:
    rows = [Row(("", "Nada."), 2), Row(("One.", "Uno."), 3)]
    evaluation = judge(TASKS["translate"], rows, ["", "Uno."])
    assert evaluation.by_length["1–9"].n_sentences == 2


# What `unrolled predict` says on standard error


def test_n_best_of_a_greedy_run_uses_beam_search(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = run / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert 'method = "beam"' in text
    config.write_text(text.replace('method = "beam"', 'method = "greedy"'), encoding="utf-8")
    assert cli.main(["predict", str(run), "two birds", "--n-best", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\t") == 3
    assert (
        "unrolled: --n-best 4 uses beam search, beam size 4; the run decodes greedily"
        in printed.err
    )


def test_unknown_words_of_one_text_are_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Path(__file__).parent / "old_files"
    texts = {"translate": "I see two xyzzy plugh", "classify": "the cat is xyzzy plugh"}
    for name, text in texts.items():
        run = files / name / "run"
        assert cli.main(["predict", str(run), text]) == 0
        sentence = "unrolled: 2 of 5 words are unknown to the model: xyzzy, plugh\n"
        assert capsys.readouterr().err == sentence
        lines = tmp_path / "lines.txt"
        lines.write_text("xyzzy plugh\n", encoding="utf-8")
        assert cli.main(["predict", str(run), "--input", str(lines)]) == 0
        summary = "unrolled: 2 of 2 words are unknown to the model: xyzzy, plugh\n"
        assert capsys.readouterr().err == summary


def test_a_table_is_read_by_the_column_names_of_training(
    trained_run: Path, pairs_file: Path, tmp_path: Path
) -> None:
    model = unrolled.load_translator(trained_run)
    rows = [line.split("\t") for line in pairs_file.read_text(encoding="utf-8").splitlines()]
    turned = tmp_path / "turned.tsv"
    turned.write_text("".join(f"{es}\t{en}\n" for en, es in rows), encoding="utf-8")
    notes: list[str] = []
    read = model.read([str(turned)], notes)
    assert [row.fields for row in read] == [tuple(row) for row in rows[1:]]
    assert notes == []
