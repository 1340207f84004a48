"""The settings of the sequence-to-sequence model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unrolled.config import Layers, Rate, Share, Width, check_fields
from unrolled.errors import ConfigError
from unrolled.layers.recurrent import ForgetBias, check_initial
from unrolled.layers.unknown import DEFAULT_RATE
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.pretraining import check_pretrained_settings


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
