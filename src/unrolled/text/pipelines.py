"""Each kind of tokenizer as a pipeline of the library `tokenizers`, and learning byte pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, get_args

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from unrolled.reporting import begun
from unrolled.text import code_words
from unrolled.text.by_word import WordCounts
from unrolled.text.config import SPECIALS, UNK_ID, Kind, TextConfig
from unrolled.text.segments import SEGMENT

WORDS_TOGETHER = 128
_LONGEST_TOGETHER = 1 << 8
_MOST_COUNTED = 1 << 19  # words
# A word keeps the apostrophes and hyphens inside it ("o'clock", "well-known"), but English clitics are
# split off as in the Penn Treebank ("do" "n't", "Tom" "'s"), as they are in pretrained vectors.
_LETTERS = r"[\p{L}\p{M}\p{N}_]"
_APOSTROPHE = "['\u2019]"
_CLITIC = rf"{_APOSTROPHE}(?i:s|m|d|ll|re|ve)(?!{_LETTERS})"
_NEGATION = rf"(?i:n){_APOSTROPHE}(?i:t)(?!{_LETTERS})"
_WORD_PATTERN = "|".join(
    (
        rf"\p{{N}}+(?:[.,:/]\p{{N}}+)+{_LETTERS}*",  # 25.5  1,000  10:40h  1/2
        rf"(?<!{_LETTERS})(?:\p{{L}}{{1,2}}\.){{2,}}(?!{_LETTERS})",  # U.S.  a.m.  EE.UU.
        rf"(?<!{_LETTERS})\p{{L}}(?:\+\+|#)",  # C++  C#
        rf"(?<={_LETTERS}){_NEGATION}",
        rf"(?<={_LETTERS}){_CLITIC}",
        rf"{_LETTERS}+?(?={_NEGATION})",
        rf"{_LETTERS}+(?:(?!{_CLITIC})(?:{_APOSTROPHE}|-){_LETTERS}+?"
        rf"(?:(?={_NEGATION})|(?!{_LETTERS})))*",
        r"\.{2,}|-{2,}",
        r"[^\s]",
    )
)
# Words keep their inner apostrophes, so that "don't" can become one token; each digit is separate, so
# that an unseen number is spelled and can be copied. Letters and other punctuation marks are never in the
# same piece, so no merge can spell a special token such as "</s>".
_SUBWORD_PATTERN = (
    r" ?[\p{L}\p{M}]+(?:['\u2019][\p{L}\p{M}]+)*| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
)


def starts_with_blank(kind: Kind, running: bool) -> bool:
    """Whether a text has the same tokens with a blank before it."""
    return kind in ("word", "space") or (kind == "bpe" and not running)


def untrained(
    config: TextConfig, running: bool, language: code_words.Language | None = None
) -> tokenizers.Tokenizer:
    """The pipeline of a configuration, without a vocabulary.

    Args:
        config: the configuration.
        running: whether it is for running text.
        language: for code, the rules, if they are not those of the configuration.
    """
    if config.kind == "code":
        inner = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIALS[UNK_ID]))
        inner.normalizer = normalizers.Sequence([])  # code is kept as it is
        inner.pre_tokenizer = code_words.marker(
            language or code_words.known(config.language), running
        )
        return inner
    steps = normal_form(config.lowercase)
    if config.kind == "bpe":
        inner = tokenizers.Tokenizer(models.BPE())
        if not running:
            # Every text starts with a space, so that a word is the same token at the start and elsewhere.
            steps.append(normalizers.Prepend(" "))
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                subwords(),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        inner.decoder = decoders.ByteLevel()
    else:
        inner = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIALS[UNK_ID]))
        if config.kind == "char":
            inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
            inner.decoder = decoders.Fuse()
        elif config.kind == "space":
            inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:
            inner.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD_PATTERN), "removed", invert=True)
    inner.normalizer = normalizers.Sequence(steps)
    return inner


def count_pieces(
    texts: Iterable[str], inner: tokenizers.Tokenizer, config: TextConfig, running: bool
) -> Counter[str]:
    """How often the pieces occur into which texts are split before a vocabulary is applied."""
    words = WordCounts(starts_with_blank(config.kind, running))
    pieces: Counter[str] = Counter()
    normalizer = normalizers.Sequence(normal_form(config.lowercase))
    for text in texts:
        words.add(text)
        if len(words) >= _MOST_COUNTED:
            _add_pieces(pieces, words.pop_all(), normalizer, inner.pre_tokenizer)
    _add_pieces(pieces, words.pop_all(), normalizer, inner.pre_tokenizer)
    return pieces


def _add_pieces(
    pieces: Counter[str],
    words: Mapping[str, int],
    normalizer: normalizers.Normalizer,
    split: pre_tokenizers.PreTokenizer,
) -> None:
    """Add the pieces of words, which are given with the white space before them."""
    after_blank: dict[str, int] = {}
    for word, count in words.items():
        if word.rfind(" ") == 0 and len(word) <= _LONGEST_TOGETHER and not word[-1].isspace():
            after_blank[word] = count
            continue
        for piece, _ in split.pre_tokenize_str(normalizer.normalize_str(word)):
            pieces[piece] += count
    rest = iter(after_blank.items())
    while some := dict(islice(rest, WORDS_TOGETHER)):
        text = normalizer.normalize_str("".join(some))
        counts = iter(some.values())
        blanks = iter([*(place for place, c in enumerate(text) if c == " "), len(text)])
        next_blank, count = next(blanks), 0
        for piece, (start, _) in split.pre_tokenize_str(text):
            while start >= next_blank:
                next_blank, count = next(blanks), next(counts)
            pieces[piece] += count


def byte_pairs(counts: Mapping[str, int], config: TextConfig) -> models.BPE:
    """Learn byte pairs from the counts of pieces, in which each byte is a character."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=config.most_tokens,
        min_frequency=max(2, config.min_count),
        special_tokens=special_tokens(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    begun("learning byte pairs")
    inner.train_from_iterator(_repeated(counts), trainer)
    return inner.model


def _repeated(counts: Mapping[str, int]) -> Iterator[str]:
    """Texts in which each piece occurs as often as its count, as the library takes no counts."""
    for piece, count in counts.items():
        at_once = max(1, SEGMENT // (len(piece) + 1))
        for done in range(0, count, at_once):
            yield " ".join([piece] * min(at_once, count - done))


@cache
def pipelines() -> tuple[dict[str, Any], ...]:
    """The contents of a file of each kind, without the vocabulary."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    variants = [
        (TextConfig(kind=kind, lowercase=lowercase), running)
        for kind in kinds
        if kind != "code"
        for lowercase in (False, True)
        for running in ((False, True) if kind == "bpe" else (False,))
    ]
    variants += [
        (TextConfig(kind="code", language=language), running)
        for language in code_words.LANGUAGES
        for running in (False, True)
    ]
    pipelines = []
    for config, running in variants:
        inner = untrained(config, running)
        inner.add_special_tokens(special_tokens())
        pipelines.append(json.loads(inner.to_str()))
    return tuple(pipelines)


def normal_form(lowercase: bool) -> list[normalizers.Normalizer]:
    return [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]


def subwords() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_SUBWORD_PATTERN), "isolated")


def special_tokens() -> list[tokenizers.AddedToken]:
    return [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIALS]


def kind_of(inner: tokenizers.Tokenizer) -> Kind:
    """The kind, derived from the model, decoder and pre-tokenizer: the file has no field for it."""
    if isinstance(inner.model, models.BPE) and isinstance(inner.decoder, decoders.ByteLevel):
        return "bpe"
    if isinstance(inner.model, models.WordLevel) and isinstance(inner.decoder, decoders.Fuse):
        return "char"
    if isinstance(inner.model, models.WordLevel) and inner.decoder is None:
        if code_words.rules_of(inner.pre_tokenizer) is not None:
            return "code"
        by_space = isinstance(inner.pre_tokenizer, pre_tokenizers.WhitespaceSplit)
        return "space" if by_space else "word"
    raise ValueError(
        f"{type(inner.model).__name__} is neither char, word, space, code nor byte-level bpe"
    )


_MOST_PIECES = 100  # pieces of one long word from which byte pairs are learned


def without_long_words(texts: Iterable[str], config: TextConfig) -> Iterator[str]:
    """Split or drop long words before training: byte pairs take time quadratic in a word's length."""
    longest = config.max_word_length
    split = subwords() if config.kind == "bpe" else untrained(config, running=True).pre_tokenizer
    for text in texts:
        if config.kind == "char" or len(text) <= longest or not _may_have_run(text, longest):
            yield text
            continue
        parts, done = list[str](), 0
        for piece, (start, end) in split.pre_tokenize_str(text):
            if len(piece) > longest:
                cut = piece if config.kind == "bpe" and not piece.isspace() else ""
                most = min(len(cut), _MOST_PIECES * longest)
                shorter = (cut[at : at + longest] for at in range(0, most, longest))
                parts += [text[done:start], " ", " ".join(shorter), " "]
                done = end
        yield "".join([*parts, text[done:]])


def _may_have_run(text: str, longest: int) -> bool:
    """Whether a text may have a longer run without spaces, or of spaces; only checks some positions."""
    window = max(1, longest // 2)
    start = 0
    while start + window <= len(text):
        place = text.rfind(" ", start, start + window)
        if place < 0 or (place == start + window - 1 and text[start : place + 1].isspace()):
            return True
        start = place + 1
    return False
