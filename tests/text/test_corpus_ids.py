"""Running text is encoded in pieces, exactly."""

from __future__ import annotations

import random
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from running_text import CODE, KINDS, documents_of, text_of, trained, whole, write

from unrolled.errors import ConfigError
from unrolled.text.config import EOS_ID, UNK_ID, TextConfig
from unrolled.text.corpus import files, segments
from unrolled.text.corpus.corpus import (
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer


def awkward_texts() -> list[str]:
    draw = random.Random(13)
    alphabet = (
        ["\n"] * 5 + list(" \t\r\u00a0\u2028\x1c\x0b") + ["a", "B'c", "é", "1", "::", "日", "</s>"]
    )
    alphabet += ["\u0301", "Σ", "İ", "<unk>"]
    texts = [
        "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 307))) for _ in range(80)
    ]
    return [CODE, "\n" * 97, "\n " * 97, " \n\n a\n" * 31, "a\n\n" * 31, "\n\n\na" * 31, *texts]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_the_pieces_are_the_ids_of_the_whole(
    tmp_path: Path, kind: str, lowercase: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 53)
    monkeypatch.setattr(segments, "_PIECE", 11)
    tokenizer = trained(kind, CODE + "İ Σ <unk> B'c", lowercase=lowercase)
    n_pieces = 0
    for number, text in enumerate(awkward_texts()):
        path = write(tmp_path / str(number), text)
        corpus = open_corpus(whole(path))
        n_pieces += sum(1 for _ in corpus.texts("train"))
        stream = corpus.encode("train", tokenizer)
        expected = tokenizer.encode(unicodedata.normalize("NFC", text.replace("\r\n", "\n")))
        assert stream.ids.tolist() == [*expected, EOS_ID]
    assert n_pieces > 500


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_running_text_is_restored_exactly(tmp_path: Path, kind: str) -> None:
    for number, text in enumerate(awkward_texts()):
        path = write(tmp_path / str(number), text)
        corpus = open_corpus(whole(path))
        clean = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
        assert documents_of(corpus, trained(kind, text)) == [clean]


def test_pieces_are_short_where_lines_allow_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "".join(f"line {i}\n" for i in range(50_000)))
    pieces = list(open_corpus(whole(path)).texts("train"))
    assert max(map(len, pieces)) <= 1 << 16
    assert len(pieces) < 12
    assert all(piece.startswith("\n") for piece in pieces[1:])
    lines = list(open_corpus(whole(path, documents="line")).texts("train"))
    assert lines == path.read_text(encoding="utf-8").splitlines()


def test_text_without_boundaries_is_cut_every_mebibyte(
    tmp_path: Path,
) -> None:
    characters = Tokenizer.train(["aé\n "], TextConfig(kind="char"))
    for text in ("é" * 1_300_003, "a" * 1_300_003 + "\né", "a" + ("\n" + " a" * 31) * 19_000):
        path = write(tmp_path / "a", text)
        for documents in ("file", "paragraph", "separator"):
            settings = {"documents": documents, "separator": "-" * (documents == "separator")}
            corpus = open_corpus(whole(path, **settings))
            assert len(next(corpus.texts("train"))) == 1 << 20
            assert text_of(corpus) == text
            assert len(corpus.encode("train", characters).starts) == 1
        lines = open_corpus(whole(path, documents="line"))
        assert text_of(lines) == text.replace("\n", "")
        assert len(lines.encode("train", characters).starts) == text.count("\n") + 1
    # Just below the limit nothing is cut, although a block of the file has fewer characters.
    path = write(tmp_path / "a", "日" * 1_000_003)
    assert [len(piece) for piece in open_corpus(whole(path)).texts("train")] == [1_000_003]


def test_large_vocabularies_have_wider_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a", " ".join(f"w{i}" for i in range(66_000)))
    for size, dtype in ((1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)):
        words = Tokenizer.train(
            [path.read_text(encoding="utf-8")], TextConfig(kind="space", vocab_size=size)
        )
        stream = open_corpus(whole(path)).encode("train", words)
        assert stream.ids.dtype == dtype
        assert stream.ids.max() == size - 1
        assert not stream.ids.flags.writeable
        assert (stream.ids == UNK_ID).sum() == 66_000 + 4 - size


def test_a_tokenizer_for_sentences_is_refused(tmp_path: Path) -> None:
    corpus = open_corpus(whole(write(tmp_path / "a", "a")))
    with pytest.raises(ConfigError) as caught:
        corpus.encode("train", Tokenizer.train(["a"], TextConfig()))
    assert str(caught.value) == (
        "this tokenizer puts a space before each text and cannot encode running text; train it with "
        "running=True"
    )


@pytest.mark.parametrize("documents", ["file", "line"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, documents: str) -> None:
    line = "The same words again and again, 25 times; that's enough. " * 4 + "\n"
    words = Tokenizer.train([line], TextConfig(kind="char"))

    def peak(n_lines: int) -> int:
        path = tmp_path / str(n_lines)
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(line for _ in range(n_lines))
        tracemalloc.start()
        stream = open_corpus(whole(path, documents=documents)).encode("train", words, tmp_path)
        assert stream.n_characters == n_lines * len(line)
        del stream
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    small, large = peak(13_000), peak(39_000)  # 3 and 9 MB
    assert large < 1.1 * small
