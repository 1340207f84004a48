"""A classifier reads each text alone, ignores padding, and uses word order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers.pooling import PoolingKind
from unrolled.shapes import Padded
from unrolled.tasks import text_labels
from unrolled.tasks.classify import TASK, Classifier, ClassifyConfig
from unrolled.tasks.embeddings import EmbeddingsConfig
from unrolled.tasks.roles import LABELS
from unrolled.tasks.text_labels import LabelledExample, collate
from unrolled.text.config import TextConfig
from unrolled.text.labels import Labels
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

V, C = 17, 3
SMALL = ClassifyConfig(embedding_size=5, hidden_size=7, dropout_rate=0.0)
EXAMPLES = [
    LabelledExample(([4, 5, 6, 7, 8],), (0,)),
    LabelledExample(([9],), (2,)),
    LabelledExample(([],), (1,)),
    LabelledExample(([16, 4, 5],), (1,)),
]
POOLINGS: list[PoolingKind] = ["final", "mean", "max", "attentive"]


def make(**changes) -> Classifier:
    torch.manual_seed(2)
    return Classifier(replace(SMALL, **changes), V, C).double().eval()


def gradients(model: Classifier, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_each_text_has_the_loss_and_gradient_it_has_alone(cell, pooling, bidirectional) -> None:
    model = make(cell=cell, pooling=pooling, bidirectional=bidirectional, n_layers=2)
    together, count = TASK.loss(model, collate(EXAMPLES))
    alone = [TASK.loss(model, collate([each]))[0] for each in EXAMPLES]
    assert count == len(EXAMPLES)
    torch.testing.assert_close(together, torch.stack(alone).sum())
    found, wanted = gradients(model, together), gradients(model, torch.stack(alone).sum())
    for name, gradient in found.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, wanted[name], msg=name)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_cannot_be_seen(pooling) -> None:
    model = make(pooling=pooling)
    text = collate(EXAMPLES).texts[0]
    embedded = model.embed(text)
    hidden, _ = model.read(embedded)
    poisoned = embedded.values.masked_fill(~text.mask.unsqueeze(2), torch.nan)
    again, _ = model.read(Padded(poisoned, text.lengths))
    torch.testing.assert_close(again, hidden, rtol=0, atol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_words_matters(pooling) -> None:
    model = make(pooling=pooling)
    there, back = ([4, 5, 6, 7],), ([7, 6, 5, 4],)
    logits = [model(collate([LabelledExample(ids, None)]).texts[0]) for ids in (there, back)]
    assert not torch.allclose(*logits)


def test_predictions_have_probabilities_pieces_and_weights() -> None:
    rows = [Row(("good film", "yes"), 2), Row(("bad film here", "no"), 3)]
    text = TextConfig(kind="word")
    tokenizers = text_labels.train_tokenizers(rows, text, TASK.Data())
    model = TASK.build(replace(SMALL, pooling="attentive"), tokenizers).eval()
    fields = [row.fields[:1] for row in rows] + [("",)]
    examples = [TASK.encode(each, tokenizers, TASK.Data()) for each in fields]
    with torch.inference_mode():
        said = TASK.predict(model, examples, tokenizers)
    assert [each.pieces for each in said] == [
        (("good", "film"),),
        (("bad", "film", "here"),),
        ((),),
    ]
    for each in said:
        assert each.probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert each.labels[0] in ("yes", "no")
    assert [each.weights[0].shape for each in said] == [(2,), (3,), (0,)]
    assert said[1].weights[0].sum() == pytest.approx(1, abs=1e-6)


def test_class_weights_come_from_the_training_part() -> None:
    model = make(class_weights="balanced")
    TASK.prepare(model, {"train": [EXAMPLES[0]] * 3 + [EXAMPLES[1]], "valid": []})
    assert model.head.class_weights.tolist() == pytest.approx([4 / 9, 4 / 3, 4 / 3])


def test_a_label_separator_makes_a_multi_label_model() -> None:
    tokenizers = {"text": range(V), LABELS: Labels(("a", "b", "c"), multi_label=True)}
    model = TASK.build(SMALL, tokenizers)
    assert model.head.multi_label
    assert len(model.head.thresholds) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": 0}, "model.hidden_size must be at least 1, got 0"),
        ({"dropout_rate": 1.0}, "model.dropout_rate must be at least 0 and below 1, got 1.0"),
        (
            {"embeddings": EmbeddingsConfig(tuning="frozen")},
            "model.embeddings.tuning is 'frozen', but randomly initialised embeddings must be trainable; "
            "name a file of vectors in model.embeddings.file",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt", tuning="thawed")},
            "model.embeddings.frozen_epochs must be at least 1 where model.embeddings.tuning is "
            "'thawed', got 0",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt", frozen_epochs=2)},
            "model.embeddings.frozen_epochs must be 0 where model.embeddings.tuning is 'trained', got 2",
        ),
        (
            {"embeddings": EmbeddingsConfig(extra_words=5)},
            "model.embeddings.extra_words must be 0 where model.embeddings.file names no file, got 5",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt", extra_words=-1)},
            "model.embeddings.extra_words must be at least 0, got -1",
        ),
    ],
)
def test_invalid_settings_are_refused(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        ClassifyConfig(**changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("kind", ["word", "space"])
def test_extra_words_are_known_though_absent_from_training(tmp_path, kind) -> None:
    """Two words that training never saw are told apart by their vectors."""
    file = tmp_path / "vectors.txt"
    file.write_text("good 1 0\nfine 1 0.5\nawful -1 0\nrare 9 9\n", encoding="utf-8")
    config = replace(
        SMALL,
        embedding_size=2,
        embeddings=EmbeddingsConfig(str(file), extra_words=3),
        dropout_rate=0.0,
    )
    text = TextConfig(kind=kind, lowercase=True)
    rows = [Row(("good film", "yes"), 2), Row(("bad film", "no"), 3)]
    before = text_labels.train_tokenizers(rows, text, TASK.Data())
    tokenizers = TASK.extend(config, before)
    words = tokenizers["text"]
    n_before = len(before["text"])
    assert words.pieces(range(n_before)) == before["text"].pieces(range(n_before))
    assert words.pieces(range(n_before, len(words))) == ["fine", "awful"]  # "rare" is the fourth
    model = TASK.build(config, tokenizers)
    assert "3 of 5 words" in TASK.load_pretrained(model, tokenizers)[0]
    rows_of = [model.embedding.weight[words.id_of(word)].tolist() for word in ("fine", "awful")]
    assert rows_of == [[1, 0.5], [-1, 0]]
    again = type(words).load(_saved(words, tmp_path / "tokenizer.json"))
    assert again.encode("fine rare film") == words.encode("fine rare film")
    assert words.pieces(words.encode("Fine rare film")) == ["fine", "<unk>", "film"]


def _saved(words, path):
    words.save(path)
    return path


def test_zero_extra_words_leave_the_vocabulary_unchanged() -> None:
    words = Tokenizer.train(["a b"], TextConfig(kind="word"))
    labels = Labels(("a", "b"))
    extended = TASK.extend(SMALL, {"text": words, LABELS: labels})
    assert extended["text"] is words
    assert extended[LABELS] is labels
