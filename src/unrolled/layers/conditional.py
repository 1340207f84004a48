"""Encoders of text pairs: independent, conditional and attentive; and the classifier on top of them.

Rocktäschel, Grefenstette, Hermann, Kočiský & Blunsom 2016, "Reasoning about entailment with neural
attention"; Augenstein, Rocktäschel, Vlachos & Bontcheva 2016, "Stance detection with bidirectional
conditional encoding". All are called in the same way:

    values_BD, attention_BTS = encoder(first, second)

with two `Padded` embedded texts, the first of S steps (a premise, a target), the second of T steps (a
hypothesis, a tweet). A conditional encoder reads the second text starting from a state of the first.
`attention` is None for encoders without attention. The task decides which of its texts comes first.

In the equations, x_s and z_t are the embedded steps of the first and the second text; superscripts 1 and
2 denote the recurrent layers that read them, each with its own weights; h_0 and c_0 are the initial
states: zeros, or parameters with `learned_start` (the same `h_0` for both texts, as in the papers). The
papers' k is our H, and the lengths of their two texts are our S and T.

The second text starts from the *cell* state of the first, never from its h. A GRU or an RNN has no cell
state: its memory is its hidden state, so h is passed on instead and replaces h_0.

A text without steps leaves the state unchanged: after an empty first text the second is read from
(h_0, c_0), and an empty second text has h_T = h_0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.config import require
from unrolled.layers.attention import Attention
from unrolled.layers.recurrent import recurrent_layers
from unrolled.layers.renewal import renewed
from unrolled.ops.cells import cell_named
from unrolled.ops.linear import linear
from unrolled.ops.types import State
from unrolled.ops.word_by_word import word_by_word
from unrolled.shapes import Float, Padded

Encoded = tuple[Float[Tensor, "B D"], Float[Tensor, "B T S"] | None]
"""A vector for each pair, and the attention weights of each step of the second text over the first."""

Encodings = tuple[Tensor, Tensor | None, Float[Tensor, "B H"], Float[Tensor, "B H"]]
"""The same, and the encodings of both texts, of width `encoding_size`."""


class IndependentEncoder(nn.Module):
    """Encode each text by itself and concatenate the two representations.

        (h¹_s, c¹_s) = LSTM¹(x_s, h¹_s−1, c¹_s−1)
        (h²_t, c²_t) = LSTM²(z_t, h²_t−1, c²_t−1)
        h = [h¹_S; h²_T]

    Bowman et al. 2015, "A large annotated corpus for learning natural language inference", section 3.3
    (one LSTM for both texts, `shared`); Rocktäschel et al. 2016, section 3.

    Args:
        cell: "lstm", "gru" or "rnn".
        input_size: E.
        hidden_size: H of one direction.
        shared: whether one layer reads both texts.
        bidirectional: whether each text is also read backwards; its representation is then the last
            state of each direction, [h→_S; h←_1].
        dropout_rate: on inputs and outputs of the recurrent layers.
        learned_start: whether h_0 and c_0 are learned; otherwise they are zeros.

    >>> encoder = IndependentEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, encoder.output_size, attention
    (torch.Size([2, 10]), 10, None)
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        shared: bool = False,
        bidirectional: bool = False,
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        n_directions = 2 if bidirectional else 1
        self.start = Start(cell, hidden_size, n_directions, learned=learned_start)
        self.first = Reader(cell, input_size, hidden_size, n_directions, dropout_rate)
        self.second = (
            self.first
            if shared
            else Reader(cell, input_size, hidden_size, n_directions, dropout_rate)
        )
        self.encoding_size = n_directions * hidden_size
        self.output_size = 2 * self.encoding_size

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """[h¹_S; h²_T], None, h¹_S and h²_T."""
        ends = []
        for reader, text in ((self.first, first), (self.second, second)):
            _, state = reader(text, self.start(text.values.shape[0]))
            ends.append(reader.last(state))
        return torch.cat(ends, dim=1), None, ends[0], ends[1]

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """[h¹_S; h²_T], and None."""
        return self.encodings(first, second)[:2]


