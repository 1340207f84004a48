"""An encoder of text pairs that compares each word with the words of the other text it is aligned with.

Chen, Zhu, Ling, Wei, Jiang & Inkpen 2017, "Enhanced LSTM for natural language inference" (ESIM without
trees). It is called as the encoders of `layers.conditional` are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.layers.conditional import Encoded, Encodings, Reader, Start
from unrolled.layers.pooling import largest, mean
from unrolled.layers.renewal import renewed
from unrolled.ops.linear import linear
from unrolled.shapes import Bool, Float, Padded


class AlignedEncoder(nn.Module):
    """Encode both texts, align their words, compare what is aligned, and read the comparisons.

    With a_s and b_t the outputs of a bidirectional layer over each text, both directions concatenated
    (one layer for both texts), equations 11–13 of the paper are

        e_st = a_s · b_t
        ã_s = Σ_t softmax_t(e_st) b_t        b̃_t = Σ_s softmax_s(e_st) a_s

    14–15, with a projection to H and one more bidirectional layer for both texts,

        m_s = relu(W [a_s; ã_s; a_s − ã_s; a_s ∘ ã_s] + b)        v¹ = BiLSTM(m)

    and so for the second text, v². Finally, as in 16–19,

        h = [mean_s v¹_s; max_s v¹_s; mean_t v²_t; max_t v²_t]

    Args:
        cell: "lstm", "gru", "rnn" or "rnn_relu".
        input_size: E.
        hidden_size: H of one direction.
        dropout_rate: on inputs and outputs of the recurrent layers.
        learned_start: whether the initial states are learned; otherwise they are zeros.

    A text without steps aligns with nothing: the other one is compared with zeros, and its own part of h
    is zeros.

    >>> encoder = AlignedEncoder("lstm", 3, 5)
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> second = Padded(torch.randn(2, 6, 3), torch.tensor([5, 6]))
    >>> values, attention = encoder(first, second)
    >>> values.shape, encoder.output_size, attention.shape, attention[1, 0, 4:].tolist()
    (torch.Size([2, 40]), 40, torch.Size([2, 6, 7]), [0.0, 0.0, 0.0])
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
        self.start = Start(cell, hidden_size, 2, learned=learned_start)
        self.reader = Reader(cell, input_size, hidden_size, 2, dropout_rate)
        self.projection = nn.Linear(8 * hidden_size, hidden_size)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.composition = Reader(cell, hidden_size, hidden_size, 2, dropout_rate)
        self.encoding_size = 4 * hidden_size
        self.output_size = 2 * self.encoding_size

    def forward(self, first: Padded, second: Padded) -> Encoded:
        """h, and softmax_s(e_st) as `[B, T, S]`, zeros in the padding of either text."""
        return self.encodings(first, second)[:2]

    def encodings(self, first: Padded, second: Padded) -> Encodings:
        """h, the attention, and the parts of h of the first and of the second text."""
        a, b = (self._read(self.reader, text) for text in (first, second))
        aligned_BSD, aligned_BTD, weights_BTS = aligned(a, b)
        first_BD = self._composed(a, aligned_BSD)
        second_BD = self._composed(b, aligned_BTD)
        return torch.cat([first_BD, second_BD], dim=1), weights_BTS, first_BD, second_BD

    def _read(self, reader: Reader, text: Padded) -> Padded:
        outputs, _ = reader(text, self.start(text.values.shape[0]))
        return reader.dropped(outputs)

    def _composed(self, text: Padded, other_BTD: Tensor) -> Float[Tensor, "B D"]:
        own_BTD = text.values
        compared = torch.cat([own_BTD, other_BTD, own_BTD - other_BTD, own_BTD * other_BTD], dim=2)
        renewed(self.projection)
        m_BTH = torch.relu(linear(compared, self.projection.weight, self.projection.bias))
        v = self._read(self.composition, Padded(m_BTH, text.lengths))
        return torch.cat([mean(v), largest(v)], dim=1)


def aligned(
    first: Padded, second: Padded
) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B T D"], Float[Tensor, "B T S"]]:
    """What each step is aligned with in the other text, and the weights of the second text's steps.

    Args:
        first: `[B, S, D]`.
        second: `[B, T, D]`.

    Returns:
        The weighted means of the other text for each step of the first and of the second text, and the
        weights of the latter; zeros where either text has padding.

    >>> first = Padded(torch.eye(2).unsqueeze(0), torch.tensor([2]))
    >>> second = Padded(torch.tensor([[[50.0, 0.0], [0.0, 0.0]]]), torch.tensor([2]))
    >>> [part.round(decimals=2).tolist() for part in aligned(first, second)]
    [[[[50.0, 0.0], [25.0, 0.0]]], [[[1.0, 0.0], [0.5, 0.5]]], [[[1.0, 0.0], [0.5, 0.5]]]]
    """
    a_BSD, b_BTD = first.values, second.values
    are_real_BST = first.mask.unsqueeze(2) & second.mask.unsqueeze(1)
    energies_BST = torch.bmm(a_BSD, b_BTD.transpose(1, 2))
    to_second_BST = _weights(energies_BST, are_real_BST)
    to_first_BTS = _weights(energies_BST.transpose(1, 2), are_real_BST.transpose(1, 2))
    return torch.bmm(to_second_BST, b_BTD), torch.bmm(to_first_BTS, a_BSD), to_first_BTS


def _weights(energies: Tensor, are_real: Bool[Tensor, "B S T"]) -> Tensor:
    """The softmax over the last axis of what is real; zeros where nothing is."""
    # The lowest finite number, not -inf: a row without steps must not become NaN.
    lowest = torch.finfo(energies.dtype).min
    weights = torch.where(are_real, energies, lowest).softmax(2)
    return torch.where(are_real, weights, 0.0).to(energies.dtype)
