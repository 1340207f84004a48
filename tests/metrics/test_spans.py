from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.metrics.spans import (
    Span,
    find_scheme,
    find_spans,
    measure_spans,
    tally_spans,
)


def spans(text: str, scheme="bio", reading="conlleval") -> str:
    """Spans as 'type start-last', of labels written with one space between them."""
    found = find_spans(text.split(), scheme, reading)
    return " ".join(f"{span.type}{span.start}-{span.end - 1}" for span in found)


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("", "", ""),
        ("O O O", "", ""),
        ("B-X", "X0-0", "X0-0"),
        ("B-X I-X I-X O", "X0-2", "X0-2"),
        ("O B-X I-X", "X1-2", "X1-2"),
        ("B-X B-X", "X0-0 X1-1", "X0-0 X1-1"),
        ("B-X I-X B-X I-X", "X0-1 X2-3", "X0-1 X2-3"),
        ("B-X B-Y", "X0-0 Y1-1", "X0-0 Y1-1"),
        ("I-X", "X0-0", ""),
        ("O I-X I-X O", "X1-2", ""),
        ("B-X I-Y", "X0-0 Y1-1", "X0-0"),
        ("B-X I-Y I-X", "X0-0 Y1-1 X2-2", "X0-0"),
        ("B-X I-Y I-Y", "X0-0 Y1-2", "X0-0"),
        ("I-X B-X", "X0-0 X1-1", "X1-1"),
        ("I-X I-Y", "X0-0 Y1-1", ""),
        ("B-X O I-X", "X0-0 X2-2", "X0-0"),
        ("B- I- O", "0-1", "0-1"),
        ("B I O I B I", "0-1 3-3 4-5", "0-1 4-5"),
        ("B-A-B I-A-B I-A", "A-B0-1 A2-2", "A-B0-1"),
    ],
)
def test_bio_is_read_both_ways(labels, lenient, strict):
    assert spans(labels) == lenient
    assert spans(labels, reading="strict") == strict


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("S-X", "X0-0", "X0-0"),
        ("S-X S-X", "X0-0 X1-1", "X0-0 X1-1"),
        ("B-X E-X", "X0-1", "X0-1"),
        ("B-X I-X I-X E-X O", "X0-3", "X0-3"),
        ("B-X E-X B-X E-X", "X0-1 X2-3", "X0-1 X2-3"),
        ("B-X", "X0-0", ""),
        ("B-X I-X", "X0-1", ""),
        ("B-X I-X O", "X0-1", ""),
        ("E-X", "X0-0", ""),
        ("I-X E-X", "X0-1", ""),
        ("O I-X E-X", "X1-2", ""),
        ("B-X E-Y", "X0-0 Y1-1", ""),
        ("B-X I-Y E-X", "X0-0 Y1-1 X2-2", ""),
        ("B-X B-X E-X", "X0-0 X1-2", "X1-2"),
        ("B-X S-X E-X", "X0-0 X1-1 X2-2", "X1-1"),
        ("B-X E-X E-X", "X0-1 X2-2", "X0-1"),
        ("B-X E-X I-X", "X0-1 X2-2", "X0-1"),
        ("S-X I-X", "X0-0 X1-1", "X0-0"),
        ("S-X E-X", "X0-0 X1-1", "X0-0"),
        ("B-X O E-X", "X0-0 X2-2", ""),
    ],
)
def test_bioes_is_read_both_ways(labels, lenient, strict):
    assert spans(labels, "bioes") == lenient
    assert spans(labels, "bioes", "strict") == strict


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("I-X", "X0-0", "X0-0"),
        ("I-X I-X", "X0-1", "X0-1"),
        ("O I-X I-X O", "X1-2", "X1-2"),
        ("I-X B-X I-X", "X0-0 X1-2", "X0-0 X1-2"),
        ("I-X B-X B-X", "X0-0 X1-1 X2-2", "X0-0 X1-1 X2-2"),
        ("I-X I-Y", "X0-0 Y1-1", "X0-0 Y1-1"),
        ("B-X", "X0-0", ""),
        ("O B-X I-X", "X1-2", ""),
        ("I-X B-Y I-Y", "X0-0 Y1-2", "X0-0"),
    ],
)
def test_iob1_is_read_both_ways(labels, lenient, strict):
    assert spans(labels, "iob1") == lenient
    assert spans(labels, "iob1", "strict") == strict


