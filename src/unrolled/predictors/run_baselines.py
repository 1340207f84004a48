"""Bag-of-n-grams baselines of a label run, fitted on its training part and stored in its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import storage
from unrolled.errors import ConfigError, did_you_mean
from unrolled.quoting import quote

if TYPE_CHECKING:
    from unrolled.baselines import FittedBaseline
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.text.rows import Row

BASELINES_FOLDER = "baselines"
"""The folder of the baselines in a run folder."""


def baseline_names(task: Any) -> tuple[str, ...]:
    """The names of the baselines that can be fitted for a task that predicts labels."""
    from unrolled.baselines.config import FAMILIES
    from unrolled.baselines.tagging import FEATURES

    return tuple(FEATURES) if task.by_token else tuple(FAMILIES)


def chosen_baselines(task: Any, names: Sequence[str]) -> tuple[str, ...]:
    """The baselines that are named, in the order in which they are fitted; without names, all.

    Upper case, hyphens and spaces are accepted: "NB-SVM" is `nb_svm`.

    Args:
        task: a task that predicts labels.
        names: names of baselines; one may hold several, separated by commas.

    Raises:
        ConfigError: a name is unknown.

    >>> from unrolled.tasks.classify import TASK
    >>> chosen_baselines(TASK, ["NB-SVM,majority"])
    ('majority', 'nb_svm')
    """
    valid = baseline_names(task)
    parts = [part.strip() for name in names for part in name.split(",") if part.strip()]
    wanted = {part: re.sub(r"[\s-]+", "_", part.lower()) for part in parts}
    for given, name in wanted.items():
        if name not in valid:
            raise ConfigError(
                f"--baselines: unknown {quote(given)}{did_you_mean(name, valid)}; for task "
                f"'{task.name}', there are {', '.join(valid)}"
            )
    chosen = set(wanted.values()) or set(valid)
    return tuple(name for name in valid if name in chosen)


@dataclass(frozen=True)
class BaselinePlan:
    """Baselines that are about to be fitted.

    Args:
        names: their names, in order.
        metric: the score that is tuned.
        n_rows: number of training rows.
        n_tokens: number of training tokens.
        seconds: roughly how long each takes.
    """

    names: tuple[str, ...]
    metric: str
    n_rows: int
    n_tokens: int
    seconds: tuple[float, ...]


_MICROSECONDS = {
    "majority": 0.1,
    "unigrams": 3.0,
    "bigrams": 10.0,
    "trigrams": 18.0,
    "nb_logistic": 9.0,
    "nb_svm": 14.0,
    "frequent_tag": 2.0,
    "token_logistic": 25.0,
}
"""Time to fit a baseline, per training token, measured with two labels on one core."""

_PER_LABEL = {
    "unigrams": 3.3,
    "bigrams": 3.3,
    "trigrams": 3.3,
    "nb_logistic": 2.0,
    "nb_svm": 0.5,
    "token_logistic": 0.8,
}
"""With more than two labels: by how much more time each label takes, as a share of that of two."""


def estimated_seconds(name: str, n_tokens: int, n_labels: int) -> float:
    """Roughly how long it takes to fit a baseline; `name` is that of its family."""
    times = max(1.0, _PER_LABEL.get(name, 0.0) * n_labels) if n_labels > 2 else 1.0
    return _MICROSECONDS[name] * 1e-6 * n_tokens * times


def fit_run_baselines(
    run: Path | LabelPredictor,
    names: Sequence[str] = (),
    announce: Callable[[BaselinePlan], object] = bool,
) -> Iterator[FittedBaseline]:
    """Fit baselines on a run's training part, tune them on its validation part, and save them in the run.

    Args:
        run: folder of a run of `classify`, `pair` or `tag`, or the run as it was loaded from its folder.
        names: which to fit, as for `chosen_baselines`; by default all.
        announce: called once the data have been read, before anything is fitted.

    Yields:
        Each baseline as soon as it is saved. Its `score` is the value of `baseline_metric`.

    Raises:
        UnavailableError: scikit-learn is not installed.
        ConfigError: the run does not predict labels, or a name is unknown.
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

    predictor = load(run) if isinstance(run, Path) else run
    if not isinstance(predictor, LabelPredictor):
        raise ConfigError(f"{run} does not predict labels, so it has no baselines")
    if predictor.folder is None:
        raise ConfigError("the run has no folder to save baselines in; load it from its folder")
    folder = predictor.folder / BASELINES_FOLDER
    storage.require_own_folder(folder)
    chosen = chosen_baselines(predictor.task, names)
    parts = predictor.parts()
    train, valid = (baseline_inputs(predictor, parts[name]) for name in ("train", "valid"))
    announce(_plan(predictor, chosen, train[0]))
    score = _score(predictor, baseline_metric(predictor))
    baselines: Iterator[FittedBaseline]
    if predictor.task.by_token:
        baselines = fit_tagging_baselines(Tagged(*train), Tagged(*valid), score, families=chosen)
    else:
        model: Any = predictor.recipe.model
        config = BaselineConfig(
            families=chosen,
            reads=("all", "first", "second") if predictor.n_texts == 2 else ("all",),
            class_weights=getattr(model, "class_weights", "none"),
        )
        baselines = fit_baselines(Labelled(*train), Labelled(*valid), score, config)
    for fitted in baselines:
        figures = fitted.figures() | {  # the file stores percentages
            "score": 100 * fitted.score,
            "tried": [[c, 100 * value] for c, value in fitted.tried],
        }
        fitted.baseline.save(folder / fitted.name, figures)
        yield fitted


def _plan(predictor: LabelPredictor, names: tuple[str, ...], inputs: Sequence[Any]) -> BaselinePlan:
    """The plan for inputs as returned by `baseline_inputs`."""
    if predictor.task.by_token:
        n_tokens, n_readings = sum(map(len, inputs)), 1
    else:
        n_tokens = sum(len(text) for texts in inputs for text in texts)
        n_readings = 2 if predictor.n_texts == 2 else 1  # both texts, and each alone
    n_labels = len(predictor.labels)
    seconds = [n_readings * estimated_seconds(name, n_tokens, n_labels) for name in names]
    metric = baseline_metric(predictor)
    return BaselinePlan(names, metric, len(inputs), n_tokens, tuple(seconds))


def load_run_baselines(run: Path) -> dict[str, Any]:
    """The baselines that `fit_run_baselines` saved in a run, by name; {} if there are none."""
    folders = sorted((run / BASELINES_FOLDER).glob("*/"))
    if not folders:
        return {}
    from unrolled.baselines import load_baseline

    return {folder.name: load_baseline(folder) for folder in folders}


def baseline_metric(predictor: LabelPredictor) -> str:
    """The score that baselines are tuned for: the run's metric, or its first score for the loss."""
    metric: str = predictor.recipe.training.metric
    return metric if metric != "loss" else predictor.task.scores(predictor.tokenizers)[0]


def baseline_inputs(predictor: LabelPredictor, rows: Sequence[Row]) -> tuple[list[Any], list[Any]]:
    """The inputs of baselines for each row, and its gold labels.

    Returns:
        For each row, the words of its texts (`LabelPredictor.words`), or the tokens of its sentence in
        tagging; and for each row, its gold labels (`LabelPredictor.gold`).
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
