"""Graphs in ONNX Runtime that stand in for the models of tasks, so that everything that predicts works.

Each class has those methods of its task's model that prediction and evaluation use. The vectors that the
graph of a classifier or a language model returns in place of hidden ones are the scores themselves,
which its head passes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.errors import RunError
from unrolled.exports.language_model import state_names
from unrolled.exports.translate import NO_CHANCE
from unrolled.layers.attention import Memory
from unrolled.layers.decoder import DecoderState
from unrolled.layers.output import Output
from unrolled.ops.cells import cell_named
from unrolled.shapes import Float, Int, Padded
from unrolled.tasks.seq2seq_data import copied_ids
from unrolled.text.config import PAD_ID

State = tuple[tuple[Tensor, ...], ...]


class Session:
    """A graph that is ready to run.

    Args:
        content: the file.
        name: its name, for messages.

    Raises:
        RunError: it is not a graph that ONNX Runtime can read.
    """

    def __init__(self, content: bytes, name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.name = name
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _failed(name, error) from error
        self._names = [output.name for output in self._session.get_outputs()]
        self.inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the graph.

        Raises:
            RunError: the graph does not accept the inputs.
        """
        arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        try:
            found = self._session.run(self._names, arrays)
        except Exception as error:
            raise _failed(self.name, error) from error
        return {
            name: torch.from_numpy(array) for name, array in zip(self._names, found, strict=True)
        }


def _failed(name: str, error: Exception) -> RunError:
    return RunError(f"{name}: ONNX Runtime cannot run the graph ({str(error)[:300]})")


def is_exported(predictor: Any) -> bool:
    """Whether a predictor was opened from an export, whose model has no weights and no gradients."""
    members = getattr(predictor.model, "members", [predictor.model])
    return isinstance(members[0], ExportedModel)


def ids_of(text: Padded) -> Int[Tensor, "B T"]:
    """The ids of a batch with padding beyond the lengths, and at least one column."""
    values = torch.where(text.mask, text.values, PAD_ID)
    return values if values.shape[1] else values.new_full((len(values), 1), PAD_ID)


class ExportedModel(nn.Module):
    """What all classes have in common.

    Args:
        config: the `[model]` section.
        sessions: the graphs by the names of their files.
        n_parameters: number of parameters of the model that was exported.
    """

    def __init__(self, config: Any, sessions: Mapping[str, Session], n_parameters: int) -> None:
        super().__init__()
        self.config, self.n_parameters = config, n_parameters
        self.sessions = dict(sessions)
        # Code that asks for the device of a model looks at its first parameter.
        self.nothing = nn.Parameter(torch.zeros(0), requires_grad=False)


class _ScoresHead(nn.Module):
    """A head for scores that a graph has already computed."""

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return F.cross_entropy(hidden, targets, reduction="sum"), len(targets)


