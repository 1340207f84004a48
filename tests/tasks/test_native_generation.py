"""Generation in one call of the kernels, compared with the steps of torch and with float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from instruction_sets import pinned, restored
from toy_language_model import TEXTS, tokenizer_of

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.drawing import best, drawn
from unrolled.decoding.model_steps import ModelSteps
from unrolled.decoding.sampling import draw
from unrolled.decoding.steps import KernelSteps, Steps
from unrolled.decoding.text_session import TextSession
from unrolled.generating import ENDED, UNDECIDED, Choice, LanguageKernels
from unrolled.kernels import kernels
from unrolled.ops import generating
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import EOS_ID

pytestmark = pytest.mark.usefixtures("one_thread")
needs_kernels = pytest.mark.skipif(kernels is None, reason="there are no kernels")
TOKENIZERS = {kind: tokenizer_of(kind) for kind in ("char", "word", "bpe")}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("char", {"cell": "rnn", "embedding": "one_hot", "n_layers": 2}),
    ("char", {"cell": "lstm", "embedding": "one_hot"}),
    ("word", {"cell": "rnn_relu"}),
    ("word", {"cell": "gru", "n_layers": 3, "tied": True}),
    ("word", {"cell": "lstm", "n_layers": 2, "tied": True, "head": "sampled", "n_samples": 9}),
    ("bpe", {"cell": "lstm", "n_layers": 2}),
]
WAYS = [
    {"temperature": 0},
    {},
    {"temperature": 0.7, "top_k": 5},
    {"temperature": 1.3, "top_p": 0.8, "stop_at_end": True},
    {"top_k": 11, "top_p": 0.6},
]


@pytest.fixture(autouse=True)
def _sets_restored() -> Iterator[None]:
    with restored():
        yield


def built(kind: str, **settings: Any) -> LanguageModel:
    """A model of awkward sizes whose probabilities are far from equal."""
    sizes = {"embedding_size": 13, "hidden_size": 37}
    config = LanguageModelConfig(**sizes | settings)
    model = LanguageModel(config, len(TOKENIZERS[kind])).eval()
    draws = torch.Generator().manual_seed(11)
    for weight in model.parameters():
        scale = 0.3 if weight.dim() < 2 else 1.5 * weight.shape[1] ** -0.5
        weight.data = torch.randn(weight.shape, generator=draws) * scale
    return model


def step_by_step(session: TextSession) -> TextSession:
    """The same session, without the kernels' generation."""
    other = session.copy()
    other._steps = Slow(session._steps)
    return other


class Slow(ModelSteps):
    """Steps of torch only."""

    def __init__(self, steps: Any) -> None:
        super().__init__(steps._model, steps._packed)

    def current(self) -> Slow:
        return Slow(super().current())

    def quick(self, state: Any, *, is_long: bool) -> tuple[Steps, Any]:
        return self.prepared(), state


@needs_kernels
@pytest.mark.parametrize(("kind", "settings"), MODELS, ids=str)
def test_texts_are_those_of_steps(kind: str, settings: dict[str, Any]) -> None:
    model = built(kind, **settings)
    session = TextSession(model, TOKENIZERS[kind], restart=settings["cell"] == "lstm")
    session.feed(TEXTS[0][:17])
    slow = step_by_step(session)
    texts = ["".join(slow.generate(40, seed=seed, **way)) for seed, way in enumerate(WAYS)]
    right = slow.complete(5)
    for _ in pinned():
        assert isinstance(session._steps.quick(session._state, is_long=True)[0], KernelSteps)
        for seed, way in enumerate(WAYS):
            assert "".join(session.generate(40, seed=seed, **way)) == texts[seed], way
        mine = session.complete(5)
        assert [each.text for each in mine] == [each.text for each in right]
        values = [[each.probability for each in found] for found in (mine, right)]
        assert values[0] == pytest.approx(values[1], abs=1e-5)


@needs_kernels
@pytest.mark.parametrize(("kind", "settings"), MODELS, ids=str)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_states_and_scores_are_those_of_the_model(
    kind: str, settings: dict[str, Any], precision: str
) -> None:
    model = built(kind, **settings)
    model.layers.precision = precision
    ids = torch.tensor([[EOS_ID, 7, 9, 11, 4], [5, EOS_ID, 8, 8, 21]])
    exact = model if precision != "float32" else copy.deepcopy(model).double()
    with torch.no_grad():
        state, packed = exact.start(2), exact.packed()
        for time in range(ids.shape[1]):
            hidden, state = exact.step(ids[:, time], state, packed)
        right_RV = exact.head.logits(hidden).double().numpy()
    for _ in pinned():
        weights = generating.arrays_of(known(model))
        mine = LanguageKernels(weights, n_threads=2)
        rows = np.zeros((2, mine.width), np.float32)
        for time in range(ids.shape[1]):
            rows = mine.read(ids[:, time].tolist(), rows)
        wanted = np.concatenate([part.double().numpy() for layer in state for part in layer], 1)
        tolerance = 1e-5 if precision == "float32" else 1e-4
        assert np.abs(rows - wanted).max() < tolerance * np.abs(wanted).max()
        assert np.abs(mine.scores(rows) - right_RV).max() < tolerance * np.abs(right_RV).max()


def known(model: LanguageModel) -> Any:
    weights = model.kernel_weights()
    assert weights is not None
    return weights


