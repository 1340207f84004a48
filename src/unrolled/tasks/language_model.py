"""Language modelling: a recurrent model that predicts the next character or word of running text.

Mikolov et al. 2010 (the recurrent language model); Press & Wolf 2017 (tied weights); Gal & Ghahramani
2016 and Merity, Keskar & Socher 2018 (regularisation). The file is in the order of the data flow:
configuration, model, collate, loss, scores, TASK.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled import nn
from unrolled.config import Layers, Range, Rate, Share, Width, check_fields
from unrolled.errors import ConfigError
from unrolled.generating import LanguageWeights
from unrolled.layers.dropout import LockedDropout, dropped_embedding
from unrolled.layers.head import AdaptiveHead, SampledHead, SoftmaxHead
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.layers.output import Output
from unrolled.layers.recurrent import INITIAL_ONLY, ForgetBias, check_initial, initialize
from unrolled.layers.recurrent_stack import Packed, RecurrentStack
from unrolled.layers.renewal import renewed
from unrolled.layers.unknown import DEFAULT_RATE, count_ids, rate_for, shares_of, some_unknown
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import CellName
from unrolled.shapes import Float, Int, Padded
from unrolled.tasks.embeddings import EmbeddingsConfig, check_sections
from unrolled.tasks.language_model_steps import kernel_weights
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import State, StreamTask
from unrolled.text.config import PAD_ID, SPECIALS, TextConfig
from unrolled.text.corpus.windows import StreamConfig, Window
from unrolled.text.tokenizer import Tokenizer

MOST_ONE_HOT = 4096
"""Largest vocabulary for one-hot embeddings, which take V² numbers."""


@dataclass(frozen=True)
class LanguageModelConfig:
    """The `[model]` section of a language model's recipe.

    Args:
        cell: recurrent cell: "rnn" (tanh), "rnn_relu", "gru" or "lstm".
        embedding: "learned", or "one_hot": one-hot vectors as wide as the vocabulary, for characters.
        embedding_size: width of learned embeddings.
        hidden_size: width of the recurrent layers; with tied weights, the last one is as wide as the
            embedding.
        n_layers: number of recurrent layers.
        tied: whether the output layer shares the embedding (Press & Wolf 2017).
        word_rate: probability that a word's embedding is dropped for a whole window (Gal & Ghahramani
            2016).
        unknown_rate: a token that occurs n times in training is replaced by an unknown token there with
            probability `unknown_rate` / n, both as input and as target, so that the model learns how
            often unknown tokens occur and how to continue after them (`layers.unknown`); 0 for never.
        input_rate: dropout rate on embeddings.
        between_rate: dropout rate between recurrent layers.
        output_rate: dropout rate before the output layer.
        recurrent_weight_rate: dropout rate on recurrent weights, with one mask per window (Merity et al.
            2018).
        locked: whether a dropout mask stays the same for all steps of a window (variational dropout). A
            window that reads steps again (`data.k2` above `k1`) has two masks of each kind, one up to
            the start of the next window and one from there on.
        head: the softmax used in training: "full"; "adaptive" (Grave et al. 2017), which is a different
            model; or "sampled" (Jean et al. 2015), which is evaluated with the full softmax.
        cutoffs: the first id of each cluster of rarer words of the adaptive softmax.
        n_samples: number of words drawn per window by the sampled softmax.
        recurrent_init: initial recurrent weights: "orthogonal"; "identity", for "rnn" and "rnn_relu";
            or "uniform" (`layers.recurrent.InitialSettings`).
        forget_bias: initial bias of an LSTM's forget gate.
        direction: "forward" reads text from left to right; "backward" from right to left, to start the
            encoders of other tasks (`model.pretrained`): such a model cannot continue a text.
        embeddings: see `unrolled.tasks.embeddings`; "trained" or "frozen", without extra words.
    """

    cell: CellName = "lstm"
    embedding: Literal["learned", "one_hot"] = "learned"
    embedding_size: Width = 128
    hidden_size: Width = 512
    n_layers: Layers = 1
    tied: bool = False
    word_rate: Rate = 0.0
    unknown_rate: Share = DEFAULT_RATE
    input_rate: Rate = 0.0
    between_rate: Rate = 0.0
    output_rate: Rate = 0.0
    recurrent_weight_rate: Rate = 0.0
    locked: bool = True
    head: Literal["full", "adaptive", "sampled"] = "full"
    cutoffs: tuple[int, ...] = ()
    n_samples: Annotated[int, Range(1, 10**6)] = 1000
    recurrent_init: RecurrentInit = "orthogonal"
    forget_bias: ForgetBias = 1.0
    direction: Literal["forward", "backward"] = "forward"
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        check_sections(self, simple=True)
        check_initial(self)
        if self.word_rate and self.embedding == "one_hot":
            raise ConfigError(
                "model.word_rate drops learned embeddings, but model.embedding is 'one_hot'; set it to 0"
            )
        if self.tied and self.embedding == "one_hot":
            raise ConfigError(
                "model.tied: a one-hot embedding has no weights to share; set model.tied = false"
            )
        if self.embeddings.file is not None and self.embedding == "one_hot":
            raise ConfigError(
                "model.embeddings.file: one-hot embeddings have no vectors; remove the file, or set "
                "model.embedding = 'learned'"
            )
        if self.embeddings.tuning == "frozen" and self.tied:
            raise ConfigError(
                "model.embeddings.tuning is 'frozen', but the output layer shares the embedding and must "
                "be trainable; set model.tied = false"
            )
        if self.tied and self.head == "adaptive":
            raise ConfigError(
                "model.tied: the adaptive softmax has its own weights; set model.tied = false"
            )
        if (self.head == "adaptive") != bool(self.cutoffs):
            raise ConfigError(
                "model.cutoffs must be set if model.head is 'adaptive', and only then; for 33,000 words "
                "try [2000, 10000]"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the recurrent layers, first to last."""
        last = self.embedding_size if self.tied else self.hidden_size
        return (*[self.hidden_size] * (self.n_layers - 1), last)


