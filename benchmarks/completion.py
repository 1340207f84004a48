"""Somebody types a held-out text: what each keystroke waits for, and how many of them are saved.

    python benchmarks/completion.py RUN --data FILE [--characters 20000] [--k 3] [--precision int8]

At every place the best k completions are shown. As soon as one of them is what the text goes on with,
up to the end of a word, it is taken with one keystroke, where that saves any; everything else, spaces
and punctuation too, is typed. A keystroke's time is reading one character (or the rest of an accepted
word) and ranking the next completions, on one thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import unrolled
from unrolled.decoding.text_session import TextSession
from unrolled.decoding.word_completion import in_word


def rest_of(text: str, place: int, completion, by_word: bool) -> str:
    """What the completion would write, where the text goes on just so, and there ends a word."""
    rest = completion.text[len(completion.typed) :]
    end = place + len(rest)
    following = text[end : end + 1]
    ends = not following or (following.isspace() if by_word else not in_word(following))
    return rest if ends and text.startswith(rest, place) else ""


def type_out(continuation: TextSession, text: str, k: int, by_word: bool):
    """Yield for each keystroke the characters that it wrote, and the seconds that it took."""
    place, shown = 0, continuation.complete(k)
    while place < len(text):
        rests = (rest_of(text, place, completion, by_word) for completion in shown)
        accepted = max(rests, key=len, default="")
        written = accepted if len(accepted) > 1 else text[place]
        tick = time.perf_counter()
        continuation.feed(written)
        shown = continuation.complete(k)
        yield len(written), time.perf_counter() - tick
        place += len(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--data", required=True, help="the text to type, UTF-8")
    parser.add_argument("--characters", type=int, default=20_000)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = unrolled.load(arguments.run, precision=arguments.precision)
    if not isinstance(model, unrolled.LanguagePredictor):
        raise SystemExit(f"{arguments.run} is no language model; give the run of one")
    with open(arguments.data, encoding="utf-8") as file:
        text = file.read(arguments.characters)
    by_word = model.recipe.text.kind in ("word", "space")
    keys = list(type_out(model.continuation(), text, arguments.k, by_word))
    seconds = np.array([its for _, its in keys])
    median, late, worst = (1e3 * np.percentile(seconds, share) for share in (50, 99, 100))
    print(
        f"{len(keys):,} keystrokes for {len(text):,} characters: {1 - len(keys) / len(text):.1%} saved "
        f"by the best {arguments.k}"
    )
    print(
        f"a keystroke takes {median:.2f} ms (median), {late:.2f} ms (99th percentile), {worst:.1f} ms "
        f"(longest), {arguments.threads} thread(s), {arguments.precision}"
    )


if __name__ == "__main__":
    main()
