"""Drop-in replacement for `torch.nn`: same options, same results; then the additions."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

from unrolled import nn, ops
from unrolled.errors import ConfigError, UnavailableError

D, H, T, B = 5, 3, 7, 4
PINS = [None, "torch_native", "reference"]  # unpinned, float32 runs natively
CELLS = ["RNN", "LSTM", "GRU"]
LENGTHS = {
    "full": [7, 7, 7, 7],
    "ragged": [3, 7, 1, 5],
    "sparse": [1, 7, 1, 1],
    "shorter": [2, 5, 5, 1],
}


def pinned(name: str | None) -> Any:
    return nullcontext() if name is None else ops.using(name)


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def pair(cell: str, *args: Any, **options: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and torch's, with equal weights because they are drawn in the same way."""
    torch.manual_seed(1)
    ours = getattr(nn, cell)(*args, **options)
    torch.manual_seed(1)
    return ours, getattr(torch.nn, cell)(*args, **options)


def options_grid() -> list[tuple[str, dict[str, Any]]]:
    grid: list[tuple[str, dict[str, Any]]] = []
    for cell in CELLS:
        extra: list[dict[str, Any]] = [{}]
        if cell == "RNN":
            extra = [{}, {"nonlinearity": "relu"}]
        if cell == "LSTM":
            extra = [{}, {"proj_size": 2}]
        for n_layers, bias, batch_first, bidirectional, more in product(
            (1, 2), (True, False), (True, False), (True, False), extra
        ):
            options = {"num_layers": n_layers, "bias": bias, "batch_first": batch_first}
            grid.append((cell, options | {"bidirectional": bidirectional} | more))
    return grid


def name_of(option: Any) -> str:
    if isinstance(option, str):
        return option
    return "-".join(f"{key}={value}" for key, value in option.items())


def inputs(options: dict[str, Any], cell: str, seed: int = 2) -> tuple[Tensor, Any]:
    """A batch and an initial state, float64, both requiring gradients."""
    torch.manual_seed(seed)
    batch_first = options.get("batch_first", False)
    x = torch.randn((B, T, D) if batch_first else (T, B, D), dtype=torch.float64)
    n = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    widths = (options.get("proj_size", 0) or H, H)
    state = tuple(
        torch.randn(n, B, width, dtype=torch.float64).requires_grad_()
        for width in (widths if cell == "LSTM" else widths[:1])
    )
    return x.requires_grad_(), state if cell == "LSTM" else state[0]


def parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def gradients(module: torch.nn.Module, x: Tensor, hx: Any, y: Tensor, end: Any) -> dict[str, Any]:
    """Values and all gradients by name, of a loss that weights each output differently."""
    values = {"y": y} | {f"end {i}": part for i, part in enumerate(parts(end))}
    generator = torch.Generator().manual_seed(3)
    loss = sum(
        (part * torch.randn(part.shape, generator=generator, dtype=torch.float64)).sum()
        for part in values.values()
    )
    leaves = {"x": x} | {f"start {i}": part for i, part in enumerate(parts(hx))}
    leaves |= dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(leaves.values()))  # type: ignore[arg-type]
    return values | {f"grad {name}": g for name, g in zip(leaves, found, strict=True)}


