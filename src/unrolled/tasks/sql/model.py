"""The model that writes queries: an encoder of questions and schemas, and a decoder that points at both.

The words of the question are read by a bidirectional recurrent encoder. Tables, columns and values are
sets without an order: each is encoded from the words of its name, its table, its type and keys, how the
question is linked to it, what it attends to in the question, and the items it is related to (after Guo
et al. 2019, "Towards complex text-to-SQL in cross-domain database with intermediate representation",
section 2.3). The memory holds the words and the items of a row side by side; the decoder attends to it,
and writes words of its vocabulary or points at a step of the memory (See et al. 2017, eq. 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import torch
from torch import Tensor

from unrolled import nn
from unrolled.config import Layers, Rate, Share, Width, check_fields
from unrolled.layers.attention import Memory
from unrolled.layers.decoder import AttentionalDecoder, DecoderState, StepWeights
from unrolled.layers.encoder import Bridge, RecurrentEncoder
from unrolled.layers.head import CopyHead
from unrolled.layers.output import Output
from unrolled.layers.recurrent import (
    INITIAL_ONLY,
    ForgetBias,
    check_initial,
    initialize,
)
from unrolled.layers.unknown import DEFAULT_RATE, count_ids, shares_of, some_unknown
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.shapes import Bool, Float, Int, Padded
from unrolled.sql.linking import N_LINKS, Link
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.fixed_steps import FixedSteps
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.sql.examples import (
    N_ITEM_FLAGS,
    N_WORD_FLAGS,
    SOURCE,
    TARGET,
    QueryBatch,
    QueryExample,
    Questions,
)
from unrolled.text.config import PAD_ID, UNK_ID, TextConfig


@dataclass(frozen=True)
class QueryConfig:
    """The `[model]` section of a recipe for queries.

    Args:
        cell: recurrent cell of encoder and decoder: "rnn" (tanh), "rnn_relu", "gru" or "lstm".
        embedding_size: width of the embeddings of words and of what was written last.
        encoder_size: hidden width of one direction of the encoder; an item of the schema has twice as
            much.
        hidden_size: hidden width of the decoder.
        encoder_layers: number of encoder layers.
        attention: "additive" (Bahdanau 2015) or "general" (Luong 2015), which is faster for large
            schemas.
        input_feeding: feed the attentional output of each step to the next step (Luong 2015, 3.3).
        pointing: what points at words, names and values: the "attention" with which the decoder reads,
            or a score of its "own", computed from the output, so that a step can read one place and
            point at another.
        dropout_rate: dropout on embeddings, encodings and before the output layer.
        label_smoothing: share of the target distribution that is spread over all words.
        unknown_rate: as for translation, for the words of questions and names.
        link_dropout_rate: in training, the share of tables and columns whose names are hidden, both in
            the schema and in the question, and of the words of values that are hidden, so that
            the model learns to follow the links between a question and a schema.
        hide_values: whether the words of values that are found in the database are hidden: a question is
            read with the names of the columns that have the value in their place, as if values were
            anonymised. What is learned from one value then holds for all values of its columns. Values
            that the same words mention, such as the forms of a date, keep their own words.
        recurrent_init: initial recurrent weights: "orthogonal"; "identity", for "rnn" and "rnn_relu";
            or "uniform" (`layers.recurrent.InitialSettings`).
        forget_bias: initial bias of an LSTM's forget gate.
        embeddings: the source of the embeddings of words.
    """

    cell: CellName = "lstm"
    embedding_size: Width = 128
    encoder_size: Width = 128
    hidden_size: Width = 256
    encoder_layers: Layers = 1
    attention: Literal["additive", "general"] = "general"
    input_feeding: bool = True
    pointing: Literal["attention", "own"] = "attention"
    dropout_rate: Rate = 0.3
    label_smoothing: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    link_dropout_rate: Rate = 0.0
    hide_values: bool = False
    recurrent_init: RecurrentInit = "orthogonal"
    forget_bias: ForgetBias = 1.0
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self)
        check_initial(self)


TRAINING_ONLY = INITIAL_ONLY | {
    "dropout_rate",
    "label_smoothing",
    "unknown_rate",
    "link_dropout_rate",
}
"""Settings of `[model]` that do not affect the shapes and meaning of the weights."""


def side_by_side(parts: Sequence[Padded]) -> Padded:
    """Join sequences row by row, without padding between them.

    >>> left = Padded(torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), torch.tensor([2, 1]))
    >>> right = Padded(torch.tensor([[[7.0]], [[8.0]]]), torch.tensor([1, 1]))
    >>> side_by_side([left, right]).values.squeeze(2).tolist()
    [[1.0, 2.0, 7.0], [3.0, 8.0, 0.0]]
    """
    lengths = torch.stack([part.lengths for part in parts]).sum(0)
    B, S, D = len(lengths), int(lengths.max()), parts[0].values.shape[2]
    device = parts[0].values.device
    starts = torch.arange(B) * S
    places, values = [], []
    for part in parts:
        mask_BT = part.mask
        steps = torch.arange(part.values.shape[1])
        places.append((starts.unsqueeze(1) + steps).to(device)[mask_BT])
        values.append(part.values[mask_BT])
        starts = starts + part.lengths
    joined = values[0].new_zeros(B * S, D)
    joined = joined.index_copy(0, torch.cat(places), torch.cat(values))
    return Padded(joined.view(B, S, D), lengths)


class SchemaEncoder(nn.Module):
    """Encode tables, columns and values for a question.

    Args:
        embedding_size: width of the embeddings of words.
        size: D, the width of an encoded word and of an encoded item.
        dropout_rate: on the encodings.
        reads_mentions: whether a value is also encoded from the words that mention it, as they are read
            in the question; needed if its own words are hidden.
    """

    def __init__(
        self, embedding_size: int, size: int, dropout_rate: float, reads_mentions: bool = False
    ) -> None:
        super().__init__()
        self.name = nn.Linear(2 * embedding_size + N_ITEM_FLAGS, size)
        self.asked = nn.Linear(size, size, bias=False)
        self.link_weight = nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 2.0]))
        assert len(self.link_weight) == N_LINKS
        self.merge = nn.Linear(2 * size + N_ITEM_FLAGS, size)
        self.relate = nn.Linear(2 * size, size)
        self.reads_mentions = reads_mentions
        self.value = nn.Linear(embedding_size + (2 if reads_mentions else 1) * size, size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(
        self,
        words: Padded,
        batch: Questions,
        name_BIE: Float[Tensor, "B I E"],
        value_BLE: Float[Tensor, "B L E"],
    ) -> tuple[Float[Tensor, "B I D"], Float[Tensor, "B L D"]]:
        """The encoded items and values.

        Args:
            words: `[B, N, D]`, the encoded question.
            batch: the questions.
            name_BIE: the embedded names of tables and columns.
            value_BLE: the embedded values.
        """
        table_BIE = _tables_of(name_BIE, batch)
        flags = batch.item_flags
        item_BID = torch.tanh(self.name(torch.cat([name_BIE, table_BIE, flags], 2)))
        energies_BIN = torch.bmm(self.asked(item_BID), words.values.transpose(1, 2))
        energies_BIN = energies_BIN / item_BID.shape[2] ** 0.5
        energies_BIN = energies_BIN + self.link_weight[batch.links].transpose(1, 2)
        energies_BIN = energies_BIN.masked_fill(~words.mask.unsqueeze(1), -torch.inf)
        context_BID = torch.bmm(energies_BIN.softmax(2), words.values)
        item_BID = torch.tanh(self.merge(torch.cat([item_BID, context_BID, flags], 2)))
        near_BID = torch.bmm(batch.neighbours, item_BID)
        item_BID = item_BID + torch.tanh(self.relate(torch.cat([item_BID, near_BID], 2)))
        item_BID = self.dropout(item_BID)
        known = [value_BLE, torch.bmm(batch.value_places, item_BID)]
        if self.reads_mentions:
            known.append(torch.bmm(batch.value_spans, words.values))
        value_BLD = torch.tanh(self.value(torch.cat(known, 2)))
        return item_BID, self.dropout(value_BLD)


def _tables_of(name_BIE: Tensor, batch: Questions) -> Tensor:
    """The name of the table of each item."""
    return name_BIE.gather(1, batch.tables.unsqueeze(2).expand_as(name_BIE))


def _mean_of_words(embedded: Tensor, ids: Tensor) -> Tensor:
    """The mean over the words of each name: `[B, I, W, E]` → `[B, I, E]`."""
    is_word = (ids != PAD_ID).unsqueeze(3)
    total = torch.where(is_word, embedded, 0.0).sum(2)
    return total / is_word.sum(2).clamp(min=1)


def _can_be_hidden(batch: Questions) -> Bool[Tensor, "B L"]:
    """The values that the words which mention them tell from all others, unlike forms of a date."""
    spans_BLN = batch.value_spans
    is_same_BLL = (spans_BLN.unsqueeze(2) == spans_BLN.unsqueeze(1)).all(3)
    return batch.value_places.any(2) & (is_same_BLL.sum(2) == 1)


class QueryModel(nn.Module):
    """Embeddings, encoders of question and schema, decoder, head that points at both.

    Args:
        config: the settings.
        n_words: size of the vocabulary of questions and names.
        n_pieces: V, size of the vocabulary of queries.
    """

    unknown_source: Tensor
    least_log_prob: Tensor
    """The log-probability below which the best query is no answer; see `answers.calibrate`."""

    def __init__(self, config: QueryConfig, n_words: int, n_pieces: int) -> None:
        super().__init__()
        self.config = config
        E, D = config.embedding_size, 2 * config.encoder_size
        self.embedding = nn.Embedding(n_words, E, padding_idx=PAD_ID)
        self.word_flags = nn.Linear(N_WORD_FLAGS, E, bias=False)
        self.written = nn.Embedding(n_pieces, E, padding_idx=PAD_ID)
        self.pointed = nn.Linear(D, E, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.encoder = RecurrentEncoder(
            config.cell,
            E,
            config.encoder_size,
            n_layers=config.encoder_layers,
            dropout_rate=config.dropout_rate,
        )
        self.schema = SchemaEncoder(E, D, config.dropout_rate, config.hide_values)
        self.bridge = Bridge(config.cell, D, config.hidden_size, 1)
        self.decoder = AttentionalDecoder(
            config.cell,
            E,
            config.hidden_size,
            config.hidden_size,
            memory_size=D,
            attention=config.attention,
            input_feeding=config.input_feeding,
        )
        is_own = config.pointing == "own"
        self.pointer = nn.Linear(config.hidden_size, D, bias=False) if is_own else None
        if self.pointer is not None:
            nn.init.xavier_uniform_(self.pointer.weight)
        self.head = CopyHead(config.hidden_size, n_pieces)
        initialize(self, config)
        self.register_buffer("least_log_prob", torch.tensor(-torch.inf))
        self.register_buffer("unknown_source", torch.zeros(n_words), persistent=False)
        for embedding in (self.embedding, self.written):
            nn.init.normal_(embedding.weight)
            with torch.no_grad():
                embedding.weight[PAD_ID] = 0
        self.embedding.weight.requires_grad_(config.embeddings.tuning == "trained")

    def _hide(self, batch: Questions) -> tuple[Tensor, Tensor | None]:
        """The ids of the questions, some of them unknown, and the items whose names are hidden."""
        ids_BN, rate = batch.words.values, self.config.link_dropout_rate
        if not (self.training and rate):
            return ids_BN, None
        hidden_BI = torch.rand(batch.tables.shape, device=ids_BN.device) < rate
        is_name_BNI = (batch.links == Link.NAME) & hidden_BI.unsqueeze(1)
        is_value_BN = (batch.links == Link.VALUE).any(2)
        is_value_BN &= torch.rand(ids_BN.shape, device=ids_BN.device) < rate
        return torch.where(is_name_BNI.any(2) | is_value_BN, UNK_ID, ids_BN), hidden_BI

    def _without_values(self, embedded_BNE: Tensor, name_BIE: Tensor, batch: Questions) -> Tensor:
        """The embedded questions with the names of its columns in the place of each value.

        A word of a value that is also the name of a table or column stays.
        """
        is_value_BNI = (batch.links == Link.VALUE).to(name_BIE.dtype)
        share_BNI = is_value_BNI / is_value_BNI.sum(2, keepdim=True).clamp(min=1)
        column_BNE = torch.bmm(share_BNI, name_BIE + _tables_of(name_BIE, batch))
        is_hidden_BN = is_value_BNI.any(2) & (batch.links != Link.NAME).all(2)
        return torch.where(is_hidden_BN.unsqueeze(2), column_BNE, embedded_BNE)

    def _embed(self, ids: Tensor) -> Tensor:
        if self.training and (rate := self.config.unknown_rate):
            ids = some_unknown(ids, self.unknown_source, rate)
        return self.dropout(self.embedding(ids))

    def encode(self, batch: Questions) -> DecoderState:
        """Encode questions with their schemas; returns the decoder's initial state."""
        ids_BN, hidden_BI = self._hide(batch)
        embedded_BNE = self._embed(ids_BN)
        name_BIE, value_BLE = (
            self.dropout(_mean_of_words(self.embedding(ids), ids))
            for ids in (batch.name_words, batch.value_words)
        )
        if hidden_BI is not None:
            name_BIE = name_BIE.masked_fill(hidden_BI.unsqueeze(2), 0.0)
        if self.config.hide_values:
            embedded_BNE = self._without_values(embedded_BNE, name_BIE, batch)
            value_BLE = value_BLE.masked_fill(_can_be_hidden(batch).unsqueeze(2), 0.0)
        embedded_BNE = embedded_BNE + self.word_flags(batch.word_flags)
        encoded, final = self.encoder(Padded(embedded_BNE, batch.words.lengths))
        words = Padded(self.dropout(encoded.values), encoded.lengths)
        items_BID, values_BLD = self.schema(words, batch, name_BIE, value_BLE)
        memory = side_by_side(
            [words, Padded(items_BID, batch.n_items), Padded(values_BLD, batch.n_values)]
        )
        attention = self.decoder.attention
        assert attention is not None
        remembered = replace(attention.remember(memory), ids=batch.writes.values)
        return self.decoder.start(self.bridge(final), remembered)

    def _embed_written(self, ids_BT: Tensor, memory: Memory) -> Tensor:
        """What was written last: a word of the vocabulary, or the step of the memory pointed at."""
        V = self.written.num_embeddings
        is_pointed_BT1 = (ids_BT >= V).unsqueeze(2)
        words_BTE = self.written(torch.where(ids_BT < V, ids_BT, UNK_ID))
        pointed_BTE = self.pointed(memory.at(ids_BT - V))
        return self.dropout(torch.where(is_pointed_BT1, pointed_BTE, words_BTE))

    def forward(self, batch: QueryBatch) -> Output:
        """The outputs at each step of the target, with teacher forcing."""
        state = self.encode(batch.questions)
        assert state.memory is not None
        embedded_BTE = self._embed_written(batch.target.values, state.memory)
        hidden_BTH, state, attention_BTS = self.decoder(embedded_BTE, state)
        return Output(self.dropout(hidden_BTH), state, attention_BTS)

    def _looked(self, hidden_BQH: Tensor, attention_BQS: Tensor, memory: Memory) -> Tensor:
        """The probability of pointing at each step of the memory: `[B, Q, S]`."""
        if self.pointer is None:
            return attention_BQS
        energies_BQS = torch.bmm(self.pointer(hidden_BQH), memory.values.transpose(1, 2))
        lowest = torch.finfo(energies_BQS.dtype).min
        return torch.where(memory.mask, energies_BQS, lowest).softmax(2)

    def loss(self, batch: QueryBatch, smoothing: float = 0.0) -> tuple[Tensor, int]:
        """The summed cross-entropy of a batch in nats, and the number of tokens."""
        output = self(batch)
        assert output.attention is not None
        looked_BTS = self._looked(output.hidden, output.attention, output.state.memory)
        mask_BT = batch.target.mask
        ids_BTS = batch.questions.writes.values.unsqueeze(1).expand_as(looked_BTS)
        return self.head.loss(
            output.hidden[mask_BT],
            batch.right,
            smoothing,
            looked=looked_BTS[mask_BT],
            ids=ids_BTS[mask_BT],
        )

    def step(
        self,
        tokens: Int[Tensor, "B Q"],
        state: DecoderState,
        weights: StepWeights | None = None,
    ) -> tuple[Float[Tensor, "B Q W"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """Advance Q hypotheses per row; returns (log-probabilities of V + S ids, state, attention)."""
        memory = state.memory
        assert memory is not None
        assert memory.ids is not None
        embedded_BQE = self._embed_written(tokens, memory)
        hidden_BQH, state, attention_BQS = self.decoder.step(embedded_BQE, state, weights)
        assert attention_BQS is not None
        looked_BQS = self._looked(hidden_BQH, attention_BQS, memory)
        ids_BQS = memory.ids.unsqueeze(1).expand_as(looked_BQS)
        return self.head.log_probs(hidden_BQH, looked_BQS, ids_BQS), state, attention_BQS

    def step_model(self) -> FixedSteps:
        """A step model with the current weights, for one call of `decode`."""
        return FixedSteps(self, self.decoder.arrange())


def build(config: QueryConfig, tokenizers: Tokenizers) -> QueryModel:
    """A new model for these vocabularies."""
    return QueryModel(config, len(tokenizers[SOURCE]), len(tokenizers[TARGET]))


def loss(model: QueryModel, batch: QueryBatch) -> tuple[Tensor, int]:
    """The training loss, a summed label-smoothed cross-entropy in nats, and the number of tokens."""
    return model.loss(batch, model.config.label_smoothing)


def evaluate_loss(model: QueryModel, batch: QueryBatch) -> tuple[Tensor, int]:
    """The summed cross-entropy in nats without label smoothing, and the number of tokens."""
    return model.loss(batch)


def prepare(model: QueryModel, examples: Sequence[QueryExample], tokenizers: Tokenizers) -> None:
    """Record how rare each word of the training questions is."""
    if rate := model.config.unknown_rate:
        shares = model.unknown_source
        ids = chain.from_iterable(example.question for example in examples)
        shares.copy_(shares_of(count_ids(ids, len(shares)), rate))


def check_pretrained(config: QueryConfig, text: TextConfig) -> None:
    """Refuse vector files that do not fit the embeddings."""
    config.embeddings.check_file("model.embeddings", config.embedding_size, "word")


def load_pretrained(model: QueryModel, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Load pretrained embeddings of words if the recipe names a file."""
    settings = model.config.embeddings
    return settings.load(model.embedding, tokenizers[SOURCE], "model.embeddings")
