"""The words of a question, and the numbers and dates that it writes in words."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from unrolled.sql.tokens import WORDS, is_number


@dataclass(frozen=True)
class QuestionWord:
    """A word of a question.

    Args:
        text: the word as written.
        start: index of its first character in the question.
        end: index after its last character.
    """

    text: str
    start: int
    end: int


def question_words(text: str) -> list[QuestionWord]:
    """The words of a question, divided as the words of a value are; blanks are dropped.

    >>> [word.text for word in question_words("Women's shoes under 49.50?")]
    ['Women', "'", 's', 'shoes', 'under', '49.50', '?']
    """
    return [
        QuestionWord(word[0], word.start(), word.end())
        for word in WORDS.finditer(text)
        if not word[0].isspace()
    ]


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A word in lower case without a plural ending, so that "cities" and "city" are equal.

    >>> [stem(word) for word in ("Cities", "rivers", "boxes", "address", "gas", "bus")]
    ['city', 'river', 'box', 'address', 'gas', 'bus']
    """
    word = word.lower()
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1]


@dataclass(frozen=True)
class SpokenNumber:
    """A number in words, such as "twenty-five", or in digits that SQL cannot read, such as "1,000".

    Args:
        text: the number as SQL writes it.
        first: index of its first word.
        last: index of its last word.
    """

    text: str
    first: int
    last: int


@dataclass(frozen=True)
class SpokenDate:
    """A date, a month, or a year.

    Args:
        first: index of its first word.
        last: index of its last word.
        year, month, day: what is named; None for what is not.
    """

    first: int
    last: int
    year: int | None = None
    month: int | None = None
    day: int | None = None

    def days(self) -> tuple[str, ...]:
        """The first and the last day that it means, as ISO 8601 writes them; none without a year.

        >>> SpokenDate(0, 1, 2024, 2).days(), SpokenDate(0, 2, 2024, 2, 3).days()
        (('2024-02-01', '2024-02-29'), ('2024-02-03',))
        """
        if self.year is None:
            return ()
        if self.month is None:
            return f"{self.year}-01-01", f"{self.year}-12-31"
        if self.day is not None:
            return (f"{self.year}-{self.month:02}-{self.day:02}",)
        last_day = monthrange(self.year, self.month)[1]
        return f"{self.year}-{self.month:02}-01", f"{self.year}-{self.month:02}-{last_day}"


