"""The ten kinds of clause: events, qualities, places, comparisons, likes, feelings, existence."""

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
from unrolled.samples.phrasebook.sentence_state import Draft
from unrolled.samples.phrasebook.verb_phrases import (
    actor_phrase,
    circumstances,
    complement,
    draw_triple,
    has_relative,
)


def say_clause(draft: Draft, tense: str, events: bool = False) -> Clause | None:
    """A clause of any kind, or one that tells an event; None where the draws do not fit together."""
    # The first rules, below 0.78, tell events.
    draw = draft.random() * (0.78 if events else 1.0)
    return next(rule for bound, rule in _RULES if draw < bound)(draft, tense)


def _plain(draft: Draft, frame: str, tense: str) -> Clause:
    verb, lemma, object_ = draw_triple(draft, frame)
    negative = draft.chance(0.18)
    tense = possible_tense(verb, tense, negative)
    actor = actor_phrase(draft, verb, lemma, object_.lemma if object_ else "")
    simple = not negative and tense in ("present", "past")
    both = object_ is not None and simple and " y " not in actor.spanish and draft.spend(0.15)
    english, spanish, clitic = complement(
        draft, verb, lemma, object_, not negative, 0.0 if both else 0.3
    )
    said = finite(verb, tense, actor.person, negative, clitic)
    adverb = ""
    if simple and draft.chance(0.14):
        adverb = draft.pick(tuple(words.FREQUENCY) if tense == "present" else ("also", "never"))
    if both:
        more = _second_verb(draft, verb, lemma, tense, actor.person)
        english, spanish = join(english, more[0]), join(spanish, more[1])
    end, translated_end, front, translated_front = circumstances(
        draft, verb, tense, when=adverb in ("", "also"), ending=not has_relative(english)
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
    draft: Draft, first: Verb, subject: str, tense: str, person: int
) -> tuple[str, str]:
    # "... and eats the cheese": another verb of the same subject.
    for _ in range(40):
        verb = draft.pick(the_lexicon().verbs["transitive"])
        object_ = draft.pick(verb.objects)
        if verb is first or object_.lemma == subject or possible_tense(verb, tense, False) != tense:
            continue
        if draft.allows(subject, verb.lemma, object_.lemma) and _can_do(subject, verb):
            draft.say(subject, verb.lemma, object_.lemma)
            phrase = object_of(draft, verb, object_, 0.0)
            said = finite(verb, tense, person)
            return (
                f"and {said.merged} {phrase.english}",
                f"y {said.spanish} {object_phrase(phrase, verb)}",
            )
    return "", ""


def _transitive(draft: Draft, tense: str) -> Clause:
    return _plain(draft, "transitive", tense)


def _intransitive(draft: Draft, tense: str) -> Clause:
    return _plain(draft, "intransitive", tense)


def _prepositional(draft: Draft, tense: str) -> Clause:
    return _plain(draft, "prepositional", tense)


def _ditransitive(draft: Draft, tense: str) -> Clause:
    return _plain(draft, "ditransitive", tense)


def describe(draft: Draft) -> tuple[NounPhrase, Adjective] | None:
    """Somebody or something, and a predicate that fits and is not said of it already."""
    lexicon = the_lexicon()
    for _ in range(80):
        if draft.chance(0.2):
            lemma, kind = draft.pick(("he", "she", "they")), "person"
        else:
            noun = draft.pick(tuple(lexicon.nouns.values()))
            lemma, kind = noun.lemma, noun.kind
        adjective = draft.pick(_predicates(kind))
        if draft.allows(lemma, "be", adjective.lemma):
            actor = subject_phrase(draft, lemma, 0.2)
            if any(
                word == adjective.lemma or frozenset({word, adjective.lemma}) in words.OPPOSITES
                for word in actor.english.split()
            ):
                return None
            draft.say(lemma, "be", adjective.lemma)
            return actor, adjective
    return None


def _quality(draft: Draft, tense: str) -> Clause | None:
    described = describe(draft)
    if described is None:
        return None
    actor, adjective = described
    past, negative = int(tense == "past"), draft.chance(0.15)
    degree = ""
    if adjective.lemma not in words.ALONE and draft.chance(0.25):
        degree = draft.pick(("very", "very", "too"))
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


