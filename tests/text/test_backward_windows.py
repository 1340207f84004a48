"""Windows of a text that is read from right to left."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.text.config import EOS_ID
from unrolled.text.corpus.windows import Windows


def documents(n: int) -> list[list[int]]:
    draw = np.random.default_rng(n)
    return [draw.integers(4, 50, draw.integers(1, 9)).tolist() for _ in range(n)]


def ids_of(texts: list[list[int]]) -> np.ndarray:
    return np.array([id_ for text in texts for id_ in (*text, EOS_ID)], np.uint16)


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(5, 5), (4, 9), (1000, 0)])
def test_backward_windows_are_those_of_reversed_documents(n_rows, restart, k1, k2) -> None:
    texts = documents(23)
    turned = [text[::-1] for text in reversed(texts)]
    for whole in (False, True):
        settings = {"n_rows": n_rows, "k1": k1, "k2": k2, "restart": restart, "whole": whole}
        ours = Windows(ids_of(texts), **settings, backward=True)
        theirs = Windows(ids_of(turned), **settings)
        assert len(ours) == len(theirs)
        for index in range(len(ours)):
            a, b = ours[index], theirs[index]
            assert a.n_before_next == b.n_before_next
            for name in ("inputs", "targets", "restarts"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_the_whole_text_is_not_copied() -> None:
    class Ids:
        """Counts what is read."""

        def __init__(self, ids: np.ndarray) -> None:
            self.ids, self.n_read = ids, 0

        def __len__(self) -> int:
            return len(self.ids)

        def __getitem__(self, place: slice) -> np.ndarray:
            found = self.ids[place]
            self.n_read += len(found)
            return found

    ids = Ids(ids_of(documents(500)))
    assert Windows(ids, 2, 10, backward=True)[3].inputs.shape == (2, 10)
    assert ids.n_read <= 40
