"""How good a model is on rows it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from unrolled.decoding.records import DecodingConfig
from unrolled.tasks.task import Prediction, Task, Tokenizers
from unrolled.text.batches import batches

N_DECODED_TOGETHER = 100


@torch.inference_mode()
def mean_loss(
    model: nn.Module,
    task: Task,
    examples: Sequence[Any],
    max_tokens: int,
    device: torch.device | str = "cpu",
    precision: AbstractContextManager[None] | None = None,
) -> float:
    """The mean of `task.evaluate_loss`, in nats per target.

    Args:
        model: left in evaluation mode.
        task: what it does.
        examples: encoded, at least one.
        max_tokens: budget of a batch; only speed and memory depend on it.
        device: where the model is.
        precision: the context to compute in; it must allow to be entered again and again.
    """
    model.eval()
    lengths = [task.lengths(example) for example in examples]
    total, n_targets = 0.0, 0
    for indices in batches(lengths, max_tokens, shuffle=False):
        batch = task.collate([examples[index] for index in indices]).to(device)
        with precision or nullcontext():
            loss, count = task.evaluate_loss(model, batch)
        total += float(loss)
        n_targets += count
    return total / max(1, n_targets)


def predictions(
    model: nn.Module,
    task: Task,
    examples: Sequence[Any],
    tokenizers: Tokenizers,
    decoding: DecodingConfig,
) -> list[Prediction]:
    """The model's answers in the order of the examples, computed among examples of like length.

    Args:
        model: left in evaluation mode.
        task: what it does.
        examples: encoded.
        tokenizers: by role.
        decoding: how answers are searched for.
    """
    model.eval()
    order = sorted(range(len(examples)), key=lambda index: task.lengths(examples[index]))
    answers: dict[int, Prediction] = {}
    for start in range(0, len(order), N_DECODED_TOGETHER):
        chosen = order[start : start + N_DECODED_TOGETHER]
        inputs = [examples[index] for index in chosen]
        found = task.decode(model, inputs, tokenizers, decoding, False)
        answers.update(zip(chosen, found, strict=True))
    return [answers[index] for index in range(len(examples))]
