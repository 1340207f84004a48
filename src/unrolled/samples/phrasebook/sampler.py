"""Random sentences from the grammar of the phrasebook, in both languages.

Each clause has a (subject, verb, object) lemma triple, and a `SentenceSampler` only uses the triples of
one split. So training and test sentences share all words, but no triple.
"""

from __future__ import annotations

from random import Random

from unrolled.samples.phrasebook.questions import question
from unrolled.samples.phrasebook.sentence_state import Part, SentenceState, Triple
from unrolled.samples.phrasebook.statements import statement

# Cumulative probabilities of 0, 1, 2, ... extensions. The training set has more short sentences, from
# which words are learned fastest; the other splits have sentences of every length.
_EXTENSIONS = {
    "train": (0.52, 0.74, 0.85, 0.91, 0.95, 0.98, 1.0),
    "valid": (0.32, 0.54, 0.70, 0.81, 0.89, 0.95, 1.0),
    "test": (0.32, 0.54, 0.70, 0.81, 0.89, 0.95, 1.0),
}


class SentenceSampler:
    """Draws random sentences whose triples all belong to one split.

    Args:
        random: the only source of randomness; only its `random()` is used, which gives the same stream on
            every platform and Python version.
        part: the split to which every triple must belong.
    """

    def __init__(self, random: Random, part: Part) -> None:
        self._random, self._part = random.random, part

    def sentence(self) -> tuple[str, str, tuple[Triple, ...]]:
        """An English sentence, its translation, and the triples it contains."""
        while True:
            state = SentenceState(self._random, self._part)
            state.budget = state.weighted(_EXTENSIONS[self._part])
            state.asking = state.chance(0.22)
            said = question(state) if state.asking else statement(state)
            if said is not None:
                return (*said, tuple(dict.fromkeys(state.triples)))
