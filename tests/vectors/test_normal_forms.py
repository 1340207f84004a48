"""Words are found in whichever Unicode normal form they are written."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers.pretrained import fill
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.formats.detect import Format, read_vectors, write_vectors
from unrolled.vectors.word_vectors import WordVectors

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
FORMS = [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]
MATRIX = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


def write(folder: Path, word: str, name: str = "vectors.txt", how: Format = "glove") -> Path:
    path = folder / name
    write_vectors(path, [word, "tea", "d\u00e9j\u00e0"], MATRIX, format=how)
    return path


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_a_vector_is_found_in_the_other_form(stored: str, asked: str, tmp_path: Path) -> None:
    vectors = WordVectors.load(write(tmp_path, stored))
    assert asked in vectors
    assert vectors.id_of(asked) == vectors.find(asked.upper()) == 0
    assert vectors[asked].tolist() == [1, 2]
    assert vectors.nearest(asked, k=1) == vectors.nearest(stored, k=1)
    assert vectors.words[0] == stored
    with pytest.raises(ConfigError, match="no vector for 'cafe'"):
        vectors.id_of("cafe")


@pytest.mark.parametrize(("stored", "asked"), FORMS)
@pytest.mark.parametrize(
    ("name", "how"),
    [("a.txt", "glove"), ("a.bin", "word2vec-binary"), ("a.safetensors", "safetensors")],
)
def test_words_to_keep_may_have_the_other_form(
    stored: str, asked: str, name: str, how: Format, tmp_path: Path
) -> None:
    found = read_vectors(write(tmp_path, stored, name, how), {asked})
    assert found.words == [stored]
    assert found.matrix.tolist() == [[1, 2]]


@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
def test_an_embedding_is_filled_from_either_form(stored: str, tmp_path: Path) -> None:
    words = Tokenizer.train([f"{DECOMPOSED} tea"], TextConfig(kind="word"))
    embedding = torch.nn.Embedding(len(words), 2)
    coverage, *_ = fill(embedding, words, write(tmp_path, stored))
    assert coverage.startswith("model.embeddings: 2 of 2 words (100.0%) have a vector in")
    assert "lower case" not in coverage
    place = words.id_of(unicodedata.normalize("NFC", stored))
    assert place is not None
    assert embedding.weight[place].tolist() == [1, 2]


def test_the_form_that_is_asked_for_comes_first(tmp_path: Path) -> None:
    for words in ([COMPOSED, DECOMPOSED, "tea"], [DECOMPOSED, COMPOSED, "tea"]):
        path = tmp_path / "both.txt"
        write_vectors(path, words, MATRIX, format="glove")
        vectors = WordVectors.load(path)
        assert [vectors.id_of(word) for word in words] == [0, 1, 2]
        tokenizer = Tokenizer.train([f"{COMPOSED} tea"], TextConfig(kind="word"))
        embedding = torch.nn.Embedding(len(tokenizer), 2)
        fill(embedding, tokenizer, path)
        row = embedding.weight[tokenizer.ids_of([COMPOSED])[0]].tolist()
        assert row == MATRIX[words.index(COMPOSED)].tolist()
