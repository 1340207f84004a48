"""The sequence-to-sequence model: encoder, bridge and attentional decoder, with its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unrolled import nn
from unrolled.errors import ConfigError
from unrolled.layers.attention import Memory
from unrolled.layers.decoder import AttentionalDecoder, DecoderState, StepWeights
from unrolled.layers.encoder import Bridge, RecurrentEncoder
from unrolled.layers.head import CopyHead, SoftmaxHead
from unrolled.layers.output import Output
from unrolled.layers.recurrent import INITIAL_ONLY, initialize
from unrolled.layers.unknown import count_ids, rate_for, shares_of, some_unknown
from unrolled.shapes import Float, Int, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig
from unrolled.tasks.fixed_steps import FixedSteps
from unrolled.tasks.pretraining import language_model_encoder
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.seq2seq_config import TranslateConfig
from unrolled.tasks.seq2seq_data import (
    Copies,
    Pair,
    TranslationBatch,
    collate,
    copied_ids,
    copies_of,
    encode,
    ids_of,
    lengths,
    notes,
    train_tokenizers,
)
from unrolled.tasks.seq2seq_search import TranslatorSteps
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.tokenizer import Tokenizer

__all__ = [
    "TRAINING_ONLY",
    "Copies",
    "Pair",
    "TranslateConfig",
    "TranslationBatch",
    "Translator",
    "build",
    "check_pretrained",
    "collate",
    "copies_of",
    "encode",
    "evaluate_loss",
    "lengths",
    "load_pretrained",
    "loss",
    "notes",
    "prepare",
    "train_tokenizers",
]


class Translator(nn.Module):
    """Embeddings, recurrent encoder, bridge, attentional decoder, softmax or copy head.

    >>> model = Translator(TranslateConfig(embedding_size=3, encoder_size=5, hidden_size=7), 11, 13)
    >>> source = Padded.from_rows([[4, 5, 3], [6, 3]])
    >>> output = model(source, Padded.from_rows([[2, 4], [2, 5]]))
    >>> output.hidden.shape, output.attention.shape
    (torch.Size([2, 2, 7]), torch.Size([2, 2, 3]))
    """

    unknown_source: Tensor
    unknown_target: Tensor
    same_words: Tensor
    """`[source words]`, the target id that copying each source word writes, or −1 if there is none."""

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
        self.encoder = (
            language_model_encoder(config)
            if config.pretrained
            else RecurrentEncoder(
                config.cell,
                E,
                config.encoder_size,
                n_layers=config.encoder_layers,
                bidirectional=config.bidirectional,
                dropout_rate=config.dropout_rate,
            )
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
        self.head: SoftmaxHead = (
            SoftmaxHead(output_size, n_target_words, shared)
            if config.copying == "none"
            else CopyHead(output_size, n_target_words, shared)
        )
        # The next step reads a copied word without a target id as a projection of its encoding.
        self.embed_copied = (
            None if config.copying == "none" else nn.Linear(memory_size, E, bias=False)
        )
        initialize(self, config)
        self.register_buffer("unknown_source", torch.zeros(n_source_words), persistent=False)
        self.register_buffer("unknown_target", torch.zeros(n_target_words), persistent=False)
        no_words = torch.full((n_source_words,), -1, dtype=torch.int64)
        self.register_buffer("same_words", no_words, persistent=False)
        self.reset_embeddings()
        for embedding, settings in self.tables().values():
            embedding.weight.requires_grad_(settings.tuning == "trained")

    def tables(self) -> dict[str, tuple[nn.Embedding, EmbeddingsConfig]]:
        """The embeddings and their settings by role, "source" and "target"; a shared one is "source"."""
        config = self.config
        source = self.source_embedding, config.source_embeddings
        if self.target_embedding is self.source_embedding:
            return {"source": source}
        return {"source": source, "target": (self.target_embedding, config.target_embeddings)}

    def reset_embeddings(self) -> None:
        """Draw normal embeddings that reach the recurrent layers with standard deviation 1.

        With 1, the inputs affect the gates from the first step on; with E^-1/2, a model trained for a few
        hundred steps has learned little more than word frequencies (NOTES.md). An output layer needs
        E^-1/2, so an embedding that it shares has that deviation, and is multiplied by E^1/2 on input
        (Vaswani et al. 2017, section 3.4).
        """
        for embedding in dict.fromkeys((self.source_embedding, self.target_embedding)):
            # Not a set, whose order, and thus the random draws, would change between processes.
            nn.init.normal_(embedding.weight, std=1 / self._scale(embedding))
            with torch.no_grad():
                embedding.weight[PAD_ID] = 0

    def _scale(self, embedding: nn.Embedding) -> float:
        shared = embedding.weight is self.head.weight
        return self.config.embedding_size**0.5 if shared else 1.0

    def _embed(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        return self.dropout(embedding(ids) * self._scale(embedding))

    def _embed_target(self, ids_BT: Tensor, memory: Memory | None) -> Tensor:
        """Embedded words; a copied word without a target id is embedded by its source encoding."""
        if self.embed_copied is None:
            return self._embed(self.target_embedding, ids_BT)
        assert memory is not None  # copying needs attention
        n_words = self.target_embedding.num_embeddings
        is_copied_BT1 = (ids_BT >= n_words).unsqueeze(2)
        if not is_copied_BT1.any():
            return self._embed(self.target_embedding, ids_BT)
        words_BT = torch.where(ids_BT < n_words, ids_BT, UNK_ID)
        embedded_BTE = self.target_embedding(words_BT) * self._scale(self.target_embedding)
        copied_BTE = self.embed_copied(memory.at(ids_BT - n_words))
        return self.dropout(torch.where(is_copied_BT1, copied_BTE, embedded_BTE))

    def encode(self, source: Padded, writes: Int[Tensor, "B S"] | None = None) -> DecoderState:
        """Encode the source; returns the decoder's initial state.

        Args:
            source: `[B, S]` source ids.
            writes: for copying, the word that each source step writes, from `copied_ids`; None to find it
                from the source ids.
        """
        embedded_BSE = self._embed(self.source_embedding, source.values)
        encoded, final = self.encoder(Padded(embedded_BSE, source.lengths))
        attention = self.decoder.attention
        memory = None if attention is None else attention.remember(encoded)
        if memory is not None and self.embed_copied is not None:
            writes = self.copied_ids(source.values) if writes is None else writes
            memory = replace(memory, ids=writes)
        return self.decoder.start(self.bridge(final), memory)

    def copied_ids(
        self, source_BS: Int[Tensor, "B S"], unknown_BS: Int[Tensor, "B S"] | None = None
    ) -> Int[Tensor, "B S"]:
        """The word that copying each source step writes: a target id, or V + the first step of the word.

        Args:
            source_BS: source ids.
            unknown_BS: the words that rows with unknown source words write (`Pair.writes`), -1 for other
                rows; None if there are no such rows.
        """
        n_words = self.target_embedding.num_embeddings
        return copied_ids(self.same_words, n_words, source_BS, unknown_BS)

    def forward(
        self, source: Padded, target: Padded, writes: Int[Tensor, "B S"] | None = None
    ) -> Output:
        """The outputs at each step of `target`, with teacher forcing.

        In training with `sampling_rate` > 0, steps read the model's own predictions at that rate.

        Args:
            source: `[B, S]` source ids.
            target: `[B, T]` target ids that begin with <s>; with copying, V + s is the word at step s of
                the source.
            writes: see `encode`.
        """
        state = self.encode(source, writes)
        if self.training and self.config.sampling_rate:
            return self._sampled(target, state)
        embedded_BTE = self._embed_target(target.values, state.memory)
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
                    own_BQ = self._logits(outputs[-1], attentions[-1], state.memory).argmax(2)
                chosen = torch.rand(right_BQ.shape) < self.config.sampling_rate
                words_BQ = torch.where(chosen.to(right_BQ.device), own_BQ, right_BQ)
            embedded_BQE = self._embed_target(words_BQ, state.memory)
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
        """Advance Q hypotheses per sentence by one word; returns (logits, state, attention).

        With copying, the logits are log-probabilities of V + S words; the last S are the source steps.

        In a loop, use `step_model`, which rearranges the weights once instead of at every step.
        """
        embedded_BQE = self._embed_target(tokens, state.memory)
        hidden_BQH, state, attention_BQS = self.decoder.step(embedded_BQE, state, weights)
        return self._logits(hidden_BQH, attention_BQS, state.memory), state, attention_BQS

    def _logits(
        self, hidden_BQH: Tensor, attention_BQS: Tensor | None, memory: Memory | None
    ) -> Tensor:
        head = self.head
        if not isinstance(head, CopyHead):
            return head.logits(hidden_BQH)
        assert memory is not None  # copying needs attention
        assert memory.ids is not None
        assert attention_BQS is not None
        ids_BQS = memory.ids.unsqueeze(1).expand_as(attention_BQS)
        return head.log_probs(hidden_BQH, attention_BQS, ids_BQS)

    def loss(
        self,
        batch: TranslationBatch,
        smoothing: float = 0.0,
        writes: Int[Tensor, "B S"] | None = None,
    ) -> tuple[Tensor, int]:
        """The summed cross-entropy of a batch in nats, and the number of words; see the head's `loss`.

        Args:
            batch: of pairs.
            smoothing: of the labels.
            writes: for copying, see `encode`; None to find it from the batch.
        """
        if not isinstance(self.head, CopyHead):
            output = self(batch.source, batch.target)
            return self.head.loss(output.hidden[batch.target.mask], batch.right, smoothing)
        copies, right, target = batch.copies, batch.right, batch.target
        if writes is None:
            writes = self.copied_ids(batch.source.values, copies.writes if copies else None)
        if copies is not None:
            right = copies.right
            is_copied = copies.target >= self.target_embedding.num_embeddings
            values = torch.where(is_copied, copies.target, target.values)
            target = Padded(values, target.lengths)
        output = self(batch.source, target, writes)
        memory, mask = output.state.memory, target.mask
        ids_BTS = memory.ids.unsqueeze(1).expand_as(output.attention)
        return self.head.loss(
            output.hidden[mask],
            right,
            smoothing,
            looked=output.attention[mask],
            ids=ids_BTS[mask],
        )

    def step_model(self) -> FixedSteps | TranslatorSteps:
        """A step model with the current weights, for one call of `decode`."""
        if type(self).step is not Translator.step:  # of a subclass, which only its steps define
            return FixedSteps(self, self.decoder.arrange())
        return TranslatorSteps(self, self._scale(self.target_embedding))


_ONE_VOCABULARY = (
    "model.tied_embeddings: 'all' shares one table between source and target, which needs one "
    "vocabulary; set text.shared = true"
)


def build(config: TranslateConfig, tokenizers: Tokenizers) -> Translator:
    """A new model for these vocabularies."""
    if config.tied_embeddings == "all" and tokenizers["source"] is not tokenizers["target"]:
        raise ConfigError(_ONE_VOCABULARY)
    config = replace(config, unknown_rate=rate_for(tokenizers["source"], config.unknown_rate))
    model = Translator(config, len(tokenizers["source"]), len(tokenizers["target"]))
    if config.copying != "none":
        model.same_words.copy_(same_words(tokenizers["source"], tokenizers["target"]))
    return model


def same_words(source: Tokenizer, target: Tokenizer) -> Tensor:
    """`[source words]`, the target id of each source word, or −1 if there is none."""
    tokens = source.tokens(range(len(source)))
    ids = torch.tensor(target.ids_of(tokens), dtype=torch.int64)
    ids[ids == UNK_ID] = -1
    ids[[PAD_ID, BOS_ID, EOS_ID]] = torch.tensor([PAD_ID, BOS_ID, EOS_ID])
    return ids


def prepare(model: Translator, pairs: Sequence[Pair], tokenizers: Tokenizers) -> None:
    """Record how rare each word of the training part is."""
    if rate := model.config.unknown_rate:
        for side, shares in (("source", model.unknown_source), ("target", model.unknown_target)):
            shares.copy_(shares_of(count_ids(ids_of(pairs, side), len(shares)), rate))


def check_pretrained(config: TranslateConfig, text: TextConfig) -> None:
    """Refuse vector files that do not fit the embeddings, and one table for two vocabularies."""
    if config.tied_embeddings == "all" and not text.shared:
        raise ConfigError(_ONE_VOCABULARY)
    for role in ("source", "target"):
        settings: EmbeddingsConfig = getattr(config, f"{role}_embeddings")
        settings.check_file(f"model.{role}_embeddings", config.embedding_size, text.kind)


def load_pretrained(model: Translator, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Load pretrained embeddings for each side for which the recipe names a file."""
    notes: list[str] = []
    for role, (embedding, settings) in model.tables().items():
        scale = model._scale(embedding)
        where = f"model.{role}_embeddings"
        notes += settings.load(embedding, tokenizers[role], where, scale)
    return tuple(notes)


