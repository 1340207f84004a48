"""Tensors without their own memory, and modes that record operations, use torch's operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from unrolled import nn, ops
from unrolled.errors import UnavailableError
from unrolled.ops.access import why_no_memory, why_not_now
from unrolled.ops.stepping import PackedStep, Stream

CELLS = ["RNN", "LSTM", "GRU"]
LENGTHS = [9, 5, 3, 1]
every_cell = pytest.mark.parametrize("cell", CELLS)
every_lengths = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])


def make(layers: Any, cell: str, **options: Any) -> torch.nn.Module:
    torch.manual_seed(1)
    return getattr(layers, cell)(5, 6, **options)


def batch() -> Tensor:
    return torch.linspace(-1, 1, 9 * 4 * 5).view(9, 4, 5)


def close(given: Tensor, exact: Tensor) -> None:
    torch.testing.assert_close(given, exact, atol=1e-5, rtol=1e-5)


@every_lengths
@every_cell
def test_fake_tensors_get_a_shape(cell: str, lengths: list[int] | None) -> None:
    with FakeTensorMode():
        module = make(nn, cell, num_layers=2, bidirectional=True, batch_first=True)
        x = torch.zeros(4, 9, 5, requires_grad=True)
        y, _ = module(x, lengths=lengths)
        assert isinstance(y, FakeTensor)
        assert y.shape == (4, 9, 12)
        y.sum().backward()
        assert x.grad.shape == x.shape
    with FakeTensorMode(allow_non_fake_inputs=True):
        y, _ = make(nn, cell)(torch.zeros(9, 4, 5))
        assert isinstance(y, FakeTensor)


@every_lengths
@pytest.mark.parametrize("with_gradients", [False, True])
@every_cell
def test_make_fx_records_all_operations(
    cell: str, with_gradients: bool, lengths: list[int] | None
) -> None:
    module = make(nn, cell)

    def run(x: Tensor) -> Tensor:
        if not with_gradients:
            with torch.no_grad():
                return module(x, lengths=lengths)[0]
        x = x.detach().requires_grad_()
        return torch.autograd.grad(module(x, lengths=lengths)[0].square().sum(), x)[0]

    graph = make_fx(run)(batch())
    other = batch() * 2 + 1
    close(graph(other), run(other))


@pytest.mark.filterwarnings("ignore:.*flop count will not be calculated")
@every_cell
def test_flop_counts_equal_torchs(cell: str) -> None:
    counts = []
    for layers in (nn, torch.nn):
        module = make(layers, cell)
        with FlopCounterMode(display=False) as counter:
            y, _ = module(batch())
            y.sum().backward()
        counts.append(counter.get_total_flops())
        y, _ = module(batch())
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        counts.append(counter.get_total_flops() > 0)
    assert counts[0] == counts[2]
    assert counts[1] >= counts[3]


class Watching(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.n_seen = 0

    def __torch_dispatch__(
        self, operation: Any, _: Any, args: Any = (), options: Any = None
    ) -> Any:
        self.n_seen += 1
        return operation(*args, **(options or {}))


class WatchingFunctions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, call: Any, _: Any, args: Any = (), options: Any = None) -> Any:
        self.names.append(getattr(call, "__name__", ""))
        return call(*args, **(options or {}))


@every_lengths
@every_cell
def test_modes_see_the_operations_of_torch(cell: str, lengths: list[int] | None) -> None:
    module = make(nn, cell)
    exact, _ = module(batch(), lengths=lengths)
    with Watching() as dispatched:
        y, _ = module(batch(), lengths=lengths)
    assert dispatched.n_seen > 3
    close(y, exact)
    with Watching() as backwards:
        exact.sum().backward()
    assert backwards.n_seen > 9
    with WatchingFunctions() as functions:
        y, _ = module(batch(), lengths=lengths)
    assert len({"lstm", "gru", "rnn_tanh", "sigmoid", "tanh"} & set(functions.names)) > 0
    close(y, exact)


class Named(Tensor):
    pass


class Wrapped(Tensor):
    """A tensor with its values in another one, like distributed and quantized tensors."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        return Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride())

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _: Any, args: Any = (), options: Any = None) -> Any:
        def unwrap(given: Any) -> Any:
            return given.inner if isinstance(given, cls) else given

        def wrap(made: Any) -> Any:
            return cls(made) if isinstance(made, Tensor) else made

        map_all = torch.utils._pytree.tree_map
        return map_all(wrap, operation(*map_all(unwrap, args), **map_all(unwrap, options or {})))


@every_cell
def test_subclasses_keep_their_class_and_values(cell: str) -> None:
    module = make(nn, cell).requires_grad_(False)
    exact, _ = module(batch())
    named, _ = module(batch().as_subclass(Named))
    assert type(named) is Named
    close(named.as_subclass(Tensor), exact)
    if cell != "RNN":  # for which torch returns a plain tensor
        wrapped, _ = module(Wrapped(batch()))
        assert type(wrapped) is Wrapped
        close(wrapped.inner, exact)


def views() -> dict[str, Tensor]:
    complex_numbers = torch.complex(batch(), -batch() / 2)
    memory = torch.linspace(-1, 1, 100)
    return {
        "negated": torch._neg_view(batch()),
        "imaginary part of a conjugate": complex_numbers.conj().imag,
        "real part": complex_numbers.real,
        "expanded": torch.ones(1, 1, 1).expand(9, 4, 5),
        "overlapping": memory.as_strided((9, 4, 5), (3, 2, 1)),
        "copied when written": torch._lazy_clone(batch()),
    }


