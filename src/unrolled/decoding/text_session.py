"""A language model that has read some text: what comes next, what a word becomes, what a text costs.

Text arrives in pieces of any size, cut anywhere. Only tokens that no further character can change are
*committed*, that is, part of the state; the rest waits as a *tail*. What has been read costs nothing
again: a character more is a step for each token that it completes, however long the text before it.
"""

from __future__ import annotations

import copy
import math
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unrolled.config import require
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.detokenize import (
    APOSTROPHES,
    N_JOINED,
    ByteText,
    TokenizerLike,
    WordText,
    before_stop,
    is_space,
    joins_on,
    overlap,
    well_formed,
    without_prefix,
)
from unrolled.decoding.sampling import draw
from unrolled.decoding.scoring import Score, TokenScore, score
from unrolled.decoding.word_completion import (
    Completion,
    Layers,
    TokenTrie,
    WordSearch,
    in_word,
    last_word,
    words_from,
)
from unrolled.text.tokenizer import EOS_ID, SPECIALS

__all__ = ["Completion", "Score", "TextSession", "TokenScore", "score"]


_ROWS_AT_ONCE = 256
"""Tokens whose probabilities are computed together when a text is scored."""


class Head(Protocol):
    """The output layer."""

    def logits(self, hidden: Tensor) -> Tensor:
        """`[B, H]` → `[B, V]`."""
        ...


class LanguageModelLike(Protocol):
    """A model that reads one token further."""

    @property
    def head(self) -> Head: ...

    def start(self, n_rows: int) -> Layers:
        """The state before anything was read."""
        ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Layers]:
        """Read `ids`, `[B]` int64 → (hidden `[B, H]`, the new state); the old one stays valid.

        A model may also have `packed(before, many_steps)`: its weights arranged for the steps of one
        call, or None; what that returns is then the third argument of `step`.
        """
        ...


