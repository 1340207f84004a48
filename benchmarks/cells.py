"""Compare RNN, GRU and LSTM with the same number of parameters on the same text: a table and curves.

    python benchmarks/cells.py --data input.txt --out runs/cells [--minutes 1.5] [--parameters 350000]

Each cell gets the width closest to the number of parameters, the same training time, and the best of the
learning rates by validation loss. Run nothing else on the machine; runs are trained one after another.
Finished runs in --out are not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import unrolled
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.training.loop import Run

Cell = Literal["rnn", "gru", "lstm"]

CELLS: tuple[Cell, ...] = ("rnn", "gru", "lstm")
COLOURS = {"rnn": "#999999", "gru": "#0072b2", "lstm": "#d55e00"}
N_WORDS = 69
"""Vocabulary of tinyshakespeare with the four special tokens; the width hardly depends on it."""


def n_parameters(config: LanguageModelConfig) -> int:
    return sum(parameter.numel() for parameter in LanguageModel(config, N_WORDS).parameters())


def model_of(cell: Cell, wanted: int) -> LanguageModelConfig:
    """The model with the number of parameters closest to `wanted`; its width is a multiple of 8."""
    candidates = (
        LanguageModelConfig(cell=cell, embedding_size=64, hidden_size=size, output_rate=0.1)
        for size in range(64, 1025, 8)
    )
    return min(candidates, key=lambda config: abs(n_parameters(config) - wanted))


def events_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="text file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--figure", type=Path, default=Path("cells.png"), help="image file for the curves"
    )
    parser.add_argument("--minutes", type=float, default=1.5, help="training time of each run")
    parser.add_argument(
        "--parameters", type=int, default=350_000, help="number of parameters of each model"
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-3, 4e-3], help="learning rates to try"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    runs: dict[str, list[tuple[float, float, Run]]] = {}
    for cell in CELLS:
        model = model_of(cell, arguments.parameters)
        for rate in arguments.rates:
            recipe = unrolled.Recipe(
                task="language_model",
                seed=arguments.seed,
                data=StreamConfig(
                    train=(arguments.data,), valid_share=0.1, test_share=0.0, n_rows=32, k1=64
                ),
                text=unrolled.TextConfig(kind="char"),
                model=model,
                training=unrolled.TrainingConfig(
                    max_minutes=arguments.minutes,
                    learning_rate=rate,
                    schedule="linear",
                    warmup_steps=50,
                    evaluate_every_n_steps=250,
                ),
            )
            folder = arguments.out / f"{cell}-{rate:g}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            run = unrolled.train(recipe, folder, resume=folder.exists())
            assert run.best is not None
            bits = run.best.scores["bits_per_character"]
            runs.setdefault(cell, []).append((bits, rate, run))
            print(f"{cell:4} learning rate {rate:g}: {bits:.3f} bits per character", flush=True)
    print("\ncell  width  parameters  rate   characters/s  read, millions  bits per character")
    figure, (by_characters, by_minutes) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    for cell in CELLS:
        bits, rate, run = min(runs[cell], key=lambda run_of_rate: run_of_rate[0])
        model, events = model_of(cell, arguments.parameters), events_of(run.folder)
        speeds = sorted(e["tokens_per_second"] for e in events if "tokens_per_second" in e)
        evaluations = [e for e in events if e["event"] == "evaluated"]
        per_step = 32 * 64 / 1e6
        print(
            f"{cell:4}  {model.hidden_size:5}  {n_parameters(model):10,}  {rate:<5g}  "
            f"{speeds[len(speeds) // 2]:12,.0f}  {run.steps * per_step:14.1f}  {bits:.3f}"
        )
        curve = [e["scores"]["bits_per_character"] for e in evaluations]
        by_characters.plot(
            [e["step"] * per_step for e in evaluations], curve, color=COLOURS[cell], label=cell
        )
        by_minutes.plot(
            [e["seconds"] / 60 for e in evaluations], curve, color=COLOURS[cell], label=cell
        )
    by_characters.set(xlabel="characters read (millions)", ylabel="held-out bits per character")
    by_minutes.set(xlabel="minutes")
    by_minutes.legend(frameon=False)
    for axes in (by_characters, by_minutes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(top=3.0)
    figure.tight_layout()
    figure.savefig(arguments.figure, dpi=150)
    print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    main()
