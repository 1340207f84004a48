"""Lengths with any memory layout: kernels read addresses, and must read the values that torch sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled import nn, ops
from unrolled.ops.stepping import Stream

CELLS = ["RNN", "LSTM", "GRU"]
LENGTHS = [9, 5, 3, 1]


class Subclass(Tensor):
    pass


def apart() -> Tensor:
    memory = torch.full((7,), 10**6)
    memory[::2] = torch.tensor(LENGTHS)
    return memory[::2]


FORMS = {
    "a column": lambda: torch.tensor([[n, 7] for n in LENGTHS])[:, 0],
    "every second of a row": apart,
    "negated": lambda: torch._neg_view(-torch.tensor(LENGTHS)),
    "a subclass": lambda: torch.tensor(LENGTHS).as_subclass(Subclass),
    "made for inference": lambda: made_for_inference(),
    "of NumPy": lambda: np.array([[n, 7] for n in LENGTHS])[:, 0],
    "a tuple": lambda: tuple(LENGTHS),
}


def made_for_inference() -> Tensor:
    with torch.inference_mode():
        return torch.tensor(LENGTHS)


def run(cell: str, lengths: object, **options: object) -> Tensor:
    torch.manual_seed(1)
    module = getattr(nn, cell)(5, 6, 2, bidirectional=True, **options)
    x = torch.randn((4, 9, 5) if options else (9, 4, 5), requires_grad=True)
    y, _ = module(x, lengths=lengths)
    return torch.cat([y.flatten(), torch.autograd.grad(y.square().sum(), x)[0].flatten()])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_may_have_any_memory_layout(cell: str, form: str) -> None:
    torch.testing.assert_close(run(cell, FORMS[form]()), run(cell, LENGTHS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_one_length_expanded_to_all_rows(cell: str) -> None:
    given = run(cell, torch.tensor(5).expand(4), batch_first=True)
    assert torch.equal(given, run(cell, [5, 5, 5, 5], batch_first=True))


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_may_be_reused_before_the_backward_pass(cell: str) -> None:
    torch.manual_seed(1)
    module, x = getattr(nn, cell)(5, 6), torch.randn(9, 4, 5, requires_grad=True)
    kept = torch.tensor(LENGTHS)
    found = []
    for spoil in (False, True):
        lengths = kept.clone()
        y, _ = module(x, lengths=lengths)
        if spoil:
            lengths.fill_(9)
            y = y * 1
            y.data[0] += 0
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=spoil)
        found.append(first)
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def test_lists_of_lengths_ignore_the_default_device() -> None:
    gru, x = nn.GRU(5, 6), torch.randn(9, 4, 5)
    exact, _ = gru(x, lengths=LENGTHS)
    with torch.device("meta"):
        y, _ = gru(x, lengths=LENGTHS)
        with ops.using("reference"):
            slow, _ = gru(x, lengths=LENGTHS)
        with ops.using("torch_native"):
            packed, _ = gru(x, lengths=LENGTHS)
    for given in (y, slow, packed):
        torch.testing.assert_close(given, exact, atol=1e-6, rtol=1e-5)


def test_a_stream_has_the_type_of_its_weights() -> None:
    gru, x = nn.GRU(5, 6), torch.randn(3, 1, 5)
    weights = ops.Weights(*gru.parameters())
    torch.set_default_dtype(torch.float64)
    try:
        stream = Stream("gru", weights)
    finally:
        torch.set_default_dtype(torch.float32)
    steps = torch.stack([stream.step(x_t).clone() for x_t in x])
    torch.testing.assert_close(steps, gru(x)[0], atol=1e-6, rtol=1e-5)
