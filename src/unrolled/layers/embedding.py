"""An embedding that is trained from the start, frozen, or frozen at first and trained later."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unrolled.config import require
from unrolled.layers.dropout import dropped_embedding
from unrolled.shapes import Float, Int
from unrolled.text.config import PAD_ID

Tuning = Literal["trained", "frozen", "thawed"]
"""How training treats an embedding's weight; see `Embedding`."""


class Embedding(nn.Embedding):
    """An embedding table with word dropout that can be frozen for a part or all of training.

    If pretrained vectors are trained from the first step, the large gradients of the other, still
    untrained layers distort them; "thawed" freezes the vectors until those layers have settled. A frozen
    weight has no gradient, and the optimizers of this package skip parameters without one: there is no
    weight decay, moment estimates do not change, and Adam starts counting steps at the first update.

    Args:
        n_words: V.
        width: E.
        tuning: "trained"; "frozen"; or "thawed": frozen for the first `frozen_steps` updates and the
            first `frozen_epochs` passes over the data, whichever is longer, then trained.
        frozen_steps: see `tuning`; must be 0 unless `tuning` is "thawed".
        frozen_epochs: the same.
        word_rate: probability that a word's embedding is dropped, at all of its positions in the batch
            (`dropped_embedding`: Gal & Ghahramani 2016, section 4.2).

    The weight is initialised from a normal distribution with standard deviation 0.1, with zeros for
    padding, which gets no gradient; `reset_parameters` draws a new one. With a standard deviation of 1,
    as in `torch.nn`, the little that a small data set changes is lost among the random initial values.

    Attributes:
        weight: `[V, E]`.

    Raises:
        ConfigError: `tuning` is unknown, the numbers do not match it, or a rate is out of range.

    >>> import torch
    >>> embedding = Embedding(11, 3, tuning="thawed", frozen_steps=2)
    >>> ids = torch.tensor([[4, 5], [6, 0]])
    >>> [embedding.at(n_updates=n)(ids).requires_grad for n in (0, 1, 2)]
    [False, False, True]
    """

    def __init__(
        self,
        n_words: int,
        width: int,
        *,
        tuning: str = "trained",
        frozen_steps: int = 0,
        frozen_epochs: int = 0,
        word_rate: float = 0.0,
    ) -> None:
        choices = get_args(Tuning)
        require(tuning in choices, "tuning", f"one of {', '.join(choices)}", tuning)
        for name, number in (("frozen_steps", frozen_steps), ("frozen_epochs", frozen_epochs)):
            require(number >= 0, name, "at least 0", number)
            if tuning != "thawed":
                require(number == 0, name, f"0 where tuning is '{tuning}'", number)
        if tuning == "thawed":
            wanted = "at least 1 where tuning is 'thawed' and frozen_epochs is 0"
            require(frozen_steps + frozen_epochs > 0, "frozen_steps", wanted, frozen_steps)
        require(0 <= word_rate < 1, "word_rate", "at least 0 and below 1", word_rate)
        super().__init__(n_words, width, padding_idx=PAD_ID)
        self.tuning, self.word_rate = tuning, word_rate
        self.frozen_steps, self.frozen_epochs = frozen_steps, frozen_epochs
        self.is_frozen = tuning != "trained"
        self.weight.requires_grad_(tuning != "frozen")

    def reset_parameters(self) -> None:
        """Draw a new weight."""
        nn.init.normal_(self.weight, std=0.1)
        with torch.no_grad():
            self.weight[PAD_ID] = 0

    def at(self, n_updates: int, n_epochs: int = 0) -> Embedding:
        """Set the training progress before an update, as `Trainer` does; before that "thawed" is frozen.

        Whether the embedding is frozen depends on the two numbers alone, so a resumed run continues
        unchanged.

        Args:
            n_updates: number of updates made.
            n_epochs: number of complete passes over the data.
        """
        if self.tuning == "thawed":
            self.is_frozen = n_updates < self.frozen_steps or n_epochs < self.frozen_epochs
        return self

    def forward(self, input: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch E"]:
        """Return the vectors of ids of any shape."""
        weight = self.weight.detach() if self.is_frozen else self.weight
        return dropped_embedding(
            input, weight, self.word_rate, self.training, self.sparse, self.padding_idx
        )

    def extra_repr(self) -> str:
        rate = f", word_rate={self.word_rate}" if self.word_rate else ""
        return f"{super().extra_repr()}, tuning={self.tuning}{rate}"


def thaw(model: nn.Module, n_updates: int, n_epochs: int) -> None:
    """Set the training progress of every `Embedding` in a model; see `Embedding.at`.

    >>> model = nn.ModuleList([Embedding(5, 2, tuning="thawed", frozen_epochs=1), nn.Linear(2, 3)])
    >>> thaw(model, n_updates=70, n_epochs=1)
    >>> model[0].is_frozen
    False
    """
    for module in model.modules():
        if isinstance(module, Embedding):
            module.at(n_updates, n_epochs)
