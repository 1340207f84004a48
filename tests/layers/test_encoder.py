from __future__ import annotations

import pytest
import torch

from unrolled.layers.encoder import Bridge, RecurrentEncoder
from unrolled.ops import Weights, cells
from unrolled.shapes import Padded

B, S, D, H = 5, 7, 3, 11
LENGTHS = torch.tensor([7, 4, 0, 1, 7])
CELLS = ("rnn", "gru", "lstm")


def make(cell, n_layers=2, bidirectional=True, **options) -> RecurrentEncoder:
    return RecurrentEncoder(
        cell, D, H, n_layers=n_layers, bidirectional=bidirectional, **options
    ).double()


def by_reference(encoder: RecurrentEncoder, cell: str, x_SD, bidirectional: bool):
    """One row, layer by layer, direction by direction, step by step."""
    kind = {"rnn": "rnn_tanh"}.get(cell, cell)
    n_parts = 2 if cell == "lstm" else 1
    finals = []
    for layer in range(encoder.recurrent.num_layers):
        outputs, ends = [], []
        for suffix in ("", "_reverse") if bidirectional else ("",):
            weights = Weights(
                *(
                    getattr(encoder.recurrent, f"{name}_l{layer}{suffix}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
            )
            state = tuple(x_SD.new_zeros(1, H) for _ in range(n_parts))
            steps = []
            for x in reversed(x_SD.unbind(0)) if suffix else x_SD.unbind(0):
                state = cells.CELLS[kind].step(x.unsqueeze(0), state, weights)
                steps.append(state[0])
            empty = [x_SD.new_zeros(0, H)]
            outputs.append(torch.cat((steps[::-1] if suffix else steps) or empty))
            ends.append(state)
        x_SD = torch.cat(outputs, dim=1)
        finals.append(tuple(torch.cat(parts, dim=1) for parts in zip(*ends, strict=True)))
    return x_SD, finals


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_each_row_is_encoded_as_if_alone(cell, bidirectional, n_layers):
    encoder = make(cell, n_layers, bidirectional)
    x = torch.randn(B, S, D, dtype=torch.float64)
    encoded, state = encoder(Padded(x, LENGTHS))
    assert encoded.values.shape == (B, S, encoder.output_size)
    assert torch.equal(encoded.lengths, LENGTHS)
    assert len(state) == n_layers
    for b, length in enumerate(LENGTHS.tolist()):
        values, finals = by_reference(encoder, cell, x[b, :length], bidirectional)
        torch.testing.assert_close(encoded.values[b, :length], values, rtol=1e-10, atol=1e-10)
        assert (encoded.values[b, length:] == 0).all()
        for layer, parts in zip(state, finals, strict=True):
            assert len(layer) == (2 if cell == "lstm" else 1)
            for ours, exact in zip(layer, parts, strict=True):
                torch.testing.assert_close(ours[b], exact[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_cannot_be_seen(cell, dtype):
    encoder = make(cell).to(dtype)
    clean = torch.randn(B, S, D, dtype=dtype)
    past = torch.arange(S) >= LENGTHS.unsqueeze(1)
    results = []
    for filling in (0.0, float("nan")):
        x = clean.masked_fill(past.unsqueeze(2), filling).requires_grad_()
        encoded, state = encoder(Padded(x, LENGTHS))
        parts = [encoded.values, *(part for layer in state for part in layer)]
        total = sum(part.square().sum() for part in parts)
        gradients = torch.autograd.grad(total, [x, *encoder.parameters()])
        assert (gradients[0][past] == 0).all()
        results.append([*(part.detach() for part in parts), *gradients])
    for zeros, nans in zip(*results, strict=True):
        assert torch.equal(zeros, nans)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [[1], [0], [7]])
def test_a_batch_of_one_row_is_accepted(cell, lengths):
    encoder = make(cell)
    x = torch.randn(1, S, D, dtype=torch.float64)
    encoded, state = encoder(Padded(x, torch.tensor(lengths)))
    values, finals = by_reference(encoder, cell, x[0, : lengths[0]], True)
    torch.testing.assert_close(encoded.values[0, : lengths[0]], values, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state[1][0], finals[1][0], rtol=1e-10, atol=1e-10)


def test_dropout_is_between_layers_in_training_only():
    x = Padded(torch.randn(B, S, D, dtype=torch.float64), LENGTHS)
    for n_layers, is_random in ((1, False), (2, True)):
        encoder = make("gru", n_layers, dropout_rate=0.5)
        for training in (True, False):
            encoder.train(training)
            first, second = encoder(x)[0].values, encoder(x)[0].values
            assert torch.equal(first, second) == (not (training and is_random))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("n_encoder_layers", "n_layers"), [(1, 1), (1, 3), (2, 2), (3, 2), (2, 3)])
def test_a_bridge_projects_the_numbered_or_the_last_layer(cell, n_encoder_layers, n_layers):
    bridge = Bridge(cell, 5, 7, n_layers).double()
    n_parts = 2 if cell == "lstm" else 1
    state = tuple(
        tuple(torch.randn(3, 5, dtype=torch.float64) for _ in range(n_parts))
        for _ in range(n_encoder_layers)
    )
    started = bridge(state)
    assert len(started) == n_layers
    for layer, parts in enumerate(started):
        read = state[layer] if layer < n_encoder_layers else state[-1]
        assert len(parts) == n_parts
        for part, source, projection in zip(parts, read, bridge.projections[layer], strict=True):
            expected = torch.tanh(source @ projection.weight.t() + projection.bias)
            torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_both_lstm_states_have_separate_projections():
    bridge = Bridge("lstm", 5, 7, 1)
    same = torch.randn(3, 5)
    ((h, c),) = bridge(((same, same),))
    assert not torch.allclose(h, c)
    assert len(list(Bridge("gru", 5, 7, 2).parameters())) == 4
