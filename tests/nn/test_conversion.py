"""Conversion from `torch.nn` to ours and back, and tools that check for the class of a layer."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled import nn
from unrolled.errors import ConfigError

CELLS = ["RNN", "LSTM", "GRU"]
X = torch.linspace(-1, 1, 7 * 4 * 5).view(7, 4, 5)


class Net(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([layer, layer])
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.layers[0](x)
        return self.head(y)


@pytest.mark.parametrize("cell", CELLS)
def test_a_whole_model_is_converted_in_place_and_back(cell: str) -> None:
    layer = getattr(torch.nn, cell)(5, 3, 2, bidirectional=True)
    net = Net(layer)
    del net.head
    parameters = list(net.parameters())
    seen: list[type] = []
    layer.register_forward_hook(lambda module, *_: seen.append(type(module)))
    expected, _ = layer(X)
    assert nn.from_torch(net) is net
    assert net.layers[0] is net.layers[1] is layer
    y, _ = layer(X, lengths=[7] * 4)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)
    layer.reset_parameters()
    repr(layer)
    assert nn.to_torch(net) is net
    layer(X)
    theirs, ours = getattr(torch.nn, cell), getattr(nn, cell)
    assert seen == [theirs, ours, theirs]
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert vars(layer).keys() == vars(theirs(5, 3)).keys()


@pytest.mark.parametrize("cell", CELLS)
def test_to_torch_returns_a_layer_that_shares_parameters(cell: str) -> None:
    ours = getattr(nn, cell)(5, 3, dropout=0.0, batch_first=True, recurrent_init="orthogonal")
    theirs = ours.to_torch()
    assert type(theirs) is getattr(torch.nn, cell)
    assert type(ours) is getattr(nn, cell)
    assert theirs.weight_hh_l0 is ours.weight_hh_l0
    torch.testing.assert_close(theirs(X)[0], ours(X)[0], atol=1e-6, rtol=1e-5)
    before = ours(X)[0]
    theirs.weight_hh_l0 = torch.nn.Parameter(torch.zeros_like(theirs.weight_hh_l0))
    theirs.register_forward_pre_hook(lambda *_: pytest.fail("a hook of the other layer"))
    assert torch.equal(ours(X)[0], before)


def test_layers_are_converted_and_subclasses_are_not() -> None:
    class Mine(torch.nn.LSTM):
        pass

    assert type(nn.from_torch(torch.nn.GRU(5, 3))) is nn.GRU
    assert type(nn.from_torch(Mine(5, 3))) is Mine

    class Ours(nn.LSTM):
        pass

    message = "Ours is a subclass, and only RNN, LSTM, GRU can be converted; convert the layers"
    with pytest.raises(ConfigError, match=re.escape(message)):
        Ours(5, 3).to_torch()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_converted_model_can_be_quantized(cell: str) -> None:
    net = Net(getattr(nn, cell)(5, 3))
    exact = net(X)
    quantized = torch.ao.quantization.quantize_dynamic(nn.to_torch(net), dtype=torch.qint8)
    assert type(quantized.layers[0]).__module__.startswith("torch.ao.nn.quantized")
    assert (quantized(X) - exact).abs().max() < 0.05


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", CELLS)
def test_script_compiles_torchs_layers_with_our_parameters(cell: str) -> None:
    net = Net(getattr(nn, cell)(5, 3))
    exact = net(X)
    scripted = torch.jit.script(net)
    torch.testing.assert_close(scripted(X), exact, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(nn.from_torch(net)(X), exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_symbolic_trace_keeps_the_layer_whole(cell: str) -> None:
    graphs = []
    for layers in (torch.nn, nn):
        torch.manual_seed(1)
        net = Net(getattr(layers, cell)(5, 3))
        traced = torch.fx.symbolic_trace(net)
        graphs.append([(node.op, node.target) for node in traced.graph.nodes])
        torch.testing.assert_close(traced(X), net(X))
    assert graphs[0] == graphs[1]


def test_a_symbolic_trace_takes_states_and_lengths() -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 3)

        def forward(self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor) -> Any:
            return self.lstm(x, (h, c), lengths=lengths)[0]

    reader, h, c = Reader(), torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    traced = torch.fx.symbolic_trace(reader)
    for lengths in (torch.tensor([7, 5, 1, 0]), torch.tensor([1, 2, 3, 4])):
        given = (X, h, c, lengths)
        torch.testing.assert_close(traced(*given), reader(*given))


def test_a_trace_of_a_layer_alone_fails_as_torchs() -> None:
    errors = []
    for layers in (torch.nn, nn):
        with pytest.raises(torch.fx.proxy.TraceError) as error, warnings.catch_warnings():
            torch.fx.symbolic_trace(layers.GRU(5, 3))
        errors.append(str(error.value))
    assert errors[0] == errors[1]
