"""Embeddings that are trained, frozen or thawed, and word dropout."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from unrolled.errors import ConfigError
from unrolled.layers.embedding import Embedding, thaw
from unrolled.text.config import PAD_ID
from unrolled.training.config import TrainingConfig
from unrolled.training.optimizer import build_optimiser, scale_and_clip

pytestmark = pytest.mark.usefixtures("one_thread")

V, E = 17, 5
IDS = torch.tensor([[4, 5, PAD_ID], [6, 4, 16]])


def test_it_equals_torchs_embedding_with_padding():
    embedding = Embedding(V, E)
    torchs = nn.Embedding(V, E, padding_idx=PAD_ID)
    torchs.load_state_dict(embedding.state_dict())
    values, right = embedding(IDS), torchs(IDS)
    assert torch.equal(values, right)
    upstream = torch.randn_like(values)
    for module, made in ((embedding, values), (torchs, right)):
        made.backward(upstream)
        assert not module.weight.grad[PAD_ID].any()
    assert torch.equal(embedding.weight.grad, torchs.weight.grad)
    assert not embedding.weight[PAD_ID].any()


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lazy_adam"])
def test_a_thawed_table_trains_as_if_from_the_first_step(optimiser):
    config = TrainingConfig(
        optimiser=optimiser,
        momentum=0.5 if optimiser == "sgd" else 0.0,
        weight_decay=0.0 if optimiser == "lazy_adam" else 0.1,
    )
    model = nn.Sequential(Embedding(V, E, tuning="thawed", frozen_steps=3), nn.Linear(E, 2))
    begun = model[0].weight.detach().clone()
    optimiser = build_optimiser(config, model)
    for n_updates in range(5):
        thaw(model, n_updates, n_epochs=0)
        assert model[0].is_frozen == (n_updates < 3)
        if n_updates == 3:
            late = nn.Sequential(Embedding(V, E), nn.Linear(E, 2))
            late.load_state_dict(model.state_dict())
            other = build_optimiser(config, late)
            later = late[0].weight
        model(IDS).square().sum().backward()
        scale_and_clip(list(model.parameters()), 1.0, 0.0)
        optimiser.step()
        optimiser.zero_grad()
        if n_updates < 3:
            assert torch.equal(model[0].weight, begun)
        elif n_updates == 3:
            late(IDS).square().sum().backward()
            other.step()
            torch.testing.assert_close(model[0].weight, later)
            assert not torch.equal(later, begun)


def test_thawing_depends_only_on_the_longer_progress():
    embedding = Embedding(V, E, tuning="thawed", frozen_steps=10, frozen_epochs=2)
    seen = {
        (steps, epochs): embedding.at(steps, epochs).is_frozen
        for steps in (0, 9, 10, 100)
        for epochs in (0, 1, 2)
    }
    assert [key for key, frozen in seen.items() if not frozen] == [(10, 2), (100, 2)]
    assert Embedding(V, E, tuning="thawed", frozen_epochs=1).at(0, 1).is_frozen is False


def test_only_trained_tables_change():
    for tuning, moves in (("frozen", False), ("trained", True)):
        embedding = Embedding(V, E, tuning=tuning)
        thaw(embedding, 10**9, 10**9)
        assert embedding.weight.requires_grad is moves
        assert embedding(IDS).requires_grad is moves


def test_a_table_stays_frozen_until_it_is_thawed():
    embedding = Embedding(V, E, tuning="thawed", frozen_steps=1)
    assert not embedding(IDS).requires_grad
    assert embedding.weight.requires_grad  # so that the optimizer has it from the start
    assert embedding.at(1)(IDS).requires_grad


@pytest.mark.parametrize("tuning", ["trained", "frozen"])
def test_word_dropout_drops_all_occurrences_in_training_only(tuning):
    torch.manual_seed(0)
    embedding = Embedding(997, E, tuning=tuning, word_rate=0.25)
    ids = torch.arange(1, 997).repeat(2, 1)
    embedded = embedding(ids)
    assert torch.equal(embedded[0], embedded[1])
    kept = (embedded[0] != 0).any(1)
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.05)
    torch.testing.assert_close(embedded[0][kept], embedding.weight[1:][kept] / 0.75)
    assert torch.equal(embedding.eval()(ids), embedding.weight[ids])


def test_padding_has_no_gradient_with_word_dropout():
    embedding = Embedding(V, E, word_rate=0.01)
    embedding(IDS).sum().backward()
    assert not embedding.weight.grad[PAD_ID].any()
    assert embedding.weight.grad[4].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuning": "fixed"}, "tuning must be one of trained, frozen, thawed, got 'fixed'"),
        ({"word_rate": 1.0}, "word_rate must be at least 0 and below 1, got 1.0"),
        ({"frozen_steps": 5}, "frozen_steps must be 0 where tuning is 'trained', got 5"),
        (
            {"tuning": "frozen", "frozen_epochs": 1},
            "frozen_epochs must be 0 where tuning is 'frozen', got 1",
        ),
        ({"tuning": "thawed", "frozen_epochs": -1}, "frozen_epochs must be at least 0, got -1"),
        (
            {"tuning": "thawed"},
            "frozen_steps must be at least 1 where tuning is 'thawed' and frozen_epochs is 0, got 0",
        ),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Embedding(V, E, **options)


def test_initial_values_are_small_and_padding_is_zero() -> None:
    torch.manual_seed(1)
    weight = Embedding(2003, 53).weight.detach()
    assert not weight[0].any()
    assert float(weight[1:].std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(weight[1:].mean())) < 0.002
