"""Bag-of-n-grams baselines of a label run: fitted on its own training part, stored in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import storage
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from unrolled.baselines import FittedBaseline
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.text.rows import Row

BASELINES_FOLDER = "baselines"
"""In a run folder."""


def fit_run_baselines(run: Path) -> Iterator[FittedBaseline]:
    """Fit baselines on a run's training part, choose on its validation part, and save each in the run.

    Args:
        run: folder of a run of `classify`, `pair` or `tag`.

    Yields:
        Each baseline as soon as it is saved. Its `score` is that of `baseline_metric`.

    Raises:
        UnavailableError: scikit-learn is not installed.
        ConfigError: the run does not predict labels.
    """
    from unrolled.baselines import (
        BaselineConfig,
        Labelled,
        Tagged,
        fit_baselines,
        fit_tagging_baselines,
    )
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.load import load

    storage.require_own_folder(run / BASELINES_FOLDER)
    predictor = load(run)
    if not isinstance(predictor, LabelPredictor):
        raise ConfigError(f"{run} does not predict labels, so it has no baselines")
    parts = predictor.parts()
    train, valid = (baseline_inputs(predictor, parts[name]) for name in ("train", "valid"))
    score = _score(predictor, baseline_metric(predictor))
    found: Iterator[FittedBaseline]
    if predictor.task.by_token:
        found = fit_tagging_baselines(Tagged(*train), Tagged(*valid), score)
    else:
        model: Any = predictor.recipe.model
        config = BaselineConfig(
            reads=("all", "first", "second") if predictor.n_texts == 2 else ("all",),
            class_weights=getattr(model, "class_weights", "none"),
        )
        found = fit_baselines(Labelled(*train), Labelled(*valid), score, config)
    for fitted in found:
        figures = fitted.figures() | {  # the file stores percentages
            "score": 100 * fitted.score,
            "tried": [[c, 100 * value] for c, value in fitted.tried],
        }
        fitted.baseline.save(run / BASELINES_FOLDER / fitted.name, figures)
        yield fitted


def load_run_baselines(run: Path) -> dict[str, Any]:
    """The baselines that `fit_run_baselines` saved in a run, by name; empty where there are none."""
    folders = sorted((run / BASELINES_FOLDER).glob("*/"))
    if not folders:
        return {}
    from unrolled.baselines import load_baseline

    return {folder.name: load_baseline(folder) for folder in folders}


def baseline_metric(predictor: LabelPredictor) -> str:
    """The score that chooses baselines: the run's metric; where that is the loss, its first score."""
    metric: str = predictor.recipe.training.metric
    return metric if metric != "loss" else predictor.task.scores(predictor.tokenizers)[0]


def baseline_inputs(predictor: LabelPredictor, rows: Sequence[Row]) -> tuple[list[Any], list[Any]]:
    """What baselines read of each row, and its gold labels.

    Returns:
        Of each row its texts in the words that the model reads (`LabelPredictor.words`), or the tokens of
        its sentence for a run that labels each token; and what `LabelPredictor.gold` gives.
    """
    texts: list[Any] = [predictor.words(row.fields[: predictor.n_texts]) for row in rows]
    if predictor.task.by_token:
        texts = [sentence for (sentence,) in texts]
    return texts, [predictor.gold(row) for row in rows]


def _score(
    predictor: LabelPredictor, metric: str
) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    def score(gold: Sequence[Any], predicted: Sequence[Any]) -> float:
        return predictor.scores_of(gold, predicted)[metric]

    return score