def assert_close(given: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    assert given.keys() == exact.keys()
    for name, part in exact.items():
        assert given[name].shape == part.shape, name
        assert (given[name] - part).abs().max() < 1e-10, name


def torch_packed(
    module: torch.nn.Module, x: Tensor, hx: Any, lengths: list[int], batch_first: bool
) -> tuple[Tensor, Any]:
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    y, end = module(packed, hx)
    return pad_packed_sequence(y, batch_first, total_length=T)[0], end


@pytest.mark.parametrize(("cell", "options"), options_grid(), ids=name_of)
def test_outputs_equal_torchs_for_any_options(cell: str, options: dict[str, Any]) -> None:
    ours, torchs = pair(cell, D, H, dtype=torch.float64, **options)
    assert isinstance(ours, type(torchs))
    assert list(ours.state_dict()) == list(torchs.state_dict())
    x, hx = inputs(options, cell)
    rows = x.unbind(0 if options["batch_first"] else 1)
    unbatched_hx = tuple(part[:, 0] for part in parts(hx))
    packed = pack_sequence([rows[0][:2], rows[1], rows[2][:4], rows[3]], enforce_sorted=False)
    for given in (
        (x,),
        (x, hx),
        (rows[0],),
        (rows[0], unbatched_hx if cell == "LSTM" else unbatched_hx[0]),
        (packed, hx),
    ):
        y, end = ours(*given)
        expected_y, expected_end = torchs(*given)
        if isinstance(y, PackedSequence):
            assert torch.equal(y.data, expected_y.data)
            assert torch.equal(y.batch_sizes, expected_y.batch_sizes)
            assert torch.equal(y.sorted_indices, expected_y.sorted_indices)
        else:
            assert torch.equal(y, expected_y)
        for part, expected in zip(parts(end), parts(expected_end), strict=True):
            assert torch.equal(part, expected)


@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_torchs(cell: str, pin: str | None) -> None:
    options = {"num_layers": 2, "bidirectional": True}
    ours, torchs = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    with pinned(pin):
        given = gradients(ours, x, hx, *ours(x, hx))
    assert_close(given, gradients(torchs, x, hx, *torchs(x, hx)))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_pinned_reference_accepts_what_torch_accepts(cell: str, batch_first: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    ours, torchs = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    rows = x.unbind(0 if batch_first else 1)
    unsorted = pack_sequence([rows[0][:2], rows[1], rows[2][:2], rows[3]], enforce_sorted=False)
    in_order = pack_sequence([rows[1], rows[3][:5], rows[0][:2], rows[2][:2]])
    unbatched_hx = tuple(part[:, 0] for part in parts(hx))
    for given in (
        (rows[0],),
        (rows[0], unbatched_hx if cell == "LSTM" else unbatched_hx[0]),
        (unsorted, hx),
        (unsorted,),
        (in_order, hx),
    ):
        with ops.using("reference"):
            y, end = ours(*given)
        expected_y, expected_end = torchs(*given)
        if isinstance(y, PackedSequence):
            assert torch.equal(y.batch_sizes, expected_y.batch_sizes)
            y, expected_y = y.data, expected_y.data
        for part, expected in zip((y, *parts(end)), (expected_y, *parts(expected_end))):  # noqa: B905
            assert part.shape == expected.shape
            assert (part - expected).abs().max() < 1e-10


@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_between_layers_draws_as_torch_does(cell: str, pin: str | None) -> None:
    options = {"num_layers": 3, "dropout": 0.5}
    ours, torchs = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    torch.manual_seed(4)
    expected, _ = torchs(x, hx)
    torch.manual_seed(4)
    with pinned(pin):
        y, _ = ours(x, hx)
        assert (y - expected).abs().max() < 1e-10
        assert not torch.equal(y, ours(x, hx)[0])
        ours.eval()
        assert torch.equal(ours(x, hx)[0], ours(x, hx)[0])


def test_dropout_with_lengths_is_between_layers_only() -> None:
    x, hx = inputs({"num_layers": 2}, "GRU")
    gru = nn.GRU(D, H, 2, dropout=1.0, dtype=torch.float64)
    y, _ = gru(x, hx, lengths=LENGTHS["ragged"])
    last = nn.GRU(H, H, dtype=torch.float64)
    last.load_state_dict(
        {k.replace("l1", "l0"): v for k, v in gru.state_dict().items() if "l1" in k}
    )
    seen_nothing, _ = last(torch.zeros(T, B, H).double(), hx[1:], lengths=LENGTHS["ragged"])
    torch.testing.assert_close(y, seen_nothing)
    gru.eval()
    assert not torch.allclose(gru(x, hx, lengths=LENGTHS["ragged"])[0], y)


@pytest.mark.parametrize("cell", CELLS)
def test_state_dicts_go_both_ways(cell: str) -> None:
    ours = getattr(nn, cell)(D, H, 2, bidirectional=True)
    torchs = getattr(torch.nn, cell)(D, H, 2, bidirectional=True)
    x = torch.randn(T, B, D)
    torchs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x)[0], torchs(x)[0], atol=1e-6, rtol=1e-5)
    torchs.reset_parameters()
    ours.load_state_dict(torchs.state_dict())
    torch.testing.assert_close(ours(x, lengths=[7] * 4)[0], torchs(x)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_copies_moves_and_swapped_weights_are_seen(cell: str) -> None:
    module = getattr(nn, cell)(D, H, bidirectional=True)
    x, lengths = torch.randn(T, B, D), LENGTHS["ragged"]
    y, _ = module(x, lengths=lengths)
    copied = copy.deepcopy(module)
    assert torch.equal(copied(x, lengths=lengths)[0], y)
    with torch.no_grad():
        copied.weight_hh_l0.zero_()
    assert torch.equal(module(x, lengths=lengths)[0], y)
    changed, _ = copied(x, lengths=lengths)
    assert not torch.allclose(changed, y)
    called = torch.func.functional_call(
        module, dict(copied.named_parameters()), (x,), {"lengths": lengths}
    )
    assert torch.equal(called[0], changed)
    doubled, _ = copy.deepcopy(module).double()(x.double(), lengths=lengths)
    assert doubled.dtype is torch.float64
    torch.testing.assert_close(doubled.float(), y)


@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 5]])
@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_torch_errors_are_unchanged(cell: str, pin: str | None, lengths: list[int] | None) -> None:
    ours, torchs = pair(cell, D, H)
    x = torch.zeros(T, B, D)
    wrong_h = torch.zeros(1, B, H + 1)
    for given in (
        (torch.zeros(T, B, D + 1),),
        (x.double(),),
        (x, (wrong_h, wrong_h) if cell == "LSTM" else wrong_h),
    ):
        with pytest.raises((RuntimeError, ValueError)) as expected:
            torchs(*given)
        with (
            pinned(pin),
            pytest.raises(type(expected.value), match=exactly(str(expected.value))),
        ):
            ours(*given, lengths=lengths)


