"""N-grams that are counted beside a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beside_examples import SMALL, TEXTS, built, probabilities

from unrolled.errors import ConfigError, DataError
from unrolled.layers.mixed_head import MixedHead, best_share
from unrolled.tasks import beside, classify, text_labels
from unrolled.tasks.text_labels import collate
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData

pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_of_a_mixed_head_are_the_mixture() -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2))
    network, counted = (
        np.stack(
            [
                prediction.parts[part]
                for prediction in classify.TASK.predict(model, examples, tokenizers)
            ]
        )
        for part in (0, 1)
    )
    scores = tokenizers[beside.NGRAMS]
    words = tokenizers["text"]
    np.testing.assert_allclose(
        counted, scores.scores([[words.split(text)] for text in TEXTS]), atol=1e-12
    )
    with torch.no_grad():
        hidden = text_labels.hidden_of(model, collate(examples))
        np.testing.assert_allclose(network, model.head.logits(hidden).numpy(), atol=1e-12)
    model.head.share.fill_(0.25)
    logits = 0.75 * network + 0.25 * counted
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(model, examples, tokenizers), wanted, atol=1e-6)
    with torch.no_grad():
        total, _ = classify.TASK.evaluate_loss(model, collate(examples))
    gold = [example.labels[0] for example in examples]
    assert float(total) == pytest.approx(-np.log(wanted[range(len(gold)), gold]).sum())


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_chosen_share_has_the_least_loss(multi_label) -> None:
    random = np.random.default_rng(7)
    truth = np.eye(3, dtype=bool)[random.integers(0, 3, 50)]
    one, other = (random.normal(size=(50, 3)) + truth * scale for scale in (1.0, 2.0))
    found = best_share(one, other, truth, multi_label)

    def loss(share):
        logits = (1 - share) * one + share * other
        if multi_label:
            p = 1 / (1 + np.exp(-logits))
            return -np.log(np.where(truth, p, 1 - p)).sum()
        return -np.log((np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[truth]).sum()

    assert 0 < found < 1
    assert all(loss(found) <= loss(share) + 1e-9 for share in np.linspace(0, 1, 51))


def test_the_share_is_chosen_on_the_rows_given() -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2))
    before = classify.TASK.predict(model, examples, tokenizers)
    after = classify.TASK.tune_thresholds(model, examples, before, tokenizers)
    assert float(model.head.share) > 0.5  # the network is untrained
    again = classify.TASK.predict(model, examples, tokenizers)
    assert [each.labels for each in after] == [each.labels for each in again]
    for one, other in zip(after, again, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)


def test_words_outside_training_leave_the_label_shares() -> None:
    model, _, tokenizers = built(replace(SMALL, ngrams=2))
    unheard = classify.TASK.encode(["xyz"], tokenizers, LabelData())
    (prediction,) = classify.TASK.predict(model, [unheard], tokenizers)
    assert prediction.probabilities.tolist() == pytest.approx(list(tokenizers["labels"].shares))
    assert prediction.parts is None


def test_a_mixed_head_without_counts_is_the_network() -> None:
    head = MixedHead(torch.nn.Linear(3, 2), 2, hidden_size=3)
    head.share.fill_(0.7)
    hidden = torch.randn(4, 3)
    assert torch.equal(head.logits(hidden), head.scorer(hidden))


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_ngrams_of_any_tokens_can_be_counted(kind) -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2), text=TextConfig(kind=kind))
    assert all(len(each.facts.counted[0].tokens) == len(each.texts[0]) for each in examples)
    assert np.isfinite(probabilities(model, examples, tokenizers)).all()


def test_ngrams_of_shuffled_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.ngrams is 2, but data.word_order is 'random'"):
        built(replace(SMALL, ngrams=2), data=LabelData(word_order="random"))


def test_ngrams_of_very_many_labels_are_refused() -> None:
    rows = [Row((f"text {n}", f"label {n}"), n) for n in range(1001)]
    with pytest.raises(DataError, match=r"model\.ngrams is for at most 1,000 labels, found 1,001"):
        built(replace(SMALL, ngrams=1), rows)
