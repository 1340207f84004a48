"""Running text from a column of a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.tasks import TASKS
from unrolled.text.config import EOS_ID, TextConfig
from unrolled.text.corpus.corpus import open_corpus
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.splits import LabelData, read_splits
from unrolled.text.tokenizer import Tokenizer


def table(path: Path, n: int = 60) -> Path:
    rows = [f"film number {i}\t{'good' if i % 3 else 'bad'}" for i in range(n)]
    path.write_text("\n".join(["text\tlabel", *rows, ""]), encoding="utf-8")
    return path


def config_of(*paths: Path, **settings) -> StreamConfig:
    return StreamConfig(train=tuple(map(str, paths)), **({"columns": ("text",)} | settings))


@pytest.mark.parametrize("n", [40, 60, 700])
def test_the_rows_held_out_are_those_of_a_classifier(tmp_path, n) -> None:
    path = table(tmp_path / "films.tsv", n)
    corpus = open_corpus(config_of(path))
    splits = read_splits(LabelData(train=(str(path),)), 2, TASKS["classify"].reading)
    for part in ("train", "valid", "test"):
        assert list(corpus.texts(part)) == [row.texts[0] for row in getattr(splits, part)]


def test_the_rows_held_out_are_those_of_pairs(tmp_path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [f"premise {i % 30},hypothesis {i},{'yes' if i % 2 else 'no'}" for i in range(90)]
    path.write_text("\n".join(["first,second,label", *rows, ""]), encoding="utf-8")
    corpus = open_corpus(config_of(path, columns=("first", "second")))
    splits = read_splits(LabelData(train=(str(path),)), 3, TASKS["pair"].reading)
    for part in ("train", "valid", "test"):
        wanted = [text for row in getattr(splits, part) for text in row.texts[:2]]
        assert list(corpus.texts(part)) == wanted


def test_each_text_is_a_document(tmp_path) -> None:
    path = table(tmp_path / "films.tsv")
    corpus = open_corpus(config_of(path))
    words = Tokenizer.train(corpus.texts("train"), TextConfig(kind="word"), running=True)
    stream = corpus.encode("train", words)
    texts = list(corpus.texts("train"))
    assert len(stream.starts) == len(texts) == int((stream.ids == EOS_ID).sum())
    assert words.decode(stream.ids[: stream.starts[1] - 1].tolist()) == texts[0]
    assert stream.n_characters == corpus.n_characters("train") == sum(len(t) + 1 for t in texts)
    assert words.id_of("good") is None


def test_lists_and_column_files_are_texts(tmp_path) -> None:
    lines = [json.dumps({"tokens": ["New York", f"is{i}"], "tags": ["B", "O"]}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    first = next(open_corpus(config_of(tmp_path / "a.jsonl", columns=("tokens",))).texts("train"))
    assert first.startswith("New York is")
    sentences = "".join(f"Ann{i} B-PER\nran O\n\n" for i in range(30))
    (tmp_path / "b.conll").write_text(sentences, encoding="utf-8")
    texts = list(open_corpus(config_of(tmp_path / "b.conll", columns=("1",))).texts("train"))
    assert len(texts) == 26
    assert all(text.startswith("Ann") and text.endswith(" ran") for text in texts)


def test_files_of_their_own_are_not_split(tmp_path) -> None:
    train, valid = table(tmp_path / "train.tsv"), table(tmp_path / "valid.tsv", 9)
    corpus = open_corpus(config_of(train, valid=(str(valid),)))
    assert sum(1 for _ in corpus.texts("valid")) == 9
    assert sum(1 for _ in corpus.texts("train")) == 57
    assert [(file.part, file.path.name) for file in corpus.files] == [
        ("train", "train.tsv"),
        ("valid", "valid.tsv"),
        ("test", "train.tsv"),
    ]


def test_bad_tables_are_refused(tmp_path) -> None:
    path = table(tmp_path / "films.tsv")
    with pytest.raises(DataError, match=r"no column 'review'; the columns are text, label"):
        open_corpus(config_of(path, columns=("review",)))
    with pytest.raises(ConfigError, match=r"data\.valid_share must be 0\.05 with data\.columns"):
        open_corpus(config_of(path, valid_share=0.2))
    with pytest.raises(ConfigError, match="no data given"):
        open_corpus(config_of())
    corpus = open_corpus(config_of(valid=(str(path),), test=(str(path),)))
    with pytest.raises(DataError, match="no text for train"):
        corpus.texts("train")


def test_no_row_is_held_out_for_a_test_if_asked(tmp_path) -> None:
    path = table(tmp_path / "films.tsv")
    corpus = open_corpus(config_of(path, test_share=0.0))
    assert corpus.parts == ("train", "valid")
    assert sum(1 for _ in corpus.texts("train")) == 57
