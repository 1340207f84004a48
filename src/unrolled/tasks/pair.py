"""Classification of text pairs: entailment, stance, paraphrase.

With a conditional encoder, the second text is read starting from a state of the first (see
`layers.conditional` for the equations): Rocktäschel et al. 2016 for textual entailment, Augenstein et al.
2016 for stance. `model.condition` determines which column of the data conditions the other. Code shared
with `classify` is in `tasks.text_labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled import nn
from unrolled.config import OptionalWidth, Rate, Share, Width, check_fields
from unrolled.errors import ConfigError
from unrolled.layers.aligned import AlignedEncoder
from unrolled.layers.alignment import MatchingEncoder, PairFeature
from unrolled.layers.characters import (
    CharactersKind,
    CharWindow,
    character_encoder,
    width_of,
)
from unrolled.layers.conditional import (
    AttentiveEncoder,
    BidirectionalConditionalEncoder,
    ConditionalEncoder,
    IndependentEncoder,
    SingleEncoder,
    TanhScorer,
    WordByWordEncoder,
)
from unrolled.layers.embedding import Embedding
from unrolled.layers.label_head import linear_scorer
from unrolled.layers.lm_encoder import LanguageModelEncoder
from unrolled.layers.mixed_head import label_head
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
from unrolled.text.rows import Field, as_text

Encoding = Literal[
    "first_only",
    "second_only",
    "concatenated",
    "independent",
    "conditional",
    "attention",
    "word_by_word",
    "bidirectional_conditional",
    "aligned",
]


@dataclass(frozen=True)
class PairConfig:
    """The `[model]` section of a recipe for pairs of texts.

    Args:
        encoder: how the two texts are encoded to one vector: "conditional", "attention" and
            "word_by_word" (Rocktäschel et al. 2016), "bidirectional_conditional" (Augenstein et al.
            2016), "aligned" (each word compared with what it is aligned with in the other text, Chen et
            al. 2017), "independent" (each text by itself); and, for comparison, "concatenated" (both
            texts read as one) and the controls "first_only" and "second_only".
        condition: which column is read first and conditions the other: "first" or "second".
        target: for the bidirectional conditional encoder: whether the conditioning text is read in both
            directions, "both_ways", as in the paper, or only forwards, "one_way".
        cell: recurrent cell: "rnn" (tanh), "rnn_relu", "gru" or "lstm". An LSTM passes on its
            cell state to the second text, other cells h.
        embedding_size: width of the word embeddings.
        projection_size: width to which a linear layer projects the embeddings, as Rocktäschel et al. do
            with pretrained ones; 0 for none.
        hidden_size: hidden width of one direction.
        bidirectional: whether "independent", "concatenated" and the controls also read backwards.
        head: "tanh", W_o tanh(W h) + b_o; "linear", W_o h + b_o; "literal", tanh(W h), as written in the
            papers, with which no probability of three classes exceeds 0.79.
        dropout_rate: on inputs and outputs of the recurrent layers.
        word_rate: probability that a word's embedding is dropped, at all of its positions in a batch.
        learned_start: whether the state before the first word is learned.
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
            backwards: the run starts with their vocabulary and embeddings, and `encoder` reads the
            outputs of their recurrent layers in place of the embeddings. Only read when a run starts
            (`tasks.pretraining`).
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
        ngrams_by_first: whether what is counted in the second text has, for each first text of the
            training part, a weight of its own beside the shared one (`baselines.counting`); for a first
            text that has few different values, such as the target of a stance.
        features: what the two texts have in common, also read: "overlap", for each word whether it occurs
            in the other text; "difference" and "product" of the encodings u and v of the two texts,
            |u − v| and u ∘ v (Mou et al. 2016), for encoders with one of each text.
        embeddings: see `unrolled.tasks.embeddings`.
    """

    encoder: Encoding = "conditional"
    condition: Literal["first", "second"] = "first"
    target: Literal["both_ways", "one_way"] = "both_ways"
    cell: CellName = "lstm"
    embedding_size: Width = 100
    projection_size: OptionalWidth = 0
    hidden_size: Width = 100
    bidirectional: bool = False
    head: Literal["tanh", "linear", "literal"] = "tanh"
    dropout_rate: Rate = 0.2
    word_rate: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    learned_start: bool = False
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
    ngrams_by_first: bool = False
    features: tuple[PairFeature, ...] = ()
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self)
        check_initial(self)
        check_pretrained_settings(self)
        if self.bidirectional and self.encoder in _ONE_WAY:
            raise ConfigError(
                f"model.bidirectional: the encoder '{self.encoder}' reads in one direction; remove it, "
                "or use 'bidirectional_conditional' or 'independent'"
            )
        if self.target == "one_way" and self.encoder != "bidirectional_conditional":
            raise ConfigError(
                "model.target only applies to encoder 'bidirectional_conditional'; remove it"
            )
        _check_features(self)
        if self.ngrams_by_first and self.encoder in _CONTROLS:
            raise ConfigError(
                "model.ngrams_by_first counts the second text by the first, but the encoder "
                f"'{self.encoder}' reads only one; set it to false"
            )


def _check_features(config: PairConfig) -> None:
    """Refuse features of two texts for an encoder that reads one, or that reads them as one."""
    if config.features and config.encoder in _CONTROLS:
        raise ConfigError(
            f"model.features compares the two texts, but the encoder '{config.encoder}' reads only one; "
            "remove it"
        )
    compared = [name for name in config.features if name != "overlap"]
    if compared and config.encoder == "concatenated":
        raise ConfigError(
            f"model.features: '{compared[0]}' needs an encoding of each text, but the encoder "
            "'concatenated' reads both as one; remove it, or use 'independent'"
        )
    if compared and config.target == "one_way":
        raise ConfigError(
            f"model.features: '{compared[0]}' needs encodings of the same width; remove it, or set "
            "model.target = 'both_ways'"
        )


_CONTROLS = ("first_only", "second_only")
_ONE_WAY = ("conditional", "attention", "word_by_word")


class PairClassifier(nn.Module):
    """Embedding, an encoder of two texts, head.

    Attributes:
        unknown_shares, is_seen, character_shares: as in `unrolled.tasks.classify.Classifier`.

    >>> model = PairClassifier(PairConfig("word_by_word", embedding_size=3, hidden_size=5), 11, 4)
    >>> first, second = Padded.from_rows([[4, 5, 7], [6]]), Padded.from_rows([[8, 4], [5, 6]])
    >>> model(first, second).shape
    torch.Size([2, 4])
    """

    unknown_shares: Tensor
    is_seen: Tensor
    character_shares: Tensor

    def __init__(
        self,
        config: PairConfig,
        n_words: int,
        n_labels: int,
        multi_label: bool = False,
        n_characters: int = 0,
        counted_bias: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        E, H = config.embedding_size, config.hidden_size
        self.embedding = Embedding(
            n_words,
            E,
            tuning=config.embeddings.tuning,
            frozen_epochs=config.embeddings.frozen_epochs,
            word_rate=config.word_rate,
        )
        self.spelling = character_encoder(config, n_characters)
        beside_words = width_of(self.spelling) + ("overlap" in config.features)
        self.context: LanguageModelEncoder | None = None
        if config.pretrained:
            self.context = language_model_encoder(config, beside_words)
            E, beside_words = self.context.output_size, 0
        self.projection: nn.Linear | None = None
        if config.projection_size:
            self.projection = nn.Linear(E, config.projection_size)
            E = config.projection_size
        E += beside_words
        self.encoder, D = _encoder(config, E, H)
        scorer = (
            linear_scorer(D, n_labels)
            if config.head == "linear"
            else TanhScorer(D, n_labels, literal=config.head == "literal")
        )
        self.head = label_head(
            config, scorer, D, n_labels, multi_label=multi_label, counted_bias=counted_bias
        )
        initialize(self, config)
        self.register_buffer("unknown_shares", torch.zeros(n_words), persistent=False)
        self.register_buffer("character_shares", torch.zeros(n_characters), persistent=False)
        self.register_buffer("is_seen", torch.ones(n_words, dtype=torch.bool), persistent=False)

    @property
    def sides(self) -> slice:
        """Which of an example's texts are read."""
        return {"first_only": slice(0, 1), "second_only": slice(1, 2)}.get(
            self.config.encoder, slice(None)
        )

    def embed(self, text: Padded) -> Padded:
        """`[B, T]` ids → `[B, T, E]`."""
        embedded = Padded(self.embedding(text.values), text.lengths)
        return embedded if self.context is not None else self._projected(embedded)

    def _projected(self, text: Padded) -> Padded:
        if self.projection is None:
            return text
        return Padded(self.projection(text.values), text.lengths)

    def _in_context(self, text: Padded) -> Padded:
        """The outputs of the language models' layers, in place of the embeddings."""
        return text if self.context is None else self._projected(self.context(text)[0])

    def read(
        self, first: Padded, second: Padded
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor | None, Tensor | None]]:
        """Encode embedded texts; return a vector for each pair, and the attention weights of tokens.

        For word-by-word attention, the weights are averaged over the steps of the attending text.
        """
        first, second = self._in_context(first), self._in_context(second)
        # A control reads the column in its name, regardless of `condition`.
        is_first = self.config.condition == "first" or self.config.encoder in _CONTROLS
        hidden, attention_BTS = self.encoder(*((first, second) if is_first else (second, first)))
        weights = None
        if attention_BTS is not None:
            attending = second if is_first else first
            n_steps = attending.lengths.clamp(min=1).to(attention_BTS.device)
            weights = attention_BTS.sum(1)
            if attention_BTS.shape[1] > 1:
                weights = weights / n_steps.unsqueeze(1)
        return hidden, ((weights, None) if is_first else (None, weights))

    def forward(self, first: Padded, second: Padded) -> Float[Tensor, "B C"]:
        """`[B, S]` and `[B, T]` ids → logits."""
        return self.head.logits(self.read(self.embed(first), self.embed(second))[0])


