"""The recipe's `[training]` section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unrolled.config import require


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, and when to stop.

    A step is one update of the weights. Limits of 0 are no limits; to train, one must be set.

    Args:
        optimiser: "adam" (Kingma & Ba 2015, its weight decay decoupled as in Loshchilov & Hutter
            2019), "sgd", or "lazy_adam": Adam for all but embeddings with sparse gradients, whose
            rows without gradient keep value and moments. That is quicker for large vocabularies, and
            it is not Adam: `unrolled.training.optimiser.LazyAdam`.
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
            end.
        checkpoint_every_n_steps: interval of checkpoints, besides those at every evaluation that
            improves and at the end; 0 = every epoch's end.
        log_every_n_steps: interval of `Step` events.
        patience: evaluations in a row without improvement after which training ends; 0 = never.
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
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    schedule: Literal["constant", "plateau", "linear", "inverse_sqrt"] = "constant"
    warmup_steps: int = 0
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    max_tokens: int = 4096
    accumulate: int = 1
    max_steps: int = 0
    max_epochs: int = 0
    max_minutes: float = 0.0
    evaluate_every_n_steps: int = 500
    checkpoint_every_n_steps: int = 500
    log_every_n_steps: int = 10
    patience: int = 0
    metric: str = "loss"
    valid_sentences: int = 500
    reduction: Literal["per_token", "per_sequence"] = "per_token"
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    average: float = 0.0
    average_after: int = 0

    def __post_init__(self) -> None:
        for name, (is_good, wanted) in _WANTED.items():
            value = getattr(self, name)
            require(is_good(value), f"training.{name}", wanted, value)
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
            self.patience == 0 or self.patience > self.average_after,
            "training.patience",
            f"0 or above training.average_after, {self.average_after}",
            self.patience,
        )

    @property
    def has_limit(self) -> bool:
        """Whether training would ever end."""
        return bool(self.max_steps or self.max_epochs or self.max_minutes or self.patience)


def _one_of(*values: str) -> tuple[Callable[[str], bool], str]:
    return lambda value: value in values, f"one of {', '.join(values)}"


# A comparison with NaN is False, so each of these also refuses NaN.
_POSITIVE = (lambda value: 0 < value < float("inf"), "above 0")
_NOT_NEGATIVE = (lambda value: 0 <= value < float("inf"), "at least 0")
_AT_LEAST_ONE = (lambda value: value >= 1, "at least 1")
_DECAY = (lambda value: 0 <= value < 1, "at least 0 and below 1")

_WANTED = {
    "optimiser": _one_of("adam", "sgd", "lazy_adam"),
    "learning_rate": _POSITIVE,
    "beta1": _DECAY,
    "beta2": _DECAY,
    "momentum": _DECAY,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _NOT_NEGATIVE,
    "schedule": _one_of("constant", "plateau", "linear", "inverse_sqrt"),
    "warmup_steps": _NOT_NEGATIVE,
    "plateau_factor": (lambda value: 0 < value < 1, "above 0 and below 1"),
    "plateau_patience": _AT_LEAST_ONE,
    "max_tokens": _AT_LEAST_ONE,
    "accumulate": _AT_LEAST_ONE,
    "max_steps": _NOT_NEGATIVE,
    "max_epochs": _NOT_NEGATIVE,
    "max_minutes": _NOT_NEGATIVE,
    "evaluate_every_n_steps": _NOT_NEGATIVE,
    "checkpoint_every_n_steps": _NOT_NEGATIVE,
    "log_every_n_steps": _AT_LEAST_ONE,
    "patience": _NOT_NEGATIVE,
    "valid_sentences": _NOT_NEGATIVE,
    "reduction": _one_of("per_token", "per_sequence"),
    "precision": _one_of("float32", "bfloat16"),
    "device": _one_of("auto", "cpu", "cuda"),
    "threads": _NOT_NEGATIVE,
    "average": _DECAY,
    "average_after": _NOT_NEGATIVE,
}
