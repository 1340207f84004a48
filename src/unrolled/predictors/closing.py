"""The closing sentence of training: the model beside the best baseline, on the same validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.baselines.config import baseline_title
from unrolled.metrics.display import title
from unrolled.metrics.intervals import Comparison, paired_bootstrap
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.run_baselines import baseline_inputs, baseline_metric, read_run_baseline
from unrolled.quoting import shell_command
from unrolled.text.rows import Row
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
