"""The decoder of an encoder–decoder: recurrent layers, attention, and input feeding.

`step` defines the decoder. In training all inputs are known in advance (teacher forcing), which `forward`
makes use of: the products with the inputs are computed for all steps at once, whole layers are unrolled
at once if there is no input feeding, and each weight's gradient is computed once for all steps. A test
checks that `forward` equals a loop over `step` in values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unrolled import nn
from unrolled.layers.attention import Attention, Memory, Score
from unrolled.layers.recurrent import layer_weights, recurrent_layers
from unrolled.layers.renewal import renewed
from unrolled.ops.attentive import AttentiveWeights, attentive_unroll, why_not
from unrolled.ops.cells import Cell, cell_named
from unrolled.ops.linear import StepLinear, linear, linear_in_float32
from unrolled.ops.stepping import packed_step
from unrolled.ops.types import Weights
from unrolled.shapes import Float, Int


@dataclass(frozen=True)
class DecoderState:
    """Everything that a decoder carries from step to step.

    Args:
        layers: the state of each layer, `(h,)` or `(h, c)`, each `[B, Q, H]`.
        feed: `[B, Q, O]`, the last output, fed back as input; None without input feeding.
        memory: the attention's memory, shared by the Q hypotheses of a row; None without attention.
    """

    layers: tuple[tuple[Tensor, ...], ...]
    feed: Tensor | None
    memory: Memory | None

    def reorder(self, hypotheses: Int[Tensor, "B Q2"]) -> DecoderState:
        """Hypothesis q of row b becomes the old hypothesis `hypotheses[b, q]`; the memory stays."""

        def pick(state_BQH: Tensor) -> Tensor:
            index = hypotheses.unsqueeze(2).expand(-1, -1, state_BQH.shape[2])
            return state_BQH.gather(1, index)

        return self._map(pick, self.memory)

    def keep(self, sentences: Int[Tensor, " B2"]) -> DecoderState:
        """Return the state of these rows only."""
        memory = None if self.memory is None else self.memory.keep(sentences)
        return self._map(lambda state_BQH: state_BQH[sentences], memory)

    def _map(self, change: Callable[[Tensor], Tensor], memory: Memory | None) -> DecoderState:
        layers = tuple(tuple(change(part) for part in layer) for layer in self.layers)
        feed = None if self.feed is None else change(self.feed)
        return DecoderState(layers, feed, memory)


@dataclass(frozen=True)
class StepWeights:
    """A decoder's weights arranged for one loop over steps, as they are when the loop begins.

    Later changes of the weights have no effect on it, so it must not outlive the loop.

    Args:
        cells: one per layer.
        project: the projection of the query; None without additive attention.
        combine: the projection of the output; None if there is none.
    """

    cells: tuple[_SteppedLayer, ...]
    project: StepLinear | None
    combine: StepLinear | None


class AttentionalDecoder(nn.Module):
    """Recurrent layers over the previous word and the previous output, then attention.

    With y the embedded previous word, o the outputs and h the top layer (Luong et al. 2015, sections 3
    and 3.3):

        h_t = cell([y_t; o_{t−1}], h_{t−1})        without input feeding: cell(y_t, h_{t−1})
        context_t = attention(h_t)
        o_t = tanh(W [h_t; context_t])             without attention: o_t = h_t, or tanh(W h_t)
                                                   if the widths differ

    Args:
        cell: "rnn", "gru" or "lstm".
        embedding_size: width of y.
        hidden_size: H.
        output_size: width of o.
        n_layers: number of recurrent layers.
        memory_size: width of the encoder's outputs.
        attention: the attention score; None for no attention: only the encoder's final state is used.
        input_feeding: whether o_{t−1} is an input; has no effect without attention.
        dropout_rate: between recurrent layers.

    Attributes:
        precision: the precision of the recurrent weights for single steps without gradients: "float32",
            "bfloat16" or "int8".

    >>> from unrolled.shapes import Padded
    >>> decoder = AttentionalDecoder("gru", 3, 5, 5, memory_size=4, attention="additive")
    >>> memory = decoder.attention.remember(Padded(torch.randn(2, 6, 4), torch.tensor([6, 4])))
    >>> state = decoder.start(((torch.zeros(2, 5),),), memory)
    >>> output_BTO, state, attention_BTS = decoder(torch.randn(2, 7, 3), state)
    >>> output_BTO.shape, attention_BTS.shape
    (torch.Size([2, 7, 5]), torch.Size([2, 7, 6]))
    """

    def __init__(
        self,
        cell: str,
        embedding_size: int,
        hidden_size: int,
        output_size: int,
        *,
        memory_size: int,
        attention: Score | None,
        n_layers: int = 1,
        input_feeding: bool = True,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell, self.output_size = cell, output_size
        self._cell = cell_named(cell)
        self.precision = "float32"
        self.input_feeding = input_feeding and attention is not None
        fed_size = output_size if self.input_feeding else 0
        between = dropout_rate if n_layers > 1 else 0.0
        self.recurrent = recurrent_layers(
            cell, embedding_size + fed_size, hidden_size, n_layers, dropout=between
        )
        self.attention = Attention(attention, hidden_size, memory_size) if attention else None
        combined_size = hidden_size + (memory_size if attention else 0)
        self.combine = (
            nn.Linear(combined_size, output_size, bias=False)
            if attention or combined_size != output_size
            else None
        )

    def start(
        self, layers: tuple[tuple[Float[Tensor, "B H"], ...], ...], memory: Memory | None
    ) -> DecoderState:
        """The state before the first word, from each layer's initial state; Q = 1, o_0 = 0."""
        states = tuple(tuple(part.unsqueeze(1) for part in layer) for layer in layers)
        h = states[0][0]
        feed = h.new_zeros(h.shape[0], 1, self.output_size) if self.input_feeding else None
        return DecoderState(states, feed, memory)

    def step(
        self,
        embedded_BQE: Float[Tensor, "B Q E"],
        state: DecoderState,
        weights: StepWeights | None = None,
    ) -> tuple[Float[Tensor, "B Q O"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """Advance by one word; return (output, state, attention).

        Args:
            embedded_BQE: one embedded word per hypothesis.
            state: the state before the word.
            weights: the result of `arrange`, for a loop over steps; if None, `arrange` is called for
                this step alone.
        """
        B, Q, _ = embedded_BQE.shape
        weights = weights or self.arrange()
        x = embedded_BQE if state.feed is None else torch.cat([embedded_BQE, state.feed], dim=2)
        flat = tuple(tuple(part.reshape(B * Q, -1) for part in layer) for layer in state.layers)
        x, flat = self._through_layers(weights, x.reshape(B * Q, -1), flat)
        layers = tuple(tuple(part.view(B, Q, -1) for part in layer) for layer in flat)
        output, attention = self._output(x.view(B, Q, -1), state.memory, weights)
        feed = output if self.input_feeding else None
        return output, DecoderState(layers, feed, state.memory), attention

    def forward(
        self, embedded_BTE: Float[Tensor, "B T E"], state: DecoderState
    ) -> tuple[Float[Tensor, "B T O"], DecoderState, Float[Tensor, "B T S"] | None]:
        """Run all steps with known inputs; equals a loop over `step`. The state must have Q = 1."""
        if not self.input_feeding:
            return self._all_at_once(embedded_BTE, state)
        return self._fed(embedded_BTE, state)

    def _all_at_once(self, embedded_BTE: Any, state: Any) -> Any:
        parts = zip(*state.layers, strict=True)
        initial = tuple(torch.stack([p.squeeze(1) for p in part]) for part in parts)
        h_BTH, final = self.recurrent(
            embedded_BTE, initial if self._cell.n_states > 1 else initial[0]
        )
        final = final if self._cell.n_states > 1 else (final,)
        output, attention = self._output(h_BTH, state.memory, None)
        layers = tuple(
            tuple(part[layer].unsqueeze(1) for part in final) for layer in range(len(state.layers))
        )
        return output, replace(state, layers=layers), attention

    def _fed(self, embedded_BTE: Any, state: Any) -> Any:
        if len(state.layers) == 1 and (whole := self._fed_natively(embedded_BTE, state)):
            return whole
        weights = self.arrange(known_size=embedded_BTE.shape[2])
        known_TBG = weights.cells[0].known(embedded_BTE.transpose(0, 1))
        flat = tuple(tuple(part.squeeze(1) for part in layer) for layer in state.layers)
        feed, outputs, attentions = state.feed, [], []
        for known_BG in known_TBG.unbind(0):
            x, flat = self._through_layers(weights, feed.squeeze(1), flat, known_BG)
            feed, attention_B1S = self._output(x.unsqueeze(1), state.memory, weights)
            outputs.append(feed)
            attentions.append(attention_B1S)
        layers = tuple(tuple(part.unsqueeze(1) for part in layer) for layer in flat)
        final = DecoderState(layers, feed, state.memory)
        return torch.cat(outputs, dim=1), final, torch.cat(attentions, dim=1)

    def _fed_natively(self, embedded_BTE: Any, state: Any) -> Any:
        """The same with the native kernels, all steps in one call; None if they do not support it."""
        assert self.attention is not None  # otherwise there is no input feeding
        assert self.combine is not None
        cell, memory, E = self._cell, state.memory, embedded_BTE.shape[2]
        if cell.kernel is None:
            return None
        w_ih, w_hh, b_ih, b_hh = layer_weights(self.recurrent).tensors
        score = self.attention
        is_additive = score.score == "additive"
        renewed(score)
        weights = AttentiveWeights(
            w_ih[:, E:],
            w_hh,
            None if cell.adds_up else b_hh,
            score.query_weight if is_additive else None,
            score.energy_weight if is_additive else None,
            renewed(self.combine).weight,
        )
        layer = tuple(part.squeeze(1) for part in state.layers[0])
        others = (state.feed, memory.keys, memory.values, *layer)
        if why_not(embedded_BTE, weights, *others) is not None:
            return None
        bias = b_ih + b_hh if cell.adds_up else b_ih
        known_TBG = linear_in_float32(embedded_BTE.transpose(0, 1), w_ih[:, :E], bias)
        lengths_B = memory.mask.sum(2).squeeze(1)
        output_TBO, attention_TBS, end = attentive_unroll(
            cell.kind,
            known_TBG,
            state.feed.squeeze(1),
            layer,
            memory.keys,
            memory.values,
            lengths_B,
            weights,
        )
        output_BTO = output_TBO.transpose(0, 1)
        layers = (tuple(part.unsqueeze(1) for part in end),)
        final = DecoderState(layers, output_BTO[:, -1:], memory)
        return output_BTO, final, attention_TBS.transpose(0, 1)

    def _through_layers(self, weights: Any, x: Any, layers: Any, known: Any = None) -> Any:
        new_layers = []
        for layer, (cell, old) in enumerate(zip(weights.cells, layers, strict=True)):
            if layer:
                x = nn.functional.dropout(x, self.recurrent.dropout, self.training)
            new_layers.append(cell.step(x, old, None if layer else known))
            x = new_layers[-1][0]
        return x, tuple(new_layers)

    def _output(self, h_BQH: Any, memory: Any, weights: Any) -> Any:
        attention = None
        if self.attention is not None:
            project = None if weights is None else weights.project
            context_BQD, attention = self.attention(h_BQH, memory, project)
            h_BQH = torch.cat([h_BQH, context_BQD], dim=2)
        if self.combine is None:
            return h_BQH, attention
        if weights is None:
            return torch.tanh(linear(h_BQH, renewed(self.combine).weight)), attention
        combined = weights.combine(h_BQH.flatten(0, 1))
        return torch.tanh(combined.view(*h_BQH.shape[:2], -1)), attention

    def arrange(self, known_size: int = 0) -> StepWeights:
        """Arrange the current weights for one loop over `step`.

        Args:
            known_size: how many of the first inputs are known for all steps; see `_SteppedLayer`.

        Raises:
            ConfigError: the precision is below float32 and the native kernels cannot run.
        """
        precision = "float32" if torch.is_grad_enabled() else self.precision
        cells = tuple(
            _SteppedLayer(
                self._cell,
                0 if layer else known_size,
                precision,
                layer_weights(self.recurrent, layer),
            )
            for layer in range(self.recurrent.num_layers)
        )
        project = None if self.attention is None else self.attention.arrange()
        combine = None if self.combine is None else StepLinear(renewed(self.combine).weight)
        return StepWeights(cells, project, combine)


class _SteppedLayer:
    """One layer's weights, arranged for single steps.

    The first `known_size` inputs are known for all steps before the loop; `known` computes their
    products. If the products with the other inputs and with the state are simply added (RNN, LSTM), they
    are computed as one product; the GRU keeps them apart, because its reset gate only acts on the product
    with the state. A cell that cannot be split in this way takes a whole step, with the known inputs next
    to the others. Without gradients and without inputs known in advance, the native kernels compute the
    whole step at once.
    """

    def __init__(
        self,
        cell: Cell,
        known_size: int,
        precision: str,
        weights: Weights,
    ) -> None:
        w_ih, w_hh, b_ih, b_hh = weights.tensors
        self._cell, self._weights, self._b_hh = cell, weights, b_hh
        self._packed = None if known_size else packed_step(cell.kind, weights, precision)
        if self._packed is not None or cell.gates is None:
            return
        self._known_weight, moving = w_ih[:, :known_size], w_ih[:, known_size:]
        if cell.adds_up:
            self._bias = b_ih + b_hh
            self._from_both = StepLinear(torch.cat([moving, w_hh], dim=1))
        else:
            self._bias = b_ih
            self._from_input, self._from_state = StepLinear(moving), StepLinear(w_hh)

    def known(self, x_TBE: Tensor) -> Tensor:
        """Products with the inputs known in advance, plus bias, for all steps at once: `[T, B, G·H]`.

        For a cell that cannot be split, the inputs as they are.
        """
        if self._cell.gates is None:
            return x_TBE
        return linear(x_TBE, self._known_weight, self._bias)

    def step(
        self, x: Tensor, state: tuple[Tensor, ...], known: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the next state, `(h,)` or `(h, c)`; `known` is this step's part of `known()`."""
        if self._packed is not None:
            return self._packed(x, state)
        gates = self._cell.gates
        if gates is None:
            whole = x if known is None else torch.cat([known, x], dim=1)
            return self._cell.step(whole, state, self._weights)
        known = self._bias if known is None else known
        if self._cell.adds_up:
            return gates(self._from_both(torch.cat([x, state[0]], dim=1)) + known, None, state)
        from_h = self._from_state(state[0]) + self._b_hh
        return gates(self._from_input(x) + known, from_h, state)
