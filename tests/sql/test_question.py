"""Words, numbers and dates of a question."""

from __future__ import annotations

import pytest

from unrolled.sql.question import dates_in, numbers_in, question_words
from unrolled.sql.tokens import words_of


@pytest.mark.parametrize(
    "text", ["", " ", "women's  shoes\nunder 49.50?", "a_b-c #2", "ñandú\u2028日本 🙂\x00\x1b[2J"]
)
def test_words_are_those_of_values_and_keep_their_place(text: str) -> None:
    words = question_words(text)
    assert [word.text for word in words] == [
        word.text for word in words_of(text) if not word.text.isspace()
    ]
    assert [text[word.start : word.end] for word in words] == [word.text for word in words]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("three cats and twenty-five dogs", ["3", "25"]),
        ("two hundred and fifty", ["250"]),
        ("three thousand four hundred and five", ["3405"]),
        ("one million two hundred thousand", ["1200000"]),
        ("two three", ["2", "3"]),
        ("one and two", ["1", "2"]),
        ("twenty twenty", ["20", "20"]),
        ("the first and the twenty-first, the 22nd", ["1", "21", "22"]),
        ("1,234,567.89 or 1, 234", ["1234567.89"]),
        ("1,23 or 12345,678 or 1,2345", []),
        ("1.5 million, 5 thousand", ["1500000", "5000"]),
        ("5 or 5.5 or 5k or $5", []),
        ("a dozen, a hundred", ["12", "100"]),
        ("thirty and", ["30"]),
        ("hundred hundred", ["100", "100"]),
        ("9" * 5000 + "th", []),
        ("1" + ",000" * 2000, ["1" + "000" * 6]),
    ],
)
def test_numbers_are_written_as_sql_writes_them(text: str, numbers: list[str]) -> None:
    found = [number.text for number in numbers_in(question_words(text))]
    assert found[: len(numbers) or 1] == numbers


def test_a_number_knows_its_words() -> None:
    (number,) = numbers_in(question_words("over twenty - five items"))
    assert (number.text, number.first, number.last) == ("25", 1, 3)


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("in May", [(None, 5, None)]),
        ("in Sept. 2023", [(2023, 9, None)]),
        ("May 3rd, 2023", [(2023, 5, 3)]),
        ("the 3rd of may 2023", [(2023, 5, 3)]),
        ("in May. 2023 was good", [(2023, 5, None)]),
        ("2024-05-01", []),
        ("February 30, 2024", [(2024, None, None)]),
        ("30 people in June", [(None, 6, None)]),
        ("12345", []),
    ],
)
def test_dates_need_the_name_of_a_month_or_a_year(
    text: str, dates: list[tuple[int | None, int | None, int | None]]
) -> None:
    found = dates_in(question_words(text))
    assert [(date.year, date.month, date.day) for date in found] == dates


def test_a_date_knows_its_words() -> None:
    first, second = dates_in(question_words("from May 2023 to Jun. next"))
    assert (first.first, first.last, second.first, second.last) == (1, 2, 4, 4)
    assert (first.days(), second.days()) == (("2023-05-01", "2023-05-31"), ())
