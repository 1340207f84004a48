"""Predictions that mix the scores of a network with those of counted n-grams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.layers.mixed_head import PARTS, MixedHead, best_share
from unrolled.metrics.multi_label import choose_thresholds
from unrolled.tasks.predictions import LabelPrediction
from unrolled.text.labels import Labels

Parts = NDArray[np.float64]
"""`[…, 2, C]`, scores of the network and of counted n-grams."""

Choose = Callable[[NDArray[np.float32], Labels, Tensor], list[tuple[str, ...]]]
"""Probabilities `[N, C]`, labels, thresholds → the names of the predicted labels of each row."""


def is_mixed(head: Any) -> bool:
    """Whether a head mixes two parts."""
    return isinstance(head, MixedHead)


def parts_of(head: Any, hidden: Tensor) -> Parts | None:
    """`[B, 2, C]`, the scores of both parts for hidden vectors; None if the head does not mix."""
    if not isinstance(head, MixedHead):
        return None
    parts_B2C = torch.stack(head.parts(hidden), dim=1)
    found: Parts = parts_B2C.detach().double().cpu().numpy()
    return found


def mixed(parts_N2C: Parts, share: float, multi_label: bool) -> NDArray[np.float32]:
    """The probabilities `[N, C]` of (1 − λ) z + λ s.

    >>> mixed(np.array([[[0.0, 2.0], [0.0, -2.0]]]), 0.5, multi_label=False).tolist()
    [[0.5, 0.5]]
    """
    logits_NC = (1 - share) * parts_N2C[:, 0] + share * parts_N2C[:, 1]
    if multi_label:
        probabilities_NC = np.exp(-np.logaddexp(0, -logits_NC))
    else:
        total_N1 = np.logaddexp.reduce(logits_NC, axis=1, keepdims=True)
        probabilities_NC = np.exp(logits_NC - total_N1)
    return probabilities_NC.astype(np.float32)


def mix_parts(
    head: MixedHead,
    predictions: Sequence[LabelPrediction],
    gold_NC: NDArray[np.int64],
    labels: Labels,
    choose: Choose,
) -> list[LabelPrediction]:
    """Choose the share of the counted n-grams on validation rows; return the resulting predictions.

    If a row may have several labels, the thresholds of each part alone are chosen, too, so that the
    parts can be compared with what they make together.

    Args:
        head: the head; its share and the thresholds of its parts are set.
        predictions: the predictions of the rows.
        gold_NC: 1 where a row has a label.
        labels: the labels.
        choose: chooses labels by their probabilities.
    """
    here = [row for row, prediction in enumerate(predictions) if prediction.parts is not None]
    if not here:
        return list(predictions)
    parts_N2C = np.stack([predictions[row].parts for row in here])  # type: ignore[misc]
    truth_NC = gold_NC[here] > 0
    share = best_share(parts_N2C[:, 0], parts_N2C[:, 1], truth_NC, labels.multi_label)
    head.share.fill_(share)
    if labels.multi_label:
        for part in range(len(PARTS)):
            alone_NC = mixed(parts_N2C, float(part), multi_label=True)
            thresholds_C = choose_thresholds(gold_NC[here], alone_NC)
            head.part_thresholds[part] = torch.from_numpy(thresholds_C)
    probabilities_NC = mixed(parts_N2C, share, labels.multi_label)
    chosen = choose(probabilities_NC, labels, head.thresholds)
    found = list(predictions)
    for row, probabilities_C, names in zip(here, probabilities_NC, chosen, strict=True):
        found[row] = replace(found[row], probabilities=probabilities_C, labels=names)
    return found


def labels_of_parts(
    head: Any, predictions: Sequence[LabelPrediction], labels: Labels, choose: Choose
) -> dict[str, list[tuple[str, ...]]]:
    """For each part, the labels that it alone would predict; {} if the head does not mix.

    Where training has seen nothing of a text, all parts predict the same.

    Args:
        head: the head of the model.
        predictions: the predictions.
        labels: the labels.
        choose: chooses labels by their probabilities.
    """
    if not isinstance(head, MixedHead) or all(each.parts is None for each in predictions):
        return {}
    here = [row for row, prediction in enumerate(predictions) if prediction.parts is not None]
    parts_N2C = np.stack([predictions[row].parts for row in here])  # type: ignore[misc]
    found: dict[str, list[tuple[str, ...]]] = {}
    for place, name in enumerate(PARTS):
        probabilities_NC = mixed(parts_N2C, float(place), labels.multi_label)
        chosen = choose(probabilities_NC, labels, head.part_thresholds[place])
        found[name] = [prediction.labels for prediction in predictions]
        for row, names in zip(here, chosen, strict=True):
            found[name][row] = names
    return found
