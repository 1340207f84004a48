"""A trained sequence-to-sequence model."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import torch

from unrolled.config import BleuTokenizer
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.errors import ConfigError
from unrolled.metrics.display import WIDTH, aligned, signature_lines, title
from unrolled.predictors.representation import represent
from unrolled.predictors.unknown import as_written
from unrolled.tasks import notebook
from unrolled.tasks.predictions import Prediction
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import Task
from unrolled.text.rows import Row
from unrolled.text.splits import read_splits, rows_of
from unrolled.training.evaluation import predictions
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import SplitRecord, check_data, check_part, trained_columns
from unrolled.wording import count_of, wrapped

LENGTHS = ((1, 9), (10, 19), (20, None))
"""Groups of source lengths, in words, for which an evaluation reports separate scores."""


@dataclass(frozen=True)
class Scores:
    """Scores of predictions against references.

    Args:
        n_sentences: number of sentences.
        scores: scores by name, larger is better.
    """

    n_sentences: int
    scores: dict[str, float]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The evaluation of a run on a data set.

    Args:
        total: the scores of all sentences.
        by_length: scores by number of source words, e.g. "10–19"; empty groups are left out.
        signatures: how each score was computed.
        seconds: time for prediction, without reading and scoring.
        answers: the predictions, in order.
        n_unfinished: number of predictions that were cut off at the maximum length.
        notes: notes on how the scores were computed.
    """

    total: Scores
    by_length: dict[str, Scores]
    signatures: dict[str, str]
    seconds: float
    answers: list[str]
    n_unfinished: int = 0
    notes: tuple[str, ...] = ()

    def lines(self, width: int = WIDTH, *, signatures: bool = False) -> Iterator[str]:
        """The evaluation as text: a line per score, with a column per group of source lengths.

        Args:
            width: maximum width of a line.
            signatures: whether to add how each score was computed.
        """
        rate = self.total.n_sentences / self.seconds if self.seconds else float("inf")
        speed = f"{self.seconds:.1f} s ({rate:,.0f}/s)"
        yield from wrapped(f"{count_of(self.total.n_sentences, 'sentence')} in {speed}", width)
        for note in self.notes:
            yield from wrapped(note, width)
        if self.n_unfinished:
            were = "was" if self.n_unfinished == 1 else "were"
            yield from wrapped(
                f"{count_of(self.n_unfinished, 'output')} {were} cut off at the maximum length; raise "
                "--decoding.max_length_ratio or --decoding.max_length_extra if they should be longer",
                width,
            )
        yield ""
        parts = {"all": self.total}
        if len(self.by_length) > 1:
            parts |= {f"{label} words": part for label, part in self.by_length.items()}
        rows = [
            ["score", *parts],
            ["sentences", *(f"{part.n_sentences:,}" for part in parts.values())],
        ]
        for name in self.total.scores:
            cells = (part.scores.get(name) for part in parts.values())
            tokenizer = re.search(r"\btok:([^|]+)", self.signatures.get(name, ""))
            how = f" ({tokenizer[1]})" if tokenizer and tokenizer[1] != "13a" else ""
            rows.append(
                [
                    title(name) + how,
                    *("" if value is None else f"{value:.2f}" for value in cells),
                ]
            )
        yield from aligned(rows, width)
        if signatures:
            yield ""
            yield from signature_lines(self.signatures)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name}={value:.2f}" for name, value in self.total.scores.items())
        return f"Evaluation({count_of(self.total.n_sentences, 'sentence')}, {scores})"

    def _repr_html_(self) -> str:
        """The lines of the evaluation, for a notebook."""
        return notebook.preformatted(self.lines())

    def figures(self) -> dict[str, object]:
        """The entries for a results file."""
        return {
            "sentences": self.total.n_sentences,
            "seconds": round(self.seconds, 1),
            **self.total.scores,
            "by_length": {label: part.scores for label, part in self.by_length.items()},
            "signatures": self.signatures,
        }


