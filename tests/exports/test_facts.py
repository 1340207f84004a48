"""Exports of models that read more than words: characters, counted n-grams, and what texts share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_models
from exported import agreement_of, mixed, predictor

import unrolled
from unrolled.exports import parts
from unrolled.exports.export import export
from unrolled.exports.gate import run_program
from unrolled.exports.programs.counts import Counts
from unrolled.tasks.roles import NGRAMS

CLOSE = 5e-6
SIZES = {**small_models.SIZES, "char_size": 3, "char_filters": 4}
pytestmark = pytest.mark.usefixtures("one_thread")

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("classify", {"characters": "recurrent", "cell": "gru", "pooling": "final"}),
    ("classify", {"characters": "convolution", "ngrams": 2, "pooling": "attentive"}),
    ("pair", {"characters": "recurrent", "encoder": "word_by_word", "condition": "second"}),
    ("pair", {"features": ["overlap"], "encoder": "concatenated", "ngrams": 1}),
    (
        "pair",
        {
            "features": ["overlap", "difference", "product"],
            "encoder": "bidirectional_conditional",
            "characters": "convolution",
            "projection_size": 3,
        },
    ),
    ("pair", {"features": ["difference"], "encoder": "attention", "ngrams": 3}),
    ("pair", {"features": ["product", "overlap"], "encoder": "independent", "bidirectional": True}),
    ("pair", {"characters": "convolution", "encoder": "second_only", "ngrams": 2}),
]
NAMES = [f"{task} {' '.join(map(str, model.values()))}" for task, model in MODELS]


@pytest.mark.parametrize(("task", "model"), MODELS, ids=NAMES)
def test_graphs_agree(task: str, model: dict[str, Any]) -> None:
    assert agreement_of(mixed(task, **SIZES, **model)) < CLOSE


@pytest.mark.parametrize(("task", "model"), MODELS[1:5:3], ids=NAMES[1:5:3])
def test_programs_answer_as_the_model(task: str, model: dict[str, Any], tmp_path: Path) -> None:
    small = mixed(task, **SIZES, **model)
    agreement = export(small, tmp_path / "out")
    assert agreement.n_answers > 5
    assert agreement.n_ties == 0
    assert (tmp_path / "out" / "counts.py").exists() == bool(model.get("ngrams"))
    inputs = [small_models.INPUTS[task], ("", "cat")[0] if task == "classify" else ("", "cat")]
    again = unrolled.load_labels(tmp_path / "out").predict(inputs)
    for own, other in zip(small.predict(inputs), again, strict=True):
        assert own.labels == other.labels
        assert own.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_n_grams_of_byte_pairs(tmp_path: Path) -> None:
    small = mixed("classify", text_kind="bpe", ngrams=2, **small_models.SIZES)
    assert export(small, tmp_path / "out").n_ties == 0


def test_counts_are_those_of_the_model(tmp_path: Path) -> None:
    small = predictor("pair", ngrams=3, **small_models.SIZES)
    scores = small.tokenizers[NGRAMS]
    scores.save(tmp_path / "ngrams.safetensors")
    counts = Counts(tmp_path / "ngrams.safetensors")
    for first, second in (small_models.INPUTS["pair"], ("the the cat cat the the", "")):
        tokens = [text.split() for text in (first, second)]
        indices = [counts.indices(side, words) for side, words in enumerate(tokens)]
        (expected,) = scores.scores([tokens])
        assert counts.scores(indices, range(2)) == pytest.approx(expected, abs=1e-12)


def plant_letters_of_the_next_word(patch: pytest.MonkeyPatch) -> None:
    real = parts.spelled

    def shifted(g: Any, *given: Any) -> str:
        found = real(g, *given)
        first = g("Slice", found, g.integers(0), g.integers(1), g.integers(0))
        others = g("Slice", found, g.integers(1), g.integers(1 << 30), g.integers(0))
        return str(g("Concat", others, first, axis=0))

    patch.setattr(parts, "spelled", shifted)


def plant_no_difference(patch: pytest.MonkeyPatch) -> None:
    from unrolled.exports import pair

    real = pair._matched
    patch.setattr(pair, "_matched", lambda g, hidden, u, v, how: real(g, hidden, v, u, how[::-1]))
    patch.setattr(pair.Graph, "__call__", _without_abs(pair.Graph.__call__))


def _without_abs(real: Any) -> Any:
    return lambda self, op, *given, **how: real(
        self, "Identity" if op == "Abs" else op, *given, **how
    )


@pytest.mark.parametrize(
    ("plant", "task", "model"),
    [
        (plant_letters_of_the_next_word, *MODELS[0]),
        (plant_no_difference, *MODELS[5]),
    ],
    ids=["letters of the next word", "difference with its sign"],
)
def test_mistakes_are_refused(
    plant: Any, task: str, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = mixed(task, **SIZES, **model)
    plant(monkeypatch)
    with pytest.raises(unrolled.RunError, match="does not compute"):
        agreement_of(small)


@pytest.mark.parametrize(
    ("name", "value"), [("share", 0.1), ("common", False), ("max_characters", 2)]
)
def test_mistakes_in_settings_are_refused(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = MODELS[{"share": 1, "common": 3, "max_characters": 4}[name]]

    def changed(folder: Path, texts: Any) -> Any:
        file = folder / "generate.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
        return run_program(folder, texts)

    monkeypatch.setattr("unrolled.exports.export.run_program", changed)
    with pytest.raises(unrolled.RunError, match=r"infer\.py of the export"):
        export(mixed(task, **SIZES, **model), tmp_path / "out")
    assert not (tmp_path / "out").exists()
