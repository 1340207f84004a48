"""A language model small enough to enumerate, and tokenizers of every kind for it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

TEXTS = [
    "the cat sat there, and then the other cats came",
    "don't say \"no\" to o'clock; it costs $ 5 or $5",
    "Él está allí: 25 años, año tras año",
    "the boys' room is 'there' (not here)",
]
KINDS = ("char", "word", "bpe", "space", "running")
"""`running` means byte pairs for running text, which put no space before it."""


class ToyModel(torch.nn.Module):
    """A GRU with random weights; counts its steps."""

    def __init__(self, n_words: int, scale: float = 1.0, seed: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        H = 11

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.embedding, self.output = random(n_words, H), scale * random(n_words, H)
        self.cells = [torch.nn.GRUCell(H, H), torch.nn.GRUCell(H, H)]
        for cell in self.cells:
            for parameter in cell.parameters():
                parameter.data = 0.5 * random(*parameter.shape)
        self.head = SimpleNamespace(logits=lambda hidden: hidden @ self.output.T)
        self.n_steps = self.n_rows = 0

    def start(self, n_rows: int) -> tuple[tuple[Tensor, ...], ...]:
        return tuple((torch.zeros(n_rows, 11),) for _ in self.cells)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        assert ids.dtype == torch.int64
        assert all(part.shape == (len(ids), 11) for (part,) in state)
        self.n_steps, self.n_rows = self.n_steps + 1, self.n_rows + len(ids)
        x, new = self.embedding[ids], []
        for cell, (h,) in zip(self.cells, state, strict=True):
            x = cell(x, h)
            new.append((x,))
        return x, tuple(new)


class Table:
    """Probabilities that only depend on the last token."""

    def __init__(self, probabilities: Tensor) -> None:
        self.head = SimpleNamespace(logits=lambda hidden: hidden)
        self._logits = probabilities.log()

    def start(self, n_rows: int) -> tuple[tuple[Tensor, ...], ...]:
        return ((torch.zeros(n_rows, 1),),)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self._logits[ids], ((ids.unsqueeze(1).float(),),)


def tokenizer_of(kind: str, texts: Sequence[str] = TEXTS, lowercase: bool = False) -> Tokenizer:
    """A trained tokenizer."""
    running = kind == "running"
    kind = "bpe" if running else kind
    vocab_size = 330 if kind == "bpe" else 500
    config = TextConfig(kind=kind, vocab_size=vocab_size, lowercase=lowercase)  # type: ignore[arg-type]
    return Tokenizer.train(texts, config, running=running)
