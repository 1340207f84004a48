"""An embedding is initialised with the vectors of its words, and missing words as configured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unrolled.errors import ConfigError, DataError
from unrolled.layers.pretrained import fill
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.formats.detect import write_vectors

WORDS = ["the", "Sea", "sky", "paris", "absent", "lost"]
FILE = ["the", "sea", "sky", "Paris", "paris", "unused", "</s>"]
D = 11


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)], TextConfig(kind="space"))


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(1).normal(2.0, 0.3, (len(FILE), D)).astype(np.float32)


@pytest.fixture(params=["v.txt", "v.vec.gz", "v.bin", "v.safetensors"])
def file(request: pytest.FixtureRequest, tmp_path: Path, matrix: np.ndarray) -> Path:
    write_vectors(tmp_path / request.param, FILE, matrix)
    return tmp_path / request.param


def embedding_of(tokenizer: Tokenizer, width: int = D) -> nn.Embedding:
    torch.manual_seed(5)
    return nn.Embedding(len(tokenizer), width, padding_idx=PAD_ID)


def rows(embedding: nn.Embedding, tokenizer: Tokenizer, *words: str) -> np.ndarray:
    ids = [tokenizer.id_of(word) for word in words]
    return embedding.weight.detach().numpy()[ids]


def test_invalid_numbers_of_needed_words_name_the_line(
    tokenizer: Tokenizer, tmp_path: Path, matrix: np.ndarray
) -> None:
    path = tmp_path / "v.txt"
    write_vectors(path, FILE, matrix)
    lines = path.read_text(encoding="utf-8").splitlines()
    for word, is_needed in (("unused", False), ("paris", True)):
        row = FILE.index(word)
        bad = [*lines]
        bad[row] = lines[row].rpartition(" ")[0] + " nan"
        path.write_text("\n".join(bad) + "\n", encoding="utf-8")
        if not is_needed:
            fill(embedding_of(tokenizer), tokenizer, path)
            continue
        with pytest.raises(DataError) as caught:
            fill(embedding_of(tokenizer), tokenizer, path)
        assert str(caught.value) == (
            f"{path}, line {row + 1}: number {D} of 'paris' is nan, expected finite numbers; remove it "
            "(model.embeddings)"
        )


@pytest.mark.parametrize("missing", ["random", "mean", "zero"])
def test_words_have_the_vectors_of_the_file(
    tokenizer: Tokenizer, file: Path, matrix: np.ndarray, missing
) -> None:
    embedding = embedding_of(tokenizer)
    table = embedding.weight
    notes = fill(embedding, tokenizer, file, missing=missing, setting="model.source_embeddings")
    assert embedding.weight is table
    found = rows(embedding, tokenizer, "the", "Sea", "sky", "paris")
    expected = matrix[[FILE.index(word) for word in ("the", "sea", "sky", "paris")]]
    assert found.tolist() == expected.tolist()
    assert embedding.weight[EOS_ID].tolist() == matrix[FILE.index("</s>")].tolist()
    assert embedding.weight[PAD_ID].tolist() == [0.0] * D
    start = {"random": "random values", "mean": "the mean vector", "zero": "zero"}[missing]
    assert notes == (
        f"model.source_embeddings: 4 of 6 words (66.7%) have a vector in {file}, 1 of them in lower "
        f"case; the others start at {start}",
    )


def test_missing_words_are_initialised_as_configured(
    tokenizer: Tokenizer, file: Path, matrix: np.ndarray
) -> None:
    embedding = embedding_of(tokenizer)
    used = matrix[[FILE.index(word) for word in ("the", "sea", "sky", "paris", "</s>")]]
    fill(embedding, tokenizer, file, missing="mean")
    unknown = rows(embedding, tokenizer, "absent", "lost", "<unk>")
    np.testing.assert_allclose(unknown, np.tile(used.mean(0), (3, 1)), rtol=1e-6)
    fill(embedding, tokenizer, file, missing="zero")
    assert not rows(embedding, tokenizer, "absent", "lost", "<unk>").any()
    # Begin and end are not words: if they were zero, too, they would look like padding.
    assert rows(embedding, tokenizer, "<s>").all()
    assert embedding.weight[BOS_ID].tolist() != embedding.weight[UNK_ID].tolist()


def test_random_vectors_have_the_deviation_of_the_file(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(2000)]
    tokenizer = Tokenizer.train([" ".join(words)], TextConfig(kind="space"))
    known = np.random.default_rng(2).normal(0, 0.37, (50, D)).astype(np.float32)
    write_vectors(tmp_path / "v.txt", words[:50], known)
    embedding = embedding_of(tokenizer)
    torch.manual_seed(7)
    fill(embedding, tokenizer, tmp_path / "v.txt", scale=4.0)
    first = embedding.weight.detach().clone()
    unknown = rows(embedding, tokenizer, *words[50:])
    assert unknown.std() * 4 == pytest.approx(known.std(), rel=0.03)
    assert abs(unknown.mean()) < 0.01
    # A frozen table keeps its initial values, so <unk>, which stands for any word, must not be random.
    np.testing.assert_allclose(rows(embedding, tokenizer, "<unk>")[0] * 4, known.mean(0), rtol=1e-4)
    torch.manual_seed(7)
    fill(embedding, tokenizer, tmp_path / "v.txt", scale=4.0)
    assert torch.equal(embedding.weight, first)


def test_vectors_are_divided_by_the_scale_of_the_model(
    tokenizer: Tokenizer, file: Path, matrix: np.ndarray
) -> None:
    embedding = embedding_of(tokenizer)
    fill(embedding, tokenizer, file, scale=D**0.5)
    seen = rows(embedding, tokenizer, "sky")[0] * D**0.5
    np.testing.assert_allclose(seen, matrix[FILE.index("sky")], rtol=1e-6)


def test_notes_of_the_file_are_passed_on(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("the 1 2\nsky 3 4\nthe 5 6\n", encoding="utf-8")
    notes = fill(embedding_of(tokenizer, 2), tokenizer, path)
    assert notes == (
        f"model.embeddings: 2 of 6 words (33.3%) have a vector in {path}; the others start at random "
        "values",
        f"{path}, line 3: 1 duplicate word, the first is 'the'; the first vector of each is used",
    )


def test_another_width_is_refused(tokenizer: Tokenizer, file: Path) -> None:
    embedding = embedding_of(tokenizer, 8)
    before = embedding.weight.detach().clone()
    with pytest.raises(ConfigError) as raised:
        fill(embedding, tokenizer, file, setting="model.target_embeddings")
    assert str(raised.value) == (
        f"model.embedding_size is 8, but the vectors in {file} (model.target_embeddings) have 11 "
        "dimensions; set model.embedding_size = 11"
    )
    assert torch.equal(embedding.weight, before)


def test_vectors_of_another_language_are_refused(file: Path) -> None:
    tokenizer = Tokenizer.train(["el mar y el cielo"], TextConfig(kind="word"))
    with pytest.raises(DataError) as raised:
        fill(embedding_of(tokenizer), tokenizer, file)
    assert str(raised.value) == (
        f"{file}: none of the 4 words of the vocabulary is in this file; use vectors for the "
        "language of the data (model.embeddings)"
    )


def test_subword_tokenizers_are_refused(file: Path) -> None:
    tokenizer = Tokenizer.train(["the sea and the sky"], TextConfig(kind="bpe", vocab_size=280))
    with pytest.raises(ConfigError, match=r"text.kind is 'bpe', whose tokens are parts of words"):
        fill(embedding_of(tokenizer), tokenizer, file)


def test_an_unknown_initialisation_is_refused(tokenizer: Tokenizer, file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^missing must be one of random, mean, zero, got 'one'$"
    ):
        fill(embedding_of(tokenizer), tokenizer, file, missing="one")  # type: ignore[arg-type]
