"""The model of queries: its parts, its loss, and its steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from unrolled.samples.shop.generator import generate, write
from unrolled.shapes import Padded
from unrolled.sql.linking import Link
from unrolled.sql.pieces import from_pieces
from unrolled.sql.target import to_tokens
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.sql import TASK, QueryConfig
from unrolled.tasks.sql.examples import TARGET, QueryExample, collate, encode, questions, written
from unrolled.tasks.sql.model import QueryModel, build, side_by_side
from unrolled.text.config import BOS_ID, EOS_ID, TextConfig
from unrolled.text.rows import Row

SMALL = QueryConfig(embedding_size=6, encoder_size=5, hidden_size=7, dropout_rate=0.0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(folder, generate(n=200))
    return folder


@pytest.fixture(scope="module")
def rows(shop: Path) -> list[Row]:
    lines = (shop / "train.tsv").read_text(encoding="utf-8").splitlines()[1:81]
    found = []
    for number, line in enumerate(lines, start=2):
        question, query, database = line.split("\t")
        found.append(Row((question, str(shop / database), query), number))
    return found


@pytest.fixture(scope="module")
def tokenizers(rows: list[Row]) -> Tokenizers:
    return TASK.train_tokenizers(rows, TextConfig(kind="word"))


@pytest.fixture(scope="module")
def examples(rows: list[Row], tokenizers: Tokenizers) -> list[QueryExample]:
    return [encode(row.texts, tokenizers) for row in rows]


@pytest.fixture
def model(tokenizers: Tokenizers) -> QueryModel:
    torch.manual_seed(1)
    return build(SMALL, tokenizers).eval()


def test_ids_give_back_the_query(
    rows: list[Row], examples: list[QueryExample], tokenizers: Tokenizers
) -> None:
    for row, example in zip(rows, examples, strict=True):
        pieces = written(example.target, example, tokenizers[TARGET])
        assert from_pieces(pieces) == to_tokens(row.texts[2], example.source.schema)


def test_names_are_never_in_the_vocabulary(tokenizers: Tokenizers) -> None:
    known = tokenizers[TARGET].tokens(range(len(tokenizers[TARGET])))
    assert "SELECT" in known
    assert not {"product", "_product", "product.name", "customer"} & set(known)


def test_sequences_are_joined_without_padding_between() -> None:
    parts = [
        Padded(torch.randn(3, length, 2), torch.tensor(lengths))
        for length, lengths in ((4, [4, 1, 0]), (2, [2, 0, 1]), (3, [0, 3, 2]))
    ]
    joined = side_by_side(parts)
    assert joined.lengths.tolist() == [6, 4, 3]
    for row in range(3):
        own = torch.cat([part.values[row, : part.lengths[row]] for part in parts])
        torch.testing.assert_close(joined.values[row, : len(own)], own)
        assert not joined.values[row, len(own) :].any()


def test_gradients_reach_every_part_of_joined_sequences() -> None:
    parts = [
        Padded(torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True), lengths)
        for length, lengths in ((2, torch.tensor([2, 1])), (3, torch.tensor([1, 3])))
    ]
    torch.autograd.gradcheck(
        lambda *values: (
            side_by_side(
                [Padded(value, part.lengths) for value, part in zip(values, parts, strict=True)]
            ).values
        ),
        [part.values for part in parts],
    )


def test_the_loss_of_a_row_does_not_depend_on_the_batch(
    model: QueryModel, examples: list[QueryExample]
) -> None:
    together, n_tokens = model.loss(collate(examples[:9]))
    alone = [model.loss(collate([example])) for example in examples[:9]]
    assert n_tokens == sum(n for _, n in alone)
    torch.testing.assert_close(together, torch.stack([loss for loss, _ in alone]).sum())


@pytest.mark.parametrize("pointing", ["attention", "own"])
def test_steps_equal_teacher_forcing(
    pointing: Literal["attention", "own"], tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    """A loop over single steps gives the loss, so the ids that are pointed at are read back alike."""
    torch.manual_seed(1)
    model = build(replace(SMALL, pointing=pointing), tokenizers).eval()
    for example in examples[:5]:
        total, _ = model.loss(collate([example]))
        state, steps = model.encode(questions([example])), model.step_model()
        log_prob = torch.zeros(())
        for read, wanted in zip([BOS_ID, *example.target], [*example.target, EOS_ID], strict=True):
            log_probs, state, _ = steps.step(torch.tensor([[read]]), state)
            torch.testing.assert_close(log_probs.exp().sum(), torch.tensor(1.0))
            log_prob = log_prob + log_probs[0, 0, wanted]
        torch.testing.assert_close(-log_prob, total, rtol=1e-4, atol=1e-4)


def test_the_order_of_columns_does_not_matter(
    model: QueryModel, tokenizers: Tokenizers, shop: Path
) -> None:
    """Items are a set: with their columns in another order, the loss of a query is the same."""
    import json

    from unrolled.sql.database import Database
    from unrolled.sql.schema import as_json

    with Database(shop / "shop.sqlite") as database:
        described = as_json(database.schema)
    losses = []
    for name, reverse in (("one", False), ("other", True)):
        if reverse:
            for table in described["tables"]:  # type: ignore[attr-defined]
                table["columns"].reverse()
        file = shop / f"{name}.json"
        file.write_text(json.dumps(described), encoding="utf-8")
        query = "SELECT product.name FROM product WHERE product.price > 5"
        fields = ("which products cost more than 5", str(file), query)
        losses.append(model.loss(collate([encode(fields, tokenizers)]))[0])
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("pointing", ["attention", "own"])
def test_every_parameter_gets_a_gradient(
    pointing: Literal["attention", "own"], tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    torch.manual_seed(1)
    model = TASK.build(replace(SMALL, pointing=pointing), tokenizers)
    total, _ = TASK.loss(model, collate(examples[:40]))
    total.backward()
    without = [name for name, each in model.named_parameters() if each.grad is None]
    assert without == []


def test_a_score_of_its_own_points_without_reading(
    tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    """The probability of pointing follows the pointer's weights; what is read stays the same."""
    torch.manual_seed(1)
    model = build(replace(SMALL, pointing="own"), tokenizers).eval()
    batch = collate(examples[:3])
    output = model(batch)
    memory = output.state.memory
    looked_BTS = model._looked(output.hidden, output.attention, memory)
    torch.testing.assert_close(looked_BTS.sum(2), torch.ones_like(looked_BTS[:, :, 0]))
    assert bool((looked_BTS.masked_select(~memory.mask) == 0).all())
    assert model.pointer is not None
    with torch.no_grad():
        model.pointer.weight.zero_()
    again = model(batch)
    torch.testing.assert_close(again.attention, output.attention)
    even_BTS = model._looked(again.hidden, again.attention, memory)
    torch.testing.assert_close(even_BTS[:, 0], memory.mask[:, 0] / memory.mask.sum(2))


