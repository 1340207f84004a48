"""Distillation: a model learns the probabilities of a teacher, beside the labels (Hinton et al. 2015).

The teacher is a run of the same task with the same labels, such as an ensemble. Its probabilities for the
training part, and for unlabelled texts if there are any, are computed once before training. The loss is
`layers.label_head.LabelHead.distillation_loss`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unrolled import documents
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.layers.label_head import SoftTargets
from unrolled.quoting import brief, quote
from unrolled.reporting import begun
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import AnyTask, LabelTask, State
from unrolled.text.lines import read_lines
from unrolled.text.rows import Row
from unrolled.training.checkpoint import MODEL_FILE
from unrolled.training.dataset import Part, PreparedRows, evenly, prepare_labels
from unrolled.training.device import choose_device
from unrolled.training.evaluation import label_predictions
from unrolled.training.loaders import LabelLoader
from unrolled.training.recipe import Recipe

_MOST_PROBABILITIES = 500_000_000
_TOGETHER = 4096


@dataclass(frozen=True)
class DistilledRows(PreparedRows):
    """The prepared data of a run with a teacher.

    Args:
        soft_NC: the teacher's probabilities for the rows of the training part, unlabelled ones last.
        n_labelled: number of rows of the training part with a label.
        teacher: what identifies the teacher and the unlabelled texts, for a run that is resumed.
    """

    soft_NC: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    n_labelled: int = 0
    teacher: str = ""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows by part."""
        n_unlabelled = len(self.train.rows) - self.n_labelled
        sizes = {"train": self.n_labelled, "valid": len(self.valid.rows), "test": self.n_test}
        return sizes | ({"unlabelled": n_unlabelled} if n_unlabelled else {})

    def record(self, data: Any) -> dict[str, Any]:
        """The content of `split.json`."""
        return super().record(data) | {"teacher": self.teacher}


def check_teacher(recipe: Recipe, task: AnyTask) -> None:
    """Refuse a teacher that cannot be used, before data are read.

    Raises:
        ConfigError: there is no such run, or it is of another task.
    """
    path = recipe.training.teacher
    if not path:
        return
    from unrolled.training.run_folder import is_run, read_config

    if not is_run(Path(path)):
        raise ConfigError(f"training.teacher: {path} is not a run folder; name a trained run")
    name = read_config(Path(path))["task"]
    if name != task.name:
        raise ConfigError(
            f"training.teacher: {path} is of task '{name}', and this run of task '{task.name}'; name a "
            "run of the same task"
        )


def prepare(recipe: Recipe, task: LabelTask, tokenizers: Tokenizers | None) -> PreparedRows:
    """The data of a run that predicts labels, with the probabilities of its teacher if it has one.

    Raises:
        ConfigError: the teacher has other labels.
        RunError: the teacher cannot be read.
        DataError: as for `prepare_labels`, or an unlabelled text cannot be read.
    """
    prepared = prepare_labels(recipe, task, tokenizers)
    if not recipe.training.teacher:
        return prepared
    from unrolled.training.run_folder import load_run

    path = Path(recipe.training.teacher)
    teacher = load_run(path, device=choose_device(recipe.training))
    labels = prepared.tokenizers[LABELS]
    places = _places(teacher.tokenizers[LABELS], labels, path)
    rows = _unlabelled(recipe, task)
    train = _with(prepared.train, rows, task, prepared.tokenizers, recipe)
    if len(train.rows) * len(labels) > _MOST_PROBABILITIES:
        raise ConfigError(
            f"training.teacher: the probabilities of {len(labels):,} labels for {len(train.rows):,} "
            "texts do not fit into memory; give fewer texts, or train without a teacher"
        )
    begun("asking the teacher")
    soft_NC = _probabilities(teacher, train.rows, len(task.columns) - 1)[:, places]
    return DistilledRows(
        **{**vars(prepared), "train": train, "notes": (*prepared.notes, *_notes(teacher, recipe))},
        soft_NC=np.ascontiguousarray(soft_NC),
        n_labelled=len(prepared.train.rows),
        teacher=_fingerprint(path, recipe.training.unlabelled),
    )


def loader(recipe: Recipe, task: LabelTask, prepared: PreparedRows) -> LabelLoader:
    """The loader of a run that predicts labels."""
    if isinstance(prepared, DistilledRows):
        return DistilledLoader(recipe, task, prepared)
    return LabelLoader(recipe, task, prepared)


def check_same_teacher(folder: Path, prepared: Any) -> None:
    """Check that a resumed run has the teacher and the unlabelled texts that it was started with.

    Raises:
        RunError: they have changed.
    """
    from unrolled.training.split_file import SplitRecord

    if SplitRecord.load(folder).teacher != getattr(prepared, "teacher", ""):
        raise RunError(
            f"the teacher of {folder} or its unlabelled texts have changed since it was started; restore "
            "them, or start another run"
        )


