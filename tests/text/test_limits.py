"""No file fills the memory: lines and unpacked sizes are bounded in every reader."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unrolled.cli.generate import read_text
from unrolled.cli.lines import line_groups
from unrolled.cli.vectors import read_word_list
from unrolled.errors import ConfigError, DataError
from unrolled.text.conll import column_lines
from unrolled.text.corpus.corpus import CorpusConfig, open_corpus
from unrolled.text.readers import read_rows
from unrolled.vectors.evaluation import read_sets
from unrolled.vectors.formats.detect import read_vectors, read_vocabulary
from unrolled.vectors.formats.safetensors import write

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def drain(rows: object) -> None:
    for _ in rows:  # type: ignore[attr-defined]
        pass


READERS = {
    "table.tsv": lambda path: drain(read_rows(path)),
    "table.csv": lambda path: drain(read_rows(path)),
    "table.jsonl": lambda path: drain(read_rows(path)),
    "side.en": lambda path: drain(read_rows([path, path.with_suffix(".es")])),
    "tokens.conll": lambda path: drain(column_lines(path)),
    "words.txt": read_word_list,
    "sets.txt": lambda path: read_sets([path]),
    "text.txt": read_text,
    "glove.txt": read_vectors,
    "vocabulary.tsv": read_vocabulary,
    "lines.txt": lambda path: drain(line_groups(io.BytesIO(path.read_bytes()), str(path))),
}
BEGINS = {
    "table.jsonl": b'{"text": "a", "label": "b"}\n{"label": "b", "text": "',
    "table.csv": b'text,label\na,"',
    "glove.txt": b"ice 1 2\n",
    "vocabulary.tsv": b"ice\t3\n",
    "sets.txt": b"ice steam 3\n",
    "tokens.conll": b"a O\n",
}


@pytest.mark.parametrize("name", READERS)
def test_a_line_that_is_too_long_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_MAX_LINE", "10KB")
    path = tmp_path / name
    path.write_bytes(BEGINS.get(name, b"text\tlabel\n") + b"x" * 11_000)
    if name == "side.en":
        path.with_suffix(".es").write_bytes(path.read_bytes())
    with pytest.raises(DataError) as raised:
        READERS[name](path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "UNROLLED_MAX_LINE" in message
    assert name == "text.txt" or "line 2: this line is longer than" in message
    monkeypatch.setenv("UNROLLED_MAX_LINE", "1 MB")
    problem = ""
    try:
        READERS[name](path)
    except DataError as error:
        problem = str(error)
    assert "UNROLLED_MAX_LINE" not in problem


def test_a_csv_row_of_many_lines_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_MAX_LINE", "10KB")
    path = tmp_path / "open.csv"
    path.write_text('text,label\nfine,b\na,"' + "never closed\n" * 2000, encoding="utf-8")
    with pytest.raises(
        DataError, match="line 3: this row, which has an unclosed quote, is longer than 10 KB"
    ):
        drain(read_rows(path))


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("content", [b"a" * 2_000_000, b"a\tb\n" * 350_000], ids=["line", "rows"])
def test_a_file_that_unpacks_to_far_too_much_is_refused(
    tmp_path: Path, packing: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"bomb.tsv{packing}"
    path.write_bytes(PACKERS[packing](b"text\tlabel\n" + content))
    with pytest.raises(DataError) as raised:
        drain(read_rows(path))
    assert "decompresses to more than 1,000,000 bytes, 200 times its own size" in str(raised.value)
    assert "UNROLLED_MAX_UNPACKED" in str(raised.value)
    if b"\n" in content:
        monkeypatch.setenv("UNROLLED_MAX_UNPACKED", "4MB")
        assert sum(1 for _ in read_rows(path)) == 350_000


def test_running_text_in_one_packed_line_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "endless.txt.gz"
    path.write_bytes(gzip.compress(b"to be or not " * 400_000))
    config = CorpusConfig(train=(str(path),))
    with pytest.raises(DataError, match="decompresses to more than"):
        open_corpus(config)
    monkeypatch.setenv("UNROLLED_MAX_UNPACKED", "10MB")
    assert max(map(len, open_corpus(config).texts("train"))) <= 1 << 20


def test_a_packed_vocabulary_is_read_no_further_than_its_vectors(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    write(path, ["ice", "fire"], np.ones((2, 3), np.float32), np.array([2, 1]))
    words = b"".join(b"w%d\t3\n" % i for i in range(1_500_000))
    (tmp_path / "vocabulary.tsv").write_bytes(words)
    with pytest.raises(DataError, match="more words than the 2 vectors"):
        read_vectors(path)


def test_a_vocabulary_of_several_blocks_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.vectors.formats.safetensors._AT_ONCE", 10)
    path = tmp_path / "vocabulary.tsv"
    path.write_text("".join(f"word{i}\t{i}\n" for i in range(50)), encoding="utf-8")
    words, counts = read_vocabulary(path)
    assert words == [f"word{i}" for i in range(50)]
    assert counts is not None
    assert counts.tolist() == list(range(50))


@pytest.mark.parametrize("size", ["many", "-1", "0", "4 PB"])
def test_a_limit_that_is_no_size_is_refused(
    tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_MAX_LINE", size)
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na\tb\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="UNROLLED_MAX_LINE must be a size such as 64MB"):
        drain(read_rows(path))


def test_a_header_of_many_columns_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "wide.tsv"
    path.write_text("\t".join(f"column{i}" for i in range(500)) + "\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"expected 2 columns, found 500: column0, .*, …; choose them"
    ):
        drain(read_rows(path, n_columns=2))
