"""A tiny task for the tests of training: from the mean of source embeddings to target words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.decoding.config import DecodingConfig
from unrolled.errors import ConfigError
from unrolled.tasks.predictions import Prediction
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import Task
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.config import TrainingConfig
from unrolled.training.recipe import Recipe

ENGLISH = ("one", "two", "three", "four", "five", "six", "seven")
SPANISH = ("uno", "dos", "tres", "cuatro", "cinco", "seis", "siete")


@dataclass(frozen=True)
class CountingConfig:
    """Width and dropout, and whether input and output share their embedding."""

    width: int = 5
    dropout_rate: float = 0.3
    tied: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"model.width must be at least 1, got {self.width}")


@dataclass(frozen=True)
class Sums:
    """What the loss takes: sources one by one, targets with the row each belongs to."""

    sources: list[Tensor]
    targets: Tensor
    rows: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> Sums:
        return self


class Counter(nn.Module):
    def __init__(self, config: CountingConfig, n_source: int, n_target: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_source, config.width)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.head = nn.Linear(config.width, n_target)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        means = [self.embedding(source).mean(0) for source in sources]
        return self.head(self.dropout(torch.stack(means)))


def _train_tokenizers(rows: Sequence[Row], config: TextConfig) -> dict[str, Tokenizer]:
    names = ("source", "target")
    return {
        name: Tokenizer.train([row.fields[side] for row in rows], config)
        for side, name in enumerate(names)
    }


def _encode(fields: Sequence[str], tokenizers: Tokenizers) -> tuple[list[int], ...]:
    names = ("source", "target")[: len(fields)]
    return tuple(tokenizers[name].encode(text) for name, text in zip(names, fields, strict=True))


def _lengths(example: Sequence[list[int]]) -> tuple[int, ...]:
    return tuple(len(ids) for ids in example)


def _collate(examples: Sequence[Any]) -> Sums:
    rows = [row for row, example in enumerate(examples) for _ in example[1]]
    targets = [id_ for example in examples for id_ in example[1]]
    return Sums([torch.tensor(e[0]) for e in examples], torch.tensor(targets), torch.tensor(rows))


def _build(config: CountingConfig, tokenizers: Tokenizers) -> Counter:
    return Counter(config, len(tokenizers["source"]), len(tokenizers["target"]))


def _loss(model: Counter, batch: Sums) -> tuple[Tensor, int]:
    logits = model(batch.sources)[batch.rows]
    return nn.functional.cross_entropy(logits, batch.targets, reduction="sum"), batch.n_tokens


def _decode(
    model: Counter,
    examples: Sequence[Any],
    tokenizers: Tokenizers,
    config: DecodingConfig,
    with_attention: bool,
) -> list[Prediction]:
    with torch.inference_mode():
        best = model([torch.tensor(example[0]) for example in examples]).argmax(1)
    return [Prediction(tokenizers["target"].decode([int(i)]), 0.0, (), ()) for i in best]


def _score(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    right = [answer in reference for answer, reference in zip(answers, references, strict=True)]
    return {"accuracy": sum(right) / len(right)}


COUNTING = Task(
    name="counting",
    columns=("en", "es"),
    Config=CountingConfig,
    train_tokenizers=_train_tokenizers,
    encode=_encode,
    lengths=_lengths,
    collate=_collate,
    build=_build,
    loss=_loss,
    evaluate_loss=_loss,
    decode=_decode,
    score=_score,
    signature=lambda: {"accuracy": "the word is|is not in the reference"},
)


def write_data(path: Path, n_rows: int = 97, seed: int = 1) -> Path:
    """Rows of two to five numbers in English and Spanish; every source its own."""
    draw = random.Random(seed)
    lines = ["en\tes"]
    for row in range(n_rows):
        numbers = [row % 7, row // 7 % 7, *(draw.randrange(7) for _ in range(draw.randrange(4)))]
        english, spanish = (" ".join(words[n] for n in numbers) for words in (ENGLISH, SPANISH))
        lines.append(f"{english}\t{spanish}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe_for(data: Path, model: CountingConfig | None = None, **training: Any) -> Recipe:
    """A recipe for `COUNTING`: eight batches an epoch; evaluations, checkpoints now and then."""
    defaults = TrainingConfig(
        learning_rate=0.01,
        max_tokens=37,
        max_steps=23,
        evaluate_every_n_steps=5,
        patience=0,
        checkpoint_every_n_steps=7,
        log_every_n_steps=3,
        valid_sentences=3,
        device="cpu",
    )
    return Recipe(
        task="counting",
        seed=3,
        data=DataConfig(train=(str(data),), valid_size=11, test_size=7),
        text=TextConfig(kind="word"),
        model=model or CountingConfig(),
        training=replace(defaults, **training),
    )
