"""The memory limit is respected, and errors only depend on the words and the settings."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import same_counts

from unrolled import cli
from unrolled.errors import ConfigError
from unrolled.vectors import memory
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.glove.model import Parameters
from unrolled.vectors.memory import MemoryPlan, TooLittleMemory
from unrolled.vectors.train import fit_vectors, train_vectors

CONFIG = VectorsConfig(size=3, min_count=1, epochs=1, window=4, threads=2)

BOUNDED = """
import sys
from pathlib import Path
from unrolled import cli
assert cli.main(["vectors", "train", sys.argv[1], "--out", *sys.argv[2:]]) == 0
# getrusage would also count what this process held before it executed Python.
lines = Path("/proc/self/status").read_text().splitlines()
print(*(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""

has_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to measure the memory of a process"
)


def peak_memory(path: Path, out: Path, *options: str) -> int:
    """Peak memory of the command, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path), str(out), *options],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return 1024 * int(done.stdout.splitlines()[-1])


def written(path: Path, ranks: np.ndarray, n_words: int) -> Path:
    words = [f"w{i}" for i in range(n_words)]
    with path.open("w") as file:
        for row in ranks.reshape(-1, 50).tolist():
            file.write(" ".join([words[i] for i in row]) + "\n")
    return path


@has_proc
def test_counts_do_not_depend_on_the_memory_limit(tmp_path: Path) -> None:
    """About ten million words, counted in 120 MB; the tokens and their index alone need 80 MB."""
    draw = np.random.default_rng(3)
    ranks = np.minimum(draw.zipf(1.2, 10_000_000) - 1, 2999)
    path = written(tmp_path / "a.txt", ranks, 3000)
    options = ("--size", "2", "--epochs", "1", "--min-count", "1", "--memory")
    used = {
        memory: peak_memory(path, tmp_path / memory, *options, memory)
        for memory in ("120MB", "4GB")
    }
    assert same_counts(tmp_path / "120MB", tmp_path / "4GB")
    assert used["120MB"] <= 120_000_000 < used["4GB"]


@has_proc
def test_a_large_vocabulary_is_counted_within_the_limit(tmp_path: Path) -> None:
    """220,000 words with the smallest limit that is enough for them."""
    draw = np.random.default_rng(5)
    n_words = 220_000
    often = np.minimum(draw.zipf(1.3, 300_000) - 1, n_words - 1)
    ranks = np.concatenate([np.arange(n_words), np.arange(n_words), often])
    draw.shuffle(ranks)
    path = written(tmp_path / "a.txt", ranks, n_words)
    out = tmp_path / "out"
    options = ("--size", "16", "--window", "2", "--epochs", "1", "--min-count", "1", "--memory")
    config = VectorsConfig(size=16, window=2, epochs=1, min_count=1, memory="120MB")
    with pytest.raises(TooLittleMemory) as caught:
        train_vectors(config, path, tmp_path / "less")
    enough = asked_for(caught.value)
    assert enough < 350
    used = peak_memory(path, out, *options, f"{enough}MB")
    assert used <= enough * 10**6


def asked_for(error: Exception) -> int:
    """Megabytes that an error message asks for."""
    match = re.search(
        r"set it to at least (\d+)MB and resume \(--resume\), or start again", str(error)
    )
    assert match is not None, error
    return int(match[1])


def test_the_limit_that_an_error_asks_for_is_enough() -> None:
    sizes = itertools.product((97, 70_001, 3_000_017), (1, 7), (1, 2), (0, 5 << 20), (False, True))
    for n_words, threads, width, part, splits in sizes:
        config = replace(CONFIG, threads=threads, memory="90MB")
        given = (n_words, 80 * n_words, width, part, splits)
        try:
            MemoryPlan.of(config, *given)
        except TooLittleMemory as error:
            megabytes = asked_for(error)
            MemoryPlan.of(replace(config, memory=f"{megabytes}MB"), *given)
            with pytest.raises(TooLittleMemory):
                MemoryPlan.of(replace(config, memory=f"{megabytes * 0.95:.0f}MB"), *given)
        else:
            assert n_words == 97
    for n_words, size in itertools.product((97, 70_001, 3_000_017), (1, 300)):
        config = replace(CONFIG, size=size, memory="80MB")
        given = (n_words, 80 * n_words, Parameters.n_bytes_of(n_words, size))
        with pytest.raises(TooLittleMemory) as caught:
            memory.room_for_pairs(config, *given)
        memory.room_for_pairs(replace(config, memory=f"{asked_for(caught.value)}MB"), *given)


def test_more_memory_gives_larger_chunks_and_batches() -> None:
    before = MemoryPlan(0, 0)
    for megabytes in (120, 130, 200, 512, 4000, 100_000):
        plan = MemoryPlan.of(replace(CONFIG, memory=f"{megabytes}MB"), 5003, 400_000, 1)
        assert before.n_tokens < plan.n_tokens
        assert before.n_entries <= plan.n_entries
        before = plan
    assert before.n_tokens < 1 << 32  # positions have 32 bits


def test_a_run_can_be_resumed_with_more_memory(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_vectors(CONFIG, text, tmp_path / "whole")
    config, out = replace(CONFIG, memory="90MB"), tmp_path / "out"
    monkeypatch.setattr(memory, "_OF_RANK", 100_000)  # as if there were many words
    with pytest.raises(TooLittleMemory) as caught:
        train_vectors(config, text, out)
    assert str(caught.value) == (
        f"vectors.memory is too low to count 97 different words; set it to at least "
        f"{asked_for(caught.value)}MB and resume (--resume), or start again (--force) with fewer words "
        "(vectors.max_words) or threads (vectors.threads)"
    )
    assert (out / "work" / "part-000000").exists()
    monkeypatch.setattr(memory, "part_bytes_of", None)  # nothing is read again
    enough = replace(config, memory=f"{asked_for(caught.value)}MB")
    train_vectors(enough, text, out, resume=True)
    assert same_counts(out, tmp_path / "whole")


def test_too_large_vectors_are_refused_before_counting(text: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", replace(CONFIG, size=65_000, memory="150MB")
    with pytest.raises(
        TooLittleMemory, match="train 97 vectors of width 65000; set it to at least"
    ):
        train_vectors(config, text, out)
    assert not (out / "counts").exists()
    train_vectors(replace(config, size=100), text, out, resume=True)


def test_other_memory_of_the_process_does_not_count(text: Path, tmp_path: Path) -> None:
    ballast = np.ones(30 << 20)  # 250 MB, resident
    arguments = ["vectors", "train", str(text), "--out", str(tmp_path / "out"), "--memory", "120MB"]
    assert cli.main([*arguments, "--size", "3", "--epochs", "1"]) == 0
    assert ballast.sum() == 30 << 20


def test_a_limit_too_low_for_reading_is_refused_at_once(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fit_vectors(replace(CONFIG, memory="1MB"), text, tmp_path / "out")
    assert str(caught.value) == (
        "vectors.memory must be at least 83MB, of which Python and its libraries take 64MB, got '1MB'"
    )
    assert list(tmp_path.iterdir()) == []
