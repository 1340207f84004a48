"""Report the hardware, the implementation chosen for each cell, and a correctness check of each.

The command `unrolled doctor` prints `render(diagnose())`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled import ops
from unrolled.ops import mixed, native
from unrolled.ops.cells import CELLS
from unrolled.ops.linear import why_not_onednn
from unrolled.system import n_cores
from unrolled.wording import count_of

_INSTRUCTIONS = {"amx": "AMX", "avx512bf16": "AVX512_BF16"}

# The batch on which every cell is checked: small, ragged, with an empty row.
N_STEPS, N_ROWS, INPUT_SIZE, HIDDEN_SIZE = 12, 16, 64, 64


@dataclass(frozen=True)
class CellCheck:
    """One cell on one device, compared with the reference in float64.

    Args:
        kind: the recurrence.
        device: "cpu" or "cuda".
        chosen: the implementation that `unrolled.ops` uses for it.
        reasons: why the other implementations are not used, by their names.
        error: the largest relative error of outputs, final states and all gradients:
            max|float32 − reference| / max|reference|, of the worst tensor.
        tolerance: maximum acceptable error.
        seconds: time of one forward and backward pass with 16 rows, at most 12 steps and width 64.
    """

    kind: ops.Kind
    device: str
    chosen: str
    reasons: Mapping[str, str]
    error: float
    tolerance: float
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """The result of `diagnose`.

    Args:
        python, torch, system: versions, and the operating system with its processor.
        n_cores: number of cores that this process may use.
        n_threads: number of threads that torch uses.
        cpu_capability: the widest instruction set that torch uses, such as "AVX512".
        gpu: name of the GPU, or None.
        cells: one check per cell and device.
        products: the library that multiplies float32 matrices for the layers; if it is not oneDNN, why.
        kernels: the instruction set of the native kernels, or why they are missing.
        bfloat16: what computes layers in bfloat16, and what the processor has for it.
    """

    python: str
    torch: str
    system: str
    n_cores: int
    n_threads: int
    cpu_capability: str
    gpu: str | None
    cells: tuple[CellCheck, ...]
    products: str = "oneDNN"
    kernels: str = ""
    bfloat16: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether every cell agrees with the reference."""
        return all(cell.agrees for cell in self.cells)


def diagnose() -> Report:
    """Check every cell on every available device; takes about a second.

    >>> report = diagnose()
    >>> report.is_healthy, len(report.cells) >= 5
    (True, True)
    """
    devices = {"cpu": "CPU"}
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    refused = why_not_onednn()
    return Report(
        python=platform.python_version(),
        torch=torch.__version__,
        system=f"{platform.system()} {platform.machine()}",
        n_cores=n_cores(),
        n_threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        gpu=next((name for device, name in devices.items() if device != "cpu"), None),
        cells=tuple(check_cell(kind, device) for device in devices for kind in CELLS),
        products="oneDNN" if refused is None else f"torch.matmul ({refused})",
        kernels=_kernels(),
        bfloat16=_bfloat16(),
    )


def check_cell(kind: ops.Kind, device: str) -> CellCheck:
    """Compare one cell, run as `unrolled.ops` would run it, with the reference in float64.

    >>> check_cell("gru", "cpu").agrees
    True
    """
    x, lengths, state, weights = _example(kind, device)
    explanation = ops.explain(kind, x, lengths, state, weights)
    seconds = []
    for _ in range(3):  # the first pass includes set-up
        started = time.perf_counter()
        results = list(_pass(kind, x, lengths, state, weights))
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    exact_weights = ops.Weights(*(_leaf(w.double()) for w in weights.tensors))
    exact_state = tuple(_leaf(part.double()) for part in state)
    with ops.using("reference"):
        exact = list(_pass(kind, _leaf(x.double()), lengths, exact_state, exact_weights))
    uses_tf32 = device == "cuda" and torch.backends.cudnn.allow_tf32
    return CellCheck(
        kind,
        device,
        chosen=explanation.chosen or "",
        reasons=explanation.reasons,
        error=_worst_relative_error(results, exact),
        tolerance=1e-2 if uses_tf32 else 1e-5,
        seconds=min(seconds),
    )


