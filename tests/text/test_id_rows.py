"""Rows of ids in one array."""

import pytest

from unrolled.text.id_rows import IdRows


@pytest.mark.parametrize(("n_ids", "n_bytes"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_rows_come_back_as_they_were_added(n_ids: int, n_bytes: int) -> None:
    rows = IdRows(n_ids)
    given = [[5, n_ids - 1], [], [0, 0, 7]]
    for row in given:
        rows.append(row)
    assert [rows[place] for place in range(len(rows))] == given
    assert rows.ids.tolist() == [5, n_ids - 1, 0, 0, 7]
    assert rows.ids.itemsize == n_bytes
