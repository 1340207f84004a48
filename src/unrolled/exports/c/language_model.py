"""A language model in C: reading a text, the next token, and what the program `main.c` needs."""

from __future__ import annotations

import copy
from typing import Any

from unrolled.decoding.word_completion import in_word
from unrolled.errors import ConfigError
from unrolled.exports.c import literals
from unrolled.exports.c.network import CELLS, Builder, Precision
from unrolled.exports.c.plan import Plan, sizes_of
from unrolled.exports.c.vocabulary import Table, Text, text_of
from unrolled.layers.head import SoftmaxHead
from unrolled.ops.types import Weights
from unrolled.tasks.language_model import TASK, LanguageModel
from unrolled.text.config import EOS_ID, SPECIALS
from unrolled.text.tokenizer import Tokenizer

_ENDS, _GOES_ON, _BLANK, _LETTER = 1, 2, 4, 8
_BORDERS = {"line": "\n", "paragraph": "\n\n"}
_APOSTROPHES = "'\u2019"


def plan(predictor: Any, precision: Precision) -> Plan:
    """A language model of characters as C.

    Raises:
        ConfigError: its tokens or its output layer cannot be written in C.
    """
    tokenizer: Tokenizer = predictor.tokenizers["text"]
    config = predictor.recipe.model
    if tokenizer.kind != "char":
        raise ConfigError(
            f"text.kind is '{tokenizer.kind}', and only language models of characters can be exported as "
            "C; export with --onnx, or train with --text.kind char"
        )
    if config.head == "adaptive":
        raise ConfigError(
            "model.head is 'adaptive', which cannot be exported as C; export with --onnx, or train with "
            "--model.head full"
        )
    model = copy.deepcopy(predictor.model)
    builder = build(model, precision)
    data = predictor.recipe.data
    border = _BORDERS.get(data.documents, "")
    if data.documents == "separator":
        border = f"\n{data.separator}\n"
    first = builder.layers[0]
    n_states = 2 if config.cell == "lstm" else 1
    return Plan(
        task=TASK.name,
        builder=builder,
        model=model,
        text=_text(tokenizer),
        header="language_model.h",
        program="language_model.c",
        context={
            "n_tokens": len(tokenizer),
            "embedding_size": 1 if model.embedding is None else first.input_size,
            "embeds": model.embedding is not None,
            "scaled": f"{literals.one(model._scale)}" if config.tied else "",
            "border": literals.string(border),
            "restarts": int(data.restart),
            "tied": config.tied,
            **builder.facts,
        },
        about=f"It reads characters, of which it knows {len(tokenizer) - len(SPECIALS):,}, and says "
        f"which one comes next: {sizes_of(config.cell, [layer.size for layer in builder.layers])}.",
        state_bytes=4 * n_states * sum(layer.size for layer in builder.layers),
    )


def build(model: LanguageModel, precision: Precision) -> Builder:
    """The arrays of a model; with int8, its weights are rounded."""
    builder = Builder(precision, CELLS[model.config.cell])
    embedding, head = model.embedding, model.head
    assert isinstance(head, SoftmaxHead)
    table = None
    if embedding is not None:
        table = builder.table("embedding", embedding.weight, tied=model.config.tied)
    for depth, layer in enumerate(model.layers.layers):
        recurrent: Any = layer
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = Weights(*(getattr(recurrent, name) for name in names))
        builder.layer(f"l{depth}", weights, by_columns=embedding is None and depth == 0)
    shared = table if model.config.tied else None
    builder.named("head", head.weight, head.bias, shared=shared)
    return builder


def _text(tokenizer: Tokenizer) -> Text:
    """The tables of a vocabulary of characters, with what a program that writes needs."""
    text = text_of(tokenizer, in_word)
    written = ["", "", "", "", *tokenizer.tokens(range(len(SPECIALS), len(tokenizer)))]
    flags = [_flags(character) for character in written]
    flags[EOS_ID] = _ENDS
    tables = (
        Table(
            "uint32_t",
            "text_point_of",
            literals.lines(str(ord(character)) if character else "0" for character in written),
            len(written),
        ),
        Table("uint8_t", "text_flags", literals.lines(map(str, flags)), len(flags)),
    )
    return text.with_tables(tables)


def _flags(character: str) -> int:
    """What a character means for the end of a word; see `decoding.word_completion.TokenTrie`."""
    if not character:
        return 0
    if not in_word(character):
        return _ENDS | (_BLANK if character == " " else 0)
    return _GOES_ON | (0 if character in _APOSTROPHES else _LETTER)
