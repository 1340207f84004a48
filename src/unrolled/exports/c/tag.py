"""A tagger in C: words and their letters, scores of the tags, and the best sequence."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from unrolled.exports.c import literals
from unrolled.exports.c.network import CELLS, Builder, Precision
from unrolled.exports.c.plan import Plan, sizes_of
from unrolled.exports.c.vocabulary import letters, text_of
from unrolled.layers.crf import LinearChainCRF
from unrolled.quoting import escape_breaks
from unrolled.tasks.roles import CHARACTERS, LABELS
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.tag.task import TASK
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of

_LONGEST = 4096


def plan(predictor: Any, precision: Precision) -> Plan:
    """A tagger as C.

    Raises:
        ConfigError: its words cannot be written in C.
    """
    tokenizer: Tokenizer = predictor.tokenizers[ROLE]
    labels: Labels = predictor.tokenizers[LABELS]
    config, data = predictor.recipe.model, predictor.recipe.data
    text = text_of(tokenizer)
    char_size = 0 if config.characters == "none" else config.char_size
    if char_size:
        text = text.with_tables(letters(predictor.tokenizers[CHARACTERS]))
    model = copy.deepcopy(predictor.model)
    builder = Builder(precision, CELLS[config.cell])
    depths = build(builder, model)
    n_directions = len(depths[0])
    width = max(config.embedding_size + 2 * char_size, config.hidden_size * n_directions)
    sizes = [directions[0].size for directions in depths]
    spelled = ", with the letters of each word" if char_size else ""
    from_type = literals.integer_type(len(labels))
    n_bytes = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4}[from_type] if model.crf else 0
    return Plan(
        task=TASK.name,
        builder=builder,
        model=model,
        text=text,
        header="tag.h",
        program="tag.c",
        context={
            "n_tags": len(labels),
            "label_names": literals.lines(
                literals.string(escape_breaks(name, also="\t ")) for name in labels.names
            ),
            "piece": data.max_length,
            "most_letters": data.max_characters,
            "width": width,
            "depths": depths,
            "crf": model.crf is not None,
            "spells": bool(char_size),
            "letter_size": char_size,
            "embedding_size": config.embedding_size,
            "from_type": from_type,
            "embeds": True,
            "scaled": "",
            "tied": False,
            **builder.facts,
        },
        about=f"It gives each word one of {count_of(len(labels), 'tag')}: "
        f"{sizes_of(config.cell, sizes, both=n_directions > 1)}{spelled}.",
        state_bytes=4 * 2 * data.max_length * width + _LONGEST * len(labels) * (4 + n_bytes) + 8,
    )


def build(builder: Builder, model: Tagger) -> list[tuple[Any, ...]]:
    """Add the arrays of a model; return the layers of its encoder."""
    builder.table("embedding", model.embedding.weight)
    if model.spelling is not None:
        builder.table("letters", model.spelling.embedding.weight)
        builder.encoder("spelling", model.spelling.encoder)
    depths = builder.encoder("l", model.encoder)
    builder.named("head", model.scorer.weight, model.scorer.bias)
    if model.crf is not None:
        _add_crf(builder, model.crf)
    return depths


def _add_crf(builder: Builder, crf: LinearChainCRF) -> None:
    """Add the scores of a CRF; −∞ for what the tagging scheme forbids."""
    for name, scores in zip(("start", "transition", "end"), crf._scores(), strict=True):
        builder.array(name, scores.detach().double().numpy().astype(np.float64))