def all_sequences(prefixes: str, longest: int):
    """Every sequence of labels of two types, up to a length."""
    labels = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in "XY")]
    rows: list[list[str]] = [[]]
    for _ in range(longest):
        rows = [[*row, label] for row in rows for label in labels]
        yield from rows


def by_pattern(labels: list[str], scheme: str) -> list[Span]:
    """What a scheme allows, as a regular expression: one character for each label, types apart."""
    found = []
    for kind in "XY":
        # b i e s: of this type; o: O and all of the other one
        row = "".join(label[0].lower() if label.endswith(f"-{kind}") else "o" for label in labels)
        pattern = {"bio": "bi*", "bioes": "s|bi*e"}[scheme]
        found += [Span(*match.span(), kind) for match in re.finditer(pattern, row)]
    return sorted(found)


@pytest.mark.parametrize(
    ("scheme", "prefixes", "longest"), [("bio", "BI", 5), ("bioes", "BIES", 4)]
)
def test_strict_spans_are_the_matches_of_a_pattern(scheme, prefixes, longest):
    for labels in all_sequences(prefixes, longest):
        assert find_spans(labels, scheme, "strict") == by_pattern(labels, scheme), labels


def chunk_by_chunk(labels: list[str]) -> list[Span]:
    """conlleval's two tables, of which pairs of labels end a chunk and which begin one."""
    ends = ["BB", "BO", "BS", "IB", "IO", "IS"]
    begins = ["BB", "BS", "IB", "IS", "OB", "OE", "OI", "OS"]
    for closed in "ES":
        ends += [closed + prefix for prefix in "BIEOS"]
        begins += [closed + prefix for prefix in "BIES"]
    found, start = [], 0
    before, type_before, inside = "O", "", False
    for place, label in enumerate([*labels, "O"]):
        prefix, _, kind = label.partition("-")
        pair = before + prefix
        if inside and (pair in ends or (before != "O" and type_before != kind)):
            found.append(Span(start, place, type_before))
            inside = False
        if pair in begins or (prefix != "O" and type_before != kind):
            start, inside = place, True
        before, type_before = prefix, kind
    return found


@pytest.mark.parametrize(
    ("scheme", "prefixes", "longest"), [("bio", "BI", 5), ("bioes", "BIES", 4)]
)
def test_conlleval_reads_pair_by_pair(scheme, prefixes, longest):
    for labels in all_sequences(prefixes, longest):
        assert find_spans(labels, scheme) == chunk_by_chunk(labels), labels


def test_well_formed_sequences_are_read_alike():
    random = np.random.default_rng(3)
    for _ in range(200):
        tokens, last = {"bio": [], "bioes": [], "iob1": []}, ""
        for _ in range(int(random.integers(0, 6))):
            size, kind = int(random.integers(1, 5)), str(random.choice(["X", "Y", "O"]))
            if kind == "O":
                for row in tokens.values():
                    row.append("O")
            else:
                tokens["bio"] += [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
                first = "B" if last == kind else "I"
                tokens["iob1"] += [f"{first}-{kind}", *[f"I-{kind}"] * (size - 1)]
                many = [f"B-{kind}", *[f"I-{kind}"] * (size - 2), f"E-{kind}"]
                tokens["bioes"] += many if size > 1 else [f"S-{kind}"]
            last = kind
        found = [
            find_spans(row, scheme, reading)
            for scheme, row in tokens.items()
            for reading in ("conlleval", "strict")
        ]
        assert all(each == found[0] for each in found)


def test_readings_are_those_of_seqeval():
    metrics = pytest.importorskip("seqeval.metrics.sequence_labeling")
    schemes = pytest.importorskip("seqeval.scheme")
    random = np.random.default_rng(4)
    for scheme, prefixes, theirs in (("bio", "BI", schemes.IOB2), ("bioes", "BIES", schemes.IOBES)):
        labels = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in "XY")]
        for _ in range(300):
            row = random.choice(labels, int(random.integers(1, 9))).tolist()
            ours = [(span.type, span.start, span.end - 1) for span in find_spans(row, scheme)]
            assert ours == metrics.get_entities(row), row
            entities = schemes.Entities([row], theirs).entities[0]
            strict = [(each.tag, each.start, each.end) for each in entities]
            found = find_spans(row, scheme, "strict")
            assert [(span.type, span.start, span.end) for span in found] == strict, row


