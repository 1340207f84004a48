"""Long operations report how far they have come, and nothing unless someone asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import reporting
from unrolled.reporting import Work, begun, counted, reported_to
from unrolled.text.config import TextConfig
from unrolled.text.corpus.corpus import CorpusConfig, open_corpus
from unrolled.text.splits import DataConfig, Reading, read_splits, rows_of
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.formats.detect import read_vectors

SENTENCES = [f"the {n} cats" for n in range(40)]


def test_without_a_reader_values_pass_through_unchanged() -> None:
    values = iter("abc")
    assert counted(values, "reading", "rows") is values
    begun("splitting")


def test_reports_are_about_a_tenth_of_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 0.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now

    monkeypatch.setattr(reporting.time, "monotonic", clock)
    seen: list[Work] = []
    with reported_to(seen.append):
        for _ in counted(range(100_000), "reading", "rows"):
            now += 1e-5
    assert seen[0] == Work("reading", "rows", 0)
    assert seen[-1] == Work("reading", "rows", 100_000, is_over=True)
    assert 5 <= len(seen) <= 14
    assert looks < 100  # the clock is not read for each row


def test_slow_values_are_reported_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)
    seen: list[Work] = []
    with reported_to(seen.append):
        for _ in counted([3, 4], "decoding", "examples", 7, size=lambda n: n):
            now += 2
    assert [work.done for work in seen] == [0, 3, 7, 7]
    assert {work.total for work in seen} == {7}


def test_an_abandoned_stage_is_over() -> None:
    seen: list[Work] = []
    with reported_to(seen.append):
        stage = counted(range(9), "reading", "rows")
        next(stage)
        next(stage)
        stage.close()  # type: ignore[attr-defined]
    assert seen[-1] == Work("reading", "rows", 1, is_over=True)


def table(folder: Path) -> None:
    path = folder / "pairs.tsv"
    path.write_text("\n".join(["en\tes", *(f"{s}\t{s}" for s in SENTENCES)]), encoding="utf-8")
    read_splits(DataConfig(train=(str(path),)))


def parallel(folder: Path) -> None:
    paths = [folder / "text.en", folder / "text.es"]
    for path in paths:
        path.write_text("\n".join(SENTENCES), encoding="utf-8")
    rows_of(DataConfig(), [str(path) for path in paths], 2)


def columns(folder: Path) -> None:
    path = folder / "a.conll"
    path.write_text("the DET\n\ncat NOUN\n", encoding="utf-8")
    rows_of(DataConfig(), [str(path)], 2, Reading(by_token=True))


def corpus(folder: Path) -> None:
    path = folder / "play.txt"
    path.write_text("to be\nor not\n" * 50, encoding="utf-8")
    opened = open_corpus(CorpusConfig(train=(str(path),)))
    words = Tokenizer.train(opened.texts("train"), TextConfig(kind="word"), running=True)
    opened.encode("train", words)


def vectors(folder: Path) -> None:
    path = folder / "vectors.txt"
    path.write_text("a 1.0 2.0\nb 3.0 4.0\n", encoding="utf-8")
    read_vectors(path)


@pytest.mark.parametrize(
    ("operation", "stages"),
    [
        (table, {"reading pairs.tsv": 40, "splitting off data for valid and test": 0}),
        (parallel, {"reading text.en, text.es": 40}),
        (columns, {"reading a.conll": 2}),
        (corpus, {"reading play.txt": 650, "building the vocabulary": 1, "encoding": 585}),
        (vectors, {"reading vectors.txt": 2}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_stage_of_reading_is_reported(
    tmp_path: Path, operation: Callable[[Path], None], stages: dict[str, int]
) -> None:
    seen: dict[str, int] = {}
    with reported_to(lambda work: seen.update({work.stage: work.done})):
        operation(tmp_path)
    assert list(seen) == list(stages)
    assert {stage: done for stage, done in seen.items() if stage != "encoding"} == {
        stage: done for stage, done in stages.items() if stage != "encoding"
    }
    assert seen.get("encoding", 0) >= stages.get("encoding", 0)
