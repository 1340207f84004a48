"""Learning rates, clipping, averaged weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unrolled.errors import ConfigError
from unrolled.training.averaging import WeightAverage
from unrolled.training.checkpoint import load_tensors, save_tensors
from unrolled.training.config import TrainingConfig
from unrolled.training.lazy_adam import LazyAdam
from unrolled.training.optimizer import (
    build_optimiser,
    gradient_values,
    optimiser_tensors,
    restore_optimiser,
    scale_and_clip,
)
from unrolled.training.schedule import learning_rate


def rates(steps, **settings):
    config = TrainingConfig(learning_rate=0.5, **settings)
    return [learning_rate(config, step) for step in steps]


def test_constant_rate_rises_over_the_warm_up_and_stays():
    assert rates([1, 2, 3, 4, 5, 999], warmup_steps=4) == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert rates([1, 7]) == [0.5, 0.5]


def test_linear_rate_falls_to_zero_at_the_end():
    config = TrainingConfig(learning_rate=0.5, schedule="linear", warmup_steps=2, max_steps=8)
    found = [learning_rate(config, n, (n - 1) / 8) for n in range(1, 10)]
    assert found == [0.25, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0.0]


def test_inverse_square_root_peaks_at_the_end_of_the_warm_up():
    found = rates([1, 4, 9, 16], schedule="inverse_sqrt", warmup_steps=4)
    assert found == [0.125, 0.5, 0.5 * math.sqrt(4 / 9), 0.25]
    assert rates([1, 4], schedule="inverse_sqrt") == [0.5, 0.25]


def test_plateau_multiplies_once_per_reduction():
    config = TrainingConfig(
        learning_rate=0.5, schedule="plateau", plateau_factor=0.5, warmup_steps=2
    )
    assert [learning_rate(config, 9, n_reductions=n) for n in range(3)] == [0.5, 0.25, 0.125]
    assert learning_rate(config, 1, n_reductions=1) == 0.125


@pytest.mark.parametrize("clip_norm", [0.0, 0.7, 1e9])
def test_clipping_equals_that_of_torch(clip_norm):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(size)) for size in [(3, 5), (7,), ()]]
    theirs = [nn.Parameter(torch.zeros_like(p)) for p in ours]
    for mine, other in zip(ours, theirs, strict=True):
        mine.grad = torch.randn_like(mine) * 11
        other.grad = mine.grad / 13
    norm = scale_and_clip(ours, 1 / 13, clip_norm)
    expected = nn.utils.clip_grad_norm_(theirs, clip_norm or math.inf)
    assert norm == pytest.approx(float(expected), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_gradient_is_reported_and_unchanged(bad):
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, bad, 2.0])
    assert not math.isfinite(scale_and_clip([parameter], 0.5, 1.0))
    assert parameter.grad[0] == 1.0
    assert parameter.grad[2] == 2.0


def test_no_gradient_has_norm_zero():
    assert scale_and_clip([nn.Parameter(torch.zeros(3))], 0.5, 1.0) == 0.0


@pytest.mark.parametrize("settings", [{}, {"optimiser": "sgd", "momentum": 0.9}])
def test_a_restored_optimizer_continues_unchanged(settings):
    config = TrainingConfig(weight_decay=0.01, **settings)

    def step(model, optimiser, seed):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()

    model, copy = nn.Linear(3, 5), nn.Linear(3, 5)
    optimiser = build_optimiser(config, model)
    for seed in range(3):
        step(model, optimiser, seed)
    copy.load_state_dict(model.state_dict())
    restored = build_optimiser(config, copy)
    saved = {name: value.clone() for name, value in optimiser_tensors(optimiser, model).items()}
    restore_optimiser(restored, copy, saved)
    for seed in range(3, 6):
        step(model, optimiser, seed)
        step(copy, restored, seed)
    assert torch.equal(model.weight, copy.weight)
    assert torch.equal(model.bias, copy.bias)


def test_the_average_follows_its_equation():
    model = nn.Linear(2, 3, bias=False)
    average = WeightAverage(model, decay=0.5)
    expected = model.weight.detach().double().clone()
    for step in range(1, 13):
        with torch.no_grad():
            model.weight.copy_(torch.randn(3, 2))
        average.update(step)
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(average.tensors()["weight"].double(), expected, rtol=0, atol=1e-6)


def test_averaged_weights_are_in_place_only_inside_the_block():
    model = nn.Linear(2, 3)
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.weight.add_(1.0)
    own, averaged = model.weight.clone(), average.tensors()["weight"].clone()
    with average.in_place():
        assert torch.equal(model.weight, averaged)
    assert torch.equal(model.weight, own)
    assert torch.equal(average.tensors()["weight"], averaged)


def test_an_average_that_is_off_stores_nothing():
    model = nn.Linear(2, 3)
    average = WeightAverage(model, decay=0.0)
    average.update(1)
    with average.in_place():
        pass
    assert average.tensors() == {}


def test_a_uniform_average_is_the_mean_of_all_later_weights():
    model = nn.Linear(2, 3, bias=False)
    average = WeightAverage(model, decay=0.0)
    average.update(1)
    assert average.tensors() == {}
    average.begin()
    seen = [model.weight.detach().double().clone()]
    for step in range(2, 13):
        with torch.no_grad():
            model.weight.copy_(torch.randn(3, 2))
        seen.append(model.weight.detach().double().clone())
        average.update(step)
        average.begin()  # a second call changes nothing
    expected = torch.stack(seen).mean(0)
    torch.testing.assert_close(average.tensors()["weight"].double(), expected, rtol=0, atol=1e-6)
    with average.in_place():
        torch.testing.assert_close(model.weight.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(model.weight.double(), seen[-1])


def test_begin_does_not_change_an_exponential_average():
    model = nn.Linear(2, 3)
    average = WeightAverage(model, decay=0.5)
    average.begin()
    assert average.tensors().keys() == {"weight", "bias"}


@pytest.mark.parametrize("n_before", [0, 1, 5])
def test_a_restored_uniform_average_continues_bit_for_bit(tmp_path, n_before):
    model = nn.Linear(2, 3)
    average = WeightAverage(model, decay=0.0)

    def update(averages, steps):
        for step in steps:
            torch.manual_seed(step)
            with torch.no_grad():
                model.weight.normal_()
            for one in averages:
                one.update(step)

    average.begin()
    update([average], range(n_before))
    save_tensors(tmp_path / "average", average.tensors())
    restored = WeightAverage(model, decay=0.0)
    restored.restore(load_tensors(tmp_path / "average"))
    update([average, restored], range(n_before, n_before + 3))
    ours, theirs = average.tensors(), restored.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_average_that_has_not_started_is_restored_so():
    average = WeightAverage(nn.Linear(2, 3), decay=0.0)
    average.restore({})
    assert average.tensors() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average": 0.9}, "training.average must be 0 if training.average_after is above 0"),
        ({"schedule": "linear"}, "training.schedule must be 'constant' if"),
        ({"patience": 3}, "training.patience must be 0 or above training.average_after, 3, got 3"),
    ],
)
def test_averaging_refuses_settings_that_conflict(settings, message):
    TrainingConfig(average_after=3, patience=4)
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(average_after=3, **settings)


V = 11


class Words(nn.Module):
    """An embedding and a layer on top."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, 3)
        self.layer = nn.Linear(3, 5)

    def backward(self, ids):
        self.layer(self.embedding(torch.tensor(ids))).square().sum().backward()


