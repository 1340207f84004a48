"""The distributions of a language model, compared with those of its session."""

from __future__ import annotations

import math
from typing import Any

import pytest
from small_models import OTHER, SIZES, predictor

from unrolled.inspect.example import example_of
from unrolled.inspect.next_tokens import N_BEST, NextToken, next_tokens

pytestmark = pytest.mark.usefixtures("one_thread")


def distributions(one: Any, text: str) -> tuple[NextToken, ...]:
    example = example_of(one, text)
    return next_tokens(one, example.batch.inputs[0].tolist(), example.sequences[0])


@pytest.mark.parametrize("model", [{"n_layers": 2}, {"tied": True}])
def test_rank_and_bits_are_those_of_the_session(model: dict[str, Any]) -> None:
    one = predictor("language_model", **SIZES, **model)
    *steps, last = distributions(one, OTHER)
    scores = one.continuation().surprise(OTHER)
    assert [step.came for step in steps] == [score.piece for score in scores] == OTHER.split()
    assert [step.rank for step in steps] == [score.rank for score in scores]
    assert [step.bits for step in steps] == pytest.approx(
        [score.bits for score in scores], abs=1e-4
    )
    assert [step.before for step in steps] == ["</s>", *OTHER.split()[:-1]]
    assert (last.before, last.came, last.rank) == ("cat", "", 0)
    assert math.isnan(last.bits)


def test_the_most_probable_tokens_come_first() -> None:
    one = predictor("language_model", **SIZES)
    last = distributions(one, OTHER)[-1]
    session = one.continuation()
    session.feed(f"{OTHER} ")
    values, ids = session.log_probs().exp().topk(N_BEST)
    assert [token for token, _ in last.best] == one.tokenizers["text"].pieces(ids.tolist())
    assert [share for _, share in last.best] == pytest.approx(values.tolist(), abs=1e-5)


def test_the_token_that_came_is_among_the_best_at_its_rank() -> None:
    for step in distributions(predictor("language_model", **SIZES), OTHER)[:-1]:
        if step.rank <= N_BEST:
            token, share = step.best[step.rank - 1]
            assert (token, round(-math.log2(share), 3)) == (step.came, round(step.bits, 3))


def test_an_unknown_word_is_shown_as_written() -> None:
    one = predictor("language_model", **SIZES)
    steps = distributions(one, "the giraffe sees")
    assert [step.came for step in steps] == ["the", "[giraffe]", "sees", ""]
