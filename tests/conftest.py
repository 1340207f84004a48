"""What every test shares: shape checks, threads, the same random numbers in any order, real data."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
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


def _once_for_each_shape(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """`jaxtyping.jaxtyped`, but of calls whose arguments are alike only the first is checked.

    What a function returns then has the same shapes, too. Checking every call takes longer than what
    small models compute.
    """

    def decorated(*, typechecker: Any) -> Callable[[Any], Any]:
        check = jaxtyped(typechecker=typechecker)

        def decorate(given: Any) -> Any:
            if isinstance(given, FunctionType):
                return _once(check(given), given)
            if isinstance(given, type):
                plain = given.__init__
                check(given)
                if given.__init__ is not plain:
                    given.__init__ = _once(given.__init__, plain)
                return given
            return check(given)

        return decorate

    return decorated


def _once(checked: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    known = set[object]()

    @wraps(plain)
    def call(*args: Any, **options: Any) -> Any:
        key = (*map(_alike, args), *((name, _alike(value)) for name, value in options.items()))
        if key in known:
            return plain(*args, **options)
        result = checked(*args, **options)
        known.add(key)
        return result

    return call


def _alike(value: Any) -> object:
    """What is the same for all values that the checks cannot tell apart."""
    if isinstance(value, _ARRAYS):
        return type(value), value.dtype, value.shape
    if isinstance(value, tuple):
        return type(value), *map(_alike, value)
    if isinstance(value, list):
        return list, *map(_alike, value[:1])
    if isinstance(value, str) and len(value) < 40:
        return value  # may be one of a few
    return type(value)


jaxtyping.jaxtyped = _once_for_each_shape(jaxtyping.jaxtyped)
install_import_hook(SHAPED, "beartype.beartype")

# Threads that wait give the processor back: on a busy machine two teams of threads that spin take many
# times as long. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402

_ARRAYS = (torch.Tensor, np.ndarray)

PINNED_THREADS = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or 0)
"""Threads of every test where the environment says so, as `make test-sets` does; 0 where it does not."""
torch.set_num_threads(PINNED_THREADS or min(2, os.cpu_count() or 1))

# Encoded text goes into a folder of this test run, examples of the documentation included.
os.environ["UNROLLED_CACHE"] = tempfile.mkdtemp(prefix="unrolled-tests-")
atexit.register(shutil.rmtree, os.environ["UNROLLED_CACHE"], ignore_errors=True)


if not torch.cuda.is_available():

    def _seed(seed: int) -> torch.Generator:
        """As `torch.manual_seed`, which takes a millisecond to store what called it, for each device."""
        return torch.default_generator.manual_seed(int(seed))

    torch.manual_seed = _seed


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in docstrings of the package only: those of tests have none."""
    collectors = yield
    return [each for each in collectors if type(each).__name__ != "DoctestModule"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has long files first, and docstrings last.

    Where two processes take files in this order, neither waits for long at the end.
    """
    root = Path(__file__).parents[1]
    long = ("docs", *(f"tests/{name}" for name in ("comparison", "exports", "kills", "vectors")))

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix()
        return -1 if path.startswith(long) else path.startswith("src/")

    items.sort(key=place)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(PINNED_THREADS or number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _threads_are_not_chosen_by_time() -> Iterator[None]:
    """Trainings must repeat to the last bit here, so that one thread and all are not compared."""
    from unrolled.training import threads, trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "ThreadChoice", lambda *_: threads.ThreadChoice(most=1))
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For models so small that a second thread only waits, for long on a busy machine."""
    with _threads(1):
        yield


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """What a test draws without a seed of its own does not depend on the tests before it."""
    torch.manual_seed(20_011)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so files need not have reached the disk before it goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


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