TRAINING_ONLY = INITIAL_ONLY | {"dropout_rate", "label_smoothing", "sampling_rate", "unknown_rate"}
"""Settings of `[model]` that do not affect the shapes and meaning of the weights."""


def loss(model: Translator, batch: TranslationBatch) -> tuple[Tensor, int]:
    """The training loss, a summed label-smoothed cross-entropy in nats, and the number of words.

    In training mode, some input words are replaced by the unknown word.
    """
    writes = None
    if model.training and (rate := model.config.unknown_rate):
        source, target, copies = batch.source, batch.target, batch.copies
        if model.embed_copied is not None:
            # A word that is read as unknown can still be copied as itself.
            writes = model.copied_ids(source.values, copies.writes if copies else None)
        source_BS = some_unknown(source.values, model.unknown_source, rate)
        target_BT = some_unknown(target.values, model.unknown_target, rate)
        batch = TranslationBatch(
            Padded(source_BS, source.lengths),
            Padded(target_BT, target.lengths),
            batch.right,
            copies,
        )
    return model.loss(batch, model.config.label_smoothing, writes)


def evaluate_loss(model: Translator, batch: TranslationBatch) -> tuple[Tensor, int]:
    """The summed cross-entropy in nats without label smoothing, and the number of words."""
    return model.loss(batch)