class Unigram:
    """A language model whose scores are always the same: those of its output layer's bias."""

    def __init__(self, scores: Any) -> None:
        model = LanguageModel(LanguageModelConfig(embedding_size=2, hidden_size=3), len(scores))
        for weight in model.parameters():
            weight.data.zero_()
        model.head.bias.data = torch.tensor(scores, dtype=torch.float32)
        self.kernels = LanguageKernels(generating.arrays_of(known(model)))
        self.state = np.zeros((1, self.kernels.width), np.float32)

    def chosen(self, uniforms: Any, **settings: Any) -> tuple[list[int], int]:
        defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "end": EOS_ID}
        barred, stops = settings.pop("barred", (0, 1, 2)), settings.pop("stops", False)
        choice = Choice(**defaults | settings, barred=barred, stops=stops, restarts=False)
        n = 3 if uniforms is None else len(uniforms)
        return self.kernels.generate(self.state, n, uniforms, choice)[:2]


@pytest.mark.parametrize("V", [7, 257, 2503])
@pytest.mark.parametrize("deviation", [0.1, 2.0])
def test_draws_are_those_of_the_definition(V: int, deviation: float) -> None:
    random = np.random.default_rng(V)
    scores = (random.normal(size=V) * deviation).astype(np.float32)
    uniforms = np.concatenate([[0.0], random.random(20), [1 - 2.0**-53]])
    models = [Unigram(scores) for name in pinned() if name != "none"]
    for top_k, top_p, temperature in product((0, 1, 3, 300, 2499), (1.0, 0.9, 0.01), (1.0, 0.5)):
        config = DecodingConfig("sample", temperature=temperature, top_k=top_k, top_p=top_p)
        log_probs = torch.tensor(scores)[3:].log_softmax(0)
        wanted = draw(log_probs.expand(1, len(uniforms), -1), torch.tensor(uniforms)[None], config)
        cuts = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        for model in models:
            assert model.chosen(uniforms, **cuts)[0] == (wanted[0] + 3).tolist(), cuts
        one_by_one = [drawn(log_probs.numpy(), u, config) for u in uniforms]
        assert one_by_one == wanted[0].tolist(), cuts


@needs_kernels
def test_of_equal_words_the_first_ones_are_taken() -> None:
    uniforms = np.arange(0.05, 1, 0.1)
    for _ in pinned():
        model = Unigram(np.zeros(19))
        assert model.chosen(None) == ([EOS_ID] * 3, 0)
        assert model.chosen(uniforms, top_k=5)[0] == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
        assert model.chosen(uniforms[:2], barred=range(1, 19))[0] == [0, 0]
        assert model.chosen(None, stops=True) == ([], ENDED)
    assert best(np.zeros(9), 4).tolist() == [0, 1, 2, 3]


@needs_kernels
@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_left_to_the_definition(score: float) -> None:
    scores = np.zeros(19)
    scores[17] = score
    for model in [Unigram(scores) for _ in pinned()]:
        assert model.chosen(None) == model.chosen(np.array([0.5, 0.2])) == ([], UNDECIDED)
    built_model = built("word")
    built_model.head.bias.data[9] = score
    session = TextSession(built_model, TOKENIZERS["word"])
    mine, right = (each.generate(4, temperature=0) for each in (session, step_by_step(session)))
    assert list(mine) == list(right)


@needs_kernels
def test_threads_change_nothing() -> None:
    model = built("char", hidden_size=211, n_layers=2, cell="gru")
    weights = generating.arrays_of(known(model))
    texts = set()
    for n_threads in (1, 2, 3):
        session = TextSession(KernelSteps(weights, n_threads), TOKENIZERS["char"])
        texts.add("".join(session.generate(60)))
    assert len(texts) == 1


def test_what_the_kernels_do_not_know_goes_step_by_step() -> None:
    hooked, dropping = built("word"), built("word", word_rate=0.5).train()
    hooked.embedding.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]
    adaptive = built("word", head="adaptive", cutoffs=(9, 20))
    assert [each.kernel_weights() for each in (hooked, dropping, adaptive)] == [None] * 3
    for model in (hooked, adaptive, built("word").double()):
        session = TextSession(model, TOKENIZERS["word"])
        steps, _ = session._steps.quick(session._state, is_long=True)
        assert isinstance(steps, ModelSteps)
        assert "".join(session.generate(4))


@needs_kernels
def test_what_does_not_fit_is_refused() -> None:
    weights = generating.arrays_of(known(built("word")))
    with pytest.raises(ValueError, match="a weight must be of shape"):
        LanguageKernels(weights.converted(lambda each: each[:-1]))
    mine = LanguageKernels(weights)
    state = np.zeros((1, mine.width), np.float32)
    with pytest.raises(ValueError, match=r"ids must be below \d+, got"):
        mine.read([mine.n_words], state)
    with pytest.raises(ValueError, match=r"a state must be float32 of \(2, "):
        mine.read([4, 5], state)
    with pytest.raises(ValueError, match="need as many random numbers"):
        mine.generate(state, 3, np.zeros(2), Choice(1.0, 0, 1.0, (), EOS_ID, False, False))
    everything = Choice(1.0, 0, 1.0, range(mine.n_words), EOS_ID, False, False)
    with pytest.raises(ValueError, match="words are barred"):
        mine.generate(state, 3, None, everything)
    with pytest.raises(ValueError, match="one-hot vectors have the width"):
        LanguageKernels(replace(weights, embedding=None))