def worked():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "I-ORG", "I-ORG", "O"], ["O", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "O", "O"], ["O", "B-LOC"]]
    return gold, predicted


def test_scores_are_those_worked_by_hand():
    # Right: the PER. Wrong: LOC as ORG, an ORG cut short, and a LOC where nothing is.
    found = measure_spans(*worked())
    assert found.types == ("LOC", "ORG", "PER")
    assert (found.right, found.predicted, found.gold) == ((0, 0, 1), (1, 2, 1), (1, 1, 1))
    assert found.scores() == pytest.approx(
        {
            "f1": 2 * 1 / (4 + 3),
            "precision": 1 / 4,
            "recall": 1 / 3,
            "macro_f1": 1 / 3,
            "token_accuracy": 7 / 10,
        }
    )
    assert found.n_sequences == 3


def test_counts_are_those_of_a_brute_force():
    random = np.random.default_rng(9)
    labels = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    for _ in range(40):
        lengths = random.integers(0, 9, int(random.integers(1, 7)))
        gold = [random.choice(labels, n).tolist() for n in lengths]
        predicted = [random.choice(labels, n).tolist() for n in lengths]
        found = measure_spans(gold, predicted)
        for index, kind in enumerate(found.types):
            right = called = there = 0
            for g, p in zip(gold, predicted, strict=True):
                of_gold = [span for span in chunk_by_chunk(g) if span.type == kind]
                of_predicted = [span for span in chunk_by_chunk(p) if span.type == kind]
                right += sum(1 for span in of_predicted if span in of_gold)
                called += len(of_predicted)
                there += len(of_gold)
            assert (right, called, there) == (
                found.right[index],
                found.predicted[index],
                found.gold[index],
            )
        same = sum(
            a == b for g, p in zip(gold, predicted, strict=True) for a, b in zip(g, p, strict=True)
        )
        assert (found.n_right_tokens, found.n_tokens) == (same, int(lengths.sum()))
        tally = tally_spans(gold, predicted).scores(np.arange(len(gold))[None])
        assert {name: value[0] for name, value in tally.items()} == found.scores()


def test_the_same_labels_are_right_and_no_spans_score_0():
    gold, _ = worked()
    assert set(measure_spans(gold, gold).scores().values()) == {1.0}
    nothing = measure_spans([["O", "O"], []], [["O", "O"], []])
    assert nothing.scores() == {
        "f1": 0.0,
        "precision": 0.0,
        "recall": 0.0,
        "macro_f1": 0.0,
        "token_accuracy": 1.0,
    }
    assert measure_spans([[]], [[]]).scores()["token_accuracy"] == 0
    assert nothing.types == ()
    assert [line.split()[0] for line in nothing.lines() if line][:2] == ["score", "F1"]


def test_a_strict_reading_finds_fewer():
    gold, predicted = [["B-X", "I-X", "O"]], [["I-X", "I-X", "O"]]
    assert measure_spans(gold, predicted).scores()["f1"] == 1
    strict = measure_spans(gold, predicted, reading="strict")
    assert strict.scores()["f1"] == 0
    assert strict.predicted == (0,)


