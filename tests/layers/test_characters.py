"""Vectors of words from their characters agree with a loop over words, and see no padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unrolled.layers.characters import CharConvolution, CharEncoder, with_characters
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

K, E, D = 13, 3, 7
WORDS = [[4, 5, 7, 12, 4], [6], [], [9, 9], [12, 11, 10, 8]]


def recurrent(cell: str = "lstm") -> CharEncoder:
    torch.manual_seed(3)
    return CharEncoder(cell, K, E).double()


def convolution(window: int = 3) -> CharConvolution:
    torch.manual_seed(3)
    return CharConvolution(K, E, D, window).double()


def by_torch(encoder: CharEncoder, cell: str, word: list[int]) -> torch.Tensor:
    """The last states of a layer of `torch.nn` in each direction."""
    layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](E, E, bidirectional=True)
    layer = layer.double()
    layer.load_state_dict(encoder.encoder.recurrent.state_dict())
    if not word:
        return torch.zeros(2 * E, dtype=torch.float64)
    _, state = layer(encoder.embedding.weight[torch.tensor(word)])
    h = state[0] if cell == "lstm" else state
    return h.flatten()


def by_loop(encoder: CharConvolution, word: list[int], window: int) -> torch.Tensor:
    """max over k of W z_k + b, with zeros beyond the ends."""
    left, right = (window - 1) // 2, window // 2
    if not word:
        return torch.zeros(D, dtype=torch.float64)
    zeros = torch.zeros(1, E, dtype=torch.float64)
    rows = [encoder.embedding.weight[id_].unsqueeze(0) for id_ in word]
    padded = torch.cat([zeros] * left + rows + [zeros] * right)
    weight, bias = encoder.convolution.weight, encoder.convolution.bias
    outputs = []
    for place in range(len(word)):
        z = padded[place : place + window]
        outputs.append(torch.einsum("dek,ke->d", weight, z) + bias)
    return torch.stack(outputs).amax(0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_vectors_equal_torch_word_by_word(cell) -> None:
    encoder = recurrent(cell)
    found = encoder(Padded.from_rows(WORDS))
    wanted = torch.stack([by_torch(encoder, cell, word) for word in WORDS])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_convolutions_equal_a_loop_over_windows(window) -> None:
    encoder = convolution(window)
    found = encoder(Padded.from_rows(WORDS))
    wanted = torch.stack([by_loop(encoder, word, window) for word in WORDS])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("window", [2, 3])
def test_gradients_of_convolutions_equal_those_of_the_loop(window) -> None:
    encoder = convolution(window)
    scale = torch.randn(len(WORDS), D, dtype=torch.float64)
    total = (encoder(Padded.from_rows(WORDS)) * scale).sum()
    loop = torch.stack([by_loop(encoder, word, window) for word in WORDS])
    names, weights = zip(*encoder.named_parameters(), strict=True)
    found = torch.autograd.grad(total, weights)
    wanted = torch.autograd.grad((loop * scale).sum(), weights)
    for name, one, other in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, msg=name)


def test_gradients_of_the_recurrent_layer_equal_torch() -> None:
    encoder = recurrent()
    scale = torch.randn(len(WORDS), 2 * E, dtype=torch.float64)
    (encoder(Padded.from_rows(WORDS)) * scale).sum().backward()
    layer = nn.LSTM(E, E, bidirectional=True).double()
    layer.load_state_dict(encoder.encoder.recurrent.state_dict())
    table = encoder.embedding.weight.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for word, scale_D in zip(WORDS, scale, strict=True):
        if word:
            _, (h, _) = layer(table[torch.tensor(word)])
            total = total + (h.flatten() * scale_D).sum()
    total.backward()
    for name, weight in layer.named_parameters():
        own = encoder.encoder.recurrent.get_parameter(name)
        torch.testing.assert_close(own.grad, weight.grad, rtol=1e-9, atol=1e-12, msg=name)
    torch.testing.assert_close(encoder.embedding.weight.grad, table.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [recurrent, convolution])
def test_padding_and_other_words_cannot_be_seen(make) -> None:
    encoder = make()
    alone = [encoder(Padded.from_rows([word])) for word in WORDS if word]
    padded = Padded.from_rows(WORDS)
    wide = torch.nn.functional.pad(padded.values, (0, 4), value=5)
    wide[:, :5][~padded.mask] = 7
    found = encoder(Padded(wide, padded.lengths))
    is_full = padded.lengths > 0
    torch.testing.assert_close(found[is_full], torch.cat(alone), rtol=1e-10, atol=1e-12)
    assert not found[~is_full].any()


@pytest.mark.parametrize("make", [recurrent, convolution])
def test_only_empty_words_give_zeros(make) -> None:
    encoder = make()
    found = encoder(Padded.from_rows([[], []]))
    assert found.shape == (2, encoder.output_size)
    assert not found.any()


@pytest.mark.parametrize("make", [recurrent, convolution])
def test_each_text_gets_the_vectors_of_its_words(make) -> None:
    encoder = make()
    texts = [
        Padded(torch.randn(2, 3, 2, dtype=torch.float64), torch.tensor([3, 1])),
        Padded(torch.randn(2, 2, 2, dtype=torch.float64), torch.tensor([0, 2])),
    ]
    places = [torch.tensor([[0, 4, 0], [1, 0, 0]]), torch.tensor([[0, 0], [3, 4]])]
    letters = Padded.from_rows(WORDS)
    found = with_characters(texts, encoder, letters, places)
    vectors = encoder(letters)
    for text, given, at in zip(found, texts, places, strict=True):
        assert torch.equal(text.values[..., :2], given.values)
        torch.testing.assert_close(text.values[..., 2:], vectors[at])


@pytest.mark.parametrize("make", [recurrent, convolution])
def test_texts_without_words_need_no_characters(make) -> None:
    encoder = make()
    empty = Padded(torch.zeros(2, 0, 3, dtype=torch.float64), torch.tensor([0, 0]))
    [found] = with_characters(
        [empty], encoder, Padded.from_rows([]), [torch.zeros(2, 0, dtype=torch.int64)]
    )
    assert found.values.shape == (2, 0, 3 + encoder.output_size)
