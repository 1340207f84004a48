"""Running text is read exactly, from any files."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from running_text import CODE, documents_of, failure, text_of, whole, write

from unrolled.config import from_mapping
from unrolled.errors import ConfigError, DataError
from unrolled.text.corpus import files
from unrolled.text.corpus.corpus import (
    CorpusConfig,
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer

# Reading


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_text_is_the_same_however_it_was_stored(
    tmp_path: Path, bpe: Tokenizer, packed: bool, mark: str, line_end: str
) -> None:
    content = (mark + CODE.replace("\n", line_end)).encode("utf-8")
    path = write(tmp_path / f"a.py{'.gz' * packed}", gzip.compress(content) if packed else content)
    corpus = open_corpus(whole(path))
    assert text_of(corpus) == CODE
    assert documents_of(corpus, bpe) == [CODE]
    assert corpus.n_characters("train") == len(CODE)
    assert corpus.notes() == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("packed", [False, True])
def test_blocks_split_no_character_or_line_end(
    tmp_path: Path, bpe: Tokenizer, packed: bool
) -> None:
    draw = random.Random(5)
    for number in range(60):
        # With a line feed at the beginning, a lone CR is not taken for a line end.
        text = "".join(draw.choice("aé日🎉\r\n\n ") for _ in range(draw.randrange(1, 97)))
        text = f"\n{text}"
        content = text.encode("utf-8")
        path = write(tmp_path / f"{number}{'.gz' * packed}", content)
        if packed:
            write(path, gzip.compress(content))
        clean = text.replace("\r\n", "\n")
        corpus = open_corpus(whole(path))
        assert text_of(corpus) == clean
        assert documents_of(corpus, bpe) == [clean]
        assert corpus.n_characters("train") == len(clean)
        lines = open_corpus(whole(path, documents="line"))
        assert documents_of(lines, bpe) == clean.removesuffix("\n").split("\n")


def test_a_lone_carriage_return_and_unicode_separators_are_text(tmp_path: Path) -> None:
    text = "a\rb\u2028c\x0bd\u0085e\n"
    assert text_of(open_corpus(whole(write(tmp_path / "a", text)))) == text
    lines = list(open_corpus(whole(tmp_path / "a", documents="line")).texts("train"))
    assert lines == [text[:-1]]


def test_another_encoding_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "más\n日".encode("gb18030"))
    assert text_of(open_corpus(whole(path, encoding="gb18030"))) == "más\n日"
    write(path, "más".encode("latin-1"))
    assert text_of(open_corpus(whole(path, encoding="latin-1"))) == "más"


def test_invalid_bytes_are_an_error_with_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "yes\r\nsí\n".encode("latin-1"))
    assert failure(whole(path)) == (
        f"{path}, line 2: not UTF-8 at byte 6 (0xED); convert the file, or set data.on_invalid to "
        "replace or skip"
    )
    write(path, b"a\n\x81\n")
    assert failure(whole(path, encoding="cp1252")) == (
        f"{path}, line 2: not cp1252 at byte 2 (0x81); set data.encoding, or set data.on_invalid "
        "to replace or skip"
    )


def test_invalid_lines_are_replaced_or_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\ntw\xff\xffo\nthree\r\n\xe9\nfive")
    other = write(tmp_path / "b.txt", b"\xff\n")
    replaced = open_corpus(whole(path, other, on_invalid="replace"))
    assert text_of(replaced) == "one\ntw\ufffd\ufffdo\nthree\n\ufffd\nfive\ufffd\n"
    assert replaced.notes() == [
        "train: bytes that are not utf-8 replaced by U+FFFD in 3 lines of 2 files; "
        f"the first is line 2 of {path}"
    ]
    skipped = open_corpus(whole(path, other, on_invalid="skip"))
    assert text_of(skipped) == "one\nthree\nfive"
    assert skipped.notes() == [
        "train: skipped 3 lines of 2 files with bytes that are not utf-8; "
        f"the first is line 2 of {path}",
        "train: 1 of 2 files without text",
    ]
    assert skipped.n_characters("train") == len("one\nthree\nfive")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", b"a\nb\0\n")
    assert failure(whole(path)) == (f"{path}, line 2: NUL byte at byte 3; this is not a text file")
    write(path, bytes(7))
    assert failure(whole(path, on_invalid="skip")) == (
        f"{path}, line 1: NUL byte at byte 0; this is not a text file"
    )
    write(path, "a".encode("utf-16"))
    assert failure(whole(path)) == (
        f"{path}: this is UTF-16, expected UTF-8; save it again as UTF-8"
    )


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", "no gzip")
    assert failure(whole(path)) == (
        f"{path}: damaged gzip file from its first byte; copy or download it again"
    )
    write(path, gzip.compress(random.Random(3).randbytes(1 << 16).hex().encode())[:-9])
    assert failure(whole(path)).startswith(f"{path}: damaged gzip file ")


@pytest.mark.parametrize("bad", range(3, 70, 3))
def test_skipping_in_a_long_line_joins_no_words(
    tmp_path: Path, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 17)
    content = bytearray("first\n" + "the vne wxt " * 6 + "end\nlast\n", "ascii")
    content[bad + 6] = 0xFF
    path = write(tmp_path / "a.txt", bytes(content))
    (found,) = [text_of(open_corpus(whole(path, on_invalid="skip")))]
    assert found.startswith("first\n")
    assert found.endswith("\nlast\n")
    # Each word left is one of the text, or was torn at the end of a block.
    words = {
        word[i:j] for word in ("the", "vne", "wxt", "end") for i in range(3) for j in (1, 2, 3)
    }
    assert set(found.split()) <= words | {"first", "last"}
    blocks = list(files.read_blocks(path, whole(path, on_invalid="skip")))
    assert "".join(block.text for block in blocks) == found
    for number, block in enumerate(blocks):  # and the same from each place on
        at_line_end = block.text.endswith("\n")
        rest = files.read_blocks(
            path, whole(path, on_invalid="skip"), block.offset, block.line, not at_line_end
        )
        assert [each.text for each in rest] == [each.text for each in blocks[number + 1 :]]


def test_multibyte_characters_are_not_split_in_a_long_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x日本 語の文\r\n" + "文字 列" * 30 + "\nend\n"
    for encoding in ("utf-8", "utf-8-sig", "gb18030", "shift_jis", "euc_jp", "big5"):
        path = write(tmp_path / f"{encoding}.txt", text.encode(encoding))
        for block in (16, 17, 18, 19):
            monkeypatch.setattr(files, "_BLOCK", block)
            found = text_of(open_corpus(whole(path, encoding=encoding)))
            assert found == text.replace("\r", "")


def test_a_long_line_in_a_stateful_encoding_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.txt", ("日本語" * 9 + "\n").encode("iso2022_jp"))
    config = whole(path, encoding="iso2022_jp")
    assert text_of(open_corpus(config)) == "日本語" * 9 + "\n"
    monkeypatch.setattr(files, "_BLOCK", 16)
    os.utime(path, (1, 1))
    assert failure(config) == (
        f"{path}: a line has more than 16 bytes, and iso2022_jp cannot be read in parts; convert the "
        "file to UTF-8, or break the line"
    )


def test_a_file_that_changes_while_in_use_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\n")
    corpus = open_corpus(whole(path))
    write(path, "other\n")
    with pytest.raises(DataError) as caught:
        text_of(corpus)
    assert str(caught.value) == f"{path}: this file changed while it was in use; start again"


def test_a_file_rewritten_with_the_old_time_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("one\n", "two\n"):
        write(path, text)
        os.utime(path, ns=(10**18, 10**18))
        found = files.scan(path, whole(path))
        assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_running_text_may_end_its_lines_in_cr_alone(tmp_path: Path) -> None:
    text = "to be\nor not\n" * 100
    path = write(tmp_path / "old.txt", text.replace("\n", "\r"))
    for encoding in ("utf-8", "latin-1"):
        corpus = open_corpus(whole(path, encoding=encoding))
        assert text_of(corpus) == text
        assert corpus.n_characters("train") == len(text)
    parts = open_corpus(CorpusConfig(train=(str(path),), valid_share=0.2, test_share=0.2))
    texts = ["".join(parts.texts(part)) for part in ("train", "valid", "test")]
    assert sorted("".join(texts).split()) == sorted(text.split())
    assert all(part.startswith("to be\nor not\n") for part in texts)


# Finding files


def test_folders_are_read_in_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/z.py", "b-/a.py", "a.txt", "b/c/d.PY.gz", ".git/x.py", "b/.hidden.py", "A.py"):
        content = name.encode()
        write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    corpus = open_corpus(whole(tmp_path, suffixes=(".py",)))
    assert text_of(corpus) == "A.pyb-/a.pyb/c/d.PY.gzb/z.py"
    assert [path for _, path, _ in corpus.files] == [
        tmp_path / name for name in ("A.py", "b-/a.py", "b/c/d.PY.gz", "b/z.py")
    ]
    assert text_of(open_corpus(whole(tmp_path))).startswith("A.pya.txt")
    assert text_of(open_corpus(whole(tmp_path / "a.txt", suffixes=(".py",)))) == "a.txt"


def test_patterns_reach_any_depth_and_no_file_is_read_twice(tmp_path: Path) -> None:
    for name in ("a.md", "b/c.md", "b/d/e.md", "b/d/f.txt", "[1].md"):
        write(tmp_path / name, f"{name} ")
    deep, flat = tmp_path / "**" / "*.md", tmp_path / "*.md"
    assert text_of(open_corpus(whole(deep))) == "[1].md a.md b/c.md b/d/e.md "
    assert text_of(open_corpus(whole(flat, deep))) == "[1].md a.md b/c.md b/d/e.md "
    assert text_of(open_corpus(whole(tmp_path / "[1].md"))) == "[1].md "
    assert text_of(open_corpus(whole(tmp_path / "b/d/*", suffixes=(".md",)))) == (
        "b/d/e.md b/d/f.txt "
    )


def test_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "a")
    assert failure(whole(tmp_path / "trian.txt")) == (
        f"{tmp_path / 'trian.txt'}: no such file; did you mean 'train.txt'?"
    )
    pattern = tmp_path / "*.py"
    assert failure(whole(pattern)) == (
        f"{pattern}: no file matches this pattern; '**' stands for folders of any depth"
    )
    (tmp_path / "folder.py").mkdir()
    assert failure(whole(pattern)) == (
        f"{pattern}: only folders match this pattern; '**' stands for folders of any depth"
    )
    assert failure(whole(tmp_path / "folder.py")) == (
        f"{tmp_path / 'folder.py'}: no files in this folder"
    )
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert failure(whole(tmp_path / "loop")).startswith(f"{tmp_path / 'loop'}: cannot be read")
    (tmp_path / "loop").unlink()
    write(tmp_path / "LICENSE", "a")
    assert failure(whole(tmp_path, suffixes=(".py", ".pyi"))) == (
        f"{tmp_path}: no files with suffix .py or .pyi here, only .txt, LICENSE"
    )
    empty = write(tmp_path / "empty.txt", "\ufeff")
    assert failure(whole(empty)) == f"{empty}: contains no text"
    with pytest.raises(ConfigError) as caught:
        open_corpus(CorpusConfig())
    assert str(caught.value) == "no data given; use --data FILE, or data.train in the recipe"


def test_files_are_listed_with_their_checksums(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", gzip.compress(b"a\n" * 50))
    corpus = open_corpus(CorpusConfig(train=(str(path),)))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb')"
            ".read()).hexdigest())",
            str(path),
        ],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert corpus.files == [
        (part, path, done.stdout.strip()) for part in ("train", "valid", "test")
    ]


# Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"suffixes": ("py",)},
            "data.suffixes must be suffixes like .py, without .gz or .bz2 or .xz, got 'py'",
        ),
        (
            {"suffixes": (".py", ".gz")},
            "data.suffixes must be suffixes like .py, without .gz or .bz2 or .xz, got '.gz'",
        ),
        (
            {"documents": "files"},
            "data.documents must be one of file, line, paragraph, separator, got 'files'",
        ),
        (
            {"on_invalid": "ignore"},
            "data.on_invalid must be one of error, replace, skip, got 'ignore'",
        ),
        (
            {"documents": "separator"},
            "data.separator must be the line between documents, as data.documents is 'separator', "
            "got ''",
        ),
        (
            {"separator": "***"},
            "data.separator must be empty, as data.documents is not 'separator', got '***'",
        ),
        ({"valid_share": 1.0}, "data.valid_share must be at least 0 and below 1, got 1.0"),
        ({"test_share": -0.1}, "data.test_share must be at least 0 and below 1, got -0.1"),
        (
            {"valid_share": 0.5, "test_share": 0.5},
            "data.valid_share and data.test_share must be below 1 together, got 1.0",
        ),
        ({"encoding": "uft-8"}, "unknown data.encoding 'uft-8'; did you mean 'utf-8'?"),
        ({"encoding": "a\0"}, "unknown data.encoding 'a\\x00'"),
        *(
            (
                {"encoding": name},
                "data.encoding must be one whose line ends are the byte 0A (convert the files, "
                f"e.g. with: iconv -t utf-8), got '{name}'",
            )
            for name in ("utf-16", "cp037", "base64", "rot13")
        ),
    ],
)
def test_invalid_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CorpusConfig(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_section_of_a_recipe_is_read() -> None:
    section = {"train": "src", "suffixes": [".py"], "documents": "line", "valid_share": 0}
    config = from_mapping(CorpusConfig, section, "data")
    assert config == CorpusConfig(("src",), suffixes=(".py",), documents="line", valid_share=0.0)
