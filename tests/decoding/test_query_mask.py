"""With a mask of queries, every decoding method writes only queries of the schema of each row."""

from __future__ import annotations

import pytest
import torch
from query_pieces import KEYWORDS
from toy_step_model import BOS, EOS, PAD, Toy

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.constrained import TokenMask
from unrolled.decoding.query_mask import QueryMask
from unrolled.sql.grammar import QueryGrammar
from unrolled.sql.pieces import END, N_SPECIAL, NOTHING, NUMBER, WORD, Piece, from_pieces
from unrolled.sql.schema import Column, Schema, Table
from unrolled.sql.target import to_tree

SCHEMAS = [
    Schema("one", (Table("t", (Column("a"), Column("b"))),)),
    Schema("two", (Table("t", (Column("a"),)), Table("u", (Column("b"), Column("c"))))),
]
GRAMMARS = [QueryGrammar(schema, KEYWORDS) for schema in SCHEMAS]
WORDS = ["_new", "_york", "_1"]
FIRST = 4  # after padding, unknown words, the begin and the end of sentence
V = FIRST + len(WORDS) + len(KEYWORDS)
N_ITEMS = max(len(grammar.items) for grammar in GRAMMARS)


COMMON = ["FROM", "JOIN", "SELECT", "WHERE", "=", "(", ")", "'", "COUNT", "IN"]


def classes_of(grammar: QueryGrammar) -> list[int]:
    """The class of each id: special tokens, words, keywords, items; the rest is nothing."""
    keywords = range(N_SPECIAL, grammar.first_item)
    items = range(grammar.first_item, grammar.n_classes)
    classes = [NOTHING, NOTHING, NOTHING, END, WORD, WORD, NUMBER, *keywords, *items]
    return classes + [NOTHING] * (V + N_ITEMS - len(classes))


def pieces_of(tokens: tuple[int, ...], grammar: QueryGrammar) -> list[Piece]:
    pieces: list[Piece] = [*WORDS, *KEYWORDS, *grammar.items]
    return [pieces[token - FIRST] for token in tokens]


def start(rows: list[int]) -> QueryMask:
    classes_BW = torch.tensor([classes_of(GRAMMARS[row]) for row in rows])
    return QueryMask.of([GRAMMARS[row] for row in rows], classes_BW)


def ids(mask: QueryMask) -> list[list[set[int]]]:
    allowed = mask.allowed(V + N_ITEMS, torch.device("cpu"))
    return [[set(slot.nonzero().flatten().tolist()) for slot in row] for row in allowed]


def id_of(text: str) -> int:
    return FIRST + len(WORDS) + KEYWORDS.index(text)


def after(mask: QueryMask, *steps: list[list[int]]) -> QueryMask:
    for step in steps:
        mask = mask.advance(torch.tensor(step))
    return mask


def test_a_mask_of_queries_is_a_token_mask() -> None:
    assert isinstance(start([0]), TokenMask)
    with pytest.raises(ValueError, match="one grammar per row, got 2 for 1 rows"):
        QueryMask.of(GRAMMARS, torch.zeros(1, V, dtype=torch.int64))


def test_each_row_has_its_own_schema() -> None:
    mask = after(start([0, 1]), [[BOS], [BOS]])
    first = {id_of("FROM"), id_of("SELECT")}
    assert ids(mask) == [[first], [first]]
    mask = after(mask, [[id_of("FROM")], [id_of("FROM")]])
    assert ids(mask) == [[{id_of("("), V}], [{id_of("("), V, V + 2}]]
    (kept,) = ids(mask.keep(torch.tensor([1])))
    assert kept == [{id_of("("), V, V + 2}]


def test_hypotheses_branch_and_keep_what_they_have_written() -> None:
    mask = after(start([1]), [[BOS]], [[id_of("FROM")]]).reorder(torch.tensor([[0, 0, 0]]))
    select, where = id_of("SELECT"), id_of("WHERE")
    mask = after(mask, [[V, V + 2, V]], [[select, select, where]])
    items = [slot & set(range(V, V + N_ITEMS)) for slot in ids(mask)[0]]
    assert items == [{V, V + 1}, {V + 2, V + 3, V + 4}, set()]
    assert not ids(mask)[0][2]  # WHERE was not allowed
    turned = mask.reorder(torch.tensor([[1, 0]]))
    assert ids(turned) == [[ids(mask)[0][1], ids(mask)[0][0]]]


def test_fewer_ids_can_be_asked_for_and_nothing_is_never_allowed() -> None:
    mask = after(start([0]), [[BOS]])
    allowed = mask.allowed(V, torch.device("cpu"))
    assert allowed.shape == (1, 1, V)
    assert allowed.dtype == torch.bool
    assert not allowed[0, 0, [PAD, 1, BOS]].any()


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(beam_size=5, n_best=3),
        DecodingConfig(method="greedy"),
        DecodingConfig(method="sample", n_best=3),
    ],
    ids=["beam", "greedy", "sample"],
)
def test_every_finished_hypothesis_is_a_query_of_its_schema(config: DecodingConfig) -> None:
    toy = Toy(V + N_ITEMS, end_bias=10.0)
    toy.bias[[id_of(text) for text in COMMON]] = 9.0
    toy.bias[V:] = 11.0
    rows = [0, 1, 1, 0, 1]
    answers = decode(
        toy,
        toy.start(len(rows)),
        torch.full((len(rows),), 60),
        config,
        BOS,
        EOS,
        forbidden=(PAD,),
        mask=start(rows),
    )
    n_finished = 0
    for row, hypotheses in zip(rows, answers, strict=True):
        for hypothesis in hypotheses:
            if hypothesis.finished:
                n_finished += 1
                pieces = pieces_of(hypothesis.tokens, GRAMMARS[row])
                to_tree(from_pieces(pieces), SCHEMAS[row])
    assert n_finished >= 4
