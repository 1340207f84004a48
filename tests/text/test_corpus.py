"""Running text is read exactly, in any size, and is encoded once."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.config import from_mapping
from unrolled.errors import ConfigError, DataError
from unrolled.text.config import EOS_ID, UNK_ID, TextConfig
from unrolled.text.corpus import cache as corpus_cache
from unrolled.text.corpus import files, segments
from unrolled.text.corpus.corpus import (
    Corpus,
    CorpusConfig,
    TokenStream,
    default_cache_folder,
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer

KINDS = ("char", "word", "space", "bpe")

CODE = """\
def unroll(step, inputs):
    \"\"\"Don't stop.\"\"\"

    for x in inputs:

        yield step(x)
\t
  \t
 \n\n
class Café:  # 25.5 naïve, 日本
    pass


\rx = "</s>"
"""


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def whole(*paths: Path | str, **settings: object) -> CorpusConfig:
    """All of the text is for training."""
    settings = {"valid_share": 0.0, "test_share": 0.0} | settings
    return CorpusConfig(train=tuple(map(str, paths)), **settings)  # type: ignore[arg-type]


def text_of(corpus: Corpus, part: str = "train") -> str:
    return "".join(corpus.texts(part))  # type: ignore[arg-type]


def documents_of(corpus: Corpus, tokenizer: Tokenizer, part: str = "train") -> list[str]:
    stream = corpus.encode(part, tokenizer)  # type: ignore[arg-type]
    ends = [*stream.starts[1:], stream.n_tokens]
    documents = [stream.ids[a:b].tolist() for a, b in zip(stream.starts, ends, strict=True)]
    assert all(ids[-1] == EOS_ID and EOS_ID not in ids[:-1] for ids in documents)
    return [tokenizer.decode(ids) for ids in documents]


def failure(config: CorpusConfig) -> str:
    with pytest.raises(DataError) as caught:
        open_corpus(config)
    return str(caught.value)


def trained(kind: str, text: str = CODE, **settings: object) -> Tokenizer:
    config = TextConfig(kind=kind, vocab_size=330 if kind == "bpe" else 500, **settings)  # type: ignore[arg-type]
    return Tokenizer.train([text] * 3, config, running=True)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return trained("bpe")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit so low that a short text reaches it."""
    for module in (files, corpus_cache):
        monkeypatch.setattr(module, "_BLOCK", 17)
    for name, value in {"_PIECE": 11, "_LONGEST": 61, "_BATCH": 23}.items():
        monkeypatch.setattr(segments, name, value)


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


# Documents


@pytest.mark.parametrize("tiny", [False, True])
def test_documents_end_as_configured(
    tmp_path: Path, bpe: Tokenizer, tiny: bool, request: pytest.FixtureRequest
) -> None:
    if tiny:
        request.getfixturevalue("small_blocks")
    text = "\none\n two\n\n \t\n\n***\nthree\n*** \n\n***\n***\nfour"
    path = write(tmp_path / "a.txt", text)
    write(tmp_path / "b.txt", "five\n")
    both = tmp_path / "*.txt"

    def documents(**settings: object) -> list[str]:
        return documents_of(open_corpus(whole(both, **settings)), bpe)

    assert documents() == [text, "five\n"]
    assert documents(documents="line") == [*text.split("\n"), "five"]
    assert documents(documents="paragraph") == [
        "one\n two",
        "***\nthree\n*** ",
        "***\n***\nfour",
        "five",
    ]
    assert documents(documents="separator", separator="***") == [
        "\none\n two\n\n \t\n",
        "three\n*** \n",
        "four",
        "five",
    ]
    write(path, "a\n\n\n")
    assert documents(documents="line") == ["a", "", "", "five"]


def test_a_document_end_counts_as_a_line_end(tmp_path: Path, bpe: Tokenizer) -> None:
    path = write(tmp_path / "a.txt", "é日\n\nb")
    lines = open_corpus(whole(path, documents="line")).encode("train", bpe)
    assert (lines.n_characters, lines.n_bytes) == (5, 8)
    file = open_corpus(whole(path)).encode("train", bpe)
    assert (file.n_characters, file.n_bytes) == (5, 8)
    paragraphs = open_corpus(whole(path, documents="paragraph")).encode("train", bpe)
    assert (paragraphs.n_characters, paragraphs.n_bytes) == (4, 7)