def test_names_that_are_hidden_are_hidden_on_both_sides(
    tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    """With all names hidden, the loss depends on neither the names nor the words that match them."""
    torch.manual_seed(1)
    config = replace(SMALL, link_dropout_rate=0.999, unknown_rate=0.0)
    model = build(config, tokenizers).train()
    example = next(each for each in examples if (each.links == Link.NAME).any())
    named = (example.links == Link.NAME).any(1)
    other = list(example.question)
    for place in named.nonzero()[0]:
        other[place] = 5 if other[place] != 5 else 6
    batches = [collate([replace(example, question=each)]) for each in (example.question, other)]

    def losses() -> list[torch.Tensor]:
        found = []
        for batch in batches:
            torch.manual_seed(7)
            found.append(model.loss(batch)[0])
        return found

    torch.testing.assert_close(*losses())
    model.eval()
    assert not torch.equal(*losses())


def _spans(example: QueryExample) -> set[tuple[int, int]]:
    return {(value.first, value.last) for value in example.values if value.places}


def _with_other_values(example: QueryExample) -> QueryExample:
    """The example with other words where it has values, in the question and in the values."""
    in_value = (example.links == Link.VALUE).any(1)
    question = [
        5 + id_ % 2 if is_value else id_
        for id_, is_value in zip(example.question, in_value, strict=True)
    ]
    return replace(example, question=question, value_words=tuple((7,) for _ in example.values))


@pytest.mark.parametrize("training", [False, True])
def test_values_that_are_hidden_cannot_be_seen(
    tokenizers: Tokenizers, examples: list[QueryExample], training: bool
) -> None:
    example = next(
        each for each in examples if _spans(each) and len(_spans(each)) == len(each.values)
    )
    batches = [collate([each]) for each in (example, _with_other_values(example))]
    losses = {}
    for is_hidden in (False, True):
        torch.manual_seed(1)
        config = replace(SMALL, hide_values=is_hidden, unknown_rate=0.0)
        model = build(config, tokenizers).train(training)
        losses[is_hidden] = [model.loss(batch)[0] for batch in batches]
    torch.testing.assert_close(*losses[True])
    assert not torch.equal(*losses[False])


def test_forms_of_a_date_are_not_hidden_from_each_other(
    tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    example = next(
        each
        for each in examples
        if len(_spans(each)) == 1 and 2 < len(each.values) == len(set(each.value_words))
    )
    torch.manual_seed(1)
    model = build(replace(SMALL, hide_values=True), tokenizers).eval()
    memory = model.encode(collate([example]).questions).memory
    assert memory is not None
    n_values = len(example.values)
    forms = memory.values[0, -n_values:]
    distances = torch.cdist(forms, forms) + torch.eye(n_values)
    assert distances.min() > 1e-3


def test_a_hidden_value_is_read_as_its_columns(
    tokenizers: Tokenizers, examples: list[QueryExample]
) -> None:
    """With the means over columns in a loop, from the equations."""
    model = build(replace(SMALL, hide_values=True), tokenizers)
    example = next(each for each in examples if (each.links == Link.VALUE).sum(1).max() > 1)
    batch = collate([example]).questions
    n_words, n_items = example.links.shape
    words_BNE, name_BIE = torch.randn(1, n_words, 6), torch.randn(1, n_items, 6)
    read_BNE = model._without_values(words_BNE, name_BIE, batch)
    for word, links_I in enumerate(example.links):
        columns = [index for index in range(n_items) if links_I[index] == Link.VALUE]
        expected = words_BNE[0, word]
        if columns and Link.NAME not in links_I:
            tables = example.items.tables
            both = [name_BIE[0, index] + name_BIE[0, tables[index]] for index in columns]
            expected = torch.stack(both).mean(0)
        torch.testing.assert_close(read_BNE[0, word], expected)


def test_a_value_knows_the_words_that_mention_it(examples: list[QueryExample]) -> None:
    example = next(each for each in examples if len(each.values) > 1)
    (spans_LN,) = collate([example]).questions.value_spans
    for weights_N, value in zip(spans_LN, example.values, strict=True):
        assert weights_N.nonzero().flatten().tolist() == list(range(value.first, value.last + 1))
        torch.testing.assert_close(weights_N.sum(), torch.tensor(1.0))
