"""Attention: compare a query with the steps of a memory and return their weighted average.

The memory is prepared once per sequence (`remember`): its keys are projected there and nowhere else, and
everything beyond a row's length is cleared, so padding is never visible. A query then costs one small
projection. Q is the number of queries per row: 1 in a decoder's training step, the number of hypotheses
in a beam (they share the row's memory), T if all steps are known in advance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from unrolled.layers.renewal import renewed
from unrolled.ops.linear import StepLinear, linear
from unrolled.shapes import Bool, Float, Int, Padded

Score = Literal["additive", "dot", "general"]


@dataclass(frozen=True)
class Memory:
    """The keys and values that a query attends to.

    Args:
        keys: `[B, S, A]`, compared with the query.
        values: `[B, S, D]`, averaged; zeros beyond each row's length.
        mask: `[B, 1, S]`, True for real steps.
        ids: `[B, S]`, the word that a `CopyHead` writes if it copies a step; None without copying.
    """

    keys: Float[Tensor, "B S A"]
    values: Float[Tensor, "B S D"]
    mask: Bool[Tensor, "B 1 S"]
    ids: Int[Tensor, "B S"] | None = None

    def at(self, steps_BT: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The values of these steps; of a negative one, that of the first step."""
        index = steps_BT.clamp(min=0).unsqueeze(2).expand(-1, -1, self.values.shape[2])
        return self.values.gather(1, index)

    def keep(self, rows: Tensor) -> Memory:
        """Return the memory of the rows with these indices, `[B']`."""
        ids = None if self.ids is None else self.ids[rows]
        return Memory(self.keys[rows], self.values[rows], self.mask[rows], ids)


class Attention(nn.Module):
    """Additive (Bahdanau et al. 2015) or multiplicative (Luong et al. 2015) attention.

    With query q and memory m_s:

        additive  e_s = v · tanh(W q + U m_s)      Bahdanau 2015, appendix A.1.2
        dot       e_s = q · m_s                    Luong 2015, eq. 8; widths must agree
        general   e_s = q · (W m_s)                Luong 2015, eq. 8
        a = softmax(e) over the row's real steps;  context = Σ_s a_s m_s

    Args:
        score: "additive", "dot" or "general".
        query_size: width of q.
        memory_size: width of m_s.
        hidden_size: width of the additive score's hidden layer; `query_size` if None.

    Raises:
        ValueError: `dot` with different widths.

    >>> attention = Attention("additive", query_size=3, memory_size=5)
    >>> memory = attention.remember(Padded(torch.randn(2, 4, 5), torch.tensor([4, 2])))
    >>> context_BQD, weights_BQS = attention(torch.randn(2, 1, 3), memory)
    >>> weights_BQS[1, 0, 2:].tolist()
    [0.0, 0.0]
    """

    def __init__(
        self, score: Score, query_size: int, memory_size: int, hidden_size: int | None = None
    ) -> None:
        super().__init__()
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"dot attention needs equal widths, got query {query_size} and memory "
                f"{memory_size}; use 'general'"
            )
        self.score = score
        if score == "additive":
            width = hidden_size or query_size
            self.query_weight = nn.Parameter(torch.empty(width, query_size))
            self.key_weight = nn.Parameter(torch.empty(width, memory_size))
            self.energy_weight = nn.Parameter(torch.empty(width))
        elif score == "general":
            self.key_weight = nn.Parameter(torch.empty(query_size, memory_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the projections Glorot-uniformly and the energy vector with small uniform values."""
        for name, parameter in self.named_parameters():
            if name == "energy_weight":
                nn.init.uniform_(parameter, -0.1, 0.1)
            else:
                nn.init.xavier_uniform_(parameter)

    def remember(self, encoded: Padded) -> Memory:
        """Project the keys of `[B, S, D]` encodings once, and clear everything beyond the lengths."""
        mask_BS = encoded.mask
        renewed(self)
        values_BSD = torch.where(mask_BS.unsqueeze(2), encoded.values, 0.0)
        keys_BSA = values_BSD if self.score == "dot" else linear(values_BSD, self.key_weight)
        return Memory(keys_BSA, values_BSD, mask_BS.unsqueeze(1))

    def arrange(self) -> StepLinear | None:
        """Return the query's projection for one loop over steps; pass it to `forward` at each step."""
        return StepLinear(renewed(self).query_weight) if self.score == "additive" else None

    def forward(
        self,
        query_BQH: Float[Tensor, "B Q H"],
        memory: Memory,
        project: StepLinear | None = None,
    ) -> tuple[Float[Tensor, "B Q D"], Float[Tensor, "B Q S"]]:
        """Return (context, weights); a row with an empty memory gets a context of zeros."""
        energies_BQS = self._energies(query_BQH, memory, project)
        # The lowest finite number, not -inf: a row with an empty memory must not become NaN.
        lowest = torch.finfo(energies_BQS.dtype).min
        weights_BQS = torch.where(memory.mask, energies_BQS, lowest).softmax(dim=2)
        return torch.bmm(weights_BQS, memory.values), weights_BQS

    def _energies(self, query_BQH: Tensor, memory: Memory, project: StepLinear | None) -> Tensor:
        if self.score != "additive":
            return torch.bmm(query_BQH, memory.keys.transpose(1, 2))
        B, Q, H = query_BQH.shape
        flat_query = query_BQH.reshape(B * Q, H)
        query = linear(flat_query, self.query_weight) if project is None else project(flat_query)
        hidden_BQSA = torch.tanh(query.view(B, Q, 1, -1) + memory.keys.unsqueeze(1))
        return hidden_BQSA @ self.energy_weight
