"""A model in training: updates, evaluations and checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unrolled.diagnosis.updates import Updates
from unrolled.errors import NonFiniteError
from unrolled.layers.embedding import thaw
from unrolled.tasks.language_model import with_use
from unrolled.tasks.task import AnyTask, State
from unrolled.training import checkpoint, new_words, pretrained, run_folder
from unrolled.training import config as training_config
from unrolled.training.averaging import WeightAverage
from unrolled.training.checkpoint import Checkpoint, Progress
from unrolled.training.device import Randomness, autocast, choose_device, is_out_of_memory
from unrolled.training.ending import Ending
from unrolled.training.events import Best, Evaluated, Inspected, Started, Step, Warned
from unrolled.training.inspection import Inspector, diagnosis, settings_of
from unrolled.training.layer_groups import Unfreezing, set_rate
from unrolled.training.loaders import Loader
from unrolled.training.model_card import write_card
from unrolled.training.optimizer import (
    build_optimiser,
    gradient_values,
    optimiser_tensors,
    restore_optimiser,
    scale_and_clip,
)
from unrolled.training.recipe import Recipe
from unrolled.training.schedule import learning_rate
from unrolled.training.threads import ThreadChoice, use


class Trainer:
    """Model, optimizer, averaged weights, random stream and progress of a run.

    Args:
        recipe: recipe of the run.
        task: task of the model.
        loader: data and tokenizers.
        folder: the run folder, which may still have its temporary name.
        began: `time.perf_counter()` when the run began, before its data were read; by default now.

    Attributes:
        inspector: what is measured of the gradients while it trains.
        observations: what it found in the last update.

    Raises:
        UnavailableError: the device or precision is not available.
    """

    _saved: tuple[int, ...] | None
    carried: State

    def __init__(
        self,
        recipe: Recipe,
        task: AnyTask,
        loader: Loader,
        folder: Path,
        began: float | None = None,
    ) -> None:
        self._began = time.perf_counter() if began is None else began
        self.preparing_seconds, self.ending = 0.0, Ending()
        self.recipe, self.task, self.loader, self.folder = recipe, task, loader, folder
        self.config = recipe.training
        self.device = choose_device(self.config)
        self.precision = autocast(self.config, self.device)
        self.inspector = Inspector(0, settings_of(recipe))
        if self.config.threads:
            use(self.config.threads)
        self._most_threads = torch.get_num_threads()
        self.randomness = Randomness(recipe.seed, self.device)
        with self.randomness.drawn():
            self.model = task.build(recipe.model, loader.tokenizers).to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.unfreezing = Unfreezing(self.config.unfreeze_every_n_epochs, self.model)
        self.notes: tuple[str, ...] = ()
        self.observations: list[Inspected | Warned] = []
        self.metrics = run_folder.Metrics()
        self.begin_with(None)

    def begin(self) -> None:
        """Start from new weights, with pretrained embeddings if the task has them.

        Raises:
            ConfigError: they do not fit the model.
            DataError: their file cannot be read.
        """
        self.loader.prepare(self.model)
        with self.randomness.drawn():
            self.notes = self.task.load_pretrained(self.model, self.loader.tokenizers)
        self.notes += pretrained.load(self.model, self.recipe)
        self.begin_with(None)

    def begin_with(self, weights_from: Path | None) -> None:
        """Start at step 0, from new weights or from those of another run."""
        if weights_from is not None:
            self.notes += new_words.set_weights(self.model, self.recipe, weights_from)
            self.loader.prepare(self.model)
        self.optimiser = build_optimiser(self.config, self.model)
        self.average = WeightAverage(self.model, self.config.average)
        self._go_on_from(Progress())

    def restore(self) -> None:
        """Restore the last checkpoint in the folder.

        Raises:
            RunError: a file of the run is missing or damaged; nothing has been changed.
        """
        self.notes = run_folder.read_notes(self.folder)
        pointer = checkpoint.read_pointer(self.folder)
        last = checkpoint.load_checkpoint(self.folder)
        self.loader.prepare(self.model)
        self._take(last)
        progress = last.progress
        self.metrics.go_on(self.folder, progress.metrics_bytes, progress.metrics_sha256)
        run_folder.remove_leftovers(self.folder, pointer)

    def _take(self, last: Checkpoint) -> None:
        path = self.folder / checkpoint.FOLDER
        checkpoint.set_weights(self.model, last.weights, path)
        groups: dict[str, dict[str, Tensor]] = {
            name: {} for name in ("optimiser", "average", "random", "carried")
        }
        try:
            for name, tensor in last.rest.items():
                group, _, rest = name.partition(".")
                groups[group][rest] = tensor
            restore_optimiser(self.optimiser, self.model, groups["optimiser"])
            self.average.restore(groups["average"])
            self.randomness.restore(groups["random"])
            with self.randomness.drawn():  # torch checks the state here
                pass
            self._go_on_from(last.progress, is_saved=True)
            if groups["carried"]:
                self.carried = _state_of(groups["carried"], self.carried, self.device)
        except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
            if is_out_of_memory(error):
                raise
            problem = f"its content does not fit this model and recipe ({str(error)[:200]!r})"
            raise checkpoint.damaged(path, problem) from None
        progress = last.progress
        if not 0 <= progress.batch < self._n_batches():
            raise checkpoint.damaged(path, "it has more batches than an epoch")

    def end_preparation(self) -> None:
        """Count the time so far in this session as preparation, in which nothing is learned."""
        self.preparing_seconds = time.perf_counter() - self._began

    def started(self) -> Started:
        """The event that describes data, vocabularies and model."""
        loader = self.loader
        return Started(
            step=self.progress.step,
            unit=loader.unit,
            sizes=loader.sizes,
            skipped=loader.skipped,
            vocabulary_sizes={role: len(words) for role, words in loader.tokenizers.items()},
            parameters=sum(parameter.numel() for parameter in self.parameters),
            steps_per_epoch=self.steps_per_epoch,
            device=str(self.device),
            notes=(*loader.notes, *self.notes),
        )

    @property
    def seconds(self) -> float:
        """Seconds since the run began, with reading the data, and with earlier sessions."""
        return self._seconds_before + time.perf_counter() - self._began

    def limits(self) -> dict[str, tuple[float, float]]:
        """For each limit that is set: the share of it that is used, and the seconds left."""
        config, progress, seconds = self.config, self.progress, self.seconds
        trained = max(0.0, seconds - self.preparing_seconds)
        shares = {}
        if config.max_steps:
            shares["max_steps"] = progress.step / config.max_steps
        if config.max_epochs:
            within = progress.batch / self._n_batches() if progress.batch else 0.0
            shares["max_epochs"] = (progress.epoch - 1 + within) / config.max_epochs
        limits = {
            name: (share, trained * max(0.0, 1 - share) / share if share else math.inf)
            for name, share in shares.items()
        }
        if config.max_minutes:
            limit = config.max_minutes * 60
            most = self.ending.most_seconds_trained(limit, self.preparing_seconds)
            share = trained / most if most > 0 else 1.0
            limits["max_minutes"] = share, max(0.0, limit - seconds)
        return limits

    def reason_to_end(self) -> str | None:
        """The stopping criterion that is met; None if none is."""
        for name, (share, _) in self.limits().items():
            if share >= 1 and not (name == "max_minutes" and self.progress.step == 0):
                return name
        if not self.config.patience:
            return None
        progress, (n_evaluations, n_steps) = self.progress, self.patience()
        is_over = progress.n_without_improvement >= n_evaluations
        return "patience" if is_over and progress.step - progress.improved_step >= n_steps else None

    def patience(self) -> tuple[int, int]:
        """The evaluations and the steps without improvement after which training stops, both of them."""
        return self.config.patience_for(self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return math.ceil(self._n_batches() / self.config.accumulate)

    def evaluation_is_due(self) -> bool:
        """Whether an evaluation on validation data is due now."""
        interval, done_step = self.config.evaluate_every_n_steps, self.progress.evaluated_step
        if interval >= 0:
            return self.is_due(interval, done_step)
        n_steps = self.progress.step - done_step
        is_end_of_epoch = (
            self.is_due(0, done_step) and n_steps >= training_config.LEAST_STEPS_BETWEEN
        )
        return is_end_of_epoch or self.is_due(training_config.STEPS_BETWEEN_EVALUATIONS, done_step)

    def is_due(self, every_n_steps: int, done_step: int) -> bool:
        """Whether an action with this interval, last done at `done_step`, is due now."""
        progress = self.progress
        if progress.step == done_step:
            return False
        return progress.batch == 0 if every_n_steps == 0 else progress.step % every_n_steps == 0

    def update(self) -> None:
        """Update the weights once, on `accumulate` batches.

        Raises:
            NonFiniteError: the loss or the gradient is not finite; the weights are unchanged.
        """
        progress, config = self.progress, self.config
        n_threads = self._begin_update()
        began = time.perf_counter()
        share = max((share for share, _ in self.limits().values()), default=0.0)
        rate = learning_rate(config, progress.step + 1, share, progress.n_reductions)
        thaw(self.model, progress.step, progress.epoch - 1)
        self.unfreezing.at(progress.epoch - 1)
        n_batches = self._n_batches()
        taken = range(progress.batch, min(progress.batch + config.accumulate, n_batches))
        total, n_targets, n_tokens, n_sequences = self._accumulate(taken)
        divisor = n_targets if config.reduction == "per_token" else n_sequences
        norm = scale_and_clip(self.parameters, 1 / max(1, divisor), config.clip_norm)
        if not (math.isfinite(norm) and math.isfinite(total)):
            raise self._not_finite(
                taken, "gradient" if math.isfinite(total) else "loss", rate, norm
            )
        is_inspected = self.inspector.is_due_at(progress.step + 1)
        if is_inspected:
            self.inspector.prepare(self.model)
        set_rate(self.optimiser.param_groups, rate)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(progress.step + 1)
        progress.step += 1
        progress.batch += len(taken)
        if progress.batch == n_batches:
            progress.epoch, progress.batch = progress.epoch + 1, 0
            self.carried = self.loader.start(self.model)
        progress.loss_sum += total
        progress.n_targets += n_targets
        progress.n_tokens += n_tokens
        progress.grad_norm, progress.learning_rate = norm, rate
        seconds = time.perf_counter() - began
        progress.update_seconds += seconds
        self._end_update(n_threads, n_tokens, seconds)
        mean = total / max(1, n_targets)
        self.inspector.note(seconds, mean)
        state = (self.model, self.loader, progress.step, mean, rate, norm)
        self.observations = []
        if is_inspected:
            self.observations.append(self.inspector.inspect(*state))
        if (warned := self.inspector.warning(*state)) is not None:
            self.observations.append(warned)

    def log(self) -> Step:
        """Log the progress since the last call, and reset its sums."""
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
        self.metrics.append(self.folder, event)
        progress.loss_sum, progress.n_targets, progress.n_tokens = 0.0, 0, 0
        progress.update_seconds, progress.logged_step = 0.0, progress.step
        return event

    def evaluate(self, is_scheduled: bool) -> Evaluated:
        """Evaluate the model on the validation part.

        Args:
            is_scheduled: whether patience and the plateau schedule count this evaluation.
        """
        progress, config = self.progress, self.config
        began = time.perf_counter()
        with self.average.in_place():
            loss, scores = self._judge()
        self.ending.evaluation_seconds = time.perf_counter() - began
        value = loss if config.metric == "loss" else scores[config.metric]
        is_best = self._improves(value, progress.best.value if progress.best else None)
        if is_best:
            progress.best = Best(progress.step, config.metric, value, loss, scores)
        if is_scheduled:
            self._count(value)
        progress.evaluated_step = progress.step
        event = Evaluated(
            step=progress.step,
            epoch=progress.last_epoch,
            loss=loss,
            scores=scores,
            is_best=is_best,
            seconds=self.seconds,
            n_without_improvement=progress.n_without_improvement,
        )
        self.metrics.append(self.folder, event)
        return event

    def estimate_ending(self) -> None:
        """Estimate once how long the last evaluation takes, when half of `max_minutes` is used."""
        limits = self.limits()
        if "max_minutes" not in limits or limits["max_minutes"][0] < 1 / 2:
            return
        ending = self.ending
        if ending.scoring_seconds is None:
            evaluation, ending.scoring_seconds = self.loader.estimate(
                self.model, self.recipe, self.device, self.precision
            )
            if ending.evaluation_seconds is None:
                ending.evaluation_seconds = evaluation

    def score_best(self) -> bool:
        """Compute the scores of the best model that the evaluations left out; whether they did."""
        best = self.progress.best
        if best is None or best.scores or not self.loader.leaves_out_scores(self.recipe):
            return False
        if best.step == self.progress.step:
            with self.average.in_place():
                scores = self._scores_of(self.model)
        else:
            model = copy.deepcopy(self.model)
            run_folder.set_best_weights(model, self.folder)
            scores = self._scores_of(model)
        self.progress.best = replace(best, scores=scores)
        return bool(scores)

    @property
    def saved_step(self) -> int:
        """Step of the last checkpoint."""
        return self._saved[0] if self._saved else 0

    def save(self) -> Path | None:
        """Write a checkpoint if anything changed since the last one; returns its folder, or None.

        The model in the run folder is replaced before the pointer is: if the process is killed in
        between, a resumed run trains up to this step again and writes the same model.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        stamp, progress = self._stamp(), self.progress
        if stamp == self._saved:
            return None
        began = time.perf_counter()
        progress.seconds = self.seconds
        self.metrics.flush(self.folder)
        progress.metrics_bytes, progress.metrics_sha256 = self.metrics.n_bytes, self.metrics.sha256
        is_best = progress.best is not None and progress.best.step == progress.step
        if is_best or progress.best is None:
            model_path = self.folder / checkpoint.MODEL_FILE
            with checkpoint.writing(model_path, self.folder), self.average.in_place():
                checkpoint.save_whole(model_path, checkpoint.weights_of(self.model))
        groups = {
            "optimiser": optimiser_tensors(self.optimiser, self.model),
            "average": self.average.tensors(),
            "random": self.randomness.tensors(),
            "carried": _tensors_of(self.carried),
        }
        rest = {
            f"{group}.{name}": tensor
            for group, tensors in groups.items()
            for name, tensor in tensors.items()
        }
        content = Checkpoint(checkpoint.weights_of(self.model), rest, progress)
        path = checkpoint.save_checkpoint(self.folder, content, is_best)
        self._saved = stamp
        self.ending.saving_seconds = time.perf_counter() - began
        return path

    def write_card(self, name: str) -> None:
        """Write the model card; `name` is the name of the run."""
        signatures = self.loader.signature()
        started, best = self.started(), self.progress.best
        task = with_use(self.task, self.recipe.model)
        write_card(self.folder, name, task, signatures, started, best)

    def _go_on_from(self, progress: Progress, is_saved: bool = False) -> None:
        self.progress = progress
        self._seconds_before = progress.seconds
        self.carried = self.loader.start(self.model)
        self._saved = self._stamp() if is_saved else None
        self._threads = None
        if not self.config.threads and self.device.type == "cpu":
            self._threads = ThreadChoice(
                self._most_threads, progress.threads, progress.seconds_one, progress.seconds_all
            )

    def release_threads(self) -> None:
        """Let torch use as many threads as before, if their number was chosen here."""
        if self._threads is not None:
            use(self._most_threads)

    def _begin_update(self) -> int:
        """Let torch use the threads that are chosen for the next update; returns their number."""
        if self._threads is not None:
            use(self._threads.number(self.progress.step))
        return torch.get_num_threads()

    def _end_update(self, n_threads: int, n_tokens: int, seconds: float) -> None:
        choice, progress = self._threads, self.progress
        if choice is None:
            return
        choice.note(progress.step - 1, n_threads, n_tokens, seconds)
        progress.threads = choice.chosen
        progress.seconds_one, progress.seconds_all = choice.seconds_one, choice.seconds_all
        use(choice.chosen)

    def _stamp(self) -> tuple[int, ...]:
        progress = self.progress
        n_scores = len(progress.best.scores) if progress.best else 0
        return progress.step, progress.evaluated_step, progress.logged_step, n_scores

    def _n_batches(self) -> int:
        return self.loader.n_batches(self.progress.epoch)

    def _accumulate(self, taken: Sequence[int]) -> tuple[float, int, int, int]:
        """Accumulate the gradients of batches; returns total loss, targets, tokens and sequences."""
        self.model.train()
        total, n_targets, n_tokens, n_sequences = 0.0, 0, 0, 0
        with self.randomness.drawn():
            for index in taken:
                batch, n_rows = self.loader.batch(self.progress.epoch, index)
                batch = batch.to(self.device)
                with self.precision:
                    loss, count, self.carried = self.loader.loss(self.model, batch, self.carried)
                loss.backward()
                total += float(loss.detach())
                n_targets += count
                n_tokens += batch.n_tokens
                n_sequences += n_rows
        return total, n_targets, n_tokens, n_sequences

    def _judge(self) -> tuple[float, dict[str, float]]:
        return self.loader.evaluate(self.model, self.recipe, self.device, self.precision)

    def _scores_of(self, model: torch.nn.Module) -> dict[str, float]:
        return self.loader.scores(model, self.recipe, self.device, self.precision)

    def _improves(self, value: float, best: float | None, least: float = 0.0) -> bool:
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value < best - least if self.config.metric == "loss" else value > best

    def _count(self, value: float) -> None:
        progress, config = self.progress, self.config
        least = training_config.LEAST_IMPROVEMENT if config.patience < 0 else 0.0
        if self._improves(value, progress.scheduled_best, least):
            progress.scheduled_best, progress.n_without_improvement = value, 0
            progress.improved_step = progress.step
            return
        if self.unfreezing.is_waiting_at(progress.epoch - 1):
            progress.improved_step = progress.step
            return
        progress.n_without_improvement += 1
        if 0 < config.average_after <= progress.n_without_improvement:
            self.average.begin()
        if progress.n_without_improvement % config.plateau_patience == 0:
            progress.n_reductions += config.schedule == "plateau"

    def _not_finite(
        self, taken: Sequence[int], what: str, rate: float, norm: float
    ) -> NonFiniteError:
        progress = self.progress
        names = [
            name
            for name, parameter in self.model.named_parameters()
            if (values := gradient_values(parameter)) is not None and not values.isfinite().all()
        ]
        where = f", first in {', '.join(names[:3])}" if names else ""
        self.optimiser.zero_grad(set_to_none=True)
        updates = Updates(rate, {}, (), self.inspector.first_loss, self.inspector.last_loss, norm)
        found = diagnosis(self.model, self.loader, updates, self.inspector.settings)
        first, last = progress.batch + 1, progress.batch + len(taken)
        batch = f"batch {first}" if first == last else f"batches {first} to {last}"
        return NonFiniteError(
            f"the {what} of step {progress.step + 1} (epoch {progress.epoch}, {batch}) is not "
            f"finite{where}; {self.loader.place(progress.epoch, taken)} of the training data; "
            "check them, or lower training.learning_rate or clip_norm; the run can be resumed "
            f"from its last checkpoint{f'; {found}' if found else ''}"
        )


def _tensors_of(state: State) -> dict[str, Tensor]:
    """The carried state by name, `<layer>.<part>`."""
    return {
        f"{layer}.{part}": tensor.detach().clone()
        for layer, parts in enumerate(state)
        for part, tensor in enumerate(parts)
    }


def _state_of(tensors: Mapping[str, Tensor], like: State, device: torch.device) -> State:
    """Rebuild a state from the result of `_tensors_of`.

    Raises:
        ValueError: its shapes differ from those of `like`.
    """
    shapes = {name: tensor.shape for name, tensor in _tensors_of(like).items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError("the carried state has other shapes")
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.partition(".")
        layers.setdefault(int(layer), {})[int(part)] = tensor.to(device)
    return tuple(
        tuple(parts[part] for part in sorted(parts)) for _, parts in sorted(layers.items())
    )
