"""A trained run that predicts labels, as an object."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.metrics.display import WIDTH, score_lines, signature_lines
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
from unrolled.predictors.label_answers import LabelAnswers
from unrolled.predictors.representation import represent
from unrolled.tasks import notebook
from unrolled.tasks.facts import truncate
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import LabelTask
from unrolled.tasks.text_labels import ROLE, parts_alone
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.text.labels import split_labels
from unrolled.text.rows import Field, Row, as_list, as_text
from unrolled.text.splits import read_splits, rows_of
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.dataset import encode_rows, too_long
from unrolled.training.evaluation import label_predictions
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import check_data, check_part, trained_columns
from unrolled.wording import count_of, wrapped


@dataclass(frozen=True, eq=False, repr=False)
class LabelledEvaluation:
    """The evaluation of a label run on labelled rows.

    Scores are shares, 0…1, except `brier` (0…2) and `nll` (nats). They are converted to percentages for
    printing (`lines`) and for the file of results (`figures`).

    Args:
        measured: all scores, with their tables.
        intervals: confidence intervals of the scores, over examples.
        slices: scores of subsets of the rows.
        mistakes: wrong predictions, the most confident first.
        tally: what each row adds to the scores.
        predictions: predictions of the rows, in order.
        n_cut: number of rows with truncated or split texts.
        seconds: prediction time, without reading and scoring.
        shuffled: scores of the same texts with their words in random order; empty if not requested.
        shuffled_tally: what each row adds to these scores; None if not requested.
        parts: what each row adds to the scores of each part of the model alone, by its name; {} if the
            model has no parts.
        when_long: what was done with texts longer than `data.max_length`.
        max_length: `data.max_length`.
        unit: what a row is, "row" or "sentence".
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
    shuffled_tally: Scorable | None = None
    parts: Mapping[str, Scorable] = field(default_factory=dict)
    when_long: str = "truncated (data.keep)"
    max_length: int = 0
    unit: str = "row"

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name."""
        scores: dict[str, float] = self.measured.scores()
        return scores

    def lines(self, width: int = WIDTH, *, signatures: bool = False) -> Iterator[str]:
        """The evaluation as text: the scores, then tables by class, confusions and slices.

        Args:
            width: maximum width of a line.
            signatures: whether to add how each score was computed.
        """
        n = len(self.predictions)
        rate = n / self.seconds if self.seconds else float("inf")
        speed = f"{self.seconds:.1f} s ({rate:,.0f} {self.unit}s/s)"
        yield from wrapped(f"{count_of(n, self.unit)} in {speed}", width)
        if self.n_cut:
            yield from wrapped(too_long(self.n_cut, self.max_length, self.when_long), width)
        yield ""
        redundant: Collection[str] = getattr(self.measured, "redundant", ())
        scores = {name: value for name, value in self.scores.items() if name not in redundant}
        titles = getattr(self.measured, "titles", {})
        yield from score_lines(scores, self.intervals, self.shuffled, width, titles=titles)
        if hasattr(self.measured, "tables"):
            yield ""
            yield from self.measured.tables(width)
        for table in self.slices:
            yield ""
            yield from table.lines(width)
        if signatures:
            yield ""
            yield from signature_lines(self.measured.signature())

    def __repr__(self) -> str:
        scores = ", ".join(f"{name}={value:.4f}" for name, value in list(self.scores.items())[:3])
        return f"LabelledEvaluation({count_of(len(self.predictions), self.unit)}, {scores})"

    def _repr_html_(self) -> str:
        """The lines of the evaluation, for a notebook."""
        return notebook.preformatted(self.lines())

    def figures(self) -> dict[str, object]:
        """The record for a file of results, with shares as percentages."""
        return {
            "rows": len(self.predictions),
            "seconds": round(self.seconds, 1),
            **_percentages(self.scores),
            "intervals": {
                name: [round(100 * bounds.low, 2), round(100 * bounds.high, 2)]
                for name, bounds in self.intervals.items()
            },
            **({"shuffled": _percentages(self.shuffled)} if self.shuffled else {}),
            **({"parts": self._scores_of_parts()} if self.parts else {}),
            "signatures": self.measured.signature(),
        }

    def _scores_of_parts(self) -> dict[str, dict[str, float]]:
        return {name: _percentages(all_scores(tally)) for name, tally in self.parts.items()}


def all_scores(tally: Scorable) -> dict[str, float]:
    """The scores of all rows of a tally."""
    scores = tally.scores(np.arange(tally.n_examples)[None])
    return {name: float(value[0]) for name, value in scores.items()}


def _percentages(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores rounded to four decimals: shares as percentages, `brier` and `nll` unchanged."""
    return {
        name: round(value if name in ("brier", "nll") else 100 * value, 4)
        for name, value in scores.items()
    }