def locate(draft: Draft) -> tuple[NounPhrase, str, str]:
    """Somebody or something, and where they are, on both sides."""
    lexicon = the_lexicon()
    while True:
        kind = draft.pick(("person", "object", "animal", "place", "clothes", "vehicle"))
        lemma = choose_pronoun(draft, 0.25) or draft.pick(lexicon.kinds[kind]).lemma
        english, spanish, place = place_phrase(draft)
        building = lemma in lexicon.nouns and lexicon.nouns[lemma].kind == "place"
        if building and spanish.startswith("en "):
            continue
        if lemma != place and draft.allows(lemma, "be", place):
            draft.say(lemma, "be", place)
            return subject_phrase(draft, lemma, 0.2), english, spanish


def _location(draft: Draft, tense: str) -> Clause:
    actor, english, spanish = locate(draft)
    past, negative = int(tense == "past"), draft.chance(0.15)
    be, estar = words.BE[past][actor.person], words.ESTAR[past][actor.person]
    return Clause(
        join(actor.english, be, "not" if negative else "", english),
        join(actor.spanish, "no" if negative else "", estar, spanish),
        ("present", "past")[past],
    )


def _comparison(draft: Draft, tense: str) -> Clause | None:
    described = describe(draft)
    if described is None or tense == "past":
        return None
    actor, adjective = described
    lexicon = the_lexicon()
    kind = lexicon.nouns[actor.lemma].kind if actor.lemma in lexicon.nouns else "person"
    other = draft.pick(lexicon.kinds[kind])
    if adjective.copula != "ser" or adjective.lemma in words.ALONE or other.lemma == actor.lemma:
        return None
    phrase = noun_phrase(draft, other, definite=True, relative=0.0)
    negative = draft.chance(0.15)
    if adjective.lemma in words.LONG_ADJECTIVES and draft.chance(0.6):
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


def _liking(draft: Draft, tense: str) -> Clause:
    # The liked thing is the Spanish subject: "a la niña le gustan las manzanas".
    lexicon = the_lexicon()
    while True:
        lemma = choose_pronoun(draft, 0.35) or draft.pick(_people())
        kind = draft.pick(("fruit", "dish", "drink", "text", "clothes", "vehicle", "place"))
        liked = draft.pick(lexicon.kinds[kind])
        if draft.allows(lemma, "like", liked.lemma):
            break
    draft.say(lemma, "like", liked.lemma)
    actor = subject_phrase(draft, lemma, 0.2)
    phrase = noun_phrase(draft, liked, definite=True, relative=0.2)
    negative = draft.chance(0.2)
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


def _having(draft: Draft, tense: str) -> Clause:
    while True:
        lemma = choose_pronoun(draft, 0.4) or draft.pick(_people())
        feeling = draft.pick(tuple(words.HAVING))
        if draft.allows(lemma, "be", feeling):
            break
    draft.say(lemma, "be", feeling)
    actor = subject_phrase(draft, lemma, 0.2)
    past, negative = int(tense == "past"), draft.chance(0.15)
    be, tener = words.BE[past][actor.person], words.TENER[past][actor.person]
    return Clause(
        join(actor.english, be, "not" if negative else "", feeling),
        join(actor.spanish, "no" if negative else "", tener, words.HAVING[feeling]),
        ("present", "past")[past],
    )


def existence(draft: Draft, tense: str, question: bool = False) -> Clause:
    """That something is somewhere ("there is a castle near the bridge"), or whether it is."""
    lexicon = the_lexicon()
    while True:
        kind = draft.pick(("place", "place", "person", "animal", "object", "vehicle"))
        noun = draft.pick(lexicon.kinds[kind])
        if noun.lemma not in words.KIN and draft.allows("there", "be", noun.lemma):
            break
    draft.say("there", "be", noun.lemma)
    number = draft.pick((SINGULAR, *numbers_of(noun)))
    determiner = "a" if number == SINGULAR else draft.pick(("two", "three", "many"))
    adjectives, degree = choose_adjectives(draft, noun, False)
    english, spanish = noun_group(noun, number, determiner, adjectives, degree)
    place, translated_place, other = place_phrase(draft)
    while other == noun.lemma or (kind == "place" and translated_place.startswith("en ")):
        place, translated_place, other = place_phrase(draft)
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


# Each kind with the cumulative share at which it ends.
_RULES: tuple[tuple[float, Callable[[Draft, str], Clause | None]], ...] = (
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
