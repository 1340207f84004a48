"""A trace equals the equations, and the fast path up to rounding, for every task, cell and direction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import INPUTS, OTHER, SEQ, SIZES, TEXT, predictor
from torch import Tensor

import unrolled
from unrolled import nn, ops
from unrolled.inspect import example as examples
from unrolled.inspect.example import example_of
from unrolled.inspect.trace import Trace, trace_text
from unrolled.layers.replay import ReplayedLayer, replaying, replica
from unrolled.ops.cells import CELLS, Cell, register
from unrolled.ops.recorded import recorded_step

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS = [
    *(
        ("classify", {**SIZES, "n_layers": layers, "bidirectional": both})
        for layers in (1, 2)
        for both in (False, True)
    ),
    ("classify", {**SIZES, "pooling": "attentive"}),
    *(
        ("pair", {**SIZES, "encoder": encoder})
        for encoder in ("conditional", "attention", "word_by_word", "bidirectional_conditional")
    ),
    ("pair", {**SIZES, "encoder": "concatenated", "bidirectional": True}),
    ("pair", {**SIZES, "encoder": "conditional", "condition": "second"}),
    ("tag", {**SIZES, "char_size": 3, "n_layers": 2}),
    ("tag", {**SIZES, "char_size": 0, "head": "softmax", "bidirectional": False}),
    ("translate", {**SEQ, "encoder_layers": 2}),
    ("translate", {**SEQ, "decoder_layers": 2, "attention": "general", "bidirectional": False}),
    ("translate", {**SEQ, "input_feeding": False}),
    ("translate", {**SEQ, "attention": "none", "decoder_layers": 2}),
    ("translate", {**SEQ, "copying": "pointer"}),
    ("language_model", {**SIZES, "n_layers": 2}),
    ("language_model", {**SIZES, "tied": True}),
]
IDS = [f"{name}-{'-'.join(map(str, list(model.values())[2:]))}" for name, model in MODELS]


def by_hand(layer: ReplayedLayer, row: int) -> dict[str, list[Tensor]]:
    """All internals of a row of a layer from the equations, written out again."""
    w_ih, w_hh, b_ih, b_hh = (w.double() for w in layer.weights.tensors)
    h, *rest = (part[row].double() for part in layer.start)
    found: dict[str, list[Tensor]] = {}
    H = len(h)
    for column in layer.columns(row):
        a = w_ih @ layer.inputs[column][row].double() + b_ih
        u = w_hh @ h + b_hh
        if layer.kind == "rnn_tanh":
            h = torch.tanh(a + u)
            step = {"h": h}
        elif layer.kind == "gru":
            r = 1 / (1 + torch.exp(-(a + u)[:H]))
            z = 1 / (1 + torch.exp(-(a + u)[H : 2 * H]))
            n = torch.tanh(a[2 * H :] + r * u[2 * H :])
            h = (1 - z) * n + z * h
            step = {"r": r, "z": z, "n": n, "h": h}
        else:
            i, f, o = (1 / (1 + torch.exp(-(a + u)[k * H : (k + 1) * H])) for k in (0, 1, 3))
            g = torch.tanh((a + u)[2 * H : 3 * H])
            rest = [f * rest[0] + i * g]
            h = o * torch.tanh(rest[0])
            step = {
                "i": i,
                "f": f,
                "g": g,
                "o": o,
                "c": rest[0],
                "tanh_c": torch.tanh(rest[0]),
                "h": h,
            }
        for name, value in step.items():
            found.setdefault(name, []).append(value)
    return found


@torch.no_grad()
def largest_by_internal(one: Any, inputs: Any, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference between the replay and the equations in float64, by internal."""
    copy, example = replica(one.model, dtype), example_of(one, inputs)
    with replaying(copy) as replay:
        example.loss(copy)
    largest: dict[str, float] = {}
    for layer in replay.layers:
        for row in range(len(layer.lengths)):
            for name, steps in by_hand(layer, row).items():
                for column, value in zip(layer.columns(row), steps, strict=True):
                    if name in "hc":
                        given = layer.states[column]["hc".index(name)][row]
                    else:
                        (part,) = (p for p in layer.parts[column] if p.name == name)
                        given = part.value[row]
                    gap = float((given.double() - value).abs().max())
                    largest[name] = max(largest.get(name, 0.0), gap)
    return largest


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("name", "model"), MODELS, ids=IDS)
def test_internals_equal_the_equations(name: str, model: dict[str, Any], cell: str) -> None:
    one = predictor(name, **model, cell=cell)
    for dtype, most in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        largest = largest_by_internal(one, INPUTS[name], dtype)
        shown = ", ".join(f"{part} {gap:.0e}" for part, gap in largest.items())
        print(f"{name} {cell} {dtype}: {shown}")
        assert set(largest) >= {"h"}
        assert max(largest.values()) < most, shown


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("name", "model"), MODELS, ids=IDS)
def test_a_trace_equals_the_fast_path(name: str, model: dict[str, Any], cell: str) -> None:
    one = predictor(name, **model, cell=cell)
    trace = trace_text(one, INPUTS[name])
    assert trace.difference < 2e-6
    assert trace_text(one, INPUTS[name], dtype=torch.float64).difference < 1e-12
    assert np.isfinite(trace.loss)
    for layer in trace.layers:
        assert len(layer.tokens) == len(layer.values["h"])
    if "attention" in str(model) or model.get("encoder") == "word_by_word":
        wanted = model.get("attention") != "none"
        assert bool(trace.attention) == wanted
    for attention in trace.attention:
        np.testing.assert_allclose(attention.weights.sum(1), 1, atol=1e-5)
        assert attention.weights.shape == (len(attention.queries), len(attention.tokens))


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_states_equal_those_of_the_fast_path_at_every_step(cell: str) -> None:
    layer = nn.layer_of(cell)(3, 5, 1, batch_first=True)
    x = torch.randn(1, 11, 3)
    copy = replica(layer)
    with torch.no_grad(), replaying(copy) as replay:
        copy(x)
    for t in range(11):
        with torch.no_grad():
            _, end = layer(x[:, : t + 1])
        for part, wanted in zip(
            replay.layers[0].states[t], end if cell == "lstm" else (end,), strict=True
        ):
            torch.testing.assert_close(part, wanted[0], rtol=0, atol=2e-6)


