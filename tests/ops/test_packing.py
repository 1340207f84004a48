"""The packing plan compared with torch's packing."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled.ops.packing import Packing

LENGTHS = torch.tensor([2, 5, 3, 1])
X = torch.arange(5 * 4 * 3.0).view(5, 4, 3)


def test_rows_are_packed_as_torch_packs_them() -> None:
    plan = Packing.of(LENGTHS, X.device)
    packed = pack_padded_sequence(X, LENGTHS, enforce_sorted=False)
    assert torch.equal(plan.gather(X), packed.data)
    assert torch.equal(plan.batch_sizes, packed.batch_sizes)
    assert torch.equal(plan.order, packed.sorted_indices)


def test_in_reverse_every_row_starts_at_its_end() -> None:
    plan = Packing.of(LENGTHS, X.device, reverse=True)
    first = plan.gather(X)[:4]
    assert torch.equal(first, torch.stack([X[4, 1], X[2, 2], X[1, 0], X[0, 3]]))


def test_scattering_undoes_gathering_and_zeroes_padding() -> None:
    for reverse in (False, True):
        plan = Packing.of(LENGTHS, X.device, reverse)
        real = (torch.arange(5).unsqueeze(1) < LENGTHS).unsqueeze(2)
        assert torch.equal(plan.scatter(plan.gather(X), 5, 4), torch.where(real, X, 0.0))


def test_empty_rows_are_left_out_and_keep_their_state() -> None:
    plan = Packing.of(torch.tensor([0, 2, 0]), torch.device("cpu"))
    assert plan.order.tolist() == [1]
    initial, end = torch.zeros(3, 2), torch.ones(1, 2)
    assert plan.put_back(end, initial).tolist() == [[0, 0], [1, 1], [0, 0]]


def test_an_empty_batch_can_be_packed() -> None:
    plan = Packing.of(torch.tensor([0, 0]), torch.device("cpu"))
    assert plan.gather(torch.zeros(3, 2, 5)).shape == (0, 5)
    assert plan.batch_sizes.shape == (0,)
