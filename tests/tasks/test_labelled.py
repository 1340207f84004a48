"""What classify and pair share: cutting, losses, weights, thresholds, shuffling."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unrolled.errors import DataError
from unrolled.layers.label_head import LabelHead
from unrolled.tasks import text_labels
from unrolled.tasks.facts import truncate
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import LABELS
from unrolled.tasks.text_labels import LabelledExample, scoring
from unrolled.tasks.text_labels.training import weigh_classes
from unrolled.text.config import TextConfig
from unrolled.text.labels import Labels
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer

C, D = 5, 7


def head(multi_label: bool = False, **options) -> LabelHead:
    torch.manual_seed(1)
    return LabelHead(nn.Linear(D, C), C, multi_label=multi_label, **options).double()


def example(*labels: int, n: int = 3) -> LabelledExample:
    return LabelledExample((list(range(4, 4 + n)),), labels)


@pytest.mark.parametrize(
    ("keep", "found"),
    [("start", [0, 1, 2, 3, 4]), ("end", [4, 5, 6, 7, 8]), ("both", [0, 1, 2, 7, 8])],
)
def test_a_longer_text_is_read_as_the_recipe_says(keep, found) -> None:
    data = LabelData(max_length=5, keep=keep)
    assert truncate(list(range(9)), data) == found
    assert truncate([0, 1, 2, 3, 4], data) == [0, 1, 2, 3, 4]
    cut = text_labels.cut(LabelledExample((list(range(9)), [1]), (0,)), data)
    assert (cut.texts, cut.n_truncated, cut.labels) == ((found, [1]), 4, (0,))


def test_one_label_has_the_cross_entropy() -> None:
    hidden, targets = torch.randn(6, D).double(), torch.tensor([0, 4, 2, 2, 1, 3])
    scored = head()
    loss, count = scored.loss(hidden, targets.unsqueeze(1))
    wanted = -scored.scorer(hidden).log_softmax(1)[torch.arange(6), targets].sum()
    assert count == 6
    torch.testing.assert_close(loss, wanted)


def test_several_labels_have_the_sum_of_binary_cross_entropies() -> None:
    hidden = torch.randn(3, D).double()
    scored = head(multi_label=True)
    loss, count = scored.loss(hidden, torch.tensor([[0, 4], [2, -1], [-1, -1]]))
    right = torch.tensor([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    p = scored.scorer(hidden).sigmoid()
    wanted = -(right * p.log() + (1 - right) * (1 - p).log()).sum()
    assert count == 3
    torch.testing.assert_close(loss, wanted)


def test_the_reported_loss_has_neither_weights_nor_smoothing() -> None:
    hidden, targets = torch.randn(6, D).double(), torch.tensor([[0], [4], [2], [2], [1], [3]])
    scored = head(label_smoothing=0.3)
    weigh_classes(scored, [example(0), example(0), example(1)], "balanced")
    assert scored.loss(hidden, targets)[0] != scored.plain_loss(hidden, targets)[0]
    wanted = F.cross_entropy(scored.logits(hidden), targets[:, 0], reduction="sum")
    torch.testing.assert_close(scored.plain_loss(hidden, targets)[0], wanted)


def test_balanced_classes_weigh_alike() -> None:
    scored = head()
    examples = [example(0)] * 6 + [example(1)] * 3 + [example(2)]
    weigh_classes(scored, examples, "balanced")
    wanted = [
        10 / (5 * 6),
        10 / (5 * 3),
        10 / 5,
        10 / 5,
        10 / 5,
    ]  # a class never seen counts as one
    assert scored.class_weights.tolist() == pytest.approx(wanted)
    weigh_classes(scored, examples, "none")
    assert scored.class_weights.tolist() == [1.0] * C


def test_a_label_beside_others_weighs_as_much_as_its_absence() -> None:
    scored = head(multi_label=True)
    weigh_classes(scored, [example(0, 1), example(0), example(), example(0)], "balanced")
    assert scored.class_weights.tolist() == pytest.approx([1 / 3, 3.0, 1.0, 1.0, 1.0])


def test_thresholds_are_those_of_the_best_f1_of_each_label() -> None:
    class Model:
        head = LabelHead(nn.Linear(D, 2), 2, multi_label=True)

    labels = Labels(("a", "b"), multi_label=True)
    rows = [([0.9, 0.2], (0, 1)), ([0.6, 0.3], (1,)), ([0.7, 0.1], (0,)), ([0.1, 0.1], ())]
    examples = [LabelledExample(([4],), gold) for _, gold in rows]
    said = [LabelPrediction((), np.array(p, np.float32), (("x",),), (None,)) for p, _ in rows]
    model = Model()
    decided = text_labels.tune_thresholds(model, examples, said, {LABELS: labels})
    assert [each.labels for each in decided] == [("a", "b"), ("b",), ("a",), ()]
    low, high = model.head.thresholds.tolist()
    assert 0.6 < low <= 0.7
    assert 0.1 < high <= 0.2


def test_shuffled_words_are_the_same_words() -> None:
    one = LabelledExample((list(range(50)), list(range(60, 90))), (1,))
    words = {text_labels.ROLE: Tokenizer.train(["a"], TextConfig(kind="word"))}
    other = text_labels.shuffle(one, words, np.random.default_rng(3))
    assert [sorted(text) for text in other.texts] == [list(text) for text in one.texts]
    assert other.texts != one.texts
    assert other.labels == one.labels


@pytest.mark.parametrize("kind", ["word", "space", "bpe", "char"])
def test_shuffled_words_are_whole_words_whatever_the_tokens(kind) -> None:
    text = "it's  the café’s unbelievable xylophones 1234 again and\tagain, naïvely"
    size = 270 if kind == "bpe" else 300
    tokenizer = Tokenizer.train(["the cat is here again"] * 2, TextConfig(kind, vocab_size=size))
    if kind != "bpe":
        tokenizer = Tokenizer.train([text], TextConfig(kind))
    ids = tokenizer.encode(text)
    one = LabelledExample((ids, []), (1,))
    orders = set()
    for seed in range(5):
        other = text_labels.shuffle(one, {text_labels.ROLE: tokenizer}, np.random.default_rng(seed))
        assert sorted(other.texts[0]) == sorted(ids)
        assert other.texts[1] == []
        read = tokenizer.decode(other.texts[0])
        if kind in ("bpe", "char"):
            assert sorted(read.split()) == sorted(text.split())
        orders.add(read)
    assert len(orders) > 3


def test_characters_that_are_white_space_keep_their_places() -> None:
    tokenizer = Tokenizer.train([" to  be\nor"], TextConfig(kind="char"))
    one = LabelledExample((tokenizer.encode(" to  be\nor"),), None)
    found = {
        tokenizer.decode(
            text_labels.shuffle(
                one, {text_labels.ROLE: tokenizer}, np.random.default_rng(seed)
            ).texts[0]
        )
        for seed in range(40)
    }
    orders = permutations(["to", "be", "or"])
    assert found == {f" {a}  {b}\n{c}" for a, b, c in orders}


def test_byte_pairs_that_were_cut_inside_a_word_stay_together() -> None:
    tokenizer = Tokenizer.train([], TextConfig(kind="bpe"))  # each byte a token
    ids = tokenizer.encode("one é two")[2:]
    assert tokenizer.word_places(ids) == [(0, 2), (2, 5), (5, 9)]
    assert tokenizer.word_places([]) == []


def test_labels_come_from_the_training_part_alone() -> None:
    rows = [Row(("a b", "yes"), 2), Row(("c", " no "), 3)]
    found = text_labels.train_tokenizers(rows, TextConfig(kind="word"), LabelData())
    assert found[LABELS].names == ("no", "yes")
    multi_label = text_labels.train_tokenizers(
        [Row(("a", "x|y"), 2), Row(("b", ""), 3)],
        TextConfig(kind="word"),
        LabelData(label_separator="|"),
    )
    assert multi_label[LABELS] == Labels(("x", "y"), multi_label=True, shares=(0.5, 0.5))


def test_shares_without_words_come_from_texts_that_share_none() -> None:
    rows = [Row(("the sun", "usual"), n) for n in range(6)] + [Row(("the moon", "usual"), 9)]
    alone = [Row((f"name{n}", "odd"), n) for n in range(20, 27)]
    found = text_labels.train_tokenizers(rows + alone, TextConfig(kind="word"), LabelData())
    assert found[LABELS].names == ("odd", "usual")
    # Half of the texts are odd, and all seven of which no other has a word: (7 + 10 / 2) / (7 + 10).
    assert found[LABELS].shares == pytest.approx((12 / 17, 5 / 17), abs=1e-6)


def test_a_list_of_labels_asks_for_a_separator() -> None:
    rows = [Row(("a b", "yes"), 2), Row(("c", ("yes", "no")), 3)]
    with pytest.raises(DataError, match=r"^line 3: the label is a list; .* data\.label_separator"):
        text_labels.train_tokenizers(rows, TextConfig(kind="word"), LabelData())
    found = text_labels.train_tokenizers(
        rows, TextConfig(kind="word"), LabelData(label_separator="|")
    )
    assert found[LABELS].names == ("no", "yes")


def test_the_thresholds_that_were_used_are_shown() -> None:
    class Model:
        head = LabelHead(nn.Linear(D, 2), 2, multi_label=True)

    model, labels = Model(), Labels(("a", "b"), multi_label=True)
    model.head.thresholds.copy_(torch.tensor([0.25, 0.75]))
    rows = [([0.3, 0.7], ("a",), (0, 1)), ([0.2, 0.8], ("b",), ())]
    examples = [LabelledExample(([4],), gold) for _, _, gold in rows]
    said = [
        LabelPrediction(names, np.array(p, np.float32), (("x",),), (None,)) for p, names, _ in rows
    ]
    judged = text_labels.evaluate(model, examples, said, {LABELS: labels})
    lines = list(judged.measured.lines())
    assert [line.split()[-1] for line in lines if line[:2] in ("a ", "b ")] == ["0.250", "0.750"]
    assert judged.measured.counts.predicted.tolist() == [1, 1]
    assert judged.measured.counts.right.tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels",
    [
        Labels(("a", "b", "c")),
        Labels(("a", "b", "c"), averaged=("a", "c")),
        Labels(("a", "b", "c"), multi_label=True),
        Labels(("a",), multi_label=True),
    ],
)
def test_scores_to_choose_by_are_those_that_are_measured(labels) -> None:
    class Model:
        head = LabelHead(nn.Linear(D, len(labels)), len(labels), multi_label=labels.multi_label)

    examples = [LabelledExample(([4],), (0,)), LabelledExample(([5],), (len(labels) - 1,))]
    p = np.full(len(labels), 1 / len(labels), np.float32)
    said = [LabelPrediction(("a",), p, (("x",),), (None,))] * 2
    roles = {LABELS: labels}
    judged = text_labels.evaluate(Model(), examples, said, roles)
    assert text_labels.scores(roles) == tuple(judged.scores())
    assert "tally" not in vars(judged)  # made when it is asked for
    assert judged.tally is judged.tally


def test_multi_label_smoothing_is_over_yes_and_no() -> None:
    hidden = torch.randn(2, D).double()
    scored = head(multi_label=True, label_smoothing=0.2)
    targets = torch.tensor([[0, 4], [-1, -1]])
    soft = torch.tensor([[0.9, 0.1, 0.1, 0.1, 0.9], [0.1] * 5]).double()
    p = scored.scorer(hidden).sigmoid()
    wanted = -(soft * p.log() + (1 - soft) * (1 - p).log()).sum()
    torch.testing.assert_close(scored.loss(hidden, targets)[0], wanted)
    assert scored.plain_loss(hidden, targets)[0] != wanted


def test_a_threshold_separates_neighbours_in_float32() -> None:
    class Model:
        head = LabelHead(nn.Linear(D, 1), 1, multi_label=True)

    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    for first, last in ((low, high), (high, np.nextafter(high, np.float32(1)))):
        said = [
            LabelPrediction((), np.array([p], np.float32), (("x",),), (None,))
            for p in (first, last)
        ]
        examples = [LabelledExample(([4],), ()), LabelledExample(([4],), (0,))]
        labels = {LABELS: Labels(("a",), multi_label=True)}
        decided = text_labels.tune_thresholds(Model(), examples, said, labels)
        assert [each.labels for each in decided] == [(), ("a",)]
        assert float(first) < Model.head.thresholds.item() <= float(last)


def test_an_evaluation_of_many_labels_keeps_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    n_labels, n = 30, 40
    labels = Labels(tuple(f"c{number:02}" for number in range(n_labels)), averaged=("c03",))
    probabilities = random.dirichlet(np.full(n_labels, 0.1), n).astype(np.float32)
    examples = [example(int(label)) for label in random.integers(n_labels, size=n)]
    predictions = [
        LabelPrediction((labels.names[row.argmax()],), row, (), ()) for row in probabilities
    ]
    assert text_labels.digested(examples, predictions, labels) is predictions
    monkeypatch.setattr(scoring, "MANY_LABELS", 20)
    monkeypatch.setattr(scoring, "_MOST_PROBABLE", 3)
    short = text_labels.digested(examples, predictions, labels)
    for row, prediction in zip(probabilities, short, strict=True):
        assert prediction.probabilities.size == 0
        assert prediction.digest.ids.tolist() == np.argsort(-row, kind="stable")[:3].tolist()
        assert prediction.digest.probabilities.tolist() == sorted(row.tolist())[:-4:-1]
    tokenizers = {LABELS: labels}
    whole = text_labels.evaluate(None, examples, predictions, tokenizers)
    found = text_labels.evaluate(None, examples, short, tokenizers)
    assert found.measured.scores() == whole.measured.scores()
    assert {"mean_f1", "ece", "brier", "nll"} <= found.measured.scores().keys()
    assert found.measured.signature() == whole.measured.signature()
    assert list(found.measured.lines()) == list(whole.measured.lines())
    texts = ["a text"] * n
    assert found.mistakes(texts) == whole.mistakes(texts)