class DistilledLoader(LabelLoader):
    """Batches with the probabilities of a teacher."""

    def __init__(self, recipe: Recipe, task: LabelTask, prepared: DistilledRows) -> None:
        super().__init__(recipe, task, prepared)
        self._soft, self._n_labelled = prepared.soft_NC, prepared.n_labelled
        training = recipe.training
        self._weight, self._temperature = training.teacher_weight, training.teacher_temperature

    def batch(self, epoch: int, index: int) -> tuple[Any, int]:
        """See `Loader`."""
        chosen = self._of_epoch(epoch)[index]
        examples = [self._data.train.examples[row] for row in chosen]
        batch = self._task.collate(
            [each if each.labels is not None else replace(each, labels=()) for each in examples]
        )
        soft = SoftTargets(
            torch.from_numpy(self._soft[chosen]),
            torch.tensor([row < self._n_labelled for row in chosen]),
            self._weight,
            self._temperature,
        )
        return replace(batch, soft=soft), len(chosen)

    def sample(self, n_rows: int) -> tuple[Any, Callable[[nn.Module], State]]:
        """Labelled rows that are spread evenly over the training part, without the teacher."""
        train = self._data.train
        chosen = evenly(self._n_labelled, n_rows)
        return self._task.collate([train.examples[row] for row in chosen]), self.start


def _places(of_teacher: Any, labels: Any, path: Path) -> list[int]:
    """The place of each label among those of the teacher.

    Raises:
        ConfigError: the teacher has other labels.
    """
    if set(of_teacher.names) != set(labels.names) or of_teacher.multi_label != labels.multi_label:
        shown = [brief(", ".join(each.names)) for each in (of_teacher, labels)]
        raise ConfigError(
            f"training.teacher: {path} predicts the labels {shown[0]}, but the training part has "
            f"{shown[1]}; name a run with the same labels"
        )
    return [of_teacher.names.index(name) for name in labels.names]


def _unlabelled(recipe: Recipe, task: LabelTask) -> list[Row]:
    """The unlabelled texts: one input on each line, the two texts of a pair separated by a tab.

    Raises:
        DataError: a file cannot be read, or a line has another number of texts.
    """
    n_texts, rows = len(task.columns) - 1, list[Row]()
    for name in recipe.training.unlabelled:
        for line in read_lines(Path(name)):
            text = line.text.rstrip("\r\n")
            if not text.strip():
                continue
            fields = text.split("\t") if n_texts > 1 else [text]
            if len(fields) != n_texts:
                wanted = " and ".join(task.columns[:-1])
                problem = f"expected {wanted}, separated by a tab; found {quote(text, 40)}"
                raise DataError(problem, name, line.number)
            rows.append(Row(tuple(fields), line.number))
    return rows


def _with(
    part: Part, rows: list[Row], task: LabelTask, tokenizers: Tokenizers, recipe: Recipe
) -> Part:
    """The training part with unlabelled rows after its own; texts that are too long are truncated."""
    if not rows:
        return part
    examples = [task.cut(each, recipe.data) for each in _encoded(task, rows, tokenizers, recipe)]
    lengths = np.array([task.lengths(example) for example in examples], np.int64)
    return replace(
        part,
        rows=[*part.rows, *rows],
        examples=[*part.examples, *examples],
        lengths=np.concatenate([part.lengths, lengths.reshape(len(rows), -1)]),
    )


def _encoded(
    task: LabelTask, rows: Sequence[Row], tokenizers: Tokenizers, recipe: Recipe
) -> Iterator[Any]:
    """The examples of rows, without their labels."""
    n_texts, encode = len(task.columns) - 1, task.encode
    for row in rows:
        yield encode(row.fields[:n_texts], tokenizers, recipe.data)


def _probabilities(teacher: Any, rows: Sequence[Row], n_texts: int) -> NDArray[np.float32]:
    """`[N, C]`, the teacher's probabilities for each row, read as the teacher reads texts."""
    task, recipe = teacher.task, teacher.recipe
    found = []
    for first in range(0, len(rows), _TOGETHER):
        block = rows[first : first + _TOGETHER]
        examples = [
            task.cut(each, recipe.data)
            for each in _encoded(task, block, teacher.tokenizers, recipe)
        ]
        predicted = label_predictions(teacher.model, task, examples, teacher.tokenizers)
        found.append(np.stack([each.probabilities for each in predicted]))
    return np.concatenate(found)


def _notes(teacher: Any, recipe: Recipe) -> list[str]:
    """A note if the teacher may have learned from rows of the validation part."""
    names = ("train", "valid", "test", "valid_size", "test_size", "split_seed")
    ours, theirs = (
        [getattr(each.data, name) for name in names] for each in (recipe, teacher.recipe)
    )
    if ours == theirs:
        return []
    return [
        f"the teacher {teacher.folder} was trained on other files or another split, so that validation "
        "rows may be among its training rows, and the validation scores too high"
    ]


def _fingerprint(path: Path, unlabelled: Sequence[str]) -> str:
    """A checksum of the teacher's weights and of the unlabelled texts."""
    from unrolled.training.run_folder import MEMBERS

    files = [path / MODEL_FILE, *sorted(path.glob(f"{MEMBERS}/*/{MODEL_FILE}"))]
    digest = hashlib.sha256()
    for file in [*(each for each in files if each.exists()), *map(Path, unlabelled)]:
        try:
            with documents.open_regular(file) as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise documents.cannot_be_read(file, error) from None
    return digest.hexdigest()
