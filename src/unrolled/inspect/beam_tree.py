"""The tree of a beam search: the hypotheses that were alive at each step, and how each of them ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from unrolled.decoding.record import SearchRecord, SearchStep
from unrolled.decoding.types import length_penalty

CONTINUED, DROPPED, ENDED, CUT_OFF = "continued", "dropped", "ended", "cut off"
"""What became of a hypothesis: others extend it; it was not among the best; it ended; it was too long."""

END = "</s>"


@dataclass(frozen=True)
class Node:
    """A hypothesis after one step of the search.

    Args:
        step: its number of tokens, with the end of sentence.
        rank: its place among the hypotheses of its step, 1 for the most probable; those that have ended
            come last.
        token: its last token.
        text: its tokens.
        log_prob: its log-probability, in nats.
        score: its log-probability divided by its length penalty.
        parent: the index of the hypothesis that it extends in `BeamTree.nodes`; None at the first step.
        state: "continued", "dropped", "ended" or "cut off".
        is_answer: whether the answer is this hypothesis or extends it.
    """

    step: int
    rank: int
    token: str
    text: str
    log_prob: float
    score: float
    parent: int | None
    state: str
    is_answer: bool = False


@dataclass(frozen=True)
class BeamTree:
    """The search for one answer.

    Args:
        nodes: the hypotheses of each step, step by step.
        length_penalty: alpha of the scores.
    """

    nodes: tuple[Node, ...]
    length_penalty: float

    @property
    def n_steps(self) -> int:
        """The number of steps."""
        return max((node.step for node in self.nodes), default=0)

    @property
    def beam_size(self) -> int:
        """The largest number of hypotheses that were alive at a step."""
        alive = [node.step for node in self.nodes if node.state != ENDED]
        return max((alive.count(step) for step in set(alive)), default=0)


def tree_of(record: SearchRecord, piece_of: Callable[[int], str], answer: float | None) -> BeamTree:
    """The tree of a search for one sentence.

    Args:
        record: the search.
        piece_of: a token as text.
        answer: the log-probability of the answer, which tells it from other hypotheses; None if none of
            them is the answer.
    """
    search, alpha = record.sentences[0], record.length_penalty
    nodes: list[Node] = []
    above: dict[int, int] = {}  # the nodes of the step before, by slot
    for number in range(len(search.steps)):
        here: dict[int, int] = {}
        for slot, parent, log_prob, token in _alive(search.steps[number]):
            here[slot] = len(nodes)
            nodes.append(
                _extended(nodes, above.get(parent), number + 1, slot + 1, piece_of(token), log_prob)
            )
        endings = [ending for ending in search.endings if ending.step == number]
        for ending in endings:
            if ending.finished:
                rank = 1 + sum(node.step == number + 1 for node in nodes)
                before = above.get(ending.slot)
                ended = _extended(nodes, before, number + 1, rank, END, ending.log_prob)
                nodes.append(replace(ended, state=ENDED))
            else:
                nodes[here[ending.slot]] = replace(nodes[here[ending.slot]], state=CUT_OFF)
        above = here
    scored = [
        replace(node, score=node.log_prob / length_penalty(node.step, alpha)) for node in nodes
    ]
    return BeamTree(tuple(_with_states(scored, answer)), alpha)


def _alive(step: SearchStep) -> Iterator[tuple[int, int, float, int]]:
    """Slot, parent, log-probability and token of the hypotheses after a step."""
    for slot, total in enumerate(step.totals):
        if total > -math.inf:
            yield slot, step.parents[slot], total, step.tokens[slot]


def _extended(
    nodes: Sequence[Node], parent: int | None, step: int, rank: int, token: str, log_prob: float
) -> Node:
    """A node without its score; it counts as dropped until others extend it."""
    before = "" if parent is None else nodes[parent].text
    return Node(step, rank, token, f"{before} {token}".strip(), log_prob, 0.0, parent, DROPPED)


def _with_states(nodes: list[Node], answer: float | None) -> list[Node]:
    """Mark what is extended, and the path of the answer."""
    for node in nodes:
        if node.parent is not None and nodes[node.parent].state == DROPPED:
            nodes[node.parent] = replace(nodes[node.parent], state=CONTINUED)
    ends = [
        index
        for index, node in enumerate(nodes)
        if node.state in (ENDED, CUT_OFF) and node.log_prob == answer
    ]
    index = ends[-1] if ends else None
    while index is not None:
        nodes[index] = replace(nodes[index], is_answer=True)
        index = nodes[index].parent
    return nodes
