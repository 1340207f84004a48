"""N-grams of characters that are counted beside a network, and those counted by the first text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beside_examples import LOWER, PAIR, ROWS, SMALL, built, probabilities, recipe_of

import unrolled
from unrolled.errors import ConfigError
from unrolled.inspect.attribution import explain_words
from unrolled.tasks import beside, classify, pair
from unrolled.tasks.pair import PairConfig
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData

pytestmark = pytest.mark.usefixtures("one_thread")

TARGETS = ["films", "the plot"]
PAIRS = [
    Row((target, row.fields[0], row.fields[1] if target == "films" else "no"), 9 * n + row.line)
    for n, target in enumerate(TARGETS)
    for row in ROWS
]
BY_FIRST = replace(PAIR, ngrams=1, ngram_characters=4, ngrams_by_first=True)


def counts_alone(model, example, tokenizers, task):
    model.head.share.fill_(1.0)
    return task.predict(model, [example], tokenizers)[0].parts[1]


def test_words_outside_training_are_known_by_their_characters() -> None:
    model, _, tokenizers = built(replace(SMALL, ngram_characters=4))
    seen, unseen = (
        classify.TASK.predict(
            model, [classify.TASK.encode([text], tokenizers, LabelData())], tokenizers
        )[0]
        for text in ("goodness", "xyz")
    )
    scores = tokenizers[beside.NGRAMS]
    np.testing.assert_allclose(seen.parts[1], scores.scores([[["goodness"]]])[0], atol=1e-12)
    assert not np.allclose(seen.parts[1], scores.bias)
    assert unseen.parts is None
    assert unseen.probabilities.tolist() == pytest.approx(list(tokenizers["labels"].shares))


def test_cut_texts_count_the_tokens_that_are_left() -> None:
    model, _, tokenizers = built(BY_FIRST, PAIRS, task=pair.TASK)
    data = LabelData(max_length=3, keep="both")
    row = ["films", "so good films an awful film"]
    example = pair.TASK.cut(pair.TASK.encode(row, tokenizers, data), data)
    wanted = tokenizers[beside.NGRAMS].scores([[["films"], ["so", "good", "film"]]])
    found = counts_alone(model, example, tokenizers, pair.TASK)
    np.testing.assert_allclose(found, wanted[0], atol=1e-12)


def test_the_order_of_words_does_not_change_their_characters() -> None:
    model, _, tokenizers = built(BY_FIRST, PAIRS, task=pair.TASK)
    example = pair.TASK.encode(["the plot", "so good films bad"], tokenizers, LabelData())
    shuffled = pair.TASK.shuffle(example, tokenizers, np.random.default_rng(2))
    assert shuffled.texts[1] != example.texts[1]
    one, other = (counts_alone(model, each, tokenizers, pair.TASK) for each in (example, shuffled))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_first_text_is_the_same_in_capitals_and_unknown_otherwise() -> None:
    model, _, tokenizers = built(BY_FIRST, PAIRS, task=pair.TASK)
    scores = tokenizers[beside.NGRAMS]
    assert scores.counting.firsts == ("films", "the plot")
    for first, which in (("THE  plot", 1), ("plot", -1), ("", -1)):
        example = pair.TASK.encode([first, "so good"], tokenizers, LabelData())
        assert example.facts.counted[1].first == which
        found = counts_alone(model, example, tokenizers, pair.TASK)
        wanted = scores.scores([[first.lower().split(), ["so", "good"]]])
        np.testing.assert_allclose(found, wanted[0], atol=1e-12)


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_words_are_explained_by_their_characters(tmp_path, method) -> None:
    unrolled.train(recipe_of(tmp_path, ngram_characters=4), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    model.model.head.share.fill_(1.0)
    [[words]] = explain_words(model, ["so goodish"], method)
    counting = model.tokenizers[beside.NGRAMS].counting
    (text,) = counting.texts_of([["so", "goodish"]], ["so"], [{}])
    shares = model.tokenizers[beside.NGRAMS].token_scores(0, [text])[0]
    label = int(model.predict(["so goodish"])[0].probabilities.argmax())
    wanted = shares[:, label] - shares[:, 1 - label]
    found = np.array([weight for _, weight in words])
    if method == "gradients":
        np.testing.assert_allclose(found, wanted / np.abs(wanted).max(), rtol=1e-4)
    assert np.abs(found).argmax() == np.abs(wanted).argmax()


def test_a_pair_run_by_first_text_is_saved_and_goes_on_exactly(tmp_path) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [
        "\t".join((row.fields[0], f"{row.fields[1]} number{n}", row.fields[2]))
        for n in range(3)
        for row in PAIRS
    ]
    path.write_text("\n".join(["first\tsecond\tlabel", *rows]) + "\n", encoding="utf-8")
    recipe = unrolled.Recipe(
        task="pair",
        data=LabelData(train=(str(path),), valid_size=8, test_size=5),
        text=LOWER,
        model=replace(BY_FIRST, class_weights="balanced"),
        training=unrolled.TrainingConfig(
            max_steps=4, learning_rate=0.02, max_tokens=64, evaluate_every_n_steps=2
        ),
    )
    run = unrolled.train(recipe, tmp_path / "whole")
    events = unrolled.fit(recipe, tmp_path / "cut")
    for event in events:
        if isinstance(event, unrolled.training.loop.Evaluated):
            break
    events.close()
    unrolled.train(recipe, tmp_path / "cut", resume=True)
    whole, cut = (unrolled.load(tmp_path / name) for name in ("whole", "cut"))
    texts = [("films", "so good"), ("unheard", "badly"), ("", "")]
    for one, other in zip(whole.predict(texts), cut.predict(texts), strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
    evaluation = whole.evaluate(whole.held_out("valid"))
    assert evaluation.scores["nll"] == pytest.approx(run.best.loss, rel=1e-5)
    quick = unrolled.load_labels(tmp_path / "whole").predict(texts)
    np.testing.assert_allclose(
        [each.probabilities for each in quick],
        [each.probabilities for each in whole.predict(texts)],
        atol=1e-6,
    )


def test_characters_count_in_texts_in_random_order() -> None:
    data = LabelData(word_order="random")
    model, examples, tokenizers = built(replace(SMALL, ngram_characters=3), data=data)
    assert np.isfinite(probabilities(model, examples, tokenizers)).all()


@pytest.mark.parametrize(
    ("config", "kind", "sentence"),
    [
        (
            replace(SMALL, ngram_characters=5),
            "bpe",
            "model.ngram_characters is 5, but text.kind is 'bpe', whose tokens are not words; set "
            "text.kind to 'word' or 'space', or model.ngram_characters to 0",
        ),
        (
            replace(SMALL, ngram_characters=1),
            "word",
            "model.ngram_characters is 1, but the n-grams of characters that are counted have at least "
            "2; set it to 2 or more, or to 0",
        ),
        (
            replace(PAIR, ngrams_by_first=True),
            "word",
            "model.ngrams_by_first counts n-grams by the first text, but none are counted; set "
            "model.ngrams or model.ngram_characters, or model.ngrams_by_first to false",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(config, kind, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        beside.check(config, TextConfig(kind=kind))
    assert str(caught.value) == sentence


def test_an_encoder_of_one_text_is_not_counted_by_the_first() -> None:
    with pytest.raises(ConfigError, match="but the encoder 'second_only' reads only one"):
        PairConfig(encoder="second_only", ngrams=1, ngrams_by_first=True)