class Predictor:
    """A model with its vocabularies: text in, text out. Created by `load`.

    Args:
        recipe: the recipe of the run.
        task: its task.
        tokenizers: its tokenizers, by role.
        model: the trained module, in evaluation mode.
        folder: the run folder, if there is one.
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

    def __repr__(self) -> str:
        return represent(self)

    @cached_property
    def _longest_target(self) -> int:
        return 0 if self.folder is None else SplitRecord.load(self.folder).longest_target

    @overload
    def __call__(self, texts: str) -> str: ...  # type: ignore[overload-overlap]  # a string is iterable
    @overload
    def __call__(self, texts: Iterable[str]) -> list[str]: ...
    def __call__(self, texts: str | Iterable[str]) -> str | list[str]:
        """Return the best output for one text, or for each of several."""
        if isinstance(texts, str):
            return self.predict([texts])[0].text
        return [prediction.text for prediction in self.predict(texts)]

    def predict(
        self,
        texts: str | Iterable[str],
        decoding: DecodingConfig | None = None,
        *,
        n_best: int | None = None,
        with_attention: bool = False,
        mask: MaskProvider | None = None,
    ) -> list[Prediction]:
        """Return one prediction per text, in order, with scores, n-best hypotheses and attention.

        Args:
            texts: the input texts, or a single text; an empty text gives an empty output.
            decoding: decoding settings; by default those of the recipe.
            n_best: hypotheses per text; by default that of the decoding settings.
            with_attention: whether to return the attention `[T, S]` of each hypothesis.
            mask: which tokens may come next: called with the encoded inputs of each batch, see
                `unrolled.decoding.constrained`.

        Raises:
            ConfigError: `n_best` is larger than the beam, or an input is not a text.
        """
        if isinstance(texts, str):
            texts = [texts]
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise ConfigError(
                    f"an input must be a text; found {type(text).__name__} {text!r:.40}"
                )
        decoding = (decoding or self.recipe.decoding).for_answers_of(self._longest_target)
        if n_best is not None:
            decoding = replace(decoding, n_best=n_best)
        encoded = [self.task.encode([text], self.tokenizers) for text in texts]
        task, options = self.task, self._search_options(decoding)
        if mask is not None:
            options["mask"] = mask
        if options:
            decode: Any = task.decode  # a custom one may not accept them, and then raises an error
            task = replace(task, decode=partial(decode, **options))
        answers = predictions(self.model, task, encoded, self.tokenizers, decoding, with_attention)
        return [self._with_words(each, text) for each, text in zip(answers, texts, strict=True)]

    def _search_options(self, decoding: DecodingConfig) -> dict[str, Any]:
        """Further arguments for the task's `decode`."""
        return {}

    def _answers(self, rows: Sequence[Row], decoding: DecodingConfig | None) -> list[Prediction]:
        """Predictions for the rows of an evaluation."""
        return self.predict([row.texts[0] for row in rows], decoding)

    def _with_words(self, prediction: Prediction, text: str) -> Prediction:
        words = as_written(self.tokenizers.get("source"), text, prediction.source_pieces)
        if words == prediction.source_pieces:
            return prediction
        return replace(prediction, source_words=words)

    def held_out(self, part: str) -> list[Row]:
        """The rows of the run's "valid" or "test" part, read or split off as in training.

        Raises:
            RunError: the data file of the part, or from which it was split, has changed since training.
        """
        data = self.recipe.data
        if getattr(data, part):
            if self.folder is not None:
                data = check_part(self.folder, data, part)
            return self.read(getattr(data, part))
        if self.folder is not None:
            # If split from a changed file, the part could contain training rows.
            data = check_data(self.folder, data)
        splits = read_splits(data, len(self.task.columns), self.task.reading)
        return {"valid": splits.valid, "test": splits.test}[part]

    def read(self, paths: Sequence[str], notes: list[str] | None = None) -> list[Row]:
        """Read rows of source and reference from other files, with the columns of the run's data.

        Columns with the names of those that the run was trained on are read; a table without them gets a
        note, and its columns are read in their order.

        Args:
            paths: the files.
            notes: a list to which notes on how they were read are added.
        """
        data, n_columns = self.recipe.data, len(self.task.columns)
        return rows_of(
            data,
            paths,
            n_columns,
            self.task.reading,
            notes=notes,
            is_split=False,
            trained=trained_columns(self.folder),
        )

    def evaluate(
        self,
        rows: Sequence[Row],
        decoding: DecodingConfig | None = None,
        *,
        bleu_tokenizer: BleuTokenizer | None = None,
    ) -> Evaluation:
        """Predict from the first field of each row and compare with the last.

        Args:
            rows: source and reference, as returned by `held_out` or `unrolled.text.read_rows`.
            decoding: decoding settings; by default those of the recipe.
            bleu_tokenizer: sacrebleu's tokenizer for BLEU; by default that of the recipe.

        Raises:
            UnavailableError: the tokenizer is not installed.
        """
        bleu_tokenizer = bleu_tokenizer or self.recipe.training.bleu_tokenizer
        references = [self.task.reference(row) for row in rows]
        self.task.for_references(self.task, references, bleu_tokenizer)  # fails before decoding
        start = time.perf_counter()
        predicted = self._answers(rows, decoding)
        seconds = time.perf_counter() - start
        evaluation = judge(
            self.task, rows, [each.text for each in predicted], seconds, bleu_tokenizer
        )
        n_unfinished = sum(not each.hypotheses[0].finished for each in predicted if each.hypotheses)
        return replace(evaluation, n_unfinished=n_unfinished)


def judge(
    task: Task,
    rows: Sequence[Row],
    answers: Sequence[str],
    seconds: float = 0.0,
    bleu_tokenizer: BleuTokenizer = "auto",
) -> Evaluation:
    """Score predictions from any source against the last field of each row.

    Args:
        task: the task, which defines the scores.
        rows: source and reference.
        answers: the predictions, one per row.
        seconds: time for prediction.
        bleu_tokenizer: sacrebleu's tokenizer for BLEU.
    """
    references = [task.reference(row) for row in rows]
    task, notes = task.for_references(task, references, bleu_tokenizer)
    n_words = [max(1, len(row.texts[0].split())) for row in rows]

    def scores(chosen: Sequence[int]) -> Scores:
        return Scores(
            len(chosen),
            task.score([answers[row] for row in chosen], [references[row] for row in chosen]),
        )

    by_length = {}
    for shortest, longest in LENGTHS:
        chosen = [
            row for row, n in enumerate(n_words) if shortest <= n <= (longest or float("inf"))
        ]
        if chosen:
            by_length[f"{shortest}–{longest}" if longest else f"{shortest}+"] = scores(chosen)
    total = scores(range(len(rows)))
    return Evaluation(total, by_length, task.signature(), seconds, list(answers), notes=notes)
