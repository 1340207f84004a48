"""A trained run as an object that answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

import torch

from unrolled.config import require
from unrolled.decoding.text_session import Completion, Continuation
from unrolled.decoding.types import DecodingConfig
from unrolled.errors import DataError
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.layers.decoder import AttentionalDecoder
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.ops.stepping import PRECISIONS
from unrolled.predictors.labels import LabelledEvaluation, LabelPredictor
from unrolled.quoting import json_line
from unrolled.tasks.task import AnyTask, LabelTask, Prediction, StreamTask, Task, Tokenizers
from unrolled.text.corpus.corpus import TokenStream, default_cache_folder, open_corpus
from unrolled.text.splits import read_splits
from unrolled.text.readers import Row, read_rows
from unrolled.training.evaluation import predictions
from unrolled.training.loaders import reading, stream_loss
from unrolled.training.dataset import ROLE
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import load_run
from unrolled.training.split_file import check_data, check_part
from unrolled.vectors.evaluation import VectorEvaluation

LENGTHS = ((1, 9), (10, 19), (20, None))
"""Source lengths in words that an evaluation tells apart."""


def load(
    path: str | PathLike[str],
    task: AnyTask | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Predictor | LabelPredictor | LanguagePredictor:
    """Open a run folder.

    Args:
        path: the folder that training wrote.
        task: your own task, where the run was trained with one.
        device: "cpu" or "cuda".
        precision: what single steps keep the recurrent weights as: "float32", "bfloat16" or "int8";
            a step of few rows costs what it must read.

    Raises:
        ConfigError: an unknown precision, or one that this machine or model has no kernels for.
        RunError: the folder or one of its files is missing or damaged; the file is named.

    A phrasebook trained by `unrolled demo`:

        >>> translator = unrolled.load("demo/attention")                        # doctest: +SKIP
        >>> translator("The old teacher does not read the red books.")          # doctest: +SKIP
        'El viejo profesor no lee los libros rojos.'
    """
    run = load_run(path, task, device)
    set_precision(run.model, precision)
    if isinstance(run.task, StreamTask):
        return LanguagePredictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)
    if isinstance(run.task, LabelTask):
        return LabelPredictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)
    return Predictor(run.recipe, run.task, run.tokenizers, run.model, run.folder)


def set_precision(model: torch.nn.Module, precision: str) -> None:
    """Let the single steps of a model's recurrent layers keep their weights as `precision`.

    Raises:
        ConfigError: an unknown precision.
    """
    wanted = f"one of {', '.join(PRECISIONS)}"
    require(precision in PRECISIONS, "precision", wanted, precision)
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            module.precision = precision


def recurrent_precision(model: torch.nn.Module) -> str:
    """What the single steps of a model keep their recurrent weights as."""
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            return module.precision
    return "float32"


@dataclass(frozen=True)
class Scores:
    """How answers compare with references.

    Args:
        n_sentences: how many.
        scores: by name, larger is better.
    """

    n_sentences: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """A run judged on a data set.

    Args:
        total: all sentences.
        by_length: by words of the source, e.g. "10–19"; groups without a sentence are left out.
        signatures: how each score was computed.
        seconds: time to answer, reading and scoring left out.
        answers: the answers, in order.
    """

    total: Scores
    by_length: dict[str, Scores]
    signatures: dict[str, str]
    seconds: float
    answers: list[str]

    def lines(self) -> Iterator[str]:
        """The evaluation as text."""
        rate = self.total.n_sentences / self.seconds if self.seconds else float("inf")
        yield f"{self.total.n_sentences:,} sentences in {self.seconds:.1f} s ({rate:,.0f}/s)"
        for name, value in self.total.scores.items():
            yield f"{name} {value:.2f}   {self.signatures[name]}"
        for label, part in self.by_length.items():
            figures = "  ".join(f"{name} {value:.2f}" for name, value in part.scores.items())
            yield f"  {label} words ({part.n_sentences:,}): {figures}"

    def figures(self) -> dict[str, object]:
        """What a file of results keeps."""
        return {
            "sentences": self.total.n_sentences,
            "seconds": round(self.seconds, 1),
            **self.total.scores,
            "by_length": {label: part.scores for label, part in self.by_length.items()},
            "signatures": self.signatures,
        }


@dataclass(frozen=True)
class StreamEvaluation:
    """A language model judged on a text.

    Args:
        loss: mean, in nats per token.
        n_tokens: how many were predicted, ends of documents included.
        n_characters: of the text.
        scores: by name.
        signatures: how each score was computed.
        seconds: time to read the text.
    """

    loss: float
    n_tokens: int
    n_characters: int
    scores: dict[str, float]
    signatures: dict[str, str]
    seconds: float

    def lines(self) -> Iterator[str]:
        """The evaluation as text."""
        rate = self.n_tokens / self.seconds if self.seconds else float("inf")
        yield (
            f"{self.n_tokens:,} tokens, {self.n_characters:,} characters in {self.seconds:.1f} s "
            f"({rate:,.0f} tokens/s)"
        )
        yield f"loss {self.loss:.4f}   nats per token"
        for name, value in self.scores.items():
            yield f"{name} {value:.3f}   {self.signatures[name]}"

    def figures(self) -> dict[str, object]:
        """What a file of results keeps."""
        return {
            "tokens": self.n_tokens,
            "characters": self.n_characters,
            "seconds": round(self.seconds, 1),
            "loss": self.loss,
            **self.scores,
            "signatures": self.signatures,
        }


class LanguagePredictor:
    """A language model with its vocabulary: text in, its continuation out. Made by `load`.

    Args:
        recipe: what the run was trained with.
        task: its task.
        tokenizers: by role.
        model: the trained module, in evaluation mode.
        folder: the run folder, where there is one.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: StreamTask,
        tokenizers: Tokenizers,
        model: Any,
        folder: Path | None = None,
    ) -> None:
        self.recipe, self.task, self.tokenizers, self.model = recipe, task, tokenizers, model
        self.folder = folder

    def continuation(self) -> Continuation:
        """A new text, of which nothing is written yet; it keeps its state between calls."""
        data = self.recipe.data
        borders = {"line": "\n", "paragraph": "\n\n", "separator": f"\n{data.separator}\n"}
        return Continuation(
            self.model,
            self.tokenizers[ROLE],
            border=borders.get(data.documents, ""),
            restart=data.restart,
        )

    def complete(self, text: str, k: int = 3) -> list[Completion]:
        """Ranked completions of the last word of a text, or its next word."""
        continuation = self.continuation()
        continuation.feed(text)
        return continuation.complete(k)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """A continuation of the prompt; the options are those of `Continuation.generate`."""
        continuation = self.continuation()
        continuation.feed(prompt)
        return "".join(continuation.generate(**options))

    def held_out(self, part: Literal["valid", "test"]) -> TokenStream:
        """The run's "valid" or "test" text, read or cut as in training.

        Raises:
            RunError: the part is in files, or was cut from files, that have changed since.
        """
        data = self.recipe.data
        if self.folder is not None:
            if getattr(data, part):
                data = check_part(self.folder, data, part)
            else:
                check_data(self.folder, data)
        corpus = open_corpus(data)
        if part not in corpus.parts:
            others = " or ".join(f"--split {each}" for each in corpus.parts if each != "train")
            raise DataError(
                f"the run has no {part} text; score {others}, or other text with --data FILE"
            )
        return corpus.encode(part, self.tokenizers[ROLE], default_cache_folder())

    def read(self, paths: Sequence[str]) -> TokenStream:
        """Other text, as the run reads its own."""
        data = replace(self.recipe.data, train=(), valid=(), test=tuple(paths))
        return open_corpus(data).encode("test", self.tokenizers[ROLE], default_cache_folder())

    def evaluate(
        self, stream: TokenStream, cache: ContinuousCache | None = None
    ) -> StreamEvaluation:
        """How well every token of a text is foretold from all before it.

        Args:
            stream: as `held_out` or `read` gives it; read as one row, the state carried throughout.
            cache: of recent words, which are then likelier; it is emptied first.
        """
        began = time.perf_counter()
        if cache is not None:
            cache.clear()
        loss, n_tokens = stream_loss(
            self.model,
            self.task,
            stream,
            restart=self.recipe.data.restart,
            device=next(self.model.parameters()).device,
            cache=cache,
        )
        seconds = time.perf_counter() - began
        scores = self.task.scores(loss, n_tokens, stream.n_characters)
        how = reading(stream, 1, self.recipe.data.restart)
        if (precision := recurrent_precision(self.model)) != "float32":
            how += f"|{precision} steps"
        signatures = self.task.signature(how if cache is None else f"{how}|{cache}")
        return StreamEvaluation(loss, n_tokens, stream.n_characters, scores, signatures, seconds)