def reads_backward(config: Any) -> bool:
    """Whether a model with this `[model]` section reads text from right to left."""
    return getattr(config, "direction", "forward") == "backward"


def with_use(task: Any, config: Any) -> Any:
    """The task with the command to try a model with this `[model]` section."""
    if not reads_backward(config):
        return task
    command = (
        "train --task classify --data FILE --model.pretrained FORWARD --model.pretrained {run}"
    )
    return replace(task, use=command, call='model.evaluate(model.held_out("valid"))')


def check_forward(config: Any, what: str) -> None:
    """Refuse a model that reads from right to left.

    Args:
        config: its `[model]` section.
        what: what needs a model that reads from left to right.

    Raises:
        ConfigError: it reads from right to left.
    """
    if reads_backward(config):
        raise ConfigError(
            f"{what} needs a language model that reads from left to right, but this one was trained with "
            "model.direction = 'backward'; it can be evaluated, and start other tasks (model.pretrained)"
        )


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, output layer.

    >>> model = LanguageModel(LanguageModelConfig(embedding_size=3, hidden_size=5, n_layers=2), 11)
    >>> hidden, state = model.step(torch.tensor([4, 7]), model.start(2))
    >>> hidden.shape, model.head.logits(hidden).shape, len(state)
    (torch.Size([2, 5]), torch.Size([2, 11]), 2)
    """

    embedding: nn.Embedding | None
    head: SoftmaxHead | AdaptiveHead | SampledHead
    unknown_shares: Tensor
    _one_hot: Tensor

    def __init__(self, config: LanguageModelConfig, n_words: int) -> None:
        super().__init__()
        self.config = config
        one_hot = config.embedding == "one_hot"
        E = n_words if one_hot else config.embedding_size
        sizes = config.sizes
        self.embedding = None if one_hot else nn.Embedding(n_words, E, padding_idx=PAD_ID)
        self.layers = RecurrentStack(
            config.cell,
            E,
            sizes,
            between_rate=config.between_rate,
            recurrent_weight_rate=config.recurrent_weight_rate,
            locked=config.locked,
        )
        dropout = LockedDropout if config.locked else nn.Dropout
        self.input_dropout = dropout(config.input_rate)
        self.output_dropout = dropout(config.output_rate)
        self.head = self._head(sizes[-1], n_words)
        initialize(self, config)
        self.register_buffer("_one_hot", torch.eye(n_words if one_hot else 0), persistent=False)
        self.register_buffer("unknown_shares", torch.zeros(n_words), persistent=False)
        self.reset_embedding()
        if self.embedding is not None:
            self.embedding.weight.requires_grad_(config.embeddings.tuning == "trained")

    def _head(self, hidden_size: int, n_words: int) -> SoftmaxHead | AdaptiveHead | SampledHead:
        config = self.config
        if config.head == "adaptive":
            return AdaptiveHead(hidden_size, n_words, config.cutoffs)
        shared = self.embedding.weight if config.tied and self.embedding is not None else None
        if config.head == "sampled":
            return SampledHead(hidden_size, n_words, config.n_samples, shared)
        return SoftmaxHead(hidden_size, n_words, shared)

    def reset_embedding(self) -> None:
        """Draw normal embeddings that the recurrent layers see with deviation 1; see `Translator`."""
        if self.embedding is None:
            return
        nn.init.normal_(self.embedding.weight, std=1 / self._scale)
        with torch.no_grad():
            self.embedding.weight[PAD_ID] = 0

    @property
    def _scale(self) -> float:
        """Tied embeddings have deviation E^-1/2, as the output layer needs; the input is scaled by E^1/2.

        Vaswani et al. 2017, section 3.4.
        """
        return self.config.embedding_size**0.5 if self.config.tied else 1.0

    def scaled_embedding(self) -> Float[Tensor, "V E"]:
        """The vector of each id as the recurrent layers read it; only for learned embeddings."""
        assert self.embedding is not None
        return renewed(self.embedding).weight * self._scale

    def _embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows E"]:
        if self.embedding is None:
            return self._one_hot[ids]
        embedding = renewed(self.embedding)
        if self.training and self.config.word_rate:
            embedded = dropped_embedding(
                ids, embedding.weight, self.config.word_rate, sparse=embedding.sparse
            )
        else:
            embedded = embedding(ids)
        return embedded * self._scale if self.config.tied else embedded

    def start(self, n_rows: int) -> State:
        """The initial state."""
        return self.layers.start(n_rows, device=next(self.parameters()).device)

    def forward(self, ids: Padded, state: State) -> Output:
        """Read rows of ids `[B, T]` from a state; `Output.state` is the state at the end of each row."""
        embedded_BTE = self.input_dropout(self._embed(ids.values))
        hidden_BTH, state = self.layers(Padded(embedded_BTE, ids.lengths), state)
        return Output(self.output_dropout(hidden_BTH), state, None)

    def step(
        self, ids: Int[Tensor, " B"], state: State, packed: Packed | None = None
    ) -> tuple[Float[Tensor, "B H"], State]:
        """Advance by one word, outside training; return the input of the head, and the new state.

        In a lower precision, a loop should pack the weights once, with `packed`, not at each step.
        """
        return self.layers.step(self._embed(ids), state, packed)

    def packed(self, before: Packed | None = None, *, many_steps: bool = False) -> Packed | None:
        """Pack the current recurrent weights for one loop; see `RecurrentStack.packed`."""
        return self.layers.packed(before, many_steps=many_steps)

    def kernel_weights(self) -> LanguageWeights | None:
        """The current weights for many steps in the kernels; None if `step` is not what they compute."""
        methods = (type(self).step, type(self)._embed)
        is_own = methods == (LanguageModel.step, LanguageModel._embed)
        return kernel_weights(self) if is_own else None


@dataclass(frozen=True)
class StreamBatch:
    """A window as tensors.

    Args:
        inputs: `[B, T]` ids.
        targets: `[B, K]` ids to predict in the last K steps, -1 for none.
        n_before_next: number of steps after which the next window begins.
        restarts: `[B, T]`, True where the state is reset; None if it never is.
        n_tokens: number of tokens that are predicted.
    """

    inputs: Tensor
    targets: Tensor
    n_before_next: int
    restarts: Tensor | None
    n_tokens: int

    @property
    def n_sequences(self) -> int:
        """Number of rows."""
        return len(self.inputs)

    def to(self, device: torch.device | str) -> StreamBatch:
        """Move the batch to a device; `restarts` stays on the CPU, where it is used."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))


