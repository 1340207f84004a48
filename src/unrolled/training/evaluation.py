"""How good a model is on rows it does not learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from unrolled.decoding.types import DecodingConfig
from unrolled.tasks.task import LabelPrediction, LabelTask, Prediction, Task, Tokenizers
from unrolled.text.batching import batches

N_DECODED_TOGETHER = 100
TOKENS_TOGETHER = 5_000
"""Bounds of a batch to answer."""
TOKENS_LABELLED_TOGETHER = 8_000
"""Bound of a batch to label."""


@torch.inference_mode()
def mean_loss(
    model: nn.Module,
    task: Task | LabelTask,
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
    with_attention: bool = False,
) -> list[Prediction]:
    """The model's answers in the order of the examples, computed among examples of like length.

    Args:
        model: left in evaluation mode.
        task: what it does.
        examples: encoded.
        tokenizers: by role.
        decoding: how answers are searched for.
        with_attention: whether answers carry their attention.
    """
    model.eval()
    answers: dict[int, Prediction] = {}
    for chosen in _decoded_together([max(task.lengths(example)) for example in examples]):
        inputs = [examples[index] for index in chosen]
        found = task.decode(model, inputs, tokenizers, decoding, with_attention)
        answers.update(zip(chosen, found, strict=True))
    return [answers[index] for index in range(len(examples))]


@torch.inference_mode()
def label_predictions(
    model: nn.Module, task: LabelTask, examples: Sequence[Any], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """What the model says of each example, in their order, computed among examples of like length."""
    model.eval()
    said: dict[int, LabelPrediction] = {}
    lengths = [task.lengths(example) for example in examples]
    for chosen in batches(lengths, TOKENS_LABELLED_TOGETHER, shuffle=False):
        found = task.answer(model, [examples[index] for index in chosen], tokenizers)
        said.update(zip(chosen, found, strict=True))
    return [said[index] for index in range(len(examples))]


def _decoded_together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices by rising length, in batches of many short inputs or few long ones."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        n_inputs = len(batch) + 1
        is_full = n_inputs > N_DECODED_TOGETHER or n_inputs * lengths[index] > TOKENS_TOGETHER
        if batch and is_full:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
