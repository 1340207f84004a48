"""Files are exchanged with gensim in both directions, and results agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_samples import WORDS, matrix_of

from unrolled.vectors.evaluation import evaluate, read_sets
from unrolled.vectors.formats.detect import read_vectors, write_vectors
from unrolled.vectors.word_vectors import Neighbour, WordVectors

pytestmark = [  # gensim leaves files open and uses its own deprecated functions
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]

KeyedVectors = pytest.importorskip("gensim.models", reason="gensim is not installed").KeyedVectors

ODD = [*WORDS, "a\tb", "e\u0301", "\u200bzero", "\u3000", "🧊", "\x1cfs", "x" * 300]
"""Words with every kind of white space except the one that ends a word."""

FILES = {
    "v.vec": {},
    "v.vec.gz": {},
    "v.bin": {"binary": True},
    "v.bin.gz": {"binary": True},
    "v.txt": {"no_header": True},
    "v.txt.gz": {"no_header": True},
}
"""File names, each with options for gensim."""


def keyed(words: list[str], matrix: np.ndarray):
    """The same vectors in gensim."""
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(words, matrix)
    return vectors


def save(vectors, path: Path, options: dict[str, bool]) -> None:
    """Write a file with gensim."""
    save_options = {"write_header": False} if "no_header" in options else options
    vectors.save_word2vec_format(str(path), **save_options)


@pytest.fixture(scope="module")
def usual() -> tuple[list[str], np.ndarray]:
    """Random vectors of moderate size, some of them similar."""
    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(997, 29)) + 2 * generator.normal(size=(1, 29))
    return [f"w{i}" for i in range(997)], matrix.astype(np.float32)


@pytest.mark.parametrize("name", FILES)
def test_gensim_reads_our_files(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    write_vectors(tmp_path / name, ODD, matrix)
    loaded = KeyedVectors.load_word2vec_format(str(tmp_path / name), **FILES[name])
    assert loaded.index_to_key == ODD
    assert loaded.vectors.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_files_of_gensim_are_read(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    save(keyed(ODD, matrix), tmp_path / name, FILES[name])
    stored = read_vectors(tmp_path / name)
    assert stored.words == ODD
    assert stored.matrix.tobytes() == matrix.tobytes()
    assert stored.notes == ()


@pytest.mark.parametrize("name", ["v.vec", "v.txt"])
def test_text_files_equal_those_of_gensim(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    write_vectors(tmp_path / name, ODD, matrix)
    save(keyed(ODD, matrix), tmp_path / f"gensim-{name}", FILES[name])
    assert (tmp_path / name).read_bytes() == (tmp_path / f"gensim-{name}").read_bytes()


def test_words_with_spaces_are_read_from_text_of_gensim(tmp_path: Path) -> None:
    words = ["ice", "New York", ". . .", "at name@domain.com"]
    matrix = matrix_of(4)
    for name in ("v.vec", "v.txt"):
        save(keyed(words, matrix), tmp_path / name, FILES[name])
        stored = read_vectors(tmp_path / name)
        assert stored.words == words
        assert stored.matrix.tobytes() == matrix.tobytes()


def agree(actual: list[Neighbour], expected: list[tuple[str, float]]) -> None:
    """Check that words, order and scores are the same."""
    assert [word for word, _ in actual] == [word for word, _ in expected]
    scores, expected_scores = ([score for _, score in pairs] for pairs in (actual, expected))
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6, rtol=1e-6)


def test_neighbours_and_analogies_equal_those_of_gensim(
    usual: tuple[list[str], np.ndarray], monkeypatch
) -> None:
    words, vectors, theirs = usual[0], WordVectors(*usual), keyed(*usual)
    for word in words[:101]:
        agree(vectors.nearest(word, k=13), theirs.most_similar(word, topn=13))
    # gensim uses another ε for 3CosMul than the paper, which changes answers.
    monkeypatch.setattr("unrolled.vectors.word_vectors.EPSILON", 1e-6)
    for a, b, c in zip(words[:50], words[50:100], words[100:150], strict=True):
        asked = {"positive": [b, c], "negative": [a], "topn": 7}
        agree(vectors.analogy(a, b, c, k=7), theirs.most_similar(**asked))
        found = vectors.analogy(a, b, c, k=7, method="3CosMul")
        agree(found, theirs.most_similar_cosmul(**asked))


def test_evaluation_equals_that_of_gensim(
    usual: tuple[list[str], np.ndarray], tmp_path: Path
) -> None:
    vectors, theirs = WordVectors(*usual), keyed(*usual)
    generator = np.random.default_rng(5)
    pairs = generator.integers(0, 1100, (211, 2))
    lines = [f"w{a}\tw{b}\t{generator.integers(0, 30) / 3}" for a, b in pairs]
    (tmp_path / "people.tsv").write_text("\n".join(lines), encoding="utf-8")
    # The best word answers a third of the questions; a few questions have an unknown word.
    questions = [": section"]
    for a, b, c in generator.integers(0, 1000, (307, 3)):
        asked = [f"w{number}" for number in (a, b, c)]
        is_known = all(word in vectors for word in asked) and len(set(asked)) == 3
        best = vectors.analogy(*asked, k=1)[0].word if is_known else "w1"
        questions.append(" ".join([*asked, best if a % 3 == 0 else "w2"]))
    (tmp_path / "questions.txt").write_text("\n".join(questions), encoding="utf-8")
    similarity, analogies = read_sets([tmp_path / "people.tsv", tmp_path / "questions.txt"])
    found = evaluate(vectors, similarity, analogies)
    _, spearman, unknown = theirs.evaluate_word_pairs(
        str(tmp_path / "people.tsv"), case_insensitive=False
    )
    assert found.similarity[0].spearman == pytest.approx(spearman.statistic, abs=1e-9)
    assert 100 * (1 - found.similarity[0].n_known / 211) == pytest.approx(unknown)
    _, sections = theirs.evaluate_word_analogies(
        str(tmp_path / "questions.txt"), case_insensitive=False
    )
    assert found.analogies[0].n_known == sum(
        map(len, (sections[0]["correct"], sections[0]["incorrect"]))
    )
    assert 0 < found.analogies[0].n_right["3CosAdd"] == len(sections[0]["correct"])
