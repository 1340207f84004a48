"""Tag the words of sentences with this model.

    pip install numpy onnxruntime tokenizers
    python infer.py "A sentence."            or: python infer.py < sentences.txt

Prints each word with its tag. In Python: `infer.Model().predict(["A sentence."])`; a list of words in
place of a text is taken as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from unrolled.exports.programs.spelling import look_up, shortened

FOLDER = Path(__file__).parent


class Model:
    """The model, its vocabularies and its settings."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.settings = json.loads((folder / "generate.json").read_text("utf-8"))
        self.words, self.letters = (
            Tokenizer.from_str((folder / f"tokenizer-{role}.json").read_text("utf-8"))
            for role in ("text", "characters")
        )
        self.session = onnxruntime.InferenceSession((folder / "model.onnx").read_bytes())
        self.inputs = [each.name for each in self.session.get_inputs()]

    def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
        """The words and tags of sentences, with the probability of each tag."""
        return [self.tag(one) for one in inputs]

    def tag(self, sentence: str | list[str]) -> dict[str, Any]:
        """The words and tags of one sentence, with the probability of each tag."""
        if isinstance(sentence, str):
            text = sentence.encode("utf-8", "replace").decode("utf-8")
            tokens = [piece for piece, _ in self.words.pre_tokenizer.pre_tokenize_str(text)]
        else:
            tokens = list(sentence)
        if not tokens:
            return {"words": [], "labels": [], "probabilities": []}
        scores = [each.astype(np.float64) for each in self.run(tokens)]
        is_crf = len(scores) > 1
        best = viterbi(*scores) if is_crf else scores[0].argmax(axis=1).tolist()
        table = marginals(*scores) if is_crf else softmax(scores[0])
        return {
            "words": tokens,
            "labels": [self.settings["labels"][tag] for tag in best],
            "probabilities": table[np.arange(len(best)), best].tolist(),
        }

    def run(self, tokens: list[str]) -> list[Any]:
        """The scores `[words, tags]`; with a CRF also its start, transition and end scores."""
        words = [look_up(self.words, token) for token in tokens]
        most = self.settings["max_characters"]
        spelled = [[look_up(self.letters, c) for c in shortened(token, most)] for token in tokens]
        size = self.settings["max_length"]  # a longer sentence is read in pieces
        n_pieces, n_steps = -(-len(words) // size), min(size, len(words))
        ids = np.zeros((n_pieces * n_steps,), np.int64)  # 0 is padding
        letters = np.zeros((n_pieces * n_steps, max(map(len, spelled))), np.int64)
        ids[: len(words)] = words
        for row, spelling in zip(letters, spelled, strict=False):
            row[: len(spelling)] = spelling
        inputs = {
            "words": ids.reshape(n_pieces, n_steps),
            "letters": letters.reshape(n_pieces, n_steps, -1),
        }
        found = self.session.run(None, {name: inputs[name] for name in self.inputs})
        return [found[0].reshape(n_pieces * n_steps, -1)[: len(words)], *found[1:]]


def viterbi(logits: Any, start: Any, transition: Any, end: Any) -> list[int]:
    """The most probable sequence of tags of a linear-chain CRF (Viterbi 1967)."""
    score, origins = start + logits[0], []
    for emission in logits[1:]:
        reached = score[:, None] + transition
        origins.append(reached.argmax(axis=0))
        score = reached.max(axis=0) + emission
    path = [int((score + end).argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def marginals(logits: Any, start: Any, transition: Any, end: Any) -> Any:
    """The probability of each tag at each word, from sums over all sequences of tags."""
    before, after = [start], [end]
    for emission in logits[:-1]:
        before.append(log_sum(before[-1] + emission, transition))
    for emission in logits[:0:-1]:
        after.append(log_sum(after[-1] + emission, transition.T))
    return softmax(np.stack(before) + logits + np.stack(after[::-1]))


def log_sum(scores: Any, transition: Any) -> Any:
    """The logarithm of the summed exponentials over the tags that come before."""
    reached = scores[:, None] + transition
    largest = reached.max(axis=0)
    return largest + np.log(np.exp(reached - largest).sum(axis=0))


def softmax(scores: Any) -> Any:
    """Probabilities that sum to 1 in each row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    model = Model()
    for line in sys.argv[1:] or sys.stdin:
        found = model.tag(line.rstrip("\n"))
        pairs = zip(found["words"], found["labels"], strict=True)
        print(" ".join(f"{word}/{tag}" for word, tag in pairs))
