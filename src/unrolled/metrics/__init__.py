"""Scores with exact definitions, and signatures that record how each was computed."""
