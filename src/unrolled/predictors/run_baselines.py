"""Bag-of-n-grams baselines of a label run, fitted on its training part and stored in its folder."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import storage
from unrolled.errors import ConfigError, did_you_mean
from unrolled.quoting import quote, shell_command
from unrolled.training.dataset import evenly

if TYPE_CHECKING:
    from unrolled.baselines import FittedBaseline
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.text.rows import Row

BASELINES_FOLDER = "baselines"
"""The folder of the baselines in a run folder."""

_NONE_FILE = "no-baselines.txt"


def remember_none(run: Path) -> None:
    """Note in a run folder without baselines that it is to have none, for when training is resumed.

    Raises:
        RunError: the file cannot be written.
    """
    if not saved_baselines(run):
        text = "None are fitted unasked; unrolled train --resume --out RUN --baselines fits them.\n"
        storage.write_whole(run / _NONE_FILE, text.encode())


def has_none_on_purpose(run: Path) -> bool:
    """Whether a run has no baselines, and `remember_none` has noted it."""
    return (run / _NONE_FILE).is_file() and not saved_baselines(run)


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
        n_all: number of rows of the training part, of which `n_rows` are used.
    """

    names: tuple[str, ...]
    metric: str
    n_rows: int
    n_tokens: int
    seconds: tuple[float, ...]
    n_all: int = 0


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


AUTOMATIC = {False: ("nb_svm", "bigrams"), True: ("token_logistic", "frequent_tag")}
"""By whether every token has a label: the baselines that training fits unasked, the best first."""

AUTOMATIC_SECONDS = 120.0
"""The time that they may take."""

_MOST_WEIGHTS = 100_000_000
_FEWEST_ROWS = 100


def affordable(
    task: Any, n_tokens: int, n_labels: int, seconds: float = AUTOMATIC_SECONDS
) -> tuple[tuple[str, ...], float]:
    """The baselines that training fits unasked, and the share of its rows that there is time for.

    Args:
        task: a task that predicts labels.
        n_tokens: number of training tokens.
        n_labels: number of labels.
        seconds: the time that they may take.

    >>> from unrolled.tasks.classify import TASK
    >>> affordable(TASK, 10_000, 2), affordable(TASK, 6_000_000, 2), affordable(TASK, 60_000_000, 2)
    ((('nb_svm', 'bigrams'), 1.0), (('nb_svm',), 1.0), (('nb_svm',), 0.14285714285714285))
    """
    names: tuple[str, ...] = AUTOMATIC[task.by_token]
    while len(names) > 1 and sum(_times(names, n_tokens, n_labels)) > seconds:
        names = names[:1]
    by_time = seconds / max(sum(_times(names, n_tokens, n_labels)), 1e-9)
    n_weights = 2 * n_tokens * (n_labels if n_labels > 2 else 1)
    return names, min(1.0, by_time, _MOST_WEIGHTS / max(1, n_weights))


def _times(names: Sequence[str], n_tokens: int, n_labels: int) -> list[float]:
    return [estimated_seconds(name, n_tokens, n_labels) for name in names]


