"""Windows over a long text: every id is predicted once, from the ids before it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.windows import StreamConfig, Windows

IDS = np.arange(10, 33)  # 23 of them


@pytest.mark.parametrize(
    ("n_rows", "k1", "k2"), [(1, 1, 1), (2, 3, 3), (3, 5, 7), (2, 3, 8), (23, 4, 4)]
)
def test_every_id_is_predicted_once_in_order(n_rows: int, k1: int, k2: int) -> None:
    windows = Windows(IDS, n_rows, k1, k2)
    targets = np.concatenate([window.targets for window in windows], axis=1)
    n_steps = len(IDS) // n_rows
    assert targets.tolist() == IDS[: n_rows * n_steps].reshape(n_rows, n_steps).tolist()


def test_with_whole_no_id_is_left_out() -> None:
    windows = Windows(IDS, 5, 2, whole=True)
    targets = np.concatenate([window.targets for window in windows], axis=1)
    assert targets[targets >= 0].tolist() == IDS.tolist()
    assert sum(window.n_targets for window in windows) == len(IDS)


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 4), (2, 9), (1, 5)])
def test_inputs_end_one_step_before_the_last_target(k1: int, k2: int) -> None:
    for window in Windows(IDS, 2, k1, k2):
        n_steps, n_targets = window.inputs.shape[1], window.targets.shape[1]
        assert n_steps <= max(k1, k2)
        last = window.inputs[:, n_steps - n_targets + 1 :]
        assert last.tolist() == window.targets[:, :-1].tolist()


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 4), (2, 9), (4, 11)])
def test_the_next_window_begins_at_n_before_next(k1: int, k2: int) -> None:
    windows = list(Windows(IDS, 2, k1, k2))
    for before, after in pairwise(windows):
        kept = before.inputs[:, before.n_before_next :]
        assert after.inputs[:, : kept.shape[1]].tolist() == kept.tolist()


def test_a_gradient_reaches_k2_steps_back() -> None:
    windows = Windows(IDS, 1, 2, 7)
    assert [window.inputs.shape[1] for window in windows][3:-1] == [7] * (len(windows) - 4)


def test_only_the_first_row_starts_at_a_document_boundary() -> None:
    first = Windows(IDS, 3, 4)[0]
    assert first.inputs[:, 0].tolist() == [EOS_ID, IDS[6], IDS[13]]


def test_restarts_mark_the_starts_of_documents() -> None:
    ids = np.array([5, 6, EOS_ID, 7, EOS_ID, 8])
    [window] = Windows(ids, 1, 6, restart=True)
    assert window.inputs.tolist() == [[EOS_ID, 5, 6, EOS_ID, 7, EOS_ID]]
    assert window.restarts.tolist() == [[True, False, False, True, False, True]]


def test_fewer_ids_than_rows_make_fewer_rows() -> None:
    assert Windows(IDS[:2], 7, 3).n_rows == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_rows": 0}, "data.n_rows must be at least 1, got 0"),
        ({"k1": 0}, "data.k1 must be at least 1, got 0"),
        ({"k1": 8, "k2": 7}, "data.k2 must be at least data.k1 = 8, or 0, got 7"),
        ({"valid_share": 1.0}, "data.valid_share must be at least 0 and below 1, got 1.0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StreamConfig(**settings)
    assert str(caught.value) == message
