"""What a task is: a record of plain functions around a module.

`Task` is for rows of data that become text, as in translation; `LabelTask` for rows that get labels;
`StreamTask` for running text, read from batch to batch with the state carried along. The order of the
fields is the order in which data flows through them, and the order in which a task's file is read. What
differs between the three is in `tasks.kind`. A task of your own is a value of one of them: pass it to
`unrolled.train(..., task=MY_TASK)` and to `unrolled.load(path, task=MY_TASK)`; a run folder stores its
name and never imports code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.decoding.config import DecodingConfig
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL, SEQ2SEQ, Kind
from unrolled.tasks.predictions import LabelPrediction, LabelScores, Prediction
from unrolled.text.corpus.windows import Window
from unrolled.text.rows import Field, Row
from unrolled.text.splits import DataConfig, LabelData, Reading
from unrolled.text.tokenizer import TextConfig, Tokenizer

Tokenizers = Mapping[str, Any]
"""The tokenizers of a run by role, e.g. `source` and `target`, saved as `tokenizer-<role>.json`; where
answers are labels, under the role `labels` the `Labels`, saved as `labels.json`."""

LABELS = "labels"
"""The role of the labels."""


def noop(*_: Any) -> Any:
    """Do nothing, and have nothing to note."""
    return ()


def unchanged(config: Any, tokenizers: Tokenizers) -> Tokenizers:
    """The same tokenizers."""
    return tokenizers


@dataclass(frozen=True)
class Task:
    """A job that a recurrent model can be trained for.

    Args:
        name: what recipes and run folders call it.
        columns: what the text columns of its data mean, e.g. `("source", "target")`.
        Config: the frozen dataclass of the recipe's `[model]` section.
        train_tokenizers: training rows and the recipe's `[text]` section → tokenizers by role.
        encode: one row's fields → what `collate` takes (lists of ids).
        lengths: one encoded example → its length on each side, for batching.
        collate: encoded examples → the batch that `loss` takes; it must have `.to(device)` and
            `.n_tokens`, the tokens a throughput is quoted in.
        build: configuration and tokenizers → a fresh module.
        loss: module, batch → (sum of the training loss, count of targets); the sum carries gradients.
        evaluate_loss: the same without smoothing, dropout or sampling; its mean is the reported loss.
        decode: module, encoded inputs, tokenizers, decoding options, with_attention → predictions.
        score: predicted texts, reference texts → scores by name; for each name, larger is better.
        signature: how the scores were computed, one line.
        Data: the frozen dataclass of the recipe's `[data]` section.
        use: the command that tries a run, with `{run}` for its folder.
        load_pretrained: module, tokenizers → gives a new model what it does not learn from the data, such
            as pretrained embeddings, and returns notes about it. Not called for a run that is resumed or
            loaded.
        check_pretrained: configuration and the recipe's `[text]` section → refuses, before any data are
            read, what `load_pretrained` could not use; called for the same runs.
        prepare: module, encoded training examples, tokenizers → gives a model what it takes from them but
            does not keep with its weights, such as word frequencies. Called for every run.
        text: settings of the `[text]` section where the recipe does not give them.
        training_only: settings of `[model]` that do not change the weights a model has, e.g.
            `{"dropout_rate"}`; a run that starts from another may set them anew.
        inherited: settings of `[data]` that belong to what a model has learned; a run that starts from
            another without a recipe takes them over.

    Translation, scored by the share of outputs that equal the reference:

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
    score: Callable[[Sequence[str], Sequence[str]], dict[str, float]]
    signature: Callable[[], dict[str, str]]
    Data: type = DataConfig
    use: str = 'predict {run} "…"'
    load_pretrained: Callable[[Any, Tokenizers], tuple[str, ...]] = noop
    check_pretrained: Callable[[Any, TextConfig], None] = noop
    prepare: Callable[[Any, Sequence[Any], Tokenizers], None] = noop
    text: Mapping[str, object] = field(default_factory=dict)
    training_only: frozenset[str] = frozenset()
    inherited: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a model may be chosen by (`training.metric`)."""
        return ("loss", *self.signature())

    @property
    def example_call(self) -> str:
        """How a trained model is called in Python, for its model card."""
        return 'model("a sentence")'


@dataclass(frozen=True)
class LabelTask:
    """A job whose output is labels. What is not described here is as for `Task`.

    Args:
        name: what recipes and run folders call it.
        columns: what the columns of its data mean; the last is the label.
        Config: the frozen dataclass of the recipe's `[model]` section.
        reading: which rows are full, and which texts may not stand in two parts.
        train_tokenizers: training rows, the recipe's `[text]` and `[data]` sections → tokenizers by role,
            and the labels.
        encode: fields, the label left out where it is not known; tokenizers; the `[data]` section → an
            example. An unknown label is a `DataError` without a place; its `line` is which token has it,
            from 1, where each has one.
        lengths: one example → tokens of each text, before it is cut.
        cut: example, the `[data]` section → the example with no text longer than `max_length`.
        collate: examples → the batch that `loss` takes.
        build: configuration and tokenizers → a fresh module.
        prepare: module, training and validation examples by part → gives a model what it takes from the
            training part, such as class weights; refuses a validation part that it could not be evaluated
            on. Called for every run; a resumed one then gets its weights, and what is among them.
        loss: module, batch → (sum of the training loss, count of targets).
        evaluate_loss: the same without smoothing, dropout or class weights.
        predict: module, examples, tokenizers → a prediction for each.
        tune_thresholds: module, validation examples, their predictions, tokenizers → sets what turns
            probabilities into labels, and returns the predictions that follow.
        evaluate: module, examples, their predictions, tokenizers → everything that is measured.
        scores: tokenizers → the names of the scores of these labels that a model can be chosen by; larger
            is better.
        tokens: one example → the ids of all its texts.
        shuffle: example, tokenizers, a random generator → the example with the words of each text in
            random order.
        signature: how the scores were computed.
        Data: the frozen dataclass of the `[data]` section.
        use: the command that tries a run, with `{run}` for its folder.
        extend: configuration, new tokenizers → the same with what they take from files that the
            configuration names, as the words of pretrained vectors.
        load_pretrained, check_pretrained, text, training_only, inherited: as for `Task`.
        by_token: whether each token has a label; an input is then a text, or its tokens.
        when_long: what is done with texts longer than `max_length`, for messages.
        notes: examples by part, tokenizers → what a reader should know of them.
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
    load_pretrained: Callable[[Any, Tokenizers], tuple[str, ...]] = noop
    check_pretrained: Callable[[Any, TextConfig], None] = noop
    text: Mapping[str, object] = field(default_factory=dict)
    by_token: bool = False
    when_long: str = "read in part (data.keep)"
    notes: Callable[[Mapping[str, Sequence[Any]], Tokenizers], tuple[str, ...]] = noop
    training_only: frozenset[str] = frozenset()
    inherited: tuple[str, ...] = ("label_separator", "averaged", "keep")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a model may be chosen by (`training.metric`)."""
        return ("loss", *self.signature())

    @property
    def example_call(self) -> str:
        """How a trained model is called in Python, for its model card."""
        if self.by_token:
            return 'model("a sentence")'
        return f"model({', '.join(repr(f'a {name}') for name in self.columns[:-1])})"


State = tuple[tuple[Tensor, ...], ...]
"""What a model carries from one window to the next: of each layer, its `[B, H]` tensors."""


@dataclass(frozen=True)
class StreamTask:
    """A job learned from running text, with the state carried from window to window.

    Args:
        name: what recipes and run folders call it.
        Config: the frozen dataclass of the recipe's `[model]` section.
        Data: the frozen dataclass of its `[data]` section.
        train_tokenizer: pieces of the training text and the recipe's `[text]` section → a tokenizer.
        collate: a window of ids → the batch that `loss` takes; it has `.to(device)` and `.n_tokens`.
        build: configuration and tokenizers → a fresh module.
        start: module, number of rows → the state before the first word.
        loss: module, batch, state → (sum of the training loss, count of targets, state at which the
            next window begins); the sum carries gradients, the states do not.
        evaluate_loss: the same without dropout or sampling, over the whole vocabulary, and for one row
            mixed with a cache where there is one.
        scores: mean loss in nats, targets, characters of the text → figures by name.
        signature: how a text was read → how the figures are computed.
        use: the command that tries a run, with `{run}` for its folder.
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
        """What a model may be chosen by: the loss, from which all scores of running text follow."""
        return ("loss",)

    @property
    def example_call(self) -> str:
        """How a trained model is called in Python, for its model card."""
        return 'model.complete("The quick bro")'


AnyTask = Task | LabelTask | StreamTask
