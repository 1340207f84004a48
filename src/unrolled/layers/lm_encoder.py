"""The recurrent layers of one or two language models as an encoder, and groups in which to tune them.

Dai & Le 2015, "Semi-supervised sequence learning" (an encoder that starts with the weights of a language
model); Peters et al. 2018, "Deep contextualized word representations" (a forward and a backward one,
independent of each other); Howard & Ruder 2018, "Universal language model fine-tuning for text
classification" (one group per layer).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unrolled.config import require
from unrolled.layers.encoder import State
from unrolled.layers.recurrent_stack import RecurrentStack, StackState
from unrolled.ops.cells import cell_named
from unrolled.shapes import Padded


class LanguageModelEncoder(nn.Module):
    """The recurrent layers of a forward language model and, perhaps, of a backward one.

    With x_t the embedding of word t in the forward model and x'_t in the backward one, L layers each, and
    `RNN` the cell:

        h→^l_t = RNN(h→^(l−1)_t, h→^l_(t−1))        h→^0_t = x_t
        h←^l_t = RNN(h←^(l−1)_t, h←^l_(t+1))        h←^0_t = x'_t
        y_t = [h→^L_t; h←^L_t]

    A language model reads each document after the mark that ends the one before. Therefore the layers
    begin with learned states, which are set to those after such a mark (`start_after`), not with zeros.

    Unlike in a bidirectional layer, no layer of one direction reads the other. The inputs are [x; x'],
    and columns after these, such as those of a word's characters, become the last columns of y.

    Args:
        cell: the cell of the language models.
        input_size: width of the inputs that the language models read: of x, or of x and x' together.
        sizes: widths of the layers of each direction, first to last.
        n_directions: 1 or 2.
        n_columns: number of columns after [x; x'].
        dropout_rate: between layers, with one mask for all steps of a row.

    Attributes:
        stacks: the layers of each direction, forwards first.
        starts: their initial states, `[H]` each, for each direction, layer and part of the state.
        output_size: width of y.

    Raises:
        ConfigError: the cell is unknown, a number is out of range, or the inputs cannot be halved.

    >>> encoder = LanguageModelEncoder("lstm", 6, [5, 7], n_directions=2)
    >>> encoded, state = encoder(Padded(torch.randn(2, 4, 6), torch.tensor([4, 3])))
    >>> encoded.values.shape, len(state), state[0][0].shape
    (torch.Size([2, 4, 14]), 1, torch.Size([2, 14]))
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        sizes: Sequence[int],
        *,
        n_directions: int = 1,
        n_columns: int = 0,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        require(n_directions in (1, 2), "n_directions", "1 or 2", n_directions)
        wanted = f"a multiple of {n_directions}"
        require(input_size % n_directions == 0, "input_size", wanted, input_size)
        self.input_size, self.n_columns = input_size, n_columns
        self.output_size = sizes[-1] * n_directions + n_columns
        self.stacks = nn.ModuleList(
            RecurrentStack(cell, input_size // n_directions, sizes, between_rate=dropout_rate)
            for _ in range(n_directions)
        )

        n_parts = cell_named(cell).n_states
        widths = [size for _ in range(n_directions) for size in sizes for _ in range(n_parts)]
        self.starts = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)

    def starts_of(self, place: int, depth: int) -> list[nn.Parameter]:
        """The parts of the initial state of a layer.

        Args:
            place: direction, 0 for forwards.
            depth: layer, from 0.
        """
        n_layers = len(self.stacks[0].layers)  # type: ignore[arg-type]
        n_parts = len(self.starts) // (len(self.stacks) * n_layers)
        first = (place * n_layers + depth) * n_parts
        return list(self.starts)[first : first + n_parts]

    @torch.no_grad()
    def start_after(self, place: int, state: StackState) -> None:
        """Begin with this state in one direction; see `starts_of`.

        Args:
            place: direction, 0 for forwards.
            state: the state of each layer, for one row.
        """
        for depth, parts in enumerate(state):
            for own, part in zip(self.starts_of(place, depth), parts, strict=True):
                own.copy_(part[0])

    def _start(self, place: int, n_rows: int) -> StackState:
        n_layers = len(self.stacks[0].layers)  # type: ignore[arg-type]
        return tuple(
            tuple(part.unsqueeze(0).repeat(n_rows, 1) for part in self.starts_of(place, depth))
            for depth in range(n_layers)
        )

    def forward(self, inputs: Padded) -> tuple[Padded, State]:
        """Return (outputs `[B, T, D]`, the state of the last layer, directions concatenated).

        The state is that at the true end of each row, for the backward direction at its start.
        """
        width = self.input_size // len(self.stacks)
        outputs, ends = [], []
        for place, stack in enumerate(self.stacks):
            own_BTE = inputs.values[:, :, place * width : (place + 1) * width]
            start = self._start(place, len(own_BTE))
            y_BTH, state = stack(Padded(own_BTE, inputs.lengths), start, reverse=place == 1)
            outputs.append(y_BTH)
            ends.append(state[-1])
        outputs += [self._others(inputs)] if self.n_columns else []
        last = tuple(torch.cat(parts, dim=1) for parts in zip(*ends, strict=True))
        return Padded(torch.cat(outputs, dim=2), inputs.lengths), (last,)

    def _others(self, inputs: Padded) -> Tensor:
        """The columns that the language models do not read, zeros in the padding."""
        return torch.where(inputs.mask.unsqueeze(2), inputs.values[:, :, self.input_size :], 0.0)

    def extra_repr(self) -> str:
        return f"input_size={self.input_size}, n_columns={self.n_columns}"


def encoder_in(model: nn.Module) -> LanguageModelEncoder | None:
    """The encoder of a model that starts with the weights of language models; None if it has none."""
    found = (module for module in model.modules() if isinstance(module, LanguageModelEncoder))
    return next(found, None)


def embedding_of(model: nn.Module) -> nn.Embedding | None:
    """The embedding that a model's encoder reads; None if it reads one-hot vectors."""
    names = ("embedding", "source_embedding")
    found: nn.Embedding | None = next(getattr(model, n) for n in names if hasattr(model, n))
    return found


def groups_below(model: nn.Module) -> list[list[nn.Parameter]]:
    """The trainable weights below a model's head in groups, the nearest to the head first.

    For a model with a `LanguageModelEncoder`: its layers, last to first, then the embedding. For a
    language model: the same, but an embedding that the output layer shares is part of the head. For
    other models: nothing.

    >>> from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(embedding_size=3, hidden_size=5, n_layers=2), 11)
    >>> [len(group) for group in groups_below(model)]
    [4, 4, 1]
    """
    encoder = encoder_in(model)
    stacks: list[RecurrentStack] = []
    if encoder is not None:
        stacks = [stack for stack in encoder.stacks if isinstance(stack, RecurrentStack)]
    elif isinstance(own := getattr(model, "layers", None), RecurrentStack):
        stacks = [own]
    if not stacks:
        return []
    depths = reversed(range(len(stacks[0].layers)))
    groups = [[p for stack in stacks for p in stack.layers[depth].parameters()] for depth in depths]
    for group, depth in zip(groups, reversed(range(len(groups))), strict=True):
        if encoder is not None:
            places = range(len(stacks))
            group += [p for place in places for p in encoder.starts_of(place, depth)]
    weight = getattr(embedding_of(model), "weight", None)
    head = getattr(model, "head", None)
    if isinstance(weight, nn.Parameter) and weight is not getattr(head, "weight", None):
        groups.append([weight])
    trainable = [[p for p in group if p.requires_grad] for group in groups]
    return [group for group in trainable if group]
