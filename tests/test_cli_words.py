"""The commands on word vectors: output, errors and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from unrolled import cli
from unrolled.cli import vectors
from unrolled.vectors.formats import detect

MATRIX = {
    "man": [1.0, 0.1, 0.3],
    "king": [1.0, 1.0, 0.3],
    "woman": [-1.0, 1.0, 0.3],
    "queen": [-1.0, 2.0, 0.35],
    "ice": [0.0, -1.0, 2.0],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.txt"
    matrix = np.array(list(MATRIX.values()), np.float32)
    detect.write_vectors(path, list(MATRIX), matrix)
    return path


class Run:
    """Runs commands; what they print, by stream."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> list[str]:
        assert cli.main(["vectors", *map(str, words)]) == 0
        printed = self._capsys.readouterr()
        self.notes = printed.err.splitlines()
        return printed.out.splitlines()

    def refused(self, *words: object) -> str:
        assert cli.main(["vectors", *map(str, words)]) == 2
        printed = self._capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1, "one sentence, and so no traceback"
        return printed.err.removeprefix("unrolled: ").rstrip()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def cosine(a: str, b: str) -> float:
    first, second = np.array(MATRIX[a]), np.array(MATRIX[b])
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_neighbours_are_listed_with_their_cosines(run: Run, file: Path) -> None:
    printed = run("nearest", file, "man", "--k", 2)
    order = sorted((word for word in MATRIX if word != "man"), key=lambda w: -cosine("man", w))
    assert printed == [f"{cosine('man', word):8.4f}  {word}" for word in order[:2]]
    multi_label = run("nearest", file, "man", "ice", "--k", 1)
    assert [line.split()[-1] for line in multi_label if line] == [
        "man",
        "king",
        "ice",
        multi_label[-1].split()[1],
    ]
    assert multi_label[2] == ""
    few = run("nearest", file, "man", "--max-words", 3)
    assert {line.split()[1] for line in few} == {"king", "woman"}


@pytest.mark.parametrize("method", ["add", "mul"])
def test_an_analogy_is_solved(run: Run, file: Path, method: str) -> None:
    printed = run("analogy", file, "man", "king", "woman", "--k", 1, "--method", method)
    assert [line.split()[1] for line in printed] == ["queen"]


def test_a_similarity_is_one_number(run: Run, file: Path) -> None:
    assert run("similarity", file, "king", "queen") == [f"{cosine('king', 'queen'):.4f}"]


