"""Translation: an encoder–decoder with attention, trained on parallel text.

Bahdanau, Cho & Bengio 2015 (additive attention); Luong, Pham & Manning 2015 (multiplicative attention,
input feeding). The model is in `tasks.seq2seq`; translation only adds its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from unrolled.metrics import translation
from unrolled.tasks import seq2seq, seq2seq_decoding
from unrolled.tasks.task import Task


def for_references(
    task: Task, references: Sequence[str], tokenizer: Any
) -> tuple[Task, tuple[str, ...]]:
    """The task with BLEU's tokenizer for these references; a task with other scores is unchanged."""
    if task.score is not translation.score:
        return task, ()
    chosen = translation.tokenizer_for(references) if tokenizer == "auto" else tokenizer
    task = replace(
        task,
        score=partial(translation.score, tokenize=chosen),
        signature=partial(translation.signature, tokenize=chosen),
    )
    task.signature()  # raises an error if the tokenizer is not installed
    if chosen == "13a" or tokenizer != "auto":
        return task, ()
    return task, (
        f"BLEU splits text with sacrebleu's tokenizer '{chosen}', because the references have no blanks "
        "between words (training.bleu_tokenizer)",
    )


TASK = Task(
    name="translate",
    columns=("source", "target"),
    Config=seq2seq.TranslateConfig,
    train_tokenizers=seq2seq.train_tokenizers,
    encode=seq2seq.encode,
    lengths=seq2seq.lengths,
    collate=seq2seq.collate,
    build=seq2seq.build,
    loss=seq2seq.loss,
    evaluate_loss=seq2seq.evaluate_loss,
    decode=seq2seq_decoding.decode,
    score=translation.score,
    signature=translation.signature,
    for_references=for_references,
    notes=seq2seq.notes,
    load_pretrained=seq2seq.load_pretrained,
    check_pretrained=seq2seq.check_pretrained,
    prepare=seq2seq.prepare,
    training={"max_tokens": 1_024, "learning_rate": 2e-3},
    training_only=seq2seq.TRAINING_ONLY,
)
