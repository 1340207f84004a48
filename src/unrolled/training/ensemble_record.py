"""`ensemble.json`: the members of an ensemble, and what validation says of them and of their mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import documents, storage
from unrolled.training import checkpoint
from unrolled.training.events import Best
from unrolled.training.run_folder import ENSEMBLE_FILE

FORMAT = "Unrolled ensemble, format 1"

MOST_MEMBERS = 100


@dataclass(frozen=True)
class EnsembleRecord:
    """The content of `ensemble.json`.

    Args:
        seeds: the seed of each member.
        finished: the best evaluation of each trained member, by seed.
        scores: validation scores of the mean; None until all members are trained.
        derived: what validation derived from the mean, by name (`Ensemble.derived`).
    """

    seeds: tuple[int, ...]
    finished: Mapping[int, Best | None]
    scores: Mapping[str, float] | None = None
    derived: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all members are trained and their mean is scored."""
        return self.scores is not None and set(self.finished) >= set(self.seeds)

    def save(self, folder: Path) -> None:
        """Write the file.

        Raises:
            RunError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "seeds": list(self.seeds),
            "finished": {str(seed): _as_json(best) for seed, best in sorted(self.finished.items())},
            "scores": None if self.scores is None else _finite(self.scores),
            "derived": dict(self.derived or {}),
        }
        text = json.dumps(content, indent=1) + "\n"
        storage.write_whole(folder / ENSEMBLE_FILE, text.encode(), "start the same command again")

    @classmethod
    def load(cls, folder: Path) -> EnsembleRecord:
        """Read the file.

        Raises:
            RunError: it is missing or damaged.
        """
        path = folder / ENSEMBLE_FILE
        try:
            content = documents.read_json(path)
            if content["format"] != FORMAT:
                raise ValueError
            seeds = tuple(_seed(seed) for seed in content["seeds"])
            if not 1 <= len(seeds) <= MOST_MEMBERS or len(set(seeds)) < len(seeds):
                raise ValueError
            finished = {_seed(int(seed)): _best(each) for seed, each in content["finished"].items()}
            scores = content["scores"]
            if scores is not None:
                scores = {str(name): float(value) for name, value in scores.items()}
            return cls(seeds, finished, scores, dict(content["derived"]))
        except documents.DocumentError as error:
            raise checkpoint.damaged(path, error.problem) from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise checkpoint.damaged(path, "unreadable (unexpected content)") from None


def _as_json(best: Best | None) -> dict[str, Any] | None:
    if best is None:
        return None
    loss = best.loss if math.isfinite(best.loss) else None
    return vars(best) | {"loss": loss, "scores": _finite(best.scores)}


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that are numbers; JSON has no others."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _seed(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _best(value: Any) -> Best | None:
    if value is None:
        return None
    scores = {str(name): float(score) for name, score in value["scores"].items()}
    return Best(
        int(value["step"]),
        str(value["metric"]),
        float(value["value"]),
        math.nan if value["loss"] is None else float(value["loss"]),
        scores,
    )
