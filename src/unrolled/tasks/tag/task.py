"""Tagging: a tag for each token, as its part of speech, or whether a name begins or goes on there.

A recurrent layer reads the sentence both ways, and what it says at a token gives a score to each tag. The
tag is then chosen by a softmax at each token, or by a linear-chain CRF for the sentence as a whole
(`layers.crf`), as in Lample et al. 2016, "Neural architectures for named entity recognition". A word is
its embedding and, beside it, what a small recurrent layer makes of its characters (section 4.1 there), so
that something is known of a word that was never seen.

Tokens are those of the data, looked up whole. A sentence longer than `data.max_length` is read in pieces
of that length, each without what stands around it: every token has its tag, and the CRF still chooses for
the whole sentence. So nothing is cut away, and nothing of a score either.

Where tags write spans (`metrics.spans`), the scheme is found from the training part: BIO, where spans
begin with B; IOB1, where B only stands between two spans of one type; BIOES, which also marks ends, and
BILOU, the same in other letters. A CRF
gives no probability to what the scheme does not allow, unless the training part itself holds some of it.

In reading order: `tag_data.py` (sentences as ids), `tagger.py` (model and loss), and here what is
answered and measured, and the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unrolled.metrics.slices import Mistake
from unrolled.metrics.spans import find_spans
from unrolled.metrics.tags import measure_tags, signature, tally_tags
from unrolled.tasks import text_labels
from unrolled.tasks.predictions import LabelPrediction, LabelScores
from unrolled.tasks.tag.data import (
    CHARACTERS,
    TagBatch,
    TagData,
    TagExample,
    check_kind,
    collate,
    cut,
    encode,
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
from unrolled.tasks.task import LABELS, LabelTask, Tokenizers
from unrolled.text.labels import Labels
from unrolled.text.rows import Field, as_list
from unrolled.text.splits import Reading
from unrolled.text.tokenizer import TextConfig

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


# Answers


def predict(
    model: Tagger, examples: Sequence[TagExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """The tags of each sentence, the likeliest together of a CRF; and each one's probabilities."""
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
    model: Tagger, scores_NC: Tensor, lengths: Tensor
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
    """Nothing is to be chosen on the validation part."""
    return predictions


@dataclass(frozen=True)
class TaggedSpan:
    """A span that tags write.

    Args:
        start: its first token, from 0.
        end: the token after its last.
        type: what it is.
        text: its tokens, with spaces between them.
        probability: of its tags, the least; that of all of them together is no larger.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float


def spans_of(prediction: LabelPrediction, labels: Labels) -> list[TaggedSpan]:
    """The spans of an answer, read as conlleval does; none where tags write no spans."""
    if not labels.scheme:
        return []
    sure = probabilities_of(prediction, labels)
    words = prediction.pieces[0]
    return [
        TaggedSpan(start, end, kind, " ".join(words[start:end]), min(sure[start:end]))
        for start, end, kind in find_spans(prediction.labels, labels.scheme)  # type: ignore[arg-type]
    ]


def probabilities_of(prediction: LabelPrediction, labels: Labels) -> list[float]:
    """Of each token's tag."""
    rows = zip(prediction.labels, prediction.probabilities, strict=True)
    return [float(row[labels.id_of(tag)]) for tag, row in rows]


# Scores


def evaluate(
    model: Any,
    examples: Sequence[TagExample],
    predictions: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> LabelScores:
    """Everything that is measured of tags."""
    labels: Labels = tokenizers[LABELS]
    gold = [[labels.names[tag] for tag in example.tags or ()] for example in examples]
    given = [each.labels for each in predictions]
    return LabelScores(
        measure_tags(gold, given, labels, [each.probabilities for each in predictions]),
        lambda: tally_tags(gold, given, labels),
        lambda texts: list(_mistakes(examples, gold, predictions, labels)),
    )


def scores(tokenizers: Tokenizers) -> tuple[str, ...]:
    """The names of what `evaluate` measures, of which more is better."""
    labels: Labels = tokenizers[LABELS]
    one = [labels.names[:1]]
    return text_labels.better_of(tally_tags(one, one, labels))


def _mistakes(
    examples: Sequence[TagExample],
    gold: Sequence[Sequence[str]],
    predictions: Sequence[LabelPrediction],
    labels: Labels,
) -> Iterator[Mistake]:
    """Of each sentence with wrong tags the surest, those of all sentences surest first."""
    found = []
    for index, (right, each) in enumerate(zip(gold, predictions, strict=True)):
        sure = probabilities_of(each, labels)
        wrong = [place for place, tag in enumerate(each.labels) if tag != right[place]]
        if wrong:
            place = max(wrong, key=sure.__getitem__)
            found.append((-sure[place], index, place))
    for surest, index, place in sorted(found)[:_MOST_MISTAKES]:
        words = list(examples[index].tokens)
        words[place] = f"⟦{words[place]}⟧"
        tags = gold[index][place], predictions[index].labels[place]
        yield Mistake(index, " ".join(words), *tags, -surest)


def _has_tokens(fields: Sequence[Field]) -> bool:
    return bool(as_list(fields[0]))


def _sentence(fields: Sequence[Field]) -> Sequence[Field]:
    return fields[:1]


def check_pretrained(config: TagConfig, text: TextConfig) -> None:
    """Refuse tokens that are no words, and a file of vectors that the embedding cannot begin with."""
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
    when_long="read in pieces of that length",
    notes=notes,
)
