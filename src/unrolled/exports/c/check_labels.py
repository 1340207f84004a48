"""The gate of classifiers and taggers: probabilities or scores of tags, and what the program prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.exports.c import compiler
from unrolled.exports.c.agreement import (
    ADVERSARIAL,
    TOLERANCE,
    check_equal,
    check_same,
    differs,
    some_of,
    write,
)
from unrolled.exports.c.plan import Plan, render
from unrolled.exports.c.reading import Network, Vector, log_softmax, read_arrays
from unrolled.quoting import escape_breaks, quote
from unrolled.tasks.tag.data import collate
from unrolled.tasks.text_labels import ROLE
from unrolled.text.config import SPECIALS
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of

_N_HELD_OUT = 100
_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")

Lines = Sequence[str]


def lines_of(predictor: Any, rows: Sequence[Any]) -> list[str]:
    """Lines to predict: held-out ones, hard ones, and known words, fewer and more than are read."""
    most = predictor.recipe.data.max_length
    tokenizer = predictor.tokenizers[ROLE]
    held = [row.texts[0] for row in some_of(rows, _N_HELD_OUT)]
    known = [_of_vocabulary(tokenizer, n) for n in (1, 2, 7, most, most + 1, 2 * most + 3)]
    lines = [_BREAKS.sub(" ", text) for text in [*held, *ADVERSARIAL, *known, "".join(ADVERSARIAL)]]
    return [line for line in lines if line.strip()]


def _of_vocabulary(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A text of tokens of a vocabulary."""
    draw = np.random.default_rng(n_tokens)
    ids = draw.integers(len(SPECIALS), max(len(tokenizer), len(SPECIALS) + 1), n_tokens)
    return tokenizer.decode(ids.tolist())


# Classifiers


def check_classifier(
    predictor: Any, exact: Any, lines: Lines, program: Path
) -> tuple[list[str], float]:
    """Compare the probabilities of all labels, and the predicted ones.

    Args:
        predictor: the run, with rounded weights if those of the export are.
        exact: the same in double precision.
        lines: what to predict.
        program: the program, which prints 9 decimals.

    Returns:
        What was compared, and the largest difference of a probability.
    """
    predictions = predictor.predict(list(lines))
    names = [escape_breaks(name, also="\t") for name in predictor.labels.names]
    given = "".join(f"{line}\n" for line in lines)
    scores = compiler.answer(program, ("--scores",), given).split("\n")
    answers = compiler.answer(program, (), given).split("\n")
    worst = 0.0
    for line, prediction, score, answer in zip(
        lines, predictions, scores[:-1], answers[:-1], strict=True
    ):
        cells = score.split("\t")
        found = dict(zip(cells[::2], map(float, cells[1::2]), strict=True))
        what = f"the probabilities of the labels of {quote(line)}"
        if sorted(found) != sorted(names):
            raise differs(what, f"labels {', '.join(map(quote, found))}")
        own = [found[name] for name in names]
        worst = max(worst, _check_probabilities(what, own, prediction, exact, line))
        expected = escape_breaks(", ".join(prediction.labels), also="\t")
        label = answer.rpartition("\t")[0]
        if label != expected and not _is_close(predictor, prediction.probabilities):
            check_same(f"the label of {quote(line)}", label, expected)
    _check_blank(program)
    return [f"the probabilities and labels of {count_of(len(lines), 'text')}"], worst


def _check_probabilities(what: str, found: Any, prediction: Any, exact: Any, line: str) -> float:
    return check_equal(
        what, found, prediction.probabilities, lambda: exact.predict([line])[0].probabilities
    )


def _is_close(predictor: Any, probabilities: NDArray[np.float32]) -> bool:
    """Whether another label is as probable, or a probability is at its threshold."""
    if predictor.labels.multi_label:
        thresholds = predictor.model.head.thresholds.numpy()
        return bool((np.abs(probabilities - thresholds) < 2 * TOLERANCE).any())
    first, second = np.sort(probabilities)[-1:-3:-1]
    return bool(first - second < 2 * TOLERANCE)


def _check_blank(program: Path) -> None:
    """Check that an empty line is answered by an empty line."""
    check_same("the answer to empty lines", compiler.answer(program, (), "\n \n\t\n"), "\n\n\n")


def classify_by_numpy(plan: Plan, predictor: Any, exact: Any, lines: Lines, weights: str) -> float:
    """Compare the probabilities computed from the arrays of `weights.h`."""
    network = Network(read_arrays(weights), plan.context["cell"].name)
    worst = 0.0
    for line, prediction in zip(lines, predictor.predict(list(lines)), strict=True):
        (ids,) = predictor.encode(line).texts
        found = _classified(plan, network, ids)
        what = f"the probabilities of the labels of {quote(line)}"
        worst = max(worst, _check_probabilities(what, found, prediction, exact, line))
    return worst


def _classified(plan: Plan, network: Network, ids: Sequence[int]) -> NDArray[np.float64]:
    matrices = {matrix.name: matrix for matrix in plan.builder.matrices}
    if plan.context["shares"] and not network.array("known")[list(ids)].any():
        return network.array("shares").astype(np.float64)
    rows = _encoded(plan, network, [network.row(matrices["embedding"], token) for token in ids])
    y = np.stack(rows)
    kind, size = plan.context["pooling"]["kind"], plan.context["forward_size"]
    if kind == "final":
        pooled = np.concatenate([y[-1, :size], y[0, size:]])
    elif kind == "mean":
        pooled = y.mean(0)
    elif kind == "max":
        pooled = y.max(0)
    else:
        query = network.array("query")
        energies = [np.tanh(network.product(matrices["attention"], row)) @ query for row in rows]
        pooled = (np.exp(log_softmax(np.array(energies, np.float32)))[:, None] * y).sum(0)
    logits = network.product(matrices["head"], pooled.astype(np.float32))
    if plan.context["several"]:
        return 1 / (1 + np.exp(-logits.astype(np.float64)))
    return np.exp(log_softmax(logits))


