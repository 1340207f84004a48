"""A trained language model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unrolled.decoding.text_session import Completion, TextSession
from unrolled.errors import ConfigError, DataError
from unrolled.exports.runtime import is_exported
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.metrics.display import WIDTH, aligned, signature_lines, title
from unrolled.predictors.continuing import session
from unrolled.predictors.precision import recurrent_precision
from unrolled.predictors.representation import represent
from unrolled.tasks import notebook
from unrolled.tasks.language_model import check_forward, reads_backward
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import StreamTask
from unrolled.text.corpus.corpus import TokenStream, default_cache_folder, open_corpus
from unrolled.text.corpus.tables import is_table
from unrolled.training.dataset import ROLE
from unrolled.training.evaluation import reading, stream_loss
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import check_data, check_part
from unrolled.wording import count_of, wrapped


@dataclass(frozen=True, repr=False)
class StreamEvaluation:
    """The evaluation of a language model on a text.

    Args:
        loss: mean loss, in nats per token.
        n_tokens: number of tokens predicted, including ends of documents.
        n_characters: number of characters in the text.
        scores: scores by name.
        signatures: how each score was computed.
        seconds: time to read the text.
    """

    loss: float
    n_tokens: int
    n_characters: int
    scores: dict[str, float]
    signatures: dict[str, str]
    seconds: float

    def lines(self, width: int = WIDTH, *, signatures: bool = False) -> Iterator[str]:
        """The evaluation as text.

        Args:
            width: maximum width of a line.
            signatures: whether to add how each score was computed.
        """
        rate = self.n_tokens / self.seconds if self.seconds else float("inf")
        size = f"{count_of(self.n_tokens, 'token')}, {count_of(self.n_characters, 'character')}"
        yield from wrapped(f"{size} in {self.seconds:.1f} s ({rate:,.0f} tokens/s)", width)
        yield ""
        rows = [["score", "value"], ["loss, nats per token", f"{self.loss:.4f}"]]
        rows += [[title(name), f"{value:.3f}"] for name, value in self.scores.items()]
        yield from aligned(rows, width)
        if signatures:
            yield ""
            yield from signature_lines(self.signatures)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name}={value:.3f}" for name, value in self.scores.items())
        return f"StreamEvaluation({self.n_tokens:,} tokens, {scores})"

    def _repr_html_(self) -> str:
        """The lines of the evaluation, for a notebook."""
        return notebook.preformatted(self.lines())

    def figures(self) -> dict[str, object]:
        """The entries for a results file."""
        return {
            "tokens": self.n_tokens,
            "characters": self.n_characters,
            "seconds": round(self.seconds, 1),
            "loss": self.loss,
            **self.scores,
            "signatures": self.signatures,
        }


class LanguagePredictor:
    """A language model with its vocabulary: text in, continuation out. Created by `load`.

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
        task: StreamTask,
        tokenizers: Tokenizers,
        model: Any,
        folder: Path | None = None,
    ) -> None:
        self.recipe, self.task, self.tokenizers, self.model = recipe, task, tokenizers, model
        self.folder = folder

    def __repr__(self) -> str:
        return represent(self)

    def continuation(self) -> TextSession:
        """Start a session with an empty text; it keeps its state between calls.

        Raises:
            ConfigError: the model reads from right to left.
        """
        check_forward(self.recipe.model, "continuing a text")
        return session(self.model, self.tokenizers[ROLE], self.recipe.data)

    def complete(self, text: str, k: int = 3) -> list[Completion]:
        """Return ranked completions of the last word of a text, or the next word."""
        continuation = self.continuation()
        continuation.feed(text)
        return continuation.complete(k)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """Generate a continuation of the prompt; the options are those of `TextSession.generate`."""
        continuation = self.continuation()
        continuation.feed(prompt)
        return "".join(continuation.generate(**options))

    def held_out(self, part: Literal["valid", "test"]) -> TokenStream:
        """The run's "valid" or "test" text, read or split off as in training.

        Raises:
            DataError: the run has no such part.
            RunError: the files of the part, or from which it was split, have changed since training.
        """
        data = self.recipe.data
        if self.folder is not None:
            if getattr(data, part):
                data = check_part(self.folder, data, part)
            else:
                data = check_data(self.folder, data)
        corpus = open_corpus(data)
        if part not in corpus.parts:
            others = " or ".join(f"--split {name}" for name in corpus.parts if name != "train")
            raise DataError(
                f"the run has no {part} text; score {others}, or other text with --data FILE"
            )
        return corpus.encode(part, self.tokenizers[ROLE], default_cache_folder())

    def read(self, paths: Sequence[str]) -> TokenStream:
        """Read other text with the settings of the run."""
        data = replace(self.recipe.data, train=(), valid=(), test=tuple(paths))
        if data.columns and not any(map(is_table, paths)):
            data = replace(data, columns=())  # tuned on a table, but this is plain text
        return open_corpus(data).encode("test", self.tokenizers[ROLE], default_cache_folder())

    def evaluate(
        self, stream: TokenStream, cache: ContinuousCache | None = None
    ) -> StreamEvaluation:
        """Evaluate the prediction of every token of a text from all tokens before it.

        Args:
            stream: the result of `held_out` or `read`; it is read as one row, with the state carried
                over throughout.
            cache: a continuous cache, which raises the probability of recent words; it is emptied first.

        Raises:
            ConfigError: a cache for an export.
        """
        if cache is not None and is_exported(self):
            raise ConfigError(
                "a continuous cache compares hidden states, which an export does not return; evaluate "
                "the run that it was made of, or leave the cache out"
            )
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
            backward=reads_backward(self.recipe.model),
        )
        seconds = time.perf_counter() - began
        scores = self.task.scores(loss, n_tokens, stream.n_characters)
        how = reading(stream, 1, self.recipe.data.restart, reads_backward(self.recipe.model))
        if (precision := recurrent_precision(self.model)) != "float32":
            how += f"|{precision} steps"
        signatures = self.task.signature(how if cache is None else f"{how}|{cache}")
        return StreamEvaluation(loss, n_tokens, stream.n_characters, scores, signatures, seconds)
