"""Every task whose encoder can start with language models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers.lm_encoder import encoder_in
from unrolled.shapes import Padded
from unrolled.tasks.classify import Classifier, ClassifyConfig
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.tasks.pair import PairClassifier, PairConfig
from unrolled.tasks.pretraining import Source, check_fit, fitted
from unrolled.tasks.seq2seq import TranslateConfig, Translator
from unrolled.tasks.tag.data import collate
from unrolled.tasks.tag.model import TagConfig, Tagger
from unrolled.tasks.tagged import TagExample

V = 11
SOURCES = [
    Source("runs/forward", LanguageModelConfig(embedding_size=3, hidden_size=5, n_layers=2)),
    Source(
        "runs/backward",
        LanguageModelConfig(embedding_size=3, hidden_size=5, n_layers=2, direction="backward"),
    ),
]
PAIRED = [
    "independent",
    "conditional",
    "attention",
    "word_by_word",
    "bidirectional_conditional",
    "aligned",
]
TEXT = Padded.from_rows([[4, 5, 7], [6]])
OTHER = Padded.from_rows([[8, 4], [5, 6]])


def config_of(task: str, Config: type, n_sources: int, **settings):
    config = Config(pretrained=("f", "b")[:n_sources], **settings)
    return fitted(task, config, SOURCES[:n_sources], settings)


@pytest.mark.parametrize("n_sources", [1, 2])
@pytest.mark.parametrize("pooling", ["final", "mean", "max", "attentive", "concat"])
def test_classifiers_pool_the_layers(n_sources, pooling) -> None:
    config = config_of("classify", ClassifyConfig, n_sources, pooling=pooling)
    model = Classifier(config, V, 4)
    assert config.embedding_size == 3 * n_sources
    assert model(TEXT).shape == (2, 4)
    hidden, _ = model.read(model.embed(TEXT))
    assert hidden.shape == (2, 5 * n_sources * (3 if pooling == "concat" else 1))


@pytest.mark.parametrize("n_sources", [1, 2])
@pytest.mark.parametrize("encoder", [*PAIRED, "concatenated", "first_only", "second_only"])
@pytest.mark.parametrize("projection_size", [0, 2])
def test_every_pair_encoder_reads_the_layers(n_sources, encoder, projection_size) -> None:
    settings = {"encoder": encoder, "projection_size": projection_size, "hidden_size": 7}
    model = PairClassifier(config_of("pair", PairConfig, n_sources, **settings), V, 4).eval()
    assert model(TEXT, OTHER).shape == (2, 4)
    read = "second" if encoder == "second_only" else "first"
    outputs = []
    with torch.no_grad():
        outputs.append(model(TEXT, OTHER))
        encoder_in(model).stacks[0].layers[1].weight_hh_l0 += 0.5
        encoder_in(model).stacks[0].layers[1].bias_hh_l0 += 0.5
        outputs.append(model(TEXT, OTHER))
    assert not torch.allclose(*outputs), read


@pytest.mark.parametrize("char_size", [0, 2])
@pytest.mark.parametrize("n_sources", [1, 2])
def test_taggers_read_the_layers_beside_characters(char_size, n_sources) -> None:
    config = config_of("tag", TagConfig, n_sources, char_size=char_size, hidden_size=7)
    model = Tagger(config, V, 7, 4).eval()
    example = TagExample(("a", "b"), [5, 6], [(4,), (5,)], None)
    batch = collate([example, replace(example, words=[6, 5])])
    assert model(batch).shape == (4, 4)
    assert model.context.output_size == 5 * n_sources + 2 * char_size


@pytest.mark.parametrize("n_sources", [1, 2])
def test_translators_encode_with_the_layers(n_sources) -> None:
    config = config_of("translate", TranslateConfig, n_sources, hidden_size=7)
    model = Translator(config, V, 13)
    assert (config.encoder_size, config.encoder_layers) == (5, 2)
    output = model(TEXT, OTHER)
    assert output.hidden.shape == (2, 2, 7)
    output.hidden.sum().backward()
    for stack in encoder_in(model).stacks:
        assert all(p.grad is not None for p in stack.parameters())


def test_other_tasks_are_refused() -> None:
    config = TranslateConfig(pretrained=("f",))
    with pytest.raises(ConfigError, match="task 'code' cannot start with a language model"):
        fitted("code", config, SOURCES[:1], ())


def test_one_table_for_source_and_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="sets the source embedding alone"):
        TranslateConfig(pretrained=("f",), tied_embeddings="all")


def test_a_complete_section_must_fit() -> None:
    config = config_of("classify", ClassifyConfig, 2)
    check_fit("classify", config, SOURCES)
    with pytest.raises(ConfigError, match=r"model\.n_layers is 3, but .*has 2"):
        check_fit("classify", replace(config, n_layers=3), SOURCES)
    with pytest.raises(ConfigError, match=r"model\.bidirectional is true, but"):
        check_fit("classify", replace(config, embedding_size=3), SOURCES[:1])
    wide = replace(SOURCES[1], config=replace(SOURCES[1].config, hidden_size=6))
    with pytest.raises(ConfigError, match=r"list of widths of recurrent layers of runs/forward"):
        check_fit("classify", config, [SOURCES[0], wide])


def test_sizes_are_needed_to_build() -> None:
    with pytest.raises(ConfigError, match="pretrained_sizes is empty"):
        Classifier(ClassifyConfig(pretrained=("f",)), V, 2)
