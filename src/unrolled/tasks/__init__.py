"""The jobs a recurrent model can be trained for, by name."""

from unrolled.tasks import language_model, translate
from unrolled.tasks.task import Answer, AnyTask, Prediction, StreamTask, Task, Tokenizers

TASKS: dict[str, AnyTask] = {task.name: task for task in (translate.TASK, language_model.TASK)}

__all__ = ["TASKS", "Answer", "AnyTask", "Prediction", "StreamTask", "Task", "Tokenizers"]
