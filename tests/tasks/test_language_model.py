"""A language model: its carried state, its loss, and how far its gradient reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.errors import ConfigError
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.tasks import TASKS
from unrolled.tasks.language_model import (
    LanguageModel,
    LanguageModelConfig,
    _read_by_steps,
    _some_unknown,
    collate,
    evaluate_loss,
    loss,
    read,
    scores,
)
from unrolled.text.config import EOS_ID, UNK_ID
from unrolled.text.corpus.windows import Windows

CELLS = ["rnn", "gru", "lstm"]
V = 13


def model_of(cell: str = "lstm", **settings) -> LanguageModel:
    torch.manual_seed(3)
    sizes = {"embedding_size": 5, "hidden_size": 7, "n_layers": 2, **settings}
    model = LanguageModel(LanguageModelConfig(cell=cell, **sizes), V)
    return model.double()


def test_unknown_targets_are_also_read_as_unknown() -> None:
    model = model_of(unknown_rate=0.5)
    model.unknown_shares[4:] = 1.0
    window = collate(Windows(text_of(200), n_rows=7, k1=11, k2=19)[1])
    lost = _some_unknown(model, window)
    K = window.targets.shape[1]
    assert 0.3 < (lost.inputs == UNK_ID).double().mean() < 0.7
    assert torch.equal(lost.inputs[:, -K + 1 :], lost.targets[:, :-1])
    for ours, plain in ((lost.inputs, window.inputs), (lost.targets, window.targets)):
        assert torch.equal(ours[ours != UNK_ID], plain[ours != UNK_ID])
    model.unknown_shares[4:] = 2.0
    end = collate(Windows(text_of(20), n_rows=3, k1=4, whole=True)[1])
    assert torch.equal(_some_unknown(model, end).targets == -1, end.targets == -1)
    assert (end.targets == -1).any()


def text_of(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, V, n)


def loss_over(model: LanguageModel, windows: Windows) -> tuple[Tensor, int]:
    state = TASKS["language_model"].start(model, windows.n_rows)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for index in range(len(windows)):
        part, n, state = loss(model, collate(windows[index]), state)
        total, count = total + part, count + n
    return total, count


def plain_loss(model: LanguageModel, ids: np.ndarray) -> Tensor:
    """One row, one step after another, by `step` and the definition of cross-entropy."""
    state, total = model.start(1), torch.zeros((), dtype=torch.float64)
    for before, right in zip([EOS_ID, *ids[:-1]], ids, strict=True):
        hidden, state = model.step(torch.tensor([before]), state)
        total = total - model.head.logits(hidden).log_softmax(1)[0, int(right)]
    return total


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_windows_with_carried_state_equal_single_steps(cell: str, tied: bool) -> None:
    model, ids = model_of(cell, tied=tied), text_of(29)
    right = plain_loss(model, ids)
    for k1, k2 in ((29, 29), (5, 5), (5, 11), (1, 1)):
        total, count = loss_over(model, Windows(ids, 1, k1, k2, whole=True))
        assert count == 29
        torch.testing.assert_close(total, right, rtol=1e-10, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_embeddings_are_the_ids_themselves(cell: str) -> None:
    model, ids = model_of(cell, embedding="one_hot"), text_of(17)
    assert model.layers.layers[0].weight_ih_l0.shape[1] == V
    total, _ = loss_over(model, Windows(ids, 1, 4, whole=True))
    torch.testing.assert_close(total, plain_loss(model, ids), rtol=1e-10, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_a_whole_window_has_the_gradient_of_the_definition(cell: str) -> None:
    model, ids = model_of(cell), text_of(19)
    total, _ = loss_over(model, Windows(ids, 1, 19))
    total.backward()
    given = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    plain_loss(model, ids).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(given[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_gradients_reach_back_exactly_k2_steps() -> None:
    """Each window's gradient is that of its targets in a text that begins k2 steps before its end."""
    model, ids = model_of("gru"), text_of(23)
    k1, k2 = 3, 8
    windows = Windows(ids, 1, k1, k2)
    states = [model.start(1)]
    with torch.no_grad():
        for before in [EOS_ID, *ids[:-1]]:
            states.append(model.step(torch.tensor([before]), states[-1])[1])
    state = model.start(1)
    for index in range(len(windows)):
        model.zero_grad()
        total, _, state = loss(model, collate(windows[index]), state)
        total.backward()
        given = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        end = min((index + 1) * k1, len(ids))
        begin = max(0, (index + 1) * k1 - k2)
        at, right = states[begin], torch.zeros((), dtype=torch.float64)
        for t in range(begin, end):
            before = EOS_ID if t == 0 else ids[t - 1]
            hidden, at = model.step(torch.tensor([before]), at)
            if t >= index * k1:
                right = right - model.head.logits(hidden).log_softmax(1)[0, int(ids[t])]
        right.backward()
        for mine, parameter in zip(given, model.parameters(), strict=True):
            torch.testing.assert_close(mine, parameter.grad, rtol=1e-9, atol=1e-12)
        assert not any(part.requires_grad for layer in state for part in layer)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("n_rows", "k1", "k2"), [(1, 4, 4), (1, 30, 30), (2, 5, 5), (2, 3, 7)])
