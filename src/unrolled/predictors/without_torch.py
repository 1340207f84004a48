"""Open a run without torch, whose import takes several times as long as the answer to one sentence.

`opened` returns a predictor with what `unrolled predict` uses, or None for a run that only `load` can
open, or that is damaged, so that `load` says what is wrong. The answers are those of `load`, up to the
rounding of float32; where something can only be computed with torch, the run is loaded after all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from unrolled.config import from_mapping
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.types import Hypothesis
from unrolled.errors import UnrolledError
from unrolled.inference.classify import Classifier
from unrolled.inference.pair import PairClassifier
from unrolled.inference.recurrence import Floats, sigmoid
from unrolled.inference.refusal import Refused
from unrolled.inference.softmax import softmax
from unrolled.inference.tag import Tagger
from unrolled.inference.translate import Translator
from unrolled.inference.weights import Weights
from unrolled.predictors.label_answers import LabelAnswers
from unrolled.predictors.unknown import as_written
from unrolled.tasks import tagged
from unrolled.tasks.examples import LabelledExample, cut, encode_with
from unrolled.tasks.kind import LABELLING, SEQ2SEQ, Kind
from unrolled.tasks.predictions import LabelPrediction, Prediction, prediction_of
from unrolled.tasks.roles import CHARACTERS, LABELS, NGRAMS, TEXT, Tokenizers
from unrolled.text.config import EOS_ID
from unrolled.text.splits import LabelData
from unrolled.training.run_files import ENSEMBLE_FILE, load_tokenizers, read_config
from unrolled.training.split_file import SplitRecord

MODEL_FILE = "model.safetensors"

T = TypeVar("T")
P = TypeVar("P", LabelPrediction, Prediction)

Slow = Callable[[], Any]
"""Loads the same run with torch."""


@dataclass(frozen=True)
class Task:
    """What predicting needs to know of a task; see `tasks.task`.

    Args:
        name: its name.
        kind: its kind.
        columns: the names of the texts and of the label.
        encode, cut: as in a `LabelTask`.
        by_token: whether each token has a label.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    encode: Any = None
    cut: Any = None
    by_token: bool = False


TASKS = {
    task.name: task
    for task in (
        Task("classify", LABELLING, ("text", "label"), encode_with(1), cut),
        Task("pair", LABELLING, ("first", "second", "label"), encode_with(2), cut),
        Task("tag", LABELLING, ("tokens", "tags"), tagged.encode, tagged.cut, by_token=True),
        Task("translate", SEQ2SEQ, ("source", "target")),
    )
}
"""The tasks that are known here, by name."""

_ANY_MODEL = "cell embedding_size hidden_size dropout_rate word_rate unknown_rate recurrent_init"
_OF_WORDS = "characters char_size char_filters char_window pretrained pretrained_sizes"
_SETTINGS = {
    "classify": "n_layers bidirectional pooling label_smoothing class_weights forget_bias ngrams "
    "ngram_characters",
    "pair": "encoder condition target projection_size bidirectional head learned_start "
    "label_smoothing class_weights forget_bias ngrams features ngram_characters ngrams_by_first",
    "language_model": "embedding n_layers tied input_rate between_rate output_rate locked head cutoffs "
    "recurrent_weight_rate n_samples direction forget_bias",
    "tag": "head transitions n_layers bidirectional forget_bias",
    "translate": "encoder_size encoder_layers decoder_layers bidirectional attention input_feeding "
    "copying label_smoothing sampling_rate tied_embeddings forget_bias",
}
"""The settings of each task's models, besides those of all and those of embeddings."""

_OF_EMBEDDINGS = re.compile(
    r"(source_|target_)?embeddings(_missing|_tuning|_frozen\w*|_extra_words)?"
)
_ADDED = {
    **dict.fromkeys(("pretrained", "pretrained_sizes", "features"), ()),
    **dict.fromkeys(("ngrams", "ngram_characters"), 0),
    "copying": "none",
    "direction": "forward",
}
"""Settings that older runs lack, and the values that those runs were trained with."""


def opened(
    folder: Path, load: Slow
) -> TextPredictor | TokenPredictor | TranslationPredictor | None:
    """Open a run without torch.

    Args:
        folder: its folder.
        load: loads the run with torch, for what is not known here.

    Returns:
        A predictor, or None if the run has to be loaded with torch, or cannot be loaded.
    """
    try:
        return _opened(folder, cache(load))
    except (Refused, UnrolledError, AttributeError, KeyError, TypeError, ValueError, OSError):
        return None


