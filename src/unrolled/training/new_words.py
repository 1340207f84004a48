"""Add words of new text to the vocabulary of a language model that a run starts from.

Howard & Ruder 2018 tune a language model on the words of the task. Here, those that it does not know
start at the mean of the others; known words keep their ids.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import ConfigError
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.tasks.roles import Tokenizers
from unrolled.text.config import SPECIALS
from unrolled.text.corpus.corpus import open_corpus
from unrolled.text.tokenizer import Tokenizer
from unrolled.training import checkpoint, run_folder
from unrolled.training.dataset import ROLE
from unrolled.training.recipe import Recipe
from unrolled.wording import count_of

_MOST_TOKENS = 4_000_000


def check(recipe: Recipe, source: Path | None) -> None:
    """Refuse `data.new_words` for a run that cannot have any.

    Args:
        recipe: the recipe of a new run.
        source: the run that it starts from, if any.

    Raises:
        ConfigError: it starts from no other run, or the model has no row for each word.
    """
    if not _n_words(recipe):
        return
    model = recipe.model
    if source is None:
        raise ConfigError(
            "data.new_words adds words to the vocabulary of the run that this one starts from; name it "
            "in --from, or remove the setting"
        )
    assert isinstance(model, LanguageModelConfig)
    if model.embedding == "one_hot" or model.head == "adaptive":
        name = "embedding" if model.embedding == "one_hot" else "head"
        raise ConfigError(
            f"data.new_words: model.{name} is '{getattr(model, name)}', to which no words can be added; "
            "remove the setting"
        )


def extended(recipe: Recipe, tokenizers: Tokenizers) -> Tokenizers:
    """The tokenizers with `data.new_words` more words of the training text.

    Raises:
        ConfigError: the tokens are not words.
        DataError: a file cannot be read.
    """
    n = _n_words(recipe)
    if not n:
        return tokenizers
    known: Tokenizer = tokenizers[ROLE]
    if known.kind not in ("word", "space"):
        raise ConfigError(
            f"data.new_words needs a vocabulary of words, but text.kind is '{known.kind}'; remove it"
        )
    texts = open_corpus(recipe.data).texts("train")
    found = Tokenizer.train(texts, replace(recipe.text, vocab_size=_MOST_TOKENS), running=True)
    words = found.tokens(range(len(SPECIALS), len(found)))  # the most frequent first
    return {**tokenizers, ROLE: known.extended([w for w in words if known.id_of(w) is None][:n])}


def set_weights(model: nn.Module, recipe: Recipe, source: Path) -> tuple[str, ...]:
    """Give a model the best weights of another run; rows of new words are the mean of the others.

    Returns:
        Notes for the user.

    Raises:
        RunError: the file of weights is missing or damaged, or belongs to another model.
    """
    if not _n_words(recipe):
        run_folder.set_best_weights(model, source)
        return ()
    path = source / checkpoint.MODEL_FILE
    stored, own = checkpoint.load_tensors(path), checkpoint.weights_of(model)
    n_new = 0
    for name, weight in stored.items():
        if name in own and len(own[name].shape) and len(own[name]) > len(weight):
            n_new = len(own[name]) - len(weight)
            stored[name] = torch.cat([weight, _means(weight, n_new)])
    checkpoint.set_weights(model, stored, path)
    return (f"{count_of(n_new, 'word')} of the training text added to the vocabulary of {source}",)


def _means(weight: Tensor, n: int) -> Tensor:
    """The mean of the rows of known words, n times."""
    mean = weight[len(SPECIALS) :].mean(0, keepdim=True)
    return mean.expand(n, *weight.shape[1:])


def _n_words(recipe: Recipe) -> int:
    n: Any = getattr(recipe.data, "new_words", 0)
    return int(n)
