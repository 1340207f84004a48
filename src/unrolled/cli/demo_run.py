"""The demo: generate data, train with and without attention, translate, plot; in under three minutes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unrolled.baselines.retrieval import RetrievalBaseline
from unrolled.cli.progress import show
from unrolled.decoding.config import DecodingConfig
from unrolled.errors import UnavailableError
from unrolled.inspect.attention import draw_attention, numbered_paths
from unrolled.predictors.load import load_translator
from unrolled.predictors.seq2seq import Evaluation, Predictor, judge
from unrolled.quoting import shell_command
from unrolled.samples.phrasebook.generator import generate, write
from unrolled.tasks.seq2seq import TranslateConfig
from unrolled.tasks.translate import TASK
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig
from unrolled.training.config import TrainingConfig
from unrolled.training.loop import fit
from unrolled.training.recipe import Recipe

_TRY = "The old teacher does not read the books."

N_SHOWN = 12
N_DRAWN = 3


def recipe(data: Path, attention: Literal["additive", "none"], max_steps: int) -> Recipe:
    """The recipe of the demo: small enough for seconds, large enough for the grammar.

    Args:
        data: folder with the three files of the phrasebook.
        attention: value of `model.attention`.
        max_steps: number of updates.
    """
    return Recipe(
        task=TASK.name,
        data=DataConfig(
            train=(str(data / "train.tsv"),),
            valid=(str(data / "valid.tsv"),),
            test=(str(data / "test.tsv"),),
        ),
        text=TextConfig(kind="word", vocab_size=4000),
        model=TranslateConfig(
            embedding_size=96,
            encoder_size=96,
            hidden_size=192,
            attention=attention,
            input_feeding=False,
            dropout_rate=0.0,
            label_smoothing=0.0,
            unknown_rate=0.0,  # all of its words occur in training
        ),
        training=TrainingConfig(
            learning_rate=4e-3,
            schedule="linear",
            warmup_steps=50,
            max_tokens=300,
            max_steps=max_steps,
            evaluate_every_n_steps=max_steps,
            checkpoint_every_n_steps=max_steps,
            valid_sentences=0,
        ),
        decoding=DecodingConfig(method="greedy"),
    )


def run(folder: Path, max_steps: int = 1600) -> None:
    """Train, score, translate and plot; all output is written to `folder`.

    Args:
        folder: output folder, created if missing; runs of an earlier demo in it are replaced.
        max_steps: number of updates of each of the two models.
    """
    console = Console(soft_wrap=True, highlight=False)
    data = folder / "phrasebook"
    phrasebook = generate()
    write(data, phrasebook)
    test = [
        Row((phrase.source, phrase.target), line) for line, phrase in enumerate(phrasebook.test, 2)
    ]
    console.print(
        f"phrasebook: {len(phrasebook.train):,} training sentences and {len(test):,} test sentences "
        f"whose subject–verb–object combinations do not occur in training ({data})"
    )
    started = time.perf_counter()
    translators = {}
    kinds: tuple[tuple[str, Literal["additive", "none"]], ...] = (
        ("attention", "additive"),
        ("no attention", "none"),
    )
    for name, attention in kinds:
        out = folder / name.replace(" ", "-")
        console.print(f"\n[bold]training with {name}[/bold]")
        chosen = recipe(data, attention, max_steps)
        show(fit(chosen, out, force=True), out, TASK.use, chosen.training)
        translators[name] = load_translator(out)
    training_seconds = time.perf_counter() - started
    evaluations = {name: model.evaluate(test) for name, model in translators.items()}
    retrieval = RetrievalBaseline([(p.source, p.target) for p in phrasebook.train])
    evaluations["nearest phrase"] = judge(
        TASK, test, retrieval.translate([row.texts[0] for row in test])
    )
    console.print(
        f"\ntraining: {training_seconds:.0f} s on up to {torch.get_num_threads()} threads\n"
    )
    console.print(_table(evaluations))
    _show_translations(console, translators["attention"], test[:N_SHOWN])
    _draw(console, translators["attention"], test, folder / "attention.png")
    console.print(
        f"\ntry: {shell_command('unrolled', 'predict', folder / 'attention', _TRY)}",
        markup=False,
        soft_wrap=True,
    )


def _table(evaluations: dict[str, Evaluation]) -> Table:
    first = next(iter(evaluations.values()))
    table = Table(title="BLEU on unseen combinations, by number of words in the English sentence")
    table.add_column("")
    for label, part in first.by_length.items():
        table.add_column(f"{label}\n({part.n_sentences})", justify="right")
    table.add_column(f"all\n({first.total.n_sentences})", justify="right")
    for name, evaluation in evaluations.items():
        parts = [*evaluation.by_length.values(), evaluation.total]
        table.add_row(name, *(f"{part.scores['bleu']:.1f}" for part in parts))
    return table


def _show_translations(console: Console, translator: Predictor, rows: Sequence[Row]) -> None:
    console.print("\nunseen sentences:")
    for row, answer in zip(rows, translator([row.texts[0] for row in rows]), strict=True):
        source, reference = row.texts
        console.print(f"  {source}\n    [bold]{escape(answer)}[/bold]")
        if answer != reference:
            console.print(f"    expected: {reference}")


def _draw(console: Console, translator: Predictor, rows: Sequence[Row], path: Path) -> None:
    chosen = sorted(rows, key=lambda row: abs(len(row.texts[0].split()) - 9))[:N_DRAWN]
    drawn = translator.predict([row.texts[0] for row in chosen], with_attention=True)
    try:
        draw_attention(drawn, path)
        paths = numbered_paths(path, len(drawn))
    except UnavailableError:
        paths = [draw_attention(drawn, path.with_suffix(".html"))]
    console.print(f"\nattention plot: {', '.join(map(str, paths))}")
