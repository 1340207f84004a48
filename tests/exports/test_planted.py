"""Mistakes that exporters make, planted in the graphs and the settings: the gate refuses every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_models
from exported import agreement_of, predictor

import unrolled
from unrolled.exports import kinds, pair, parts, recurrence, translate
from unrolled.exports.graph import Graph
from unrolled.exports.recurrence import Rows
from unrolled.shapes import Padded

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("one_thread")


def gates_in_torch_order(patch: Patch) -> None:
    patch.setitem(recurrence.ORDER, "LSTM", (0, 1, 2, 3))
    patch.setitem(recurrence.ORDER, "GRU", (0, 1, 2))


def reset_before_the_product(patch: Patch) -> None:
    patch.setitem(recurrence.GRU_OPTIONS, "linear_before_reset", 0)


def frozen(patch: Patch, dimension: str) -> None:
    real = Graph.input

    def fixed(self: Graph, name: str, *dimensions: str | int, kind: str = "FLOAT") -> str:
        sizes = [7 if str(each).endswith(dimension) else each for each in dimensions]
        return real(self, name, *sizes, kind=kind)

    patch.setattr(Graph, "input", fixed)


def frozen_time(patch: Patch) -> None:
    frozen(patch, "steps")


def frozen_batch(patch: Patch) -> None:
    frozen(patch, "rows")


def shifted_length(patch: Patch) -> None:
    real = Rows.of.__func__  # type: ignore[attr-defined]

    def shorter(cls: type, g: Graph, ids: str) -> Rows:
        import numpy as np

        rows = real(cls, g, ids)
        before = g("Sub", rows.last, g.constant(1, np.int64))
        return dataclasses.replace(rows, last=g("Max", before, g.constant(0, np.int64)))

    patch.setattr(Rows, "of", classmethod(shorter))


def padding_not_stopped(patch: Patch) -> None:
    real = recurrence._stopping
    patch.setattr(recurrence, "_stopping", lambda *given: 0 * real(*given))


def backwards_read_forwards(patch: Patch) -> None:
    patch.setattr(recurrence, "_turned", lambda g, x: x)


def biases_left_out(patch: Patch) -> None:
    real = recurrence._biases
    patch.setattr(recurrence, "_biases", lambda *given: tuple(0 * each for each in real(*given)))


def padding_attended_to(patch: Patch) -> None:
    for module in (pair, translate):
        patch.setattr(module, "LOWEST", 0.0)


def padding_pooled(patch: Patch) -> None:
    patch.setattr(parts, "LOWEST", 0.0)


def state_not_carried(patch: Patch) -> None:
    real = recurrence._node

    def fresh(g: Any, kind: Any, x: Any, direction: Any) -> Any:
        return real(g, kind, x, dataclasses.replace(direction, initial=()))

    patch.setattr(recurrence, "_node", fresh)


def transposed_transitions(patch: Patch) -> None:
    real = Graph.vector
    patch.setattr(
        Graph, "vector", lambda self, given: real(self, given.t() if given.ndim == 2 else given)
    )


LSTM = {"cell": "lstm", **small_models.SIZES}
GRU = {"cell": "gru", **small_models.SIZES}
RNN = {"cell": "rnn", **small_models.SIZES}
SEQ = small_models.SEQ
IN_GRAPHS: list[tuple[Callable[[Patch], None], str, dict[str, Any]]] = [
    (gates_in_torch_order, "classify", LSTM),
    (gates_in_torch_order, "language_model", GRU),
    (reset_before_the_product, "classify", GRU),
    (frozen_time, "classify", LSTM),
    (frozen_time, "translate", SEQ),
    (frozen_batch, "tag", LSTM),
    (shifted_length, "classify", {**LSTM, "pooling": "final"}),
    (shifted_length, "pair", RNN),
    (shifted_length, "translate", SEQ),
    (padding_not_stopped, "classify", {**LSTM, "pooling": "final"}),
    (padding_not_stopped, "classify", {**RNN, "pooling": "final"}),
    (padding_not_stopped, "translate", {**SEQ, "cell": "gru"}),
    (backwards_read_forwards, "tag", LSTM),
    (transposed_transitions, "tag", LSTM),
    (biases_left_out, "pair", LSTM),
    (padding_attended_to, "translate", SEQ),
    (padding_attended_to, "pair", {**LSTM, "encoder": "attention"}),
    (padding_pooled, "classify", {**LSTM, "pooling": "max"}),
    (state_not_carried, "language_model", LSTM),
]


@pytest.mark.parametrize(
    ("plant", "task", "model"), IN_GRAPHS, ids=lambda each: getattr(each, "__name__", None)
)
def test_mistakes_in_graphs_are_refused(
    plant: Callable[[Patch], None], task: str, model: dict[str, Any], monkeypatch: Patch
) -> None:
    small = predictor(task, **model)
    plant(monkeypatch)
    with pytest.raises(unrolled.RunError, match=r"does not compute|cannot run the graph"):
        agreement_of(small)


def changed(name: str, value: Any) -> Callable[[Patch], None]:
    """A plant that changes one of the settings of an export."""

    def plant(patch: Patch) -> None:
        for task, kind in list(kinds.TABLE.items()):

            def settings(*given: Any, real: Any = kind.settings) -> dict[str, Any]:
                found = real(*given)
                return {**found, name: value} if name in found else found

            patch.setitem(kinds.TABLE, task, dataclasses.replace(kind, settings=settings))

    plant.__name__ = f"{name} {value}"
    return plant


IN_ANSWERS = [
    (changed("length_penalty", 0.0), "translate"),
    (changed("max_input_length", 1), "translate"),
    (changed("max_length", 3), "classify"),
    (changed("shares", []), "classify"),
    (changed("max_length", 3), "tag"),
    (changed("kind", "space"), "language_model"),
]


@pytest.mark.parametrize(
    ("plant", "task"), IN_ANSWERS, ids=lambda each: getattr(each, "__name__", None)
)
def test_mistakes_in_answers_are_refused(
    plant: Callable[[Patch], None],
    task: str,
    run_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(unrolled.RunError, match=r"infer\.py of the export"):
        unrolled.export_onnx(run_of(task), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_finite_scores_is_refused() -> None:
    small = predictor("classify", **LSTM)
    small.model.head.scorer.bias.data.fill_(float("nan"))
    with pytest.raises(unrolled.RunError, match="no finite score"):
        agreement_of(small)


def test_a_model_that_overflows_on_a_long_text_agrees_elsewhere(monkeypatch: Patch) -> None:
    small = predictor("classify", **small_models.SIZES, cell="rnn_relu", bidirectional=False)
    small.model.encoder.recurrent.weight_hh_l0.data.mul_(0).add_(3e3)
    small.model.encoder.recurrent.bias_ih_l0.data.fill_(1.0)
    logits = small.model(Padded.from_rows([[4] * 20, [4]]))
    assert not logits[0].isfinite().all()
    assert logits[1].isfinite().all()
    assert agreement_of(small) < 1e-4
    padding_not_stopped(monkeypatch)
    biases_left_out(monkeypatch)
    with pytest.raises(unrolled.RunError, match="does not compute"):
        agreement_of(small)