def _encoder(config: PairConfig, E: int, H: int) -> tuple[nn.Module, int]:
    """Create the encoder; return it and the width of its output."""
    kind, cell = config.encoder, config.cell
    both_ways: dict[str, Any] = {"bidirectional": config.bidirectional}
    options: dict[str, Any] = {
        "dropout_rate": config.dropout_rate,
        "learned_start": config.learned_start,
    }
    encoder: Any
    if kind == "conditional":
        encoder = ConditionalEncoder(cell, E, H, **options)
    elif kind == "attention":
        encoder = AttentiveEncoder(cell, E, H, **options)
    elif kind == "word_by_word":
        encoder = WordByWordEncoder(cell, E, H, **options)
    elif kind == "bidirectional_conditional":
        encoder = BidirectionalConditionalEncoder(cell, E, H, target=config.target, **options)
    elif kind == "aligned":
        encoder = AlignedEncoder(cell, E, H, **options)
    elif kind == "independent":
        encoder = IndependentEncoder(cell, E, H, **both_ways, **options)
    else:
        encoder = SingleEncoder(kind, cell, E, H, **both_ways, **options)
    if set(config.features) - {"overlap"}:
        encoder = MatchingEncoder(encoder, config.features)
    return encoder, encoder.output_size


def _both_texts(fields: Sequence[Field]) -> Sequence[Field]:
    # A premise is in several pairs, a target in a thousand, so only whole pairs must not be in two parts.
    return ("\n".join(map(as_text, fields[:2])),)


TASK: LabelTask = text_labels.label_task(
    "pair",
    ("first", "second", "label"),
    PairConfig,
    PairClassifier,
    _both_texts,
    'predict {run} "…" "…"',
)
