"""Text pairs: which text conditions which, and which text a control cannot see."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.shapes import Padded
from unrolled.tasks.pair import TASK, Encoding, PairClassifier, PairConfig
from unrolled.tasks.text_labels import LabelledExample, collate

pytestmark = pytest.mark.usefixtures("one_thread")

V, C = 17, 3
ENCODERS = get_args(Encoding)
SMALL = PairConfig(embedding_size=5, hidden_size=7, dropout_rate=0.0)
EXAMPLES = [
    LabelledExample(([4, 5, 6, 7, 8], [9, 10]), (0,)),
    LabelledExample(([9], [4, 5, 6, 7]), (2,)),
    LabelledExample(([16, 4, 5], []), (1,)),
    LabelledExample(([], [5, 4]), (1,)),
]


def make(encoder: Encoding, **changes) -> PairClassifier:
    torch.manual_seed(2)
    return PairClassifier(replace(SMALL, encoder=encoder, **changes), V, C).double().eval()


def logits(model: PairClassifier, *texts: list[int]) -> torch.Tensor:
    return model(*collate([LabelledExample(texts, None)]).texts)


def gradients(model: PairClassifier, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_pair_has_the_loss_and_gradient_it_has_alone(encoder, cell) -> None:
    model = make(encoder, cell=cell)
    together, count = TASK.loss(model, collate(EXAMPLES))
    alone = torch.stack([TASK.loss(model, collate([each]))[0] for each in EXAMPLES]).sum()
    assert count == len(EXAMPLES)
    torch.testing.assert_close(together, alone)
    found, wanted = gradients(model, together), gradients(model, alone)
    for name, gradient in found.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, wanted[name], msg=name)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_cannot_be_seen(encoder) -> None:
    model = make(encoder)
    texts = collate(EXAMPLES).texts
    embedded = [model.embed(text) for text in texts]
    hidden, _ = model.read(*embedded)
    poisoned = [
        Padded(each.values.masked_fill(~each.mask.unsqueeze(2), torch.nan), each.lengths)
        for each in embedded
    ]
    torch.testing.assert_close(model.read(*poisoned)[0], hidden, rtol=0, atol=0)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("condition", ["first", "second"])
def test_which_text_conditions_which_is_a_setting(encoder, condition) -> None:
    first, second = [4, 5, 6], [9, 10, 11, 12]
    model = make(encoder, condition=condition)
    other = make(encoder, condition="second" if condition == "first" else "first")
    swapped = {"first_only": "second_only", "second_only": "first_only"}.get(encoder, encoder)
    if swapped != encoder:
        other = make(swapped, condition=condition)
    torch.testing.assert_close(logits(model, first, second), logits(other, second, first))


@pytest.mark.parametrize(("encoder", "unseen"), [("first_only", 1), ("second_only", 0)])
@pytest.mark.parametrize("condition", ["first", "second"])
def test_a_control_cannot_see_the_other_text(encoder, unseen, condition) -> None:
    model = make(encoder, condition=condition)
    texts = [[4, 5, 6], [9, 10, 11, 12]]
    changed = list(texts)
    changed[unseen] = [7, 8]
    torch.testing.assert_close(logits(model, *texts), logits(model, *changed), rtol=0, atol=0)
    changed[1 - unseen] = [7, 8]
    assert not torch.allclose(logits(model, *texts), logits(model, *changed))


def test_concatenated_texts_are_read_as_one() -> None:
    model, single = make("concatenated"), make("first_only")
    single.load_state_dict(model.state_dict())
    found = model(*collate(EXAMPLES).texts)
    wanted = [logits(single, [*each.texts[0], *each.texts[1]], []) for each in EXAMPLES]
    torch.testing.assert_close(found, torch.cat(wanted))


@pytest.mark.parametrize("encoder", ["attention", "word_by_word", "aligned"])
def test_attention_is_over_the_conditioning_text(encoder) -> None:
    batch = collate(EXAMPLES[:2])
    for condition, looked_at in (("first", 0), ("second", 1)):
        model = make(encoder, condition=condition)
        _, weights = model.read(*(model.embed(text) for text in batch.texts))
        assert weights[1 - looked_at] is None
        torch.testing.assert_close(weights[looked_at].sum(1), torch.ones(2).double())
        assert not weights[looked_at][~batch.texts[looked_at].mask].any()


@pytest.mark.parametrize("head", ["tanh", "linear", "literal"])
def test_every_head_equals_the_equation(head) -> None:
    model = make("conditional", head=head)
    hidden = torch.randn(4, 7).double() * 50
    scorer = model.head.scorer
    if head == "linear":
        expected = hidden @ scorer.weight.T + scorer.bias
    elif head == "literal":
        expected = torch.tanh(hidden @ scorer.weight.T)
    else:
        expected = (
            torch.tanh(hidden @ scorer.weight.T) @ scorer.output.weight.T + scorer.output.bias
        )
    assert expected.shape == (4, C)
    torch.testing.assert_close(model.head.logits(hidden), expected)


def test_embeddings_can_be_projected_to_another_width() -> None:
    model = make("conditional", projection_size=11)
    assert model.embed(collate(EXAMPLES).texts[0]).values.shape == (4, 5, 11)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"encoder": "conditional", "bidirectional": True},
            "model.bidirectional: the encoder 'conditional' reads in one direction; remove it, or "
            "use 'bidirectional_conditional' or 'independent'",
        ),
        (
            {"encoder": "conditional", "target": "one_way"},
            "model.target only applies to encoder 'bidirectional_conditional'; remove it",
        ),
        ({"projection_size": -1}, "model.projection_size must be at least 0, got -1"),
    ],
)
def test_invalid_settings_are_refused(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        PairConfig(**changes)
    assert str(caught.value).startswith(sentence)
