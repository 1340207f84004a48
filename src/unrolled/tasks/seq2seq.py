"""The sequence-to-sequence model: encoder, bridge, decoder with attention, and its loss and decoding."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor

from unrolled import nn
from unrolled.config import Layers, Rate, Share, Width, check_fields
from unrolled.decoding import decode as decode_hypotheses
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.decoding.types import Hypothesis
from unrolled.errors import ConfigError
from unrolled.layers.decoder import AttentionalDecoder, DecoderState, StepWeights
from unrolled.layers.encoder import Bridge, RecurrentEncoder
from unrolled.layers.head import SoftmaxHead
from unrolled.layers.output import Output
from unrolled.layers.unknown import (
    DEFAULT_RATE,
    count_ids,
    rate_for,
    shares_of,
    some_unknown,
)
from unrolled.ops.cells import CellName
from unrolled.shapes import Float, Int, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.tasks.task import Tokenizers
from unrolled.text.rows import Row
from unrolled.text.tokenizer import BOS_ID, EOS_ID, PAD_ID, TextConfig, Tokenizer


@dataclass(frozen=True)
class TranslateConfig:
    """The `[model]` section of a translation recipe.

    Args:
        cell: the recurrent cell of encoder and decoder.
        embedding_size: width of the word embeddings, both sides.
        encoder_size: hidden width of one direction of the encoder.
        hidden_size: hidden width of the decoder.
        encoder_layers: layers of the encoder.
        decoder_layers: layers of the decoder.
        bidirectional: whether the encoder also reads from the end.
        attention: "none" (the encoding bottleneck), "additive" (Bahdanau 2015), "dot" or "general"
            (multiplicative, Luong 2015).
        input_feeding: whether the last output is an input of the next step (Luong 2015, 3.3).
        dropout_rate: on embeddings, between layers and before the output layer.
        label_smoothing: share of the target distribution spread over all words.
        sampling_rate: scheduled sampling: the chance that a training step reads the model's own last
            word instead of the right one (Bengio et al. 2015); 0 is teacher forcing.
        unknown_rate: a word of either side that occurs n times in training is read there as unknown with
            chance `unknown_rate` / n, so that the model learns what to make of words it does not know
            (`layers.unknown`); 0 for never. The words to predict stay, so that no answer has more unknown
            ones for it.
        tied_embeddings: "none"; "target": the output layer shares the target embedding; "all": the
            source embedding too, which needs `text.shared`.
        source_embeddings: of the source, see `unrolled.tasks.embeddings`; "trained" or "frozen", without
            extra words.
        target_embeddings: the same of the target; where both share one table, `source_embeddings` holds.
    """

    cell: CellName = "lstm"
    embedding_size: Width = 256
    encoder_size: Width = 256
    hidden_size: Width = 512
    encoder_layers: Layers = 1
    decoder_layers: Layers = 1
    bidirectional: bool = True
    attention: Literal["none", "additive", "dot", "general"] = "additive"
    input_feeding: bool = True
    dropout_rate: Rate = 0.2
    label_smoothing: Rate = 0.1
    sampling_rate: Share = 0.0
    unknown_rate: Share = DEFAULT_RATE
    tied_embeddings: Literal["none", "target", "all"] = "none"
    source_embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    target_embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self, simple=True)
        memory_size = self.encoder_size * (2 if self.bidirectional else 1)
        if self.attention == "dot" and memory_size != self.hidden_size:
            raise ConfigError(
                f"model.attention: 'dot' compares widths that must be equal, got {memory_size} of "
                f"the encoder and {self.hidden_size} of the decoder; choose 'general' or change "
                "encoder_size"
            )
        if self.tied_embeddings == "all" and self.target_embeddings.file is not None:
            raise ConfigError(
                "model.target_embeddings.file: source and target share one table "
                "(model.tied_embeddings = 'all'); use model.source_embeddings.file alone"
            )
        shared = {"all": "source_embeddings", "target": "target_embeddings"}
        name = shared.get(self.tied_embeddings)
        if name is not None and getattr(self, name).tuning == "frozen":
            raise ConfigError(
                f"model.{name}.tuning is 'frozen', but the output layer shares that embedding and must "
                "be trainable; set model.tied_embeddings = 'none'"
            )


class Translator(nn.Module):
    """Embeddings, bidirectional encoder, bridge, attentional decoder, softmax head.

    >>> model = Translator(TranslateConfig(embedding_size=3, encoder_size=5, hidden_size=7), 11, 13)
    >>> source = Padded.from_rows([[4, 5, 3], [6, 3]])
    >>> output = model(source, Padded.from_rows([[2, 4], [2, 5]]))
    >>> output.hidden.shape, output.attention.shape
    (torch.Size([2, 2, 7]), torch.Size([2, 2, 3]))
    """

    unknown_source: Tensor
    unknown_target: Tensor

    def __init__(self, config: TranslateConfig, n_source_words: int, n_target_words: int) -> None:
        super().__init__()
        self.config = config
        E, tied = config.embedding_size, config.tied_embeddings
        output_size = config.hidden_size if tied == "none" else E
        self.source_embedding = nn.Embedding(n_source_words, E, padding_idx=PAD_ID)
        self.target_embedding = (
            self.source_embedding
            if tied == "all"
            else nn.Embedding(n_target_words, E, padding_idx=PAD_ID)
        )
        self.dropout = nn.Dropout(config.dropout_rate)
        self.encoder = RecurrentEncoder(
            config.cell,
            E,
            config.encoder_size,
            n_layers=config.encoder_layers,
            bidirectional=config.bidirectional,
            dropout_rate=config.dropout_rate,
        )
        memory_size = self.encoder.output_size
        self.bridge = Bridge(config.cell, memory_size, config.hidden_size, config.decoder_layers)
        self.decoder = AttentionalDecoder(
            config.cell,
            E,
            config.hidden_size,
            output_size,
            memory_size=memory_size,
            attention=None if config.attention == "none" else config.attention,
            n_layers=config.decoder_layers,
            input_feeding=config.input_feeding,
            dropout_rate=config.dropout_rate,
        )
        shared = None if tied == "none" else self.target_embedding.weight
        self.head = SoftmaxHead(output_size, n_target_words, shared)
        self.register_buffer("unknown_source", torch.zeros(n_source_words), persistent=False)
        self.register_buffer("unknown_target", torch.zeros(n_target_words), persistent=False)
        self.reset_embeddings()
        for embedding, settings in self.tables().values():
            embedding.weight.requires_grad_(settings.tuning == "trained")

    def tables(self) -> dict[str, tuple[nn.Embedding, EmbeddingsConfig]]:
        """By role, "source" and "target", an embedding and its settings; a shared one is "source"."""
        config = self.config
        source = self.source_embedding, config.source_embeddings
        if self.target_embedding is self.source_embedding:
            return {"source": source}
        return {"source": source, "target": (self.target_embedding, config.target_embeddings)}

    def reset_embeddings(self) -> None:
        """Normal embeddings that reach the recurrent layers with deviation 1.

        With 1, gates see their inputs from the first step on; with E^-1/2, a model of a few hundred
        steps has learned little more than word frequencies (NOTES.md). An output layer wants E^-1/2,
        so where it shares an embedding, that is the deviation, and the way in multiplies by E^1/2
        (Vaswani et al. 2017, section 3.4).
        """
        for embedding in dict.fromkeys((self.source_embedding, self.target_embedding)):
            # Not a set: its order changes from process to process, and with it who draws first.
            nn.init.normal_(embedding.weight, std=1 / self._scale(embedding))
            with torch.no_grad():
                embedding.weight[PAD_ID] = 0

    def _scale(self, embedding: nn.Embedding) -> float:
        shared = embedding.weight is self.head.weight
        return self.config.embedding_size**0.5 if shared else 1.0

    def _embed(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        return self.dropout(embedding(ids) * self._scale(embedding))

    def encode(self, source: Padded) -> DecoderState:
        """The decoder's state before the first word of each sentence of `[B, S]` ids."""
        embedded_BSE = self._embed(self.source_embedding, source.values)
        encoded, final = self.encoder(Padded(embedded_BSE, source.lengths))
        attention = self.decoder.attention
        memory = None if attention is None else attention.remember(encoded)
        return self.decoder.start(self.bridge(final), memory)

    def forward(self, source: Padded, target: Padded) -> Output:
        """Teacher forcing: outputs for each step of `target`, `[B, T]` ids that begin with <s>.

        In training, with `sampling_rate` above 0, steps read the model's own words at that rate.
        """
        state = self.encode(source)
        if self.training and self.config.sampling_rate:
            return self._sampled(target, state)
        embedded_BTE = self._embed(self.target_embedding, target.values)
        hidden_BTH, state, attention_BTS = self.decoder(embedded_BTE, state)
        return Output(self.dropout(hidden_BTH), state, attention_BTS)

    def _sampled(self, target: Padded, state: DecoderState) -> Output:
        outputs: list[Tensor] = []
        attentions: list[Tensor | None] = []
        weights = self.decoder.arrange()
        words_BQ = target.values[:, :1]
        for t in range(target.values.shape[1]):
            if t:
                right_BQ = target.values[:, t : t + 1]
                with torch.no_grad():
                    own_BQ = self.head.logits(outputs[-1]).argmax(2)
                chosen = torch.rand(right_BQ.shape) < self.config.sampling_rate
                words_BQ = torch.where(chosen.to(right_BQ.device), own_BQ, right_BQ)
            embedded_BQE = self._embed(self.target_embedding, words_BQ)
            hidden_BQH, state, attention_BQS = self.decoder.step(embedded_BQE, state, weights)
            outputs.append(hidden_BQH)
            attentions.append(attention_BQS)
        seen = [attention for attention in attentions if attention is not None]
        attention_BTS = torch.cat(seen, 1) if seen else None
        return Output(self.dropout(torch.cat(outputs, 1)), state, attention_BTS)

    def step(
        self,
        tokens: Int[Tensor, "B Q"],
        state: DecoderState,
        weights: StepWeights | None = None,
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """One word further for Q hypotheses per sentence: (logits, state, attention).

        In a loop, `step_model` spares each step arranging the weights anew.
        """
        embedded_BQE = self._embed(self.target_embedding, tokens)
        hidden_BQH, state, attention_BQS = self.decoder.step(embedded_BQE, state, weights)
        return self.head.logits(hidden_BQH), state, attention_BQS

    def step_model(self) -> TranslationStepper:
        """The same step for one call of `decode`, by the weights as they are now."""
        return TranslationStepper(self, self.decoder.arrange())


@dataclass(frozen=True)
class TranslationStepper:
    """A translator's steps while its weights stay as they are: for one decoding, not for longer.

    Args:
        model: whose step it is.
        weights: the decoder's, arranged once.
    """

    model: Translator
    weights: StepWeights

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """As `Translator.step`."""
        return self.model.step(tokens, state, self.weights)


@dataclass(frozen=True)
class Pair:
    """One encoded example: ids of the source, with </s>, and of the target, without."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class TranslationBatch:
    """What the loss takes.

    Args:
        source: `[B, S]` ids, each ending in </s>.
        target: `[B, T]` ids, each beginning with <s>.
        right: `[n_tokens]` ids to predict, row after row, padding left out.
    """

    source: Padded
    target: Padded
    right: Tensor

    @property
    def n_tokens(self) -> int:
        """Target tokens, </s> included, padding not."""
        return len(self.right)

    def to(self, device: torch.device | str) -> TranslationBatch:
        """The same batch on another device."""
        return TranslationBatch(
            self.source.to(device), self.target.to(device), self.right.to(device)
        )


def train_tokenizers(rows: Sequence[Row], config: TextConfig) -> dict[str, Tokenizer]:
    """A tokenizer per side, or one for both where `text.shared` is set."""
    sides = [[row.texts[side] for row in rows] for side in (0, 1)]
    if config.shared:
        both = Tokenizer.train(chain(*sides), config)
        return {"source": both, "target": both}
    source, target = (Tokenizer.train(side, config) for side in sides)
    return {"source": source, "target": target}


def encode(fields: Sequence[str], tokenizers: Tokenizers) -> Pair:
    """Ids of a source and, where there is one, its target."""
    source = [*tokenizers["source"].encode(fields[0]), EOS_ID]
    target = tokenizers["target"].encode(fields[1]) if len(fields) > 1 else []
    return Pair(source, target)


def lengths(pair: Pair) -> tuple[int, int]:
    """Steps on each side as the model sees them."""
    return len(pair.source), len(pair.target) + 1


def collate(pairs: Sequence[Pair]) -> TranslationBatch:
    """Pairs → padded ids."""
    source = Padded.from_rows([pair.source for pair in pairs], PAD_ID)
    target = Padded.from_rows([[BOS_ID, *pair.target] for pair in pairs], PAD_ID)
    right = [id_ for pair in pairs for id_ in (*pair.target, EOS_ID)]
    return TranslationBatch(source, target, torch.tensor(right, dtype=torch.int64))


def build(config: TranslateConfig, tokenizers: Tokenizers) -> Translator:
    """A fresh model for these vocabularies."""
    if config.tied_embeddings == "all" and tokenizers["source"] is not tokenizers["target"]:
        raise ConfigError(
            "model.tied_embeddings: 'all' shares one table between source and target, which needs one "
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
    """Refuse files of vectors that the embeddings cannot start with."""
    for role in ("source", "target"):
        settings: EmbeddingsConfig = getattr(config, f"{role}_embeddings")
        settings.check_file(f"model.{role}_embeddings", config.embedding_size, text.kind)


def load_pretrained(model: Translator, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Pretrained embeddings of each side for which the recipe names a file."""
    notes: list[str] = []
    for role, (embedding, settings) in model.tables().items():
        scale = model._scale(embedding)
        where = f"model.{role}_embeddings"
        notes += settings.load(embedding, tokenizers[role], where, scale)
    return tuple(notes)


TRAINING_ONLY = frozenset({"dropout_rate", "label_smoothing", "sampling_rate", "unknown_rate"})
"""Settings of `[model]` that do not change the weights a model has."""


def loss(model: Translator, batch: TranslationBatch) -> tuple[Tensor, int]:
    """The training loss: label-smoothed cross-entropy, summed; and how many words.

    In training some words are read as unknown.
    """
    if model.training and (rate := model.config.unknown_rate):
        source, target = batch.source, batch.target
        source_BS = some_unknown(source.values, model.unknown_source, rate)
        target_BT = some_unknown(target.values, model.unknown_target, rate)
        batch = TranslationBatch(
            Padded(source_BS, source.lengths), Padded(target_BT, target.lengths), batch.right
        )
    return _loss(model, batch, model.config.label_smoothing)


def evaluate_loss(model: Translator, batch: TranslationBatch) -> tuple[Tensor, int]:
    """Plain cross-entropy in nats, summed; and how many words."""
    return _loss(model, batch, 0.0)


def _loss(model: Any, batch: Any, smoothing: Any) -> Any:
    output = model(batch.source, batch.target)
    return model.head.loss(output.hidden[batch.target.mask], batch.right, smoothing)


def decode(
    model: Translator,
    pairs: Sequence[Pair],
    tokenizers: Tokenizers,
    config: DecodingConfig,
    with_attention: bool = False,
    *,
    mask: MaskProvider | None = None,
) -> list[Prediction]:
    """Translate a batch. An empty sentence has an empty translation, without running the model.

    Args:
        model: the module.
        pairs: encoded; only their sources are read.
        tokenizers: by role.
        config: the method and its options.
        with_attention: whether answers carry their attention.
        mask: from the pairs with a source, cut to the longest that is read, to what their answers may be.
    """
    device = model.head.bias.device
    n_truncated = [max(0, len(pair.source) - 1 - config.max_input_length) for pair in pairs]
    pairs = [
        Pair([*pair.source[: config.max_input_length], EOS_ID], pair.target) if unread else pair
        for pair, unread in zip(pairs, n_truncated, strict=True)
    ]
    asked = [index for index, pair in enumerate(pairs) if len(pair.source) > 1]
    answers: list[list[Hypothesis]] = [[_NOTHING] for _ in pairs]
    if asked:
        source = Padded.from_rows([pairs[index].source for index in asked], PAD_ID)
        limits = (source.lengths * config.max_length_ratio).long() + config.max_length_extra
        with torch.inference_mode():
            found = decode_hypotheses(
                model.step_model(),
                model.encode(source.to(device)),
                limits,
                config,
                BOS_ID,
                EOS_ID,
                with_attention,
                forbidden=[PAD_ID],
                # A sentence's draws depend on the sentence alone, not on its neighbours.
                keys=[zlib.crc32(repr(pairs[index].source).encode()) for index in asked],
                mask=None if mask is None else mask([pairs[index] for index in asked]),
                device=device,
            )
        for index, hypotheses in zip(asked, found, strict=True):
            answers[index] = hypotheses
    return [
        _prediction(pair, hypotheses, tokenizers, unread)
        for pair, hypotheses, unread in zip(pairs, answers, n_truncated, strict=True)
    ]


_NOTHING = Hypothesis(tokens=(), score=0.0, log_prob=0.0, attention=None, finished=True)


def _prediction(
    pair: Pair, hypotheses: Sequence[Hypothesis], tokenizers: Tokenizers, n_truncated: int
) -> Prediction:
    source, target = tokenizers["source"], tokenizers["target"]
    answers = tuple(
        Answer(
            text=target.decode(hypothesis.tokens),
            score=hypothesis.score,
            log_prob=hypothesis.log_prob,
            pieces=tuple(
                target.pieces([*hypothesis.tokens, *([EOS_ID] if hypothesis.finished else [])])
            ),
            attention=None
            if hypothesis.attention is None
            else hypothesis.attention[:, : len(pair.source)],
            finished=hypothesis.finished,
        )
        for hypothesis in hypotheses
    )
    read = tuple(source.pieces(pair.source))
    return Prediction(answers[0].text, answers[0].score, read, answers, n_truncated)
