"""Find the values of a database that a question mentions, so that a decoder can point at them."""

from __future__ import annotations

import re
import time
import unicodedata
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from unrolled.sql.database import Database, file_state
from unrolled.sql.linking import name_words
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import Literal
from unrolled.sql.question import QuestionWord as QuestionWord
from unrolled.sql.question import SpokenDate, dates_in, numbers_in, stem
from unrolled.sql.question import question_words as question_words
from unrolled.sql.schema import Place, Schema
from unrolled.sql.tokens import WORDS

MOST_VALUES = 10_000
"""Maximum distinct values to read of a column."""

MOST_FOUND = 30
"""Maximum values to find in a question."""

_LONGEST_VALUE = 100
_LEAST_SIMILARITY = 0.85

_MOST_VALUES_OF_ALL = 200_000
_MOST_VALUES_CACHED = 500_000
_MOST_ROWS = 200_000
_SECONDS_PER_COLUMN, _SECONDS = 1.0, 10.0

_MOST_QUESTION_WORDS = 200
_MOST_EQUAL_WORDS, _MOST_SIMILAR_WORDS = 10, 6
_LEAST_SIMILAR_LETTERS = 4
_MOST_COMPARED, _MOST_SCANNED_PER_SPAN, _MOST_SCANNED = 12, 500, 8_000
_MOST_OF_SPAN = 5

_ENGLISH = """
a about above after all also am an and any are as at be been before below between both but by can
could did do does each either every find for from get give had has have he her him his how i if in
into is it its list may me more most much my no nor not of off on only or other our out over per s
she should show so some such t tell than that the their them then there these they this those to too
under us was we were what when where which while who whom whose why will with would you your
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""English words that are rarely values: only written as the value is, in capitals, and compared alone."""


@dataclass(frozen=True)
class FoundValue:
    """A value that a question mentions.

    Args:
        text: the value as the database has it, or a number as SQL writes it.
        is_number: whether it is a number that the question writes in another form.
        places: the columns that have it; none for a number.
        first: index of the first word that mentions it.
        last: index of the last word that mentions it.
        similarity: 1 if the words are the value but for case, accents, plurals and punctuation; at least
            0.85.
    """

    text: str
    is_number: bool
    places: tuple[Place, ...]
    first: int
    last: int
    similarity: float

    @property
    def literal(self) -> Literal:
        """The piece of a query that it is."""
        return Literal(self.text, self.is_number)


@dataclass(frozen=True)
class _Span:
    """Words of a question as a key, and the indices of the first and the last."""

    key: str
    first: int
    last: int
    n_words: int


