from __future__ import annotations

from itertools import product

import pytest
import torch
from instruction_sets import pinned, restored

from unrolled import ops
from unrolled.layers.decoder import AttentionalDecoder, DecoderState
from unrolled.ops import Weights, cells
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

B, T, S, E, H, M, O = 3, 5, 7, 2, 11, 13, 17  # noqa: E741
CELLS = ("rnn", "gru", "lstm")
SCORES = (None, "additive", "dot", "general")
LENGTHS = torch.tensor([7, 4, 1])


def make(cell, score, input_feeding=True, n_layers=1, dtype=torch.float64, **options):
    decoder = AttentionalDecoder(
        cell,
        E,
        H,
        options.pop("output_size", O),
        memory_size=H if score == "dot" else M,
        attention=score,
        input_feeding=input_feeding,
        n_layers=n_layers,
        **options,
    )
    return decoder.to(dtype)


def leaves_of(decoder: AttentionalDecoder, n_rows: int = B, n_steps: int = T) -> dict:
    """Inputs, initial states and encodings, which require gradients, and all weights by name."""
    dtype = next(decoder.parameters()).dtype
    n_parts = 2 if decoder.cell == "lstm" else 1
    memory_size = H if decoder.attention and decoder.attention.score == "dot" else M
    leaves = {
        "embedded": torch.randn(n_rows, n_steps, E, dtype=dtype),
        "encoded": torch.randn(n_rows, S, memory_size, dtype=dtype),
    }
    for layer, part in product(range(decoder.recurrent.num_layers), range(n_parts)):
        leaves[f"layer {layer} part {part}"] = torch.randn(n_rows, H, dtype=dtype)
    for leaf in leaves.values():
        leaf.requires_grad_()
    if decoder.attention is None:
        del leaves["encoded"]
    return leaves | dict(decoder.named_parameters())


def start_of(decoder: AttentionalDecoder, leaves: dict, lengths=LENGTHS) -> DecoderState:
    n_parts = 2 if decoder.cell == "lstm" else 1
    layers = tuple(
        tuple(leaves[f"layer {layer} part {part}"] for part in range(n_parts))
        for layer in range(decoder.recurrent.num_layers)
    )
    memory = None
    if decoder.attention is not None:
        memory = decoder.attention.remember(Padded(leaves["encoded"], lengths))
    return decoder.start(layers, memory)


def by_steps(decoder, embedded, state):
    outputs, attentions = [], []
    for t in range(embedded.shape[1]):
        output, state, attention = decoder.step(embedded[:, t : t + 1], state)
        outputs.append(output)
        attentions.append(attention)
    attention = None if attentions[0] is None else torch.cat(attentions, 1)
    return torch.cat(outputs, 1), state, attention


