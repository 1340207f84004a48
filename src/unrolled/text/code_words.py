"""Tokens of code as the words of a vocabulary; `unrolled.code` defines them.

Two variants exist. For single texts, each token is one id, and a token that is not in the vocabulary is
unknown, so that it can be copied from another text. For running text, unknown tokens are split into known
ones and into bytes, so that nothing is unknown and bits per character can be compared with other kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tokenizers import pre_tokenizers

from unrolled.code import running as running_text
from unrolled.code import tokens as code_tokens
from unrolled.code.lexer import LANGUAGES, Language, known
from unrolled.code.marks import LINE_ENDS, MARKS, SPACE
from unrolled.code.running import BYTES

__all__ = [
    "LANGUAGES",
    "CodeWords",
    "Language",
    "always_known",
    "count",
    "known",
    "marker",
    "rules_of",
]

_UNKNOWN = 1
_COMPARED = 1000  # texts from which the rules of a side are chosen
_WHITE = {**LINE_ENDS, SPACE: " "}
_SILENT = frozenset((*MARKS, *BYTES))


@dataclass(frozen=True)
class CodeWords:
    """How code is split.

    Args:
        language: whose rules apply.
        running: whether for parts of running text.
    """

    language: Language
    running: bool

    def is_layout(self, token: str) -> bool:
        """Whether a token is a mark or white space."""
        return token in MARKS or token.isspace()

    def split(self, text: str, vocabulary: Mapping[str, int] | None = None) -> list[str]:
        """The tokens of a text; of running text, with known ones in place of unknown ones."""
        if self.running:
            return running_text.split_running(text, self.language, vocabulary)
        return code_tokens.split(text, self.language)

    def encode(self, text: str, places: Mapping[str, int]) -> list[int]:
        """The ids of the tokens of a text."""
        return [places.get(token, _UNKNOWN) for token in self.split(text, places)]

    def reader(self, vocabulary: Mapping[str, int]) -> running_text.Reader:
        """A reader of text that arrives in parts."""
        return running_text.Reader(self.language, vocabulary)

    def join(self, tokens: Sequence[str]) -> str:
        """The text of any tokens."""
        if self.running:
            return code_tokens.join(running_text.in_characters(tokens), self.language)
        return code_tokens.join(tokens, self.language)

    def bytes_of(self, token: str) -> bytes:
        """The text of a token by itself; empty for bytes and for marks that are no white space."""
        if token in _WHITE:
            return _WHITE[token].encode()
        return b"" if token in _SILENT else token.encode()


def _name(language: Language, running: bool) -> str:
    return f"code {language} running" if running else f"code {language}"


_VARIANTS = {
    _name(language, running): CodeWords(language, running)
    for language in LANGUAGES
    for running in (False, True)
}


def marker(language: Language, running: bool) -> pre_tokenizers.PreTokenizer:
    """A step of a pipeline that names the rules: the file of a tokenizer has no field for them."""
    return pre_tokenizers.Split(_name(language, running), "removed")


def rules_of(step: pre_tokenizers.PreTokenizer | None) -> CodeWords | None:
    """The rules that a step names; None if it is not ours: one of ours removes its own name."""
    if not isinstance(step, pre_tokenizers.Split):
        return None
    # A name is removed with what follows it, if that is a name, too, so longer names come first.
    names = sorted(_VARIANTS, key=len, reverse=True)
    return next((_VARIANTS[name] for name in names if not step.pre_tokenize_str(name)), None)


def always_known(step: pre_tokenizers.PreTokenizer | None) -> tuple[str, ...]:
    """The tokens of every vocabulary of these rules; none for other kinds."""
    rules = rules_of(step)
    if rules is None:
        return ()
    return (*MARKS, *BYTES) if rules.running else MARKS


def count(texts: Iterable[str], language: str, running: bool) -> tuple[Language, Counter[str]]:
    """The rules for texts, and how often each token occurs.

    The rules are those of the language, or those of "text" if the first thousand texts have fewer tokens
    with them. For running text, they are always those of the language.
    """
    rules = known(language)
    texts = iter(texts)
    some = list(islice(texts, _COMPARED))
    if not running and rules != "text":
        rules = min((rules, LANGUAGES[-1]), key=lambda each: _n_tokens(some, each))
    words = CodeWords(rules, running)
    counts: Counter[str] = Counter()
    for text in some:
        counts.update(words.split(text))
    for text in texts:
        counts.update(words.split(text))
    return rules, counts


def _n_tokens(texts: Iterable[str], language: Language) -> int:
    return sum(len(code_tokens.split(text, language)) for text in texts)
