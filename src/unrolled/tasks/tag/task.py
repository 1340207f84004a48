"""Tagging: a tag for each token, such as its part of speech, or whether a name begins or continues.

A bidirectional recurrent layer reads the sentence, and its output at each token gives a score to each
tag. The tags are then predicted by a softmax at each token, or jointly by a linear-chain CRF for the
whole sentence (`layers.crf`), as in Lample et al. 2016, "Neural architectures for named entity
recognition". A word is represented by its embedding, concatenated with the output of a small recurrent
layer over its characters (section 4.1), which also gives information about unseen words.

The tokens of the data are looked up whole. A sentence longer than `data.max_length` is read in pieces of
that length, each without its context: every token still gets a tag, and the CRF decodes the whole
sentence. So nothing is cut, and all tokens are scored.

If tags encode spans (`metrics.spans`), the scheme is detected in the training part: BIO, in which spans
begin with B; IOB1, in which B only occurs between two adjacent spans of the same type; BIOES, which also
marks ends; and BILOU, the same with other letters. A CRF gives probability 0 to transitions that the
scheme does not allow, unless the training part itself violates the scheme.

In reading order: `data.py` (sentences as ids), `model.py` (model and loss), and this file (predictions,
scores and the task).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unrolled.metrics.slices import Mistake
from unrolled.metrics.tags import measure_tags, signature, tally_tags
from unrolled.tasks import text_labels
from unrolled.tasks.predictions import LabelPrediction, LabelScores
from unrolled.tasks.roles import CHARACTERS, LABELS, Tokenizers
from unrolled.tasks.tag.data import (
    TagBatch,
    check_kind,
    collate,
    lengths,
    notes,
    scheme_of,
    shuffle,
    tags_in,
    tokens,
    train_tokenizers,
    transitions,
)
from unrolled.tasks.tag.model import (
    TagConfig,
    Tagger,
    build,
    evaluate_loss,
    in_rows,
    loss,
    mask_of,
    prepare,
)
from unrolled.tasks.tagged import (
    TagData,
    TagExample,
    TaggedSpan,
    cut,
    encode,
    probabilities_of,
    spans_of,
)
from unrolled.tasks.task import LabelTask
from unrolled.text.config import TextConfig
from unrolled.text.labels import Labels
from unrolled.text.rows import Field, as_list
from unrolled.text.splits import Reading

__all__ = [
    "CHARACTERS",
    "TASK",
    "TagBatch",
    "TagConfig",
    "TagData",
    "TagExample",
    "TaggedSpan",
    "Tagger",
    "build",
    "collate",
    "cut",
    "encode",
    "evaluate",
    "evaluate_loss",
    "in_rows",
    "lengths",
    "loss",
    "notes",
    "predict",
    "prepare",
    "probabilities_of",
    "scheme_of",
    "scores",
    "shuffle",
    "spans_of",
    "tokens",
    "train_tokenizers",
    "transitions",
    "tune_thresholds",
]

_MOST_MISTAKES = 20


# Predictions


def predict(
    model: Any, examples: Sequence[TagExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """The tags of each sentence, with a CRF the most probable sequence; and their probabilities.

    The model is a `Tagger`, or has its methods.
    """
    names: tuple[str, ...] = tokenizers[LABELS].names
    batch = collate([replace(example, tags=None) for example in examples])
    batch = batch.to(model.seen_once.device)
    probabilities_NC, best_N = _chosen(model, model(batch), batch.lengths)
    ends = np.cumsum(batch.lengths.numpy())[:-1]
    predictions = []
    for example, probabilities_TC, best_T in zip(
        examples, np.split(probabilities_NC, ends), np.split(best_N, ends), strict=True
    ):
        if example.order is not None:
            # Token order[t] was read at t.
            back_T = np.argsort(example.order)
            probabilities_TC, best_T = probabilities_TC[back_T], best_T[back_T]
        tags = tuple(names[tag] for tag in best_T.tolist())
        predictions.append(LabelPrediction(tags, probabilities_TC, (example.tokens,), (None,)))
    return predictions


def _chosen(
    model: Any, scores_NC: Tensor, lengths: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if model.crf is None:
        probabilities_NC, best_N = scores_NC.softmax(1), scores_NC.argmax(1)
    else:
        emissions_BTC = in_rows(scores_NC, lengths)
        mask_BT = mask_of(lengths, scores_NC.device)
        probabilities_NC = model.crf.marginals(emissions_BTC, lengths)[mask_BT]
        best_N = model.crf.best(emissions_BTC, lengths)[mask_BT]
    return probabilities_NC.float().cpu().numpy(), best_N.cpu().numpy()


def tune_thresholds(
    model: Any,
    examples: Sequence[TagExample],
    predictions: list[LabelPrediction],
    tokenizers: Tokenizers,
) -> list[LabelPrediction]:
    """Return the predictions unchanged: tagging has no thresholds."""
    return predictions


# Scores


def evaluate(
    model: Any,
    examples: Sequence[TagExample],
    predictions: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> LabelScores:
    """All measurements of the predicted tags."""
    labels: Labels = tokenizers[LABELS]
    gold = [[labels.names[tag] for tag in example.tags or ()] for example in examples]
    predicted = [prediction.labels for prediction in predictions]
    return LabelScores(
        measure_tags(
            gold, predicted, labels, [prediction.probabilities for prediction in predictions]
        ),
        lambda: tally_tags(gold, predicted, labels),
        lambda texts: list(_mistakes(examples, gold, predictions, labels)),
    )


def scores(tokenizers: Tokenizers) -> tuple[str, ...]:
    """The names of the scores of `evaluate` for which larger is better."""
    labels: Labels = tokenizers[LABELS]
    one = [labels.names[:1]]
    return text_labels.better_of(tally_tags(one, one, labels))


def _mistakes(
    examples: Sequence[TagExample],
    gold: Sequence[Sequence[str]],
    predictions: Sequence[LabelPrediction],
    labels: Labels,
) -> Iterator[Mistake]:
    """The most confident wrong tag of each sentence, over all sentences the most confident first."""
    found = []
    for index, (gold_tags, prediction) in enumerate(zip(gold, predictions, strict=True)):
        probabilities = probabilities_of(prediction, labels)
        wrong = [place for place, tag in enumerate(prediction.labels) if tag != gold_tags[place]]
        if wrong:
            place = max(wrong, key=probabilities.__getitem__)
            found.append((-probabilities[place], index, place))
    for negative, index, place in sorted(found)[:_MOST_MISTAKES]:
        words = list(examples[index].tokens)
        words[place] = f"⟦{words[place]}⟧"
        tags = gold[index][place], predictions[index].labels[place]
        yield Mistake(index, " ".join(words), *tags, -negative, token=place)


def _has_tokens(fields: Sequence[Field]) -> bool:
    return bool(as_list(fields[0]))


def _sentence(fields: Sequence[Field]) -> Sequence[Field]:
    return fields[:1]


def check_pretrained(config: TagConfig, text: TextConfig) -> None:
    """Refuse tokens that are not whole words, and a vector file that does not fit the embedding."""
    check_kind(text)
    config.embeddings.check_file("model.embeddings", config.embedding_size, text.kind)


_COLUMNS = ("tokens", "tags")

TASK: LabelTask = LabelTask(
    name="tag",
    columns=_COLUMNS,
    Config=TagConfig,
    reading=Reading(
        is_full=_has_tokens,
        linked=_sentence,
        lists="all",
        by_token=True,
        names=_COLUMNS,
        labels=tags_in,
    ),
    train_tokenizers=train_tokenizers,
    encode=encode,
    lengths=lengths,
    cut=cut,
    collate=collate,
    build=build,
    prepare=prepare,
    loss=loss,
    evaluate_loss=evaluate_loss,
    predict=predict,
    tune_thresholds=tune_thresholds,
    evaluate=evaluate,
    scores=scores,
    tokens=tokens,
    shuffle=shuffle,
    signature=signature,
    use='predict {run} "…"',
    Data=TagData,
    extend=text_labels.extend,
    load_pretrained=text_labels.load_vectors,
    check_pretrained=check_pretrained,
    text={"kind": "word", "vocab_size": 50_000},
    by_token=True,
    inherited=("scheme",),
    training_only=text_labels.TRAINING_ONLY,
    when_long="split into pieces of that length",
    notes=notes,
)
