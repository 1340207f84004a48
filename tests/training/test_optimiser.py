"""Learning rates, clipping, averaged weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unrolled.training.config import TrainingConfig
from unrolled.training.optimiser import (
    WeightAverage,
    build_optimiser,
    learning_rate,
    optimiser_tensors,
    restore_optimiser,
    scale_and_clip,
)


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
def test_clipping_is_that_of_torch(clip_norm):
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
def test_a_gradient_that_is_not_finite_is_reported_and_left_as_it_is(bad):
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, bad, 2.0])
    assert not math.isfinite(scale_and_clip([parameter], 0.5, 1.0))
    assert parameter.grad[0] == 1.0
    assert parameter.grad[2] == 2.0


def test_no_gradient_has_norm_zero():
    assert scale_and_clip([nn.Parameter(torch.zeros(3))], 0.5, 1.0) == 0.0


@pytest.mark.parametrize("settings", [{}, {"optimiser": "sgd", "momentum": 0.9}])
def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(settings):
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


def test_an_average_that_is_off_holds_nothing():
    model = nn.Linear(2, 3)
    average = WeightAverage(model, decay=0.0)
    average.update(1)
    with average.in_place():
        pass
    assert average.tensors() == {}