def test_text_is_counted_in_normal_form(tmp_path: Path, bpe: Tokenizer) -> None:
    path = write(tmp_path / "a.txt", "cafe\u0301")
    stream = open_corpus(whole(path)).encode("train", bpe)
    assert (stream.n_characters, stream.n_bytes) == (4, 5)


def test_blank_lines_alone_are_no_document(tmp_path: Path, bpe: Tokenizer) -> None:
    path = write(tmp_path / "a.txt", "\n \n")
    with pytest.raises(DataError) as caught:
        open_corpus(whole(path, documents="paragraph")).encode("train", bpe)
    assert str(caught.value) == f"{path}: only blank lines; there is no document to read"


# The split


def test_the_end_of_the_text_is_split_off_at_line_starts(tmp_path: Path) -> None:
    lines = [f"{'x' * (i * 7 % 31)} {i}\n" for i in range(997)]
    write(tmp_path / "1.txt", "".join(lines[:401]))
    write(tmp_path / "2.txt.gz", gzip.compress("".join(lines[401:]).replace("\n", "\r\n").encode()))
    total = len("".join(lines))
    corpus = open_corpus(CorpusConfig(train=(str(tmp_path),), valid_share=0.07, test_share=0.11))
    parts = [text_of(corpus, part) for part in ("train", "valid", "test")]
    assert "".join(parts) == "".join(lines)
    assert all(part.endswith("\n") for part in parts)
    assert len(parts[0]) - 40 < 0.82 * total <= len(parts[0])
    assert abs(len(parts[1]) - 0.07 * total) < 40
    assert abs(len(parts[2]) - 0.11 * total) < 40
    assert [corpus.n_characters(part) for part in corpus.parts] == list(map(len, parts))
    assert corpus.notes()[0] == (
        f"valid: cut from the end of the training text, {len(parts[1]):,} characters "
        f"({len(parts[1]) / total:.1%})"
    )


