"""Generated sentences for tagging, in which word order determines parts of speech and noun phrases.

In "the guards ship plants" and "the ship guards plants", most words can be nouns or verbs, depending on
the words around them. *Clean* is an adjective or a verb, *that* a determiner, a pronoun or a conjunction,
*her* a determiner or a pronoun, *to* a preposition or a particle, *like* a verb or a preposition, *can*
an auxiliary or a noun. A tagger that gives each word its most frequent tag is wrong for one word in ten.

A file has three columns: the word, its part of speech (those of Universal Dependencies), and whether a
noun phrase begins (B-NP) or continues (I-NP) there, as in the shared task of CoNLL-2000. The splits share
their words, but no combination of subject, verb and object.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from os import PathLike
from random import Random
from typing import NamedTuple

from unrolled.samples.files import write_parts
from unrolled.samples.phrasebook.grammar import fitting, numbers_of, the_lexicon, with_article
from unrolled.samples.phrasebook.inflection import english_plural, english_third
from unrolled.samples.phrasebook.sentence_state import Part, SentenceState

PARTS: tuple[Part, ...] = ("train", "valid", "test")


class Token(NamedTuple):
    """A word, its part of speech, and its position in a noun phrase."""

    text: str
    pos: str
    chunk: str = "O"


@dataclass(frozen=True)
class TaggingSample:
    """Three splits without common combinations of subject, verb and object."""

    train: list[list[Token]]
    valid: list[list[Token]]
    test: list[list[Token]]


def generate(
    n_train: int = 2_000, n_valid: int = 250, n_test: int = 500, seed: int = 1
) -> TaggingSample:
    """Generate the sample; the same arguments give the same sentences on every machine.

    Each split has its own random stream, so a larger training set begins with the smaller one, and the
    validation and test sets do not depend on its size.

    >>> sample = generate(n_train=3, n_valid=1, n_test=1)
    >>> sample.train == generate(n_train=5, n_valid=1, n_test=1).train[:3]
    True
    """
    sizes = dict(zip(PARTS, (n_train, n_valid, n_test), strict=True))
    train, valid, test = (_part(part, sizes[part], seed) for part in PARTS)
    return TaggingSample(train, valid, test)


def write(folder: str | PathLike[str], sample: TaggingSample) -> None:
    """Write train.conll, valid.conll and test.conll: word, part of speech, noun phrase.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {}
    for part in PARTS:
        sentences = getattr(sample, part)
        blocks = ["".join(f"{' '.join(token)}\n" for token in sentence) for sentence in sentences]
        contents[f"{part}.conll"] = "\n".join(blocks)
    write_parts(folder, contents)


def _part(part: Part, n_sentences: int, seed: int) -> list[list[Token]]:
    random = Random(len(PARTS) * seed + PARTS.index(part)).random
    sentences: dict[tuple[Token, ...], None] = {}
    while len(sentences) < n_sentences:
        tokens = _sentence(SentenceState(random, part))
        first = tokens[0]
        sentences[(first._replace(text=first.text[0].upper() + first.text[1:]), *tokens[1:])] = None
    return [list(sentence) for sentence in sentences]


# The words


class _Noun(NamedTuple):
    lemma: str
    plural: str
    kind: str  # determines which adjectives fit


class _Verb(NamedTuple):
    base: str
    third: str
    past: str


