"""Unknown words in training: replace some words by `<unk>`, so that its embedding is trained.

If the vocabulary contains every word of the training data, `<unk>` never occurs there, and new words
would later be read with an untrained embedding. Therefore a word that occurs n times in training is
replaced by `<unk>` with probability `rate` / n, that is, about `rate` times per epoch, as if that were
its first occurrence. Dyer et al. 2015, "Transition-based dependency parsing with stack long short-term
memory", and Lample et al. 2016, "Neural architectures for named entity recognition", do this for words
that occur once, at a rate of 0.5. Here it is extended to the other words, because small or repetitive
training data may have no words that occur once. Counting each distinct word as one event of a new word is
the estimate of Witten & Bell 1991, "The zero-frequency problem", method C.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.shapes import Float, Int
from unrolled.text.config import SPECIALS, UNK_ID

DEFAULT_RATE = 0.5

_BLOCK = 1 << 20


def rate_for(tokenizer: Any, rate: float) -> float:
    """The rate, or 0 for byte pairs and running text of code, in which no token is ever unknown.

    >>> from unrolled.text.config import TextConfig
    >>> from unrolled.text.tokenizer import Tokenizer
    >>> rate_for(Tokenizer.train(["a b"], TextConfig(kind="bpe")), 0.5)
    0.0
    """
    kind = getattr(tokenizer, "kind", None)
    return 0.0 if kind == "bpe" or (kind == "code" and tokenizer.running) else rate


def count_ids(ids: Iterable[int] | NDArray[Any], n_words: int) -> NDArray[np.int64]:
    """Count how often each of V ids occurs.

    >>> count_ids([4, 5, 4], 7).tolist()
    [0, 0, 0, 0, 2, 1, 0]
    """
    array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
    counts_V = np.zeros(n_words, np.int64)
    for start in range(0, len(array), _BLOCK):  # text may be larger than memory
        counts_V += np.bincount(array[start : start + _BLOCK], minlength=n_words)
    return counts_V


def shares_of(counts_V: NDArray[np.int64], rate: float) -> Float[Tensor, " V"]:
    """The factor of the rate for each id: 1 / n for a word that occurs n times, 0 for the other ids.

    Unknown words that the training part already contains (due to `text.min_count` and `text.vocab_size`)
    are taken into account: they reduce all factors, down to 0 if there are `rate` of them per word.

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
    """Replace each id by `UNK_ID` with probability rate · share; only to be called in training.

    >>> some_unknown(torch.tensor([4, 5, 4]), torch.tensor([0.0, 0, 0, 0, 1, 0]), rate=1.0).tolist()
    [1, 5, 1]
    """
    is_lost = torch.rand(ids.shape, device=ids.device) < rate * shares_V[ids]
    return torch.where(is_lost, UNK_ID, ids)
