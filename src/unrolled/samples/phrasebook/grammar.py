"""The grammar of the phrasebook: how phrases are built in English and Spanish.

Every rule returns both languages at once, so source and translation result from the same choices.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple

from unrolled.samples.phrasebook import lexicon
from unrolled.samples.phrasebook.inflection import conjugate
from unrolled.samples.phrasebook.lexicon import (
    PLURAL,
    SINGULAR,
    THIRD,
    THIRD_PLURAL,
    Adjective,
    Lexicon,
    Noun,
    Verb,
    read_lexicon,
)

TENSES = ("present", "past", "future", "can", "want", "have")
"""Tenses of a clause; the last three are modal and in the present."""


@cache
def the_lexicon() -> Lexicon:
    """The lexicon, parsed on first use and then cached."""
    return read_lexicon()


class NounPhrase(NamedTuple):
    """A noun phrase in English and Spanish; `person` is one of the five grammatical persons."""

    english: str
    spanish: str
    person: int
    gender: int
    lemma: str
    clitic: str = ""
    subject: bool = True  # False if Spanish omits this pronoun
    human: bool = False


class Finite(NamedTuple):
    """A conjugated verb: English auxiliary and rest (merged for statements), Spanish verb."""

    auxiliary: str
    rest: str
    merged: str
    spanish: str


class Clause(NamedTuple):
    """A clause in English and Spanish, without capital letter and full stop."""

    english: str
    spanish: str
    tense: str


def join(*pieces: str) -> str:
    """Join the non-empty pieces with single spaces.

    >>> join("no", "", "come")
    'no come'
    """
    return " ".join([piece for piece in pieces if piece])


def with_article(phrase: str) -> str:
    """An English phrase with "a" or "an".

    >>> with_article("old man"), with_article("university")
    ('an old man', 'a university')
    """
    vowel = phrase[0] in "aeioueAEIOU" and not phrase.startswith("uni")
    return f"{'an' if vowel else 'a'} {phrase}"


def numbers_of(noun: Noun) -> tuple[int, ...]:
    """The grammatical numbers in which a noun occurs: singular, plural or both.

    >>> [numbers_of(the_lexicon().nouns[lemma]) for lemma in ("girl", "milk", "shoe")]
    [(0, 1), (0,), (1,)]
    """
    if noun.lemma in lexicon.PAIRS:
        return (PLURAL,)
    single = noun.mass or noun.kind == "place" or noun.lemma in lexicon.SINGLE
    return (SINGULAR,) if single else (SINGULAR, PLURAL)


@cache
def fitting(kind: str, settled: bool) -> tuple[Adjective, ...]:
    """Adjectives for a kind of noun; "first" and "last" only if the determiner is definite."""
    return tuple(
        adjective
        for adjective in the_lexicon().adjectives
        if kind in adjective.kinds and (settled or adjective.lemma not in lexicon.NEED_DEFINITE)
    )


@lru_cache(maxsize=1 << 18)
def noun_group(
    noun: Noun, number: int, determiner: str, adjectives: tuple[Adjective, ...], degree: str = ""
) -> tuple[str, str]:
    """A determiner, adjectives and a noun, with Spanish agreement; leading adjectives precede the noun.

    >>> nouns = the_lexicon().nouns
    >>> fast = next(a for a in the_lexicon().adjectives if a.lemma == "fast")
    >>> noun_group(nouns["eagle"], 0, "the", (fast,))
    ('the fast eagle', 'el águila rápida')
    >>> noun_group(nouns["eagle"], 1, "this", (fast,), "very")
    ('these very fast eagles', 'estas águilas muy rápidas')
    """
    form = 2 * number + noun.gender
    leading = [a for a in adjectives if a.leading]
    trailing = [a for a in adjectives if not a.leading]
    english = join(
        *(a.lemma for a in leading),
        degree,
        " and ".join(a.lemma for a in trailing),
        noun.english[number],
    )
    spanish = join(
        *(a.spanish[form] for a in leading),
        noun.spanish[number],
        lexicon.DEGREE.get(degree, ""),
        " y ".join(a.spanish[form] for a in trailing),
    )
    forms = lexicon.DETERMINERS[determiner]
    if determiner == "a" and number == SINGULAR:
        english = with_article(english)
    else:
        english = join(forms[number], english)
    # el águila, un águila: feminine nouns in stressed a- take "el", unless a word is in between.
    takes_el = noun.takes_el and number == SINGULAR and determiner in ("the", "a") and not leading
    return english, join(forms[2] if takes_el else forms[2 + form], spanish)


def finite(verb: Verb, tense: str, person: int, negative: bool = False, clitic: str = "") -> Finite:
    """Conjugate `verb` in one of `TENSES`, the last three of which are modal.

    >>> eat = the_lexicon().verbs["transitive"][0]
    >>> finite(eat, "present", THIRD, negative=True)[2:]
    ('does not eat', 'no come')
    >>> finite(eat, "future", lexicon.FIRST)[2:]
    ('am going to eat', 'voy a comer')
    """
    third = person == THIRD
    do = "does" if third else "do"
    auxiliary, rest, merged = {
        "present": (do, verb.base, verb.third if third else verb.base),
        "past": ("did", verb.base, verb.past),
        "future": (lexicon.BE[0][person], f"going to {verb.base}", ""),
        "can": ("can", verb.base, ""),
        "want": (do, f"want to {verb.base}", f"{'wants' if third else 'want'} to {verb.base}"),
        "have": (do, f"have to {verb.base}", f"{'has' if third else 'have'} to {verb.base}"),
    }[tense]
    if negative:
        merged = f"cannot {rest}" if tense == "can" else f"{auxiliary} not {rest}"
    elif not merged:
        merged = f"{auxiliary} {rest}"
    if tense == "present":
        spanish = verb.present[person]
    elif tense == "past":
        spanish = verb.preterite[person]
    else:
        spanish = f"{_helpers()[tense][person]} {verb.infinitive}"
    particle = f" {verb.particle}" if verb.particle else ""
    return Finite(
        auxiliary,
        rest + particle,
        merged + particle,
        join("no" if negative else "", clitic, spanish),
    )


@cache
def _helpers() -> dict[str, tuple[str, ...]]:
    return {
        "future": tuple(f"{form} a" for form in conjugate("ir")[0]),
        "can": conjugate("poder", "ue")[0],
        "want": conjugate("querer")[0],
        "have": tuple(f"{form} que" for form in conjugate("tener")[0]),
    }


def time_of(tense: str) -> str:
    """The time of a tense: present, past or future; modal tenses count as future."""
    return tense if tense in ("present", "past") else "future"


def possible_tense(verb: Verb, tense: str, negative: bool) -> str:
    """The tense, or the present if the verb does not occur in it."""
    # States only occur in the present; "they read" would be ambiguous between present and past.
    if verb.state or (tense == "past" and verb.past == verb.base and not negative):
        return "present"
    return tense


def agreeing(adjective: Adjective, actor: NounPhrase) -> str:
    """The Spanish form of an adjective that agrees with its subject."""
    return adjective.spanish[2 * (actor.person == THIRD_PLURAL) + actor.gender]


def object_phrase(phrase: NounPhrase, verb: Verb | None = None) -> str:
    """The Spanish object of `verb`, after its preposition, or after *a* for a person."""
    if verb is not None and verb.preposition:
        return f"{verb.preposition} {phrase.spanish}"
    return f"a {phrase.spanish}" if phrase.human else phrase.spanish


def finish(english: str, spanish: str, question: bool = False) -> tuple[str, str]:
    """Apply contractions, replace *y* before i-, and add capital letters and final punctuation.

    >>> finish("I go to the market", "voy a el mercado")
    ('I go to the market.', 'Voy al mercado.')
    >>> finish("where is the hotel", "dónde está el hotel", question=True)
    ('Where is the hotel?', '¿Dónde está el hotel?')
    """
    spanish = f" {spanish}".replace(" a el ", " al ").replace(" de el ", " del ")
    spanish = re.sub(r" y (?=i|hi(?![aeo]))", " e ", spanish).lstrip()
    english = english[0].upper() + english[1:]
    spanish = spanish[0].upper() + spanish[1:]
    if question:
        return f"{english}?", f"¿{spanish}?"
    return f"{english}.", f"{spanish}."
