"""What every test shares: shape checks on the whole package, two threads, and the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything of the package is imported: shapes in signatures are checked, under test only,
# in the modules whose signatures have shapes.
SHAPED = ["unrolled.layers", "unrolled.nn", "unrolled.ops", "unrolled.shapes", "unrolled.tasks"]
install_import_hook(SHAPED, "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets that UNROLLED_DATA names; the test skips where it is not set."""
    folder = os.environ.get("UNROLLED_DATA")
    if not folder:
        pytest.skip("UNROLLED_DATA does not name a folder of public data sets")
    return Path(folder)
