"""The phrases around a verb: subject, object, time, place and company."""

from __future__ import annotations

from unrolled.samples.phrasebook import lexicon
from unrolled.samples.phrasebook.grammar import (
    NounPhrase,
    join,
    object_phrase,
    the_lexicon,
    time_of,
)
from unrolled.samples.phrasebook.lexicon import THIRD_PLURAL, Noun, Verb
from unrolled.samples.phrasebook.noun_phrases import (
    choose_subject,
    definite_group,
    noun_phrase,
    object_of,
    place_phrase,
    subject_phrase,
)
from unrolled.samples.phrasebook.sentence_state import SentenceState


def draw_triple(state: SentenceState, frame: str) -> tuple[Verb, str, Noun | None]:
    """A verb of this kind, the lemma of its subject, and its object, as a triple of the split."""
    verbs = the_lexicon().verbs[frame]
    while True:
        verb = state.pick(verbs)
        subject = choose_subject(state, verb)
        object_ = state.pick(verb.objects) if verb.objects else None
        lemma = object_.lemma if object_ else ""
        if subject != lemma and state.allows(subject, verb.lemma, lemma):
            state.say(subject, verb.lemma, lemma)
            return verb, subject, object_


def actor_phrase(
    state: SentenceState, verb: Verb, lemma: str, object_: str, relative: float = 0.2
) -> NounPhrase:
    """The subject; with a probability of 8%, two subjects joined by "and" unless it is a pronoun."""
    if lemma not in lexicon.PRONOUNS and state.chance(0.08):
        other = state.pick(verb.subjects).lemma
        if other not in (lemma, object_) and state.allows(other, verb.lemma, object_):
            state.say(other, verb.lemma, object_)
            first, second = subject_phrase(state, lemma, 0.0), subject_phrase(state, other, 0.0)
            return first._replace(
                english=f"{first.english} and {second.english}",
                spanish=f"{first.spanish} y {second.spanish}",
                person=THIRD_PLURAL,
                clitic="les",
            )
    return subject_phrase(state, lemma, relative)


def complement(
    state: SentenceState,
    verb: Verb,
    subject: str,
    object_: Noun | None,
    affirmative: bool,
    relative: float,
) -> tuple[str, str, str]:
    """The complement of a verb in English and Spanish, and the Spanish clitic that doubles it."""
    if object_ is None:
        return "", "", ""
    if verb.frame == "prepositional" and object_.kind == "place":
        english, spanish = definite_group(state, object_)
        return english, f"{verb.preposition} {spanish}", ""
    phrase = object_of(state, verb, object_, relative, affirmative)
    english, spanish = phrase.english, object_phrase(phrase, verb)
    if verb.frame == "ditransitive":
        person = state.pick(the_lexicon().kinds["person"])
        receiver = noun_phrase(state, person, definite=True, relative=0.0)
        return (
            f"{english} to {receiver.english}",
            f"{spanish} {object_phrase(receiver)}",
            receiver.clitic,
        )
    if state.chance(0.08):
        other = state.pick(verb.objects)
        if (
            other not in (object_,)
            and other.kind == object_.kind
            and other.lemma != subject
            and state.allows(subject, verb.lemma, other.lemma)
        ):
            state.say(subject, verb.lemma, other.lemma)
            more = object_of(state, verb, other, 0.0, affirmative)
            english = f"{english} and {more.english}"
            spanish = f"{spanish} y {object_phrase(more, verb)}"
    return english, spanish, ""


def circumstances(
    state: SentenceState,
    verb: Verb,
    tense: str,
    where: bool = True,
    when: bool = True,
    ending: bool = True,
) -> tuple[str, str, str, str]:
    """Adverbials at the end and at the beginning of a clause, in English and Spanish.

    Nothing is added after a relative clause (`ending` is False), because it would seem to belong to it.
    """
    english, spanish = "", ""
    if ending and not verb.state:
        if verb.manner and state.chance(0.2):
            manner = state.pick(tuple(lexicon.MANNER))
            english, spanish = manner, lexicon.MANNER[manner]
        draw = state.random()
        if draw < 0.07 or (draw < 0.2 and verb.beneficiary):
            person = state.pick(the_lexicon().kinds["person"])
            friend = noun_phrase(state, person, definite=True, relative=0.0)
            company = draw < 0.07 and verb.preposition != "con"
            english = join(english, "with" if company else "for", friend.english)
            spanish = join(spanish, "con" if company else "para", friend.spanish)
        placeless = verb.placeless or verb.frame == "prepositional"
        if where and not placeless and state.chance(0.22):
            place, translation, _ = place_phrase(state)
            english, spanish = join(english, place), join(spanish, translation)
    timeless = verb.state and verb.lemma not in ("want", "need", "have")
    if when and not timeless and not state.timed and state.chance(0.3):
        times = lexicon.WHEN["state" if verb.state else time_of(tense)]
        time = state.pick(tuple(times))
        if state.chance(0.3) and not (state.asking or state.triples[1:]):
            state.timed = True
            return english, spanish, time, times[time]
        if ending:
            state.timed = True
            english, spanish = join(english, time), join(spanish, times[time])
    return english, spanish, "", ""


def has_relative(english: str) -> bool:
    """Whether a phrase contains a relative clause."""
    return " who " in english or " that " in english
