"""The kinds of task, and what all tasks of a kind have in common.

A task has a kind (`Task.kind`), and code that works for any task checks the kind, never the type. What a
layer does for each kind is in one table of that layer, with the kinds as keys:

    data_report/report.py   the report of `unrolled data`
    training/kinds.py       preparation of the data, and the loader of batches
    predictors/load.py      the class of a trained model
    cli/predict.py, cli/evaluate.py   how a trained model is run and scored from the command line

Each layer has its own table, because a layer only knows the layers below it: a single table would have to
name functions of upper layers by strings, which type checkers cannot check.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of task, for code that works with any task.

    Args:
        name: name of the kind.
        memory_hint: the settings that reduce the memory of an update, with `{training.…}` and `{data.…}`
            for their values.
        scores_sample: whether scores during training are computed over `training.valid_sentences` rows,
            because prediction takes longer than the loss; otherwise over the whole validation part.
        has_baselines: whether bag-of-words baselines can be fitted on the same data.
    """

    name: str
    memory_hint: str
    scores_sample: bool = False
    has_baselines: bool = False


_ROWS_HINT = "training.max_tokens, here {training.max_tokens}"

SEQ2SEQ = Kind("seq2seq", _ROWS_HINT, scores_sample=True)
"""Rows of data; the output is text."""

QUERIES = Kind("queries", _ROWS_HINT, scores_sample=True)
"""Rows of data; the output is a query for the database of the row."""

CODE = Kind("code", _ROWS_HINT, scores_sample=True)
"""Rows of data; the output is code."""

LABELLING = Kind("labels", _ROWS_HINT, has_baselines=True)
"""Rows of data; the output is labels, of the row or of each token."""

LANGUAGE_MODEL = Kind("language_model", "data.n_rows or data.k1")
"""Running text; the output is the continuation."""

KINDS = (SEQ2SEQ, QUERIES, CODE, LABELLING, LANGUAGE_MODEL)