def by_equations(decoder, embedded, state):
    """The equations of the class with the reference steps, one word at a time."""
    kind = {"rnn": "rnn_tanh"}.get(decoder.cell, decoder.cell)
    layers = [tuple(part[:, 0] for part in layer) for layer in state.layers]
    out, outputs, attentions = embedded.new_zeros(len(embedded), decoder.output_size), [], []
    for t in range(embedded.shape[1]):
        x = embedded[:, t]
        if decoder.input_feeding:
            x = torch.cat([x, out], dim=1)
        for layer in range(len(layers)):
            weights = Weights(
                *(
                    getattr(decoder.recurrent, f"{name}_l{layer}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
            )
            layers[layer] = cells.CELLS[kind].step(x, layers[layer], weights)
            x = layers[layer][0]
        out = x
        if decoder.attention is not None:
            context, attention = decoder.attention(x.unsqueeze(1), state.memory)
            out = torch.cat([x, context[:, 0]], dim=1)
            attentions.append(attention)
        if decoder.combine is not None:
            out = torch.tanh(out @ decoder.combine.weight.t())
        outputs.append(out)
    final = DecoderState(
        tuple(tuple(part.unsqueeze(1) for part in layer) for layer in layers),
        out.unsqueeze(1) if decoder.input_feeding else None,
        state.memory,
    )
    attention = torch.cat(attentions, 1) if attentions else None
    return torch.stack(outputs, 1), final, attention


def parts_of(result) -> dict[str, torch.Tensor]:
    output, state, attention = result
    parts = {"output": output}
    for i, layer in enumerate(state.layers):
        parts |= {f"final state {i}{name}": part for name, part in zip("hc", layer, strict=False)}
    if state.feed is not None:
        parts["feed"] = state.feed
    if attention is not None:
        parts["attention"] = attention
    return parts


def values_and_gradients(run, decoder, leaves, weigh):
    parts = parts_of(run(decoder, leaves["embedded"], start_of(decoder, leaves)))
    total = sum((part * weigh(name, part)).sum() for name, part in parts.items())
    gradients = torch.autograd.grad(total, list(leaves.values()))
    named = {f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}
    return {name: part.detach() for name, part in parts.items()} | named


def fixed_weights():
    """The same random upstream gradient for a part of the same name, regardless of type."""
    drawn: dict[str, torch.Tensor] = {}

    def weigh(name, part):
        if name not in drawn:
            drawn[name] = torch.randn(part.shape, dtype=torch.float64)
        return drawn[name].to(part.dtype)

    return weigh


def forward(decoder, embedded, state):
    return decoder(embedded, state)


ALL = list(product(CELLS, SCORES, (True, False), (1, 2)))


@pytest.mark.parametrize(("cell", "score", "input_feeding", "n_layers"), ALL)
def test_forward_equals_steps_and_equations(cell, score, input_feeding, n_layers):
    decoder = make(cell, score, input_feeding, n_layers)
    leaves, weigh = leaves_of(decoder), fixed_weights()
    at_once, stepped, exact = (
        values_and_gradients(run, decoder, leaves, weigh)
        for run in (forward, by_steps, by_equations)
    )
    assert at_once.keys() == stepped.keys() == exact.keys()
    for name, expected in exact.items():
        for ours in (at_once, stepped):
            torch.testing.assert_close(
                ours[name],
                expected,
                rtol=1e-10,
                atol=1e-10,
                msg=lambda text, n=name: f"{n}: {text}",
            )

    # float32: at most twice the distance that plain torch has from the float64 result.
    decoder = decoder.float()
    leaves = {
        name: leaf
        if isinstance(leaf, torch.nn.Parameter)
        else leaf.detach().float().requires_grad_()
        for name, leaf in leaves.items()
    }
    single = [
        values_and_gradients(run, decoder, leaves, weigh)
        for run in (forward, by_steps, by_equations)
    ]
    for name, expected in exact.items():
        size = expected.abs().max()
        errors = [((run[name].double() - expected).abs().max() / size).item() for run in single]
        assert max(errors[:2]) <= max(2 * errors[2], 2e-6), (name, errors)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("input_feeding", [True, False])
def test_one_row_and_one_step(cell, input_feeding):
    decoder = make(cell, "additive", input_feeding)
    leaves, weigh = leaves_of(decoder, n_rows=1, n_steps=1), fixed_weights()
    results = []
    for run in (forward, by_steps, by_equations):
        state = start_of(decoder, leaves, torch.tensor([4]))
        parts = parts_of(run(decoder, leaves["embedded"], state))
        total = sum((part * weigh(name, part)).sum() for name, part in parts.items())
        results.append([*parts.values(), *torch.autograd.grad(total, list(leaves.values()))])
    for at_once, stepped, exact in zip(*results, strict=True):
        torch.testing.assert_close(at_once, exact, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(stepped, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("input_feeding", [True, False])
def test_two_halves_equal_the_whole(cell, input_feeding):
    decoder = make(cell, "general", input_feeding, 2)
    leaves = leaves_of(decoder)
    whole = parts_of(decoder(leaves["embedded"], start_of(decoder, leaves)))
    first, state, _ = decoder(leaves["embedded"][:, :2], start_of(decoder, leaves))
    second, state, attention = decoder(leaves["embedded"][:, 2:], state)
    halves = parts_of((torch.cat([first, second], 1), state, attention))
    halves["attention"] = whole["attention"]
    torch.testing.assert_close(halves, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("score", SCORES)
def test_hypotheses_share_a_memory_and_step_independently(cell, score):
    decoder = make(cell, score, n_layers=2)
    leaves, Q = leaves_of(decoder, n_steps=3), 4
    _, state, _ = by_steps(decoder, leaves["embedded"], start_of(decoder, leaves))
    state = state.reorder(torch.zeros(B, Q, dtype=torch.int64))
    words = torch.randn(B, Q, E, dtype=torch.float64)
    output, after, attention = decoder.step(words, state)
    assert output.shape == (B, Q, O)
    if score:
        assert after.memory is state.memory
        assert after.memory.values.shape[0] == after.memory.keys.shape[0] == B
        assert attention.shape == (B, Q, S)
    for q in range(Q):
        alone = state.reorder(torch.full((B, 1), q))
        expected, expected_state, _ = decoder.step(words[:, q : q + 1], alone)
        torch.testing.assert_close(output[:, q : q + 1], expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(after.layers, expected_state.layers, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one[:, q : q + 1], other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_reorder_moves_every_state_and_no_memory(cell):
    decoder = make(cell, "additive", n_layers=2)
    n_parts = 2 if cell == "lstm" else 1
    layers = tuple(
        tuple(torch.randn(B, 4, H, dtype=torch.float64) for _ in range(n_parts)) for _ in range(2)
    )
    leaves = leaves_of(decoder)
    memory = decoder.attention.remember(Padded(leaves["encoded"], LENGTHS))
    state = DecoderState(layers, torch.randn(B, 4, O, dtype=torch.float64), memory)
    chosen = torch.tensor([[3, 0, 0], [1, 1, 1], [2, 3, 0]])
    moved = state.reorder(chosen)
    assert moved.memory is memory
    for b, q in product(range(B), range(3)):
        old = int(chosen[b, q])
        assert torch.equal(moved.feed[b, q], state.feed[b, old])
        for new_layer, old_layer in zip(moved.layers, state.layers, strict=True):
            for new_part, old_part in zip(new_layer, old_layer, strict=True):
                assert torch.equal(new_part[b, q], old_part[b, old])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("score", [None, "general"])
def test_selected_sentences_continue_unchanged(cell, score):
    decoder = make(cell, score, n_layers=2)
    leaves = leaves_of(decoder)
    _, state, _ = decoder.step(leaves["embedded"][:, :1], start_of(decoder, leaves))
    kept = torch.tensor([0, 2])
    words = leaves["embedded"][:, 1:2]
    everyone, _, all_attention = decoder.step(words, state)
    some, after, some_attention = decoder.step(words[kept], state.keep(kept))
    torch.testing.assert_close(some, everyone[kept], rtol=1e-12, atol=1e-12)
    assert after.layers[0][0].shape == (2, 1, H)
    if score:
        assert after.memory.values.shape[0] == 2
        torch.testing.assert_close(some_attention, all_attention[kept], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("input_feeding", [True, False])
def test_rows_do_not_see_each_other_nor_their_padding(input_feeding):
    decoder = make("lstm", "additive", input_feeding)
    leaves = leaves_of(decoder)
    past = (torch.arange(S) >= LENGTHS.unsqueeze(1)).unsqueeze(2)
    leaves["encoded"] = leaves["encoded"].detach().masked_fill(past, float("nan")).requires_grad_()
    output, _, attention = decoder(leaves["embedded"], start_of(decoder, leaves))
    output.sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves.values())
    for b, length in enumerate(LENGTHS.tolist()):
        row = {
            name: leaf
            if isinstance(leaf, torch.nn.Parameter)
            else leaf[b : b + 1, :length]
            if name == "encoded"
            else leaf[b : b + 1]
            for name, leaf in leaves.items()
        }
        alone, _, looked = decoder(row["embedded"], start_of(decoder, row, LENGTHS[b : b + 1]))
        torch.testing.assert_close(alone[0], output[b], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(looked[0], attention[b, :, :length], rtol=1e-12, atol=1e-12)
        assert (attention[b, :, length:] == 0).all()


def test_the_output_is_combined_even_if_the_widths_match():
    decoder = make("gru", "additive", output_size=H + M)
    leaves = leaves_of(decoder)
    output, state, _ = decoder(leaves["embedded"], start_of(decoder, leaves))
    joined = torch.cat([state.layers[0][0], torch.zeros(B, 1, M, dtype=torch.float64)], dim=2)
    assert not torch.allclose(output[:, -1:, :H], joined[:, :, :H])
    assert output.abs().max() < 1  # a tanh
    assert decoder.combine.weight.shape == (H + M, H + M)


@pytest.mark.parametrize(("output_size", "is_combined"), [(H, False), (O, True)])
def test_without_attention_output_is_state_unless_widths_differ(output_size, is_combined):
    decoder = make("gru", None, output_size=output_size)
    leaves = leaves_of(decoder)
    output, state, attention = decoder(leaves["embedded"], start_of(decoder, leaves))
    assert attention is None
    assert state.memory is None
    assert (decoder.combine is not None) == is_combined
    if not is_combined:
        assert torch.equal(output[:, -1:], state.layers[0][0])


def test_input_feeding_needs_attention():
    decoder = make("lstm", None, input_feeding=True)
    assert not decoder.input_feeding
    assert decoder.recurrent.input_size == E
    assert start_of(decoder, leaves_of(decoder)).feed is None
    assert make("lstm", "dot", input_feeding=True).recurrent.input_size == E + O


@pytest.mark.parametrize("input_feeding", [True, False])
def test_dropout_is_between_layers_in_training_only(input_feeding):
    leaves = None
    for n_layers, is_random in ((1, False), (2, True)):
        decoder = make("gru", "general", input_feeding, n_layers, dropout_rate=0.5)
        leaves = leaves_of(decoder)
        for training in (True, False):
            decoder.train(training)
            outputs = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                outputs.append(decoder(leaves["embedded"], start_of(decoder, leaves))[0])
            assert torch.equal(*outputs) == (not (training and is_random))


@pytest.mark.parametrize("score", [None, "additive"])
def test_the_reference_gives_the_same_decoder(score):
    decoder = make("lstm", score, input_feeding=False, n_layers=2)
    leaves, weigh = leaves_of(decoder), fixed_weights()
    usual = values_and_gradients(forward, decoder, leaves, weigh)
    with ops.using("reference"):
        reference = values_and_gradients(forward, decoder, leaves, weigh)
    torch.testing.assert_close(usual, reference, rtol=1e-10, atol=1e-10)


def test_stepping_records_nothing_under_inference():
    decoder = make("lstm", "additive", dtype=torch.float32)
    leaves = leaves_of(decoder)
    with torch.inference_mode():
        output, state, _ = by_steps(decoder, leaves["embedded"], start_of(decoder, leaves))
    assert output.is_inference()
    assert not state.layers[0][0].requires_grad


@pytest.mark.skipif(ops.native.kernels is None, reason="the kernels are not installed")
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("score", ["additive", "dot", "general"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_native_loop_equals_the_equations(cell, score, n_threads):
    torch.manual_seed(1)
    decoder = make(cell, score, dtype=torch.float32)
    leaves = leaves_of(decoder, n_rows=9, n_steps=6)
    lengths = torch.tensor([7, 4, 1, 0, 7, 2, 3, 6, 5])
    weigh = fixed_weights()

    def values(run):
        parts = parts_of(run(decoder, leaves["embedded"], start_of(decoder, leaves, lengths)))
        parts["attention"] = parts["attention"] * (lengths > 0).view(-1, 1, 1)
        total = sum((part * weigh(name, part)).sum() for name, part in parts.items())
        gradients = torch.autograd.grad(total, list(leaves.values()))
        return parts | {f"gradient of {n}": g for n, g in zip(leaves, gradients, strict=True)}

    found = {}
    ops.native.kernels.poison_workspaces(True)
    torch.set_num_threads(n_threads)
    try:
        with restored():
            for instruction_set in pinned():
                ours = values(forward)
                with torch.no_grad():
                    start = start_of(decoder, leaves, lengths)
                    found[instruction_set] = ours, parts_of(decoder(leaves["embedded"], start))
    finally:
        ops.native.kernels.poison_workspaces(False)
    for name, exact in values(by_equations).items():
        scale = float(exact.detach().abs().max())
        for instruction_set, (ours, _) in found.items():
            torch.testing.assert_close(
                ours[name],
                exact,
                atol=1e-5 * scale,
                rtol=1e-4,
                msg=lambda text, at=(instruction_set, name): f"{at}: {text}",
            )
    for ours, still in found.values():
        torch.testing.assert_close(still["output"], ours["output"], atol=1e-6, rtol=1e-5)


@pytest.mark.skipif(ops.native.kernels is None, reason="the kernels are not installed")
def test_the_native_loop_runs_by_default(monkeypatch):
    called = []

    class Spy:
        def __getattr__(self, name):
            called.append(name)
            return getattr(kernels, name)

    kernels = ops.native.kernels
    monkeypatch.setattr(ops.native, "kernels", Spy())
    decoder = make("lstm", "additive", dtype=torch.float32)
    leaves = leaves_of(decoder)
    decoder(leaves["embedded"], start_of(decoder, leaves))
    assert "attentive_forward" in called
