"""Folders of vectors from untrusted sources or damaged disks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from unrolled.errors import DataError, RunError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting import text_shards
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.events import Epoch
from unrolled.vectors.formats.arrays import StoredNumbers, array_header
from unrolled.vectors.formats.detect import read_vectors
from unrolled.vectors.run_state import Record
from unrolled.vectors.train import fit_vectors, train_vectors
from unrolled.vectors.word_vectors import WordVectors

CONFIG = VectorsConfig(size=3, min_count=1, window=2, epochs=3, threads=1, save_every_n_seconds=0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("ice is cold\nsteam is hot\n" * 9, encoding="utf-8")
    return path


@pytest.fixture
def done(source: Path, tmp_path: Path) -> Path:
    """A folder of finished vectors."""
    train_vectors(CONFIG, source, tmp_path / "done")
    return tmp_path / "done"


@pytest.fixture
def begun(source: Path, tmp_path: Path) -> Path:
    """A folder of vectors whose training was stopped after an epoch."""
    events = fit_vectors(CONFIG, source, tmp_path / "begun")
    while not isinstance(next(events), Epoch):
        pass
    events.close()
    return tmp_path / "begun"


def flip(path: Path, place: int) -> None:
    """Change one bit and the modification time, which some disks store in seconds."""
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


# record.json


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"state": "../../outside.safetensors"}, "'state' is not the name of a state file"),
        ({"state": "/outside.safetensors"}, "'state' is not the name of a state file"),
        ({"state": "state-000001.safetensors\n"}, "'state' is not the name of a state file"),
        ({"state": 5}, "the field 'state' is unknown or has an invalid value"),
        ({"files": ["x"]}, "'files' is unknown"),
        ({"files": [["x", 1]]}, "'files' is unknown"),
        ({"files": [["x", -1, 0]]}, "'files' is unknown"),
        ({"files": [["\0", 1, 0]]}, "'files' is unknown"),
        ({"files": {"x": 1}}, "'files' is unknown"),
        ({"corpus": []}, "'corpus' is unknown"),
        ({"sessions": [{"a": 1}]}, "'sessions' is unknown"),
        ({"sessions": [5]}, "'sessions' is unknown"),
        ({"losses": [None]}, "'losses' is unknown"),
        ({"losses": "abc"}, "'losses' is unknown"),
        ({"is_read": 1}, "'is_read' is unknown"),
        ({"n_parts": -1}, "'n_parts' is unknown"),
        ({"n_parts": 10**30}, "'n_parts' is unknown"),
        ({"n_parts": 1.0}, "'n_parts' is unknown"),
        ({"n_stretches": 10**9}, "'n_stretches' is above 1,000,000"),
        ({"seconds": None}, "'seconds' is unknown"),
        ({"is_finished": True, "losses": []}, "'losses' is missing"),
        ({"other": 1}, "'other' is unknown"),
    ],
)
def test_a_damaged_record_is_reported(
    begun: Path, source: Path, change: dict[str, Any], problem: str
) -> None:
    path = begun / "record.json"
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps(record | change), encoding="utf-8")
    with pytest.raises(RunError, match=r"record\.json: damaged \(.*\); train again") as caught:
        train_vectors(CONFIG, source, begun, resume=True)
    assert problem in str(caught.value)


@pytest.mark.parametrize("content", ["[" * 9999, "[]", "5", "", "{", '{"state": "a", "state": ""}'])
def test_a_record_that_is_not_an_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "record.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"record\.json: damaged \("):
        Record.load(tmp_path / "record.json")


def test_a_saved_record_is_read(begun: Path, tmp_path: Path) -> None:
    record = Record.load(begun / "record.json")
    assert record.state == "state-000001.safetensors"
    assert Record.load(tmp_path / "none.json") == Record()


# Checksums


def test_a_flipped_bit_in_vectors_is_detected(done: Path) -> None:
    path = done / "vectors.safetensors"
    WordVectors.load(done)
    flip(path, -7)
    with pytest.raises(DataError, match=r"vectors\.safetensors: its checksum does not match"):
        WordVectors.load(done)
    with pytest.raises(DataError, match="its checksum does not match"):
        read_vectors(path, {"ice"})


def test_vectors_of_other_programs_need_no_checksum(done: Path) -> None:
    path = done / "vectors.safetensors"
    tensors = load_file(path)
    save_file(tensors, path)
    assert np.array_equal(WordVectors.load(done).matrix, tensors["w"] + tensors["w_context"])


@pytest.mark.parametrize("name", ["rows", "columns", "values"])
def test_a_flipped_bit_in_counts_is_detected(
    begun: Path, source: Path, tmp_path: Path, name: str
) -> None:
    path = begun / "counts" / f"{name}.npy"
    flip(path, 128 + 8)
    problem = rf"{name}\.npy: its checksum does not match; train again, or copy the whole folder"
    with pytest.raises(DataError, match=problem):
        train_vectors(CONFIG, source, begun, resume=True)
    with pytest.raises(DataError, match=problem):
        train_vectors(CONFIG, None, tmp_path / "new", counts=begun)
    (begun / "counts" / "checksums.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="its checksum does not match"):
        Counts.open(begun / "counts").require_whole()


def test_ratios_check_the_checksums_of_counts(done: Path) -> None:
    flip(done / "counts" / "values.npy", -2)
    with pytest.raises(DataError, match=r"values\.npy: its checksum does not match"):
        WordVectors.load(done).ratio("ice", "steam", "is")


def test_counts_of_older_versions_need_no_checksums(
    begun: Path, done: Path, source: Path, tmp_path: Path
) -> None:
    (begun / "counts" / "checksums.json").unlink()
    train_vectors(CONFIG, source, begun, resume=True)
    same = (begun / "vectors.safetensors").read_bytes(), (done / "vectors.safetensors").read_bytes()
    assert same[0] == same[1]
    train_vectors(CONFIG, None, tmp_path / "new", counts=begun)


def test_reused_counts_keep_their_checksums(done: Path, tmp_path: Path) -> None:
    train_vectors(CONFIG, None, tmp_path / "new", counts=done)
    path = Path("counts", "checksums.json")
    assert (tmp_path / "new" / path).read_bytes() == (done / path).read_bytes()


# Arrays on disk


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '<U9', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': [('a', '<u4')], 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '<u4', 'fortran_order': True, 'shape': (3,), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': (-3,), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': (True,), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': (10**9,), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': (9223372036854775807,), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': (1, 1, 1), }",
        b"{'descr': '<u4', 'fortran_order': False, 'shape': ((((((((((",
        b"{'descr': '\0', 'fortran_order': False, 'shape': (3,), }",
        b"((" * 50,
        b"",
    ],
)
def test_a_damaged_array_header_is_reported(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "rows.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n" + b"\1" * 24)
    with pytest.raises(DataError, match=r"rows\.npy: not a complete NumPy array; train again"):
        StoredNumbers.open(path)


def test_the_header_of_a_saved_array_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6, dtype=np.uint32).reshape(2, 3))
    with path.open("rb") as stream:
        assert array_header(stream) == ((2, 3), np.uint32)


def part(path: Path, counts: Any, pieces: bytes, ids: Any) -> Path:
    """Write a part of a text with correct checksums."""
    with path.open("wb") as stream:
        for values in (counts, np.frombuffer(pieces, np.uint8), ids):
            header = np.lib.format.header_data_from_array_1_0(values)
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(values.tobytes() + crc32(values.tobytes()).to_bytes(4, "little"))
    return path


COUNTS, PIECES, IDS = np.array([2, 1]), b"ice\nhot\n", np.array([0, 1, -1, 0], np.int32)


@pytest.mark.parametrize(
    ("counts", "pieces", "ids"),
    [
        (COUNTS, PIECES, np.array([0, 2], np.int32)),
        (COUNTS, PIECES, np.array([0, -2], np.int32)),
        (COUNTS, PIECES, np.array([0, 1], np.int64)),
        (COUNTS[:1], PIECES, IDS),
        (COUNTS.astype(np.float64), PIECES, IDS),
        (COUNTS, b"ice\n\xff\n", IDS),
    ],
)
def test_a_part_with_invalid_arrays_is_refused(
    tmp_path: Path, counts: Any, pieces: bytes, ids: Any
) -> None:
    with pytest.raises(RunError, match=r"part: missing or damaged; train again"):
        text_shards.load_part(part(tmp_path / "part", counts, pieces, ids))


def test_a_saved_part_is_read(tmp_path: Path) -> None:
    pieces, ids = text_shards.load_part(part(tmp_path / "part", COUNTS, PIECES, IDS))
    assert (pieces, ids.tolist()) == (["ice", "hot"], [0, 1, -1, 0])


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {name: array[:-1] for name, array in tensors.items()},
        lambda tensors: {name: array.astype(np.float64) for name, array in tensors.items()},
        lambda tensors: tensors | {"more": tensors["w"]},
        lambda tensors: {},
    ],
)
def test_a_state_of_other_vectors_is_refused(
    begun: Path, source: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    path = begun / "work" / "state-000001.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(
        RunError, match=r"contains other arrays than these vectors need; train again"
    ):
        train_vectors(CONFIG, source, begun, resume=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("name", ["vectors.safetensors", "vocabulary.tsv"])
def test_pipes_instead_of_vectors_are_not_opened(done: Path, name: str) -> None:
    (done / name).unlink()
    os.mkfifo(done / name)
    with pytest.raises(DataError, match="it is a pipe, not a regular file"):
        WordVectors.load(done)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("name", ["record.json", "counts/rows.npy", "vectors.toml"])
def test_pipes_instead_of_counts_are_not_opened(done: Path, tmp_path: Path, name: str) -> None:
    (done / name).unlink()
    os.mkfifo(done / name)
    with pytest.raises((DataError, RunError), match=r"it is a pipe|no counts found"):
        train_vectors(CONFIG, None, tmp_path / "new", counts=done)
