"""The predictions of a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.decoding.types import Hypothesis
from unrolled.quoting import shorten
from unrolled.tasks import notebook
from unrolled.tasks.roles import Tokenizers
from unrolled.text.config import EOS_ID

if TYPE_CHECKING:
    from torch import Tensor

    from unrolled.metrics.slices import Mistake


@dataclass(frozen=True, repr=False)
class Prediction:
    """The predicted text for one input.

    Args:
        text: the best hypothesis as readable text.
        score: its length-normalized log-probability (natural logarithm).
        source_pieces: the input as the model read it, one string per token.
        hypotheses: the n best hypotheses, best first.
        n_truncated: number of tokens cut off at the end of the input (`decoding.max_input_length`).
        source_words: `source_pieces`, with words as written where the model read an unknown word; () if
            it knew all.
    """

    text: str
    score: float
    source_pieces: tuple[str, ...]
    hypotheses: tuple[Answer, ...]
    n_truncated: int = 0
    source_words: tuple[str, ...] = ()

    def __repr__(self) -> str:
        n = len(self.hypotheses)
        hypotheses = "1 hypothesis" if n == 1 else f"{n} hypotheses"
        return f"Prediction({self.text!r}, score={self.score:.4f}, {hypotheses})"

    def _repr_html_(self) -> str:
        """The text and, if known, the attention, for a notebook."""
        title = f"{self.text} (score {self.score:.4f})"
        best = self.hypotheses[0] if self.hypotheses else None
        if best is None or best.attention is None:
            return notebook.weights_table(title, (), (), ())
        columns = self.source_words or self.source_pieces
        return notebook.weights_table(title, columns, best.pieces, best.attention.tolist())


@dataclass(frozen=True)
class Answer:
    """One of the n best hypotheses.

    Args:
        text: readable text.
        score: length-normalized log-probability (natural logarithm).
        log_prob: summed log-probability of the tokens, including the end of sentence.
        pieces: the output of the model, one string per token, the end of sentence last.
        attention: `[T, S]`, attention weights of output token t over source pieces s; None without
            attention.
        finished: whether the model generated the end of sentence; False if it reached the length limit.
        copied: for each piece of a query, the step of the memory that it points at, or None; () for other
            tasks.
    """

    text: str
    score: float
    log_prob: float
    pieces: tuple[str, ...]
    attention: Tensor | None
    finished: bool
    copied: tuple[int | None, ...] = ()


def prediction_of(
    source_ids: Sequence[int],
    words: Sequence[str],
    hypotheses: Sequence[Hypothesis],
    tokenizers: Tokenizers,
    n_truncated: int,
) -> Prediction:
    """The prediction of the hypotheses of a search.

    Args:
        source_ids: the ids of the input, with </s>.
        words: the words of the input, if some are unknown.
        hypotheses: best first.
        tokenizers: tokenizers by role.
        n_truncated: number of tokens cut off at the end of the input.
    """
    source, target = tokenizers["source"], tokenizers["target"]
    copied = words or source.tokens(source_ids[:-1])  # by the step a token was copied from
    answers = tuple(
        Answer(
            text=target.decode(hypothesis.tokens, copied),
            score=hypothesis.score,
            log_prob=hypothesis.log_prob,
            pieces=tuple(
                target.pieces(
                    [*hypothesis.tokens, *([EOS_ID] if hypothesis.finished else [])], copied
                )
            ),
            attention=None
            if hypothesis.attention is None
            else hypothesis.attention[:, : len(source_ids)],
            finished=hypothesis.finished,
        )
        for hypothesis in hypotheses
    )
    read = tuple(source.pieces(source_ids))
    return Prediction(answers[0].text, answers[0].score, read, answers, n_truncated)


@dataclass(frozen=True, eq=False, repr=False)
class LabelPrediction:
    """The predicted labels of one input, or of each of its tokens.

    Args:
        labels: the predicted label; if there may be several, those that reach their thresholds, possibly
            none; in tagging, one label per token.
        probabilities: `[C]`, the probability of each label, in tagging `[T, C]`; they sum to 1 if an
            input, or a token, has exactly one label.
        pieces: the tokens of each text of the input, as the model read them; in tagging, as written.
        weights: attention weights `[T]` of the tokens of each text; None without attention.
        n_truncated: number of tokens cut off because a text is longer than `data.max_length`.
        digest: what an evaluation keeps of the probabilities of many labels; `probabilities` is then
            empty.
        words: `pieces`, with words as written where the model read an unknown word; () if it knew all.
        names: the C labels that the probabilities are of; () if they are not known.
        parts: `[2, C]`, the scores of the network and of counted n-grams that were mixed; None if there
            are no such parts, or training has seen nothing of the text.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    pieces: tuple[tuple[str, ...], ...]
    weights: tuple[NDArray[np.float32] | None, ...]
    n_truncated: int = 0
    digest: Digest | None = None
    words: tuple[tuple[str, ...], ...] = ()
    names: tuple[str, ...] = ()
    parts: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        if self.probabilities.ndim > 1:
            pairs = zip(self.pieces[0], self.labels, strict=True)
            return f"LabelPrediction({shorten(' '.join(f'{word}/{tag}' for word, tag in pairs), 200)!r})"
        label = self.labels[0] if len(self.labels) == 1 else self.labels
        top = f", probability={self.probabilities.max():.4f}" if self.probabilities.size else ""
        return f"LabelPrediction({label!r}{top})"

    def _repr_html_(self) -> str:
        """The labels by probability, or the words with their tags, for a notebook."""
        if self.probabilities.ndim > 1:
            return notebook.tagged(zip(self.pieces[0], self.labels, strict=True))
        names = self.names or tuple(f"label {i}" for i in range(len(self.probabilities)))
        return notebook.bars(list(zip(names, self.probabilities.tolist(), strict=True)))


@dataclass(frozen=True, eq=False)
class Digest:
    """A summary of the probabilities of C labels whose size does not depend on C.

    Args:
        ids: the most probable labels, best first.
        probabilities: their probabilities.
        confidence: the probability of the predicted label.
        losses: `[2]`, squared error and negative log-likelihood of the row, from `proper_losses`.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    confidence: float
    losses: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelScores:
    """The evaluation of predicted labels.

    Args:
        measured: the scores, with `scores()`, `signature()` and `lines()`.
        count: makes `tally` on first use, because validation needs only the scores.
        mistakes: texts of the examples → wrong predictions, the most confident first.
    """

    measured: Any
    count: Callable[[], Any]
    mistakes: Callable[[Sequence[str]], list[Mistake]]

    @cached_property
    def tally(self) -> Any:
        """What each example adds to the scores, for intervals and slices; a `Scorable`."""
        return self.count()

    def scores(self) -> dict[str, float]:
        """The scores for which larger is better, 0…1."""
        from unrolled.metrics.tally import SMALLER_IS_BETTER  # late, as predicting does not need it

        scores: dict[str, float] = self.measured.scores()
        return {name: value for name, value in scores.items() if name not in SMALLER_IS_BETTER}
