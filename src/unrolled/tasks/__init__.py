"""The tasks for which a recurrent model can be trained, by name.

The names below are imported when they are first used, because some modules of this folder need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.tasks.predictions import Answer, LabelPrediction, Prediction
    from unrolled.tasks.roles import Tokenizers
    from unrolled.tasks.table import TASKS
    from unrolled.tasks.task import AnyTask, CodeTask, LabelTask, QueryTask, StreamTask, Task

__all__ = [
    "TASKS",
    "Answer",
    "AnyTask",
    "CodeTask",
    "LabelPrediction",
    "LabelTask",
    "Prediction",
    "QueryTask",
    "StreamTask",
    "Task",
    "Tokenizers",
]

_HOME = {
    "TASKS": "table",
    "Tokenizers": "roles",
    **dict.fromkeys(("Answer", "LabelPrediction", "Prediction"), "predictions"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'task')}"), name)
    globals()[name] = value
    return value