def fit_run_baselines(
    run: Path | LabelPredictor,
    names: Sequence[str] = (),
    announce: Callable[[BaselinePlan], object] = bool,
    *,
    parts: Mapping[str, Sequence[Row]] | None = None,
    seconds: float = 0.0,
) -> Iterator[FittedBaseline]:
    """Fit baselines on a run's training part, tune them on its validation part, and save them in the run.

    Args:
        run: folder of a run of `classify`, `pair` or `tag`, or the run as it was loaded from its folder.
        names: which to fit, as for `chosen_baselines`; by default all.
        announce: called once the data have been read, before anything is fitted.
        parts: the rows of the run, if they have been read.
        seconds: if it is above 0, the ones that training fits unasked, in about this time (`affordable`):
            for large data, on some of the training rows, spread evenly; none if these are too few.

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
    parts = predictor.parts() if parts is None else parts
    train, valid = (baseline_inputs(predictor, parts[name]) for name in ("train", "valid"))
    n_all, is_automatic = len(train[0]), seconds > 0
    if is_automatic:
        n_tokens = _count_tokens(predictor, train[0])
        chosen, share = affordable(predictor.task, n_tokens, len(predictor.labels), seconds)
        used = evenly(n_all, int(share * n_all)) if share < 1 else range(n_all)
        if share < 1 and len(used) < max(_FEWEST_ROWS, len(predictor.labels)):
            announce(BaselinePlan((), baseline_metric(predictor), 0, 0, (), n_all))
            return
        train = [train[0][row] for row in used], [train[1][row] for row in used]
    announce(replace(_plan(predictor, chosen, train[0], is_automatic), n_all=n_all))
    (predictor.folder / _NONE_FILE).unlink(missing_ok=True)
    score = _score(predictor, baseline_metric(predictor))
    baselines: Iterator[FittedBaseline]
    if predictor.task.by_token:
        baselines = fit_tagging_baselines(Tagged(*train), Tagged(*valid), score, families=chosen)
    else:
        model: Any = predictor.recipe.model
        config = BaselineConfig(
            families=chosen,
            reads=("all", "first", "second")
            if predictor.n_texts == 2 and not is_automatic
            else ("all",),
            class_weights=getattr(model, "class_weights", "none"),
        )
        baselines = fit_baselines(Labelled(*train), Labelled(*valid), score, config)
    for fitted in baselines:
        figures = fitted.figures() | {  # the file stores percentages
            "score": 100 * fitted.score,
            "tried": [[c, 100 * value] for c, value in fitted.tried],
            "n_all": n_all,
        }
        fitted.baseline.save(folder / fitted.name, figures)
        yield fitted


def _count_tokens(predictor: LabelPredictor, inputs: Sequence[Any]) -> int:
    if predictor.task.by_token:
        return sum(map(len, inputs))
    return sum(len(text) for texts in inputs for text in texts)


def _plan(
    predictor: LabelPredictor,
    names: tuple[str, ...],
    inputs: Sequence[Any],
    is_automatic: bool = False,
) -> BaselinePlan:
    """The plan for inputs as returned by `baseline_inputs`."""
    n_tokens = _count_tokens(predictor, inputs)
    # Of pairs, both texts, and each alone.
    n_readings = 2 if predictor.n_texts == 2 and not is_automatic else 1
    n_labels = len(predictor.labels)
    seconds = [n_readings * estimated_seconds(name, n_tokens, n_labels) for name in names]
    metric = baseline_metric(predictor)
    return BaselinePlan(names, metric, len(inputs), n_tokens, tuple(seconds))


def saved_baselines(run: Path) -> list[Path]:
    """The folders of the baselines of a run, without what a killed process left behind."""
    folders = sorted((run / BASELINES_FOLDER).glob("*/"))
    return [folder for folder in folders if not folder.name.startswith(".")]


def load_run_baselines(run: Path) -> dict[str, Any]:
    """The baselines that `fit_run_baselines` saved in a run, by name; {} if there are none."""
    folders = saved_baselines(run)
    if not folders:
        return {}
    from unrolled.baselines import load_baseline

    return {folder.name: load_baseline(folder) for folder in folders}


def read_run_baseline(run: Path, name: str | None = None) -> tuple[Any, dict[str, Any]]:
    """A baseline of a run by name, or the one with the best score on validation data; and its record.

    Raises:
        ConfigError: the run has no baselines, or none with this name.
    """
    from unrolled.baselines.model import read_folder
    from unrolled.baselines.tagging import load_baseline

    folders = {folder.name: folder for folder in saved_baselines(run)}
    if not folders:
        raise ConfigError(
            f"{run} has no baselines; fit them: {shell_command('unrolled', 'train')} --resume --out "
            f"{shell_command(run)} --baselines"
        )
    if name is not None and name not in folders:
        raise ConfigError(
            f"{run} has no baseline {quote(name)}{did_you_mean(name, folders)}; it has "
            f"{', '.join(folders)}"
        )
    records = {each: read_folder(folders[each])[1] for each in ([name] if name else folders)}
    best = max(records, key=lambda each: _score_of(records[each]))
    return load_baseline(folders[best]), records[best]


def _score_of(fitted: Mapping[str, Any]) -> float:
    """The score on validation data that a baseline was saved with; the worst if it is unknown."""
    score = fitted.get("score")
    is_known = isinstance(score, int | float) and score == score
    return float(score) if is_known else -math.inf  # type: ignore[arg-type]


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
