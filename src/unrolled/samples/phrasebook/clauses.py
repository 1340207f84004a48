"""The ten kinds of clauses: events, qualities, places, comparisons, likes, feelings, existence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from unrolled.samples.phrasebook import lexicon as words
from unrolled.samples.phrasebook.grammar import (
    Clause,
    NounPhrase,
    agreeing,
    finite,
    fitting,
    join,
    noun_group,
    numbers_of,
    object_phrase,
    possible_tense,
    the_lexicon,
)
from unrolled.samples.phrasebook.lexicon import SINGULAR, THIRD, THIRD_PLURAL, Adjective, Verb
from unrolled.samples.phrasebook.noun_phrases import (
    choose_adjectives,
    choose_pronoun,
    noun_phrase,
    object_of,
    place_phrase,
    subject_phrase,
)
from unrolled.samples.phrasebook.sentence_state import SentenceState
from unrolled.samples.phrasebook.verb_phrases import (
    actor_phrase,
    circumstances,
    complement,
    draw_triple,
    has_relative,
)


def say_clause(state: SentenceState, tense: str, events: bool = False) -> Clause | None:
    """A random clause of any kind, or one about an event; None if the draws do not fit together."""
    # The first rules, below 0.78, are about events.
    draw = state.random() * (0.78 if events else 1.0)
    return next(rule for bound, rule in _RULES if draw < bound)(state, tense)


def _plain(state: SentenceState, frame: str, tense: str) -> Clause:
    verb, lemma, object_ = draw_triple(state, frame)
    negative = state.chance(0.18)
    tense = possible_tense(verb, tense, negative)
    actor = actor_phrase(state, verb, lemma, object_.lemma if object_ else "")
    simple = not negative and tense in ("present", "past")
    both = object_ is not None and simple and " y " not in actor.spanish and state.spend(0.15)
    english, spanish, clitic = complement(
        state, verb, lemma, object_, not negative, 0.0 if both else 0.3
    )
    said = finite(verb, tense, actor.person, negative, clitic)
    adverb = ""
    if simple and state.chance(0.14):
        adverb = state.pick(tuple(words.FREQUENCY) if tense == "present" else ("also", "never"))
    if both:
        more = _second_verb(state, verb, lemma, tense, actor.person)
        english, spanish = join(english, more[0]), join(spanish, more[1])
    end, translated_end, front, translated_front = circumstances(
        state, verb, tense, when=adverb in ("", "also"), ending=not has_relative(english)
    )
    return Clause(
        join(front, actor.english, adverb, said.merged, english, end),
        join(
            translated_front,
            actor.spanish,
            words.FREQUENCY.get(adverb, ""),
            said.spanish,
            spanish,
            translated_end,
        ),
        tense,
    )


def _second_verb(
    state: SentenceState, first: Verb, subject: str, tense: str, person: int
) -> tuple[str, str]:
    # "... and eats the cheese": a second verb with the same subject.
    for _ in range(40):
        verb = state.pick(the_lexicon().verbs["transitive"])
        object_ = state.pick(verb.objects)
        if verb is first or object_.lemma == subject or possible_tense(verb, tense, False) != tense:
            continue
        if state.allows(subject, verb.lemma, object_.lemma) and _can_do(subject, verb):
            state.say(subject, verb.lemma, object_.lemma)
            phrase = object_of(state, verb, object_, 0.0)
            said = finite(verb, tense, person)
            return (
                f"and {said.merged} {phrase.english}",
                f"y {said.spanish} {object_phrase(phrase, verb)}",
            )
    return "", ""


def _transitive(state: SentenceState, tense: str) -> Clause:
    return _plain(state, "transitive", tense)


def _intransitive(state: SentenceState, tense: str) -> Clause:
    return _plain(state, "intransitive", tense)


def _prepositional(state: SentenceState, tense: str) -> Clause:
    return _plain(state, "prepositional", tense)


def _ditransitive(state: SentenceState, tense: str) -> Clause:
    return _plain(state, "ditransitive", tense)


def describe(state: SentenceState) -> tuple[NounPhrase, Adjective] | None:
    """A random subject and a predicate that fits and does not already occur in the subject."""
    lexicon = the_lexicon()
    for _ in range(80):
        if state.chance(0.2):
            lemma, kind = state.pick(("he", "she", "they")), "person"
        else:
            noun = state.pick(tuple(lexicon.nouns.values()))
            lemma, kind = noun.lemma, noun.kind
        adjective = state.pick(_predicates(kind))
        if state.allows(lemma, "be", adjective.lemma):
            actor = subject_phrase(state, lemma, 0.2)
            if any(
                word == adjective.lemma or frozenset({word, adjective.lemma}) in words.OPPOSITES
                for word in actor.english.split()
            ):
                return None
            state.say(lemma, "be", adjective.lemma)
            return actor, adjective
    return None


def _quality(state: SentenceState, tense: str) -> Clause | None:
    described = describe(state)
    if described is None:
        return None
    actor, adjective = described
    past, negative = int(tense == "past"), state.chance(0.15)
    degree = ""
    if adjective.lemma not in words.ALONE and state.chance(0.25):
        degree = state.pick(("very", "very", "too"))
    forms = words.SER if adjective.copula == "ser" else words.ESTAR
    return Clause(
        join(
            actor.english,
            words.BE[past][actor.person],
            "not" if negative else "",
            degree,
            adjective.lemma,
        ),
        join(
            actor.spanish,
            "no" if negative else "",
            forms[past][actor.person],
            words.DEGREE.get(degree, ""),
            agreeing(adjective, actor),
        ),
        ("present", "past")[past],
    )


def locate(state: SentenceState) -> tuple[NounPhrase, str, str]:
    """A random subject, and its place in English and Spanish."""
    lexicon = the_lexicon()
    while True:
        kind = state.pick(("person", "object", "animal", "place", "clothes", "vehicle"))
        lemma = choose_pronoun(state, 0.25) or state.pick(lexicon.kinds[kind]).lemma
        english, spanish, place = place_phrase(state)
        building = lemma in lexicon.nouns and lexicon.nouns[lemma].kind == "place"
        if building and spanish.startswith("en "):
            continue
        if lemma != place and state.allows(lemma, "be", place):
            state.say(lemma, "be", place)
            return subject_phrase(state, lemma, 0.2), english, spanish


def _location(state: SentenceState, tense: str) -> Clause:
    actor, english, spanish = locate(state)
    past, negative = int(tense == "past"), state.chance(0.15)
    be, estar = words.BE[past][actor.person], words.ESTAR[past][actor.person]
    return Clause(
        join(actor.english, be, "not" if negative else "", english),
        join(actor.spanish, "no" if negative else "", estar, spanish),
        ("present", "past")[past],
    )


def _comparison(state: SentenceState, tense: str) -> Clause | None:
    described = describe(state)
    if described is None or tense == "past":
        return None
    actor, adjective = described
    lexicon = the_lexicon()
    kind = lexicon.nouns[actor.lemma].kind if actor.lemma in lexicon.nouns else "person"
    other = state.pick(lexicon.kinds[kind])
    if adjective.copula != "ser" or adjective.lemma in words.ALONE or other.lemma == actor.lemma:
        return None
    phrase = noun_phrase(state, other, definite=True, relative=0.0)
    negative = state.chance(0.15)
    if adjective.lemma in words.LONG_ADJECTIVES and state.chance(0.6):
        frames = ("more", "than", "más", "que")
    else:
        frames = ("as", "as", "tan", "como")
    return Clause(
        join(
            actor.english,
            words.BE[0][actor.person],
            "not" if negative else "",
            f"{frames[0]} {adjective.lemma} {frames[1]} {phrase.english}",
        ),
        join(
            actor.spanish,
            "no" if negative else "",
            words.SER[0][actor.person],
            f"{frames[2]} {agreeing(adjective, actor)} {frames[3]} {phrase.spanish}",
        ),
        "present",
    )


def _liking(state: SentenceState, tense: str) -> Clause:
    # In Spanish, the liked thing is the subject: "a la niña le gustan las manzanas".
    lexicon = the_lexicon()
    while True:
        lemma = choose_pronoun(state, 0.35) or state.pick(_people())
        kind = state.pick(("fruit", "dish", "drink", "text", "clothes", "vehicle", "place"))
        liked = state.pick(lexicon.kinds[kind])
        if state.allows(lemma, "like", liked.lemma):
            break
    state.say(lemma, "like", liked.lemma)
    actor = subject_phrase(state, lemma, 0.2)
    phrase = noun_phrase(state, liked, definite=True, relative=0.2)
    negative = state.chance(0.2)
    third = actor.person == THIRD
    likes = "likes" if third else "like"
    if negative:
        likes = f"{'does' if third else 'do'} not like"
    return Clause(
        join(actor.english, likes, phrase.english),
        join(
            f"a {actor.spanish}" if actor.subject else "",
            "no" if negative else "",
            actor.clitic,
            "gusta" if phrase.person == THIRD else "gustan",
            phrase.spanish,
        ),
        "present",
    )


def _having(state: SentenceState, tense: str) -> Clause:
    while True:
        lemma = choose_pronoun(state, 0.4) or state.pick(_people())
        feeling = state.pick(tuple(words.HAVING))
        if state.allows(lemma, "be", feeling):
            break
    state.say(lemma, "be", feeling)
    actor = subject_phrase(state, lemma, 0.2)
    past, negative = int(tense == "past"), state.chance(0.15)
    be, tener = words.BE[past][actor.person], words.TENER[past][actor.person]
    return Clause(
        join(actor.english, be, "not" if negative else "", feeling),
        join(actor.spanish, "no" if negative else "", tener, words.HAVING[feeling]),
        ("present", "past")[past],
    )


def existence(state: SentenceState, tense: str, question: bool = False) -> Clause:
    """A statement that something is somewhere ("there is a castle near the bridge"), or a question."""
    lexicon = the_lexicon()
    while True:
        kind = state.pick(("place", "place", "person", "animal", "object", "vehicle"))
        noun = state.pick(lexicon.kinds[kind])
        if noun.lemma not in words.KIN and state.allows("there", "be", noun.lemma):
            break
    state.say("there", "be", noun.lemma)
    number = state.pick((SINGULAR, *numbers_of(noun)))
    determiner = "a" if number == SINGULAR else state.pick(("two", "three", "many"))
    adjectives, degree = choose_adjectives(state, noun, False)
    english, spanish = noun_group(noun, number, determiner, adjectives, degree)
    place, translated_place, other = place_phrase(state)
    while other == noun.lemma or (kind == "place" and translated_place.startswith("en ")):
        place, translated_place, other = place_phrase(state)
    past = int(tense == "past")
    be = words.BE[past][THIRD if number == SINGULAR else THIRD_PLURAL]
    return Clause(
        join(*((be, "there") if question else ("there", be)), english, place),
        join("había" if past else "hay", spanish, translated_place),
        ("present", "past")[past],
    )


@cache
def _people() -> tuple[str, ...]:
    return tuple(noun.lemma for noun in the_lexicon().kinds["person"])


@cache
def _predicates(kind: str) -> tuple[Adjective, ...]:
    return tuple(a for a in fitting(kind, False) if not a.leading)


@cache
def _can_do(subject: str, verb: Verb) -> bool:
    return subject in words.PRONOUNS or the_lexicon().nouns[subject] in verb.subjects


# The kinds of clauses with their cumulative probabilities.
_RULES: tuple[tuple[float, Callable[[SentenceState, str], Clause | None]], ...] = (
    (0.50, _transitive),
    (0.60, _intransitive),
    (0.72, _prepositional),
    (0.78, _ditransitive),
    (0.87, _quality),
    (0.90, _location),
    (0.93, _comparison),
    (0.96, _liking),
    (0.98, _having),
    (1.00, existence),
)
