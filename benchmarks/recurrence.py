"""Compare the speed of our layers with that of `torch.nn` on this machine.

    python benchmarks/recurrence.py [--cells rnn gru lstm] [--tables full ragged stream] [--seconds 1.5]

For each size, `torch.nn` and `unrolled.nn` run alternately. A sample only counts if a short arithmetic
probe before and after it shows that the cores are otherwise idle. The ratio is computed from the medians
of these samples; it is followed by the numbers of samples and rejected samples, and by the ratio over all
samples. Before anything is measured, values and gradients are compared with `torch.nn` in float64.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onnx_step import onnx_step
from unrolled import nn
from unrolled.ops import Kind, Weights, native
from unrolled.ops.stepping import Stream

SIZES = [
    (1, 100, 128, 128),
    (16, 200, 64, 64),
    (128, 25, 100, 100),
    (32, 50, 100, 128),
    (32, 100, 256, 256),
    (64, 35, 650, 650),
    (128, 50, 300, 512),
]
STREAM_SIZES = [128, 256, 512, 1024]
OURS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
TORCHS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
TORCH_CELLS = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
STREAM_KINDS: dict[str, Kind] = {"rnn": "rnn_tanh", "gru": "gru", "lstm": "lstm"}
N_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
PROBE_ROUNDS = 20_000
BUSY = 1.15
"""If a probe is slower than the fastest one by this factor, another process was running."""


@dataclass(frozen=True)
class Timing:
    """Seconds of torch and ours: medians of the accepted and of all samples, and their numbers."""

    quiet: tuple[float, float]
    every: tuple[float, float]
    n_taken: int
    n_rejected: int

    @property
    def ratio(self) -> float:
        return self.quiet[0] / self.quiet[1]


class Probe:
    """A known amount of arithmetic on all threads; it is slow if other processes use the cores."""

    def __init__(self) -> None:
        self.n_threads = torch.get_num_threads()
        self.best = math.inf
        for _ in range(200):
            self.seconds()

    def seconds(self) -> float:
        start = time.perf_counter()
        self.operations = native.kernels.multiply_adds(PROBE_ROUNDS, self.n_threads)
        taken = time.perf_counter() - start
        self.best = min(self.best, taken)
        return taken

    @property
    def peak(self) -> float:
        """Highest measured number of floating-point operations per second."""
        return self.operations / self.best


def alternate(rivals: list[Callable[[], None]], probe: Probe, seconds: float) -> Timing:
    """Time two functions alternately for about `seconds` seconds, at least nine times each."""
    for rival in rivals:
        for _ in range(3):
            rival()
    samples: list[tuple[float, float]] = []
    is_quiet: list[bool] = []
    end = time.perf_counter() + seconds
    while len(samples) < 9 or time.perf_counter() < end:
        probes, taken = [probe.seconds()], []
        for rival in rivals:
            start = time.perf_counter()
            rival()
            taken.append(time.perf_counter() - start)
            probes.append(probe.seconds())
        samples.append((taken[0], taken[1]))
        is_quiet.append(max(probes) <= BUSY * probe.best)
    quiet = [sample for sample, ok in zip(samples, is_quiet, strict=True) if ok] or samples
    return Timing(_medians(quiet), _medians(samples), len(samples), is_quiet.count(False))


def _medians(samples: list[tuple[float, float]]) -> tuple[float, float]:
    torchs, ours = zip(*samples, strict=True)
    return statistics.median(torchs), statistics.median(ours)


def pair(kind: str, input_size: int, hidden_size: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A module of `torch.nn` and one of ours with equal weights."""
    torch.manual_seed(1)
    theirs = TORCHS[kind](input_size, hidden_size)
    ours = OURS[kind](input_size, hidden_size)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def call(module: torch.nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return module(x)[0]
    if isinstance(module, tuple(OURS.values())):
        return module(x, lengths=lengths)[0]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    return nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=len(x))[0]


def train(module: torch.nn.Module, x: Tensor, lengths: Tensor | None, dy: Tensor) -> None:
    for parameter in module.parameters():
        parameter.grad = None
    x.grad = None
    call(module, x, lengths).backward(dy)


