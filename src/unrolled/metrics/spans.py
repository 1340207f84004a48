"""Precision, recall and F1 of spans that are encoded as one label per token.

A label is "O", or a prefix, a hyphen and a type: "B-PER"; a prefix alone, "B", has the type "". A span is
correct if its type and both ends equal those of a gold span (CoNLL-2000; Tjong Kim Sang and Buchholz
2000). There are four schemes:

    bio (IOB2)   B begins every span, I continues it
    iob1         I begins and continues a span; B begins a span directly after another of its type
    bioes        B begins, I continues and E ends a span; S is a span of one token
    bilou        the same with L for E and U for S

Models predict sequences that no scheme allows, and some data sets contain them. There are two readings:

"conlleval", the default: the rule of the shared tasks' script, with which every label except O belongs to
a span. A span begins at B and S; at I and E after O, after E or S, or after another type. It ends with E
and S, before O, and before the next span begins. The same rule is used for all schemes.

"strict": only well-formed spans count. bio: B and the following I of its type. bioes: S, or B, any number
of I, and E, all of one type. iob1: as defined above; a B that does not follow a token of its type begins
no span, and neither does an I after it. Labels outside spans are ignored. Gold labels are read in the
same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, DataError
from unrolled.metrics.class_counts import ClassCounts, ratio
from unrolled.metrics.display import WIDTH, class_lines, score_lines, short_repr
from unrolled.metrics.tally import Floats, Ints, Scores, Tally
from unrolled.quoting import brief, quote
from unrolled.wording import wrapped

Scheme = Literal["bio", "bioes", "bilou", "iob1"]
Reading = Literal["conlleval", "strict"]

_PREFIXES: dict[str, str] = {"bio": "BI", "bioes": "BIES", "bilou": "BILU", "iob1": "BI"}
_AS_BIOES = {"L": "E", "U": "S"}


class Span(NamedTuple):
    """A span of tokens start … end − 1 of a sequence, 0-based, with its type."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, repr=False)
class SpanEvaluation:
    """The evaluation of spans.

    Args:
        types: the T types of gold and predicted spans, in alphabetical order.
        right: number of correct spans by type.
        predicted: number of predicted spans by type.
        gold: number of gold spans by type.
        n_tokens: number of tokens.
        n_right_tokens: number of tokens with the correct label, prefix and type.
        n_sequences: number of sequences.
        scheme: scheme of the labels.
        reading: how ill-formed labels were read.

    >>> found = measure_spans([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "O", "O"]])
    >>> print(*found.lines(), sep="\\n")
    score             value
    F1               66.67%
    precision       100.00%
    recall           50.00%
    macro F1         50.00%
    token accuracy   75.00%
    <BLANKLINE>
    type  precision   recall       F1  gold  predicted
    LOC       0.00%    0.00%    0.00%     1          0
    PER     100.00%  100.00%  100.00%     1          1
    """

    types: tuple[str, ...]
    right: tuple[int, ...]
    predicted: tuple[int, ...]
    gold: tuple[int, ...]
    n_tokens: int
    n_right_tokens: int
    n_sequences: int
    scheme: Scheme = "bio"
    reading: Reading = "conlleval"

    @property
    def counts(self) -> ClassCounts:
        """Counts by type, `[T]` each."""
        columns = (self.right, self.predicted, self.gold)
        return ClassCounts(*(np.array(column, np.int64) for column in columns))

    def __repr__(self) -> str:
        return short_repr(self)

    def scores(self) -> dict[str, float]:
        """All scores by name, 0…1."""
        scores = span_scores(self.counts, np.array(self.n_right_tokens), np.array(self.n_tokens))
        return {name: float(value) for name, value in scores.items()}

    def signature(self) -> dict[str, str]:
        """How each score was computed."""
        return signature(self.scheme, self.reading, f"n:{self.n_sequences}|spans:{sum(self.gold)}")

    @property
    def shown_types(self) -> tuple[str, ...]:
        """The names of the types in tables; the empty type is shown as "(span)"."""
        return tuple(name or "(span)" for name in self.types)

    @property
    def redundant(self) -> frozenset[str]:
        """Scores that are not shown: with one type of span, macro F1 is F1."""
        return frozenset({"macro_f1"} if len(self.types) < 2 else ())

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """All scores, and scores by type, as lines of text."""
        scores = self.scores().items()
        shown = {name: value for name, value in scores if name not in self.redundant}
        yield from score_lines(shown, width=width)
        yield ""
        yield from self.tables(width)

    def tables(self, width: int = WIDTH) -> Iterator[str]:
        """Scores by type; with one type of span, only its counts."""
        if len(self.types) > 1:
            yield from class_lines("type", self.shown_types, self.counts, width)
        elif self.types:
            name = brief(self.shown_types[0])
            counts = f"gold {self.gold[0]:,}, predicted {self.predicted[0]:,}"
            yield from wrapped(f"spans of type {name}: {counts}", width)


