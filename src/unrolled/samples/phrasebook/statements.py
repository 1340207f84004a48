"""Statements: a clause, an optional opening, and linked clauses."""

from __future__ import annotations

from unrolled.samples.phrasebook.clauses import say_clause
from unrolled.samples.phrasebook.grammar import (
    TENSES,
    Clause,
    finish,
    finite,
    join,
    the_lexicon,
    time_of,
)
from unrolled.samples.phrasebook.noun_phrases import choose_subject, subject_phrase
from unrolled.samples.phrasebook.sentence_state import SentenceState

# Linking words after a clause, by its time: English, Spanish, possible tenses of the next clause.
_LINKS = {
    "present": (
        (" because", " porque", ("present",)),
        (" when", " cuando", ("present",)),
        (" while", " mientras", ("present",)),
        (", but", ", pero", ("present", "past", "future", "can")),
        (", and", " y", ("present", "present", "future", "can")),
        (", although", ", aunque", ("present",)),
    ),
    "past": (
        (" because", " porque", ("past",)),
        (" when", " cuando", ("past",)),
        (", but", ", pero", ("past", "past", "future", "present")),
        (", and", " y", ("past",)),
        (", although", ", aunque", ("past",)),
    ),
    "future": (
        (" because", " porque", ("present", "want", "have")),
        (", but", ", pero", ("present", "past", "want", "have")),
        (", and", " y", ("future", "present", "can")),
        (", although", ", aunque", ("present",)),
    ),
}


def statement(state: SentenceState) -> tuple[str, str] | None:
    """A random statement in English and Spanish; None if the draws do not fit together."""
    said = say_clause(state, TENSES[state.weighted((0.40, 0.74, 0.88, 0.92, 0.96, 1.0))])
    if said is None:
        return None
    english, spanish = said.english, said.spanish
    # At most one opening: "if ..., " or "the teacher says that ...".
    if state.spend(0.12):
        front = _reporting(state)
        if front is not None:
            english, spanish = f"{front[0]} {english}", f"{front[1]} {spanish}"
    elif said.tense != "past" and state.spend(0.12):
        condition = following(state, ("present",))
        if condition is not None:
            english = f"if {condition.english}, {english}"
            spanish = f"si {condition.spanish}, {spanish}"
    return finish(*_linked(state, english, spanish, said.tense))


def _reporting(state: SentenceState) -> tuple[str, str] | None:
    """An opening such as "the teacher says that", in English and Spanish."""
    for _ in range(80):
        verb = state.pick(the_lexicon().verbs["reporting"])
        lemma = choose_subject(state, verb)
        if state.allows(lemma, verb.lemma, ""):
            state.say(lemma, verb.lemma, "")
            actor = subject_phrase(state, lemma, 0.1)
            said = finite(verb, "present", actor.person)
            return (
                f"{actor.english} {said.merged} that",
                join(actor.spanish, said.spanish, "que"),
            )
    return None


def _linked(state: SentenceState, english: str, spanish: str, tense: str) -> tuple[str, str]:
    """Add further clauses while the budget lasts; each linking word is used at most once."""
    used: set[str] = set()
    attempts = 0
    while state.budget > 0 and attempts < 12:
        attempts += 1
        link, translation, tenses = state.pick(_LINKS[time_of(tense)])
        if link in used:
            continue
        state.budget -= 1
        if link in (", but", ", and"):
            state.timed = False
        more = following(state, tenses, events=link in (" when", " while"))
        if more is None:
            continue
        used.add(link)
        if link in (", but", ", although"):
            used.update((", but", ", although"))
        tense = more.tense
        english = f"{english}{link} {more.english}"
        spanish = f"{spanish}{translation} {more.spanish}"
    return english, spanish


def following(state: SentenceState, tenses: tuple[str, ...], events: bool = False) -> Clause | None:
    """A further clause in one of these tenses; None, without new triples, if the draws do not fit."""
    said_before = len(state.triples)
    clause = say_clause(state, state.pick(tenses), events)
    if clause is not None and clause.tense in tenses:
        return clause
    del state.triples[said_before:]
    return None
