"""The definition of the task: code for descriptions.

The model is that of translation (`tasks.seq2seq`) with copying; descriptions and code are split into the
tokens of `unrolled.code`. Yin et al. (2018) train such a model on CoNaLa, Lin et al. (2018) on NL2Bash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from unrolled.code import metrics
from unrolled.code.metrics import GoldCode
from unrolled.code.parsing import PROGRAM_LANGUAGES
from unrolled.config import Rate, Width
from unrolled.tasks import seq2seq
from unrolled.tasks.code import answers, examples
from unrolled.tasks.code.reading import COLUMNS, READING, CodeData
from unrolled.tasks.task import CodeTask
from unrolled.text.rows import Row


@dataclass(frozen=True)
class CodeConfig(seq2seq.TranslateConfig):
    """The `[model]` section of a recipe for code; as in translation, with other defaults."""

    embedding_size: Width = 128
    encoder_size: Width = 128
    hidden_size: Width = 256
    copying: Literal["none", "pointer"] = "pointer"
    dropout_rate: Rate = 0.3
    label_smoothing: Rate = 0.1


def with_language(text: Mapping[str, object], data: CodeData) -> Mapping[str, object]:
    """The `[text]` section with the language of the code, if it has tokens of code."""
    return {"language": data.language, **text} if text.get("kind") == "code" else text


def reference(row: Row) -> GoldCode:
    """What a prediction is compared with."""
    description, code, *others = row.texts
    language = next((each for each in PROGRAM_LANGUAGES if each in others), PROGRAM_LANGUAGES[0])
    return GoldCode(code, description, language)


def for_references(
    task: Any, references: Sequence[GoldCode], tokenizer: str
) -> tuple[Any, tuple[str, ...]]:
    """The task with the signature of the references' language."""
    language = references[0].language if references else "python"
    return replace(task, signature=partial(metrics.signature, language)), ()


TASK = CodeTask(
    name="code",
    columns=COLUMNS,
    Config=CodeConfig,
    Data=CodeData,
    Decoding=answers.CodeDecoding,
    reading=READING,
    train_tokenizers=examples.train_tokenizers,
    encode=examples.encode,
    lengths=seq2seq.lengths,
    collate=seq2seq.collate,
    build=seq2seq.build,
    loss=seq2seq.loss,
    evaluate_loss=seq2seq.evaluate_loss,
    decode=answers.decode,
    score=metrics.score,
    signature=metrics.signature,
    reference=reference,
    for_references=for_references,
    notes=examples.notes,
    load_pretrained=seq2seq.load_pretrained,
    check_pretrained=seq2seq.check_pretrained,
    prepare=seq2seq.prepare,
    text={"kind": "code"},
    text_for=with_language,
    training={
        "max_tokens": 1_000,
        "learning_rate": 2e-3,
        "metric": "bleu",
        "valid_sentences": 100,
        "evaluate_every_n_steps": 200,
        "patience": 4,
    },
    training_only=seq2seq.TRAINING_ONLY,
    inherited=("language", "slots"),
)
