"""A trained model that writes code for descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from unrolled.baselines.retrieval import RetrievalBaseline
from unrolled.code.marks import NEWLINE
from unrolled.code.parsing import ProgramLanguage
from unrolled.config import BleuTokenizer
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.prior import Prior
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.metrics.display import WIDTH, aligned, title
from unrolled.predictors.seq2seq import Evaluation, Predictor
from unrolled.reporting import counted
from unrolled.tasks.code.answers import CodeDecoding
from unrolled.tasks.code.examples import SOURCE, TARGET, CodePair
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.language_model import check_forward
from unrolled.text.config import PAD_ID
from unrolled.text.rows import Row
from unrolled.text.splits import read_splits
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.dataset import ROLE, evenly
from unrolled.training.run_folder import load_run
from unrolled.training.split_file import check_data
from unrolled.wording import percent

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Weights of a prior from which one is chosen."""

_ROWS_TO_CHOOSE = 200
_LEAST_KNOWN = 0.2


@dataclass(frozen=True, repr=False)
class CodeEvaluation(Evaluation):
    """The evaluation of predicted code, with that of the nearest training description beside it.

    Args:
        nearest: scores of the code of the nearest training description; None if the training data are
            not there.
    """

    nearest: dict[str, float] | None = None

    def lines(self, width: int = WIDTH, *, signatures: bool = False) -> Iterator[str]:
        """The evaluation as text; as `Evaluation.lines`, and the scores of the baseline."""
        yield from super().lines(width, signatures=signatures)
        if self.nearest is not None:
            yield ""
            rows = [["baseline", "nearest description"]]
            rows += [[title(name), f"{value:.2f}"] for name, value in self.nearest.items()]
            yield from aligned(rows, width)

    def figures(self) -> dict[str, object]:
        """The entries for a results file."""
        baseline = {} if self.nearest is None else {"nearest_description": self.nearest}
        return super().figures() | baseline


class CodePredictor(Predictor):
    """A model that writes code for descriptions. Created by `load`.

    What it writes is text: it is never executed.
    """

    @property
    def language(self) -> ProgramLanguage | None:
        """The language of the code."""
        language: ProgramLanguage | None = getattr(self.recipe.data, "language", None)
        return language

    def _search_options(self, decoding: DecodingConfig) -> dict[str, Any]:
        options: dict[str, Any] = {"language": self.language}
        if isinstance(decoding, CodeDecoding) and decoding.prior:
            weight = decoding.prior_weight
            if weight < 0:
                weight = self.choose_prior_weight(decoding)
            if weight:
                options["fuse"] = self._fuse(decoding.prior, weight)
        return options

    def _fuse(self, path: str, weight: float) -> Callable[..., Any]:
        """What adds a language model to the search; see `seq2seq_decoding.decode`."""
        device = next(self.model.parameters()).device
        prior = Prior(*_language_model(path, str(device)), weight, NEWLINE)
        source, target = (self.tokenizers[role] for role in (SOURCE, TARGET))
        tokens = target.tokens(range(len(target)))
        if prior.known(tokens) < _LEAST_KNOWN:
            raise ConfigError(
                f"decoding.prior: {path} knows {percent(prior.known(tokens))} of the tokens of this "
                f"model; train it with --text.kind {target.kind}"
            )
        of_target = prior.ids_of(tokens)

        def fuse(step_model: Any, state: Any, pairs: Sequence[CodePair]) -> tuple[Any, Any]:
            rows = []
            longest = max(len(pair.source) for pair in pairs)
            for pair in pairs:
                words = pair.words or source.tokens(pair.source[:-1])
                copied = prior.tokenizer.ids_of(words)
                rows.append([*of_target, *copied, *[PAD_ID] * (longest - len(copied))])
            return prior.fuse(step_model, state, torch.tensor(rows, device=device))

        return fuse

    def choose_prior_weight(self, decoding: CodeDecoding) -> float:
        """The weight of a prior with the best score on a sample of the run's validation part.

        The score is `training.metric`, or BLEU if that is the loss. The result is kept.

        Args:
            decoding: search settings with a prior.

        Raises:
            RunError: the validation data are missing or have changed since training.
        """
        key = replace(decoding, prior_weight=0.0, n_best=1)
        if key not in self._weights:
            rows = self.held_out("valid")
            rows = [rows[index] for index in evenly(len(rows), _ROWS_TO_CHOOSE)]
            gold = [self.task.reference(row) for row in rows]
            metric = self.recipe.training.metric
            found = {}
            for weight in counted(
                WEIGHTS, "choosing the weight of the prior", "weights", len(WEIGHTS)
            ):
                answers = self._answers(rows, replace(key, prior_weight=weight))
                scores = self.task.score([each.text for each in answers], gold)
                found[weight] = scores.get(metric, scores["bleu"])
            self._weights[key] = max(WEIGHTS, key=found.__getitem__)
        return self._weights[key]

    @cached_property
    def _weights(self) -> dict[CodeDecoding, float]:
        return {}

    def evaluate(
        self,
        rows: Sequence[Row],
        decoding: DecodingConfig | None = None,
        *,
        bleu_tokenizer: BleuTokenizer | None = None,
    ) -> CodeEvaluation:
        """Predict from the description of each row and compare with its code; as `Predictor.evaluate`."""
        evaluation = super().evaluate(rows, decoding, bleu_tokenizer=bleu_tokenizer)
        return CodeEvaluation(**vars(evaluation), nearest=self._nearest(rows))

    def _nearest(self, rows: Sequence[Row]) -> dict[str, float] | None:
        """The scores of the code of the nearest training descriptions; None without training data."""
        data = self.recipe.data
        try:
            if self.folder is not None:
                data = check_data(self.folder, data)
            train = read_splits(data, len(self.task.columns), self.task.reading).train
        except (DataError, RunError, OSError):
            return None
        baseline = RetrievalBaseline([row.texts[:2] for row in train])  # type: ignore[misc]
        found = baseline.translate([row.texts[0] for row in rows])
        return dict(self.task.score(found, [self.task.reference(row) for row in rows]))


@lru_cache(maxsize=2)
def _language_model(path: str, device: str) -> tuple[Any, Tokenizer]:
    """The model and the tokenizer of a run.

    Raises:
        ConfigError: the run is no language model.
        RunError: the run cannot be read.
    """
    run = load_run(Path(path), device=device)
    if run.task.kind is not LANGUAGE_MODEL:
        raise ConfigError(
            f"decoding.prior: {path} is of task '{run.task.name}'; give a run of a language model"
        )
    check_forward(run.recipe.model, f"decoding.prior ({path})")
    return run.model, run.tokenizers[ROLE]
