"""The tasks for which a recurrent model can be trained, by name."""

from __future__ import annotations

from unrolled.tasks import classify, language_model, pair, translate
from unrolled.tasks.code import task as code
from unrolled.tasks.sql import task as sql
from unrolled.tasks.tag import task as tag
from unrolled.tasks.task import AnyTask

TASKS: dict[str, AnyTask] = {
    task.name: task
    for task in (
        translate.TASK,
        language_model.TASK,
        classify.TASK,
        pair.TASK,
        tag.TASK,
        sql.TASK,
        code.TASK,
    )
}
