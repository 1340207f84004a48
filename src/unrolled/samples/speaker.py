"""A speaker of the phrasebook's grammar: chooses what to say, and says it in both languages.

Each clause contributes a (subject, verb, object) lemma triple, and a `Speaker` says triples of its
own part only: that is how training and test sentences share every word but no triple.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from random import Random
from typing import Literal, NamedTuple, TypeVar

from unrolled.samples import lexicon as words
from unrolled.samples.grammar import (
    TENSES,
    NounPhrase,
    finish,
    finite,
    fitting,
    join,
    noun_group,
    numbers_of,
    object_phrase,
    the_lexicon,
)
from unrolled.samples.lexicon import PLURAL, SINGULAR, THIRD, THIRD_PLURAL, Adjective, Noun, Verb

Part = Literal["train", "valid", "test"]
Triple = tuple[str, str, str]
T = TypeVar("T")

VALID_PERCENT, TEST_PERCENT = 6, 12

# How many extensions a sentence may have, as cumulative shares of 0, 1, 2, ...: training has more
# short sentences, from which words are learnt soonest; the other parts show every length.
_EXTENSIONS = {
    "train": (0.52, 0.74, 0.85, 0.91, 0.95, 0.98, 1.0),
    "valid": (0.32, 0.54, 0.70, 0.81, 0.89, 0.95, 1.0),
    "test": (0.32, 0.54, 0.70, 0.81, 0.89, 0.95, 1.0),
}
_STATED_PRONOUNS = ("I", "I", "I", "we", "we", "we", "he", "she", "they")
_ASKED_PRONOUNS = ("you", "you", "you", "you", "he", "she", "they")
_ASKED_FRAMES = ("transitive", "transitive", "prepositional", "intransitive", "ditransitive")

# Linking words that may follow a clause of each time: English, Spanish, tenses of the next clause.
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


class Clause(NamedTuple):
    """Both sides of a clause, without capital and full stop."""

    english: str
    spanish: str
    tense: str


@lru_cache(maxsize=1 << 20)
def part_of(triple: Triple) -> Part:
    """The part a lemma triple belongs to: a hash of its text, the same on every machine.

    >>> part_of(("girl", "eat", "apple"))
    'valid'
    """
    percent = zlib.crc32("|".join(triple).encode("ascii")) // 7 % 100
    if percent < TEST_PERCENT:
        return "test"
    return "valid" if percent < TEST_PERCENT + VALID_PERCENT else "train"


class Speaker:
    """Says random sentences whose triples all belong to one part.

    Args:
        random: the only source of chance; only its `random()` is used, whose stream is the same on
            every platform and Python version.
        part: the part every triple must belong to.
    """

    def __init__(self, random: Random, part: Part) -> None:
        self._random = random.random
        self._part = part
        self._budget = 0
        self._asking = False
        self._timed = False
        self._triples: list[Triple] = []
        self._statements: tuple[tuple[float, Callable[..., Clause | None]], ...] = (
            (0.50, self._transitive),
            (0.60, self._intransitive),
            (0.72, self._prepositional),
            (0.78, self._ditransitive),
            (0.87, self._quality),
            (0.90, self._location),
            (0.93, self._comparison),
            (0.96, self._liking),
            (0.98, self._having),
            (1.00, self._existence),
        )
        self._questions: tuple[tuple[float, Callable[..., Clause | None]], ...] = (
            (0.50, self._asking_whether),
            (0.63, self._asking_where),
            (0.72, self._asking_who),
            (0.80, self._asking_what),
            (1.00, self._asking_being),
        )

    def sentence(self) -> tuple[str, str, tuple[Triple, ...]]:
        """An English sentence, its translation, and the triples it contains."""
        while True:
            self._triples = []
            self._budget = self._weighted(_EXTENSIONS[self._part])
            self._timed = False
            self._asking = self._chance(0.22)
            said = self._question() if self._asking else self._statement()
            if said is not None:
                return (*said, tuple(dict.fromkeys(self._triples)))

    # --- chance

    def _chance(self, rate: float) -> bool:
        return self._random() < rate

    def _pick(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]

    def _weighted(self, cumulative: Sequence[float]) -> int:
        draw = self._random()
        return next(i for i, bound in enumerate(cumulative) if draw < bound)

    def _spend(self, rate: float) -> bool:
        # Draws on the sentence's budget of extensions: relative clauses and further clauses.
        if self._budget > 0 and self._random() < rate:
            self._budget -= 1
            return True
        return False

    def _ours(self, subject: str, verb: str, object_: str) -> bool:
        return part_of((subject, verb, object_)) == self._part

    def _say(self, subject: str, verb: str, object_: str) -> None:
        self._triples.append((subject, verb, object_))

    # --- noun phrases

    def _adjectives(self, noun: Noun, definite: bool) -> tuple[tuple[Adjective, ...], str]:
        draw = self._random()
        if draw < 0.62:
            return (), ""
        choice = fitting(noun.kind, definite and not noun.mass)
        first = self._pick(choice)
        if draw < 0.90 or first.leading or first.lemma in words.ALONE:
            return (first,), ""
        if draw < 0.95:
            return (first,), "very"
        second = self._pick(choice)
        pair = frozenset({first.lemma, second.lemma})
        if second.leading or second.lemma in words.ALONE or len(pair) == 1:
            return (first,), ""
        return ((first,), "") if pair in words.OPPOSITES else ((first, second), "")

    def _noun_phrase(
        self, noun: Noun, role: str = "subject", definite: bool = False, relative: float = 0.3
    ) -> NounPhrase:
        """A phrase around `noun`; `role` is "subject" or "object" (objects may lack an article)."""
        numbers = numbers_of(noun)
        number = numbers[-1] if self._chance(0.35) else numbers[0]
        kin = noun.lemma in words.KIN
        ownable = noun.lemma in words.OWNABLE or noun.kind not in ("person", "animal", "place")
        bare = role == "object" and noun.kind != "person" and (noun.mass or number == PLURAL)
        draw = self._random()
        if draw < (0.30 if kin else 0.48):
            determiner = "the"
        elif not kin and not definite and draw < 0.64:
            determiner = "" if bare else "the" if noun.mass else "a"
        elif not kin and not definite and draw < 0.72:
            determiner = self._pick(("two", "three", "many")) if number == PLURAL else "the"
        elif ownable:
            owners = ("my", "my", "our", "our", "his", "her", "your")
            determiner = self._pick(owners if kin else ("this", "this", *owners))
        else:
            determiner = self._pick(("the", "this"))
        settled = determiner in ("the", "my", "our", "his", "her", "your")
        adjectives, degree = self._adjectives(noun, settled)
        english, spanish = noun_group(noun, number, determiner, adjectives, degree)
        person = THIRD_PLURAL if number == PLURAL else THIRD
        if determiner in ("the", "a", "two", "three", "many") and self._spend(relative):
            clause = self._relative(noun, person)
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

    def _relative(self, noun: Noun, person: int) -> Clause | None:
        tense = self._pick(("present", "past", "past"))
        if noun.kind in ("person", "animal"):
            for _ in range(80):
                frame = self._pick(("transitive", "transitive", "prepositional", "intransitive"))
                verb = self._pick(the_lexicon().verbs[frame])
                object_ = self._pick(verb.objects) if verb.objects else None
                lemma = object_.lemma if object_ else ""
                if noun in verb.subjects and self._ours(noun.lemma, verb.lemma, lemma):
                    break
            else:
                return None
            tense = _possible(verb, tense, False)
            negative = self._chance(0.1)
            said = finite(verb, tense, person, negative)
            pronoun = "who" if noun.kind == "person" else "that"
            english, spanish = f"{pronoun} {said.merged}", f"que {said.spanish}"
            self._say(noun.lemma, verb.lemma, lemma)
            if object_ is not None:
                phrase = self._object(verb, object_, relative=0.1, affirmative=not negative)
                english = f"{english} {phrase.english}"
                spanish = f"{spanish} {object_phrase(phrase, verb)}"
            return Clause(english, spanish, tense)
        for _ in range(80):
            verb = self._pick(_verbs_taking(noun))
            subject = self._subject_lemma(verb)
            if subject != "you" and self._ours(subject, verb.lemma, noun.lemma):
                break
        else:
            return None
        self._say(subject, verb.lemma, noun.lemma)
        actor = self._subject(subject, relative=0.0)
        tense = _possible(verb, tense, False)
        said = finite(verb, tense, actor.person)
        return Clause(
            join("that", actor.english, said.merged),
            join("que", actor.spanish, said.spanish),
            tense,
        )

    def _pronoun(self, rate: float) -> str:
        """A pronoun, or nothing; `you` is only asked, `I` and `we` only state."""
        if not self._chance(rate):
            return ""
        return self._pick(_ASKED_PRONOUNS if self._asking else _STATED_PRONOUNS)

    def _subject_lemma(self, verb: Verb) -> str:
        return self._pronoun(0.42) or self._pick(verb.subjects).lemma

    def _subject(self, lemma: str, relative: float = 0.3) -> NounPhrase:
        if lemma in words.PRONOUNS:
            person, spanish, clitic = words.PRONOUNS[lemma]
            gender = words.FEMININE if lemma == "she" else words.MASCULINE
            return NounPhrase(lemma, spanish, person, gender, lemma, clitic, bool(spanish))
        return self._noun_phrase(the_lexicon().nouns[lemma], relative=relative)

    def _object(
        self, verb: Verb, noun: Noun, relative: float = 0.3, affirmative: bool = True
    ) -> NounPhrase:
        # "does not buy some apples" would not be English; a person looked for is a known one.
        definite = not affirmative or (noun.kind in ("person", "place") and verb.state)
        definite = definite or (noun.kind == "person" and verb.particle == "for")
        definite = definite or verb.frame == "prepositional"
        return self._noun_phrase(noun, "object", definite, relative)

    def _group(self, noun: Noun) -> tuple[str, str]:
        # A place one is at or goes to: singular and definite.
        determiner = self._pick(("the", "the", "the", "the", "the", "this", "our"))
        adjectives, degree = self._adjectives(noun, True)
        return noun_group(noun, SINGULAR, determiner, adjectives[:1], degree)

    def _place(self) -> tuple[str, str, str]:
        noun = self._pick(the_lexicon().kinds["place"])
        english, spanish = self._group(noun)
        if self._chance(0.35):
            near = self._pick(tuple(words.NEARNESS))
            near = "near" if noun.lemma in words.WIDE_PLACES and near != "far from" else near
            return f"{near} {english}", f"{words.NEARNESS[near]} {spanish}", noun.lemma
        on, at = noun.lemma in words.ON_PLACES, noun.lemma in words.AT_PLACES
        return f"{'on' if on else 'at' if at else 'in'} {english}", f"en {spanish}", noun.lemma

    # --- verb phrases

    def _draw(self, frame: str) -> tuple[Verb, str, Noun | None]:
        verbs = the_lexicon().verbs[frame]
        while True:
            verb = self._pick(verbs)
            subject = self._subject_lemma(verb)
            object_ = self._pick(verb.objects) if verb.objects else None
            lemma = object_.lemma if object_ else ""
            if subject != lemma and self._ours(subject, verb.lemma, lemma):
                self._say(subject, verb.lemma, lemma)
                return verb, subject, object_

    def _actor(self, verb: Verb, lemma: str, object_: str, relative: float = 0.2) -> NounPhrase:
        """The subject, in one case of twelve two subjects joined by "and"."""
        if lemma not in words.PRONOUNS and self._chance(0.08):
            other = self._pick(verb.subjects).lemma
            if other not in (lemma, object_) and self._ours(other, verb.lemma, object_):
                self._say(other, verb.lemma, object_)
                first, second = self._subject(lemma, 0.0), self._subject(other, 0.0)
                return first._replace(
                    english=f"{first.english} and {second.english}",
                    spanish=f"{first.spanish} y {second.spanish}",
                    person=THIRD_PLURAL,
                    clitic="les",
                )
        return self._subject(lemma, relative)

    def _complement(
        self, verb: Verb, subject: str, object_: Noun | None, affirmative: bool, relative: float
    ) -> tuple[str, str, str]:
        """What follows the verb, on both sides, and the Spanish clitic that announces it."""
        if object_ is None:
            return "", "", ""
        if verb.frame == "prepositional" and object_.kind == "place":
            english, spanish = self._group(object_)
            return english, f"{verb.preposition} {spanish}", ""
        phrase = self._object(verb, object_, relative, affirmative)
        english, spanish = phrase.english, object_phrase(phrase, verb)
        if verb.frame == "ditransitive":
            person = self._pick(the_lexicon().kinds["person"])
            receiver = self._noun_phrase(person, definite=True, relative=0.0)
            return (
                f"{english} to {receiver.english}",
                f"{spanish} {object_phrase(receiver)}",
                receiver.clitic,
            )
        if self._chance(0.08):
            other = self._pick(verb.objects)
            if (
                other not in (object_,)
                and other.kind == object_.kind
                and other.lemma != subject
                and self._ours(subject, verb.lemma, other.lemma)
            ):
                self._say(subject, verb.lemma, other.lemma)
                more = self._object(verb, other, 0.0, affirmative)
                english = f"{english} and {more.english}"
                spanish = f"{spanish} y {object_phrase(more, verb)}"
        return english, spanish, ""

    def _circumstances(
        self, verb: Verb, tense: str, where: bool = True, when: bool = True, ending: bool = True
    ) -> tuple[str, str, str, str]:
        """What ends a clause, and what opens it, on both sides.

        Nothing is put after a relative clause (`ending` is False), where it would seem to belong.
        """
        english, spanish = "", ""
        if ending and not verb.state:
            if verb.manner and self._chance(0.2):
                manner = self._pick(tuple(words.MANNER))
                english, spanish = manner, words.MANNER[manner]
            draw = self._random()
            if draw < 0.07 or (draw < 0.2 and verb.beneficiary):
                person = self._pick(the_lexicon().kinds["person"])
                friend = self._noun_phrase(person, definite=True, relative=0.0)
                company = draw < 0.07 and verb.preposition != "con"
                english = join(english, "with" if company else "for", friend.english)
                spanish = join(spanish, "con" if company else "para", friend.spanish)
            placeless = verb.placeless or verb.frame == "prepositional"
            if where and not placeless and self._chance(0.22):
                place, translation, _ = self._place()
                english, spanish = join(english, place), join(spanish, translation)
        timeless = verb.state and verb.lemma not in ("want", "need", "have")
        if when and not timeless and not self._timed and self._chance(0.3):
            times = words.WHEN["state" if verb.state else _time(tense)]
            time = self._pick(tuple(times))
            if self._chance(0.3) and not (self._asking or self._triples[1:]):
                self._timed = True
                return english, spanish, time, times[time]
            if ending:
                self._timed = True
                english, spanish = join(english, time), join(spanish, times[time])
        return english, spanish, "", ""

    # --- statements

    def _clause(self, tense: str, events: bool = False) -> Clause | None:
        # The first rules, below 0.78, tell events.
        draw = self._random() * (0.78 if events else 1.0)
        return next(rule for bound, rule in self._statements if draw < bound)(tense)

    def _plain(self, frame: str, tense: str) -> Clause:
        verb, lemma, object_ = self._draw(frame)
        negative = self._chance(0.18)
        tense = _possible(verb, tense, negative)
        actor = self._actor(verb, lemma, object_.lemma if object_ else "")
        simple = not negative and tense in ("present", "past")
        both = object_ is not None and simple and " y " not in actor.spanish and self._spend(0.15)
        english, spanish, clitic = self._complement(
            verb, lemma, object_, not negative, 0.0 if both else 0.3
        )
        said = finite(verb, tense, actor.person, negative, clitic)
        adverb = ""
        if simple and self._chance(0.14):
            adverb = self._pick(tuple(words.FREQUENCY) if tense == "present" else ("also", "never"))
        if both:
            more = self._second_verb(verb, lemma, tense, actor.person)
            english, spanish = join(english, more[0]), join(spanish, more[1])
        end, translated_end, front, translated_front = self._circumstances(
            verb, tense, when=adverb in ("", "also"), ending=not _has_relative(english)
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

    def _second_verb(self, first: Verb, subject: str, tense: str, person: int) -> tuple[str, str]:
        # "... and eats the cheese": another verb of the same subject.
        for _ in range(40):
            verb = self._pick(the_lexicon().verbs["transitive"])
            object_ = self._pick(verb.objects)
            if verb is first or object_.lemma == subject or _possible(verb, tense, False) != tense:
                continue
            if self._ours(subject, verb.lemma, object_.lemma) and _can_do(subject, verb):
                self._say(subject, verb.lemma, object_.lemma)
                phrase = self._object(verb, object_, 0.0)
                said = finite(verb, tense, person)
                return (
                    f"and {said.merged} {phrase.english}",
                    f"y {said.spanish} {object_phrase(phrase, verb)}",
                )
        return "", ""

    def _transitive(self, tense: str) -> Clause:
        return self._plain("transitive", tense)

    def _intransitive(self, tense: str) -> Clause:
        return self._plain("intransitive", tense)

    def _prepositional(self, tense: str) -> Clause:
        return self._plain("prepositional", tense)

    def _ditransitive(self, tense: str) -> Clause:
        return self._plain("ditransitive", tense)

    def _described(self) -> tuple[NounPhrase, Adjective] | None:
        """Somebody or something, and a predicate that fits and is not said of it already."""
        lexicon = the_lexicon()
        for _ in range(80):
            if self._chance(0.2):
                lemma, kind = self._pick(("he", "she", "they")), "person"
            else:
                noun = self._pick(tuple(lexicon.nouns.values()))
                lemma, kind = noun.lemma, noun.kind
            adjective = self._pick(_predicates(kind))
            if self._ours(lemma, "be", adjective.lemma):
                actor = self._subject(lemma, 0.2)
                if any(
                    word == adjective.lemma or frozenset({word, adjective.lemma}) in words.OPPOSITES
                    for word in actor.english.split()
                ):
                    return None
                self._say(lemma, "be", adjective.lemma)
                return actor, adjective
        return None

    def _quality(self, tense: str) -> Clause | None:
        described = self._described()
        if described is None:
            return None
        actor, adjective = described
        past, negative = int(tense == "past"), self._chance(0.15)
        degree = ""
        if adjective.lemma not in words.ALONE and self._chance(0.25):
            degree = self._pick(("very", "very", "too"))
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
                _agreeing(adjective, actor),
            ),
            ("present", "past")[past],
        )

    def _located(self) -> tuple[NounPhrase, str, str]:
        lexicon = the_lexicon()
        while True:
            kind = self._pick(("person", "object", "animal", "place", "clothes", "vehicle"))
            lemma = self._pronoun(0.25) or self._pick(lexicon.kinds[kind]).lemma
            english, spanish, place = self._place()
            building = lemma in lexicon.nouns and lexicon.nouns[lemma].kind == "place"
            if building and spanish.startswith("en "):
                continue
            if lemma != place and self._ours(lemma, "be", place):
                self._say(lemma, "be", place)
                return self._subject(lemma, 0.2), english, spanish

    def _location(self, tense: str) -> Clause:
        actor, english, spanish = self._located()
        past, negative = int(tense == "past"), self._chance(0.15)
        be, estar = words.BE[past][actor.person], words.ESTAR[past][actor.person]
        return Clause(
            join(actor.english, be, "not" if negative else "", english),
            join(actor.spanish, "no" if negative else "", estar, spanish),
            ("present", "past")[past],
        )

    def _comparison(self, tense: str) -> Clause | None:
        described = self._described()
        if described is None or tense == "past":
            return None
        actor, adjective = described
        lexicon = the_lexicon()
        kind = lexicon.nouns[actor.lemma].kind if actor.lemma in lexicon.nouns else "person"
        other = self._pick(lexicon.kinds[kind])
        if (
            adjective.copula != "ser"
            or adjective.lemma in words.ALONE
            or other.lemma == actor.lemma
        ):
            return None
        phrase = self._noun_phrase(other, definite=True, relative=0.0)
        negative = self._chance(0.15)
        if adjective.lemma in words.LONG_ADJECTIVES and self._chance(0.6):
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
                f"{frames[2]} {_agreeing(adjective, actor)} {frames[3]} {phrase.spanish}",
            ),
            "present",
        )

    def _liking(self, tense: str) -> Clause:
        # The liked thing is the Spanish subject: "a la niña le gustan las manzanas".
        lexicon = the_lexicon()
        while True:
            lemma = self._pronoun(0.35) or self._pick(_people())
            kind = self._pick(("fruit", "dish", "drink", "text", "clothes", "vehicle", "place"))
            liked = self._pick(lexicon.kinds[kind])
            if self._ours(lemma, "like", liked.lemma):
                break
        self._say(lemma, "like", liked.lemma)
        actor = self._subject(lemma, 0.2)
        phrase = self._noun_phrase(liked, definite=True, relative=0.2)
        negative = self._chance(0.2)
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

    def _having(self, tense: str) -> Clause:
        while True:
            lemma = self._pronoun(0.4) or self._pick(_people())
            feeling = self._pick(tuple(words.HAVING))
            if self._ours(lemma, "be", feeling):
                break
        self._say(lemma, "be", feeling)
        actor = self._subject(lemma, 0.2)
        past, negative = int(tense == "past"), self._chance(0.15)
        be, tener = words.BE[past][actor.person], words.TENER[past][actor.person]
        return Clause(
            join(actor.english, be, "not" if negative else "", feeling),
            join(actor.spanish, "no" if negative else "", tener, words.HAVING[feeling]),
            ("present", "past")[past],
        )

    def _existence(self, tense: str, question: bool = False) -> Clause:
        lexicon = the_lexicon()
        while True:
            kind = self._pick(("place", "place", "person", "animal", "object", "vehicle"))
            noun = self._pick(lexicon.kinds[kind])
            if noun.lemma not in words.KIN and self._ours("there", "be", noun.lemma):
                break
        self._say("there", "be", noun.lemma)
        number = self._pick((SINGULAR, *numbers_of(noun)))
        determiner = "a" if number == SINGULAR else self._pick(("two", "three", "many"))
        adjectives, degree = self._adjectives(noun, False)
        english, spanish = noun_group(noun, number, determiner, adjectives, degree)
        place, translated_place, other = self._place()
        while other == noun.lemma or (kind == "place" and translated_place.startswith("en ")):
            place, translated_place, other = self._place()
        past = int(tense == "past")
        be = words.BE[past][THIRD if number == SINGULAR else THIRD_PLURAL]
        return Clause(
            join(*((be, "there") if question else ("there", be)), english, place),
            join("había" if past else "hay", spanish, translated_place),
            ("present", "past")[past],
        )

    def _reporting(self) -> tuple[str, str] | None:
        for _ in range(80):
            verb = self._pick(the_lexicon().verbs["reporting"])
            lemma = self._subject_lemma(verb)
            if self._ours(lemma, verb.lemma, ""):
                self._say(lemma, verb.lemma, "")
                actor = self._subject(lemma, 0.1)
                said = finite(verb, "present", actor.person)
                return (
                    f"{actor.english} {said.merged} that",
                    join(actor.spanish, said.spanish, "que"),
                )
        return None

    def _statement(self) -> tuple[str, str] | None:
        said = self._clause(TENSES[self._weighted((0.40, 0.74, 0.88, 0.92, 0.96, 1.0))])
        if said is None:
            return None
        english, spanish = said.english, said.spanish
        # One opening at most: "if ..., " or "the teacher says that ...".
        if self._spend(0.12):
            front = self._reporting()
            if front is not None:
                english, spanish = f"{front[0]} {english}", f"{front[1]} {spanish}"
        elif said.tense != "past" and self._spend(0.12):
            condition = self._following(("present",))
            if condition is not None:
                english = f"if {condition.english}, {english}"
                spanish = f"si {condition.spanish}, {spanish}"
        return finish(*self._linked(english, spanish, said.tense))

    def _linked(self, english: str, spanish: str, tense: str) -> tuple[str, str]:
        """Further clauses while the budget lasts, each linking word once."""
        used: set[str] = set()
        attempts = 0
        while self._budget > 0 and attempts < 12:
            attempts += 1
            link, translation, tenses = self._pick(_LINKS[_time(tense)])
            if link in used:
                continue
            self._budget -= 1
            if link in (", but", ", and"):
                self._timed = False
            more = self._following(tenses, events=link in (" when", " while"))
            if more is None:
                continue
            used.add(link)
            if link in (", but", ", although"):
                used.update((", but", ", although"))
            tense = more.tense
            english = f"{english}{link} {more.english}"
            spanish = f"{spanish}{translation} {more.spanish}"
        return english, spanish

    def _following(self, tenses: tuple[str, ...], events: bool = False) -> Clause | None:
        said_before = len(self._triples)
        clause = self._clause(self._pick(tenses), events)
        if clause is not None and clause.tense in tenses:
            return clause
        del self._triples[said_before:]
        return None

    # --- questions

    def _question(self) -> tuple[str, str] | None:
        draw = self._random()
        rule = next(rule for bound, rule in self._questions if draw < bound)
        tense = self._pick(("present", "present", "past", "past", "future", "can"))
        asked = rule(tense)
        if asked is None:
            return None
        english, spanish = asked.english, asked.spanish
        if asked.tense in ("present", "past") and self._spend(0.4):
            link, translation = self._pick(((" when", " cuando"), (" because", " porque")))
            self._asking = False
            more = self._following((asked.tense,), events=link == " when")
            if more is not None:
                english = f"{english}{link} {more.english}"
                spanish = f"{spanish}{translation} {more.spanish}"
        return finish(english, spanish, question=True)

    def _asked(
        self,
        frame: str,
        tense: str,
        opening: tuple[str, str] = ("", ""),
        where: bool = True,
        when: bool = True,
    ) -> Clause | None:
        """Auxiliary, subject, verb in English; verb, subject in Spanish."""
        verb, lemma, object_ = self._draw(frame)
        if opening[0] == "where" and (verb.state or verb.placeless):
            return None
        tense = _possible(verb, tense, True)
        negative = opening[0] == "why" and self._chance(0.25)
        actor = self._actor(verb, lemma, object_.lemma if object_ else "", relative=0.0)
        tense = self._askable(verb, tense, actor, bool(opening[0]))
        english, spanish, clitic = self._complement(verb, lemma, object_, False, 0.2)
        said = finite(verb, tense, actor.person, negative, clitic)
        end, translated_end, *_ = self._circumstances(
            verb, tense, where, when, ending=not _has_relative(english)
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

    def _askable(self, verb: Verb, tense: str, actor: NounPhrase, opened: bool) -> str:
        """Keeps the forms of *tú* and the capitalised verbs of "¿Come ...?" few and often seen."""
        if verb.state:
            return tense
        if opened:
            return self._pick(("future", "can")) if actor.lemma == "you" else tense
        if actor.person == THIRD_PLURAL:
            return self._pick(("future", "can"))
        return "present" if tense == "past" else tense

    def _asking_whether(self, tense: str) -> Clause | None:
        return self._asked(self._pick(_ASKED_FRAMES), tense)

    def _asking_where(self, tense: str) -> Clause | None:
        opening = self._pick((("where", "dónde"), ("when", "cuándo"), ("why", "por qué")))
        frames = ("transitive", "intransitive") if opening[0] == "where" else _ASKED_FRAMES
        return self._asked(
            self._pick(frames), tense, opening, opening[0] != "where", opening[0] != "when"
        )

    def _asking_who(self, tense: str) -> Clause | None:
        verb = self._pick(the_lexicon().verbs[self._pick(_ASKED_FRAMES)])
        object_ = self._pick(verb.objects) if verb.objects else None
        lemma = object_.lemma if object_ else ""
        if not self._ours("who", verb.lemma, lemma):
            return None
        self._say("who", verb.lemma, lemma)
        tense = _possible(verb, tense, False)
        english, spanish, clitic = self._complement(verb, "who", object_, False, 0.2)
        said = finite(verb, tense, THIRD, clitic=clitic)
        end, translated_end, *_ = self._circumstances(
            verb, tense, ending=not _has_relative(english)
        )
        return Clause(
            join("who", said.merged, english, end),
            join("quién", said.spanish, spanish, translated_end),
            tense,
        )

    def _asking_what(self, tense: str) -> Clause | None:
        """ "What", "which book" or "how many books", in front of the question."""
        verb = self._pick(the_lexicon().verbs["transitive"])
        subject = self._subject_lemma(verb)
        object_ = self._pick(verb.objects)
        if object_.kind in ("person", "animal"):
            return None
        opening = self._pick(("what", "which", "how many"))
        lemma = "what" if opening == "what" else object_.lemma
        if not self._ours(subject, verb.lemma, lemma):
            return None
        self._say(subject, verb.lemma, lemma)
        if opening == "what":
            english, spanish = "what", "qué"
        elif opening == "which" or PLURAL not in numbers_of(object_):
            number = self._pick(numbers_of(object_))
            group = noun_group(object_, number, "", ())
            english, spanish = f"which {group[0]}", f"qué {group[1]}"
        else:
            group = noun_group(object_, PLURAL, "", ())
            many = "cuántas" if object_.gender else "cuántos"
            english, spanish = f"how many {group[0]}", f"{many} {group[1]}"
        tense = _possible(verb, tense, True)
        actor = self._subject(subject, 0.0)
        tense = self._askable(verb, tense, actor, opened=True)
        said = finite(verb, tense, actor.person)
        end, translated_end, *_ = self._circumstances(verb, tense)
        return Clause(
            join(english, said.auxiliary, actor.english, said.rest, end),
            join(spanish, said.spanish, actor.spanish, translated_end),
            tense,
        )

    def _asking_being(self, tense: str) -> Clause | None:
        past = int(tense == "past")
        asked = self._pick(("quality", "where", "where", "place", "existence"))
        if asked == "existence":
            return self._existence(tense, question=True)
        if asked == "where":
            kind = self._pick(("place", "object", "person", "text", "clothes", "vehicle"))
            noun = self._pick(the_lexicon().kinds[kind])
            if not self._ours(noun.lemma, "be", "where"):
                return None
            self._say(noun.lemma, "be", "where")
            actor = self._noun_phrase(noun, definite=True)
            english = f"where {words.BE[past][actor.person]} {actor.english}"
            spanish = f"dónde {words.ESTAR[past][actor.person]} {actor.spanish}"
        elif asked == "place":
            actor, place, translated_place = self._located()
            english = join(words.BE[past][actor.person], actor.english, place)
            spanish = join(words.ESTAR[past][actor.person], actor.spanish, translated_place)
        else:
            described = self._described()
            if described is None:
                return None
            actor, adjective = described
            forms = words.SER if adjective.copula == "ser" else words.ESTAR
            english = join(words.BE[past][actor.person], actor.english, adjective.lemma)
            spanish = join(forms[past][actor.person], _agreeing(adjective, actor), actor.spanish)
        return Clause(english, spanish, ("present", "past")[past])


def _has_relative(english: str) -> bool:
    return " who " in english or " that " in english


def _time(tense: str) -> str:
    return tense if tense in ("present", "past") else "future"


def _possible(verb: Verb, tense: str, negative: bool) -> str:
    # A state is said in the present; "they read" would be present and past at once.
    if verb.state or (tense == "past" and verb.past == verb.base and not negative):
        return "present"
    return tense


def _agreeing(adjective: Adjective, actor: NounPhrase) -> str:
    return adjective.spanish[2 * (actor.person == THIRD_PLURAL) + actor.gender]


@cache
def _people() -> tuple[str, ...]:
    return tuple(noun.lemma for noun in the_lexicon().kinds["person"])


@cache
def _predicates(kind: str) -> tuple[Adjective, ...]:
    return tuple(a for a in fitting(kind, False) if not a.leading)


@cache
def _verbs_taking(noun: Noun) -> tuple[Verb, ...]:
    return tuple(verb for verb in the_lexicon().verbs["transitive"] if noun in verb.objects)


@cache
def _can_do(subject: str, verb: Verb) -> bool:
    return subject in words.PRONOUNS or the_lexicon().nouns[subject] in verb.subjects