def test_tokens_are_those_that_each_layer_reads() -> None:
    one = predictor("translate", **SEQ, encoder_layers=2)
    trace = trace_text(one, TEXT, "el perro ve")
    assert trace["encoder.recurrent layer 1 backward"].tokens == (*TEXT.split(), "</s>")
    assert trace["decoder.recurrent layer 0 forward"].tokens == ("<s>", "el", "perro", "ve")
    assert trace.attention[0].tokens == (*TEXT.split(), "</s>")
    assert trace.attention[0].queries == ("<s>", "el", "perro", "ve")
    tagger = trace_text(predictor("tag", **SIZES, char_size=3), TEXT)
    letters = [each.tokens for each in tagger.layers if each.module.startswith("spelling")]
    assert ("c", "a", "t") in letters
    second = predictor("pair", **SIZES, encoder="conditional", condition="second")
    read = [layer.tokens for layer in trace_text(second, (TEXT, OTHER)).layers]
    assert read == [tuple(OTHER.split()), tuple(TEXT.split())]
    with pytest.raises(
        KeyError, match=r"no layer 'x'; there are encoder\.recurrent layer 0 forward"
    ):
        trace["x"]


def test_values_of_a_backward_layer_are_in_the_order_of_the_text() -> None:
    one = predictor("classify", **SIZES)
    backward = trace_text(one, TEXT)["encoder.recurrent layer 0 backward"]
    shorter = trace_text(one, "big dog")["encoder.recurrent layer 0 backward"]
    np.testing.assert_allclose(backward.values["h"][-2:], shorter.values["h"], atol=1e-6)


def minimal_gated_step(x: Tensor, state: ops.State, weights: ops.Weights) -> ops.State:
    """A cell of a user, that names nothing."""
    (h,) = state
    from_x = torch.nn.functional.linear(x, weights.w_ih, weights.b_ih).chunk(2, 1)
    u_f, u_n = weights.w_hh.chunk(2)
    f = (from_x[0] + h @ u_f.T).sigmoid()
    n = torch.tanh(from_x[1] + (f * h) @ u_n.T)
    return ((1 - f) * h + f * n,)


@pytest.fixture
def own_cell() -> Iterator[None]:
    register(Cell("mgu", minimal_gated_step, n_gates=2, name="mgu"))
    yield
    del CELLS["mgu"]


@pytest.mark.usefixtures("own_cell")
@pytest.mark.parametrize(
    ("name", "model"), [MODELS[3], MODELS[5], MODELS[11], MODELS[13], MODELS[18]]
)
def test_a_cell_of_a_user_is_traced(name: str, model: dict[str, Any]) -> None:
    trace = trace_text(predictor(name, **model, cell="mgu"), INPUTS[name])
    assert trace.difference < 2e-6
    for layer in trace.layers:
        assert list(layer.values) == ["h", "sigmoid 1", "tanh 1"]
        f, n, h = (layer.values[part] for part in ("sigmoid 1", "tanh 1", "h"))
        if layer.direction == "forward" and layer.module.endswith("encoder.recurrent"):
            wanted = (1 - f[1:]) * h[:-1] + f[1:] * n[1:]
            np.testing.assert_allclose(h[1:], wanted, atol=1e-6)


