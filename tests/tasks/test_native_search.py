"""The search in one call of the kernels compared with the search step by step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from instruction_sets import INSTRUCTION_SETS
from torch import Tensor

from unrolled import ops, searching
from unrolled.decoding import DecodingConfig, Hypothesis, decode
from unrolled.decoding.record import recorded
from unrolled.kernels import kernels
from unrolled.shapes import Padded
from unrolled.tasks.seq2seq import TranslateConfig, Translator
from unrolled.tasks.seq2seq_search import TranslatorSteps
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID

needs_kernels = pytest.mark.skipif(kernels is None, reason="there are no kernels")
SOURCES = [[5, 7, 9, 11, 4, 3], [6, 3], [8, 9, 10, 3], [12, 3, 3, 5, 6, 7, 8, 9, 4, 10, 3], [3]]
LIMITS = [9, 1, 5, 11, 3]


class StepByStep:
    """Only the steps of a translator."""

    def __init__(self, steps: TranslatorSteps) -> None:
        self.step = steps.step


def drawn(
    config: TranslateConfig, n_words: int, seed: int = 1, sharpness: float = 3.0
) -> Translator:
    """A translator whose predictions are as decided as those of a trained one."""
    torch.manual_seed(seed)
    model = Translator(config, 17, n_words).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        if config.cell == "rnn_relu":  # with these, its state does not grow from step to step
            for parameter in model.decoder.recurrent.parameters():
                parameter.mul_(0.4)
        model.head.weight.mul_(sharpness)
        model.head.bias.normal_()
        model.head.bias[EOS_ID] += 2.0
    return model


def both(
    model: Translator,
    decoding: DecodingConfig,
    sources: list[list[int]] = SOURCES,
    limits: list[int] = LIMITS,
    with_attention: bool = True,
) -> tuple[list[list[Hypothesis] | None], list[list[Hypothesis]]]:
    """The answers of the kernels, and of the search step by step."""
    with torch.inference_mode():
        state = model.encode(Padded.from_rows(sources, PAD_ID))
        steps = model.step_model()
        assert isinstance(steps, TranslatorSteps)
        rules = (BOS_ID, EOS_ID, [BOS_ID, PAD_ID], with_attention)
        found = steps.search(state, limits, decoding, *rules)
        assert found is not None
        right = decode(
            StepByStep(steps), state, torch.tensor(limits), decoding, BOS_ID, EOS_ID, with_attention,
            forbidden=[PAD_ID],
        )  # fmt: skip
    return found, right


def assert_equal(
    found: list[list[Hypothesis] | None], right: list[list[Hypothesis]], tolerance: float = 2e-5
) -> None:
    assert len(found) == len(right)
    for mine, theirs in zip(found, right, strict=True):
        assert mine is not None
        assert [(a.tokens, a.finished) for a in mine] == [(a.tokens, a.finished) for a in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert a.score == pytest.approx(b.score, rel=tolerance, abs=tolerance)
            assert a.log_prob == pytest.approx(b.log_prob, rel=tolerance, abs=tolerance)
            assert (a.attention is None) == (b.attention is None)
            if b.attention is not None:
                torch.testing.assert_close(a.attention, b.attention, rtol=0, atol=tolerance)


CELLS = ["rnn", "rnn_relu", "gru", "lstm"]
ATTENTION = ["none", "additive", "dot", "general"]
SEARCHES = [
    DecodingConfig(method="greedy", length_penalty=0.6),
    DecodingConfig(beam_size=1),
    DecodingConfig(beam_size=5, n_best=5),
    DecodingConfig(beam_size=3, n_best=2, length_penalty=0.0),
    DecodingConfig(beam_size=12, n_best=7, length_penalty=1.7),
]


SHAPES = [(1, True, "none"), (2, True, "target"), (1, False, "target"), (2, False, "none")]
"""Layers, input feeding and tied embeddings."""


@needs_kernels
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("cell", CELLS)
def test_answers_are_those_of_the_search_step_by_step(cell: str, attention: str) -> None:
    turns = itertools.cycle(SEARCHES)
    for n_layers, feeding, tied in SHAPES:
        config = TranslateConfig(
            cell=cell,
            attention=attention,
            tied_embeddings=tied,
            decoder_layers=n_layers,
            input_feeding=feeding,
            embedding_size=13,
            encoder_size=11,
            hidden_size=22 if attention == "dot" else 19,
        )
        model = drawn(config, 103, seed=n_layers + 2 * feeding)
        for decoding in itertools.islice(turns, 2):
            assert_equal(*both(model, decoding))


@pytest.fixture(params=INSTRUCTION_SETS or ["none"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn."""
    if kernels is None:
        pytest.skip("there are no kernels")
    before = kernels.instruction_set()
    kernels.use_instruction_set(request.param)
    yield request.param
    kernels.use_instruction_set(before)


@needs_kernels
def test_both_endings_occur() -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    ends = set()
    for decoding in SEARCHES[1:3]:
        found, _ = both(model, decoding)
        ends |= {answer.finished for answers in found if answers for answer in answers}
    assert ends == {True, False}


@pytest.mark.parametrize(("n_words", "n_sentences"), [(5, 3), (131, 1), (1031, 16)])
def test_few_and_many_hypotheses(instruction_set: str, n_words: int, n_sentences: int) -> None:
    config = TranslateConfig(embedding_size=17, encoder_size=16, hidden_size=33)
    for seed, sharpness in ((1, 1.0), (2, 4.0)):
        model = drawn(config, n_words, seed, sharpness)
        sources = [SOURCES[i % 4] for i in range(n_sentences)]
        limits = [3 + i % 5 for i in range(n_sentences)]
        for decoding in SEARCHES[::2]:
            assert_equal(*both(model, decoding, sources, limits, with_attention=False))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_recurrent_weights_of_lower_precision(instruction_set: str, precision: str) -> None:
    for cell in ("gru", "lstm"):
        config = TranslateConfig(
            cell=cell, embedding_size=13, encoder_size=11, hidden_size=19, decoder_layers=2
        )
        model = drawn(config, 103)
        exact = both(model, SEARCHES[2])[0]
        model.decoder.precision = precision
        found, right = both(model, SEARCHES[2])
        assert_equal(found, right)
        assert [a[0].score for a in found if a] != [a[0].score for a in exact if a]


