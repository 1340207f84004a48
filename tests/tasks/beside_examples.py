"""Small texts, models and recipes that read characters, counted n-grams and common words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

import unrolled
from unrolled.tasks import classify
from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.pair import PairConfig
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData

LOWER = TextConfig(kind="word", lowercase=True)

TEXTS = [
    "Good films",
    "so good",
    "Bad films",
    "so BAD",
    "a fine film",
    "an awful film",
    "Fine",
    "bad",
]

LABELS_OF = ["yes", "yes", "no", "no", "yes", "no", "yes", "no"]

ROWS = [
    Row((text, label), line)
    for line, (text, label) in enumerate(zip(TEXTS, LABELS_OF, strict=True))
]

SMALL = ClassifyConfig(
    embedding_size=5, hidden_size=7, char_size=3, char_filters=4, dropout_rate=0.0
)

PAIR = PairConfig(embedding_size=5, hidden_size=7, char_size=3, char_filters=4, dropout_rate=0.0)

KINDS = ["recurrent", "convolution"]

CONFIGS = {
    "recurrent": {"characters": "recurrent"},
    "convolution": {"characters": "convolution", "char_window": 2},
    "counted": {"ngrams": 2},
    "counted characters": {"ngrams": 1, "ngram_characters": 4},
    "all": {"characters": "convolution", "ngrams": 3},
}


def built(config, rows=ROWS, data=None, text=LOWER, task=classify.TASK):
    data = data or LabelData()
    tokenizers = task.train_tokenizers(rows, text, data)
    tokenizers = task.learn(config, rows, tokenizers, data)
    torch.manual_seed(2)
    model = task.build(config, tokenizers).double().eval()
    examples = [task.cut(task.encode(row.fields, tokenizers, data), data) for row in rows]
    task.prepare(model, {"train": examples, "valid": examples})
    return model, examples, tokenizers


def pair_rows():
    pairs = zip(TEXTS, TEXTS[3:] + TEXTS[:3], LABELS_OF, strict=True)
    return [Row(fields, line) for line, fields in enumerate(pairs)]


def probabilities(model, examples, tokenizers, task=classify.TASK):
    with torch.inference_mode():
        return np.stack([each.probabilities for each in task.predict(model, examples, tokenizers)])


def write_data(folder, several: bool = False):
    path = folder / "data.tsv"
    lines = ["text\tlabel"]
    for n in range(6):
        for text, label in zip(TEXTS, LABELS_OF, strict=True):
            labels = f"{label}|long" if several and len(text) > 8 else label
            lines.append(f"{text} number{n}\t{labels}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def recipe_of(folder, several: bool = False, steps: int = 6, **changes):
    separator = "|" if several else ""
    return unrolled.Recipe(
        task="classify",
        data=LabelData(
            train=(write_data(folder, several),),
            valid_size=10,
            test_size=5,
            label_separator=separator,
        ),
        text=LOWER,
        model=replace(SMALL, **changes),
        training=unrolled.TrainingConfig(
            max_steps=steps, learning_rate=0.02, max_tokens=64, evaluate_every_n_steps=3
        ),
        seed=3,
    )
