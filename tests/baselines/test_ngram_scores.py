"""Scores of counted n-grams: the formula by hand, shares of tokens, and files."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from unrolled.baselines.counting import CountedText
from unrolled.baselines.features import Ngrams, presence
from unrolled.baselines.ngram_scores import C_VALUES, NgramScores
from unrolled.baselines.sklearn_models import log_count_ratios
from unrolled.errors import DataError, RunError

GOOD = [
    "good film",
    "so good",
    "a good good film",
    "good",
    "not so bad",
    "film so good",
    "fine film",
]
BAD = ["bad film", "not good", "so bad", "a bad bad film", "not a good film", "bad", "awful"]
TEXTS = [[text.split()] for text in GOOD + BAD]
TRUTH = np.array([[False, True]] * len(GOOD) + [[True, False]] * len(BAD))


def fitted(n: int = 2, **options) -> NgramScores:
    return NgramScores.fit(TEXTS, TRUTH, n=n, **options)


def three_classes(n: int = 2, multi_label: bool = False) -> tuple[NgramScores, list]:
    texts = [[text.split()] for text in GOOD + BAD + ["what is it", "where is it", "who is it"]]
    truth = np.zeros((len(texts), 3), bool)
    truth[: len(GOOD), 0] = truth[len(GOOD) : -3, 1] = truth[-3:, 2] = True
    if multi_label:
        truth[2, 1] = truth[5, 2] = True
        truth[1] = False
    return NgramScores.fit(texts, truth, n=n, multi_label=multi_label), texts


def test_log_count_ratios_by_hand() -> None:
    texts = [["good", "film"], ["good", "good"], ["bad", "film"]]
    ngrams = Ngrams.learn(texts, 1, 1)
    ratios = log_count_ratios(presence(ngrams.count(texts)), np.array([True, True, False]), 1.0)
    # p = 1 + number of positive texts with the word; q likewise. bad: (1, 2), film: (2, 2), good: (3, 1).
    wanted = [math.log((p / 6) / (q / 5)) for p, q in ((1, 2), (2, 2), (3, 1))]
    assert ngrams.tokens == ("bad", "film", "good")
    assert ratios.tolist() == pytest.approx(wanted, rel=1e-12)


def test_the_fit_solves_logistic_regression_on_ratios() -> None:
    """At the optimum, the gradient of C Σ loss + ‖w‖² / 2 is zero for w on r ∘ f, with a free bias."""
    scores = fitted()
    ngrams = scores.counting.ngrams[0]
    features = presence(ngrams.count([text for (text,) in TEXTS]))
    ratios = log_count_ratios(features, TRUTH[:, 1], 1.0)
    dense = np.zeros((features.n_rows, features.n_columns))
    dense[features.rows, features.columns] = ratios[features.columns]
    margins = scores.scores(TEXTS)
    margins = margins[:, 1] - margins[:, 0]
    errors = 1 / (1 + np.exp(-margins)) - TRUTH[:, 1]
    w = np.divide(2 * scores.weights[1], ratios, out=np.zeros_like(ratios), where=ratios != 0)
    assert dense @ w + 2 * scores.bias[1] == pytest.approx(margins, abs=1e-9)
    assert np.abs(scores.c * (dense.T @ errors) + w).max() < 1e-3
    assert abs(errors.sum()) < 1e-3


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("multi_label", [False, True])
def test_shares_of_tokens_add_up_to_the_scores(n, multi_label) -> None:
    scores, texts = three_classes(n, multi_label)
    texts = [*texts, [[]], [["unheard", "good", "of"]], [["good", "good", "good", "film"]]]
    rows = [CountedText(scores.counting.ngrams[0].indices_of(text)) for (text,) in texts]
    shares = scores.token_scores(0, rows)
    assert [len(each) for each in shares] == [len(text) for (text,) in texts]
    summed = np.stack([each.sum(0) for each in shares]) + scores.bias
    np.testing.assert_allclose(summed, scores.scores(texts), rtol=1e-10, atol=1e-12)


def test_an_ngram_shares_its_weight_among_its_words() -> None:
    scores = fitted()
    ngrams = scores.counting.ngrams[0]
    names = {ngrams.name(i): i for i in range(len(ngrams))}
    (found,) = scores.token_scores(0, [CountedText(ngrams.indices_of(["not", "good"]))])
    weight = scores.weights[:, names[("not", "good")]] / 2
    for place, word in enumerate(("not", "good")):
        wanted = scores.weights[:, names[(word,)]] + weight
        np.testing.assert_allclose(found[place], wanted, rtol=1e-12)


def test_two_texts_have_ngrams_of_their_own() -> None:
    texts = [[a, b] for (a,), (b,) in zip(TEXTS, reversed(TEXTS), strict=True)]
    scores = NgramScores.fit(texts, TRUTH, n=2)
    summed = sum(
        np.stack(
            [
                each.sum(0)
                for each in scores.token_scores(
                    side,
                    [
                        CountedText(scores.counting.ngrams[side].indices_of(text[side]))
                        for text in texts
                    ],
                )
            ]
        )
        for side in (0, 1)
    )
    np.testing.assert_allclose(summed + scores.bias, scores.scores(texts), atol=1e-12)
    swapped = scores.scores([[b, a] for a, b in texts])
    assert not np.allclose(swapped, scores.scores(texts))


def test_two_labels_have_opposite_scores() -> None:
    scores = fitted()
    found = scores.scores(TEXTS)
    np.testing.assert_allclose(found[:, 0], -found[:, 1])
    assert scores.scores([[["bad", "film"]], [["good", "film"]]]).argmax(1).tolist() == [0, 1]


def test_the_order_of_rows_does_not_matter() -> None:
    order = list(range(len(TEXTS)))
    random.Random(5).shuffle(order)
    one, other = fitted(), NgramScores.fit([TEXTS[i] for i in order], TRUTH[order], n=2)
    assert one.c == other.c
    assert one.counting.ngrams[0].tokens == other.counting.ngrams[0].tokens
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-4)


def test_c_is_one_of_the_values() -> None:
    assert fitted().c in C_VALUES


def test_a_file_gives_the_same_scores(tmp_path) -> None:
    scores, texts = three_classes(3)
    scores.save(tmp_path / "ngrams.safetensors")
    again = NgramScores.load(tmp_path / "ngrams.safetensors")
    assert np.array_equal(again.scores(texts), scores.scores(texts))
    assert again.c == scores.c
    assert len(again) == len(scores)


def test_odd_tokens_survive_a_file(tmp_path) -> None:
    texts = [[["\ud83d", "a\nb"]], [["é", '"']]] * 3
    truth = np.array([[True, False], [False, True]] * 3)
    scores = NgramScores.fit(texts, truth, n=2)
    scores.save(tmp_path / "ngrams.safetensors")
    again = NgramScores.load(tmp_path / "ngrams.safetensors")
    assert again.counting.ngrams[0].tokens == scores.counting.ngrams[0].tokens


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("bias"),
        lambda arrays: arrays.update(weights=arrays["weights"][:, 1:].copy()),
        lambda arrays: arrays.update({"tokens.0": np.frombuffer(b"{}", np.uint8)}),
        lambda arrays: arrays.update({"keys.0.2": arrays["keys.0.2"].astype(np.float64)}),
        lambda arrays: arrays.update(weights=arrays["weights"].astype(np.float32)),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change) -> None:
    path = tmp_path / "ngrams.safetensors"
    fitted().save(path)
    arrays = load_arrays(path.read_bytes())
    change(arrays)
    path.write_bytes(save_arrays(arrays))
    with pytest.raises(RunError, match="the counts of n-grams are damaged"):
        NgramScores.load(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(RunError, match="missing; restore it from a copy of the run"):
        NgramScores.load(tmp_path / "ngrams.safetensors")


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="counted on training rows; there are none"):
        NgramScores.fit([], np.zeros((0, 2), bool), n=2)


def test_a_label_that_all_rows_have_can_be_fitted() -> None:
    truth = np.stack([np.ones(len(TEXTS), bool), TRUTH[:, 1]], axis=1)
    scores = NgramScores.fit(TEXTS, truth, n=2, multi_label=True)
    found = scores.scores(TEXTS)
    assert np.isfinite(found).all()
    assert (found[:, 0] > 0).all()
