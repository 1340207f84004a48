"""Encoders of text pairs compared with the equations of the papers, step by step."""

from __future__ import annotations

import re

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers import conditional
from unrolled.layers.aligned import AlignedEncoder
from unrolled.layers.conditional import (
    AttentiveEncoder,
    BidirectionalConditionalEncoder,
    ConditionalEncoder,
    IndependentEncoder,
    TanhScorer,
    WordByWordEncoder,
)
from unrolled.ops import Weights, cells
from unrolled.shapes import Padded

E, H, S, T, C = 3, 5, 7, 6, 4
FIRST_LENGTHS = torch.tensor([7, 3, 0, 5, 1, 0, 2])
SECOND_LENGTHS = torch.tensor([4, 6, 2, 0, 1, 0, 6])
B = len(FIRST_LENGTHS)

PAIR_ENCODERS = {
    "independent": IndependentEncoder,
    "conditional": ConditionalEncoder,
    "attention": AttentiveEncoder,
    "word_by_word": WordByWordEncoder,
    "bidirectional": BidirectionalConditionalEncoder,
    "aligned": AlignedEncoder,
}
VARIANTS = {
    "independent": ("independent", {}),
    "independent, shared": ("independent", {"shared": True}),
    "independent, both ways": ("independent", {"bidirectional": True}),
    "conditional": ("conditional", {}),
    "attention": ("attention", {}),
    "word_by_word": ("word_by_word", {}),
    "bidirectional": ("bidirectional", {}),
    "bidirectional, one way": ("bidirectional", {"target": "one_way"}),
    "aligned": ("aligned", {}),
}
INDEPENDENT = [name for name in VARIANTS if name.startswith("independent")]
CONDITIONAL = [name for name in VARIANTS if name not in (*INDEPENDENT, "aligned")]
ATTENDS_BY_STEP = ("word_by_word", "aligned")
pytestmark = pytest.mark.usefixtures("one_thread")

CELLS = ("lstm", "gru", "rnn")

every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def make(variant, cell="lstm", dtype=torch.float64, **options):
    name, own = VARIANTS[variant]
    encoder = PAIR_ENCODERS[name](cell, E, H, **own, **options).to(dtype)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.normal_()  # parameters that start at zero, and energies that start small
    return encoder


def texts(dtype=torch.float64, filling=float("nan")):
    pair = []
    for n_steps, lengths in ((S, FIRST_LENGTHS), (T, SECOND_LENGTHS)):
        values = torch.randn(B, n_steps, E, dtype=dtype)
        values[torch.arange(n_steps) >= lengths.unsqueeze(1)] = filling
        pair.append(Padded(values.requires_grad_(), lengths))
    return pair


# The equations, one row at a time, with the letters of the docstrings.


def read(cell, reader, x_TE, state, backwards=False):
    """(h_1 … h_T), and the state after the last step."""
    parts, suffix = ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), "_reverse" * backwards
    weights = Weights(*(getattr(reader.recurrent, f"{part}_l0{suffix}") for part in parts))
    step, outputs = cells.CELLS["rnn_tanh" if cell == "rnn" else cell].step, []
    for x in reversed(x_TE.unbind(0)) if backwards else x_TE.unbind(0):
        state = step(x.unsqueeze(0), state, weights)
        outputs.append(state[0].squeeze(0))
    return outputs[::-1] if backwards else outputs, state


def start_of(encoder, direction=0):
    start = getattr(encoder, "conditional", encoder).start
    return tuple(getattr(start, name)[direction].unsqueeze(0) for name in start.names)


def cross(cell, start, end):
    """(h_0, c) for an LSTM, the other text's h for a cell without c."""
    return (start[0], end[1]) if cell == "lstm" else end


def h_of(state):
    return state[0].squeeze(0)


def independently(cell, encoder, x, z):
    n_directions = encoder.first.n_directions
    ends = [
        h_of(read(cell, reader, text, start_of(encoder, n), backwards=n == 1)[1])
        for reader, text in ((encoder.first, x), (encoder.second, z))
        for n in range(n_directions)
    ]
    return torch.cat(ends), None


