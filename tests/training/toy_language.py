"""A generated language whose words belong to two classes, which only unlabelled text tells apart.

Words of class 0 stand before one set of words, words of class 1 before another. A classifier is shown few
words with their class, and is asked about others.
"""

from __future__ import annotations

import random
from pathlib import Path

from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.splits import LabelData
from unrolled.training.config import TrainingConfig
from unrolled.training.recipe import Recipe

WORDS = [[f"{'ab'[kind]}{n}" for n in range(40)] for kind in range(2)]
FOLLOWERS = [["runs", "eats", "sleeps"], ["rusts", "breaks", "rots"]]
LABELS = ("animal", "thing")


def sentence(kind: int, draw: random.Random) -> str:
    """The words after a name tell a model that reads forwards its class; those before it, backwards."""
    before = ["alive", "dead"][kind]
    return f"{before} {draw.choice(WORDS[kind])} {draw.choice(FOLLOWERS[kind])} often"


def write_language(folder: Path, n_lines: int = 3000) -> None:
    draw = random.Random(7)
    lines = [sentence(draw.randrange(2), draw) for _ in range(n_lines)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part, words in (("train", slice(0, 14)), ("valid", slice(14, 20)), ("test", slice(20, 40))):
        rows = [f"{word} often\t{LABELS[kind]}" for kind in range(2) for word in WORDS[kind][words]]
        table = "\n".join(["text\tlabel", *rows, ""])
        (folder / f"{part}.tsv").write_text(table, encoding="utf-8")


def language_model_recipe(folder: Path, **model) -> Recipe:
    settings = {"embedding_size": 12, "hidden_size": 16, "unknown_rate": 0.0} | model
    return Recipe(
        task="language_model",
        data=StreamConfig(train=(str(folder / "text.txt"),), documents="line", n_rows=8, k1=15),
        text=TextConfig(kind="word"),
        model=LanguageModelConfig(**settings),
        training=TrainingConfig(
            max_steps=180, learning_rate=0.02, evaluate_every_n_steps=180, patience=0
        ),
    )


def classifier_recipe(folder: Path, pretrained: tuple[str, ...] = (), **training) -> Recipe:
    files = {part: (str(folder / f"{part}.tsv"),) for part in ("train", "valid", "test")}
    settings = {"max_epochs": 20, "learning_rate": 0.02, "max_tokens": 12, "metric": "accuracy"}
    settings |= {"evaluate_every_n_steps": 0, "patience": 0, **training}
    model = {"pretrained": pretrained} if pretrained else {"hidden_size": 16, "embedding_size": 12}
    return Recipe(
        task="classify",
        data=LabelData(**files),
        text=TextConfig(kind="word"),
        model=ClassifyConfig(dropout_rate=0.0, unknown_rate=0.0, **model),
        training=TrainingConfig(**settings),
    )
