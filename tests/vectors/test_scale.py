"""Counts computed on a cluster equal those of one machine, byte for byte."""

from __future__ import annotations

import gzip
import lzma
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brute_force import same_counts

from unrolled.errors import DataError, RunError, UnavailableError
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.text_shards import Splitter
from unrolled.vectors.events import Counted, Epoch, Read, VocabularyMade
from unrolled.vectors.train import fit_vectors, train_vectors

distributed = pytest.importorskip("distributed")
fsspec = pytest.importorskip("fsspec")

from unrolled.vectors.counting import cluster as scale  # noqa: E402

CONFIG = VectorsConfig(size=3, min_count=2, window=7, epochs=1, threads=1)

# Dask and its web server give deprecation warnings; an unclosed port or socket is an error.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def cluster_of(n_workers: int, processes: bool = False) -> object:
    """A cluster on this machine whose scheduler uses any free port for its dashboard."""
    return distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=processes,
        # With None alone, the dashboard would still run, on port 8787, which may be in use.
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    )


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    """Two workers on this machine."""
    with cluster_of(2) as cluster:
        with distributed.Client(cluster) as client:
            yield client


@pytest.mark.parametrize("part_bytes", [53, 997, 10**6])
@pytest.mark.parametrize("borders", ["line", "document", "none"])
def test_any_division_of_the_text_gives_the_same_counts(
    client, text: Path, tmp_path: Path, borders, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "_part_bytes", lambda _: part_bytes)
    monkeypatch.setattr(scale, "_entries_of_range", lambda *_: 997)
    monkeypatch.setattr(scale, "_LEAST_TOKENS", 211)  # of a chunk
    monkeypatch.setattr(scale, "_MOST_TOKENS", 211)
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


def test_workers_split_words_like_one_machine(client, tmp_path: Path) -> None:
    lines = ["Don't stop, U.S. ships!", "é stop e\u0301", ""] * 30
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    config = replace(CONFIG, tokens="word", lowercase=True, window=60)
    train_vectors(config, tmp_path / "a.txt", tmp_path / "one")
    train_vectors(config, tmp_path / "a.txt", tmp_path / "many", cluster=client)
    assert same_counts(tmp_path / "one", tmp_path / "many")


