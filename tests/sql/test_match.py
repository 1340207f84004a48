"""Scores of predicted queries, with values worked out by hand."""

from __future__ import annotations

import pytest

from unrolled.sql.match import canonical, components, is_exact, is_normalized_match, is_set_match
from unrolled.sql.schema import Column, ForeignKey, Schema, Table

SCHEMA = Schema(
    "places",
    (
        Table("city", (Column("name", "text"), Column("state"), Column("people", "int"))),
        Table("state", (Column("name"), Column("area"))),
    ),
    (ForeignKey("city", "state", "state", "name"),),
)


@pytest.mark.parametrize(
    ("gold", "predicted", "exact", "normalized", "sets"),
    [
        ("SELECT name FROM city", "select c.NAME from City c", True, True, True),
        (
            "SELECT name FROM city WHERE people > 1 AND state = 'x'",
            "SELECT name FROM city WHERE state = 'x' AND 1 < people",
            False,
            True,
            False,  # Spider's script keeps the direction of a comparison
        ),
        (
            "SELECT name FROM city WHERE people > 1 AND state = 'x'",
            "SELECT name FROM city WHERE state = 'y' AND people > 2",
            False,
            False,
            True,
        ),
        ("SELECT name FROM city", "SELECT DISTINCT name FROM city", False, False, True),
        ("SELECT name, state FROM city", "SELECT state, name FROM city", False, False, True),
        (
            "SELECT name FROM city ORDER BY people LIMIT 1",
            "SELECT name FROM city ORDER BY people LIMIT 3",
            False,
            False,
            True,
        ),
        (
            "SELECT name FROM city ORDER BY people, name",
            "SELECT name FROM city ORDER BY name, people",
            False,
            False,
            False,
        ),
        (
            "SELECT name FROM city WHERE state IN ('x', 'y')",
            "SELECT name FROM city WHERE state IN ('y', 'x')",
            False,
            True,
            True,
        ),
        (
            "SELECT name FROM city WHERE people = 1 OR people = 2",
            "SELECT name FROM city WHERE people = 1 AND people = 2",
            False,
            False,
            False,
        ),
        (
            "SELECT state.name FROM city JOIN state ON city.state = state.name",
            "SELECT city.state FROM city JOIN state ON state.name = city.state",
            False,
            False,
            True,  # the foreign key links the columns
        ),
        ("SELECT name FROM city", "SELECT name FROM state", False, False, False),
        (
            "SELECT name FROM city EXCEPT SELECT name FROM state",
            "SELECT name FROM state EXCEPT SELECT name FROM city",
            False,
            False,
            False,
        ),
        (
            "SELECT name FROM city WHERE people != 3",
            "SELECT name FROM city WHERE people <> 3",
            True,
            True,
            True,
        ),
        (
            "SELECT name FROM city WHERE (people = 1 AND state = 'x') AND name = 'y'",
            "SELECT name FROM city WHERE people = 1 AND (name = 'y' AND state = 'x')",
            False,
            True,
            True,
        ),
        ("SELECT COUNT(*) FROM city", "SELECT COUNT(name) FROM city", False, False, False),
    ],
)
def test_matches(gold: str, predicted: str, exact: bool, normalized: bool, sets: bool) -> None:
    one, other = canonical(gold, SCHEMA), canonical(predicted, SCHEMA)
    found = (
        is_exact(one, other),
        is_normalized_match(one, other),
        is_set_match(one, other, SCHEMA),
    )
    assert found == (exact, normalized, sets)
    assert is_exact(one, one)
    assert is_normalized_match(other, other)
    assert is_set_match(one, one, SCHEMA)


def test_components_count_what_is_in_both() -> None:
    gold = canonical(
        "SELECT name, people FROM city WHERE people > 5 AND state = 'x' ORDER BY people LIMIT 2",
        SCHEMA,
    )
    predicted = canonical(
        "SELECT name FROM city WHERE people > 5 AND state = 'y' AND name = 'z' ORDER BY people",
        SCHEMA,
    )
    assert components(gold, predicted) == {
        "select": (1, 2, 1),
        "from": (1, 1, 1),
        "where": (1, 2, 3),
        "group": (0, 0, 0),
        "having": (0, 0, 0),
        "order": (1, 2, 1),
    }
    assert components(gold, predicted, with_values=False)["where"] == (2, 2, 3)
    assert components(gold, None)["select"] == (0, 2, 0)


def test_components_of_a_union_are_those_of_both_sides() -> None:
    query = canonical("SELECT name FROM city UNION SELECT name FROM state WHERE area > 1", SCHEMA)
    counts = components(query, query)
    assert (counts["select"], counts["from"], counts["where"]) == ((2, 2, 2), (2, 2, 2), (1, 1, 1))
