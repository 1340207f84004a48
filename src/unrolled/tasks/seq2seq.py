"""The sequence-to-sequence model: encoder, bridge and attentional decoder, with its loss and decoding."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from unrolled import nn
from unrolled.config import Layers, Rate, Share, Width, check_fields
from unrolled.decoding import decode as decode_hypotheses
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.decoding.types import Hypothesis
from unrolled.errors import ConfigError
from unrolled.layers.attention import Memory
from unrolled.layers.decoder import AttentionalDecoder, DecoderState, StepWeights
from unrolled.layers.encoder import Bridge, RecurrentEncoder
from unrolled.layers.head import CopyHead, SoftmaxHead
from unrolled.layers.output import Output
from unrolled.layers.recurrent import (
    INITIAL_ONLY,
    ForgetBias,
    check_initial,
    initialize,
)
from unrolled.layers.unknown import (
    DEFAULT_RATE,
    count_ids,
    rate_for,
    shares_of,
    some_unknown,
)
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.shapes import Float, Int, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.tasks.pretraining import check_pretrained_settings, language_model_encoder
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
    written_ids,
)
from unrolled.tasks.task import Tokenizers
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.tokenizer import Tokenizer

__all__ = [
    "TRAINING_ONLY",
    "Copies",
    "FixedSteps",
    "Pair",
    "TranslateConfig",
    "TranslationBatch",
    "Translator",
    "build",
    "check_pretrained",
    "collate",
    "copies_of",
    "decode",
    "encode",
    "evaluate_loss",
    "lengths",
    "load_pretrained",
    "loss",
    "notes",
    "prepare",
    "train_tokenizers",
]


@dataclass(frozen=True)
class TranslateConfig:
    """The `[model]` section of a translation recipe.

    Args:
        cell: recurrent cell of encoder and decoder: "rnn" (tanh), "rnn_relu", "gru" or "lstm".
        embedding_size: width of the source and target word embeddings.
        encoder_size: hidden width of one direction of the encoder.
        hidden_size: hidden width of the decoder.
        encoder_layers: number of encoder layers.
        decoder_layers: number of decoder layers.
        bidirectional: also read the source from right to left.
        attention: "none" (a fixed-size encoding), "additive" (Bahdanau 2015), "dot" or "general"
            (multiplicative, Luong 2015).
        input_feeding: feed the attentional output of each step to the next step (Luong 2015, 3.3).
        copying: "pointer" lets the decoder also copy the source words that it attends to, such as names
            and numbers, in the vocabulary or not (See et al. 2017); needs attention.
        dropout_rate: dropout on embeddings, between layers and before the output layer.
        label_smoothing: share of the target distribution that is spread over all words.
        sampling_rate: scheduled sampling: probability that a training step reads the word predicted by
            the model instead of the reference word (Bengio et al. 2015); 0 is teacher forcing.
        unknown_rate: in training, an input word of either side that occurs n times is replaced by the
            unknown word with probability `unknown_rate` / n, so that the model learns to handle unknown
            words (`layers.unknown`); 0 for never. The words to predict are not replaced, so this does
            not make unknown words more frequent in the output.
        tied_embeddings: "none"; "target": the output layer shares the target embedding; "all": it
            shares the source embedding too, which needs `text.shared`.
        recurrent_init: initial recurrent weights: "orthogonal"; "identity", for "rnn" and "rnn_relu";
            or "uniform" (`layers.recurrent.InitialSettings`).
        forget_bias: initial bias of an LSTM's forget gate.
        pretrained: run folders of a language model of the source that reads forwards and, perhaps, one
            that reads backwards: the encoder starts with their vocabulary, embeddings and recurrent
            layers; only read when a run starts (`tasks.pretraining`). Its sizes follow from them and need
            not be set.
        pretrained_sizes: widths of their recurrent layers, which follow from them.
        source_embeddings: source embeddings, see `unrolled.tasks.embeddings`; "trained" or "frozen",
            without extra words.
        target_embeddings: the same for the target; if both share one table, `source_embeddings` is used.
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
    copying: Literal["none", "pointer"] = "none"
    dropout_rate: Rate = 0.2
    label_smoothing: Rate = 0.1
    sampling_rate: Share = 0.0
    unknown_rate: Share = DEFAULT_RATE
    tied_embeddings: Literal["none", "target", "all"] = "none"
    recurrent_init: RecurrentInit = "orthogonal"
    forget_bias: ForgetBias = 1.0
    pretrained: tuple[str, ...] = ()
    pretrained_sizes: tuple[Width, ...] = ()
    source_embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    target_embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self, simple=True)
        check_initial(self)
        check_pretrained_settings(self)
        encoder_size = (self.encoder_size, *self.pretrained_sizes)[-1]
        memory_size = encoder_size * (2 if self.bidirectional else 1)
        if self.attention == "dot" and memory_size != self.hidden_size:
            raise ConfigError(
                f"model.attention: 'dot' compares widths that must be equal, got {memory_size} of "
                f"the encoder and {self.hidden_size} of the decoder; choose 'general' or change "
                "encoder_size"
            )
        if self.copying != "none" and self.attention == "none":
            raise ConfigError(
                f"model.copying: '{self.copying}' needs attention to copy words, but model.attention is "
                "'none'; set model.attention = 'additive' or model.copying = 'none'"
            )
        if self.tied_embeddings == "all" and self.target_embeddings.file is not None:
            raise ConfigError(
                "model.target_embeddings.file: source and target share one table "
                "(model.tied_embeddings = 'all'); use model.source_embeddings.file alone"
            )
        if self.tied_embeddings == "all" and self.pretrained:
            raise ConfigError(
                "model.tied_embeddings is 'all', but model.pretrained sets the source embedding alone; "
                "use 'target' or 'none'"
            )
        shared = {"all": "source_embeddings", "target": "target_embeddings"}
        name = shared.get(self.tied_embeddings)
        if name is not None and getattr(self, name).tuning == "frozen":
            raise ConfigError(
                f"model.{name}.tuning is 'frozen', but the output layer shares that embedding and must "
                "be trainable; set model.tied_embeddings = 'none'"
            )


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

    def step_model(self) -> FixedSteps:
        """A step model with the current weights, for one call of `decode`."""
        return FixedSteps(self, self.decoder.arrange())


