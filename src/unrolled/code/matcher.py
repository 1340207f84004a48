"""Which tokens may come next in Python code, so that what has been written can still be completed.

Tokens are those of `unrolled.code`. A matcher follows the text that they stand for through the grammar
of `code.python_grammar`. It decides by classes of tokens: all words that are no keywords are one class,
as are all numbers; most other tokens are a class of their own. So a word that is joined with another to a
keyword is not noticed, nor are values that cannot be assigned to: what is written must be parsed in the
end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.code.marks import DEDENT, INDENT, JOIN, MARKS, NEWLINE, SPACE, SPACED
from unrolled.code.python_grammar import DED, GRAMMAR, IND, KEYWORDS
from unrolled.code.spacing import sort_of
from unrolled.code.writer import Writer
from unrolled.errors import UnavailableError

_WORD, _CAPITAL, _NUMBER = "word", "Word", "1"
"""Tokens that stand for their class; a word with a capital may continue the word before it."""

_PART = re.compile("[rRbBuUfF]{1,2}|[xXoOeEjJ]")
"""Words that may be a prefix of a string or a part of a number."""

_KEYWORDS = frozenset(KEYWORDS)
_EOS = 256


def class_of(token: str) -> str:
    """The token that stands for the class of a token."""
    if token in MARKS or token.isspace():
        return token
    sort = sort_of(token)
    if sort in ("w", "k") and token not in _KEYWORDS and not _PART.fullmatch(token):
        return _CAPITAL if "A" <= token[0] <= "Z" else _WORD
    return _NUMBER if sort == "0" and token != "0" else token


@cache
def library() -> Any:
    """The module `llguidance`.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import llguidance
    except ImportError:
        raise UnavailableError(
            "decoding with decoding.grammar needs the package llguidance; install it with: "
            "pip install 'unrolled[code]'"
        ) from None
    return llguidance


class _Bytes:
    """A vocabulary of bytes, as llguidance wants it."""

    eos_token_id = _EOS
    bos_token_id = None
    special_token_ids = (_EOS,)
    tokens = (*(bytes([byte]) for byte in range(_EOS)), b"\xff<end>")

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@cache
def _start() -> Any:
    """A matcher of characters that has read nothing."""
    vocabulary = _Bytes()
    tokenizer = library().LLTokenizer(
        library().TokenizerWrapper(vocabulary), n_vocab=_EOS + 1, eos_token=_EOS, slices=[]
    )
    matcher = library().LLMatcher(tokenizer, GRAMMAR, log_level=0)
    if matcher.is_error():
        raise RuntimeError(f"the grammar of Python is wrong: {matcher.get_error()}")
    return matcher


class PythonClasses:
    """The classes of a sequence of tokens.

    Args:
        tokens: the tokens, such as those of a vocabulary; special ones are "".
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.names = tuple(dict.fromkeys(class_of(token) for token in tokens if token))
        self._places = {name: place for place, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def place(self, token: str) -> int:
        """The index of a token's class; -1 if no token of this class is known."""
        return self._places.get(class_of(token), -1) if token else -1

    def start(self) -> CodeMatcher:
        """A matcher that has read nothing."""
        return CodeMatcher(self, _start().deep_copy(), Writer("python"), (), 0)


