"""Trained runs as Python objects: one class per kind of task."""