def find_spans(
    labels: Sequence[str], scheme: Scheme = "bio", reading: Reading = "conlleval"
) -> list[Span]:
    """Find the spans of one sequence of labels, ordered by their start.

    Args:
        labels: one label per token.
        scheme: scheme of the labels.
        reading: how ill-formed labels are read.

    Raises:
        ConfigError: the scheme or reading is unknown.
        DataError: a label is not valid in the scheme; the message names the token.

    >>> find_spans(["I-PER", "O", "B-LOC", "I-PER"])
    [Span(start=0, end=1, type='PER'), Span(start=2, end=3, type='LOC'), Span(start=3, end=4, type='PER')]
    >>> find_spans(["I-PER", "O", "B-LOC", "I-PER"], reading="strict")
    [Span(start=2, end=3, type='LOC')]
    """
    _check(scheme, reading)
    parts = [_split(label, scheme, place) for place, label in enumerate(labels)]
    if reading == "conlleval":
        return list(_as_conlleval(parts))
    if scheme in ("bioes", "bilou"):
        return list(_strict_bioes(parts))
    return list(_strict_bio(parts, scheme == "iob1"))


def measure_spans(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme = "bio",
    reading: Reading = "conlleval",
) -> SpanEvaluation:
    """Evaluate the spans of predicted label sequences.

    Args:
        gold: gold labels of each sequence.
        predicted: predicted labels of each sequence, of the same lengths.
        scheme: scheme of the labels.
        reading: how ill-formed labels are read.

    Raises:
        ConfigError: the scheme or reading is unknown.
        DataError: a label is not valid in the scheme; the message names sequence and token.
        ValueError: the numbers of sequences or labels differ, or there are no sequences.
    """
    types, counts_N3T, tokens_N2 = _count(gold, predicted, scheme, reading)
    n_right, n_predicted, n_gold = counts_N3T.sum(0).tolist()
    n_right_tokens, n_tokens = tokens_N2.sum(0).tolist()
    return SpanEvaluation(
        tuple(types),
        tuple(n_right),
        tuple(n_predicted),
        tuple(n_gold),
        n_tokens,
        n_right_tokens,
        len(gold),
        scheme,
        reading,
    )


def tally_spans(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme = "bio",
    reading: Reading = "conlleval",
) -> Tally:
    """What each sequence adds to the scores of `span_scores`, for intervals and slices.

    Raises:
        ConfigError, DataError, ValueError: as for `measure_spans`.
    """
    types, counts_N3T, tokens_N2 = _count(gold, predicted, scheme, reading)
    n_types = len(types)
    rows_NK = np.concatenate([counts_N3T.reshape(len(gold), 3 * n_types), tokens_N2], axis=1)

    def of_sums(sums: Floats) -> Scores:
        by_type = sums[..., :-2].reshape(*sums.shape[:-1], 3, n_types)
        n_right, n_predicted, n_gold = np.moveaxis(by_type, -2, 0)
        return span_scores(ClassCounts(n_right, n_predicted, n_gold), sums[..., -2], sums[..., -1])

    return Tally.of_rows(rows_NK, of_sums)


