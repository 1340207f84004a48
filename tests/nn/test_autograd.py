"""Derivatives as in `torch.nn`: second, forward-mode, after in-place changes, and batched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwd
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from unrolled import nn, ops

CELLS = ["RNN", "LSTM", "GRU"]
# Torch uses deprecated functions of its own to compile some forward derivatives.
torchs_own = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
Results = list[Tensor]


def skip_torchs_lstm(cell: str) -> None:
    """Without the kernels, an LSTM runs on torch and has the same limits."""
    if cell == "LSTM" and ops.native.kernels is None:
        pytest.skip("torch's own LSTM on the CPU does not do this")


every_cell = pytest.mark.parametrize("cell", CELLS)


def make(layers: Any, cell: str, *args: Any, **options: Any) -> torch.nn.Module:
    torch.manual_seed(1)
    return getattr(layers, cell)(5, 6, *args, **options)


def batch(n_steps: int = 9, n_rows: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n_steps, n_rows, 5, generator=generator).requires_grad_()


def assert_as_torch(cell: str, work: Callable[..., Any], *args: Any, **options: Any) -> None:
    ours, torchs = (
        [part for part in work(make(layers, cell, *args, **options)) if part is not None]
        for layers in (nn, torch.nn)
    )
    assert len(ours) == len(torchs) > 0
    for given, exact in zip(ours, torchs, strict=True):
        scale = max(1.0, float(exact.abs().max()))
        torch.testing.assert_close(given, exact, atol=1e-4 * scale, rtol=1e-3)


def penalty(module: torch.nn.Module, inputs_only: bool) -> Results:
    """The gradient penalty of Gulrajani et al. 2017."""
    x = batch()
    y, _ = module(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    loss = y.mean() + 10 * (g.flatten(1).norm(dim=1) - 1).square().mean()
    parameters = list(module.parameters())
    if not inputs_only:
        return list(torch.autograd.grad(loss, parameters))
    loss.backward(inputs=parameters)
    return [parameter.grad for parameter in parameters]


@pytest.mark.parametrize("inputs_only", [False, True])
@every_cell
def test_gradient_penalties_equal_torchs(cell: str, inputs_only: bool) -> None:
    assert_as_torch(
        cell, lambda module: penalty(module, inputs_only), num_layers=2, bidirectional=True
    )


def hessian(module: torch.nn.Module) -> Results:
    x = batch(4, 2).detach()
    return [torch.autograd.functional.hessian(lambda x: module(x)[0].square().sum(), x)]


def products(module: torch.nn.Module) -> Results:
    x = batch().detach()
    functional = torch.autograd.functional
    return [
        *functional.hvp(lambda x: module(x)[0].square().sum(), x, torch.ones_like(x)),
        *functional.vhp(lambda x: module(x)[0].square().sum(), x, torch.ones_like(x)),
        *functional.jvp(lambda x: module(x)[0], x, torch.ones_like(x)),
        functional.jacobian(lambda x: module(x)[0], x[:4], vectorize=True),
    ]


def inner_step(module: torch.nn.Module) -> Results:
    """Finn et al. 2017: the gradient through a step of gradient descent."""
    x, names = batch(), dict(module.named_parameters())
    inner = module(x)[0].square().sum()
    found = torch.autograd.grad(inner, list(names.values()), create_graph=True)
    moved = {name: w - 0.1 * g for (name, w), g in zip(names.items(), found, strict=True)}
    outer = torch.func.functional_call(module, moved, (x * 2,))[0].square().sum()
    return list(torch.autograd.grad(outer, list(names.values())))


def third(module: torch.nn.Module) -> Results:
    x = batch()
    (g,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    (g,) = torch.autograd.grad(g.square().sum(), x, create_graph=True)
    return list(torch.autograd.grad(g.square().sum(), [x, *module.parameters()], allow_unused=True))


def of_packed(module: torch.nn.Module) -> Results:
    x = batch()
    y, _ = module(pack_padded_sequence(x, torch.tensor([9, 5, 3, 1])))
    (g,) = torch.autograd.grad(y.data.sum(), x, create_graph=True)
    return list(torch.autograd.grad(g.square().sum(), [x, *module.parameters()], allow_unused=True))


def of_the_gradients_given(module: torch.nn.Module) -> Results:
    x = batch()
    y, _ = module(x)
    given = torch.ones_like(y, requires_grad=True)
    (g,) = torch.autograd.grad(y, x, given, create_graph=True)
    return list(torch.autograd.grad(g.square().sum(), [given]))


def of_one_tensor_used_twice(module: torch.nn.Module) -> Results:
    x, bias = batch(), module.bias_ih_l0
    y, _ = module(x + bias[:5])
    (g,) = torch.autograd.grad(y.square().sum(), bias, create_graph=True)
    second = torch.autograd.grad(g.square().sum(), [x, *module.parameters()])
    return [g.detach(), *second]


@pytest.mark.parametrize(
    "work",
    [
        hessian,
        products,
        inner_step,
        third,
        of_packed,
        of_the_gradients_given,
        of_one_tensor_used_twice,
    ],
)
@every_cell
def test_higher_derivatives_are_torchs(cell: str, work: Callable[..., Results]) -> None:
    assert_as_torch(cell, work)


@every_cell
def test_second_derivatives_with_lengths_are_the_references(cell: str) -> None:
    module, x = make(nn, cell, 2, bidirectional=True), batch()
    found = []
    for name in ("native", "reference") if ops.native.kernels else ("reference",) * 2:
        with ops.using(name):
            y, _ = module(x, lengths=[9, 5, 3, 0])
        (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), [x, *module.parameters()]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-3)


@every_cell
def test_numeric_second_derivatives_agree(cell: str) -> None:
    module = make(nn, cell).requires_grad_(False)
    x = batch(4, 2).detach()

    def slope(x: Tensor) -> Tensor:
        x = x.requires_grad_()
        return torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)[0]

    direction, step = torch.ones_like(x), 1e-2
    (product,) = torch.autograd.grad(slope(x), x, direction)
    moved = slope(x.detach() + step * direction) - slope(x.detach() - step * direction)
    torch.testing.assert_close(product, moved / (2 * step), atol=5e-3, rtol=0)


def a_row(y: Tensor) -> None:
    y[2] = 0


def doubled(y: Tensor) -> None:
    y.mul_(2)


def rectified(y: Tensor) -> None:
    torch.relu_(y)


@pytest.mark.parametrize("change", [a_row, doubled, rectified])
@pytest.mark.parametrize("batch_first", [False, True])
@every_cell
def test_outputs_may_be_changed_in_place(
    cell: str, batch_first: bool, change: Callable[[Tensor], None]
) -> None:
    found = []
    for in_place in (True, False):
        module = make(nn, cell, bidirectional=True, batch_first=batch_first)
        x = batch(4, 9) if batch_first else batch()
        y, _ = module(x)
        y = y if in_place else y.clone()
        change(y)
        wanted = [x, *module.parameters()]
        found += [torch.autograd.grad(y.square().sum(), wanted, retain_graph=True)]
        found += [torch.autograd.grad(y.sum(), wanted)]
    for in_place, apart in zip(found[:2], found[2:], strict=True):
        for a, b in zip(in_place, apart, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@every_cell
def test_final_states_and_biases_may_be_changed_in_place(cell: str) -> None:
    skip_torchs_lstm(cell)
    found = []
    for spoil in (True, False):
        module, x = make(nn, cell), batch()
        y, end = module(x)
        parts = end if isinstance(end, tuple) else (end,)
        loss = y.square().sum() + sum(part.sum() for part in parts)
        if spoil:
            with torch.no_grad():
                module.bias_hh_l0.zero_()
            for part in parts:
                part.detach().zero_()
        found.append(torch.autograd.grad(loss, [x, *module.parameters()]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.skipif(ops.native.kernels is None, reason="only the kernels keep biases")
def test_a_changed_bias_is_detected_where_needed() -> None:
    gru, x = nn.GRU(5, 6), batch()
    y, _ = gru(x)
    with torch.no_grad():
        gru.bias_hh_l0.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(y.square().sum(), x, create_graph=True)


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l0"])
def test_a_weight_changed_before_the_backward_pass_is_refused(name: str) -> None:
    gru = nn.GRU(5, 6)
    y, _ = gru(batch())
    with torch.no_grad():
        getattr(gru, name).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@every_cell
def test_saved_tensor_hooks_and_checkpoints_keep_gradients(cell: str) -> None:
    skip_torchs_lstm(cell)
    module, x = make(nn, cell), batch()
    wanted = [x, *module.parameters()]
    exact = torch.autograd.grad(module(x)[0].mul(2).square().sum(), wanted)
    with torch.autograd.graph.save_on_cpu():
        y, _ = module(x)
    y.mul_(2)
    saved = torch.autograd.grad(y.square().sum(), wanted)
    y = checkpoint(lambda x: module(x)[0], x, use_reentrant=False)
    computed_again = torch.autograd.grad(y.mul(2).square().sum(), wanted)
    for given in (saved, computed_again):
        for a, b in zip(given, exact, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_output_is_freed_with_its_graph() -> None:
    import gc
    import weakref

    gru, x = nn.GRU(5, 6), batch()
    y, _ = gru(x)
    last = weakref.ref(y)
    y.sum().backward()
    gc.disable()
    try:
        del y
        assert last() is None
    finally:
        gc.enable()


@torchs_own
@pytest.mark.parametrize("frozen", ["weights", "no_grad", "nothing"])
@every_cell
def test_forward_derivatives_are_the_difference_quotients(cell: str, frozen: str) -> None:
    module, x = make(nn, cell, 2), batch().detach()
    if frozen == "weights":
        module.requires_grad_(False)
    direction = torch.ones_like(x)
    for lengths in (None, [9, 5, 3, 1]):
        with fwd.dual_level(), torch.set_grad_enabled(frozen != "no_grad"):
            y, _ = module(fwd.make_dual(x, direction), lengths=lengths)
            tangent = fwd.unpack_dual(y).tangent
            assert tangent is not None
            tangent = tangent.detach().clone()
        exact = make(nn, cell, 2).double()
        with torch.no_grad():
            step = 1e-5
            after, before = (
                exact((x + sign * step * direction).double(), lengths=lengths)[0]
                for sign in (1, -1)
            )
        torch.testing.assert_close(
            tangent.double(), (after - before) / (2 * step), atol=5e-2, rtol=0
        )


@torchs_own
@every_cell
def test_a_forward_derivative_of_the_backward_pass_survives(cell: str) -> None:
    skip_torchs_lstm(cell)
    module, x = make(nn, cell), batch()
    y, _ = module(x)
    given = torch.ones_like(y)
    with fwd.dual_level():
        (g,) = torch.autograd.grad(y, x, fwd.make_dual(given, 2 * given))
        value, tangent = fwd.unpack_dual(g)
        torch.testing.assert_close(tangent, 2 * value)


@every_cell
def test_batched_gradients_equal_single_ones(cell: str) -> None:
    module, x = make(nn, cell), batch()
    y, _ = module(x)
    given = torch.randn(3, *y.shape)
    wanted = [x, *module.parameters()]
    together = torch.autograd.grad(y, wanted, given, retain_graph=True, is_grads_batched=True)
    for i, one in enumerate(given):
        alone = torch.autograd.grad(y, wanted, one, retain_graph=True)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i], b, atol=1e-5, rtol=1e-4)