def conditionally(cell, encoder, x, z):
    h_0 = start_of(encoder)
    y, end = read(cell, encoder.first, x, h_0)
    h, last = read(cell, encoder.second, z, cross(cell, h_0, end))
    return y, h, h_of(last)


def softmax(energies):
    powers = torch.stack(energies).exp()
    return powers / powers.sum()


def with_attention(cell, encoder, x, z):
    y, _, h_T = conditionally(cell, encoder.conditional, x, z)
    its = encoder.attention
    a, r = torch.zeros(0, dtype=x.dtype), torch.zeros_like(h_T)
    if y:
        M = [torch.tanh(its.key_weight @ y_s + its.query_weight @ h_T) for y_s in y]
        a = softmax([its.energy_weight @ m for m in M])
        r = sum(a_s * y_s for a_s, y_s in zip(a, y, strict=True))
    return torch.tanh(encoder.seen_weight @ r + encoder.last_weight @ h_T), a.unsqueeze(0)


def word_by_word(cell, encoder, x, z):
    y, h, h_T = conditionally(cell, encoder.conditional, x, z)
    r, attention = torch.zeros_like(h_T), []
    for h_t in h:
        passed_on = torch.tanh(encoder.next_weight @ r)
        if y:
            query = encoder.query_weight @ h_t + encoder.seen_query_weight @ r
            M = [torch.tanh(encoder.key_weight @ y_s + query) for y_s in y]
            a = softmax([encoder.energy_weight @ m for m in M])
            r = sum(a_s * y_s for a_s, y_s in zip(a, y, strict=True)) + passed_on
            attention.append(a)
        else:
            r = passed_on
    h_star = torch.tanh(encoder.seen_weight @ r + encoder.last_weight @ h_T)
    empty = torch.zeros(len(h), len(y), dtype=x.dtype)
    return h_star, torch.stack(attention) if attention else empty


def both_ways(cell, encoder, x, z):
    ends = []
    for n in range(2):
        its = n if encoder.target == "both_ways" else 0
        _, end = read(cell, encoder.first, x, start_of(encoder, its), backwards=its == 1)
        begin = cross(cell, start_of(encoder, n), end)
        ends.append(h_of(read(cell, encoder.second, z, begin, backwards=n == 1)[1]))
    return torch.cat(ends), None


def with_alignment(cell, encoder, x, z):
    def both(reader, text):
        ways = (read(cell, reader, text, start_of(encoder, n), backwards=n == 1)[0] for n in (0, 1))
        return [torch.cat(pair) for pair in zip(*ways, strict=True)]

    def composed(own, others, weights):
        zero, m = x.new_zeros(2 * H), []
        for u, its in zip(own, weights, strict=True):
            v = sum((w * other for w, other in zip(its, others, strict=True)), zero)
            compared = torch.cat([u, v, u - v, u * v])
            m.append(torch.relu(encoder.projection.weight @ compared + encoder.projection.bias))
        if not m:
            return torch.cat([zero, zero])
        v = torch.stack(both(encoder.composition, torch.stack(m)))
        return torch.cat([v.sum(0) / len(v), v.max(0).values])

    a, b = both(encoder.reader, x), both(encoder.reader, z)
    of_a = [softmax([a_s @ b_t for b_t in b]) if b else [] for a_s in a]
    of_b = [softmax([a_s @ b_t for a_s in a]) if a else [] for b_t in b]
    attention = torch.stack(of_b) if a and b else x.new_zeros(len(b), len(a))
    return torch.cat([composed(a, b, of_a), composed(b, a, of_b)]), attention


EQUATIONS = {
    "independent": independently,
    "conditional": lambda *args: (conditionally(*args)[2], None),
    "attention": with_attention,
    "word_by_word": word_by_word,
    "bidirectional": both_ways,
    "aligned": with_alignment,
}


