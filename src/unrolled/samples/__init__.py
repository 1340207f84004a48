"""Data sets that the toolkit generates."""

from unrolled.samples.phrasebook.generator import Phrase, Phrasebook, count, generate, lemmas, write
