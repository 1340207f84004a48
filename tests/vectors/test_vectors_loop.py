"""Training word vectors: events, output files, kills, resumed runs, and errors."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import same_counts, zipf_lines

from unrolled import cli, storage
from unrolled import config as settings
from unrolled.errors import ConfigError, DataError, NonFiniteError, RunError, UnrolledError
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.vectors import count_stage, memory, train_stage
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.events import Counted, Epoch, Finished, Read, VocabularyMade
from unrolled.vectors.memory import MemoryPlan
from unrolled.vectors.train import fit_vectors, train_vectors

CONFIG = VectorsConfig(size=5, min_count=2, window=4, epochs=4, threads=2, save_every_n_seconds=0)
LEFT = [
    "README.md",
    "counts",
    "record.json",
    "vectors.safetensors",
    "vectors.toml",
    "vocabulary.tsv",
]


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, chunks and batches."""
    monkeypatch.setattr(memory, "LEAST_PART", 1009)
    monkeypatch.setattr(memory, "MOST_PART", 1009)
    monkeypatch.setattr(MemoryPlan, "of", lambda *_: MemoryPlan(1201, 997))


def content(folder: Path) -> dict[str, bytes]:
    """The files that must not depend on how the run was interrupted or divided."""
    names = ["vocabulary.tsv", "vectors.safetensors"]
    names += [f"counts/{name}.npy" for name in ("rows", "columns", "values")]
    return {name: (folder / name).read_bytes() for name in names}