def test_wrong_options_fail_as_in_torch() -> None:
    for options in ({"hidden_size": 0}, {"dropout": 2.0}, {"num_layers": 0}):
        sizes = {"input_size": D, "hidden_size": H} | options
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            torch.nn.LSTM(**sizes)
        with pytest.raises(ValueError, match=exactly(str(expected.value))):
            nn.LSTM(**sizes)


@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_give_what_packing_gives(
    cell: str, batch_first: bool, lengths: list[int], pin: str | None
) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    ours, torchs = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    with pinned(pin):
        given = gradients(ours, x, hx, *ours(x, hx, lengths=torch.tensor(lengths)))
    y, end = torch_packed(torchs, x, hx, lengths, batch_first)
    assert_close(given, gradients(torchs, x, hx, y, end))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
def test_projections_take_lengths_too(batch_first: bool, lengths: list[int]) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first, "proj_size": 2}
    ours, torchs = pair("LSTM", D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, "LSTM")
    given = gradients(ours, x, hx, *ours(x, hx, lengths=lengths))
    assert_close(
        given, gradients(torchs, x, hx, *torch_packed(torchs, x, hx, lengths, batch_first))
    )


@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=name_of)
@pytest.mark.parametrize("cell", [*CELLS, "LSTM with projection"])
def test_empty_rows_return_their_initial_state(
    cell: str, options: dict[str, Any], pin: str | None
) -> None:
    if "projection" in cell:
        cell, options, pin = "LSTM", options | {"proj_size": 2}, None
    module, _ = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    x = torch.full_like(x, float("nan"))
    with pinned(pin):
        y, end = module(x, hx, lengths=[0, 0, 0, 0])
        assert not y.any()
        assert all(torch.equal(a, b) for a, b in zip(parts(end), parts(hx), strict=True))
        y, end = module(torch.nan_to_num(x), hx, lengths=[7, 0, 2, 0])
        assert not y[:, [1, 3]].any()
        for after, before in zip(parts(end), parts(hx), strict=True):
            assert torch.equal(after[:, [1, 3]], before[:, [1, 3]])
            assert not torch.isclose(after[:, [0, 2]], before[:, [0, 2]]).any()