def by_equations(variant, cell, encoder, first, second):
    """Row by row, with the attention padded with zeros."""
    equations = EQUATIONS[VARIANTS[variant][0]]
    values, attentions = [], []
    for b, (n, m) in enumerate(zip(first.lengths.tolist(), second.lengths.tolist(), strict=True)):
        row, attention = equations(cell, encoder, first.values[b, :n], second.values[b, :m])
        values.append(row)
        if attention is not None:
            n_queries = T if variant in ATTENDS_BY_STEP else 1
            padding = (0, S - attention.shape[1], 0, n_queries - attention.shape[0])
            attentions.append(torch.nn.functional.pad(attention, padding))
    return torch.stack(values), torch.stack(attentions) if attentions else None


def upstream_total(values, attention, weights):
    total = (values * weights[0]).sum()
    return total if attention is None else total + (attention * weights[1]).sum()


def assert_same_gradients(leaves, ours, right, **tolerances):
    for name, one, other in zip(leaves, ours, right, strict=True):
        other = torch.zeros_like(leaves[name]) if other is None else other
        torch.testing.assert_close(
            one, other, msg=lambda text, n=name: f"{n}: {text}", **tolerances
        )


@every_variant
@every_cell
@pytest.mark.parametrize("learned_start", [False, True])
def test_an_encoder_equals_the_equations_and_gradients(variant, cell, learned_start):
    encoder = make(variant, cell, learned_start=learned_start)
    first, second = texts()
    ours, attention = encoder(first, second)
    right, right_attention = by_equations(variant, cell, encoder, first, second)
    assert ours.shape == (B, encoder.output_size)
    torch.testing.assert_close(ours, right, rtol=1e-10, atol=1e-10)
    weights = [torch.randn_like(right)]
    if right_attention is None:
        assert attention is None
    else:
        torch.testing.assert_close(attention, right_attention, rtol=1e-10, atol=1e-10)
        weights.append(torch.randn_like(attention))
    named = dict(encoder.named_parameters())
    leaves = {"first": first.values, "second": second.values, **named}
    gradients = [
        torch.autograd.grad(
            upstream_total(*found, weights), list(leaves.values()), allow_unused=True
        )
        for found in ((ours, attention), (right, right_attention))
    ]
    assert_same_gradients(leaves, *gradients, rtol=1e-9, atol=1e-10)
    assert ("start.h_0" in {name.removeprefix("conditional.") for name in named}) == learned_start


@every_variant
@every_cell
def test_float32_is_the_same_map(variant, cell):
    encoder = make(variant, cell)
    first, second = texts()
    pair = [first, second]
    exact, exact_attention = encoder(*pair)
    leaves = [first.values, second.values, *encoder.parameters()]
    weights = [torch.randn_like(exact)]
    if exact_attention is not None:
        weights.append(torch.randn_like(exact_attention))
    right = torch.autograd.grad(upstream_total(exact, exact_attention, weights), leaves)
    encoder = encoder.float()
    single = [Padded(text.values.detach().float().requires_grad_(), text.lengths) for text in pair]
    ours, attention = encoder(*single)
    assert ours.dtype is torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    weights = [weight.float() for weight in weights]
    leaves = [*(text.values for text in single), *encoder.parameters()]
    found = torch.autograd.grad(upstream_total(ours, attention, weights), leaves)
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_padding_cannot_be_seen(variant, dtype):
    encoder, clean = make(variant, dtype=dtype), texts(dtype, filling=0.0)
    past = [
        torch.arange(n) >= text.lengths.unsqueeze(1) for n, text in zip((S, T), clean, strict=True)
    ]
    results = []
    for filling in (0.0, float("nan"), 1e30):
        pair = [
            Padded(
                text.values.detach().masked_fill(its.unsqueeze(2), filling).requires_grad_(),
                text.lengths,
            )
            for text, its in zip(clean, past, strict=True)
        ]
        values, attention = encoder(*pair)
        leaves = [*(text.values for text in pair), *encoder.parameters()]
        gradients = torch.autograd.grad(values.square().sum(), leaves)
        for gradient, its in zip(gradients, past, strict=False):
            assert not gradient[its].any()
        seen = [] if attention is None else [attention.detach()]
        results.append([values.detach(), *seen, *gradients])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@every_variant