@pytest.mark.parametrize(("on_invalid", "block"), [("replace", 17), ("skip", 89)])
def test_cuts_fall_on_line_starts_for_any_block_size(
    tmp_path: Path, on_invalid: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    draw = random.Random(9)
    choices = (b"\n", b"\r\n", b"a", b"\xc3\xa9", b"\xff", b"a" * (block // 11))
    n_cut = 0
    for number in range(60):
        paths, starts, text = [], [], ""
        for i in range(3):
            content = b"".join(draw.choice(choices) for _ in range(draw.randrange(1, 41)))
            paths.append(write(tmp_path / f"{number}-{i}", content + b"c"))
            one = text_of(open_corpus(whole(paths[-1], on_invalid="replace")))
            if on_invalid == "skip":
                one = "".join(line for line in one.splitlines(True) if "\ufffd" not in line)
            starts += [len(text)] + [len(text) + i + 1 for i, c in enumerate(one) if c == "\n"]
            text += one
        total = len(text)
        test_before = total - round(0.2 * total)
        valid_before = test_before - round(0.3 * total)
        first, second = (
            min((start for start in starts if start >= before), default=total)
            for before in (valid_before, test_before)
        )
        expected = [text[:first], text[first:second], text[second:]]
        config = whole(*paths, on_invalid=on_invalid, valid_share=0.3, test_share=0.2)
        if all(expected):
            n_cut += 1
            corpus = open_corpus(config)
            assert [text_of(corpus, part) for part in corpus.parts] == expected
            assert [corpus.n_characters(part) for part in corpus.parts] == [*map(len, expected)]
        else:
            try:
                corpus = open_corpus(config)
            except DataError as error:
                assert "nothing is left for" in str(error) or not text  # noqa: PT017
                continue
            found = [text_of(corpus, part) for part in corpus.parts]
            assert "".join(found) == text
            assert all(found)
    assert n_cut > 20


@pytest.mark.parametrize("line", ["only words here " * 200_000, "äö" * 1_500_000])
def test_a_text_of_one_line_is_split_inside_the_line(tmp_path: Path, line: str) -> None:
    corpus = open_corpus(whole(write(tmp_path / "line", line), valid_share=0.1, test_share=0.1))
    train, valid, test = (text_of(corpus, part) for part in corpus.parts)
    assert train + valid + test == line
    for part in (valid, test):
        assert len(part) == pytest.approx(0.1 * len(line), abs=10)
        assert " " not in line or (part[0] != " " and train[-1] == " ")


def test_old_temporary_files_are_removed_after_a_day(tmp_path: Path) -> None:
    names = (f"{digit * 32}.ids.17-01234567.partial" for digit in "0f")
    old, young = (write(tmp_path / "c" / name, "x") for name in names)
    os.utime(old, (0, 0))
    path = write(tmp_path / "a.txt", "a\n" * 100)
    open_corpus(whole(path)).encode("train", trained("char"), tmp_path / "c")
    assert not old.exists()
    assert young.exists()


def test_files_are_sampled_regardless_of_names_and_order(tmp_path: Path) -> None:
    for i in range(25):
        write(tmp_path / "a" / f"{i}.txt", f"text {i} " * (40 + i % 3))
        write(tmp_path / "b" / f"{24 - i}-other.md", f"text {i} " * (40 + i % 3))

    def parts(folder: str, **settings: object) -> list[set[str]]:
        shares = {"valid_share": 0.12, "test_share": 0.09} | settings
        corpus = open_corpus(CorpusConfig(train=(str(tmp_path / folder),), **shares))  # type: ignore[arg-type]
        return [set(corpus.texts(part)) for part in ("train", "valid", "test")]

    train, valid, test = parts("a")
    assert (len(train), len(valid), len(test)) == (20, 3, 2)
    assert len(train | valid | test) == 25
    assert parts("b") == [train, valid, test]
    assert parts("a", split_seed=2) != [train, valid, test]
    # The same files as lines are one text, cut at its end.
    corpus = open_corpus(CorpusConfig(train=(str(tmp_path / "a"),), documents="line"))
    assert len(corpus.files) == 25


def test_copies_of_a_file_stay_together(tmp_path: Path) -> None:
    for i in range(30):
        write(tmp_path / f"{i}.txt", f"text {i // 2} " * 40)
    corpus = open_corpus(CorpusConfig(train=(str(tmp_path),), valid_share=0.2, test_share=0.2))
    texts = [set(corpus.texts(part)) for part in corpus.parts]
    assert [len(each) for each in texts] == [9, 3, 3]
    assert len(set.union(*texts)) == 15
    assert corpus.notes()[0].startswith("valid: 6 of 30 files drawn from the training text, ")


def test_a_part_of_files_gets_at_least_one(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i}.txt", f"{i:02}" * (50 + i))
    corpus = open_corpus(CorpusConfig(train=(str(tmp_path),), valid_share=0.001, test_share=0.02))
    assert [part for part, _, _ in corpus.files].count("valid") == 1
    assert text_of(corpus, "valid") == "00" * 50
    assert text_of(corpus, "test") == "01" * 51


def test_impossible_splits_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one line\n")
    assert failure(CorpusConfig(train=(str(path),))) == (
        "cannot cut valid and test from 9 characters: nothing is left for valid; give files with "
        "--valid and --test, or more text"
    )
    for i in range(20):
        write(tmp_path / "same" / f"{i}.txt", "same")
    assert failure(CorpusConfig(train=(str(tmp_path / "same"),), test_share=0.0)) == (
        "cannot cut valid from 20 files with 1 different text: nothing is left for train; give "
        "files with --valid, or more text"
    )


def test_parts_with_their_own_files_are_not_split(tmp_path: Path, bpe: Tokenizer) -> None:
    a, b = write(tmp_path / "a", "a\n" * 100), write(tmp_path / "b", "b\n")
    corpus = open_corpus(CorpusConfig(train=(str(a),), valid=(str(b),), test_share=0.0))
    assert corpus.parts == ("train", "valid")
    assert (text_of(corpus), text_of(corpus, "valid")) == ("a\n" * 100, "b\n")
    with pytest.raises(DataError) as caught:
        corpus.encode("test", bpe)
    assert str(caught.value) == (
        "no text for test; give files with --test, or in training a share with --data.test_share"
    )
    only = open_corpus(CorpusConfig(test=(str(b),)))
    assert only.parts == ("test",)
    with pytest.raises(DataError, match=r"no text for train; give files with --data$"):
        only.texts("train")
    shared = open_corpus(whole(a, valid=(str(a), str(b))))
    assert shared.notes() == ["valid: 1 of 2 files also in the training text"]


# Encoding


def awkward_texts() -> list[str]:
    draw = random.Random(13)
    alphabet = (
        ["\n"] * 5 + list(" \t\r\u00a0\u2028\x1c\x0b") + ["a", "B'c", "é", "1", "::", "日", "</s>"]
    )
    alphabet += ["\u0301", "Σ", "İ", "<unk>"]
    texts = [
        "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 307))) for _ in range(80)
    ]
    return [CODE, "\n" * 97, "\n " * 97, " \n\n a\n" * 31, "a\n\n" * 31, "\n\n\na" * 31, *texts]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_the_pieces_are_the_ids_of_the_whole(
    tmp_path: Path, kind: str, lowercase: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 53)
    monkeypatch.setattr(segments, "_PIECE", 11)
    tokenizer = trained(kind, CODE + "İ Σ <unk> B'c", lowercase=lowercase)
    n_pieces = 0
    for number, text in enumerate(awkward_texts()):
        path = write(tmp_path / str(number), text)
        corpus = open_corpus(whole(path))
        n_pieces += sum(1 for _ in corpus.texts("train"))
        stream = corpus.encode("train", tokenizer)
        expected = tokenizer.encode(unicodedata.normalize("NFC", text.replace("\r\n", "\n")))
        assert stream.ids.tolist() == [*expected, EOS_ID]
    assert n_pieces > 500


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_running_text_is_restored_exactly(tmp_path: Path, kind: str) -> None:
    for number, text in enumerate(awkward_texts()):
        path = write(tmp_path / str(number), text)
        corpus = open_corpus(whole(path))
        clean = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
        assert documents_of(corpus, trained(kind, text)) == [clean]


def test_pieces_are_short_where_lines_allow_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "".join(f"line {i}\n" for i in range(50_000)))
    pieces = list(open_corpus(whole(path)).texts("train"))
    assert max(map(len, pieces)) <= 1 << 16
    assert len(pieces) < 12
    assert all(piece.startswith("\n") for piece in pieces[1:])
    lines = list(open_corpus(whole(path, documents="line")).texts("train"))
    assert lines == path.read_text(encoding="utf-8").splitlines()


def test_text_without_boundaries_is_cut_every_mebibyte(
    tmp_path: Path,
) -> None:
    characters = Tokenizer.train(["aé\n "], TextConfig(kind="char"))
    for text in ("é" * 1_300_003, "a" * 1_300_003 + "\né", "a" + ("\n" + " a" * 31) * 19_000):
        path = write(tmp_path / "a", text)
        for documents in ("file", "paragraph", "separator"):
            settings = {"documents": documents, "separator": "-" * (documents == "separator")}
            corpus = open_corpus(whole(path, **settings))
            assert len(next(corpus.texts("train"))) == 1 << 20
            assert text_of(corpus) == text
            assert len(corpus.encode("train", characters).starts) == 1
        lines = open_corpus(whole(path, documents="line"))
        assert text_of(lines) == text.replace("\n", "")
        assert len(lines.encode("train", characters).starts) == text.count("\n") + 1
    # Just below the limit nothing is cut, although a block of the file has fewer characters.
    path = write(tmp_path / "a", "日" * 1_000_003)
    assert [len(piece) for piece in open_corpus(whole(path)).texts("train")] == [1_000_003]


def test_large_vocabularies_have_wider_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a", " ".join(f"w{i}" for i in range(66_000)))
    for size, dtype in ((1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)):
        words = Tokenizer.train(
            [path.read_text(encoding="utf-8")], TextConfig(kind="space", vocab_size=size)
        )
        stream = open_corpus(whole(path)).encode("train", words)
        assert stream.ids.dtype == dtype
        assert stream.ids.max() == size - 1
        assert not stream.ids.flags.writeable
        assert (stream.ids == UNK_ID).sum() == 66_000 + 4 - size


def test_a_tokenizer_for_sentences_is_refused(tmp_path: Path) -> None:
    corpus = open_corpus(whole(write(tmp_path / "a", "a")))
    with pytest.raises(ConfigError) as caught:
        corpus.encode("train", Tokenizer.train(["a"], TextConfig()))
    assert str(caught.value) == (
        "this tokenizer puts a space before each text and cannot encode running text; train it with "
        "running=True"
    )


@pytest.mark.parametrize("documents", ["file", "line"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, documents: str) -> None:
    line = "The same words again and again, 25 times; that's enough. " * 4 + "\n"
    words = Tokenizer.train([line], TextConfig(kind="char"))

    def peak(n_lines: int) -> int:
        path = tmp_path / str(n_lines)
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(line for _ in range(n_lines))
        tracemalloc.start()
        stream = open_corpus(whole(path, documents=documents)).encode("train", words, tmp_path)
        assert stream.n_characters == n_lines * len(line)
        del stream
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    small, large = peak(13_000), peak(39_000)  # 3 and 9 MB
    assert large < 1.1 * small


# The cache


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