LAZY = TrainingConfig(optimiser="lazy_adam", learning_rate=0.1)


def test_lazy_adam_only_skips_rows_without_gradient():
    torch.manual_seed(0)
    model = Words()
    optimiser = build_optimiser(LAZY, model)
    adam_model = Words()
    adam_model.load_state_dict(model.state_dict())
    adam = build_optimiser(TrainingConfig(learning_rate=0.1), adam_model)
    before = model.embedding.weight.detach().clone()
    for each, its in ((model, optimiser), (adam_model, adam)):
        each.backward([2, 7, 2])
        its.step()
        its.zero_grad(set_to_none=True)
        assert all(p.grad is None for p in each.parameters())
    # After one step from rest the two agree everywhere.
    for ours, right in zip(model.parameters(), adam_model.parameters(), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-6)
    changed = (model.embedding.weight != before).any(1).nonzero().squeeze(1)
    assert changed.tolist() == [2, 7]
    kept = {key: value.clone() for key, value in optimiser_tensors(optimiser, model).items()}
    value = model.embedding.weight.detach().clone()
    model.backward([4])
    optimiser.step()
    assert torch.equal(model.embedding.weight[2], value[2])
    now = optimiser_tensors(optimiser, model)
    for quantity in ("exp_avg", "exp_avg_sq"):
        name = f"{quantity}.embedding.weight"
        assert torch.equal(now[name][[2, 7]], kept[name][[2, 7]])
        assert now[name][4].any()


