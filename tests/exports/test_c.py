"""Exported C code answers as the model does, and nothing is written if it does not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_fuzz import (
    CONFIGS,
    SANITIZED,
    first_difference,
    fuzz,
    texts,
    tokenizer_of,
    tokens_program,
)
from small_runs import TEXT, classifier, language_model, tagger

from unrolled.cli import main
from unrolled.errors import ConfigError, RunError
from unrolled.exports.c import compiler, export_c, literals
from unrolled.exports.c.network import Array
from unrolled.exports.c.reading import read_arrays
from unrolled.predictors.load import load

OLD = Path(__file__).parents[1] / "old_files"
CELLS = ("rnn", "rnn_relu", "gru", "lstm")

needs_compiler = pytest.mark.skipif(compiler.find() is None, reason="there is no C compiler")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "OPTIONS", ("-std=c99", "-O0"))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find", lambda: None)


def run_c(folder: Path, text: str, *arguments: str) -> str:
    program = folder / "main.exe"
    if not program.exists():
        program = compiler.compiled(compiler.find(), folder / "main.c")
    return compiler.answer(program, arguments, text)


# What is written


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.0, -1.5, 0.1, 1e-30, 3.4e38, 1 / 3, -7.0], np.float32),
        np.array([[-np.inf, 0.1], [1 / 3, -2.0]]),
        np.arange(-127, 127, dtype=np.int8).reshape(2, -1),
    ],
)
def test_arrays_are_read_back_bit_for_bit(values: Any) -> None:
    array = Array("x", values)
    begin = f"static const {array.type} model_x[{array.size}] = {{ /* {array.shape} */"
    text = f"{begin}\n{array.values}\n}};"
    found = read_arrays(text)["x"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_texts_cannot_leave_strings_and_comments() -> None:
    assert literals.string('a"b\\c\n??/') == r'"a\"b\\c\012\?\?/"'
    assert "*/" not in literals.comment("a */ int x; /* \\\n b")


@needs_compiler
@pytest.mark.parametrize(
    ("task", "precision"),
    [("characters", "int8"), ("classify", "float32"), ("topics", "int8"), ("tag", "int8")],
)
def test_an_old_run_compiles_without_warnings(
    task: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(OLD / task)
    agreement = export_c(load("run"), tmp_path / "out", precision)
    assert agreement.worst < 1e-4
    assert bool(agreement.cost) == (precision == "int8")
    compiler.compiled(
        compiler.find(), tmp_path / "out" / "main.c", ("-std=c99", *compiler.WARNINGS)
    )
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "the compiled C code" in card
    record = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert (record["task"], record["precision"]) == (load("run").task.name, precision)
    for name, (before, after) in record["validation"].items():
        assert after == pytest.approx(before, rel=0.2, abs=0.02), name


# Every model


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "model"),
    [
        ("float32", {"cell": "rnn"}),
        ("int8", {"cell": "rnn_relu"}),
        ("float32", {"cell": "lstm", "n_layers": 3, "tied": True}),
        ("int8", {"cell": "lstm", "n_layers": 2, "tied": True}),
        ("float32", {"cell": "gru", "n_layers": 2, "embedding": "one_hot"}),
        ("int8", {"cell": "gru", "n_layers": 2}),
        ("int8", {"cell": "lstm", "embedding": "one_hot"}),
    ],
    ids=str,
)
def test_language_models_agree(precision: Any, model: dict[str, Any], tmp_path: Path) -> None:
    agreement = export_c(language_model(tmp_path, **model), tmp_path / "out", precision)
    assert agreement.worst < 1e-4


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (
            "word",
            {"cell": "lstm", "pooling": "attentive", "data": {"max_length": 7, "keep": "both"}},
        ),
        ("space", {"cell": "gru", "pooling": "final", "n_layers": 3}),
        ("char", {"cell": "rnn", "pooling": "mean", "bidirectional": False, "n_layers": 2}),
        ("bpe", {"cell": "rnn_relu", "pooling": "final", "bidirectional": False}),
        ("word", {"pooling": "max", "several": True, "data": {"max_length": 3, "keep": "end"}}),
    ],
    ids=str,
)
def test_classifiers_agree(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    predictor = classifier(kind, **options)
    assert export_c(predictor, tmp_path / "out").worst < 1e-5
    lines = [TEXT, "isn't open", "\u65e5\u672c", "go there\tAnn"]
    found = run_c(tmp_path / "out", "\n".join(lines)).splitlines()
    for line, prediction in zip(found, predictor.predict(lines), strict=True):
        label, probability = line.rsplit("\t", 1)
        assert label == ", ".join(prediction.labels).replace("\t", "\\t")
        assert len(probability) == len("0.1234")


@needs_compiler
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "data": {"max_length": 4, "max_characters": 3}},
        {"cell": "gru", "head": "softmax", "char_size": 0, "n_layers": 2},
        {"cell": "rnn", "bidirectional": False, "transitions": "free"},
    ],
    ids=str,
)
def test_taggers_agree(options: dict[str, Any], tmp_path: Path) -> None:
    predictor = tagger(**options)
    assert export_c(predictor, tmp_path / "out").worst < 1e-4
    found = run_c(tmp_path / "out", f"{TEXT}\n\nAnn's cafe")
    first, third = (" ".join(each.labels) for each in predictor.predict([TEXT, "Ann's cafe"]))
    assert found == f"{first}\n\n{third}\n"


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("cell", CELLS)
def test_numpy_checks_where_no_compiler_is(cell: str, tmp_path: Path) -> None:
    runs = {
        "lm": language_model(tmp_path, cell=cell, n_layers=2, tied=True),
        "one_hot": language_model(tmp_path, cell=cell, embedding="one_hot"),
        "classify": classifier(cell=cell, pooling="attentive", n_layers=2),
        "tag": tagger(cell=cell, data={"max_length": 4}),
    }
    for name, predictor in runs.items():
        agreement = export_c(predictor, tmp_path / name)
        assert agreement.worst < 1e-4
        card = (tmp_path / name / "README.md").read_text(encoding="utf-8")
        assert (
            "Compared by NumPy, from the arrays of weights.h, because there is no C compiler"
            in card
        )


# Text


@needs_compiler
@pytest.mark.parametrize("name", CONFIGS)
def test_texts_are_split_as_in_training(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(name)
    program = tokens_program(tokenizer, tmp_path, ("-std=c99", "-O0", *compiler.WARNINGS))
    assert first_difference(tokenizer, program, list(texts(1000, 3))) == ""
    assert compiler.answer(program, (), b"\xc3\nab\xed\xa0\x80\n\xc0\x80\n") == "error -1\n" * 3


def has_sanitizers(folder: Path) -> bool:
    """Whether programs can be compiled with them, and run."""
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    try:
        compiler.answer(compiler.compiled(compiler.find(), source, SANITIZED), (), "")
    except RunError:
        return False
    return True


@needs_compiler
@pytest.mark.parametrize("task", ["tag", "language_model"])
def test_random_inputs_cause_no_fault(task: str, tmp_path: Path) -> None:
    if not has_sanitizers(tmp_path):
        pytest.skip("the compiler has no sanitizers")
    predictor = tagger() if task == "tag" else language_model(tmp_path)
    fuzz(predictor, task, 40, 3, 40)


@needs_compiler
def test_generation_follows_the_same_random_numbers(tmp_path: Path) -> None:
    predictor = language_model(tmp_path, data={"documents": "line", "restart": True})
    export_c(predictor, tmp_path / "out")
    cases: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--temperature", "0.9", "--seed", "77"), {"temperature": 0.9, "seed": 77}),
        (("--top-k", "4", "--seed", "12345678901"), {"top_k": 4, "seed": 12345678901}),
        (("--top-p", "0.6", "--seed", "3"), {"top_p": 0.6, "seed": 3}),
        (("--stop", "the", "--stop", "n"), {"stop": ("the", "n")}),
        (("--stop-at-end",), {"stop_at_end": True}),
    ]
    for arguments, options in cases:
        own = predictor.generate("The caf", **{"temperature": 0.8, "max_tokens": 200} | options)
        found = run_c(tmp_path / "out", "The caf\n", "generate", *arguments)
        assert found == own + "\n" * (not own.endswith("\n"))


# Refusals


def planted(path: Path, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a mistake in a template."""
    from unrolled.exports.c import plan

    original = plan.render

    def render(template: str, context: Any) -> str:
        text = original(template, context)
        assert template != path.name or old in text
        return text.replace(old, new) if template == path.name else text

    monkeypatch.setattr(plan, "render", render)


