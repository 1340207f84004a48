"""Commands and their steps; and beam search on them, where the target vocabulary is small."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled import DecodingConfig, cli
from unrolled.errors import ConfigError, DataError
from unrolled.samples import commands
from unrolled.samples.commands import (
    MAX_STEPS,
    PARTS,
    SIDES,
    VERBS,
    CommandSample,
    carry_out,
    generate,
    write,
)
from unrolled.tasks.seq2seq import TranslateConfig


@pytest.fixture(scope="module")
def sample() -> CommandSample:
    return generate()


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        ("hop", "HOP"),
        ("walk left", "LEFT WALK"),
        ("walk opposite right", "RIGHT RIGHT WALK"),
        ("run around left", "LEFT RUN LEFT RUN LEFT RUN LEFT RUN"),
        ("jump twice thrice", "JUMP JUMP JUMP JUMP JUMP JUMP"),
        ("look left thrice", "LEFT LOOK LEFT LOOK LEFT LOOK"),
        ("bow and spin after clap twice and wave", "CLAP CLAP WAVE BOW SPIN"),
        ("jump twice and walk left after run thrice", "RUN RUN RUN JUMP JUMP LEFT WALK"),
    ],
)
def test_commands_are_carried_out(command: str, steps: str) -> None:
    assert " ".join(carry_out(command)) == steps


def test_every_command_has_its_steps(sample: CommandSample) -> None:
    lengths = set()
    for command in itertools.chain(sample.train, sample.valid, sample.test):
        assert command.steps == " ".join(carry_out(command.text))
        lengths.add(len(command.steps.split()))
    assert min(lengths) == 1
    assert MAX_STEPS - 3 < max(lengths) <= MAX_STEPS


def test_a_dozen_target_words(sample: CommandSample) -> None:
    words = {word for command in sample.train for word in command.steps.split()}
    assert words == {word.upper() for word in (*VERBS, *SIDES)}
    assert len(words) == 12


def test_no_command_and_no_join_is_in_two_parts(sample: CommandSample) -> None:
    joins = []
    for part in PARTS:
        texts = [command.text for command in getattr(sample, part)]
        assert len(set(texts)) == len(texts)
        joins.append({join for text in texts for join in _joins(text)})
    for one, other in itertools.combinations(joins, 2):
        assert one
        assert not one & other


def _joins(text: str) -> set[str]:
    words = re.split(r" (and|after) ", text)
    return {" ".join(words[start : start + 3]) for start in range(0, max(1, len(words) - 2), 2)}


def test_every_construction_is_in_every_part(sample: CommandSample) -> None:
    for part in PARTS:
        texts = [command.text for command in getattr(sample, part)]
        for words in ("twice thrice", "thrice twice", "opposite", "around", "and", "after"):
            assert sum(words in text for text in texts) > len(texts) / 40, words
        assert sum(text.count(" and ") == 2 for text in texts) > len(texts) / 40


def test_the_same_seed_writes_the_same_commands(sample: CommandSample) -> None:
    digests = [
        hashlib.sha256(
            "".join(f"{c.text}\t{c.steps}\n" for c in getattr(sample, part)).encode()
        ).hexdigest()[:16]
        for part in PARTS
    ]
    assert digests == ["21ea2dfc4574cc61", "2ffe24ea1e3b88e4", "53bcb55fecdb76a1"]
    assert len({*generate(200, 0, 0, seed=2).train} & {*sample.train[:200]}) < 20


def test_a_longer_part_begins_with_the_shorter_one(sample: CommandSample) -> None:
    short = generate(100, 20, 40)
    for part in PARTS:
        assert getattr(sample, part)[: len(getattr(short, part))] == getattr(short, part)


def test_files_hold_one_command_with_steps_a_line(tmp_path: Path) -> None:
    small = generate(3, 1, 2)
    write(tmp_path / "commands", small)
    content = (tmp_path / "commands" / "train.tsv").read_bytes().decode()
    assert content.split("\n") == [
        "command\tsteps",
        *(f"{command.text}\t{command.steps}" for command in small.train),
        "",
    ]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"file: cannot write the sample to .*another folder"):
        write(tmp_path / "file", small)


def test_the_command_line_writes_the_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sample", "commands", str(tmp_path / "new"), "--n", "32"]) == 0
    assert "new: train.tsv, valid.tsv, test.tsv\n" in capsys.readouterr().out
    n_lines = [
        len((tmp_path / "new" / f"{part}.tsv").read_text(encoding="utf-8").splitlines())
        for part in PARTS
    ]
    assert n_lines == [33, 3, 5]


def test_wrong_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="n_valid must be at least 0, got -1"):
        generate(1, -1, 1)
    monkeypatch.setattr(commands, "VERBS", ("walk",))
    monkeypatch.setattr(commands, "COUNTS", {"twice": 2})
    monkeypatch.setattr(commands, "_MOST_TRIES", 100)
    with pytest.raises(ConfigError, match=r"has only \d+ commands for test, but 900 are requ"):
        generate(0, 0, 900)


# --- beam search


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> unrolled.Predictor:
    """Trained for seconds: it writes steps, though not yet those of the command."""
    folder = tmp_path_factory.mktemp("commands")
    write(folder, generate(n_train=1_000, n_valid=20, n_test=0))
    recipe = unrolled.Recipe(
        data=unrolled.DataConfig(
            train=(str(folder / "train.tsv"),), valid=(str(folder / "valid.tsv"),)
        ),
        text=unrolled.TextConfig(kind="space"),
        model=TranslateConfig(
            cell="gru",
            embedding_size=16,
            encoder_size=16,
            hidden_size=32,
            input_feeding=False,
            dropout_rate=0.0,
            label_smoothing=0.0,
        ),
        training=unrolled.TrainingConfig(
            max_steps=80,
            max_tokens=400,
            learning_rate=0.02,
            warmup_steps=10,
            evaluate_every_n_steps=80,
            valid_sentences=0,
            threads=1,
        ),
    )
    n_threads = torch.get_num_threads()
    for _ in unrolled.fit(recipe, folder / "run"):
        pass
    torch.set_num_threads(n_threads)
    translator = unrolled.load(folder / "run")
    assert isinstance(translator, unrolled.Predictor)
    return translator


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_no_beam_answer_scores_below_greedy(translator: unrolled.Predictor, alpha: float) -> None:
    texts = [command.text for command in generate(0, 60, 0).valid]
    beam = DecodingConfig(beam_size=5, length_penalty=alpha, max_length_extra=50)
    found = translator.predict(texts, beam)
    greedy = translator.predict(texts, replace(beam, method="greedy"))
    for one, other in zip(found, greedy, strict=True):
        assert one.score >= other.score - 1e-3 * (1 + abs(other.score))