def test_a_restored_lazy_adam_continues_bit_for_bit(tmp_path):
    def step(model, optimiser, seed):
        torch.manual_seed(seed)
        model.backward(torch.randint(V, (7,)).tolist())
        scale_and_clip([*model.parameters()], 1 / 7, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = 0.1 / (seed + 1)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    model, copy = Words(), Words()
    optimiser, restored = build_optimiser(LAZY, model), build_optimiser(LAZY, copy)
    for seed in range(5):
        step(model, optimiser, seed)
    copy.load_state_dict(model.state_dict())
    save_tensors(tmp_path / "optimiser", optimiser_tensors(optimiser, model))
    saved = load_tensors(tmp_path / "optimiser")
    assert len(saved) == 3 * 3
    restore_optimiser(restored, copy, saved)
    for seed in range(5, 8):
        step(model, optimiser, seed)
        step(copy, restored, seed)
    for ours, theirs in zip(model.parameters(), copy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    ours, theirs = optimiser_tensors(optimiser, model), optimiser_tensors(restored, copy)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("clip_norm", [0.0, 0.7, 1e9])
def test_sparse_gradients_are_clipped_with_the_whole(clip_norm):
    torch.manual_seed(0)
    model, dense = Words(), Words()
    dense.load_state_dict(model.state_dict())
    build_optimiser(LAZY, model)
    norms = []
    for each in (model, dense):
        for ids in ([2, 7, 2], [7, 9]):  # words twice, in one batch and over two
            each.backward(ids)
        norms.append(scale_and_clip([*each.parameters()], 1 / 13, clip_norm))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert gradient_values(model.embedding.weight).shape == (3, 3)
    for ours, right in zip(model.parameters(), dense.parameters(), strict=True):
        gradient = ours.grad.to_dense() if ours.grad.is_sparse else ours.grad
        torch.testing.assert_close(gradient, right.grad, rtol=1e-5, atol=1e-7)


def test_a_non_finite_sparse_gradient_is_detected():
    model = Words()
    build_optimiser(LAZY, model)
    with torch.no_grad():
        model.layer.weight.fill_(math.inf)
    model.backward([2])
    assert not math.isfinite(scale_and_clip([*model.parameters()], 1.0, 1.0))
    assert not gradient_values(model.embedding.weight).isfinite().all()


def test_lazy_adam_has_no_weight_decay():
    message = "training.weight_decay must be 0 if training.optimiser is 'lazy_adam', got 0.1"
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(optimiser="lazy_adam", weight_decay=0.1)


def test_lazy_adam_refuses_a_model_without_an_embedding():
    with pytest.raises(ConfigError, match="which needs a sparse embedding table; use 'adam'"):
        LazyAdam(LAZY, nn.Linear(3, 5))


def test_lazy_adam_refuses_a_table_that_is_also_a_dense_weight():
    model = nn.ModuleDict({"words": nn.Embedding(V, 3), "out": nn.Linear(3, V)})
    model["out"].weight = model["words"].weight
    with pytest.raises(ConfigError, match=r"an embedding's weight is also out\.weight, whose"):
        LazyAdam(LAZY, model)


def test_lazy_adam_accepts_a_model_with_only_a_table():
    model = nn.Embedding(V, 3)
    optimiser = LazyAdam(LAZY, model)
    model(torch.tensor([1])).sum().backward()
    optimiser.step()
    assert optimiser_tensors(optimiser, model).keys() == {
        "step.weight",
        "exp_avg.weight",
        "exp_avg_sq.weight",
    }