class ValueIndex:
    """The text values of a database; false if there are none, but numbers are found even then.

    Args:
        values: each value with the columns that have it, in the order in which they are best.
        names: the words of the names of tables and columns.
    """

    def __init__(
        self,
        values: Iterable[tuple[str, tuple[Place, ...]]] = (),
        names: Iterable[Sequence[str]] = (),
    ) -> None:
        self._names = {" ".join(map(stem, name)) for name in names}
        self._places: dict[str, tuple[Place, ...]] = {}
        self._texts: dict[str, list[str]] = {}
        # Keys by their first letter and length, and by their last two letters and length.
        self._by_letters: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._by_word: dict[str, list[str]] = defaultdict(list)
        self._date_places: set[Place] = set()
        self._month_places: set[Place] = set()
        for text, places in values:
            self._add(text, places)
        self._by_letters.default_factory = self._by_word.default_factory = None

    @classmethod
    def of(cls, database: Database, most: int = MOST_VALUES) -> ValueIndex:
        """The index of a database, read once while its file does not change.

        Numeric columns are not read: a number stands in the question itself. Of a column, the first
        200,000 rows are read and `most` distinct values of 1 to 100 characters are kept, of the whole
        database 200,000. A column whose query fails is left out, and what follows in a table after a
        column that takes more than a second; after 10 s, all that follow are.

        Args:
            database: the database.
            most: maximum distinct values of a column.
        """
        name = (str(database.path.resolve()), *file_state(database.path), most)
        index = _CACHE.get(name)
        if index is None:
            index = cls(_read(database, most).items(), _names_of(database.schema))
            _CACHE[name] = index
            while sum(map(len, _CACHE.values())) > _MOST_VALUES_CACHED and len(_CACHE) > 1:
                _CACHE.popitem(last=False)
        _CACHE.move_to_end(name)
        return index

    @classmethod
    def listed(cls, values: Mapping[str, tuple[Place, ...]], schema: Schema) -> ValueIndex:
        """The index of values that a description of a schema lists (`schema_files.read_values`)."""
        kept = {text: places for text, places in values.items() if _is_kept(text)}
        return cls(kept.items(), _names_of(schema))

    def __len__(self) -> int:
        return len(self._places)

    def _add(self, text: str, places: tuple[Place, ...]) -> None:
        words = [word for word in _normal(WORDS.findall(text)) if word]
        if not words:
            return
        self._places[text] = places
        key = " ".join(words)
        if date := _ISO_DATE.match(text):
            (self._date_places if date[1] else self._month_places).update(places)
        texts = self._texts.get(key)
        if texts is not None:
            texts.append(text)
            return
        self._texts[key] = [text]
        if len(key) >= _LEAST_SIMILAR_LETTERS:
            self._by_letters[key[0], len(key)].append(key)
            self._by_letters[key[-2:], len(key)].append(key)
            if len(words) > 1:
                for word in set(words):
                    self._by_word[word].append(key)

    def find(self, words: Sequence[QuestionWord]) -> list[FoundValue]:
        """The values that a question mentions, the best first, at most 30.

        Longer mentions replace those within them that are not more similar to their value. Numbers in
        words, and dates with the name of a month, are found as SQL writes them: "three" is the number 3;
        if a column has dates, "May 2024" is its first and its last day and 2024-05, "May" is 05 and 5.

        Args:
            words: the words of the question, from `question_words`; of more than 200, the first.
        """
        words = words[:_MOST_QUESTION_WORDS]
        found = self._without_parts(
            words, [*self._equal(words), *_numbers(words), *self._similar(words)]
        )
        found += self._dates(words)
        best: dict[Literal, FoundValue] = {}
        for value in sorted(found, key=_rank):
            best.setdefault(value.literal, value)
        return list(best.values())[:MOST_FOUND]

    def _equal(self, words: Sequence[QuestionWord]) -> Iterator[FoundValue]:
        for span in _spans(words, _MOST_EQUAL_WORDS):
            for text in self._texts.get(span.key, ()):
                is_function_word = span.key in _FUNCTION_WORDS
                written = words[span.first].text
                if not is_function_word or (text == written and not text.islower()):
                    yield FoundValue(text, False, self._places[text], span.first, span.last, 1.0)

    def _similar(self, words: Sequence[QuestionWord]) -> Iterator[FoundValue]:
        left = _MOST_SCANNED
        for span in _spans(words, _MOST_SIMILAR_WORDS):
            edges = {span.key.partition(" ")[0], span.key.rpartition(" ")[2]}
            if (
                len(span.key) < _LEAST_SIMILAR_LETTERS
                or edges & _FUNCTION_WORDS
                or span.key in self._texts
                or span.key in self._names
            ):
                continue
            candidates = self._candidates(span.key, min(left, _MOST_SCANNED_PER_SPAN))
            left -= min(left, len(candidates))
            for similarity, key in _most_similar(span.key, candidates):
                for text in self._texts[key][:_MOST_OF_SPAN]:
                    places = self._places[text]
                    yield FoundValue(text, False, places, span.first, span.last, similarity)

    def _candidates(self, key: str, most: int) -> list[str]:
        """Keys that may be similar: they share the first letter, the last two, or a rare word."""
        ratio = _LEAST_SIMILARITY / (2 - _LEAST_SIMILARITY)
        shortest, longest = -int(-len(key) * ratio // 1), int(len(key) / ratio)
        lists = sorted((self._by_word.get(word, []) for word in key.split()), key=len)
        for length in sorted(range(shortest, longest + 1), key=lambda n: abs(n - len(key))):
            lists.append(self._by_letters.get((key[0], length), []))
            lists.append(self._by_letters.get((key[-2:], length), []))
        candidates: dict[str, None] = {}
        for each in lists:
            room = most - len(candidates)
            if room <= 0:
                break
            candidates.update(dict.fromkeys(each[:room]))
        return [each for each in candidates if shortest <= len(each) <= longest]

    def _without_parts(
        self, words: Sequence[QuestionWord], found: Sequence[FoundValue]
    ) -> list[FoundValue]:
        """Leave out mentions within longer ones that are at least as similar.

        A mention stays if the other words of the longer one are a name: "Ohio" in "Ohio river".
        """
        spans: dict[tuple[int, int], float] = {}
        for value in found:
            span = value.first, value.last
            spans[span] = max(spans.get(span, 0.0), value.similarity)
        return [
            value
            for value in found
            if not any(
                first <= value.first
                and value.last <= last
                and last - first > value.last - value.first
                and similarity >= value.similarity
                and not self._is_name(
                    [*words[first : value.first], *words[value.last + 1 : last + 1]]
                )
                for (first, last), similarity in spans.items()
            )
        ]

    def _is_name(self, words: Sequence[QuestionWord]) -> bool:
        return " ".join(stem(word.text) for word in words) in self._names

    def _dates(self, words: Sequence[QuestionWord]) -> Iterator[FoundValue]:
        days, months = tuple(sorted(self._date_places)), tuple(sorted(self._month_places))
        places = tuple(sorted({*days, *months}))
        for date in dates_in(words) if places else ():
            for text, is_number, its_places in _forms(date, days, months):
                if its_places or is_number:
                    yield FoundValue(text, is_number, its_places, date.first, date.last, 1.0)


_CACHE: OrderedDict[tuple[object, ...], ValueIndex] = OrderedDict()

_ISO_DATE = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])(-(?:0[1-9]|[12]\d|3[01]))?(?![\w-])", re.ASCII)