def test_ratios_are_the_table_of_the_paper(run: Run, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    words = ["ice", "steam", "solid", "gas"]
    counts = np.array([[0, 1, 8, 1], [1, 0, 1, 8], [8, 1, 0, 0], [1, 8, 0, 0]], np.uint64)
    row, column = np.nonzero(counts)
    (tmp_path / "counts").mkdir()
    starts = np.concatenate([[0], np.cumsum((counts > 0).sum(1))]).astype(np.uint64)
    np.save(tmp_path / "counts" / "rows.npy", starts)
    np.save(tmp_path / "counts" / "columns.npy", column.astype(np.uint32))
    np.save(tmp_path / "counts" / "values.npy", counts[row, column])
    (tmp_path / "vocabulary.tsv").write_text("".join(f"{w}\t10\n" for w in words), encoding="utf-8")
    w = np.ones((4, 2), np.float32)
    save_file({"w": w, "w_context": w}, tmp_path / "vectors.safetensors")
    printed = run("ratio", tmp_path, "ice", "steam", "solid", "gas")
    assert [line.split() for line in printed] == [
        ["solid", "gas"],
        ["P(k|ice)", "0.8", "0.1"],
        ["P(k|steam)", "0.1", "0.8"],
        ["P(k|ice)", "/", "P(k|steam)", "8", "0.125"],
    ]
    assert run.refused("ratio", tmp_path, "ice", "steam") == (
        "too few words; usage: unrolled vectors ratio FOLDER ice steam solid gas water fashion"
    )


def test_test_sets_are_scored_and_recorded(run: Run, file: Path, tmp_path: Path) -> None:
    pairs, questions = tmp_path / "pairs.txt", tmp_path / "family.txt"
    pairs.write_text("man\tking\t9\nman\tice\t1\nman\twoman\t5\nman\ttree\t3\n", encoding="utf-8")
    questions.write_text("man king woman queen\n", encoding="utf-8")
    record = tmp_path / "results.jsonl"
    printed = run("evaluate", file, pairs, questions, "--record", record)
    assert [line.split() for line in printed] == [
        ["similarity", "spearman", "pairs", "covered"],
        ["pairs", printed[1].split()[1], "4", "75.0%"],
        [],
        ["analogies", "3CosAdd", "3CosMul", "questions", "covered"],
        *([name, "100.0%", "100.0%", "1", "100.0%"] for name in ("family", "semantic", "all")),
    ]
    (line,) = record.read_text(encoding="utf-8").splitlines()
    recorded = json.loads(line)
    assert recorded["vectors"] == str(file)
    assert (recorded["words"], recorded["width"]) == (5, 3)
    assert recorded["analogies"]["all"] == {"3CosAdd": 1, "3CosMul": 1, "known": 1, "questions": 1}
    assert recorded["similarity"]["pairs"]["known"] == 3


def test_a_map_is_drawn_from_words_and_lists(run: Run, file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words, picture = tmp_path / "words.txt", tmp_path / "map.png"
    words.write_text("king\n\nqueen\n", encoding="utf-8")
    assert run("map", file, picture, "man", "--words", words) == [str(picture)]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("map", file, picture, "man", "absent", "king", "gone") == [str(picture)]
    assert run.notes == ["note: left out, as they have no vector: absent, gone"]
    assert run.refused("map", file, picture, "man", "absent").startswith("no vector for 'absent'")
    assert run.refused("map", file, picture, "man") == (
        "too few words; usage: unrolled vectors map VECTORS PICTURE WORD WORD"
    )


@pytest.mark.parametrize("name", ["v.vec", "v.bin", "v.safetensors", "v.txt.gz", "v.bin.gz"])
def test_conversion_round_trips(run: Run, file: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "out" / name
    target.parent.mkdir()
    assert run("convert", file, target) == [f"{target}: 5 vectors of 3 dimensions"]
    again = tmp_path / "again.txt"
    run("convert", target, again)
    assert again.read_bytes() == file.read_bytes()
    assert run.refused("convert", file, target) == (
        f"{target} exists; add --force to replace it, or choose another name"
    )
    run("convert", file, target, "--force", "--max-words", 2)
    assert detect.read_vectors(target).words == ["man", "king"]


def test_only_selected_words_are_converted(run: Run, file: Path, tmp_path: Path) -> None:
    words, target = tmp_path / "words.txt", tmp_path / "v.dat"
    words.write_text("queen\nman\nabsent\n", encoding="utf-8")
    printed = run("convert", file, target, "--words", words, "--to", "word2vec")
    assert printed == [
        f"{target}: 2 vectors of 3 dimensions; words of the list without a vector: 1"
    ]
    assert target.read_text(encoding="utf-8").startswith("2 3\nman 1.0 ")
    words.write_text("absent\n", encoding="utf-8")
    assert run.refused("convert", file, target, "--force", "--words", words, "--to", "glove") == (
        f"{file}: none of the words in {words} is in this file"
    )


def test_notes_about_a_file_are_printed_to_stderr(run: Run, file: Path) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write("man 5 5 5\n")
    assert len(run("nearest", file, "man", "--k", 1)) == 1
    assert run.notes == [
        f"note: {file}, line 6: 1 duplicate word, the first is 'man'; the first vector of each is used"
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nearest", "{file}", "kind"], "no vector for 'kind'; did you mean 'king'?"),
        (["nearest", "{file}", "king", "--k", "0"], "k must be at least 1, got 0"),
        (
            ["nearest", "{file}", "king", "--max-words", "0"],
            "--max-words must be at least 1, got 0",
        ),
        (
            ["nearest", "{file}"],
            "too few words; usage: unrolled vectors nearest VECTORS WORD",
        ),
        (["nearest", "absent.txt", "king"], "absent.txt: no such file"),
        (["similarity", "{file}", "king", "absent"], "no vector for 'absent'"),
        (
            ["evaluate", "{file}"],
            "too few words; usage: unrolled vectors evaluate VECTORS SETS",
        ),
        (["evaluate", "{file}", "absent"], "absent: no such file"),
        (["nearest", "{file}", "king", "kind"], "no vector for 'kind'; did you mean 'king'?"),
        (["nearest", "{file}", "a\tb"], "no vector for 'a\\tb'"),
        (["map", "{file}", "map.png", "king", "kind"], "no vector for 'kind'"),
        (
            ["convert", "{file}", "v.vec", "--max-words", "0"],
            "--max-words must be at least 1, got 0",
        ),
        (
            ["convert", "{file}", ".", "--to", "glove", "--force"],
            "it is a folder; name a file in it",
        ),
        (
            ["ratio", "{file}", "king", "queen", "man"],
            "no counts found; they are in the folder that",
        ),
        (
            ["map", "{file}", "map.gif", "king", "queen"],
            "the picture 'map.gif' must be a file name that ends in .png",
        ),
        (["convert", "{file}", "v.dat"], "'v.dat' has no known suffix; use one of .txt (glove)"),
        (["convert", "{file}", "none/v.txt"], "the folder 'none' does not exist"),
        (
            ["nearest", "{file}", "king", "--data.train", "x"],
            "`unrolled vectors` takes no recipe settings",
        ),
    ],
)
def test_invalid_arguments_get_one_message(
    run: Run, file: Path, words: list[str], sentence: str
) -> None:
    assert sentence in run.refused(*(word.format(file=file) for word in words))


COMMANDS = (
    ("nearest", "{vectors}", "king"),
    ("analogy", "{vectors}", "man", "king", "woman"),
    ("similarity", "{vectors}", "king", "man"),
    ("ratio", "{vectors}", "king", "man", "ice"),
    ("evaluate", "{vectors}", "pairs.txt"),
    ("map", "{vectors}", "map.png", "king", "man"),
    ("convert", "{vectors}", "out.bin"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_invalid_vector_files_are_refused_by_all_commands(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    binary = tmp_path / "whole.bin"
    detect.write_vectors(binary, list(MATRIX), np.array(list(MATRIX.values()), np.float32))
    trained, unfinished = trained_folder(tmp_path / "nan"), trained_folder(tmp_path / "unfinished")
    damaged = trained.read_bytes()
    trained.write_bytes(damaged[:-4] + b"\x00\x00\xc0\x7f")  # the last number is none
    unfinished.unlink()
    (tmp_path / "pairs.txt").write_text("man king 5\n", encoding="utf-8")
    (tmp_path / "nothing").mkdir()
    bad = {
        "absent.txt": "absent.txt: no such file",
        "empty.txt": "empty.txt: the file is empty; expected word vectors",
        "junk.bin": "junk.bin, line 1: expected a word and its numbers, separated by one space, found",
        "zeros.bin": "zeros.bin, line 1: found a NUL byte; expected a text file",
        "nan.txt": "nan.txt, line 2: number 1 of 'man' is nan, expected finite numbers; remove it",
        "cut.bin": "cut.bin: truncated: the first line declares 5 words, but word 5 is incomplete",
        "pickled.kv": "pickled.kv: this is a pickled file, which is not loaded because it can run",
        "nothing": "nothing: this folder has no vectors.safetensors; give the folder of a training, or",
        "unfinished": "unfinished: the training of these vectors is not finished; run its command",
        "loop": "loop: cannot be read (Too many levels of symbolic links)",
    }
    if command[0] not in ("ratio", "convert"):  # no number is read for a ratio
        bad["nan"] = "nan/vectors.safetensors: its checksum does not match; copy the file again, or"
    write = {
        "empty.txt": b"",
        "junk.bin": bytes(range(128, 256)),
        "zeros.bin": bytes(999),
        "nan.txt": b"king 1 2\nman nan 2\nice 1 2\nwoman 1 1\n",
        "cut.bin": binary.read_bytes()[:-7],
        "pickled.kv": b"\x80\x04K\x01.",
    }
    for name, content in write.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    for name, sentence in bad.items():
        refused = run.refused(*(word.format(vectors=name) for word in command))
        assert refused.startswith(sentence), name
    assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"


def trained_folder(folder: Path) -> Path:
    """What a training leaves but for the counts; the file of vectors."""
    folder.mkdir()
    path = folder / "vectors.safetensors"
    detect.write_vectors(path, list(MATRIX), np.array(list(MATRIX.values()), np.float32))
    (folder / "vectors.toml").touch()
    return path


def test_a_single_word_has_no_neighbours(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("ice 1 2\n", encoding="utf-8")
    sentence = f"{path}: there are no other words in this file; use a larger vocabulary"
    assert run.refused("nearest", path, "ice") == sentence
    assert run.refused("analogy", path, "ice", "ice", "ice") == sentence


def test_evaluation_needs_an_item_with_known_words(run: Run, file: Path, tmp_path: Path) -> None:
    pairs, questions = tmp_path / "pairs.txt", tmp_path / "questions.txt"
    pairs.write_text("gato\tperro\t9\nking\tperro\t3\n", encoding="utf-8")
    questions.write_text("hombre rey mujer reina\n", encoding="utf-8")
    record = tmp_path / "results.jsonl"
    assert run.refused("evaluate", file, pairs, questions, "--record", record) == (
        f"{file}: no item of these test sets has vectors for all of its words; use test sets in the "
        "language of the vectors"
    )
    assert not record.exists()
    assert run.refused("evaluate", file, pairs, "--record", tmp_path) == (
        f"cannot append to {tmp_path}; name a file in an existing folder"
    )


def test_files_of_a_training_are_not_overwritten(run: Run, file: Path, tmp_path: Path) -> None:
    trained = trained_folder(tmp_path / "trained")
    before = trained.with_name("vocabulary.tsv").read_bytes()
    assert run.refused("convert", file, trained.with_name("new.safetensors")) == (
        f"{trained.with_name('vocabulary.tsv')} exists; add --force to replace it, or choose another "
        "folder"
    )
    for target in (trained, trained.with_name("new.safetensors")):
        refused = run.refused("convert", file, target, "--force", "--max-words", 2)
        assert refused.startswith(f"cannot write {target}: '{trained.parent}' is the folder of")
    assert trained.with_name("vocabulary.tsv").read_bytes() == before


def test_ratios_work_with_left_context_only(run: Run, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "left"
    text.write_text("solid ice\ngas steam\nsolid ice\ngas steam\nwater ice\nwater steam\n" * 9)
    options = ("--size", 3, "--window", 2, "--min-count", 1, "--epochs", 1, "--left-only")
    run("train", text, "--out", out, *options)
    printed = run("ratio", out, "ice", "steam", "solid", "gas", "water")
    assert [line.split()[-3:] for line in printed[1:]] == [
        ["0.67", "0", "0.33"],
        ["0", "0.67", "0.33"],
        ["∞", "0", "1"],
    ]
    assert run.refused("ratio", out, "ice", "steam", "fog") == "no vector for 'fog'"
    (out / "counts" / "values.npy").write_bytes(b"junk")
    assert run.refused("ratio", out, "ice", "steam", "gas") == (
        f"{out}/counts/values.npy: not a complete NumPy array; train again, or copy the whole folder"
    )


def test_missing_glyphs_are_reported_as_a_note(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "v.txt"
    path.write_text("日本 1 2\nice 2 3\n", encoding="utf-8")
    assert run("map", path, tmp_path / "map.png", "日本", "ice") == [str(tmp_path / "map.png")]
    assert run.notes == ["note: the font lacks 日 本; they are drawn as boxes"]


def test_command_line_choices_match_the_formats() -> None:
    assert get_args(vectors.Format) == get_args(detect.Format)
    assert get_args(vectors.Which) == get_args(detect.Which)
