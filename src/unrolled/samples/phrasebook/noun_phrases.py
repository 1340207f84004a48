"""Noun phrases: subjects, objects and places, with relative clauses."""

from __future__ import annotations

from functools import cache

from unrolled.samples.phrasebook import lexicon
from unrolled.samples.phrasebook.grammar import (
    Clause,
    NounPhrase,
    finite,
    fitting,
    join,
    noun_group,
    numbers_of,
    object_phrase,
    possible_tense,
    the_lexicon,
)
from unrolled.samples.phrasebook.lexicon import (
    PLURAL,
    SINGULAR,
    THIRD,
    THIRD_PLURAL,
    Adjective,
    Noun,
    Verb,
)
from unrolled.samples.phrasebook.sentence_state import SentenceState

_STATED_PRONOUNS = ("I", "I", "I", "we", "we", "we", "he", "she", "they")
_ASKED_PRONOUNS = ("you", "you", "you", "you", "he", "she", "they")


def choose_adjectives(
    state: SentenceState, noun: Noun, definite: bool
) -> tuple[tuple[Adjective, ...], str]:
    """Zero, one or two random adjectives that fit the noun, and a degree."""
    draw = state.random()
    if draw < 0.62:
        return (), ""
    choice = fitting(noun.kind, definite and not noun.mass)
    first = state.pick(choice)
    if draw < 0.90 or first.leading or first.lemma in lexicon.ALONE:
        return (first,), ""
    if draw < 0.95:
        return (first,), "very"
    second = state.pick(choice)
    pair = frozenset({first.lemma, second.lemma})
    if second.leading or second.lemma in lexicon.ALONE or len(pair) == 1:
        return (first,), ""
    return ((first,), "") if pair in lexicon.OPPOSITES else ((first, second), "")


def noun_phrase(
    state: SentenceState,
    noun: Noun,
    role: str = "subject",
    definite: bool = False,
    relative: float = 0.3,
) -> NounPhrase:
    """A random phrase with `noun`; `role` is "subject" or "object" (objects may have no article)."""
    numbers = numbers_of(noun)
    number = numbers[-1] if state.chance(0.35) else numbers[0]
    kin = noun.lemma in lexicon.KIN
    ownable = noun.lemma in lexicon.OWNABLE or noun.kind not in ("person", "animal", "place")
    bare = role == "object" and noun.kind != "person" and (noun.mass or number == PLURAL)
    draw = state.random()
    if draw < (0.30 if kin else 0.48):
        determiner = "the"
    elif not kin and not definite and draw < 0.64:
        determiner = "" if bare else "the" if noun.mass else "a"
    elif not kin and not definite and draw < 0.72:
        determiner = state.pick(("two", "three", "many")) if number == PLURAL else "the"
    elif ownable:
        owners = ("my", "my", "our", "our", "his", "her", "your")
        determiner = state.pick(owners if kin else ("this", "this", *owners))
    else:
        determiner = state.pick(("the", "this"))
    settled = determiner in ("the", "my", "our", "his", "her", "your")
    adjectives, degree = choose_adjectives(state, noun, settled)
    english, spanish = noun_group(noun, number, determiner, adjectives, degree)
    person = THIRD_PLURAL if number == PLURAL else THIRD
    if determiner in ("the", "a", "two", "three", "many") and state.spend(relative):
        clause = _relative(state, noun, person)
        if clause is not None:
            english, spanish = f"{english} {clause.english}", f"{spanish} {clause.spanish}"
    return NounPhrase(
        english,
        spanish,
        person,
        noun.gender,
        noun.lemma,
        clitic="les" if number == PLURAL else "le",
        human=noun.kind == "person",
    )


