"""Estimate the time and memory of a training run on this machine, from updates of its own model.

A few batches of the data are trained on, as `unrolled train` would: the largest one, and others spread
evenly over all sizes. Each is timed several times, as far as a few seconds allow, and the fastest counts:
the first includes work that is done once, and other programs disturb the rest. The time of an epoch is
that of these batches, scaled to all batches by their size with padding. The validation pass is timed on
some rows in the same way. For memory, see `data_report.memory`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.data_report.memory import MemoryGauge
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask, LabelTask, Task
from unrolled.text.batching import batches
from unrolled.text.rows import Row
from unrolled.training.config import TrainingConfig
from unrolled.training.dataset import Part, PreparedRows, PreparedText, evenly
from unrolled.training.loaders import LabelLoader, Loader, RowLoader, WindowLoader
from unrolled.training.recipe import Recipe
from unrolled.training.trainer import Trainer
from unrolled.wording import count_of

_SECONDS = 4.0  # for updates; the last one may take longer
_MOST_TURNS = 6
_N_BATCHES = 8  # besides the largest
_N_VALID_ROWS = 128
_VALID_TOKENS = 8_000  # of running text


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a training run on this machine.

    Args:
        seconds_reading: time of reading and encoding the data.
        seconds_per_epoch: time of one pass over the training part.
        steps_per_epoch: number of updates in it.
        seconds_per_evaluation: time of an evaluation on the validation part.
        n_bytes: peak memory of the process; on a GPU, of the GPU. None if the system does not tell.
        n_model_bytes: the part of it for weights, gradients and the state of the optimizer.
        device: device of the model, e.g. "cpu".
        training: the `[training]` section, for when training ends.
    """

    seconds_reading: float
    seconds_per_epoch: float
    steps_per_epoch: int
    seconds_per_evaluation: float
    n_bytes: int | None
    n_model_bytes: int
    device: str
    training: TrainingConfig

    @property
    def least_steps(self) -> int:
        """Updates until training can end by patience: the first evaluation, and none is better."""
        n_evaluations, n_steps = self.training.patience_for(self.steps_per_epoch)
        interval = self.training.steps_between_evaluations(self.steps_per_epoch)
        return interval + max(n_evaluations * interval, math.ceil(n_steps / interval) * interval)

    def seconds_of(self, n_steps: float) -> float:
        """The time of so many updates, with the evaluations between them."""
        interval = self.training.steps_between_evaluations(self.steps_per_epoch)
        each = self.seconds_per_epoch / self.steps_per_epoch
        return n_steps * each + math.ceil(n_steps / interval) * self.seconds_per_evaluation

    def facts(self) -> list[tuple[str, str]]:
        """Name and text of each line of the report."""
        each = self.seconds_per_epoch / self.steps_per_epoch
        threads = self.device
        if self.device == "cpu":
            threads = count_of(torch.get_num_threads(), "CPU thread")
        updates = count_of(self.steps_per_epoch, "update")
        facts = [
            (
                "time",
                f"an epoch takes about {about(self.seconds_per_epoch)} ({updates} of {about(each)}), "
                f"an evaluation {about(self.seconds_per_evaluation)}, reading the data "
                f"{about(self.seconds_reading)}; measured on {threads}",
            ),
            ("end", self._end()),
        ]
        if self.n_bytes is not None:
            where = "" if self.device == "cpu" else " of the GPU"
            facts.append(
                (
                    "memory",
                    f"about {size(self.n_bytes)} at the peak{where}; {size(self.n_model_bytes)} of it "
                    "for weights, gradients and optimizer",
                )
            )
        return facts

    def _end(self) -> str:
        config = self.training
        limits = []
        for name, n_steps in (
            ("max_steps", config.max_steps),
            ("max_epochs", config.max_epochs * self.steps_per_epoch),
        ):
            if n_steps:
                limits.append((self.seconds_of(n_steps), name))
        if config.max_minutes:
            limits.append((60 * config.max_minutes, "max_minutes"))
        texts = []
        if limits:
            seconds, name = min(limits)
            value = f"{getattr(config, name):g}"
            texts.append(f"training ends after about {about(seconds)} (training.{name} = {value})")
        if config.patience:
            least = self.least_steps
            n_epochs = least / self.steps_per_epoch
            texts.append(
                f"{'it ends earlier' if limits else 'training ends'} "
                f"{config.end_of_patience(self.steps_per_epoch)}: "
                f"at least {about(self.seconds_of(least))} ({least:,} steps, {n_epochs:.3g} epochs)"
            )
        return "; ".join(texts) or "training has no stopping criterion"