@every_lengths
@pytest.mark.parametrize("view", views())
@every_cell
def test_views_of_any_kind_are_read_correctly(
    cell: str, view: str, lengths: list[int] | None
) -> None:
    module, x = make(nn, cell), views()[view]
    plain = torch.tensor(x.tolist())
    close(module(x, lengths=lengths)[0], module(plain, lengths=lengths)[0])


@pytest.mark.parametrize("part", ["state", "weight_hh_l0", "bias_ih_l0", "gradient"])
@every_cell
def test_states_weights_and_gradients_may_be_negated_views(cell: str, part: str) -> None:
    results = []
    for negate in (torch._neg_view, torch.neg):
        module, x = make(nn, cell), batch().requires_grad_()
        weights = dict(module.named_parameters())
        h, given = torch.ones(1, 4, 6), torch.linspace(-1, 1, 9 * 4 * 6).view(9, 4, 6)
        if part == "state":
            h = negate(h)
        elif part == "gradient":
            given = negate(given)
        else:
            weights[part] = negate(weights[part].detach())
        args = (x, (h, h) if cell == "LSTM" else h)
        y, _ = torch.func.functional_call(module, weights, args)
        results.append([y, *torch.autograd.grad(y, [x, module.weight_ih_l0], given)])
    for a, b in zip(*results, strict=True):
        close(a, b)


@every_cell
def test_a_gradient_of_zeros_without_memory_is_zeros(cell: str) -> None:
    module, x = make(nn, cell), batch().requires_grad_()
    y, _ = module(x)
    for g in torch.autograd.grad(y, [x, *module.parameters()], torch._efficientzerotensor(y.shape)):
        assert not g.any()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("layout", ["sparse", "freed", "quantized", "meta"])
@every_cell
def test_what_torch_refuses_is_refused_alike(cell: str, layout: str) -> None:
    def given() -> Tensor:
        x = batch().clone()
        if layout == "sparse":
            return x.to_sparse()
        if layout == "meta":
            return x.to("meta")
        if layout == "quantized":
            return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
        x.untyped_storage().resize_(0)
        return x

    outcomes = []
    for layers in (nn, torch.nn):
        try:
            outcomes.append(str(make(layers, cell)(given())[0].device))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@every_cell
def test_transforms_batch_rows_and_lengths(cell: str) -> None:
    module = make(nn, cell, num_layers=2, bidirectional=True)
    x = torch.stack([batch(), batch() * 2])
    lengths = torch.tensor([LENGTHS, [2, 9, 4, 0]])
    y = torch.func.vmap(lambda x, n: module(x, lengths=n)[0])(x, lengths)
    for i, (rows, its) in enumerate(zip(x, lengths, strict=True)):
        close(y[i], module(rows, lengths=its)[0])


@pytest.mark.filterwarnings("ignore")
@every_cell
def test_graphs_and_exports_take_other_lengths(cell: str) -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = make(nn, cell).requires_grad_(False)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.layer(x, lengths=lengths)[0]

    reader, first = Reader(), torch.tensor(LENGTHS)
    other = (batch() * 2, torch.tensor([2, 9, 4, 0]))
    for again in (
        make_fx(reader)(batch(), first),
        torch.export.export(reader, (batch(), first), strict=False).module(),
    ):
        close(again(*other), reader(*other))


def test_only_torch_traces_projections_with_lengths() -> None:
    lstm = nn.LSTM(5, 6, proj_size=2)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        pytest.raises(UnavailableError, match="record"),
    ):
        lstm(torch.zeros(9, 4, 5), lengths=LENGTHS)


def test_a_pinned_kernel_reports_why_it_cannot_run() -> None:
    gru = nn.GRU(5, 6)
    with (
        ops.using("native"),
        pytest.raises(UnavailableError, match=r"negated|installed without|is 'none'"),
    ):
        gru(torch._neg_view(batch()))


@pytest.mark.skipif(ops.native.kernels is None, reason="without kernels nothing is packed")
def test_packed_steps_refuse_what_they_cannot_read() -> None:
    weights = ops.Weights(*nn.GRU(5, 6).parameters())
    x, h = torch.zeros(1, 5), torch.zeros(1, 6)
    for given, reason in (
        (torch._neg_view(x), "negated view"),
        (x.as_subclass(Named), "this is a Named"),
        (torch._efficientzerotensor((1, 5)), "has none"),
    ):
        with pytest.raises(UnavailableError, match=reason):
            PackedStep("gru", weights)(given, (h,))
        with pytest.raises(UnavailableError, match=reason):
            Stream("gru", weights).step(given)
    stream = Stream("gru", weights)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(UnavailableError, match="forward"):
        stream.step(x)


def test_ordinary_tensors_are_accepted() -> None:
    for tensor in (batch(), batch()[::2, 1:].transpose(0, 1), torch.nn.Parameter(batch()),
                   batch()[:0], torch.tensor(LENGTHS)):  # fmt: skip
        assert why_no_memory(tensor) is None
    assert why_not_now() is None
    with torch.device("cpu"), torch.no_grad(), torch.autograd.graph.save_on_cpu():
        assert why_not_now() is None
