"""Counts of a cluster are those of one machine, byte for byte."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brute_force import same_counts

from unrolled.errors import DataError, UnavailableError
from unrolled.text.corpus import CorpusConfig
from unrolled.vectors import loop
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.loop import fit_vectors, train_vectors

distributed = pytest.importorskip("distributed")
fsspec = pytest.importorskip("fsspec")

from unrolled.vectors import scale  # noqa: E402

CONFIG = VectorsConfig(size=3, min_count=2, window=7, epochs=1, threads=1)

pytestmark = pytest.mark.filterwarnings("default")  # Dask and its web server have their own


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    """Two workers on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        with distributed.Client(cluster) as client:
            yield client


@pytest.mark.parametrize("part_bytes", [53, 997, 10**6])
@pytest.mark.parametrize("borders", ["line", "document", "none"])
def test_any_cut_of_the_text_gives_the_same_counts(
    client, text: Path, tmp_path: Path, borders, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "PART_BYTES", part_bytes)
    monkeypatch.setattr(scale, "_TOKENS_OF_RANGE", 1000)
    whole = text.read_bytes()
    some = whole[: 3000 if part_bytes < 100 else None]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "1.txt").write_bytes(some)
    (tmp_path / "texts" / "2.txt.gz").write_bytes(gzip.compress(some[:777]))
    (tmp_path / "texts" / "3.txt").write_bytes(b"\n\n" + some[:999].replace(b"\n", b"\r\n\r\n"))
    corpus = CorpusConfig(train=(str(tmp_path / "texts"),), documents="paragraph")
    config = replace(CONFIG, borders=borders)
    train_vectors(config, corpus, tmp_path / "one")
    end = train_vectors(config, corpus, tmp_path / "many", cluster=client)
    assert same_counts(tmp_path / "one", tmp_path / "many")
    assert end.n_words > 10


def test_words_are_split_on_the_workers_as_here(client, tmp_path: Path) -> None:
    lines = ["Don't stop, U.S. ships!", "é stop e\u0301", ""] * 30
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    config = replace(CONFIG, tokens="word", lowercase=True, window=60)
    train_vectors(config, tmp_path / "a.txt", tmp_path / "one")
    train_vectors(config, tmp_path / "a.txt", tmp_path / "many", cluster=client)
    assert same_counts(tmp_path / "one", tmp_path / "many")


def test_text_comes_from_any_place_that_fsspec_knows(client, text: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/texts/a.txt", text.read_bytes())
    train_vectors(CONFIG, text, tmp_path / "one")
    train_vectors(CONFIG, "memory://texts/*.txt", tmp_path / "many", cluster=client)
    assert same_counts(tmp_path / "one", tmp_path / "many")
    with pytest.raises(DataError):
        train_vectors(CONFIG, "memory://texts/b.txt", tmp_path / "none", cluster=client)


def test_a_fault_of_the_text_is_one_sentence(client, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a b\n" * 9 + b"c \xff\n")
    with pytest.raises(DataError) as caught:
        train_vectors(CONFIG, path, tmp_path / "out", cluster=client)
    assert str(caught.value).startswith(f"{path}: not UTF-8 at byte 38 (0xFF); convert the file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("block", [5, 16, 64])
@pytest.mark.parametrize("part", [1, 2, 3])
def test_lines_of_many_blocks_are_read_once_whatever_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, part: int
) -> None:
    lines = ["a b", "é " * 70, "", "word and " * 40, "c", "x " * 64, "last"]
    path = tmp_path / "long.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(scale, "_BLOCK", block)
    found = b""
    for each in scale._slices(str(path), part * block):
        found += b"".join(scale._texts(each, CorpusConfig(), CONFIG))
    assert found.decode().split("\n")[:-1] == lines


def test_a_damaged_archive_is_named_wherever_the_damage_is(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d words and more words\n" % n for n in range(4000)))
    path = tmp_path / "a.txt.gz"
    for place in range(20, len(packed), len(packed) // 23):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        part = scale.Slice(str(path), 0, None, True)
        with pytest.raises(DataError, match="damaged gzip file"):
            list(scale._texts(part, CorpusConfig(), CONFIG))


def test_training_goes_on_here_after_counting_there(client, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = fit_vectors(CONFIG, text, out, cluster=client)
    while type(next(events)) is not loop.Counted:
        pass
    events.close()
    train_vectors(CONFIG, text, out, cluster=client, resume=True)
    train_vectors(CONFIG, text, tmp_path / "one")
    name = "vectors.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_scheduler_that_is_not_there_is_named(text: Path, tmp_path: Path) -> None:
    with _quickly():
        with pytest.raises(UnavailableError, match="no Dask scheduler answers at tcp:"):
            fit_vectors(CONFIG, text, tmp_path / "out", cluster="tcp://127.0.0.1:9")


def _quickly():
    import dask

    return dask.config.set({"distributed.comm.timeouts.connect": "100ms"})
