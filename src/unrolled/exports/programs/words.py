"""Text as ids and back: characters, words, strings between spaces, or byte pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
PADDING, UNKNOWN, BEGIN, END = 0, 1, 2, 3


class Words:
    """A vocabulary.

    Args:
        path: the file `tokenizer-….json`.
        kind: "char", "word", "space" or "bpe".
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        self.inner = Tokenizer.from_str(path.read_text("utf-8"))
        self.inner.encode_special_tokens = True  # "</s>" in a text does not end it
        self.tokens = [self.inner.id_to_token(i) or "" for i in range(self.inner.get_vocab_size())]
        # Byte pairs of single sentences begin with a blank, which is no part of the text.
        self.blank = (
            " " if kind == "bpe" and self.inner.normalizer.normalize_str("x") == " x" else ""
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        if self.kind == "space":  # a word that spells a special token is unknown
            ids = [UNKNOWN if id_ < 4 else id_ for id_ in ids]
        return ids

    def written(self, text: str, ids: list[int]) -> list[str]:
        """The token of each id, with unknown words as they are written."""
        tokens = [self.tokens[id_] for id_ in ids]
        if UNKNOWN not in ids:
            return tokens
        text = self.inner.normalizer.normalize_str(text.encode("utf-8", "replace").decode("utf-8"))
        pieces = [piece for piece, _ in self.inner.pre_tokenizer.pre_tokenize_str(text)]
        return pieces if len(pieces) == len(ids) else tokens

    def look_up(self, token: str) -> int:
        """The id of a whole token; 1 for an unknown one."""
        id_ = self.inner.token_to_id(token)
        if id_ is None:
            id_ = self.inner.token_to_id(self.inner.normalizer.normalize_str(token))
        return UNKNOWN if id_ is None or id_ < 4 else int(id_)

    def decode(self, ids: Sequence[int], others: Sequence[str] = ()) -> str:
        """The text of ids, without padding, begin and end; id V + s is the token at place s of others."""
        n_words = len(self.tokens)
        kept = [id_ for id_ in ids if id_ not in (PADDING, BEGIN, END)]
        tokens = [self.tokens[i] if i < n_words else others[i - n_words] for i in kept]
        if self.kind == "bpe":
            written = b"".join(map(bytes_of, tokens)).decode("utf-8", "replace")
            return written.removeprefix(self.blank)
        if self.kind == "word":
            return join_words(tokens)
        return ("" if self.kind == "char" else " ").join(tokens)

    def bytes_of(self, id_: int) -> bytes:
        """What a token stands for."""
        token = self.tokens[id_]
        return bytes_of(token) if self.kind == "bpe" and id_ > 3 else token.encode()


def bytes_of(token: str) -> bytes:
    """What a byte pair stands for; a special token is spelled."""
    if token in SPECIALS:
        return token.encode()
    return bytes(BYTES[character] for character in token)


def byte_of_character() -> dict[str, int]:
    """How vocabularies of byte pairs write each byte as a printable character."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


BYTES = byte_of_character()
OPENING = frozenset("([{«“‘‹¿¡#@/")
CLOSING = frozenset(")]}»”’›?!.,;:%…°/")
CURRENCIES = frozenset("$£€¥")
CLITIC_OR_DOTS = re.compile(r"n['\u2019]t|['\u2019](?:s|m|d|ll|re|ve)|\.{2,}", re.IGNORECASE)


def join_words(words: Sequence[str]) -> str:
    """Words and punctuation marks as a sentence."""
    last_apostrophe = max((i for i, word in enumerate(words) if word == "'"), default=-1)
    written: list[str] = []
    open_quotes: set[str] = set()
    glued = True  # no space before the first word
    for i, word in enumerate(words):
        opens = word in OPENING
        closes = word in CLOSING or CLITIC_OR_DOTS.fullmatch(word) is not None
        if word in ("'", '"'):
            # The last apostrophe is a possessive if it closes no quotation: "the boys' room".
            closes = word in open_quotes or 0 < i == last_apostrophe
            opens = not closes
            if closes:
                open_quotes.discard(word)
            else:
                open_quotes.add(word)
        elif word in CURRENCIES:
            opens = i + 1 < len(words) and words[i + 1][0].isdigit()
        if not (glued or closes):
            written.append(" ")
        written.append(word)
        glued = opens
    return "".join(written)
