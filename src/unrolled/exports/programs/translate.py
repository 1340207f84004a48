"""Translate sentences with this model, by beam search.

    pip install numpy onnxruntime tokenizers
    python infer.py "A sentence."            or: python infer.py < sentences.txt

In Python: `infer.Model().predict(["A sentence."])`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from unrolled.exports.programs.words import BEGIN, END, PADDING, Words

FOLDER = Path(__file__).parent
Hypothesis = tuple[float, list[int]]
"""A score, and the ids of the tokens."""


class Model:
    """Both graphs, the vocabularies and the settings of the search."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.settings = json.loads((folder / "generate.json").read_text("utf-8"))
        kinds = self.settings["kinds"]
        self.source = Words(folder / "tokenizer-source.json", kinds["source"])
        self.target = Words(folder / "tokenizer-target.json", kinds["target"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step is too small for more
        self.encoder, self.step = (
            onnxruntime.InferenceSession((folder / f"{name}.onnx").read_bytes(), options)
            for name in ("encoder", "step")
        )
        self.step_inputs = [each.name for each in self.step.get_inputs()]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """The best translation of each text, its score, and the n best."""
        found = []
        for text in texts:
            ids, most = self.source.encode(text), self.settings["max_input_length"]
            words, ids = self.source.written(text, ids)[:most], ids[:most]
            best = self.search([*ids, END], words) if ids else [(0.0, [])]
            answers = [
                {"text": self.target.decode(each, words), "score": score} for score, each in best
            ]
            found.append({**answers[0], "answers": answers})
        return found

    def search(self, source: list[int], words: list[str]) -> list[Hypothesis]:
        """The n best hypotheses, best first; id V + s is the word at step s of the source."""
        ratio, extra = (
            np.float32(self.settings["max_length_ratio"]),
            self.settings["max_length_extra"],
        )
        limit = max(int(np.float32(len(source)) * ratio) + extra, self.settings["min_length_limit"])
        k, n_best = self.settings["beam_size"], self.settings["n_best"]
        tokens: list[list[int]] = [[]]
        totals, last, greedy = np.zeros(1, np.float32), np.array([BEGIN]), 0
        state, best = self.begin(source, words), list[Hypothesis]()
        longest = penalty(limit, self.settings["length_penalty"])
        for step in range(limit):
            logits, state = self.advance(last, state)
            log_probs = log_softmax(logits)
            ends = log_probs[:, END].copy()
            log_probs[:, [PADDING, BEGIN]] = -np.inf
            following = log_probs[greedy].argmax() if greedy >= 0 else END
            log_probs[:, END] = -np.inf
            divisor = penalty(step + 1, self.settings["length_penalty"])
            if k == 1:  # greedy: the end of the sentence competes with the other tokens
                over = following == END or step + 1 == limit
                totals = totals + (ends if following == END else log_probs[:, following])
                tokens = [tokens[0] if following == END else [*tokens[0], int(following)]]
                last = np.array([following])
                if over:
                    return [(float(totals[0]) / divisor, tokens[0])]
                continue
            ended = totals + ends
            best += [(float(end) / divisor, each) for end, each in zip(ended, tokens, strict=True)]
            best = sorted(best, key=lambda one: -one[0])[:n_best]
            places, totals = largest(totals[:, None] + log_probs, k)
            parents, last = np.divmod(places, log_probs.shape[1])
            # The greedy path stays, so that the result is never worse than that of greedy decoding.
            if following == END:
                greedy = -1
            else:
                is_it = (parents == greedy) & (last == following)
                slot = int(is_it.argmax()) if is_it.any() else len(places) - 1
                total = ended[greedy] - ends[greedy] + log_probs[greedy, following]
                parents[slot], last[slot], totals[slot], greedy = greedy, following, total, slot
            tokens = [[*tokens[p], int(t)] for p, t in zip(parents, last, strict=True)]
            if step + 1 == limit:
                best += [(float(t) / divisor, each) for t, each in zip(totals, tokens, strict=True)]
                break
            # Log-probabilities only fall: others can no longer be among the n best.
            least = best[-1][0] * longest if len(best) == n_best else -np.inf
            n_useful = int((totals > least).sum())
            if not n_useful:
                break
            tokens, totals, last = tokens[:n_useful], totals[:n_useful], last[:n_useful]
            state = self.reordered(state, parents[:n_useful])
            greedy = greedy if greedy < n_useful else -1
        return sorted(best, key=lambda one: -one[0])[:n_best]

    def begin(self, source: list[int], words: list[str]) -> dict[str, Any]:
        """The inputs of the first step."""
        names = [output.name for output in self.encoder.get_outputs()]
        state = dict(
            zip(names, self.encoder.run(names, {"source": np.array([source])}), strict=True)
        )
        for name in state:
            if name.startswith("state_"):
                state[name] = state[name][:, None]
        if "feed" in self.step_inputs:
            width = next(each.shape[2] for each in self.step.get_inputs() if each.name == "feed")
            state["feed"] = np.zeros((1, 1, width), np.float32)
        if self.settings["copying"]:
            n_words = len(self.target.tokens)
            known = [self.target.look_up(word) for word in words]
            places = [
                i if i > 3 else n_words + words.index(w) for i, w in zip(known, words, strict=True)
            ]
            state["writes"] = np.array([[*places, END]])
        return state

    def advance(self, last: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The scores after one more token of each hypothesis, and the inputs of the next step."""
        names = [output.name for output in self.step.get_outputs()]
        inputs = {name: state[name] for name in self.step_inputs if name != "token"}
        found = dict(zip(names, self.step.run(names, {"token": last[None], **inputs}), strict=True))
        after = {
            name: found.get(f"next_{name.removeprefix('state_')}", value)
            for name, value in inputs.items()
        }
        return found["logits"][0], after

    def reordered(self, state: dict[str, Any], parents: Any) -> dict[str, Any]:
        """The states of the hypotheses' parents; the memory of the source is shared."""
        shared = ("keys", "values", "bias", "writes")
        return {n: each if n in shared else each[:, parents] for n, each in state.items()}


def log_softmax(logits: Any) -> Any:
    """Log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def largest(values: Any, k: int) -> tuple[Any, Any]:
    """The positions of the k largest numbers of a table, and these numbers, the largest first."""
    flat = values.ravel()
    places = np.argsort(-flat, kind="stable")[:k]
    return places, flat[places]


def penalty(length: int, alpha: float) -> float:
    """The length penalty of Wu et al. 2016, equation 14."""
    return float(((5 + length) / 6) ** alpha)


if __name__ == "__main__":
    model = Model()
    for line in sys.argv[1:] or sys.stdin:
        print(model.predict([line.rstrip("\n")])[0]["text"])
