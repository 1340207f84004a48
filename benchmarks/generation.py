"""Measure generation with language models: in one call of the kernels, and step by step.

    python benchmarks/generation.py [RUN …] [--drawn char word] [--tokens 200] [--rounds 7] [--threads 1]

A run may also be a model with random weights: `char`, two LSTMs of 256 units over 60 characters, or
`word`, an LSTM of 512 units over 20,000 words. All take turns in one process. Prints tokens per second of
processor time, the most of all rounds, only if the texts are the same.
"""

from __future__ import annotations

import argparse
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import unrolled
from unrolled.decoding.model_steps import ModelSteps
from unrolled.decoding.text_session import TextSession
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

WAYS: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0},
    "temperature 0.8": {"temperature": 0.8},
    "top_k 40": {"top_k": 40},
    "top_p 0.9": {"top_p": 0.9},
}


@contextmanager
def step_by_step() -> Iterator[None]:
    """Generate without the kernels' generation, but with their recurrent steps."""
    quick = ModelSteps.quick
    ModelSteps.quick = lambda self, state, is_long: (self.prepared(), state)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ModelSteps.quick = quick  # type: ignore[method-assign]


def drawn(name: str) -> TextSession:
    """A session with random weights, by the name of the model."""
    if name == "char":
        written = (string.ascii_letters + ".,;:!? ")[:56]
        tokenizer = Tokenizer.train([written], TextConfig(kind="char"), running=True)
        settings: dict[str, Any] = {"hidden_size": 256, "n_layers": 2, "embedding_size": 128}
    else:
        words = " ".join(f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in range(340))
        tokenizer = Tokenizer.train([words], TextConfig(kind="space", vocab_size=20_000))
        settings = {"hidden_size": 512, "embedding_size": 512}
    torch.manual_seed(1)
    model = LanguageModel(LanguageModelConfig(cell="lstm", **settings), len(tokenizer)).eval()
    # Where thousands of words are equally probable, rounding decides about their order.
    torch.nn.init.normal_(model.head.weight)  # type: ignore[arg-type]
    return TextSession(model, tokenizer)


def measure(session: TextSession, n_tokens: int, n_rounds: int) -> None:
    """Print the tokens per second of each way, one call and step by step in turn."""
    for way, settings in WAYS.items():
        seconds: dict[bool, list[float]] = {True: [], False: []}
        texts = set[str]()
        for _ in range(n_rounds):
            for is_quick, taken in seconds.items():
                began = time.process_time()
                if is_quick:
                    texts.add("".join(session.generate(n_tokens, **settings)))
                else:
                    with step_by_step():
                        texts.add("".join(session.generate(n_tokens, **settings)))
                taken.append(time.process_time() - began)
        if len(texts) > 1:
            raise SystemExit(f"{way}: different texts: {texts}")
        one_call, steps = (n_tokens / min(taken) for taken in seconds.values())
        print(
            f"  {way:<16} {one_call:7,.0f} tokens/s in one call, {steps:7,.0f} step by step: "
            f"{one_call / steps:.1f} times as many"
        )


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="run folders of language models")
    parser.add_argument("--drawn", nargs="*", choices=["char", "word"], default=["char", "word"])
    parser.add_argument("--prompt", default="the ", help="text that is read first")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sessions = {name: drawn(name) for name in arguments.drawn}
    sessions |= {run: unrolled.load_language_model(run).continuation() for run in arguments.runs}
    for name, session in sessions.items():
        session.feed(arguments.prompt)
        print(name)
        measure(session, arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
