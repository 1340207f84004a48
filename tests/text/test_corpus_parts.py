"""Running text is divided into documents, and into parts."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest
from running_text import documents_of, failure, text_of, trained, whole, write

from unrolled.errors import DataError
from unrolled.text.corpus import files
from unrolled.text.corpus.corpus import (
    CorpusConfig,
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer

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
