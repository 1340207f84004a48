"""Counts equal those of a brute-force count, for every option and any division of the work."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from math import lcm
from pathlib import Path

import numpy as np
import pytest
from brute_force import counts_in, counts_of, same_counts, vocabulary_of, zipf_lines

from unrolled.errors import DataError
from unrolled.text.config import TextConfig
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors import count_stage, memory
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting import cooccurrence
from unrolled.vectors.counting.cooccurrence import Counts, chunks, row_batches
from unrolled.vectors.kernels import native, reference
from unrolled.vectors.kernels.types import BORDER, Matrix, PairWeights
from unrolled.vectors.memory import MemoryPlan
from unrolled.vectors.train import fit_vectors, implementation_named

TINY = VectorsConfig(size=3, min_count=1, epochs=1, window=3, threads=2)


def count(config: VectorsConfig, corpus, out: Path, **options) -> Path:
    """Count, train as briefly as possible, and return the folder."""
    for _ in fit_vectors(config, corpus, out, **options):
        pass
    return out


def check(config: VectorsConfig, segments: list[list[str]], folder: Path) -> None:
    """Check that the counts in a folder equal a brute-force count of these segments."""
    words = vocabulary_of(segments, config.min_count, config.max_words)
    exact = counts_of(segments, words, config.window, config.symmetric, config.weighting == "flat")
    saved_words, counts = counts_in(folder)
    assert saved_words == words
    assert counts.keys() == exact.keys()
    assert all(counts[pair] == float(value) for pair, value in exact.items())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("weighting", ["harmonic", "flat"])
@pytest.mark.parametrize(
    ("window", "min_count", "max_words"), [(1, 1, 0), (3, 2, 0), (7, 1, 13), (15, 5, 0), (23, 1, 0)]
)
def test_counts_equal_a_brute_force_count(
    tmp_path: Path,
    implementation,
    window: int,
    min_count: int,
    max_words: int,
    weighting,
    symmetric: bool,
) -> None:
    lines = zipf_lines(120, 61, seed=window)
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    config = replace(
        TINY,
        window=window,
        min_count=min_count,
        max_words=max_words,
        weighting=weighting,
        symmetric=symmetric,
    )
    folder = count(config, path, tmp_path / "out", implementation=implementation)
    check(config, [line.split() for line in lines], folder)


@pytest.mark.parametrize("borders", ["line", "document", "none"])
@pytest.mark.parametrize("documents", ["file", "line", "paragraph", "separator"])
def test_windows_do_not_cross_borders(tmp_path: Path, implementation, borders, documents) -> None:
    texts = ["a b\nc d a\n\nb c\n ***\nd a b\n***\nc c a\n \n\nb d", "c a b\n\n***\n\nd\n", "a d c"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    whole = [text.split("\n") for text in texts]
    if borders == "line" or (borders == "document" and documents == "line"):
        segments = [line.split() for lines in whole for line in lines]
    elif borders == "none":
        segments = [[word for lines in whole for line in lines for word in line.split()]]
    else:
        ends = {
            "file": lambda line: False,
            "paragraph": lambda line: not line.strip(),
            "separator": lambda line: line == "***",
        }[documents]
        segments = [
            [word for line in group for word in line.split()]
            for lines in whole
            for border, group in itertools.groupby(lines, key=ends)
            if not border
        ]
    separator = "***" if documents == "separator" else ""
    corpus = CorpusConfig(
        train=(str(tmp_path / "*.txt"),), documents=documents, separator=separator
    )
    config = replace(TINY, borders=borders, window=4)
    folder = count(config, corpus, tmp_path / "out", implementation=implementation)
    check(config, segments, folder)


@pytest.mark.usefixtures("unflushed")
@pytest.mark.parametrize("borders", ["line", "none"])
def test_any_division_of_the_work_gives_the_same_counts(
    tmp_path: Path, text: Path, implementation, borders, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, borders=borders, window=11, min_count=2)
    whole = count(config, text, tmp_path / "whole", implementation=implementation)
    lines = text.read_text(encoding="utf-8").split("\n")
    segments = [line.split() for line in lines]
    joined = [[word for segment in segments for word in segment]]
    check(config, segments if borders == "line" else joined, whole)
    monkeypatch.setattr(memory, "LEAST_PART", 101)
    monkeypatch.setattr(memory, "MOST_PART", 1009)
    monkeypatch.setattr("unrolled.text.corpus.files._BLOCK", 97)
    calls, inner = [], count_stage.merge
    monkeypatch.setattr(count_stage, "merge", lambda *given: calls.append(given) or inner(*given))
    least = 300 if implementation == "plain" else 40
    for number, n_tokens in enumerate((least, 601, 2003, 10**6)):
        plan = MemoryPlan(n_tokens, (100, 300, 1, 97)[number])
        monkeypatch.setattr(MemoryPlan, "of", lambda *_, plan=plan: plan)
        part = count(config, text, tmp_path / str(number), implementation=implementation)
        assert same_counts(part, whole)
        # A hundred chunks are merged by two calls and a third; a few by one; one chunk by none.
        assert len(calls) == {40: 3, 10**6: 0}.get(n_tokens, 1)
        calls.clear()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_counts_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, text: Path, threads: int
) -> None:
    count(replace(TINY, threads=1, window=10), text, tmp_path / "one", implementation="plain")
    for implementation in ("native", "plain") if native.why_not() is None else ("plain",):
        folder = count(
            replace(TINY, threads=threads, window=10),
            text,
            tmp_path / implementation,
            implementation=implementation,
        )
        assert same_counts(folder, tmp_path / "one")


def test_long_windows_are_counted_in_128_bits(tmp_path: Path, text: Path, implementation) -> None:
    config = replace(TINY, window=47, borders="none")
    folder = count(config, text, tmp_path / "out", implementation=implementation)
    lines = text.read_text(encoding="utf-8").split("\n")
    segments = [[word for line in lines for word in line.split()]]
    words = vocabulary_of(segments, 1)
    assert PairWeights.of(config, 10**6).is_wide
    exact = counts_of(segments, words, 47, True, False)
    _, counts = counts_in(folder)
    assert counts.keys() == exact.keys()
    for pair, value in exact.items():
        assert abs(Fraction(counts[pair]) - value) <= value * Fraction(1, 2**52)


def test_pair_weights_never_overflow() -> None:
    for window in range(1, 60):
        config = replace(TINY, window=window)
        for most_frequent in (1, 10**6, 10**12):
            weights = PairWeights.of(config, most_frequent)
            total = most_frequent * weights.most_by_one
            assert total < 1 << (128 if weights.is_wide else 64)
            if not weights.is_wide:
                assert weights.unit == lcm(*range(1, window + 1))
                assert all(
                    int(weights.multiples[d]) * d == weights.unit for d in range(1, window + 1)
                )
    assert not PairWeights.of(replace(TINY, window=10), 10**10).is_wide
    assert not PairWeights.of(replace(TINY, window=10_000, weighting="flat"), 10**10).is_wide


def test_sums_beyond_32_and_64_bits_are_added_exactly(implementation) -> None:
    module = implementation_named(implementation)
    for config, most_frequent in ((TINY, 1), (replace(TINY, window=50), 1 << 50)):
        weights = PairWeights.of(config, most_frequent)
        big = np.array([2**64 - 5, 2**63, 2**40], np.uint64)
        values = np.stack([big, np.array([1, 2, 3], np.uint64)], 1) if weights.is_wide else big // 4
        ends = np.array([0, 2, 2, 3], np.uint64)
        one = Matrix(ends, np.array([0, 6, 3], np.uint32), values)
        other = Matrix(ends, np.array([5, 6, 3], np.uint32), values)
        rows = module.merge_rows([one, other, one], 7, weights, 2)
        assert rows.sizes.tolist() == [3, 0, 1]
        assert rows.columns.tolist() == [0, 5, 6, 3]

        def whole(values: np.ndarray) -> list[int]:
            if values.ndim == 1:
                return values.tolist()
            return [low + (high << 64) for low, high in values.tolist()]

        a, b, c = whole(values)
        assert whole(rows.values) == [2 * a, a, 3 * b, 3 * c]


def test_dense_and_sparse_rows_have_sorted_columns(implementation) -> None:
    module = implementation_named(implementation)
    draw = np.random.default_rng(3)
    n_words = 70_001  # needs more than one group of bit words
    tokens = np.concatenate([draw.integers(0, n_words, 5000), np.zeros(10), np.full(9, 69_999)])
    tokens = np.pad(tokens.astype(np.int32), 5, constant_values=BORDER)
    weights = PairWeights.of(replace(TINY, window=5), 100)
    rows = list(module.count_rows(tokens, 5, n_words, weights, 1 << 20, 2))
    expected = list(reference.count_rows(tokens, 5, n_words, weights, 1 << 20, 2))
    for ours, theirs in zip(zip(*rows, strict=True), zip(*expected, strict=True), strict=True):
        assert np.array_equal(np.concatenate(ours), np.concatenate(theirs))


def test_encoding_is_the_same_in_every_implementation(implementation) -> None:
    module = implementation_named(implementation)
    texts = [b"", b" the ice\t\r\nthe\x0b\n", b"\n\n \xc3\xa9\xe2\x82\xac x\x1f\n", b"", b"\nend"]
    for border in (b"\n", b"\0"):
        ours = module.encode([text.replace(b"x", border) for text in texts], border)
        right = reference.encode([text.replace(b"x", border) for text in texts], border)
        assert ours[0].tolist() == right[0].tolist()
        assert ours[1] == right[1]
        assert ours[2].tolist() == right[2].tolist()
    ids = np.array([-1, 0, 1, 2, -1, 1, -1, -1, 3, 0], np.int32)
    starts = np.array([0, 2, 2, 3, 6], np.int64)
    words = np.array([4, -1, -1, 7, -1, 8], np.int32)
    expected = [-1, 4, -1, 7, 8, 4]
    assert module.expand(ids, starts, words).tolist() == expected
    assert module.expand(ids[:0], starts, words).tolist() == []
    many = " ".join(f"w{i * i % 70_001}" for i in range(200_000)).encode()
    ours, right = module.encode([many], b"\n"), reference.encode([many], b"\n")
    assert np.array_equal(ours[0], right[0])
    assert ours[1] == right[1]
    assert np.array_equal(ours[2], right[2])


def test_a_part_without_words_only_has_borders(implementation) -> None:
    module = implementation_named(implementation)
    none, no_words = np.zeros(1, np.int64), np.empty(0, np.int32)
    assert module.expand(np.empty(0, np.int32), none, no_words).tolist() == []
    ids = np.array([BORDER, BORDER], np.int32)
    assert module.expand(ids, none, no_words).tolist() == [BORDER]


def test_one_long_piece_takes_no_space_for_the_others(implementation) -> None:
    module = implementation_named(implementation)
    starts = np.array([0, 1, 40_001], np.int64)  # pieces of one word and of 40,000 words
    words = np.arange(40_001, dtype=np.int32)
    ids = np.array([0, 1] + [0] * 3_000_000, np.int32)
    out = module.expand(ids, starts, words)
    assert len(out) == 3_040_001
    assert out[:3].tolist() == [0, 1, 2]
    assert (out[-3_000_000:] == 0).all()


def test_chunks_include_the_previous_words() -> None:
    tokens = [np.arange(0, 4, dtype=np.int32), np.arange(4, 11, dtype=np.int32)]
    for skipped in range(12):
        tokens_so_far, end = [], skipped
        for chunk in chunks(tokens, 3, 4, skipped):
            inner = chunk.tokens[3:-3]
            assert (chunk.tokens[:3] == BORDER).all()
            assert (chunk.tokens[-3:] == BORDER).all()
            before = inner[: chunk.first - 3].tolist()
            assert before == list(range(max(0, end - 3), end))
            tokens_so_far += inner[chunk.first - 3 :].tolist()
            end = chunk.end
        assert tokens_so_far == list(range(skipped, 11))


def test_batches_take_as_many_rows_as_fit() -> None:
    ends = np.array([0, 5, 5, 9, 30, 31], np.uint64)
    assert list(row_batches(ends, 9)) == [(0, 3), (3, 4), (4, 5)]
    assert list(row_batches(ends, 1)) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert list(row_batches(ends, 100)) == [(0, 5)]


@pytest.mark.usefixtures("unflushed")
@pytest.mark.parametrize("window", [5, 47])
def test_sums_of_many_chunks_are_merged_in_levels(
    tmp_path: Path, text: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, window=window, borders="none")
    whole = count(config, text, tmp_path / "whole")
    monkeypatch.setattr(cooccurrence, "MOST_MERGED", 2)
    monkeypatch.setattr(count_stage, "MOST_MERGED", 2)
    monkeypatch.setattr(cooccurrence, "_ENDS_AT_ONCE", 67)
    monkeypatch.setattr(MemoryPlan, "of", lambda *_: MemoryPlan(499, 4999))  # nine chunks
    out, n_stops = tmp_path / "out", 0
    n_events = len(list(fit_vectors(config, text, tmp_path / "once")))
    assert same_counts(tmp_path / "once", whole)
    while not (out / "vectors.safetensors").exists():  # every session stops at another point
        for number, _ in enumerate(events := fit_vectors(config, text, out, resume=True)):
            if number == 2 + n_stops * n_events // 29:
                break
        events.close()
        n_stops += 1
    assert n_stops > 5
    assert same_counts(out, whole)
    assert not (out / "work").exists() or not list((out / "work").glob("sums-*"))


@pytest.mark.usefixtures("unflushed")
def test_many_chunks_need_few_open_files(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource", reason="only POSIX limits open files")
    config = replace(TINY, borders="none")
    whole = count(config, text, tmp_path / "whole")
    monkeypatch.setattr(MemoryPlan, "of", lambda *_: MemoryPlan(40, 9973))
    highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    try:
        many = count(config, text, tmp_path / "many")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert same_counts(many, whole)


@pytest.mark.parametrize("lowercase", [False, True])
def test_words_and_punctuation_are_split_like_a_tokenizer(tmp_path: Path, lowercase: bool) -> None:
    lines = ["Don't stop, U.S. ships!", "é stop e\u0301", "\u00a0Ships don't\u3000stop.", ""] * 3
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = Tokenizer.train(lines, TextConfig(kind="word", lowercase=lowercase))
    segments = [tokenizer.pieces(tokenizer.encode(line)) for line in lines]
    config = replace(TINY, tokens="word", lowercase=lowercase)
    check(config, segments, count(config, tmp_path / "a.txt", tmp_path / "split"))
    given = count(TINY, tmp_path / "a.txt", tmp_path / "given", tokenizer=tokenizer)
    assert same_counts(given, tmp_path / "split")


def test_only_ascii_white_space_separates_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "Ice\u00a0cold ICE, e\u0301\r\ni\u0307ce É\tice", encoding="utf-8"
    )
    config = replace(TINY, lowercase=True)
    folder = count(config, tmp_path / "a.txt", tmp_path / "out")
    check(config, [["ice\u00a0cold", "ice,", "é"], ["i̇ce", "é", "ice"]], folder)


@pytest.mark.parametrize(
    ("name", "place", "value", "sentence"),
    [
        ("values", 7, 0.0, "entry 7 is 0.0, expected a count above 0; train again, or copy the"),
        ("values", 7, -1.0, "entry 7 is -1.0, expected a count above 0"),
        ("values", 7, np.nan, "entry 7 is nan, expected a count above 0"),
        ("values", 900, np.inf, "entry 900 is inf, expected a count above 0"),
        ("columns", 900, 97, "entry 900 is word number 97, but there are only 97 words"),
        ("columns", 9, 2**32 - 1, "entry 9 is word number 4,294,967,295, but there are only 97"),
        ("rows", 3, 2**40, "the row offsets are not increasing; train again"),
        ("rows", 4, 1, "the row offsets are not increasing; train again"),
        ("rows", 97, 2**40, "the counts are incomplete; train again"),
    ],
)
def test_invalid_counts_are_refused_before_they_are_used(
    tmp_path: Path, text: Path, name: str, place: int, value: float, sentence: str
) -> None:
    events = fit_vectors(TINY, text, tmp_path / "out")
    for event in events:
        if type(event).__name__ == "Epoch":
            break
    events.close()
    path = tmp_path / "out" / "counts" / f"{name}.npy"
    array = np.load(path)
    array[place] = value
    np.save(path, array)
    config = replace(TINY, epochs=2)
    with pytest.raises(DataError, match=r"its checksum does not match; train again|incomplete"):
        count(config, text, tmp_path / "out", resume=True)
    path.with_name("checksums.json").unlink()  # as in folders of older versions
    with pytest.raises(DataError, match=sentence):
        count(config, None, tmp_path / "again", counts=tmp_path / "out")
    with pytest.raises(DataError, match=sentence):
        count(config, text, tmp_path / "out", resume=True)


def test_missing_or_truncated_counts_are_refused(tmp_path: Path, text: Path) -> None:
    folder = count(TINY, text, tmp_path / "out") / "counts"
    with pytest.raises(DataError, match="no counts found"):
        Counts.open(tmp_path / "no")
    path = folder / "columns.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"columns\.npy: not a complete NumPy array; train again"):
        Counts.open(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"columns\.npy: missing; train again, or copy the whole"):
        Counts.open(folder)
