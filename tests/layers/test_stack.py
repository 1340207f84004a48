"""A stack of recurrent layers: torch's values, states in and out, dropout as in the paper."""

from __future__ import annotations

import re

import pytest
import torch

from unrolled import ops
from unrolled.errors import ConfigError
from unrolled.layers.dropout import LockedDropout, dropped_embedding
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.ops import native
from unrolled.shapes import Padded

B, T, E, SIZES = 3, 11, 5, (7, 13)

needs_kernels = pytest.mark.skipif(
    native.kernels is None, reason=f"native kernels: {native.missing_because}"
)
every_cell = pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])


def make(cell="lstm", sizes=SIZES, dtype=torch.float32, **options) -> RecurrentStack:
    return RecurrentStack(cell, E, sizes, **options).to(dtype)


def rows(lengths=(T,) * B, dtype=torch.float32) -> Padded:
    values = torch.randn(len(lengths), T, E, dtype=dtype)
    for row, length in enumerate(lengths):
        values[row, length:] = torch.nan
    return Padded(values, torch.tensor(lengths))


def random_state(stack):
    return tuple(
        tuple(torch.randn_like(part).requires_grad_() for part in layer) for layer in stack.start(B)
    )


def flat(state):
    return [part for layer in state for part in layer]


def same_states(one, other, **tolerances):
    for ours, right in zip(flat(one), flat(other), strict=True):
        torch.testing.assert_close(ours, right, **tolerances)


@every_cell
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)], ids=str
)
def test_a_stack_is_torchs_layers_one_after_another(cell, dtype, tolerance):
    torch.manual_seed(0)
    stack, x = make(cell, dtype=dtype), rows(dtype=dtype)
    start = random_state(stack)
    values = x.values.requires_grad_()
    y, end = stack(x, start)
    leaves = [values, *flat(start), *stack.parameters()]

    expected, ends = values, []
    for layer, size, state in zip(stack.layers, SIZES, start, strict=True):
        torch_class = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
        width = expected.shape[2]
        torchs = torch_class(width, size, batch_first=True, dtype=dtype)
        named = dict(layer.named_parameters())
        assert [*named] == [name for name, _ in torchs.named_parameters()]
        state = tuple(part.unsqueeze(0) for part in state)
        state = state if cell == "lstm" else state[0]
        expected, last = torch.func.functional_call(torchs, named, (expected, state))
        ends.append(tuple(part.squeeze(0) for part in (last if cell == "lstm" else (last,))))

    torch.testing.assert_close(y, expected, atol=tolerance, rtol=tolerance)
    same_states(end, ends, atol=tolerance, rtol=tolerance)
    weight = torch.randn_like(y)

    def gradients(y, state):
        total = (y * weight).sum() + sum((part**2).sum() for part in flat(state))
        return torch.autograd.grad(total, leaves)

    for ours, right in zip(gradients(y, end), gradients(expected, ends), strict=True):
        torch.testing.assert_close(ours, right, atol=10 * tolerance, rtol=10 * tolerance)


@every_cell
def test_windows_with_carried_state_equal_the_whole(cell):
    stack, x = make(cell, dtype=torch.float64), rows(dtype=torch.float64)
    whole, end = stack(x, stack.start(B))
    state, pieces = stack.start(B), []
    for piece in x.values.split([2, 5, 1, 3], dim=1):
        y, state = stack(Padded(piece, torch.full((B,), piece.shape[1])), state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-10, rtol=1e-10)
    same_states(state, end, atol=1e-10, rtol=1e-10)


@every_cell
def test_steps_equal_the_forward_pass(cell):
    stack, x = make(cell), rows()
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            y, end = stack(x)
            state, steps = stack.start(B), []
            for x_BE in x.values.unbind(1):
                h, state = stack.step(x_BE, state)
                steps.append(h)
        torch.testing.assert_close(torch.stack(steps, 1), y, atol=1e-5, rtol=1e-5)
        same_states(state, end, atol=1e-5, rtol=1e-5)


