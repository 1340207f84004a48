"""Rows of `classify` and `pair` as examples: the ids of texts and labels, and how they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unrolled.tasks.facts import TokenFacts, token_facts, truncate
from unrolled.tasks.roles import LABELS, TEXT, Tokenizers
from unrolled.text.labels import Labels, split_labels
from unrolled.text.rows import Field, as_text
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One encoded row.

    Args:
        texts: token ids of each text.
        labels: ids of the labels; None if they are not known.
        n_truncated: number of tokens that were cut off.
        facts: what is known of the tokens beside their ids; None if nothing else is read.
    """

    texts: tuple[list[int], ...]
    labels: tuple[int, ...] | None
    n_truncated: int = 0
    facts: TokenFacts | None = None


def labels_in(fields: Sequence[Field], data: LabelData) -> list[str]:
    """The labels of a row; several or none if `data.label_separator` is set."""
    field = fields[-1]
    if data.label_separator:
        return split_labels(field, data.label_separator)
    return [as_text(field).strip()]


@dataclass(frozen=True)
class ExampleEncoder:
    """Encode texts, and the labels after them if they are known, as ids.

    Args:
        n_texts: number of texts of a row.
    """

    n_texts: int

    def __call__(
        self, fields: Sequence[Field], tokenizers: Tokenizers, data: LabelData
    ) -> LabelledExample:
        """Encode one row."""
        return self.many([fields], tokenizers, data)[0]

    def many(
        self, rows: Sequence[Sequence[Field]], tokenizers: Tokenizers, data: LabelData
    ) -> list[LabelledExample]:
        """Encode many rows; see `tasks.task.ManyEncoder`."""
        words: Tokenizer = tokenizers[TEXT]
        labels: Labels = tokenizers[LABELS]
        columns = [[as_text(fields[side]) for fields in rows] for side in range(self.n_texts)]
        sides = [words.encode_batch(column) for column in columns]
        facts = token_facts(columns, sides, words, tokenizers, data)
        examples = []
        for fields, texts, known in zip(rows, zip(*sides, strict=True), facts, strict=True):
            ids = None
            if len(fields) > self.n_texts:
                ids = tuple(labels.id_of(name) for name in labels_in(fields, data))
            examples.append(LabelledExample(texts, ids, facts=known))
        return examples


def encode_with(n_texts: int) -> ExampleEncoder:
    """The `encode` of a task with `n_texts` texts, which are followed by the label if it is known."""
    return ExampleEncoder(n_texts)


def lengths(example: LabelledExample) -> tuple[int, ...]:
    """The number of tokens of each text."""
    return tuple(len(ids) for ids in example.texts)


def cut(example: LabelledExample, data: LabelData) -> LabelledExample:
    """The example with no text longer than `data.max_length`."""
    texts = tuple(truncate(ids, data) for ids in example.texts)
    n_truncated = sum(lengths(example)) - sum(len(ids) for ids in texts)
    facts = example.facts and example.facts.changed(lambda _, each: truncate(each, data))
    return replace(example, texts=texts, n_truncated=n_truncated, facts=facts)