@pytest.mark.parametrize("pin", PINS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_padding_cannot_be_seen(cell: str, pin: str | None) -> None:
    options = {"num_layers": 2, "bidirectional": True}
    module, _ = pair(cell, D, H, dtype=torch.float64, **options)
    x, hx = inputs(options, cell)
    lengths = torch.tensor(LENGTHS["ragged"])
    padding = torch.arange(T).unsqueeze(1) >= lengths
    dirty = x.detach().clone()
    dirty[padding] = float("nan")
    dirty.requires_grad_()
    with pinned(pin):
        clean = gradients(module, x, hx, *module(x, hx, lengths=lengths))
        spoilt = gradients(module, dirty, hx, *module(dirty, hx, lengths=lengths))
    for name, part in clean.items():
        assert torch.equal(spoilt[name], part), name
    assert not spoilt["grad x"][padding].any()
    assert not spoilt["y"][padding].any()


def test_rows_do_not_depend_on_the_batch() -> None:
    lstm = nn.LSTM(D, H, 2, bidirectional=True, dtype=torch.float64)
    x, _ = inputs({}, "LSTM")
    y, (h, c) = lstm(x, lengths=LENGTHS["ragged"])
    for row, length in enumerate(LENGTHS["ragged"]):
        alone, (h_alone, c_alone) = lstm(x[:length, row])
        torch.testing.assert_close(y[:length, row], alone, atol=1e-12, rtol=0)
        torch.testing.assert_close(h[:, row], h_alone, atol=1e-12, rtol=0)
        torch.testing.assert_close(c[:, row], c_alone, atol=1e-12, rtol=0)


def test_invalid_lengths_are_refused() -> None:
    gru = nn.GRU(D, H)
    x = torch.zeros(T, B, D)
    with pytest.raises(ValueError, match=exactly("each length must be in 0…7, got [8, 1, 1, 1]")):
        gru(x, lengths=[8, 1, 1, 1])
    message = exactly("there must be one length per row, got lengths of shape [2] for 4 rows")
    with pytest.raises(ValueError, match=message):
        gru(x, lengths=[7, 7])
    message = exactly("lengths must be int64 on the CPU, got torch.float32 on cpu")
    with pytest.raises(ValueError, match=message):
        gru(x, lengths=torch.ones(4))
    message = exactly(
        "lengths= needs a batch of rows, an input with 3 dimensions; this input has 2"
    )
    with pytest.raises(ValueError, match=message):
        gru(x[:, 0], lengths=[7])
    message = exactly("a packed sequence contains its lengths; remove lengths=")
    with pytest.raises(ValueError, match=message):
        gru(pack_sequence([x[:, 0]]), lengths=[7])


@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 5]])
def test_only_torch_has_projections(lengths: list[int] | None) -> None:
    lstm = nn.LSTM(D, H, proj_size=2)
    message = exactly(
        "'reference' is pinned and does not support projections: set proj_size=0, or pin 'torch_native' "
        "or none"
    )
    with ops.using("reference"), pytest.raises(UnavailableError, match=message):
        lstm(torch.zeros(T, B, D), lengths=lengths)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 5]])
@pytest.mark.parametrize("cell", CELLS)
def test_mixed_precision_trains(cell: str, lengths: list[int] | None, dtype: torch.dtype) -> None:
    module = getattr(nn, cell)(D, H, 2, bidirectional=True)
    x = torch.randn(T, B, D)
    exact, _ = module(x, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = module(x.to(dtype), lengths=lengths)
    y.float().sum().backward()
    assert (y.float() - exact).abs().max() < 0.05
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in module.parameters())


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_mixed_precision_takes_a_packed_sequence_and_projections(
    proj_size: int, packed: bool
) -> None:
    module = nn.LSTM(D, H, 2, proj_size=proj_size)
    x = torch.randn(T, B, D)
    first = (torch.randn(2, B, proj_size or H), torch.randn(2, B, H))
    exact, _ = module(x, first)
    with torch.autocast("cpu", torch.bfloat16):
        if packed:
            y, _ = module(pack_padded_sequence(x, torch.tensor([T] * B)), first)
            y, _ = pad_packed_sequence(y)
        else:
            y, _ = module(x, first)
    y.float().sum().backward()
    assert (y.float() - exact).abs().max() < 0.05


