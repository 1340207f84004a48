"""Measure the latency and the saved keystrokes of completion while a held-out text is typed.

    python benchmarks/completion.py RUN --data FILE [--characters 20000] [--k 3] [--precision int8]
    python benchmarks/completion.py --random-words 20000 --units 512

At every position the best k completions are shown. If one of them is the continuation of the text up to
the end of a word, it is accepted with one keystroke, provided that this saves keystrokes. Everything
else, including spaces and punctuation, is typed. The time of a keystroke is the time to read one
character (or the rest of an accepted word) and to rank the next completions, on one thread by default.
With `--random-words`, an LSTM with random weights and made-up words is timed in place of a run.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import unrolled
from unrolled.decoding.text_session import TextSession
from unrolled.decoding.word_completion import in_word
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer


def rest_of(text: str, place: int, completion, by_word: bool) -> str:
    """The text that a completion adds, if it matches the text and ends at the end of a word, or ""."""
    rest = completion.text[len(completion.typed) :]
    end = place + len(rest)
    following = text[end : end + 1]
    ends = not following or (following.isspace() if by_word else not in_word(following))
    return rest if ends and text.startswith(rest, place) else ""


def type_out(session: TextSession, text: str, k: int, by_word: bool, clock=time.perf_counter):
    """Yield the number of characters and the seconds of each keystroke."""
    place, completions = 0, session.complete(k)
    while place < len(text):
        rests = (rest_of(text, place, completion, by_word) for completion in completions)
        accepted = max(rests, key=len, default="")
        written = accepted if len(accepted) > 1 else text[place]
        tick = clock()
        session.feed(written)
        completions = session.complete(k)
        yield len(written), clock() - tick
        place += len(written)


def drawn(n_words: int, n_units: int, n_characters: int) -> tuple[TextSession, str]:
    """A model with random weights that has read nothing, and a text of its words.

    Args:
        n_words: size of the vocabulary; words have 1 to 12 letters, distributed as in English.
        n_units: width of the embedding and of the recurrent layer.
        n_characters: length of the text.
    """
    draw = np.random.default_rng(1)
    letters, shares = list("etaoinshrdlucmfwypvbgkjqxz"), 1 / np.arange(2, 28)
    words: dict[str, None] = {}
    while len(words) < n_words - 4:
        length = min(12, 1 + draw.poisson(4.5))
        words["".join(draw.choice(letters, length, p=shares / shares.sum()))] = None
    tokenizer = Tokenizer.train([" ".join(words)], TextConfig(kind="word", vocab_size=n_words))
    config = LanguageModelConfig(cell="lstm", embedding_size=n_units, hidden_size=n_units)
    model = LanguageModel(config, len(tokenizer)).eval()
    ranks = draw.zipf(1.2, n_characters)
    text = " ".join(list(words)[rank % len(words)] for rank in ranks)
    return TextSession(model, tokenizer), text[:n_characters]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", help="run folder of a language model")
    parser.add_argument("--data", help="text file to type, UTF-8")
    parser.add_argument("--random-words", type=int, help="vocabulary size, in place of a run")
    parser.add_argument("--units", type=int, default=512, help="width with --random-words")
    parser.add_argument(
        "--characters", type=int, default=20_000, help="number of characters to type"
    )
    parser.add_argument("--k", type=int, default=3, help="number of completions shown")
    parser.add_argument("--precision", default="float32", help="weight precision")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--processor-time", action="store_true", help="measure it, as on a busy machine"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.random_words:
        session, text = drawn(arguments.random_words, arguments.units, arguments.characters)
    else:
        model = unrolled.load(arguments.run, precision=arguments.precision)
        if not isinstance(model, unrolled.LanguagePredictor):
            raise SystemExit(f"{arguments.run} is not a language model; give the run folder of one")
        session = model.continuation()
        with open(arguments.data, encoding="utf-8") as file:
            text = file.read(arguments.characters)
    by_word = session.tokenizer.kind in ("word", "space")
    clock = time.process_time if arguments.processor_time else time.perf_counter
    keys = list(type_out(session, text, arguments.k, by_word, clock))
    seconds = np.array([taken for _, taken in keys])
    median, late, worst = (1e3 * np.percentile(seconds, share) for share in (50, 99, 100))
    print(
        f"{len(keys):,} keystrokes for {len(text):,} characters: {1 - len(keys) / len(text):.1%} saved "
        f"with {arguments.k} completions"
    )
    print(
        f"time per keystroke: median {median:.2f} ms, 99th percentile {late:.2f} ms, maximum "
        f"{worst:.1f} ms; {arguments.threads} thread(s), {arguments.precision}"
    )


if __name__ == "__main__":
    main()
