"""Predict the labels of texts with this model.

    pip install numpy onnxruntime tokenizers
    python infer.py "a text"                 for a model of pairs: "one text" "another text"
    python infer.py < texts.txt              one input per line, the texts of a pair separated by a tab

Prints the label and its probability. In Python: `infer.Model().predict(["a text"])`.
"""

from __future__ import annotations

import json
import sys
import unicodedata
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
        graphs = sorted(folder.glob("model*.onnx"))  # several, if the model is an ensemble
        self.sessions = [onnxruntime.InferenceSession(each.read_bytes()) for each in graphs]
        read = {"first": range(1), "second": range(1, 2)}
        self.sides = read.get(self.settings["reads"], range(2))
        self.letters = self.counts = None
        if (folder / "tokenizer-characters.json").exists():
            text = (folder / "tokenizer-characters.json").read_text("utf-8")
            self.letters = Tokenizer.from_str(text)
        if (folder / "ngrams.safetensors").exists():
            from unrolled.exports.programs.counts import Counts

            self.counts = Counts(folder / "ngrams.safetensors")

    def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
        """The labels of texts, or of pairs of texts, with the probabilities of all labels."""
        rows = [[one] if isinstance(one, str) else list(one) for one in inputs]
        read = [[self.read(text, side) for side, text in enumerate(texts)] for texts in rows]
        feeds = self.feeds(read)
        members = [{**self.settings, **own} for own in self.settings.get("members", [{}])]
        tables = [
            self.probabilities(session, settings, feeds, read)
            for session, settings in zip(self.sessions, members, strict=True)
        ]
        return [self.answer(row) for row in np.mean(tables, axis=0)]

    def probabilities(self, session: Any, settings: Any, feeds: Any, read: list[Any]) -> Any:
        """The probabilities of all labels, by one graph with its settings."""
        logits = session.run(["logits"], feeds)[0]
        if self.counts is not None:
            counted = [self.counts.scores([t["counted"] for t in row], self.sides) for row in read]
            share = settings["share"]
            logits = (1 - share) * logits + share * np.stack(counted)
        found = sigmoid(logits) if settings["multi_label"] else softmax(logits)
        if settings["shares"]:
            # A text of which training has seen nothing gets the shares of the labels there.
            for row, texts in enumerate(read):
                chosen = texts[self.sides.start : self.sides.stop]
                if not any(is_known(text, settings) for text in chosen):
                    found[row] = settings["shares"]
        return found

    def read(self, text: str, side: int) -> dict[str, list[Any]]:
        """The ids of a text, and what is read beside them for each, cut as in training."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if self.settings["kind"] == "space":  # a word that spells a special token is unknown
            ids = [1 if id_ < 4 else id_ for id_ in ids]
        found: dict[str, list[Any]] = {"ids": ids}
        if self.letters is not None:
            from unrolled.exports.programs.spelling import look_up, shortened

            most = self.settings["max_characters"]
            words = [shortened(word, most) for word in self.tokens(text, ids, is_folded=False)]
            found["letters"] = [[look_up(self.letters, c) for c in word] for word in words]
        if self.counts is not None:
            pieces = self.settings["counted"]
            found["counted"] = (
                [pieces[side][id_] for id_ in ids]
                if pieces
                else self.counts.indices(side, self.tokens(text, ids, is_folded=True))
            )
        return {name: self.cut(each) for name, each in found.items()}

    def tokens(self, text: str, ids: list[int], is_folded: bool) -> list[str]:
        """The tokens of a text as they are written, or as the vocabulary writes them."""
        text = unicodedata.normalize("NFC", text)
        if is_folded:
            text = self.tokenizer.normalizer.normalize_str(text)
        tokens = [piece for piece, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        if len(tokens) != len(ids):
            tokens = [str(self.tokenizer.id_to_token(id_)) for id_ in ids]
        return tokens

    def cut(self, values: list[Any]) -> list[Any]:
        """What is kept of the tokens of a text."""
        most = self.settings["max_length"]
        if len(values) <= most:
            return values
        n_first = {"start": most, "end": 0, "both": -(-most // 2)}[self.settings["keep"]]
        return values[:n_first] + values[len(values) - most + n_first :]

    def feeds(self, rows: list[list[dict[str, list[Any]]]]) -> dict[str, Any]:
        """The inputs of the graph; id 0 is padding."""
        if self.settings["common"]:
            for texts in rows:
                for own, other in zip(texts, texts[::-1], strict=True):
                    both = set(own["ids"]) & set(other["ids"])
                    own["common"] = [float(id_ > 3 and id_ in both) for id_ in own["ids"]]
        reads = self.settings["reads"]
        if reads == "both":
            given = {"first": [a for a, _ in rows], "second": [b for _, b in rows]}
        elif reads in ("joined", "reversed"):
            order = 1 if reads == "joined" else -1
            joined = [texts[::order] for texts in rows]
            given = {"text": [{name: a[name] + b[name] for name in a} for a, b in joined]}
        else:
            given = {"text": [texts[self.sides[0]] for texts in rows]}
        feeds = {}
        for name, texts in given.items():
            feeds[name] = padded([text["ids"] for text in texts])
            if self.letters is not None:
                feeds[f"{name}_letters"] = padded_twice([text["letters"] for text in texts])
            if self.settings["common"]:
                columns = padded([text["common"] for text in texts], np.float32)
                feeds[f"{name}_common"] = columns
        return feeds

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


def is_known(text: dict[str, list[Any]], settings: Any) -> bool:
    """Whether training has seen a word, a character, or a counted word of a text."""
    words, letters = (set(settings[name]) for name in ("unseen", "unseen_letters"))
    return (
        any(id_ not in words for id_ in text["ids"])
        or any(id_ not in letters for word in text.get("letters", []) for id_ in word)
        or any(index >= 0 for index in text.get("counted", []))
    )


def padded(rows: list[list[Any]], kind: Any = np.int64) -> Any:
    """Rows of different lengths in one array, at least one column wide."""
    values = np.zeros((len(rows), max([1, *map(len, rows)])), kind)
    for row, filled in zip(rows, values, strict=True):
        filled[: len(row)] = row
    return values


def padded_twice(texts: list[list[list[int]]]) -> Any:
    """The ids of the characters of the words of each text, at least one of one."""
    n_words = max([1, *map(len, texts)])
    words = [word for text in texts for word in [*text, *[[]] * (n_words - len(text))]]
    return padded(words).reshape(len(texts), n_words, -1)


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
