"""Tiny trained runs of every task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import unrolled

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)


WORDS = ("the", "a", "red", "big", "old", "cat", "dog", "bird", "sees", "likes", "it", ".")


def sentence(number: int, length: int = 6) -> str:
    """A sentence that depends on a number."""
    return " ".join(
        WORDS[(number * (3 + place) + place * place) % len(WORDS)] for place in range(length)
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _data(task: str) -> str:
    texts = [sentence(n, 2 + n % 9) for n in range(60)]
    if task == "classify":
        return _table([("text", "label"), *((t, f"label {t.count('cat') % 3}") for t in texts)])
    if task == "several":
        marks = [[w for w in ("cat", "dog", "it") if w in t.split()] for t in texts]
        return _table(
            [("text", "label"), *((t, "|".join(m)) for t, m in zip(texts, marks, strict=True))]
        )
    if task == "pair":
        rows = [
            (t, u, "yes" if "dog" in u else "no")
            for t, u in zip(texts[:-7], texts[7:], strict=True)
        ]
        return _table([("first", "second", "label"), *rows])
    if task in ("translate", "copying"):
        rows = [(t, " ".join(w.upper() for w in reversed(t.split()))) for t in dict.fromkeys(texts)]
        return _table([("en", "xx"), *rows])
    if task == "tag":
        tags = {"cat": "B-A", "dog": "B-A", "red": "B-C", "big": "I-C"}
        sentences = [[(w, tags.get(w, "O")) for w in t.split()] for t in texts]
        fixed = [
            [
                (w, t if t[0] != "I" or (i and s[i - 1][1][2:] == "C") else "O")
                for i, (w, t) in enumerate(s)
            ]
            for s in sentences
        ]
        return "\n".join("".join(f"{w} {t}\n" for w, t in s) for s in fixed)
    return "\n".join(texts) + "\n"


SIZES = {"model.embedding_size": "8", "model.hidden_size": "12"}
RUNS: dict[str, dict[str, str]] = {
    "classify": {**SIZES, "model.pooling": "attentive"},
    "several": {**SIZES, "data.label_separator": "|", "text.kind": "bpe", "text.vocab_size": "300"},
    "pair": {**SIZES, "model.encoder": "word_by_word", "model.cell": "gru"},
    "tag": {**SIZES, "model.char_size": "5", "data.max_length": "4"},
    "language_model": {**SIZES, "text.kind": "char", "data.n_rows": "2", "data.k1": "16"},
    "copying": {
        **SIZES,
        "model.encoder_size": "6",
        "model.copying": "pointer",
        "text.kind": "word",
        "text.min_count": "9",
    },
    "translate": {
        **SIZES,
        "model.encoder_size": "6",
        "text.kind": "word",
        "decoding.beam_size": "3",
    },
}


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny run by the name of its task; "several" is a classifier of several labels."""
    folder = tmp_path_factory.mktemp("runs")

    def made(name: str) -> Path:
        path = folder / name
        if path.exists():
            return path
        ending = {"tag": "conll", "language_model": "txt"}.get(name, "tsv")
        data = folder / f"{name}.{ending}"
        data.write_text(_data(name), encoding="utf-8")
        task = {"several": "classify", "copying": "translate"}.get(name, name)
        overrides = {**RUNS[name], "data.train": str(data), "training.max_steps": "40"}
        overrides |= {"training.device": "cpu", "training.learning_rate": "0.02"}
        recipe = unrolled.Recipe.from_mapping({"task": task}, unrolled.TASKS, overrides.items())
        unrolled.train(recipe, path)
        return path

    return made
