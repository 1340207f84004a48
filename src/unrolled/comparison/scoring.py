"""Score a finished run, and collect what its folder says about it."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled import documents
from unrolled.comparison.costs import step_seconds
from unrolled.predictors.load import load
from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.training import checkpoint
from unrolled.training.checkpoint import load_checkpoint
from unrolled.training.run_folder import METRICS_FILE

_MOST_BYTES = 1 << 30
_N_GROUPS = 4

Scores = dict[str, float | None]
Scored = tuple[dict[str, Any], Sequence[Any]]
"""Scores with their number of examples, and what they were computed on."""


def result_of(run: Path, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of a finished run, which does not depend on times, and further costs, which do.

    Args:
        run: the run folder.
        part: "test" or "valid".

    Raises:
        RunError: a file of the run is damaged.
    """
    progress = load_checkpoint(run).progress
    best = progress.best
    if best is None:
        return {"problem": "the validation loss was not a number at every evaluation"}, {}
    predictor = load(run)
    scored, texts = _SCORE[predictor.task.kind](predictor, part)
    result = {
        "steps": progress.step,
        "epochs": progress.last_epoch,
        "best_step": best.step,
        "metric": best.metric,
        "value": finite(best.value),
        "valid_loss": finite(best.loss),
        "valid_scores": _finite_scores(best.scores),
        "part": part,
        "data": _digest(texts),
        **scored,
        "curve": [[step, finite(value)] for step, value in _curve(run, best.metric)],
    }
    seconds = step_seconds(predictor.model)
    more = {
        "step_microseconds": None if seconds is None else round(1e6 * seconds, 2),
        "model_bytes": (run / checkpoint.MODEL_FILE).stat().st_size,
        "threads": torch.get_num_threads(),
        "device": predictor.recipe.training.device,
    }
    return result, more


def finite(value: float) -> float | None:
    """A number for JSON, which has neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def _finite_scores(scores: Mapping[str, float]) -> Scores:
    return {name: finite(float(value)) for name, value in scores.items()}


def training_costs(run: Path, seconds: float, *, has_trained: bool) -> dict[str, Any]:
    """What training cost.

    Args:
        run: the run folder.
        seconds: the time of the run, over all sessions.
        has_trained: whether this process made updates, so that its peak memory is that of training.
    """
    rates = [event["tokens_per_second"] for event in _events(run) if event["event"] == "step"]
    return {
        "seconds": round(seconds, 3),
        "tokens_per_second": round(statistics.median(rates), 1) if rates else None,
        "peak_bytes": _peak_bytes() if has_trained else None,
    }


def _peak_bytes() -> int | None:
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _events(run: Path) -> Iterator[dict[str, Any]]:
    for line in documents.read_bytes(run / METRICS_FILE, _MOST_BYTES).splitlines():
        yield json.loads(line)


def _curve(run: Path, metric: str) -> Iterator[tuple[int, float]]:
    """The metric on validation data at each evaluation."""
    for event in _events(run):
        if event["event"] == "evaluated":
            yield event["step"], event["loss"] if metric == "loss" else event["scores"][metric]


def _digest(texts: Sequence[Any]) -> str:
    """A checksum of what was scored, so that scores on other data are not compared."""
    return hashlib.sha256(repr(list(texts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _labels(predictor: Any, part: str) -> Scored:
    rows = predictor.held_out(part)
    evaluation = predictor.evaluate(rows, f"the {part} part")
    scores = {
        name: float(value if name in ("brier", "nll") else 100 * value)
        for name, value in evaluation.scores.items()
    }
    return {"examples": len(rows), "scores": _finite_scores(scores)}, [row.fields for row in rows]


def _running_text(predictor: Any, part: str) -> Scored:
    stream = predictor.held_out(part)
    evaluation = predictor.evaluate(stream)
    scores = {**evaluation.scores, "loss": evaluation.loss}
    ids = np.ascontiguousarray(stream.ids)
    found = {"examples": evaluation.n_tokens, "scores": _finite_scores(scores)}
    return found, [ids.tobytes()]


def _queries(predictor: Any, part: str) -> Scored:
    rows = predictor.held_out(part)
    scores = predictor.evaluate(rows).scores()
    return {"examples": len(rows), "scores": _finite_scores(scores)}, [row.texts for row in rows]


def _written(predictor: Any, part: str) -> Scored:
    """The scores of written outputs, of all rows and by the length of their source."""
    rows = predictor.held_out(part)
    evaluation = predictor.evaluate(rows)
    references = [predictor.task.reference(row) for row in rows]
    tokenizer = predictor.recipe.training.bleu_tokenizer
    task, _ = predictor.task.for_references(predictor.task, references, tokenizer)
    groups = []
    for shortest, longest, chosen in quartiles([len(row.texts[0].split()) for row in rows]):
        scores = task.score(
            [evaluation.answers[row] for row in chosen], [references[row] for row in chosen]
        )
        group = {"shortest": shortest, "longest": longest, "examples": len(chosen)}
        groups.append({**group, "scores": _finite_scores(scores)})
    found = {
        "examples": len(rows),
        "scores": _finite_scores(evaluation.total.scores),
        "by_length": groups,
    }
    return found, [row.texts for row in rows]


def quartiles(lengths: Sequence[int]) -> list[tuple[int, int, list[int]]]:
    """Four groups of about equal size by length, or fewer if many lengths are equal.

    Args:
        lengths: the length of each row.

    Returns:
        The shortest and the longest length of each group, and its rows.

    >>> [(low, high, len(rows)) for low, high, rows in quartiles([1, 2, 3, 4, 5, 6, 7, 8])]
    [(1, 2, 2), (3, 4, 2), (5, 6, 2), (7, 8, 2)]
    >>> quartiles([3, 3, 3])
    [(3, 3, [0, 1, 2])]
    """
    ordered = sorted(lengths)
    ends = [ordered[(len(ordered) * k - 1) // _N_GROUPS] for k in range(1, _N_GROUPS + 1)]
    groups, above = [], -1
    for end in sorted(set(ends)):
        rows = [row for row, length in enumerate(lengths) if above < length <= end]
        groups.append((min(lengths[row] for row in rows), end, rows))
        above = end
    return groups


_SCORE: Mapping[Kind, Callable[[Any, str], Scored]] = {
    SEQ2SEQ: _written,
    CODE: _written,
    QUERIES: _queries,
    LABELLING: _labels,
    LANGUAGE_MODEL: _running_text,
}
