"""Check that a `tokenizer.json` contains a vocabulary in one of our own pipelines, and nothing else.

The library that reads these files supports much more than we need: replacements that double a text each
time, padding to a length of billions, regular expressions that never finish, binary tables that crash the
process. Therefore a file is compared with what we would write before the library reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

MOST_BYTES = 256 << 20
MOST_TOKENS = 8_000_000
LONGEST_TOKEN = 1 << 20
"""Characters."""

_MODEL = "model"
_OF_THE_VOCABULARY = ("vocab", "merges")


def why_not(
    document: Any,
    pipelines: Iterable[Mapping[str, Any]],
    specials: Sequence[str],
    letters: Mapping[str, int],
) -> str | None:
    """Why a document is not a tokenizer written by this toolkit; None if it is.

    Args:
        document: the parsed JSON of the file.
        pipelines: documents of tokenizers without a vocabulary, one for each kind that we write.
        specials: the tokens with the first ids.
        letters: the characters of which the tokens of byte pairs consist.
    """
    if not isinstance(document, dict) or not isinstance(document.get(_MODEL), dict):
        return "expected an object with a model"
    if (reason := _why_no_vocabulary(document[_MODEL], specials)) is not None:
        return reason
    differences = [
        _differences(document, own)
        for own in pipelines
        if own[_MODEL]["type"] == document[_MODEL].get("type")
    ]
    if not differences:
        return "its model is neither char, word, space, code nor byte-level bpe"
    nearest = min(differences, key=len)
    if nearest:
        return f"its '{nearest[0][:40]}' is not one that this toolkit writes"
    return _why_no_tokens(document, letters)


def _differences(document: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The names of the parts in which they differ, without the vocabulary."""
    parts = [
        name
        for name in sorted((own.keys() | document.keys()) - {_MODEL})
        if name not in own or name not in document or not _is_same(document[name], own[name])
    ]
    model, own_model = document[_MODEL], own[_MODEL]
    # Older versions of the library did not write all settings; a missing one has its default value.
    settings = sorted(model.keys() - set(_OF_THE_VOCABULARY))
    is_other = [
        name not in own_model or not _is_same(model[name], own_model[name]) for name in settings
    ]
    return parts + [
        f"{_MODEL}.{name}" for name, differs in zip(settings, is_other, strict=True) if differs
    ]


def _is_same(one: Any, other: Any) -> bool:
    """Equality that distinguishes true from 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def _why_no_vocabulary(model: Mapping[str, Any], specials: Sequence[str]) -> str | None:
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict):
        return "its model has no vocabulary"
    if len(vocabulary) > MOST_TOKENS:
        return f"its vocabulary has more than {MOST_TOKENS:,} tokens"
    ids = vocabulary.values()
    if any(vocabulary.get(token) != place for place, token in enumerate(specials)):
        return f"ids 0 to {len(specials) - 1} must be {' '.join(specials)}"
    if not all(type(i) is int for i in ids) or set(ids) != set(range(len(ids))):
        return "ids of its vocabulary are missing or duplicated"
    if max(map(len, vocabulary)) > LONGEST_TOKEN:
        return f"a token has more than {LONGEST_TOKEN:,} characters"
    return None


def _why_no_tokens(document: Mapping[str, Any], letters: Mapping[str, int]) -> str | None:
    """Why the tokens of a vocabulary are not valid for its kind; None if they are."""
    model, decoder = document[_MODEL], document["decoder"] or {}
    tokens = [token for token, place in model["vocab"].items() if place >= 4]
    if model["type"] == "BPE":
        return _why_no_byte_pairs(model, tokens, letters)
    if "merges" in model:
        return "merges belong to byte pairs"
    if decoder.get("type") == "Fuse" and any(len(token) != 1 for token in tokens):
        return "a token is not one character"
    return "a token is empty" if "" in tokens else None


def _why_no_byte_pairs(
    model: Mapping[str, Any], tokens: Sequence[str], letters: Mapping[str, int]
) -> str | None:
    if not all(token and all(letter in letters for letter in token) for token in tokens):
        return "a token is not made of bytes"
    if not letters.keys() <= model["vocab"].keys():
        return "a byte has no token"
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > len(tokens):
        return "it has no merges, or more merges than tokens"
    return None if all(map(_is_merge, merges)) else "a merge is not a pair of tokens"


def _is_merge(merge: Any) -> bool:
    if isinstance(merge, str):  # as older versions of the library wrote it
        merge = merge.split(" ")
    return (
        isinstance(merge, list)
        and len(merge) == 2
        and all(isinstance(part, str) and part for part in merge)
    )


@contextmanager
def refusing(refuse: Callable[[str], Exception]) -> Iterator[None]:
    """Convert anything that the library raises to the error that `refuse` returns for a reason.

    The library has no exception classes of its own, and if its code panics, it raises something that is
    not even an `Exception`.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise refuse(f"{error}"[:200]) from error
