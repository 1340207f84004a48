"""A generated English-Spanish phrasebook, included in the package.

The training, validation and test sets share all words, but no (subject, verb, object) lemma triple. So a
test sentence only has triples that do not occur in the training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from random import Random

from unrolled.samples.files import write_parts
from unrolled.samples.phrasebook import lexicon as words
from unrolled.samples.phrasebook.grammar import fitting, numbers_of, the_lexicon
from unrolled.samples.phrasebook.lexicon import Noun
from unrolled.samples.phrasebook.sampler import SentenceSampler
from unrolled.samples.phrasebook.sentence_state import Part, Triple

MIN_WORDS, MAX_WORDS = 3, 40
"""Minimum and maximum number of words in each language, separated by spaces."""

PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Phrase:
    """An English sentence, its Spanish translation, and its lemma triples."""

    source: str
    target: str
    triples: tuple[Triple, ...]


@dataclass(frozen=True)
class Phrasebook:
    """Three splits without common sentences or triples."""

    train: list[Phrase]
    valid: list[Phrase]
    test: list[Phrase]


def generate(
    n_train: int = 30_000, n_valid: int = 500, n_test: int = 1_000, seed: int = 1
) -> Phrasebook:
    """Generate a phrasebook; the same arguments give the same sentences on every machine.

    Each split has its own random stream, so a larger training set begins with the smaller one, and the
    validation and test sets do not depend on its size.

    >>> book = generate(n_train=3, n_valid=1, n_test=1)
    >>> len(book.train), len(book.valid), len(book.test)
    (3, 1, 1)
    >>> generate(n_train=2, n_valid=1, n_test=1).train == book.train[:2]
    True
    """
    sizes = dict(zip(PARTS, (n_train, n_valid, n_test), strict=True))
    train, valid, test = (_speak(part, sizes[part], seed) for part in PARTS)
    return Phrasebook(train, valid, test)


def _speak(part: Part, n_phrases: int, seed: int) -> list[Phrase]:
    sampler = SentenceSampler(Random(len(PARTS) * seed + PARTS.index(part)), part)
    phrases: dict[str, Phrase] = {}
    while len(phrases) < n_phrases:
        source, target, triples = sampler.sentence()
        shorter, longer = sorted((source.count(" ") + 1, target.count(" ") + 1))
        fits = shorter >= MIN_WORDS and longer <= MAX_WORDS
        if fits and source not in phrases:
            phrases[source] = Phrase(source, target, triples)
    return list(phrases.values())


def write(folder: str | PathLike[str], phrasebook: Phrasebook) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `en<tab>es`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {}
    for part in PARTS:
        lines = [f"{phrase.source}\t{phrase.target}\n" for phrase in getattr(phrasebook, part)]
        contents[f"{part}.tsv"] = "".join(["en\tes\n", *lines])
    write_parts(folder, contents, "the phrasebook")


def lemmas() -> dict[str, tuple[str, ...]]:
    """The English lemmas of the grammar, by word class.

    >>> "teacher" in lemmas()["noun"], "look for" in lemmas()["verb"]
    (True, True)
    """
    lexicon = the_lexicon()
    verbs = [verb.lemma for frame in lexicon.verbs.values() for verb in frame]
    adverbs = {*words.FREQUENCY, *words.MANNER, *words.DEGREE}
    adverbs.update(time for times in words.WHEN.values() for time in times if " " not in time)
    return {
        "noun": tuple(lexicon.nouns),
        "verb": tuple(dict.fromkeys([*verbs, "be", "like", "can"])),
        "adjective": (*(adjective.lemma for adjective in lexicon.adjectives), *words.HAVING),
        "adverb": tuple(sorted(adverbs)),
    }


def count() -> int:
    """A lower bound on the number of different English sentences of the grammar.

    It only counts statements of one clause, "the [adjective] noun verb the [adjective] noun", in three
    tenses, affirmative or negative. Each choice changes the words, so all of them are different.

    >>> count() > 10**7
    True
    """

    def phrases(noun: Noun) -> int:
        return len(numbers_of(noun)) * (1 + len(fitting(noun.kind, not noun.mass)))

    total = 0
    for verb in the_lexicon().verbs["transitive"]:
        # States only occur in the present, and "read" looks the same in the present and the past.
        tenses = 1 if verb.state else 3 if verb.past != verb.base else 2
        same = sum(phrases(noun) ** 2 for noun in verb.subjects if noun in verb.objects)
        pairs = sum(map(phrases, verb.subjects)) * sum(map(phrases, verb.objects)) - same
        total += 2 * tenses * pairs
    return total
