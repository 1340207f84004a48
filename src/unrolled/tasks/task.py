"""The definition of a task: a record of plain functions for a module.

`Task` is for rows whose output is text, as in translation; `LabelTask` for rows whose output is labels;
`StreamTask` for running text, with the state carried from batch to batch. The fields are in the order in
which data flows through them, which is also the reading order of a task's file. What differs between the
three is in `tasks.kind`. To define your own task, create an instance of one of them and pass it to
`unrolled.train(..., task=MY_TASK)` and to `unrolled.load(path, task=MY_TASK)`; a run folder stores its
name and never imports code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.decoding.config import DecodingConfig
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.predictions import LabelPrediction, LabelScores, Prediction
from unrolled.tasks.roles import Tokenizers
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import Window
from unrolled.text.rows import Field, Row
from unrolled.text.splits import DataConfig, LabelData, Reading
from unrolled.text.tokenizer import Tokenizer

_TABLES = Reading()


def noop(*_: Any) -> Any:
    """Do nothing, and return no notes."""
    return ()


def unchanged(config: Any, tokenizers: Tokenizers) -> Tokenizers:
    """Return the tokenizers unchanged."""
    return tokenizers


def nothing_more(config: Any, rows: Sequence[Row], tokenizers: Tokenizers, data: Any) -> Tokenizers:
    """Return the tokenizers unchanged."""
    return tokenizers


def as_given(text: Mapping[str, object], data: Any) -> Mapping[str, object]:
    """Return the `[text]` section unchanged."""
    return text


def last_field(row: Row) -> str:
    """The text of the last column."""
    return row.texts[-1]


def as_it_is(task: Any, references: Sequence[Any], tokenizer: str) -> tuple[Any, tuple[str, ...]]:
    """Return the task unchanged, without notes."""
    return task, ()


class ManyEncoder(Protocol):
    """An `encode` of a task that also encodes many rows at a time, which is faster."""

    def __call__(self, fields: Sequence[Any], *options: Any) -> Any:
        """Encode one row; see `Task.encode` and `LabelTask.encode`."""

    def many(self, rows: Sequence[Sequence[Any]], *options: Any) -> Sequence[Any]:
        """The same examples for many rows."""

    def store(self, tokenizers: Tokenizers) -> Any:
        """An empty sequence with `append` for the examples of a part."""


@dataclass(frozen=True)
class Task:
    """A task whose output is text.

    Args:
        name: name of the task in recipes and run folders.
        columns: roles of the text columns of its data, e.g. `("source", "target")`.
        Config: the frozen dataclass of the recipe's `[model]` section.
        train_tokenizers: training rows and the recipe's `[text]` section → tokenizers by role. If
            `model.pretrained` is set, it also gets the tokenizer of the first column.
        encode: fields of one row → an encoded example (lists of ids), the input of `collate`; it may be
            a `ManyEncoder`.
        lengths: one encoded example → its length on each side, for batching.
        collate: encoded examples → the batch that `loss` takes; it must have `.to(device)` and
            `.n_tokens`, the number of tokens that throughput is reported in.
        build: configuration and tokenizers → a new module.
        loss: module, batch → (sum of the training loss, count of targets); the sum has gradients.
        evaluate_loss: the same without smoothing, dropout or sampling; its mean is the reported loss.
        decode: module, encoded inputs, tokenizers, decoding options, with_attention → predictions.
        score: predicted texts, references → scores by name, for all of which larger is better.
        reference: a row → what its prediction is compared with.
        signature: how each score is computed, one line each.
        for_references: task, all references, the recipe's `training.bleu_tokenizer` → the task with the
            `score` and `signature` for these references, and notes for the user.
        calibrate: module, validation rows, their predictions, tokenizers → sets what the model derives
            from its own predictions and saves with its weights, and returns the resulting predictions.
            If it is given, they are computed at every evaluation, not only if the metric needs them.
        notes: the `[text]` section, rows and encoded examples of the training and validation part,
            tokenizers → notes for the user about the data.
        Data: the frozen dataclass of the recipe's `[data]` section.
        Decoding: the frozen dataclass of the recipe's `[decoding]` section.
        reading: how rows are read: which are complete, and which texts may not occur in two parts.
        extend: configuration, new tokenizers → the tokenizers, extended from files that the
            configuration names, such as the words of pretrained vectors.
        use: command to try a run, with `{run}` for its folder.
        load_pretrained: module, tokenizers → initializes the parts of a new model that do not come from
            the data, such as pretrained embeddings, and returns notes about it. Not called for a run that
            is resumed or loaded.
        check_pretrained: configuration and the recipe's `[text]` section → raises an error, before any
            data are read, for what `load_pretrained` could not use; called for the same runs.
        prepare: module, encoded training examples, tokenizers → sets statistics of the examples that are
            not saved with the weights, such as word frequencies. Called for every run.
        text: defaults of the `[text]` section.
        text_for: the `[text]` section with these defaults, the `[data]` section → the `[text]` section
            with what follows from the data.
        training: defaults of the `[training]` section.
        fixed: settings that have only one value for this task, as other values would have no effect:
            `{"text.kind": "word"}`.
        training_only: settings of `[model]` that do not affect the shapes and meaning of the weights,
            e.g. `{"dropout_rate"}`; a run that starts from another run may change them.
        inherited: settings of `[data]` that belong to what a model has learned; a run that starts from
            another run without a recipe inherits them.

    Translation, scored by exact match with the reference:

    >>> from dataclasses import replace
    >>> from unrolled.tasks import TASKS
    >>> def exact_match(outputs, references):
    ...     n_equal = sum(map(str.__eq__, outputs, references))
    ...     return {"exact": 100 * n_equal / len(references)}
    >>> task = replace(
    ...     TASKS["translate"], name="exact", score=exact_match, signature=lambda: {"exact": "%"}
    ... )
    >>> task.score(["la casa", "el pan"], ["la casa", "un pan"])
    {'exact': 50.0}
    """

    kind: ClassVar[Kind] = SEQ2SEQ
    unit: ClassVar[str] = "row"

    name: str
    columns: tuple[str, ...]
    Config: type
    train_tokenizers: Callable[[Sequence[Row], TextConfig], dict[str, Tokenizer]]
    encode: Callable[[Sequence[str], Tokenizers], Any]
    lengths: Callable[[Any], tuple[int, ...]]
    collate: Callable[[Sequence[Any]], Any]
    build: Callable[[Any, Tokenizers], nn.Module]
    loss: Callable[[Any, Any], tuple[Tensor, int]]
    evaluate_loss: Callable[[Any, Any], tuple[Tensor, int]]
    decode: Callable[[Any, Sequence[Any], Tokenizers, DecodingConfig, bool], list[Prediction]]
    score: Callable[[Sequence[str], Sequence[Any]], dict[str, float]]
    signature: Callable[[], dict[str, str]]
    reference: Callable[[Row], Any] = last_field
    for_references: Callable[[Any, Sequence[Any], str], tuple[Any, tuple[str, ...]]] = as_it_is
    notes: Callable[
        [TextConfig, Mapping[str, Sequence[Row]], Mapping[str, Sequence[Any]], Tokenizers],
        tuple[str, ...],
    ] = noop
    calibrate: (
        Callable[[Any, Sequence[Row], Sequence[Prediction], Tokenizers], list[Prediction]] | None
    ) = None
    Data: type = DataConfig
    Decoding: type = DecodingConfig
    reading: Reading = _TABLES
    extend: Callable[[Any, Tokenizers], Tokenizers] = unchanged
    use: str = 'predict {run} "…"'
    load_pretrained: Callable[[Any, Tokenizers], tuple[str, ...]] = noop
    check_pretrained: Callable[[Any, TextConfig], None] = noop
    prepare: Callable[[Any, Sequence[Any], Tokenizers], None] = noop
    text: Mapping[str, object] = field(default_factory=dict)
    text_for: Callable[[Mapping[str, object], Any], Mapping[str, object]] = as_given
    training: Mapping[str, object] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)
    training_only: frozenset[str] = frozenset()
    inherited: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics by which the best checkpoint can be chosen (`training.metric`)."""
        return ("loss", *self.signature())

    @property
    def example_call(self) -> str:
        """Python code that calls a trained model, for its model card."""
        return 'model("a sentence")'


