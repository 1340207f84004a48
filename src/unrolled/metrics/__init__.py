"""Scores with exact definitions, and signatures that say how each was computed."""