def _forms(
    date: SpokenDate, days: tuple[Place, ...], months: tuple[Place, ...]
) -> Iterator[tuple[str, bool, tuple[Place, ...]]]:
    """A date as text, with the columns whose dates have that form, or as number, without columns.

    What a model sees of a value are its words and columns: the text 10 and the number 10 must differ.
    """
    for day in date.days():
        yield day, False, days
    if date.month is None:
        return
    if date.year is not None:
        yield f"{date.year}-{date.month:02}", False, (*days, *months)
    yield f"{date.month:02}", False, (*days, *months)
    yield str(date.month), True, ()


def _numbers(words: Sequence[QuestionWord]) -> Iterator[FoundValue]:
    for number in numbers_in(words):
        yield FoundValue(number.text, True, (), number.first, number.last, 1.0)


def _rank(value: FoundValue) -> tuple[object, ...]:
    n_words = value.last - value.first
    return -value.similarity, -n_words, value.first, value.is_number, value.text


def _spans(words: Sequence[QuestionWord], most: int) -> Iterator[_Span]:
    normal = _normal([word.text for word in words])
    kept = [index for index, word in enumerate(normal) if word]
    for start, first in enumerate(kept):
        key = ""
        for n_words, last in enumerate(kept[start : start + most], start=1):
            key = f"{key} {normal[last]}" if key else str(normal[last])
            if len(key) > 2 * _LONGEST_VALUE:
                break
            yield _Span(key, first, last, n_words)


