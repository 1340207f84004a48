"""Packed files are read and written as what they hold; what is wrong with one is said with its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
from pathlib import Path

import pytest

from unrolled.errors import DataError, UnavailableError
from unrolled.text import files
from unrolled.text.corpus.corpus import CorpusConfig, open_corpus
from unrolled.text.lines import read_lines
from unrolled.text.readers import read_rows

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
LINES = ["a\tb", "un café\t日本", "last\tone"]


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_file_is_read_as_what_it_holds(tmp_path: Path, ending: str) -> None:
    text = "\n".join(LINES) + "\n"
    path = tmp_path / f"texts.TSV{ending.upper()}"
    path.write_bytes(PACK[ending](text.encode()))
    assert [line.text for line in read_lines(path)] == LINES
    assert [row.fields for row in read_rows(path)] == [tuple(x.split("\t")) for x in LINES[1:]]
    config = CorpusConfig(
        train=(str(tmp_path),), suffixes=(".tsv",), valid_share=0.0, test_share=0.0
    )
    assert "".join(open_corpus(config).texts("train")) == text


@pytest.mark.parametrize("ending", PACK)
def test_damage_is_named_wherever_it_is(tmp_path: Path, ending: str) -> None:
    text = random.Random(7).randbytes(1 << 16).hex()
    packed = PACK[ending](text.encode())
    path = tmp_path / f"a.txt{ending}"
    kind = f"{path}: damaged {KINDS[ending]} file"
    for bad in (b"nothing packed", packed[:-9], packed[: len(packed) // 2]):
        path.write_bytes(bad)
        with pytest.raises(DataError) as caught:
            list(read_lines(path))
        assert str(caught.value).startswith(kind)
        assert str(caught.value).endswith("; copy or download it again")
    for place in range(0, len(packed), len(packed) // 13):
        damaged = bytearray(packed)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        try:
            found = [line.text for line in read_lines(path)]
        except DataError as error:
            assert str(error).startswith(kind)  # noqa: PT017
        else:
            assert found == [text], "what no checksum covers changes nothing"


def test_what_is_packed_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for ending in PACK:
        found = set()
        for name in ("a", "b"):
            stream = io.BytesIO()
            with files.packed_into(stream, ending, tmp_path / f"{name}{ending}") as packed:
                packed.write(b"words " * 99)
            found.add(stream.getvalue())
        (content,) = found
        with files.unpacked(io.BytesIO(content), ending, "it") as inner:
            assert inner.read() == b"words " * 99


@pytest.mark.parametrize("ending", [".zst", ".zip", ".7z"])
def test_other_packings_are_refused_by_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(b"whatever")
    with pytest.raises(DataError) as caught:
        list(read_lines(path))
    assert str(caught.value) == (
        f"{path}: {ending} files are not supported; decompress it, or use one of .gz, .bz2, .xz"
    )


def test_a_python_without_a_compression_module_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(b"text"))
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(
        UnavailableError, match="this Python was built without lzma, which decompresses"
    ):
        list(read_lines(path))


def test_a_disk_error_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    class Torn(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

        readinto = readinto1 = read1 = read

    for ending in PACK:
        with pytest.raises(OSError, match="Input/output error"):
            with files.unpacked(Torn(), ending, "it") as inner:
                inner.read()