class CodeMatcher:
    """What has been written of one program. `advance` returns a new matcher; this one stays as it is.

    Results are kept, so hypotheses that have written the same tokens share their matchers.

    Args:
        classes: the classes of tokens.
        matcher: of characters; None if nothing more can be written.
        writer: the layout.
        pending: marks since the last token.
        depth: number of levels that are open in the text that has been matched.
    """

    __slots__ = ("_allowed", "_classes", "_depth", "_matcher", "_next", "_pending", "_writer")

    def __init__(
        self,
        classes: PythonClasses,
        matcher: Any,
        writer: Writer,
        pending: tuple[str, ...],
        depth: int,
    ) -> None:
        self._classes, self._matcher, self._writer = classes, matcher, writer
        self._pending, self._depth = pending, depth
        self._allowed: NDArray[np.bool_] | None = None
        self._next: dict[str, CodeMatcher] = {}

    @property
    def may_end(self) -> bool:
        """Whether what has been written is a program."""
        if self._matcher is None or self._pending:
            return False
        if not self._depth:
            return bool(self._matcher.is_accepting())
        ended = self._matcher.deep_copy()
        return bool(ended.consume_tokens(list(DED.encode() * self._depth)) and ended.is_accepting())

    def allowed(self) -> NDArray[np.bool_]:
        """The classes that may come next, `[K]`. Do not change the result; it is kept."""
        if self._allowed is None:
            names = self._classes.names
            self._allowed = np.zeros(len(names), dtype=bool)
            if self._matcher is not None:
                first = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
                begins = np.unpackbits(first, count=_EOS, bitorder="little").view(bool)
                self._allowed[:] = [self._may_follow(name, begins) for name in names]
        return self._allowed

    def _may_follow(self, name: str, begins: NDArray[np.bool_]) -> bool:
        """Whether a token may follow, given the bytes with which its text may begin."""
        if name in MARKS or name.isspace():
            return self._is_layout_allowed(name)
        codes = (self._text_before(name) + name).encode()
        if not begins[codes[0]]:
            return False
        return len(codes) == 1 or int(self._matcher.validate_tokens(list(codes))) == len(codes)

    def _text_before(self, name: str) -> str:
        """What is matched before a token: white space, or characters that stand for layout."""
        gap = self._writer.gap(name)
        if NEWLINE not in self._pending or not self._writer.in_blocks:
            return gap if self._writer.quote else gap.replace("\n", " ")
        n_closed = self._pending.count(DEDENT)
        return DED * n_closed + "\n" + IND * self._pending.count(INDENT)

    def _is_layout_allowed(self, mark: str) -> bool:
        if mark.isspace():
            return not self._pending
        last = self._pending[-1] if self._pending else ""
        if mark == SPACED:
            return not self._pending and self._writer.is_at_start
        if mark in (JOIN, SPACE):
            return not self._pending and not self._writer.is_at_start
        if mark == NEWLINE:
            return not self._pending and not self._writer.is_at_start and self._can_break()
        if mark == INDENT:
            return last == NEWLINE and self._fits("\n" + IND)
        if mark == DEDENT:
            n_closed = self._pending.count(DEDENT) + 1
            is_after = last in (NEWLINE, DEDENT)
            return is_after and n_closed <= self._depth and self._fits(DED * n_closed + "\n")
        return False

    def _can_break(self) -> bool:
        if self._writer.quote:
            return self._fits("\n")
        if not self._writer.in_blocks:  # inside brackets
            return self._fits(" ")
        return any(self._fits(DED * n + "\n") for n in range(self._depth + 1))

    def _fits(self, text: str) -> bool:
        codes = list(text.encode())
        return int(self._matcher.validate_tokens(codes)) == len(codes)

    def advance(self, token: str) -> CodeMatcher:
        """The matcher after one more token. After one that is not allowed, nothing is allowed."""
        found = self._next.get(token)
        if found is None:
            found = self._next[token] = self._advanced(token)
        return found

    def _advanced(self, token: str) -> CodeMatcher:
        writer = self._writer.copy()
        if self._matcher is None or not token:
            return CodeMatcher(self._classes, None, writer, (), 0)
        if token in MARKS or token.isspace():
            allowed = self._is_layout_allowed(token)
            writer.write(token)
            pending = self._pending if token == SPACED else (*self._pending, token)
            matcher = self._matcher if allowed else None
            return CodeMatcher(self._classes, matcher, writer, pending, self._depth)
        text = self._text_before(token) + token
        matcher = self._matcher.deep_copy()
        if not matcher.consume_tokens(list(text.encode())):
            matcher = None
        writer.write(token)
        depth = self._depth + text.count(IND) - text.count(DED)
        return CodeMatcher(self._classes, matcher, writer, (), depth)
