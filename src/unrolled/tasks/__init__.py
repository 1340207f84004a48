"""The jobs a recurrent model can be trained for, by name."""

from unrolled.tasks import translate
from unrolled.tasks.task import Answer, Prediction, Task, Tokenizers

TASKS: dict[str, Task] = {translate.TASK.name: translate.TASK}

__all__ = ["TASKS", "Answer", "Prediction", "Task", "Tokenizers"]
