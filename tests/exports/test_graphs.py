"""Graphs of random small models compute what the models compute, in ragged batches and alone."""

from __future__ import annotations

from typing import Any

import pytest
import small_models
from exported import agreement_of, predictor

CELLS = ("rnn", "rnn_relu", "gru", "lstm")
POOLINGS = ("final", "mean", "max", "attentive")
CLOSE = 5e-6
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("cell", "bidirectional", "n_layers"),
    [(cell, bool((i + n) % 2), n) for i, cell in enumerate(CELLS) for n in (1, 2)]
    + [("lstm", True, 2), ("gru", False, 2)],
)
def test_classifiers_agree(cell: str, bidirectional: bool, n_layers: int) -> None:
    pooling = POOLINGS[(CELLS.index(cell) + 2 * bidirectional + n_layers) % 4]
    small = predictor(
        "classify",
        cell=cell,
        bidirectional=bidirectional,
        n_layers=n_layers,
        pooling=pooling,
        **small_models.SIZES,
    )
    assert agreement_of(small) < CLOSE


ENCODERS = (
    "first_only",
    "second_only",
    "concatenated",
    "independent",
    "conditional",
    "attention",
    "word_by_word",
    "bidirectional_conditional",
    "aligned",
)


HALF = [(e, c) for i, e in enumerate(ENCODERS) for j, c in enumerate(CELLS) if (i + j) % 2 == 0]


@pytest.mark.parametrize(("encoder", "cell"), HALF)
def test_pairs_agree(encoder: str, cell: str) -> None:
    number = CELLS.index(cell) // 2 + ENCODERS.index(encoder)
    small = predictor(
        "pair",
        cell=cell,
        encoder=encoder,
        learned_start=bool(number % 2),
        condition=("first", "second")[number // 2 % 2],
        head=("tanh", "linear", "literal")[number % 3],
        projection_size=3 * (number % 2),
        **small_models.SIZES,
    )
    assert agreement_of(small) < CLOSE


@pytest.mark.parametrize(
    ("cell", "learned_start"), [("rnn", False), ("lstm", True), ("lstm", False), ("gru", True)]
)
def test_reading_back_from_a_state_agrees(cell: str, learned_start: bool) -> None:
    for more in (
        {"encoder": "bidirectional_conditional", "target": "one_way"},
        {"encoder": "independent", "bidirectional": True},
    ):
        small = predictor(
            "pair", cell=cell, learned_start=learned_start, **more, **small_models.SIZES
        )
        assert agreement_of(small) < CLOSE


@pytest.mark.parametrize("char_size", [0, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_taggers_agree(cell: str, char_size: int) -> None:
    small = predictor(
        "tag",
        cell=cell,
        char_size=char_size,
        n_layers=1 + bool(char_size),
        head="crf" if char_size else "softmax",
        **small_models.SIZES,
    )
    assert agreement_of(small) < CLOSE


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_language_models_agree(cell: str, n_layers: int) -> None:
    small = predictor(
        "language_model", cell=cell, n_layers=n_layers, tied=n_layers == 2, **small_models.SIZES
    )
    assert agreement_of(small) < CLOSE


@pytest.mark.parametrize(
    "model",
    [
        {"embedding": "one_hot", "hidden_size": 7},
        {"head": "adaptive", "cutoffs": [6], **small_models.SIZES},
        {"head": "sampled", "n_samples": 3, **small_models.SIZES},
    ],
    ids=lambda model: str(model.get("head", "one_hot")),
)
def test_other_heads_and_embeddings_agree(model: dict[str, Any]) -> None:
    assert agreement_of(predictor("language_model", **model)) < CLOSE


@pytest.mark.parametrize("attention", ["none", "additive", "dot", "general"])
@pytest.mark.parametrize("cell", CELLS)
def test_translators_agree(cell: str, attention: str) -> None:
    number = CELLS.index(cell)
    sizes = {"encoder_size": 4, "hidden_size": 8} if attention == "dot" else {}
    small = predictor(
        "translate",
        cell=cell,
        attention=attention,
        input_feeding=number % 2 == 0,
        encoder_layers=1 + number // 2,
        decoder_layers=2 - number // 2,
        bidirectional=attention == "dot" or number < 2,
        tied_embeddings="target" if number % 2 else "none",
        **small_models.SEQ | sizes,
    )
    assert agreement_of(small) < CLOSE


@pytest.mark.parametrize(
    ("cell", "tied", "attention"),
    [("lstm", "none", "additive"), ("gru", "target", "general"), ("rnn", "target", "additive")],
)
def test_translators_that_copy_agree(cell: str, tied: str, attention: str) -> None:
    model = {"cell": cell, "tied_embeddings": tied, "attention": attention}
    assert (
        agreement_of(predictor("translate", copying="pointer", **model, **small_models.SEQ)) < CLOSE
    )


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "int8") for name in ("classify", "pair", "tag", "language_model", "translate")]
    + [("language_model", "float16"), ("translate", "float16")],
)
def test_graphs_compute_with_rounded_weights(name: str, precision: Any) -> None:
    sizes = small_models.SEQ if name == "translate" else small_models.SIZES
    assert agreement_of(predictor(name, **sizes), precision) < CLOSE
