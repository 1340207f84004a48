"""The model of the task `tag` and its loss: words and their spellings, recurrent layers, scores of tags.

Lample et al. 2016, "Neural architectures for named entity recognition". A word is its embedding and,
beside it, what a small recurrent layer makes of its characters (section 4.1 there).
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
from unrolled.layers.crf import Allowed, LinearChainCRF
from unrolled.layers.embedding import Embedding
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.label_head import linear_scorer
from unrolled.layers.renewal import renewed
from unrolled.layers.unknown import DEFAULT_RATE, count_ids, shares_of, some_unknown
from unrolled.ops.cells import CellName
from unrolled.ops.linear import linear
from unrolled.quoting import quote
from unrolled.shapes import Float, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.tag.data import CHARACTERS, TagBatch, TagExample, transitions
from unrolled.tasks.task import LABELS, Tokenizers
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels

_MOST_LABELS = 2048


@dataclass(frozen=True)
class TagConfig:
    """The `[model]` section of a tagging recipe.

    Args:
        head: "crf" chooses the tags of a sentence together, "softmax" each by itself.
        transitions: of a CRF: "scheme" forbids what the scheme of the tags does not allow, where the
            training part keeps to it; "free" forbids nothing.
        cell: the recurrent cell.
        embedding_size: width of the word embeddings.
        char_size: width of the embeddings of characters, and of the states of the layer that reads them
            in each direction; 0 for words alone.
        hidden_size: hidden width of one direction.
        n_layers: recurrent layers.
        bidirectional: whether the sentence is also read from its end.
        dropout_rate: on embeddings, between layers and before the last layer.
        word_rate: chance that a word loses its embedding, wherever it stands in a batch.
        unknown_rate: a word that occurs n times in training is read there as unknown with chance
            `unknown_rate` / n, so that the model learns what to make of words it does not know
            (`layers.unknown`); its characters stay, and are themselves unknown by the same rule.
        embeddings: see `unrolled.tasks.embeddings`.
    """

    head: Literal["crf", "softmax"] = "crf"
    transitions: Literal["scheme", "free"] = "scheme"
    cell: CellName = "lstm"
    embedding_size: Width = 100
    char_size: OptionalWidth = 25
    hidden_size: Width = 128
    n_layers: Layers = 1
    bidirectional: bool = True
    dropout_rate: Rate = 0.3
    word_rate: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self)


class CharEncoder(nn.Module):
    """What its characters say of a word: the last states of a layer that reads them both ways.

    Lample et al. 2016, section 4.1.

    Args:
        cell: the recurrent cell.
        n_characters: size of their vocabulary.
        size: width of their embeddings, and of the states of each direction.

    >>> CharEncoder("lstm", 11, 3)(Padded.from_rows([[4, 5, 7], [6]])).shape
    torch.Size([2, 6])
    """

    def __init__(self, cell: str, n_characters: int, size: int) -> None:
        super().__init__()
        self.embedding = Embedding(n_characters, size)
        self.encoder = RecurrentEncoder(cell, size, size)
        self.output_size = self.encoder.output_size

    def forward(self, spellings: Padded) -> Float[Tensor, "W D"]:
        """`[W, K]` ids of characters → a vector for each word."""
        _, state = self.encoder(Padded(self.embedding(spellings.values), spellings.lengths))
        return state[-1][0]


class Tagger(nn.Module):
    """Words and their spellings, recurrent layers, scores of the tags; a CRF where asked for.

    Attributes:
        seen_once: `[V]`, the share of the rate at which each word is read as unknown
            (`layers.unknown.shares_of`). It is among the weights: in runs of earlier versions it is 1 for
            words that occur once and 0 for all others, and those go on so.
        unknown_shares: `[K]`, the same of characters.

    Args:
        config: sizes.
        n_words: V.
        n_characters: size of the vocabulary of characters.
        n_labels: C.
        allowed: transitions that a CRF may take; None for all.

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
        self.spelling: CharEncoder | None = None
        if config.char_size:
            self.spelling = CharEncoder(config.cell, n_characters, config.char_size)
            width += self.spelling.output_size
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
        self.register_buffer("seen_once", torch.zeros(n_words))
        self.register_buffer("unknown_shares", torch.zeros(n_characters), persistent=False)

    def embed(self, batch: TagBatch) -> Padded:
        """`[P, T, E]`, each word beside what its characters say."""
        ids_PT, letters_WK = batch.words.values, batch.spellings.values
        if self.training and (rate := self.config.unknown_rate):
            ids_PT = some_unknown(ids_PT, self.seen_once, rate)
            letters_WK = some_unknown(letters_WK, self.unknown_shares, rate)
        embedded_PTE = self.embedding(ids_PT)
        if self.spelling is not None and len(letters_WK):
            spellings = Padded(letters_WK, batch.spellings.lengths)
            spelled_PTE = self.spelling(spellings)[batch.places]
            embedded_PTE = torch.cat([embedded_PTE, spelled_PTE], dim=2)
        elif self.spelling is not None:
            embedded_PTE = F.pad(embedded_PTE, (0, self.spelling.output_size))
        return Padded(embedded_PTE, batch.words.lengths)

    def read(self, embedded: Padded) -> Float[Tensor, "N C"]:
        """Embedded pieces → the scores of each real token's tags, unnormalised."""
        encoded, _ = self.encoder(Padded(self.dropout(embedded.values), embedded.lengths))
        hidden_ND = self.dropout(encoded.values[encoded.mask])
        renewed(self.scorer)
        scores_NC = linear(hidden_ND, self.scorer.weight, self.scorer.bias)
        return scores_NC.to(torch.promote_types(scores_NC.dtype, torch.float32))

    def forward(self, batch: TagBatch) -> Float[Tensor, "N C"]:
        """The scores of each token's tags, sentence by sentence."""
        return self.read(self.embed(batch))


