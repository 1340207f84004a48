"""Word completion: find the words that begin with the letters typed, and their probabilities.

Characters and byte pairs spell a word in several steps, so completions are found by best-first search. If
each token is a word, one row of the softmax suffices.
"""

from __future__ import annotations

import codecs
import heapq
import math
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, groupby

import numpy as np

from unrolled.decoding.drawing import best
from unrolled.decoding.steps import Array, State, Steps, log_softmax
from unrolled.text.config import EOS_ID

WIDTH = 24
"""Number of hypotheses that are extended together in one step."""

_N_ROUNDS = 31
"""The search gives up after this many rounds, or `max_length` + 1 if that is more."""

_N_CHILDREN = 64
"""Number of most probable continuations considered per hypothesis."""

_APOSTROPHES = frozenset("'\u2019")


@dataclass(frozen=True)
class Completion:
    """One completion of the last word.

    Args:
        text: the whole word; starts with `typed`.
        probability: probability of the word, given the text before it and that it begins with `typed`.
        typed: the characters of the word that are already typed.
    """

    text: str
    probability: float
    typed: str


def in_word(character: str) -> bool:
    """Whether a character is part of a word: a letter, a mark, a digit or an apostrophe."""
    return character in _APOSTROPHES or unicodedata.category(character)[0] in "LMN"


def last_word(text: str) -> str:
    """The complete or incomplete word at the end of a text; "" if there is none.

    >>> last_word("they don'"), last_word("they don't "), last_word("1½ caf\u00e9")
    ("don'", '', 'café')
    """
    start = len(text)
    while start and in_word(text[start - 1]):
        start -= 1
    return text[start:]