class TextSession:
    """A language model and the text that it has read.

    It begins as after the end of a document. `feed` lets it read on; nothing else changes it. Where the
    model's weights change meanwhile, the next call reads and predicts by the new ones; what was read by
    the old ones stays read. A call of `generate` writes to its end with the recurrent weights of its
    beginning.

    Args:
        model: reads one token further; on any device.
        tokenizer: of the same vocabulary.
        border: what stands between two documents of a text, and is one token, id 3; "" for nothing;
            by default a line break, where no token can write one.
        restart: whether each document begins with the model's first state, as in training with
            restarts, rather than with the last one of the document before.
    """

    def __init__(
        self,
        model: LanguageModelLike,
        tokenizer: TokenizerLike,
        *,
        border: str | None = None,
        restart: bool = False,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        token_bytes = tokenizer.token_bytes()
        self._trie = TokenTrie(token_bytes)
        if border is None:
            border = "" if any(b"\n" in each for each in token_bytes) else "\n"
        self._border = border
        self._pending = ""  # the end of the text, as long as it may become a border
        self._restart = restart
        self._by_word = tokenizer.kind in ("word", "space")
        self._prefix = " " if tokenizer.kind == "bpe" and not tokenizer.running else ""
        self._inside = without_prefix(tokenizer.inner) if tokenizer.kind == "bpe" else None
        self._written = torch.tensor(
            [i for i in range(len(token_bytes)) if i >= len(SPECIALS) or i == EOS_ID]
        )
        self._packed: Any = None
        self._see_weights()
        self._begin_document(model.start(1))

    def copy(self) -> TextSession:
        """Another one at the same place; costs nothing, since states are never changed."""
        other = copy.copy(self)
        other._ahead, other._words = list(self._ahead), list(self._words)
        return other

    def feed(self, text: str) -> None:
        """Read on. Text in pieces is read like the same text at once.

        In letters a character is a step. In other vocabularies a token is read when the text goes on
        behind it, all tokens of a word together.
        """
        self._see_weights()
        text = self._pending + well_formed(text)
        *ended, rest = text.split(self._border) if self._border else (text,)
        for document in ended:
            self._grow(document)
            self._commit(self._encode(self._tail))
            if self._restart:
                self._begin_document(self.model.start(1))
            else:
                self._begin_document(self._state)
        n_pending = overlap(rest, self._border)
        self._pending = rest[len(rest) - n_pending :]
        self._grow(rest[: len(rest) - n_pending])

    def _settled(self) -> TextSession:
        """The same, with what may become a border taken for text."""
        if not self._pending:
            return self
        other = self.copy()
        other._see_weights()
        other._grow(other._pending)
        other._pending = ""
        return other

    def log_probs(self) -> Tensor:
        """The distribution of the token after the committed ones, `[V]`, natural logarithms.

        In letters all characters are committed; in other vocabularies, what no further character can
        change: a word is when a space follows.
        """
        if self._pending:
            return self._settled().log_probs()
        self._see_weights()
        hidden, _ = self._now()
        return self._log_probs(hidden)[0]

    def typed(self) -> str:
        """The word that the text ends with, as far as it is there: what `complete` completes.

        Where a token is a word, it may be a punctuation mark.
        """
        if self._pending:
            return self._settled().typed()
        if not self._by_word:
            return last_word(self._end)
        return self._cut(self._tail)[-1][0] if self._tail else ""

    def complete(self, k: int = 3, max_length: int = 30) -> list[Completion]:
        """What the word typed last may become, or, after a space, which word comes next.

        Where a token is a word, the probabilities are exact: those of all agreeing words, or, with
        nothing typed, the model's own of every token but the special ones. Otherwise words are
        searched for (see `WordSearch`), end included: "the" is not "then". After a punctuation mark
        the next word may begin with a space, which is then part of the completion.

        Args:
            k: how many, at most.
            max_length: the most characters that a word may still get, where it is searched for.

        Raises:
            ConfigError: k or the length is below 1.
        """
        require(k >= 1, "k", "at least 1", k)
        require(max_length >= 1, "max_length", "at least 1", max_length)
        if self._pending:
            return self._settled().complete(k, max_length)
        self._see_weights()
        typed = self.typed()
        if self._by_word:
            ids = self._encode(self._tail)
            hidden, _ = self._after(ids[:-1] if typed else ids)
            log_probs_V = self._log_probs(hidden)[0]
            return words_from(log_probs_V, self._trie, typed, self._normal(typed), k)
        spaced = not typed and bool(self._end) and not self._end[-1].isspace()
        hidden, state = self._now()
        self._see_weights(many_steps=True)
        # Letters spell a word in one way; in byte pairs, other ways have to be looked for.
        least_share = 1.0 if self.tokenizer.kind == "char" else 0.02
        search = WordSearch(self._read_on, self._trie, typed, spaced, max_length, least_share)
        return search.run(self._log_probs(hidden), state, self._wanted(), k)

    def generate(
        self,
        max_tokens: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        stop_at_end: bool = False,
        seed: int = 1,
    ) -> Iterator[str]:
        """Go on writing; the text comes in pieces, as soon as each is certain.

        The pieces together are what the tokenizer decodes, each document by itself, a line break
        between two. In byte pairs, tokens that agree with the tail are drawn first, so that the text
        may end in the middle of a word; what they repeat of it is not given.

        Args:
            max_tokens: the most tokens to write.
            temperature: softmax(logits / temperature) is drawn from; 0 takes the most probable token.
            top_k: draw from the k most probable tokens only; 0 is all of them.
            top_p: draw from the nucleus that holds this share of the probability; 1 is all.
            stop: strings at the first of which the text ends, without it.
            stop_at_end: whether the end of a document ends the text.
            seed: of the draws; the same one gives the same text.

        Raises:
            ConfigError: a value that cannot be, by name.
        """
        require(max_tokens >= 0, "max_tokens", "at least 0", max_tokens)
        require(0 <= temperature < math.inf, "temperature", "at least 0", temperature)
        require(top_k >= 0, "top_k", "at least 0", top_k)
        require(0 < top_p <= 1, "top_p", "above 0 and at most 1", top_p)
        require(seed >= 0, "seed", "at least 0", seed)
        require(all(stop), "stop", "strings that are not empty", "''")
        config = None
        if temperature > 0:
            config = DecodingConfig(
                method="sample", temperature=temperature, top_k=top_k, top_p=top_p
            )
        # Another one, so that feeding this one meanwhile changes nothing.
        settled = self._settled().copy()
        settled._see_weights(many_steps=True)
        tokens = settled._tokens(max_tokens, config, seed, stop_at_end)
        return before_stop(settled._writer().write(tokens), stop)

    def surprise(self, text: str) -> list[TokenScore]:
        """How well each token of a text is foreseen, read from the beginning of a document.

        One pass, a step for each token; what this object has read does not matter.
        """
        self._see_weights(many_steps=True)
        ids = self._ids_of(text)
        found: list[TokenScore] = []
        hidden, state = self._step(EOS_ID, self.model.start(1))
        for first in range(0, len(ids), _ROWS_AT_ONCE):
            some = ids[first : first + _ROWS_AT_ONCE]
            rows = []
            for token in some:
                rows.append(hidden)
                hidden, state = self._read(token, state)
            log_probs_BV = self._log_probs(torch.cat(rows))
            own_B1 = log_probs_BV.gather(1, torch.tensor(some).unsqueeze(1))
            ranks = (log_probs_BV > own_B1).sum(1) + 1
            bits = own_B1.squeeze(1).double() / -math.log(2)
            pieces = self.tokenizer.pieces(some)
            found += map(TokenScore, pieces, bits.tolist(), ranks.tolist())
        return found

    def _begin_document(self, state: Layers) -> None:
        self._tail = ""  # in NFC; characters after the last certain border
        self._end = ""  # the word that the text ends with, and the character before it
        self._words: list[str] = []  # the last words of the document, for joining more to them
        self._ahead: list[tuple[int, Tensor, Layers]] = []  # the tail's first tokens, already read
        self._hidden, self._state = self._step(EOS_ID, state)

    def _grow(self, text: str) -> None:
        if not text:
            return
        end = unicodedata.normalize("NFC", self._end + text)
        if not self._end:
            text = self._prefix + text
        self._end = end[max(0, len(end) - len(last_word(end)) - 1) :]
        certain, self._tail = self._divide(unicodedata.normalize("NFC", self._tail + text))
        for part in certain:
            self._commit(self._encode(part))
        if self.tokenizer.kind == "char":
            self._after(self._encode(self._tail))

    def _divide(self, tail: str) -> tuple[list[str], str]:
        """The parts whose tokens no further character changes, each to be encoded by itself; the rest."""
        if self.tokenizer.kind == "bpe":
            starts = [start for _, (start, _) in self._cut(tail)]
            last = tail[starts[-1] :]
            # "don" and "'" are one piece as soon as a "t" follows; "=" and a stroke may become "≠".
            if joins_on(last[0]) or (last in APOSTROPHES and in_word(tail[starts[-1] - 1])):
                starts.pop()
            parts = [tail[start:end] for start, end in pairwise(starts)]
            return parts, tail[starts[-1] :] if starts else tail
        if self._by_word:
            # Nothing looks beyond white space, which is part of no word.
            border = next((i for i in range(len(tail), 0, -1) if is_space(tail[i - 1])), 0)
        else:
            border = next((i for i in range(len(tail) - 1, 0, -1) if not joins_on(tail[i])), 0)
        return [tail[:border]] if border else [], tail[border:]

    def _cut(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The tokenizer's own words, and where they stand."""
        return self.tokenizer.inner.pre_tokenizer.pre_tokenize_str(text)

    def _encode(self, text: str) -> list[int]:
        """The ids of a part of a document."""
        if self._inside is None:
            return self.tokenizer.encode(text) if text else []
        return self._inside.encode(text, add_special_tokens=False).ids

    def _ids_of(self, text: str) -> list[int]:
        if not self._border:
            return self.tokenizer.encode(text)
        first, *others = text.split(self._border)
        ids = self.tokenizer.encode(first)
        for line in others:
            ids += [EOS_ID, *self.tokenizer.encode(line)]
        return ids

    def _normal(self, text: str) -> str:
        """As the vocabulary writes it: in lower case, where it knows no other."""
        written: str = self.tokenizer.inner.normalizer.normalize_str(text) if text else ""
        return written.removeprefix(self._prefix)

    def _wanted(self) -> bytes:
        """What the tokens after the committed ones have to write first."""
        if self.tokenizer.kind != "bpe":
            return b""
        # The first word of a document has a space before it that the text has not.
        return (self._normal(self._tail) if self._end else self._prefix).encode()

    def _see_weights(self, many_steps: bool = False) -> None:
        """Arrange the weights as they are now; no call from outside makes a step before it did so."""
        if packed := getattr(self.model, "packed", None):
            with torch.no_grad():
                self._packed = packed(self._packed, many_steps=many_steps)

    def _packed_or_none(self) -> tuple[Any, ...]:
        return () if self._packed is None else (self._packed,)

    def _step(self, token: int, state: Layers) -> tuple[Tensor, Layers]:
        with torch.no_grad():
            ids = torch.tensor([token], device=state[0][0].device)
            return self.model.step(ids, state, *self._packed_or_none())

    def _read(self, token: int, state: Layers) -> tuple[Tensor, Layers]:
        return self._step(token, self.model.start(1) if self._begins_anew(token) else state)

    def _begins_anew(self, token: int) -> bool:
        return self._restart and token == EOS_ID

    def _read_on(self, tokens: Sequence[int], state: Layers) -> tuple[Tensor, Layers]:
        with torch.no_grad():
            ids = torch.tensor(tokens, device=state[0][0].device)
            hidden, state = self.model.step(ids, state, *self._packed_or_none())
        return self._log_probs(hidden), state

    def _log_probs(self, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model.head.logits(hidden).float().log_softmax(1).cpu()

    def _commit(self, ids: Sequence[int]) -> None:
        for token in ids:
            if self._ahead and self._ahead[0][0] == token:
                _, self._hidden, self._state = self._ahead.pop(0)
            else:
                self._ahead = []
                self._hidden, self._state = self._step(token, self._state)
        if self._by_word:
            self._words = [*self._words, *self.tokenizer.pieces(ids)][-N_JOINED:]

    def _after(self, ids: Sequence[int]) -> tuple[Tensor, Layers]:
        """Where the model stands after the committed tokens and these, which stay uncommitted."""
        n_same = 0
        while n_same < min(len(ids), len(self._ahead)) and self._ahead[n_same][0] == ids[n_same]:
            n_same += 1
        if n_same < len(ids):
            del self._ahead[n_same:]
        for token in ids[n_same:]:
            state = self._ahead[-1][2] if self._ahead else self._state
            self._ahead.append((token, *self._step(token, state)))
        return self._ahead[len(ids) - 1][1:] if ids else (self._hidden, self._state)

    def _now(self) -> tuple[Tensor, Layers]:
        """After all characters that can be read: in letters, the tail too."""
        if self.tokenizer.kind == "char":
            return self._after(self._encode(self._tail))
        return self._hidden, self._state

    def _tokens(
        self, max_tokens: int, config: DecodingConfig | None, seed: int, stop_at_end: bool
    ) -> Iterator[tuple[int, int]]:
        """The tokens written, each with how many of its first bytes only repeat the tail."""
        uniforms = np.random.default_rng(seed)
        # An empty tail promises no space: the model decides how a document begins.
        wanted = self._wanted() if self._tail else b""
        hidden, state = self._now() if wanted else self._after(self._encode(self._tail))
        n_tokens = 0
        while n_tokens < max_tokens:
            candidates = self._written
            if wanted:
                candidates = torch.tensor(sorted(self._trie.agreeing(wanted)))
            log_probs_C = self._log_probs(hidden)[0][candidates]
            if config is None:
                place = int(log_probs_C.argmax())
            else:
                uniform = torch.tensor([[uniforms.random()]], dtype=torch.float64)
                place = int(draw(log_probs_C.view(1, 1, -1), uniform, config))
            token = int(candidates[place])
            n_repeated = min(len(wanted), len(self._trie.bytes[token]))
            wanted = wanted[n_repeated:]
            n_tokens += not n_repeated or n_repeated < len(self._trie.bytes[token])
            if token == EOS_ID and stop_at_end:
                return
            yield token, n_repeated
            if n_tokens < max_tokens:
                hidden, state = self._read(token, state)

    def _writer(self) -> WordText | ByteText:
        if not self._by_word:
            at_start = not self._end
            return ByteText(self._trie.bytes, self._prefix, at_start, self._border or "\n")
        before = [*self._words, *self.tokenizer.pieces(self._encode(self._tail))]
        spaced = bool(before) and not self._end[-1:].isspace()
        words = [written.decode() for written in self._trie.bytes]
        punctuated = self.tokenizer.kind == "word"
        return WordText(words, before, spaced, punctuated, self._border or "\n")
