"""Generated sentences in which only word order determines the label.

Sentences come in pairs, with the same words and opposite opinions about the same thing.

    honestly this phone is no good              negative
    no this phone is honestly good              positive

Both sentences of a pair are in the same split. So every bag of words occurs equally often with both
labels in the training, validation and test sets, and a model that counts words has an accuracy of 50%.
There are three kinds of pairs, which are increasingly difficult for n-grams. In the first, a bigram
decides ("no good"). In the second, both sentences have the same bigrams, and in the third the same
trigrams too; some have the same n-grams up to six words:

    in the end i found the soup good in every way even if at first i found the soup bad in every way
    in the end i found the soup bad in every way even if at first i found the soup good in every way

Sentences are in lower case and without punctuation marks, like short messages, so that the bag of words
does not depend on the tokenizer.

No thing (phone) is described with the same pair of opposites (good, bad) in two splits, so test sentences
combine words from the training set in new ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from os import PathLike
from random import Random
from typing import Literal

from unrolled.errors import ConfigError
from unrolled.samples.files import write_labelled
from unrolled.samples.phrasebook.sentence_state import Part, SentenceState, part_of

Verdict = Literal["positive", "negative"]

PARTS: tuple[Part, ...] = ("train", "valid", "test")

_MOST_TRIES = 20_000  # if so many draws give no new pair, all pairs of a split have been drawn


@dataclass(frozen=True)
class OrderSentence:
    """A sentence with its label and its difficulty for n-grams.

    Args:
        text: words in lower case, separated by single spaces.
        label: the label.
        n_shared: the largest n such that both sentences of the pair have the same n-grams, each equally
            often, also for every smaller n. At least 1.
    """

    text: str
    label: Verdict
    n_shared: int


@dataclass(frozen=True)
class OrderSample:
    """Three splits, in which the sentences of a pair are adjacent."""

    train: list[OrderSentence]
    valid: list[OrderSentence]
    test: list[OrderSentence]


def generate(
    n_train: int = 4_000, n_valid: int = 500, n_test: int = 1_000, seed: int = 1
) -> OrderSample:
    """Generate the sample; the same arguments give the same sentences on every machine.

    A quarter of the pairs can be distinguished by bigrams, a quarter by trigrams, and half only by longer
    n-grams. Each split has its own random stream, so a larger training set begins with the smaller one,
    and the validation and test sets do not depend on its size.

    Args:
        n_train: number of training sentences; must be even.
        n_valid: number of validation sentences; must be even.
        n_test: number of test sentences; must be even.
        seed: random seed.

    Raises:
        ConfigError: a number is odd or negative, or larger than the number of sentences of the grammar.

    >>> sample = generate(n_train=2, n_valid=2, n_test=2)
    >>> for sentence in sample.test:
    ...     print(f"{sentence.label}  {sentence.text}")
    negative  the concert was always dreadful and never brilliant
    positive  the concert was always brilliant and never dreadful
    """
    for name, size in (("n_train", n_train), ("n_valid", n_valid), ("n_test", n_test)):
        if size < 0 or size % 2:
            raise ConfigError(
                f"{name} must be an even number of at least 0, since sentences come in pairs, got {size}"
            )
    sizes = dict(zip(PARTS, (n_train, n_valid, n_test), strict=True))
    train, valid, test = (_part(part, sizes[part], seed) for part in PARTS)
    return OrderSample(train, valid, test)


def write(folder: str | PathLike[str], sample: OrderSample) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `text<tab>label`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    parts = {
        part: [(sentence.text, sentence.label) for sentence in getattr(sample, part)]
        for part in PARTS
    }
    write_labelled(folder, parts.items())


def shared_ngrams(one: str, other: str) -> int:
    """The largest n such that two texts have the same n-grams, also for every smaller n.

    It is 0 if their words differ, and the number of words if the texts are equal.

    >>> shared_ngrams("honestly this phone is no good", "no this phone is honestly good")
    1
    """
    first, second = one.split(), other.split()
    if len(first) != len(second):
        return 0
    for n in count(1):
        if n > len(first) or _ngrams(first, n) != _ngrams(second, n):
            return n - 1
    raise AssertionError


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


# --- Words

THINGS = {
    kind: tuple(names.split())
    for kind, names in {
        "goods": "phone camera laptop printer car bike coat jacket chair sofa lamp watch kettle tent "
        "keyboard blender guitar backpack mattress",
        "places": "hotel restaurant museum bakery campsite market pub gym beach castle",
        "works": "film book play song concert novel show lecture game podcast",
        "meals": "soup cake pizza curry salad stew pie sandwich breakfast dessert",
    }.items()
}
"""The things that sentences describe, by kind."""

QUALITIES = (
    ("good", "bad"),
    ("great", "terrible"),
    ("wonderful", "horrible"),
    ("brilliant", "dreadful"),
    ("superb", "poor"),
    ("lovely", "nasty"),
    ("fantastic", "disappointing"),
    ("nice", "rotten"),
    ("fine", "lousy"),
    ("pleasing", "pathetic"),
    ("splendid", "miserable"),
    ("perfect", "hopeless"),
)
"""Pairs of a positive and a negative adjective; none begins with a vowel, since some follow "a"."""

FEELINGS = (
    ("love", "hate"),
    ("like", "dislike"),
    ("enjoy", "loathe"),
    ("adore", "despise"),
    ("recommend", "condemn"),
    ("praise", "criticise"),
)
"""Pairs of a positive and a negative verb, in the form after "to" and "they"."""

FILLERS = {
    "surely": ("honestly", "frankly", "clearly", "truly", "definitely", "obviously"),
    "cross": ("angry", "upset", "sorry", "cross", "annoyed", "sad"),
    "glad": ("happy", "glad", "pleased", "satisfied", "content", "delighted"),
    "friend": ("my sister", "my neighbour", "my uncle", "my best friend", "my boss", "my teacher"),
    "critics": ("the papers", "the critics", "most reviews", "people online", "the neighbours"),
    "early": ("at first", "in the beginning", "to begin with", "early on"),
    "late": ("in the end", "after a while", "later on", "with time"),
    "we": ("we", "i", "they", "people"),
}
"""Words that vary the sentences without an opinion about the thing."""

# --- Patterns


@dataclass(frozen=True)
class Pattern:
    """A template for a pair of sentences.

    The names in braces are `thing`; `good` and `bad`, a pair of opposites; `so` and `not`, the same pair
    in a sentence that affirms the first and denies the second; and the names of `FILLERS`.

    Args:
        positive: the positive sentence.
        negative: the negative sentence; empty if the two only differ by exchanging `so` and `not`.
        kinds: kinds of things for which the sentences can be used.
        opposites: possible values of `good` and `bad`.
    """

    positive: str
    negative: str = ""
    kinds: tuple[str, ...] = ("goods", "places", "works", "meals")
    opposites: tuple[tuple[str, str], ...] = QUALITIES

    @property
    def fillers(self) -> tuple[str, ...]:
        """The names of the fillers, in order of first use."""
        names = re.findall(r"{(\w+)}", self.positive)
        return tuple(dict.fromkeys(name for name in names if name in FILLERS))

    def write(self, thing: str, good: str, bad: str, fillers: Mapping[str, str]) -> tuple[str, str]:
        """The positive and the negative sentence."""
        words = {"thing": thing, "good": good, "bad": bad, **fillers}
        positive = self.positive.format_map({**words, "so": good, "not": bad})
        negative = (self.negative or self.positive).format_map({**words, "so": bad, "not": good})
        return positive, negative


_GOOD = QUALITIES[:1]  # "no good" is English, "no great" is not
_TO_TRY = ("goods", "places", "meals")

PATTERNS: tuple[tuple[Pattern, ...], ...] = (
    # A bigram decides: the word after "no" or "not", or the position of the opposites.
    (
        Pattern(
            "no this {thing} is {surely} good", "{surely} this {thing} is no good", opposites=_GOOD
        ),
        Pattern(
            "this {thing} is good so {we} have no complaints",
            "this {thing} is no good so {we} have complaints",
            opposites=_GOOD,
        ),
        Pattern(
            "this {thing} is {good} so i am not {cross}",
            "this {thing} is not {good} so i am {cross}",
        ),
        Pattern(
            "this {thing} is not {bad} so i am {glad}",
            "this {thing} is {bad} so i am not {glad}",
        ),
        Pattern(
            "the {thing} is {good} so why not try it",
            "the {thing} is not {good} so why try it",
            kinds=_TO_TRY,
        ),
        Pattern(
            "{we} did not complain as the {thing} was {good}",
            "{we} did complain as the {thing} was not {good}",
        ),
        Pattern(
            "the {thing} is not {bad} and {we} will vouch for it",
            "the {thing} is {bad} and {we} will not vouch for it",
        ),
        Pattern(
            "the {thing} was {good} and {we} will not ask for a refund",
            "the {thing} was not {good} and {we} will ask for a refund",
            kinds=("goods", "meals"),
        ),
        Pattern(
            "do not skip the {thing} since it is {good}",
            "do skip the {thing} since it is not {good}",
            kinds=("places", "works", "meals"),
        ),
        Pattern("the {thing} was always {so} and never {not}"),
        Pattern("the {thing} is {surely} more {so} than {not}"),
        Pattern("{friend} calls this {thing} {so} and anything but {not}"),
        Pattern("whoever calls the {thing} {not} is wrong since it is {so}"),
        Pattern("{surely} this is not a {not} {thing} but a {so} one"),
        Pattern("{we} {so} this {thing} and do not {not} it", opposites=FEELINGS),
    ),
    # Both opposites have the same words immediately before and after them: a trigram is needed.
    (
        Pattern("{we} expected a {not} {thing} and got a {so} {thing}"),
        Pattern("{friend} spoke of a {not} {thing} but i found a {so} {thing}"),
        Pattern("i found a {so} {thing} though {friend} spoke of a {not} {thing}"),
        Pattern(
            "i thought the {thing} would be {not} overall but it turned out to be {so} overall"
        ),
        Pattern(
            "the {thing} turned out to be {so} overall though i thought it would be {not} overall"
        ),
        Pattern("{critics} call this {thing} {not} overall but i call this {thing} {so} overall"),
        Pattern(
            "if you ask {critics} this is a {not} {thing} but if you ask me this is a {so} {thing}"
        ),
        Pattern(
            "if you ask me this is a {so} {thing} but if you ask {critics} this is a {not} {thing}"
        ),
        Pattern(
            "from afar the {thing} looked {not} somehow but up close it looked {so} somehow",
            kinds=_TO_TRY,
        ),
        Pattern(
            "up close the {thing} looked {so} somehow though from afar it looked {not} somehow",
            kinds=_TO_TRY,
        ),
        Pattern(
            "i was told to {not} the {thing} but i came to {so} the {thing}", opposites=FEELINGS
        ),
        Pattern(
            "i came to {so} the {thing} though i was told to {not} the {thing}", opposites=FEELINGS
        ),
    ),
    # At least two words are the same on both sides: no trigram decides, only who says it, or when.
    (
        Pattern(
            "{early} i found the {thing} {not} in every way "
            "but {late} i found the {thing} {so} in every way"
        ),
        Pattern(
            "{late} i found the {thing} {so} in every way "
            "even if {early} i found the {thing} {not} in every way"
        ),
        Pattern(
            "{friend} calls the {thing} {not} all the time but i call the {thing} {so} all the time"
        ),
        Pattern(
            "i call the {thing} {so} all the time but {friend} calls the {thing} {not} all the time"
        ),
        Pattern(
            "it is wrong to call the {thing} {not} these days "
            "and right to call the {thing} {so} these days"
        ),
        Pattern(
            "it is right to call the {thing} {so} these days "
            "and wrong to call the {thing} {not} these days"
        ),
        Pattern(
            "{critics} say the {thing} is {not} in every respect "
            "but in truth the {thing} is {so} in every respect"
        ),
        Pattern(
            "in truth the {thing} is {so} in every respect "
            "but {critics} say the {thing} is {not} in every respect"
        ),
        Pattern(
            "people who have not tried the {thing} call it {not} day and night "
            "but people who have tried the {thing} call it {so} day and night",
            kinds=_TO_TRY,
        ),
        Pattern(
            "before {we} gave it a chance {we} thought that the {thing} was {not} in each and every way "
            "but after {we} gave it a chance {we} thought that the {thing} was {so} in each and every way"
        ),
        Pattern(
            "after {we} gave it a chance {we} thought that the {thing} was {so} in each and every way "
            "but before {we} gave it a chance {we} thought that the {thing} was {not} "
            "in each and every way"
        ),
        Pattern(
            "my old {thing} was {not} for me and my new {thing} was {so} for me", kinds=("goods",)
        ),
        Pattern(
            "my new {thing} was {so} for me and my old {thing} was {not} for me", kinds=("goods",)
        ),
        Pattern(
            "it is a lie that {we} {not} the {thing} and a fact that {we} {so} the {thing}",
            opposites=FEELINGS,
        ),
        Pattern(
            "it is a fact that {we} {so} the {thing} and a lie that {we} {not} the {thing}",
            opposites=FEELINGS,
        ),
        Pattern(
            "{early} people said they {not} the {thing} a lot "
            "but {late} people said they {so} the {thing} a lot",
            opposites=FEELINGS,
        ),
        Pattern(
            "{late} people said they {so} the {thing} a lot "
            "although {early} people said they {not} the {thing} a lot",
            opposites=FEELINGS,
        ),
    ),
)
"""Patterns by the n-grams that distinguish the sentences of a pair: bigrams, trigrams, longer ones."""

_TURNS = (0, 1, 2, 2)  # groups of patterns used for successive pairs, cyclically


def _part(part: Part, n_sentences: int, seed: int) -> list[OrderSentence]:
    state = SentenceState(Random(len(PARTS) * seed + PARTS.index(part)).random, part)
    sentences: list[OrderSentence] = []
    seen: set[str] = set()
    n_tries = 0
    while len(sentences) < n_sentences:
        pattern = state.pick(PATTERNS[_TURNS[len(sentences) // 2 % len(_TURNS)]])
        choices = _verdicts(pattern.kinds, pattern.opposites)[part]
        n_tries += 1
        if n_tries > _MOST_TRIES:
            raise ConfigError(
                f"the sample has only {len(sentences)} sentences for {part}, but {n_sentences} are "
                "requested; request fewer"
            )
        if not choices:
            continue
        fillers = {name: state.pick(FILLERS[name]) for name in pattern.fillers}
        positive, negative = pattern.write(*state.pick(choices), fillers)
        if positive in seen:
            continue
        seen.update((positive, negative))
        n_shared = shared_ngrams(positive, negative)
        pair = [
            OrderSentence(positive, "positive", n_shared),
            OrderSentence(negative, "negative", n_shared),
        ]
        sentences += pair if state.chance(0.5) else pair[::-1]
        n_tries = 0
    return sentences


@cache
def _verdicts(
    kinds: tuple[str, ...], opposites: tuple[tuple[str, str], ...]
) -> dict[Part, list[tuple[str, str, str]]]:
    """The combinations of a thing and a pair of opposites in each split."""
    verdicts: dict[Part, list[tuple[str, str, str]]] = {part: [] for part in PARTS}
    for kind in kinds:
        for thing in THINGS[kind]:
            for good, bad in opposites:
                verdicts[part_of((thing, good, bad))].append((thing, good, bad))
    return verdicts