_UNIT_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen"""
_TEN_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINAL_NAMES = """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"""
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_TENS = {name: 10 * ten for ten, name in enumerate(_TEN_NAMES.split(), start=2)}
_SMALL = {name: number for number, name in enumerate(_UNIT_NAMES.split())} | _TENS
_ORDINALS = {name: number for number, name in enumerate(_ORDINAL_NAMES.split(), start=1)} | {
    f"{name[:-1]}ieth": number for name, number in _TENS.items()
}
_ORDINAL_DIGITS = re.compile(r"(\d{1,18})(?:st|nd|rd|th)", re.IGNORECASE)


def numbers_in(words: Sequence[QuestionWord]) -> Iterator[SpokenNumber]:
    """The numbers that are not written as SQL writes them; what could mean something else is left out.

    >>> words = question_words("the first twenty-five over 1,000 or 2 million")
    >>> [number.text for number in numbers_in(words)]
    ['1', '25', '1000', '2000000']
    """
    texts = [word.text.casefold() for word in words]
    position = 0
    while position < len(words):
        found = _in_digits(words, texts, position) or _in_words(words, texts, position)
        if found is None:
            position += 1
        else:
            yield SpokenNumber(found[0], position, found[1] - 1)
            position = found[1]


def _in_digits(
    words: Sequence[QuestionWord], texts: Sequence[str], start: int
) -> tuple[str, int] | None:
    """A number in digits, and the index after its last word; None if SQL reads it as it is."""
    if ordinal := _ORDINAL_DIGITS.fullmatch(texts[start]):
        return str(int(ordinal[1])), start + 1
    if not is_number(texts[start]) or not texts[start][0].isascii():
        return None
    digits, end = texts[start], start + 1
    while (
        len(digits.replace(",", "")) <= 18
        and end + 1 < len(words)
        and texts[end] == ","
        and words[end - 1].end == words[end].start
        and words[end].end == words[end + 1].start
        and re.fullmatch(r"\d{3}(\.\d+)?", texts[end + 1], re.ASCII)
        and re.fullmatch(r"\d{1,3}(,\d{3})*", digits, re.ASCII)
    ):
        digits += f",{texts[end + 1]}"
        end += 2
    scale = _SCALES.get(texts[end]) if end < len(texts) and len(digits) <= 20 else None
    if scale is not None:
        return f"{(Decimal(digits.replace(',', '')) * scale).normalize():f}", end + 1
    return (digits.replace(",", ""), end) if "," in digits else None


def _in_words(
    words: Sequence[QuestionWord], texts: Sequence[str], start: int
) -> tuple[str, int] | None:
    """A number in words, and the index after its last word."""
    total = current = 0
    position, end, can_follow = start, start, 100
    while position < len(texts) and end - start < 20:
        text = texts[position]
        if end > start and (text == "-" or (text == "and" and current + total >= 100)):
            position += 1
            if position > end + 1:
                break
            continue
        value = _SMALL.get(text, _ORDINALS.get(text))
        if value is not None:
            if value >= can_follow:
                break
            current += value
            can_follow = 10 if value in range(20, 100, 10) else 0
            end = position + 1
            if text in _ORDINALS:
                break
        elif text == "hundred" and 0 <= current < 10:
            current, can_follow, end = (current or 1) * 100, 100, position + 1
        elif text == "dozen" and end == start:
            return "12", position + 1
        elif text in _SCALES and (total == 0 or current) and current < 1000:
            total += (current or 1) * _SCALES[text]
            current, can_follow, end = 0, 100, position + 1
        else:
            break
        position += 1
    return (str(total + current), end) if end > start else None


_MONTH_NAMES = """january february march april may june july august september october november
december"""
_MONTHS: Mapping[str, int] = {
    name: number
    for number, month in enumerate(_MONTH_NAMES.split(), start=1)
    for name in (month, month[:3])
} | {"sept": 9}
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d", re.ASCII)


def dates_in(words: Sequence[QuestionWord]) -> Iterator[SpokenDate]:
    """The dates of a question with the name of a month, and the years.

    >>> for date in dates_in(question_words("from May 3rd, 2023 to 5 June 2024, or in July, or in 2022")):
    ...     print(date.year, date.month, date.day)
    2023 5 3
    2024 6 5
    None 7 None
    2022 None None
    """
    texts = [word.text.casefold() for word in words]
    position = 0
    while position < len(texts):
        date = _date_at(texts, position)
        if date is None:
            position += 1
        else:
            yield date
            position = date.last + 1


def _date_at(texts: Sequence[str], start: int) -> SpokenDate | None:
    position = start
    day = _day(texts, position)
    if day is not None:  # 5 May, 5th of May
        position += 1
        if _at(texts, position) == "of":
            position += 1
        if _at(texts, position) not in _MONTHS:
            day = None
    if day is None:
        position = start
    month = _MONTHS.get(_at(texts, position))
    if month is None:
        is_year = _YEAR.fullmatch(texts[start]) and "-" not in (
            _at(texts, start - 1),
            _at(texts, start + 1),
        )
        return SpokenDate(start, start, int(texts[start])) if is_year else None
    position += 1
    if _at(texts, position) == ".":
        position += 1
    after = _day(texts, position)
    if day is None and after is not None:
        day, position = after, position + 1
    year_at = position + (_at(texts, position) in (",", "of"))
    if _YEAR.fullmatch(_at(texts, year_at)):
        year = int(texts[year_at])
        if day is not None and day > monthrange(year, month)[1]:
            return None
        return SpokenDate(start, year_at, year, month, day)
    if _at(texts, position - 1) == ".":
        position -= 1
    return SpokenDate(start, position - 1, None, month, day)


def _day(texts: Sequence[str], position: int) -> int | None:
    match = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", _at(texts, position), re.ASCII)
    return int(match[1]) if match and 1 <= int(match[1]) <= 31 else None


def _at(texts: Sequence[str], position: int) -> str:
    return texts[position] if 0 <= position < len(texts) else ""
