"""How much of `training.max_minutes` is left for updates: what comes before and after them counts too."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_RESERVED = 0.5
"""Share of the time after preparation; a slow evaluation must not end training at once."""


@dataclass
class Ending:
    """Seconds that the end of training takes, from the last time each of them was done; None if never.

    Args:
        evaluation_seconds: duration of an evaluation.
        scoring_seconds: duration of computing the scores that evaluations leave out.
        saving_seconds: duration of writing a checkpoint.
    """

    evaluation_seconds: float | None = None
    scoring_seconds: float | None = None
    saving_seconds: float | None = None

    def most_seconds_trained(self, limit: float, preparing_seconds: float) -> float:
        """Seconds for updates, and for the evaluations and checkpoints among them.

        Args:
            limit: seconds for the whole run.
            preparing_seconds: seconds of them that preparation took.

        >>> Ending(evaluation_seconds=5.0, saving_seconds=1.0).most_seconds_trained(60.0, 10.0)
        44.0
        """
        left = limit - preparing_seconds
        parts = (self.evaluation_seconds, self.scoring_seconds, self.saving_seconds)
        return left - min(sum(part or 0.0 for part in parts), _MOST_RESERVED * max(0.0, left))
