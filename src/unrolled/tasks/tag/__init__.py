"""Tagging: one label for each token."""

from unrolled.tasks.tag.model import TagConfig

__all__ = ["TagConfig"]