@every_cell
@pytest.mark.parametrize("lengths", [(T, 2, 0), (4, 1, 7), (0, 0, 0)], ids=str)
def test_padding_cannot_be_seen(cell, lengths):
    stack = make(cell, dtype=torch.float64, between_rate=0.5, recurrent_weight_rate=0.5).eval()
    x, start = rows(lengths, torch.float64), random_state(stack)
    x.values.requires_grad_()
    y, end = stack(x, start)
    (y.sum() + sum(part.sum() for part in flat(end))).backward()
    for row, length in enumerate(lengths):
        assert (y[row, length:] == 0).all()
        assert (x.values.grad[row, length:] == 0).all()
        alone = Padded(x.values[row : row + 1, :length], torch.tensor([length]))
        state = tuple(tuple(part[row : row + 1] for part in layer) for layer in start)
        y_alone, end_alone = stack(alone, state)
        torch.testing.assert_close(y_alone[0], y[row, :length], atol=1e-10, rtol=1e-10)
        same_states(
            end_alone,
            [[part[row : row + 1] for part in layer] for layer in end],
            atol=1e-10,
            rtol=1e-10,
        )
    assert all(p.grad is None or p.grad.isfinite().all() for p in stack.parameters())


def test_ragged_rows_with_dropout_train_without_a_nan():
    stack = make(between_rate=0.5, recurrent_weight_rate=0.5)
    y, _ = stack(rows((T, 2, 0)))
    y.sum().backward()
    assert (y[1, 2:] == 0).all()
    assert all(p.grad.isfinite().all() for p in stack.parameters())


def test_a_locked_mask_is_one_per_row_for_all_steps():
    torch.manual_seed(0)
    dropped = LockedDropout(0.25)(torch.ones(B, T, 997))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("locked", [True, False])
def test_only_locked_dropout_drops_a_unit_at_all_steps(locked):
    torch.manual_seed(0)
    stack, seen = make(between_rate=0.5, locked=locked), []
    stack.between.register_forward_hook(lambda *args: seen.append((args[1][0], args[2])))
    y, _ = stack(rows())
    (before, after), *more = seen
    assert not more  # neither the input nor the last layer's output
    ratio = after / before
    assert ratio.detach().unique().tolist() == [0.0, 2.0]
    assert torch.equal(ratio, ratio[:, :1].expand_as(ratio)) == locked
    assert (y != 0).all()


def test_weight_dropout_is_sampled_once_per_call_and_rescaled(monkeypatch):
    torch.manual_seed(0)
    stack, given = make(recurrent_weight_rate=0.25), []
    unroll = ops.unroll
    monkeypatch.setattr(
        ops,
        "unroll",
        lambda kind, x, lengths, state, weights, reverse: (
            given.append(weights) or unroll(kind, x, lengths, state, weights, reverse)
        ),
    )
    y, _ = stack(rows())
    y.sum().backward()
    assert len(given) == len(SIZES)
    for layer, weights in zip(stack.layers, given, strict=True):
        kept = weights.w_hh != 0
        own = layer.weight_hh_l0
        torch.testing.assert_close(weights.w_hh[kept], own[kept] / 0.75)
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.1)
        assert weights.w_ih is layer.weight_ih_l0
        assert (own.grad[~kept] == 0).all()
        assert (own.grad[kept] != 0).any()


def test_eval_mode_drops_nothing_and_training_mode_does():
    stack = make(between_rate=0.5, recurrent_weight_rate=0.5)
    plain = make()
    plain.load_state_dict(stack.state_dict())
    x = rows()
    assert not torch.equal(stack(x)[0], plain(x)[0])
    assert torch.equal(stack.eval()(x)[0], plain(x)[0])
    x_BTE = torch.randn(B, T, E)
    assert LockedDropout(0.5).eval()(x_BTE) is x_BTE
    assert LockedDropout(0.0)(x_BTE) is x_BTE


def test_steps_have_no_dropout_in_training_mode():
    stack, x = make(between_rate=0.5, recurrent_weight_rate=0.5), torch.randn(B, E)
    first, _ = stack.step(x, stack.start(B))
    assert torch.equal(first, stack.eval().step(x, stack.start(B))[0])


