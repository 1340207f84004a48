"""Compare an export with the model before it appears: what both compute, and what both answer.

The graphs compute the scores of the model, up to `TOLERANCE` times the largest of them (at least 1), for
held-out texts in ragged batches, and for awkward texts in one batch and each alone. Then the program of
the export is run in a process of its own, and its answers are compared with those of the run. In a lower
precision, the model is the one with rounded weights (`exports.rounding`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import RunError
from unrolled.exports import inputs as given
from unrolled.exports.inputs import Inputs
from unrolled.exports.kinds import Kind, border_of
from unrolled.quoting import quote
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL
from unrolled.tasks.language_model import reads_backward
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.windows import Windows

TOLERANCE = 1e-4
_BATCH = 32
_N_ANSWERED = 30
_NOTHING_WRITTEN = "nothing was written; please report this"


@dataclass
class Agreement:
    """What was measured.

    Args:
        inputs: on which inputs, in words.
        largest: largest difference of a score, relative to the largest score of its batch or 1.
        n_answers: number of answers of the program that were compared.
        n_ties: number of them that differ, between answers that are equally good up to rounding.
        scores: for a lower precision: each score on the validation part before and after rounding.
        n_scored: number of validation rows, or tokens, that these are computed on.
    """

    inputs: str
    largest: float = 0.0
    n_answers: int = 0
    n_ties: int = 0
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    n_scored: int = 0

    def figures(self) -> dict[str, Any]:
        """The entries for `export.json`."""
        return {
            "inputs": self.inputs,
            "tolerance": TOLERANCE,
            "largest_difference": self.largest,
            "answers_compared": self.n_answers,
            "ties": self.n_ties,
            "validation": {name: list(pair) for name, pair in self.scores.items()},
            "validation_rows": self.n_scored,
        }


def compare_scores(
    kind: Kind, predictor: Any, exported: Any, inputs: Inputs, agreement: Agreement
) -> None:
    """Compare what the model and the graphs compute.

    Args:
        kind: how the task is exported.
        predictor: the run, from `load`.
        exported: the stand-in model.
        inputs: the inputs.
        agreement: the result, which is extended.

    Raises:
        RunError: a score differs by more than the tolerance; the first such score is named.
    """
    awkward = [*given.encoded(predictor, inputs.awkward), *given.encoded(predictor, inputs.long)]
    texts = given.encoded(predictor, inputs.texts)
    n_finite = 0
    batches = [*given.singly(awkward), *given.batches_of(texts, _BATCH)]
    for examples in batches:
        with torch.inference_mode():
            pairs = zip(
                kind.probe(predictor.task, predictor.model.eval(), examples),
                kind.probe(predictor.task, exported, examples),
                strict=True,
            )
            for (name, expected), (_, found) in pairs:
                n_finite += int(expected.isfinite().sum())
                difference = _difference(name, expected, found)
                agreement.largest = max(agreement.largest, difference)
                if not difference <= TOLERANCE:  # also refuses NaN
                    what = "one text" if len(examples) == 1 else f"{len(examples)} texts"
                    raise RunError(
                        f"the export does not compute what the model computes: {name} of {what} differ "
                        f"by {difference:.2g}, and the tolerance is {TOLERANCE:g}; {_NOTHING_WRITTEN}"
                    )
    if not n_finite:
        raise RunError(
            "the model computes no finite score for any text, so it cannot be compared; train it again"
        )


def _difference(name: str, expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        raise RunError(
            f"the export does not compute what the model computes: {name} should be "
            f"{list(expected.shape)}, but are {list(found.shape)}; {_NOTHING_WRITTEN}"
        )
    # A model can overflow on a long text, above all one with the cell "rnn_relu"; then it has no answer.
    is_finite = expected.isfinite()
    expected, found = expected[is_finite].float(), found[is_finite].float()
    if not expected.numel():
        return 0.0
    return float((expected - found).abs().max()) / max(1.0, float(expected.abs().max()))


def inputs_to_answer(predictor: Any, inputs: Inputs) -> list[Any]:
    """The inputs whose answers are compared."""
    texts = [*inputs.awkward, *inputs.texts[:_N_ANSWERED]]
    return [*texts, *inputs.long] if predictor.task.kind is LABELLING else texts


def compare_answers(
    texts: Sequence[Any],
    answers: Sequence[dict[str, Any]],
    predictor: Any,
    agreement: Agreement,
    what: str,
) -> list[Any]:
    """Compare the answers of an export with those of the run.

    Args:
        texts: the inputs.
        answers: what the export answers.
        predictor: the run, from `load`.
        agreement: the result, to which the answers and ties are added.
        what: what answered, in words.

    Returns:
        The inputs with two answers that are equally good, of which the export gave the other one.

    Raises:
        RunError: an answer differs; the input is named.
    """
    ties = []
    compare = _COMPARE.get(predictor.task.kind, _compare_texts)
    for text, expected, found in zip(texts, _answers(predictor, texts), answers, strict=True):
        if (problem := compare(predictor, text, expected, found)) is None:
            continue
        if problem == _TIE:
            ties.append(text)
            continue
        raise RunError(
            f"{what} does not answer as the model: for the input {quote(str(text))}, {problem}; "
            f"{_NOTHING_WRITTEN}"
        )
    agreement.n_answers += len(texts)
    agreement.n_ties += len(ties)
    return ties


def run_program(folder: Path, texts: Sequence[Any]) -> list[dict[str, Any]]:
    """The answers of the program in a folder, run in a process of its own.

    Raises:
        RunError: it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(folder)],
        input=json.dumps(texts).encode(),
        capture_output=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise RunError(f"infer.py of the export fails ({last[:300]}); {_NOTHING_WRITTEN}")
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