def span_scores(
    counts: ClassCounts, n_right_tokens: NDArray[Any], n_tokens: NDArray[Any]
) -> Scores:
    """Compute the scores of spans from counts.

    Args:
        counts: `[..., T]`, counts by type.
        n_right_tokens: `[...]`, number of tokens with the correct label.
        n_tokens: `[...]`, number of tokens.
    """
    return {
        "f1": counts.micro_f1,
        "precision": counts.micro_precision,
        "recall": counts.micro_recall,
        "macro_f1": counts.macro_f1,
        "token_accuracy": ratio(n_right_tokens, n_tokens),
    }


def signature(
    scheme: Scheme = "bio", reading: Reading = "conlleval", of: str = ""
) -> dict[str, str]:
    """How each score is computed, one line each; see `labels.signature`."""
    how = f"scheme:{scheme}|reading:{reading}|match:type and both ends"
    lines = {
        name: f"{how}|average:{average}|0/0:0"
        for name, average in (
            ("f1", "micro"),
            ("precision", "micro"),
            ("recall", "micro"),
            ("macro_f1", "macro over types, gold or predicted"),
        )
    }
    lines["token_accuracy"] = "same label, prefix and type / tokens"
    return {name: f"{of}|{line}" for name, line in lines.items()} if of else lines


def find_scheme(labels: Iterable[str]) -> Scheme | None:
    """Detect the scheme of a set of labels: "bioes" if there is an E or an S, "bilou" if there is
    an L or a U, otherwise "bio".

    "iob1" uses the labels of "bio", and the reading "conlleval" treats them alike. Prefixes without types
    are accepted only if both B and I occur, and L and U only together with B. Returns None if the labels
    do not encode spans, such as parts of speech.

    >>> find_scheme({"O", "B-PER", "I-PER"}), find_scheme({"B-LOC", "E-LOC"}), find_scheme({"NN", "O"})
    ('bio', 'bioes', None)
    """
    parts = [label.partition("-") for label in labels if label != "O"]
    letters = {letter for letter, _, _ in parts}
    has_types = all(hyphen and kind for _, hyphen, kind in parts)
    has_none = not any(hyphen for _, hyphen, _ in parts) and {"B", "I"} <= letters
    if not parts or not (has_types or has_none):
        return None
    if letters <= {"B", "I"}:
        return "bio"
    if letters <= {"B", "I", "E", "S"}:
        return "bioes"
    return "bilou" if "B" in letters and letters <= {"B", "I", "L", "U"} else None


def _as_conlleval(parts: Sequence[tuple[str, str]]) -> Iterator[Span]:
    start: int | None = None
    before, type_before = "O", ""
    for place, (prefix, type_here) in enumerate([*parts, ("O", "")]):
        begins = prefix != "O" and (prefix in "BS" or before in "OES" or type_here != type_before)
        if start is not None and (begins or prefix == "O"):
            yield Span(start, place, type_before)
            start = None
        if begins:
            start = place
        before, type_before = prefix, type_here


def _strict_bio(parts: Sequence[tuple[str, str]], iob1: bool) -> Iterator[Span]:
    start: int | None = None
    before, type_before = "O", ""
    for place, (prefix, type_here) in enumerate([*parts, ("O", "")]):
        follows = before != "O" and type_here == type_before
        if prefix == "O":
            begins = continues = False
        elif iob1:
            begins = (prefix == "B") == follows
            continues = prefix == "I" and follows
        else:
            begins = prefix == "B"
            continues = prefix == "I" and follows
        if start is not None and not continues:
            yield Span(start, place, type_before)
            start = None
        if begins:
            start = place
        before, type_before = prefix, type_here


