"""Yes/no questions, and questions with where, when, why, who, what, which and how many."""

from __future__ import annotations

from collections.abc import Callable

from unrolled.samples.phrasebook import lexicon
from unrolled.samples.phrasebook.clauses import describe, existence, locate
from unrolled.samples.phrasebook.grammar import (
    Clause,
    NounPhrase,
    agreeing,
    finish,
    finite,
    join,
    noun_group,
    numbers_of,
    possible_tense,
    the_lexicon,
)
from unrolled.samples.phrasebook.lexicon import PLURAL, THIRD, THIRD_PLURAL, Verb
from unrolled.samples.phrasebook.noun_phrases import choose_subject, noun_phrase, subject_phrase
from unrolled.samples.phrasebook.sentence_state import SentenceState
from unrolled.samples.phrasebook.statements import following
from unrolled.samples.phrasebook.verb_phrases import (
    actor_phrase,
    circumstances,
    complement,
    draw_triple,
    has_relative,
)

_ASKED_FRAMES = ("transitive", "transitive", "prepositional", "intransitive", "ditransitive")


def question(state: SentenceState) -> tuple[str, str] | None:
    """A random question in English and Spanish; None if the draws do not fit together."""
    draw = state.random()
    rule = next(rule for bound, rule in _RULES if draw < bound)
    tense = state.pick(("present", "present", "past", "past", "future", "can"))
    asked = rule(state, tense)
    if asked is None:
        return None
    english, spanish = asked.english, asked.spanish
    if asked.tense in ("present", "past") and state.spend(0.4):
        link, translation = state.pick(((" when", " cuando"), (" because", " porque")))
        state.asking = False
        more = following(state, (asked.tense,), events=link == " when")
        if more is not None:
            english = f"{english}{link} {more.english}"
            spanish = f"{spanish}{translation} {more.spanish}"
    return finish(english, spanish, question=True)


def _asked(
    state: SentenceState,
    frame: str,
    tense: str,
    opening: tuple[str, str] = ("", ""),
    where: bool = True,
    when: bool = True,
) -> Clause | None:
    """A question with the order auxiliary, subject, verb in English, and verb, subject in Spanish."""
    verb, lemma, object_ = draw_triple(state, frame)
    if opening[0] == "where" and (verb.state or verb.placeless):
        return None
    tense = possible_tense(verb, tense, True)
    negative = opening[0] == "why" and state.chance(0.25)
    actor = actor_phrase(state, verb, lemma, object_.lemma if object_ else "", relative=0.0)
    tense = _askable(state, verb, tense, actor, bool(opening[0]))
    english, spanish, clitic = complement(state, verb, lemma, object_, False, 0.2)
    said = finite(verb, tense, actor.person, negative, clitic)
    end, translated_end, *_ = circumstances(
        state, verb, tense, where, when, ending=not has_relative(english)
    )
    return Clause(
        join(
            opening[0],
            said.auxiliary,
            actor.english,
            "not" if negative else "",
            finite(verb, tense, actor.person).rest,
            english,
            end,
        ),
        join(opening[1], said.spanish, actor.spanish, spanish, translated_end),
        tense,
    )


def _askable(state: SentenceState, verb: Verb, tense: str, actor: NounPhrase, opened: bool) -> str:
    """Choose the tense so that forms of *tú* and initial verbs ("¿Come ...?") are few but frequent."""
    if verb.state:
        return tense
    if opened:
        return state.pick(("future", "can")) if actor.lemma == "you" else tense
    if actor.person == THIRD_PLURAL:
        return state.pick(("future", "can"))
    return "present" if tense == "past" else tense


def _asking_whether(state: SentenceState, tense: str) -> Clause | None:
    return _asked(state, state.pick(_ASKED_FRAMES), tense)


def _asking_where(state: SentenceState, tense: str) -> Clause | None:
    opening = state.pick((("where", "dónde"), ("when", "cuándo"), ("why", "por qué")))
    frames = ("transitive", "intransitive") if opening[0] == "where" else _ASKED_FRAMES
    return _asked(
        state, state.pick(frames), tense, opening, opening[0] != "where", opening[0] != "when"
    )