def collate(window: Window) -> StreamBatch:
    """Convert a window to tensors."""
    restarts = window.restarts
    return StreamBatch(
        torch.from_numpy(window.inputs),
        torch.from_numpy(window.targets),
        window.n_before_next,
        None if restarts is None or not restarts.any() else torch.from_numpy(restarts),
        window.n_targets,
    )


def read(
    model: Any, ids: Int[Tensor, "B T"], restarts: Tensor | None, state: State
) -> tuple[Float[Tensor, "M H"], State]:
    """Return the input of the head for each of the B·T steps, row by row, and the state at the end.

    If documents begin inside a row, the row is split into rows of different lengths, which begin with the
    carried state or with a new one.
    """
    B, T = ids.shape
    if restarts is None:
        lengths = torch.full((B,), T)
        output = model(Padded(ids, lengths), state)
        return output.hidden.flatten(0, 1), output.state
    begins = restarts.clone()
    begins[:, 0] = True
    row_R, time_R = begins.nonzero(as_tuple=True)
    ends_R = torch.cat([time_R[1:], time_R.new_tensor([T])])
    is_last_R = torch.cat([row_R[1:] != row_R[:-1], row_R.new_ones(1, dtype=torch.bool)])
    lengths_R = torch.where(is_last_R, torch.full_like(ends_R, T), ends_R) - time_R
    steps = torch.arange(int(lengths_R.max()))
    real_RT = steps < lengths_R.unsqueeze(1)
    pieces_RT = ids.new_full(real_RT.shape, PAD_ID)
    pieces_RT[real_RT.to(ids.device)] = ids.flatten()
    goes_on_R1 = ~restarts[row_R, time_R].unsqueeze(1)
    begin = tuple(
        tuple(torch.where(goes_on_R1.to(part.device), part[row_R], 0.0) for part in layer)
        for layer in state
    )
    output = model(Padded(pieces_RT, lengths_R), begin)
    last = is_last_R.nonzero().squeeze(1)
    state = tuple(tuple(part[last] for part in layer) for layer in output.state)
    return output.hidden[real_RT.to(ids.device)], state


