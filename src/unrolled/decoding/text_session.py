"""A language model that has read some text: predict the next token, complete a word, score a text.

Text arrives in pieces of any size, split anywhere. Only tokens that no further character can change are
*committed*, that is, part of the state; the rest waits as a *tail*. Text that has been read is not
processed again: a new character costs one step for each token that it completes, however long the text
before it.
"""

from __future__ import annotations

import copy
import math
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.code.running import Reader
from unrolled.config import require
from unrolled.decoding import code_text
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
from unrolled.decoding.drawing import drawn
from unrolled.decoding.scoring import Score, TokenScore, score
from unrolled.decoding.steps import Array, State, Steps
from unrolled.decoding.word_completion import (
    Completion,
    TokenTrie,
    WordSearch,
    in_word,
    last_word,
    words_from,
)
from unrolled.generating import COMPLETE, ENDED, Choice
from unrolled.text.config import EOS_ID, SPECIALS, UNK_ID

if TYPE_CHECKING:
    from unrolled.decoding.model_steps import LanguageModelLike

__all__ = ["Completion", "Score", "TextSession", "TokenScore", "score"]


_ROWS_AT_ONCE = 256
"""Tokens whose probabilities are computed together when a text is scored."""

_MOST_AT_ONCE = 32
"""Tokens that are generated before they are shown; the first ones are shown at once."""


def _steps_of(model: Any) -> Steps:
    if isinstance(model, Steps):
        return model
    from unrolled.decoding.model_steps import ModelSteps  # imports torch

    return ModelSteps(model)


