from __future__ import annotations

from collections.abc import Iterator

import pytest
from mixed_sets import SETS

from unrolled.kernels import kernels
from unrolled.ops import mixed


@pytest.fixture(params=SETS)
def mixed_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels with each of the instructions for products in bfloat16, wherever they can run."""
    monkeypatch.setattr(mixed, "not_worth_it", lambda: None)
    kernels.use_mixed_set(request.param)
    kernels.poison_workspaces(True)
    yield request.param
    kernels.poison_workspaces(False)
    kernels.use_mixed_set(SETS[0])
