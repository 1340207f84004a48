"""Texts with characters and counted n-grams: predictions, gradients and facts of their tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beside_examples import (
    CONFIGS,
    KINDS,
    PAIR,
    ROWS,
    SMALL,
    built,
    pair_rows,
    probabilities,
    recipe_of,
)

import unrolled
from unrolled.comparison.costs import multiply_adds_per_token
from unrolled.comparison.sizing import _Data as Prepared
from unrolled.config import from_mapping
from unrolled.errors import ConfigError
from unrolled.tasks import TASKS, beside, classify, pair
from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.roles import CHARACTERS
from unrolled.tasks.text_labels import collate
from unrolled.text.splits import LabelData

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("task", [classify.TASK, pair.TASK], ids=["classify", "pair"])
def test_a_text_has_the_prediction_it_has_alone(changes, task) -> None:
    config = replace(SMALL if task is classify.TASK else PAIR, **changes)
    rows = ROWS if task is classify.TASK else pair_rows()
    model, examples, tokenizers = built(config, rows, task=task)
    if config.ngrams:
        model.head.share.fill_(0.3)
    texts = [
        [""] * (len(task.columns) - 1),
        ["so", "films of unheard LENGTH"][: len(task.columns) - 1],
    ]
    examples += [task.encode(each, tokenizers, LabelData()) for each in texts]
    together = probabilities(model, examples, tokenizers, task)
    backwards = probabilities(model, examples[::-1], tokenizers, task)[::-1]
    alone = [probabilities(model, [each], tokenizers, task)[0] for each in examples]
    np.testing.assert_allclose(together, alone, atol=1e-7)
    np.testing.assert_allclose(together, backwards, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_texts_alone(kind) -> None:
    model, examples, _ = built(replace(SMALL, characters=kind))
    parameters = dict(model.named_parameters())

    def gradients(loss):
        found = torch.autograd.grad(loss, list(parameters.values()))
        return dict(zip(parameters, found, strict=True))

    together = gradients(classify.TASK.loss(model, collate(examples))[0])
    alone = gradients(sum(classify.TASK.loss(model, collate([each]))[0] for each in examples))
    assert any(name.startswith("spelling.") for name in together)
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, alone[name], msg=name)
        assert gradient.any(), name


def test_training_does_not_look_at_the_counts() -> None:
    plain, examples, _ = built(SMALL)
    mixed, counted, _ = built(replace(SMALL, ngrams=2))
    mixed.load_state_dict({**mixed.state_dict(), **plain.state_dict()})
    mixed.head.share.fill_(0.5)
    losses = [
        classify.TASK.loss(model.eval(), collate(given))[0]
        for model, given in ((plain, examples), (mixed, counted))
    ]
    torch.testing.assert_close(*losses)
    evaluated = [
        classify.TASK.evaluate_loss(model, collate(given))[0]
        for model, given in ((plain, examples), (mixed, counted))
    ]
    assert not torch.allclose(*evaluated)


def test_cut_and_shuffled_texts_keep_their_facts_aligned() -> None:
    config = replace(SMALL, characters="recurrent", ngrams=2)
    _, _, tokenizers = built(config)
    text = "so good films so bad film an awful fine film"
    data = LabelData(max_length=5, keep="both")
    example = classify.TASK.cut(classify.TASK.encode([text], tokenizers, data), data)
    words = text.split()[:3] + text.split()[-2:]
    check_facts(example, words, tokenizers)
    random = np.random.default_rng(3)
    shuffled = classify.TASK.shuffle(example, tokenizers, random)
    order = tokenizers["text"].pieces(shuffled.texts[0])
    assert sorted(order) == sorted(words)
    assert order != words
    check_facts(shuffled, order, tokenizers)


def check_facts(example, words, tokenizers) -> None:
    letters, scores = tokenizers[CHARACTERS], tokenizers[beside.NGRAMS]
    assert tokenizers["text"].pieces(example.texts[0]) == words
    assert ["".join(letters.pieces(word)) for word in example.facts.spellings[0]] == words
    tokens = scores.counting.ngrams[0].tokens
    assert [tokens[index] for index in example.facts.counted[0].tokens] == words


def test_variants_of_a_comparison_learn_what_they_read(tmp_path) -> None:
    data, costs = Prepared(), []
    for characters in ("none", "convolution"):
        recipe = recipe_of(tmp_path, characters=characters)
        prepared = data.of(recipe)
        assert (CHARACTERS in prepared.tokenizers) == (characters != "none")
        costs.append(multiply_adds_per_token(recipe, classify.TASK, prepared))
    assert costs[0] < costs[1]


def test_a_recipe_with_everything_survives_toml(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="convolution", char_window=5, ngrams=3)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert unrolled.recipe_from_toml(path, TASKS) == recipe


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"characters": "letters"}, "model.characters: expected"),
        ({"ngrams": 9}, "model.ngrams must be at most 8, got 9"),
        ({"char_window": 0}, "model.char_window must be at least 1, got 0"),
    ],
)
def test_invalid_settings_are_named(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(ClassifyConfig, changes, "model")
    assert sentence in str(caught.value)
