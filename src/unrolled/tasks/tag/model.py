"""The model of the task `tag` and its loss: word and character embeddings, recurrent layers, tag scores.

Lample et al. 2016, "Neural architectures for named entity recognition". A word is represented by its
embedding, concatenated with the output of a small recurrent layer over its characters (section 4.1), or
of a convolution over them (`layers.characters`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled import nn
from unrolled.config import Layers, OptionalWidth, Rate, Share, Width, check_fields
from unrolled.errors import ConfigError, DataError
from unrolled.layers.characters import (
    CharactersKind,
    CharWindow,
    character_encoder,
    with_characters,
)
from unrolled.layers.crf import Allowed, LinearChainCRF
from unrolled.layers.embedding import Embedding
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.label_head import linear_scorer
from unrolled.layers.recurrent import ForgetBias, check_initial, initialize
from unrolled.layers.renewal import renewed
from unrolled.layers.unknown import DEFAULT_RATE, count_ids, shares_of, some_unknown
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.ops.linear import linear
from unrolled.quoting import quote
from unrolled.shapes import Float, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.pretraining import check_pretrained_settings, language_model_encoder
from unrolled.tasks.roles import CHARACTERS, LABELS, Tokenizers
from unrolled.tasks.tag.data import TagBatch, transitions
from unrolled.tasks.tagged import TagExample
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels

_MOST_LABELS = 2048


@dataclass(frozen=True)
class TagConfig:
    """The `[model]` section of a tagging recipe.

    Args:
        head: "crf" predicts the tags of a sentence jointly, "softmax" each tag separately.
        transitions: transitions of the CRF: "scheme" forbids those that the tagging scheme does not
            allow, unless the training part violates it; "free" allows all.
        cell: recurrent cell: "rnn" (tanh), "rnn_relu", "gru" or "lstm".
        embedding_size: width of the word embeddings.
        characters: how words are also read from their characters: "recurrent", the last states of a
            bidirectional layer of `cell` (Lample et al. 2016); "convolution" (Ma & Hovy 2016); "none".
        char_size: width of the character embeddings, and hidden width per direction of the recurrent
            layer that reads them; 0 to use words only.
        char_filters: number of filters of the convolution.
        char_window: number of characters that a filter reads.
        hidden_size: hidden width of one direction.
        n_layers: number of recurrent layers.
        bidirectional: also read the sentence from right to left.
        dropout_rate: dropout on embeddings, between layers and before the output layer.
        word_rate: probability of zeroing the embedding of a word everywhere in a batch.
        unknown_rate: in training, a word that occurs n times is replaced by the unknown word with
            probability `unknown_rate` / n, so that the model learns to handle unknown words
            (`layers.unknown`); its characters are kept, and replaced by the same rule.
        recurrent_init: initial recurrent weights: "orthogonal"; "identity", for "rnn" and "rnn_relu";
            or "uniform" (`layers.recurrent.InitialSettings`).
        forget_bias: initial bias of an LSTM's forget gate.
        pretrained: run folders of a language model that reads forwards and, perhaps, one that reads
            backwards: the run starts with their vocabulary and embeddings, and the recurrent layers read
            the outputs of theirs in place of the embeddings (Peters et al. 2017). Only read when a run
            starts (`tasks.pretraining`).
        pretrained_sizes: widths of their recurrent layers, which follow from them.
        embeddings: see `unrolled.tasks.embeddings`.
    """

    head: Literal["crf", "softmax"] = "crf"
    transitions: Literal["scheme", "free"] = "scheme"
    cell: CellName = "lstm"
    embedding_size: Width = 100
    characters: CharactersKind = "recurrent"
    char_size: OptionalWidth = 25
    char_filters: Width = 50
    char_window: CharWindow = 3
    hidden_size: Width = 128
    n_layers: Layers = 1
    bidirectional: bool = True
    dropout_rate: Rate = 0.3
    word_rate: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    recurrent_init: RecurrentInit = "orthogonal"
    forget_bias: ForgetBias = 1.0
    pretrained: tuple[str, ...] = ()
    pretrained_sizes: tuple[Width, ...] = ()
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self)
        check_initial(self)
        check_pretrained_settings(self)


class Tagger(nn.Module):
    """Word and character embeddings, recurrent layers and tag scores, with an optional CRF.

    Attributes:
        seen_once: `[V]`, the share of the rate at which each word is read as unknown
            (`layers.unknown.shares_of`). It is saved with the weights: in runs of earlier versions it is
            1 for words that occur once and 0 for all others, and stays so when they are resumed.
        unknown_shares: `[K]`, the same for characters.

    Args:
        config: the `[model]` section.
        n_words: V, size of the word vocabulary.
        n_characters: size of the character vocabulary.
        n_labels: C, number of tags.
        allowed: transitions that the CRF may take; None for all.

    >>> from unrolled.tasks.tag.data import collate
    >>> model = Tagger(TagConfig(embedding_size=3, char_size=2, hidden_size=5), 11, 7, 4)
    >>> example = TagExample(("a", "b"), [5, 6], [(4,), (5,)], None)
    >>> model(collate([example, example])).shape
    torch.Size([4, 4])
    """

    seen_once: Tensor
    unknown_shares: Tensor

    def __init__(
        self,
        config: TagConfig,
        n_words: int,
        n_characters: int,
        n_labels: int,
        allowed: Allowed | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(
            n_words,
            config.embedding_size,
            tuning=config.embeddings.tuning,
            frozen_epochs=config.embeddings.frozen_epochs,
            word_rate=config.word_rate,
        )
        width = config.embedding_size
        self.spelling = character_encoder(config, n_characters)
        if self.spelling is not None:
            width += self.spelling.output_size
        self.context = None
        if config.pretrained:
            self.context = language_model_encoder(config, width - config.embedding_size)
            width = self.context.output_size
        self.dropout = nn.Dropout(config.dropout_rate)
        self.encoder = RecurrentEncoder(
            config.cell,
            width,
            config.hidden_size,
            n_layers=config.n_layers,
            bidirectional=config.bidirectional,
            dropout_rate=config.dropout_rate,
        )
        self.scorer = linear_scorer(self.encoder.output_size, n_labels)
        self.crf = LinearChainCRF(n_labels, allowed) if config.head == "crf" else None
        initialize(self, config)
        self.register_buffer("seen_once", torch.zeros(n_words))
        self.register_buffer("unknown_shares", torch.zeros(n_characters), persistent=False)

    def embed(self, batch: TagBatch) -> Padded:
        """`[P, T, E]` word embeddings, concatenated with the encodings of their characters."""
        ids_PT, letters_WK = batch.words.values, batch.spellings.values
        if self.training and (rate := self.config.unknown_rate):
            ids_PT = some_unknown(ids_PT, self.seen_once, rate)
            letters_WK = some_unknown(letters_WK, self.unknown_shares, rate)
        embedded = Padded(self.embedding(ids_PT), batch.words.lengths)
        if self.spelling is not None:
            letters = Padded(letters_WK, batch.spellings.lengths)
            (embedded,) = with_characters([embedded], self.spelling, letters, [batch.places])
        return embedded

    def read(self, embedded: Padded) -> Float[Tensor, "N C"]:
        """Embedded pieces → unnormalised tag scores of each token, without padding."""
        inputs = Padded(self.dropout(embedded.values), embedded.lengths)
        if self.context is not None:
            read, _ = self.context(inputs)
            inputs = Padded(self.dropout(read.values), read.lengths)
        encoded, _ = self.encoder(inputs)
        hidden_ND = self.dropout(encoded.values[encoded.mask])
        renewed(self.scorer)
        scores_NC = linear(hidden_ND, self.scorer.weight, self.scorer.bias)
        return scores_NC.to(torch.promote_types(scores_NC.dtype, torch.float32))

    def forward(self, batch: TagBatch) -> Float[Tensor, "N C"]:
        """The tag scores of each token, sentence by sentence."""
        return self.read(self.embed(batch))


def in_rows(values: Tensor, lengths: Tensor) -> Tensor:
    """`[N, …]`, concatenated sentences → `[B, T, …]`, with zeros in the padding.

    >>> in_rows(torch.tensor([7, 8, 9]), torch.tensor([1, 0, 2])).tolist()
    [[7, 0], [0, 0], [8, 9]]
    """
    mask_BT = mask_of(lengths, values.device)
    rows = values.new_zeros(*mask_BT.shape, *values.shape[1:])
    rows[mask_BT] = values
    return rows


def mask_of(lengths: Tensor, device: torch.device) -> Tensor:
    """`[B, T]`, True where a sentence has a token."""
    T = int(lengths.max()) if len(lengths) else 0
    return (torch.arange(T) < lengths.unsqueeze(1)).to(device)


def build(config: TagConfig, tokenizers: Tokenizers) -> Tagger:
    """A new model for these vocabularies and tags.

    Raises:
        ConfigError: the scheme allows no tag sequence of some length, or there are too many tags.
    """
    labels: Labels = tokenizers[LABELS]
    sizes = len(tokenizers[ROLE]), len(tokenizers[CHARACTERS]), len(labels)
    is_constrained = config.transitions == "scheme" and labels.scheme and not labels.n_ill_formed
    if not (config.head == "crf" and is_constrained):
        return Tagger(config, *sizes)
    if len(labels) > _MOST_LABELS:
        raise ConfigError(
            f"a CRF constrained by the tagging scheme supports at most {_MOST_LABELS:,} tags, found "
            f"{len(labels):,}; set model.transitions = 'free'"
        )
    try:
        return Tagger(config, *sizes, transitions(labels.names, labels.scheme))
    except ConfigError as error:
        raise ConfigError(f"{error}: set model.transitions = 'free'") from None


def prepare(model: Tagger, parts: Mapping[str, Sequence[TagExample]]) -> None:
    """Record how rare each word and each character of the training part is.

    Raises:
        DataError: the CRF of the run that this one starts from does not allow the tags of a training
            sentence; or a CRF gives every validation sentence probability 0, so that there is no loss.
    """
    examples = parts["train"]
    words = chain.from_iterable(example.words for example in examples)
    letters = chain.from_iterable(chain.from_iterable(e.spellings) for e in examples)
    if rate := model.config.unknown_rate:
        for ids, shares in ((words, model.seen_once), (letters, model.unknown_shares)):
            shares.copy_(shares_of(count_ids(ids, len(shares)), rate))
    allowed = model.crf.allowed if model.crf is not None else None
    if allowed is None:
        return
    for example in examples:
        reason = allowed.why_not(example.tags or ())
        if reason is not None:
            raise DataError(
                f"the tags of sentence {quote(' '.join(example.tokens[:5]) + ' …')} are not allowed in "
                f"the run that this one starts from ({reason}); correct them, or start from scratch"
            )
    reasons = [allowed.why_not(example.tags or ()) for example in parts["valid"]]
    if reasons and None not in reasons:
        raise DataError(
            "every sentence of the validation part violates the tagging scheme of the training part "
            f"(in the first, {reasons[0]}), so a CRF gives them probability 0; correct them, or "
            "set model.transitions = 'free'"
        )


# Loss


def loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """The summed negative log-likelihood of the gold tags in nats, and the number of tokens.

    The sum is over tokens for a softmax and over sentences for a CRF. Both are divided by the number of
    tokens, so that batches add up and the two losses can be compared.
    """
    assert batch.targets is not None
    scores_NC = model(batch)
    if model.crf is None:
        return F.cross_entropy(scores_NC, batch.targets, reduction="sum"), len(batch.targets)
    emissions_BTC, tags_BT = (
        in_rows(values, batch.lengths) for values in (scores_NC, batch.targets)
    )
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths)


def evaluate_loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """The loss over sentences whose tags the CRF allows; the others have probability 0."""
    allowed = model.crf.allowed if model.crf is not None else None
    if model.crf is None or allowed is None:
        return loss(model, batch)
    assert batch.targets is not None
    paths = batch.targets.cpu().split(batch.lengths.tolist())
    is_allowed_B = torch.tensor([allowed.why_not(path.tolist()) is None for path in paths])
    scores_NC = model(batch)
    if not is_allowed_B.any():
        return scores_NC.new_zeros(()), 0
    emissions_BTC, tags_BT = (
        in_rows(values, batch.lengths)[is_allowed_B.to(values.device)]
        for values in (scores_NC, batch.targets)
    )
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths[is_allowed_B])
