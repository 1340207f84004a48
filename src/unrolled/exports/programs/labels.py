"""Predict the labels of texts with this model.

    pip install numpy onnxruntime tokenizers
    python infer.py "a text"                 for a model of pairs: "one text" "another text"
    python infer.py < texts.txt              one input per line, the texts of a pair separated by a tab

Prints the label and its probability. In Python: `infer.Model().predict(["a text"])`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent


class Model:
    """The model, its vocabulary and its settings."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.settings = json.loads((folder / "generate.json").read_text("utf-8"))
        self.tokenizer = Tokenizer.from_str((folder / "tokenizer-text.json").read_text("utf-8"))
        self.tokenizer.encode_special_tokens = True  # "</s>" in a text does not end it
        self.session = onnxruntime.InferenceSession((folder / "model.onnx").read_bytes())

    def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
        """The labels of texts, or of pairs of texts, with the probabilities of all labels."""
        rows = [[one] if isinstance(one, str) else list(one) for one in inputs]
        ids = [[self.encode(text) for text in texts] for texts in rows]
        logits = self.session.run(["logits"], self.feeds(ids))[0]
        multi_label = self.settings["multi_label"]
        probabilities = sigmoid(logits) if multi_label else softmax(logits)
        if self.settings["shares"]:
            # A text without a word that training has seen gets the shares of the labels there.
            read = {"first": slice(0, 1), "second": slice(1, 2)}
            chosen = read.get(self.settings["reads"], slice(None))
            unseen = set(self.settings["unseen"])
            for row, texts in enumerate(ids):
                if all(id_ in unseen for text in texts[chosen] for id_ in text):
                    probabilities[row] = self.settings["shares"]
        return [self.answer(row) for row in probabilities]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, cut as in training."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if self.settings["kind"] == "space":  # a word that spells a special token is unknown
            ids = [1 if id_ < 4 else id_ for id_ in ids]
        most = self.settings["max_length"]
        if len(ids) <= most:
            return ids
        n_first = {"start": most, "end": 0, "both": -(-most // 2)}[self.settings["keep"]]
        return ids[:n_first] + ids[len(ids) - most + n_first :]

    def feeds(self, ids: list[Any]) -> dict[str, Any]:
        """The inputs of the graph; id 0 is padding."""
        reads = self.settings["reads"]
        if reads == "both":
            return {"first": padded([a for a, _ in ids]), "second": padded([b for _, b in ids])}
        if reads == "joined":
            return {"text": padded([a + b for a, b in ids])}
        if reads == "reversed":
            return {"text": padded([b + a for a, b in ids])}
        return {"text": padded([texts[1 if reads == "second" else 0] for texts in ids])}

    def answer(self, probabilities: Any) -> dict[str, Any]:
        """The prediction from the probabilities of one input."""
        names = self.settings["labels"]
        if self.settings["multi_label"]:
            thresholds = np.array(self.settings["thresholds"])
            chosen = np.flatnonzero(probabilities >= thresholds).tolist()
        else:
            chosen = [int(probabilities.argmax())]
        return {
            "labels": [names[label] for label in chosen],
            "probabilities": dict(zip(names, probabilities.tolist(), strict=True)),
        }


def padded(rows: list[list[int]]) -> Any:
    """Rows of different lengths in one array, at least one column wide."""
    ids = np.zeros((len(rows), max([1, *map(len, rows)])), np.int64)
    for row, filled in zip(rows, ids, strict=True):
        filled[: len(row)] = row
    return ids


def softmax(logits: Any) -> Any:
    """Probabilities that sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: Any) -> Any:
    """The probability of each label by itself."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


if __name__ == "__main__":
    model = Model()
    given = (
        [tuple(sys.argv[1:])]
        if sys.argv[1:]
        else (line.rstrip("\n").split("\t") for line in sys.stdin)
    )
    for texts in given:
        found = model.predict([texts])[0]
        shown = [f"{name}\t{found['probabilities'][name]:.4f}" for name in found["labels"]]
        print("\t".join(shown))
