"""The closing sentence of training: the model beside the best baseline, on the same validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unrolled.baselines.config import baseline_title
from unrolled.baselines.retrieval import RetrievalBaseline
from unrolled.decoding.config import DecodingConfig
from unrolled.metrics.display import title
from unrolled.metrics.intervals import Comparison, paired_bootstrap
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.run_baselines import baseline_inputs, baseline_metric, read_run_baseline
from unrolled.predictors.seq2seq import Predictor, judge
from unrolled.quoting import shell_command
from unrolled.text.rows import Row
from unrolled.text.splits import read_splits
from unrolled.training.dataset import evenly
from unrolled.training.split_file import check_data
from unrolled.wording import count_of, with_minus


@dataclass(frozen=True)
class Closing:
    """A model beside a baseline.

    Args:
        baseline: name of the baseline.
        comparison: model and baseline, as shares.
        n_rows: number of rows that both were scored on.
        unit: what a row is.
        n_fitted: number of training rows that the baseline was fitted on.
        n_train: number of training rows.
    """

    baseline: str
    comparison: Comparison
    n_rows: int
    unit: str
    n_fitted: int
    n_train: int

    @property
    def verdict(self) -> str:
        """Which is better: "model", "baseline", or "neither" if no difference was shown."""
        words = {"A is better": "model", "B is better": "baseline"}
        return words.get(self.comparison.verdict, "neither")

    def sentence(self, run: Path | str) -> str:
        """The comparison in words.

        >>> comparison = Comparison("accuracy", 0.841, 0.820, 0.004, 0.038, 0.02, "")
        >>> print(Closing("nb_svm", comparison, 872, "row", 692, 692).sentence("run"))
        accuracy 84.1; the n-gram baseline (NB-SVM) has 82.0 on the same 872 validation rows (+2.1, 0.4 to
        3.8)
        """
        found, baseline = self.comparison, baseline_title(self.baseline)
        rows = count_of(self.n_rows, f"validation {self.unit}")
        fitted = ""
        if self.n_fitted < self.n_train:
            fitted = f", fitted on {self.n_fitted:,} of {count_of(self.n_train, self.unit)},"
        values = (found.a, found.b, found.low, found.high)
        a, b, low, high = (with_minus(f"{100 * value:.1f}") for value in values)
        change = with_minus(f"{100 * found.difference:+.1f}")
        text = (
            f"{title(found.score)} {a}; the {self._kind} baseline ({baseline}){fitted} has {b} on the "
            f"same {rows} ({change}, {low} to {high})"
        )
        use = f"{shell_command('unrolled', 'predict', run)} --baseline"
        if self.verdict == "baseline":
            text += f"; the baseline is better here; use it: {use}"
        elif self.verdict == "neither":
            text += f"; no difference shown; to use the baseline: {use}"
        return text

    @property
    def _kind(self) -> str:
        return "token" if self.unit == "sentence" else "n-gram"


def closing_of(predictor: LabelPredictor, parts: Mapping[str, Sequence[Row]]) -> Closing:
    """Compare a run with the best of its baselines on its validation part.

    Args:
        predictor: the run, with fitted baselines.
        parts: its rows, from `LabelPredictor.parts`.

    Raises:
        ConfigError: no baselines were fitted.
    """
    assert predictor.folder is not None  # it has baselines
    baseline, fitted = read_run_baseline(predictor.folder)
    rows = parts["valid"]
    texts, gold = baseline_inputs(predictor, rows)
    a, b = predictor.tally_of(rows), predictor.tally(gold, baseline.predict(texts))
    comparison = paired_bootstrap([a], [b], baseline_metric(predictor))
    n_train = len(parts["train"])
    n_fitted = fitted.get("n_train", n_train)
    return Closing(baseline.name, comparison, len(rows), predictor.task.unit, n_fitted, n_train)


@dataclass(frozen=True)
class TextClosing:
    """A model whose output is text beside a baseline that repeats the output of the nearest training row.

    Args:
        score: name of the score.
        model: its value for the model, 0…100.
        baseline: its value for the baseline.
        n_rows: number of validation rows that both were scored on.
        n_read: number of training rows that the baseline looks in.
        n_train: number of training rows.
    """

    score: str
    model: float
    baseline: float
    n_rows: int
    n_read: int
    n_train: int

    def sentence(self) -> str:
        """The comparison in words.

        >>> print(TextClosing("bleu", 34.21, 8.4, 500, 29000, 29000).sentence())
        BLEU 34.2; the output of the nearest training row has 8.4 on the same 500 validation rows
        """
        among = ""
        if self.n_read < self.n_train:
            among = f", among {self.n_read:,} of {count_of(self.n_train, 'row')},"
        return (
            f"{title(self.score)} {self.model:.1f}; the output of the nearest training row{among} has "
            f"{self.baseline:.1f} on the same {count_of(self.n_rows, 'validation row')}"
        )


def text_closing(predictor: Predictor) -> TextClosing:
    """Compare a run whose output is text with the nearest training row, on validation rows.

    Both are scored on at most `training.valid_sentences` rows, spread evenly; the model decodes greedily.

    Args:
        predictor: the run.
    """
    task, data, training = predictor.task, predictor.recipe.data, predictor.recipe.training
    if predictor.folder is not None:
        data = check_data(predictor.folder, data)
    train = read_splits(data, len(task.columns), task.reading).train
    rows = predictor.held_out("valid")
    rows = [rows[index] for index in evenly(len(rows), training.valid_sentences)]
    read = [train[index] for index in evenly(len(train), _MOST_READ)]
    nearest = RetrievalBaseline([(row.texts[0], row.texts[1]) for row in read])
    found = nearest.translate([row.texts[0] for row in rows])
    own = predictor.evaluate(rows, _greedy(predictor)).total.scores
    other = judge(task, rows, found, bleu_tokenizer=training.bleu_tokenizer).total.scores
    name = training.metric if training.metric in own else next(iter(own))
    return TextClosing(name, own[name], other[name], len(rows), len(read), len(train))


def _greedy(predictor: Predictor) -> DecodingConfig:
    return replace(predictor.recipe.decoding, method="greedy", n_best=1)


_MOST_READ = 100_000
