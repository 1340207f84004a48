"""The probability of a text: the surprisal of each token, in bits."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.wording import count_of


@dataclass(frozen=True)
class TokenScore:
    """The surprisal of one token of a text.

    Args:
        piece: the token in readable form.
        bits: −log₂ of its probability.
        rank: one more than the number of tokens that are more probable; 1 is the most probable.
        written: `piece`, or the word as written if the model does not know it.
    """

    piece: str
    bits: float
    rank: int
    written: str = ""


@dataclass(frozen=True)
class Score:
    """The score of a whole text.

    Args:
        bits: −log₂ of its probability.
        n_tokens: number of tokens.
        n_characters: number of characters.

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
        """Comparable between models with different vocabularies, provided that no token is unknown."""
        return self.bits / max(1, self.n_characters)

    def lines(self) -> Iterator[str]:
        """The score as text."""
        size = f"{count_of(self.n_tokens, 'token')}, {count_of(self.n_characters, 'character')}"
        yield f"{self.bits:,.1f} bits in {size}"
        yield f"perplexity per token {self.perplexity:,.2f}"
        yield f"bits per character {self.bits_per_character:.4f}"


def score(token_scores: Sequence[TokenScore], text: str) -> Score:
    """Compute the score of a whole text from the scores of its tokens."""
    n_characters = len(unicodedata.normalize("NFC", text))
    return Score(math.fsum(token.bits for token in token_scores), len(token_scores), n_characters)
