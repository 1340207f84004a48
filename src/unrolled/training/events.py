"""The events that `fit` yields, in order; each is a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unrolled.diagnosis.verdict import Verdict


@dataclass(frozen=True)
class Started:
    """Data, vocabularies and model are ready; training in this session has not started.

    Args:
        step: number of updates already done: 0, or that of the last checkpoint of a resumed run.
        unit: unit of the sizes: "rows", "sentences" of a tagger, or "tokens" of running text.
        sizes: size of each part ("train", "valid", "test").
        skipped: number of rows left out by part: too long, with an empty field, or repeated.
        vocabulary_sizes: number of entries by tokenizer role.
        parameters: number of trainable parameters.
        steps_per_epoch: updates in one pass over the training part.
        device: device of the model, e.g. "cpu".
        notes: notes on the data and pretrained embeddings, one sentence each.
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
        step: number of updates done.
        epoch: current pass over the data, from 1.
        loss: training loss in nats per target, over all updates since the last `Step`.
        learning_rate: learning rate of the last update.
        grad_norm: gradient norm of the last update, before clipping.
        tokens_per_second: tokens of the batches (`batch.n_tokens`) per second of update time, which
            does not include evaluation, saving and the code that reads the events.
        fraction_done: 0…1, by the limit that will be reached first; 0 if only patience ends training.
        eta_seconds: time until that limit at the pace so far, including evaluations and checkpoints;
            None if only patience ends training.
        seconds: time since the run began, with reading the data and with earlier sessions.
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
    """The model, as it would be saved, was evaluated on the validation part.

    Args:
        step: number of updates done.
        epoch: current pass over the data, from 1.
        loss: nats per target, without dropout or smoothing.
        scores: scores by name; shares are percentages, and higher is better. Those of text outputs are
            computed on `training.valid_sentences` greedily decoded inputs; if `training.metric` is
            "loss", they are left out here and computed once at the end, for the best model.
        is_best: whether `training.metric` is the best so far; if so, the model is already saved.
        seconds: time since the run began, with reading the data and with earlier sessions.
        n_without_improvement: number of scheduled evaluations since the last that counted as improved;
            `training.patience` limits it.
    """

    step: int
    epoch: int
    loss: float
    scores: Mapping[str, float]
    is_best: bool
    seconds: float
    n_without_improvement: int = 0


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint was written to the disk.

    Args:
        step: number of updates done.
        path: folder of the checkpoint.
    """

    step: int
    path: Path


@dataclass(frozen=True)
class Best:
    """The best evaluation, whose weights are `model.safetensors`.

    Args:
        step: number of updates done then.
        metric: the metric that decides which is best.
        value: value of that metric.
        loss: nats per target on the validation part.
        scores: scores by name; empty until the end of training if the evaluations left them out.
    """

    step: int
    metric: str
    value: float
    loss: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Inspected:
    """The gradients were inspected, because `inspect_every` is set.

    Args:
        step: number of updates done.
        verdict: the diagnosis.
        ratios: ‖Δw‖ / ‖w‖ of the last update, by module.
        seconds: time that the inspection took.
    """

    step: int
    verdict: Verdict
    ratios: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Warned:
    """The loss has jumped far above that of the first update.

    Args:
        step: number of updates done.
        text: what was measured and what to change, in one sentence.
    """

    step: int
    text: str


@dataclass(frozen=True)
class Finished:
    """Training reached a stopping criterion; everything is saved.

    Args:
        step: number of updates done.
        reason: the stopping criterion: "max_steps", "max_epochs", "max_minutes" or "patience".
        best: the evaluation whose weights are the run's model; None if every loss was NaN.
        seconds: time since the run began, with reading the data and with earlier sessions.
    """

    step: int
    reason: str
    best: Best | None
    seconds: float


Event = Started | Step | Evaluated | Saved | Inspected | Warned | Finished