def _read_by_steps(
    model: Any, ids: Int[Tensor, "B T"], restarts: Tensor | None, state: State
) -> tuple[Float[Tensor, "M H"], State]:
    """The same as `read`, but step by step, as in generation."""
    hidden, packed = [], model.packed()
    for time in range(ids.shape[1]):
        if restarts is not None:
            goes_on_B1 = ~restarts[:, time].unsqueeze(1)
            state = tuple(
                tuple(torch.where(goes_on_B1.to(part.device), part, 0.0) for part in layer)
                for layer in state
            )
        hidden_BH, state = model.step(ids[:, time], state, packed)
        hidden.append(hidden_BH)
    return torch.stack(hidden, 1).flatten(0, 1), state


def loss(model: Any, batch: StreamBatch, state: State) -> tuple[Tensor, int, State]:
    """Summed cross-entropy in nats, the number of targets, and the state at which the next window begins.

    Steps before the first target (if k2 is above k1) are only read for their gradient. In training, some
    tokens are replaced by unknown ones.
    """
    if model.training and model.config.unknown_rate:
        batch = _some_unknown(model, batch)
    T, K = batch.inputs.shape[1], batch.targets.shape[1]
    pieces, carried = [], state
    for start, end in ((0, batch.n_before_next), (batch.n_before_next, T)):
        if start < end:
            restarts = None if batch.restarts is None else batch.restarts[:, start:end]
            hidden, state = read(model, batch.inputs[:, start:end], restarts, state)
            pieces.append(hidden.view(len(batch.inputs), end - start, -1))
        if end == batch.n_before_next:
            carried = tuple(tuple(part.detach() for part in layer) for layer in state)
    hidden_BTH = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
    hidden_MH, targets_M = hidden_BTH[:, T - K :].flatten(0, 1), batch.targets.flatten()
    if batch.n_tokens < len(targets_M):
        real_M = targets_M >= 0
        hidden_MH, targets_M = hidden_MH[real_M], targets_M[real_M]
    total, count = model.head.loss(hidden_MH, targets_M)
    return total, count, carried


def _some_unknown(model: LanguageModel, batch: StreamBatch) -> StreamBatch:
    """Replace some tokens by unknown ones; each is also the target of the step before it."""
    last_B1 = batch.targets[:, -1:].clamp(min=0)
    ids_BT = torch.cat([batch.inputs, last_B1], dim=1)
    ids_BT = some_unknown(ids_BT, model.unknown_shares, model.config.unknown_rate)
    targets_BK = ids_BT[:, -batch.targets.shape[1] :].where(batch.targets >= 0, -1)
    return replace(batch, inputs=ids_BT[:, :-1], targets=targets_BK)


def evaluate_loss(
    model: Any, batch: StreamBatch, state: State, cache: ContinuousCache | None = None
) -> tuple[Tensor, int, State]:
    """The loss for a perplexity; with a cache, of one row that is read from start to end.

    A model whose steps use weights of lower precision is evaluated step by step. The model is a
    `LanguageModel`, or has its methods.
    """
    by_steps = model.layers.precision != "float32"
    if cache is None and not by_steps:
        return loss(model, batch, state)
    read_window = _read_by_steps if by_steps else read
    hidden_MH, state = read_window(model, batch.inputs, batch.restarts, state)
    real_M = batch.targets.flatten() >= 0
    hidden_MH, targets_M = hidden_MH[real_M], batch.targets.flatten()[real_M]
    if cache is None:
        return *model.head.loss(hidden_MH, targets_M), state
    log_probs_M = torch.cat(
        [
            model.head.logits(hidden).log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)
            for hidden, targets in zip(hidden_MH.split(64), targets_M.split(64), strict=True)
        ]
    )
    return -cache.of_targets(hidden_MH, log_probs_M, targets_M).sum(), len(targets_M), state


