"""A classifier in C: reading a text, pooling, and the probabilities of the labels."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from unrolled.exports.c import literals
from unrolled.exports.c.network import CELLS, Builder, Precision
from unrolled.exports.c.plan import Plan, sizes_of
from unrolled.exports.c.vocabulary import text_of
from unrolled.quoting import escape_breaks
from unrolled.tasks.classify import TASK, Classifier
from unrolled.tasks.roles import LABELS
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of

_POOLING = {
    "final": "the last output of each direction",
    "mean": "their mean",
    "max": "the largest value of each unit",
    "attentive": "a mean with learned weights",
}


def plan(predictor: Any, precision: Precision) -> Plan:
    """A classifier as C.

    Raises:
        ConfigError: its tokens cannot be written in C.
    """
    tokenizer: Tokenizer = predictor.tokenizers[ROLE]
    labels: Labels = predictor.tokenizers[LABELS]
    config, data = predictor.recipe.model, predictor.recipe.data
    text = text_of(tokenizer)
    model = copy.deepcopy(predictor.model)
    builder = Builder(precision, CELLS[config.cell])
    if labels.shares:
        builder.array("known", _known(predictor.model, tokenizer))
        builder.array("shares", np.array(labels.shares, np.float32))
    depths = build(builder, model)
    if labels.multi_label:
        builder.array("thresholds", model.head.thresholds.numpy())
    n_directions = len(depths[0])
    width = max(config.embedding_size, config.hidden_size * n_directions)
    n_first = {"start": data.max_length, "end": 0, "both": -(-data.max_length // 2)}[data.keep]
    sizes = [directions[0].size for directions in depths]
    return Plan(
        task=TASK.name,
        builder=builder,
        model=model,
        text=text,
        header="classify.h",
        program="classify.c",
        context={
            "n_labels": len(labels),
            "several": labels.multi_label,
            "label_names": literals.lines(
                literals.string(escape_breaks(name, also="\t")) for name in labels.names
            ),
            "longest": data.max_length,
            "n_first": n_first,
            "width": width,
            "n_outputs": config.hidden_size * n_directions,
            "forward_size": config.hidden_size,
            "depths": depths,
            "pooling": {"kind": config.pooling, "about": _POOLING[config.pooling]},
            "shares": bool(labels.shares),
            "embeds": True,
            "scaled": "",
            "tied": False,
            **builder.facts,
        },
        about=f"It chooses among {count_of(len(labels), 'label')} of a text: "
        f"{sizes_of(config.cell, sizes, both=n_directions > 1)}, pooling by {config.pooling}.",
        state_bytes=4 * 2 * data.max_length * width,
    )


def build(builder: Builder, model: Classifier) -> list[tuple[Any, ...]]:
    """Add the arrays of a model; return the layers of its encoder."""
    builder.table("embedding", model.embedding.weight)
    depths = builder.encoder("l", model.encoder)
    if (attentive := model.pooling.attentive) is not None:
        builder.named("attention", attentive.weight, attentive.bias)
        builder.array("query", attentive.query.detach().numpy().copy())
    scorer: Any = model.head.scorer
    builder.named("head", scorer.weight, scorer.bias)
    return depths


def _known(model: Classifier, tokenizer: Tokenizer) -> Any:
    """For each token, 1 if it occurred in training and has a content; see `tasks.text_labels.predict`."""
    known = model.embedding.weight.detach().any(1).numpy().astype(np.uint8)
    known[list(tokenizer.silent)] = 0
    return known
