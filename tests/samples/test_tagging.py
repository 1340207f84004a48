"""In the tagging sample order tells what a word is, and phrases are what their words say."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.metrics.spans import find_spans
from unrolled.samples.tagging import PARTS, TaggingSample, Token, generate, write
from unrolled.text.readers import read_rows
from unrolled.text.rows import as_list

POS = {
    *("DET", "NOUN", "PRON", "VERB", "AUX", "ADJ", "ADV"),
    *("ADP", "PART", "SCONJ", "CCONJ", "NUM", "PUNCT"),
}


@pytest.fixture(scope="module")
def sample() -> TaggingSample:
    return generate(1_000, 100, 200)


def every(sample: TaggingSample) -> list[list[Token]]:
    return [sentence for part in PARTS for sentence in getattr(sample, part)]


def test_a_longer_sample_extends_a_shorter_one(sample) -> None:
    assert [len(getattr(sample, part)) for part in PARTS] == [1_000, 100, 200]
    longer = generate(1_100, 100, 200)
    assert longer.train[:1_000] == sample.train
    assert (longer.valid, longer.test) == (sample.valid, sample.test)
    assert generate(10, 10, 10, seed=2).test != sample.test[:10]


def test_no_sentence_stands_twice(sample) -> None:
    sentences = [tuple(sentence) for sentence in every(sample)]
    assert len(set(sentences)) == len(sentences)


def test_parts_of_speech_and_phrases_go_together(sample) -> None:
    for sentence in every(sample):
        assert sentence[0].text[0].isupper()
        assert sentence[-1] in (Token(".", "PUNCT"), Token("?", "PUNCT"))
        assert {token.pos for token in sentence} <= POS
        spans = find_spans([token.chunk for token in sentence], reading="strict")
        inside = [token for start, end, _ in spans for token in sentence[start:end]]
        assert [token for token in sentence if token.chunk != "O"] == inside
        for start, end, kind in spans:
            assert kind == "NP"
            assert sentence[end - 1].pos in ("NOUN", "PRON")
            assert all(token.pos in ("DET", "NUM", "ADJ") for token in sentence[start : end - 1])
        outside = {token.pos for token in sentence if token.chunk == "O"}
        assert not outside & {"NOUN", "DET", "NUM", "ADJ"}


def test_a_and_an_stand_where_they_should(sample) -> None:
    for sentence in every(sample):
        for token, after in pairwise(sentence):
            if token.text.lower() in ("a", "an") and token.pos == "DET":
                vowel = after.text[0] in "aeiou"
                assert (token.text.lower() == "an") == vowel, (token, after)


def test_ambiguous_words_defeat_the_most_frequent_tag(sample) -> None:
    for column in (1, 2):
        tags: dict[str, Counter[str]] = defaultdict(Counter)
        for sentence in sample.train:
            for token in sentence:
                tags[token.text][token[column]] += 1
        tokens = [token for sentence in sample.test for token in sentence]
        assert sum(token.text in tags for token in tokens) / len(tokens) > 0.98
        right = sum(
            tags[token.text].most_common(1)[0][0] == token[column]
            for token in tokens
            if tags[token.text]
        )
        assert 0.8 < right / len(tokens) < 0.92
        assert sum(len(each) > 1 for each in tags.values()) > 60


def test_what_is_written_is_read_back(sample, tmp_path: Path) -> None:
    write(tmp_path / "new", sample)
    for part in PARTS:
        path = tmp_path / "new" / f"{part}.conll"
        rows = [
            [Token(*values) for values in zip(*map(as_list, row.fields), strict=True)]
            for row in read_rows(path, by_token=True)
        ]
        assert rows == getattr(sample, part)


def test_a_folder_that_cannot_be_made_is_refused(sample, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot write the sample to .*; choose another folder"):
        write(tmp_path / "file", sample)