def test_restarting_documents_are_read_independently(
    cell: str, n_rows: int, k1: int, k2: int
) -> None:
    model = model_of(cell)
    documents = [text_of(n, n) for n in (3, 1, 7, 2, 6, 4)]
    for document in documents:
        document[document == EOS_ID] = EOS_ID + 1
    ends = [np.append(document, EOS_ID) for document in documents]
    if n_rows == 2:  # the second row begins at a document, too: both halves have 14 and 15 ids
        ends = [ends[2], ends[4][:-1], *ends[3:4], ends[0], ends[5], ends[1]]
        ends = [np.append(e[e != EOS_ID], EOS_ID) for e in ends]
    ids = np.concatenate(ends)
    ids = ids[: len(ids) // n_rows * n_rows]
    total, count = loss_over(model, Windows(ids, n_rows, k1, k2, restart=True))
    rows = ids.reshape(n_rows, -1)
    right = torch.zeros((), dtype=torch.float64)
    for row, first in zip(rows, [EOS_ID, *rows[:-1, -1]], strict=True):
        state, before = model.start(1), first
        for id_ in row:
            if before == EOS_ID:
                state = model.start(1)
            hidden, state = model.step(torch.tensor([before]), state)
            right = right - model.head.logits(hidden).log_softmax(1)[0, int(id_)]
            before = id_
    assert count == ids.size
    torch.testing.assert_close(total, right, rtol=1e-10, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("restart", [False, True])
def test_a_window_read_by_steps_is_the_window(restart: bool) -> None:
    model = model_of()
    windows = Windows(text_of(60), 2, 7, restart=restart)
    state = other = model.start(2)
    n_restarts = 0
    for window in windows:
        batch = collate(window)
        n_restarts += 0 if batch.restarts is None else int(batch.restarts.sum())
        hidden, state = read(model, batch.inputs, batch.restarts, state)
        by_steps, other = _read_by_steps(model, batch.inputs, batch.restarts, other)
        torch.testing.assert_close(by_steps, hidden)
        torch.testing.assert_close(other, state)
    assert (n_restarts > 2) == restart


@torch.no_grad()
@pytest.mark.parametrize("head", [{}, {"head": "adaptive", "cutoffs": (6, 9)}])
def test_a_cache_mixes_with_the_distribution_of_any_head(head: dict) -> None:
    torch.manual_seed(3)
    sizes = {"embedding_size": 5, "hidden_size": 16}
    model = LanguageModel(LanguageModelConfig(**sizes, **head), V).double()
    ids = text_of(40)
    cache, alone = ContinuousCache(9, 0.5, 0.2), ContinuousCache(9, 0.5, 0.2)
    state, total = model.start(1), 0.0
    for window in Windows(ids, 1, 7, whole=True):
        part, _, state = evaluate_loss(model, collate(window), state, cache)
        total += float(part)
    state, right = model.start(1), 0.0
    for before, following in zip([EOS_ID, *ids[:-1]], torch.from_numpy(ids), strict=True):
        hidden, state = model.step(torch.tensor([int(before)]), state)
        model_says = model.head.logits(hidden).log_softmax(1)
        right -= float(alone.log_probs(hidden, model_says, following.view(1))[0, following])
    assert total == pytest.approx(right, rel=1e-9)


@torch.no_grad()
def test_rows_do_not_see_each_other() -> None:
    model, ids = model_of(), text_of(40)
    together, _ = loss_over(model, Windows(ids, 4, 5))
    apart = torch.zeros((), dtype=torch.float64)
    for row in range(4):
        state, before = model.start(1), EOS_ID if row == 0 else ids[row * 10 - 1]
        for right in ids[row * 10 : row * 10 + 10]:
            hidden, state = model.step(torch.tensor([int(before)]), state)
            apart -= model.head.logits(hidden).log_softmax(1)[0, int(right)]
            before = right
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=0)


def test_nothing_is_dropped_outside_training() -> None:
    rates = dict.fromkeys(
        ("word_rate", "input_rate", "between_rate", "output_rate", "recurrent_weight_rate"), 0.5
    )
    model, ids = model_of(**rates), text_of(31)
    noisy = {float(loss_over(model, Windows(ids, 1, 7))[0].detach()) for _ in range(3)}
    model.eval()
    still = {float(loss_over(model, Windows(ids, 1, 7))[0].detach()) for _ in range(3)}
    assert len(noisy) == 3
    assert len(still) == 1


def test_perplexity_and_bits_per_character() -> None:
    found = scores(math.log(8), n_targets=10, n_characters=60)
    assert found == {"perplexity": pytest.approx(8.0), "bits_per_character": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "model.hidden_size must be at least 1, got 0"),
        ({"word_rate": 1.0}, "model.word_rate must be at least 0 and below 1, got 1.0"),
        (
            {"word_rate": 0.1, "embedding": "one_hot"},
            "model.word_rate drops learned embeddings, but model.embedding is 'one_hot'; set it to 0",
        ),
        (
            {"tied": True, "embedding": "one_hot"},
            "model.tied: a one-hot embedding has no weights to share; set model.tied = false",
        ),
        (
            {"tied": True, "head": "adaptive", "cutoffs": (5,)},
            "model.tied: the adaptive softmax has its own weights; set model.tied = false",
        ),
        (
            {"head": "adaptive"},
            "model.cutoffs must be set if model.head is 'adaptive', and only then; for 33,000 words "
            "try [2000, 10000]",
        ),
    ],
)
def test_invalid_models_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LanguageModelConfig(**settings)
    assert str(caught.value) == message
