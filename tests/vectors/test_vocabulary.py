"""Which words are kept, in which order, and how they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary, WordCounts


def seen(counts: dict[str, int]) -> WordCounts:
    found = WordCounts()
    for word, count in counts.items():
        found.add([word], np.array([count], np.int64))
    return found


def test_words_of_one_count_stand_by_code_point() -> None:
    found = seen({"𝄞": 3, "b": 3, "Z": 3, "ﬀ": 3, "a": 3, "é": 3, "c": 4, "語": 3})
    vocabulary = found.vocabulary(VectorsConfig(min_count=1))
    assert vocabulary.words == ["c", "Z", "a", "b", "é", "語", "ﬀ", "𝄞"]
    assert vocabulary.counts.tolist() == [4, 3, 3, 3, 3, 3, 3, 3]


def test_counts_of_parts_add_up_in_any_order() -> None:
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


def test_rare_words_and_those_beyond_the_most_are_left_out() -> None:
    found = seen({"e": 2, "d": 5, "c": 5, "b": 7, "a": 9})
    assert found.vocabulary(VectorsConfig(min_count=5)).words == ["a", "b", "c", "d"]
    assert found.vocabulary(VectorsConfig(min_count=1, max_words=3)).words == ["a", "b", "c"]
    with pytest.raises(DataError, match="the vocabulary holds one word, 'a'"):
        found.vocabulary(VectorsConfig(min_count=1, max_words=1))


def test_a_vocabulary_comes_back_from_the_disk(tmp_path: Path) -> None:
    words = ["the", "ice\u2028cold", "é", "\u0085", "\u00a0x"]
    vocabulary = Vocabulary(words, np.array([2**40, 9, 9, 1, 1]))
    vocabulary.save(tmp_path / "vocabulary.tsv")
    found = Vocabulary.load(tmp_path / "vocabulary.tsv")
    assert found.words == words
    assert found.counts.tolist() == vocabulary.counts.tolist()
    assert (tmp_path / "vocabulary.tsv").read_bytes().startswith(b"the\t1099511627776\n")
    with pytest.raises(DataError, match="no such file"):
        Vocabulary.load(tmp_path / "other.tsv")
    (tmp_path / "words.tsv").write_text("the\nice\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a word, a tab and its count per line"):
        Vocabulary.load(tmp_path / "words.tsv")
