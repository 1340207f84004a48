"""Training only removes or overwrites files that it wrote, inside its folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unrolled import config as settings
from unrolled.errors import RunError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.events import Epoch
from unrolled.vectors.run_state import BEGIN_OF_CONFIG, HOLDS, is_vectors
from unrolled.vectors.train import fit_vectors, train_vectors

CONFIG = VectorsConfig(size=3, min_count=1, window=2, epochs=3, threads=1, save_every_n_seconds=0)

posix = pytest.mark.skipif(os.name == "nt", reason="needs links of POSIX")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("ice is cold\nsteam is hot\n" * 9, encoding="utf-8")
    return path


@pytest.fixture
def out(words: Path, tmp_path: Path) -> Path:
    """A folder of finished vectors."""
    train_vectors(CONFIG, words, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def begun(words: Path, tmp_path: Path) -> Path:
    """A folder of vectors whose training was stopped after an epoch."""
    events = fit_vectors(CONFIG, words, tmp_path / "begun")
    while not isinstance(next(events), Epoch):
        pass
    events.close()
    return tmp_path / "begun"


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """Files and folders that must not change."""
    folder = tmp_path / "precious"
    for name in ("parts.jsonl", "rows.npy", "part-000000", "sums-0-000000/rows.npy", "record.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("once " * 99, encoding="utf-8")
    before = content(folder)
    yield folder
    assert content(folder) == before


def content(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def refused(call: Callable[[], object], folder: Path) -> str:
    before = content(folder)
    with pytest.raises(RunError) as caught:
        call()
    assert content(folder) == before
    return str(caught.value)


@pytest.mark.parametrize("text", ["", 'title = "site"\n', "window = 4\nsize = 3\n", "# Unrolled\n"])
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_another_vectors_toml_is_refused(
    words: Path, tmp_path: Path, text: str, force: bool
) -> None:
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "vectors.toml").write_text(text, encoding="utf-8")
    (folder / "main.rs").write_text("code", encoding="utf-8")
    sentence = refused(lambda: fit_vectors(CONFIG, words, folder, force=force), folder)
    assert sentence.startswith(
        f"{folder} exists, but it is not a folder of vectors; choose another"
    )


@pytest.mark.parametrize("name", ["notes.txt", "counts/notes.txt", "work/mine/a.txt", ".git/HEAD"])
def test_a_folder_with_other_files_is_not_replaced(words: Path, out: Path, name: str) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine", encoding="utf-8")
    sentence = refused(lambda: train_vectors(CONFIG, words, out, force=True), out)
    assert " does not belong to the vectors in " in sentence
    assert str(out / name).startswith(sentence.split(" does not belong")[0])


def test_a_corpus_in_the_folder_is_not_replaced(words: Path, out: Path) -> None:
    inside = out / "words.txt"
    shutil.copy(words, inside)
    refused(lambda: train_vectors(CONFIG, inside, out, force=True), out)


@posix
@pytest.mark.parametrize("name", ["counts", "work"])
def test_a_link_instead_of_a_folder_is_not_followed(
    words: Path, begun: Path, precious: Path, name: str
) -> None:
    shutil.rmtree(begun / name)
    (begun / name).symlink_to(precious)
    sentence = refused(lambda: train_vectors(CONFIG, words, begun, resume=True), begun)
    assert sentence.startswith(f"{begun / name} is a link to '{precious}'; nothing is written or")
    sentence = refused(lambda: train_vectors(CONFIG, words, begun, force=True), begun)
    assert sentence.startswith(f"{begun / name} does not belong to the vectors in ")


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "vectors.safetensors", "vectors.toml", "record.json", "vocabulary.tsv"),
        *("work/parts.jsonl", "work/pairs", ".record.json.partial", "work/.pairs.partial"),
    ],
)
def test_no_file_is_written_through_a_link(
    words: Path, begun: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    mine, path = words.with_name("mine"), begun / name
    mine.write_bytes(path.read_bytes() if path.exists() else b"once")
    before = mine.read_bytes()
    path.unlink(missing_ok=True)
    link(mine, path)
    train_vectors(CONFIG, words, begun, resume=True)
    assert mine.read_bytes() == before


@posix
@pytest.mark.parametrize("kind", ["link", "folder", "file"])
def test_foreign_files_in_the_place_of_replaced_vectors_stay(
    words: Path, out: Path, precious: Path, kind: str
) -> None:
    aside = out.with_name(".out.replaced")
    match kind:
        case "link":
            aside.symlink_to(precious)
        case "folder":
            shutil.copytree(precious, aside)
        case "file":
            aside.write_text("mine", encoding="utf-8")
    before = content(out.parent)
    with pytest.raises(RunError, match="does not belong to the vectors in"):
        train_vectors(CONFIG, words, out, force=True)
    assert content(out.parent) == before


def test_vectors_of_an_older_version_are_recognized(words: Path, out: Path) -> None:
    path = out / "vectors.toml"
    assert path.read_text(encoding="utf-8").startswith(f"{BEGIN_OF_CONFIG}\n")
    path.write_text(settings.to_toml(CONFIG), encoding="utf-8")
    assert is_vectors(out)
    train_vectors(CONFIG, words, out, resume=True)
    train_vectors(CONFIG, words, out, force=True)


def test_training_never_writes_unknown_files(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unrolled import storage

    for event in fit_vectors(CONFIG, words, tmp_path / "out"):
        assert storage.first_foreign(tmp_path / "out", HOLDS) is None, event
