"""The kinds of task, and what is the same for all tasks of a kind.

A task names its kind (`Task.kind`), and code that works for any task asks the kind, never for a type.
What a layer does for each kind stands in one table of that layer, with the kinds as keys:

    data_report/report.py   the report of `unrolled data`
    training/kinds.py       preparation of the data, and the loader of batches
    predictors/load.py      the class of a trained model
    cli/predict.py, cli/evaluate.py   how a trained model is run and scored from the command line

There is a table in each layer and not one for all of them, because a layer knows only what stands below
it: a single table would have to name functions of upper layers by strings, which no type checker reads.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a kind of task means for the code that works with any task.

    Args:
        name: of the kind.
        memory_hint: the settings that lower the memory of an update, with `{training.…}` and `{data.…}`
            for their values.
        scores_sample: whether scores in training are over `training.valid_sentences` rows, because an
            answer takes longer than the loss; otherwise over the whole validation part.
        has_baselines: whether bag-of-words baselines can be fitted on the same data.
    """

    name: str
    memory_hint: str
    scores_sample: bool = False
    has_baselines: bool = False


_ROWS_HINT = "training.max_tokens, here {training.max_tokens}"

SEQ2SEQ = Kind("seq2seq", _ROWS_HINT, scores_sample=True)
"""Rows of data; the output is text."""

LABELLING = Kind("labels", _ROWS_HINT, has_baselines=True)
"""Rows of data; the output is labels, of the row or of each of its tokens."""

LANGUAGE_MODEL = Kind("language_model", "data.n_rows or data.k1")
"""Running text; the output is what comes next."""

KINDS = (SEQ2SEQ, LABELLING, LANGUAGE_MODEL)
