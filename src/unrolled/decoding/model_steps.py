"""The steps of a language model that is a module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unrolled.decoding.steps import Array, KernelSteps, Steps
from unrolled.generating import LanguageWeights
from unrolled.ops import generating
from unrolled.shapes import Float

Layers = tuple[tuple[Tensor, ...], ...]
"""A language model's state: the tensors of each layer, `[B, H]`."""


class Head(Protocol):
    """The output layer."""

    def logits(self, hidden: Tensor) -> Tensor:
        """`[B, H]` → `[B, V]`."""
        ...


class LanguageModelLike(Protocol):
    """A language model that can be advanced by one token."""

    @property
    def head(self) -> Head: ...

    def start(self, n_rows: int) -> Layers:
        """The initial state."""
        ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Layers]:
        """Read `ids`, `[B]` int64 → (hidden `[B, H]`, the new state); the old one stays valid.

        A model may also have `packed(before, many_steps)`, which returns its weights arranged for the
        steps of one call, or None. Weights so returned are passed to `step` as the third argument. And it
        may have `kernel_weights()`, which returns those that `generating.LanguageKernels` takes in place
        of its steps, or None if that would not be the same; `hidden` is then h of the last layer.
        """
        ...


@dataclass(frozen=True)
class Read:
    """The state of R rows: the input of the output layer, and that of the layers."""

    hidden: Float[Tensor, "R H"] | None
    layers: Layers


class ModelSteps(Steps):
    """The steps of a module on any device.

    Args:
        model: the language model.
        packed: what its method `packed` has returned, if it has one.
    """

    def __init__(self, model: LanguageModelLike, packed: Any = None) -> None:
        self._model, self._packed = model, packed

    def current(self) -> ModelSteps:
        return self._packed_anew(many_steps=False)

    def prepared(self) -> ModelSteps:
        return self._packed_anew(many_steps=True)

    def _packed_anew(self, many_steps: bool) -> ModelSteps:
        packed = getattr(self._model, "packed", None)
        if packed is None:
            return self
        with torch.no_grad():
            return ModelSteps(self._model, packed(self._packed, many_steps=many_steps))

    def start(self) -> Read:
        return Read(None, self._model.start(1))

    def read(self, tokens: Sequence[int], state: Read) -> Read:
        packed = () if self._packed is None else (self._packed,)
        with torch.no_grad():
            ids = torch.tensor(tokens, device=state.layers[0][0].device)
            return Read(*self._model.step(ids, state.layers, *packed))

    def log_probs(self, *states: Read) -> Float[Tensor, "R V"]:
        with torch.no_grad():
            hidden = torch.cat([_known(state) for state in states])
            return self._model.head.logits(hidden).float().log_softmax(1).cpu()

    def scores_of(self, state: Read, tokens: Array) -> Array:
        logits_of = getattr(self._model.head, "logits_of", None)
        ids = torch.from_numpy(tokens)
        if logits_of is None:
            return self.log_probs(state)[0][ids].numpy()
        # Most of the time would go into reading the weights of words that do not match.
        hidden = _known(state)
        with torch.no_grad():
            scores: Tensor = logits_of(hidden, ids.to(hidden.device))[0].float().cpu()
        return scores.numpy()

    def rows(self, parts: Sequence[tuple[Read, Sequence[int]]]) -> Read:
        chosen = [(state, torch.tensor(rows)) for state, rows in parts]

        def joined(tensors: Sequence[Tensor]) -> Tensor:
            return torch.cat(
                [
                    tensor.index_select(0, rows.to(tensor.device))
                    for tensor, (_, rows) in zip(tensors, chosen, strict=True)
                ]
            )

        hidden = joined([_known(state) for state, _ in chosen])
        layers = zip(*(state.layers for state, _ in chosen), strict=True)
        return Read(hidden, tuple(tuple(map(joined, zip(*each, strict=True))) for each in layers))

    def quick(self, state: Read, *, is_long: bool) -> tuple[Steps, Any]:
        weights_of = getattr(self._model, "kernel_weights", None)
        weights: LanguageWeights | None = weights_of() if weights_of else None
        if weights is None or not (is_long or weights.precision == "float32"):
            return self.prepared(), state
        if generating.why_not(weights, state.layers) is not None:
            return self.prepared(), state
        arrays, n_threads = generating.arrays_of(weights), torch.get_num_threads()
        return KernelSteps(arrays, n_threads), generating.row_of(state.layers)


def _known(state: Read) -> Tensor:
    assert state.hidden is not None, "the initial state predicts nothing"
    return state.hidden
