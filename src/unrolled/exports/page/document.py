"""The HTML file of a page: its script, its data, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from unrolled.exports.page.engine import RUNTIME
from unrolled.system import package_version
from unrolled.text.tokenizer import Tokenizer

FORMAT = "Unrolled page, format 1"
_SCRIPTS = (
    *("tensors.js", "graph.js", "text.js", "answers.js", "counts.js", "translations.js"),
    *("labels.js", "continuations.js", "models.js", "view.js"),
)
_STRICT = '"use strict";\n'

PURPOSES: Mapping[str, str] = {
    "classify": "A text classifier. Write a text: its label appears, with the words that mattered.",
    "pair": "A classifier of pairs of texts. Write two texts: their label appears, with the words that "
    "mattered.",
    "tag": "A tagger. Write a sentence: every word gets its tag.",
    "language_model": "A language model. Write a text: the most probable next words appear.",
    "translate": "A translator. Write a sentence: its translation appears, with the words that each of "
    "its words looked at.",
}


def document(
    title: str,
    content: Mapping[str, Any],
    block: bytes,
    facts: Sequence[tuple[str, str]],
) -> str:
    """The text of the file.

    Args:
        title: heading of the page.
        content: what the script reads: task, program, settings, tokenizers, counted n-grams, stored
            answers.
        block: the bytes of all weights.
        facts: names and values for the section about the model.
    """
    script, style = _script(), _read("page.css")
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            format=FORMAT,
            purpose=PURPOSES[content["task"]],
            facts=facts,
            version=package_version(),
            script=Markup(script),
            script_hash=_hash(script),
            style=Markup(style),
            style_hash=_hash(style),
            page=_compressed(packed),
            kernels="".join(_read("kernels.wasm.txt").split()),
            weights=_compressed(block),
        )
    )


def described(words: Tokenizer) -> dict[str, Any]:
    """A tokenizer, as `text.js` reads it."""
    normalize = words.inner.normalizer.normalize_str
    found: dict[str, Any] = {
        "kind": words.kind,
        "lowercase": normalize("A").endswith("a"),
        "blank": not words.running,
        "tokens": words.tokens(range(len(words))),
    }
    if words.kind == "bpe":
        merges = json.loads(words.inner.to_str())["model"]["merges"]
        found["merges"] = [each.split(" ") if isinstance(each, str) else each for each in merges]
    return found


def _script() -> str:
    """The script of all pages; `"use strict"` once, at its beginning."""
    return "\n" + _STRICT + "".join(_read(name).replace(_STRICT, "") for name in _SCRIPTS)


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _read(name: str) -> str:
    return (RUNTIME / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(RUNTIME),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
