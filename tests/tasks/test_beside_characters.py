"""Words that are also read from their characters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from beside_examples import KINDS, LOWER, PAIR, SMALL, built, pair_rows

from unrolled.errors import ConfigError
from unrolled.tasks import beside, classify, pair, text_labels
from unrolled.tasks.roles import CHARACTERS
from unrolled.tasks.spelling import WrittenWords, characters_of
from unrolled.tasks.text_labels import collate
from unrolled.text.config import TextConfig
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_words_are_as_written_one_for_each_id() -> None:
    words = Tokenizer.train(["a"], LOWER)
    text = "The U.S. Don't  go,\tÉcole cafe\u0301 10:40h C++ \u1e9e\u0130x."
    written = WrittenWords(words)(text, words.encode(text))
    assert len(written) == len(words.encode(text))
    assert written[:6] == ["The", "U.S.", "Do", "n't", "go", ","]
    assert "café" in written
    assert [word.lower() for word in written[:6]] == words.split(text)[:6]


def test_long_words_keep_their_ends() -> None:
    assert characters_of("abcdefghij", 5) == "abcij"
    assert characters_of("abcdefghij", 1) == "a"
    assert characters_of("cafe\u0301", 4) == "café"


@pytest.mark.parametrize("kind", KINDS)
def test_capitals_and_unknown_words_have_different_vectors(kind) -> None:
    model, _, tokenizers = built(replace(SMALL, characters=kind))
    texts = ["good", "GOOD", "gooder", "ffff", "\u4e2d"]
    examples = [classify.TASK.encode([text], tokenizers, LabelData()) for text in texts]
    ids = [example.texts[0] for example in examples]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3] == ids[4]
    found = [beside.embedded(model, collate([example]))[0].values for example in examples]
    for one in range(len(found)):
        for other in range(one):
            assert not torch.allclose(found[one], found[other])


def test_unknown_characters_have_the_unknown_id() -> None:
    _, _, tokenizers = built(replace(SMALL, characters="recurrent"))
    example = classify.TASK.encode(["g\u4e2d"], tokenizers, LabelData())
    (word,) = example.facts.spellings[0]
    assert tokenizers[CHARACTERS].pieces(word) == ["g", "<unk>"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_distinct_word_of_a_batch_is_read_once(kind) -> None:
    rows = pair_rows()
    model, examples, _ = built(replace(PAIR, characters=kind), rows, task=pair.TASK)
    batch = collate(examples)
    written = {word for row in rows for text in row.fields[:2] for word in text.split()}
    assert len(batch.spellings.values) == len(written)
    read = []
    model.spelling.register_forward_hook(lambda _, given, __: read.append(len(given[0].values)))
    pair.TASK.loss(model, batch)
    assert read == [len(written)]


def test_characters_are_replaced_by_unknown_ones_in_training() -> None:
    model, examples, _ = built(replace(SMALL, characters="recurrent", unknown_rate=1.0))
    assert model.character_shares.max() == 1
    model.train()
    seen = set()
    model.spelling.register_forward_hook(
        lambda _, given, __: seen.update(given[0].values[given[0].mask].tolist())
    )
    for _ in range(5):
        classify.TASK.loss(model, collate(examples))
    assert 1 in seen


@pytest.mark.parametrize("kind", KINDS)
def test_characters_stand_beside_a_language_model(kind: str) -> None:
    pretrained = {"pretrained": ("a", "b"), "pretrained_sizes": (6,), "embedding_size": 4}
    config = replace(SMALL, characters=kind, ngrams=2, **pretrained)
    model, _, tokenizers = built(config)
    assert model.encoder.output_size == 12 + model.spelling.output_size
    changed = replace(config, pretrained=(), pretrained_sizes=())
    assert built(changed)[0].encoder.output_size == 14
    example = classify.TASK.encode(["good filming"], tokenizers, LabelData())
    other = classify.TASK.encode(["good filmed"], tokenizers, LabelData())
    hidden = [text_labels.hidden_of(model.eval(), collate([each])) for each in (example, other)]
    assert not torch.allclose(*hidden)  # "filming" and "filmed" are both unknown words


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_characters_need_words(kind) -> None:
    config = replace(SMALL, characters="recurrent")
    with pytest.raises(ConfigError) as caught:
        classify.TASK.check_pretrained(config, TextConfig(kind=kind))
    assert str(caught.value) == (
        f"model.characters is 'recurrent', but text.kind is '{kind}', whose tokens are not words; set "
        "text.kind to 'word' or 'space', or model.characters to 'none'"
    )