def about(seconds: float) -> str:
    """A duration with two significant digits, for people.

    >>> about(0.0123), about(0.5), about(8.26), about(95), about(4000), about(200_000)
    ('12 ms', '0.5 s', '8.3 s', '1 min 35 s', '1 h 7 min', '2 d 8 h')
    """
    if seconds < 0.0995:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    unit, smaller, length, n = "d", "h", 86_400, 24
    if seconds < 86_400:
        unit, smaller, length, n = "h", "min", 3600, 60
    if seconds < 3600:
        unit, smaller, length, n = "min", "s", 60, 60
    whole, rest = divmod(round(seconds * n / length), n)
    if whole >= 10:
        return f"{round(seconds / length):,} {unit}"
    return f"{whole:,} {unit} {rest} {smaller}" if rest else f"{whole:,} {unit}"


def size(n_bytes: float) -> str:
    """A number of bytes, for people.

    >>> size(3_400_000), size(940_000_000), size(2_345_000_000)
    ('3 MB', '0.9 GB', '2.3 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 95e6 else f"{max(1, n_bytes / 1e6):.0f} MB"


def of_rows(
    recipe: Recipe,
    task: Task | LabelTask,
    tokenizers: Tokenizers,
    train: tuple[Sequence[Row], Sequence[tuple[int, ...]]],
    valid: tuple[Sequence[Row], Sequence[tuple[int, ...]]],
    seconds_reading: float,
) -> Estimate:
    """Estimate the cost of training on rows.

    Args:
        recipe: recipe of the run.
        task: its task.
        tokenizers: tokenizers by role, and the labels.
        train: training rows, and the number of tokens of each of their texts, as in `Task.lengths`.
        valid: the same for the validation part.
        seconds_reading: time of reading and encoding the data.

    Raises:
        UnrolledError: training would be refused.
    """
    recipe = _with_model(recipe, task)
    rows, lengths = train
    chosen = list(batches(lengths, recipe.training.max_tokens, recipe.seed, 1))
    costs = _costs(chosen, np.array(lengths, np.int64))
    sample = _spread(costs)
    parts = [
        _part([rows[i] for i in chosen[number]], recipe, task, tokenizers) for number in sample
    ]
    places = np.cumsum([0, *(len(part.rows) for part in parts)])
    rows_of_batches = [
        list(range(start, end)) for start, end in itertools.pairwise(places.tolist())
    ]
    n_valid = len(valid[0])
    few = evenly(len(valid[0]), _N_VALID_ROWS)
    held_out = _part([valid[0][i] for i in few], recipe, task, tokenizers)
    prepared = PreparedRows(_joined(parts), held_out, 0, 0, tokenizers)
    loader: _SampledRows | _SampledLabels
    if isinstance(task, LabelTask):
        loader = _SampledLabels(recipe, task, prepared)
    else:
        loader = _SampledRows(recipe, task, prepared)
    loader.fix(rows_of_batches)
    share = len(few) / max(1, n_valid)
    measured = _measure(_for_validation(recipe, task, held_out, share), task, loader, len(chosen))
    per_epoch = sum(measured.seconds) / costs[sample][: len(measured.seconds)].sum() * costs.sum()
    return Estimate(
        seconds_reading=seconds_reading,
        seconds_per_epoch=float(per_epoch),
        steps_per_epoch=math.ceil(len(chosen) / recipe.training.accumulate),
        seconds_per_evaluation=measured.evaluation / max(share, 1e-9),
        n_bytes=measured.n_bytes,
        n_model_bytes=measured.n_model_bytes,
        device=measured.device,
        training=recipe.training,
    )


def of_text(recipe: Recipe, task: Any, prepared: PreparedText, seconds_reading: float) -> Estimate:
    """Estimate the cost of training on running text; arguments and errors are those of `of_rows`."""
    recipe = _with_model(recipe, task)
    n_valid = prepared.valid.n_tokens
    if recipe.data.valid_tokens:
        n_valid = min(n_valid, recipe.data.valid_tokens)
    n_read = min(n_valid, _VALID_TOKENS)
    short = replace(recipe, data=replace(recipe.data, valid_tokens=n_read))
    loader = WindowLoader(short, task, prepared)
    n_batches = loader.n_batches(1)
    measured = _measure(short, task, loader, n_batches)
    each = float(np.median(measured.seconds))
    return Estimate(
        seconds_reading=seconds_reading,
        seconds_per_epoch=each * n_batches,
        steps_per_epoch=math.ceil(n_batches / recipe.training.accumulate),
        seconds_per_evaluation=measured.evaluation * n_valid / max(1, n_read),
        n_bytes=measured.n_bytes,
        n_model_bytes=measured.n_model_bytes,
        device=measured.device,
        training=recipe.training,
    )


def _with_model(recipe: Recipe, task: AnyTask) -> Recipe:
    return recipe if recipe.model is not None else replace(recipe, model=task.Config())


def _costs(chosen: Sequence[Sequence[int]], lengths: np.ndarray) -> np.ndarray:
    """The size of each batch with padding, over all sides."""
    sizes = [len(rows) * lengths[rows].max(axis=0, initial=1).sum() for rows in chosen]
    return np.array(sizes, np.float64)


def _spread(costs: np.ndarray) -> list[int]:
    """The largest batch, and others that are spread evenly over all batches in the order of size."""
    order = np.argsort(costs, kind="stable")
    n = min(len(order) - 1, _N_BATCHES)
    middles = [order[(2 * i + 1) * (len(order) - 1) // (2 * n)] for i in range(n)]
    # Large and small batches alternate, so that those measured within the time are of all sizes.
    return [int(order[-1]), *(int(middles[i]) for i in [*range(0, n, 2), *range(1, n, 2)])]


def _part(rows: Sequence[Row], recipe: Recipe, task: Task | LabelTask, tokenizers: Any) -> Part:
    examples: list[Any] = []
    for row in rows:
        if isinstance(task, LabelTask):
            example = task.encode(row.fields, tokenizers, recipe.data)
            if max(task.lengths(example)) > recipe.data.max_length:
                example = task.cut(example, recipe.data)
        else:
            example = task.encode(row.texts, tokenizers)
        examples.append(example)
    lengths = np.array([task.lengths(example) for example in examples], np.int64)
    return Part(list(rows), examples, lengths.reshape(len(rows), -1 if rows else 1), 0)


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        [row for part in parts for row in part.rows],
        [example for part in parts for example in part.examples],
        np.concatenate([part.lengths for part in parts]),
        0,
    )


def _for_validation(recipe: Recipe, task: AnyTask, valid: Part, share: float) -> Recipe:
    """The recipe with a share of the validation, and outputs as long as the references.

    A model without training would not end its outputs before their maximum length.
    """
    n_sentences = math.ceil(recipe.training.valid_sentences * share)
    recipe = replace(recipe, training=replace(recipe.training, valid_sentences=n_sentences))
    if not isinstance(task, Task):
        return recipe
    n_read, n_written = np.array(valid.lengths, np.float64).reshape(-1, 2).sum(axis=0) + 1
    ratio = min(100.0, float(n_written / n_read))
    decoding = replace(
        recipe.decoding, max_length_ratio=ratio, max_length_extra=1, min_length_limit=0
    )
    return replace(recipe, decoding=decoding)


class _SampledRows(RowLoader):
    """A loader of given batches."""

    def fix(self, rows_of_batches: list[list[int]]) -> None:
        """Set the batches of every epoch."""
        self._fixed = rows_of_batches

    def _of_epoch(self, epoch: int) -> list[list[int]]:
        return self._fixed


class _SampledLabels(_SampledRows, LabelLoader):
    """A loader of given batches of labelled rows."""


@dataclass(frozen=True)
class _Measured:
    """Seconds of the update on each batch and of an evaluation, and peak memory."""

    seconds: list[float]
    evaluation: float
    n_bytes: int | None
    n_model_bytes: int
    device: str


def _measure(recipe: Recipe, task: AnyTask, loader: Loader, n_updates: int) -> _Measured:
    # With all layers trained, as at the end; frozen ones take less time and memory.
    training = replace(recipe.training, accumulate=1, unfreeze_every_n_epochs=0)
    recipe = replace(recipe, training=training)
    trainer = Trainer(recipe, task, loader, Path())
    trainer.begin()
    gauge = MemoryGauge(trainer.device)
    began, n_batches = time.perf_counter(), min(loader.n_batches(1), _N_BATCHES + 1)
    seconds: list[float] = []
    for turn in range(_MOST_TURNS):
        trainer.progress.batch, trainer.progress.epoch = 0, 1
        for number in range(n_batches):
            before = time.perf_counter()
            trainer.update()
            now = time.perf_counter()
            if not seconds:
                gauge.note_first_update(_n_model_bytes(trainer) - _n_weight_bytes(trainer))
            if turn:
                seconds[number] = min(seconds[number], now - before)
            else:
                seconds.append(now - before)
            if now - began > (_SECONDS if turn else _SECONDS / 2):
                break
        n_batches = len(seconds)
        if now - began > _SECONDS:
            break
    began = time.perf_counter()
    loader.evaluate(trainer.model, recipe, trainer.device, trainer.precision)
    evaluation = time.perf_counter() - began
    if evaluation < _SECONDS / 4:
        began = time.perf_counter()
        loader.evaluate(trainer.model, recipe, trainer.device, trainer.precision)
        evaluation = min(evaluation, time.perf_counter() - began)
    n_bytes = gauge.estimate(n_updates, task.kind is LANGUAGE_MODEL)
    return _Measured(seconds, evaluation, n_bytes, _n_model_bytes(trainer), str(trainer.device))


def _n_weight_bytes(trainer: Trainer) -> int:
    return sum(each.numel() * each.element_size() for each in trainer.parameters)


def _n_model_bytes(trainer: Trainer) -> int:
    """Weights, gradients, and the state of the optimizer."""
    state = [
        value
        for values in trainer.optimiser.state.values()
        for value in values.values()
        if isinstance(value, torch.Tensor)
    ]
    return 2 * _n_weight_bytes(trainer) + sum(each.numel() * each.element_size() for each in state)
