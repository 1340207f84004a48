"""Batches of awkward sizes, and the results of running them, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from unrolled import ops
from unrolled.ops.cells import CELLS

# These cover every branch of the fused path: full, ragged with half of it real, mostly padding,
# no row of full length, no rows; one step; one row.
LENGTHS: dict[str, list[int] | None] = {
    "no lengths": None,
    "all full": [7, 7, 7, 7, 7],
    "ragged": [7, 3, 5, 0, 1],
    "mostly padding": [1, 0, 7, 0, 1],
    "all shorter": [3, 0, 2, 1, 2],
    "all equally short": [4, 4, 4, 4, 4],
    "all empty": [0, 0, 0, 0, 0],
    "one row": [5],
    "one empty row": [0],
}
TORCH_KINDS: tuple[ops.Kind, ...] = ("rnn_tanh", "rnn_relu", "lstm", "gru")


@dataclass(frozen=True)
class Case:
    kind: ops.Kind
    x: Tensor
    lengths: Tensor | None
    state: tuple[Tensor, ...]
    weights: ops.Weights
    reverse: bool

    def to(self, dtype: torch.dtype) -> Case:
        return replace(
            self,
            x=_leaf(self.x.to(dtype)),
            state=tuple(_leaf(part.to(dtype)) for part in self.state),
            weights=ops.Weights(*(_leaf(w.to(dtype)) for w in self.weights.tensors)),
        )

    def with_padding(self, value: float) -> Case:
        assert self.lengths is not None
        steps = torch.arange(self.x.shape[0]).unsqueeze(1)
        real = (steps < self.lengths).unsqueeze(2)
        return replace(self.to(self.x.dtype), x=_leaf(torch.where(real, self.x, value)))

    @property
    def leaves(self) -> dict[str, Tensor]:
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        return (
            {"x": self.x}
            | {f"{name}_0": part for name, part in zip("hc", self.state, strict=False)}
            | dict(zip(names, self.weights.tensors, strict=False))
        )


def make_case(
    kind: ops.Kind,
    lengths: list[int] | None = None,
    n_steps: int = 7,
    input_size: int = 3,
    hidden_size: int = 11,
    bias: bool = True,
    reverse: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
    weight_scale: float = 0.5,
) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.5) -> Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return _leaf(drawn.to(dtype))

    n_rows = 5 if lengths is None else len(lengths)
    n_gate_rows = CELLS[kind].n_gates * hidden_size
    weights = ops.Weights(
        normal(n_gate_rows, input_size, scale=weight_scale),
        normal(n_gate_rows, hidden_size, scale=weight_scale),
        normal(n_gate_rows) if bias else None,
        normal(n_gate_rows) if bias else None,
    )
    return Case(
        kind,
        normal(n_steps, n_rows, input_size),
        None if lengths is None else torch.tensor(lengths, dtype=torch.int64),
        tuple(normal(n_rows, hidden_size) for _ in range(CELLS[kind].n_states)),
        weights,
        reverse,
    )


def run_ours(case: Case, retain_graph: bool = False) -> dict[str, Tensor]:
    """Outputs, final states and all gradients of `ops.unroll`."""
    y, state = ops.unroll(case.kind, case.x, case.lengths, case.state, case.weights, case.reverse)
    return collect(case, y, state, retain_graph)


def run_rows_alone(case: Case) -> dict[str, Tensor]:
    """The same with `torch.nn`, each row alone and without padding."""
    module = torch_module(case)
    n_steps, n_rows, _ = case.x.shape
    lengths = [n_steps] * n_rows if case.lengths is None else case.lengths.tolist()
    outputs, ends = [], []
    for row, length in enumerate(lengths):
        start = tuple(part[row : row + 1] for part in case.state)
        y = case.x.new_zeros(n_steps, case.weights.hidden_size)
        if length > 0:
            x = case.x[:length, row]
            real, end = torch.func.functional_call(
                module,
                dict(zip(dict(module.named_parameters()), case.weights.tensors, strict=True)),
                (x.flip(0) if case.reverse else x, start if case.kind == "lstm" else start[0]),
            )
            y = torch.cat([real.flip(0) if case.reverse else real, y[length:]])
            start = tuple(end) if case.kind == "lstm" else (end,)
        outputs.append(y)
        ends.append(start)
    state = tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
    return collect(case, torch.stack(outputs, 1), state)


def torch_module(case: Case) -> torch.nn.Module:
    sizes = (case.weights.input_size, case.weights.hidden_size)
    options = {"bias": case.weights.b_ih is not None, "dtype": case.x.dtype}
    if case.kind in ("rnn_tanh", "rnn_relu"):
        return torch.nn.RNN(*sizes, nonlinearity=case.kind.removeprefix("rnn_"), **options)
    return {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.kind](*sizes, **options)


def collect(
    case: Case, y: Tensor, state: tuple[Tensor, ...], retain_graph: bool = False
) -> dict[str, Tensor]:
    """Name every result; the loss has a different factor for each output element."""
    results = {"y": y} | {f"{name}_n": part for name, part in zip("hc", state, strict=False)}
    generator = torch.Generator().manual_seed(2)
    loss = y.new_zeros(())
    for part in results.values():
        factor = torch.randn(part.shape, generator=generator, dtype=torch.float64)
        loss = loss + (part * factor.to(part.dtype)).sum()
    leaves = case.leaves
    gradients = torch.autograd.grad(
        loss, list(leaves.values()), retain_graph=retain_graph, allow_unused=True
    )
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        results[f"grad {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: part.detach() for name, part in results.items()}


def relative_error(given: Tensor, exact: Tensor) -> float:
    """max|given − exact| / max|exact|."""
    scale = exact.double().abs().max().clamp(min=1e-300)
    return float((given.double() - exact.double()).abs().max() / scale)


def assert_as_exact_as_torch(
    runs: Iterable[tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]],
    what: str = "ours",
) -> None:
    """Each run is (ours, torch's, in float64); errors are means over the runs, as one is random."""
    ours_by_name: dict[str, list[float]] = {}
    torchs_by_name: dict[str, list[float]] = {}
    for ours, torchs, exact in runs:
        for name, part in exact.items():
            if part.numel():
                ours_by_name.setdefault(name, []).append(relative_error(ours[name], part))
                torchs_by_name.setdefault(name, []).append(relative_error(torchs[name], part))
    for name, errors in ours_by_name.items():
        allowed = max(2 * fmean(torchs_by_name[name]), 1e-6)
        others = torchs_by_name[name]
        assert fmean(errors) <= allowed, f"{name}: {what} {errors}, torch's own {others}"


def _leaf(values: Tensor) -> Tensor:
    return values.detach().clone().requires_grad_()