class TokenTrie:
    """The bytes of each token of a vocabulary, sorted so that matching tokens are found quickly.

    Args:
        token_bytes: the UTF-8 bytes of each token, by id; empty for special tokens.

    >>> trie = TokenTrie([b"", b"th", b"the", b"t", b"a"])
    >>> trie.beginning_with(b"th"), trie.agreeing(b"th")
    ([1, 2], [1, 2, 3])
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self.bytes = list(token_bytes)

    @cached_property
    def _by_bytes(self) -> tuple[list[bytes], list[int], Array]:
        """The bytes of all tokens that have any, sorted, and their ids."""
        pairs = sorted((written, i) for i, written in enumerate(self.bytes) if written)
        ids = [i for _, i in pairs]
        return [written for written, _ in pairs], ids, np.array(ids, np.int64)

    # Whether a token ends or continues a word made of complete characters. Part of a character may
    # do either; this is decided once the character is complete.

    @cached_property
    def ends(self) -> Array:
        """Whether each token ends a word, `[V]`."""
        begins = map(_first_character, self.bytes)
        ends = np.array([first is not None and not in_word(first) for first in begins])
        ends[EOS_ID] = True
        return ends

    @cached_property
    def goes_on(self) -> Array:
        """Whether each token continues a word, `[V]`."""
        return np.array([bool(written) for written in self.bytes]) & ~self.ends

    @cached_property
    def begins_with_space(self) -> Array:
        """Whether each token is a space, or a space and the beginning of a word, `[V]`."""
        return np.array(
            [
                w == b" " or (w[:1] == b" " and in_word(_first_character(w[1:]) or "a"))
                for w in self.bytes
            ]
        )

    @cached_property
    def inside_character(self) -> Array:
        """Whether each token begins inside a character, `[V]`."""
        return np.array([bool(w) and 0x80 <= w[0] < 0xC0 for w in self.bytes])

    def beginning_with(self, prefix: bytes) -> list[int]:
        """The ids whose bytes begin with `prefix`, in the order of their bytes; all if it is empty."""
        return self._by_bytes[1][self._places_of(prefix)]

    def ids_beginning_with(self, prefix: bytes) -> Array:
        """The same as an array, which shares memory with the trie."""
        return self._by_bytes[2][self._places_of(prefix)]

    def _places_of(self, prefix: bytes) -> slice:
        if not prefix:
            return slice(None)
        # UTF-8 never contains 0xFF, so the last byte can be incremented.
        written = self._by_bytes[0]
        beyond = prefix[:-1] + bytes([prefix[-1] + 1])
        return slice(bisect_left(written, prefix), bisect_left(written, beyond))

    def agreeing(self, wanted: bytes) -> list[int]:
        """The ids that may come next where `wanted` must: one is a prefix of the other."""
        ids = self.beginning_with(wanted)
        written, sorted_ids, _ = self._by_bytes
        for length in range(len(wanted) - 1, 0, -1):
            start = bisect_left(written, wanted[:length])
            while start < len(written) and written[start] == wanted[:length]:
                ids.append(sorted_ids[start])
                start += 1
        return ids


@dataclass(frozen=True)
class _Node:
    """A hypothesis that has been read: its log-probability, its bytes, and the place of its state."""

    log_prob: float
    written: bytes
    batch: int
    row: int


_Child = tuple[float, int, _Node, int, bytes]
"""A continuation: −log probability, a running number, its parent, the new token, all bytes written."""


class WordSearch:
    """A search for the most probable next words with a model of characters or byte pairs.

    Each round extends the `WIDTH` most probable hypotheses by one token in one step. A word ends when the
    next character is not a letter, mark, digit or apostrophe, and the probability of that is part of the
    word's. If a word can be split into tokens in several ways, their probabilities are added.

    With characters, there is only one way, and the probability is exact. With byte pairs, splits that
    were too improbable to follow are missing (see `least_share`); likewise, the probability of the typed
    bytes covers only the `WIDTH` most probable ways to split them.

    Args:
        steps: the language model.
        trie: the trie of the vocabulary.
        typed: the characters of the word that are already typed.
        spaced: whether one space may come before the word.
        max_length: maximum number of characters to add.
        least_share: a hypothesis is followed while its probability is at least this share of the
            k-th word's. With 1, no remaining hypothesis could become a better word by itself, unless
            the search ran out of rounds: `_N_ROUNDS`, or `max_length` + 1 if that is more.
    """

    def __init__(
        self,
        steps: Steps,
        trie: TokenTrie,
        typed: str,
        spaced: bool,
        max_length: int,
        least_share: float = 1.0,
    ) -> None:
        self._least_share = least_share
        self._model, self._trie = steps, trie
        self._typed, self._spaced, self._max_length = typed, spaced, max_length
        self._states: list[State] = []
        self._finished: defaultdict[str, float] = defaultdict(float)
        self._heap: list[_Child] = []
        self._order = count()  # breaks ties, so that nodes are never compared

    def run(self, state: State, wanted: bytes, k: int) -> list[Completion]:
        """Return the k most probable words.

        Args:
            state: the model's state, of one row.
            wanted: the bytes with which the next tokens must begin.
            k: number of words.
        """
        self._states.append(state)
        log_probs_1V = np.asarray(self._model.log_probs(state))
        root = _Node(0.0, b"", 0, 0)
        covered = 1.0
        if wanted:
            covered = self._cover(root, log_probs_1V, wanted)
        else:
            self._expand([root], log_probs_1V, k)
        for _ in range(max(_N_ROUNDS, self._max_length + 1)):
            chosen = self._pop(k)
            if not chosen:
                break
            nodes, log_probs_BV = self._step(chosen)
            self._expand(nodes, log_probs_BV, k)
        best = sorted(self._finished.items(), key=lambda item: (-item[1], item[0]))[:k]
        return [
            # Rounding must not raise a probability above 1.
            Completion(self._typed + word, min(1.0, mass / covered), self._typed)
            for word, mass in best
            if mass > 0
        ]

    def _cover(self, root: _Node, log_probs_BV: Array, wanted: bytes) -> float:
        """Follow the ways to split the wanted bytes into tokens; return the total probability seen."""
        covered = 0.0
        nodes = [root]
        while nodes:
            partial: list[_Child] = []
            for node, log_probs_V in zip(nodes, log_probs_BV, strict=True):
                left = wanted[len(node.written) :]
                ids = self._trie.agreeing(left)
                log_probs = log_probs_V[ids]
                for log_prob, token in _best(log_probs, ids, 8 * _N_CHILDREN):
                    total = node.log_prob + log_prob
                    if len(self._trie.bytes[token]) < len(left):
                        written = node.written + self._trie.bytes[token]
                        partial.append((-total, next(self._order), node, token, written))
                    else:
                        self._push(total, node, token, self._trie.bytes[token][len(left) :])
                beyond = np.array([len(self._trie.bytes[i]) >= len(left) for i in ids])
                covered += math.exp(node.log_prob) * float(
                    np.exp(log_probs[beyond].astype(float)).sum()
                )
            nodes = []
            if partial:
                nodes, log_probs_BV = self._step(heapq.nsmallest(WIDTH, partial))
        return covered

    def _step(self, chosen: list[_Child]) -> tuple[list[_Node], Array]:
        chosen = sorted(chosen, key=lambda child: child[2].batch)
        groups = [
            (self._states[batch], [child[2].row for child in children])
            for batch, children in groupby(chosen, key=lambda child: child[2].batch)
        ]
        state = self._model.read([child[3] for child in chosen], self._model.rows(groups))
        self._states.append(state)
        batch = len(self._states) - 1
        nodes = [
            _Node(-cost, written, batch, row) for row, (cost, _, _, _, written) in enumerate(chosen)
        ]
        return nodes, np.asarray(self._model.log_probs(state))

    def _expand(self, nodes: list[_Node], log_probs_BV: Array, k: int) -> None:
        """End the word of each hypothesis, and queue its continuations."""
        trie = self._trie
        p_end_B = np.exp(log_probs_BV[:, trie.ends].astype(float)).sum(1)
        follow: list[Array] = []
        for node, p_end in zip(nodes, p_end_B.tolist(), strict=True):
            text, n_read = codecs.utf_8_decode(node.written, "strict", False)
            if n_read < len(node.written):
                follow.append(trie.inside_character)
                continue
            if self._is_word(text):
                self._finished[text] += math.exp(node.log_prob) * p_end
            may_space = self._spaced and not text
            follow.append(trie.goes_on | trie.begins_with_space if may_space else trie.goes_on)
        masked_BV = np.where(np.stack(follow), log_probs_BV, -math.inf)
        n_last = max(0, masked_BV.shape[1] - _N_CHILDREN)
        bounds_B = np.partition(masked_BV, n_last, axis=1)[:, n_last]
        least = self._least(k)
        for node, masked_V, bound in zip(nodes, masked_BV, bounds_B, strict=True):
            tokens = np.flatnonzero(masked_V >= bound)
            for log_prob, token in _best(masked_V[tokens], tokens, _N_CHILDREN):
                total = node.log_prob + log_prob
                if total == -math.inf or total < least:
                    break
                self._push(total, node, token, node.written + trie.bytes[token])

    def _push(self, log_prob: float, node: _Node, token: int, written: bytes) -> None:
        """Add a continuation: a finished word, a hypothesis to follow, or nothing if it is no word."""
        try:
            text, _ = codecs.utf_8_decode(written, "strict", False)
        except UnicodeDecodeError:
            return
        start = int(self._spaced and text[:1] == " ")
        end = next((i for i in range(start, len(text)) if not in_word(text[i])), None)
        if end is not None:
            if self._is_word(text[:end]):
                self._finished[text[:end]] += math.exp(log_prob)
        elif len(text) <= self._max_length:
            heapq.heappush(self._heap, (-log_prob, next(self._order), node, token, written))

    def _pop(self, k: int) -> list[_Child]:
        """Take the most probable hypotheses that are worth following from the queue."""
        least = self._least(k)
        chosen: list[_Child] = []
        while self._heap and len(chosen) < WIDTH and -self._heap[0][0] > least:
            chosen.append(heapq.heappop(self._heap))
        return chosen

    def _least(self, k: int) -> float:
        if len(self._finished) < k:
            return -math.inf
        mass = self._least_share * heapq.nlargest(k, self._finished.values())[-1]
        return math.log(mass) if mass > 0 else -math.inf

    def _is_word(self, text: str) -> bool:
        return any(c not in _APOSTROPHES and c != " " for c in self._typed + text)


def words_from(
    scores_of: Callable[[Array], Array], trie: TokenTrie, typed: str, prefix: str, k: int
) -> list[Completion]:
    """Return the k most probable tokens that begin with a prefix, for a word vocabulary.

    Args:
        scores_of: ids of tokens `[N]` → their log-probabilities; with a prefix, up to a common summand.
        trie: the trie of the vocabulary.
        typed: the characters that are already typed.
        prefix: the same as the vocabulary writes them: in lower case if the vocabulary is lower-cased.
        k: number of words.

    The probabilities are normalised over all words that begin with the prefix; with an empty prefix they
    are the model's own.
    """
    ids = trie.ids_beginning_with(prefix.encode())
    if not len(ids):
        return []
    log_probs = scores_of(ids).astype(np.float64)
    if prefix:
        log_probs = log_softmax(log_probs)
    return [
        Completion(typed + trie.bytes[token].decode()[len(prefix) :], math.exp(log_prob), typed)
        for log_prob, token in _best(log_probs, ids, k)
    ]


def _best(log_probs: Array, ids: Sequence[int] | Array, n: int) -> Iterator[tuple[float, int]]:
    for place in best(log_probs, n).tolist():
        yield float(log_probs[place]), int(ids[place])


def _first_character(written: bytes) -> str | None:
    """The first character; None if the bytes begin inside a character or do not contain all of it."""
    for length in range(1, min(4, len(written)) + 1):
        try:
            return written[:length].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None