def _opened(folder: Path, load: Slow) -> TextPredictor | TokenPredictor | TranslationPredictor:
    if (folder / ENSEMBLE_FILE).exists():
        raise Refused("an ensemble")
    mapping = read_config(folder)
    task = TASKS[mapping["task"]]
    model = model_settings(task.name, mapping["model"])
    tokenizers = load_tokenizers(folder)
    if any(getattr(each, "code", None) for each in tokenizers.values()):
        raise Refused("tokens of code")
    weights = Weights.read(folder / MODEL_FILE)
    if task.name == "translate":
        decoding = from_mapping(DecodingConfig, mapping["decoding"], "decoding")
        run = Run(folder, task, SimpleNamespace(model=model, decoding=decoding), tokenizers, load)
        words = (tokenizers[role] for role in ("source", "target"))
        translator = Translator(model, weights, *map(len, words))
        found: Any = TranslationPredictor(run, translator)
    else:
        Data = tagged.TagData if task.by_token else LabelData
        data = from_mapping(Data, {"header": "yes", **mapping["data"]}, "data")
        run = Run(folder, task, SimpleNamespace(model=model, data=data), tokenizers, load)
        found = _label_predictor(run, weights)
    if any(weights.left()):
        raise Refused("weights of another model")
    return found


def model_settings(task: str, section: Mapping[str, Any]) -> SimpleNamespace:
    """The `[model]` section, without what only concerns training.

    Raises:
        Refused: it has settings that are not known here.
    """
    known = f"{_ANY_MODEL} {_OF_WORDS} {_SETTINGS[task]}".split()
    for name in section:
        if name not in known and not _OF_EMBEDDINGS.fullmatch(name):
            raise Refused(f"model.{name}")
    added = {"characters": "recurrent" if task == "tag" else "none"}
    return SimpleNamespace(**{**_ADDED, **added, **section})


@dataclass(frozen=True)
class Run:
    """A run that has been opened.

    Args:
        folder: its folder.
        task: its task.
        recipe: the sections of its recipe that predicting needs.
        tokenizers: its tokenizers, by role.
        load: loads it with torch.
    """

    folder: Path
    task: Task
    recipe: Any
    tokenizers: Tokenizers
    load: Slow

    def answers(
        self, answer: Callable[[T], P], inputs: Sequence[T], slowly: Callable[[Any], list[P]]
    ) -> list[P]:
        """Answer inputs one by one, or all of them with torch if one is refused.

        Args:
            answer: an input → its prediction.
            inputs: the inputs.
            slowly: the predictor of torch → the predictions of all inputs.
        """
        try:
            with np.errstate(all="ignore"):
                return [answer(one) for one in inputs]
        except Refused:
            return slowly(self.load())


class TextPredictor(LabelAnswers):
    """Predicts labels of one or two texts.

    Args:
        run: the run.
        model: its model.
        weights: of the model; its thresholds are taken.
    """

    def __init__(self, run: Run, model: Classifier | PairClassifier, weights: Weights) -> None:
        self.recipe, self.task, self.tokenizers = run.recipe, run.task, run.tokenizers
        self._model, self._run = model, run
        n_labels = len(self.labels)
        weights.take("head.class_weights", n_labels)
        self._thresholds = weights.take("head.thresholds", n_labels)
        self._share: float | None = None
        if NGRAMS in run.tokenizers:
            self._share = float(weights.take("head.share"))
            self._counted_bias = weights.take("head.counted_bias", n_labels)
            weights.take("head.part_thresholds", 2, n_labels)

    def _predict(self, examples: Sequence[Any]) -> list[LabelPrediction]:
        return self._run.answers(self._prediction, examples, lambda slow: slow._predict(examples))

    def _prediction(self, example: LabelledExample) -> LabelPrediction:
        labels, words = self.labels, self.tokenizers[TEXT]
        logits_C = self._model.logits(example)
        if self._share is not None:
            logits_C = (1 - self._share) * logits_C + self._share * self._counted(example)
        if not np.isfinite(logits_C).all():
            raise Refused("scores that are not finite")
        p_C = (sigmoid if labels.multi_label else softmax)(logits_C).astype(np.float32)
        if labels.shares and not self._is_known(example):
            p_C = np.array(labels.shares, np.float32)
        chosen = np.flatnonzero(p_C >= self._thresholds) if labels.multi_label else [p_C.argmax()]
        return LabelPrediction(
            tuple(labels.names[label] for label in chosen),
            p_C,
            tuple(tuple(words.pieces(ids)) for ids in example.texts),
            tuple(None for _ in example.texts),
            example.n_truncated,
        )

    def _counted(self, example: LabelledExample) -> Floats:
        """The scores of counted n-grams; see `layers.mixed_head.MixedHead`."""
        facts = example.facts
        assert facts is not None
        assert facts.scores is not None
        scores_C: Floats = self._counted_bias
        for side, text in list(enumerate(facts.counted))[self._model.sides]:
            scores_C = scores_C + facts.scores.token_scores(side, [text])[0].sum(0)
        return scores_C

    def _is_known(self, example: LabelledExample) -> bool:
        """Whether training has seen a token of the texts that are read, or one of its characters."""
        silent, sides = self.tokenizers[TEXT].silent, self._model.sides
        ids = [id_ for id_ in chain.from_iterable(example.texts[sides]) if id_ not in silent]
        if self._model.embedding[ids].any():
            return True
        letters = self.tokenizers.get(CHARACTERS)
        others = frozenset() if letters is None else letters.silent
        return example.facts is not None and example.facts.is_known(sides, others)


