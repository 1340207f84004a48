"""Loss and predictions of a model on held-out data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from unrolled.decoding.config import DecodingConfig
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.reporting import counted
from unrolled.tasks.predictions import LabelPrediction, Prediction
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import LabelTask, StreamTask, Task
from unrolled.tasks.text_labels import digested
from unrolled.text.batching import batches
from unrolled.text.corpus.corpus import TokenStream
from unrolled.text.corpus.windows import Windows
from unrolled.wording import percent

N_DECODED_TOGETHER = 100
TOKENS_TOGETHER = 5_000
"""Maximum sentences and tokens of a batch to decode."""
TOKENS_LABELLED_TOGETHER = 8_000
"""Maximum tokens of a batch to label."""
_PROBABILITIES_TOGETHER = 16_000_000


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
        model: the model; it is left in evaluation mode.
        task: its task.
        examples: encoded examples, at least one.
        max_tokens: maximum tokens of a batch; affects only speed and memory.
        device: device of the model.
        precision: reusable context in which to compute.
    """
    model.eval()
    lengths = [task.lengths(example) for example in examples]
    total, n_targets = 0.0, 0
    chosen = batches(lengths, max_tokens, shuffle=False)
    for indices in counted(chosen, "computing the loss", "examples", len(examples), len):
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
    """A prediction for each example, in order; examples of similar length are batched together.

    Args:
        model: the model; it is left in evaluation mode.
        task: its task.
        examples: encoded examples.
        tokenizers: tokenizers by role.
        decoding: search settings.
        with_attention: whether predictions include attention weights.
    """
    model.eval()
    by_index: dict[int, Prediction] = {}
    together = _decoded_together([max(task.lengths(example)) for example in examples])
    for chosen in counted(together, "decoding", "examples", len(examples), len):
        inputs = [examples[index] for index in chosen]
        decoded = task.decode(model, inputs, tokenizers, decoding, with_attention)
        by_index.update(zip(chosen, decoded, strict=True))
    return [by_index[index] for index in range(len(examples))]


@torch.inference_mode()
def label_predictions(
    model: nn.Module,
    task: LabelTask,
    examples: Sequence[Any],
    tokenizers: Tokenizers,
    digests: bool = False,
) -> list[LabelPrediction]:
    """A prediction for each example, in order; examples of similar length are batched together.

    Args:
        model: the model; it is left in evaluation mode.
        task: its task.
        examples: encoded examples.
        tokenizers: tokenizers by role, and the labels.
        digests: whether to replace the probabilities of many labels, see `text_labels.digested`.
    """
    model.eval()
    by_index: dict[int, LabelPrediction] = {}
    lengths = [task.lengths(example) for example in examples]
    together = batches(lengths, TOKENS_LABELLED_TOGETHER, shuffle=False)
    labels = tokenizers[LABELS]
    most = max(1, _PROBABILITIES_TOGETHER // len(labels))
    for batch in counted(together, "predicting", "examples", len(examples), len):
        for first in range(0, len(batch), most):
            chosen = batch[first : first + most]
            inputs = [examples[index] for index in chosen]
            predicted = task.predict(model, inputs, tokenizers)
            if digests:
                predicted = digested(inputs, predicted, labels)
            by_index.update(zip(chosen, predicted, strict=True))
    return [by_index[index] for index in range(len(examples))]


def _decoded_together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices by increasing length, in batches of many short inputs or few long ones."""
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


Precision = AbstractContextManager[None]


STEPS_TOGETHER = 256
"""Steps of a window in evaluation."""


def reading(stream: TokenStream, n_rows: int, restart: bool, backward: bool = False) -> str:
    """How `stream_loss` reads a text, for the signature of a score."""
    state = "restarts with each document" if restart else "carried"
    cut = "" if n_rows == 1 else f"|{n_rows} rows, each without a past"
    unknown = stream.n_unknown / max(1, stream.n_tokens)
    known = "" if not unknown else f", {percent(unknown, 2)} unknown"
    order = "|read from right to left" if backward else ""
    return f"state {state}{cut}|{stream.n_tokens} tokens{known}{order}"


@torch.inference_mode()
def stream_loss(
    model: nn.Module,
    task: StreamTask,
    stream: TokenStream,
    n_rows: int = 1,
    restart: bool = False,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
    cache: ContinuousCache | None = None,
    backward: bool = False,
) -> tuple[float, int]:
    """The mean loss over all tokens of a text, in nats, and the number of tokens.

    Args:
        model: the model; it is left in evaluation mode.
        task: its task.
        stream: the text.
        n_rows: number of rows the text is split into; each starts without context, so only 1 is exact.
        restart: whether to reset the state at each document.
        device: device of the model.
        precision: reusable context in which to compute.
        cache: cache of recent words to mix with the model's distribution; it must be empty, and n_rows 1.
        backward: whether the model reads from right to left.
    """
    model.eval()
    windows = Windows(stream.ids, n_rows, STEPS_TOGETHER, 0, restart, whole=True, backward=backward)
    state = task.start(model, windows.n_rows)
    total, n_targets = 0.0, 0
    for index in counted(range(len(windows)), "computing the loss", "windows", len(windows)):
        batch = task.collate(windows[index]).to(device)
        with precision or nullcontext():
            loss, count, state = task.evaluate_loss(model, batch, state, cache)
        total += float(loss)
        n_targets += count
    return total / max(1, n_targets), n_targets
