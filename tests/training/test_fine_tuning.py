"""Slanted rates, rates by layer, and gradual unfreezing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.training.config import TrainingConfig
from unrolled.training.layer_groups import Unfreezing, set_rate
from unrolled.training.optimizer import build_optimiser
from unrolled.training.schedule import learning_rate


def in_the_paper(t: int, T: int, cut_fraction: float, ratio: float, most: float) -> float:
    """Howard & Ruder 2018, equation 3, as it is written."""
    cut = math.floor(T * cut_fraction)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_fraction - 1))
    return most * (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(
    ("T", "cut", "ratio"), [(40, 0.1, 32.0), (50, 0.4, 7.0), (200, 0.25, 100.0)]
)
def test_the_slanted_rate_is_that_of_the_paper(T: int, cut: float, ratio: float) -> None:
    config = TrainingConfig(
        schedule="slanted", learning_rate=0.3, slanted_cut=cut, slanted_ratio=ratio, max_steps=T
    )
    for t in range(T):
        wanted = in_the_paper(t, T, cut, ratio, 0.3)
        assert learning_rate(config, t + 1, t / T) == pytest.approx(wanted, rel=1e-9)


def test_the_slanted_rate_rises_then_falls() -> None:
    config = TrainingConfig(schedule="slanted", learning_rate=1.0, max_steps=100)
    rates = [learning_rate(config, n + 1, n / 100) for n in range(100)]
    assert rates[0] == pytest.approx(1 / 32)
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.05


def test_a_slanted_schedule_has_no_other_warm_up() -> None:
    with pytest.raises(ConfigError, match=r"training\.warmup_steps must be 0 if .*'slanted'"):
        TrainingConfig(schedule="slanted", warmup_steps=5)


def model_of(**settings) -> LanguageModel:
    sizes = {"embedding_size": 3, "hidden_size": 5, "n_layers": 2, "unknown_rate": 0.0}
    return LanguageModel(LanguageModelConfig(**(sizes | settings)), 11)


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lazy_adam"])
def test_rates_fall_from_layer_to_layer(optimiser: str) -> None:
    model = model_of()
    config = TrainingConfig(optimiser=optimiser, layer_divisor=2.0)
    groups = build_optimiser(config, model).param_groups
    set_rate(groups, 0.8)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(model.head.weight)] == 0.8
    assert rates[id(model.layers.layers[1].weight_hh_l0)] == 0.4
    assert rates[id(model.layers.layers[0].weight_hh_l0)] == 0.2
    assert rates[id(model.embedding.weight)] == 0.1
    assert len(rates) == len(list(model.parameters()))


def test_the_lower_rate_is_the_one_that_is_used() -> None:
    moved = []
    for divisor in (1.0, 4.0):
        torch.manual_seed(2)
        model = model_of().double()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimiser = build_optimiser(TrainingConfig(optimiser="sgd", layer_divisor=divisor), model)
        total, _, _ = loss_of(model)
        total.backward()
        set_rate(optimiser.param_groups, 0.5)
        optimiser.step()
        moved.append({name: p.detach() - before[name] for name, p in model.named_parameters()})
    for name, factor in (("head.weight", 1), ("layers.layers.1.weight_ih_l0", 4)):
        torch.testing.assert_close(moved[0][name], moved[1][name] * factor)
    torch.testing.assert_close(moved[0]["embedding.weight"], moved[1]["embedding.weight"] * 64)


def loss_of(model: LanguageModel):
    import numpy as np

    from unrolled.tasks.language_model import collate, loss
    from unrolled.text.corpus.windows import Windows

    ids = np.random.default_rng(1).integers(4, 11, 60)
    return loss(model, collate(Windows(ids, 3, 7)[0]), model.start(3))


def test_one_rate_needs_no_groups() -> None:
    assert len(build_optimiser(TrainingConfig(), model_of()).param_groups) == 1


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_frozen_layers_get_no_gradient(cell: str) -> None:
    model = model_of(cell=cell)
    unfreezing = Unfreezing(1, model)
    trained = []
    for n_epochs in range(4):
        unfreezing.at(n_epochs)
        model.zero_grad(set_to_none=True)
        loss_of(model)[0].backward()
        trained.append({name for name, p in model.named_parameters() if p.grad is not None})
    head = {"head.weight", "head.bias"}
    layers = [
        {name for name, _ in model.named_parameters() if name.startswith(f"layers.layers.{place}.")}
        for place in range(2)
    ]
    assert trained[0] == head
    assert trained[1] == head | layers[1]
    assert trained[2] == head | layers[1] | layers[0]
    assert trained[3] == head | layers[1] | layers[0] | {"embedding.weight"}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_freezing_below_keeps_the_gradients_above(cell: str) -> None:
    model = model_of(cell=cell)
    loss_of(model)[0].backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    Unfreezing(1, model).at(1)
    model.zero_grad(set_to_none=True)
    loss_of(model)[0].backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(p.grad, whole[name], rtol=1e-5, atol=1e-6)


def test_waiting_ends_with_the_last_layer() -> None:
    unfreezing = Unfreezing(2, model_of())
    assert [unfreezing.is_waiting_at(n) for n in (0, 5, 6)] == [True, True, False]
    assert not Unfreezing(0, model_of()).is_waiting_at(0)


def test_a_frozen_embedding_stays_frozen() -> None:
    from unrolled.tasks.classify import Classifier, ClassifyConfig

    model = Classifier(ClassifyConfig(pretrained=("a",), pretrained_sizes=(5,)), 11, 2)
    model.embedding.weight.requires_grad_(False)
    Unfreezing(1, model).at(9)
    assert not model.embedding.weight.requires_grad


def test_a_training_length_is_needed() -> None:
    from unrolled.tasks import TASKS
    from unrolled.tasks.classify import ClassifyConfig
    from unrolled.text.splits import LabelData
    from unrolled.training.checks import check_recipe
    from unrolled.training.recipe import Recipe

    recipe = Recipe(
        task="classify",
        data=LabelData(),
        model=ClassifyConfig(),
        training=TrainingConfig(schedule="slanted", patience=3),
    )
    with pytest.raises(ConfigError, match="'slanted' needs a training length"):
        check_recipe(recipe, TASKS["classify"])
    frozen = TrainingConfig(unfreeze_every_n_epochs=1, patience=3)
    with pytest.raises(ConfigError, match="unfreeze_every_n_epochs needs a training length"):
        check_recipe(replace(recipe, training=frozen), TASKS["classify"])
    check_recipe(
        replace(recipe, training=replace(recipe.training, max_epochs=2)), TASKS["classify"]
    )
