"""Words that are added to the vocabulary of a language model when it is tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_language import classifier_recipe, language_model_recipe, write_language

import unrolled
from unrolled.errors import ConfigError
from unrolled.text.config import SPECIALS
from unrolled.training import checkpoint, run_folder
from unrolled.training.loop import fit, train

MORE = ["a1 xylophone often", "b1 zither often xylophone", "a2 zither xylophone quill"] * 40


def steps(recipe, n: int):
    return replace(recipe, training=replace(recipe.training, max_steps=n))


@pytest.fixture
def language(tmp_path) -> Path:
    write_language(tmp_path, n_lines=300)
    (tmp_path / "more.txt").write_text("\n".join(MORE), encoding="utf-8")
    return tmp_path


def tuning(language: Path, n_words: int, **model):
    recipe = steps(language_model_recipe(language, **model), 1)
    data = replace(recipe.data, train=(str(language / "more.txt"),), new_words=n_words)
    return replace(recipe, data=replace(data, n_rows=2, k1=5))


@pytest.mark.parametrize(
    "model", [{}, {"tied": True}, {"head": "sampled", "n_samples": 5}], ids=str
)
def test_new_words_start_at_the_mean(language, model) -> None:
    train(steps(language_model_recipe(language, **model), 2), language / "lm")
    recipe = tuning(language, 2, **model)
    recipe = replace(recipe, training=replace(recipe.training, learning_rate=1e-30))
    started, *_ = fit(recipe, language / "tuned", start_from=language / "lm")
    note = f"2 words of the training text added to the vocabulary of {language / 'lm'}"
    assert note in started.notes
    old, new = (run_folder.load_run(language / name) for name in ("lm", "tuned"))
    words, more = old.tokenizers["text"], new.tokenizers["text"]
    ids = range(len(words))
    assert more.tokens(ids) == words.tokens(ids)
    assert more.tokens([len(words), len(words) + 1]) == ["xylophone", "zither"]
    before, after = checkpoint.weights_of(old.model), checkpoint.weights_of(new.model)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name][: len(weight)], weight)
        for row in after[name][len(weight) :]:
            torch.testing.assert_close(row, weight[len(SPECIALS) :].mean(0))
    assert len(after["embedding.weight"]) == len(words) + 2


def test_a_tuned_vocabulary_starts_a_classifier(language) -> None:
    train(steps(language_model_recipe(language), 2), language / "lm")
    train(tuning(language, 100), language / "tuned", start_from=language / "lm")
    train(steps(tuning(language, 100), 2), language / "tuned", resume=True)
    recipe = classifier_recipe(language, (str(language / "tuned"),), max_epochs=1)
    train(recipe, language / "labels")
    words = run_folder.load_tokenizers(language / "labels")["text"]
    assert words.decode(words.encode("quill zither")) == "quill zither"
    assert unrolled.load(language / "labels").predict(["quill zither"])


def test_new_words_need_a_vocabulary_to_add_to(language) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.new_words adds words to the vocabulary of the run"
    ):
        fit(tuning(language, 3), language / "tuned")
    train(steps(language_model_recipe(language, embedding="one_hot"), 1), language / "hot")
    with pytest.raises(ConfigError, match=r"model\.embedding is 'one_hot', to which no words"):
        fit(tuning(language, 3, embedding="one_hot"), language / "x", start_from=language / "hot")
    letters = replace(language_model_recipe(language), text=unrolled.TextConfig(kind="char"))
    train(steps(letters, 1), language / "letters")
    events = fit(tuning(language, 3), language / "x", start_from=language / "letters")
    with pytest.raises(ConfigError, match=r"needs a vocabulary of words, but text\.kind is 'char'"):
        next(events)
    assert not (language / "x").exists()