def test_signatures_say_how_each_score_was_computed():
    found = measure_spans(*worked(), reading="strict")
    lines = found.signature()
    assert list(lines) == list(found.scores())
    assert lines["f1"] == (
        "n:3|spans:3|scheme:bio|reading:strict|match:type and both ends|average:micro|0/0:0"
    )


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-X", "I-X"], "bio"),
        (["I-X"], "bio"),
        (["S-X", "O"], "bioes"),
        (["B-X", "E-X"], "bioes"),
        (["O"], None),
        ([], None),
        (["NN", "VB"], None),
        (["B", "O"], None),
        (["B", "I", "O"], "bio"),
        (["B", "I", "O", "S", "E"], "bioes"),
        (["B", "I", "O", "L", "U"], "bilou"),
        (["S", "V", "O"], None),
        (["S", "O"], None),
        (["B", "I-X", "O"], None),
        (["B-", "I-", "O"], None),
        (["B-X", "L-X", "U-Y", "O"], "bilou"),
        (["U-turn", "O"], None),
        (["B-X", "E-X", "U-X"], None),
        (["B-X", "NN"], None),
    ],
)
def test_a_scheme_is_detected_from_the_labels(labels, scheme):
    assert find_scheme(labels) == scheme


def test_labels_of_no_scheme_are_named():
    with pytest.raises(DataError) as refusal:
        measure_spans([["O"], ["O", "PER"]], [["O"], ["O", "O"]])
    assert str(refusal.value) == (
        "sequence 2, token 2: 'PER' is not a label of scheme 'bio', expected 'O', 'B-…', 'I-…'"
    )
    with pytest.raises(
        DataError, match=r"token 1: 'S-X' is not a label .*; it is valid in scheme 'bioes'"
    ):
        find_spans(["S-X"])
    with pytest.raises(DataError, match="token 1: '' is not a label of scheme 'bio'"):
        find_spans([""])
    with pytest.raises(
        DataError, match=r"token 2: 'U-X' is not a label .*; it is valid in scheme 'bilou'"
    ):
        find_spans(["O", "U-X"], "bioes")
    with pytest.raises(
        DataError, match=r"token 1: 'E-X' .* 'L-…', 'U-…'; it is valid in scheme 'bioes'"
    ):
        find_spans(["E-X"], "bilou")


@pytest.mark.parametrize("reading", ["conlleval", "strict"])
def test_bilou_is_bioes_in_other_letters(reading):
    letters = str.maketrans("ES", "LU")
    for labels in all_sequences("BIES", 4):
        others = [label.translate(letters) for label in labels]
        assert find_spans(others, "bilou", reading) == find_spans(labels, "bioes", reading)


@pytest.mark.parametrize("reading", ["conlleval", "strict"])
@pytest.mark.parametrize(("scheme", "prefixes"), [("bio", "BI"), ("iob1", "BI"), ("bioes", "BIES")])
def test_letters_alone_are_spans_of_one_type(scheme, prefixes, reading):
    for labels in product(["O", *prefixes], repeat=5):
        typed = [label if label == "O" else f"{label}-X" for label in labels]
        wanted = [Span(start, end, "") for start, end, _ in find_spans(typed, scheme, reading)]
        assert find_spans(labels, scheme, reading) == wanted


def test_spans_without_a_type_have_a_name_in_tables():
    found = measure_spans([["B", "I", "O", "B"]], [["B", "I", "O", "O"]])
    assert found.types == ("",)
    assert found.scores()["f1"] == pytest.approx(2 / 3)
    assert list(found.lines())[-1] == "spans of type (span): gold 2, predicted 1"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="one of 'bio', 'bioes', 'bilou', 'iob1', got 'bmes'"):
        find_spans([], "bmes")
    with pytest.raises(
        ConfigError, match="the reading of spans must be 'conlleval' or 'strict', got 'loose'"
    ):
        find_spans([], reading="loose")
    with pytest.raises(ValueError, match="gold has 1 sequences and predicted 2"):
        measure_spans([[]], [[], []])
    with pytest.raises(ValueError, match="sequence 1 has 1 gold labels and 2 predicted:"):
        measure_spans([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="no sequences to score"):
        measure_spans([], [])