class TokenPredictor(LabelAnswers):
    """Predicts the tags of tokens.

    Args:
        run: the run.
        model: its model.
    """

    def __init__(self, run: Run, model: Tagger) -> None:
        self.recipe, self.task, self.tokenizers = run.recipe, run.task, run.tokenizers
        self._model, self._run = model, run

    def _predict(self, examples: Sequence[Any]) -> list[LabelPrediction]:
        return self._run.answers(self._prediction, examples, lambda slow: slow._predict(examples))

    def _prediction(self, example: tagged.TagExample) -> LabelPrediction:
        p_TC, best_T = self._model.predict(example)
        tags = tuple(self.labels.names[tag] for tag in best_T)
        return LabelPrediction(tags, p_TC.astype(np.float32), (example.tokens,), (None,))


def _label_predictor(run: Run, weights: Weights) -> TextPredictor | TokenPredictor:
    sizes = {role: len(each) for role, each in run.tokenizers.items()}
    n_words, n_labels, n_letters = sizes[TEXT], sizes[LABELS], sizes.get(CHARACTERS, 0)
    config = run.recipe.model
    if run.task.by_token:
        labels = run.tokenizers[LABELS]
        return TokenPredictor(run, Tagger(config, weights, n_words, n_letters, labels))
    Model = Classifier if run.task.name == "classify" else PairClassifier
    return TextPredictor(run, Model(config, weights, n_words, n_labels, n_letters), weights)


class TranslationPredictor:
    """Translates texts.

    Args:
        run: the run.
        model: its model.
    """

    def __init__(self, run: Run, model: Translator) -> None:
        self.recipe, self.task, self.tokenizers = run.recipe, run.task, run.tokenizers
        self._model, self._run = model, run
        self._longest_target = SplitRecord.load(run.folder).longest_target

    def predict(
        self, texts: Iterable[str], decoding: DecodingConfig, *, with_attention: bool = False
    ) -> list[Prediction]:
        """As `predictors.seq2seq.Predictor.predict`."""
        texts = list(texts)

        def answer(text: str) -> Prediction:
            if with_attention:
                raise Refused("attention")
            return self._prediction(text, decoding)

        def slowly(slow: Any) -> Any:
            return slow.predict(texts, decoding, with_attention=with_attention)

        return self._run.answers(answer, texts, slowly)

    def _prediction(self, text: str, decoding: DecodingConfig) -> Prediction:
        decoding = decoding.for_answers_of(self._longest_target)
        words = self.tokenizers["source"]
        ids, most = words.encode(text), decoding.max_input_length
        read = [*ids[:most], EOS_ID]
        hypotheses = [Hypothesis((), 0.0, 0.0, None, True)]
        if len(read) > 1:
            hypotheses = self._model.decode(read, decoding)
        n_truncated = max(0, len(ids) - most)
        found = prediction_of(read, (), hypotheses, self.tokenizers, n_truncated)
        pieces = as_written(words, text, found.source_pieces)
        return found if pieces == found.source_pieces else replace(found, source_words=pieces)