def test_a_row_does_not_depend_on_the_rest_of_the_batch(variant):
    encoder, (first, second) = make(variant), texts()
    whole, attention = encoder(first, second)
    order = torch.randperm(B)
    moved, _ = encoder(
        Padded(first.values[order], first.lengths[order]),
        Padded(second.values[order], second.lengths[order]),
    )
    torch.testing.assert_close(moved, whole[order], rtol=1e-12, atol=1e-12)
    for b, (n, m) in enumerate(zip(first.lengths.tolist(), second.lengths.tolist(), strict=True)):
        row = slice(b, b + 1)
        alone, its_attention = encoder(
            Padded(first.values[row, :n], first.lengths[row]),
            Padded(second.values[row, :m], second.lengths[row]),
        )
        torch.testing.assert_close(alone[0], whole[b], rtol=1e-12, atol=1e-12)
        if attention is not None:
            k = its_attention.shape[1]
            assert its_attention.shape == (1, m if variant in ATTENDS_BY_STEP else 1, n)
            torch.testing.assert_close(
                its_attention[0], attention[b, :k, :n], rtol=1e-12, atol=1e-12
            )


@every_variant
@pytest.mark.parametrize(("n_first", "n_second"), [(0, 3), (3, 0), (0, 0)])
def test_a_batch_of_empty_texts_is_defined(variant, n_first, n_second):
    encoder = make(variant, dtype=torch.float32, learned_start=True)
    first = Padded(torch.randn(2, n_first, E), torch.full((2,), n_first))
    second = Padded(torch.randn(2, n_second, E), torch.full((2,), n_second))
    values, attention = encoder(first, second)
    assert values.isfinite().all()
    looks = variant == "attention" and n_first > 0
    assert attention is None or bool(attention.any()) == looks
    if variant == "aligned" and not n_first and not n_second:
        assert not values.any()  # the zeros of an empty text, which depend on nothing
        return
    values.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("variant", ["attention", *ATTENDS_BY_STEP])
def test_attention_sums_to_one_unless_the_memory_is_empty(variant):
    _, attention = make(variant)(*texts())
    looks = (FIRST_LENGTHS > 0).unsqueeze(1).expand(-1, attention.shape[1])
    if variant in ATTENDS_BY_STEP:
        looks = looks & (torch.arange(T) < SECOND_LENGTHS.unsqueeze(1))
    torch.testing.assert_close(attention.sum(2), looks.double())


# The state passed from text to text.


def logit_of(encoder, head, first, second):
    return head(encoder(first, second)[0])[:, 1].sum()


def through_the_state_alone(encoder):
    """If attention reads the first text, remove its effect: W^p r = 0."""
    if hasattr(encoder, "seen_weight"):
        torch.nn.init.zeros_(encoder.seen_weight)
    return encoder


