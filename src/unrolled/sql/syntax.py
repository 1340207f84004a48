"""The syntax of queries that a decoder may write, as rules over keywords and classes of pieces.

The rules know no schema: what is in scope is in `unrolled.sql.scope`. Rules whose names end in _f are
written once for each family of expressions:

    plain      in WHERE, ON and GROUP BY: no aggregates, but subqueries;
    output     in SELECT, HAVING and ORDER BY: aggregates as well;
    argument   in an aggregate: neither aggregates nor subqueries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from unrolled.sql.pieces import APART, GLUED, LITERAL, N_SPECIAL, NUMBER, WORD

DERIVED = re.compile(r"d(\d{1,3})")
OUTPUT = re.compile(r"d(\d{1,3})\.o(\d{1,3})")
ALIAS = re.compile(r"a(\d{1,3})")
INSTANCE = re.compile(r"#([2-9]|[1-9]\d{1,2})")

AGGREGATES = ("AVG", "COUNT", "GROUP_CONCAT", "MAX", "MIN", "SUM", "TOTAL")

_FUNCTIONS = {
    "one": "ABS JULIANDAY LENGTH LOWER SIGN TYPEOF UNIXEPOCH UPPER",
    "one_or_two": "LTRIM ROUND RTRIM TRIM",
    "two": "IFNULL INSTR NULLIF",
    "two_or_three": "SUBSTR SUBSTRING",
    "three": "REPLACE",
    "two_or_more": "COALESCE MAX MIN",
    "one_or_more": "DATE DATETIME TIME",
}
"""Functions with the number of their arguments, as `to_tokens` writes their names."""

_OPERATORS = {
    "comparison": "= <> != < <= > >=",
    "operator": "+ - * / % ||",
    "set_operator": "INTERSECT EXCEPT",
    "type": "INTEGER REAL TEXT",
}

_RULES = r"""
start: query

query: select order? limit? | select more_selects union_order? limit?
more_selects: more_select+
more_select: union select
union: "UNION" "ALL"? | set_operator
select: from "SELECT" "DISTINCT"? outputs where? group? | "SELECT" outputs

from: "FROM" source join*
source: TABLE INSTANCE? | "(" query ")" "AS" DERIVED
join: "," source | inner source on? | outer source on
inner: inner_kind? "JOIN"
inner_kind: "INNER" | "CROSS"
outer: outer_kind "OUTER"? "JOIN"
outer_kind: "LEFT" | "RIGHT" | "FULL"
on: "ON" condition_plain

outputs: output more_outputs*
more_outputs: "," output
output: value_output compared? alias? | "*" | TABLE INSTANCE? "." "*" | DERIVED "." "*"
alias: "AS" ALIAS
compared: comparison value_output

where: "WHERE" condition_plain
group: "GROUP BY" grouped more_groups* having?
more_groups: "," grouped
grouped: NUMBER | key_plain
having: "HAVING" condition_output
order: "ORDER BY" ordered more_ordered*
more_ordered: "," ordered
ordered: ordered_key compared? direction? nulls?
ordered_key: NUMBER | key_output
direction: "ASC" | "DESC"
nulls: "NULLS" nulls_place
nulls_place: "FIRST" | "LAST"
union_order: "ORDER BY" NUMBER direction? more_union_ordered*
more_union_ordered: "," NUMBER direction?
limit: "LIMIT" NUMBER offset?
offset: "OFFSET" NUMBER

condition_f: clause_f more_clauses_f*
more_clauses_f: logical clause_f
logical: "AND" | "OR"
clause_f: "NOT"? test_f
test_f: value_f comparison value_f | value_f "NOT"? test_after_f | value_f is "NULL" | value_f is constant
test_f: "(" condition_f ")" | exists_f | truth
test_after_f: "IN" "(" in_f ")" | "BETWEEN" value_f "AND" value_f | "LIKE" value_f escape?
escape: "ESCAPE" text
is: "IS" "NOT"?
truth: "TRUE" | "FALSE"

exists_plain: "EXISTS" "(" query ")"
exists_output: "EXISTS" "(" query ")"
in_f: constants
in_plain: query
in_output: query
constants: constant more_constants*
more_constants: "," constant

value_f: operand_f more_operands_f*
more_operands_f: operator operand_f
operand_f: "-"? atom_f
atom_f: NUMBER | "(" value_f ")" | common_f
common_f: column | text | call_f | cast_f | case_f | truth
common_plain: "(" query ")" | ALIAS
common_output: "(" query ")" | ALIAS | aggregate
key_f: key_operand_f more_operands_f*
key_operand_f: "-"? key_atom_f
key_atom_f: "(" key_f ")" | common_f
column: COLUMN INSTANCE? | OUTPUT
constant: "-"? NUMBER | text
text: LITERAL | "'" words? "'"
words: word more_words*
more_words: mark? word
word: WORD | NUMBER
mark: "{GLUED}" | "{APART}"

cast_f: "CAST" "(" value_f "AS" type ")"
case_f: "CASE" when_f+ else_f? "END" | "CASE" value_f when_value_f+ else_f? "END"
when_f: "WHEN" condition_f "THEN" branch_f
when_value_f: "WHEN" value_f "THEN" branch_f
else_f: "ELSE" branch_f
branch_f: value_f | "NULL"