def test_events_come_in_order_and_the_folder_is_complete(text: Path, tmp_path: Path) -> None:
    events = list(fit_vectors(CONFIG, text, tmp_path / "out"))
    order = [Read, VocabularyMade, Counted, Epoch, Finished]
    kinds = [order.index(type(event)) for event in events]
    assert kinds == sorted(kinds)
    assert set(kinds) == set(range(5))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == LEFT
    n_tokens = len(text.read_text(encoding="utf-8").split())
    reads = [event for event in events if isinstance(event, Read)]
    assert reads[-1].n_tokens == n_tokens
    assert reads[-1].fraction_done == 1
    made = next(event for event in events if isinstance(event, VocabularyMade))
    vocabulary = Vocabulary.load(tmp_path / "out" / "vocabulary.tsv")
    assert (made.n_words, made.n_kept) == (len(vocabulary), int(vocabulary.counts.sum()))
    assert (made.n_tokens, made.n_different) == (
        n_tokens,
        len(set(text.read_text(encoding="utf-8").split())),
    )
    counted = [event for event in events if isinstance(event, Counted)][-1]
    assert counted.n_tokens == made.n_kept
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [event.epoch for event in epochs] == [1, 2, 3, 4]
    assert [event.loss for event in epochs] == sorted((e.loss for e in epochs), reverse=True)
    assert epochs[-1].eta_seconds == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert record["losses"] == [event.loss for event in epochs]
    assert events[-1].loss == epochs[-1].loss
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"{n_tokens:,} words" in card
    assert str(tmp_path) not in card


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("borders", ["line", "none"])
def test_a_run_closed_at_any_event_resumes_bit_for_bit(text: Path, tmp_path: Path, borders) -> None:
    config = replace(CONFIG, borders=borders)
    n_events = len(list(fit_vectors(config, text, tmp_path / "whole")))
    expected = content(tmp_path / "whole")
    out = tmp_path / "out"
    for stop in [*range(0, n_events - 5, max(1, n_events // 9)), *range(n_events - 5, n_events)]:
        events = fit_vectors(config, text, out, force=out.exists())
        for _ in range(stop):
            next(events)
        events.close()
        for _ in fit_vectors(replace(config, threads=1), text, out, resume=True):
            pass
        assert content(out) == expected
        assert sorted(path.name for path in out.iterdir()) == LEFT


KILLED = """
import sys
from unrolled.vectors import memory
from unrolled.vectors import train as loop
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.memory import MemoryPlan
memory.LEAST_PART = memory.MOST_PART = 1009
MemoryPlan.of = lambda *_: MemoryPlan(1201, 997)
config = VectorsConfig(size=5, min_count=2, window=4, epochs=4, threads=2, save_every_n_seconds=0)
def run():
    for event in loop.fit_vectors(config, sys.argv[1], sys.argv[2], resume=True):
        print(event, flush=True)
"""

KILLED_OFTEN = f"""{KILLED}
import os, signal, time
for attempt in range(40):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        try:
            run()
        finally:
            os._exit(0)
    os.close(writer)
    os.read(reader, 1)  # the first event has come
    time.sleep(0.003 * attempt)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    if os.path.exists(sys.argv[2] + "/vectors.safetensors"):
        break
print(attempt)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to kill often in little time")
@pytest.mark.usefixtures("in_pieces")
def test_a_run_killed_at_any_time_resumes_bit_for_bit(text: Path, tmp_path: Path) -> None:
    train_vectors(CONFIG, text, tmp_path / "whole")
    expected = content(tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED_OFTEN, str(text), str(out)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    train_vectors(CONFIG, text, out, resume=True)
    assert content(out) == expected


def test_finished_vectors_are_not_overwritten(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    end = train_vectors(CONFIG, text, out)
    before = content(out)
    again = list(fit_vectors(CONFIG, text, out, resume=True))
    assert again == [end]
    assert content(out) == before
    with pytest.raises(RunError, match=r"already contains vectors; resume their training \(--"):
        fit_vectors(CONFIG, text, out)
    with pytest.raises(RunError, match="is finished after 4 epochs"):
        train_vectors(replace(CONFIG, epochs=9), text, out, resume=True)
    with pytest.raises(ConfigError, match="--resume and --force cannot be combined"):
        fit_vectors(CONFIG, text, out, resume=True, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="exists, but it is not a folder of vectors"):
        fit_vectors(CONFIG, text, tmp_path / "mine", force=True)
    train_vectors(replace(CONFIG, seed=9), text, out, force=True)
    assert content(out)["vectors.safetensors"] != before["vectors.safetensors"]


def test_a_resumed_run_must_have_the_same_settings(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = fit_vectors(CONFIG, text, out)
    while not isinstance(next(events), Counted):
        pass
    events.close()
    with pytest.raises(ConfigError, match=r"vectors.window is 9, but .* was started with 4"):
        fit_vectors(replace(CONFIG, window=9), text, out, resume=True)
    train = fit_vectors(replace(CONFIG, rate=0.01, epochs=3), text, out, resume=True)
    while not isinstance(next(train), Epoch):
        pass
    train.close()
    with pytest.raises(ConfigError, match=r"vectors.rate is 0.05, but"):
        fit_vectors(CONFIG, text, out, resume=True)
    with pytest.raises(ConfigError, match="the corpus, its settings or the tokenizer differ"):
        next(fit_vectors(replace(CONFIG, rate=0.01), tmp_path, out, resume=True))
    train_vectors(replace(CONFIG, rate=0.01, epochs=2, memory="2GB"), text, out, resume=True)


@pytest.mark.usefixtures("in_pieces")
def test_a_changed_text_is_refused(text: Path, tmp_path: Path) -> None:
    path = written(tmp_path, text.read_bytes())
    events = fit_vectors(CONFIG, path, tmp_path / "out")
    next(events)
    events.close()
    path.write_bytes(text.read_bytes() + b" more")
    with pytest.raises(RunError, match=r"a.txt is not the file that .* was started with: its name"):
        next(fit_vectors(CONFIG, path, tmp_path / "out", resume=True))


def test_compressed_and_divided_texts_give_the_same_vectors(text: Path, tmp_path: Path) -> None:
    whole = text.read_bytes()
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(whole))
    cut = whole.index(b"\n", len(whole) // 2) + 1
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1.txt").write_bytes(whole[:cut])
    (tmp_path / "files" / "2.txt").write_bytes(whole[cut:].replace(b"\n", b"\r\n"))
    train_vectors(CONFIG, text, tmp_path / "plain")
    for name, corpus in (("packed", tmp_path / "a.txt.gz"), ("cut", tmp_path / "files")):
        train_vectors(CONFIG, corpus, tmp_path / name)
        assert content(tmp_path / name) == content(tmp_path / "plain")


# Invalid texts and settings


def refused(path: Path, config: VectorsConfig = CONFIG, **options) -> str:
    """The error message; also check that no files are left behind."""
    out = path.parent / "refused"
    with pytest.raises(UnrolledError) as caught:
        train_vectors(config, path, out, **options)
    assert not out.exists()
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"])
def test_a_text_without_words_is_refused(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert refused(path) == "the corpus contains no words; give more text"


def test_a_vocabulary_of_one_word_is_refused(tmp_path: Path) -> None:
    assert refused(written(tmp_path, b"ice"), replace(CONFIG, min_count=1)) == (
        "the vocabulary has only one word, 'ice', but training needs at least two; give more text, or "
        "lower vectors.min_count"
    )


def test_a_min_count_that_no_word_reaches_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"ice steam ice\nice gas " * 7)
    assert refused(path, replace(CONFIG, min_count=1000)) == (
        "no word occurs 1000 times (vectors.min_count); the most frequent one occurs 21 times; give "
        "more text, or lower vectors.min_count"
    )


def test_a_window_larger_than_the_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"ice steam gas")
    assert refused(path, replace(CONFIG, min_count=1, window=10)) == (
        "vectors.window is 10, but the text has only 3 words in the vocabulary; give more text, or a "
        "smaller window"
    )


def test_a_text_without_pairs_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"ice\nsteam\n" * 40)
    assert refused(path) == (
        "no two of the 80 vocabulary words in the text are within a window of 4; let windows cross line "
        "ends (vectors.borders), or lower vectors.min_count"
    )


def test_binary_data_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a b\n" + bytes(range(256)) * 9)
    assert refused(path) == f"{path}, line 2: NUL byte at byte 4; this is not a text file"
    path = written(tmp_path, b"a b\n\xff\xfe\n")
    assert refused(path).startswith(f"{path}, line 2: not UTF-8 at byte 4 (0xFF); convert")


def test_one_long_line_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.text.corpus.files._BLOCK", 1009)
    monkeypatch.setattr(memory, "LEAST_PART", 4001)
    monkeypatch.setattr(memory, "MOST_PART", 4001)
    words = " ".join(zipf_lines(3000, 97, seed=1)).split()
    train_vectors(CONFIG, written(tmp_path, " ".join(words).encode()), tmp_path / "line")
    other = tmp_path / "lines.txt"
    other.write_text("\n".join(words), encoding="utf-8")
    train_vectors(replace(CONFIG, borders="none"), other, tmp_path / "lines")
    assert same_counts(tmp_path / "line", tmp_path / "lines")


def test_an_extremely_long_word_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a b\n" + b"x" * 5_000_000)
    assert refused(path) == (
        f"{path}, line 2: this word is longer than 4 MB; split it, or raise UNROLLED_MAX_LINE (an "
        "environment variable, now 4 MB)"
    )


def test_a_run_resumes_after_a_full_disk(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LEAST_PART", 4001)
    monkeypatch.setattr(memory, "MOST_PART", 4001)
    train_vectors(CONFIG, text, tmp_path / "whole")
    out, inner = tmp_path / "out", storage.flush
    n_left = 0

    def full(stream: object) -> None:
        nonlocal n_left
        n_left -= 1
        if not n_left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        inner(stream)

    monkeypatch.setattr(storage, "flush", full)
    n_full = 0
    for files in range(3, 40, 2):
        n_left = files
        sentence = training_error(text, out)
        if sentence is None:
            break
        n_full += 1
        assert sentence.startswith(f"disk full while writing {out}")
        assert sentence.endswith("free space and continue with --resume")
    assert n_full > 3
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("in_pieces")
def test_a_file_size_limit_is_reported(text: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of a file")
    train_vectors(CONFIG, text, tmp_path / "whole")
    out, most = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    sentences = []
    for n_bytes in (round(200 * 1.3**step) for step in range(40)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, most[1]))
        try:
            sentence = training_error(text, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, most)
        if sentence is None:
            break
        assert sentence.startswith(f"cannot write {out}")
        assert sentence.endswith("(File too large)")
        sentences.append(sentence)
    assert any("part-000000" in sentence for sentence in sentences)
    assert content(out) == content(tmp_path / "whole")


def training_error(text: Path, out: Path) -> str | None:
    """The error message of a training, or None if it succeeds."""
    try:
        train_vectors(CONFIG, text, out, resume=True)
    except RunError as error:
        return str(error)
    return None


def test_damaged_files_are_reported(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = fit_vectors(CONFIG, text, out)
    while not isinstance(next(events), Epoch):
        pass
    events.close()
    (state,) = (out / "work").glob("state-*")
    whole = state.read_bytes()
    changed = bytearray(whole)
    changed[-77] ^= 1
    for damaged in (whole[:-9], bytes(changed), whole[:5], b""):
        state.write_bytes(damaged)
        with pytest.raises(RunError, match=r"state-000001.safetensors: damaged"):
            train_vectors(CONFIG, text, out, resume=True)
    (out / "vocabulary.tsv").write_text("ice\t9\nsteam\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: expected a word, a tab and its count"):
        train_vectors(CONFIG, text, out, resume=True)
    (out / "record.json").write_text("{")
    with pytest.raises(RunError, match=r"record.json: damaged"):
        train_vectors(CONFIG, text, out, resume=True)
    events = fit_vectors(CONFIG, text, out, force=True)
    while not isinstance(next(events), Read):
        pass
    events.close()
    part = out / "work" / "part-000000"
    whole = part.read_bytes()
    changed = bytearray(whole)
    changed[-77] ^= 1
    for damaged in (whole[:-9], bytes(changed)):
        part.write_bytes(damaged)
        with pytest.raises(
            RunError, match=r"part-000000: missing or damaged; train again \(--force\)"
        ):
            train_vectors(CONFIG, text, out, resume=True)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("size", 0, "at least 1"),
        ("tokens", "char", "one of space, word"),
        ("borders", "page", "one of line, document, none"),
        ("window", 0, "at least 1"),
        ("window", 10_001, "at most 10,000"),
        ("size", 65_537, "at most 65,536"),
        ("threads", 1025, "at most 1,024"),
        ("min_count", 0, "at least 1"),
        ("max_words", -1, "at least 0"),
        ("weighting", "linear", "one of harmonic, flat"),
        ("x_max", 0.0, "above 0"),
        ("alpha", float("nan"), "above 0"),
        ("rate", float("inf"), "at most 1,000,000,000,000"),
        ("clip", -1.0, "above 0"),
        ("epochs", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("threads", -1, "at least 0"),
        ("memory", "much", "a size such as 512MB or 4GB"),
        ("save_every_n_seconds", -1.0, "at least 0"),
    ],
)
def test_an_invalid_setting_is_reported(name: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VectorsConfig(**{name: value})  # type: ignore[arg-type]
    shown = repr(value) if isinstance(value, str) else str(value)
    assert str(caught.value) == f"vectors.{name} must be {wanted}, got {shown}"


# The command


def test_the_command_trains_and_reports_progress(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["vectors", "train", str(text), "--out", str(out), "--size", "5", "--epochs", "2"]
    arguments += ["--min-count", "2", "--window", "4", "--left-only", "--memory", "150MB"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("event=vocabulary words=3955 different=97 vocabulary=97 ")
    assert printed[-2].startswith("event=epoch epoch=2 epochs=2 loss=")
    assert printed[-1].startswith(f"event=end folder={out} vectors=97 size=5 ")
    same = replace(CONFIG, epochs=2, symmetric=False)
    train_vectors(same, CorpusConfig(train=(str(text),)), tmp_path / "same")
    assert content(out) == content(tmp_path / "same")
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"unrolled: {out} already contains vectors")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no text given; run `unrolled vectors train FILE…` on files or folders"),
        (["no.txt"], "no.txt: no such file"),
        (
            ["s3://a/b.txt"],
            "s3://a/b.txt is a URL, which can only be read on a cluster; give one (--cluster ADDRESS)",
        ),
        (["{text}", "--size", "0"], "--size must be at least 1, got 0"),
        (
            ["{text}", "--min-count", "99999"],
            "no word occurs 99999 times (--min-count); the",
        ),
    ],
)
def test_the_command_reports_errors_on_one_line(
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [argument.format(text=text) for argument in arguments]
    assert cli.main(["vectors", "train", *given]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"unrolled: {sentence}")
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.toml"))


def test_training_vectors_does_not_import_torch(text: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom unrolled.vectors.train import train_vectors\n"
        "from unrolled.vectors.config import VectorsConfig\n"
        "train_vectors(VectorsConfig(size=3, epochs=1), sys.argv[1], sys.argv[2])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(text), str(tmp_path / "out")], check=True)


def test_vectors_are_not_replaced_after_an_error(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_vectors(CONFIG, text, out)
    before = content(out)
    for config, corpus in (
        (CONFIG, "s3://a/b.txt"),
        (CONFIG, tmp_path / "no.txt"),
        (replace(CONFIG, min_count=99_999), text),
    ):
        with pytest.raises((ConfigError, DataError)):
            train_vectors(config, corpus, out, force=True)
        assert content(out) == before
    train_vectors(replace(CONFIG, seed=7), text, out, force=True)
    assert content(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_finished_vectors_are_kept_until_new_counts_exist(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "out", replace(CONFIG, seed=7)
    train_vectors(CONFIG, text, out)
    before = content(out)
    for _ in range(3):  # the first start moves them aside, later ones leave them there
        events = fit_vectors(other, text, out, force=True)
        next(events)
        events.close()
        assert not (out / "vectors.safetensors").exists()
        assert content(tmp_path / ".out.replaced") == before
    (out / "record.json").write_text("damaged", encoding="utf-8")
    with pytest.raises(DataError):
        train_vectors(replace(other, min_count=99_999), text, out, force=True)
    assert content(out) == before
    train_vectors(other, text, out, force=True)
    assert content(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_output_folder_is_used(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    same_folder = out.stat().st_ino
    with pytest.raises(DataError):
        train_vectors(replace(CONFIG, min_count=99_999), text, out)
    assert list(out.iterdir()) == []
    train_vectors(CONFIG, text, out)
    assert sorted(path.name for path in out.iterdir()) == LEFT
    assert out.stat().st_ino == same_folder
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_as_output_folder_is_followed(text: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    link.symlink_to(real)
    for exists in (False, True):  # the target does not exist at first; then it contains vectors
        events = fit_vectors(CONFIG, text, link, force=exists)
        next(events)
        with pytest.raises(RunError, match="real is being written by this process"):
            next(fit_vectors(CONFIG, text, real, force=True))
        for _ in events:
            pass
        assert link.is_symlink()
        assert sorted(path.name for path in real.iterdir()) == LEFT
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_the_output_folder_may_be_in_the_corpus_folder(text: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.txt").write_bytes(text.read_bytes())
    train_vectors(CONFIG, corpus, tmp_path / "apart")
    out = corpus / "b" / "out"
    events = fit_vectors(CONFIG, corpus, out)
    next(events)
    events.close()
    train_vectors(CONFIG, corpus, out, resume=True)
    assert content(out) == content(tmp_path / "apart")
    train_vectors(CONFIG, corpus, out, force=True)
    assert content(out) == content(tmp_path / "apart")
    with pytest.raises(DataError, match="all files of the corpus are in the output folder"):
        train_vectors(CONFIG, out, out, force=True)
    assert content(out) == content(tmp_path / "apart")


def test_another_number_of_files_is_refused(text: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.txt").write_bytes(text.read_bytes())
    events = fit_vectors(CONFIG, corpus, tmp_path / "out")
    next(events)
    events.close()
    (corpus / "b.txt").write_bytes(text.read_bytes())
    with pytest.raises(RunError) as caught:
        train_vectors(CONFIG, corpus, tmp_path / "out", resume=True)
    assert str(caught.value) == (
        f"{tmp_path}/out was started with 1 file, but 2 are given; give the same, or choose another "
        "output folder (--out)"
    )


def test_a_run_resumed_without_a_record_records_its_text(text: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, text.read_bytes()), tmp_path / "out"
    out.mkdir()
    (out / "vectors.toml").write_text(settings.to_toml(CONFIG), encoding="utf-8")
    events = fit_vectors(CONFIG, path, out, resume=True)
    next(events)
    events.close()
    path.write_bytes(text.read_bytes() + b" more")
    with pytest.raises(RunError, match=r"a.txt is not the file that .* was started with: its name"):
        next(fit_vectors(CONFIG, path, out, resume=True))


def test_fewer_epochs_than_already_trained_are_refused(text: Path, tmp_path: Path) -> None:
    events = fit_vectors(replace(CONFIG, epochs=5), text, tmp_path / "out")
    for event in events:
        if isinstance(event, Epoch) and event.epoch == 3:
            break
    events.close()
    with pytest.raises(ConfigError, match=r"vectors.epochs is 2, but .* already trained for 3 ep"):
        train_vectors(replace(CONFIG, epochs=2), text, tmp_path / "out", resume=True)


def test_a_separator_needs_no_line_end_at_the_end_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a b a b\n***\na b\n***", encoding="utf-8")
    corpus = CorpusConfig(train=(str(path),), documents="separator", separator="***")
    config = replace(CONFIG, borders="document", min_count=1, window=2)
    train_vectors(config, corpus, tmp_path / "out")
    text = (tmp_path / "out/vocabulary.tsv").read_text(encoding="utf-8")
    assert text == "a\t3\nb\t3\n"


def test_an_incomplete_last_line_of_the_journal_is_ignored(text: Path, tmp_path: Path) -> None:
    train_vectors(CONFIG, text, tmp_path / "whole")
    for torn in (b"[12, 3, [0, 99", b'[12, 3, [0, 99, 1, "", false], 0.5]', b"\0\0\0\n"):
        out = tmp_path / str(len(torn))
        events = fit_vectors(CONFIG, text, out)
        next(events)
        events.close()
        journal = out / "work" / count_stage.PARTS_FILE
        journal.write_bytes(journal.read_bytes() + torn)
        train_vectors(CONFIG, text, out, resume=True)
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("in_pieces")
def test_the_record_has_sessions_and_a_constant_size(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.text.corpus.files._BLOCK", 997)
    out, sizes = tmp_path / "out", []
    for event in fit_vectors(CONFIG, text, out):
        if isinstance(event, Read):
            sizes.append((out / "record.json").stat().st_size)
    assert len(sizes) > 9
    assert len(set(sizes)) == 1
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    (session,) = record["sessions"]
    assert session.keys() == {"began", "unrolled", "instruction_set"}
    assert session["began"].startswith("20")
    train_vectors(CONFIG, text, tmp_path / "plain", implementation="plain")
    record = json.loads((tmp_path / "plain" / "record.json").read_text(encoding="utf-8"))
    assert record["sessions"][0]["instruction_set"] == "plain"


# Locks


def test_two_trainings_cannot_write_one_folder(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    events = fit_vectors(CONFIG, text, out)
    other = fit_vectors(CONFIG, text, out)
    next(events)
    sentence = (
        rf"{re.escape(str(out))} is being written by this process, since \d\d\d\d-\S+ \S+ UTC; read its "
        r"events to the end or close them, or choose another name \(--out\)"
    )
    for options in ({"resume": True}, {"force": True}):
        with pytest.raises(RunError) as caught:
            next(fit_vectors(CONFIG, text, out, **options))
        assert re.fullmatch(sentence, str(caught.value))
    arguments = ["vectors", "train", str(text), "--out", str(out), "--force"]
    assert cli.main(arguments) == 2
    assert re.fullmatch(f"unrolled: {sentence}\n", capsys.readouterr().err)
    events.close()
    # The folder was free when `fit_vectors` was called, but no longer when the events are read.
    with pytest.raises(RunError, match="already contains vectors"):
        next(other)
    train_vectors(CONFIG, text, out, resume=True)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("number", "is_taken"),
    [
        (errno.EACCES, True),
        (errno.EAGAIN, True),
        (errno.EDEADLK, True),
        (errno.ENOLCK, False),
        (errno.EINVAL, False),
        (errno.EOPNOTSUPP, False),
    ],
)
def test_file_systems_without_locks_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_taken: bool
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, "as the system says")

    monkeypatch.setattr("fcntl.flock", refuse)
    if is_taken:
        with pytest.raises(RunError, match="out is being written by"):
            with storage.locked(tmp_path / "out"):
                pass
    else:
        with storage.locked(tmp_path / "out"):
            assert (tmp_path / ".out.lock").exists()
        assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{KILLED}run()\n", str(text), str(out)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(RunError, match=f"is being written by process {child.pid} on '"):
            train_vectors(CONFIG, text, out, resume=True)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    train_vectors(CONFIG, text, out, resume=True)


def test_an_error_leaves_no_folders_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train_vectors(CONFIG, tmp_path / "no.txt", tmp_path / "a" / "b" / "c")
    assert list(tmp_path.iterdir()) == []


# Numbers that are not finite


def test_vectors_that_are_not_finite_are_not_saved(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = train_stage.train_epoch

    def broken(pairs, parameters, epoch, *rest):
        loss = inner(pairs, parameters, epoch, *rest)
        if epoch == 2:
            parameters.sides[1].vectors[3, 0, 4] = np.inf  # of the word with rank 3
        return loss

    out = tmp_path / "out"
    for config in (CONFIG, replace(CONFIG, epochs=2, save_every_n_seconds=99)):
        monkeypatch.setattr(train_stage, "train_epoch", broken)
        with pytest.raises(NonFiniteError) as caught:
            train_vectors(config, text, out, force=out.exists())
        monkeypatch.undo()
        word = Vocabulary.load(out / "vocabulary.tsv").words[3]
        sentence, command, _ = str(caught.value).split("`")
        assert sentence == (
            f"epoch 2: the context vector of '{word}' is not finite; lower vectors.rate or "
            "vectors.clip, for example: "
        )
        assert command.startswith(
            f"unrolled vectors train --counts {out} --out {out}-again --rate 0.025"
        )
        assert "--size 5" in command
        assert not (out / "vectors.safetensors").exists()
    assert cli.main(command.split()[1:]) == 0
    assert (tmp_path / "out-again" / "vectors.safetensors").exists()
