"""Second derivatives of everything with a custom backward pass equal those of its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwd
from torch import Tensor

from unrolled.errors import UnavailableError
from unrolled.layers.crf import LinearChainCRF, allowed_transitions
from unrolled.ops import attentive, native
from unrolled.ops.cross_entropy import softmax_cross_entropy
from unrolled.ops.gates import lstm_gates
from unrolled.ops.linear import StepLinear, linear
from unrolled.ops.word_by_word import word_by_word

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape).mul_(0.5).requires_grad_()


def of_linear() -> tuple[Callable[..., Any], list[Tensor]]:
    return lambda x, w, b: [linear(x, w, b)], [drawn(3, 5), drawn(2, 5), drawn(2)]


def of_steps() -> tuple[Callable[..., Any], list[Tensor]]:
    def run(x: Tensor, w: Tensor) -> list[Tensor]:
        step = StepLinear(w)
        for _ in range(3):
            x = torch.tanh(step(x))
        return [x]

    return run, [drawn(3, 5), drawn(5, 5)]


def of_gates() -> tuple[Callable[..., Any], list[Tensor]]:
    return lstm_gates, [drawn(3, 20), drawn(3, 5)]


def of_cross_entropy(n_words: int) -> tuple[Callable[..., Any], list[Tensor]]:
    targets = torch.tensor([1, 0, 4])
    return (
        lambda h, w, b: [softmax_cross_entropy(h, w, b, targets, 0.1)],
        [drawn(3, 5), drawn(n_words, 5), drawn(n_words)],
    )


def of_word_by_word() -> tuple[Callable[..., Any], list[Tensor]]:
    mask = torch.arange(3) < torch.tensor([[3], [1], [0]])
    lengths = torch.tensor([4, 0, 2])
    shapes = ((4, 3, 5), (3, 3, 5), (3, 3, 7), (5, 7), (7, 7), (5,))

    def run(known: Tensor, keys: Tensor, values: Tensor, *weights: Tensor) -> Any:
        return word_by_word(known, keys, values, mask, lengths, *weights)

    return run, [drawn(*shape) for shape in shapes]


def of_crf(scheme: str | None) -> tuple[Callable[..., Any], list[Tensor]]:
    allowed = None if scheme is None else allowed_transitions(["O", "B-X", "I-X"], scheme)
    crf = LinearChainCRF(3, allowed)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    tags, lengths = (
        torch.tensor([[0, 1, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0]]),
        torch.tensor([4, 2, 0]),
    )
    leaves = [crf.start_weight, crf.transition_weight, crf.end_weight]
    return lambda e, *_: [crf.log_prob(e, tags, lengths)], [drawn(3, 4, 3), *leaves]


def of_attention(kind: str, additive: bool) -> tuple[Callable[..., Any], list[Tensor]]:
    T, B, S, H, M, A, n_outputs = 4, 3, 5, 6, 7, 8, 9
    n_rows = {"rnn_tanh": 1, "gru": 3, "lstm": 4}[kind] * H
    lengths = torch.tensor([[5, 0], [2, 0], [0, 0]])[:, 0]
    leaves = [
        drawn(T, B, n_rows), drawn(B, n_outputs), drawn(B, S, A if additive else H), drawn(B, S, M),
        drawn(n_rows, n_outputs), drawn(n_rows, H), drawn(n_outputs, H + M), drawn(B, H),
    ]  # fmt: skip
    extra = {
        "b_hh": drawn(n_rows) if kind == "gru" else None,
        "w_query": drawn(A, H) if additive else None,
        "energy": drawn(A) if additive else None,
        "c": drawn(B, H) if kind == "lstm" else None,
    }
    names = [name for name, tensor in extra.items() if tensor is not None]

    def run(known: Tensor, feed: Tensor, keys: Tensor, values: Tensor, w_feed: Tensor,
            w_hh: Tensor, w_combine: Tensor, h: Tensor, *more: Tensor) -> Any:  # fmt: skip
        its = dict.fromkeys(extra) | dict(zip(names, more, strict=True))
        state = (h,) if its["c"] is None else (h, its["c"])
        weights = attentive.AttentiveWeights(
            w_feed, w_hh, its["b_hh"], its["w_query"], its["energy"], w_combine
        )
        output, attention, end = attentive.attentive_unroll(
            kind, known, feed, state, keys, values, lengths, weights
        )
        return [output, attention, *end]

    return run, [*leaves, *(extra[name] for name in names)]


CASES: dict[str, Callable[[], tuple[Callable[..., Any], list[Tensor]]]] = {
    "linear": of_linear,
    "steps of a loop": of_steps,
    "gates": of_gates,
    "cross-entropy in blocks": lambda: of_cross_entropy(7),
    "cross-entropy by kernels": lambda: of_cross_entropy(600),
    "word by word": of_word_by_word,
    "crf": lambda: of_crf(None),
    "crf with forbidden steps": lambda: of_crf("bio"),
    "attention, rnn": lambda: of_attention("rnn_tanh", additive=False),
    "attention, gru": lambda: of_attention("gru", additive=True),
    "attention, lstm": lambda: of_attention("lstm", additive=True),
}
in_turn = pytest.mark.parametrize("name", CASES)


def made(name: str) -> tuple[Callable[..., Any], list[Tensor]]:
    if name.startswith("attention") and native.kernels is None:
        pytest.skip("only the kernels run it")
    torch.manual_seed(1)
    return CASES[name]()


def first(run: Callable[..., Any], leaves: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    outputs = run(*leaves)
    loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in outputs)
    return list(torch.autograd.grad(loss, leaves, create_graph=True))


@in_turn
def test_a_gradient_that_is_recorded_is_the_same(name: str) -> None:
    run, leaves = made(name)
    generator = torch.Generator().manual_seed(2)
    loss = sum((p * torch.randn(p.shape, generator=generator)).sum() for p in run(*leaves))
    for a, b in zip(torch.autograd.grad(loss, leaves), first(run, leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@in_turn
def test_second_derivatives_are_difference_quotients(name: str) -> None:
    run, leaves = made(name)
    directions = [torch.randn_like(leaf) / leaf.numel() ** 0.5 for leaf in leaves]
    total = sum((g * d).sum() for g, d in zip(first(run, leaves), directions, strict=True))
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    step, gradients = 1e-2, []
    for sign in (1, -1):
        with torch.no_grad():
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf += sign * step * direction
        gradients.append(first(run, leaves))
        with torch.no_grad():
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf -= sign * step * direction
    for given, after, before in zip(found, *gradients, strict=True):
        quotient = (after - before).detach() / (2 * step)
        given = torch.zeros_like(quotient) if given is None else given
        torch.testing.assert_close(given, quotient, atol=5e-3, rtol=2e-2)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("attention")])
def test_forward_derivatives_are_difference_quotients(name: str) -> None:
    run, leaves = made(name)
    x, rest = leaves[0].detach(), [leaf.detach() for leaf in leaves[1:]]
    direction = torch.randn_like(x) / x.numel() ** 0.5
    with torch.no_grad():
        with fwd.dual_level():
            outputs = run(fwd.make_dual(x, direction), *rest)
            tangents = [fwd.unpack_dual(part).tangent for part in outputs]
            assert None not in tangents
            tangents = [part.clone() for part in tangents]
        after, before = (run(x + sign * 1e-2 * direction, *rest) for sign in (1, -1))
    for given, high, low in zip(tangents, after, before, strict=True):
        torch.testing.assert_close(given, (high - low) / 2e-2, atol=2e-3, rtol=1e-2)


@pytest.mark.skipif(native.kernels is None, reason="only the kernels read memory")
def test_attention_refuses_invalid_shapes_and_lengths() -> None:
    run, leaves = made("attention, gru")
    for i in range(len(leaves)):
        wrong = [leaf[..., :-1] if j == i else leaf for j, leaf in enumerate(leaves)]
        with pytest.raises(Exception, match=r"must be|Type-check error"):
            run(*wrong)
    attention = [leaf.detach() for leaf in leaves]
    attention[2] = attention[2].double()
    with pytest.raises(UnavailableError, match=r"read torch.float32, but this is torch.float64"):
        run(*attention)
