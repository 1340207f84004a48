"""Estimate the time and memory of a training run on this machine from a few updates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unrolled.tasks.seq2seq import Pair, TranslateConfig, Translator
from unrolled.tasks.translate import TASK
from unrolled.text.tokenizer import EOS_ID, UNK_ID

N_UPDATES = 3
TOKENS_PER_UPDATE = 1_000
_BYTES_PER_PARAMETER = 16
"""Weight, gradient, and Adam's two moments, four bytes each."""
_BYTES_PER_TOKEN = 3_500_000
"""Peak memory beyond the parameters, per target token of an update, including the caches of the
allocator and oneDNN: 3.7 GB at 970 tokens per update in 5,357 updates of the Tatoeba recipe."""


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a training run with the default recipe.

    Args:
        seconds_per_epoch: time of one pass over the training part.
        tokens_per_second: measured target tokens per second.
        n_bytes: peak memory.
    """

    seconds_per_epoch: float
    tokens_per_second: float
    n_bytes: float

    def __str__(self) -> str:
        minutes = self.seconds_per_epoch / 60
        duration = f"{minutes:.0f} min" if minutes >= 1 else f"{self.seconds_per_epoch:.0f} s"
        return (
            f"about {duration} per epoch at {self.tokens_per_second:,.0f} tokens/s on "
            f"{torch.get_num_threads()} threads, with {self.n_bytes / 2**30:.1f} GiB "
            "of memory (default recipe)"
        )


def estimate(n_target_tokens: int, vocabulary_sizes: Sequence[int], length: int = 10) -> Estimate:
    """Measure a few updates of the default model on artificial sentences.

    Args:
        n_target_tokens: target tokens of the training part.
        vocabulary_sizes: sizes of the source and target vocabularies.
        length: length of an artificial sentence in tokens, such as the median of the data.
    """
    model = Translator(TranslateConfig(), *vocabulary_sizes)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    length = max(1, length)
    pair = Pair([UNK_ID] * length + [EOS_ID], [UNK_ID] * length)
    batch = TASK.collate([pair] * max(1, TOKENS_PER_UPDATE // (length + 1)))
    for update in range(N_UPDATES + 1):
        if update == 1:  # the first update is a warm-up
            start = time.perf_counter()
        loss, count = TASK.loss(model, batch)
        (loss / count).backward()
        optimiser.step()
        optimiser.zero_grad()
    rate = N_UPDATES * batch.n_tokens / (time.perf_counter() - start)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    n_bytes = n_parameters * _BYTES_PER_PARAMETER + batch.n_tokens * _BYTES_PER_TOKEN
    return Estimate(n_target_tokens / rate, rate, n_bytes)
