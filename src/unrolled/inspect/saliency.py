"""Saliency: how much each word that a model reads changes its loss, for every task.

With x_t the vector by which the first recurrent layers read token t (its embedding, and for a tagger its
spelling), and L the loss of the answer in nats, summed over its tokens:

    contribution  −∂L/∂x_t · x_t     gradient × input (Shrikumar, Greenside and Kundaje 2017, section 2)
    norm          ‖∂L/∂x_t‖          (Simonyan, Vedaldi and Zisserman 2014, section 3)

A contribution above 0 speaks for the answer: to first order, it is how much L would grow if x_t became 0.
`attribution` has integrated gradients, for labels. The computation is in float64, so that the gradient of
a loss near 0 does not vanish.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.inspect.example import Example, Matching, Tokens
from unrolled.layers.replay import Replay, ReplayedLayer, replaying, replica

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Saliency:
    """The saliency of the tokens of one text.

    Args:
        tokens: the tokens.
        contributions: `[T]`, −∂L/∂x_t · x_t.
        norms: `[T]`, ‖∂L/∂x_t‖.
    """

    tokens: Tokens
    contributions: Numbers
    norms: Numbers


def saliency_of(model: torch.nn.Module, example: Example) -> list[Saliency]:
    """The saliency of each text that the recurrent layers of a model read; none for rows cut in pieces.

    Args:
        model: the model; it stays as it is.
        example: the texts, and the loss.
    """
    copy = replica(model, torch.float64)
    for parameter in copy.parameters():
        parameter.requires_grad_(True)
    with torch.inference_mode(False), torch.enable_grad():
        with replaying(copy) as replay:
            total, _ = example.loss(copy)
        read = [(layer, place) for layer, place in _first_layers(replay, example) if layer.inputs]
        inputs = [x for layer, _ in read for x in layer.inputs]
        if not inputs or not total.requires_grad:
            return []
        given = torch.autograd.grad(total, inputs, allow_unused=True)
    gradients: dict[int, list[Tensor]] = {}
    start = 0
    for layer, place in read:
        of_layer = given[start : start + len(layer.inputs)]
        start += len(layer.inputs)
        gradient = torch.stack(
            [_or_zeros(*pair) for pair in zip(of_layer, layer.inputs, strict=True)]
        )
        x = torch.stack(layer.inputs).detach()
        gradients.setdefault(place, []).append(torch.stack([gradient[:, 0], x[:, 0]]))
    return [
        _saliency(example.sequences[place], parts) for place, parts in sorted(gradients.items())
    ]


def _first_layers(replay: Replay, example: Example) -> Iterator[tuple[ReplayedLayer, int]]:
    """The layers that read the tokens of a given text, and the index of this text."""
    matching = Matching(example)
    for layer in replay.layers:
        place = matching.place(layer.name, layer.lengths.tolist())
        if layer.layer == 0 and place is not None and place < example.n_given:
            yield layer, place


def _or_zeros(gradient: Tensor | None, x: Tensor) -> Tensor:
    return torch.zeros_like(x) if gradient is None else gradient


def _saliency(tokens: Tokens, parts: list[Tensor]) -> Saliency:
    """Add what the layers that read a text contribute; `parts` are ∂L/∂x and x, `[2, T, D]` each."""
    contributions_T = torch.stack([-(part[0] * part[1]).sum(1) for part in parts]).sum(0)
    gradients = [part[0] for part in parts]
    if all(torch.equal(part[1], parts[0][1]) for part in parts):
        gradient_TD = torch.stack(gradients).sum(0)  # both directions read the same vectors
    else:
        gradient_TD = torch.cat(gradients, dim=1)
    return Saliency(tokens, _array(contributions_T), _array(gradient_TD.norm(dim=1)))


def _array(values: Tensor) -> Numbers:
    found: Numbers = values.cpu().numpy()
    return found
