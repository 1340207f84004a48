"""What every test shares: shape checks, threads, the same random numbers in any order, real data."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything of the package is imported: shapes in signatures are checked, under test only,
# in the modules whose signatures have shapes.
SHAPED = [
    "unrolled.inspect.attribution",
    "unrolled.layers",
    "unrolled.nn",
    "unrolled.ops",
    "unrolled.shapes",
    "unrolled.tasks",
]
install_import_hook(SHAPED, "beartype.beartype")

# Threads that wait give the processor back: on a busy machine two teams of threads that spin take many
# times as long. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402

PINNED_THREADS = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or 0)
"""Threads of every test where the environment says so, as `make test-sets` does; 0 where it does not."""
torch.set_num_threads(PINNED_THREADS or min(2, os.cpu_count() or 1))

# Encoded text goes into a folder of this test run, examples of the documentation included.
os.environ["UNROLLED_CACHE"] = tempfile.mkdtemp(prefix="unrolled-tests-")
atexit.register(shutil.rmtree, os.environ["UNROLLED_CACHE"], ignore_errors=True)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(PINNED_THREADS or number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For models so small that a second thread only waits, for long on a busy machine."""
    with _threads(1):
        yield


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """What a test draws without a seed of its own does not depend on the tests before it."""
    torch.manual_seed(20_011)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets that UNROLLED_DATA names; the test skips where it is not set."""
    folder = os.environ.get("UNROLLED_DATA")
    if not folder:
        pytest.skip("UNROLLED_DATA does not name a folder of public data sets")
    return Path(folder)


TINY_RECIPE = """\
task = "translate"
seed = 3

[data]
valid_size = 5
test_size = 7

[text]
kind = "word"

[model]
embedding_size = 8
encoder_size = 8
hidden_size = 16
dropout_rate = 0.0
label_smoothing = 0.0

[training]
learning_rate = 0.02
max_tokens = 128
max_steps = 60
evaluate_every_n_steps = 30
checkpoint_every_n_steps = 30
valid_sentences = 5
device = "cpu"

[decoding]
beam_size = 3
"""


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TSV of 64 English and Spanish sentences, no two alike on either side."""
    numbers = {"two": "dos", "three": "tres", "four": "cuatro", "five": "cinco"}
    nouns = {"cats": "gatos", "dogs": "perros", "birds": "pájaros", "horses": "caballos"}
    colours = {"": "", "red ": " rojos", "black ": " negros", "white ": " blancos"}
    lines = [
        f"I see {number} {colour}{noun}.\tVeo {numero} {nombre}{color}."
        for number, numero in numbers.items()
        for noun, nombre in nouns.items()
        for colour, color in colours.items()
    ]
    path = tmp_path_factory.mktemp("pairs") / "animals.tsv"
    path.write_bytes("\n".join(["en\tes", *lines, ""]).encode())
    return path


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for a translator that trains in a second, without its data."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained_run(
    pairs_file: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of that recipe's run; tests read it, and harm only copies."""
    import unrolled

    overrides = [("data.train", str(pairs_file))]
    recipe = unrolled.recipe_from_toml(recipe_file, unrolled.TASKS, overrides)
    folder = tmp_path_factory.mktemp("trained") / "run"
    with _threads(1):
        unrolled.train(recipe, folder)
    return folder
