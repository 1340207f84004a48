"""Unknown words in training: some words are read as `<unk>`, so that a model learns what to make of it.

Where the vocabulary holds every word of the training part, none of its texts has `<unk>`, and what is
new later would be read by an embedding that is as it was drawn. So a word that occurs n times in training
is read as unknown with chance `rate` / n: in a pass about `rate` times, as if that were its first
occurrence. Dyer et al. 2015, "Transition-based dependency parsing with stack long short-term memory", and
Lample et al. 2016, "Neural architectures for named entity recognition", do so with words that occur once,
at a rate of 0.5; the others are here because a small or repetitive training part has none of those. That
each different word counts as one event of a new word is the estimate of Witten & Bell 1991, "The
zero-frequency problem", method C.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.shapes import Float, Int
from unrolled.text.tokenizer import SPECIALS, UNK_ID

DEFAULT_RATE = 0.5

_BLOCK = 1 << 20


def rate_for(tokenizer: Any, rate: float) -> float:
    """The rate, or 0 where no token is ever unknown: byte pairs.

    >>> from unrolled.text.tokenizer import TextConfig, Tokenizer
    >>> rate_for(Tokenizer.train(["a b"], TextConfig(kind="bpe")), 0.5)
    0.0
    """
    return 0.0 if getattr(tokenizer, "kind", None) == "bpe" else rate


def count_ids(ids: Iterable[int] | NDArray[Any], n_words: int) -> NDArray[np.int64]:
    """How often each of V ids occurs.

    >>> count_ids([4, 5, 4], 7).tolist()
    [0, 0, 0, 0, 2, 1, 0]
    """
    array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
    counts_V = np.zeros(n_words, np.int64)
    for start in range(0, len(array), _BLOCK):  # text may be larger than memory
        counts_V += np.bincount(array[start : start + _BLOCK], minlength=n_words)
    return counts_V


def shares_of(counts_V: NDArray[np.int64], rate: float) -> Float[Tensor, " V"]:
    """What the rate is multiplied by for each id: 1 / n of a word that occurs n times, 0 of the others.

    Unknown words that the training part has of its own (`text.min_count`, `text.vocab_size`) count: the
    shares fall by as much, to nothing where there are `rate` of them for each word.

    Args:
        counts_V: how often each id occurs in the training part.
        rate: above 0.

    >>> shares_of(np.array([0, 0, 0, 0, 1, 2, 0]), rate=0.5).tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0]
    >>> shares_of(np.array([0, 7, 0, 0, 1, 2, 0]), rate=0.5).any().item()
    False
    """
    n_V = counts_V.copy()
    n_V[: len(SPECIALS)] = 0
    wanted = rate * max(1, int(np.count_nonzero(n_V)))
    missing = max(0.0, 1 - int(counts_V[UNK_ID]) / wanted)
    return torch.from_numpy(np.where(n_V > 0, missing / np.maximum(n_V, 1), 0.0)).float()


def some_unknown(
    ids: Int[Tensor, "*rows"], shares_V: Float[Tensor, " V"], rate: float
) -> Int[Tensor, "*rows"]:
    """The ids, each replaced by `UNK_ID` with chance rate · share; to be called in training alone.

    >>> some_unknown(torch.tensor([4, 5, 4]), torch.tensor([0.0, 0, 0, 0, 1, 0]), rate=1.0).tolist()
    [1, 5, 1]
    """
    is_lost = torch.rand(ids.shape, device=ids.device) < rate * shares_V[ids]
    return torch.where(is_lost, UNK_ID, ids)
