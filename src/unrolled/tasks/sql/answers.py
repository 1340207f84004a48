"""From a question to queries: search, rendering, and the choice of a query that runs."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Literal

import numpy as np
import torch

from unrolled.config import Range, check_fields
from unrolled.decoding import decode as decode_hypotheses
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.decoding.query_mask import QueryMask
from unrolled.decoding.types import Hypothesis
from unrolled.sql.grammar import QueryGrammar
from unrolled.sql.linking import Link
from unrolled.sql.off_topic import OFF_TOPIC
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import (
    END,
    N_SPECIAL,
    NOTHING,
    WORD_MARK,
    Piece,
    class_of_word,
    from_pieces,
)
from unrolled.sql.source import open_source
from unrolled.sql.target import to_sql
from unrolled.sql.tokens import Item, describe
from unrolled.tasks.ensemble import DecoderEnsemble
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.sql.examples import (
    TARGET,
    QueryExample,
    encode,
    keywords_of,
    questions,
    written,
)
from unrolled.tasks.sql.model import QueryModel
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer

_MOST_SECONDS = 1.0
"""Time of a query that is run to choose among several."""


@dataclass(frozen=True)
class QueryDecoding(DecodingConfig):
    """The `[decoding]` section of a recipe for queries; other settings are as in `DecodingConfig`.

    Args:
        grammar: whether only what a grammar allows is written: SQL that names what exists and is in
            scope.
        execution: which of the best hypotheses is the answer: the "first"; the first that "runs"; or the
            first that runs and returns "rows", if there is one. Has no effect on a schema without a
            database.
        least_confidence: minimum probability of an answer; a question whose best query is less probable
            has no answer. -1 = chosen on the validation part, see `calibrate`. Unless it is 0, a question
            that mentions no name and no value of the database, and has unknown words, has no answer.

    Raises:
        ConfigError: a value is out of range.
    """

    max_length_extra: int = 40
    grammar: bool = True
    execution: Literal["first", "runs", "rows"] = "runs"
    least_confidence: Annotated[float, Range(-1, 1)] = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "decoding")


@torch.inference_mode()
def decode(
    model: QueryModel | DecoderEnsemble,
    examples: Sequence[QueryExample],
    tokenizers: Tokenizers,
    config: DecodingConfig,
    with_attention: bool = False,
    *,
    mask: MaskProvider | None = None,
) -> list[Prediction]:
    """Answer a batch of questions. An empty question has no answer.

    The text of a prediction is the query that was chosen, "" for no answer; its hypotheses are that one,
    then the others by score, at most `config.n_best`. The text of a hypothesis that is no query is "". Of
    a question of more than `config.max_input_length` words, the first are read.

    Args:
        model: the module.
        examples: encoded questions; their queries are not used.
        tokenizers: tokenizers by role.
        config: the decoding method and its options.
        with_attention: whether to return attention weights.
        mask: replaces the grammar.
    """
    settings = config if isinstance(config, QueryDecoding) else _settings(config)
    n_truncated = [max(0, len(each.words) - settings.max_input_length) for each in examples]
    examples = [cut(example, settings.max_input_length, tokenizers) for example in examples]
    asked = [index for index, example in enumerate(examples) if example.words]
    found: list[list[Hypothesis]] = [[] for _ in examples]
    if asked:
        chosen = [examples[index] for index in asked]
        found_asked = _search(model, chosen, tokenizers, settings, with_attention, mask)
        for index, hypotheses in zip(asked, found_asked, strict=True):
            found[index] = hypotheses
    least = model.least_log_prob.item()
    if settings.least_confidence >= 0:
        least = math.log(max(settings.least_confidence, sys.float_info.min))
    return [
        replace(
            _prediction(example, hypotheses, tokenizers[TARGET], settings, least), n_truncated=n
        )
        for example, hypotheses, n in zip(examples, found, n_truncated, strict=True)
    ]


def unknown_words(example: QueryExample) -> tuple[str, ...]:
    """The words that are in no vocabulary, link to nothing and are part of no value."""
    of_values = {step for each in example.values for step in range(each.first, each.last + 1)}
    return tuple(
        word
        for step, (word, id_) in enumerate(zip(example.words, example.question, strict=False))
        if id_ == UNK_ID
        and word[0].isalpha()
        and step not in of_values
        and not example.links[step].any()
    )


def unused_values(example: QueryExample, query: str) -> tuple[str, ...]:
    """The numbers and values of the database that a question mentions and its query does not have.

    Of mentions that share words, such as those of a month and of its year, the query needs to have one.
    Values that may be misspelt, or that are also names of tables or columns, are left out.
    """
    mentions = [
        (each.first, each.last, each.text)
        for each in example.values
        if each.similarity == 1
        and not (example.links[each.first : each.last + 1] == Link.NAME).any()
    ]
    mentions += [(i, i, word) for i, word in enumerate(example.words) if word.isdecimal()]
    written = query.replace("''", "'").casefold()
    unused: list[str] = []
    end = -1
    for first, last, text in sorted(mentions):
        if first > end:
            unused.append("")
            start, end, is_used = first, last, False
        end = max(end, last)
        is_used = is_used or _has_text(written, text.casefold())
        unused[-1] = "" if is_used else " ".join(example.words[start : end + 1])
    return tuple(filter(None, unused))


def _has_text(query: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", query) is not None


def names_nothing(example: QueryExample) -> bool:
    """Whether a question mentions no name and no value of the database, and has unknown words."""
    return not (example.links.any() or example.values) and bool(unknown_words(example))


def cut(example: QueryExample, most: int, tokenizers: Tokenizers) -> QueryExample:
    """The example with at most so many words of its question; without its query if it is cut."""
    if len(example.words) <= most:
        return example
    text = " ".join(example.words[:most])
    return encode((text, str(example.source.path)), tokenizers)


def _settings(config: DecodingConfig) -> QueryDecoding:
    return QueryDecoding(**vars(config))


def _search(
    model: QueryModel | DecoderEnsemble,
    examples: Sequence[QueryExample],
    tokenizers: Tokenizers,
    config: QueryDecoding,
    with_attention: bool,
    mask: MaskProvider | None,
) -> list[list[Hypothesis]]:
    device = model.head.bias.device
    limits = [
        max(
            config.min_length_limit,
            int(len(example.question) * config.max_length_ratio) + config.max_length_extra,
        )
        for example in examples
    ]
    if config.method == "beam":  # the first of them that runs is the answer
        config = replace(config, n_best=config.beam_size)
    token_mask = None
    if mask is not None:
        token_mask = mask(examples)
    elif config.grammar:
        token_mask = grammar_mask(examples, tokenizers[TARGET])
    return decode_hypotheses(
        model.step_model(),
        model.encode(questions(examples).to(device)),
        torch.tensor(limits),
        config,
        BOS_ID,
        EOS_ID,
        with_attention,
        forbidden=[PAD_ID, UNK_ID],
        mask=token_mask,
        device=device,
    )


def grammar_mask(examples: Sequence[QueryExample], target: Tokenizer) -> QueryMask:
    """The mask by which every hypothesis is SQL that names what exists and is in scope."""
    keywords = keywords_of(target)
    # Rows of a database share its grammar, and with it what hypotheses have in common.
    sources = {example.source for example in examples}
    grammar_of = {source: QueryGrammar(source.schema, keywords) for source in sources}
    grammars = [grammar_of[example.source] for example in examples]
    S = max(example.n_steps for example in examples)
    vocabulary = classes_of(target)
    classes = torch.full((len(examples), len(vocabulary) + S), NOTHING, dtype=torch.int64)
    classes[:, : len(vocabulary)] = torch.tensor(vocabulary)
    for row, example in enumerate(examples):
        # A step that writes a word of the vocabulary is never written under an id of its own.
        own = [
            kind if id_ == len(vocabulary) + step else NOTHING
            for step, (id_, kind) in enumerate(zip(example.writes, example.classes, strict=True))
        ]
        classes[row, len(vocabulary) : len(vocabulary) + len(own)] = torch.tensor(own)
    return QueryMask.of(grammars, classes)


def classes_of(target: Tokenizer) -> list[int]:
    """The class of each id of a vocabulary of queries."""
    place = {keyword: index for index, keyword in enumerate(keywords_of(target))}
    classes = []
    for id_, text in enumerate(target.tokens(range(len(target)))):
        if id_ in (PAD_ID, UNK_ID, BOS_ID):
            classes.append(NOTHING)
        elif id_ == EOS_ID:
            classes.append(END)
        elif text.startswith(WORD_MARK):
            classes.append(class_of_word(text.removeprefix(WORD_MARK)))
        else:
            classes.append(N_SPECIAL + place[text])
    return classes


def _prediction(
    example: QueryExample,
    hypotheses: Sequence[Hypothesis],
    target: Tokenizer,
    config: QueryDecoding,
    least_log_prob: float,
) -> Prediction:
    answers = [_answer(example, hypothesis, target) for hypothesis in hypotheses]
    place = _choose(example, answers, config)
    if place is None:
        return Prediction("", -math.inf, example.words, tuple(answers[: config.n_best]))
    answers.insert(0, answers.pop(place))
    best = answers[0]
    is_refused = config.least_confidence != 0 and names_nothing(example)
    text = "" if best.log_prob < least_log_prob or is_refused else best.text
    return Prediction(text, best.score, example.words, tuple(answers[: config.n_best]))


def _answer(example: QueryExample, hypothesis: Hypothesis, target: Tokenizer) -> Answer:
    V = len(target)
    pieces = written(hypothesis.tokens, example, target)
    try:
        tokens = from_pieces(pieces)
        text = to_sql(tokens, example.source.schema) if hypothesis.finished else ""
    except QueryError:
        text = ""
    return Answer(
        text=text,
        score=hypothesis.score,
        log_prob=hypothesis.log_prob,
        pieces=tuple(described(pieces, example)),
        attention=hypothesis.attention,
        finished=hypothesis.finished,
        copied=tuple(id_ - V if id_ >= V else None for id_ in hypothesis.tokens),
    )


def described(pieces: Sequence[Piece], example: QueryExample) -> list[str]:
    """Pieces as text, for people."""
    shown = []
    for piece in pieces:
        if isinstance(piece, str):
            shown.append(piece.removeprefix(WORD_MARK))
        elif isinstance(piece, Item):
            shown += describe([piece], example.source.schema)
        else:
            shown.append(piece.text if piece.is_number else f"'{piece.text}'")
    return shown


def _choose(example: QueryExample, answers: Sequence[Answer], config: QueryDecoding) -> int | None:
    """The index of the answer: the best query, or the best one that runs; None if there is none."""
    valid = [index for index, answer in enumerate(answers) if answer.text]
    source = example.source
    if config.execution == "first" or not source.has_rows or not valid:
        return valid[0] if valid else None
    running = None
    for index in valid:
        try:
            result = source.run(answers[index].text, most_rows=1, most_seconds=_MOST_SECONDS)
        except QueryError:
            continue
        if running is None:
            running = index
        if config.execution == "runs" or result.rows:
            return index
    return running


_LOST, _REFUSED = 0.01, 0.95
_MOST_DATABASES = 3


def calibrate(
    model: QueryModel | DecoderEnsemble,
    rows: Sequence[Row],
    predicted: Sequence[Prediction],
    tokenizers: Tokenizers,
) -> list[Prediction]:
    """Set the log-probability below which a query is no answer; return the resulting predictions.

    It is the lowest at which 95 % of questions that have nothing to do with the database (`OFF_TOPIC`,
    without those that mention a name or value of it) have no answer, but at most so high that 1 % of the
    right answers of the validation part are lost.

    Args:
        model: the module.
        rows: question, path of the database and query of each prediction.
        predicted: predictions of greedy decoding.
        tokenizers: tokenizers by role.
    """
    best = [each.hypotheses[0] if each.hypotheses else None for each in predicted]
    right = [
        answer.log_prob
        for answer, row in zip(best, rows, strict=True)
        if answer is not None and _is_right(answer, row)
    ]
    least = -math.inf
    if right:
        wrong = _log_probs_off_topic(model, rows, tokenizers)
        least = float(np.quantile(right, _LOST, method="lower"))
        if wrong:
            least = min(least, float(np.quantile(wrong, _REFUSED, method="higher")) + 1e-6)
    model.least_log_prob.fill_(least)
    return [
        replace(prediction, text=answer.text if answer and answer.log_prob >= least else "")
        for prediction, answer in zip(predicted, best, strict=True)
    ]


def _is_right(answer: Answer, row: Row) -> bool:
    """Whether an answer is the query of a row."""
    _, database, query = row.texts
    source = open_source(database)
    try:
        return answer.text == to_sql(source.tokens(query), source.schema)
    except QueryError:
        return False


def _log_probs_off_topic(
    model: QueryModel | DecoderEnsemble, rows: Sequence[Row], tokenizers: Tokenizers
) -> list[float]:
    """Log-probabilities of the answers to questions that have nothing to do with the databases."""
    databases = list(dict.fromkeys(row.texts[1] for row in rows))
    chosen = databases[:: max(1, len(databases) // _MOST_DATABASES)][:_MOST_DATABASES]
    examples = [
        encode((question, database), tokenizers) for database in chosen for question in OFF_TOPIC
    ]
    unlinked = [example for example in examples if not example.links.any() and not example.values]
    if not unlinked:
        return []
    greedy = QueryDecoding(method="greedy", execution="first", min_length_limit=_STEPS_OFF_TOPIC)
    predicted = decode(model, unlinked, tokenizers, greedy)
    return [answer.log_prob for answer in chain(*(each.hypotheses for each in predicted))]


_STEPS_OFF_TOPIC = 60
