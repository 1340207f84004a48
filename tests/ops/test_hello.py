"""The lecture's next-character network, worked by hand: after h, e, l, l comes e, l, l, o."""

from __future__ import annotations

import torch

from unrolled import ops
from unrolled.ops.reference import lstm_step

LETTERS = "helo"
U = torch.tensor([[0.2, 0.8, 0.5, 0.6], [0.1, 0.08, 0.0, 0.5], [0.5, 0.8, 0.02, 0.1]])
W, BIAS = torch.tensor(0.4893), torch.tensor(0.5)
V = torch.tensor([[6.5, 6.2, 1.2], [0.2, 0.1, 0.0], [2.0, 1.5, 0.6], [5.0, 0.9, 6.8]])


def one_hot(text: str) -> torch.Tensor:
    """`[T, 1, 4]`."""
    ids = torch.tensor([LETTERS.index(letter) for letter in text])
    return torch.nn.functional.one_hot(ids, 4).float().unsqueeze(1)


def weights(u: torch.Tensor, w: torch.Tensor, bias: torch.Tensor) -> ops.Weights:
    """The lecture's scalar w weights each state unit separately: w times the identity."""
    return ops.Weights(u, w * torch.eye(3), bias.expand(3), torch.zeros(3))


def test_the_first_step_is_the_one_worked_by_hand() -> None:
    y, (s,) = ops.unroll("rnn_tanh", one_hot("h"), None, None, weights(U, W, BIAS))
    by_hand = torch.tensor([0.7, 0.6, 1.0])
    torch.testing.assert_close(s[0], by_hand.tanh())
    torch.testing.assert_close(s[0], torch.tensor([0.6044, 0.5370, 0.7616]), atol=5e-5, rtol=0)
    logits = y[0, 0] @ V.T
    expected = torch.tensor([8.172, 0.1746, 2.4713, 8.684])
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)
    chances = logits.softmax(0)
    expected = torch.tensor([0.374, 0.000, 0.001, 0.624])
    torch.testing.assert_close(chances, expected, atol=1e-3, rtol=0)
    assert LETTERS[int(chances.argmax())] == "o"


def test_the_input_picks_a_column_of_u() -> None:
    picked = one_hot("l")[0] @ U.T
    assert torch.equal(picked[0], U[:, LETTERS.index("l")])


def test_a_short_training_spells_hello() -> None:
    u, w, bias, v = (part.clone().requires_grad_() for part in (U, W, BIAS, V))
    optimiser = torch.optim.Adam([u, w, bias, v], lr=0.05)
    targets = torch.tensor([LETTERS.index(letter) for letter in "ello"])
    for _ in range(150):
        y, _ = ops.unroll("rnn_tanh", one_hot("hell"), None, None, weights(u, w, bias))
        loss = torch.nn.functional.cross_entropy(y[:, 0] @ v.T, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    spelt, state = "h", None
    while len(spelt) < 5:
        y, state = ops.unroll("rnn_tanh", one_hot(spelt[-1]), None, state, weights(u, w, bias))
        spelt += LETTERS[int((y[0, 0] @ v.T).argmax())]
    assert spelt == "hello"


def test_a_closed_forget_gate_erases_its_cell() -> None:
    """[5, 6, 7] ⊙ [1, 0, 1] = [5, 0, 7], with the input gate closed."""
    shut, opened = torch.full((3,), -200.0), torch.full((3,), 200.0)
    forget = torch.where(torch.tensor([True, False, True]), opened, shut)
    bias = torch.cat([shut, forget, torch.zeros(3), torch.zeros(3)])
    gates = ops.Weights(torch.zeros(12, 1), torch.zeros(12, 3), bias, torch.zeros(12))
    cell = torch.tensor([[5.0, 6.0, 7.0]])
    _, c = lstm_step(torch.zeros(1, 1), (torch.zeros(1, 3), cell), gates)
    assert c.tolist() == [[5.0, 0.0, 7.0]]
