"""The settings of tokenizers, and the tokens that every vocabulary begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from unrolled.code.marks import MARKS
from unrolled.config import PositiveCount, Range, check_fields, require
from unrolled.errors import ConfigError

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
Kind = Literal["char", "word", "space", "bpe", "code"]
N_BYTES = 256
_MOST_WORDS = 30_000  # all words of most data sets of up to 100,000 sentences
_MOST_PIECES_KNOWN = 8000


@dataclass(frozen=True)
class TextConfig:
    """How text is split into tokens.

    Args:
        kind: `bpe` (byte pairs; no unknown tokens), `word` (words and punctuation marks), `space`
            (strings between white space, for text that is already tokenised), `char`, or `code` (names
            split into words, operators, and marks of layout; restores any text).
        language: for `code`: "python", "bash", or "text" for any other. A side of a pair that takes fewer
            tokens with the rules of "text", such as descriptions, gets these.
        vocab_size: maximum size of a vocabulary, including the four special tokens; -1 for 30,000 words
            (`word`, `space`), or 8,000 byte pairs or characters.
        min_count: characters or words with a lower count are unknown; byte pairs with a lower count, or
            that occur only once, are not merged.
        lowercase: whether to convert text to lower case.
        shared: whether both sides of a pair share one vocabulary instead of having separate ones.
        max_word_length: maximum number of characters of a word from which a vocabulary is learned.
            Longer strings, which are hardly words, are unknown; byte pairs are learned from their first
            hundred pieces of this length.

    Raises:
        ConfigError: a value is out of range or unknown.

    >>> TextConfig(kind="word").most_tokens, TextConfig(kind="bpe", vocab_size=400).most_tokens
    (30000, 400)
    """

    kind: Kind = "bpe"
    vocab_size: Annotated[int, Range(-1, 4_000_000)] = -1
    min_count: PositiveCount = 1
    lowercase: bool = False
    shared: bool = False
    max_word_length: Annotated[int, Range(1, 10**6)] = 200
    language: Literal["none", "python", "bash", "text"] = "none"

    def __post_init__(self) -> None:
        check_fields(self, "text")
        _check_language(self)
        n_others = {"bpe": N_BYTES, "code": len(MARKS) + N_BYTES}.get(self.kind, 1)
        smallest = len(SPECIALS) + n_others
        marks = f", {len(MARKS)} marks" if self.kind == "code" else ""
        why = f" (4 special tokens{marks} and the 256 bytes)" if n_others > 1 else ""
        wanted = f"at least {smallest} for {self.kind}{why}, or -1"
        is_allowed = self.vocab_size == -1 or self.vocab_size >= smallest
        require(is_allowed, "text.vocab_size", wanted, self.vocab_size)

    @property
    def most_tokens(self) -> int:
        """The maximum size of a vocabulary."""
        if self.vocab_size != -1:
            return self.vocab_size
        return _MOST_WORDS if self.kind in ("word", "space", "code") else _MOST_PIECES_KNOWN


def _check_language(config: TextConfig) -> None:
    """Refuse a language without code, and code without a language."""
    if config.kind == "code" and config.language == "none":
        raise ConfigError(
            "text.kind is 'code', which needs the rules of a language; set text.language to 'python', "
            "'bash', or 'text' for any other"
        )
    if config.language != "none" and config.kind != "code":
        raise ConfigError(
            f"text.language is '{config.language}', but text.kind is '{config.kind}', which has the same "
            "rules for all languages; leave text.language out, or set text.kind to 'code'"
        )
    if config.kind == "code" and config.lowercase:
        raise ConfigError(
            "text.lowercase is set, but in code, capitals matter; leave it out, or use another text.kind"
        )
