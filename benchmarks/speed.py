"""Measure the speed of training and decoding of the translation task on this machine.

    python benchmarks/speed.py --data train.tsv --columns en es [--run RUN --test test.tsv]

Training: target tokens per second for three batch sizes (`max_tokens`), in alternating rounds; the median
of the rounds is printed. The same for training with copying (`model.copying = "pointer"`) and without.
Decoding with a trained run: beam 5, in batches of 100 sentences and one sentence at a time. Before
anything is measured, the fast implementations are compared with plain ones.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from unrolled.decoding.config import DecodingConfig
from unrolled.ops.linear import product, why_not_onednn
from unrolled.predictors.load import load
from unrolled.predictors.seq2seq import Predictor
from unrolled.samples.phrasebook.generator import generate, write
from unrolled.shapes import Padded
from unrolled.tasks.seq2seq import TranslateConfig, Translator
from unrolled.tasks.translate import TASK
from unrolled.text.batching import batches
from unrolled.text.config import TextConfig
from unrolled.text.readers import read_rows
from unrolled.text.splits import DataConfig
from unrolled.training.config import TrainingConfig
from unrolled.training.dataset import PreparedRows
from unrolled.training.kinds import prepare
from unrolled.training.optimizer import build_optimiser, scale_and_clip
from unrolled.training.recipe import Recipe

BUDGETS = (512, 1024, 2048)
ROUNDS, WARM_UP, UPDATES = 3, 3, 20


def disagreement() -> str | None:
    """A message if matrix products or decoding steps are wrong on this machine, or None."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 257, generator=generator) for n in (131, 67))
    exact = a.double() @ b.double().t()
    error = ((product(a, b) - exact).abs().max() / exact.abs().max()).item()
    plain = ((a @ b.t() - exact).abs().max() / exact.abs().max()).item()
    if error > max(2 * plain, 1e-6):
        return f"matrix product: relative error {error:.1e}, torch's is {plain:.1e}"
    torch.manual_seed(1)
    model = Translator(TranslateConfig(dropout_rate=0.0), 101, 103).eval()
    source = Padded.from_rows([[5, 6, 7, 3], [8, 3]])
    target = Padded.from_rows([[2, 9, 10], [2, 11, 12]])
    logits_BTV = model.head.logits(model(source, target).hidden)
    state = model.encode(source)
    for t in range(3):
        stepped_BQV, state, _ = model.step(target.values[:, t : t + 1], state)
        error = (stepped_BQV[:, 0] - logits_BTV[:, t]).abs().max().item()
        if error > 1e-5:
            return f"decoding step {t} differs from teacher forcing by {error:.1e}"
    return None


def updates(prepared: PreparedRows, recipe: Recipe, max_tokens: int) -> Iterator[tuple[int, float]]:
    """Train on one batch after another; yield the target tokens and seconds of each update."""
    torch.manual_seed(1)
    model = TASK.build(recipe.model, prepared.tokenizers).train()
    optimiser = build_optimiser(recipe.training, model)
    parameters = list(model.parameters())
    for indices in batches(prepared.train.lengths, max_tokens, seed=1):
        start = time.perf_counter()
        batch = TASK.collate([prepared.train.examples[index] for index in indices])
        loss, count = TASK.loss(model, batch)
        loss.backward()
        scale_and_clip(parameters, 1 / count, recipe.training.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        yield batch.n_tokens, time.perf_counter() - start


def training_speed(data: tuple[str, ...], columns: tuple[str, ...]) -> None:
    """Print target tokens per second for each batch size, and with copying."""
    recipe = Recipe(
        data=DataConfig(train=data, columns=columns),
        text=TextConfig(),
        model=TranslateConfig(),
        training=TrainingConfig(max_steps=1),
    )
    prepared = prepare(recipe, TASK)
    assert isinstance(prepared, PreparedRows)
    rates: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    per_update: dict[int, float] = {}
    for _ in range(ROUNDS):
        for budget in BUDGETS:
            timed = list(islice(updates(prepared, recipe, budget), WARM_UP + UPDATES))[WARM_UP:]
            n_tokens = sum(n for n, _ in timed)
            rates[budget].append(n_tokens / sum(seconds for _, seconds in timed))
            per_update[budget] = n_tokens / UPDATES
    for budget, speeds in rates.items():
        rounds = ", ".join(f"{speed:,.0f}" for speed in speeds)
        print(
            f"training, max_tokens {budget}: {statistics.median(speeds):,.0f} target tokens/s "
            f"({per_update[budget]:,.0f} per update; rounds {rounds})"
        )
    copying_speed(recipe)


def copying_speed(recipe: Recipe) -> None:
    """Print target tokens per second of training with and without copying, in alternating rounds."""
    prepared = {}
    for copying in ("none", "pointer"):
        chosen = replace(recipe, model=TranslateConfig(copying=copying))
        data = prepare(chosen, TASK)
        assert isinstance(data, PreparedRows)
        prepared[copying] = chosen, data
    rates: dict[str, list[float]] = {copying: [] for copying in prepared}
    for _ in range(ROUNDS):
        for copying, (chosen, data) in prepared.items():
            timed = list(islice(updates(data, chosen, 1024), WARM_UP + UPDATES))[WARM_UP:]
            rates[copying].append(sum(n for n, _ in timed) / sum(seconds for _, seconds in timed))
    for copying, speeds in rates.items():
        rounds = ", ".join(f"{speed:,.0f}" for speed in speeds)
        print(
            f"training, max_tokens 1024, copying {copying!r}: {statistics.median(speeds):,.0f} target "
            f"tokens/s (rounds {rounds})"
        )


def decoding_speed(run: Path, test: Path, columns: tuple[str, ...]) -> None:
    """Print sentences per second in batches of 100, and the time of one sentence."""
    predictor = load(run)
    if not isinstance(predictor, Predictor):
        raise SystemExit(f"{run} is not a translation run; give one with --run")
    texts = [row.texts[0] for row in read_rows((str(test),), columns or None, 2)]
    decoding = DecodingConfig(method="beam", beam_size=5, length_penalty=1.0)
    predictor.predict(texts[:100], decoding)
    together = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        predictor.predict(texts, decoding)
        together.append(len(texts) / (time.perf_counter() - start))
    alone = []
    for text in texts[:200]:
        start = time.perf_counter()
        predictor.predict([text], decoding)
        alone.append(time.perf_counter() - start)
    print(f"beam 5, batches of 100: {statistics.median(together):,.0f} sentences/s")
    print(
        f"beam 5, one sentence at a time: median {statistics.median(alone) * 1e3:.1f} ms, "
        f"mean {statistics.mean(alone) * 1e3:.1f} ms"
    )


def main() -> int:
    """Parse the command line and run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", nargs="+", default=[], help="training data; by default the phrasebook"
    )
    parser.add_argument("--columns", nargs=2, default=[], help="source and target column")
    parser.add_argument("--run", type=Path, help="run folder of a trained model, for decoding")
    parser.add_argument(
        "--test", type=Path, help="file of sentences to decode, with the same columns"
    )
    options = parser.parse_args()
    problem = disagreement()
    if problem:
        print(f"nothing is measured: {problem}", file=sys.stderr)
        return 1
    products = why_not_onednn() or "oneDNN"
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, matrix products: {products}"
    )
    data, columns = tuple(options.data), tuple(options.columns)
    if not data:
        folder = Path("demo/phrasebook")
        write(folder, generate())
        data, columns = (str(folder / "train.tsv"),), ("en", "es")
    training_speed(data, columns)
    if options.run and options.test:
        decoding_speed(options.run, options.test, columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
