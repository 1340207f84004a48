"""A baseline of a run that predicts labels, with the interface of the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.config import baseline_title
from unrolled.errors import ConfigError
from unrolled.predictors.label_answers import Input
from unrolled.predictors.labels import LabelledEvaluation, LabelPredictor
from unrolled.predictors.run_baselines import read_run_baseline
from unrolled.tasks.predictions import LabelPrediction
from unrolled.text.rows import Row


class BaselinePredictor(LabelPredictor):
    """A baseline in place of the network of a run. Created by `LabelPredictor.baseline`.

    It reads the words that the network reads, and a text without words, too. A support vector machine has
    no probabilities: those of its predictions are empty.

    Args:
        run: the run.
        baseline: the baseline, as `load_run_baselines` returns it.

    Attributes:
        baseline_name: its name.
    """

    _noun = "baseline"

    def __init__(self, run: LabelPredictor, baseline: Any) -> None:
        super().__init__(run.recipe, run.task, run.tokenizers, run.model, run.folder)
        self._baseline = baseline
        self.baseline_name: str = baseline.name

    def __repr__(self) -> str:
        folder = "" if self.folder is None else f", run={str(self.folder)!r}"
        return f"BaselinePredictor({baseline_title(self.baseline_name)!r}{folder})"

    @property
    def has_probabilities(self) -> bool:
        """Whether its predictions have probabilities."""
        return bool(getattr(self._baseline, "of_token", self._baseline).has_probabilities)

    def _answers(self, inputs: Sequence[Input], examples: Sequence[Any]) -> list[LabelPrediction]:
        """See `LabelPredictor`; the network is not run."""
        if self.task.by_token:
            return self._tagged([list(example.tokens) for example in examples])
        texts = [self.words(self._fields_of(one)) for one in inputs]
        chosen = self._baseline.predict(texts)
        probabilities_NC = self._probabilities(texts)
        return [
            LabelPrediction(
                self._in_order(labels),
                probabilities_C,
                tuple(map(tuple, words)),
                (None,) * self.n_texts,
                example.n_truncated,
                names=self.labels.names,
            )
            for labels, probabilities_C, words, example in zip(
                chosen, probabilities_NC, texts, examples, strict=True
            )
        ]

    def _tagged(self, sentences: Sequence[list[str]]) -> list[LabelPrediction]:
        found = zip(
            sentences,
            self._baseline.predict(sentences),
            self._baseline.probabilities(sentences),
            strict=True,
        )
        return [
            LabelPrediction(tuple(tags), self._of_all(chances_TC), (tuple(words),), (None,))
            for words, tags, chances_TC in found
        ]

    def _in_order(self, labels: str | frozenset[str]) -> tuple[str, ...]:
        if isinstance(labels, str):
            return (labels,)
        return tuple(name for name in self.labels.names if name in labels)

    def _probabilities(self, texts: Sequence[Any]) -> NDArray[np.float32]:
        if not self.has_probabilities:
            return np.zeros((len(texts), 0), np.float32)
        return self._of_all(self._baseline.probabilities(texts))

    def _of_all(self, chances_NK: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probabilities of the baseline's labels → `[N, C]`, in the order of the run's labels."""
        places = [self.labels.id_of(name) for name in self._baseline.labels]
        found_NC = np.zeros((len(chances_NK), len(self.labels)), np.float32)
        found_NC[:, places] = chances_NK
        return found_NC

    def evaluate(
        self, rows: Sequence[Row], path: str = "the data", shuffle_words: int | None = None
    ) -> LabelledEvaluation:
        """Not available: the evaluation of the run scores its baselines, too.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a baseline is not evaluated alone; evaluate the run (`unrolled evaluate RUN`), which scores "
            "its baselines on the same rows"
        )


def baseline_of(run: LabelPredictor, name: str | None = None) -> BaselinePredictor:
    """A baseline of a run; see `LabelPredictor.baseline`."""
    if run.folder is None:
        raise ConfigError("the run has no folder, so it has no baselines; load it from its folder")
    return BaselinePredictor(run, read_run_baseline(run.folder, name)[0])
