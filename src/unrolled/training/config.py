"""The recipe's `[training]` section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from unrolled.config import Count, PositiveCount, Range, Rate, Threads, check_fields, require

Automatic = Annotated[int, Range(-1, 10**12)]
"""A count, or -1 for one that suits the data."""

_STEPS_BETWEEN_EVALUATIONS = 500
_EVALUATIONS_TO_WAIT, _STEPS_TO_WAIT = 5, 1_000


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, and when to stop.

    A step is one update of the weights. Limits of 0 are no limits; to train, one must be set.

    Args:
        optimiser: "adam" (Kingma & Ba 2015, its weight decay decoupled as in Loshchilov & Hutter
            2019), "sgd", or "lazy_adam": Adam for all but embeddings with sparse gradients, whose
            rows without gradient keep value and moments. That is quicker for large vocabularies, and
            it is not Adam: `unrolled.training.lazy_adam.LazyAdam`.
        learning_rate: the largest rate, after warm-up.
        beta1: Adam's decay of the mean gradient.
        beta2: Adam's decay of the mean squared gradient.
        momentum: of SGD.
        weight_decay: share of each weight taken away per step, times the learning rate; "lazy_adam"
            has none.
        clip_norm: largest norm of the whole gradient; 0 = never clipped.
        schedule: "constant"; "plateau": times `plateau_factor` at every `plateau_patience`-th
            evaluation in a row that does not improve `metric`; "linear": falls to 0 at the end
            (of max_steps, max_epochs or max_minutes, whichever is nearest); "inverse_sqrt":
            falls with 1/√step (Vaswani et al. 2017, section 5.3).
        warmup_steps: steps over which the rate rises linearly from 0.
        plateau_factor: see `schedule`.
        plateau_patience: see `schedule`.
        max_tokens: most tokens in a batch: rows times the longest side of its longest row.
        accumulate: batches per update; their losses are reduced together, as one large batch.
        max_steps: updates after which training ends.
        max_epochs: passes over the training part after which training ends.
        max_minutes: minutes after which training ends, evaluations and checkpoints included,
            counted across resumes; the evaluation and checkpoint at the very end come on top.
        evaluate_every_n_steps: interval of evaluations on the validation part; 0 = every epoch's
            end; -1 = every 500 steps and every epoch's end, whichever comes first.
        checkpoint_every_n_steps: interval of checkpoints, besides those at every evaluation that
            improves and at the end; 0 = every epoch's end.
        log_every_n_steps: interval of `Step` events.
        patience: evaluations in a row without improvement after which training ends; 0 = never;
            -1 = 5 evaluations and 1,000 steps, as a few epochs of a small file show little.
        metric: what "improve" means: "loss" (smaller is better) or a score's name such as "bleu"
            (larger is better), on the validation part.
        valid_sentences: how many validation inputs each evaluation answers for the scores, taken
            evenly over the part and answered greedily; 0 = none, only the loss.
        reduction: what the loss is divided by, once per update: its targets ("per_token") or its
            sequences ("per_sequence").
        precision: "float32", or "bfloat16" products where the device has them.
        device: "auto" takes CUDA where there is one.
        threads: CPU threads; 0 = torch's choice. Another number may change results in their last
            bit.
        average: decay of an exponential moving average of the weights, which is then what is
            evaluated and saved as the model; 0 = off.
        average_after: evaluations in a row without improvement of `metric` after which a uniform
            average of all later weights begins, which is then what is evaluated and saved; 0 =
            never. With "sgd" this is NT-ASGD (Merity, Keskar & Socher 2018, algorithm 1). It needs
            the constant schedule, and patience beyond it.

    Raises:
        ConfigError: names the field, its value, and what was expected.

    >>> TrainingConfig(learning_rate=-1.0)
    Traceback (most recent call last):
    unrolled.errors.ConfigError: training.learning_rate must be above 0, got -1.0
    """

    optimiser: Literal["adam", "sgd", "lazy_adam"] = "adam"
    learning_rate: Annotated[float, Range(above=0, most=1e38)] = 1e-3
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    momentum: Rate = 0.0
    weight_decay: Annotated[float, Range(0, 10**6)] = 0.0
    clip_norm: Annotated[float, Range(0, 10**12)] = 1.0
    schedule: Literal["constant", "plateau", "linear", "inverse_sqrt"] = "constant"
    warmup_steps: Count = 0
    plateau_factor: Annotated[float, Range(above=0, below=1)] = 0.5
    plateau_patience: PositiveCount = 2
    max_tokens: Annotated[int, Range(1, 10**9)] = 4096
    accumulate: Annotated[int, Range(1, 10**6)] = 1
    max_steps: Count = 0
    max_epochs: Count = 0
    max_minutes: Annotated[float, Range(0, 10**9)] = 0.0
    evaluate_every_n_steps: Automatic = -1
    checkpoint_every_n_steps: Count = 500
    log_every_n_steps: PositiveCount = 10
    patience: Automatic = -1
    metric: str = "loss"
    valid_sentences: Count = 500
    reduction: Literal["per_token", "per_sequence"] = "per_token"
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Threads = 0
    average: Rate = 0.0
    average_after: Count = 0

    def __post_init__(self) -> None:
        check_fields(self, "training")
        require(
            self.metric == "loss" or self.valid_sentences > 0,
            "training.valid_sentences",
            f"at least 1 where training.metric is '{self.metric}'",
            self.valid_sentences,
        )
        require(
            self.optimiser != "lazy_adam" or self.weight_decay == 0,
            "training.weight_decay",
            "0 where training.optimiser is 'lazy_adam'",
            self.weight_decay,
        )
        if self.average_after:
            self._check_averaging()

    def _check_averaging(self) -> None:
        where = "where training.average_after is above 0"
        require(self.average == 0, "training.average", f"0 {where}", self.average)
        require(
            self.schedule == "constant", "training.schedule", f"'constant' {where}", self.schedule
        )
        require(
            self.patience <= 0 or self.patience > self.average_after,
            "training.patience",
            f"0, -1 or above training.average_after, {self.average_after}",
            self.patience,
        )

    @property
    def has_limit(self) -> bool:
        """Whether training would ever end."""
        return self.has_fixed_limit or self.patience != 0

    @property
    def has_fixed_limit(self) -> bool:
        """Whether it would end however well it goes."""
        return bool(self.max_steps or self.max_epochs or self.max_minutes)

    @property
    def evaluation_intervals(self) -> tuple[int, ...]:
        """Numbers of steps after which to evaluate, 0 for every epoch's end."""
        if self.evaluate_every_n_steps < 0:
            return _STEPS_BETWEEN_EVALUATIONS, 0
        return (self.evaluate_every_n_steps,)

    @property
    def waits(self) -> tuple[int, int] | None:
        """Evaluations and steps without improvement, both of which end training; None for no end."""
        if self.patience < 0:
            return _EVALUATIONS_TO_WAIT + self.average_after, _STEPS_TO_WAIT
        return (self.patience, 0) if self.patience else None
