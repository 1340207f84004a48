"""A sample never takes the place of somebody's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.samples.files import write_parts

PARTS = {"train.tsv": "a\tb\n", "valid.tsv": "c\td\n"}


def test_a_sample_is_written_twice_to_the_same_effect(tmp_path: Path) -> None:
    for _ in range(2):
        write_parts(tmp_path / "new" / "folder", PARTS)
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "new/folder").iterdir()}
    assert written == PARTS


def test_a_file_with_other_content_stays(tmp_path: Path) -> None:
    (tmp_path / "valid.tsv").write_text("my own\trows\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        write_parts(tmp_path, PARTS)
    assert str(caught.value) == (
        f"{tmp_path / 'valid.tsv'}: the file exists with other content than the sample; choose another "
        "folder, or move it"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["valid.tsv"]
    assert (tmp_path / "valid.tsv").read_text(encoding="utf-8") == "my own\trows\n"


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").symlink_to(tmp_path / "gone")
    write_parts(tmp_path, PARTS)
    assert not (tmp_path / "gone").exists()
