"""Descriptions and code as ids: vocabularies and encoding, with slots for quoted spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from unrolled.code.slots import SLOTS, Slotted, slotted
from unrolled.tasks import seq2seq_data
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.seq2seq_data import Pair
from unrolled.text import round_trip
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent

SOURCE, TARGET = "source", "target"
"""The roles of the vocabularies of descriptions and code."""

_MANY_UNKNOWN = 0.02


@dataclass(frozen=True, slots=True)
class CodePair(Pair):
    """An encoded description with its code; other fields are as in `Pair`.

    Args:
        spans: what the slots of the description stand for.
    """

    spans: tuple[str, ...] = ()


def train_tokenizers(rows: Sequence[Row], config: TextConfig) -> dict[str, Tokenizer]:
    """Train a tokenizer for descriptions and one for code, or one for both if `text.shared` is set.

    Args:
        rows: training rows of description, code, language and "slots".
        config: the `[text]` section; tokens of code are those of the rows' language.
    """
    _, _, language, slots = rows[0].texts
    texts = [_texts(row.texts[0], row.texts[1], bool(slots)) for row in rows]
    descriptions, codes = ([each[side] for each in texts] for side in (0, 1))
    if slots:  # known, whether or not training rows have so many
        descriptions.append(" ".join(SLOTS))
        codes.append(" ".join(SLOTS))
    by_role = {SOURCE: config, TARGET: config}
    if config.kind == "code":
        by_role = {
            SOURCE: replace(config, language="text"),
            TARGET: replace(config, language="bash" if language == "bash" else "python"),
        }
    if config.shared:
        shared = Tokenizer.train([*descriptions, *codes], by_role[TARGET])
        return {SOURCE: shared, TARGET: shared}
    return {
        SOURCE: Tokenizer.train(descriptions, by_role[SOURCE]),
        TARGET: Tokenizer.train(codes, by_role[TARGET]),
    }


def _texts(description: str, code: str, with_slots: bool) -> tuple[str, str]:
    if not with_slots:
        return description, code
    found = slotted(description)
    return found.text, found.hide(code)


@lru_cache(maxsize=8)
def _has_slots(tokenizer: Tokenizer) -> bool:
    """Whether a vocabulary of descriptions has slots, as one that was trained with them has."""
    return UNK_ID not in tokenizer.encode(SLOTS[-1]) and tokenizer.kind not in ("bpe", "char")


def encode(fields: Sequence[str], tokenizers: Tokenizers) -> CodePair:
    """Encode a description, and its code if there is one; further fields are not looked at."""
    found = Slotted(fields[0], ())
    texts = list(fields[:2])
    if _has_slots(tokenizers[SOURCE]):
        found = slotted(fields[0])
        texts = [found.text, *map(found.hide, fields[1:2])]
    pair = seq2seq_data.encode(texts, tokenizers)
    return CodePair(pair.source, pair.target, pair.words, pair.writes, pair.copied, found.spans)


def notes(
    text: TextConfig,
    rows: Mapping[str, Sequence[Row]],
    pairs: Mapping[str, Sequence[Pair]],
    tokenizers: Tokenizers,
) -> tuple[str, ...]:
    """Notes on code that can be neither written nor copied, and that tokens do not restore."""
    found = []
    examples = pairs["valid"]
    lost = sum(UNK_ID in (pair.copied or pair.target) for pair in examples)
    if examples and lost > _MANY_UNKNOWN * len(examples):
        found.append(
            f"valid: {percent(lost / len(examples))} of the rows have code with a token that is "
            "neither in the description nor in the vocabulary, so no model can write them"
        )
    return (
        *found,
        *round_trip.note([row.texts[1] for row in rows["train"]], tokenizers[TARGET], TARGET),
    )
