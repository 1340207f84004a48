"""Loaders of batches: rows in shuffled batches, or text in windows with the state carried along.

Training only uses the `Loader` interface. `Trainer` asks for batch `index` of pass `epoch`, so that a run
can be resumed at any batch.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unrolled.tasks.language_model import reads_backward
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import LabelTask, State, StreamTask, Task
from unrolled.text.batching import batches
from unrolled.text.corpus.corpus import TokenStream
from unrolled.text.corpus.windows import StreamConfig, Windows
from unrolled.text.labels import case_note
from unrolled.text.splits import DataConfig
from unrolled.training.data_notes import few_rows, few_tokens, repeated
from unrolled.training.dataset import PreparedRows, PreparedText, too_long
from unrolled.training.evaluation import (
    Precision,
    label_predictions,
    mean_loss,
    predictions,
    reading,
    stream_loss,
)
from unrolled.training.recipe import Recipe
from unrolled.wording import count_of, percent

VALIDATION_ROWS = 10
"""Number of rows into which the validation text is split; each starts without context."""

_LINES_NAMED = 5

_ROWS_OF_ESTIMATE, _TOKENS_OF_ESTIMATE = 100, 5_000
"""Size of the sample by which the duration of an evaluation is estimated."""


class Loader(Protocol):
    """The training batches of a run, and its evaluation on the validation part.

    Attributes:
        unit: unit of the sizes.
        sizes: sizes by part.
        skipped: number of rows left out, by part.
        notes: notes on the data.
        tokenizers: tokenizers by role.
    """

    @property
    def unit(self) -> str: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...
    @property
    def skipped(self) -> Mapping[str, int]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def tokenizers(self) -> Tokenizers: ...

    def prepare(self, model: nn.Module) -> None:
        """Give a model what it needs from the training part."""

    def n_batches(self, epoch: int) -> int:
        """Number of batches in a pass."""

    def batch(self, epoch: int, index: int) -> tuple[Any, int]:
        """A batch, which has `.to(device)` and `.n_tokens`, and its number of sequences."""

    def sample(self, n_rows: int) -> tuple[Any, Callable[[nn.Module], State]]:
        """A batch of few training rows, and what gives a model the state carried into it."""

    def start(self, model: nn.Module) -> State:
        """The state carried into the first batch of a pass."""

    def loss(self, model: nn.Module, batch: Any, carried: State) -> tuple[Tensor, int, State]:
        """Sum of the loss, number of targets, and the state carried into the next batch."""

    def evaluate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, dict[str, float]]:
        """Mean loss and scores on the validation part, unless `leaves_out_scores`."""

    def leaves_out_scores(self, recipe: Recipe) -> bool:
        """Whether `evaluate` leaves out the scores, because they take long and decide nothing."""

    def scores(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> dict[str, float]:
        """The scores on the validation part."""

    def estimate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, float]:
        """Seconds that `evaluate` takes, and the scores that it leaves out; from a small sample."""

    def signature(self) -> dict[str, str]:
        """How the scores on the validation part are computed."""

    def place(self, epoch: int, indices: Sequence[int]) -> str:
        """The position of some batches in the data, for a message."""


class RowLoader:
    """Rows of data as independent examples, batched by length."""

    def __init__(self, recipe: Recipe, task: Task | LabelTask, prepared: PreparedRows) -> None:
        self._task: Any = task
        self._data = prepared
        self.unit = f"{task.unit}s"
        self._max_tokens, self._seed = recipe.training.max_tokens, recipe.seed
        self.tokenizers = prepared.tokenizers
        self.sizes = prepared.sizes
        n_repeated = Counter(row.part for row in prepared.duplicates)
        self.skipped = {
            "train": prepared.train.n_skipped + prepared.n_empty,
            "valid": prepared.valid.n_skipped + n_repeated["valid"],
        }
        if n_repeated["test"]:
            self.skipped["test"] = n_repeated["test"]
        self.notes: tuple[str, ...] = (
            *prepared.notes,
            *_left_out(prepared, recipe.data, task.unit),
            *_sum_note(prepared, self.unit),
            *few_rows(prepared.sizes, recipe.data, task.unit),
        )
        if isinstance(task, Task):
            references = [task.reference(row) for row in prepared.valid.rows]
            tokenizer = recipe.training.bleu_tokenizer
            self._task, notes = task.for_references(task, references, tokenizer)
            parts = {"train": prepared.train, "valid": prepared.valid}
            self.notes += notes + task.notes(
                recipe.text,
                {name: part.rows for name, part in parts.items()},
                {name: part.examples for name, part in parts.items()},
                prepared.tokenizers,
            )
        self._epoch = 0
        self._batches: list[list[int]] = []

    def prepare(self, model: nn.Module) -> None:
        """See `Loader`."""
        self._task.prepare(model, self._data.train.examples, self.tokenizers)

    def _of_epoch(self, epoch: int) -> list[list[int]]:
        if self._epoch != epoch:
            lengths = self._data.train.lengths
            self._batches = list(batches(lengths, self._max_tokens, self._seed, epoch))
            self._epoch = epoch
        return self._batches

    def n_batches(self, epoch: int) -> int:
        """See `Loader`."""
        return len(self._of_epoch(epoch))

    def batch(self, epoch: int, index: int) -> tuple[Any, int]:
        """See `Loader`."""
        chosen = self._of_epoch(epoch)[index]
        return self._task.collate([self._data.train.examples[row] for row in chosen]), len(chosen)

    def sample(self, n_rows: int) -> tuple[Any, Callable[[nn.Module], State]]:
        """Rows that are spread evenly over the training part."""
        train = self._data.train
        examples = [train.examples[index] for index in train.evenly(n_rows)]
        return self._task.collate(examples), self.start

    def start(self, model: nn.Module) -> State:
        """Nothing, as no state is carried between rows."""
        return ()

    def loss(self, model: nn.Module, batch: Any, carried: State) -> tuple[Tensor, int, State]:
        """See `Loader`."""
        return *self._task.loss(model, batch), carried

    def evaluate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, dict[str, float]]:
        """The loss over the part, and the scores of greedy predictions for a sample of it."""
        examples = self._data.valid.examples
        loss = mean_loss(model, self._task, examples, self._max_tokens, device, precision)
        if self.leaves_out_scores(recipe):
            return loss, {}
        return loss, self.scores(model, recipe, device, precision)

    def leaves_out_scores(self, recipe: Recipe) -> bool:
        """See `Loader`; decoding takes long."""
        return recipe.training.metric == "loss" and self._task.calibrate is None

    def scores(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> dict[str, float]:
        """The scores of greedy predictions for a sample of the part."""
        return self._decoded(model, recipe, precision, recipe.training.valid_sentences)

    def _decoded(
        self, model: nn.Module, recipe: Recipe, precision: Precision, n: int
    ) -> dict[str, float]:
        valid, chosen = self._data.valid, self._data.valid.evenly(n)
        if not chosen:
            return {}
        decoding = recipe.decoding.for_answers_of(self._data.longest_target)
        decoding = dataclasses.replace(decoding, method="greedy", n_best=1)
        examples = [valid.examples[index] for index in chosen]
        with precision:
            predicted = predictions(model, self._task, examples, self.tokenizers, decoding)
        rows = [valid.rows[index] for index in chosen]
        if self._task.calibrate is not None:
            predicted = self._task.calibrate(model, rows, predicted, self.tokenizers)
        references = [self._task.reference(row) for row in rows]
        return dict(self._task.score([prediction.text for prediction in predicted], references))

    def estimate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, float]:
        """See `Loader`."""
        valid, task = self._data.valid, self._task
        chosen = [valid.examples[index] for index in valid.evenly(_ROWS_OF_ESTIMATE)]

        def loss_of(examples: list[Any]) -> None:
            mean_loss(model, task, examples, self._max_tokens, device, precision)

        loss_of(chosen[:1])  # first calls take longer
        evaluation = _seconds(lambda: loss_of(chosen)) * len(valid.rows) / len(chosen)
        n = min(recipe.training.valid_sentences, len(valid.rows))
        n_decoded = min(n, _ROWS_OF_ESTIMATE)
        scoring = 0.0
        if n_decoded:
            scoring = _seconds(lambda: self._decoded(model, recipe, precision, n_decoded))
            scoring *= n / n_decoded
        return (
            (evaluation, scoring) if self.leaves_out_scores(recipe) else (evaluation + scoring, 0.0)
        )

    def signature(self) -> dict[str, str]:
        """See `Loader`."""
        return self._task.signature()

    def place(self, epoch: int, indices: Sequence[int]) -> str:
        """The lines of the data file."""
        rows = self._data.train.rows
        chosen = self._of_epoch(epoch)
        lines = sorted(rows[row].line for index in indices for row in chosen[index])
        more = f" and {len(lines) - _LINES_NAMED} more" if len(lines) > _LINES_NAMED else ""
        return f"it holds lines {', '.join(map(str, lines[:_LINES_NAMED]))}{more}"


class LabelLoader(RowLoader):
    """Labelled rows, batched by length."""

    _task: LabelTask

    def __init__(self, recipe: Recipe, task: LabelTask, prepared: PreparedRows) -> None:
        super().__init__(recipe, task, prepared)
        n_cut = {"train": prepared.train.n_cut, "valid": prepared.valid.n_cut}
        self._parts = {"train": prepared.train.examples, "valid": prepared.valid.examples}
        self.notes = (
            *self.notes,
            *_cut_notes(n_cut, recipe.data.max_length, task.when_long),
            *filter(None, [case_note(prepared.tokenizers[LABELS])]),
            *task.notes(self._parts, prepared.tokenizers),
        )

    def prepare(self, model: nn.Module) -> None:
        """See `Loader`."""
        self._task.prepare(model, self._parts)

    def evaluate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, dict[str, float]]:
        """The loss and the scores over the whole part."""
        examples = self._data.valid.examples
        # First the scores, for which a model sets its thresholds and the shares of its parts.
        scores = self.scores(model, recipe, device, precision)
        loss = mean_loss(model, self._task, examples, self._max_tokens, device, precision)
        return loss, scores

    def leaves_out_scores(self, recipe: Recipe) -> bool:
        """No: predicting labels takes as long as the loss."""
        return False

    def scores(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> dict[str, float]:
        """The scores over the whole part."""
        task, examples = self._task, self._data.valid.examples
        with precision:
            predicted = label_predictions(model, task, examples, self.tokenizers, digests=True)
        predicted = task.tune_thresholds(model, examples, predicted, self.tokenizers)
        scores = task.evaluate(model, examples, predicted, self.tokenizers).scores()
        # Events, progress lines and files of training hold percentages.
        return {name: 100 * share for name, share in scores.items()}

    def estimate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, float]:
        """See `Loader`."""
        valid, task = self._data.valid, self._task
        chosen = [valid.examples[index] for index in valid.evenly(_ROWS_OF_ESTIMATE)]

        def evaluate(examples: list[Any]) -> None:
            mean_loss(model, task, examples, self._max_tokens, device, precision)
            with precision:
                label_predictions(model, task, examples, self.tokenizers)

        evaluate(chosen[:1])  # first calls take longer
        return _seconds(lambda: evaluate(chosen)) * len(valid.rows) / len(chosen), 0.0


class WindowLoader:
    """Running text in windows of B rows, with the state carried from window to window."""

    unit = "tokens"

    def __init__(self, recipe: Recipe, task: StreamTask, prepared: PreparedText) -> None:
        data: StreamConfig = recipe.data
        self._task, self._valid = task, _beginning(prepared.valid, data.valid_tokens)
        self.tokenizers = prepared.tokenizers
        self.sizes = prepared.sizes
        self.skipped: Mapping[str, int] = {}
        self.notes = (
            *prepared.notes,
            *_valid_note(prepared.valid, self._valid),
            *few_tokens(prepared.valid.n_tokens, data),
        )
        self._train, self._restart = prepared.train.ids, data.restart
        self._backward = reads_backward(recipe.model)
        self._windows = Windows(
            prepared.train.ids,
            data.n_rows,
            data.k1,
            data.k2,
            restart=data.restart,
            backward=self._backward,
        )

    def prepare(self, model: nn.Module) -> None:
        """See `Loader`."""
        self._task.prepare(model, self._train, self.tokenizers)

    def n_batches(self, epoch: int) -> int:
        """See `Loader`."""
        return len(self._windows)

    def batch(self, epoch: int, index: int) -> tuple[Any, int]:
        """See `Loader`."""
        return self._task.collate(self._windows[index]), self._windows.n_rows

    def sample(self, n_rows: int) -> tuple[Any, Callable[[nn.Module], State]]:
        """The first window of the first rows, without the steps that the next window reads again."""
        window = self._windows[0]
        n = min(n_rows, len(window.inputs))
        few = dataclasses.replace(
            window,
            inputs=window.inputs[:n],
            targets=window.targets[:n],
            n_before_next=window.inputs.shape[1],
            restarts=None,
        )
        return self._task.collate(few), lambda model: self._task.start(model, n)

    def start(self, model: nn.Module) -> State:
        """The initial state."""
        return self._task.start(model, self._windows.n_rows)

    def loss(self, model: nn.Module, batch: Any, carried: State) -> tuple[Tensor, int, State]:
        """See `Loader`."""
        return self._task.loss(model, batch, carried)

    def evaluate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, dict[str, float]]:
        """The loss over the part, and the scores derived from it."""
        loss, n_targets = self._loss_of(self._valid, model, device, precision)
        return loss, self._task.scores(loss, n_targets, self._valid.n_characters)

    def _loss_of(
        self, text: TokenStream, model: nn.Module, device: torch.device, precision: Precision
    ) -> tuple[float, int]:
        reading = VALIDATION_ROWS, self._restart, device, precision
        return stream_loss(model, self._task, text, *reading, backward=self._backward)

    def leaves_out_scores(self, recipe: Recipe) -> bool:
        """No: the scores follow from the loss."""
        return False

    def scores(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> dict[str, float]:
        """See `Loader`."""
        return self.evaluate(model, recipe, device, precision)[1]

    def estimate(
        self, model: nn.Module, recipe: Recipe, device: torch.device, precision: Precision
    ) -> tuple[float, float]:
        """See `Loader`."""
        sample = _beginning(self._valid, _TOKENS_OF_ESTIMATE)

        def evaluate() -> None:
            self._loss_of(sample, model, device, precision)

        evaluate()  # the first call takes longer
        return _seconds(evaluate) * self._valid.n_tokens / max(1, sample.n_tokens), 0.0

    def place(self, epoch: int, indices: Sequence[int]) -> str:
        """The tokens of the windows within their rows."""
        first, last = (self._windows.place(index) for index in (indices[0], indices[-1]))
        return (
            f"it holds tokens {first.start + 1:,} to {last.stop:,} of each of the {self._windows.n_rows} "
            "rows"
        )

    def signature(self) -> dict[str, str]:
        """See `Loader`."""
        how = reading(self._valid, VALIDATION_ROWS, self._restart, self._backward)
        return self._task.signature(how)


def _seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _left_out(prepared: PreparedRows, data: DataConfig, unit: str) -> tuple[str, ...]:
    """Notes on the rows that are not used, and why."""
    notes = []
    if prepared.n_empty:
        notes.append(f"train: left out {count_of(prepared.n_empty, unit)} with an empty field")
    for name, part in (("train", prepared.train), ("valid", prepared.valid)):
        if part.n_skipped:
            share = part.n_skipped / (part.n_skipped + len(part.rows))
            instead = ", or set data.too_long = 'truncate'" if name == "train" else ""
            notes.append(
                f"{name}: left out {count_of(part.n_skipped, unit)} ({percent(share)}) longer than "
                f"data.max_length = {data.max_length} tokens; raise it{instead}"
            )
    if prepared.duplicates:
        notes.append(repeated(prepared.duplicates, unit))
    return tuple(notes)


def _sum_note(prepared: PreparedRows, unit: str) -> list[str]:
    """How the rows that were read add up, if some are left out for several reasons."""
    reasons = {
        "with an empty field": prepared.n_empty,
        "repeated": len(prepared.duplicates),
        "too long": prepared.train.n_skipped + prepared.valid.n_skipped,
    }
    if sum(map(bool, reasons.values())) < 2:
        return []
    n_out = sum(reasons.values())
    used = " + ".join(f"{size:,} {part}" for part, size in prepared.sizes.items())
    why = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items() if n)
    n_read = sum(prepared.sizes.values()) + n_out
    return [f"{unit}: {n_read:,} read = {used} + {n_out:,} left out ({why})"]


def _cut_notes(n_cut: Mapping[str, int], max_length: int, when_long: str) -> tuple[str, ...]:
    return tuple(f"{part}: {too_long(n, max_length, when_long)}" for part, n in n_cut.items() if n)


def _beginning(stream: TokenStream, n_tokens: int) -> TokenStream:
    """The first tokens of a text, with their share of its characters; 0 for all tokens."""
    if n_tokens == 0 or stream.n_tokens <= n_tokens:
        return stream
    share = n_tokens / stream.n_tokens
    return TokenStream(
        stream.ids[:n_tokens],
        stream.starts[stream.starts < n_tokens],
        round(stream.n_characters * share),
        round(stream.n_bytes * share),
    )


def _valid_note(whole: TokenStream, read: TokenStream) -> list[str]:
    if read is whole:
        return []
    return [
        f"valid: training evaluates on the first {read.n_tokens:,} of {whole.n_tokens:,} tokens "
        "(data.valid_tokens); `unrolled evaluate` uses all"
    ]
