"""Settings that suit the amount of data, for a run that is described by its task and data alone.

A recipe file is never changed: these settings stand in for the defaults only where there is no recipe,
and each only where it is not given. How they were chosen is in docs/results.md and NOTES.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError, UnavailableError, UnrolledError
from unrolled.tasks import TASKS
from unrolled.tasks.facts import OF_WORDS
from unrolled.tasks.task import LabelTask
from unrolled.text.files import opened
from unrolled.text.splits import rows_of

if TYPE_CHECKING:
    from unrolled.text.splits import LabelData
    from unrolled.training.recipe import Recipe

_BLOCK = 1 << 20


MOST_ROWS = 1_000
"""Number of rows above which a classifier has the usual settings of training."""

_OPTIMISER = ("optimiser", "weight_decay", "momentum", "beta1", "beta2", "learning_rate")
_SCHEDULE = (
    "schedule",
    "warmup_steps",
    "plateau_factor",
    "plateau_patience",
    "patience",
    "average_after",
    "max_steps",
    "max_epochs",
    "max_minutes",
)
_GROUPS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("training.optimiser", "training.learning_rate"), _OPTIMISER),
    **dict.fromkeys(("training.schedule", "training.patience", "training.max_epochs"), _SCHEDULE),
    "training.average": ("average_after",),
}
"""For a setting, those of the same section with which it is left out if one of them is given."""


def sized_settings(
    task: str,
    data: Sequence[str],
    given: Mapping[str, str | None] = MappingProxyType({}),
    plain: Recipe | None = None,
) -> dict[str, Any]:
    """The settings that suit the amount of data, by full names.

    - an encoder that starts with language models has rates that fall from layer to layer and in time
      (Howard & Ruder 2018), and little dropout;
    - a classifier of up to `MOST_ROWS` texts is trained for a number of passes that depends on their
      number;
    - the words of two texts are aligned and compared (Chen et al. 2017), unless an encoder is given;
    - n-grams are counted beside the network (`layers.mixed_head`), if that takes little time.

    Args:
        task: name of the task; only `classify` and `pair` have such settings.
        data: files of the training data.
        given: settings that are given, by full names; these, and those that depend on them, are left out.
        plain: a recipe with the given settings; None if n-grams are not to be counted.

    >>> sized_settings("tag", ["words.conll"])
    {}
    """
    if task not in ("classify", "pair"):
        return {}
    n_rows, n_bytes = measured(tuple(data))
    if not n_rows:
        return {}
    if given.get("model.pretrained"):
        settings = _tuned(task, n_rows, n_bytes)
    elif task == "classify" and n_rows <= MOST_ROWS:
        settings = _small(n_rows, n_bytes)
    elif task == "pair" and not {"model.encoder", "model.target"} & given.keys():
        settings = dict(_ALIGNED)
    else:
        settings = {}
    if plain is not None and "model.ngrams" not in given and _can_count(plain, n_bytes):
        settings["model.ngrams"] = 2
    if not settings:
        return {}
    if task == "pair" and "data.averaged" in given:
        settings["training.metric"] = "mean_f1"
    if "data.label_separator" in given:
        settings["training.metric"] = "micro_f1"
    return {
        name: value
        for name, value in settings.items()
        if name not in given
        and not any(f"training.{other}" in given for other in _GROUPS.get(name, ()))
    }


_ALIGNED: Mapping[str, Any] = {
    "model.encoder": "aligned",
    "model.features": ["overlap"],
    "training.metric": "accuracy",
}


def _can_count(plain: Recipe, n_bytes: int) -> bool:
    """Whether n-grams can be counted, and the weights of their scores be fitted in a minute or two."""
    if find_spec("sklearn") is None or n_bytes > _MOST_COUNTED_BYTES:
        return False
    if plain.text.kind not in OF_WORDS or plain.data.word_order == "random":
        return False
    try:
        return _n_labels(plain.task, plain.data) <= _MOST_COUNTED_LABELS
    except UnrolledError:  # which training reports
        return False


@lru_cache(maxsize=2)
def _n_labels(task: str, data: LabelData) -> int:
    """The number of labels in the training files."""
    about = TASKS[task]
    assert isinstance(about, LabelTask)
    assert about.reading.labels is not None
    labels_of = about.reading.labels
    rows = rows_of(data, data.train, len(about.columns), about.reading)
    return len({label for row in rows for label in labels_of(row.fields, data)})


_MOST_COUNTED_BYTES = 1 << 26
_MOST_COUNTED_LABELS = 30


def _small(n_rows: int, n_bytes: int) -> dict[str, Any]:
    """Settings for a classifier of few texts."""
    max_tokens = n_tokens(n_bytes / n_rows)
    n_batches = math.ceil(n_bytes / _BYTES_PER_TOKEN / max_tokens)
    return {
        "model.dropout_rate": 0.5,
        "training.optimiser": "lazy_adam",
        "training.learning_rate": 2e-3,
        "training.schedule": "linear",
        "training.patience": 0,
        "training.max_epochs": n_epochs(n_rows, n_batches),
        "training.max_tokens": max_tokens,
        "training.average": 0.99,
        "training.metric": "accuracy",
        "training.evaluate_every_n_steps": 0,
    }


def _tuned(task: str, n_rows: int, n_bytes: int) -> dict[str, Any]:
    """Settings for an encoder that starts with language models."""
    max_tokens = n_tokens(n_bytes / n_rows)
    n_batches = math.ceil(n_bytes / _BYTES_PER_TOKEN / max_tokens)
    pooling = {"model.pooling": "concat"} if task == "classify" else {}
    return pooling | {
        "model.dropout_rate": 0.2,
        "training.optimiser": "lazy_adam",
        "training.learning_rate": 3e-3,
        "training.schedule": "slanted",
        "training.layer_divisor": 1.3,
        "training.patience": 0,
        "training.max_epochs": n_tuning_epochs(n_batches),
        "training.max_tokens": max_tokens,
        "training.metric": "accuracy",
        "training.evaluate_every_n_steps": 0,
    }


def n_tuning_epochs(n_batches: int) -> int:
    """The number of passes in which an encoder of language models is tuned.

    >>> [n_tuning_epochs(n) for n in (2, 20, 80, 300, 1_500)]
    [40, 15, 8, 8, 4]
    """
    return max(4, min(8, 3_000 // n_batches), min(40, _LEAST_TUNING_UPDATES // n_batches))


_LEAST_TUNING_UPDATES = 300


def n_epochs(n_rows: int, n_batches: int) -> int:
    """The number of passes over data of a size, with at least some updates.

    >>> [n_epochs(n, n // 25) for n in (50, 300, 500, 1_000)]
    [75, 37, 30, 23]
    """
    return max(math.ceil(_LEAST_UPDATES / n_batches), min(40, round(30 * (500 / n_rows) ** 0.4)))


_LEAST_UPDATES = 150


def n_tokens(bytes_per_row: float) -> int:
    """The tokens of a batch of 25 rows or more, a power of two.

    >>> [n_tokens(size) for size in (60, 110, 300, 1_300)]
    [512, 512, 1024, 4096]
    """
    wanted = 25 * bytes_per_row / _BYTES_PER_TOKEN
    return min((512, 1024, 2048, 4096), key=lambda size: abs(math.log(size / wanted)))


_BYTES_PER_TOKEN = 5.5


@lru_cache(maxsize=8)
def measured(paths: tuple[str, ...]) -> tuple[int, int]:
    """Roughly the number of rows of files, that of their lines, and of bytes.

    A file that cannot be read again, such as a pipe, or that is missing or damaged counts as none.
    """
    sizes = [_measured(name) for name in paths]
    return sum(n for n, _ in sizes), sum(n_bytes for _, n_bytes in sizes)


def _measured(name: str) -> tuple[int, int]:
    path = Path(name)
    n_lines, n_bytes, last = 0, 0, b"\n"
    try:
        if not path.is_file():
            return 0, 0
        with opened(path) as stream:
            while block := stream.read(_BLOCK):
                n_lines, n_bytes = n_lines + block.count(b"\n"), n_bytes + len(block)
                last = block[-1:]
    except (DataError, UnavailableError, OSError, ValueError):
        return 0, 0
    return n_lines + (last != b"\n"), n_bytes
