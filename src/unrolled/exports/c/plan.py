"""What an export consists of, and the text of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from torch import nn

from unrolled.exports.c import literals
from unrolled.exports.c.network import Builder
from unrolled.exports.c.vocabulary import Text
from unrolled.wording import count_of

_TEMPLATES = Path(__file__).with_name("templates")
_CELL_NAMES = {"rnn": "tanh", "rnn_relu": "ReLU", "gru": "GRU", "lstm": "LSTM"}


@dataclass(frozen=True)
class Plan:
    """A model to be written as C.

    Args:
        task: name of its task.
        builder: its arrays.
        model: a copy of the model that computes what the C code computes.
        text: the tables of its tokenizer.
        header, program: templates of `model.h` and `main.c`.
        context: what the templates need to know.
        about: a sentence about the model.
        state_bytes: the size of a state.
    """

    task: str
    builder: Builder
    model: nn.Module
    text: Text
    header: str
    program: str
    context: Mapping[str, Any]
    about: str
    state_bytes: int

    def files(self, title: str) -> dict[str, str]:
        """The C files by name.

        Args:
            title: what the first line of each says.
        """
        builder = self.builder
        context = {
            **self.context,
            "title": literals.comment(title),
            "about": literals.paragraph(self.about),
            "int8": builder.precision == "int8",
            "layers": builder.layers,
            "matrices": builder.matrices,
            "arrays": builder.arrays,
            "n_bytes": builder.n_bytes,
            "text": self.text,
        }
        templates = {
            "model.h": self.header,
            "main.c": self.program,
            "text.h": "text.h",
            "tables.h": "tables.h",
            "weights.h": "weights.h",
        }
        return {name: render(template, context) for name, template in templates.items()}


def render(template: str, context: Mapping[str, Any]) -> str:
    """The text of a template."""
    return _environment().get_template(template).render(context)


def _source(name: str) -> str:
    """A template; a line of it that begins with `//%` is a statement."""
    text = (_TEMPLATES / name).read_text(encoding="utf-8")
    return re.sub(r"^[ \t]*//%(.*)$", r"{%\1 %}", text, flags=re.MULTILINE)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C, not HTML
    )


def sizes_of(cell: str, sizes: Sequence[int], *, both: bool = False) -> str:
    """The recurrent layers in words.

    >>> sizes_of("lstm", [64, 32])
    '2 layers of LSTM, 64 and 32 units'
    """
    n_layers = count_of(len(sizes), "layer")
    units = f"{sizes[0]:,}" if len(set(sizes)) == 1 else " and ".join(f"{size:,}" for size in sizes)
    return f"{n_layers} of {_CELL_NAMES[cell]}, {units} units" + (
        " in each direction" if both else ""
    )