def in_rows(values: Tensor, lengths: Tensor) -> Tensor:
    """`[N, …]` of tokens one after another → `[B, T, …]`, zeros in the padding.

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
    """A fresh model for these vocabularies and tags.

    Raises:
        ConfigError: tags of which no sentence of some length can be made as their scheme has it.
    """
    labels: Labels = tokenizers[LABELS]
    sizes = len(tokenizers[ROLE]), len(tokenizers[CHARACTERS]), len(labels)
    keeps_to_it = config.transitions == "scheme" and labels.scheme and not labels.n_ill_formed
    if not (config.head == "crf" and keeps_to_it):
        return Tagger(config, *sizes)
    if len(labels) > _MOST_LABELS:
        raise ConfigError(
            f"{len(labels):,} tags are too many for a CRF that keeps to their scheme, at most "
            f"{_MOST_LABELS:,}; set model.transitions = 'free'"
        )
    try:
        return Tagger(config, *sizes, transitions(labels.names, labels.scheme))
    except ConfigError as error:
        raise ConfigError(f"{error}: set model.transitions = 'free'") from None


def prepare(model: Tagger, parts: Mapping[str, Sequence[TagExample]]) -> None:
    """Note how rare each word and each character of the training part is.

    Raises:
        DataError: tags that the CRF of another run, which this one starts from, does not allow; or a
            validation part to whose tags a CRF gives no probability, so that it has no loss.
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
                f"the sentence {quote(' '.join(example.tokens[:5]) + ' …')}: {reason} in the run that "
                "this one starts from; correct it, or begin anew"
            )
    reasons = [allowed.why_not(example.tags or ()) for example in parts["valid"]]
    if reasons and None not in reasons:
        raise DataError(
            "no sentence of the validation part has tags that the scheme of the training part allows "
            f"(in the first, {reasons[0]}), so that a CRF gives them no probability; correct them, or "
            "set model.transitions = 'free'"
        )


# Loss


def loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """−log p of the right tags in nats, summed; and the number of tokens, with a CRF too.

    Of a softmax the sum is over tokens, of a CRF over sentences; the number of tokens is what either is
    divided by, so that batches add up and the two can stand side by side.
    """
    assert batch.targets is not None
    scores_NC = model(batch)
    if model.crf is None:
        return F.cross_entropy(scores_NC, batch.targets, reduction="sum"), len(batch.targets)
    emissions_BTC, tags_BT = (in_rows(each, batch.lengths) for each in (scores_NC, batch.targets))
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths)


def evaluate_loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """The same, of the sentences whose tags have a probability: a scheme may not allow all of them."""
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
        in_rows(each, batch.lengths)[is_allowed_B.to(each.device)]
        for each in (scores_NC, batch.targets)
    )
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths[is_allowed_B])
