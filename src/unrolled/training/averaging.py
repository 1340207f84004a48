"""The running average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An average of the weights over the updates, to evaluate and save in their place.

    Exponential (Polyak & Juditsky 1992), with a decay above 0: after update n,
    average ← d · average + (1 − d) · weights with d = min(decay, n / (n + 9)), so that the first weights,
    which are noise, are soon forgotten.

    Uniform, from the call of `begin` on: the mean of the weights of that moment and of every later
    update. Begun when the validation metric stalls, under SGD with a constant learning rate, this is
    NT-ASGD (Merity, Keskar & Socher 2018, algorithm 1).

    Until then, at decay 0, it is off: it holds nothing, and the weights are the model's own.

    Args:
        model: whose trainable parameters are averaged.
        decay: 0…1, below 1.

    >>> model = nn.Linear(2, 3)
    >>> average = WeightAverage(model, decay=0.5)
    >>> average.update(step=1)
    >>> with average.in_place():
    ...     output = model(torch.zeros(1, 2))
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model = model
        self._n_averaged = 0  # above 0: uniform, over so many weights
        self._parameters: dict[str, nn.Parameter] = {}
        self._values: dict[str, Tensor] = {}
        if decay:
            self._start()

    def begin(self) -> None:
        """Average all weights alike from now on, the present ones included.

        Where averaging has begun, of either kind, nothing changes.
        """
        if not self._parameters:
            self._start()
            self._n_averaged = 1

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update `step`, from 1."""
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
        """The model with its averaged weights, inside the `with`; with its own again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """The averages by parameter name, a uniform one's count beside them; empty when off."""
        if not self._n_averaged:
            return self._values
        return {**self._values, _COUNT: torch.tensor(self._n_averaged)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the averages that `tensors` returned, begun if they were begun."""
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


# Beside parameter names, of which none has a space.
_COUNT = "weights averaged"
