"""The settings of initial weights hold for every recurrent layer of every task's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from unrolled import nn
from unrolled.config import from_mapping
from unrolled.errors import ConfigError
from unrolled.tasks import TASKS
from unrolled.tasks.classify import Classifier, ClassifyConfig
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.tasks.pair import PairClassifier, PairConfig
from unrolled.tasks.seq2seq import TranslateConfig, Translator
from unrolled.tasks.sql.model import QueryConfig, QueryModel
from unrolled.tasks.tag.model import TagConfig, Tagger

MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    "translate": lambda **settings: Translator(
        TranslateConfig(
            embedding_size=3, encoder_size=5, hidden_size=7, decoder_layers=2, **settings
        ),
        11,
        13,
    ),
    "language_model": lambda **settings: LanguageModel(
        LanguageModelConfig(embedding_size=3, hidden_size=5, n_layers=2, **settings), 11
    ),
    "classify": lambda **settings: Classifier(
        ClassifyConfig(embedding_size=3, hidden_size=5, **settings), 11, 4
    ),
    "pair": lambda **settings: PairClassifier(
        PairConfig("word_by_word", embedding_size=3, hidden_size=5, **settings), 11, 4
    ),
    "tag": lambda **settings: Tagger(
        TagConfig(embedding_size=3, char_size=2, hidden_size=5, **settings), 11, 7, 4
    ),
    "sql": lambda **settings: QueryModel(
        QueryConfig(embedding_size=3, encoder_size=5, hidden_size=7, **settings), 11, 13
    ),
}
"""A small model of each task; `code` trains the translator."""

N_LAYERS = {"translate": 2, "language_model": 2, "classify": 1, "pair": 2, "tag": 2, "sql": 2}


def recurrent(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.RecurrentLayers)]


def blocks(model: torch.nn.Module) -> list[torch.Tensor]:
    """The square matrix of each gate, layer and direction."""
    return [
        block
        for layer in recurrent(model)
        for name, weight in layer.named_parameters()
        if name.startswith("weight_hh")
        for block in weight.detach().split(layer.hidden_size)
    ]


def test_there_is_a_model_of_every_task() -> None:
    assert {*MODELS, "code"} == set(TASKS)
    assert TASKS["code"].build is not None
    assert issubclass(TASKS["code"].Config, TranslateConfig)


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu"])
@pytest.mark.parametrize("task", MODELS)
def test_identity_is_that_of_the_paper(task: str, cell: str) -> None:
    layers = recurrent(MODELS[task](cell=cell, recurrent_init="identity"))
    assert len(layers) == N_LAYERS[task]
    for layer in layers:
        assert layer.nonlinearity == ("relu" if cell == "rnn_relu" else "tanh")
        for name, weight in layer.named_parameters():
            if name.startswith("weight_hh"):
                assert torch.equal(weight, torch.eye(layer.hidden_size))
            elif name.startswith("bias"):
                assert not weight.any()
            else:
                assert 0 < weight.abs().max() < 6e-3


@pytest.mark.parametrize("task", MODELS)
def test_uniform_is_that_of_torch(task: str) -> None:
    for layer in recurrent(MODELS[task](cell="gru", recurrent_init="uniform")):
        bound = layer.hidden_size**-0.5
        assert all(weight.abs().max() <= bound for weight in layer.parameters())
        block = layer.weight_hh_l0[: layer.hidden_size]
        assert not torch.allclose(block @ block.T, torch.eye(layer.hidden_size), atol=0.1)


@pytest.mark.parametrize("task", MODELS)
def test_the_forget_gate_of_every_layer_has_its_bias(task: str) -> None:
    model = MODELS[task](forget_bias=-2.5)
    for layer in recurrent(model):
        H = layer.hidden_size
        weights = dict(layer.named_parameters())
        for name in (name for name in weights if name.startswith("bias_ih")):
            total = weights[name] + weights[name.replace("ih", "hh")]
            assert (total[H : 2 * H] == -2.5).all()
            assert (total[:H].abs() < 2 * H**-0.5).all()
    for block in blocks(model):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("task", MODELS)
def test_defaults_draw_nothing_again(task: str) -> None:
    torch.manual_seed(3)
    first = MODELS[task]()
    after = torch.rand(())
    torch.manual_seed(3)
    second = MODELS[task](recurrent_init="orthogonal", forget_bias=1.0)
    assert torch.equal(after, torch.rand(()))
    for name, weight in first.named_parameters():
        assert torch.equal(weight, second.get_parameter(name)), name
    assert all((layer.bias_ih_l0 + layer.bias_hh_l0)[5:10].sum() for layer in recurrent(first))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"recurrent_init": "identity"},
            "model.recurrent_init: 'identity' is for the cells 'rnn' and 'rnn_relu', got cell 'lstm'; "
            "choose 'orthogonal', or set model.cell = 'rnn_relu'",
        ),
        (
            {"cell": "gru", "forget_bias": 3.0},
            "model.forget_bias only applies to the cell 'lstm', got cell 'gru'; remove it, "
            "or set model.cell = 'lstm'",
        ),
        (
            {"cell": "rnn", "recurrent_init": "eye"},
            "model.recurrent_init: expected one of 'uniform', 'orthogonal', 'identity', got 'eye'",
        ),
        ({"forget_bias": 1000.0}, "model.forget_bias must be at most 100, got 1000.0"),
    ],
)
def test_what_does_not_fit_is_refused(task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(TASKS[task].Config, settings, "model")
    assert str(caught.value) == message


@pytest.mark.parametrize("task", TASKS)
def test_a_run_from_another_may_name_other_initial_weights(task: str) -> None:
    assert {"recurrent_init", "forget_bias"} <= TASKS[task].training_only


def test_a_reset_draws_the_same_kind_of_weights() -> None:
    config = ClassifyConfig("rnn_relu", 3, 5, recurrent_init="identity")
    layer = Classifier(config, 11, 4).encoder.recurrent
    with torch.no_grad():
        layer.weight_hh_l0.fill_(7)
    layer.reset_parameters()
    assert torch.equal(layer.weight_hh_l0, torch.eye(5))
    open_ = Classifier(
        replace(config, cell="lstm", recurrent_init="uniform", forget_bias=4.0), 11, 4
    )
    open_.encoder.recurrent.reset_parameters()
    total = open_.encoder.recurrent.bias_ih_l0 + open_.encoder.recurrent.bias_hh_l0
    assert (total[5:10] == 4.0).all()
