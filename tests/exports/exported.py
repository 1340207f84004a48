"""Graphs of small models without a run, compared with the models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import small_models

from unrolled.exports import inputs as given
from unrolled.exports.export import stand_in, with_model
from unrolled.exports.gate import Agreement, compare_scores
from unrolled.exports.graph import models
from unrolled.exports.kinds import kind_of
from unrolled.exports.rounding import Precision, rounded


def predictor(name: str, **model: Any) -> Any:
    """An untrained model of a task, which reads at most 20 tokens."""
    small = small_models.predictor(name, **model)
    recipe = small.recipe
    if name == "translate":
        recipe = replace(recipe, decoding=replace(recipe.decoding, max_input_length=20))
    elif name != "language_model":
        recipe = replace(recipe, data=replace(recipe.data, max_length=20))
    small.recipe = recipe
    return small


def mixed(name: str, **model: Any) -> Any:
    """An untrained model, half of whose scores are those of n-grams, if it counts them."""
    small = predictor(name, **model)
    if model.get("ngrams"):
        small.model.head.share.fill_(0.5)
    return small


def agreement_of(small: Any, precision: Precision = "float32") -> float:
    """The largest difference between a model and its graphs; an error beyond the tolerance."""
    kind, agreement = kind_of(small.task), Agreement("")
    settings = kind.settings(small.recipe, small.tokenizers, small.model, 0)
    reference = with_model(small, rounded(small.model, precision).eval())
    graphs = models(kind.graphs(reference.model, precision))
    exported = stand_in(small, kind, settings, graphs)
    compare_scores(kind, reference, exported, given.inputs_for(small), agreement)
    return agreement.largest
