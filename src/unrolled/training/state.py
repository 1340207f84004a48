"""A model in training: what one update, one evaluation and one checkpoint do to it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from unrolled.errors import NonFiniteError
from unrolled.tasks.task import Task
from unrolled.text.batches import batches
from unrolled.training import checkpoint, run_folder
from unrolled.training.checkpoint import Checkpoint, Progress
from unrolled.training.device import Randomness, autocast, choose_device
from unrolled.training.evaluation import mean_loss, predictions
from unrolled.training.events import Best, Evaluated, Started, Step
from unrolled.training.optimiser import (
    WeightAverage,
    build_optimiser,
    learning_rate,
    optimiser_tensors,
    restore_optimiser,
    scale_and_clip,
)
from unrolled.training.prepare import Prepared
from unrolled.training.recipe import Recipe

_LINES_NAMED = 5


class Training:
    """Model, optimiser, averaged weights, random stream and progress, moved on together.

    Args:
        recipe: the run's recipe.
        task: what the model does.
        prepared: data and tokenizers.
        folder: the run folder; it need not be at its final place yet.

    Raises:
        UnavailableError: device or precision are not to be had here.
    """

    _saved: tuple[int, int, int] | None

    def __init__(self, recipe: Recipe, task: Task, prepared: Prepared, folder: Path) -> None:
        self.recipe, self.task, self.prepared, self.folder = recipe, task, prepared, folder
        self.config = recipe.training
        self.device = choose_device(self.config)
        self.precision = autocast(self.config, self.device)
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        self.randomness = Randomness(recipe.seed, self.device)
        with self.randomness.drawn():
            self.model = task.build(recipe.model, prepared.tokenizers).to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.begin_with(None)

    def begin_with(self, weights_from: Path | None) -> None:
        """Start anew, from fresh weights or from those of another run."""
        if weights_from is not None:
            run_folder.set_best_weights(self.model, weights_from)
        self.optimiser = build_optimiser(self.config, self.model)
        self.average = WeightAverage(self.model, self.config.average)
        self._go_on_from(Progress())

    def restore(self) -> None:
        """Go on from the last checkpoint in the folder."""
        checkpoint.remove_leftovers(self.folder)
        last = checkpoint.load_checkpoint(self.folder)
        checkpoint.set_weights(self.model, last.weights, self.folder / "checkpoints")
        groups: dict[str, dict[str, torch.Tensor]] = {"optimiser": {}, "average": {}, "random": {}}
        for name, tensor in last.rest.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        restore_optimiser(self.optimiser, self.model, groups["optimiser"])
        self.average.restore(groups["average"])
        self.randomness.restore(groups["random"])
        run_folder.cut_metrics(self.folder, last.progress.metrics_bytes)
        self._go_on_from(last.progress, is_saved=True)

    def started(self) -> Started:
        """Sizes of all that is ready."""
        data = self.prepared
        return Started(
            step=self.progress.step,
            sizes={
                "train": len(data.train.rows),
                "valid": len(data.valid.rows),
                "test": data.n_test,
            },
            skipped={
                "train": data.train.n_skipped + data.n_empty,
                "valid": data.valid.n_skipped,
            },
            vocabulary_sizes={role: len(words) for role, words in data.tokenizers.items()},
            parameters=sum(parameter.numel() for parameter in self.parameters),
            steps_per_epoch=math.ceil(len(self._epoch_batches()) / self.config.accumulate),
            device=str(self.device),
        )

    @property
    def seconds(self) -> float:
        """Training time, earlier sessions included."""
        return self._seconds_before + time.perf_counter() - self._began

    def limits(self) -> dict[str, tuple[float, float]]:
        """For each limit that is set: the share of it that is used, and the seconds left to it."""
        config, progress, seconds = self.config, self.progress, self.seconds
        shares = {}
        if config.max_steps:
            shares["max_steps"] = progress.step / config.max_steps
        if config.max_epochs:
            within = progress.batch / len(self._epoch_batches()) if progress.batch else 0.0
            shares["max_epochs"] = (progress.epoch - 1 + within) / config.max_epochs
        limits = {
            name: (share, seconds * max(0.0, 1 - share) / share if share else math.inf)
            for name, share in shares.items()
        }
        if config.max_minutes:
            limit = config.max_minutes * 60
            limits["max_minutes"] = seconds / limit, max(0.0, limit - seconds)
        return limits

    def reason_to_end(self) -> str | None:
        """The setting that ends training now; None while none does."""
        for name, (share, _) in self.limits().items():
            if share >= 1:
                return name
        patience = self.config.patience
        return "patience" if 0 < patience <= self.progress.n_without_improvement else None

    def is_due(self, every_n_steps: int, done_step: int) -> bool:
        """Whether something with this interval, last done at `done_step`, is to be done now."""
        progress = self.progress
        if progress.step == done_step:
            return False
        return progress.batch == 0 if every_n_steps == 0 else progress.step % every_n_steps == 0

    def update(self) -> None:
        """One update of the weights, on `accumulate` batches.

        Raises:
            NonFiniteError: the loss or the gradient is not finite; the weights are as before.
        """
        began = time.perf_counter()
        progress, config = self.progress, self.config
        share = max((share for share, _ in self.limits().values()), default=0.0)
        rate = learning_rate(config, progress.step + 1, share, progress.n_reductions)
        epoch_batches = self._epoch_batches()
        taken = epoch_batches[progress.batch : progress.batch + config.accumulate]
        total, n_targets, n_tokens = self._accumulate(taken)
        n_sequences = sum(len(indices) for indices in taken)
        divisor = n_targets if config.reduction == "per_token" else n_sequences
        norm = scale_and_clip(self.parameters, 1 / max(1, divisor), config.clip_norm)
        if not (math.isfinite(norm) and math.isfinite(total)):
            raise self._not_finite(taken, "gradient" if math.isfinite(total) else "loss")
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(progress.step + 1)
        progress.step += 1
        progress.batch += len(taken)
        if progress.batch == len(epoch_batches):
            progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.loss_sum += total
        progress.n_targets += n_targets
        progress.n_tokens += n_tokens
        progress.grad_norm, progress.learning_rate = norm, rate
        progress.update_seconds += time.perf_counter() - began

    def log(self) -> Step:
        """Progress since the last time, which begins anew."""
        progress, limits = self.progress, self.limits()
        share, left = max(limits.values(), default=(0.0, None), key=lambda limit: limit[0])
        event = Step(
            step=progress.step,
            epoch=progress.last_epoch,
            loss=progress.loss_sum / max(1, progress.n_targets),
            learning_rate=progress.learning_rate,
            grad_norm=progress.grad_norm,
            tokens_per_second=progress.n_tokens / max(progress.update_seconds, 1e-9),
            fraction_done=min(1.0, share),
            eta_seconds=left,
            seconds=self.seconds,
        )
        progress.metrics_bytes = run_folder.append_metrics(self.folder, event)
        progress.loss_sum, progress.n_targets, progress.n_tokens = 0.0, 0, 0
        progress.update_seconds, progress.logged_step = 0.0, progress.step
        return event

    def evaluate(self, is_scheduled: bool) -> Evaluated:
        """Judge the model on the validation part.

        Args:
            is_scheduled: whether patience and the plateau schedule count this evaluation.
        """
        progress, config = self.progress, self.config
        with self.average.in_place():
            loss, scores = self._judge()
        value = loss if config.metric == "loss" else scores[config.metric]
        is_best = self._improves(value, progress.best.value if progress.best else None)
        if is_best:
            progress.best = Best(progress.step, config.metric, value, loss, scores)
        if is_scheduled:
            self._count(value)
        progress.evaluated_step = progress.step
        event = Evaluated(progress.step, progress.last_epoch, loss, scores, is_best, self.seconds)
        progress.metrics_bytes = run_folder.append_metrics(self.folder, event)
        return event

    @property
    def saved_step(self) -> int:
        """Step of the last checkpoint."""
        return self._saved[0] if self._saved else 0

    def save(self) -> Path | None:
        """Write a checkpoint where anything changed since the last one, and give its folder.

        The model in the run folder is replaced before the pointer moves: killed in between, a
        resumed run trains up to this step again and writes the same.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        stamp, progress = self._stamp(), self.progress
        if stamp == self._saved:
            return None
        progress.seconds = self.seconds
        is_best = progress.best is not None and progress.best.step == progress.step
        if is_best or progress.best is None:
            model_path = self.folder / checkpoint.MODEL_FILE
            with checkpoint.writing(model_path, self.folder), self.average.in_place():
                checkpoint.save_whole(model_path, checkpoint.weights_of(self.model))
        groups = {
            "optimiser": optimiser_tensors(self.optimiser, self.model),
            "average": self.average.tensors(),
            "random": self.randomness.tensors(),
        }
        rest = {
            f"{group}.{name}": tensor
            for group, tensors in groups.items()
            for name, tensor in tensors.items()
        }
        content = Checkpoint(checkpoint.weights_of(self.model), rest, progress)
        path = checkpoint.save_checkpoint(self.folder, content, is_best)
        self._saved = stamp
        return path

    def write_card(self, name: str) -> None:
        """Write the model card of a run of this name."""
        signatures, best = self.task.signature(), self.progress.best
        run_folder.write_card(self.folder, name, self.started(), signatures, best)

    def _go_on_from(self, progress: Progress, is_saved: bool = False) -> None:
        self.progress = progress
        self._seconds_before, self._began = progress.seconds, time.perf_counter()
        self._epoch = 0
        self._batches: list[list[int]] = []
        self._saved = self._stamp() if is_saved else None

    def _stamp(self) -> tuple[int, int, int]:
        return self.progress.step, self.progress.evaluated_step, self.progress.logged_step

    def _epoch_batches(self) -> list[list[int]]:
        if self._epoch != self.progress.epoch:
            self._epoch = self.progress.epoch
            lengths, seed = self.prepared.train.lengths, self.recipe.seed
            self._batches = list(batches(lengths, self.config.max_tokens, seed, self._epoch))
        return self._batches

    def _accumulate(self, taken: Sequence[Sequence[int]]) -> tuple[float, int, int]:
        """Add up the gradients of batches: (loss, targets, tokens), each summed."""
        self.model.train()
        total, n_targets, n_tokens = 0.0, 0, 0
        examples = self.prepared.train.examples
        with self.randomness.drawn():
            for indices in taken:
                batch = self.task.collate([examples[index] for index in indices])
                batch = batch.to(self.device)
                with self.precision:
                    loss, count = self.task.loss(self.model, batch)
                loss.backward()
                total += float(loss.detach())
                n_targets += count
                n_tokens += batch.n_tokens
        return total, n_targets, n_tokens

    def _judge(self) -> tuple[float, dict[str, float]]:
        valid, config = self.prepared.valid, self.config
        loss = mean_loss(
            self.model, self.task, valid.examples, config.max_tokens, self.device, self.precision
        )
        chosen = valid.evenly(config.valid_sentences)
        if not chosen:
            return loss, {}
        decoding = dataclasses.replace(self.recipe.decoding, method="greedy", n_best=1)
        examples = [valid.examples[index] for index in chosen]
        tokenizers = self.prepared.tokenizers
        with self.precision:
            answers = predictions(self.model, self.task, examples, tokenizers, decoding)
        right = [valid.rows[index].fields[-1] for index in chosen]
        return loss, dict(self.task.score([answer.text for answer in answers], right))

    def _improves(self, value: float, best: float | None) -> bool:
        if math.isnan(value):
            return False
        return best is None or (value < best if self.config.metric == "loss" else value > best)

    def _count(self, value: float) -> None:
        progress, config = self.progress, self.config
        if self._improves(value, progress.scheduled_best):
            progress.scheduled_best, progress.n_without_improvement = value, 0
            return
        progress.n_without_improvement += 1
        if progress.n_without_improvement % config.plateau_patience == 0:
            progress.n_reductions += config.schedule == "plateau"

    def _not_finite(self, taken: Sequence[Sequence[int]], what: str) -> NonFiniteError:
        progress = self.progress
        names = [
            name
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        where = f", first in {', '.join(names[:3])}" if names else ""
        self.optimiser.zero_grad(set_to_none=True)
        rows = self.prepared.train.rows
        lines = sorted(rows[index].line for indices in taken for index in indices)
        more = f" and {len(lines) - _LINES_NAMED} more" if len(lines) > _LINES_NAMED else ""
        first, last = progress.batch + 1, progress.batch + len(taken)
        batch = f"batch {first}" if first == last else f"batches {first} to {last}"
        return NonFiniteError(
            f"the {what} of step {progress.step + 1} (epoch {progress.epoch}, {batch}) is not "
            f"finite{where}; it holds lines {', '.join(map(str, lines[:_LINES_NAMED]))}{more} of "
            "the training data; look at them, or lower training.learning_rate or clip_norm; "
            "the last checkpoint stands"
        )
