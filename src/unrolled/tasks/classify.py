"""Text classification: predict one of C labels, or several, from a text.

Recurrent layers read the text, their outputs are pooled to one vector (`layers.pooling`), and a linear
layer predicts the label. Unlike a bag of words, the model uses word order; `unrolled train … --baselines`
and `unrolled evaluate --shuffle-words` measure how much that contributes. Code shared with `pair` is in
`tasks.text_labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled import nn
from unrolled.config import Layers, Rate, Share, Width, check_fields
from unrolled.layers import pooling
from unrolled.layers.characters import (
    CharactersKind,
    CharWindow,
    character_encoder,
    width_of,
)
from unrolled.layers.embedding import Embedding
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.label_head import linear_scorer
from unrolled.layers.mixed_head import label_head
from unrolled.layers.pooling import Pooling, PoolingKind
from unrolled.layers.recurrent import ForgetBias, check_initial, initialize
from unrolled.layers.unknown import DEFAULT_RATE
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.shapes import Float, Padded
from unrolled.tasks import text_labels
from unrolled.tasks.beside import Ngrams
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.pretraining import check_pretrained_settings, language_model_encoder
from unrolled.tasks.task import LabelTask
from unrolled.tasks.text_labels import ClassWeights
from unrolled.text.rows import Field


@dataclass(frozen=True)
class ClassifyConfig:
    """The `[model]` section of a classification recipe.

    Args:
        cell: recurrent cell: "rnn" (tanh), "rnn_relu", "gru" or "lstm".
        embedding_size: width of the word embeddings.
        hidden_size: hidden width of one direction.
        n_layers: number of recurrent layers.
        bidirectional: whether the text is also read backwards.
        pooling: how the outputs of all steps are combined: "final" (the last output of each direction),
            "mean", "max" (over time, for each unit), "attentive" (a weighted mean with learned
            weights), or "concat" (final, max and mean side by side: Howard & Ruder 2018, section 3.3).
        dropout_rate: on embeddings, between layers and before the last layer.
        word_rate: probability that a word's embedding is dropped, at all of its positions in a batch.
        unknown_rate: a word that occurs n times in training is replaced by an unknown word there with
            probability `unknown_rate` / n, so that the model learns to handle unknown words
            (`layers.unknown`); 0 for never.
        label_smoothing: share of the target probability that is spread evenly over all classes; if an
            example may have several labels, over yes and no for each label.
        class_weights: "balanced" weights each row by the inverse frequency of its class; "none".
        recurrent_init: initial recurrent weights: "orthogonal"; "identity", for "rnn" and "rnn_relu";
            or "uniform" (`layers.recurrent.InitialSettings`).
        forget_bias: initial bias of an LSTM's forget gate.
        pretrained: run folders of a language model that reads forwards and, perhaps, one that reads
            backwards: the run starts with their vocabulary, embeddings and recurrent layers; only read
            when a run starts (`tasks.pretraining`). Sizes follow from them and need not be set.
        pretrained_sizes: widths of their recurrent layers, which follow from them.
        characters: how words are also read from their characters as written, which helps with words that
            do not occur in training: "recurrent", the last states of a bidirectional layer of `cell`
            (Lample et al. 2016); "convolution" (Ma & Hovy 2016); "none".
        char_size: width of the character embeddings, and hidden width per direction of the recurrent
            layer that reads them.
        char_filters: number of filters of the convolution.
        char_window: number of characters that a filter reads.
        ngrams: length of the longest n-grams that are counted beside the network (`layers.mixed_head`);
            0 for none. Their weights are fitted with scikit-learn before training.
        ngram_characters: length of the longest n-grams of characters, of 2 or more, that are counted in
            words in lower case; 0 for none.
        embeddings: see `unrolled.tasks.embeddings`.
    """

    cell: CellName = "lstm"
    embedding_size: Width = 100
    hidden_size: Width = 128
    n_layers: Layers = 1
    bidirectional: bool = True
    pooling: PoolingKind = "max"
    dropout_rate: Rate = 0.3
    word_rate: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    label_smoothing: Rate = 0.0
    class_weights: ClassWeights = "none"
    recurrent_init: RecurrentInit = "orthogonal"
    forget_bias: ForgetBias = 1.0
    pretrained: tuple[str, ...] = ()
    pretrained_sizes: tuple[Width, ...] = ()
    characters: CharactersKind = "none"
    char_size: Width = 25
    char_filters: Width = 50
    char_window: CharWindow = 3
    ngrams: Ngrams = 0
    ngram_characters: Ngrams = 0
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self)
        check_initial(self)
        check_pretrained_settings(self)


class Classifier(nn.Module):
    """Embedding, recurrent layers, pooling, head.

    Attributes:
        unknown_shares: `[V]`, the factor of the rate at which each word is read as unknown in training
            (`layers.unknown.shares_of`).
        is_seen: `[V]`, True for tokens that occur in the training part.
        character_shares: `[K]`, as `unknown_shares`, for characters.
        sides: which of an example's texts are read.

    >>> import torch
    >>> model = Classifier(ClassifyConfig(embedding_size=3, hidden_size=5), 11, 4)
    >>> text = Padded.from_rows([[4, 5, 7], [6]])
    >>> hidden, _ = model.read(model.embed(text))
    >>> hidden.shape, model.head.probabilities(hidden).shape
    (torch.Size([2, 10]), torch.Size([2, 4]))
    """

    unknown_shares: Tensor
    is_seen: Tensor
    character_shares: Tensor

    def __init__(
        self,
        config: ClassifyConfig,
        n_words: int,
        n_labels: int,
        multi_label: bool = False,
        n_characters: int = 0,
        counted_bias: NDArray[np.float64] | None = None,
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
        self.spelling = character_encoder(config, n_characters)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.encoder = (
            language_model_encoder(config, width_of(self.spelling))
            if config.pretrained
            else RecurrentEncoder(
                config.cell,
                config.embedding_size + width_of(self.spelling),
                config.hidden_size,
                n_layers=config.n_layers,
                bidirectional=config.bidirectional,
                dropout_rate=config.dropout_rate,
            )
        )
        width = self.encoder.output_size
        self.pooling = Pooling(config.pooling, width, bidirectional=config.bidirectional)
        D = self.pooling.output_size
        self.head = label_head(
            config,
            linear_scorer(D, n_labels),
            D,
            n_labels,
            multi_label=multi_label,
            counted_bias=counted_bias,
        )
        initialize(self, config)
        self.register_buffer("unknown_shares", torch.zeros(n_words), persistent=False)
        self.register_buffer("character_shares", torch.zeros(n_characters), persistent=False)
        self.register_buffer("is_seen", torch.ones(n_words, dtype=torch.bool), persistent=False)

    sides = slice(None)

    def embed(self, text: Padded) -> Padded:
        """`[B, T]` ids → `[B, T, E]`."""
        return Padded(self.embedding(text.values), text.lengths)

    def read(self, text: Padded) -> tuple[Float[Tensor, "B D"], tuple[Float[Tensor, "B T"] | None]]:
        """Encode embedded texts; return a vector for each, and the attention weights of its tokens."""
        encoded, final = self.encoder(Padded(self.dropout(text.values), text.lengths))
        last_BD = final[-1][0]
        if (width := last_BD.shape[1]) < encoded.values.shape[2]:
            # A language model's layers do not read the columns of the characters.
            others = Padded(encoded.values[:, :, width:], encoded.lengths)
            last_BD = torch.cat([last_BD, pooling.final(others)], dim=1)
        pooled, weights = self.pooling(encoded, last_BD)
        return self.dropout(pooled), (weights,)

    def forward(self, text: Padded) -> Float[Tensor, "B C"]:
        """`[B, T]` ids → logits."""
        return self.head.logits(self.read(self.embed(text))[0])


def _text(fields: Sequence[Field]) -> Sequence[Field]:
    return fields[:1]


TASK: LabelTask = text_labels.label_task(
    "classify", ("text", "label"), ClassifyConfig, Classifier, _text, 'predict {run} "…"'
)