_DRIVER = """\
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import infer
assert not {"torch", "unrolled"} & sys.modules.keys()
answers = infer.Model().predict(json.loads(sys.stdin.buffer.read()))
print(json.dumps(answers))
"""


def _answers(predictor: Any, texts: Sequence[Any]) -> list[Any]:
    if predictor.task.kind is LANGUAGE_MODEL:
        if reads_backward(predictor.recipe.model):
            return [("", _bits_from_right(predictor, text)) for text in texts]
        return [
            (
                predictor.generate(text, max_tokens=40, temperature=0),
                [token.bits for token in predictor.continuation().surprise(text)],
            )
            for text in texts
        ]
    answers: list[Any] = predictor.predict(texts)
    return answers


@torch.inference_mode()
def _bits_from_right(predictor: Any, text: str) -> list[float]:
    """The bits of the tokens of a text, in its order, with a model that reads from right to left.

    The text is read as in evaluation, by the same windows; a document after it would be read before it.
    """
    border, words = border_of(predictor.recipe.data), predictor.tokenizers["text"]
    documents = words.encode_batch(text.split(border) if border else [text])
    ids = np.array([id_ for document in documents for id_ in (*document, EOS_ID)], np.uint32)
    window = Windows(ids, n_rows=1, k1=len(ids), backward=True)[0]
    state, bits = predictor.model.start(1), list[float]()
    for read, target in zip(window.inputs[0].tolist(), window.targets[0].tolist(), strict=True):
        if predictor.recipe.data.restart and read == EOS_ID:
            state = predictor.model.start(1)
        hidden, state = predictor.model.step(torch.tensor([read]), state)
        log_probs = predictor.model.head.logits(hidden).log_softmax(1)
        bits.append(-float(log_probs[0, target]) / math.log(2))
    return bits[-2::-1]  # the last target is the mark before the first document


_TIE = "tie"
"""Both answers are equally good, up to rounding."""


def _compare_texts(predictor: Any, text: Any, expected: Any, found: Any) -> str | None:
    is_near = abs(expected.score - found["score"]) <= TOLERANCE * max(1.0, abs(expected.score))
    if expected.text == found["text"]:
        return None if is_near else f"its score is {found['score']:.5f}, not {expected.score:.5f}"
    return _TIE if is_near else f"it is {quote(found['text'])}, not {quote(expected.text)}"


def _compare_labels(predictor: Any, text: Any, expected: Any, found: Any) -> str | None:
    names = predictor.labels.names
    labels = list(expected.labels)
    if predictor.task.by_token:
        rows = zip(expected.probabilities, found["probabilities"], labels, strict=True)
        for row, probability, label in rows:
            difference = abs(float(row[predictor.labels.id_of(label)]) - probability)
            if found["labels"] == labels and not difference <= TOLERANCE:
                return f"the probability of a tag differs by {difference:.2g}"
        return (
            None
            if found["labels"] == labels
            else f"it has the tags {found['labels']}, not {labels}"
        )
    own = dict(zip(names, expected.probabilities.tolist(), strict=True))
    difference = max(abs(own[name] - found["probabilities"][name]) for name in names)
    if difference > TOLERANCE:
        return f"a probability differs by {difference:.2g}"
    return None if found["labels"] == labels else _TIE


def _compare_streams(predictor: Any, text: Any, expected: Any, found: Any) -> str | None:
    continued, bits = expected
    if len(bits) != len(found["bits"]):
        return f"it has {len(found['bits'])} tokens, not {len(bits)}"
    for own, other in zip(bits, found["bits"], strict=True):
        if not abs(own - other) <= TOLERANCE * max(1.0, own):
            return f"a token has {other:.5f} bits, not {own:.5f}"
    if continued == found["text"]:
        return None
    session = predictor.continuation()
    session.feed(text + _common(continued, found["text"]))
    first, second = session.log_probs().topk(2).values.tolist()
    if first - second <= 10 * TOLERANCE:
        return _TIE
    return f"it goes on with {quote(found['text'])}, not {quote(continued)}"


def _common(first: str, second: str) -> str:
    """The beginning that two texts have in common."""
    places = zip(first, second, strict=False)
    return first[
        : next((i for i, (a, b) in enumerate(places) if a != b), min(map(len, (first, second))))
    ]


_COMPARE = {LABELLING: _compare_labels, LANGUAGE_MODEL: _compare_streams}
