"""Compute co-occurrence counts from text."""