class ConditionalEncoder(nn.Module):
    """Read the second text starting from the cell state of the first. Rocktäschel et al. 2016, sec. 2.2.

        (h¹_s, c¹_s) = LSTM¹(x_s, h¹_s−1, c¹_s−1)      from (h_0, c_0)
        (h²_t, c²_t) = LSTM²(z_t, h²_t−1, c²_t−1)      from (h_0, c¹_S)
        h = h²_T

    Args:
        cell, input_size, hidden_size, dropout_rate, learned_start: as for `IndependentEncoder`.

    >>> encoder = ConditionalEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, attention
    (torch.Size([2, 5]), None)
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        self.start = Start(cell, hidden_size, 1, learned=learned_start)
        self.first = Reader(cell, input_size, hidden_size, 1, dropout_rate)
        self.second = Reader(cell, input_size, hidden_size, 1, dropout_rate)
        self.output_size = self.encoding_size = hidden_size

    def read(self, first: Padded, second: Padded) -> tuple[Padded, Padded, State, State]:
        """Outputs of both layers, `[B, S, H]` and `[B, T, H]`, and their last states, before dropout."""
        start = self.start(first.values.shape[0])
        y, end = self.first(first, start)
        h, last = self.second(second, crossed(start, end))
        return y, h, end, last

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """h²_T, None, h¹_S and h²_T."""
        _, _, end, last = self.read(first, second)
        h_BH = self.second.last(last)
        return h_BH, None, self.first.last(end), h_BH

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """h²_T, and None."""
        return self.second.last(self.read(first, second)[3]), None


class AttentiveEncoder(nn.Module):
    """Conditional encoding with attention from the last step. Rocktäschel et al. 2016, eq. 7–10.

    With Y = [h¹_1 … h¹_S] and h_T = h²_T from `ConditionalEncoder`, and e_S a row of S ones:

        M = tanh(W^y Y + W^h h_T ⊗ e_S)
        a = softmax(wᵀ M)
        r = Y aᵀ
        h* = tanh(W^p r + W^x h_T)

    W^y, W^h, w are `attention.key_weight`, `attention.query_weight`, `attention.energy_weight`; W^p and
    W^x are `seen_weight` and `last_weight`.

    Args:
        cell, input_size, hidden_size, dropout_rate, learned_start: as for `IndependentEncoder`.

    After an empty first text, all attention weights are zero, and r = 0.

    >>> encoder = AttentiveEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, attention.shape, attention[1, 0, 4:].tolist()
    (torch.Size([2, 5]), torch.Size([2, 1, 7]), [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        self.conditional = ConditionalEncoder(
            cell, input_size, hidden_size, dropout_rate=dropout_rate, learned_start=learned_start
        )
        self.attention = Attention("additive", hidden_size, hidden_size)
        self.seen_weight = _square(hidden_size)
        self.last_weight = _square(hidden_size)
        self.output_size = self.encoding_size = hidden_size

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """h*, and a as `[B, 1, S]`."""
        y, _, _, last = self.conditional.read(first, second)
        return self._attend(y, self.conditional.second.last(last))

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """h*, a, h¹_S and h²_T."""
        y, _, end, last = self.conditional.read(first, second)
        h_BH = self.conditional.second.last(last)
        return *self._attend(y, h_BH), self.conditional.first.last(end), h_BH

    def _attend(self, y: Padded, h_BH: Tensor) -> Encoded:
        memory = self.attention.remember(self.conditional.first.dropped(y))
        r_B1H, attention_B1S = self.attention(h_BH.unsqueeze(1), memory)
        values_BH = _joined(r_B1H.squeeze(1), h_BH, self.seen_weight, self.last_weight)
        return values_BH, torch.where(memory.mask, attention_B1S, 0.0)


class WordByWordEncoder(nn.Module):
    """Conditional encoding with attention from every step. Rocktäschel et al. 2016, eq. 11–14.

    With Y = [h¹_1 … h¹_S] and h_t = h²_t from `ConditionalEncoder`, e_S a row of S ones, and r_0 = 0:

        M_t = tanh(W^y Y + (W^h h_t + W^r r_t−1) ⊗ e_S)
        a_t = softmax(wᵀ M_t)
        r_t = Y a_tᵀ + tanh(W^t r_t−1)
        h* = tanh(W^p r_T + W^x h_T)

    In order of appearance, the weights are `key_weight`, `query_weight`, `seen_query_weight`,
    `energy_weight`, `next_weight`, `seen_weight` and `last_weight`.

    Args:
        cell, input_size, hidden_size, dropout_rate, learned_start: as for `IndependentEncoder`.

    After an empty first text, all attention weights and every r_t are zero.

    >>> encoder = WordByWordEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, attention.shape, attention.sum(2).round(decimals=3).tolist()
    (torch.Size([2, 5]), torch.Size([2, 6, 7]),
     [[1.0, 1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        self.conditional = ConditionalEncoder(
            cell, input_size, hidden_size, dropout_rate=dropout_rate, learned_start=learned_start
        )
        self.key_weight = _square(hidden_size)
        self.query_weight = _square(hidden_size)
        self.seen_query_weight = _square(hidden_size)
        self.energy_weight = nn.Parameter(torch.empty(hidden_size))
        nn.init.uniform_(self.energy_weight, -0.1, 0.1)
        self.next_weight = _square(hidden_size)
        self.seen_weight = _square(hidden_size)
        self.last_weight = _square(hidden_size)
        self.output_size = self.encoding_size = hidden_size

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """h*, and a_t for each step; zeros in the padding of either text."""
        y, h, _, last = self.conditional.read(first, second)
        return self._attend(y, h, self.conditional.second.last(last))

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """h*, a_t, h¹_S and h²_T."""
        y, h, end, last = self.conditional.read(first, second)
        last_BH = self.conditional.second.last(last)
        return *self._attend(y, h, last_BH), self.conditional.first.last(end), last_BH

    def _attend(self, y: Padded, h: Padded, last_BH: Tensor) -> Encoded:
        y, h = self.conditional.first.dropped(y), self.conditional.second.dropped(h)
        r_BH, attention_TBS = word_by_word(
            linear(h.values.transpose(0, 1), self.query_weight),
            linear(y.values, self.key_weight),
            y.values,
            y.mask,
            h.lengths,
            self.seen_query_weight,
            self.next_weight,
            self.energy_weight,
        )
        values_BH = _joined(r_BH, last_BH, self.seen_weight, self.last_weight)
        return values_BH, attention_TBS.transpose(0, 1)


class BidirectionalConditionalEncoder(nn.Module):
    """Conditional encoding in both directions, each starting from the cell state of the same direction.

    Augenstein et al. 2016, section 3.3.

        (h→¹_s, c→¹_s) = LSTM→¹(x_s, h→¹_s−1, c→¹_s−1)      s = 1 … S, from (h→_0, c→_0)
        (h←¹_s, c←¹_s) = LSTM←¹(x_s, h←¹_s+1, c←¹_s+1)      s = S … 1, from (h←_0, c←_0)
        (h→²_t, c→²_t) = LSTM→²(z_t, h→²_t−1, c→²_t−1)      t = 1 … T, from (h→_0, c→¹_S)
        (h←²_t, c←²_t) = LSTM←²(z_t, h←²_t+1, c←²_t+1)      t = T … 1, from (h←_0, c←¹_1)
        h = [h→²_T; h←²_1]

    With target="one_way" the first text is only read forwards, and both directions of the second text
    begin with its c¹_S.

    Args:
        cell, input_size, hidden_size, dropout_rate, learned_start: as for `IndependentEncoder`.
        target: "both_ways" or "one_way".

    Raises:
        ConfigError: an unknown `target`.

    >>> encoder = BidirectionalConditionalEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, encoder.output_size, attention
    (torch.Size([2, 10]), 10, None)
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        target: str = "both_ways",
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        choices = ("both_ways", "one_way")
        require(target in choices, "target", f"one of {', '.join(choices)}", target)
        self.target = target
        n_directions = 2 if target == "both_ways" else 1
        self.start = Start(cell, hidden_size, 2, learned=learned_start)
        self.first = Reader(cell, input_size, hidden_size, n_directions, dropout_rate)
        self.second = Reader(cell, input_size, hidden_size, 2, dropout_rate)
        self.output_size = self.encoding_size = 2 * hidden_size

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """[h→²_T; h←²_1], None, [h→¹_S; h←¹_1] and [h→²_T; h←²_1]."""
        end, last = self._read(first, second)
        h_BD = self.second.last(last)
        return h_BD, None, self.first.last(end), h_BD

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """[h→²_T; h←²_1], and None."""
        return self.second.last(self._read(first, second)[1]), None

    def _read(self, first: Padded, second: Padded) -> tuple[State, State]:
        """The last states of the layers of both texts."""
        start = self.start(first.values.shape[0])
        n = self.first.n_directions
        _, end = self.first(first, tuple(part[:n].contiguous() for part in start))
        _, last = self.second(second, crossed(start, end))
        return end, last


class SingleEncoder(nn.Module):
    """One recurrent layer over a single text as a baseline, or over both texts concatenated.

        h = h_T of the first text alone, of the second alone, or of [x_1 … x_S; z_1 … z_T]

    The baselines show how much of the label a single text gives away (Poliak et al. 2018, "Hypothesis
    only baselines in natural language inference").

    Args:
        reads: "first_only", "second_only" or "concatenated".
        cell, input_size, hidden_size, bidirectional, dropout_rate, learned_start: as for
            `IndependentEncoder`.

    Raises:
        ConfigError: an unknown `reads`.

    >>> encoder = SingleEncoder("concatenated", "lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, attention
    (torch.Size([2, 5]), None)
    """

    def __init__(
        self,
        reads: str,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool = False,
        dropout_rate: float = 0.0,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        choices = ("first_only", "second_only", "concatenated")
        require(reads in choices, "reads", f"one of {', '.join(choices)}", reads)
        self.reads = reads
        n_directions = 2 if bidirectional else 1
        self.start = Start(cell, hidden_size, n_directions, learned=learned_start)
        self.reader = Reader(cell, input_size, hidden_size, n_directions, dropout_rate)
        self.output_size = n_directions * hidden_size

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """h_T (of both directions), and None."""
        text = {"first_only": first, "second_only": second}.get(self.reads)
        if text is None:
            text = one_after_the_other(first, second)
        _, state = self.reader(text, self.start(text.values.shape[0]))
        return self.reader.last(state), None


def one_after_the_other(first: Padded, second: Padded) -> Padded:
    """Concatenate two texts row by row; the second follows the last real step of the first.

    >>> first = Padded(torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), torch.tensor([2, 1]))
    >>> second = Padded(torch.tensor([[[7.0]], [[8.0]]]), torch.tensor([1, 1]))
    >>> one_after_the_other(first, second).values.squeeze(2).tolist()
    [[1.0, 2.0, 7.0], [3.0, 8.0, 0.0]]
    """
    S = first.values.shape[1]
    lengths_B = first.lengths + second.lengths
    both_BTE = torch.cat([first.values, second.values], dim=1)
    longest = int(lengths_B.max()) if len(lengths_B) else 0
    steps_1T = torch.arange(longest).unsqueeze(0)
    ends_B1 = first.lengths.unsqueeze(1)
    places_BT = torch.where(steps_1T < ends_B1, steps_1T, steps_1T - ends_B1 + S)
    is_real_BT1 = (steps_1T < lengths_B.unsqueeze(1)).unsqueeze(2).to(both_BTE.device)
    places_BT = places_BT.clamp(max=max(0, both_BTE.shape[1] - 1)).to(both_BTE.device)
    index_BTE = places_BT.unsqueeze(2).expand(-1, -1, both_BTE.shape[2])
    joined_BTE = torch.where(is_real_BT1, both_BTE.gather(1, index_BTE), 0.0)
    return Padded(joined_BTE, lengths_B)


class Reader(nn.Module):
    """One recurrent layer over a text, with dropout on its inputs and outputs.

    Args:
        cell: "lstm", "gru" or "rnn".
        input_size: E.
        hidden_size: H.
        n_directions: N, 1 or 2.
        dropout_rate: on the inputs and on the outputs that are used; not on the cell state, which stays
            inside the recurrence. Zaremba, Sutskever & Vinyals 2014.

    Raises:
        ConfigError: the cell is unknown, or the rate is out of range.
    """

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, n_directions: int, dropout_rate: float
    ) -> None:
        super().__init__()
        cell_named(cell)  # raises an error for an unknown cell
        wanted = "at least 0 and below 1"
        require(0 <= dropout_rate < 1, "dropout_rate", wanted, dropout_rate)
        self.n_directions = n_directions
        self.recurrent = recurrent_layers(
            cell, input_size, hidden_size, 1, bidirectional=n_directions == 2
        )
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, text: Padded, start: State) -> tuple[Padded, State]:
        """Outputs `[B, T, N·H]`, zeros in the padding, and the state at each row's true end.

        Dropout is not yet applied to either.

        Args:
            text: `[B, T, E]`.
            start: `(h,)` or `(h, c)`, each `[N, B, H]`.
        """
        x_BTE = self.dropout(text.values)
        hx = start if len(start) == 2 else start[0]
        y_BTH, end = self.recurrent(x_BTE, hx, lengths=text.lengths)
        end = end if isinstance(end, tuple) else (end,)
        return Padded(y_BTH, text.lengths), end

    def dropped(self, outputs: Padded) -> Padded:
        """The outputs after dropout."""
        return Padded(self.dropout(outputs.values), outputs.lengths)

    def last(self, state: State) -> Float[Tensor, "B D"]:
        """The last hidden states of each direction, h→_T and h←_1, concatenated, after dropout."""
        h_NBH = state[0]
        return self.dropout(h_NBH.transpose(0, 1).flatten(1))


class Start(nn.Module):
    """The initial state of each direction: h_0, and c_0 for the LSTM; zeros or learned.

    Args:
        cell: "lstm", "gru" or "rnn".
        hidden_size: H.
        n_directions: N.
        learned: whether they are parameters; these are initialised to zero, too.

    >>> [part.shape for part in Start("lstm", 5, 2)(3)]
    [torch.Size([2, 3, 5]), torch.Size([2, 3, 5])]
    """

    def __init__(
        self, cell: str, hidden_size: int, n_directions: int, *, learned: bool = False
    ) -> None:
        super().__init__()
        self.names = ("h_0", "c_0")[: cell_named(cell).n_states]
        for name in self.names:
            zeros = torch.zeros(n_directions, hidden_size)
            if learned:
                self.register_parameter(name, nn.Parameter(zeros))
            else:
                self.register_buffer(name, zeros, persistent=False)

    def forward(self, n_rows: int) -> State:
        """`(h,)` or `(h, c)`, each `[N, B, H]`."""
        return tuple(getattr(self, name).unsqueeze(1).repeat(1, n_rows, 1) for name in self.names)


def crossed(start: State, end: State) -> State:
    """The initial state for the second text: for an LSTM, h_0 and the final cell state of the first text.

    For a GRU or an RNN, whose state is h alone, it is the final h of the first text. If the first text
    was read in one direction and the second is read in two, both directions begin with the same state.

    Args:
        start: the state with which each direction begins, `[N, B, H]` each.
        end: the state after the first text.

    >>> h_0, c_0, h_S, c_S = torch.arange(4.0).view(4, 1, 1, 1)
    >>> [part.item() for part in crossed((h_0, c_0), (h_S, c_S))]
    [0.0, 3.0]
    >>> [part.item() for part in crossed((h_0,), (h_S,))]
    [2.0]
    """
    *own, replaced = start
    return (*own, end[-1].expand_as(replaced).contiguous())


def _joined(r_BH: Tensor, h_BH: Tensor, seen_weight: Tensor, last_weight: Tensor) -> Tensor:
    """h* = tanh(W^p r + W^x h)."""
    return torch.tanh(linear(r_BH, seen_weight) + linear(h_BH, last_weight))


def _square(hidden_size: int) -> nn.Parameter:
    weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
    nn.init.xavier_uniform_(weight)
    return weight


class TanhScorer(nn.Module):
    """The classifier on the vector of a pair.

        logits = W_o tanh(W h) + b_o
        logits = tanh(W h), W of C rows            literal

    The second equation follows both papers literally (Rocktäschel et al. 2016, section 2.2; Augenstein
    et al. 2016, section 3): the tanh layer itself has one unit per class. Its logits lie within −1…1, so
    with three classes no probability exceeds e² / (e² + 2) = 0.79.

    Args:
        input_size: D, width of h.
        n_classes: C.
        literal: whether to use the second equation.

    Attributes:
        weight: W.
        output: W_o and b_o; None if `literal`.

    >>> TanhScorer(5, 3, literal=True)(torch.full((2, 5), 100.0)).abs().max().item() <= 1
    True
    """

    def __init__(self, input_size: int, n_classes: int, *, literal: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes if literal else input_size, input_size))
        nn.init.xavier_uniform_(self.weight)
        self.output: nn.Linear | None = None
        if not literal:
            self.output = nn.Linear(input_size, n_classes)
            nn.init.xavier_uniform_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows C"]:
        """Unnormalised scores of the classes."""
        inner = torch.tanh(linear(hidden, self.weight))
        if self.output is None:
            return inner
        renewed(self.output)
        return linear(inner, self.output.weight, self.output.bias)
