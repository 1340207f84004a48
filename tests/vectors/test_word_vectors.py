"""Neighbours and analogies equal those of a float64 reference; no V × V matrix is made."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.vectors import word_vectors
from unrolled.vectors.formats.detect import write_vectors
from unrolled.vectors.word_vectors import METHODS, WordVectors

V, D = 131, 17


def vectors_of(n_words: int = V, width: int = D, seed: int = 1) -> WordVectors:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(n_words, width)) * generator.uniform(0.1, 9, (n_words, 1))
    return WordVectors([f"w{i}" for i in range(n_words)], matrix.astype(np.float32))


def cosines_of(vectors: WordVectors) -> np.ndarray:
    """All cosines in float64: the reference."""
    matrix = vectors.matrix.astype(np.float64)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit @ unit.T


def best(scores: np.ndarray, k: int, without: tuple[int, ...]) -> list[tuple[str, float]]:
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if i not in without]
    return [(f"w{i}", float(scores[i])) for i in order[:k]]


@pytest.fixture(params=[1 << 22, 40, 3])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search in one block, in several blocks, and in blocks of one row."""
    monkeypatch.setattr(word_vectors, "_FLOATS", request.param)


def same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [word for word, _ in found] == [word for word, _ in expected]
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=1e-5)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 7, V - 1])
def test_neighbours_have_the_largest_cosines(k: int) -> None:
    vectors = vectors_of()
    cosines = cosines_of(vectors)
    for word in (0, 42, V - 1):
        same(vectors.nearest(f"w{word}", k), best(cosines[word], k, (word,)))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 5])
def test_analogies_follow_their_definitions(k: int) -> None:
    vectors = vectors_of()
    cosines = cosines_of(vectors)
    matrix = vectors.matrix.astype(np.float64)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for a, b, c in ((0, 1, 2), (17, 5, 130), (3, 99, 98)):
        target = unit[b] - unit[a] + unit[c]
        added = unit @ target / np.linalg.norm(target)
        moved = (cosines + 1) / 2
        multiplied = moved[b] * moved[c] / (moved[a] + 0.001)
        words = (f"w{a}", f"w{b}", f"w{c}")
        same(vectors.analogy(*words, k), best(added, k, (a, b, c)))
        same(vectors.analogy(*words, k, "3CosMul"), best(multiplied, k, (a, b, c)))


@pytest.mark.usefixtures("blocks")
def test_batched_questions_have_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "_QUERIES", 11)
    vectors = vectors_of()
    asked = np.random.default_rng(5).permuted(np.tile(np.arange(V), (37, 1)), axis=1)[:, :3]
    answers = vectors.analogies(asked, 2)
    for row, ids in enumerate(asked):
        words = [f"w{i}" for i in ids]
        for method in METHODS:
            alone = vectors.analogy(*words, k=2, method=method)
            assert [f"w{i}" for i in answers[method][0][row]] == [word for word, _ in alone]
    none = vectors.analogies(np.empty((0, 3), np.int64), 2)
    assert all(ids.shape == (0, 2) for ids, _ in none.values())


@pytest.mark.usefixtures("blocks")
def test_ties_are_resolved_by_word_order() -> None:
    matrix = np.zeros((20, 2), np.float32)
    matrix[:, 0] = 1
    matrix[0] = 0.5, 0
    vectors = WordVectors([f"w{i}" for i in range(20)], matrix)
    for k in (1, 3, 19):
        assert [word for word, _ in vectors.nearest("w7", k)] == [
            f"w{i}" for i in range(20) if i != 7
        ][:k]


def test_k_may_exceed_the_number_of_words() -> None:
    vectors = vectors_of(4)
    assert len(vectors.nearest("w0", 99)) == 3
    assert len(vectors.analogy("w0", "w1", "w2", 99)) == 1
    assert vectors_of(3).analogy("w0", "w1", "w2") == []
    assert WordVectors(["one"], np.ones((1, 2), np.float32)).nearest("one") == []
    assert len(vectors.nearest("w1", k=10**30)) == len(vectors) - 1
    assert len(vectors.analogy("w1", "w2", "w3", k=10**30)) == len(vectors) - 3


def test_a_zero_vector_has_cosine_zero() -> None:
    matrix = np.array([[1, 0], [0, 0], [-1, 0.5]], np.float32)
    vectors = WordVectors(["a", "zero", "b"], matrix)
    assert vectors.similarity("a", "zero") == 0.0
    assert vectors.nearest("a")[0] == ("zero", 0.0)
    assert [score for _, score in vectors.nearest("zero")] == [0.0, 0.0]


def test_similarity_is_the_cosine() -> None:
    vectors = vectors_of()
    cosines = cosines_of(vectors)
    for a, b in ((0, 1), (5, 5), (130, 17)):
        assert vectors.similarity(f"w{a}", f"w{b}") == pytest.approx(cosines[a, b], abs=1e-6)


