"""Recurrent networks whose gradient is known from their weights alone, and the diagnosis that follows.

`python tests/diagnosis/planted.py` prints the table of all cases with the measured numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled import nn
from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.updates import Updates
from unrolled.diagnosis.verdict import Verdict, judge
from unrolled.training.config import TrainingConfig
from unrolled.training.inspection import try_updates

H = 8


@dataclass(frozen=True)
class Planted:
    """A network and what is known of it.

    Args:
        name: what it is.
        n_steps: length of its text.
        wanted: the diagnosis.
        known: what the theory says, in words.
        judged: makes the network and diagnoses it.
    """

    name: str
    n_steps: int
    wanted: str
    known: str
    judged: Callable[[], Verdict]


class Last(torch.nn.Module):
    """The sum of the last hidden states of a layer."""

    def __init__(self, layer: torch.nn.Module, x: Tensor) -> None:
        super().__init__()
        self.layer, self.x = layer, x

    def loss(self) -> tuple[Tensor, int]:
        y, _ = self.layer(self.x.to(self.layer.weight_ih_l0.dtype))
        return y[-1].sum(), 1


def of_layer(layer: torch.nn.Module, x: Tensor, updates: Updates | None = None) -> Verdict:
    flow = measure_flow(Last(layer, x), Last.loss, detailed=False)
    return judge(flow, updates)


def by_factor(factor: float, n_steps: int) -> str:
    """The diagnosis if the gradient is multiplied by a factor at each step."""
    left = (n_steps - 1) * math.log10(factor)
    return "vanishing" if left < -3 else "exploding" if left > 1 else "healthy"


def emptied(layer: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer


def linear_rnn(radius: float, n_steps: int, nonlinearity: str = "tanh") -> Verdict:
    """U = ρ Q with Q orthogonal, no input: the state stays 0, where tanh' = 1."""
    layer = emptied(nn.RNN(3, H, nonlinearity=nonlinearity))
    with torch.no_grad():
        torch.nn.init.orthogonal_(layer.weight_hh_l0)
        layer.weight_hh_l0 *= radius
    return of_layer(layer, torch.zeros(n_steps, 1, 3))


def identity_relu(n_steps: int) -> Verdict:
    """U = I, positive inputs: every unit is active, and J = I."""
    layer = emptied(nn.RNN(3, H, nonlinearity="relu", recurrent_init="identity"))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(0.01)
        layer.weight_hh_l0.copy_(torch.eye(H))
    return of_layer(layer, torch.rand(n_steps, 1, 3))


def dead_relu(n_steps: int) -> Verdict:
    """A bias of −10 that no input outweighs."""
    layer = nn.RNN(3, H, nonlinearity="relu")
    with torch.no_grad():
        layer.bias_ih_l0.fill_(-10.0)
    return of_layer(layer, torch.randn(n_steps, 1, 3))


def lstm(forget_bias: float, n_steps: int) -> Verdict:
    """U = 0 and no input, so that the cell state is multiplied by σ(b) at each step."""
    layer = emptied(nn.LSTM(3, H))
    with torch.no_grad():
        layer.bias_ih_l0[H : 2 * H] = forget_bias
    return of_layer(layer, torch.zeros(n_steps, 1, 3))


def gru(update_bias: float, n_steps: int) -> Verdict:
    """U = 0 and no input, so that the state is multiplied by z = σ(b) at each step."""
    layer = emptied(nn.GRU(3, H))
    with torch.no_grad():
        layer.bias_ih_l0[H : 2 * H] = update_bias
    return of_layer(layer, torch.zeros(n_steps, 1, 3))


def sigmoid_rnn(n_steps: int) -> Verdict:
    """U orthogonal: σ' ≤ 1/4 at each step."""
    layer = emptied(nn.layer_of("rnn_sigmoid")(3, H))
    torch.nn.init.orthogonal_(layer.weight_hh_l0)
    return of_layer(layer, torch.zeros(n_steps, 1, 3))


def saturated(n_steps: int) -> Verdict:
    """Inputs whose weighted sums are far beyond ±2."""
    layer = nn.RNN(3, H)
    with torch.no_grad():
        layer.weight_ih_l0 *= 300.0
    return of_layer(layer, torch.randn(n_steps, 1, 3))


