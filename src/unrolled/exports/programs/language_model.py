"""Continue and score texts with this language model.

    pip install numpy onnxruntime tokenizers
    python infer.py "The beginning of a text"            or: python infer.py < prompts.txt

Prints the most probable continuation; of a model that reads from right to left, the bits per token. In
Python, `infer.Model()` has `generate`, which also samples, and `score`, the bits of each token. `read`
advances the state by some tokens: the model reads a text of any length piece by piece.
"""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from unrolled.exports.programs.words import END, Words, join_words

FOLDER = Path(__file__).parent
State = dict[str, Any]


class Model:
    """The graph, the vocabulary and the settings."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.settings = json.loads((folder / "generate.json").read_text("utf-8"))
        self.words = Words(folder / "tokenizer-text.json", self.settings["kind"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step is too small for more
        graph = (folder / "model.onnx").read_bytes()
        self.session = onnxruntime.InferenceSession(graph, options)
        self.border: str = self.settings["border"]
        self.reads_back: bool = self.settings["reads_back"]

    def predict(self, texts: list[str], max_tokens: int = 40) -> list[dict[str, Any]]:
        """The most probable continuation of each text, and the bits of each of its tokens."""
        return [
            {
                "text": "" if self.reads_back else self.generate(text, max_tokens, temperature=0),
                "bits": self.score(text),
            }
            for text in texts
        ]

    def start(self) -> State:
        """The state before any text."""
        states = [each for each in self.session.get_inputs() if each.name != "tokens"]
        return {each.name: np.zeros((1, each.shape[1]), np.float32) for each in states}

    def read(self, ids: list[int], state: State) -> tuple[Any, State]:
        """The log-probabilities after each token, `[tokens, words]`, and the state after the last."""
        names = [output.name for output in self.session.get_outputs()]
        tables, restart = [], self.settings["restart"]
        for run in runs(ids, restart):
            if restart and run[0] == END:
                state = self.start()
            found = self.session.run(names, {"tokens": np.array([run], np.int64), **state})
            by_name = dict(zip(names, found, strict=True))
            tables.append(log_softmax(by_name.pop("logits")[0]))
            state = {f"state_{n.removeprefix('next_')}": each for n, each in by_name.items()}
        return np.concatenate(tables), state

    def score(self, text: str) -> list[float]:
        """The bits of each token of a text that is a document, or several, in the order of the text."""
        first, *others = text.split(self.border) if self.border else [text]
        ids = self.words.encode(first)
        for document in others:
            ids += [END, *self.words.encode(document)]
        order = -1 if self.reads_back else 1
        tables, _ = self.read([END, *ids[::order]], self.start())
        read = zip(tables, ids[::order], strict=False)
        return [float(-table[id_] / math.log(2)) for table, id_ in read][::order]

    def generate(
        self,
        prompt: str,
        max_tokens: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
    ) -> str:
        """A continuation of a text; with temperature 0, the most probable token at each step."""
        if self.reads_back:
            raise ValueError("this model reads from right to left, so it does not continue a text")
        uniforms = np.random.default_rng(seed)
        *ended, last = prompt.split(self.border) if self.border else [prompt]
        ids = [END]
        for document in ended:
            ids += [*self.words.encode(document), END]
        committed, wanted = self.divided(last)
        tables, state = self.read([*ids, *self.words.encode(committed)], self.start())
        table, tokens, n_tokens = tables[-1], list[tuple[int, int]](), 0
        ordinary = [i for i in range(len(self.words.tokens)) if i > 3 or i == END]
        while n_tokens < max_tokens:
            candidates = self.agreeing(wanted) if wanted else ordinary
            token = candidates[draw(table[candidates], temperature, top_k, top_p, uniforms)]
            n_bytes = len(self.words.bytes_of(token))
            n_repeated = 0 if token == END else min(len(wanted), n_bytes)
            wanted = wanted[n_repeated:]
            n_tokens += not n_repeated or n_repeated < n_bytes
            tokens.append((token, n_repeated))
            if n_tokens < max_tokens:
                tables, state = self.read([token], state)
                table = tables[-1]
        return self.written(last, tokens)

    def divided(self, text: str) -> tuple[str, bytes]:
        """What of a text is read, and the bytes with which the next tokens must begin.

        With byte pairs, the last word may go on, so that its tokens are not known yet.
        """
        if self.words.kind != "bpe" or not text:
            return text, b""
        text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
        pieces = self.words.inner.pre_tokenizer.pre_tokenize_str(text)
        starts = [start for _, (start, _) in pieces]
        rest = text[starts[-1] :]
        joins = unicodedata.category(rest[0])[0] == "M" or "\u1160" <= rest[0] <= "\u11ff"
        if joins or (rest in APOSTROPHES and in_word(text[starts[-1] - 1 :][:1])):
            starts.pop()
        start = starts[-1] if starts else 0
        return text[:start], self.words.inner.normalizer.normalize_str(text[start:]).encode()

    def agreeing(self, wanted: bytes) -> list[int]:
        """The tokens that begin with these bytes, or with which these bytes begin."""
        tokens = [(i, self.words.bytes_of(i)) for i in range(4, len(self.words.tokens))]
        return [i for i, each in tokens if each.startswith(wanted) or wanted.startswith(each)]

    def written(self, before: str, tokens: list[tuple[int, int]]) -> str:
        """The text of new tokens after the text of their document so far."""
        between = self.border or "\n"
        if self.words.kind in ("word", "space"):
            old = [self.words.tokens[i] for i in self.words.encode(before)][-64:]
            spaced, parts = bool(old) and not before[-1:].isspace(), list[str]()
            for part in documents([token for token, _ in tokens]):
                new = [self.words.tokens[i] for i in part]
                parts.append(self.added(old, new, spaced))
                old, spaced = [], False
            return between.join(parts)
        chunks = [b""]
        for token, n_repeated in tokens:
            if token == END:
                chunks.append(b"")
            else:
                chunks[-1] += self.words.bytes_of(token)[n_repeated:]
        return between.join(chunk.decode("utf-8", "replace") for chunk in chunks)

    def added(self, old: list[str], new: list[str], spaced: bool) -> str:
        """What new words add to the text of the old ones."""
        join = join_words if self.words.kind == "word" else " ".join
        whole, place = join([*old, *new]), 0
        for word in old:
            place += whole.startswith(" ", place) + len(word)
        return whole[place:] if spaced or not old else whole[place:].removeprefix(" ")


APOSTROPHES = ("'", "\u2019")


def in_word(character: str) -> bool:
    """Whether a character is part of a word."""
    return bool(character) and (
        character in APOSTROPHES or unicodedata.category(character)[0] in "LMN"
    )


def documents(tokens: list[int]) -> list[list[int]]:
    """Tokens, divided at the ends of documents."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == END:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def runs(ids: list[int], restart: bool) -> list[list[int]]:
    """Tokens in parts that are read at once; with `restart`, each document begins a part."""
    parts: list[list[int]] = [[]]
    for id_ in ids:
        if len(parts[-1]) == 256 or (restart and id_ == END and parts[-1]):
            parts.append([])
        parts[-1].append(id_)
    return parts