def test_neighbours_of_any_vector() -> None:
    vectors = vectors_of()
    assert vectors.nearest_to(-3 * vectors["w8"], 1, without=["w1"])[0].score < 1
    assert vectors.nearest_to(2.5 * vectors["w8"], 1)[0].word == "w8"
    with pytest.raises(ConfigError, match=r"the vector must be of shape \(17,\), got \[3\]"):
        vectors.nearest_to(np.ones(3))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("parsi", "; did you mean 'paris'?"),
        ("Paris", "; did you mean 'paris'?"),
        ("usa", "; did you mean 'USA'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_a_similar_word_is_suggested_for_an_unknown_one(word: str, hint: str) -> None:
    vectors = WordVectors(["paris", "USA", "london"], np.eye(3, dtype=np.float32))
    assert word not in vectors
    with pytest.raises(ConfigError) as raised:
        vectors.nearest(word)
    assert str(raised.value) == f"no vector for '{word}'{hint}"


def test_invalid_arguments_are_refused() -> None:
    vectors = vectors_of(5)
    with pytest.raises(ConfigError, match=r"^k must be at least 1, got 0$"):
        vectors.nearest("w1", 0)
    with pytest.raises(ConfigError, match=r"^k must be at least 1, got -3$"):
        vectors.analogy("w1", "w2", "w3", -3)
    with pytest.raises(ConfigError, match=r"^method must be one of 3CosAdd, 3CosMul, got 'add'$"):
        vectors.analogy("w1", "w2", "w3", method="add")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^2 words, but vectors of shape \(3, 2\)$"):
        WordVectors(["a", "b"], np.ones((3, 2), np.float32))
    matrix = vectors.matrix.copy()
    matrix[3, 2] = np.nan
    with pytest.raises(DataError, match=r"^the vector of 'w3' is not finite; remove it"):
        WordVectors(vectors.words, matrix).nearest("w1")


def test_find_falls_back_to_lower_case() -> None:
    vectors = WordVectors(["us", "US", "paris"], np.eye(3, dtype=np.float32))
    assert [vectors.find(word) for word in ("us", "US", "Us", "Paris", "PARIS", "rome")] == [
        0,
        1,
        0,
        2,
        2,
        None,
    ]


def test_the_first_vector_of_a_duplicate_word_is_used() -> None:
    vectors = WordVectors(["a", "b", "a"], np.eye(3, dtype=np.float32))
    assert vectors["a"].tolist() == [1, 0, 0]


def test_first_limits_the_search() -> None:
    vectors = vectors_of()
    first = vectors.first(30)
    assert len(first) == 30
    assert first.matrix.base is not None
    same(first.nearest("w3", 5), best(cosines_of(vectors)[3, :30], 5, (3,)))


def test_vectors_are_loaded_with_notes(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("ice 1 2\nfire 3 4\nice 5 6\n", encoding="utf-8")
    vectors = WordVectors.load(path)
    assert (len(vectors), vectors.width, vectors["fire"].tolist()) == (2, 2, [3.0, 4.0])
    assert vectors.notes == (
        f"{path}, line 3: 1 duplicate word, the first is 'ice'; the first vector of each is used",
    )
    assert WordVectors.load(path, limit=1).words == ["ice"]
    with pytest.raises(DataError, match="the file contains none of the words to keep"):
        WordVectors.load(path, {"water"})


def test_searching_a_mapped_matrix_only_loads_blocks(tmp_path: Path) -> None:
    n, width = 60_000, 64
    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(n, width)).astype(np.float32)
    write_vectors(tmp_path / "v.safetensors", [f"w{i}" for i in range(n)], matrix)
    vectors = WordVectors.load(tmp_path / "v.safetensors")
    asked = generator.integers(0, n, (300, 3))
    vectors.nearest("w1")
    tracemalloc.start()
    vectors.analogies(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80_000_000, "a fifth of all scores, 300 × V of three products"


def test_a_search_uses_changes_of_the_matrix_in_place() -> None:
    matrix = np.array([[1, 0], [2, 0.5], [0, 3]], np.float32)
    vectors = WordVectors(["a", "b", "c"], matrix)
    assert vectors.nearest("a", 1)[0].word == "b"
    matrix[1] = [0, -9]
    matrix[2] = [4, 0]
    assert vectors.nearest("a", 1) == [("c", 1.0)]
    assert vectors.similarity("a", "c") == 1.0
    vectors.matrix = np.array([[1, 0], [7, 0], [0, 3]], np.float32)
    assert vectors.nearest("a", 1) == [("b", 1.0)]
    closed = matrix[:]
    closed.flags.writeable = False  # the base array is still writable
    view = WordVectors(["a", "b", "c"], closed)
    assert view.nearest("a", 1) == [("c", 1.0)]
    matrix[:] = matrix[[0, 2, 1]]
    assert view.nearest("a", 1) == [("b", 1.0)]


def test_loaded_vectors_are_read_only(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("a 1 0\nb 2 0\n", encoding="utf-8")
    vectors = WordVectors.load(path)
    vectors.nearest("a", 1)
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0] = 5
    assert vectors._inverse_lengths() is vectors._inverse_lengths()
    first = vectors.first(1)
    assert first._inverse_lengths() is first._inverse_lengths()
