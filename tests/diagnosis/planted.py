"""Recurrent networks whose gradient is known from their weights, and the diagnosis that follows.

`python tests/diagnosis/planted.py` prints the table of all cases with the measured numbers. Lengths,
widths, rows, seeds and types vary. Of networks without input, the gradient is known exactly; of new
networks on random inputs, from bounds of it; of trained ones, from what they can do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import torch
from planted_networks import (
    Setting,
    after_training,
    biased,
    by_factor,
    dead_relu,
    linear_rnn,
    new_layer,
    scaled_identity,
    sigmoid_rnn,
    wide_inputs,
    with_rate,
)

from unrolled.diagnosis.verdict import Verdict


@dataclass(frozen=True)
class Planted:
    """A network and what is known of it.

    Args:
        name: what it is.
        setting: its size and seed.
        wanted: the diagnosis.
        known: what the theory says, in words.
        make: makes the network and diagnoses it.
    """

    name: str
    setting: Setting
    wanted: str
    known: str
    make: Callable[[Setting], Verdict]

    @property
    def is_quick(self) -> bool:
        """Whether it takes less than about a fifth of a second; of the others, tests take only some."""
        size = self.setting
        return size.T * size.H <= 8_000 and "trained" not in self.name

    def judged(self) -> Verdict:
        torch.manual_seed(self.setting.seed)
        return self.make(self.setting)


SIZES: tuple[Mapping[str, Any], ...] = (
    {},
    {"H": 4, "B": 3, "seed": 1, "dtype": torch.float64},
    {"H": 32, "B": 2, "seed": 2},
    {"H": 64, "seed": 3, "dtype": torch.float64},
    {"H": 16, "B": 8, "seed": 4},
)
"""What varies with the lengths; each kind of network goes through all of them in turn."""


def several(
    name: str,
    wanted: str | Callable[[int], str],
    known: str,
    lengths: tuple[int, ...],
    make: Callable[[Setting], Verdict],
) -> Iterator[Planted]:
    """A kind of network at several lengths, with all sizes in turn."""
    for T, size in zip(lengths, cycle(SIZES), strict=False):
        yield Planted(
            name, Setting(T, **size), wanted if isinstance(wanted, str) else wanted(T), known, make
        )


def cases() -> list[Planted]:
    """All cases."""
    return [*without_input(), *with_inputs(), *with_updates(), *after_training_cases()]


_LENGTHS = {
    -3.0: (10, 50, 100, 500),
    0.0: (20, 50, 100, 500),
    1.0: (10, 50, 100, 500),
    3.0: (10, 50, 100, 500),
    5.0: (10, 100, 300, 500),
}
"""Of biases; none is at a threshold."""


def without_input() -> Iterator[Planted]:
    lengths = (10, 20, 50, 150, 500)
    for radius in (0.3, 0.9, 1.0, 1.5):
        yield from several(
            f"tanh RNN, spectral radius {radius}",
            partial(by_factor, radius),
            f"gradient × {radius} per step",
            lengths,
            partial(linear_rnn, radius=radius),
        )
    for factor in (0.9, 1.0, 1.1):
        yield from several(
            f"ReLU RNN, {factor} of the identity",
            partial(by_factor, factor),
            f"J = {factor} I",
            (10, 150, 500),
            partial(scaled_identity, factor=factor),
        )
    yield from several("sigmoid RNN", "vanishing", "at most 1/4 per step", (10, 150), sigmoid_rnn)
    for bias in (-3.0, 0.0, 1.0, 3.0, 5.0):
        kept = 1 / (1 + math.exp(-bias))
        for cell, name in (("lstm", "f"), ("gru", "z")):
            yield from several(
                f"{cell.upper()}, bias of {name} {bias:g}",
                partial(by_factor, kept),
                f"state × {kept:.4f} per step",
                _LENGTHS[bias],
                partial(biased, cell=cell, **{name: bias}),
            )
    for share in (0.75, 1.0):
        yield from several(
            f"ReLU RNN, {share:.0%} of the units at -10",
            "dead_relu",
            "these are always 0",
            (10, 50, 500),
            partial(dead_relu, share=share),
        )
    yield from several(
        "ReLU RNN, 25% of the units at -10",
        "healthy",
        "the others keep their sum",
        (10, 50, 500),
        partial(dead_relu, share=0.25),
    )
    yield from several(
        "LSTM, candidates at 1, bias of f 3",
        "healthy",
        "the gradient reaches the gates",
        (10, 50, 100),
        partial(biased, cell="lstm", f=3.0, i=-3.0, g=5.0),
    )
    yield from several(
        "LSTM, input gate shut, bias of f 6",
        "saturated",
        "σ(-12) = 6e-6 of the gradient reaches g",
        (10, 150, 300),
        partial(biased, cell="lstm", f=6.0, i=-12.0),
    )
    yield from several(
        "GRU, update gate keeps all",
        "saturated",
        "1 - σ(12) = 6e-6 of the gradient reaches n",
        (10, 150, 500),
        partial(biased, cell="gru", z=12.0),
    )


def with_inputs() -> Iterator[Planted]:
    yield from several(
        "tanh RNN, inputs × 300",
        "saturated",
        "|Wx| ≫ 2",
        (10, 50, 500),
        partial(wide_inputs, cell="rnn_tanh", factor=300.0),
    )
    yield from several(
        "LSTM, inputs × 3000",
        "saturated",
        "all gates and candidates are flat",
        (20, 50, 500),
        partial(wide_inputs, cell="lstm", factor=3000.0),
    )
    for bias, wanted, lengths in (
        (-3.0, "vanishing", (10, 50, 500)),
        (0.0, "vanishing", (50, 500)),
    ):
        yield from several(
            f"new LSTM, forget bias {bias:g}",
            wanted,
            "σ(bias) of c is kept",
            lengths,
            partial(new_layer, cell="lstm", forget_bias=bias),
        )
    for bias, lengths in ((1.0, (10,)), (3.0, (10, 50)), (5.0, (10, 50, 150))):
        yield from several(
            f"new LSTM, forget bias {bias:g}",
            "healthy",
            "c is kept, and paths through U add up",
            lengths,
            partial(new_layer, cell="lstm", forget_bias=bias),
        )
    for bias, lengths in ((3.0, (150,)), (5.0, (150, 400))):
        for seed in (1, 2, 3):
            yield Planted(
                f"new LSTM, forget bias {bias:g}",
                Setting(lengths[-1], 48, 2, seed),
                "healthy",
                "paths through U add up to 10 … 100",
                partial(new_layer, cell="lstm", forget_bias=bias),
            )
    yield from several(
        "new GRU", "vanishing", "about half per step", (50, 500), partial(new_layer, cell="gru")
    )


def with_updates() -> Iterator[Planted]:
    for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1.0, 1e1, 1e2, 1e4):
        yield from several(
            f"LSTM, Adam at {rate:g}",
            "learning_rate" if rate >= 1 else "healthy",
            f"steps of {rate:g} per weight of about 0.2",
            (10, 15),
            partial(with_rate, rate=rate),
        )
    for rate in (1e-3, 1e2, 1e4):
        yield from several(
            f"LSTM, SGD at {rate:g}",
            "learning_rate" if rate >= 1 else "healthy",
            "clipped to a norm of 1, times the rate",
            (10, 15),
            partial(with_rate, rate=rate, optimiser="sgd"),
        )
    for seed in (1, 2, 3):
        yield Planted(
            "LSTM, forget bias 5, Adam at 1e-3",
            Setting(300, 48, 16, seed),
            "healthy",
            "the gradient grows, and the loss falls",
            partial(with_rate, rate=1e-3, forget_bias=5.0),
        )


def after_training_cases() -> Iterator[Planted]:
    for seed in (1, 2, 3):
        for cell, options in (("lstm", {"forget_bias": 3.0}), ("gru", {})):
            for with_losses in (False, True):
                losses = ", with its losses" if with_losses else ""
                yield Planted(
                    f"trained {cell.upper()}{losses}",
                    Setting(20, 24, 32, seed),
                    "healthy",
                    "it knows the first token",
                    partial(
                        after_training,
                        cell=cell,
                        rate=1e-2,
                        n_updates=400,
                        least=0.95,
                        most=1.0,
                        with_losses=with_losses,
                        **options,
                    ),
                )
        yield Planted(
            "LSTM trained at a rate of 1",
            Setting(20, 24, 32, seed),
            "saturated",
            "large weights, and it guesses",
            partial(
                after_training,
                cell="lstm",
                rate=1.0,
                n_updates=100,
                least=0.0,
                most=0.3,
                with_losses=False,
            ),
        )


def main() -> None:
    """Print the table, and the number of wrong diagnoses."""
    n_wrong = 0
    every = cases()
    for case in every:
        verdict = case.judged()
        first = verdict.findings[0]
        mark = "" if verdict.kind == case.wanted else f"  WRONG, expected {case.wanted}"
        n_wrong += bool(mark)
        found = f"{verdict.kind:14}{first.number:>10.3g}"
        print(f"{case.name:38}{case.setting!s:32} {found}  {case.known}{mark}", flush=True)
    print(f"{len(every)} cases, {n_wrong} wrong")


if __name__ == "__main__":
    main()