_BOTH_PERSONS = ("guard", "judge", "guide", "coach", "host", "pilot", "nurse", "cook")
_BOTH_THINGS = (
    *("ship", "plant", "film", "book", "phone", "stamp", "map", "box", "light"),
    *("store", "lock", "brush", "watch", "park", "paint", "bottle", "cage", "tape"),
)
"""Nouns whose singular is also a verb, and whose plural is its third person."""
_DOUBLED = {"ship": "shipped", "map": "mapped"}
_BOTH_MOVES = ("walk", "march", "dance", "work", "rest", "turn", "race", "rush")
"""Intransitive verbs that are also nouns."""
_BOTH_QUALITIES = ("clean", "open", "warm", "dry", "empty", "cool", "free", "calm")
"""Adjectives that are also transitive verbs."""
_LINKS = (("and", "CCONJ"), ("but", "CCONJ"), ("because", "SCONJ"), ("when", "SCONJ"))
_ADVERBS = ("today", "slowly", "often", "again", "here", "quietly")
_PLACES = ("to", "near", "behind", "with", "like")
_SUBJECTS = (("he", True), ("she", True), ("they", False), ("we", False))
_OBJECTS = ("him", "her", "them", "us", "her")


@cache
def _nouns(kind: str) -> tuple[_Noun, ...]:
    """Nouns that are also verbs, and the same number of other nouns from the phrasebook."""
    both = _BOTH_PERSONS if kind == "person" else (*_BOTH_THINGS, *_BOTH_MOVES, "can")
    nouns = [_Noun(lemma, english_plural(lemma), kind) for lemma in both]
    kinds = ("person",) if kind == "person" else ("object", "vehicle", "animal")
    plain = (noun for other in kinds for noun in the_lexicon().kinds[other])
    counted = [noun for noun in plain if len(numbers_of(noun)) == 2 and noun.lemma not in both]
    nouns += [_Noun(noun.lemma, noun.english[1], noun.kind) for noun in counted[: len(both)]]
    return tuple(nouns)


@cache
def _verbs() -> tuple[_Verb, ...]:
    both = (*_BOTH_PERSONS, *_BOTH_THINGS, *_BOTH_QUALITIES)
    plain = [verb for verb in the_lexicon().verbs["transitive"] if not verb.particle]
    return (
        *(_regular(base) for base in both),
        *(_Verb(verb.base, verb.third, verb.past) for verb in plain),
        *[_regular("like")] * 4,
    )


def _regular(base: str) -> _Verb:
    past = _DOUBLED.get(base, base + ("d" if base.endswith("e") else "ed"))
    past = "dried" if base == "dry" else "emptied" if base == "empty" else past
    return _Verb(base, english_third(base), past)


@cache
def _adjectives(kind: str) -> tuple[str, ...]:
    plain = [adjective.lemma for adjective in fitting(kind, False)]
    return (*_BOTH_QUALITIES, *plain[: len(_BOTH_QUALITIES)])


# The grammar


def _sentence(state: SentenceState) -> list[Token]:
    if state.chance(0.12):
        return [*_question(state), Token("?", "PUNCT")]
    tokens = _clause(state)
    if state.chance(0.15):
        verb = state.pick((_Verb("say", "says", "said"), _Verb("think", "thinks", "thought")))
        subject, third, _ = _subject(state)
        tokens = [*subject, _inflected(state, verb, third), Token("that", "SCONJ"), *tokens]
    elif state.chance(0.3):
        tokens = [*tokens, Token(*state.pick(_LINKS)), *_clause(state)]
    return [*tokens, Token(".", "PUNCT")]


def _clause(state: SentenceState) -> list[Token]:
    if state.chance(0.25):
        return _move(state)
    subject, third, lemma = _subject(state)
    verb, object_ = _action(state, lemma)
    if state.chance(0.15) and subject[-1].pos == "NOUN":
        subject = [*subject, *_relative(state)]
    return [*subject, *_finite(state, verb, third), *object_, *_ending(state)]


def _question(state: SentenceState) -> list[Token]:
    subject, third, lemma = _subject(state)
    verb, object_ = _action(state, lemma)
    opening = state.pick(("can", "will", "does" if third else "do", "did"))
    return [Token(opening, "AUX"), *subject, Token(verb.base, "VERB"), *object_]


