"""The decoder with attention in mixed precision: the kernels against the definition."""

from __future__ import annotations

import pytest
import torch
from mixed_sets import allowed, distance, needs_sets
from torch import Tensor

from unrolled.layers.decoder import AttentionalDecoder
from unrolled.ops import attentive, bfloat16, mixed_linear
from unrolled.ops.attentive import AttentiveWeights, attentive_unroll
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Kind
from unrolled.shapes import Padded

KINDS: tuple[Kind, ...] = ("rnn_tanh", "rnn_relu", "gru", "lstm")
# T, B, S, H, O, M, A: one of everything; partial and whole vectors, tiles of 16 rows and blocks of 32.
SIZES = [(1, 1, 1, 1, 1, 1, 1), (4, 3, 7, 11, 17, 13, 19), (3, 17, 5, 48, 32, 40, 31)]
NAMES = ("known", "feed", "keys", "values", "w_feed", "w_hh", "b_hh", "w_query", "energy",
         "w_combine", "h", "c")  # fmt: skip


def make(
    kind: Kind, size: tuple[int, ...], additive: bool
) -> tuple[dict[str, Tensor | None], Tensor]:
    """The inputs by name, and the lengths of the memories, of which the last of several is empty."""
    T, B, S, H, O, M, A = size  # noqa: E741
    torch.manual_seed(H)
    GH, A = CELLS[kind].n_gates * H, A if additive else H
    inputs: dict[str, Tensor | None] = {
        "known": torch.randn(T, B, GH),
        "feed": torch.randn(B, O).tanh(),
        "keys": torch.randn(B, S, A),
        "values": torch.randn(B, S, M),
        "w_feed": (torch.randn(GH, O + 5) * 0.4 * O**-0.5)[:, :O],
        "w_hh": torch.randn(GH, H) * 0.4 * H**-0.5,
        "b_hh": torch.randn(GH) if kind == "gru" else None,
        "w_query": torch.randn(A, H) * H**-0.5 if additive else None,
        "energy": torch.randn(A) * A**-0.5 if additive else None,
        "w_combine": torch.randn(O, H + M) * (H + M) ** -0.5,
        "h": torch.randn(B, H).tanh(),
    }
    if kind == "lstm":
        inputs["c"] = torch.randn(B, H)
    return inputs, torch.tensor([S - row * S // (B - 1) if B > 1 else S for row in range(B)])


def gradients_of(results: tuple, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The results, and the gradients of a random function of them, by name."""
    output, attention, state = results
    named = {"output": output, "attention": attention} | dict(zip("hc", state, strict=False))
    torch.manual_seed(1)
    loss = sum((part * torch.randn(part.shape).to(part.dtype)).sum() for part in named.values())
    found = torch.autograd.grad(loss, list(inputs.values()))
    return {
        f"final {name}" if name in "hc" else name: part.detach() for name, part in named.items()
    } | dict(zip(inputs, found, strict=True))


def defined(
    kind: Kind, inputs: dict[str, Tensor | None], lengths: Tensor, is_mixed: bool = True
) -> dict:
    given = {n: t.detach().double().requires_grad_() for n, t in inputs.items() if t is not None}
    run = attentive._definition(kind, lengths, is_mixed)
    output, attention, *state = run(
        *(given.get(name) for name in NAMES[: 10 + CELLS[kind].n_states])
    )
    return gradients_of((output, attention, state), given)


def computed(kind: Kind, inputs: dict[str, Tensor | None], lengths: Tensor) -> dict[str, Tensor]:
    given = {n: t.detach().requires_grad_() for n, t in inputs.items() if t is not None}
    weights = AttentiveWeights(*(given.get(name) for name in NAMES[4:10]))
    state = tuple(given[name] for name in NAMES[10 : 10 + CELLS[kind].n_states])
    first = [given[name] for name in NAMES[:4]]
    with torch.autocast("cpu", torch.bfloat16):
        assert attentive.why_not(first[0], weights, *first[1:], *state) is None
        results = attentive_unroll(kind, first[0], first[1], state, *first[2:], lengths, weights)
    return gradients_of(results, given)


@needs_sets
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("additive", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_compute_the_definition(
    mixed_set: str, kind: Kind, additive: bool, size: tuple[int, ...]
) -> None:
    inputs, lengths = make(kind, size, additive)
    exact, given = defined(kind, inputs, lengths), computed(kind, inputs, lengths)
    unrounded = defined(kind, inputs, lengths, is_mixed=False)
    # A step has three products one after another, forward and backward.
    most = allowed(max(size[1:]) + size[4], 6 * size[0] + 1)
    for name, part in exact.items():
        assert distance(given[name], part) <= most, name
    if size[0] > 1:  # the rounding matters, and more than the tolerance
        for name in ("output", "known", "w_feed", "w_hh", "w_combine", "values"):
            assert distance(unrounded[name], exact[name]) > most, name


@needs_sets
@pytest.mark.parametrize("kind", KINDS)
def test_neither_threads_nor_gradients_change_the_results(mixed_set: str, kind: Kind) -> None:
    inputs, lengths = make(kind, SIZES[2], additive=True)
    before, runs = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            runs.append(computed(kind, inputs, lengths))
    finally:
        torch.set_num_threads(before)
    for name, part in runs[0].items():
        assert distance(runs[1][name], part.double()) <= allowed(60, 6), name
    weights = AttentiveWeights(*(inputs.get(name) for name in NAMES[4:10]))
    state = tuple(inputs[name] for name in NAMES[10 : 10 + CELLS[kind].n_states])
    first = [inputs[name] for name in NAMES[:4]]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        output, _, _ = attentive_unroll(kind, *first[:2], state, *first[2:], lengths, weights)
    assert torch.equal(output, runs[0]["output"])


@needs_sets
def test_second_derivatives_follow_the_definition(mixed_set: str) -> None:
    inputs, lengths = make("gru", SIZES[1], additive=True)
    found = []
    for dtype in (torch.float32, torch.float64):
        given = [inputs[name] for name in NAMES[:11]]
        given = [None if t is None else t.detach().to(dtype).requires_grad_() for t in given]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32):
            if dtype is torch.float32:
                weights = AttentiveWeights(*given[4:10])
                run = attentive_unroll(
                    "gru", *given[:2], (given[10],), *given[2:4], lengths, weights
                )
            else:
                run = attentive._definition("gru", lengths, True)(*given)
        (d_w,) = torch.autograd.grad(run[0].square().sum(), given[5], create_graph=True)
        found.append(torch.autograd.grad(d_w.square().sum(), given[9])[0])
    assert distance(*found) <= 2.0**-6


@needs_sets
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_decoder_runs_the_kernels_under_autocast(
    mixed_set: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_linear, "LEAST_WORK", 0)
    torch.manual_seed(1)
    decoder = AttentionalDecoder(cell, 5, 33, 17, memory_size=13, attention="additive")
    x, encoded = torch.randn(9, 4, 5), torch.randn(9, 6, 13)
    state = tuple(torch.randn(9, 33).tanh() for _ in range(2 if cell == "lstm" else 1))
    lengths = torch.arange(9) % 6 + 1
    called = []

    def spied(*given):
        called.append(given)
        return attentive_unroll(*given)

    monkeypatch.setattr("unrolled.layers.decoder.attentive_unroll", spied)
    found = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            memory = decoder.attention.remember(Padded(encoded, lengths))
            output, _, _ = decoder(x, decoder.start((state,), memory))
        decoder.zero_grad()
        output.square().sum().backward()
        found.append([output.detach(), *(p.grad for p in decoder.parameters())])
    assert len(called) == 2
    for one, right in zip(*found, strict=True):
        assert one.dtype is torch.float32
        assert distance(one, right.double()) < 2.0**-5
    assert bfloat16.rounded(found[0][0]).ne(found[0][0]).any()  # the output is not rounded
