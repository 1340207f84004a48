"""The task `sql`: queries that answer questions about a database."""

from unrolled.tasks.sql.model import QueryConfig
from unrolled.tasks.sql.task import TASK

__all__ = ["TASK", "QueryConfig"]