def _relative(state: SentenceState, noun: Noun, person: int) -> Clause | None:
    tense = state.pick(("present", "past", "past"))
    if noun.kind in ("person", "animal"):
        for _ in range(80):
            frame = state.pick(("transitive", "transitive", "prepositional", "intransitive"))
            verb = state.pick(the_lexicon().verbs[frame])
            object_ = state.pick(verb.objects) if verb.objects else None
            lemma = object_.lemma if object_ else ""
            if noun in verb.subjects and state.allows(noun.lemma, verb.lemma, lemma):
                break
        else:
            return None
        tense = possible_tense(verb, tense, False)
        negative = state.chance(0.1)
        said = finite(verb, tense, person, negative)
        opening = "who" if noun.kind == "person" else "that"
        english, spanish = f"{opening} {said.merged}", f"que {said.spanish}"
        state.say(noun.lemma, verb.lemma, lemma)
        if object_ is not None:
            phrase = object_of(state, verb, object_, relative=0.1, affirmative=not negative)
            english = f"{english} {phrase.english}"
            spanish = f"{spanish} {object_phrase(phrase, verb)}"
        return Clause(english, spanish, tense)
    for _ in range(80):
        verb = state.pick(_verbs_taking(noun))
        subject = choose_subject(state, verb)
        if subject != "you" and state.allows(subject, verb.lemma, noun.lemma):
            break
    else:
        return None
    state.say(subject, verb.lemma, noun.lemma)
    actor = subject_phrase(state, subject, relative=0.0)
    tense = possible_tense(verb, tense, False)
    said = finite(verb, tense, actor.person)
    return Clause(
        join("that", actor.english, said.merged),
        join("que", actor.spanish, said.spanish),
        tense,
    )


def choose_pronoun(state: SentenceState, rate: float) -> str:
    """A random pronoun, or ""; `you` only occurs in questions, `I` and `we` only in statements."""
    if not state.chance(rate):
        return ""
    return state.pick(_ASKED_PRONOUNS if state.asking else _STATED_PRONOUNS)


def choose_subject(state: SentenceState, verb: Verb) -> str:
    """The lemma of a random subject of the verb: a pronoun or a noun."""
    return choose_pronoun(state, 0.42) or state.pick(verb.subjects).lemma


def subject_phrase(state: SentenceState, lemma: str, relative: float = 0.3) -> NounPhrase:
    """The phrase of a pronoun or noun from `choose_subject`."""
    if lemma in lexicon.PRONOUNS:
        person, spanish, clitic = lexicon.PRONOUNS[lemma]
        gender = lexicon.FEMININE if lemma == "she" else lexicon.MASCULINE
        return NounPhrase(lemma, spanish, person, gender, lemma, clitic, bool(spanish))
    return noun_phrase(state, the_lexicon().nouns[lemma], relative=relative)


def object_of(
    state: SentenceState, verb: Verb, noun: Noun, relative: float = 0.3, affirmative: bool = True
) -> NounPhrase:
    """The phrase of an object of `verb`."""
    # "does not buy some apples" would not be English; a person who is looked for is a specific one.
    definite = not affirmative or (noun.kind in ("person", "place") and verb.state)
    definite = definite or (noun.kind == "person" and verb.particle == "for")
    definite = definite or verb.frame == "prepositional"
    return noun_phrase(state, noun, "object", definite, relative)


def definite_group(state: SentenceState, noun: Noun) -> tuple[str, str]:
    """The phrase of a place or destination: singular and definite."""
    determiner = state.pick(("the", "the", "the", "the", "the", "this", "our"))
    adjectives, degree = choose_adjectives(state, noun, True)
    return noun_group(noun, SINGULAR, determiner, adjectives[:1], degree)


def place_phrase(state: SentenceState) -> tuple[str, str, str]:
    """A random place in English and Spanish, and its lemma."""
    noun = state.pick(the_lexicon().kinds["place"])
    english, spanish = definite_group(state, noun)
    if state.chance(0.35):
        near = state.pick(tuple(lexicon.NEARNESS))
        near = "near" if noun.lemma in lexicon.WIDE_PLACES and near != "far from" else near
        return f"{near} {english}", f"{lexicon.NEARNESS[near]} {spanish}", noun.lemma
    on, at = noun.lemma in lexicon.ON_PLACES, noun.lemma in lexicon.AT_PLACES
    return f"{'on' if on else 'at' if at else 'in'} {english}", f"en {spanish}", noun.lemma


@cache
def _verbs_taking(noun: Noun) -> tuple[Verb, ...]:
    return tuple(verb for verb in the_lexicon().verbs["transitive"] if noun in verb.objects)
