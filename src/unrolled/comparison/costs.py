"""What a model costs: multiply-adds of a token, the time of a step, and the size of the file.

Multiply-adds are those of matrix products in a forward pass over training examples, one at a time and so
without padding, divided by the tokens. They are counted while a float64 copy of the model runs by its
definition, because fused kernels hide what they compute. Element-wise operations do not count.

A streaming step advances every recurrent layer by one token of one row; a second direction is a layer of
its own. Embeddings, attention and the output layer do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unrolled.layers.replay import in_type_of, replaying, replica
from unrolled.ops.cells import CELLS
from unrolled.ops.stepping import packed_step, step
from unrolled.ops.types import Kind, State, Weights
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.task import AnyTask
from unrolled.training.kinds import build_loader
from unrolled.training.recipe import Recipe

_N_EXAMPLES = 16
_N_STEPS, _N_TURNS = 50, 9


def multiply_adds_per_token(recipe: Recipe, task: AnyTask, prepared: Any) -> int:
    """The multiply-adds of a forward pass, with the loss, per token of the batches.

    Args:
        recipe: the recipe of the model.
        task: its task.
        prepared: its prepared data.
    """
    loader = build_loader(recipe, task, prepared)
    with torch.random.fork_rng(devices=()):
        model = task.build(recipe.model, prepared.tokenizers).eval()
    loader.prepare(model)
    if task.kind is LANGUAGE_MODEL:
        batch, start = loader.sample(1)
        batches = [(batch, start)]
    else:
        collate: Any = task.collate
        examples = (prepared.train.examples[row] for row in prepared.train.evenly(_N_EXAMPLES))
        batches = [(collate([example]), loader.start) for example in examples]
    n_products = n_tokens = 0
    for batch, start in batches:
        copy = replica(model, torch.float64)
        given, carried = in_type_of(batch, copy), start(copy)
        with torch.no_grad(), FlopCounterMode(display=False) as counter, replaying(copy):
            loader.loss(copy, given, carried)
        n_products += counter.get_total_flops() // 2
        n_tokens += batch.n_tokens
    return round(n_products / max(1, n_tokens))


def step_seconds(model: nn.Module) -> float | None:
    """The time of a streaming step; None if the model has no recurrent layer of its own.

    It is measured several times, and the shortest time counts: other programs disturb the rest.

    Args:
        model: a model on the CPU.
    """
    layers = list(_layers_of(model))
    if not layers:
        return None
    with torch.no_grad():
        steps = [_stepper(kind, weights) for kind, weights in layers]
        return min(_time_of(steps) for _ in range(_N_TURNS))


def _time_of(steps: list[Callable[[], None]]) -> float:
    began = time.perf_counter()
    for _ in range(_N_STEPS):
        for one in steps:
            one()
    return (time.perf_counter() - began) / _N_STEPS


def _stepper(kind: Kind, weights: Weights) -> Callable[[], None]:
    """What advances a layer by one step, from the state that it reached."""
    packed = packed_step(kind, weights)
    x = torch.zeros(1, weights.input_size)
    state: State = tuple(torch.zeros(1, weights.hidden_size) for _ in range(CELLS[kind].n_states))

    def advance() -> None:
        nonlocal state
        state = step(kind, x, state, weights) if packed is None else packed(x, state)

    return advance


def _layers_of(model: nn.Module) -> Iterator[tuple[Kind, Weights]]:
    """Every layer and direction of a model, with the cell."""
    for module in model.modules():
        mode = getattr(module, "mode", None)
        if not isinstance(mode, str) or not hasattr(module, "weight_ih_l0"):
            continue
        depth = 0
        while hasattr(module, f"weight_ih_l{depth}"):
            for suffix in (f"l{depth}", f"l{depth}_reverse"):
                if hasattr(module, f"weight_ih_{suffix}"):
                    yield mode.lower(), _weights(module, suffix)
            depth += 1


def _weights(module: Any, suffix: str) -> Weights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    tensors: list[Tensor | None] = [getattr(module, f"{name}_{suffix}", None) for name in names]
    return Weights(*(None if each is None else each.detach() for each in tensors))  # type: ignore[arg-type]
