"""The recipe's `[training]` section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from unrolled.config import (
    BleuTokenizer,
    Count,
    PositiveCount,
    Range,
    Rate,
    Share,
    Threads,
    check_fields,
    require,
)
from unrolled.wording import count_of

Automatic = Annotated[int, Range(-1, 10**12)]
"""A count, or -1 for one that suits the data."""

# What -1 stands for. An evaluation at the end of an epoch comes at least some steps after the last one.
# Training stops only after both some evaluations and some steps without improvement, as a few epochs of a
# small file show little; and a loss that falls by less and less must not count as improved for ever.
STEPS_BETWEEN_EVALUATIONS, LEAST_STEPS_BETWEEN = 500, 10
EVALUATIONS_TO_WAIT, EPOCHS_TO_WAIT, MOST_STEPS_TO_WAIT = 5, 50, 1_000
LEAST_IMPROVEMENT = 1e-3  # of the loss, in nats


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, and when to stop.

    A step is one update of the weights. A limit of 0 means no limit; at least one must be set to train.

    Args:
        optimiser: "adam" (Kingma & Ba 2015, with decoupled weight decay as in Loshchilov & Hutter
            2019), "sgd", or "lazy_adam": Adam except for embeddings with sparse gradients, whose
            rows without a gradient keep their values and moments. This is faster for large
            vocabularies but not equal to Adam: `unrolled.training.lazy_adam.LazyAdam`.
        learning_rate: maximum learning rate, reached after warm-up.
        beta1: Adam's decay rate of the mean gradient.
        beta2: Adam's decay rate of the mean squared gradient.
        momentum: momentum of SGD.
        weight_decay: share of each weight subtracted per step, times the learning rate; must be 0
            for "lazy_adam".
        clip_norm: maximum norm of the whole gradient; 0 = no clipping.
        schedule: "constant"; "plateau": multiplied by `plateau_factor` after every
            `plateau_patience` evaluations in a row that do not improve `metric`; "linear":
            decreases to 0 at the end (of max_steps, max_epochs or max_minutes, whichever comes
            first); "inverse_sqrt": decreases with 1/√step (Vaswani et al. 2017, section 5.3);
            "slanted": rises linearly to the maximum, and then decreases to the end, more slowly
            (slanted triangular: Howard & Ruder 2018, eq. 3).
        slanted_cut: for "slanted": share of training at which the rate is highest.
        slanted_ratio: for "slanted": maximum rate divided by the lowest one.
        layer_divisor: the learning rate of each layer of a language model below the task's own layers is
            that of the layer above it divided by this, and the rate of the embedding is the lowest
            (Howard & Ruder 2018, section 3.2, with 2.6); 1 = the same rate for all. Needs
            `model.pretrained`, or for a language model --from.
        unfreeze_every_n_epochs: gradual unfreezing (Howard & Ruder 2018, section 3.3): at first only what
            is new is trained; after each n epochs, the next lower layer of the language model is trained,
            too, and the embedding last; 0 = all from the start. Needs the same, and a fixed limit.
            `patience` counts evaluations once all are trained.
        warmup_steps: number of steps over which the rate rises linearly from 0.
        plateau_factor: see `schedule`.
        plateau_patience: see `schedule`.
        max_tokens: maximum tokens in a batch: rows times the longest side of its longest row.
        accumulate: number of batches per update; their losses are reduced together, as for one
            large batch.
        max_steps: maximum number of updates.
        max_epochs: maximum number of passes over the training part.
        max_minutes: maximum time of the whole run in minutes: with reading and encoding the data, all
            evaluations and checkpoints, and across resumes. Updates end early enough for the last
            evaluation, by the duration of earlier ones. At least one update is made.
        evaluate_every_n_steps: interval between evaluations on the validation part; 0 = at the end
            of every epoch; -1 = every 500 steps and at the end of every epoch of at least 10 steps.
        checkpoint_every_n_steps: interval between checkpoints, besides those at every evaluation
            that improves and at the end; 0 = at the end of every epoch.
        log_every_n_steps: interval between `Step` events.
        patience: number of evaluations in a row without improvement after which training stops;
            0 = never; -1 = 5 evaluations and 50 epochs (at most 1,000 steps), where a loss must fall
            by 0.001 to count as improved.
        metric: quantity to improve on the validation part: "loss" (lower is better) or a score
            such as "bleu" (higher is better).
        valid_sentences: number of validation inputs that are decoded greedily for the scores, spread
            evenly over the part; 0 = none, only the loss. Decoding takes long: if metric is "loss",
            only the best model is scored, at the end of training, and otherwise each evaluation.
        bleu_tokenizer: sacrebleu's tokenizer for BLEU, in translation: "auto" chooses "13a", "zh", "char"
            or "ja-mecab" by the references; also "intl", "ko-mecab" and "none".
        reduction: divisor of the loss, once per update: its number of targets ("per_token") or of
            sequences ("per_sequence").
        precision: "float32", or "bfloat16" for matrix products if the device supports it.
        device: "auto" uses CUDA if available.
        threads: number of CPU threads; 0 = all that torch has, or one where all are measured to be
            clearly slower, as on a busy machine. Another number changes results in the last bits.
        average: decay rate of an exponential moving average of the weights; if it is set, the
            average is evaluated and saved as the model; 0 = off.
        average_after: number of evaluations in a row without improvement of `metric` after which a
            uniform average of all later weights starts, which is then evaluated and saved as the
            model; 0 = never. With "sgd" this is NT-ASGD (Merity, Keskar & Socher 2018,
            algorithm 1). It needs the constant schedule, and a patience that is larger or 0.
        teacher: run of the same task and labels, such as an ensemble, whose probabilities are learned
            beside the labels, for classify and pair (Hinton et al. 2015); "" for none.
        teacher_weight: share of the teacher in the loss; the rest is that of the labels.
        teacher_temperature: temperature T at which the probabilities of teacher and model are compared;
            above 1, the smaller ones count more.
        unlabelled: text files from which the model learns the probabilities of the teacher, too: one text
            on each line, the two texts of a pair separated by a tab.

    Raises:
        ConfigError: a value is invalid; names the field, its value, and what was expected.

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
    schedule: Literal["constant", "plateau", "linear", "inverse_sqrt", "slanted"] = "constant"
    slanted_cut: Annotated[float, Range(above=0, below=1)] = 0.1
    slanted_ratio: Annotated[float, Range(1, 10**6)] = 32.0
    layer_divisor: Annotated[float, Range(1, 10**3)] = 1.0
    unfreeze_every_n_epochs: Count = 0
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
    bleu_tokenizer: BleuTokenizer = "auto"
    reduction: Literal["per_token", "per_sequence"] = "per_token"
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Threads = 0
    average: Rate = 0.0
    average_after: Count = 0
    teacher: str = ""
    teacher_weight: Share = 0.5
    teacher_temperature: Annotated[float, Range(above=0, most=100)] = 1.0
    unlabelled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "training")
        require(
            self.metric == "loss" or self.valid_sentences > 0,
            "training.valid_sentences",
            f"at least 1 if training.metric is '{self.metric}'",
            self.valid_sentences,
        )
        require(
            self.optimiser != "lazy_adam" or self.weight_decay == 0,
            "training.weight_decay",
            "0 if training.optimiser is 'lazy_adam'",
            self.weight_decay,
        )
        require(
            self.schedule != "slanted" or self.warmup_steps == 0,
            "training.warmup_steps",
            "0 if training.schedule is 'slanted', which begins with a rise (training.slanted_cut)",
            self.warmup_steps,
        )
        if self.average_after:
            self._check_averaging()

    def _check_averaging(self) -> None:
        condition = "if training.average_after is above 0"
        require(self.average == 0, "training.average", f"0 {condition}", self.average)
        is_constant = self.schedule == "constant"
        require(is_constant, "training.schedule", f"'constant' {condition}", self.schedule)
        require(
            self.patience <= 0 or self.patience > self.average_after,
            "training.patience",
            f"0, -1 or above training.average_after, {self.average_after}",
            self.patience,
        )

    def patience_for(self, steps_per_epoch: int) -> tuple[int, int]:
        """The evaluations and the steps without improvement after which training stops, both of them.

        >>> TrainingConfig().patience_for(18), TrainingConfig(patience=3).patience_for(18)
        ((5, 900), (3, 0))
        """
        if self.patience >= 0:
            return self.patience, 0
        n_evaluations = EVALUATIONS_TO_WAIT + self.average_after
        return n_evaluations, min(EPOCHS_TO_WAIT * steps_per_epoch, MOST_STEPS_TO_WAIT)

    def end_of_patience(self, steps_per_epoch: int) -> str:
        """When training stops because nothing improves, in words.

        >>> TrainingConfig().end_of_patience(18)
        'after 5 evaluations and 900 steps without a better validation loss'
        """
        n_evaluations, n_steps = self.patience_for(steps_per_epoch)
        steps = f" and {count_of(n_steps, 'step')}" if n_steps else ""
        evaluations = count_of(n_evaluations, "evaluation")
        return f"after {evaluations}{steps} without a better validation {self.metric}"

    @property
    def has_limit(self) -> bool:
        """Whether any limit or patience is set."""
        return self.has_fixed_limit or self.patience != 0

    @property
    def has_fixed_limit(self) -> bool:
        """Whether training ends however long the model improves."""
        return bool(self.max_steps or self.max_epochs or self.max_minutes)

    def steps_between_evaluations(self, steps_per_epoch: int) -> int:
        """The usual number of steps between two evaluations.

        >>> TrainingConfig(max_steps=1).steps_between_evaluations(4)
        12
        """
        if self.evaluate_every_n_steps > 0:
            return self.evaluate_every_n_steps
        if self.evaluate_every_n_steps == 0:
            return steps_per_epoch
        n_epochs = -(-LEAST_STEPS_BETWEEN // steps_per_epoch)
        return min(STEPS_BETWEEN_EVALUATIONS, n_epochs * steps_per_epoch)
