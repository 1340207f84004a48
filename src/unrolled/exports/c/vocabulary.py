"""The tables of a tokenizer for C: its vocabulary, and the characters that its rules tell apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from unrolled.errors import ConfigError
from unrolled.exports.c import characters, literals
from unrolled.text.config import N_BYTES, SPECIALS
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of

_SUMMARIES = {
    "char": "a token is a character",
    "word": "a token is a word or a punctuation mark",
    "space": "a token is a string between white space",
    "bpe": "a token is a byte pair",
}


@dataclass(frozen=True)
class Table:
    """An array of `tables.h`.

    Args:
        type: its type in C.
        name: its name.
        values: its values, as written in C.
        size: number of values.
        macro: the name of a macro for the size; "" for none.
    """

    type: str
    name: str
    values: str
    size: int
    macro: str = ""


@dataclass(frozen=True)
class Text:
    """What the template `text.h` needs to know of a tokenizer.

    Args:
        kind: kind of its tokens.
        lowercase: whether text is converted to lower case.
        prefix: whether a text is read as with a blank before it.
        summary: what a token is.
        classes: the classes of characters that the code asks for, and their tables.
        tables: the other arrays of `tables.h`.
        longest_word: number of characters of the longest word; 0 if tokens are no words.
        merge_type: the type of tokens and ranks in the table of merges.
    """

    kind: str
    lowercase: bool
    prefix: bool
    summary: str
    classes: tuple[str, ...]
    tables: tuple[Table, ...] = field(repr=False)
    longest_word: int = 0
    merge_type: str = ""

    @property
    def has_letters(self) -> bool:
        """Whether there is a vocabulary of characters."""
        return any(table.name == "text_points" for table in self.tables)

    def with_tables(self, tables: Sequence[Table]) -> Text:
        """The same with more tables."""
        return replace(self, tables=(*self.tables, *tables))


def text_of(tokenizer: Tokenizer, in_word: Callable[[str], bool] | None = None) -> Text:
    """The tables of a tokenizer.

    Args:
        tokenizer: the tokenizer.
        in_word: if given, the program has to know for which characters this function is true.

    Raises:
        ConfigError: its kind cannot be written in C, or a token contains a zero character.
    """
    kind = tokenizer.kind
    if kind not in _SUMMARIES:
        raise ConfigError(
            f"text.kind is '{kind}', whose tokens cannot be split in C; export with --onnx, or train "
            "with --text.kind bpe or char"
        )
    lowercase = "A" not in tokenizer.inner.normalizer.normalize_str("A")
    classes = _classes(kind)
    if in_word is not None:
        classes["in_word"] = characters.holding(in_word)
    tables = [*_normal_form(), *(_capitals() if lowercase else ())]
    tables += [_ranges(name, ranges) for name, ranges in classes.items()]
    longest = 0
    if kind == "bpe":
        tables += _byte_pairs(tokenizer)
    elif kind == "char":
        tables += letters(tokenizer)
    else:
        words = _written(tokenizer)
        longest = max(map(len, words), default=1)
        tables += _words(words)
    return Text(
        kind,
        lowercase,
        kind == "bpe" and not tokenizer.running,
        _SUMMARIES[kind],
        tuple(classes),
        tuple(tables),
        longest,
        literals.integer_type(max([len(tokenizer), *(table.size for table in tables[-1:])])),
    )


def _classes(kind: str) -> dict[str, tuple[characters.Range, ...]]:
    if kind not in ("word", "bpe"):
        return {}
    known = characters.classes()
    if kind == "bpe":
        return {"number": known["N"], "letter_or_mark": characters.united(known["L"], known["M"])}
    underscore = ((ord("_"), ord("_")),)
    word = characters.united(known["L"], known["M"], known["N"], underscore)
    return {"letter": known["L"], "number": known["N"], "word": word}


def _ranges(name: str, ranges: Sequence[characters.Range]) -> Table:
    return _structs("struct text_range", f"all_{name}", ranges, f"TEXT_N_{name.upper()}")


def _structs(type_: str, name: str, values: Sequence[Sequence[int]], macro: str) -> Table:
    return Table(type_, f"text_{name}", literals.rows(values), len(values), macro)


def _integers(name: str, values: Sequence[int], macro: str = "", type_: str = "") -> Table:
    type_ = type_ or literals.integer_type(max(values))
    return Table(type_, f"text_{name}", literals.lines(map(str, values)), len(values), macro)


def _normal_form() -> tuple[Table, ...]:
    form = characters.normal_form()
    return (
        _structs("struct text_pair", "pairs", form.pairs, "TEXT_N_PAIRS"),
        _integers("composing", form.composing, "TEXT_N_COMPOSED"),
        _structs("struct text_mark", "marks", form.marks, "TEXT_N_MARKS"),
    )


def _capitals() -> tuple[Table, ...]:
    capitals = characters.capitals()
    return (_structs("struct text_capital", "capitals", capitals, "TEXT_N_CAPITALS"),)


def _written(tokenizer: Tokenizer) -> list[str]:
    """The tokens that are no special ones, in the order of their ids."""
    return tokenizer.tokens(range(len(SPECIALS), len(tokenizer)))


def letters(tokenizer: Tokenizer) -> tuple[Table, ...]:
    """The table of a vocabulary of characters."""
    found = sorted(
        (ord(character), place)
        for place, character in enumerate(_written(tokenizer), start=len(SPECIALS))
    )
    if not found:
        raise ConfigError("the vocabulary is empty; train with other data")
    return (
        _integers("points", [point for point, _ in found], "TEXT_N_POINTS", "uint32_t"),
        _integers("point_ids", [place for _, place in found]),
    )


def _words(words: Sequence[str]) -> tuple[Table, ...]:
    if not words:
        raise ConfigError("the vocabulary is empty; train with other data")
    n_zero = sum("\0" in word for word in words)
    if n_zero:
        raise ConfigError(
            f"the vocabulary has {count_of(n_zero, 'token')} with a zero character, which ends a string "
            "in C; export with --onnx, or train with --text.kind char or bpe"
        )
    found = sorted((word.encode(), place) for place, word in enumerate(words, start=len(SPECIALS)))
    texts = [literals.string(word.decode()) for word, _ in found]
    return (
        Table("char *const", "text_words", literals.lines(texts), len(texts), "TEXT_N_WORDS"),
        _integers("word_ids", [place for _, place in found]),
    )


def _byte_pairs(tokenizer: Tokenizer) -> tuple[Table, ...]:
    model = json.loads(tokenizer.inner.to_str())["model"]
    ids: dict[str, int] = model["vocab"]
    merges = []
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((ids[left], ids[right], rank, ids[left + right]))
    # Two tokens that no text has, so that the table is not empty.
    merges = sorted(merges) or [(0, 0, 0, 0)]
    written = tokenizer.token_bytes()
    places = {token: place for place, token in enumerate(written) if len(token) == 1}
    byte_ids = [places[bytes([byte])] for byte in range(N_BYTES)]
    return (
        _integers("byte_ids", byte_ids),
        _structs("struct text_merge", "merges", merges, "TEXT_N_MERGES"),
    )
