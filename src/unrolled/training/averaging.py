"""The running average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An average of the weights over updates, to evaluate and save instead of the weights.

    Exponential (Polyak & Juditsky 1992), if decay is above 0: after update n,
    average ← d · average + (1 − d) · weights with d = min(decay, n / (n + 9)), so that the random initial
    weights are soon forgotten.

    Uniform, after a call of `begin`: the mean of the current weights and those after every later update.
    If it starts when the validation metric stalls, under SGD with a constant learning rate, this is
    NT-ASGD (Merity, Keskar & Socher 2018, algorithm 1).

    With decay 0 and before `begin`, averaging is off: nothing is stored, and the model keeps its weights.

    Args:
        model: model whose trainable parameters are averaged.
        decay: decay rate, from 0 to below 1.

    >>> model = nn.Linear(2, 3)
    >>> average = WeightAverage(model, decay=0.5)
    >>> average.update(step=1)
    >>> with average.in_place():
    ...     output = model(torch.zeros(1, 2))
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model = model
        self._n_averaged = 0  # number of averaged weights of a uniform average, else 0
        self._parameters: dict[str, nn.Parameter] = {}
        self._values: dict[str, Tensor] = {}
        if decay:
            self._start()

    def begin(self) -> None:
        """Start a uniform average with the current weights.

        Does nothing if averaging of either kind has already started.
        """
        if not self._parameters:
            self._start()
            self._n_averaged = 1

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after update `step`, counted from 1."""
        if not self._parameters:
            return
        if self._n_averaged:
            self._n_averaged += 1
            share = 1.0 / self._n_averaged
        else:
            share = 1.0 - min(self.decay, step / (step + 9))
        torch._foreach_lerp_(list(self._values.values()), list(self._parameters.values()), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model its averaged weights inside the `with` block, and its own afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """Averages by parameter name, and the count of a uniform average; empty if averaging is off."""
        if not self._n_averaged:
            return self._values
        return {**self._values, _COUNT: torch.tensor(self._n_averaged)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the averages that `tensors` returned."""
        if _COUNT in tensors:
            self.begin()
            self._n_averaged = int(tensors[_COUNT])
        for name, value in self._values.items():
            value.copy_(tensors[name])

    def _start(self) -> None:
        self._parameters = dict(self._model.named_parameters())
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}

    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._values[name] = self._values[name], parameter.data


# A key that cannot be a parameter name, because it has spaces.
_COUNT = "weights averaged"
