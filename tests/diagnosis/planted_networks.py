"""Recurrent networks whose gradient is known from their weights, and their diagnosis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unrolled import nn
from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.updates import Updates
from unrolled.diagnosis.verdict import Verdict, judge
from unrolled.training.config import TrainingConfig
from unrolled.training.inspection import try_updates


@dataclass(frozen=True)
class Setting:
    """What varies between cases of a kind.

    Args:
        T: number of steps.
        H: width of the state.
        B: number of rows.
        seed: of weights and inputs.
        dtype: of weights.
    """

    T: int
    H: int = 8
    B: int = 1
    seed: int = 7
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        kind = "f64" if self.dtype is torch.float64 else "f32"
        return f"T={self.T} H={self.H} B={self.B} seed={self.seed} {kind}"


class Last(torch.nn.Module):
    """The sum of the last hidden states of a layer."""

    def __init__(self, layer: torch.nn.Module, x: Tensor) -> None:
        super().__init__()
        self.layer, self.x = layer, x

    def loss(self) -> tuple[Tensor, int]:
        y, _ = self.layer(self.x.to(self.layer.weight_ih_l0.dtype))
        return y[-1].sum(), 1


D = 3  # inputs


def of_layer(layer: torch.nn.Module, setting: Setting, scale: float = 0.0) -> Verdict:
    """The diagnosis of a layer with normal inputs of this deviation."""
    x = scale * torch.randn(setting.T, setting.B, D)
    flow = measure_flow(Last(layer.to(setting.dtype), x), Last.loss, detailed=False)
    return judge(flow)


def by_factor(factor: float, n_steps: int) -> str:
    """The diagnosis if the gradient is multiplied by a factor at each step."""
    left = (n_steps - 1) * math.log10(factor)
    return "vanishing" if left < -3 else "exploding" if left > 1 else "healthy"


def emptied(layer: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer


# Without input


def linear_rnn(setting: Setting, radius: float, nonlinearity: str = "tanh") -> Verdict:
    """U = ρ Q with Q orthogonal, no input: the state stays 0, where tanh' = 1."""
    layer = emptied(nn.RNN(D, setting.H, nonlinearity=nonlinearity))
    with torch.no_grad():
        torch.nn.init.orthogonal_(layer.weight_hh_l0)
        layer.weight_hh_l0 *= radius
    return of_layer(layer, setting)


def scaled_identity(setting: Setting, factor: float) -> Verdict:
    """U = a I, positive inputs: every unit of the ReLU is active, and J = a I."""
    layer = emptied(nn.RNN(D, setting.H, nonlinearity="relu", recurrent_init="identity"))
    with torch.no_grad():
        layer.bias_ih_l0.fill_(0.01)
        layer.weight_hh_l0.copy_(factor * torch.eye(setting.H))
    return of_layer(layer, setting)


def sigmoid_rnn(setting: Setting) -> Verdict:
    """U orthogonal: σ' ≤ 1/4 at each step."""
    layer = emptied(nn.layer_of("rnn_sigmoid")(D, setting.H))
    torch.nn.init.orthogonal_(layer.weight_hh_l0)
    return of_layer(layer, setting)


def biased(setting: Setting, cell: str, **biases: float) -> Verdict:
    """U = 0 and no input, and these biases of gates and candidates; others are 0."""
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    layer = emptied(kind(D, setting.H))
    with torch.no_grad():
        for place, name in enumerate("ifgo" if cell == "lstm" else "rzn"):
            block = slice(place * setting.H, (place + 1) * setting.H)
            layer.bias_ih_l0[block] = biases.get(name, 0.0)
    return of_layer(layer, setting)


def dead_relu(setting: Setting, share: float) -> Verdict:
    """A bias of −10 of these units that no input outweighs; the others keep their sum."""
    layer = nn.RNN(D, setting.H, nonlinearity="relu", recurrent_init="identity")
    n_dead = round(share * setting.H)
    with torch.no_grad():
        layer.bias_ih_l0.fill_(0.1)
        layer.bias_ih_l0[:n_dead] = -10.0
    return of_layer(layer, setting, 1.0)