class _Layers(nn.Module):
    """The widths of the states of a language model, as `RecurrentStack` has them."""

    precision = "float32"

    def __init__(self, n_states: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.n_states, self.sizes = n_states, tuple(sizes)

    def start(self, n_rows: int, device: torch.device | str | None = None) -> State:
        """Zeros for each layer."""
        return tuple(
            tuple(torch.zeros(n_rows, size) for _ in range(self.n_states)) for size in self.sizes
        )


class ExportedLanguageModel(ExportedModel):
    """`LanguageModel`; the vectors that it returns as hidden ones are the scores of all words.

    Args:
        config, sessions, n_parameters: as for `ExportedModel`.
    """

    def __init__(self, config: Any, sessions: Mapping[str, Session], n_parameters: int) -> None:
        super().__init__(config, sessions, n_parameters)
        cell = cell_named(config.cell)
        inside = [config.hidden_size] * (config.n_layers - 1)
        last = config.embedding_size if config.tied else config.hidden_size
        self.layers, self.head = _Layers(cell.n_states, [*inside, last]), _ScoresHead()
        self._names = state_names(config.cell, config.n_layers)

    def start(self, n_rows: int) -> State:
        """The initial state."""
        return self.layers.start(n_rows)

    def forward(self, ids: Padded, state: State) -> Output:
        """The scores after each step, `[B, T, V]`, and the state at the end of each row."""
        scores, state = self._run(ids_of(ids), state)
        return Output(scores[:, : ids.values.shape[1]], state, None)

    def step(
        self, ids: Int[Tensor, " B"], state: State, packed: Any = None
    ) -> tuple[Float[Tensor, "B V"], State]:
        """Advance by one word; return the scores of the next one, and the state."""
        scores, state = self._run(ids.unsqueeze(1), state)
        return scores[:, 0], state

    def _run(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        given = {
            f"state_{name}": part
            for own, layer in zip(self._names, state, strict=True)
            for name, part in zip(own, layer, strict=True)
        }
        found = self.sessions["model.onnx"](tokens=ids, **given)
        after = tuple(tuple(found[f"next_{name}"] for name in own) for own in self._names)
        return found["logits"], after


class _WordsHead(nn.Module):
    """The size of the target vocabulary, as `SoftmaxHead` has it."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_words), requires_grad=False)


class ExportedTranslator(ExportedModel):
    """`Translator`.

    Args:
        config, sessions, n_parameters: as for `ExportedModel`.
        n_words: size of the target vocabulary.
        same_words: for copying: as in `Translator`; None without copying.
    """

    def __init__(
        self,
        config: Any,
        sessions: Mapping[str, Session],
        n_parameters: int,
        n_words: int,
        same_words: Tensor | None = None,
    ) -> None:
        super().__init__(config, sessions, n_parameters)
        self.head, self.same_words = _WordsHead(n_words), same_words
        self._names = state_names(config.cell, config.decoder_layers)

    def copied_ids(self, source_BS: Tensor, unknown_BS: Tensor | None = None) -> Tensor:
        """See `Translator.copied_ids`."""
        assert self.same_words is not None
        return copied_ids(self.same_words, len(self.head.bias), source_BS, unknown_BS)

    def encode(self, source: Padded, writes: Tensor | None = None) -> DecoderState:
        """The state of the decoder before the first word."""
        found = self.sessions["encoder.onnx"](source=ids_of(source))
        layers = tuple(
            tuple(found[f"state_{name}"].unsqueeze(1) for name in own) for own in self._names
        )
        memory = None
        if "values" in found:
            values = found["values"]
            memory = Memory(found.get("keys", values), values, found["bias"] == 0)
            if self.same_words is not None:
                writes = self.copied_ids(source.values) if writes is None else writes
                memory = replace(memory, ids=writes)
        feed = None
        if "feed" in self.sessions["step.onnx"].inputs:
            tied = self.config.tied_embeddings != "none"
            width = self.config.embedding_size if tied else self.config.hidden_size
            feed = torch.zeros(len(source.values), 1, width)
        return DecoderState(layers, feed, memory)

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState, weights: Any = None
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """Advance Q hypotheses per sentence by one word; returns (scores, state, attention)."""
        run, memory = self.sessions["step.onnx"], state.memory
        given = {
            f"state_{name}": part
            for own, layer in zip(self._names, state.layers, strict=True)
            for name, part in zip(own, layer, strict=True)
        }
        if memory is not None:
            bias = torch.where(memory.mask, 0.0, torch.finfo(torch.float32).min)
            given |= {"keys": memory.keys, "values": memory.values, "bias": bias}
            if memory.ids is not None:
                given["writes"] = memory.ids
        if state.feed is not None:
            given["feed"] = state.feed
        found = run(
            token=tokens, **{name: each for name, each in given.items() if name in run.inputs}
        )
        layers = tuple(tuple(found[f"next_{name}"] for name in own) for own in self._names)
        after = replace(state, layers=layers, feed=found.get("next_feed"))
        logits = found["logits"]
        if self.same_words is not None:
            logits = torch.where(logits > NO_CHANCE, logits, -torch.inf)
        return logits, after, found.get("attention")

    def step_model(self) -> ExportedTranslator:
        """A step model for one call of `decode`: this model, whose weights do not change."""
        return self