def test_text_is_read_from_any_fsspec_file_system(client, text: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/texts/a.txt", text.read_bytes())
    train_vectors(CONFIG, text, tmp_path / "one")
    train_vectors(CONFIG, "memory://texts/*.txt", tmp_path / "many", cluster=client)
    assert same_counts(tmp_path / "one", tmp_path / "many")
    with pytest.raises(DataError):
        train_vectors(CONFIG, "memory://texts/b.txt", tmp_path / "none", cluster=client)


def test_an_invalid_text_is_reported(client, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a b\n" * 9 + b"c \xff\n")
    with pytest.raises(DataError) as caught:
        train_vectors(CONFIG, path, tmp_path / "out", cluster=client)
    assert str(caught.value).startswith(f"{path}: not UTF-8 at byte 38 (0xFF); convert the file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("block", [5, 16, 64])
@pytest.mark.parametrize("part", [1, 2, 3])
def test_long_lines_are_read_once_in_any_division(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, part: int
) -> None:
    lines = ["a b", "é " * 70, "", "word and " * 40, "c", "x " * 64, "last"]
    path = tmp_path / "long.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(scale, "_BLOCK", block)
    text = b""
    for piece in scale._slices(str(path), part * block):
        text += b"".join(scale._texts(piece, CorpusConfig(), CONFIG))
    assert text.decode().split("\n")[:-1] == lines


def test_a_damaged_archive_is_reported(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d words and more words\n" % n for n in range(4000)))
    path = tmp_path / "a.txt.gz"
    for place in range(20, len(packed), len(packed) // 23):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        part = scale.Slice(str(path), 0, None, ".gz")
        with pytest.raises(DataError, match="damaged gzip file"):
            list(scale._texts(part, CorpusConfig(), CONFIG))


def stopped_at(kind: type, *arguments: object, **options: object) -> None:
    """Train up to the first event of a kind."""
    events = fit_vectors(*arguments, **options)
    while type(next(events)) is not kind:
        pass
    events.close()


@pytest.mark.parametrize("first", ["here", "there"])
@pytest.mark.parametrize("kind", [Read, VocabularyMade, Counted, Epoch])
def test_runs_resume_with_or_without_the_cluster(
    client, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, kind: type
) -> None:
    monkeypatch.chdir(text.parent)
    config, out = replace(CONFIG, epochs=2, save_every_n_seconds=0), tmp_path / "out"
    by_place = {"here": {}, "there": {"cluster": client}}
    stopped_at(kind, config, text.name, out, **by_place.pop(first))
    ((_, others),) = by_place.items()
    train_vectors(config, text.name, out, **others, resume=True)
    train_vectors(config, text, tmp_path / "one")
    name = "vectors.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert same_counts(out, tmp_path / "one")


def test_a_changed_text_is_refused_on_a_cluster(client, text: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "a.txt", tmp_path / "out"
    path.write_bytes(text.read_bytes())
    stopped_at(Read, CONFIG, path, out)
    path.write_bytes(text.read_bytes() + b"more\n")
    with pytest.raises(RunError, match="is not the file that"):
        train_vectors(CONFIG, path, out, cluster=client, resume=True)
    memory = fsspec.filesystem("memory")
    for content in (b"a b c d e f g h\n" * 40, b"b a c d e f g h\n" * 40):
        memory.pipe("/changed.txt", content)
        if content.startswith(b"a"):
            stopped_at(Read, CONFIG, "memory://changed.txt", tmp_path / "x", cluster=client)
    with pytest.raises(RunError, match="is not the file that"):
        train_vectors(CONFIG, "memory://changed.txt", tmp_path / "x", cluster=client, resume=True)


def test_the_url_of_a_folder_selects_its_files(client, text: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    folder = tmp_path / "texts"
    for name, content in (
        ("b.txt", b"x y z\n" * 40),
        ("a/c.TXT", text.read_bytes()),
        ("d.md", b"q"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        memory.pipe(f"/in/texts/{name}", content)
    memory.pipe("/in/texts/e.txt.gz", gzip.compress(b"u v w\n" * 40))
    memory.pipe("/in/texts/.hidden/f.txt", b"no no\n" * 99)
    (folder / "e.txt.gz").write_bytes(gzip.compress(b"u v w\n" * 40))
    train_vectors(CONFIG, CorpusConfig(train=(str(folder),), suffixes=(".txt",)), tmp_path / "one")
    for url in ("memory://in/texts", "memory://in/texts/", folder.as_uri()):
        corpus, out = CorpusConfig(train=(url,), suffixes=(".txt",)), tmp_path / "many"
        train_vectors(CONFIG, corpus, out, cluster=client, force=out.exists())
        assert same_counts(tmp_path / "one", out)
    corpus = CorpusConfig(train=("memory://in/texts",), suffixes=(".rst",))
    with pytest.raises(DataError, match=r"memory://in/texts: found no file with suffix \.rst; "):
        train_vectors(CONFIG, corpus, tmp_path / "none", cluster=client)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "shift_jis"])
def test_characters_of_long_lines_are_not_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    lines = ["日本 語の文 " * 9, "文字", "x 列 " * 31]
    path = tmp_path / "long.txt"
    path.write_text("\n".join(lines), encoding=encoding)
    for block in (16, 17, 19):
        monkeypatch.setattr(scale, "_BLOCK", block)
        for part in (block, 5 * block, 10**6):
            text = b""
            for piece in scale._slices(str(path), part):
                text += b"".join(scale._texts(piece, CorpusConfig(encoding=encoding), CONFIG))
            assert text.decode().split("\n")[:-1] == lines


def test_skipped_bytes_of_a_long_line_do_not_join_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.txt"
    monkeypatch.setattr(scale, "_BLOCK", 16)
    corpus = CorpusConfig(on_invalid="skip")
    for place in range(16, 60, 3):
        content = bytearray(b"the vne wxt " * 6 + b"end\nlast\n")
        content[place] = 0xFF
        path.write_bytes(content)
        (part,) = scale._slices(str(path), 10**6)
        words = b"".join(scale._texts(part, corpus, CONFIG)).split()
        parts = [
            word[i:j]
            for word in (b"the", b"vne", b"wxt", b"end")
            for i in (0, 1, 2)
            for j in (1, 2, 3)
        ]
        assert {*words} <= {*parts, b"last"}
        assert words[-1] == b"last"


def test_a_compressed_file_too_large_for_a_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_MAX_UNPACKED", "1GB")
    path = tmp_path / "big.gz"
    path.write_bytes(gzip.compress(b"word " * 400_000))
    config = replace(CONFIG, memory="3MB")
    (part,) = scale._slices(str(path), 10**6)
    asked = (CorpusConfig(), config, Splitter(config), "plain")
    with pytest.raises(DataError) as caught:
        scale._number(part, asked)
    assert str(caught.value) == (
        f"{path}: contains too much text for one task with 3MB, and a compressed file cannot be split; "
        "decompress it, compress it in parts, or raise the limit (--memory)"
    )
    assert scale._number(part, (*asked[:1], CONFIG, *asked[2:])).counts.tolist() == [400_000]


def test_more_memory_gives_larger_parts() -> None:
    assert scale._part_bytes(4 * 10**9) == 62_500_000
    assert scale._part_bytes(10**6) == 1 << 20
    assert scale._entries_of_range(64 * 10**9, 2) == 64 * 10**9 // 4 // 20


@pytest.mark.timeout(120)
def test_worker_processes_count_the_same_and_can_be_lost(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_bytes(text.read_bytes()[number:])
    (tmp_path / "texts" / "3.txt.xz").write_bytes(lzma.compress(text.read_bytes()))
    texts, out = tmp_path / "texts", tmp_path / "out"
    train_vectors(CONFIG, texts, tmp_path / "one")
    monkeypatch.setattr(scale, "_part_bytes", lambda _: 9973)
    with cluster_of(2, processes=True) as cluster:
        address = cluster.scheduler_address
        train_vectors(CONFIG, texts, tmp_path / "many", cluster=address)
        assert same_counts(tmp_path / "one", tmp_path / "many")
        assert _n_clients(cluster) == 0, "the connection that was opened is closed"
        events = fit_vectors(CONFIG, texts, out, cluster=address)
        while type(next(events)) is not Read:
            pass
        cluster.close()
        with _quickly(), pytest.raises(UnavailableError) as caught:
            list(events)
        assert str(caught.value).startswith(
            "the connection to the Dask cluster was lost during counting ("
        )
        assert str(caught.value).endswith(
            "; restart the cluster, or leave out --cluster, and continue with --resume"
        )
    train_vectors(CONFIG, texts, out, resume=True)
    assert same_counts(tmp_path / "one", out)


def _n_clients(cluster: object) -> int:
    """Number of connections of clients other than the cluster's own."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        n = sum("fire-and-forget" not in name for name in cluster.scheduler.clients)
        if not n:
            break
        time.sleep(0.05)
    return n


def test_a_cluster_without_workers_is_reported(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "_PATIENCE", 0.2)
    monkeypatch.setattr(scale, "_ASKED_EVERY", 0.1)
    with (
        cluster_of(0) as cluster,
        distributed.Client(cluster) as client,
    ):
        with pytest.raises(UnavailableError, match="the Dask cluster has had no workers for 0 sec"):
            train_vectors(CONFIG, text, tmp_path / "none", cluster=client)
        cluster.scale(1)
        client.wait_for_workers(1)
        events = fit_vectors(CONFIG, text, tmp_path / "out", cluster=client)
        gone = client.submit(int, 1, resources={"GPU": 1})  # no worker has one
        next(events)
        cluster.scale(0)
        while client.nthreads():
            time.sleep(0.05)
        with pytest.raises(UnavailableError, match="the Dask cluster has had no workers for 0 sec"):
            list(scale.Cluster(client)._finished([gone]))
        events.close()


def test_an_error_on_a_worker_is_reported(
    client, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, context: object) -> None:
        raise TypeError("tail of three\nlines\nof it")

    monkeypatch.setattr(scale, "_tail", fails)
    with pytest.raises(UnavailableError) as caught:
        train_vectors(CONFIG, text, tmp_path / "out", cluster=client)
    assert str(caught.value) == (
        "a worker of the Dask cluster failed (TypeError: tail of three); install the same versions of "
        "Python, unrolled and Dask on all workers, and continue with --resume"
    )
    monkeypatch.undo()
    train_vectors(CONFIG, text, tmp_path / "out", cluster=client, resume=True)
    with pytest.raises(
        UnavailableError, match="workers of the Dask cluster were killed repeatedly"
    ):
        with scale._one_sentence():
            raise distributed.KilledWorker("part", None, 3)


def test_a_missing_scheduler_is_reported(text: Path, tmp_path: Path) -> None:
    with _quickly():
        with pytest.raises(UnavailableError, match="no Dask scheduler answers at tcp:"):
            fit_vectors(CONFIG, text, tmp_path / "out", cluster="tcp://127.0.0.1:9")


def _quickly():
    import dask

    return dask.config.set({"distributed.comm.timeouts.connect": "100ms"})