class Predictor:
    """A model with its vocabularies: text in, text out. Made by `load`.

    Args:
        recipe: what the run was trained with.
        task: its task.
        tokenizers: by role.
        model: the trained module, in evaluation mode.
        folder: the run folder, where there is one.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        tokenizers: Tokenizers,
        model: torch.nn.Module,
        folder: Path | None = None,
    ) -> None:
        self.recipe, self.task, self.tokenizers, self.model = recipe, task, tokenizers, model
        self.folder = folder

    @overload
    def __call__(self, texts: str) -> str: ...
    @overload
    def __call__(self, texts: list[str]) -> list[str]: ...
    def __call__(self, texts: str | list[str]) -> str | list[str]:
        """The best answer to one text, or to each of several."""
        if isinstance(texts, str):
            return self.predict([texts])[0].text
        return [prediction.text for prediction in self.predict(texts)]

    def predict(
        self,
        texts: str | Sequence[str],
        decoding: DecodingConfig | None = None,
        *,
        n_best: int | None = None,
        with_attention: bool = False,
    ) -> list[Prediction]:
        """The answers with their scores, n best and attention; one record per text, in order.

        Args:
            texts: what to answer, or one text alone; an empty text has an empty answer.
            decoding: how to search; the recipe's by default.
            n_best: answers per text; the decoding's by default.
            with_attention: whether each answer carries its attention `[T, S]`.

        Raises:
            ConfigError: more answers asked for than the beam has.
        """
        if isinstance(texts, str):
            texts = [texts]
        decoding = decoding or self.recipe.decoding
        if n_best is not None:
            decoding = replace(decoding, n_best=n_best)
        encoded = [self.task.encode([text], self.tokenizers) for text in texts]
        return predictions(
            self.model, self.task, encoded, self.tokenizers, decoding, with_attention
        )

    def held_out(self, part: str) -> list[Row]:
        """The rows of the run's "valid" or "test" part, read or cut as in training.

        Raises:
            RunError: the part is in a data file, or was cut from one, that has changed since.
        """
        if paths := getattr(self.recipe.data, part):
            if self.folder is not None:
                check_part(self.folder, self.recipe.data, part)
            columns = self.recipe.data.columns or None
            return list(read_rows(paths, columns, len(self.task.columns)))
        if self.folder is not None:
            # Cut from another file, the part could hold rows that were trained on.
            check_data(self.folder, self.recipe.data)
        splits = read_splits(self.recipe.data, len(self.task.columns))
        return {"valid": splits.valid, "test": splits.test}[part]

    def evaluate(self, rows: Sequence[Row], decoding: DecodingConfig | None = None) -> Evaluation:
        """Answer the first field of each row and compare with the last.

        Args:
            rows: source and reference, as `held_out` or `unrolled.text.read_rows` gives them.
            decoding: how to search; the recipe's by default.
        """
        start = time.perf_counter()
        answers = [
            answer.text for answer in self.predict([row.fields[0] for row in rows], decoding)
        ]
        return judge(self.task, rows, answers, time.perf_counter() - start)


def judge(
    task: Task, rows: Sequence[Row], answers: Sequence[str], seconds: float = 0.0
) -> Evaluation:
    """Compare answers, wherever they come from, with the last field of each row.

    Args:
        task: how to score.
        rows: source and reference.
        answers: one per row.
        seconds: what the answers took.
    """
    n_words = [max(1, len(row.fields[0].split())) for row in rows]

    def scores(chosen: Sequence[int]) -> Scores:
        return Scores(
            len(chosen),
            task.score([answers[row] for row in chosen], [rows[row].fields[-1] for row in chosen]),
        )

    by_length = {}
    for shortest, longest in LENGTHS:
        chosen = [
            row for row, n in enumerate(n_words) if shortest <= n <= (longest or float("inf"))
        ]
        if chosen:
            by_length[f"{shortest}–{longest}" if longest else f"{shortest}+"] = scores(chosen)
    return Evaluation(scores(range(len(rows))), by_length, task.signature(), seconds, list(answers))


def record(
    evaluation: Evaluation | LabelledEvaluation | StreamEvaluation | VectorEvaluation,
    path: str | PathLike[str],
    **about: object,
) -> None:
    """Append an evaluation to a file of results: one JSON object per line, with date and commit.

    Args:
        evaluation: what was measured.
        path: the file, created where it is missing.
        about: what else belongs to the figure, e.g. the run and the data.
    """
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        **about,
        **evaluation.figures(),
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json_line(line) + "\n")


def _commit() -> str | None:
    """The commit of the source tree this code runs from; None where it was installed from a wheel."""
    if "site-packages" in Path(__file__).parts:
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
