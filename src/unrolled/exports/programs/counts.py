"""N-grams of tokens that are counted beside the network: the weight of each one that occurs is added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class Counts:
    """The counted n-grams of each text of an input, and their weights.

    Args:
        file: `ngrams.safetensors`.
    """

    def __init__(self, file: Path) -> None:
        arrays = read_arrays(file.read_bytes())
        self.bias, self.weights = arrays["bias"], arrays["weights"]
        sides = [name for name in arrays if name.startswith("tokens.")]
        self.tokens, self.keys = list[dict[str, int]](), list[list[Any]]()
        for side in range(len(sides)):
            text = arrays[f"tokens.{side}"].tobytes().decode("utf-8", "surrogatepass")
            self.tokens.append({token: index for index, token in enumerate(json.loads(text))})
            longest = sum(name.startswith(f"keys.{side}.") for name in arrays)
            self.keys.append([arrays[f"keys.{side}.{n}"] for n in range(2, longest + 2)])

    def indices(self, side: int, tokens: list[str]) -> list[int]:
        """The index of each token; -1 for one that is not counted."""
        return [self.tokens[side].get(token, -1) for token in tokens]

    def scores(self, texts: list[list[int]], sides: range) -> Any:
        """The scores of the labels for the tokens of each text; only some texts are read."""
        scores, first = self.bias.copy(), 0
        for side, tokens in enumerate(texts):
            if side in sides:
                scores += self.weights[
                    :, [first + index for index in self.there(side, tokens)]
                ].sum(1)
            first += len(self.tokens[side]) + sum(map(len, self.keys[side]))
        return scores

    def there(self, side: int, tokens: list[int]) -> list[int]:
        """The n-grams that occur, each once."""
        found = {index for index in tokens if index >= 0}
        grams, offset = tokens, len(self.tokens[side])
        for n, keys in enumerate(self.keys[side], start=2):
            longer = []
            for gram, last in zip(grams, tokens[n - 1 :], strict=False):
                key = gram * len(self.tokens[side]) + last
                place = int(np.searchsorted(keys, key))
                is_counted = gram >= 0 and last >= 0 and place < len(keys) and keys[place] == key
                longer.append(place if is_counted else -1)
            found.update(offset + place for place in longer if place >= 0)
            grams, offset = longer, offset + len(keys)
        return sorted(found)


def read_arrays(content: bytes) -> dict[str, Any]:
    """The arrays of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    kinds = {"F64": "<f8", "I64": "<i8", "U8": "u1"}
    arrays = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = (8 + size + place for place in entry["data_offsets"])
            array = np.frombuffer(content[start:end], kinds[entry["dtype"]])
            arrays[name] = array.reshape(entry["shape"])
    return arrays