def results(
    module: torch.nn.Module, x: Tensor, lengths: Tensor | None, dy: Tensor
) -> dict[str, Tensor]:
    train(module, x, lengths, dy)
    gradients = {"dx": x.grad}
    gradients |= {f"d{name}": parameter.grad for name, parameter in module.named_parameters()}
    existing = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert len(existing) == len(gradients)
    return {"y": call(module, x, lengths).detach(), **existing}


def disagreement(kind: str, size: tuple[int, ...], ragged: bool) -> str | None:
    """A message if our error against float64 exceeds twice torch's and 1e-6, or None."""
    input_size, hidden_size = size[2:]
    theirs, ours = pair(kind, input_size, hidden_size)
    exact = TORCHS[kind](input_size, hidden_size).double()
    exact.load_state_dict(theirs.state_dict())
    x, lengths, dy = inputs(size, ragged)
    in_double = results(exact, x.detach().double().requires_grad_(), lengths, dy.double())
    in_torch = {name: part.clone() for name, part in results(theirs, x, lengths, dy).items()}
    in_ours = results(ours, x, lengths, dy)
    for name, part in in_double.items():
        scale = part.abs().max()
        torchs, error = (
            float((parts[name].double() - part).abs().max() / scale)
            for parts in (in_torch, in_ours)
        )
        if not error <= max(2 * torchs, 1e-6):
            return f"{kind} {size} {name}: our relative error is {error:.1e}, torch's {torchs:.1e}"
    return None


