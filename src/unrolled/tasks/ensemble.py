"""Several models of one task as one: the mean of their probabilities.

For labels, the probability of a label is the mean over the models; in tagging, that of each token's tag.
With a CRF, the tags are those allowed by the scheme with the largest product of mean probabilities. For
text, queries and code, one search extends hypotheses by the mean of the models' distributions over the
next token (Sutskever et al. 2014, section 3.6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.errors import ConfigError
from unrolled.layers.crf import LinearChainCRF
from unrolled.shapes import Float, Int
from unrolled.tasks import text_labels
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import AnyTask, LabelTask, Task


class Ensemble(nn.Module):
    """The models of an ensemble; its own buffers are what is derived from their mean.

    Args:
        members: the models, of one task and with equal vocabularies.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def derived(self) -> dict[str, Tensor]:
        """The buffers that validation sets, such as the thresholds of labels, by name."""
        return {
            name: value
            for name, value in self.named_buffers()
            if not name.startswith(("members.", "_"))
        }


class LabelEnsemble(Ensemble):
    """Models that predict labels. `head.thresholds` are those of the mean probabilities."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__(members)
        self.head = nn.Module()
        thresholds = getattr(getattr(members[0], "head", None), "thresholds", None)
        if isinstance(thresholds, Tensor):
            self.head.register_buffer("thresholds", thresholds.clone())


class DecoderEnsemble(Ensemble):
    """Models that write text, queries or code, with the parts of one that a search needs.

    `encode` returns the states of all, and the steps of `step_model` have log-probabilities of the mean.

    Attributes:
        least_log_prob: of queries, as that of one model.
    """

    least_log_prob: Tensor

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__(members)
        first: Any = members[0]
        self.config = first.config
        if hasattr(first, "least_log_prob"):
            self.register_buffer("least_log_prob", first.least_log_prob.clone())

    @property
    def head(self) -> Any:
        """The output layer of the first model, for its device."""
        first: Any = self.members[0]
        return first.head

    def copied_ids(self, *arguments: Any) -> Tensor:
        """The words that copying writes, which depend only on the vocabularies."""
        first: Any = self.members[0]
        found: Tensor = first.copied_ids(*arguments)
        return found

    def encode(self, *arguments: Any) -> JointState:
        """The states of all models before the first token."""
        members: Any = self.members
        return JointState(tuple(member.encode(*arguments) for member in members))

    def step_model(self) -> JointSteps:
        """A step model with the current weights, for one call of `decode`."""
        members: Any = self.members
        return JointSteps(tuple(member.step_model() for member in members))


@dataclass(frozen=True)
class JointState:
    """The states of several models that have read the same tokens; a `StepState`.

    Args:
        states: one for each model.
    """

    states: tuple[Any, ...]

    def reorder(self, hypotheses: Int[Tensor, "B K"]) -> JointState:
        """As `StepState.reorder`."""
        return JointState(tuple(state.reorder(hypotheses) for state in self.states))

    def keep(self, sentences: Int[Tensor, " K"]) -> JointState:
        """As `StepState.keep`."""
        return JointState(tuple(state.keep(sentences) for state in self.states))


@dataclass(frozen=True)
class JointSteps:
    """A `StepModel` whose logits are log (1/N Σ_n p_n), with the mean of the attention weights.

    Args:
        step_models: N step models with the same vocabulary.
    """

    step_models: tuple[Any, ...]

    def step(
        self, tokens: Int[Tensor, "B Q"], state: JointState
    ) -> tuple[Float[Tensor, "B Q V"], JointState, Float[Tensor, "B Q S"] | None]:
        """See `StepModel.step`."""
        steps = [
            step_model.step(tokens, each)
            for step_model, each in zip(self.step_models, state.states, strict=True)
        ]
        log_p_NBQV = torch.stack([logits.log_softmax(2) for logits, _, _ in steps])
        mean_BQV = log_p_NBQV.logsumexp(0) - math.log(len(steps))
        weights = [attention for _, _, attention in steps if attention is not None]
        attention = torch.stack(weights).mean(0) if len(weights) == len(steps) else None
        return mean_BQV, JointState(tuple(new for _, new, _ in steps)), attention


def together(task: AnyTask, members: Sequence[nn.Module]) -> tuple[AnyTask, Ensemble]:
    """The models of an ensemble as one module, and its task.

    Raises:
        ConfigError: models of this kind of task cannot be averaged.
    """
    check_kind(task)
    if isinstance(task, LabelTask):
        return averaged(task), LabelEnsemble(members)
    assert isinstance(task, Task)
    return task, DecoderEnsemble(members)


def check_kind(task: AnyTask) -> None:
    """Refuse tasks whose models cannot be averaged.

    Raises:
        ConfigError: the task is one of them.
    """
    if task.kind is LANGUAGE_MODEL:
        raise ConfigError(
            f"an ensemble averages models of labels, text, queries or code, not of task '{task.name}'; "
            "train one larger model instead"
        )


def averaged(task: LabelTask) -> LabelTask:
    """A task that predicts with the mean probabilities of a `LabelEnsemble`."""
    assert task.kind is LABELLING

    def predict(
        model: LabelEnsemble, examples: Sequence[Any], tokenizers: Tokenizers
    ) -> list[LabelPrediction]:
        found = [task.predict(member, examples, tokenizers) for member in model.members]
        return [_mean(task, model, each, tokenizers) for each in zip(*found, strict=True)]

    return replace(task, predict=predict)


def _mean(
    task: LabelTask,
    model: LabelEnsemble,
    predictions: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> LabelPrediction:
    first, labels = predictions[0], tokenizers[LABELS]
    stacked = np.stack([each.probabilities for each in predictions]).astype(np.float64)
    mean = stacked.mean(0).astype(np.float32)
    if task.by_token:
        return replace(first, labels=_tags(model, mean, labels.names), probabilities=mean)
    head: Any = model.head
    (chosen,) = text_labels.labels_for(mean[None], labels, head.thresholds)
    weights = tuple(
        None if any(part is None for part in parts) else np.mean(np.stack(parts), 0)
        for parts in zip(*(each.weights for each in predictions), strict=True)
    )
    return replace(first, labels=chosen, probabilities=mean, weights=weights)


def _tags(
    model: LabelEnsemble, mean_TC: NDArray[np.float32], names: Sequence[str]
) -> tuple[str, ...]:
    """The best tags of a sentence by their mean probabilities, among those that the scheme allows."""
    first: Any = model.members[0]
    best_T = mean_TC.argmax(1)
    if getattr(first, "crf", None) is not None and len(mean_TC):
        crf = LinearChainCRF(len(names), first.crf.allowed)  # its weights are zero
        log_p = torch.from_numpy(np.log(np.maximum(mean_TC, np.finfo(np.float32).tiny)))
        best_T = crf.best(log_p[None], torch.tensor([len(mean_TC)]))[0].numpy()
    return tuple(names[tag] for tag in best_T.tolist())
