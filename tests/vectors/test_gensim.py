"""gensim reads what is written here, writes what is read here, and answers alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_samples import WORDS, matrix_of

from unrolled.vectors.evaluation import evaluate, read_sets
from unrolled.vectors.formats.detect import read_vectors, write_vectors
from unrolled.vectors.word_vectors import Neighbour, WordVectors

pytestmark = [  # gensim leaves files open, and calls what it calls deprecated
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]

KeyedVectors = pytest.importorskip(
    "gensim.models", reason="gensim, with which files are exchanged, is not installed"
).KeyedVectors

ODD = [*WORDS, "a\tb", "e\u0301", "\u200bzero", "\u3000", "🧊", "\x1cfs", "x" * 300]
"""Every kind of space but the one that ends a word."""

FILES = {
    "v.vec": {},
    "v.vec.gz": {},
    "v.bin": {"binary": True},
    "v.bin.gz": {"binary": True},
    "v.txt": {"no_header": True},
    "v.txt.gz": {"no_header": True},
}
"""Names of files, and what gensim is to be told of each."""


def keyed(words: list[str], matrix: np.ndarray):
    """The same vectors in gensim."""
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(words, matrix)
    return vectors


def save(vectors, path: Path, about: dict[str, bool]) -> None:
    """Have gensim write a file."""
    options = {"write_header": False} if "no_header" in about else about
    vectors.save_word2vec_format(str(path), **options)


@pytest.fixture(scope="module")
def usual() -> tuple[list[str], np.ndarray]:
    """Vectors of usual size, some alike."""
    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(997, 29)) + 2 * generator.normal(size=(1, 29))
    return [f"w{i}" for i in range(997)], matrix.astype(np.float32)


@pytest.mark.parametrize("name", FILES)
def test_gensim_reads_what_is_written_here(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    write_vectors(tmp_path / name, ODD, matrix)
    found = KeyedVectors.load_word2vec_format(str(tmp_path / name), **FILES[name])
    assert found.index_to_key == ODD
    assert found.vectors.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_what_gensim_writes_is_read_here(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    save(keyed(ODD, matrix), tmp_path / name, FILES[name])
    stored = read_vectors(tmp_path / name)
    assert stored.words == ODD
    assert stored.matrix.tobytes() == matrix.tobytes()
    assert stored.notes == ()


@pytest.mark.parametrize("name", ["v.vec", "v.txt"])
def test_texts_are_the_same_bytes(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(ODD), 31)
    write_vectors(tmp_path / name, ODD, matrix)
    save(keyed(ODD, matrix), tmp_path / f"gensim-{name}", FILES[name])
    assert (tmp_path / name).read_bytes() == (tmp_path / f"gensim-{name}").read_bytes()


def test_words_with_spaces_that_gensim_writes_are_read_from_text(tmp_path: Path) -> None:
    words = ["ice", "New York", ". . .", "at name@domain.com"]
    matrix = matrix_of(4)
    for name in ("v.vec", "v.txt"):
        save(keyed(words, matrix), tmp_path / name, FILES[name])
        stored = read_vectors(tmp_path / name)
        assert stored.words == words
        assert stored.matrix.tobytes() == matrix.tobytes()


def agree(found: list[Neighbour], expected: list[tuple[str, float]]) -> None:
    """The same words in the same order, with the same scores."""
    assert [word for word, _ in found] == [word for word, _ in expected]
    scores, right = ([score for _, score in each] for each in (found, expected))
    np.testing.assert_allclose(scores, right, atol=1e-6, rtol=1e-6)


def test_neighbours_and_analogies_are_those_of_gensim(
    usual: tuple[list[str], np.ndarray], monkeypatch
) -> None:
    words, vectors, theirs = usual[0], WordVectors(*usual), keyed(*usual)
    for word in words[:101]:
        agree(vectors.nearest(word, k=13), theirs.most_similar(word, topn=13))
    # Of 3CosMul, gensim's ε is not the paper's, which changes answers.
    monkeypatch.setattr("unrolled.vectors.word_vectors.EPSILON", 1e-6)
    for a, b, c in zip(words[:50], words[50:100], words[100:150], strict=True):
        asked = {"positive": [b, c], "negative": [a], "topn": 7}
        agree(vectors.analogy(a, b, c, k=7), theirs.most_similar(**asked))
        found = vectors.analogy(a, b, c, k=7, method="3CosMul")
        agree(found, theirs.most_similar_cosmul(**asked))


def test_figures_are_those_of_gensim(usual: tuple[list[str], np.ndarray], tmp_path: Path) -> None:
    vectors, theirs = WordVectors(*usual), keyed(*usual)
    generator = np.random.default_rng(5)
    pairs = generator.integers(0, 1100, (211, 2))
    lines = [f"w{a}\tw{b}\t{generator.integers(0, 30) / 3}" for a, b in pairs]
    (tmp_path / "people.tsv").write_text("\n".join(lines), encoding="utf-8")
    # Questions of which a third are answered by the nearest word, and a few have an unknown one.
    questions = [": section"]
    for a, b, c in generator.integers(0, 1000, (307, 3)):
        asked = [f"w{each}" for each in (a, b, c)]
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
