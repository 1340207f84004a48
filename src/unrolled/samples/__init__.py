"""A phrasebook the project writes itself, and the baseline that a translator must beat on it."""

from unrolled.samples.phrasebook.generator import Phrase, Phrasebook, count, generate, lemmas, write
from unrolled.baselines.retrieval import RetrievalBaseline

__all__ = ["Phrase", "Phrasebook", "RetrievalBaseline", "count", "generate", "lemmas", "write"]
