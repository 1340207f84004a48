"""The English-Spanish phrasebook, generated from a grammar."""

from unrolled.samples.phrasebook.generator import generate, write

__all__ = ["generate", "write"]