def log_softmax(logits: Any) -> Any:
    """Log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def draw(log_probs: Any, temperature: float, top_k: int, top_p: float, uniforms: Any) -> int:
    """A random place, from softmax(log_probs / temperature), restricted to top_k and top_p."""
    if not temperature:
        return int(log_probs.argmax())
    sharpened, uniform = log_probs.astype(np.float64) / temperature, uniforms.random()
    order = np.arange(len(sharpened))
    if 0 < top_k < len(sharpened) or top_p < 1:
        order = np.argsort(-sharpened, kind="stable")[: top_k or len(sharpened)]
    powers = np.exp(sharpened[order] - sharpened.max())
    cumulative = np.cumsum(powers / powers.sum())
    before = np.concatenate([[0.0], cumulative[:-1]])
    last = int((before < top_p).sum()) - 1 if top_p < 1 else len(order) - 1
    place = int(np.searchsorted(cumulative, uniform * cumulative[last], side="right"))
    return int(order[min(place, last)])


if __name__ == "__main__":
    model = Model()
    for line in sys.argv[1:] or sys.stdin:
        line = line.rstrip("\n")
        if model.reads_back:
            print(f"{np.mean(model.score(line) or [0.0]):.4f}")
        else:
            print(model.generate(line, temperature=0))
