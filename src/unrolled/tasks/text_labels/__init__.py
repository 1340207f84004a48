"""The common part of `classify` and `pair`: one or two texts as input, one or several labels as output.

In the order in which data flows: rows, examples and batches (`data`), what is learned before training
and the loss (`training`), predictions and their thresholds (`prediction`), scores (`scoring`); the tasks
are put together in `task`.

If a row may have several labels or none (`data.label_separator`), each label is a binary
decision with a sigmoid of its own; the loss is the sum of their binary cross-entropies, and a label is
predicted if its probability reaches a threshold that is tuned on the validation part.
"""

from unrolled.tasks.examples import LabelledExample, cut, encode_with, labels_in, lengths
from unrolled.tasks.text_labels.data import (
    ROLE,
    TEXT,
    LabelBatch,
    collate,
    notes,
    shuffle,
    tokens,
    train_tokenizers,
)
from unrolled.tasks.text_labels.prediction import (
    labels_for,
    parts_alone,
    predict,
    tune_thresholds,
)
from unrolled.tasks.text_labels.scoring import better_of, digested, evaluate, scores, signature
from unrolled.tasks.text_labels.task import label_task
from unrolled.tasks.text_labels.training import (
    TRAINING_ONLY,
    ClassWeights,
    evaluate_loss,
    extend,
    hidden_of,
    learn,
    load_pretrained,
    load_vectors,
    loss,
    prepare,
    read,
)

__all__ = [
    "ROLE",
    "TEXT",
    "TRAINING_ONLY",
    "ClassWeights",
    "LabelBatch",
    "LabelledExample",
    "better_of",
    "collate",
    "cut",
    "digested",
    "encode_with",
    "evaluate",
    "evaluate_loss",
    "extend",
    "hidden_of",
    "label_task",
    "labels_for",
    "labels_in",
    "learn",
    "lengths",
    "load_pretrained",
    "load_vectors",
    "loss",
    "notes",
    "parts_alone",
    "predict",
    "prepare",
    "read",
    "scores",
    "shuffle",
    "signature",
    "tokens",
    "train_tokenizers",
    "tune_thresholds",
]
