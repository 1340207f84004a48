"""Running text is encoded once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_text import CODE, trained, whole, write

from unrolled.errors import DataError
from unrolled.text.corpus import cache as corpus_cache
from unrolled.text.corpus.corpus import (
    Corpus,
    TokenStream,
    default_cache_folder,
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def same(a: TokenStream, b: TokenStream) -> bool:
    counts = (a.n_characters, a.n_bytes) == (b.n_characters, b.n_bytes)
    return counts and np.array_equal(a.ids, b.ids) and np.array_equal(a.starts, b.starts)


def test_text_is_encoded_once(
    tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write(tmp_path / "a.py", CODE), tmp_path / "deep" / "cache"
    first = open_corpus(whole(path, documents="line")).encode("train", bpe, cache)
    assert isinstance(first.ids, np.memmap)
    assert not first.ids.flags.writeable
    assert same(first, open_corpus(whole(path, documents="line")).encode("train", bpe))
    before = files_in(cache)
    assert sorted(Path(name).suffix for name in before) == [".ids", ".json", ".starts"]
    # Neither its name nor that of the folder matter, only what is in it.
    moved = write(tmp_path / "other" / "b.txt", CODE)
    corpus = open_corpus(whole(moved, documents="line"))
    bpe.save(tmp_path / "tokenizer.json")
    monkeypatch.setattr(Corpus, "_write", None)
    again = corpus.encode("train", Tokenizer.load(tmp_path / "tokenizer.json"), cache)
    assert same(first, again)
    assert files_in(cache) == before


def test_the_cache_depends_on_text_settings_and_tokenizer(tmp_path: Path, bpe: Tokenizer) -> None:
    path, cache = write(tmp_path / "a.py", CODE + "one more\nline\n"), tmp_path / "cache"
    settings: list[dict[str, object]] = [
        {},
        {"documents": "line"},
        {"documents": "paragraph"},
        {"documents": "separator", "separator": "***"},
        {"documents": "separator", "separator": "---"},
        {"on_invalid": "skip"},
        {"encoding": "latin-1"},
        {"valid_share": 0.2},
        {"valid_share": 0.5},
    ]
    for number, each in enumerate(settings, start=1):
        open_corpus(whole(path, **each)).encode("train", bpe, cache)
        assert len(files_in(cache)) == 3 * number
    open_corpus(whole(path)).encode("train", trained("char"), cache)
    write(path, CODE)
    open_corpus(whole(path)).encode("train", bpe, cache)
    assert len(files_in(cache)) == 3 * (len(settings) + 2)
    # What decides only which files are read decides nothing once they are known.
    open_corpus(whole(path, suffixes=(".py",), split_seed=7)).encode("train", bpe, cache)
    assert len(files_in(cache)) == 3 * (len(settings) + 2)


@pytest.mark.parametrize("suffix", ["ids", "starts", "json"])
@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "empty", "gone"])
def test_damaged_cache_files_are_replaced(
    tmp_path: Path, bpe: Tokenizer, suffix: str, damage: str
) -> None:
    path, cache = write(tmp_path / "a.py", CODE), tmp_path / "cache"
    corpus = open_corpus(whole(path, documents="line"))
    expected = corpus.encode("train", bpe)
    corpus.encode("train", bpe, cache)
    (kept,) = cache.glob(f"*.{suffix}")
    content = kept.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "longer": content + b"\0\0",
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    kept.unlink()
    if damage != "gone":
        kept.write_bytes(damaged[damage])
    assert same(expected, corpus.encode("train", bpe, cache))
    assert kept.read_bytes() == content
    assert len(files_in(cache)) == 3


def test_large_files_are_checked_by_length(
    tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_cache, "_CHECKSUM_BELOW", 0)
    corpus, cache = open_corpus(whole(write(tmp_path / "a", CODE))), tmp_path / "cache"
    corpus.encode("train", bpe, cache)
    (ids,) = cache.glob("*.ids")
    content = ids.read_bytes()
    ids.unlink()
    ids.write_bytes(content[:-2])
    corpus.encode("train", bpe, cache)
    assert ids.read_bytes() == content


def test_a_cache_record_describes_the_ids(tmp_path: Path, bpe: Tokenizer) -> None:
    cache = tmp_path / "cache"
    stream = open_corpus(whole(write(tmp_path / "a", CODE))).encode("train", bpe, cache)
    (about,) = cache.glob("*.json")
    record = json.loads(about.read_text(encoding="utf-8"))
    assert record["n_ids"] == stream.n_tokens == len(stream.ids)
    assert record["n_documents"] == len(stream.starts) == 1


def test_an_unwritable_cache_is_not_an_error(
    tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, cache = open_corpus(whole(write(tmp_path / "a", CODE))), tmp_path / "cache"
    expected = corpus.encode("train", bpe)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert same(expected, corpus.encode("train", bpe, cache))
        assert same(expected, corpus.encode("train", bpe, cache))
    assert corpus.notes() == [
        f"encoded text is kept in memory and not cached: {cache} cannot be written (No space left on "
        "device); set another folder with the environment variable UNROLLED_CACHE"
    ]
    assert list(cache.iterdir()) == []
    in_the_way = write(tmp_path / "file", "")
    other = open_corpus(whole(tmp_path / "a"))
    assert same(expected, other.encode("train", bpe, in_the_way / "cache"))
    assert "cannot be written" in other.notes()[0]
    assert same(expected, other.encode("train", bpe, tmp_path / "a\0b"))
    write(tmp_path / "a", "changed")
    with pytest.raises(DataError, match="this file changed while it was in use"):
        corpus.encode("train", bpe, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda record, ids: "[" * 100_000,
        lambda record, ids: json.dumps(record | {"dtype": "O"}),
        lambda record, ids: json.dumps(record | {"dtype": [["a", "<u2"]]}),
        lambda record, ids: json.dumps(record | {"n_ids": -1}),
        lambda record, ids: json.dumps(record | {"n_ids": 10**30}),
        lambda record, ids: json.dumps(record | {"n_characters": "many"}),
        lambda record, ids: json.dumps([record]),
        lambda record, ids: "\xff",
        lambda record, ids: json.dumps(record | {"ids_blake2b": poisoned(ids, 0, 60_000)}),
    ],
    ids=["deep", "objects", "fields", "below", "huge", "text", "list", "bytes", "beyond"],
)
def test_a_poisoned_cache_is_replaced(
    tmp_path: Path, bpe: Tokenizer, change: Callable[[dict[str, Any], Path], str]
) -> None:
    corpus, cache = open_corpus(whole(write(tmp_path / "a", CODE))), tmp_path / "cache"
    expected = corpus.encode("train", bpe, cache).ids.tolist()
    (about,), (ids,) = cache.glob("*.json"), cache.glob("*.ids")
    record = json.loads(about.read_text(encoding="utf-8"))
    content = change(record, ids)
    about.unlink()
    about.write_text(content, encoding="latin-1")
    assert corpus.encode("train", bpe, cache).ids.tolist() == expected
    assert json.loads(about.read_text(encoding="utf-8")) == record
    assert corpus.notes() == []


def poisoned(ids: Path, place: int, value: int) -> str:
    """The checksum of a file of ids of which one is changed."""
    numbers = np.fromfile(ids, "<u2")
    numbers[place] = value
    ids.unlink()
    numbers.tofile(ids)
    return hashlib.blake2b(numbers.tobytes()).hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_new_cache_is_private(tmp_path: Path, bpe: Tokenizer) -> None:
    cache = tmp_path / "new" / "cache"
    open_corpus(whole(write(tmp_path / "a", CODE))).encode("train", bpe, cache)
    assert cache.stat().st_mode & 0o777 == 0o700


def test_only_our_own_leftovers_are_removed(tmp_path: Path, bpe: Tokenizer) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    ours = cache / f"{'0' * 32}.ids.17-01234567.partial"
    other = cache / "film.mp4.partial"
    for path in (ours, other):
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    open_corpus(whole(write(tmp_path / "a", CODE))).encode("train", bpe, cache)
    assert not ours.exists()
    assert other.exists()


def test_without_a_home_folder_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("UNROLLED_CACHE")
    monkeypatch.setattr(Path, "home", none)
    assert default_cache_folder() is None


_ENCODE_IN_A_PROCESS = """
import sys
from pathlib import Path
from typing import Any
from unrolled.text.corpus.corpus import CorpusConfig, open_corpus
from unrolled.text.tokenizer import Tokenizer
text, tokenizer, caches = sys.argv[1:]
config = CorpusConfig(train=(text,), valid_share=0.0, test_share=0.0, documents="line")
corpus, loaded = open_corpus(config), Tokenizer.load(tokenizer)
for number in range(20):
    stream = corpus.encode("train", loaded, Path(caches, str(number)))
    print(stream.n_tokens, int(stream.ids.sum()), len(stream.starts))
"""


def test_processes_can_encode_at_once(tmp_path: Path, bpe: Tokenizer) -> None:
    path, caches = write(tmp_path / "a", CODE * 31), tmp_path / "caches"
    bpe.save(tmp_path / "tokenizer.json")
    words = [_ENCODE_IN_A_PROCESS, str(path), str(tmp_path / "tokenizer.json"), str(caches)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", *words], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    stream = open_corpus(whole(path, documents="line")).encode("train", bpe)
    line = f"{stream.n_tokens} {int(stream.ids.sum())} {len(stream.starts)}"
    assert [output.decode().splitlines() for output in outputs] == [[line] * 20] * 2
    assert [len(files_in(cache)) for cache in caches.iterdir()] == [3] * 20


def test_the_cache_is_in_the_platforms_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UNROLLED_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache_folder() == tmp_path / ".cache" / "unrolled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_folder() == tmp_path / ".cache" / "unrolled"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "unrolled"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache_folder() == tmp_path / "Library" / "Caches" / "unrolled"
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_cache_folder() == tmp_path / "AppData" / "Local" / "unrolled"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_cache_folder() == tmp_path / "local" / "unrolled"
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"
