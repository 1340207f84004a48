"""The tree of a beam search whose hypotheses are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_models import SEQ, TEXT, predictor
from toy_step_model import BOS, EOS, PAD, Script

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.record import recorded
from unrolled.inspect.beam_tree import CONTINUED, CUT_OFF, DROPPED, ENDED, BeamTree, tree_of
from unrolled.inspect.charts import tree_panels
from unrolled.inspect.example import example_of

A, B, C = 4, 5, 6
NAMES = {A: "a", B: "b", C: "c"}


def next_token(said: tuple[int, ...]) -> dict[int, float]:
    """ "a b </s>" has 0.4 · 0.9 · 0.8, "b </s>" has 0.5 · 0.5."""
    return {
        (): {A: 0.4, B: 0.5, C: 0.1},
        (A,): {B: 0.9, C: 0.1},
        (B,): {EOS: 0.5, C: 0.5},
        (A, B): {EOS: 0.8, C: 0.2},
    }.get(said, {C: 1.0})


def tree(
    limit: int = 3,
    beam_size: int = 2,
    following: Callable[[tuple[int, ...]], dict[int, float]] = next_token,
) -> BeamTree:
    script = Script(7, following)
    config = DecodingConfig(beam_size=beam_size, length_penalty=0.0)
    with recorded() as searches:
        ((best,),) = decode(
            script, script.start(1), torch.tensor([limit]), config, BOS, EOS, forbidden=(PAD,)
        )
    return tree_of(searches[0], NAMES.__getitem__, best.log_prob)


def test_every_hypothesis_has_its_path_and_its_fate() -> None:
    found = tree()
    shown = [
        (node.step, node.rank, node.text, node.state, round(math.exp(node.log_prob), 6))
        for node in found.nodes
    ]
    assert shown == [
        (1, 1, "b", CONTINUED, 0.5),
        (1, 2, "a", CONTINUED, 0.4),
        (2, 1, "a b", CONTINUED, 0.36),
        (2, 2, "b c", DROPPED, 0.25),
        (2, 3, "b </s>", ENDED, 0.25),
        (3, 1, "a b c", DROPPED, 0.072),
        (3, 2, "a b </s>", ENDED, 0.288),
    ]
    assert [node.text for node in found.nodes if node.is_answer] == ["a", "a b", "a b </s>"]
    assert (found.n_steps, found.beam_size) == (3, 2)


def test_a_parent_is_what_a_hypothesis_extends() -> None:
    found = tree()
    for node in found.nodes:
        before = "" if node.parent is None else found.nodes[node.parent].text
        assert node.text == f"{before} {node.token}".strip()
        assert node.step == (1 if node.parent is None else found.nodes[node.parent].step + 1)


def test_a_hypothesis_at_the_limit_is_cut_off() -> None:
    found = tree(limit=1)
    assert [(node.text, node.state, node.is_answer) for node in found.nodes] == [
        ("b", CUT_OFF, True),
        ("a", DROPPED, False),
    ]


def test_panels_hold_every_hypothesis_once() -> None:
    shares = {A: 0.5, B: 0.3, C: 0.2}
    found = tree(25, 3, lambda said: shares if len(said) < 22 else {EOS: 1.0})
    assert found.n_steps == 23
    panels = tree_panels(found)
    assert len(panels) == 3
    n_repeated = sum(node.step % 10 == 0 and node.step < found.n_steps for node in found.nodes)
    assert sum(len(panel.boxes) for panel in panels) == len(found.nodes) + n_repeated
    n_edges = sum(node.parent is not None for node in found.nodes)
    assert sum(len(panel.edges) for panel in panels) == n_edges
    for panel in panels:
        assert all(0 <= box.x < panel.width and 0 <= box.y < panel.height for box in panel.boxes)
        assert len({(box.x, box.y) for box in panel.boxes}) == len(panel.boxes)


@pytest.mark.parametrize("answer", [None, "el perro ve"])
def test_the_search_is_that_of_the_own_answer(answer: str | None) -> None:
    one = predictor("translate", **SEQ)
    found = example_of(one, TEXT, answer).search
    assert found is not None
    (prediction,) = one.predict([TEXT])
    *_, last = (node for node in found.nodes if node.is_answer)
    assert last.log_prob == prediction.hypotheses[0].log_prob
    assert last.score == pytest.approx(prediction.score)
    assert last.text == " ".join(prediction.hypotheses[0].pieces)