class LabelPredictor(LabelAnswers):
    """A model with its vocabulary and labels: text in, labels out. Created by `load`.

    Args:
        recipe: the recipe that the run was trained with.
        task: the task of the run.
        tokenizers: tokenizers by role, and the labels.
        model: the trained module, in evaluation mode.
        folder: the run folder; None if there is none.
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

    def __repr__(self) -> str:
        return represent(self)

    def baseline(self, name: str | None = None) -> LabelPredictor:
        """A baseline of the run, which predicts in its place.

        Args:
            name: its name, such as "nb_svm"; by default the one with the best score on validation data.

        Raises:
            ConfigError: no baseline was fitted, or none with this name.
        """
        from unrolled.predictors.baseline import baseline_of

        return baseline_of(self, name)

    def _predict(self, examples: Sequence[Any], digests: bool = False) -> list[LabelPrediction]:
        return label_predictions(self.model, self.task, examples, self.tokenizers, digests)

    def held_out(self, part: str) -> list[Row]:
        """The rows of the run's "valid" or "test" part, read or split off as in training.

        Raises:
            RunError: the data file of the part, or the one it was split off from, has changed since.
        """
        data = self.recipe.data
        if getattr(data, part):
            if self.folder is not None:
                data = check_part(self.folder, data, part)
            return self.read(getattr(data, part))
        if self.folder is not None:
            # If the file has changed, the part could contain rows that were trained on.
            data = check_data(self.folder, data)
        splits = read_splits(data, len(self.task.columns), self.task.reading)
        return {"valid": splits.valid, "test": splits.test}[part]

    def parts(self) -> dict[str, list[Row]]:
        """The rows of the run's "train", "valid" and "test" parts; "train" without skipped rows.

        Raises:
            RunError: a data file that parts were split off from has changed since.
        """
        data = self.recipe.data
        if self.folder is not None:
            data = check_data(self.folder, data)
        splits = read_splits(data, len(self.task.columns), self.task.reading)
        train = splits.train
        if data.too_long == "skip":
            path = data.train[0]
            train = encode_rows(train, self.task, self.tokenizers, data, path, skips=True).rows
        return {"train": train, "valid": splits.valid, "test": splits.test}

    def read(self, paths: Sequence[str], notes: list[str] | None = None) -> list[Row]:
        """Read labelled rows from other files; columns are found as in `Predictor.read`.

        Args:
            paths: the files.
            notes: a list to which notes on how they were read are added.
        """
        data, task = self.recipe.data, self.task
        n_columns, known = len(task.columns), self.labels.names
        trained = trained_columns(self.folder)
        return rows_of(
            data, paths, n_columns, task.reading, known, notes, is_split=False, trained=trained
        )

    def evaluate(
        self, rows: Sequence[Row], path: str = "the data", shuffle_words: int | None = None
    ) -> LabelledEvaluation:
        """Predict the labels of all rows and score them.

        Args:
            rows: texts and labels, as returned by `held_out` and `read`.
            path: the file they are from, for messages.
            shuffle_words: a seed; if given, also score the texts with their words in random order.

        Raises:
            DataError: there are no rows, or a label is not among the training labels.
        """
        task, data = self.task, self.recipe.data
        part = encode_rows(rows, task, self.tokenizers, data, path)
        start = time.perf_counter()
        predictions = self._predict(part.examples, digests=True)
        seconds = time.perf_counter() - start
        evaluated = task.evaluate(self.model, part.examples, predictions, self.tokenizers)
        shuffled: dict[str, float] = {}
        shuffled_tally: Scorable | None = None
        if shuffle_words is not None:
            random = np.random.default_rng(shuffle_words)
            others = [task.shuffle(example, self.tokenizers, random) for example in part.examples]
            found = task.evaluate(
                self.model, others, self._predict(others, digests=True), self.tokenizers
            )
            shuffled, shuffled_tally = found.scores(), found.tally
        return LabelledEvaluation(
            evaluated.measured,
            {
                name: interval
                for name, interval in bootstrap(evaluated.tally).items()
                if name not in SMALLER_IS_BETTER
            },
            self._slices(evaluated.tally, part.examples),
            evaluated.mistakes([f" {TEXT_SEPARATOR} ".join(row.texts[:-1]) for row in part.rows]),
            evaluated.tally,
            predictions,
            part.n_cut,
            seconds,
            shuffled,
            shuffled_tally,
            self._parts(part.rows, predictions),
            task.when_long,
            data.max_length,
            task.unit,
        )

    def tally_of(self, rows: Sequence[Row], path: str = "the data") -> Scorable:
        """What each row adds to the scores of the model; the arguments are those of `evaluate`."""
        examples = encode_rows(rows, self.task, self.tokenizers, self.recipe.data, path).examples
        predicted = self._predict(examples, digests=True)
        tally: Scorable = self.task.evaluate(self.model, examples, predicted, self.tokenizers).tally
        return tally

    def _parts(
        self, rows: Sequence[Row], predictions: Sequence[LabelPrediction]
    ) -> dict[str, Scorable]:
        """What each row adds to the scores of each part of the model; {} if it has none."""
        alone = parts_alone(self.model, predictions, self.tokenizers)
        truth = [self.gold(row) for row in rows] if alone else []
        is_one = not self.labels.multi_label
        return {
            name: self.tally(truth, [labels[0] if is_one else labels for labels in found])
            for name, found in alone.items()
        }

    def words(self, fields: Sequence[Field]) -> list[list[str]]:
        """The words of each text, truncated as for the model, including words unknown to it.

        In tagging, these are the tokens. If the tokens of the model are words or separated by spaces,
        they are the words. If its tokens are byte pairs or characters, the text is split into words, so
        that baselines always use bags of words.
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
        """A tokenizer that splits text into words, in lower case if the model's tokens are."""
        return Tokenizer.train([], TextConfig(kind="word", lowercase=self.recipe.text.lowercase))

    def gold(self, row: Row) -> str | frozenset[str] | list[str]:
        """The gold label of a row; a set if there may be several; in tagging, a list of one per token.

        Raises:
            DataError: a label is not among the training labels.
        """
        field, labels = row.fields[-1], self.labels
        if self.task.by_token:
            return [labels.name_of(tag) for tag in as_list(field)]
        if not labels.multi_label:
            return labels.name_of(as_text(field).strip())
        names = split_labels(field, self.recipe.data.label_separator)
        return frozenset(map(labels.name_of, names))

    def tally(self, truth: Sequence[Any], found: Sequence[Any]) -> Scorable:
        """What each row adds to the scores of predictions, which may come from any model.

        Args:
            truth: the gold labels of each row, as returned by `gold`.
            found: the predicted labels of each row, in the same form.

        Raises:
            DataError: a label is not among the training labels.
        """
        labels = self.labels
        if self.task.by_token:
            return tally_tags(truth, found, labels)
        if not labels.multi_label:
            truth_N, found_N = ([labels.id_of(name) for name in names] for names in (truth, found))
            averaged = [labels.id_of(name) for name in labels.averaged]
            return tally_labels(truth_N, found_N, len(labels), averaged)
        matrices = []
        for rows in (truth, found):
            matrix_NC = np.zeros((len(rows), len(labels)), np.int64)
            for row, names in enumerate(rows):
                matrix_NC[row, [labels.id_of(name) for name in names]] = 1
            matrices.append(matrix_NC)
        return tally_multi_label(*matrices)

    def scores_of(self, truth: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
        """The scores of predictions, which may come from any model; arguments as for `tally`."""
        return all_scores(self.tally(truth, found))

    def _slices(self, tally: Any, examples: Sequence[Any]) -> list[SliceTable]:
        tokens = [self.task.tokens(example) for example in examples]
        lengths = np.array([len(ids) for ids in tokens])
        unknown = np.array([ids.count(UNK_ID) for ids in tokens])
        tables = [by_length(tally, lengths)]
        if unknown.any():
            tables.append(by_unknown_share(tally, unknown, lengths))
        return tables
