"""The task `code`: code that does what a description says."""

from unrolled.tasks.code.task import TASK

__all__ = ["TASK"]