@pytest.mark.parametrize("variant", CONDITIONAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_first_text_acts_only_through_the_cell_state(variant, dtype, monkeypatch):
    encoder = through_the_state_alone(make(variant, dtype=dtype))
    head = TanhScorer(encoder.output_size, C).to(dtype)
    first, second = texts(dtype)
    both = (FIRST_LENGTHS > 0) & (SECOND_LENGTHS > 0)
    crossed = conditional.crossed

    def gradient_with(change):
        monkeypatch.setattr(conditional, "crossed", lambda start, end: crossed(start, change(*end)))
        logit = logit_of(encoder, head, first, second)
        (found,) = torch.autograd.grad(logit, [first.values], allow_unused=True)
        return torch.zeros_like(first.values) if found is None else found

    whole = gradient_with(lambda h, c: (h, c))
    for b, n in enumerate(FIRST_LENGTHS.tolist()):
        assert bool((whole[b, :n] != 0).any(1).all()) == bool(both[b]) or n == 0
    assert torch.equal(gradient_with(lambda h, c: (h.detach(), c)), whole)
    assert torch.equal(gradient_with(lambda h, c: (torch.full_like(h, torch.nan), c)), whole)
    assert not gradient_with(lambda h, c: (h, c.detach())).any()


@pytest.mark.parametrize("variant", CONDITIONAL)
def test_the_hidden_state_of_the_first_text_is_not_passed_on(variant):
    # After one step from zeros, the output gate affects h but not c; the other gates affect both.
    encoder = through_the_state_alone(make(variant))
    first = Padded(torch.randn(2, 1, E, dtype=torch.float64), torch.tensor([1, 1]))
    second = Padded(torch.randn(2, T, E, dtype=torch.float64), torch.tensor([T, 2]))
    its = getattr(encoder, "conditional", encoder)
    begin = tuple(part[: its.first.n_directions] for part in its.start(2))

    def state_and_result():
        return *its.first(first, begin)[1], encoder(first, second)[0]

    before = state_and_result()
    for gate, is_felt in (("o", False), ("i", True), ("g", True)):
        rows = slice("ifgo".index(gate) * H, ("ifgo".index(gate) + 1) * H)
        with torch.no_grad():
            for name, parameter in its.first.recurrent.named_parameters():
                if name.startswith("weight_ih"):
                    parameter[rows] += 0.5
        after = state_and_result()
        is_same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert is_same == [False, not is_felt, not is_felt]
        before = after


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("variant", CONDITIONAL)
def test_a_cell_without_cell_state_passes_on_the_hidden_state(variant, cell):
    encoder = through_the_state_alone(make(variant, cell, learned_start=True))
    first, second = texts()
    logit = logit_of(encoder, TanhScorer(encoder.output_size, C).double(), first, second)
    (gradient,) = torch.autograd.grad(logit, [first.values])
    for b, (n, m) in enumerate(zip(FIRST_LENGTHS.tolist(), SECOND_LENGTHS.tolist(), strict=True)):
        # With an empty second text, a GRU's h_T is the h_S of the first text itself.
        assert n == 0 or (gradient[b, :n] != 0).any(), (b, m)


@pytest.mark.parametrize("variant", INDEPENDENT)
def test_independent_encoding_uses_the_first_text_vector_only(variant):
    encoder = make(variant)
    head = TanhScorer(encoder.output_size, C).double()
    first, second = texts()
    (felt,) = torch.autograd.grad(logit_of(encoder, head, first, second), [first.values])
    assert felt.any()
    with torch.no_grad():
        head.weight[:, : encoder.output_size // 2] = 0
    logit = logit_of(encoder, head, first, second)
    of_first, of_second = torch.autograd.grad(logit, [first.values, second.values])
    assert not of_first.any()
    assert of_second.any()


def test_texts_have_separate_weights_unless_shared():
    for variant in (*INDEPENDENT, *CONDITIONAL):
        encoder = make(variant)
        its = getattr(encoder, "conditional", encoder)
        assert (its.first is its.second) == (variant == "independent, shared")


def test_one_direction_initialises_both_of_the_second_text():
    one, both = make("bidirectional, one way"), make("bidirectional")
    assert one.first.recurrent.bidirectional is False
    assert both.first.recurrent.bidirectional is True
    n_one, n_both = (sum(p.numel() for p in e.first.parameters()) for e in (one, both))
    assert n_both == 2 * n_one


# Dropout and errors.


@pytest.mark.parametrize("variant", [*INDEPENDENT, *CONDITIONAL])
def test_inputs_and_outputs_are_dropped_in_training_only(variant):
    torch.manual_seed(0)
    encoder = make(variant, dtype=torch.float32, dropout_rate=0.5)
    plain = make(variant, dtype=torch.float32)
    plain.load_state_dict(encoder.state_dict())
    pair = [Padded(torch.ones(97, n, E), torch.full((97,), n)) for n in (S, T)]
    its, seen = getattr(encoder, "conditional", encoder), []
    for reader in dict.fromkeys((its.first, its.second)):
        reader.recurrent.register_forward_pre_hook(lambda _, args: seen.append(args))
    values, _ = encoder(*pair)
    assert len(seen) == 2
    for x, _ in seen:
        assert x.unique().tolist() == [0.0, 2.0]
        assert (x == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    if variant not in ("attention", "word_by_word"):
        assert (values == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    if variant in CONDITIONAL:
        c = seen[1][1][1]
        assert (c != 0).all()
    torch.testing.assert_close(encoder.eval()(*pair)[0], plain(*pair)[0], rtol=0, atol=0)
    assert torch.equal(plain(*pair)[0], plain(*pair)[0])


def test_aligned_encodings_are_dropped_before_and_after_each_layer():
    encoder, seen = make("aligned", dtype=torch.float32, dropout_rate=0.5), ([], [])
    for reader, shapes in zip((encoder.reader, encoder.composition), seen, strict=True):
        reader.dropout.register_forward_hook(
            lambda module, args, out, shapes=shapes: shapes.append(out.shape)
        )
    pair = texts(torch.float32)
    dropped, _ = encoder(*pair)
    sides = (S, T)
    assert seen[0] == [(B, n, width) for n in sides for width in (E, 2 * H)]
    assert seen[1] == [(B, n, width) for n in sides for width in (H, 2 * H)]
    plain = make("aligned", dtype=torch.float32)
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder.eval()(*pair)[0], plain(*pair)[0])
    assert not torch.equal(dropped, plain(*pair)[0])


@pytest.mark.parametrize(
    ("variant", "of_first", "of_second"),
    [
        ("independent", [(B, S, E), (B, H)], [(B, T, E), (B, H)]),
        ("conditional", [(B, S, E)], [(B, T, E), (B, H)]),
        ("attention", [(B, S, E), (B, S, H)], [(B, T, E), (B, H)]),
        ("word_by_word", [(B, S, E), (B, S, H)], [(B, T, E), (B, H), (B, T, H)]),
        ("bidirectional", [(B, S, E)], [(B, T, E), (B, 2 * H)]),
    ],
)
def test_dropout_applies_to_used_outputs_only(variant, of_first, of_second):
    encoder, seen = make(variant, dropout_rate=0.5), ([], [])
    its = getattr(encoder, "conditional", encoder)
    for reader, shapes in zip((its.first, its.second), seen, strict=True):
        reader.dropout.register_forward_hook(
            lambda module, args, out, shapes=shapes: shapes.append(out.shape)
        )
    encoder(*texts())
    assert seen == (of_first, of_second)


@every_variant
def test_lower_precision_runs_every_encoder(variant):
    encoder = make(variant, dtype=torch.float32)
    first, second = texts(torch.float32)
    exact, exact_attention = encoder(first, second)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, attention = encoder(first, second)
    torch.testing.assert_close(values.float(), exact, atol=0.05, rtol=0.05)
    if attention is not None:
        torch.testing.assert_close(attention.float(), exact_attention, atol=0.05, rtol=0.05)
    values.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        (
            "conditional",
            {"cell": "lstn"},
            "cell must be one of rnn, rnn_relu, gru, lstm, got 'lstn'",
        ),
        (
            "word_by_word",
            {"dropout_rate": 1.0},
            "dropout_rate must be at least 0 and below 1, got 1.0",
        ),
        (
            "bidirectional",
            {"target": "none"},
            "target must be one of both_ways, one_way, got 'none'",
        ),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(variant, options, message):
    options = {"cell": "lstm", **options}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        PAIR_ENCODERS[variant](options.pop("cell"), E, H, **options)


# The classifier.


def test_the_head_equals_the_equation():
    head = TanhScorer(7, C).double()
    torch.nn.init.normal_(head.output.bias)
    h = torch.randn(B, 7, dtype=torch.float64)
    right = torch.stack(
        [head.output.weight @ torch.tanh(head.weight @ row) + head.output.bias for row in h]
    )
    torch.testing.assert_close(head(h), right, rtol=1e-12, atol=1e-12)


def test_the_literal_heads_logits_are_the_tanh():
    head = TanhScorer(7, C, literal=True).double()
    h = torch.randn(B, 7, dtype=torch.float64)
    right = torch.stack([torch.tanh(head.weight @ row) for row in h])
    torch.testing.assert_close(head(h), right, rtol=1e-12, atol=1e-12)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    most = TanhScorer(1, 3, literal=True)(torch.full((1, 1), 1e9)).softmax(1).max()
    assert most.item() < 0.7870
