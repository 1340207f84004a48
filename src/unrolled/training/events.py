"""What `fit` reports, in the order it happens. Each event is a record; nothing calls back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Started:
    """Data, vocabularies and model are ready; nothing is trained yet in this session.

    Args:
        step: updates already done: 0, or where a resumed run goes on.
        unit: what sizes are counted in: "rows", or "tokens" of running text.
        sizes: used, by part ("train", "valid"), and in "test".
        skipped: rows left out by part, for their length or an empty side.
        vocabulary_sizes: entries by tokenizer role.
        parameters: numbers the optimiser changes.
        steps_per_epoch: updates in one pass over the training part.
        device: where the model is, e.g. "cpu".
        notes: what a reader should know of the data, and of pretrained embeddings; one sentence each.
    """

    step: int
    unit: str
    sizes: Mapping[str, int]
    skipped: Mapping[str, int]
    vocabulary_sizes: Mapping[str, int]
    parameters: int
    steps_per_epoch: int
    device: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """Progress since the last `Step`.

    Args:
        step: updates done.
        epoch: the pass over the data they are in, from 1.
        loss: training loss in nats per target, over all updates since the last `Step`.
        learning_rate: of the last update.
        grad_norm: of the last update, before clipping.
        tokens_per_second: the tokens of the batches (`batch.n_tokens`) over the time spent on
            updates; evaluation, saving and the reader of the events are not in it.
        fraction_done: 0…1, by the limit nearest to its end; 0 where only patience ends training.
        eta_seconds: until that limit at the pace so far, evaluations and checkpoints included; None
            where only patience ends training.
        seconds: since training began, earlier sessions included.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    fraction_done: float
    eta_seconds: float | None
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The model, as it would be saved, was judged on the validation part.

    Args:
        step: updates done.
        epoch: the pass over the data, from 1.
        loss: nats per target, without dropout or smoothing.
        scores: by name, on `training.valid_sentences` greedy answers; shares are
            percentages, and larger is better.
        is_best: whether `training.metric` is the best so far; then it is already saved.
        seconds: since training began, earlier sessions included.
    """

    step: int
    epoch: int
    loss: float
    scores: Mapping[str, float]
    is_best: bool
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on the disk, complete.

    Args:
        step: updates done.
        path: its folder.
    """

    step: int
    path: Path


@dataclass(frozen=True)
class Best:
    """The evaluation whose weights are `model.safetensors`.

    Args:
        step: updates done then.
        metric: what it is best by.
        value: of that metric.
        loss: nats per target on the validation part.
        scores: by name.
    """

    step: int
    metric: str
    value: float
    loss: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """Training ended by itself; everything is saved.

    Args:
        step: updates done.
        reason: the setting that ended it: "max_steps", "max_epochs", "max_minutes" or "patience".
        best: the evaluation whose weights are the run's model; None if every loss was not a number.
        seconds: since training began, earlier sessions included.
    """

    step: int
    reason: str
    best: Best | None
    seconds: float


Event = Started | Step | Evaluated | Saved | Finished