MISTAKES = [
    ("language_model.h", "u[MODEL_AT_ONCE + j]", "u[2 * MODEL_AT_ONCE + j]", "gru"),
    ("language_model.h", "+ r * v[2", "+ v[2", "gru"),
    ("language_model.h", "(1.0f - z) * n + z * next", "z * n + (1.0f - z) * next", "gru"),
    ("language_model.h", "f * cells[j] + i * g", "i * cells[j] + f * g", "lstm"),
    ("language_model.h", "o * model_tanh(cells[j])", "o * cells[j]", "lstm"),
    ("language_model.h", "model_step(state, MODEL_END);", "", "lstm"),
    ("language_model.h", "i < matrix->width; i++, w +=", "i < 0; i++, w +=", "lstm"),
    ("language_model.h", "first < layer->size; first +=", "first < layer->size - 8; first +=", "lstm"),
    ("language_model.h", "(n + 127) << 23", "(n + 126) << 23", "rnn"),
    ("language_model.h", "sum > 0 ? sum : 0", "sum", "rnn_relu"),
    ("language_model.c", "(value >= lowest", "(value > lowest", "rnn"),
    ("text.h", "normal[place] = normal[place - 1];", "", "rnn"),
    ("text.h", "? (int32_t)text_point_ids[low]", "? 4 + (int32_t)low", "rnn"),
    ("weights.h", "= { /* 2 x 7 x 32 */\n", "= { /* 2 x 7 x 32 */\n 0.25f + ", "lstm"),
]  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(("template", "old", "new", "cell"), MISTAKES)
def test_planted_mistakes_are_caught(
    template: str, old: str, new: str, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(Path(template), old, new, monkeypatch)
    with pytest.raises(RunError, match="nothing was written"):
        export_c(language_model(tmp_path, cell=cell), tmp_path / "out")
    assert not (tmp_path / "out").exists()


LABEL_MISTAKES = [
    ("classify.h", "is_back ? n - 1 - step : step", "step"),
    ("classify.h", "if (outputs[t][i] > pooled[i])", "if (outputs[t][i] < pooled[i])"),
    ("classify.h", "n_known == 0", "n_known < 0"),
    ("classify.h", "(double)probabilities[label] >=", "1 - (double)probabilities[label] >="),
    ("classify.c", "? MODEL_N_FIRST", "? 1 + MODEL_N_FIRST"),
    ("text.h", "&& !text_clitic(text, n, end)", ""),
    ("tag.h", "letters[n - 1 - i]", "letters[i]"),
    ("tag.h", "[other * MODEL_N_TAGS + tag]", "[tag * MODEL_N_TAGS + other]"),
    ("tag.h", "> last[best] + model_end[best]", "< last[best] + model_end[best]"),
    ("tag.h", "state->n_rows == MODEL_PIECE", "state->n_rows == MODEL_PIECE - 1"),
    ("tag.c", "i < n_letters - n_last", "i < n_last"),
]


@needs_compiler
@pytest.mark.parametrize(("template", "old", "new"), LABEL_MISTAKES)
def test_planted_mistakes_of_labels_are_caught(
    template: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(Path(template), old, new, monkeypatch)
    if template.startswith("tag"):
        predictor = tagger({"max_length": 4, "max_characters": 3})
    else:
        predictor = classifier(several=True, data={"max_length": 8, "keep": "both"})
    with pytest.raises(RunError, match="nothing was written"):
        export_c(predictor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    predictor = language_model(tmp_path)
    predictor.tokenizers = {"text": tokenizer_of("words")}
    with pytest.raises(ConfigError, match="is 'word', and only language models of characters"):
        export_c(predictor, tmp_path / "out")
    predictor = language_model(tmp_path)
    predictor.task = dataclasses.replace(predictor.task, name="mine")
    with pytest.raises(ConfigError, match="'mine' is a task of your own"):
        export_c(predictor, tmp_path / "out")
    with pytest.raises(ConfigError, match="precision must be"):
        export_c(language_model(tmp_path), tmp_path / "out", "float16")
    predictor = language_model(tmp_path)
    with torch.no_grad():
        predictor.model.head.bias[3] = torch.nan
    with pytest.raises(RunError, match="weights 'head_bias' of the model are not finite"):
        export_c(predictor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_int8_needs_the_validation_part(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="int8 has to state what it costs"):
        export_c(classifier(), tmp_path / "out", "int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_compiler")
def test_nothing_is_left_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unrolled import storage

    def fail(path: Path, content: bytes, then: str) -> None:
        if path.name == "main.c":
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr(storage, "write_whole", fail)
    with pytest.raises(KeyboardInterrupt):
        export_c(classifier(), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.usefixtures("no_compiler")
def test_an_export_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_c(classifier(), out)
    before = (out / "weights.h").read_text()
    with pytest.raises(RunError, match=r"already holds an export; replace it \(--force\)"):
        export_c(classifier(), out)
    export_c(classifier(hidden_size=5), out, force=True)
    assert (out / "weights.h").read_text() != before
    (out / "mine.c").write_text("int mine;")
    with pytest.raises(RunError, match=r"mine\.c does not belong to the export"):
        export_c(classifier(), out, force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "export.json").write_text('{"format": "Unrolled export, format 1"}')
    with pytest.raises(RunError, match="is not an export, so it is not replaced"):
        export_c(classifier(), tmp_path / "other", force=True)


def test_the_command_line(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = OLD / "characters" / "run"
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    cases = [
        ([str(run)], "give one of --onnx FOLDER, --page FILE and --c FOLDER"),
        (
            [str(run), "--c", str(tmp_path / "taken")],
            f"{tmp_path / 'taken'} exists and is not an export, so it is not replaced",
        ),
        ([str(tmp_path / "none"), "--c", str(tmp_path / "c")], f"{tmp_path / 'none'}: no such run"),
        (
            [str(trained_run), "--c", str(tmp_path / "c")],
            "runs of task 'translate' cannot be exported",
        ),
        ([str(run), "--c", str(tmp_path / "c"), "--precision", "int4"], 'Invalid value "int4"'),
    ]
    for arguments, problem in cases:
        assert main(["export", *arguments]) == 2
        assert problem in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    content = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(content[:-9])
    assert main(["export", str(damaged), "--c", str(tmp_path / "c")]) == 2
    assert "model.safetensors" in capsys.readouterr().err
    assert main(["export", str(run), "--c", str(tmp_path / "c")]) == 0
    assert "its answers agree with the model's" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "README.md", "export.json", "main.c", "model.h", "tables.h", "text.h", "weights.h",
    ]  # fmt: skip
