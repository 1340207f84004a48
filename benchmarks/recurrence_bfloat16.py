"""Compare training our layers in bfloat16 with `torch.nn`, in float32 and under autocast, on one core.

    OMP_NUM_THREADS=1 python benchmarks/recurrence_bfloat16.py [--cells rnn gru lstm] [--seconds 1.5]

For each of the seven sizes of `recurrence.py`, four runs alternate: `torch.nn` and `unrolled.nn` with
equal weights, in float32 and under `torch.autocast("cpu", torch.bfloat16)`. Times are those of the thread
on its core, so that the time of other processes does not count; ratios are medians of the ratios of one
round. Before anything is measured, our results are compared with the definition, `unrolled.ops.bfloat16`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from recurrence import OURS, SIZES, STREAM_KINDS, inputs, pair, train
from unrolled import ops
from unrolled.ops import Weights, bfloat16
from unrolled.ops.dispatch import initial_state
from unrolled.training.device import why_no_bfloat16


def disagreement(kind: str, size: tuple[int, ...]) -> str | None:
    """A message if our results of five steps are too far from the definition in float64, or None.

    Summed in another order, K numbers move a result over a rounding to bfloat16 with probability
    K · 2⁻²⁴ / 2⁻⁸, by 2⁻⁸ of its size; a gradient passes 2 T + 1 roundings. Twice what is expected of
    these is allowed. In more steps, one result that moved moves all that follow.
    """
    n_rows, _, input_size, hidden_size = size
    ours = pair(kind, input_size, hidden_size)[1]
    x, _, dy = inputs((n_rows, 5, input_size, hidden_size), ragged=False)
    dy = dy.bfloat16()
    given = results(ours, x, dy)
    leaf = x.detach().double().requires_grad_()
    weights = [p.detach().double().requires_grad_() for p in ours.parameters()]
    start = initial_state(STREAM_KINDS[kind], leaf, hidden_size)
    y, _ = bfloat16.unroll(STREAM_KINDS[kind], leaf, None, start, Weights(*weights))
    exact = [y.detach().double(), *torch.autograd.grad(y, [leaf, *weights], dy)]
    allowed = 2 * 2.0**-8 * (11 * max(input_size + hidden_size, n_rows) * 2.0**-16) ** 0.5
    names = ["y", "dx", *(f"d{name}" for name, _ in ours.named_parameters())]
    for name, part, right in zip(names, given, exact, strict=True):
        error = float((part.double() - right).norm() / right.norm())
        if not error <= allowed:
            return f"{kind} {size} {name}: our distance is {error:.1e}, allowed is {allowed:.1e}"
    return None


def results(module: torch.nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """y and all gradients under autocast."""
    module.zero_grad()
    x.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)[0]
    y.backward(dy.to(y.dtype))
    return [y.detach(), *(p.grad for p in (x, *module.parameters()) if p.grad is not None)]


def table(kinds: list[str], seconds: float) -> None:
    """Training under bfloat16 autocast: the times of torch and of ours, alternating."""
    print(
        "training, all rows of length T: milliseconds of a core, and the time of torch / ours in bfloat16"
    )
    print(
        f"{'B, T, I, H':>20}  {'cell':4}  {'float32: torch':>14}  {'ours':>8}  {'autocast: torch':>15}  "
        f"{'ours':>8}  {'over float32':>12}  {'over autocast':>13}  samples"
    )
    ratios: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for size in SIZES:
        for kind in kinds:
            if reason := disagreement(kind, size):
                raise SystemExit(f"the layers disagree, so nothing is measured: {reason}")
            x, _, dy = inputs(size, ragged=False)
            theirs, ours = pair(kind, *size[2:])
            runs: list[Callable[[], object]] = [
                lambda m=theirs, x=x, d=dy: train(m, x, None, d),
                lambda m=ours, x=x, d=dy: train(m, x, None, d),
                lambda m=theirs, x=x, d=dy: results(m, x, d),
                lambda m=ours, x=x, d=dy: results(m, x, d),
            ]
            samples = on_the_core(runs, seconds)
            times = [statistics.median(column) for column in zip(*samples, strict=True)]
            over, over_autocast = (statistics.median(s[i] / s[3] for s in samples) for i in (0, 2))
            ratios[kind].append((over, over_autocast))
            shown = "  ".join(
                f"{1e3 * time:{width}.2f}"
                for time, width in zip(times, (14, 8, 15, 8), strict=True)
            )
            print(
                f"{', '.join(map(str, size)):>20}  {kind:4}  {shown}  {over:>12.2f}  "
                f"{over_autocast:>13.2f}  {len(samples)}",
                flush=True,
            )
    for kind, kind_ratios in ratios.items():
        means = [statistics.geometric_mean(column) for column in zip(*kind_ratios, strict=True)]
        print(f"{'geometric mean':>20}  {kind:4}  {means[0]:>65.2f}  {means[1]:>13.2f}")


def on_the_core(runs: list[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Seconds of this thread on its core for each function, alternating, at least three times each."""
    for run in runs:
        run()
    samples: list[list[float]] = []
    end = time.thread_time() + seconds
    while len(samples) < 3 or time.thread_time() < end:
        samples.append([])
        for run in runs:
            start = time.thread_time()
            run()
            samples[-1].append(time.thread_time() - start)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cells", nargs="+", choices=list(OURS), default=list(OURS), help="cells to measure"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="time on the core for each size and cell"
    )
    arguments = parser.parse_args()
    if torch.get_num_threads() > 1:
        sys.exit("the time of one thread is counted; set OMP_NUM_THREADS=1")
    if (reason := why_no_bfloat16(torch.device("cpu"))) is not None:
        sys.exit(f"there is nothing to measure: {reason}")
    with torch.autocast("cpu", torch.bfloat16):
        chosen = ops.explain("lstm", torch.zeros(7, 5, 3)).chosen
    kernels = ops.native.kernels
    used = kernels.mixed_set() if chosen == "native" else "torch's own cells"
    print(f"torch {torch.__version__}, 1 thread, ours in bfloat16: {used}")
    table(arguments.cells, arguments.seconds)


if __name__ == "__main__":
    main()
