"""Compare updates in float32 and bfloat16 on one core: a translator and language models.

    OMP_NUM_THREADS=1 python benchmarks/training_bfloat16.py [--models translation words] [--rounds 9]

The sizes are those of recipes/translate-tatoeba.toml (1,024 tokens an update), of a model of 20,000 words
with 512 units, with and without tied weights, and of recipes/chars-shakespeare.toml. An update is the
loss, its gradients, clipping and AdamW. The runs alternate; beside language models without tied weights
runs the same model in plain PyTorch (`language.py`). Times are those of the thread on its core, so that
the time of other processes does not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from language import Plain
from unrolled.shapes import Padded
from unrolled.tasks import language_model
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.tasks.seq2seq import TranslateConfig, Translator
from unrolled.text.corpus.windows import Windows
from unrolled.training.config import TrainingConfig
from unrolled.training.optimizer import build_optimiser, scale_and_clip

Loss = Callable[[], tuple[Tensor, int]]


def translation() -> tuple[int, dict[str, tuple[torch.nn.Module, Loss]]]:
    """The number of target tokens, and our model with its loss on one batch of random sentences."""
    model, drawn = Translator(TranslateConfig(), 8000, 8000).train(), np.random.default_rng(1)
    lengths = [int(n) for n in drawn.integers(8, 13, 86)]

    def sentences() -> list[list[int]]:
        return [[int(word) for word in drawn.integers(4, 8000, n)] for n in lengths]

    source = Padded.from_rows([[*words, 3] for words in sentences()])
    written = sentences()
    target = Padded.from_rows([[2, *words] for words in written])
    right = torch.tensor(list(chain.from_iterable([*words, 3] for words in written)))

    def loss() -> tuple[Tensor, int]:
        return model.head.loss(model(source, target).hidden[target.mask], right, 0.1)

    return len(right), {"ours": (model, loss)}


def language(
    config: LanguageModelConfig, n_words: int, n_rows: int, n_steps: int
) -> tuple[int, dict[str, tuple[torch.nn.Module, Loss]]]:
    """The number of tokens, and our model, and the plain one unless weights are tied."""
    ours = LanguageModel(config, n_words).train()
    ids = np.random.default_rng(1).integers(4, n_words, n_rows * n_steps + 1, np.uint32)
    batch = language_model.collate(Windows(ids, n_rows, n_steps)[0])
    state = ours.start(n_rows)
    models: dict[str, tuple[torch.nn.Module, Loss]] = {
        "ours": (ours, lambda: language_model.loss(ours, batch, state)[:2])
    }
    if not config.tied:
        sizes = config.embedding_size, config.hidden_size
        plain = Plain(ours, config.cell, n_words, *sizes)
        models["plain"] = (
            plain,
            lambda: (plain.loss(batch.inputs, batch.targets, None)[0], batch.targets.numel()),
        )
    return n_rows * n_steps, models


MODELS: dict[str, Callable[[], tuple[int, dict[str, tuple[torch.nn.Module, Loss]]]]] = {
    "translation": translation,
    "words": lambda: language(
        LanguageModelConfig(embedding_size=512, hidden_size=512, tied=True), 20_000, 40, 50
    ),
    "words, not tied": lambda: language(
        LanguageModelConfig(embedding_size=512, hidden_size=512), 20_000, 40, 50
    ),
    "characters": lambda: language(
        LanguageModelConfig(embedding_size=64, hidden_size=512), 65, 32, 96
    ),
}


def updater(model: torch.nn.Module, loss: Loss, in_bfloat16: bool) -> Callable[[], float]:
    """A function that updates the model once, and returns the seconds of the thread."""
    optimiser = build_optimiser(TrainingConfig(max_steps=1), model)

    def update() -> float:
        start = time.thread_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            total, count = loss()
        total.backward()
        scale_and_clip(list(model.parameters()), 1 / count, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return time.thread_time() - start

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=9, help="measured updates of each run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread; tokens/s, medians of {arguments.rounds} rounds")
    for name in arguments.models:
        torch.manual_seed(1)
        n_tokens, models = MODELS[name]()
        runs = {
            f"{whose} {'bfloat16' if in_bfloat16 else 'float32'}": updater(*given, in_bfloat16)
            for whose, given in models.items()
            for in_bfloat16 in (False, True)
        }
        for update in runs.values():
            update()
        samples: dict[str, list[float]] = {run: [] for run in runs}
        for _ in range(arguments.rounds):
            for run, update in runs.items():
                samples[run].append(update())
        speeds = {run: n_tokens / statistics.median(seconds) for run, seconds in samples.items()}
        print(f"{name}: " + ", ".join(f"{run} {v:,.0f}" for run, v in speeds.items()), flush=True)


if __name__ == "__main__":
    main()
