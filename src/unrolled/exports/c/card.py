"""The card of an export, `README.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unrolled.exports.c.agreement import Agreement
from unrolled.exports.c.plan import Plan

_USES = {
    "language_model": (
        "./model generate --temperature 0.8 < prompt.txt",
        "./model complete < lines.txt",
        "./model score < text.txt",
    ),
    "classify": ("./model < lines.txt", "./model --scores < lines.txt"),
    "tag": ("./model < lines.txt",),
}


def card(plan: Plan, title: str, files: Mapping[str, str], agreement: Agreement) -> str:
    """The text of the card."""
    return "\n".join(_lines(plan, title, files, agreement)) + "\n"


def _lines(plan: Plan, title: str, files: Mapping[str, str], agreement: Agreement) -> Iterator[str]:
    yield f"# {title.removesuffix('.')}\n"
    yield f"{plan.about}\n"
    yield "## Use\n"
    uses = "\n".join(_USES[plan.task])
    yield f"```\ncc -O2 -o model main.c -lm\n{uses}\n```\n"
    yield (
        "The code is C99, allocates no memory and needs only the mathematics library. In a program of "
        "your own, include `model.h` and, for text, `text.h`; the beginning of each says how. "
        "`TEXT_LONGEST` (65,536 characters) limits the length of a text.\n"
    )
    yield "## Size\n"
    builder = plan.builder
    yield f"- weights ({builder.precision}): {builder.n_bytes:,} bytes, constant"
    yield f"- state: {plan.state_bytes:,} bytes"
    yield "- tables of text (`tables.h`): see `size model`; constant\n"
    yield "## Agreement with the model\n"
    yield f"Compared by {agreement.how}:\n"
    yield "\n".join(f"- {each}" for each in agreement.compared)
    yield f"- largest difference of a number: {agreement.worst:.1e}\n"
    for note in agreement.notes:
        yield f"{note}\n"
    if builder.precision == "int8":
        yield "The rounded weights were compared. What rounding costs on the validation part:\n"
        yield "| score | float32 | int8 |\n|---|---|---|"
        for name, (before, after) in agreement.cost.items():
            yield f"| {name} | {before:.4f} | {after:.4f} |"
