"""Wordings of questions: {n} is a noun, {t} its conditions, {w} and {s} adjectives, {a} and {g} columns.

{k} is a number. The first wording of several is the most common one.
"""

from __future__ import annotations

LIST = (
    "show the {n}{t}",
    "list all {n}{t}",
    "which {n} are there{t}",
    "give me the names of {n}{t}",
    "what are the {n}{t}",
    "which {n}{t} are there",
    "show me all {n}{t}",
    "find the {n}{t}",
    "names of all {n}{t}",
    "what {n} do we have{t}",
    "please list the {n}{t}",
    "I need the {n}{t}",
    "{n}{t}",
    "all {n}{t}",
    "are there any {n}{t}",
    "do we have any {n}{t}",
)
COUNT = (
    "how many {n} are there{t}",
    "count the {n}{t}",
    "what is the number of {n}{t}",
    "number of {n}{t}",
    "how many {n}{t} are there",
    "how many {n}{t} do we have",
    "how many {n}{t}",
    "tell me how many {n} there are{t}",
)
FUNCTIONS = (
    ("average", "AVG", ("average", "mean")),
    ("total", "SUM", ("total", "summed")),
    ("highest", "MAX", ("highest", "maximum", "largest")),
    ("lowest", "MIN", ("lowest", "minimum", "smallest")),
)
AGGREGATE = (
    "what is the {w} {a} of {n}{t}",
    "show the {w} {a} of {n}{t}",
    "tell me the {w} {a} of the {n}{t}",
    "{w} {a} of {n}{t}",
    "{w} {a} of all {n}{t}",
    "what's the {w} {a} of all {n}{t}",
    "give me the {w} {a} for {n}{t}",
)
FIRST = (
    "which is the {s} {n}{t}",
    "show the {s} {n}{t}",
    "find the {s} {n}{t}",
    "what is the {s} {n}{t}",
    "what's the {s} {n}{t}",
    "the {s} {n}{t}",
    "{s} {n}{t}",
    "which {n}{t} is the {s}",
    "name the {s} {n}{t}",
)
TOP = (
    "show the {k} {s} {n}{t}",
    "which are the {k} {s} {n}{t}",
    "list the {k} {s} {n}{t}",
    "what are the {k} {s} {n}{t}",
    "the {k} {s} {n}{t}",
    "{k} {s} {n}{t}",
    "top {k} {s} {n}{t}",
)
PER_GROUP = ("in each {g}", "per {g}", "by {g}", "for each {g}")
GROUPS = (
    "which {g} have",
    "show the {g} with",
    "list {g} that have",
    "{g} with",
    "find the {g} with",
)
HAVING = ("which {n} have", "list the {n} with", "show {n} that have", "{n} with")
MORE = (
    ("more than", ">"),
    ("over", ">"),
    ("fewer than", "<"),
    ("less than", "<"),
    ("at least", ">="),
)