def test_queries_and_keys_beyond_the_range_of_powers(instruction_set: str) -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    with torch.no_grad():
        attention = model.decoder.attention
        assert attention is not None
        attention.query_weight.mul_(60.0)
        for factor in (1.0, 60.0):
            attention.key_weight.mul_(factor)
            assert_equal(*both(model, SEARCHES[2]))


@needs_kernels
def test_threads_share_the_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    alone, _ = both(model, SEARCHES[2])
    for n_threads in (2, 3):
        monkeypatch.setattr(searching, "_n_threads", lambda n, most, chosen=n_threads: chosen)
        together, _ = both(model, SEARCHES[2])
        assert_equal(together, [answers or [] for answers in alone])


def equal_words(model: Translator) -> None:
    """Make all words but the special ones equally probable."""
    with torch.no_grad():
        model.head.weight[4:] = model.head.weight[4]
        model.head.bias[4:] = model.head.bias[4]


@needs_kernels
@pytest.mark.parametrize("decoding", SEARCHES)
def test_equal_words_are_left_to_the_search_step_by_step(decoding: DecodingConfig) -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 23)
    equal_words(model)
    found, right = both(model, decoding)
    assert None in found
    with torch.inference_mode():
        state = model.encode(Padded.from_rows(SOURCES, PAD_ID))
        whole = decode(
            model.step_model(), state, torch.tensor(LIMITS), decoding, BOS_ID, EOS_ID, True,
            forbidden=[PAD_ID],
        )  # fmt: skip
    assert_equal([*whole], right)


@needs_kernels
@pytest.mark.parametrize("word", [4, EOS_ID])
def test_numbers_that_are_none_are_left_to_the_search_step_by_step(word: int) -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    with torch.no_grad():
        model.head.bias[word] = float("nan")
    with torch.inference_mode():
        state = model.encode(Padded.from_rows(SOURCES, PAD_ID))
        steps = model.step_model()
        for decoding in SEARCHES:
            rules = (BOS_ID, EOS_ID, [BOS_ID, PAD_ID], False)
            assert steps.search(state, LIMITS, decoding, *rules) == [None] * len(LIMITS)


@needs_kernels
def test_impossible_words_are_never_chosen() -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 23)
    with torch.no_grad():
        model.head.bias[9:] = -torch.inf
    for decoding in SEARCHES:
        assert_equal(*both(model, decoding))


def searches(model: Translator, decoding: DecodingConfig = SEARCHES[2]) -> bool:
    """Whether the kernels search with this model."""
    with torch.inference_mode():
        state = model.encode(Padded.from_rows(SOURCES, PAD_ID))
        steps = model.step_model()
        assert isinstance(steps, TranslatorSteps)
        rules = (BOS_ID, EOS_ID, [BOS_ID, PAD_ID], False)
        return steps.search(state, LIMITS, decoding, *rules) is not None


def test_what_only_steps_compute_is_left_to_them() -> None:
    config = TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19)
    assert searches(drawn(config, 103)) == (kernels is not None)
    assert not searches(drawn(replace(config, copying="pointer"), 103))
    assert not searches(drawn(config, 103), DecodingConfig(method="sample"))
    assert not searches(drawn(config, 103).train())
    assert not searches(drawn(config, 103).double())
    hooked = drawn(config, 103)
    handle = hooked.decoder.attention.register_forward_hook(lambda *arguments: None)
    assert not searches(hooked)
    handle.remove()
    assert searches(hooked) == (kernels is not None)
    with ops.using("reference"):
        assert not searches(hooked)


class Louder(Translator):
    """A translator with steps of its own."""

    def step(self, tokens: Tensor, state: object, weights: object = None) -> object:  # type: ignore[override]
        logits, *others = super().step(tokens, state, weights)  # type: ignore[arg-type]
        return 2 * logits, *others


def test_a_subclass_is_searched_by_its_steps() -> None:
    torch.manual_seed(1)
    model = Louder(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 17, 103)
    assert not hasattr(model.eval().step_model(), "search")


def test_a_recorded_search_has_its_steps() -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    with torch.inference_mode(), recorded() as found:
        state = model.encode(Padded.from_rows(SOURCES[:1], PAD_ID))
        decode(
            model.step_model(), state, torch.tensor([5]), SEARCHES[2], BOS_ID, EOS_ID,
            forbidden=[PAD_ID],
        )  # fmt: skip
    assert len(found) == 1
    assert found[0].sentences[0].steps


@needs_kernels
def test_wrong_arguments_are_refused_before_the_kernels_read_memory() -> None:
    model = drawn(TranslateConfig(embedding_size=13, encoder_size=11, hidden_size=19), 103)
    with torch.inference_mode():
        state = model.encode(Padded.from_rows(SOURCES, PAD_ID))
        steps = model.step_model()
        for limits, begin, end in ((LIMITS[1:], 2, 3), (LIMITS, 103, 3), ([0] * 5, 2, 3)):
            with pytest.raises(ValueError, match=r"takes an array|below 103|at least 1"):
                steps.search(state, limits, SEARCHES[2], begin, end, [begin], False)