class TextSession:
    """A language model and the text that it has read.

    A session begins in the state after the end of a document. `feed` reads more text; nothing else
    changes the session. If the model's weights change, the next call uses the new ones, but text already
    read is not read again. Do not change them during a call of `generate`.

    Args:
        model: the language model: a module of torch on any device (`model_steps.LanguageModelLike`), or
            steps that need no torch.
        tokenizer: the tokenizer of the same vocabulary.
        border: the separator between two documents in a text, read as one token, id 3; "" for none. The
            default is a line break if no token contains one, else none.
        restart: whether each document begins with the model's initial state, as in training with
            restarts, rather than with the final state of the previous document.
    """

    def __init__(
        self,
        model: Steps | LanguageModelLike,
        tokenizer: TokenizerLike,
        *,
        border: str | None = None,
        restart: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self._steps = _steps_of(model)
        token_bytes = tokenizer.token_bytes()
        self._trie = TokenTrie(token_bytes)
        if border is None:
            border = "" if any(b"\n" in token for token in token_bytes) else "\n"
        self._border = border
        self._pending = ""  # the end of the text while it may still become a border
        self._restart = restart
        self._by_word = tokenizer.kind in ("word", "space")
        self._prefix = " " if tokenizer.kind == "bpe" and not tokenizer.running else ""
        self._reader = tokenizer.reader()
        self._inside = without_prefix(tokenizer.inner) if tokenizer.kind == "bpe" else None
        self._unwritten = [id_ for id_ in range(len(SPECIALS)) if id_ != EOS_ID]
        self._written = np.array([EOS_ID, *range(len(SPECIALS), len(token_bytes))])
        self._see_weights()
        self._begin_document(self._steps.start())

    def copy(self) -> TextSession:
        """Return a copy at the same position; cheap, because states are never modified in place."""
        other = copy.copy(self)
        other._ahead, other._words = list(self._ahead), list(self._words)
        other._reader = self._reader and self._reader.copy()
        return other

    def feed(self, text: str) -> None:
        """Read more text. Reading text in pieces gives the same result as reading it all at once.

        With a character vocabulary, each character is one step. With other vocabularies, a token is read
        once the text continues after it, and all tokens of a word are read together.
        """
        self._see_weights()
        text = self._pending + well_formed(text)
        *ended, rest = text.split(self._border) if self._border else (text,)
        for document in ended:
            self._grow(document)
            self._commit(self._last_ids())
            if self._restart:
                self._begin_document(self._steps.start())
            else:
                self._begin_document(self._state)
        n_pending = overlap(rest, self._border)
        self._pending = rest[len(rest) - n_pending :]
        self._grow(rest[: len(rest) - n_pending])

    def _settled(self) -> TextSession:
        """This session, with pending characters that may become a border read as text."""
        if not self._pending:
            return self
        other = self.copy()
        other._see_weights()
        other._grow(other._pending)
        other._pending = ""
        return other

    def log_probs(self) -> Any:
        """The distribution of the token after the committed ones, `[V]`, natural logarithms.

        A tensor if the model is a module of torch, else an array.

        With a character vocabulary, all characters are committed; with other vocabularies, only what no
        further character can change: a word is committed when a space follows it.
        """
        if self._pending:
            return self._settled().log_probs()
        self._see_weights()
        return self._steps.log_probs(self._now())[0]

    def typed(self) -> str:
        """The incomplete word at the end of the text, which `complete` completes; "" if there is none.

        With a word vocabulary, it may be a punctuation mark.
        """
        if self._pending:
            return self._settled().typed()
        if self._reader is not None:
            return code_text.last_atom(self._tail, self._reader)
        if not self._by_word:
            return last_word(self._end)
        return self._cut(self._tail)[-1][0] if self._tail else ""

    def complete(self, k: int = 3, max_length: int = 30) -> list[Completion]:
        """Suggest completions of the last word, or, after a space, the next word.

        With a word vocabulary, the probabilities are exact: normalised over all words that match, or,
        if nothing is typed, the model's own probabilities of all tokens except the special ones.
        Otherwise the completions are found by search (see `WordSearch`), and the end of the word is part
        of its probability: "the" is not "then". After a punctuation mark the next word may begin with a
        space, which is then part of the completion.

        Args:
            k: maximum number of completions.
            max_length: maximum number of characters that the search adds to a word.

        Raises:
            ConfigError: `k` or `max_length` is below 1.
        """
        require(k >= 1, "k", "at least 1", k)
        require(max_length >= 1, "max_length", "at least 1", max_length)
        if self._pending:
            return self._settled().complete(k, max_length)
        self._see_weights()
        typed = self.typed()
        if self._by_word or self._reader is not None:
            state = self._after(self._ids_before(typed))
            prefix = self._normal(typed)

            def scores_of(ids: Array) -> Array:
                if prefix:
                    return self._steps.scores_of(state, ids)
                return np.asarray(self._steps.log_probs(state))[0][ids]

            return words_from(scores_of, self._trie, typed, prefix, k)
        spaced = not typed and bool(self._end) and not self._end[-1].isspace()
        # Characters spell a word in one way; byte pairs in several, which all have to be searched.
        least_share = 1.0 if self.tokenizer.kind == "char" else 0.02
        steps, state = self._steps.quick(self._now(), is_long=False)
        search = WordSearch(steps, self._trie, typed, spaced, max_length, least_share)
        return search.run(state, self._wanted(), k)

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
        """Generate text; yields each piece as soon as it can no longer change.

        Joined, the pieces equal what the tokenizer decodes, document by document, with the border (a line
        break if there is none) between two documents. With byte pairs, the first tokens are drawn among
        those that match the tail, so the text read may end in the middle of a word; the part of them that
        repeats the tail is not returned.

        Args:
            max_tokens: maximum number of tokens to generate.
            temperature: sample from softmax(logits / temperature); 0 takes the most probable token.
            top_k: sample from the k most probable tokens only; 0 means all tokens.
            top_p: sample from the nucleus that holds this share of the probability; 1 means all tokens.
            stop: stop strings; the text ends before the first of them.
            stop_at_end: whether to stop at the end of a document.
            seed: random seed; the same seed gives the same text.

        Raises:
            ConfigError: an argument is out of range; the message names it.
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
        # A copy, so that feeding this session in the meantime does not affect the generated text.
        settled = self._settled().copy()
        settled._see_weights()
        tokens = settled._tokens(max_tokens, config, seed, stop_at_end)
        return before_stop(settled._writer().write(tokens), stop)

    def surprise(self, text: str) -> list[TokenScore]:
        """Return the surprisal of each token of a text, read from the beginning of a document.

        Takes one pass with one step per token; the text that this session has read does not matter.
        """
        self._see_weights()
        ids, written = self._ids_of(text), self._as_written(text)
        scores: list[TokenScore] = []
        steps = self._steps.prepared()
        state = steps.read([EOS_ID], steps.start())
        for first in range(0, len(ids), _ROWS_AT_ONCE):
            some = ids[first : first + _ROWS_AT_ONCE]
            states = []
            for token in some:
                states.append(state)
                state = self._read(steps, token, state)
            log_probs_BV = np.asarray(steps.log_probs(*states))
            own_B1 = np.take_along_axis(log_probs_BV, np.array(some)[:, None], axis=1)
            ranks = (log_probs_BV > own_B1).sum(1) + 1
            bits = own_B1[:, 0].astype(np.float64) / -math.log(2)
            pieces = self.tokenizer.pieces(some)
            words = written[first : first + _ROWS_AT_ONCE]
            scores += map(TokenScore, pieces, bits.tolist(), ranks.tolist(), words)
        return scores

    def _begin_document(self, state: State) -> None:
        self._reader = self.tokenizer.reader()
        self._tail = ""  # in NFC; the characters that are not committed yet
        self._end = ""  # the word that the text ends with, and the character before it
        self._words: list[
            str
        ] = []  # the last words of the document, needed to join new words to them
        self._ahead: list[tuple[int, State]] = []  # the tail's first tokens, already read
        self._state = self._steps.read([EOS_ID], state)

    def _grow(self, text: str) -> None:
        if not text:
            return
        end = unicodedata.normalize("NFC", self._end + text)
        if not self._end:
            text = self._prefix + text
        self._end = end[max(0, len(end) - len(last_word(end)) - 1) :]
        certain, self._tail = self._divide(unicodedata.normalize("NFC", self._tail + text))
        for part in certain:
            self._commit(self._ids_in(self._reader, part))
        if self.tokenizer.kind == "char":
            self._after(self._encode(self._tail))

    def _divide(self, tail: str) -> tuple[list[str], str]:
        """Split a tail into parts whose tokens are final, each to be encoded by itself, and the rest."""
        if self.tokenizer.kind == "bpe":
            starts = [start for _, (start, _) in self._cut(tail)]
            last = tail[starts[-1] :]
            # "don" and "'" become one piece once a "t" follows; "=" and a combining stroke become "≠".
            if joins_on(last[0]) or (last in APOSTROPHES and in_word(tail[starts[-1] - 1])):
                starts.pop()
            parts = [tail[start:end] for start, end in pairwise(starts)]
            return parts, tail[starts[-1] :] if starts else tail
        if self._reader is not None:
            border = code_text.border_of(tail)
        elif self._by_word:
            # White space is part of no word, so what follows it cannot change the words before it.
            border = next((i for i in range(len(tail), 0, -1) if is_space(tail[i - 1])), 0)
        else:
            border = next((i for i in range(len(tail) - 1, 0, -1) if not joins_on(tail[i])), 0)
        return [tail[:border]] if border else [], tail[border:]

    def _cut(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The words into which the tokenizer splits a text, and their positions."""
        return self.tokenizer.inner.pre_tokenizer.pre_tokenize_str(text)

    def _encode(self, text: str) -> list[int]:
        """The ids of the end of the text so far, if it goes on."""
        if self._reader is not None:
            return self.tokenizer.ids_of(code_text.read_ahead(text, self._reader.copy()))
        return self._ids_in(None, text)

    def _ids_in(self, reader: Reader | None, text: str) -> list[int]:
        """The ids of a part of a document; of code, the reader goes on to its end."""
        if reader is not None:
            return self.tokenizer.ids_of(reader.read(text))
        if self._inside is None:
            return self.tokenizer.encode(text) if text else []
        return self._inside.encode(text, add_special_tokens=False).ids

    def _last_ids(self) -> list[int]:
        """The ids of the tail at the end of a document."""
        if self._reader is None:
            return self._encode(self._tail)
        return self.tokenizer.ids_of([*self._reader.read(self._tail), *self._reader.close()])

    def _ids_before(self, typed: str) -> list[int]:
        """The ids of the tail without the word that is typed."""
        if self._reader is None or not typed:
            ids = self._encode(self._tail)
            return ids[:-1] if typed else ids
        before = self._tail.removesuffix(typed)
        return self.tokenizer.ids_of(self._reader.copy().read(before, typed))

    def _ids_of(self, text: str) -> list[int]:
        first, *others = self._documents_of(text)
        ids = self.tokenizer.encode(first)
        for document in others:
            ids += [EOS_ID, *self.tokenizer.encode(document)]
        return ids

    def _as_written(self, text: str) -> list[str]:
        """The tokens of `_ids_of` as strings, with unknown words as they are written."""
        pieces: list[str] = []
        for number, document in enumerate(self._documents_of(text)):
            ids, words = self.tokenizer.encode(document), self.tokenizer.split(document)
            read = self.tokenizer.pieces(ids)
            if len(words) == len(ids):
                read = [words[i] if ids[i] == UNK_ID else piece for i, piece in enumerate(read)]
            pieces += [*(self.tokenizer.pieces([EOS_ID]) if number else ()), *read]
        return pieces

    def _documents_of(self, text: str) -> list[str]:
        return text.split(self._border) if self._border else [text]

    def _normal(self, text: str) -> str:
        """The text as the vocabulary writes it: in lower case if the vocabulary is lower-cased."""
        written: str = self.tokenizer.inner.normalizer.normalize_str(text) if text else ""
        return written.removeprefix(self._prefix)

    def _wanted(self) -> bytes:
        """The bytes with which the tokens after the committed ones must begin."""
        if self.tokenizer.kind != "bpe":
            return b""
        # The tokenizer puts a space before the first word of a document; the text does not contain it.
        return (self._normal(self._tail) if self._end else self._prefix).encode()

    def _see_weights(self) -> None:
        """Use the current weights; every public method that makes a step calls this first."""
        self._steps = self._steps.current()

    def _read(self, steps: Steps, token: int, state: State) -> State:
        begins_anew = self._restart and token == EOS_ID
        return steps.read([token], steps.start() if begins_anew else state)

    def _commit(self, ids: Sequence[int]) -> None:
        for token in ids:
            if self._ahead and self._ahead[0][0] == token:
                _, self._state = self._ahead.pop(0)
            else:
                self._ahead = []
                self._state = self._steps.read([token], self._state)
        if self._by_word:
            self._words = [*self._words, *self.tokenizer.pieces(ids)][-N_JOINED:]

    def _after(self, ids: Sequence[int]) -> State:
        """The state after the committed tokens and these, which stay uncommitted."""
        n_same = 0
        while n_same < min(len(ids), len(self._ahead)) and self._ahead[n_same][0] == ids[n_same]:
            n_same += 1
        if n_same < len(ids):
            del self._ahead[n_same:]
        for token in ids[n_same:]:
            state = self._ahead[-1][1] if self._ahead else self._state
            self._ahead.append((token, self._steps.read([token], state)))
        return self._ahead[len(ids) - 1][1] if ids else self._state

    def _now(self) -> State:
        """The state after all text that can be read: with characters, the tail too."""
        if self.tokenizer.kind == "char":
            return self._after(self._encode(self._tail))
        return self._state

    def _tokens(
        self, max_tokens: int, config: DecodingConfig | None, seed: int, stop_at_end: bool
    ) -> Iterator[tuple[int, int]]:
        """Yield the generated tokens, each with the number of its first bytes that repeat the tail."""
        uniforms = np.random.default_rng(seed)
        # With an empty tail no space is required: the model decides how a document begins.
        wanted = self._wanted() if self._tail else b""
        state = self._now() if wanted else self._after(self._encode(self._tail))
        steps, state = self._steps.quick(state, is_long=True)
        n_tokens = 0
        while wanted and n_tokens < max_tokens:
            candidates = np.array(sorted(self._trie.agreeing(wanted)))
            uniform = None if config is None else uniforms.random()
            token = _chosen(steps, state, candidates, config, uniform)
            n_repeated = min(len(wanted), len(self._trie.bytes[token]))
            wanted = wanted[n_repeated:]
            n_tokens += n_repeated < len(self._trie.bytes[token])
            yield token, n_repeated
            state = steps.read([token], state)
        rest = max_tokens - n_tokens
        for token in self._unbound(steps, state, rest, config, uniforms, stop_at_end):
            yield token, 0

    def _unbound(
        self,
        steps: Steps,
        state: State,
        n: int,
        config: DecodingConfig | None,
        uniforms: np.random.Generator,
        stop_at_end: bool,
    ) -> Iterator[int]:
        """Yield up to n tokens: more and more of them at once, where that is possible."""
        rules, none = config or DecodingConfig(), self._unwritten
        cuts = (rules.temperature, rules.top_k, rules.top_p)
        choice = Choice(*cuts, none, EOS_ID, stop_at_end, self._restart)
        n_at_once, numbers = 1, np.empty(0)  # random numbers, one for each token to come
        while n > 0:
            n_asked = min(n, n_at_once)
            if config is not None:
                more = uniforms.random(max(0, n_asked - len(numbers)))
                numbers = np.concatenate([numbers, more])
            given = None if config is None else numbers[:n_asked]
            tokens, outcome, state = steps.generate(state, n_asked, given, choice)
            yield from tokens
            n, numbers = n - len(tokens), numbers[len(tokens) :]
            if outcome == ENDED:
                return
            if outcome == COMPLETE:
                n_at_once = min(2 * n_at_once, _MOST_AT_ONCE)
                continue
            uniform = None if config is None else float(numbers[0])
            token = _chosen(steps, state, self._written, config, uniform)
            if token == EOS_ID and stop_at_end:
                return
            yield token
            n, numbers = n - 1, numbers[1:]
            if n:
                state = self._read(steps, token, state)

    def _writer(self) -> WordText | ByteText | code_text.CodeText:
        if self._reader is not None:
            reader = self._reader.copy()
            code_text.read_ahead(self._tail, reader)
            white = self._tail[len(self._tail.rstrip()) :]
            tokens = self.tokenizer.pieces(range(len(self._trie.bytes)))
            return code_text.CodeText(tokens, reader.writer, white, self._border or "\n")
        if not self._by_word:
            at_start = not self._end
            return ByteText(self._trie.bytes, self._prefix, at_start, self._border or "\n")
        before = [*self._words, *self.tokenizer.pieces(self._encode(self._tail))]
        spaced = bool(before) and not self._end[-1:].isspace()
        words = [written.decode() for written in self._trie.bytes]
        punctuated = self.tokenizer.kind == "word"
        return WordText(words, before, spaced, punctuated, self._border or "\n")


def _chosen(
    steps: Steps,
    state: State,
    candidates: Array,
    config: DecodingConfig | None,
    uniform: float | None,
) -> int:
    """One of some tokens: the most probable one without settings, else the one at a random number."""
    log_probs_C = np.asarray(steps.log_probs(state))[0][candidates]
    if config is None or uniform is None:
        return int(candidates[log_probs_C.argmax()])
    return int(candidates[drawn(log_probs_C, uniform, config)])
