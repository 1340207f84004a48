"""Spearman with ties, coverage and accuracy follow their definitions."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.vectors.evaluation import (
    AnalogySection,
    SimilaritySet,
    evaluate,
    ranks,
    read_sets,
    spearman,
)
from unrolled.vectors.word_vectors import WordVectors

NAN = float("nan")


def ranks_by_counting(values: list[float]) -> list[float]:
    """A rank is one plus the number of smaller values plus half the number of other equal values."""
    return [
        1 + sum(other < value for other in values) + (values.count(value) - 1) / 2
        for value in values
    ]


@pytest.mark.parametrize("n_different", [1, 2, 3, 50])
def test_ties_get_the_mean_of_their_ranks(n_different: int) -> None:
    values = np.random.default_rng(n_different).integers(0, n_different, 41) / 7
    assert ranks(values).tolist() == ranks_by_counting(values.tolist())


def test_spearman_is_the_correlation_of_ranks() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.integers(0, 9, 60) / 3, generator.normal(size=60)
    expected = np.corrcoef(ranks(first), ranks(second))[0, 1]
    assert spearman(first, second) == pytest.approx(expected, rel=1e-12)
    assert spearman(first, np.exp(first)) == pytest.approx(1.0)
    assert spearman(second, -(second**3)) == pytest.approx(-1.0)


def test_spearman_without_ties_is_the_textbook_formula() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.permutation(np.arange(13.0)), generator.permutation(np.arange(13.0))
    d = ranks(first) - ranks(second)
    assert spearman(first, second) == pytest.approx(1 - 6 * (d**2).sum() / (13 * (13**2 - 1)))


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_spearman_of_constant_values_is_nan(values: list[float]) -> None:
    assert math.isnan(spearman(np.array(values), np.arange(len(values))))


def vectors() -> WordVectors:
    matrix = [[1, 0.1], [1, 1], [-1, 1], [-1, 2], [0.3, -2], [2, -1]]
    words = ["man", "king", "woman", "queen", "us", "US"]
    return WordVectors(words, np.array(matrix, np.float32))


def test_pairs_with_an_unknown_word_lower_the_coverage() -> None:
    pairs = (("man", "king"), ("man", "woman"), ("Man", "queen"), ("man", "tree"), ("a", "b"))
    judged = SimilaritySet("small", pairs, (3.0, 1.0, 2.0, 9.0, 9.0))
    (result,) = evaluate(vectors(), [judged]).similarity
    cosines = [vectors().similarity("man", word) for word in ("king", "woman", "queen")]
    expected = spearman(np.array(cosines), np.array([3.0, 1.0, 2.0]))
    assert (result.n_pairs, result.n_known) == (5, 3)
    assert result.spearman == pytest.approx(expected)


def test_a_set_of_unknown_words_has_no_score() -> None:
    results = evaluate(
        vectors(),
        [SimilaritySet("none", (("a", "b"),), (1.0,))],
        [AnalogySection("gram-none", (("a", "b", "c", "d"),))],
    )
    assert math.isnan(results.similarity[0].spearman)
    assert results.analogies[0].n_known == 0
    assert math.isnan(results.analogies[0].accuracy("3CosAdd"))
    assert [line.split() for line in results.lines()] == [
        ["similarity", "spearman", "pairs", "covered"],
        ["none", "–", "1", "0.0%"],
        [],
        ["analogies", "3CosAdd", "3CosMul", "questions", "covered"],
        ["gram-none", "–", "–", "1", "0.0%"],
        ["syntactic", "–", "–", "1", "0.0%"],
        ["all", "–", "–", "1", "0.0%"],
    ]
    assert json.loads(json.dumps(results.figures()))["similarity"]["none"]["spearman"] is None


def test_a_question_is_correct_if_the_best_word_is_the_answer() -> None:
    generator = np.random.default_rng(8)
    words = [f"w{i}" for i in range(23)]
    known = WordVectors(words, generator.normal(size=(23, 3)).astype(np.float32))
    matrix = known.matrix.astype(np.float64)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    questions = tuple(itertools.islice(itertools.permutations(words, 4), 0, 212520, 487))
    n_right = {"3CosAdd": 0, "3CosMul": 0}
    for question in questions:
        a, b, c, d = (known.id_of(word) for word in question)
        cosines = unit @ unit[[a, b, c]].T
        added = cosines @ [-1, 1, 1]
        moved = (cosines + 1) / 2
        multiplied = moved[:, 1] * moved[:, 2] / (moved[:, 0] + 0.001)
        for method, scores in (("3CosAdd", added), ("3CosMul", multiplied)):
            scores[[a, b, c]] = -np.inf
            n_right[method] += int(scores.argmax()) == d
    unknown = (("w0", "w1", "w2", "absent"),)
    (result,) = evaluate(known, (), [AnalogySection("family", questions + unknown)]).analogies
    assert min(n_right.values()) > 0
    assert result.n_right == n_right
    assert (result.n_questions, result.n_known) == (len(questions) + 1, len(questions))


def test_sections_are_summed_by_type() -> None:
    right, wrong = ("man", "king", "woman", "queen"), ("man", "king", "queen", "us")
    results = evaluate(
        vectors(),
        analogies=[
            AnalogySection("family", (right, wrong)),
            AnalogySection("gram1", (right,)),
            AnalogySection("Gram2-x", (wrong, ("a", "b", "c", "d"))),
        ],
    )
    totals = {total.name: total for total in results.totals()}
    assert list(totals) == ["semantic", "syntactic", "all"]
    assert [totals[name].n_questions for name in totals] == [2, 3, 5]
    assert [totals[name].n_known for name in totals] == [2, 2, 4]
    assert totals["all"].n_right["3CosAdd"] == 2
    assert totals["all"].accuracy("3CosAdd") == 0.5
    assert [line.split() for line in results.lines()][-1] == [
        "all",
        "50.0%",
        "50.0%",
        "5",
        "80.0%",
    ]


# Files


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def test_types_of_sets_are_recognized_by_their_lines(tmp_path: Path) -> None:
    write(tmp_path / "sim" / "EN-A.txt", "sun\tsunlight\t50.0\r\nNew York\tcity\t7\r\n")
    write(tmp_path / "sim" / "B.tsv", "word1 word2 score\nold new 1.58\n\n")
    write(tmp_path / "questions" / "family.txt", "boy girl brother sister\n")
    write(tmp_path / "questions" / ".hidden", "not a set\n")
    write(tmp_path / "google.txt", ": gram1 adverb\na b c d\n: family\ne f g h\n")
    similarity, analogies = read_sets(
        [tmp_path / "sim", tmp_path / "questions", tmp_path / "google.txt"]
    )
    assert similarity == [
        SimilaritySet("B", (("old", "new"),), (1.58,)),
        SimilaritySet("EN-A", (("sun", "sunlight"), ("New York", "city")), (50.0, 7.0)),
    ]
    assert analogies == [
        AnalogySection("family", (("boy", "girl", "brother", "sister"), ("e", "f", "g", "h"))),
        AnalogySection("gram1 adverb", (("a", "b", "c", "d"),)),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("\n\n", "set.txt: the file is empty; expected a similarity set or analogies"),
        (
            "a b 1\nc d\n",
            "set.txt, line 2: expected two words and a score, or four words, found 2 fields",
        ),
        ("a b 1\nc d x\n", "set.txt, line 2: expected a score, found 'x'"),
        ("a b 1\nc d nan\n", "set.txt, line 2: expected a finite score, found 'nan'"),
        (
            "a b score\n",
            "set.txt: the file has no pairs after the first line; expected two words and a score per "
            "line",
        ),
        ("a b c d\ne f g\n", "set.txt, line 2: expected four words or ': section', found 3 fields"),
        (": x\n", "set.txt: the file has no questions; expected lines of four words"),
        (
            "a b c d e\n",
            "set.txt, line 1: expected two words and a score, or four words, found 5 fields",
        ),
    ],
)
def test_errors_in_a_set_name_the_line(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(DataError) as raised:
        read_sets([write(tmp_path / "set.txt", content)])
    assert str(raised.value).replace(f"{tmp_path}/", "") == sentence


def test_a_missing_set_and_an_empty_folder_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_sets([tmp_path / "none.txt"])
    with pytest.raises(DataError, match="this folder contains no files; give a folder with"):
        read_sets([tmp_path])


def test_published_vectors_on_published_sets(real_data: Path) -> None:
    glove = WordVectors.load(real_data / "glove-6B-50d-subset" / "glove.6B.50d.subset.txt.gz")
    similarity, analogies = read_sets([real_data / "word-eval"])
    assert (len(similarity), sum(len(section.questions) for section in analogies)) == (13, 19544)
    few = [section for section in analogies if section.name in ("family", "gram8-plural")]
    results = evaluate(glove, similarity, few)
    by_name = {result.name: result for result in results.similarity}
    assert by_name["EN-WS-353-SIM"].spearman > 0.5
    assert {total.name for total in results.totals()} == {"semantic", "syntactic", "all"}
