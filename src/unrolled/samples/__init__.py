"""Generated data sets."""

from unrolled.samples.phrasebook.generator import Phrase, Phrasebook, count, generate, lemmas, write