def _strict_bioes(parts: Sequence[tuple[str, str]]) -> Iterator[Span]:
    start: int | None = None
    type_open = ""
    for place, (prefix, type_here) in enumerate(parts):
        continues = start is not None and prefix in ("I", "E") and type_here == type_open
        if prefix == "S":
            yield Span(place, place + 1, type_here)
        elif prefix == "E" and continues:
            assert start is not None
            yield Span(start, place + 1, type_here)
        if prefix == "B":
            start, type_open = place, type_here
        elif not (prefix == "I" and continues):
            start = None


def _split(label: str, scheme: Scheme, place: int) -> tuple[str, str]:
    """Prefix and type of a label, with the prefixes of BIOES; the type of O is ""."""
    parts = _parts(label, scheme)
    if parts is None:
        wanted = ", ".join(f"'{prefix}-…'" for prefix in _PREFIXES[scheme])
        other = {"E": "bioes", "S": "bioes", "L": "bilou", "U": "bilou"}.get(
            label.partition("-")[0]
        )
        hint = f"; it is valid in scheme '{other}'" if other not in (None, scheme) else ""
        raise DataError(
            f"token {place + 1}: {quote(label)} is not a label of scheme '{scheme}', expected 'O', "
            f"{wanted}{hint}"
        )
    return parts


@lru_cache(maxsize=4096)  # few distinct labels, but very many tokens
def _parts(label: str, scheme: str) -> tuple[str, str] | None:
    if label == "O":
        return "O", ""
    prefix, _, kind = label.partition("-")
    if prefix not in tuple(_PREFIXES[scheme]):
        return None
    return _AS_BIOES.get(prefix, prefix), kind


def _check(scheme: str, reading: str) -> None:
    if scheme not in get_args(Scheme):
        choices = ", ".join(f"'{name}'" for name in get_args(Scheme))
        raise ConfigError(f"the scheme of spans must be one of {choices}, got '{scheme}'")
    if reading not in get_args(Reading):
        raise ConfigError(f"the reading of spans must be 'conlleval' or 'strict', got '{reading}'")


def _count(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme,
    reading: Reading,
) -> tuple[list[str], Ints, Ints]:
    """Types; correct, predicted and gold spans, `[N, 3, T]`; correct and all tokens, `[N, 2]`."""
    if len(gold) != len(predicted):
        raise ValueError(
            f"gold has {len(gold):,} sequences and predicted {len(predicted):,}: pass equally many"
        )
    if not gold:
        raise ValueError("no sequences to score: pass at least one")
    pairs: list[tuple[set[Span], set[Span]]] = []
    tokens_N2 = np.zeros((len(gold), 2), np.int64)
    for row, (gold_T, predicted_T) in enumerate(zip(gold, predicted, strict=True)):
        if len(gold_T) != len(predicted_T):
            raise ValueError(
                f"sequence {row + 1} has {len(gold_T)} gold labels and {len(predicted_T)} predicted: "
                "pass one per token"
            )
        try:
            pairs.append(
                (
                    set(find_spans(gold_T, scheme, reading)),
                    set(find_spans(predicted_T, scheme, reading)),
                )
            )
        except DataError as error:
            raise DataError(f"sequence {row + 1}, {error.problem}") from None
        tokens_N2[row] = sum(map(str.__eq__, gold_T, predicted_T)), len(gold_T)
    types = sorted({span.type for pair in pairs for spans in pair for span in spans})
    ids = {name: index for index, name in enumerate(types)}
    counts_N3T = np.zeros((len(gold), 3, len(types)), np.int64)
    for row, (gold_spans, predicted_spans) in enumerate(pairs):
        columns = gold_spans & predicted_spans, predicted_spans, gold_spans
        for column, spans in enumerate(columns):
            for span in spans:
                counts_N3T[row, column, ids[span.type]] += 1
    return types, counts_N3T, tokens_N2
