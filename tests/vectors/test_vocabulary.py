"""The vocabulary: selection and order of words, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary, WordCounts


def counts_of(counts: dict[str, int]) -> WordCounts:
    word_counts = WordCounts()
    for word, count in counts.items():
        word_counts.add([word], np.array([count], np.int64))
    return word_counts


def test_words_with_equal_counts_are_sorted_by_code_point() -> None:
    counts = counts_of({"𝄞": 3, "b": 3, "Z": 3, "ﬀ": 3, "a": 3, "é": 3, "c": 4, "語": 3})
    vocabulary = counts.vocabulary(VectorsConfig(min_count=1))
    assert vocabulary.words == ["c", "Z", "a", "b", "é", "語", "ﬀ", "𝄞"]
    assert vocabulary.counts.tolist() == [4, 3, 3, 3, 3, 3, 3, 3]


def test_counts_of_parts_can_be_added_in_any_order() -> None:
    one, other = WordCounts(), WordCounts()
    words = [f"w{i * i % 5003}" for i in range(9001)]
    counts = np.arange(9001)
    one.add(words, counts)
    for start in range(8000, -1, -1000):
        some = slice(start, 9001 if start == 8000 else start + 1000)
        other.add(words[some], counts[some])
    config = VectorsConfig(min_count=7000, max_words=400)
    assert one.vocabulary(config).words == other.vocabulary(config).words
    assert one.n_tokens == other.n_tokens == 9001 * 9000 // 2
    assert len(one) == len(set(words))


def test_min_count_and_max_words_limit_the_vocabulary() -> None:
    counts = counts_of({"e": 2, "d": 5, "c": 5, "b": 7, "a": 9})
    assert counts.vocabulary(VectorsConfig(min_count=5)).words == ["a", "b", "c", "d"]
    assert counts.vocabulary(VectorsConfig(min_count=1, max_words=3)).words == ["a", "b", "c"]
    with pytest.raises(DataError, match="the vocabulary has only one word, 'a'"):
        counts.vocabulary(VectorsConfig(min_count=1, max_words=1))


def test_a_saved_vocabulary_is_read(tmp_path: Path) -> None:
    words = ["the", "ice\u2028cold", "é", "\u0085", "\u00a0x"]
    vocabulary = Vocabulary(words, np.array([2**40, 9, 9, 1, 1]))
    vocabulary.save(tmp_path / "vocabulary.tsv")
    loaded = Vocabulary.load(tmp_path / "vocabulary.tsv")
    assert loaded.words == words
    assert loaded.counts.tolist() == vocabulary.counts.tolist()
    assert (tmp_path / "vocabulary.tsv").read_bytes().startswith(b"the\t1099511627776\n")
    with pytest.raises(DataError, match="no such file"):
        Vocabulary.load(tmp_path / "other.tsv")
    (tmp_path / "words.tsv").write_text("the\nice\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a word, a tab and its count per line"):
        Vocabulary.load(tmp_path / "words.tsv")
