"""The layers of language models as an encoder."""

from __future__ import annotations

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers.lm_encoder import LanguageModelEncoder, encoder_in, groups_below
from unrolled.ops.cells import cell_names
from unrolled.shapes import Padded
from unrolled.tasks.classify import Classifier, ClassifyConfig
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig

B, T, E = 3, 7, 5
LENGTHS = torch.tensor([7, 4, 0])


def rows_of(width: int) -> Padded:
    values = torch.randn(B, T, width, generator=torch.Generator().manual_seed(5))
    values[1, 4:] = torch.nan
    values[2] = torch.nan
    return Padded(values, LENGTHS)


def reversed_rows(rows: Padded) -> Padded:
    values = rows.values.clone()
    for row, n in enumerate(rows.lengths.tolist()):
        values[row, :n] = rows.values[row, :n].flip(0)
    return Padded(values, rows.lengths)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_backward_equals_forward_on_reversed_rows(cell: str) -> None:
    encoder = LanguageModelEncoder(cell, 2 * E, [11, 13], n_directions=2).eval()
    encoder.stacks[1].load_state_dict(encoder.stacks[0].state_dict())
    rows = rows_of(E)
    twice = Padded(rows.values.repeat(1, 1, 2), LENGTHS)
    swapped = reversed_rows(twice)
    y, state = encoder(twice)
    other, other_state = encoder(swapped)
    back = reversed_rows(other)
    torch.testing.assert_close(y.values[:, :, 13:], back.values[:, :, :13])
    for ours, theirs in zip(state[0], other_state[0], strict=True):
        torch.testing.assert_close(ours[:, 13:], theirs[:, :13])


def test_the_stack_reads_backwards_like_each_layer() -> None:
    encoder = LanguageModelEncoder("lstm", 2 * E, [11], n_directions=2).double().eval()
    rows = rows_of(2 * E)
    rows = Padded(rows.values.double(), rows.lengths)
    y, state = encoder(rows)
    layer = encoder.stacks[1].layers[0]
    for row, n in enumerate(LENGTHS.tolist()):
        h, c = torch.zeros(1, 11, dtype=torch.double), torch.zeros(1, 11, dtype=torch.double)
        for t in reversed(range(n)):
            x = rows.values[row, t : t + 1, E:]
            gates = x @ layer.weight_ih_l0.T + h @ layer.weight_hh_l0.T
            i, f, g, o = (gates + layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            torch.testing.assert_close(y.values[row, t : t + 1, 11:], h)
        torch.testing.assert_close(state[0][0][row, 11:], h[0])
        assert (y.values[row, n:] == 0).all()


def test_other_columns_are_passed_on() -> None:
    encoder = LanguageModelEncoder("gru", E, [3], n_columns=2)
    rows = rows_of(E + 2)
    y, _ = encoder(rows)
    assert y.values.shape[2] == encoder.output_size == 5
    torch.testing.assert_close(y.values[0, :, 3:], rows.values[0, :, E:])
    assert (y.values[1, 4:] == 0).all()
    assert (y.values[2] == 0).all()


@pytest.mark.parametrize("cell", cell_names())
def test_every_cell_has_a_state_at_the_true_end(cell: str) -> None:
    encoder = LanguageModelEncoder(cell, E, [3, 4]).eval()
    y, (last,) = encoder(rows_of(E))
    torch.testing.assert_close(last[0][0], y.values[0, 6])
    torch.testing.assert_close(last[0][1], y.values[1, 3])


def test_groups_are_ordered_from_the_head() -> None:
    config = ClassifyConfig(
        embedding_size=6, pretrained=("a", "b"), pretrained_sizes=(5, 3), bidirectional=True
    )
    model = Classifier(config, 11, 2)
    top, below, table = groups_below(model)
    stacks = encoder_in(model).stacks
    for group, depth in ((top, 1), (below, 0)):
        wanted = {id(p) for stack in stacks for p in stack.layers[depth].parameters()}
        for place in (0, 1):
            wanted |= {id(p) for p in encoder_in(model).starts_of(place, depth)}
        assert {id(p) for p in group} == wanted
        assert len(group) == 2 * 4 + 2 * 2
    assert table == [model.embedding.weight]
    assert groups_below(Classifier(ClassifyConfig(), 11, 2)) == []


def test_a_shared_embedding_belongs_to_the_head() -> None:
    sizes = {"embedding_size": 3, "hidden_size": 3, "n_layers": 2}
    tied = LanguageModel(LanguageModelConfig(tied=True, **sizes), 11)
    assert all(p is not tied.embedding.weight for group in groups_below(tied) for p in group)
    assert len(groups_below(LanguageModel(LanguageModelConfig(**sizes), 11))) == 3


def test_two_directions_need_inputs_for_both() -> None:
    with pytest.raises(ConfigError, match="input_size must be a multiple of 2, got 5"):
        LanguageModelEncoder("lstm", 5, [3], n_directions=2)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_layer_begins_with_its_own_state(cell: str) -> None:
    encoder = LanguageModelEncoder(cell, 2 * E, [3, 4], n_directions=2).double().eval()
    states = []
    for place, stack in enumerate(encoder.stacks):
        state = tuple(
            tuple(torch.randn(1, *part.shape[1:], dtype=torch.double) for part in layer)
            for layer in stack.start(1)
        )
        encoder.start_after(place, state)
        states.append(state)
    rows = Padded(rows_of(2 * E).values.double(), LENGTHS)
    y, _ = encoder(rows)
    for place, (stack, state) in enumerate(zip(encoder.stacks, states, strict=True)):
        own = Padded(rows.values[:2, :, place * E : (place + 1) * E], LENGTHS[:2])
        start = tuple(tuple(part.repeat(2, 1) for part in layer) for layer in state)
        wanted, _ = stack(own, start, reverse=place == 1)
        torch.testing.assert_close(y.values[:2, :, place * 4 : (place + 1) * 4], wanted)
    y.values.sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in encoder.starts)
