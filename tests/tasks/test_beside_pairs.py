"""What two texts have in common, read beside their words."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from beside_examples import PAIR, ROWS, built, pair_rows

from unrolled.errors import ConfigError
from unrolled.tasks import beside, pair, text_labels
from unrolled.tasks.pair import PairConfig
from unrolled.tasks.text_labels import collate
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData

pytestmark = pytest.mark.usefixtures("one_thread")


def test_common_words_are_marked_in_both_texts() -> None:
    model, examples, _ = built(
        replace(PAIR, features=("overlap",)),
        [Row(("so good film", "Good, so", "yes"), 2), *pair_rows()],
        task=pair.TASK,
    )
    first, second = beside.embedded(model, collate(examples[:1]))
    assert first.values[0, :, -1].tolist() == [1, 1, 0]
    assert second.values[0, :, -1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "encoder",
    sorted({*get_args(pair.Encoding)} - {"first_only", "second_only", "concatenated"}),
)
def test_difference_and_product_follow_the_vector(encoder) -> None:
    torch.manual_seed(2)
    plain = pair.PairClassifier(replace(PAIR, encoder=encoder), 17, 3).double().eval()
    config = replace(PAIR, encoder=encoder, features=("product", "difference"))
    model = pair.PairClassifier(config, 17, 3).double().eval()
    model.encoder.encoder.load_state_dict(plain.encoder.state_dict())
    model.embedding.load_state_dict(plain.embedding.state_dict())
    texts = [text_labels.LabelledExample(([4, 5, 6], [7, 5]), (0,))]
    batch = collate([*texts, text_labels.LabelledExample(([8], [4, 9, 10, 11]), (1,))])
    hidden = text_labels.hidden_of(model, batch)
    values = text_labels.hidden_of(plain, batch)
    size = values.shape[1]
    torch.testing.assert_close(hidden[:, :size], values)
    embedded = [plain.embed(text) for text in batch.texts]
    _, _, u, v = plain.encoder.encodings(*embedded)
    width = u.shape[1]
    torch.testing.assert_close(hidden[:, size : size + width], (u - v).abs())
    torch.testing.assert_close(hidden[:, size + width :], u * v)
    if encoder in ("independent", "aligned"):
        torch.testing.assert_close(torch.cat([u, v], 1), values)


@pytest.mark.parametrize("encoder", ["conditional", "bidirectional_conditional"])
def test_the_encoding_of_the_first_text_ignores_the_second(encoder) -> None:
    torch.manual_seed(2)
    model = pair.PairClassifier(replace(PAIR, encoder=encoder), 17, 3).double().eval()
    batches = [
        collate([text_labels.LabelledExample(([4, 5, 6], second), (0,))])
        for second in ([7], [8, 9])
    ]
    found = [model.encoder.encodings(*(model.embed(text) for text in b.texts))[2] for b in batches]
    torch.testing.assert_close(*found)
    _, state = model.encoder.first(
        model.embed(batches[0].texts[0]),
        tuple(part[: model.encoder.first.n_directions] for part in model.encoder.start(1)),
    )
    torch.testing.assert_close(found[0], state[0].transpose(0, 1).flatten(1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"encoder": "first_only", "features": ("overlap",)},
            "model.features compares the two texts, but the encoder 'first_only' reads only one; "
            "remove it",
        ),
        (
            {"encoder": "concatenated", "features": ("overlap", "product")},
            "model.features: 'product' needs an encoding of each text, but the encoder 'concatenated' "
            "reads both as one; remove it, or use 'independent'",
        ),
        (
            {
                "encoder": "bidirectional_conditional",
                "target": "one_way",
                "features": ("difference",),
            },
            "model.features: 'difference' needs encodings of the same width; remove it, or set "
            "model.target = 'both_ways'",
        ),
    ],
)
def test_features_that_an_encoder_lacks_are_refused(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        PairConfig(**changes)
    assert str(caught.value) == sentence


def test_pairs_read_overlap_beside_a_language_model() -> None:
    config = replace(
        PAIR,
        pretrained=("a",),
        pretrained_sizes=(6,),
        characters="recurrent",
        features=("overlap",),
        projection_size=3,
    )
    rows = [Row((row.fields[0], "so good", row.fields[1]), row.line) for row in ROWS]
    model, _, tokenizers = built(config, rows, task=pair.TASK)
    assert model.context.output_size == 6 + model.spelling.output_size + 1
    examples = [
        pair.TASK.encode([text, "so good"], tokenizers, LabelData()) for text in ("good", "fine")
    ]
    assert text_labels.hidden_of(model.eval(), collate(examples)).shape[0] == 2
