"""The gate of a language model: distributions, scores, generated text and completions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.decoding.scoring import score
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
from unrolled.exports.c.reading import Network, log_softmax, read_arrays
from unrolled.quoting import quote
from unrolled.text.config import EOS_ID, UNK_ID
from unrolled.wording import count_of

_BEGIN = -1
_MOST_NUMBERS = 500_000
_N_GENERATED = 40
_N_CONTINUED = 6
_LONGEST = 200  # characters of a held-out text
_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def token_rows(tokenizer: Any, ids: Sequence[int]) -> list[list[int]]:
    """Rows of tokens to read: held-out, none, one, unknown ones, all, and several documents."""
    n = len(tokenizer)
    every = list(range(4, n))
    held = [int(i) for i in ids]
    return [held, [], held[:1], [UNK_ID] * 5, every, [EOS_ID, EOS_ID, 4, EOS_ID, n - 1]]


def check_numbers(
    plan: Plan, exact: Any, rows: Sequence[Sequence[int]], found: NDArray[np.float64]
) -> tuple[int, float]:
    """Compare the distributions after each token with those of the model.

    Args:
        plan: the export.
        exact: its model in double precision.
        rows: the tokens.
        found: the distributions.

    Returns:
        Their number, and the largest difference of a logarithm.
    """
    restart = bool(plan.context["restarts"])
    expected = distributions(plan.model, rows, restart)
    worst = check_equal(
        "the probability of a token", found, expected, lambda: distributions(exact, rows, restart)
    )
    return len(expected), worst


@torch.no_grad()
def distributions(model: Any, rows: Sequence[Sequence[int]], restart: bool) -> NDArray[np.float64]:
    """What the model says after the beginning and each token of some rows, `[N, V]`, logarithms."""
    hidden = []
    for row in rows:
        state = model.start(1)
        for token in [EOS_ID, *row]:
            if restart and token == EOS_ID:
                state = model.start(1)
            output, state = model.step(torch.tensor([token]), state)
            hidden.append(output)
    logs: NDArray[np.float64] = model.head.logits(torch.cat(hidden)).double().log_softmax(1).numpy()
    return logs


def numbers_of_program(
    command: Sequence[str], folder: Path, rows: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """The same by the C code."""
    source = folder / "check.c"
    write(folder, {source.name: render("check_language_model.c", {})})
    program = compiler.compiled(command, source)
    given = " ".join(str(token) for row in rows for token in [_BEGIN, *row])
    lines = compiler.answer(program, (), given).splitlines()
    return np.array([[float(number) for number in line.split()] for line in lines])


def numbers_by_numpy(
    plan: Plan, weights: str, rows: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """The same from the arrays of `weights.h`."""
    network = Network(read_arrays(weights), plan.context["cell"].name)
    first, *others = plan.builder.layers
    matrices = {matrix.name: matrix for matrix in plan.builder.matrices}
    found = []
    for row in rows:
        states = [network.zeros(layer) for layer in plan.builder.layers]
        for token in [EOS_ID, *row]:
            if plan.context["restarts"] and token == EOS_ID:
                states = [network.zeros(layer) for layer in plan.builder.layers]
            if plan.context["embeds"]:
                scale = np.float32(str(plan.context["scaled"]).removesuffix("f") or 1)
                from_x = network.product(
                    first.input, network.row(matrices["embedding"], token) * scale
                )
            else:
                from_x = network.column(first.input, token)
            states[0] = network.step(first, from_x, states[0])
            for depth, layer in enumerate(others, start=1):
                from_x = network.product(layer.input, states[depth - 1][0])
                states[depth] = network.step(layer, from_x, states[depth])
            found.append(log_softmax(network.product(matrices["head"], states[-1][0])))
    return np.array(found)


def texts_of(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Texts to score, continue and complete: hard ones, and the beginnings of a held-out one."""
    held = tokenizer.decode([int(i) for i in ids if i != UNK_ID])[:_LONGEST]
    several = f"{held[:40]}\n\n{held[40:60]}\r\n{held[60:90]}\n"
    parts = [held[: len(held) * part // 4] or "b" for part in (1, 2, 3, 4)]
    return [*ADVERSARIAL, several, *parts]


def check_program(program: Path, predictor: Any, exact: Any, texts: Sequence[str]) -> Iterator[str]:
    """Compare what the program writes with what the model writes; yield what was compared.

    Args:
        program: the program.
        predictor: the run, with rounded weights if those of the export are.
        exact: the same in double precision.
        texts: what to read.
    """
    for text in texts:
        _check_score(program, predictor, exact, text)
    yield f"the score of {count_of(len(texts), 'text')}"
    some = ["", *some_of(texts, _N_CONTINUED)]
    n_tied = sum(_check_generated(program, predictor, exact, text) for text in some)
    tied = f" ({n_tied} differ where two tokens are as probable)" if n_tied else ""
    yield f"{_N_GENERATED} characters generated after each of {count_of(len(some), 'text')}{tied}"
    lines = ["", *(_BREAKS.sub(" ", text) for text in texts)]
    answers = compiler.answer(program, ("complete", "--k", "3"), "\n".join(lines) + "\n")
    for line, answer in zip(lines, answers.splitlines(), strict=True):
        _check_completions(predictor, line, json.loads(answer))
    yield f"completions of {count_of(len(lines), 'line')}"


def _check_score(program: Path, predictor: Any, exact: Any, text: str) -> None:
    read = text.replace("\r\n", "\n")
    own = score(predictor.continuation().surprise(read), read)
    expected = next(own.lines())
    found = compiler.answer(program, ("score",), text).splitlines()
    bits = float(found[0].split(" bits")[0].replace(",", ""))
    what = f"the score of {quote(text)}"
    most = 0.06 + 2 * TOLERANCE * own.n_tokens
    if not abs(bits - own.bits) <= most:
        precise = score(exact.continuation().surprise(read), read)
        most += 4 * abs(own.bits - precise.bits)
    if not abs(bits - own.bits) <= most:
        raise differs(what, f"{found[0]} instead of {expected}")
    check_same(what, found[0].split(" bits")[1], expected.split(" bits")[1])


def _check_generated(program: Path, predictor: Any, exact: Any, text: str) -> bool:
    """Compare generated texts; return whether they differ where two tokens are equally probable."""
    read = text.replace("\r\n", "\n").removesuffix("\n")
    options = ("generate", "--temperature", "0", "--max-tokens", str(_N_GENERATED))
    found = compiler.answer(program, options, text)
    expected = _generated(predictor, read)
    if found == expected:
        return False
    places = (at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b)
    same = next(places, min(len(found), len(expected)))
    session = predictor.continuation()
    session.feed(read + expected[:same])
    first, second = session.log_probs().topk(2).values.tolist()
    if first - second > 2 * TOLERANCE and _generated(exact, read) == expected:
        check_same(f"the text generated after {quote(text)}", found, expected)
    return True


def _generated(predictor: Any, text: str) -> str:
    generated: str = predictor.generate(text, max_tokens=_N_GENERATED, temperature=0)
    return generated + "\n" * (not generated.endswith("\n"))


def _check_completions(predictor: Any, line: str, found: dict[str, Any]) -> None:
    what = f"the completion of {quote(line)}"
    session = predictor.continuation()
    session.feed(line)
    check_same(what, found["typed"], session.typed())
    known = {each.text: each.probability for each in session.complete(12)}
    for place, each in enumerate(found["completions"]):
        if each["text"] not in known:
            raise differs(what, f"{quote(each['text'])} is not among the most probable ones")
        for expected in (known[each["text"]], sorted(known.values(), reverse=True)[place]):
            check_equal(what, each["probability"], expected, lambda: expected)  # noqa: B023


def n_rows_that_fit(n_tokens: int) -> int:
    """The number of held-out tokens whose distributions are compared."""
    return max(20, min(400, _MOST_NUMBERS // n_tokens))