def scores(mean_loss: float, n_targets: int, n_characters: int) -> dict[str, float]:
    """Perplexity per token, and bits per character of the text.

    >>> scores(math.log(2), n_targets=30, n_characters=120)
    {'perplexity': 2.0, 'bits_per_character': 0.25}
    """
    bits = mean_loss / math.log(2) * n_targets
    # Beyond 700 nats per token, e^x is close to overflow.
    perplexity = math.exp(mean_loss) if mean_loss < 700 else math.inf
    return {
        "perplexity": perplexity,
        "bits_per_character": bits / n_characters if n_characters else math.nan,
    }


def signature(reading: str) -> dict[str, str]:
    """How the scores are computed; `reading` describes how the text was read."""
    return {
        "perplexity": f"e^(mean nats)|every token and end of document|full softmax|{reading}",
        "bits_per_character": f"total bits / characters|ends of documents cost bits, too|{reading}",
    }


def train_tokenizer(texts: Iterable[str], config: TextConfig) -> Tokenizer:
    """Train a tokenizer on running text."""
    return Tokenizer.train(texts, config, running=True)


def build(config: LanguageModelConfig, tokenizers: Tokenizers) -> LanguageModel:
    """Create a new model for this vocabulary."""
    n_words, kind = len(tokenizers["text"]), tokenizers["text"].kind
    if config.embedding == "one_hot" and n_words > MOST_ONE_HOT:
        raise ConfigError(
            f"model.embedding is 'one_hot', but the vocabulary has {n_words:,} words, more than "
            f"{MOST_ONE_HOT:,}; use 'learned'"
        )
    _check_head(config, kind)
    if any(not len(SPECIALS) < cutoff < n_words for cutoff in config.cutoffs) or list(
        config.cutoffs
    ) != sorted(set(config.cutoffs)):
        raise ConfigError(
            f"model.cutoffs must be increasing and between {len(SPECIALS)} and the size of the "
            f"vocabulary, {n_words:,}, got {list(config.cutoffs)}"
        )
    config = replace(config, unknown_rate=rate_for(tokenizers["text"], config.unknown_rate))
    return LanguageModel(config, n_words)


def _check_head(config: LanguageModelConfig, kind: str) -> None:
    if config.head != "full" and kind not in ("word", "space"):
        raise ConfigError(
            f"model.head is '{config.head}', which needs a vocabulary in order of decreasing "
            f"frequency, but text.kind is '{kind}'; use 'full', or text.kind 'word' or 'space'"
        )


def prepare(model: LanguageModel, ids: NDArray[np.unsignedinteger], tokenizers: Tokenizers) -> None:
    """Set the rate at which each token becomes unknown in training, from its training frequency."""
    if rate := model.config.unknown_rate:
        counts_V = count_ids(ids, len(model.unknown_shares))
        model.unknown_shares.copy_(shares_of(counts_V, rate))


def check_pretrained(config: LanguageModelConfig, text: TextConfig) -> None:
    """Check that the head fits the tokens, and that a file of vectors can initialise the embedding."""
    _check_head(config, text.kind)
    config.embeddings.check_file("model.embeddings", config.embedding_size, text.kind)


def load_pretrained(model: LanguageModel, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Load pretrained embeddings if the recipe names a file of vectors."""
    if model.embedding is None:
        return ()
    return model.config.embeddings.load(
        model.embedding, tokenizers["text"], "model.embeddings", model._scale
    )


TASK = StreamTask(
    name="language_model",
    Config=LanguageModelConfig,
    Data=StreamConfig,
    train_tokenizer=train_tokenizer,
    collate=collate,
    build=build,
    start=LanguageModel.start,
    loss=loss,
    evaluate_loss=evaluate_loss,
    scores=scores,
    signature=signature,
    use='generate {run} --prompt "…"',
    load_pretrained=load_pretrained,
    check_pretrained=check_pretrained,
    prepare=prepare,
    training_only=INITIAL_ONLY
    | {
        "word_rate",
        "unknown_rate",
        "input_rate",
        "between_rate",
        "output_rate",
        "recurrent_weight_rate",
        "locked",
        "n_samples",
    },
)