class Classifier(torch.nn.Module):
    """A layer and a linear head, on 16 random texts with random labels."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(3, H, forget_bias=1.0), torch.nn.Linear(H, 4)
        self.x, self.y = torch.randn(n_steps, 16, 3), torch.randint(4, (16,))

    def loss(self) -> tuple[Tensor, int]:
        y, _ = self.layer(self.x.to(self.head.weight.dtype))
        return torch.nn.functional.cross_entropy(self.head(y[-1]), self.y, reduction="sum"), 16


def with_rate(rate: float, optimiser: str, n_steps: int) -> Verdict:
    model = Classifier(n_steps)
    config = TrainingConfig(learning_rate=rate, optimiser=optimiser, max_steps=1)
    updates = try_updates(model, Classifier.loss, config)
    return judge(measure_flow(model, Classifier.loss, detailed=False), updates)


def cases() -> list[Planted]:
    """All cases."""
    found: list[Planted] = []
    for radius in (0.3, 0.9, 1.0, 1.5):
        for T in (10, 50, 500):
            wanted, known = by_factor(radius, T), f"{radius}^{T - 1}"
            name = f"tanh RNN, spectral radius {radius}"
            found.append(
                Planted(name, T, wanted, known, lambda radius=radius, T=T: linear_rnn(radius, T))
            )
    for T in (10, 500):
        found.append(
            Planted("identity ReLU RNN", T, "healthy", "J = I", lambda T=T: identity_relu(T))
        )
        found.append(
            Planted("ReLU RNN, bias -10", T, "dead_relu", "all units 0", lambda T=T: dead_relu(T))
        )
        found.append(
            Planted("tanh RNN, inputs ×300", T, "saturated", "|Wx| ≫ 2", lambda T=T: saturated(T))
        )
        found.append(
            Planted(
                "sigmoid RNN", T, "vanishing", f"at most 4^-{T - 1}", lambda T=T: sigmoid_rnn(T)
            )
        )
    for bias in (-3.0, 0.0, 1.0, 5.0):
        for T in (10, 100, 500):
            kept = 1 / (1 + math.exp(-bias))
            wanted, known = by_factor(kept, T), f"{kept:.4f}^{T - 1}"
            if abs((T - 1) * math.log10(kept) + 3) < 0.5:
                continue  # at the threshold itself
            for cell, make in (("LSTM, forget bias", lstm), ("GRU, update bias", gru)):
                if cell.startswith("GRU") and T == 500:
                    continue
                name = f"{cell} {bias:g}"
                found.append(
                    Planted(name, T, wanted, known, lambda make=make, bias=bias, T=T: make(bias, T))
                )
    for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1.0, 1e1, 1e2, 1e4):
        wanted = "learning_rate" if rate >= 1 else "healthy"
        name, known = f"LSTM, Adam at {rate:g}", f"steps of {rate:g} per weight of about 0.2"
        found.append(
            Planted(name, 10, wanted, known, lambda rate=rate: with_rate(rate, "adam", 10))
        )
    for rate in (1e-3, 1e2, 1e4):
        wanted = "learning_rate" if rate >= 1 else "healthy"
        name, known = f"LSTM, SGD at {rate:g}", "clipped to a norm of 1, times the rate"
        found.append(Planted(name, 10, wanted, known, lambda rate=rate: with_rate(rate, "sgd", 10)))
    return found


def main() -> None:
    """Print the table, and the number of wrong diagnoses."""
    n_wrong = 0
    every = cases()
    for case in every:
        torch.manual_seed(7)
        verdict = case.judged()
        first = verdict.findings[0]
        mark = "" if verdict.kind == case.wanted else f"  WRONG, expected {case.wanted}"
        n_wrong += bool(mark)
        print(
            f"{case.name:34}{case.n_steps:>5}  {verdict.kind:14}{first.number:>12.4g}  {case.known}{mark}"
        )
    print(f"{len(every)} cases, {n_wrong} wrong")


if __name__ == "__main__":
    main()
