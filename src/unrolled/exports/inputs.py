"""The inputs on which an export is compared with its model: held-out texts, and awkward ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from unrolled.errors import UnrolledError
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL
from unrolled.text.config import SPECIALS
from unrolled.text.rows import as_list, as_text
from unrolled.text.tokenizer import Tokenizer

MOST_TEXTS = 100
_N_MADE, _LONGEST_MADE = 40, 20
_STREAM_TOKENS = 60
AWKWARD = "Qxzvkj wkjqß 漢字 \U0001f642 e\u0301 \u200b٣"
"""Words that no vocabulary has, of several scripts."""
_SPELLED = "</s> <pad> <s> <unk> a</s>b"


@dataclass(frozen=True)
class Inputs:
    """Inputs as `predict` takes them: texts, pairs, or lists of tokens.

    Args:
        texts: held-out texts, or texts made of the vocabulary.
        awkward: an empty text, one word, the longest text, unknown words, special tokens that are
            spelled, white space.
        long: texts longer than any before, which are cut or read in pieces.
        source: what `texts` are, in words.
        rows: the rows of the validation part, or its stream; None if the data are not here.
    """

    texts: Sequence[Any]
    awkward: Sequence[Any]
    long: Sequence[Any]
    source: str
    rows: Any


def inputs_for(predictor: Any) -> Inputs:
    """The inputs for a run.

    Args:
        predictor: a trained run, from `load`.
    """
    try:
        rows = predictor.held_out("valid")
    except (UnrolledError, OSError):
        rows = None
    is_stream = predictor.task.kind is LANGUAGE_MODEL
    n_rows = 0 if rows is None else rows.n_tokens if is_stream else len(rows)
    if not n_rows:
        texts, rows = made_up(predictor), None
        source = f"{len(texts)} texts of random words, as the data of the run are not here"
    else:
        texts = _of_stream(predictor, rows) if is_stream else _of_rows(predictor, rows[:MOST_TEXTS])
        source = f"{len(texts)} texts of the validation part"
        if len(texts) < _N_MADE:
            texts += (made := made_up(predictor))
            source += f" and {len(made)} texts of random words"
    longest = max(texts, key=lambda text: len(_flat(text)))
    sides = _flat(longest)
    first = sides.split()[:1] or ["a"]
    words = [AWKWARD, _SPELLED, " \t ", first[0]]
    if is_stream:
        words.append(f"{first[0]}\n\n{first[0]}\n{first[0]}")
    many = " ".join([sides] * (1 + _most_tokens(predictor) // max(1, len(sides.split()))))
    if getattr(predictor, "n_texts", 1) == 2:
        pairs = [("", ""), ("", first[0]), (first[0], ""), *((w, sides) for w in words)]
        awkward: list[Any] = [*pairs, *((sides, w) for w in words), longest]
        return Inputs(texts, awkward, [(many, first[0]), (first[0], many)], source, rows)
    if getattr(predictor.task, "by_token", False):
        awkward = ["", [], [first[0]], longest, _SPELLED.split(), AWKWARD.split(), "x" * 300]
        return Inputs(texts, awkward, [many.split()], source, rows)
    return Inputs(texts, ["", *words, longest], [many], source, rows)


def _most_tokens(predictor: Any) -> int:
    """More tokens than an input may have."""
    recipe = predictor.recipe
    if predictor.task.kind is LANGUAGE_MODEL:
        return 300
    if predictor.task.kind is LABELLING:
        return min(recipe.data.max_length, 2_000) + 7
    return min(recipe.decoding.max_input_length, 2_000) + 7


def _flat(text: Any) -> str:
    """All words of an input."""
    return text if isinstance(text, str) else " ".join(text)


def _of_rows(predictor: Any, rows: Sequence[Any]) -> list[Any]:
    if getattr(predictor.task, "by_token", False):
        return [as_list(row.fields[0]) for row in rows]
    n_texts = getattr(predictor, "n_texts", 1)
    texts = [tuple(as_text(field) for field in row.fields[:n_texts]) for row in rows]
    return [text[0] if n_texts == 1 else text for text in texts]


def _of_stream(predictor: Any, stream: Any) -> list[str]:
    """Texts of different lengths from the beginning of a stream."""
    words: Tokenizer = predictor.tokenizers["text"]
    ids = stream.ids[: MOST_TEXTS * _STREAM_TOKENS // 2].tolist()
    texts, start = list[str](), 0
    for size in _sizes(MOST_TEXTS, _STREAM_TOKENS):
        if start >= len(ids):
            break
        texts.append(words.decode(ids[start : start + size]))
        start += size
    return texts


def _sizes(n: int, longest: int) -> list[int]:
    return np.random.default_rng(1).integers(1, longest, n).tolist()


def made_up(predictor: Any) -> list[Any]:
    """Texts of random tokens of the vocabulary."""
    random = np.random.default_rng(1)
    role = "source" if "source" in predictor.tokenizers else "text"
    words: Tokenizer = predictor.tokenizers[role]
    n_texts = getattr(predictor, "n_texts", 1)
    is_by_token = getattr(predictor.task, "by_token", False)
    made = []
    for size in _sizes(_N_MADE * n_texts, _LONGEST_MADE):
        ids = random.integers(min(len(SPECIALS), len(words) - 1), len(words), size).tolist()
        made.append(words.tokens(ids) if is_by_token else words.decode(ids))
    if n_texts == 1:
        return made
    return list(zip(made[::2], made[1::2], strict=True))


def encoded(predictor: Any, inputs: Sequence[Any]) -> list[Any]:
    """The inputs as ids, as the task's model reads them."""
    task, tokenizers = predictor.task, predictor.tokenizers
    if task.kind is LANGUAGE_MODEL:
        return tokenizers["text"].encode_batch(list(inputs))
    if task.kind is LABELLING:
        return [predictor.encode(one) for one in inputs]
    return [task.encode([text], tokenizers) for text in inputs]


def batches_of(examples: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The examples in batches, and the first and the last by themselves, alone."""
    alone = [[example] for example in examples[:2]]
    return [*alone, *(examples[i : i + size] for i in range(0, len(examples), size))]


def singly(examples: Sequence[Any]) -> list[Sequence[Any]]:
    """All examples together, and each alone."""
    return list(chain([examples], ([example] for example in examples)))
