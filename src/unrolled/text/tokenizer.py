"""Tokenizers: characters, words, strings between spaces, byte pairs, or tokens of code.

All of them are saved as plain `tokenizer.json` files of the library `tokenizers`, and all but code are
pipelines of it. Their text is first converted to Unicode normal form C: an "é" typed as one or as two
code points is the same token. Code is kept as it is (`code_words`).

Byte pairs (Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with subword
units"; over UTF-8 bytes as in Radford et al. 2019) have no unknown tokens: decoding restores any text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers

from unrolled import documents, storage
from unrolled.code.running import Reader
from unrolled.config import require
from unrolled.errors import RunError
from unrolled.reporting import counted
from unrolled.text import code_words, tokenizer_files
from unrolled.text.by_word import WordEncoder
from unrolled.text.config import BOS_ID, EOS_ID, N_BYTES, PAD_ID, SPECIALS, UNK_ID, Kind, TextConfig
from unrolled.text.join_words import join_words
from unrolled.text.pipelines import (
    WORDS_TOGETHER,
    byte_pairs,
    count_pieces,
    kind_of,
    normal_form,
    pipelines,
    special_tokens,
    starts_with_blank,
    untrained,
    without_long_words,
)
from unrolled.text.segments import SEGMENT, in_segments, segments, well_formed

_ENCODE_CHUNK = 8192  # limits the memory of the library's records, ten times larger than the ids
_ENCODE_CHARACTERS = 1 << 20
_FEW_TEXTS = 8


class Tokenizer:
    """A tokenizer with a trained vocabulary: `encode` returns ids, `decode` readable text.

    Ids 0 to 3 are padding, unknown, begin and end of sequence. `encode` adds none of them, and text
    that happens to spell one ("</s>") is encoded as ordinary characters. With kind `space`, such text is
    unknown, as is `<unk>` itself, with which prepared corpora mark rare words.

    There are two variants of byte pairs. For single sentences, every text starts with a space, which
    `decode` removes again, so that a word is the same token at the start and elsewhere. With `running`,
    text is encoded as it is and may be encoded in pieces: a text that is split before a line end, where
    the next line does not start with white space, has the ids of its pieces one after another.

    >>> words = Tokenizer.train(["¿Dónde está?", "I don't know."], TextConfig(kind="word"))
    >>> words.pieces(words.encode("I don't know."))
    ['I', 'do', "n't", 'know', '.']
    >>> words.decode(words.encode("¿Dónde está?"))
    '¿Dónde está?'
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self.inner = inner
        self.code = code_words.rules_of(inner.pre_tokenizer)
        # Not part of tokenizer.json; without it, "</s>" in a user's text would end the sentence.
        inner.encode_special_tokens = True
        self.kind: Kind = kind_of(inner)
        # Derived from the normaliser, as the file has no field for it; always True except for byte pairs.
        self.running = inner.normalizer is None or inner.normalizer.normalize_str("x") == "x"
        if self.code is not None:
            self.running = self.code.running
        self._tokens = [inner.id_to_token(i) or "" for i in range(inner.get_vocab_size())]

    @classmethod
    def train(cls, texts: Iterable[str], config: TextConfig, *, running: bool = False) -> Tokenizer:
        r"""Learn a vocabulary; the order of the texts does not matter.

        Tokens are ordered by decreasing count, then by code point; byte pairs by order of merging.

        Args:
            texts: the training texts.
            config: the kind of tokens, and the size of the vocabulary.
            running: whether the texts are pieces of running text rather than sentences; then byte
                pairs put no space before a text. Has no effect on the other kinds.

        >>> code = Tokenizer.train(["if x:\n    y()\n"] * 2, TextConfig(), running=True)
        >>> code.decode(code.encode("\n    y()"))
        '\n    y()'
        """
        if config.kind == "code":
            return cls._of_code(texts, config, running)
        inner = untrained(config, running)
        n_texts = len(texts) if isinstance(texts, Sequence) else None
        texts = counted(texts, "building the vocabulary", "texts", n_texts)
        texts = without_long_words(in_segments(well_formed(texts)), config)
        counts = count_pieces(texts, inner, config, running)
        if config.kind == "bpe":
            inner.model = byte_pairs(counts, config)
            inner.add_special_tokens(special_tokens())
            return cls(inner)
        return cls._of_counts(inner, counts, config)

    @classmethod
    def _of_code(cls, texts: Iterable[str], config: TextConfig, running: bool) -> Tokenizer:
        """Count the tokens of code, with the rules that need fewer of them."""
        n_texts = len(texts) if isinstance(texts, Sequence) else None
        texts = counted(well_formed(texts), "building the vocabulary", "texts", n_texts)
        rules, counts = code_words.count(texts, config.language, running)
        long = [token for token in counts if len(token) > config.max_word_length]
        for token in long:
            del counts[token]
        return cls._of_counts(untrained(config, running, rules), counts, config)

    @classmethod
    def of_tokens(cls, tokens: Iterable[str], config: TextConfig) -> Tokenizer:
        """Create a vocabulary from given tokens, which are not split any further; see `ids_of`.

        Args:
            tokens: all occurrences of the tokens.
            config: the kind, `word` or `space`, determines how `split` and `encode` split other text;
                also the size of the vocabulary, and whether text is converted to lower case.

        >>> words = Tokenizer.of_tokens(["U.N.-led", "New York", "U.N.-led"], TextConfig(kind="word"))
        >>> words.pieces(words.ids_of(["New York", "U.N.-led", "York"]))
        ['New York', 'U.N.-led', '<unk>']
        """
        inner = untrained(config, running=False)
        counts: Counter[str] = Counter()
        for token, count in Counter(tokens).items():
            if len(token) > config.max_word_length:
                continue
            counts[_normalised(inner, token)] += count
        return cls._of_counts(inner, counts, config)

    @classmethod
    def _of_counts(
        cls, inner: tokenizers.Tokenizer, counts: dict[str, int], config: TextConfig
    ) -> Tokenizer:
        """Create a vocabulary of words or characters from their counts."""
        first = (*SPECIALS, *code_words.always_known(inner.pre_tokenizer))
        for special in first:  # a word that spells one would take over its id
            counts.pop(special, None)
        kept = sorted(
            (token for token, count in counts.items() if count >= config.min_count),
            key=lambda token: (-counts[token], token),
        )
        words = (*first, *kept[: config.most_tokens - len(first)])
        vocabulary = {token: place for place, token in enumerate(words)}
        inner.model = models.WordLevel(vocabulary, unk_token=SPECIALS[UNK_ID])
        inner.add_special_tokens(special_tokens())
        return cls(inner)

    def extended(self, tokens: Iterable[str]) -> Tokenizer:
        """Return a tokenizer with more tokens at the end of the vocabulary; existing ids do not change.

        Args:
            tokens: the new tokens, in the order of their ids. Known tokens are skipped, and so are tokens
                that no text can produce, such as capitals if text is converted to lower case.

        Raises:
            ConfigError: the kind is neither `word`, `space` nor `code`.

        >>> words = Tokenizer.train(["a cat"], TextConfig(kind="word", lowercase=True))
        >>> words.extended(["Paris", "cat", "dog"]).pieces([4, 5, 6])
        ['a', 'cat', 'dog']
        """
        kinds = ("word", "space", "code")
        require(self.kind in kinds, "text.kind", "'word', 'space' or 'code'", self.kind)
        inner = tokenizers.Tokenizer.from_str(self.inner.to_str())
        known = dict.fromkeys(self._tokens)
        known.update(dict.fromkeys(t for t in tokens if t and t == _normalised(inner, t)))
        vocabulary = {token: place for place, token in enumerate(known)}
        inner.model = models.WordLevel(vocabulary, unk_token=SPECIALS[UNK_ID])
        return Tokenizer(inner)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Tokenizer:
        """Read a `tokenizer.json` written by `save`.

        Raises:
            RunError: the file is missing or damaged, or was not written by this toolkit.
        """
        try:
            text = documents.read_text(path, tokenizer_files.MOST_BYTES)
        except documents.DocumentError as error:
            reason = "no such file" if error.is_missing else error.problem
            raise RunError(f"{path}: {reason}; a run folder needs its tokenizer file") from None
        try:
            document = documents.parse_json(path, text)
        except documents.DocumentError as error:
            raise _damaged(path, error.problem) from None
        why_not = tokenizer_files.why_not(document, pipelines(), SPECIALS, _BYTES)
        if why_not is not None:
            raise RunError(f"{path}: not a tokenizer of this toolkit; {why_not}")
        with tokenizer_files.refusing(lambda problem: _damaged(path, problem)):
            return cls(tokenizers.Tokenizer.from_str(text))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the vocabulary as a `tokenizer.json`."""
        content = self.inner.to_str(pretty=True).encode("utf-8")
        storage.write_whole(Path(path), content, "try again")

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text, without begin and end."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of many texts, using all cores; a very long text is split at spaces.

        A word of more than 262,144 characters is split into several.
        """
        if self.code is not None:
            places = self._places
            return [self.code.encode(text, places) for text in well_formed(texts)]
        rows: list[list[int]] = []
        for first in range(0, len(texts), _ENCODE_CHUNK):
            chunk = texts[first : first + _ENCODE_CHUNK]
            found = self._words.encode(chunk)
            others = [text for text, ids in zip(chunk, found, strict=True) if ids is None]
            whole = iter(self._encode_whole(others))
            rows += [next(whole) if ids is None else ids for ids in found]
        return rows

    @cached_property
    def _words(self) -> WordEncoder:
        return WordEncoder(self._encode_words, starts_with_blank(self.kind, self.running))

    def _encode_words(self, words: Sequence[str], is_after_blank: bool) -> Iterable[Sequence[int]]:
        """The ids of words; see `by_word.Encode`."""
        if is_after_blank and self.kind in ("bpe", "space"):
            return self._encode_together(words)
        if is_after_blank:
            return self._encode_whole([f" {word}" for word in words])
        if self.running:
            return self._encode_whole(words)
        return [
            self._inside.encode(word, add_special_tokens=False).ids for word in well_formed(words)
        ]

    def _encode_together(self, words: Sequence[str]) -> Iterator[Sequence[int]]:
        """The ids of words without white space, with one blank before them."""
        step = WORDS_TOGETHER
        texts = [" ".join(words[place : place + step]) for place in range(0, len(words), step)]
        if self.running:
            texts = [f" {text}" for text in texts]
        for row in self._encode_whole(texts):
            if self.kind == "space":
                yield from zip(row)
                continue
            starts = [place for place, id_ in enumerate(row) if self._has_blank[id_]]
            yield from map(row.__getitem__, map(slice, starts, [*starts[1:], len(row)]))

    @cached_property
    def _has_blank(self) -> list[bool]:
        """Whether each byte pair begins with a blank."""
        blank = _CHARACTERS[ord(" ")]
        return [token.startswith(blank) for token in self._tokens]

    def _encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts, encoded by the library."""
        rows: list[list[int]] = []
        chunk: list[str] = []
        size = 0
        for text in well_formed(texts):
            if len(text) > SEGMENT:
                rows += self._encode_chunk(chunk)
                chunk, size = [], 0
                rows.append(self._encode_long(text))
                continue
            chunk.append(text)
            size += len(text)
            if len(chunk) >= _ENCODE_CHUNK or size >= _ENCODE_CHARACTERS:
                rows += self._encode_chunk(chunk)
                chunk, size = [], 0
        rows += self._encode_chunk(chunk)
        if self.kind == "space":
            # The library looks up padding, begin and end like words, but in a text they are unknown.
            return [
                row if _UNWRITTEN.isdisjoint(row) else [_AS_TEXT.get(i, i) for i in row]
                for row in rows
            ]
        return rows

    def _encode_chunk(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) <= _FEW_TEXTS:  # without the cost of starting threads
            return [self.inner.encode(text, add_special_tokens=False).ids for text in texts]
        return [row.ids for row in self.inner.encode_batch_fast(texts, add_special_tokens=False)]

    def _encode_long(self, text: str) -> list[int]:
        first, *others = segments(text)
        ids: list[int] = self.inner.encode(first, add_special_tokens=False).ids
        for segment in others:
            ids += self._inside.encode(segment, add_special_tokens=False).ids
        return ids

    @cached_property
    def _inside(self) -> tokenizers.Tokenizer:
        """The tokenizer for segments inside a text, which puts no space before them."""
        if self.running:
            return self.inner
        inner = tokenizers.Tokenizer.from_str(self.inner.to_str())
        folds = self.inner.normalizer.normalize_str("A") == " a"
        inner.normalizer = normalizers.Sequence(normal_form(folds))
        inner.encode_special_tokens = True
        return inner

    def decode(self, ids: Sequence[int], others: Sequence[str] = ()) -> str:
        """Return readable text, without padding, begin and end; an unknown token becomes `<unk>`.

        Characters and byte pairs give the original text (in normal form C), and so do tokens of code (in
        any form); words are joined as in a sentence, and tokens of kind `space` by single spaces.

        Args:
            ids: the ids of the tokens.
            others: tokens that are in no vocabulary, such as copied ones, with ids from V on.

        >>> Tokenizer.train(["a cat"], TextConfig(kind="word")).decode([4, 6], ["Zoe"])
        'a Zoe'
        """
        return self.join(self.tokens([i for i in ids if i not in (PAD_ID, BOS_ID, EOS_ID)], others))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens, which may be in no vocabulary, except for byte pairs."""
        if self.code is not None:
            return self.code.join(tokens)
        if self.kind == "word":
            return join_words(tokens)
        if self.kind == "space":
            return " ".join(tokens)
        if self.kind == "char":
            return "".join(tokens)
        written = _bytes_of(tokens).decode("utf-8", "replace")
        return written if self.running else written.removeprefix(" ")

    def tokens(self, ids: Sequence[int], others: Sequence[str] = ()) -> list[str]:
        """Return the tokens as stored in the vocabulary, where byte pairs are written in their own way.

        Args:
            ids, others: as for `decode`.
        """
        n = len(self)
        return [self._tokens[i] if i < n else others[i - n] for i in ids]

    def pieces(self, ids: Sequence[int], others: Sequence[str] = ()) -> list[str]:
        """Return one readable string per id; for byte pairs, a leading space marks the start of a word.

        Part of a character is shown as its bytes, `<C3>`.

        Args:
            ids, others: as for `decode`.
        """
        tokens = self.tokens(ids, others)
        if self.kind != "bpe":
            return tokens
        shown = zip(ids, tokens, strict=True)
        return [token if i < len(SPECIALS) else _show(token) for i, token in shown]

    def ids_of(self, tokens: Sequence[str]) -> list[int]:
        """Look up the ids of whole tokens; tokens that are not in the vocabulary are unknown.

        >>> Tokenizer.train(["to be"], TextConfig(kind="space")).ids_of(["be", "to be", "<s>"])
        [4, 1, 1]
        """
        places = self._places
        return [
            places.get(token if token in places else _normalised(self.inner, token), UNK_ID)
            for token in tokens
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        """The ids of all tokens except the special ones, which no text can spell."""
        first = len(SPECIALS)
        return {token: place for place, token in enumerate(self._tokens[first:], start=first)}

    def split(self, text: str, *, folded: bool = True) -> list[str]:
        """Split a text into tokens as written, including those that are not in the vocabulary.

        For byte pairs, which have no unknown tokens, these are the strings returned by `pieces`.

        Args:
            text: the text to split.
            folded: whether to convert to lower case if the vocabulary is lower-cased.

        >>> Tokenizer.train(["a"], TextConfig(kind="word", lowercase=True)).split("Don't go.")
        ['do', "n't", 'go', '.']
        """
        if self.kind == "bpe":
            return self.pieces(self.encode(text))
        if self.code is not None:
            return self.code.split(next(well_formed([text])), self._places)
        pieces: list[str] = []
        for segment in in_segments(well_formed([text])):
            if folded:
                segment = self.inner.normalizer.normalize_str(segment)
            pieces += [piece for piece, _ in self.inner.pre_tokenizer.pre_tokenize_str(segment)]
        return pieces

    def reader(self) -> Reader | None:
        """What splits running text of code that arrives in parts; None for other kinds."""
        return None if self.code is None else self.code.reader(self._places)

    def word_places(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """The start and end of each word (string between white space) in the ids of a text.

        For the kinds `word`, `space` and `code`, each token is a word, except for marks of layout. A byte
        pair that begins with white space begins a word; white-space characters belong to no word.

        >>> letters = Tokenizer.train(["to be"], TextConfig(kind="char"))
        >>> letters.word_places(letters.encode("to be"))
        [(0, 2), (3, 5)]
        """
        if self.kind in ("word", "space", "code"):
            layout = self._layout
            return [(place, place + 1) for place, id_ in enumerate(ids) if id_ not in layout]
        begins, blank = self._white_space
        places: list[tuple[int, int]] = []
        open_at: int | None = None
        is_blank = True  # whether the open word has only white space so far
        for place, id_ in enumerate(ids):
            if open_at is not None and id_ in begins and not is_blank:
                places.append((open_at, place))
                open_at = None
            if self.kind == "char" and id_ in blank:
                continue
            if open_at is None:
                open_at, is_blank = place, True
            is_blank = is_blank and id_ in blank
        return places if open_at is None else [*places, (open_at, len(ids))]

    @cached_property
    def _white_space(self) -> tuple[frozenset[int], frozenset[int]]:
        """The tokens that begin with white space, and those that consist of white space."""
        written = self.token_bytes()
        if self.kind == "char":
            blank = frozenset(i for i, text in enumerate(written) if text.decode("utf-8").isspace())
            return blank, blank
        begins = frozenset(i for i, text in enumerate(written) if text[:1].isspace())
        return begins, frozenset(i for i in begins if written[i].isspace())

    @cached_property
    def silent(self) -> frozenset[int]:
        """Tokens without content: the special ones, including `<unk>`, and white space.

        >>> letters = Tokenizer.train(["to be"], TextConfig(kind="char"))
        >>> letters.silent.issuperset(letters.encode("Ä Ö"))
        True
        """
        specials = frozenset(range(len(SPECIALS)))
        if self.kind in ("word", "space", "code"):
            return specials | self._layout
        return specials | self._white_space[1]

    @cached_property
    def _layout(self) -> frozenset[int]:
        """The tokens of code that are no text."""
        if self.code is None:
            return frozenset()
        return frozenset(i for i, token in enumerate(self._tokens) if self.code.is_layout(token))

    def id_of(self, token: str) -> int | None:
        """The id of the token that is exactly this text, or None if there is no such token.

        Special tokens are looked up by name, `<unk>`.

        >>> Tokenizer.train(["to be"], TextConfig(kind="word")).id_of("be")
        4
        """
        if self.kind == "bpe" and token not in SPECIALS:
            token = "".join(_CHARACTERS[byte] for byte in token.encode("utf-8", "replace"))
        id_: int | None = self.inner.token_to_id(token)
        return id_

    def token_bytes(self) -> list[bytes]:
        """The UTF-8 bytes of each id; empty for the four special tokens.

        For byte pairs and characters, the joined bytes of a text's ids are the text (after the space that
        is put before it, unless `running`). A byte pair may contain a part of a character.

        >>> Tokenizer.train(["é"], TextConfig(kind="char")).token_bytes()
        [b'', b'', b'', b'', b'\xc3\xa9']
        """
        written = self._tokens[len(SPECIALS) :]
        if self.kind == "bpe":
            ordinary = [_bytes_of([token]) for token in written]
        elif self.code is not None:
            ordinary = [self.code.bytes_of(token) for token in written]
        else:
            ordinary = [token.encode("utf-8") for token in written]
        return [b""] * len(SPECIALS) + ordinary


# Ids that a token of kind `space` must not get, and the ids that replace them.
_AS_TEXT = {PAD_ID: UNK_ID, BOS_ID: UNK_ID, EOS_ID: UNK_ID}
_UNWRITTEN = frozenset(_AS_TEXT)


def _damaged(path: str | PathLike[str], problem: str) -> RunError:
    return RunError(
        f"{path}: damaged tokenizer file ({problem}); copy the run folder again or retrain"
    )


def _normalised(inner: tokenizers.Tokenizer, token: str) -> str:
    """A token as the vocabulary writes it."""
    (token,) = well_formed([token])
    normal: str = inner.normalizer.normalize_str(token)
    return normal


def _byte_of_character() -> dict[str, int]:
    """How byte-level vocabularies write each byte as a printable character: itself, or 256 and up."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(N_BYTES) if byte not in printable]
    shifted = {chr(N_BYTES + i): byte for i, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


_BYTES = _byte_of_character()
_CHARACTERS = {byte: character for character, byte in _BYTES.items()}


def _bytes_of(tokens: Sequence[str]) -> bytes:
    # A special token is spelled: only <unk> can occur here, and byte pairs never produce it.
    return b"".join(
        token.encode() if token in SPECIALS else bytes(_BYTES[c] for c in token) for token in tokens
    )


def _show(token: str) -> str:
    try:
        return _bytes_of([token]).decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in _bytes_of([token]))