@dataclass(frozen=True)
class QueryTask(Task):
    """A task whose output is a query for the database of a row.

    The columns are question, database and query; the first two are known when a question is asked.
    `encode` raises a `DataError` without a path for a query that cannot be written; such rows are left
    out of training.
    """

    kind: ClassVar[Kind] = QUERIES

    @property
    def example_call(self) -> str:
        """Python code that calls a trained model, for its model card."""
        return 'model.ask("a question", "shop.sqlite").sql'


@dataclass(frozen=True)
class CodeTask(Task):
    """A task whose output is code, which is scored, shown and searched for as such.

    Rows hold the description and the code, and then the settings of `[data]` that encoding needs: the
    language, and "slots" or "".
    """

    kind: ClassVar[Kind] = CODE

    @property
    def example_call(self) -> str:
        """Python code that calls a trained model, for its model card."""
        return 'model("sort the list by the second element")'


@dataclass(frozen=True)
class LabelTask:
    """A task whose output is labels. All other fields are as for `Task`.

    Args:
        name: name of the task in recipes and run folders.
        columns: roles of the columns of its data; the last is the label.
        Config: the frozen dataclass of the recipe's `[model]` section.
        reading: how rows are read: which are complete, and which texts may not occur in two parts.
        train_tokenizers: training rows, the recipe's `[text]` and `[data]` sections → tokenizers by role,
            and the labels. If `model.pretrained` is set, it also gets the tokenizer of the texts.
        encode: fields (without the label if it is unknown), tokenizers, the `[data]` section → an
            example. A label that is not in the training part raises a `DataError` without a path; if
            every token has a label, its `line` is the number of the token, from 1.
        lengths: one example → number of tokens of each text, before truncation.
        cut: example, the `[data]` section → the example with no text longer than `max_length`.
        collate: examples → the batch that `loss` takes.
        build: configuration and tokenizers → a new module.
        prepare: module, training and validation examples by part → sets statistics of the training part,
            such as class weights; raises an error if the model cannot be evaluated on the validation
            part. Called for every run; a resumed run loads its weights and buffers afterwards.
        loss: module, batch → (sum of the training loss, count of targets).
        evaluate_loss: the same without smoothing, dropout or class weights.
        predict: module, examples, tokenizers → a prediction for each example.
        tune_thresholds: module, validation examples, their predictions, tokenizers → sets the thresholds
            that turn probabilities into labels, and returns the resulting predictions.
        evaluate: module, examples, their predictions, tokenizers → all measurements.
        scores: tokenizers → the names of the scores of these labels by which a checkpoint can be chosen;
            larger is better.
        tokens: one example → the ids of all its texts.
        shuffle: example, tokenizers, a random generator → the example with the words of each text in
            random order.
        signature: how each score is computed.
        Data: the frozen dataclass of the `[data]` section.
        use: command to try a run, with `{run}` for its folder.
        extend: configuration, new tokenizers → the tokenizers, extended from files that the
            configuration names, such as the words of pretrained vectors.
        learn: configuration, training rows, tokenizers, the `[data]` section → the tokenizers, and what
            else the configuration learns from the rows before training, such as their characters.
        load_pretrained, check_pretrained, text, training_only, inherited: as for `Task`.
        by_token: whether each token has a label; an input is then a text or its tokens.
        when_long: what is done with texts longer than `max_length`, for messages.
        notes: examples by part, tokenizers → notes for the user about the data.
    """

    kind: ClassVar[Kind] = LABELLING

    name: str
    columns: tuple[str, ...]
    Config: type
    reading: Reading
    train_tokenizers: Callable[[Sequence[Row], TextConfig, Any], dict[str, Any]]
    encode: Callable[[Sequence[Field], Tokenizers, Any], Any]
    lengths: Callable[[Any], tuple[int, ...]]
    cut: Callable[[Any, Any], Any]
    collate: Callable[[Sequence[Any]], Any]
    build: Callable[[Any, Tokenizers], nn.Module]
    prepare: Callable[[Any, Mapping[str, Sequence[Any]]], None]
    loss: Callable[[Any, Any], tuple[Tensor, int]]
    evaluate_loss: Callable[[Any, Any], tuple[Tensor, int]]
    predict: Callable[[Any, Sequence[Any], Tokenizers], list[LabelPrediction]]
    tune_thresholds: Callable[
        [Any, Sequence[Any], list[LabelPrediction], Tokenizers], list[LabelPrediction]
    ]
    evaluate: Callable[[Any, Sequence[Any], Sequence[LabelPrediction], Tokenizers], LabelScores]
    scores: Callable[[Tokenizers], tuple[str, ...]]
    tokens: Callable[[Any], list[int]]
    shuffle: Callable[[Any, Tokenizers, np.random.Generator], Any]
    signature: Callable[[], dict[str, str]]
    use: str
    Data: type = LabelData
    extend: Callable[[Any, Tokenizers], Tokenizers] = unchanged
    learn: Callable[[Any, Sequence[Row], Tokenizers, Any], Tokenizers] = nothing_more
    load_pretrained: Callable[[Any, Tokenizers], tuple[str, ...]] = noop
    check_pretrained: Callable[[Any, TextConfig], None] = noop
    text: Mapping[str, object] = field(default_factory=dict)
    by_token: bool = False
    when_long: str = "truncated (data.keep)"
    notes: Callable[[Mapping[str, Sequence[Any]], Tokenizers], tuple[str, ...]] = noop
    training_only: frozenset[str] = frozenset()
    inherited: tuple[str, ...] = ("label_separator", "averaged", "keep")

    @property
    def unit(self) -> str:
        """What a row of its data is, for messages."""
        return self.reading.unit

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics by which the best checkpoint can be chosen (`training.metric`)."""
        return ("loss", *self.signature())

    @property
    def example_call(self) -> str:
        """Python code that calls a trained model, for its model card."""
        if self.by_token:
            return 'model("a sentence")'
        return f"model({', '.join(repr(f'a {name}') for name in self.columns[:-1])})"


State = tuple[tuple[Tensor, ...], ...]
"""The state carried from one window to the next: the `[B, H]` tensors of each layer."""


@dataclass(frozen=True)
class StreamTask:
    """A task trained on running text, with the state carried from window to window.

    Args:
        name: name of the task in recipes and run folders.
        Config: the frozen dataclass of the recipe's `[model]` section.
        Data: the frozen dataclass of the recipe's `[data]` section.
        train_tokenizer: segments of the training text and the recipe's `[text]` section → a tokenizer.
        collate: a window of ids → the batch that `loss` takes; it has `.to(device)` and `.n_tokens`.
        build: configuration and tokenizers → a new module.
        start: module, number of rows → the state before the first word.
        loss: module, batch, state → (sum of the training loss, count of targets, initial state of the
            next window); the sum has gradients, the states do not.
        evaluate_loss: the same without dropout or sampling, over the whole vocabulary; for a single row,
            optionally mixed with a continuous cache.
        scores: mean loss in nats, number of targets, number of characters of the text → scores by name.
        signature: how a text was read → how each score is computed.
        use: command to try a run, with `{run}` for its folder.
        call: Python code that calls a trained model, for its model card.
        load_pretrained, check_pretrained, text, training_only, inherited: as for `Task`.
        prepare: module, ids of the training part, tokenizers → as for `Task`.
    """

    kind: ClassVar[Kind] = LANGUAGE_MODEL

    name: str
    Config: type
    Data: type
    train_tokenizer: Callable[[Iterable[str], TextConfig], Tokenizer]
    collate: Callable[[Window], Any]
    build: Callable[[Any, Tokenizers], nn.Module]
    start: Callable[[Any, int], State]
    loss: Callable[[Any, Any, State], tuple[Tensor, int, State]]
    evaluate_loss: Callable[[Any, Any, State, ContinuousCache | None], tuple[Tensor, int, State]]
    scores: Callable[[float, int, int], dict[str, float]]
    signature: Callable[[str], dict[str, str]]
    use: str
    call: str = 'model.complete("The quick bro")'
    load_pretrained: Callable[[Any, Tokenizers], tuple[str, ...]] = noop
    check_pretrained: Callable[[Any, TextConfig], None] = noop
    prepare: Callable[[Any, NDArray[np.unsignedinteger], Tokenizers], None] = noop
    text: Mapping[str, object] = field(default_factory=dict)
    training_only: frozenset[str] = frozenset()
    inherited: tuple[str, ...] = (
        "documents",
        "separator",
        "suffixes",
        "n_rows",
        "k1",
        "k2",
        "restart",
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The only metric is the loss, from which all scores of running text follow."""
        return ("loss",)

    @property
    def example_call(self) -> str:
        """Python code that calls a trained model, for its model card."""
        return self.call


AnyTask = Task | LabelTask | StreamTask