# With random inputs


def new_layer(setting: Setting, cell: str, **options: object) -> Verdict:
    """A layer as recipes initialise it, on normal inputs."""
    layer = nn.layer_of(cell)(D, setting.H, recurrent_init="orthogonal", **options)
    return of_layer(layer, setting, 1.0)


def wide_inputs(setting: Setting, cell: str, factor: float) -> Verdict:
    """Inputs whose weighted sums are far beyond the ends of tanh and the sigmoid."""
    layer = nn.layer_of(cell)(D, setting.H)
    with torch.no_grad():
        layer.weight_ih_l0 *= factor
    return of_layer(layer, setting, 1.0)


# With updates


class Classifier(torch.nn.Module):
    """A layer and a linear head, on random texts with random labels."""

    def __init__(self, setting: Setting, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.LSTM(D, setting.H, forget_bias=forget_bias)
        self.head = torch.nn.Linear(setting.H, 4)
        self.x = torch.randn(setting.T, setting.B, D)
        self.y = torch.randint(4, (setting.B,))

    def loss(self) -> tuple[Tensor, int]:
        y, _ = self.layer(self.x.to(self.head.weight.dtype))
        return cross_entropy(self.head(y[-1]), self.y, reduction="sum"), len(self.y)


def with_rate(
    setting: Setting, rate: float, optimiser: str = "adam", forget_bias: float = 1.0
) -> Verdict:
    """The diagnosis with ten trial updates."""
    model = Classifier(setting, forget_bias).to(setting.dtype)
    config = TrainingConfig(learning_rate=rate, optimiser=optimiser, max_steps=1)
    updates = try_updates(model, Classifier.loss, config)
    return judge(measure_flow(model, Classifier.loss, detailed=False), updates)


# Trained


class Recall(torch.nn.Module):
    """A layer and a linear head that tell the first token of a text, one of eight, after its noise."""

    N, NOISE = 8, 4

    def __init__(self, setting: Setting, cell: str, **options: object) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(self.N + self.NOISE, 16)
        self.layer = nn.layer_of(cell)(16, setting.H, **options)
        self.head = torch.nn.Linear(setting.H, self.N)
        self.T, self.B = setting.T, setting.B
        self.ids = self.new_ids()

    def new_ids(self) -> Tensor:
        first = torch.randint(self.N, (1, self.B))
        noise = torch.randint(self.N, self.N + self.NOISE, (self.T - 1, self.B))
        return torch.cat([first, noise])

    def logits(self) -> Tensor:
        y, _ = self.layer(self.embed(self.ids))
        return self.head(y[-1])

    def loss(self) -> tuple[Tensor, int]:
        return cross_entropy(self.logits(), self.ids[0], reduction="sum"), self.B


@cache
def trained(
    setting: Setting, cell: str, rate: float, n_updates: int, **options: object
) -> tuple[Recall, list[float], float]:
    """A trained model, its losses, and the share of new texts of which it knows the first token."""
    torch.manual_seed(setting.seed)
    model, losses = Recall(setting, cell, **options).to(setting.dtype), []
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for _ in range(n_updates):
        model.ids = model.new_ids()
        total, count = model.loss()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(total.detach()) / count)
    right = 0.0
    with torch.no_grad():
        for _ in range(10):
            model.ids = model.new_ids()
            right += float((model.logits().argmax(1) == model.ids[0]).double().mean()) / 10
    return model, losses, right


def after_training(
    setting: Setting,
    cell: str,
    rate: float,
    n_updates: int,
    least: float,
    most: float,
    with_losses: bool,
    **options: object,
) -> Verdict:
    """The diagnosis of a trained model that is right this often, with or without its losses."""
    model, losses, right = trained(setting, cell, rate, n_updates, **options)
    assert least <= right <= most, right
    flow = measure_flow(model, Recall.loss, detailed=False)
    return judge(
        flow, Updates(rate, first_loss=losses[0], last_loss=losses[-1]) if with_losses else None
    )
