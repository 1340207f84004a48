"""Tiny trained runs of every task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import unrolled

OLD_FILES = Path(__file__).parents[1] / "old_files"

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
    if task == "pair":
        rows = [
            (t, u, "yes" if "dog" in u else "no")
            for t, u in zip(texts[:-7], texts[7:], strict=True)
        ]
        return _table([("first", "second", "label"), *rows])
    if task in ("translate", "copying"):
        rows = [(t, " ".join(w.upper() for w in reversed(t.split()))) for t in dict.fromkeys(texts)]
        return _table([("en", "xx"), *rows])
    return "\n".join(texts) + "\n"


SIZES = {"model.embedding_size": "8", "model.hidden_size": "12"}
RUNS: dict[str, dict[str, str]] = {
    "classify": {**SIZES, "model.pooling": "attentive"},
    "pair": {**SIZES, "model.encoder": "word_by_word", "model.cell": "gru"},
    "language_model": {
        **SIZES,
        "text.kind": "bpe",
        "text.vocab_size": "300",
        "data.n_rows": "2",
        "data.k1": "16",
    },
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


OLD = {"several": "topics", "tag": "tag", "words": "words"}
"""Runs of an earlier version: labels of texts, tags with a CRF, and a language model of words."""


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny run: of a task, or one of `OLD`, or "copying", a translator that copies."""
    folder = tmp_path_factory.mktemp("runs")

    def made(name: str) -> Path:
        if name in OLD:
            return OLD_FILES / OLD[name] / "run"
        path = folder / name
        if path.exists():
            return path
        data = folder / f"{name}.{'txt' if name == 'language_model' else 'tsv'}"
        data.write_text(_data(name), encoding="utf-8")
        task = "translate" if name == "copying" else name
        overrides = {**RUNS[name], "data.train": str(data), "training.max_steps": "40"}
        overrides |= {"training.device": "cpu", "training.learning_rate": "0.02"}
        recipe = unrolled.Recipe.from_mapping({"task": task}, unrolled.TASKS, overrides.items())
        unrolled.train(recipe, path)
        return path

    return made
