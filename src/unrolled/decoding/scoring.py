"""How probable a text is: the bits of each token."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenScore:
    """How well a token of a text was foreseen.

    Args:
        piece: the token, readable.
        bits: −log₂ of its probability.
        rank: how many tokens were at least as probable, itself included; 1 is the most probable.
    """

    piece: str
    bits: float
    rank: int


@dataclass(frozen=True)
class Score:
    """What a text costs.

    Args:
        bits: −log₂ of its probability.
        n_tokens: how many tokens it is.
        n_characters: how many characters it is.

    >>> text = Score(bits=12.0, n_tokens=4, n_characters=8)
    >>> text.perplexity, text.bits_per_character
    (8.0, 1.5)
    """

    bits: float
    n_tokens: int
    n_characters: int

    @property
    def perplexity(self) -> float:
        """2 to the power of the bits per token."""
        try:
            return 2 ** (self.bits / max(1, self.n_tokens))
        except OverflowError:
            return math.inf

    @property
    def bits_per_character(self) -> float:
        """Comparable between models of different vocabularies, where none of them has unknown tokens."""
        return self.bits / max(1, self.n_characters)

    def lines(self) -> Iterator[str]:
        """The score as text."""
        yield f"{self.bits:,.1f} bits in {self.n_tokens:,} tokens, {self.n_characters:,} characters"
        yield f"perplexity per token {self.perplexity:,.2f}"
        yield f"bits per character {self.bits_per_character:.4f}"


def score(token_scores: Sequence[TokenScore], text: str) -> Score:
    """The figures of a whole text, from those of its tokens."""
    n_characters = len(unicodedata.normalize("NFC", text))
    return Score(math.fsum(each.bits for each in token_scores), len(token_scores), n_characters)
