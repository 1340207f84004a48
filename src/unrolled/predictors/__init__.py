"""Trained runs as Python objects: one class for each kind of task."""