@pytest.mark.parametrize(("cell", "n_gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_orthogonal_init_is_orthogonal_per_gate(cell: str, n_gates: int) -> None:
    module = getattr(nn, cell)(D, H, 2, bidirectional=True, recurrent_init="orthogonal")
    for name, parameter in module.named_parameters():
        if name.startswith("weight_hh"):
            blocks = parameter.split(H)
            assert len(blocks) == n_gates
            for block in blocks:
                torch.testing.assert_close(block @ block.T, torch.eye(H), atol=1e-6, rtol=0)
        else:
            assert parameter.abs().max() <= H**-0.5


def test_orthogonal_init_with_projection_has_orthogonal_columns() -> None:
    lstm = nn.LSTM(D, H, proj_size=2, recurrent_init="orthogonal")
    for block in lstm.weight_hh_l0.split(H):
        torch.testing.assert_close(block.T @ block, torch.eye(2), atol=1e-6, rtol=0)


def test_identity_init_preserves_the_state() -> None:
    rnn = nn.RNN(D, H, nonlinearity="relu", recurrent_init="identity")
    memory = torch.rand(1, B, H)
    _, h = rnn(torch.zeros(T, B, D), memory)
    assert torch.equal(h, memory)


@pytest.mark.parametrize("start", ["uniform", "orthogonal"])
def test_forget_bias_is_the_total_bias_of_the_gate(start: Any) -> None:
    lstm = nn.LSTM(D, H, 2, bidirectional=True, recurrent_init=start, forget_bias=1.5)
    for names in (("bias_ih_l0", "bias_hh_l0"), ("bias_ih_l1_reverse", "bias_hh_l1_reverse")):
        total = sum(getattr(lstm, name) for name in names)
        assert (total[H : 2 * H] == 1.5).all()
        assert (total[:H].abs() < 2 * H**-0.5).all()


def test_reset_draws_new_weights() -> None:
    lstm = nn.LSTM(D, H, recurrent_init="orthogonal", forget_bias=1.0)
    before = copy.deepcopy(lstm.state_dict())
    lstm.reset_parameters()
    assert not torch.equal(lstm.weight_hh_l0, before["weight_hh_l0"])
    block = lstm.weight_hh_l0[:H]
    torch.testing.assert_close(block @ block.T, torch.eye(H), atol=1e-6, rtol=0)
    assert ((lstm.bias_ih_l0 + lstm.bias_hh_l0)[H : 2 * H] == 1.0).all()


def test_an_unknown_initialisation_is_refused() -> None:
    message = exactly("recurrent_init is 'identity'; choose from 'uniform', 'orthogonal'")
    for cell in (nn.LSTM, nn.GRU):
        with pytest.raises(ConfigError, match=message):
            cell(D, H, recurrent_init="identity")
    message = exactly("forget_bias needs biases: remove it or set bias=True")
    with pytest.raises(ConfigError, match=message):
        nn.LSTM(D, H, bias=False, forget_bias=1.0)


def test_repr_shows_what_differs_from_torch() -> None:
    assert repr(nn.LSTM(5, 3)) == "LSTM(5, 3)"
    assert repr(nn.LSTM(5, 3, recurrent_init="orthogonal", forget_bias=1.0)) == (
        "LSTM(5, 3, recurrent_init=orthogonal, forget_bias=1.0)"
    )
    assert repr(nn.RNN(5, 3, recurrent_init="identity")) == "RNN(5, 3, recurrent_init=identity)"
    assert repr(nn.GRU(5, 3, 2)) == "GRU(5, 3, num_layers=2)"
