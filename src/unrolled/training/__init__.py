"""The loop that trains a task's model, and what it leaves behind.

The names are loaded when they are asked for: reading a recipe's settings does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled.training.config import TrainingConfig
    from unrolled.training.events import Best, Evaluated, Event, Finished, Saved, Started, Step
    from unrolled.training.loop import Run, fit, train
    from unrolled.training.recipe import Recipe
    from unrolled.training.run_folder import SavedRun, load_run

_MODULES = {
    "TrainingConfig": "config",
    "Best": "events",
    "Evaluated": "events",
    "Event": "events",
    "Finished": "events",
    "Saved": "events",
    "Started": "events",
    "Step": "events",
    "Run": "loop",
    "fit": "loop",
    "train": "loop",
    "Recipe": "recipe",
    "SavedRun": "run_folder",
    "load_run": "run_folder",
}

__all__ = [
    "Best",
    "Evaluated",
    "Event",
    "Finished",
    "Recipe",
    "Run",
    "Saved",
    "SavedRun",
    "Started",
    "Step",
    "TrainingConfig",
    "fit",
    "load_run",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'unrolled.training' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"unrolled.training.{_MODULES[name]}"), name)