def _most_similar(key: str, candidates: Sequence[str]) -> list[tuple[float, str]]:
    """The most similar candidates, at most 5; their digits are those of the key."""
    digits, bits = _NOT_DIGITS.sub("", key), _bits(key)
    if digits:
        candidates = [other for other in candidates if _NOT_DIGITS.sub("", other) == digits]
    near = sorted(candidates, key=lambda other: ((_bits(other) ^ bits).bit_count(), other))
    matcher = SequenceMatcher(None, "", key, autojunk=False)
    similar = []
    for other in near[:_MOST_COMPARED]:
        if not digits and _NOT_DIGITS.sub("", other):
            continue
        matcher.set_seq1(other)
        if matcher.quick_ratio() >= _LEAST_SIMILARITY:
            ratio = matcher.ratio()
            if ratio >= _LEAST_SIMILARITY:
                similar.append((min(ratio, 0.99), other))
    return sorted(similar, key=lambda each: (-each[0], each[1]))[:_MOST_OF_SPAN]


_NOT_DIGITS = re.compile(r"\D+")


@lru_cache(maxsize=1 << 18)
def _bits(key: str) -> int:
    """The set of letters of a key, as bits."""
    bits = 0
    for letter in set(key):
        bits |= 1 << (ord(letter) & 63)
    return bits


_APOSTROPHES = frozenset("'’ʼ`´")
_KEPT_SYMBOLS = frozenset("+#%*@$€£")


def _normal(words: Sequence[str]) -> list[str | None]:
    """Words in lower case without accents, in the singular; None for what does not count.

    >>> _normal(["Tea", "'", "s", " ", "Cafés", "&", "C", "+"])
    ['tea', None, None, None, 'cafe', 'and', 'c', '+']
    """
    normal = [_normal_word(word) for word in words]
    for index in range(2, len(words)):
        if normal[index] == "s" and words[index - 1] in _APOSTROPHES and normal[index - 2]:
            normal[index] = None
    return normal


@lru_cache(maxsize=1 << 16)
def _normal_word(word: str) -> str | None:
    if len(word) == 1 and not word.isalnum():
        return "and" if word == "&" else word if word in _KEPT_SYMBOLS else None
    word = word.casefold().replace("_", " ")
    if not word.isascii():
        decomposed = unicodedata.normalize("NFKD", word)
        word = "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()
    return " ".join(map(stem, word.split())) or None


def _names_of(schema: Schema) -> Iterator[tuple[str, ...]]:
    for table in schema.tables:
        yield name_words(table.name)
        for column in table.columns:
            yield name_words(column.name)


def _read(database: Database, most: int) -> dict[str, tuple[Place, ...]]:
    """The values of a database and their columns."""
    values: dict[str, tuple[Place, ...]] = {}
    end = time.monotonic() + _SECONDS
    for table_index, table in enumerate(database.schema.tables):
        for column_index, column in enumerate(table.columns):
            if column.kind == "number":
                continue
            began = time.monotonic()
            seconds = min(end - began, _SECONDS_PER_COLUMN)
            if seconds <= 0:
                return values
            place = table_index, column_index
            for text in _values_of(database, table.name, column.name, most, seconds):
                if text in values:
                    values[text] = (*values[text], place)
                elif len(values) < _MOST_VALUES_OF_ALL:
                    values[text] = (place,)
            if (
                time.monotonic() - began > seconds
            ):  # a view that is slow is so for each of its columns
                break
    return values


def _values_of(
    database: Database, table: str, column: str, most: int, seconds: float
) -> Iterator[str]:
    name = _quoted(column)
    query = (
        f"SELECT DISTINCT {name} FROM (SELECT {name} FROM {_quoted(table)} LIMIT {_MOST_ROWS}) "
        f"WHERE TYPEOF({name}) = 'text' AND LENGTH({name}) BETWEEN 1 AND {_LONGEST_VALUE}"
    )
    try:
        rows = database.run(query, most, seconds).rows
    except QueryError:
        return
    for (value,) in rows:
        if isinstance(value, str) and _is_kept(value):
            yield value


def _is_kept(value: str) -> bool:
    # U+FFFD stands for bytes that are not UTF-8, which no query can write.
    return 0 < len(value) <= _LONGEST_VALUE and "\ufffd" not in value and "\0" not in value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