def _asking_who(state: SentenceState, tense: str) -> Clause | None:
    verb = state.pick(the_lexicon().verbs[state.pick(_ASKED_FRAMES)])
    object_ = state.pick(verb.objects) if verb.objects else None
    lemma = object_.lemma if object_ else ""
    if not state.allows("who", verb.lemma, lemma):
        return None
    state.say("who", verb.lemma, lemma)
    tense = possible_tense(verb, tense, False)
    english, spanish, clitic = complement(state, verb, "who", object_, False, 0.2)
    said = finite(verb, tense, THIRD, clitic=clitic)
    end, translated_end, *_ = circumstances(state, verb, tense, ending=not has_relative(english))
    return Clause(
        join("who", said.merged, english, end),
        join("quién", said.spanish, spanish, translated_end),
        tense,
    )


def _asking_what(state: SentenceState, tense: str) -> Clause | None:
    """A question that begins with "what", "which book" or "how many books"."""
    verb = state.pick(the_lexicon().verbs["transitive"])
    subject = choose_subject(state, verb)
    object_ = state.pick(verb.objects)
    if object_.kind in ("person", "animal"):
        return None
    opening = state.pick(("what", "which", "how many"))
    lemma = "what" if opening == "what" else object_.lemma
    if not state.allows(subject, verb.lemma, lemma):
        return None
    state.say(subject, verb.lemma, lemma)
    if opening == "what":
        english, spanish = "what", "qué"
    elif opening == "which" or PLURAL not in numbers_of(object_):
        number = state.pick(numbers_of(object_))
        group = noun_group(object_, number, "", ())
        english, spanish = f"which {group[0]}", f"qué {group[1]}"
    else:
        group = noun_group(object_, PLURAL, "", ())
        many = "cuántas" if object_.gender else "cuántos"
        english, spanish = f"how many {group[0]}", f"{many} {group[1]}"
    tense = possible_tense(verb, tense, True)
    actor = subject_phrase(state, subject, 0.0)
    tense = _askable(state, verb, tense, actor, opened=True)
    said = finite(verb, tense, actor.person)
    end, translated_end, *_ = circumstances(state, verb, tense)
    return Clause(
        join(english, said.auxiliary, actor.english, said.rest, end),
        join(spanish, said.spanish, actor.spanish, translated_end),
        tense,
    )


def _asking_being(state: SentenceState, tense: str) -> Clause | None:
    past = int(tense == "past")
    asked = state.pick(("quality", "where", "where", "place", "existence"))
    if asked == "existence":
        return existence(state, tense, question=True)
    if asked == "where":
        kind = state.pick(("place", "object", "person", "text", "clothes", "vehicle"))
        noun = state.pick(the_lexicon().kinds[kind])
        if not state.allows(noun.lemma, "be", "where"):
            return None
        state.say(noun.lemma, "be", "where")
        actor = noun_phrase(state, noun, definite=True)
        english = f"where {lexicon.BE[past][actor.person]} {actor.english}"
        spanish = f"dónde {lexicon.ESTAR[past][actor.person]} {actor.spanish}"
    elif asked == "place":
        actor, place, translated_place = locate(state)
        english = join(lexicon.BE[past][actor.person], actor.english, place)
        spanish = join(lexicon.ESTAR[past][actor.person], actor.spanish, translated_place)
    else:
        described = describe(state)
        if described is None:
            return None
        actor, adjective = described
        forms = lexicon.SER if adjective.copula == "ser" else lexicon.ESTAR
        english = join(lexicon.BE[past][actor.person], actor.english, adjective.lemma)
        spanish = join(forms[past][actor.person], agreeing(adjective, actor), actor.spanish)
    return Clause(english, spanish, ("present", "past")[past])


# The kinds of questions with their cumulative probabilities.
_RULES: tuple[tuple[float, Callable[[SentenceState, str], Clause | None]], ...] = (
    (0.50, _asking_whether),
    (0.63, _asking_where),
    (0.72, _asking_who),
    (0.80, _asking_what),
    (1.00, _asking_being),
)
