"""Decoding with the sequence-to-sequence model."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from unrolled.decoding import decode as decode_hypotheses
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.decoding.types import Hypothesis
from unrolled.shapes import Padded
from unrolled.tasks.predictions import Prediction, prediction_of
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.seq2seq_data import Pair, written_ids
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID

Fuse = Callable[[Any, Any, Sequence[Pair]], tuple[Any, Any]]


def decode(
    model: Any,
    pairs: Sequence[Pair],
    tokenizers: Tokenizers,
    config: DecodingConfig,
    with_attention: bool = False,
    *,
    mask: MaskProvider | None = None,
    fuse: Fuse | None = None,
) -> list[Prediction]:
    """Translate a batch. The translation of an empty sentence is empty, without running the model.

    Args:
        model: a `Translator`, or what has its methods.
        pairs: encoded examples; only their sources are used.
        tokenizers: tokenizers by role.
        config: the decoding method and its options.
        with_attention: whether to return attention weights.
        mask: maps the pairs with a non-empty source, truncated to `max_input_length`, to the words that
            their outputs may have.
        fuse: adds another model to the search: the step model, its state, and the pairs with a non-empty
            source → the step model and state to search with.
    """
    device = model.head.bias.device
    n_truncated = [max(0, len(pair.source) - 1 - config.max_input_length) for pair in pairs]
    pairs = [
        _cut(pair, config.max_input_length) if unread else pair
        for pair, unread in zip(pairs, n_truncated, strict=True)
    ]
    asked = [index for index, pair in enumerate(pairs) if len(pair.source) > 1]
    answers: list[list[Hypothesis]] = [[_NOTHING] for _ in pairs]
    if asked:
        source = Padded.from_rows([pairs[index].source for index in asked], PAD_ID)
        limits = (source.lengths * config.max_length_ratio).long() + config.max_length_extra
        limits = limits.clamp(min=max(0, config.min_length_limit))
        writes = None
        if model.config.copying != "none":
            unknown = written_ids([pairs[index] for index in asked])
            writes = model.copied_ids(source.values.to(device), unknown.to(device))
        with torch.inference_mode():
            step_model: Any = model.step_model()
            state: Any = model.encode(source.to(device), writes)
            if fuse is not None:
                step_model, state = fuse(step_model, state, [pairs[index] for index in asked])
            found = decode_hypotheses(
                step_model,
                state,
                limits,
                config,
                BOS_ID,
                EOS_ID,
                with_attention,
                forbidden=[PAD_ID],
                # Random draws depend only on the sentence, not on the other sentences.
                keys=[zlib.crc32(repr(pairs[index].source).encode()) for index in asked],
                mask=None if mask is None else mask([pairs[index] for index in asked]),
                device=device,
            )
        for index, hypotheses in zip(asked, found, strict=True):
            answers[index] = hypotheses
    return [
        prediction_of(pair.source, pair.words, hypotheses, tokenizers, unread)
        for pair, hypotheses, unread in zip(pairs, answers, n_truncated, strict=True)
    ]


def _cut(pair: Pair, n_tokens: int) -> Pair:
    """The pair with its source truncated to `n_tokens` tokens."""
    writes = (*pair.writes[:n_tokens], EOS_ID) if pair.writes else ()
    source = [*pair.source[:n_tokens], EOS_ID]
    return replace(pair, source=source, words=pair.words[:n_tokens], writes=writes)


_NOTHING = Hypothesis(tokens=(), score=0.0, log_prob=0.0, attention=None, finished=True)