def inputs(size: tuple[int, ...], ragged: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    n_rows, n_steps, input_size, hidden_size = size
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n_steps, n_rows, input_size, generator=generator).requires_grad_()
    dy = torch.randn(n_steps, n_rows, hidden_size, generator=generator)
    if not ragged:
        return x, None, dy
    lengths = torch.randint(max(1, n_steps // 5), n_steps + 1, (n_rows,), generator=generator)
    lengths[0] = n_steps
    return x, lengths, dy


def operations(kind: str, size: tuple[int, ...], lengths: Tensor | None) -> float:
    """Floating-point operations of the forward pass: two for each multiply-add."""
    n_rows, n_steps, input_size, hidden_size = size
    n_cells = n_rows * n_steps if lengths is None else int(lengths.sum())
    return 2.0 * n_cells * N_GATES[kind] * hidden_size * (input_size + hidden_size)


def table(kinds: list[str], ragged: bool, probe: Probe, seconds: float) -> None:
    title = "lengths uniform in T/5…T, pack_padded_sequence" if ragged else "all rows of length T"
    print(f"\n{title}: time of torch.nn / time of ours (fraction of the peak speed)")
    print(
        f"{'B, T, I, H':>20}  {'cell':4}  {'forward':>18}  {'training':>18}  samples, rejected, all"
    )
    ratios: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for size in SIZES:
        if ragged and size[0] == 1:
            continue
        for kind in kinds:
            if reason := disagreement(kind, size, ragged):
                raise SystemExit(f"the layers disagree, so nothing is measured: {reason}")
            x, lengths, dy = inputs(size, ragged)
            modules = pair(kind, *size[2:])

            def forward(module, x=x, lengths=lengths):
                with torch.no_grad():
                    call(module, x, lengths)

            work = operations(kind, size, lengths)
            forwards = alternate([lambda m=m: forward(m) for m in modules], probe, seconds)
            trainings = alternate(
                [lambda m=m, x=x, n=lengths, d=dy: train(m, x, n, d) for m in modules],
                probe,
                seconds,
            )
            ratios[kind].append((forwards.ratio, trainings.ratio))
            cells = [
                f"{t.ratio:5.2f} ({factor * work / t.quiet[1] / probe.peak:4.0%})"
                for t, factor in ((forwards, 1), (trainings, 3))
            ]
            notes = "; ".join(
                f"{t.n_taken}, {t.n_rejected}, {t.every[0] / t.every[1]:.2f}"
                for t in (forwards, trainings)
            )
            print(
                f"{', '.join(map(str, size)):>20}  {kind:4}  {cells[0]:>18}  {cells[1]:>18}  {notes}",
                flush=True,
            )
    for kind, kind_ratios in ratios.items():
        means = [statistics.geometric_mean(column) for column in zip(*kind_ratios, strict=True)]
        print(f"{'geometric mean':>20}  {kind:4}  {means[0]:>11.2f}  {means[1]:>18.2f}")


def stream_table(kinds: list[str], probe: Probe, seconds: float) -> None:
    print("\none step, B = 1: microseconds (speedup over the faster of torch's module and cell)")
    print(
        f"{'H':>6}  {'':4}  {'module':>8}  {'cell':>8}  {'ONNX RT':>8}  "
        f"{'float32':>14}  {'bfloat16':>14}  {'int8':>14}"
    )
    for hidden_size in STREAM_SIZES:
        for kind in kinds:
            module = pair(kind, hidden_size, hidden_size)[0]
            cell = TORCH_CELLS[kind](hidden_size, hidden_size)
            weights = Weights(*(p.detach() for p in module.parameters()))
            cell.load_state_dict(
                dict(zip(cell.state_dict(), module.state_dict().values(), strict=True))
            )
            name = STREAM_KINDS[kind]
            streams = [Stream(name, weights, precision=p) for p in ("float32", "bfloat16", "int8")]
            x = torch.randn(1, hidden_size)
            peers = onnx_steps(kind, module, x)
            with torch.no_grad():
                state = module(x.unsqueeze(0))[1]
                y = state[0] if kind == "lstm" else state
                ours = streams[0].step(x)
                if not torch.allclose(ours, y[0], atol=1e-5):
                    raise SystemExit(
                        f"a step of {kind} differs from torch.nn's, so nothing is measured"
                    )
                hx = tuple(part[0] for part in state) if kind == "lstm" else state[0]
                runs: list[Callable[[], object]] = [
                    lambda m=module, s=state, x=x[None]: m(x, s),
                    lambda m=cell, s=hx, x=x: m(x, s),
                    *(lambda s=s, x=x: s.step(x) for s in streams),
                    *(lambda step=step, x=x: step(x) for step in peers),
                ]
                medians = interleaved(runs, probe, seconds)
            best = min(medians[:2])
            shown = "  ".join(f"{m * 1e6:6.1f} ({best / m:4.1f}×)" for m in medians[2:5])
            onnx = f"{min(medians[5:]) * 1e6:8.1f}" if peers else f"{'–':>8}"
            torchs = "  ".join(f"{m * 1e6:8.1f}" for m in medians[:2])
            print(f"{hidden_size:>6}  {kind:4}  {torchs}  {onnx}  {shown}", flush=True)


def onnx_steps(kind: str, module: torch.nn.Module, x: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """Steps of ONNX Runtime with one thread and with as many as torch; none if it is not installed."""
    try:
        steps = [onnx_step(kind, module, n) for n in sorted({1, torch.get_num_threads()})]
    except ImportError:
        return []
    with torch.no_grad():
        expected = module(x.unsqueeze(0))[0][0]
    for step in steps:
        if not torch.allclose(step(x), expected, atol=1e-5):
            raise SystemExit(
                f"ONNX Runtime's {kind} differs from torch.nn's, so nothing is measured"
            )
    return steps


def interleaved(runs: list[Callable[[], object]], probe: Probe, seconds: float) -> list[float]:
    """Median seconds per call of each function, from blocks of fifty calls while the cores are idle."""
    samples: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, samples)) < 5:
        for run, run_samples in zip(runs, samples, strict=True):
            before = probe.seconds()
            start = time.perf_counter()
            for _ in range(50):
                run()
            taken = (time.perf_counter() - start) / 50
            if (
                max(before, probe.seconds()) <= BUSY * probe.best
                or time.perf_counter() > 3 * seconds + end
            ):
                run_samples.append(taken)
    return [statistics.median(run_samples) for run_samples in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cells", nargs="+", choices=list(OURS), default=list(OURS), help="cells to measure"
    )
    parser.add_argument("--tables", nargs="+", choices=["full", "ragged", "stream"],
                        default=["full", "ragged", "stream"], help="tables to print")  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="measurement time for each number"
    )
    arguments = parser.parse_args()
    if native.kernels is None:
        sys.exit(f"there are no kernels to measure: {native.missing_because}")
    probe = Probe()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{native.kernels.instruction_set()}, peak {probe.peak / 1e9:.0f} GFLOP/s"
    )
    if "full" in arguments.tables:
        table(arguments.cells, False, probe, arguments.seconds)
    if "ragged" in arguments.tables:
        table(arguments.cells, True, probe, arguments.seconds)
    if "stream" in arguments.tables:
        stream_table(arguments.cells, probe, arguments.seconds)


if __name__ == "__main__":
    main()
