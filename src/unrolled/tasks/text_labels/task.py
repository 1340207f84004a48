"""The tasks `classify` and `pair` from their model: everything else is the same for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from unrolled.layers.unknown import rate_for
from unrolled.tasks import beside, examples
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import LabelTask
from unrolled.tasks.text_labels import data, prediction, scoring, training
from unrolled.text.config import TextConfig
from unrolled.text.rows import Field, as_text
from unrolled.text.splits import Reading


def label_task(
    name: str,
    columns: tuple[str, ...],
    Config: type,
    Model: Callable[..., nn.Module],
    linked: Callable[[Sequence[Field]], Sequence[Field]],
    use: str,
) -> LabelTask:
    """A task that predicts labels of one or several texts.

    Args:
        name: its name.
        columns: names of the texts, and of the label, which is last.
        Config: the frozen dataclass of the recipe's `[model]` section.
        Model: configuration, number of words, number of labels, whether a row may have several labels,
            and what `beside.sizes` returns → a new module.
        linked: the fields of a row that must not occur in two parts of the data.
        use: command to try a run, with `{run}` for its folder.
    """
    n_texts = len(columns) - 1

    def has_text(fields: Sequence[Field]) -> bool:
        return any(as_text(field).strip() for field in fields[:n_texts])

    def build(config: Any, tokenizers: Tokenizers) -> nn.Module:
        words, labels = tokenizers[data.ROLE], tokenizers[LABELS]
        config = replace(config, unknown_rate=rate_for(words, config.unknown_rate))
        sizes = beside.sizes(tokenizers)
        return Model(config, len(words), len(labels), labels.multi_label, **sizes)

    return LabelTask(
        name=name,
        columns=columns,
        Config=Config,
        reading=Reading(
            is_full=has_text, linked=linked, lists="last", names=columns, labels=examples.labels_in
        ),
        train_tokenizers=data.train_tokenizers,
        encode=examples.encode_with(n_texts),
        lengths=examples.lengths,
        cut=examples.cut,
        collate=data.collate,
        build=build,
        prepare=training.prepare,
        loss=training.loss,
        evaluate_loss=training.evaluate_loss,
        predict=prediction.predict,
        tune_thresholds=prediction.tune_thresholds,
        evaluate=scoring.evaluate,
        scores=scoring.scores,
        tokens=data.tokens,
        shuffle=data.shuffle,
        signature=scoring.signature,
        use=use,
        extend=training.extend,
        learn=training.learn,
        load_pretrained=training.load_pretrained,
        check_pretrained=check_pretrained,
        notes=data.notes,
        text=data.TEXT,
        training_only=training.TRAINING_ONLY,
    )


def check_pretrained(config: Any, text: TextConfig) -> None:
    """Check that a model can read what its settings name, such as a file of vectors."""
    beside.check(config, text)
    config.embeddings.check_file("model.embeddings", config.embedding_size, text.kind)
