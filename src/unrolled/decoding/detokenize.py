"""Convert tokens to text while the text is still being generated."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from unrolled.code.running import Reader
from unrolled.text.config import EOS_ID
from unrolled.text.join_words import join_words

APOSTROPHES = ("'", "\u2019")


N_JOINED = 64
"""Number of preceding words that decide how new text is joined to them (open quotation mark, bracket)."""


LONGEST_WAIT = 64
"""Maximum number of words held back after a lone apostrophe, which may or may not open a quotation."""


class TokenizerLike(Protocol):
    """The interface that a tokenizer must have here."""

    @property
    def kind(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def inner(self) -> Any: ...
    def token_bytes(self) -> list[bytes]: ...
    def encode(self, text: str) -> list[int]: ...
    def pieces(self, ids: Sequence[int]) -> list[str]: ...
    def split(self, text: str) -> list[str]: ...
    def ids_of(self, tokens: Sequence[str]) -> list[int]: ...
    def reader(self) -> Reader | None: ...


class ByteText:
    """Converts tokens that are bytes to text; a character is yielded when it is complete."""

    def __init__(
        self, token_bytes: Sequence[bytes], prefix: str, at_start: bool, border: str
    ) -> None:
        self._bytes, self._prefix, self._at_start = token_bytes, prefix.encode(), at_start
        self._border = border

    def write(self, tokens: Iterator[tuple[int, int]]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        at_start = self._at_start
        for token, n_repeated in tokens:
            if token == EOS_ID:
                yield decoder.decode(b"", final=True) + self._border
                at_start = True
                continue
            written = self._bytes[token][n_repeated:]
            yield decoder.decode(written.removeprefix(self._prefix) if at_start else written)
            at_start = False
        yield decoder.decode(b"", final=True)


class WordText:
    """Converts tokens that are words to text; a word is yielded when its joining can no longer change."""

    def __init__(
        self,
        words: Sequence[str],
        before: Sequence[str],
        spaced: bool,
        punctuated: bool,
        border: str,
    ) -> None:
        self._words, self._before, self._spaced = words, list(before), spaced
        self._border = border
        self._join = join_words if punctuated else " ".join
        self._punctuated = punctuated

    def write(self, tokens: Iterator[tuple[int, int]]) -> Iterator[str]:
        line, start, shown = list(self._before), len(self._before), ""
        for token, _ in tokens:
            if token == EOS_ID:
                yield self._text(line, start, len(line))[len(shown) :] + self._border
                line, start, shown = [], 0, ""
                continue
            line.append(self._words[token])
            n_certain = self._n_certain(line)
            waited = len(line) - n_certain > LONGEST_WAIT
            if waited:
                n_certain = len(line)
            if n_certain > start:
                text = self._text(line, start, n_certain)
                yield text[len(shown) :]
                shown = text
            if waited or (len(line) > 4 * N_JOINED and n_certain == len(line)):
                # Text already shown stays; from here fewer words decide how the next ones are joined.
                # An apostrophe whose partner never came is not among them.
                line = line[-LONGEST_WAIT if waited else -N_JOINED :]
                start, shown, self._spaced = len(line), "", True
        yield self._text(line, start, len(line))[len(shown) :]

    def _text(self, line: list[str], start: int, stop: int) -> str:
        """The text that words `start` to `stop` add to the words before them."""
        if stop == start:
            return ""
        whole, place = self._join(line[:stop]), 0
        for word in line[:start]:
            place += whole.startswith(" ", place) + len(word)
        added = whole[place:]
        return added if self._spaced or not start else added.removeprefix(" ")

    def _n_certain(self, line: list[str]) -> int:
        """The number of words whose joining to the words before them is final.

        A lone apostrophe opens a quotation only if another one follows.
        """
        if self._punctuated and line.count("'") % 2:
            return max(i for i, word in enumerate(line) if word == "'")
        return len(line)


def before_stop(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """The text before the first stop string; a tail that may become a stop string is held back."""
    held = ""
    for piece in pieces:
        held += piece
        places = [held.find(string) for string in stop if string in held]
        if places:
            if min(places):
                yield held[: min(places)]
            return
        n_held = max((overlap(held, string) for string in stop), default=0)
        if len(held) > n_held:
            yield held[: len(held) - n_held]
            held = held[len(held) - n_held :]
    if held:
        yield held


def overlap(text: str, stop: str) -> int:
    """The length of the longest end of a text with which a stop string begins."""
    longest = max(0, min(len(text), len(stop) - 1))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def joins_on(character: str) -> bool:
    """Whether a character may combine with those before it: a mark, or a part of a Korean syllable."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"


def is_space(character: str) -> bool:
    """Whether a character is Unicode white space; excludes four control characters that Python counts."""
    return character.isspace() and not "\x1c" <= character <= "\x1f"


def without_prefix(inner: Any) -> Any:
    """A copy of a byte-pair tokenizer for the middle of a text: it adds no space at the start."""
    import tokenizers
    from tokenizers import normalizers

    steps: list[Any] = [normalizers.NFC()]
    if "A" not in inner.normalizer.normalize_str("A"):
        steps.append(normalizers.Lowercase())
    inside = tokenizers.Tokenizer(inner.model)
    inside.normalizer = normalizers.Sequence(steps)
    inside.pre_tokenizer = inner.pre_tokenizer
    return inside


def well_formed(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
