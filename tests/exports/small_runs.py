"""Small models with random weights, as `unrolled.load` would return them, without a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.tasks import TASKS
from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.tasks.roles import LABELS
from unrolled.tasks.tag.model import TagConfig
from unrolled.tasks.tagged import TagData
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.labels import Labels
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.recipe import Recipe

TEXT = "The cafe\u0301 isn't open; don't go there, Ann's at the U.S. office (10:40h)."
LETTERS = Tokenizer.train([TEXT], TextConfig(kind="char"), running=True)


def language_model(folder: Path, *, data: dict[str, Any] | None = None, **model: Any) -> Any:
    """A language model of characters whose text is in a folder."""
    texts = {}
    for part in ("train", "valid"):
        file = folder / f"{part}.txt"
        file.write_text(f"{TEXT}\n" * 5, encoding="utf-8")
        texts[part] = (str(file),)
    config = LanguageModelConfig(**{"embedding_size": 7, "hidden_size": 11} | model)
    stream = StreamConfig(**texts, **(data or {"documents": "line"}))
    recipe = Recipe(task="language_model", data=stream, model=config, text=TextConfig(kind="char"))
    task, tokenizers = TASKS["language_model"], {"text": LETTERS}
    return LanguagePredictor(recipe, task, tokenizers, _built(task, config, tokenizers))


def classifier(
    kind: str = "word", *, several: bool = False, data: dict[str, Any] | None = None, **model: Any
) -> Any:
    """A classifier without data files."""
    words = Tokenizer.train([TEXT, TEXT], TextConfig(kind=kind, lowercase=True, vocab_size=-1))
    names = ["bad, or\tworse", "good", "so \u00e9"]
    labels = replace(Labels.of(names, multi_label=several), shares=(0.2, 0.5, 0.3))
    config = ClassifyConfig(**{"embedding_size": 5, "hidden_size": 9} | model)
    label_data = LabelData(**(data or {}), label_separator="|" if several else "")
    text = TextConfig(kind=kind, lowercase=True)
    recipe = Recipe(task="classify", data=label_data, model=config, text=text)
    task, tokenizers = TASKS["classify"], {"text": words, LABELS: labels}
    built = _built(task, config, tokenizers)
    with torch.no_grad():
        built.head.thresholds.fill_(0.45)
        built.embedding.weight[7] = 0  # a word that training has not seen
    return LabelPredictor(recipe, task, tokenizers, built)


def tagger(data: dict[str, Any] | None = None, **model: Any) -> Any:
    """A tagger without data files."""
    text = TextConfig(kind="word", lowercase=True)
    splitter = Tokenizer.train([TEXT], TextConfig(kind="word"))
    labels = replace(Labels.of(["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]), scheme="bio")
    config = TagConfig(**{"embedding_size": 5, "hidden_size": 9, "char_size": 3} | model)
    recipe = Recipe(task="tag", data=TagData(**(data or {})), model=config, text=text)
    tokenizers = {
        "text": Tokenizer.of_tokens(splitter.split(TEXT), text),
        "characters": Tokenizer.train([TEXT], TextConfig(kind="char")),
        LABELS: labels,
    }
    task = TASKS["tag"]
    built = _built(task, config, tokenizers)
    if built.crf is not None:
        for weight in built.crf.parameters():
            torch.nn.init.normal_(weight)
    return LabelPredictor(recipe, task, tokenizers, built)


def _built(task: Any, config: Any, tokenizers: Any) -> Any:
    """A model whose answers differ clearly from text to text."""
    torch.manual_seed(7)
    model = task.build(config, tokenizers).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                torch.nn.init.normal_(parameter, std=0.3)
            elif "weight_ih" in name or "head" in name:
                parameter *= 2
    return model