def render(report: Report) -> str:
    """The report as a few lines of plain text.

    >>> print(render(diagnose()).splitlines()[0][:6])
    python
    """
    threads = f"torch uses {count_of(report.n_threads, 'thread')}"
    if report.n_threads > report.n_cores:
        threads += f" (more than cores; try OMP_NUM_THREADS={report.n_cores})"
    lines = [
        f"python {report.python} · torch {report.torch} · {report.system}",
        f"{count_of(report.n_cores, 'core')}, {threads} · "
        f"{report.cpu_capability} · {report.gpu or 'no GPU'}",
        f"native kernels: {report.kernels}",
        f"layers in bfloat16: {report.bfloat16}",
        f"matrix products of the layers: {report.products}",
        "",
        f"{'device':6}  {'cell':11}  {'kernel':12}  {'error':7}  {'time':7}  "
        f"(compared with the reference; {N_ROWS} rows, {N_STEPS} steps, width {HIDDEN_SIZE})",
    ]
    for cell in report.cells:
        verdict = "agrees" if cell.agrees else "DISAGREES"
        lines.append(
            f"{cell.device:6}  {cell.kind:11}  {cell.chosen:12}  {cell.error:7.1e}  "
            f"{cell.seconds * 1e3:4.1f} ms  {verdict}"
        )
    for name, reason, kinds in _refusals(report):
        lines.append(f"not {name} for {', '.join(kinds)}: {reason}")
    if not report.is_healthy:
        lines.append(
            "A cell disagrees with the reference on this machine. Do not trust its results; "
            "use unrolled.ops.dispatch.using('reference') and report this."
        )
    return "\n".join(lines)


def _refusals(report: Report) -> Iterator[tuple[str, str, list[str]]]:
    """Faster implementations that cannot run, with the reason and the cells concerned."""
    preference = list(ops.IMPLEMENTATIONS)
    cells_by_reason: dict[tuple[str, str], list[str]] = {}
    for cell in report.cells:
        for name, reason in cell.reasons.items():
            if preference.index(name) < preference.index(cell.chosen):
                kinds = cells_by_reason.setdefault((name, reason), [])
                if cell.kind not in kinds:
                    kinds.append(cell.kind)
    for (name, reason), kinds in cells_by_reason.items():
        yield name, reason, kinds


def _example(kind: ops.Kind, device: str) -> tuple[Tensor, Tensor, tuple[Tensor, ...], ops.Weights]:
    generator = torch.Generator().manual_seed(1)

    def uniform(*shape: int, bound: float = 1.0) -> Tensor:
        return _leaf(((torch.rand(shape, generator=generator) * 2 - 1) * bound).to(device))

    bound = HIDDEN_SIZE**-0.5
    n_gate_rows = CELLS[kind].n_gates * HIDDEN_SIZE
    weights = ops.Weights(
        uniform(n_gate_rows, INPUT_SIZE, bound=bound),
        uniform(n_gate_rows, HIDDEN_SIZE, bound=bound),
        uniform(n_gate_rows, bound=bound),
        uniform(n_gate_rows, bound=bound),
    )
    x = uniform(N_STEPS, N_ROWS, INPUT_SIZE)
    zeros = ops.initial_state(kind, x, HIDDEN_SIZE)
    state = tuple(uniform(N_ROWS, HIDDEN_SIZE) for _ in zeros)
    lengths = torch.randint(1, N_STEPS + 1, (N_ROWS,), generator=generator)
    lengths[0], lengths[1] = N_STEPS, 0
    return x, lengths, state, weights


def _leaf(values: Tensor) -> Tensor:
    return values.detach().requires_grad_()


def _pass(
    kind: ops.Kind,
    x: Tensor,
    lengths: Tensor,
    state: tuple[Tensor, ...],
    weights: ops.Weights,
) -> Iterator[Tensor]:
    """Outputs, final states, then the gradients of x, the states and the weights."""
    y, end = ops.unroll(kind, x, lengths, state, weights)
    # Results are weighted differently, so that errors in their gradients cannot cancel out.
    loss = sum((part.square().sum() * (1 + i) for i, part in enumerate((y, *end))), y.new_zeros(()))
    yield y.detach()
    yield from (part.detach() for part in end)
    yield from torch.autograd.grad(loss, [x, *state, *weights.tensors])


def _worst_relative_error(given: list[Tensor], exact: list[Tensor]) -> float:
    # Python's max() may ignore a NaN; torch's propagates it.
    errors = [
        (a.double() - b).abs().max() / b.abs().max() for a, b in zip(given, exact, strict=True)
    ]
    return float(torch.stack(errors).max())


def _kernels() -> str:
    if native.kernels is None:
        return f"none, torch's own cells are used instead: {native.missing_because}"
    used = native.kernels.instruction_set()
    others = [name for name in native.kernels.instruction_sets() if name != used]
    also = f" (also available: {', '.join(others)})" if others else ""
    return f"{used}{also}, threads from {native.kernels.thread_source()}"


def _bfloat16() -> str:
    if native.kernels is None:
        return "torch's own cells"
    if (reason := mixed.why_not_here()) is not None:
        return f"torch's own cells; {reason}"
    has = " and ".join(_INSTRUCTIONS[name] for name in native.kernels.mixed_sets())
    if (reason := mixed.not_worth_it()) is not None:
        return f"torch's own cells; this processor has {has}, but {reason}"
    return (
        f"native kernels with {_INSTRUCTIONS[native.kernels.mixed_set()]}; this processor has {has}"
    )