aggregate: "COUNT" "(" "*" ")" | "COUNT" "(" "DISTINCT"? value_argument ")"
aggregate: "GROUP_CONCAT" "(" "DISTINCT"? value_argument ")"
aggregate: "GROUP_CONCAT" "(" value_argument "," text ")"
aggregate: number_aggregate "(" "DISTINCT"? value_argument ")"
number_aggregate: "AVG" | "MAX" | "MIN" | "SUM" | "TOTAL"

call_f: one "(" value_f ")" | one_or_two "(" value_f next_f? ")" | two "(" value_f next_f ")"
call_f: two_or_three "(" value_f next_f next_f? ")" | three "(" value_f next_f next_f ")"
call_f: two_or_more "(" value_f next_f+ ")" | one_or_more "(" value_f next_f* ")"
call_f: "STRFTIME" "(" text next_f+ ")" | "IIF" "(" condition_f next_f next_f ")"
next_f: "," branch_f
"""

_FAMILIES = ("plain", "output", "argument")
_SYMBOL = re.compile(r'("[^"]+"|[A-Za-z_]+)([?*+]?)')


def lark_grammar(keywords: Sequence[str]) -> str:
    """The rules for llguidance, in its variant of Lark's notation.

    The tokens are the classes of `unrolled.sql.pieces`, except that all tables are one token and all
    columns are one, after the keywords. What needs a keyword that is not there is left out.
    """
    first = {text: N_SPECIAL + index for index, text in reversed(list(enumerate(keywords)))}
    classes = {
        "WORD": [WORD],
        "NUMBER": [NUMBER],
        "LITERAL": [LITERAL],
        "TABLE": [table_class(len(keywords))],
        "COLUMN": [table_class(len(keywords)) + 1],
        "DERIVED": _matching(first, DERIVED),
        "OUTPUT": _matching(first, OUTPUT),
        "ALIAS": _matching(first, ALIAS),
        "INSTANCE": _matching(first, INSTANCE),
    }
    tokens = {name: numbers for name, numbers in classes.items() if numbers}
    tokens |= {f'"{text}"': [number] for text, number in first.items()}
    rules = _possible(_alternatives(), tokens)
    lines = ['%llguidance {"no_forcing": true}']
    for name, bodies in rules.items():
        written = (" ".join(_written(symbol, tokens) for symbol in body) for body in bodies)
        lines.append(f"r_{name}: " + " | ".join(written) if name != "start" else "start: r_query")
    return "\n".join(lines) + "\n"


@cache
def _keywords() -> frozenset[str]:
    return frozenset(
        symbol.strip('"')
        for bodies in _alternatives().values()
        for body in bodies
        for symbol, _ in body
        if symbol.startswith('"')
    )


def is_keyword(text: str) -> bool:
    """Whether a token is one that the rules know, or the name of an instance, subquery or output."""
    patterns = (DERIVED, OUTPUT, ALIAS, INSTANCE)
    return text in _keywords() or any(pattern.fullmatch(text) for pattern in patterns)


def table_class(n_keywords: int) -> int:
    """The token of the rules that stands for a table; the next one stands for a column."""
    return N_SPECIAL + n_keywords


_Body = tuple[tuple[str, str], ...]
"""One alternative of a rule: its symbols, each with "", "?", "*" or "+"."""


def _matching(classes: dict[str, int], pattern: re.Pattern[str]) -> list[int]:
    return [number for text, number in classes.items() if pattern.fullmatch(text)]


def _alternatives() -> dict[str, list[_Body]]:
    """The alternatives of each rule, with the rules of the families written out."""
    rules: dict[str, list[_Body]] = {}
    for line in _lines():
        name, bodies = line.split(": ", 1)
        for body in re.split(r" \| (?=[^ ])", bodies):
            symbols = tuple((match[1], match[2]) for match in _SYMBOL.finditer(body))
            rules.setdefault(name, []).append(symbols)
    return rules


def _lines() -> Iterator[str]:
    rules = _RULES.replace("{GLUED}", GLUED).replace("{APART}", APART).strip().splitlines()
    for line in filter(None, rules):
        if re.search(r"_f\b", line):
            yield from (re.sub(r"_f\b", f"_{family}", line) for family in _FAMILIES)
        else:
            yield line
    for name, words in (_FUNCTIONS | _OPERATORS).items():
        yield f"{name}: " + " | ".join(f'"{word}"' for word in words.split())


def _possible(
    rules: dict[str, list[_Body]], tokens: dict[str, list[int]]
) -> dict[str, list[_Body]]:
    """The rules without what can never be written, as a keyword is missing."""
    while True:
        known = tokens.keys() | rules.keys()
        kept = {
            name: [
                tuple(symbol for symbol in body if symbol[0] in known)
                for body in bodies
                if all(text in known or mark in ("?", "*") for text, mark in body)
            ]
            for name, bodies in rules.items()
        }
        kept = {name: bodies for name, bodies in kept.items() if bodies}
        if kept == rules:
            return rules
        rules = kept


def _written(symbol: tuple[str, str], tokens: dict[str, list[int]]) -> str:
    text, mark = symbol
    if text in tokens:
        return "<[" + ",".join(map(str, tokens[text])) + "]>" + mark
    return f"r_{text}{mark}"