def _encoded(plan: Plan, network: Network, rows: list[Vector]) -> list[Vector]:
    for directions in plan.context["depths"]:
        outputs = [
            network.read(layer, rows, back=bool(place)) for place, layer in enumerate(directions)
        ]
        rows = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return rows


# Taggers


def check_tagger(
    predictor: Any, exact: Any, lines: Lines, command: Sequence[str], folder: Path
) -> tuple[list[str], float]:
    """Compare the scores of all tags of each word, and the tags that the program prints.

    Args:
        predictor: the run, with rounded weights if those of the export are.
        exact: the same in double precision.
        lines: what to predict.
        command: the command of the C compiler.
        folder: the folder with the C files.

    Returns:
        What was compared, and the largest difference of a score.
    """
    write(folder, {"check.c": render("check_tag.c", {})})
    check = compiler.compiled(command, folder / "check.c")
    program = compiler.compiled(command, folder / "main.c")
    given = "".join(f"{line}\n" for line in lines)
    found = compiler.answer(check, (), given).split("\n")[:-1]
    answers = compiler.answer(program, (), given).split("\n")[:-1]
    worst = 0.0
    for line, numbers, answer in zip(lines, found, answers, strict=True):
        scores = emissions(predictor, line)
        own = np.array([float(number) for number in numbers.split()]).reshape(-1, scores.shape[1])
        what = f"the scores of the tags of {quote(line)}"
        worst = max(worst, check_equal(what, own, scores, partial(emissions, exact, line)))
        _check_tags(predictor, line, answer, scores)
    _check_blank(program)
    return [f"the scores and tags of {count_of(len(lines), 'sentence')}"], worst


@torch.no_grad()
def emissions(predictor: Any, line: str) -> NDArray[np.float32]:
    """The scores of the tags of each word, `[T, C]`."""
    scores: NDArray[np.float32] = predictor.model(collate([predictor.encode(line)])).numpy()
    return scores


@torch.no_grad()
def _check_tags(predictor: Any, line: str, answer: str, scores: NDArray[np.float32]) -> None:
    """Check that the tags are the same, or a sequence of the same probability."""
    names, crf = predictor.labels.names, predictor.model.crf
    expected = predictor.predict([line])[0].labels
    written = {escape_breaks(name, also="\t "): place for place, name in enumerate(names)}
    wanted = " ".join(escape_breaks(tag, also="\t ") for tag in expected)
    if answer == wanted:
        return
    paths = [[written.get(tag, -1) for tag in text.split(" ")] for text in (answer, wanted)]
    allowed = crf.allowed if crf is not None else None
    is_allowed = allowed is None or (-1 not in paths[0] and allowed.why_not(paths[0]) is None)
    if -1 in paths[0] or len(paths[0]) != len(paths[1]) or not is_allowed:
        check_same(f"the tags of {quote(line)}", answer, wanted)
    sums = [float(scores[np.arange(len(path)), path].sum()) for path in paths]
    if crf is not None:
        lengths = torch.tensor([len(paths[0])] * 2)
        rows = torch.from_numpy(scores).double().expand(2, -1, -1)
        sums = crf.log_prob(rows, torch.tensor(paths), lengths).tolist()
    if abs(sums[0] - sums[1]) > TOLERANCE * len(paths[0]):
        check_same(f"the tags of {quote(line)}", answer, wanted)


def tag_by_numpy(plan: Plan, predictor: Any, exact: Any, lines: Lines, weights: str) -> float:
    """Compare the scores of tags computed from the arrays of `weights.h`."""
    network = Network(read_arrays(weights), plan.context["cell"].name)
    matrices = {matrix.name: matrix for matrix in plan.builder.matrices}
    worst = 0.0
    for line in lines:
        example = predictor.encode(line)
        words = zip(example.words, example.spellings, strict=True)
        rows = [_word_row(plan, network, word, letters) for word, letters in words]
        found: list[Vector] = []
        for start in range(0, len(rows), plan.context["piece"]):
            encoded = _encoded(plan, network, rows[start : start + plan.context["piece"]])
            found += [network.product(matrices["head"], row) for row in encoded]
        what = f"the scores of the tags of {quote(line)}"
        worst = max(
            worst,
            check_equal(what, found, emissions(predictor, line), partial(emissions, exact, line)),
        )
    return worst


def _word_row(plan: Plan, network: Network, word: int, letters: Sequence[int]) -> Vector:
    matrices = {matrix.name: matrix for matrix in plan.builder.matrices}
    row = network.row(matrices["embedding"], word)
    if not plan.context["spells"]:
        return row
    layers = [layer for layer in plan.builder.layers if layer.name.startswith("spelling")]
    inputs = [network.row(matrices["letters"], letter) for letter in letters]
    forwards, back = (
        network.read(layer, inputs, back=bool(place)) for place, layer in enumerate(layers)
    )
    return np.concatenate([row, forwards[-1], back[0]])
