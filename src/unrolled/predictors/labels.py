"""A trained run that answers with labels, as an object."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from unrolled.errors import ConfigError, DataError
from unrolled.metrics.intervals import Interval, bootstrap
from unrolled.metrics.labels import tally_labels
from unrolled.metrics.multi_label import tally_multi_label
from unrolled.metrics.slices import (
    TEXT_SEPARATOR,
    Mistake,
    SliceTable,
    by_length,
    by_unknown_share,
)
from unrolled.metrics.tags import tally_tags
from unrolled.metrics.tally import SMALLER_IS_BETTER, Scorable
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.task import LABELS, LabelTask, Tokenizers
from unrolled.tasks.text_labels import ROLE, truncate
from unrolled.text.labels import Labels, split_labels
from unrolled.text.rows import Field, Row, as_list, as_text
from unrolled.text.splits import read_splits, rows_of
from unrolled.text.tokenizer import UNK_ID, TextConfig, Tokenizer
from unrolled.training.dataset import encode_rows
from unrolled.training.evaluation import label_predictions
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import check_data, check_part

Input = str | Sequence[str]
"""A text, or the texts of a pair; in tagging a sentence's tokens."""


@dataclass(frozen=True, eq=False)
class LabelledEvaluation:
    """The evaluation of a label run on labelled rows.

    Scores are shares, 0…1, but for `brier` (0…2) and `nll` (nats). They become percentages where they are
    printed (`lines`) and in the file of results (`figures`).

    Args:
        measured: all scores, with their tables.
        intervals: of the scores, over other examples.
        slices: scores of parts of the rows.
        mistakes: wrong answers, the most confident first.
        tally: what each row adds to the scores.
        predictions: of each row, in order.
        n_cut: rows that were not read whole.
        seconds: time to predict, without reading and scoring.
        shuffled: the scores of the same texts with their words in random order, where requested.
        when_long: what was done with texts that are too long.
    """

    measured: Any
    intervals: Mapping[str, Interval]
    slices: Sequence[SliceTable]
    mistakes: Sequence[Mistake]
    tally: Scorable
    predictions: Sequence[LabelPrediction]
    n_cut: int
    seconds: float
    shuffled: Mapping[str, float] = field(default_factory=dict)
    when_long: str = "read in part (data.keep)"

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name."""
        found: dict[str, float] = self.measured.scores()
        return found

    def lines(self) -> Iterator[str]:
        """The evaluation as text."""
        n = len(self.predictions)
        rate = n / self.seconds if self.seconds else float("inf")
        yield f"{n:,} rows in {self.seconds:.1f} s ({rate:,.0f}/s)"
        if self.n_cut:
            yield f"{self.n_cut:,} texts are longer than data.max_length and {self.when_long}"
        yield ""
        yield from self.measured.lines()
        yield ""
        for name, interval in self.intervals.items():
            yield (
                f"{name:15}  {interval.value:8.2%}  95 %: {interval.low:.2%} – {interval.high:.2%}"
            )
        for table in self.slices:
            yield ""
            yield from table.lines()
        if self.shuffled:
            yield ""
            yield "with the words of each text in random order:"
            scores = self.scores
            for name, value in self.shuffled.items():
                yield f"{name:15}  {value:8.2%}  {value - scores[name]:+.2%}"

    def figures(self) -> dict[str, object]:
        """The record in a file of results; shares as percentages."""
        return {
            "rows": len(self.predictions),
            "seconds": round(self.seconds, 1),
            **_percentages(self.scores),
            "intervals": {
                name: [round(100 * each.low, 2), round(100 * each.high, 2)]
                for name, each in self.intervals.items()
            },
            **({"shuffled": _percentages(self.shuffled)} if self.shuffled else {}),
            "signatures": self.measured.signature(),
        }


def _percentages(scores: Mapping[str, float]) -> dict[str, float]:
    """Shares as percentages, `brier` and `nll` as they are, to four decimals."""
    return {
        name: round(value if name in ("brier", "nll") else 100 * value, 4)
        for name, value in scores.items()
    }


class LabelPredictor:
    """A model with its vocabulary and labels: text in, labels out. Made by `load`.

    Args:
        recipe: what the run was trained with.
        task: its task.
        tokenizers: by role, and the labels.
        model: the trained module, in evaluation mode.
        folder: the run folder, where there is one.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: LabelTask,
        tokenizers: Tokenizers,
        model: torch.nn.Module,
        folder: Path | None = None,
    ) -> None:
        self.recipe, self.task, self.tokenizers, self.model = recipe, task, tokenizers, model
        self.folder = folder

    @property
    def labels(self) -> Labels:
        """What it chooses from."""
        found: Labels = self.tokenizers[LABELS]
        return found

    @property
    def n_texts(self) -> int:
        """Texts of an input."""
        return len(self.task.columns) - 1

    @overload
    def __call__(self, *texts: str) -> str | tuple[str, ...]: ...
    @overload
    def __call__(self, texts: list[Any], /) -> list[str | tuple[str, ...]]: ...
    def __call__(self, *texts: Any) -> Any:
        """The label of one input, given text by text, or of each of a list of inputs.

        Where there may be several labels, and in tagging, it is a tuple of them.
        """
        if len(texts) == 1 and isinstance(texts[0], list):
            return [self._plain(each) for each in self.predict(texts[0])]
        one: Input = texts[0] if len(texts) == 1 else texts
        return self._plain(self.predict([one])[0])

    def _plain(self, prediction: LabelPrediction) -> str | tuple[str, ...]:
        is_one = not self.labels.multi_label and prediction.probabilities.ndim == 1
        return prediction.labels[0] if is_one else prediction.labels

    def predict(self, inputs: Sequence[Input]) -> list[LabelPrediction]:
        """What the model says of each input, in order; an empty text is a text.

        Raises:
            ConfigError: an input of another number of texts, or that is no text.
            DataError: in tagging an empty token.
        """
        if isinstance(inputs, str):
            raise ConfigError("predict takes a list of inputs; for one, call the model with it")
        return self._answer([self.encode(each) for each in inputs])

    def encode(self, one: Input) -> Any:
        """An input as the model reads it.

        Raises:
            ConfigError: an input of another number of texts, or that is no text.
            DataError: an empty token.
        """
        fields = self._fields_of(one)
        if len(fields) != self.n_texts:
            wanted = " and ".join(self.task.columns[:-1])
            given = "1 text" if len(fields) == 1 else f"{len(fields)} texts"
            raise ConfigError(f"this model reads {wanted}, got {given}")
        try:
            example = self.task.encode(fields, self.tokenizers, self.recipe.data)
        except DataError as error:
            if error.line is None:
                raise
            # The line is that of a token, in no file.
            raise DataError(f"token {error.line}: {error.problem}") from None
        return self.task.cut(example, self.recipe.data)

    def _fields_of(self, one: Input) -> Sequence[Field]:
        if isinstance(one, str):
            return [one]
        texts: list[Any] = list(one) if isinstance(one, Iterable) else [one]
        for text in texts:
            if not isinstance(text, str):
                wanted = "a text, or a list of tokens" if self.task.by_token else "a text"
                if self.n_texts > 1:
                    wanted = f"{self.n_texts} texts"
                raise ConfigError(f"an input is {wanted}; found {type(text).__name__} {text!r:.40}")
        return [tuple(texts)] if self.task.by_token else texts

    def _answer(self, examples: Sequence[Any]) -> list[LabelPrediction]:
        return label_predictions(self.model, self.task, examples, self.tokenizers)

    def held_out(self, part: str) -> list[Row]:
        """The rows of the run's "valid" or "test" part, read or cut as in training.

        Raises:
            RunError: the part is in a data file, or was cut from one, that has changed since.
        """
        data = self.recipe.data
        if paths := getattr(data, part):
            if self.folder is not None:
                check_part(self.folder, data, part)
            return self.read(paths)
        if self.folder is not None:
            # Cut from another file, the part could hold rows that were trained on.
            check_data(self.folder, data)
        splits = read_splits(data, len(self.task.columns), self.task.reading)
        return {"valid": splits.valid, "test": splits.test}[part]

    def parts(self) -> dict[str, list[Row]]:
        """The rows of the run's "train", "valid" and "test" parts; of training those it learned from.

        Raises:
            RunError: a part was cut from a data file that has changed since.
        """
        if self.folder is not None:
            check_data(self.folder, self.recipe.data)
        data = self.recipe.data
        found = read_splits(data, len(self.task.columns), self.task.reading)
        train = found.train
        if data.too_long == "skip":
            path = data.train[0]
            train = encode_rows(train, self.task, self.tokenizers, data, path, skips=True).rows
        return {"train": train, "valid": found.valid, "test": found.test}

    def read(self, paths: Sequence[str]) -> list[Row]:
        """Labelled rows of other files."""
        return rows_of(self.recipe.data, paths, len(self.task.columns), self.task.reading)

    def evaluate(
        self, rows: Sequence[Row], path: str = "the data", shuffle_words: int | None = None
    ) -> LabelledEvaluation:
        """Label each row and compare.

        Args:
            rows: texts and labels, as `held_out` and `read` give them.
            path: where they are from, for messages.
            shuffle_words: a seed, to score the same texts with their words in random order too.

        Raises:
            DataError: there is no row, or a label that the training part does not have.
        """
        task, data = self.task, self.recipe.data
        part = encode_rows(rows, task, self.tokenizers, data, path)
        start = time.perf_counter()
        said = self._answer(part.examples)
        seconds = time.perf_counter() - start
        judged = task.evaluate(self.model, part.examples, said, self.tokenizers)
        shuffled: dict[str, float] = {}
        if shuffle_words is not None:
            random = np.random.default_rng(shuffle_words)
            others = [task.shuffle(example, self.tokenizers, random) for example in part.examples]
            judged_again = task.evaluate(self.model, others, self._answer(others), self.tokenizers)
            shuffled = judged_again.scores()
        return LabelledEvaluation(
            judged.measured,
            {
                name: interval
                for name, interval in bootstrap(judged.tally).items()
                if name not in SMALLER_IS_BETTER
            },
            self._slices(judged.tally, part.examples),
            judged.mistakes([f" {TEXT_SEPARATOR} ".join(row.texts[:-1]) for row in part.rows]),
            judged.tally,
            said,
            part.n_cut,
            seconds,
            shuffled,
            task.when_long,
        )

    def words(self, fields: Sequence[Field]) -> list[list[str]]:
        """The words of each text as far as the model reads it, whatever it knows of them.

        In tagging its tokens, and the model's tokens where they are words, or stand between spaces. Where
        they are byte pairs or characters, the text is split into words, so that a bag of them is one of
        words.
        """
        if self.task.by_token:
            return [as_list(field) for field in fields]
        return [self._words_of(as_text(field)) for field in fields]

    def _words_of(self, text: str) -> list[str]:
        tokenizer, data = self.tokenizers[ROLE], self.recipe.data
        if tokenizer.kind == "bpe":
            ids = tokenizer.encode(text)
            if len(ids) > data.max_length:
                text = tokenizer.decode(truncate(ids, data))
            return self._splitter.split(text)
        tokens = truncate(tokenizer.split(text), data)
        return self._splitter.split("".join(tokens)) if tokenizer.kind == "char" else tokens

    @cached_property
    def _splitter(self) -> Tokenizer:
        """Splits text into words, with upper case folded away where the model's tokens are."""
        return Tokenizer.train([], TextConfig(kind="word", lowercase=self.recipe.text.lowercase))

    def gold(self, row: Row) -> str | frozenset[str] | list[str]:
        """The label of a row; the set of them, where there may be several; in tagging one a token."""
        field, labels = row.fields[-1], self.labels
        if self.task.by_token:
            return as_list(field)
        if not labels.multi_label:
            return as_text(field).strip()
        return frozenset(split_labels(field, self.recipe.data.label_separator))

    def tally(self, truth: Sequence[Any], found: Sequence[Any]) -> Scorable:
        """What each row adds to the scores of answers, wherever they come from.

        Args:
            truth: of each row what `gold` gives.
            found: answers of the same sort.

        Raises:
            DataError: a label that the training part does not have.
        """
        labels = self.labels
        if self.task.by_token:
            return tally_tags(truth, found, labels)
        if not labels.multi_label:
            truth_N, found_N = ([labels.id_of(name) for name in each] for each in (truth, found))
            averaged = [labels.id_of(name) for name in labels.averaged]
            return tally_labels(truth_N, found_N, len(labels), averaged)
        matrices = []
        for each in (truth, found):
            matrix_NC = np.zeros((len(each), len(labels)), np.int64)
            for row, names in enumerate(each):
                matrix_NC[row, [labels.id_of(name) for name in names]] = 1
            matrices.append(matrix_NC)
        return tally_multi_label(*matrices)

    def scores_of(self, truth: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
        """The scores of answers, wherever they come from; arguments as for `tally`."""
        tally = self.tally(truth, found)
        scores = tally.scores(np.arange(tally.n_examples)[None])
        return {name: float(value[0]) for name, value in scores.items()}

    def _slices(self, tally: Any, examples: Sequence[Any]) -> list[SliceTable]:
        tokens = [self.task.tokens(example) for example in examples]
        lengths = np.array([len(ids) for ids in tokens])
        unknown = np.array([ids.count(UNK_ID) for ids in tokens])
        tables = [by_length(tally, lengths)]
        if unknown.any():
            tables.append(by_unknown_share(tally, unknown, lengths))
        return tables


def probability_fields(prediction: LabelPrediction, labels: Labels) -> dict[str, Any]:
    """The probabilities of a prediction, for a line of JSON.

    Returns:
        `probabilities`: of each label by name; in tagging that of each token's tag, and, where the tags
        write spans, `spans` too.
    """
    if prediction.probabilities.ndim == 1:
        pairs = zip(labels.names, prediction.probabilities.tolist(), strict=True)
        return {"probabilities": {name: round(p, 6) for name, p in pairs}}
    # Imported here, as a classifier needs no module of the tagger.
    from unrolled.tasks.tag.task import probabilities_of, spans_of

    sure = probabilities_of(prediction, labels)
    found: dict[str, Any] = {"probabilities": [round(p, 6) for p in sure]}
    if labels.scheme:
        spans = [vars(span) for span in spans_of(prediction, labels)]
        found["spans"] = [{**span, "probability": round(span["probability"], 6)} for span in spans]
    return found


def given_labels(prediction: LabelPrediction) -> str:
    """The answer as a text: labels separated by commas, in tagging by spaces."""
    return (", " if prediction.probabilities.ndim == 1 else " ").join(prediction.labels)


def probability_of(prediction: LabelPrediction, labels: Labels) -> float:
    """Of the label that was given; of several, the least sure; of none, that there is none, Π (1 − p)."""
    if not prediction.labels:
        return float(np.prod(1 - prediction.probabilities.astype(np.float64)))
    return float(min(prediction.probabilities[labels.id_of(name)] for name in prediction.labels))