def _move(state: SentenceState) -> list[Token]:
    """A clause with a verb of motion and a place, or a comparison with somebody else."""
    subject, third, lemma = _subject(state)
    while True:
        verb = state.pick(_BOTH_MOVES)
        place = state.pick(_PLACES)
        noun = state.pick(_nouns("person" if place in ("with", "like") else "thing"))
        if state.allows(lemma, verb, noun.lemma):
            break
    tokens = [*subject, *_finite(state, _regular(verb), third)]
    return [*tokens, Token(place, "ADP"), *_phrase(state, noun), *_ending(state)]


def _subject(state: SentenceState) -> tuple[list[Token], bool, str]:
    """The subject, whether it takes the third person singular, and its lemma."""
    if state.chance(0.2):
        pronoun, third = state.pick(_SUBJECTS)
        return [Token(pronoun, "PRON", "B-NP")], third, pronoun
    noun = state.pick(_nouns("person" if state.chance(0.75) else "thing"))
    plural = state.chance(0.5)
    return _phrase(state, noun, plural), not plural, noun.lemma


def _action(state: SentenceState, subject: str) -> tuple[_Verb, list[Token]]:
    """A verb and its object whose triple belongs to the split."""
    while True:
        verb = state.pick(_verbs())
        if state.chance(0.12):
            pronoun = state.pick(_OBJECTS)
            object_, lemma = [Token(pronoun, "PRON", "B-NP")], pronoun
        else:
            noun = state.pick(_nouns("person" if state.chance(0.3) else "thing"))
            object_, lemma = _phrase(state, noun), noun.lemma
        if subject != lemma and state.allows(subject, verb.base, lemma):
            return verb, object_


def _phrase(state: SentenceState, noun: _Noun, plural: bool | None = None) -> list[Token]:
    """A noun phrase; plurals may have no determiner."""
    plural = state.chance(0.5) if plural is None else plural
    adjectives = [state.pick(_adjectives(noun.kind))] if state.chance(0.3) else []
    rest = [*adjectives, noun.plural if plural else noun.lemma]
    if plural:
        opening = state.pick(
            ("the", "the", "these", "those", "her", "my", "some", "two", "", "", "", "")
        )
    else:
        opening = state.pick(("the", "the", "this", "that", "that", "her", "her", "my", "a"))
        opening = with_article(rest[0]).split()[0] if opening == "a" else opening
    words = [(opening, "NUM" if opening == "two" else "DET")] if opening else []
    words += [*((adjective, "ADJ") for adjective in adjectives), (rest[-1], "NOUN")]
    return [
        Token(text, pos, "I-NP" if place else "B-NP") for place, (text, pos) in enumerate(words)
    ]


def _relative(state: SentenceState) -> list[Token]:
    """A relative clause whose object is the noun before it, such as "that guards film"."""
    subject, third, lemma = _subject(state)
    while True:
        verb = state.pick(_verbs())
        if state.allows(lemma, verb.base, ""):
            break
    that = Token("that", "PRON", "B-NP")
    return [that, *subject, _inflected(state, verb, third)]


def _ending(state: SentenceState) -> list[Token]:
    """An adverb, a place, or nothing."""
    if state.chance(0.2):
        return [Token(state.pick(_ADVERBS), "ADV")]
    if state.chance(0.15):
        return [Token(state.pick(_PLACES), "ADP"), *_phrase(state, state.pick(_nouns("thing")))]
    return []


def _finite(state: SentenceState, verb: _Verb, third: bool) -> list[Token]:
    draw = state.random()
    base = Token(verb.base, "VERB")
    if draw < 0.70:
        return [_inflected(state, verb, third)]
    if draw < 0.82:
        return [Token(state.pick(("can", "can", "will")), "AUX"), base]
    if draw < 0.92:
        wants = Token("wants" if third else "want", "VERB")
        return [wants, Token("to", "PART"), base]
    return [Token("does" if third else "do", "AUX"), Token("not", "PART"), base]


def _inflected(state: SentenceState, verb: _Verb, third: bool) -> Token:
    if state.chance(0.2):
        return Token(verb.past, "VERB")
    return Token(verb.third if third else verb.base, "VERB")
