"""Translation: an encoder–decoder with attention, from parallel text to sentences.

Bahdanau, Cho & Bengio 2015 (additive attention); Luong, Pham & Manning 2015 (multiplicative attention,
input feeding). The file reads in the order data flows: configuration, model, encode, collate, loss,
decode, score, TASK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from unrolled.errors import ConfigError
from unrolled.layers import pretrained
from unrolled.layers.unknown import count_ids, rate_for, shares_of
from unrolled.metrics import translation
from unrolled.tasks.seq2seq import (
    Pair,
    TranslateConfig,
    Translator,
    collate,
    decode,
    encode,
    evaluate_loss,
    lengths,
    loss,
    train_tokenizers,
)
from unrolled.tasks.task import Task, Tokenizers
from unrolled.text.tokenizer import TextConfig


def build(config: TranslateConfig, tokenizers: Tokenizers) -> Translator:
    """A fresh model for these vocabularies."""
    if config.tied_embeddings == "all" and tokenizers["source"] is not tokenizers["target"]:
        raise ConfigError(
            "model.tied_embeddings: 'all' shares one table between both languages and needs one "
            "vocabulary; set text.shared = true"
        )
    config = replace(config, unknown_rate=rate_for(tokenizers["source"], config.unknown_rate))
    return Translator(config, len(tokenizers["source"]), len(tokenizers["target"]))


def prepare(model: Translator, pairs: Sequence[Pair], tokenizers: Tokenizers) -> None:
    """How rare each word of the training part is."""
    if rate := model.config.unknown_rate:
        sides = (pair.source for pair in pairs), (pair.target for pair in pairs)
        for side, shares in zip(sides, (model.unknown_source, model.unknown_target), strict=True):
            shares.copy_(shares_of(count_ids(chain.from_iterable(side), len(shares)), rate))


def check_pretrained(config: TranslateConfig, text: TextConfig) -> None:
    """Refuse files of vectors that the embeddings cannot begin with."""
    for setting in ("source_embeddings", "target_embeddings"):
        path = getattr(config, setting)
        if path is not None:
            pretrained.check(path, config.embedding_size, text.kind, setting=f"model.{setting}")


def load_pretrained(model: Translator, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Pretrained embeddings of each side for which the recipe names a file."""
    notes: list[str] = []
    for role, (embedding, file) in zip(("source", "target"), model.tables(), strict=False):
        if file is not None:
            notes += pretrained.fill(
                embedding,
                tokenizers[role],
                file,
                missing=model.config.embeddings_missing,
                setting=f"model.{role}_embeddings",
                scale=model._scale(embedding),
            )
    return tuple(notes)


TASK = Task(
    name="translate",
    columns=("source", "target"),
    Config=TranslateConfig,
    train_tokenizers=train_tokenizers,
    encode=encode,
    lengths=lengths,
    collate=collate,
    build=build,
    loss=loss,
    evaluate_loss=evaluate_loss,
    decode=decode,
    score=translation.score,
    signature=translation.signature,
    load_pretrained=load_pretrained,
    check_pretrained=check_pretrained,
    prepare=prepare,
)