@runtime_checkable
class SteppedModel(Protocol):
    """A decoder whose weights can be arranged for many steps."""

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState, weights: StepWeights | None = None
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """Advance Q hypotheses per sentence by one word."""
        ...


@dataclass(frozen=True)
class FixedSteps:
    """The steps of a model with fixed weights; only valid until the weights change.

    Args:
        model: the model.
        weights: the decoder's weights, rearranged once.
    """

    model: SteppedModel
    weights: StepWeights

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """See `SteppedModel.step`."""
        return self.model.step(tokens, state, self.weights)


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
        _prediction(pair, hypotheses, tokenizers, unread)
        for pair, hypotheses, unread in zip(pairs, answers, n_truncated, strict=True)
    ]


def _cut(pair: Pair, n_tokens: int) -> Pair:
    """The pair with its source truncated to `n_tokens` tokens."""
    writes = (*pair.writes[:n_tokens], EOS_ID) if pair.writes else ()
    source = [*pair.source[:n_tokens], EOS_ID]
    return replace(pair, source=source, words=pair.words[:n_tokens], writes=writes)


_NOTHING = Hypothesis(tokens=(), score=0.0, log_prob=0.0, attention=None, finished=True)


def _prediction(
    pair: Pair, hypotheses: Sequence[Hypothesis], tokenizers: Tokenizers, n_truncated: int
) -> Prediction:
    source, target = tokenizers["source"], tokenizers["target"]
    copied = pair.words or source.tokens(pair.source[:-1])  # by the step a token was copied from
    answers = tuple(
        Answer(
            text=target.decode(hypothesis.tokens, copied),
            score=hypothesis.score,
            log_prob=hypothesis.log_prob,
            pieces=tuple(
                target.pieces(
                    [*hypothesis.tokens, *([EOS_ID] if hypothesis.finished else [])], copied
                )
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