@needs_kernels
@every_cell
@torch.no_grad()
def test_precision_only_affects_single_steps(cell):
    stack, x = make(cell, sizes=(37, 41)), rows()
    whole, _ = stack(x)
    state = tuple(tuple(torch.randn_like(p) for p in layer) for layer in stack.start(B))
    exact, _ = stack.step(x.values[:, 0], state)
    for precision, tolerance in (("bfloat16", 2e-2), ("int8", 5e-2)):
        stack.precision = precision
        rounded, _ = stack.step(x.values[:, 0], state)
        assert not torch.equal(rounded, exact)
        torch.testing.assert_close(rounded, exact, atol=tolerance, rtol=0)
        assert torch.equal(stack(x)[0], whole)
    stack.precision = "float32"
    assert torch.equal(stack.step(x.values[:, 0], state)[0], exact)


@needs_kernels
@pytest.mark.parametrize("precision", ["float32", "int8"])
@torch.no_grad()
def test_a_step_sees_that_the_weights_have_changed(precision):
    stack, x = make(), torch.randn(B, E)
    stack.precision = precision
    before, _ = stack.step(x, stack.start(B))
    for parameter in stack.parameters():
        parameter.mul_(0.5)
    after, _ = stack.step(x, stack.start(B))
    fresh = make()
    fresh.precision = precision
    fresh.load_state_dict(stack.state_dict())
    assert not torch.equal(after, before)
    assert torch.equal(after, fresh.step(x, stack.start(B))[0])


def test_an_unsupported_precision_is_refused():
    stack, x = make(), torch.randn(B, E)
    stack.precision = "int8"
    with pytest.raises(ConfigError, match="a step in int8 has no gradients: call it under"):
        stack.step(x, stack.start(B))
    with pytest.raises(ConfigError, match="int8 weights need the native kernels: "):
        with torch.no_grad():
            stack.double().step(x.double(), stack.start(B))
    stack.precision = "int4"
    with pytest.raises(ConfigError, match="precision is 'int4'; choose from 'float32'"):
        with torch.no_grad():
            stack.step(x, stack.start(B))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lstn"}, "cell must be one of rnn, rnn_relu, gru, lstm, got 'lstn'"),
        ({"sizes": ()}, "sizes must be the width of at least one layer, got []"),
        ({"between_rate": 1.0}, "between_rate must be at least 0 and below 1, got 1.0"),
        (
            {"recurrent_weight_rate": -0.1},
            "recurrent_weight_rate must be at least 0 and below 1, got -0.1",
        ),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        make(**arguments)


def test_a_stack_starts_from_zeros_of_the_weights_dtype():
    stack = make("lstm", dtype=torch.float64)
    state = stack.start(2)
    assert [[part.shape for part in layer] for layer in state] == [[(2, 7)] * 2, [(2, 13)] * 2]
    assert all(part.dtype is torch.float64 and not part.any() for part in flat(state))
    x = rows(dtype=torch.float64)
    assert torch.equal(stack(x)[0], stack(x, stack.start(B))[0])


def test_a_dropped_word_is_dropped_at_all_positions():
    torch.manual_seed(0)
    weight = torch.randn(997, E, dtype=torch.float64, requires_grad=True)
    ids = torch.arange(997).repeat(2, 1)
    embedded = dropped_embedding(ids, weight, 0.25)
    assert torch.equal(embedded[0], embedded[1])
    kept = (embedded[0] != 0).any(1)
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.05)
    torch.testing.assert_close(embedded[0][kept], weight[kept] / 0.75)
    embedded.sum().backward()
    assert (weight.grad[~kept] == 0).all()
    torch.testing.assert_close(weight.grad[kept], torch.full_like(weight[kept], 2 / 0.75))


def test_word_dropout_is_for_training_and_allows_sparse_grads():
    weight, ids = torch.randn(17, E, requires_grad=True), torch.tensor([[3, 5], [3, 16]])
    assert torch.equal(dropped_embedding(ids, weight, 0.5, training=False), weight[ids])
    assert torch.equal(dropped_embedding(ids, weight, 0.0), weight[ids])
    torch.manual_seed(1)
    dropped_embedding(ids, weight, 0.5).square().sum().backward()
    dense, weight.grad = weight.grad, None
    torch.manual_seed(1)
    dropped_embedding(ids, weight, 0.5, sparse=True).square().sum().backward()
    assert weight.grad.is_sparse
    torch.testing.assert_close(weight.grad.to_dense(), dense)
    with pytest.raises(ConfigError, match="rate must be at least 0 and below 1, got 1"):
        dropped_embedding(ids, weight, 1.0)