def test_every_builtin_cell_names_its_parts() -> None:
    for kind in ("rnn_tanh", "rnn_relu", "rnn_sigmoid", "gru", "lstm"):
        cell = CELLS[kind]
        weights = ops.Weights(torch.randn(cell.n_gates * 2, 3), torch.randn(cell.n_gates * 2, 2))
        state = tuple(torch.randn(1, 2) for _ in range(cell.n_states))
        after, parts = recorded_step(kind, torch.randn(1, 3), state, weights)
        assert tuple(part.name for part in parts) == cell.parts
        wanted = cell.step(torch.randn(1, 3), state, weights)
        assert [part.shape for part in after] == [part.shape for part in wanted]
        assert len(cell.blocks) == cell.n_gates


def test_the_table_has_a_line_for_each_value(tmp_path: Path) -> None:
    trace = trace_text(predictor("classify", **SIZES, bidirectional=False), "the cat")
    table = trace.columns()
    assert len(table["value"]) == 2 * 7 * 7  # steps, internals and units
    at = (table["internal"] == "f") & (table["step"] == 1) & (table["unit"] == 3)
    assert table["value"][at] == trace.layers[0].values["f"][1, 3]
    assert set(table["token"]) == {"the", "cat"}
    lines = trace.write_csv(tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "module,layer,direction,row,step,token,internal,unit,value"
    assert len(lines) == 1 + 2 * 7 * 7
    frame = trace.frame()
    assert len(frame["value"]) == 98


def test_the_table_is_a_data_frame_with_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    trace = trace_text(predictor("classify", **SIZES, bidirectional=False), "the cat")
    frame = trace.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(trace.columns())
    one = frame[(frame.internal == "f") & (frame.step == 1)].set_index("unit")["value"]
    np.testing.assert_array_equal(one.to_numpy(), trace.layers[0].values["f"][1])
    assert set(frame["token"]) == {"the", "cat"}


def test_a_trace_leaves_the_model_unchanged() -> None:
    one = predictor("translate", **SEQ)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    random = torch.get_rng_state()
    trace_text(one, TEXT)
    assert all(torch.equal(before[key], value) for key, value in one.model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(module._forward_hooks for module in one.model.modules())


def test_what_cannot_be_traced_is_refused() -> None:
    one = predictor("classify", **SIZES)
    for text in ("", " \n", []):
        with pytest.raises(unrolled.ConfigError, match="nothing to inspect: the text is empty"):
            trace_text(one, text)
    with pytest.raises(unrolled.ConfigError, match="this model reads text, got 2 texts"):
        trace_text(one, (TEXT, OTHER))
    with pytest.raises(unrolled.ConfigError, match="this model reads one text, got 2 texts"):
        trace_text(predictor("translate", **SEQ), (TEXT, OTHER))
    with pytest.raises(unrolled.ConfigError, match="a language model reads one text, got 2 texts"):
        trace_text(predictor("language_model", **SIZES), (TEXT, OTHER))
    with pytest.raises(
        unrolled.ConfigError, match="predicts the text itself; leave out the answer"
    ):
        trace_text(predictor("language_model", **SIZES), TEXT, "dog")
    with pytest.raises(unrolled.DataError, match="'maybe'"):
        trace_text(one, TEXT, "maybe")


class Empty(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


def test_a_model_without_a_recurrent_layer_is_refused() -> None:
    from unrolled.inspect.trace import trace_example

    example = replace(example_of(predictor("classify", **SIZES), TEXT), loss=_nothing)
    with pytest.raises(
        unrolled.ConfigError, match="has no recurrent layer, so there is nothing to"
    ):
        trace_example(Empty(), example)


def _nothing(model: Any) -> tuple[Tensor, int]:
    return model.weight.sum(), 1


@pytest.mark.parametrize("name", ["classify", "translate", "language_model", "tag"])
def test_a_long_text_is_cut_and_it_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MOST_TOKENS", 12)
    monkeypatch.setattr(examples.shortened, "__defaults__", (12,))
    sizes = SEQ if name == "translate" else SIZES
    trace: Trace = trace_text(predictor(name, **sizes), "the cat sees " * 2000)
    (note, *_) = trace.notes
    assert re.fullmatch("the text has 6,000 tokens; the first 1[12] are inspected", note)
    assert len(trace.layers[-1].tokens) <= 14
