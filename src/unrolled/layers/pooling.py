"""Pooling: combine the vectors of a row's steps into one: final, mean, max, attentive, concat.

Masks select and never multiply, so values in the padding (even NaN) affect neither results nor
gradients. A row without steps gets a vector of zeros.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unrolled.config import require
from unrolled.ops.linear import linear
from unrolled.shapes import Float, Padded

PoolingKind = Literal["final", "mean", "max", "attentive", "concat"]


def final(encoded: Padded, bidirectional: bool = False) -> Float[Tensor, "B D"]:
    """The last output of each direction: forwards y_T at the row's own end, backwards y_1.

    Never `y[:, -1]`, which is padding in all but the longest rows; and the backward direction has only
    read one step there.

    Args:
        encoded: values `[B, T, D]`.
        bidirectional: whether the second half of D was read backwards.

    >>> y = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], [[4.0, 40.0], [0.0, 0.0], [0.0, 0.0]]])
    >>> final(Padded(y, torch.tensor([3, 1])), bidirectional=True).tolist()
    [[3.0, 10.0], [4.0, 40.0]]
    """
    y_BTD = encoded.values
    B, T, D = y_BTD.shape
    if T == 0:
        return y_BTD.new_zeros(B, D)
    device = y_BTD.device
    lengths_B = encoded.lengths.to(device)
    rows_B = torch.arange(B, device=device)
    forwards = y_BTD[rows_B, (lengths_B - 1).clamp(min=0)]
    if bidirectional:
        forwards = torch.cat([forwards[:, : D // 2], y_BTD[:, 0, D // 2 :]], dim=1)
    return torch.where(lengths_B.unsqueeze(1) > 0, forwards, 0.0)


def mean(encoded: Padded) -> Float[Tensor, "B D"]:
    """The mean over the row's steps.

    >>> y = torch.tensor([[[1.0], [3.0]], [[5.0], [torch.nan]], [[torch.nan], [torch.nan]]])
    >>> mean(Padded(y, torch.tensor([2, 1, 0]))).tolist()
    [[2.0], [5.0], [0.0]]
    """
    total = torch.where(encoded.mask.unsqueeze(2), encoded.values, 0.0).sum(1)
    return total / encoded.lengths.to(total.device).clamp(min=1).unsqueeze(1)


def largest(encoded: Padded) -> Float[Tensor, "B D"]:
    """The maximum over the row's steps, for each unit separately.

    Collobert & Weston 2008, "A unified architecture for natural language processing": max over time.
    Steps that share the largest value share the gradient.

    >>> y = torch.tensor([[[-1.0], [-3.0]], [[-5.0], [torch.nan]], [[torch.nan], [torch.nan]]])
    >>> largest(Padded(y, torch.tensor([2, 1, 0]))).tolist()
    [[-1.0], [-5.0], [0.0]]
    """
    y_BTD = encoded.values
    B, T, D = y_BTD.shape
    if T == 0:
        return y_BTD.new_zeros(B, D)
    maxima = torch.where(encoded.mask.unsqueeze(2), y_BTD, -torch.inf).amax(1)
    return torch.where(encoded.lengths.to(maxima.device).unsqueeze(1) > 0, maxima, 0.0)


class AttentivePooling(nn.Module):
    """A weighted mean whose weights come from a learned query.

    Yang et al. 2016, "Hierarchical attention networks for document classification", eq. 5–7. With y the
    outputs, and w the query:

        u_t = tanh(W y_t + b)
        a = softmax(w · u) over the row's real steps
        s = Σ_t a_t y_t

    Args:
        input_size: D, width of y.
        hidden_size: width of u; D if None.

    >>> pooling = AttentivePooling(3)
    >>> values, weights = pooling(Padded(torch.randn(3, 5, 3), torch.tensor([5, 1, 0])))
    >>> values.shape, weights[1].tolist(), weights[2].tolist()
    (torch.Size([3, 3]), [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, input_size: int, hidden_size: int | None = None) -> None:
        super().__init__()
        width = hidden_size or input_size
        self.weight = nn.Parameter(torch.empty(width, input_size))
        self.bias = nn.Parameter(torch.zeros(width))
        self.query = nn.Parameter(torch.empty(width))
        nn.init.xavier_uniform_(self.weight)
        nn.init.uniform_(self.query, -0.1, 0.1)

    def forward(self, encoded: Padded) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B T"]]:
        """Return (vectors, weights); the weights of a row sum to 1, or are zeros if it has no steps."""
        mask_BT = encoded.mask
        y_BTD = torch.where(mask_BT.unsqueeze(2), encoded.values, 0.0)
        energies_BT = torch.tanh(linear(y_BTD, self.weight, self.bias)) @ self.query
        # The lowest finite number, not -inf: a row without steps must not become NaN.
        lowest = torch.finfo(energies_BT.dtype).min
        weights_BT = torch.where(mask_BT, energies_BT, lowest).softmax(1)
        weights_BT = torch.where(mask_BT, weights_BT, 0.0)
        weights = weights_BT.to(y_BTD.dtype)
        return torch.bmm(weights.unsqueeze(1), y_BTD).squeeze(1), weights_BT


class Pooling(nn.Module):
    """One of the five kinds of pooling, chosen by name, for outputs `[B, T, D]` of recurrent layers.

    "concat" is [final; max; mean] (Howard & Ruder 2018, "Universal language model fine-tuning for text
    classification", section 3.3).

    Args:
        kind: "final", "mean", "max", "attentive" or "concat".
        input_size: D.
        bidirectional: whether the second half of D was read backwards; only used by `final`.

    Attributes:
        output_size: width of the vector, 3 D for "concat", else D.

    Raises:
        ConfigError: the kind is unknown.

    >>> from unrolled.layers.encoder import RecurrentEncoder
    >>> encoder = RecurrentEncoder("lstm", 3, 5, bidirectional=True)
    >>> encoded, state = encoder(Padded(torch.randn(2, 7, 3), torch.tensor([7, 4])))
    >>> pooled, weights = Pooling("final", encoder.output_size, bidirectional=True)(encoded)
    >>> torch.equal(pooled, state[-1][0]), weights
    (True, None)
    """

    def __init__(self, kind: str, input_size: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        kinds = get_args(PoolingKind)
        require(kind in kinds, "pooling", f"one of {', '.join(kinds)}", kind)
        self.kind, self.bidirectional = kind, bidirectional
        self.output_size = input_size * (3 if kind == "concat" else 1)
        self.attentive = AttentivePooling(input_size) if kind == "attentive" else None

    def forward(
        self, encoded: Padded, last: Float[Tensor, "B D"] | None = None
    ) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B T"] | None]:
        """Return (vectors, attention weights); the weights are None unless the kind is "attentive".

        F is `output_size`.

        Args:
            encoded: the outputs of the last layer.
            last: the hidden states of the last layer at each row's true end, directions concatenated,
                as `RecurrentEncoder` returns them; saves `final` from picking them from the outputs.
        """
        if self.attentive is not None:
            return self.attentive(encoded)
        if self.kind == "mean":
            return mean(encoded), None
        if self.kind == "max":
            return largest(encoded), None
        last = self._final(encoded, last)
        if self.kind == "final":
            return last, None
        return torch.cat([last, largest(encoded), mean(encoded)], dim=1), None

    def _final(self, encoded: Padded, last: Float[Tensor, "B D"] | None) -> Float[Tensor, "B D"]:
        if last is None:
            return final(encoded, self.bidirectional)
        has_steps_B1 = (encoded.lengths > 0).unsqueeze(1).to(last.device)
        return torch.where(has_steps_B1, last, 0.0)

    def extra_repr(self) -> str:
        return f"kind={self.kind}"
