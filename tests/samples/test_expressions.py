"""Descriptions of computations and Python expressions: verified, split by shape, the same everywhere."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from random import Random

import pytest

from unrolled import cli
from unrolled.errors import ConfigError
from unrolled.samples.expression_grammar import NAME, Draw
from unrolled.samples.expressions import PARTS, generate, part_of, verify, write


def test_no_text_and_no_shape_is_in_two_parts() -> None:
    sample = generate(400, 100, 100)
    shapes = [{each.shape for each in getattr(sample, part)} for part in PARTS]
    texts = [each.text for part in PARTS for each in getattr(sample, part)]
    assert len(texts) == len(set(texts)) == 600
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert shapes[one]
        assert not shapes[one] & shapes[other]
    for part, found in zip(PARTS, shapes, strict=True):
        assert {part_of(shape) for shape in found} == {part}


def test_code_is_one_expression_whose_names_are_in_the_text() -> None:
    for each in generate(200, 0, 0).train:
        ast.parse(each.code, mode="eval")
        (name,) = set(NAME.findall(each.code))
        assert f"`{name}`" in each.text


def test_shapes_have_neither_names_nor_values() -> None:
    one, other = "[x ** 2 for x in N if x > n]", "max(T, key=len)"
    shapes = {each.shape for each in generate(2_000, 0, 0).train}
    assert {one, other} & shapes
    assert not any(NAME.search(shape) for shape in shapes)


def test_code_that_does_something_else_is_found() -> None:
    draw = Draw(Random(1))
    verify("sum(ages)", lambda v: sum(v["ages"]), draw)
    verify("ages[9]", lambda v: v["ages"][9], draw)  # both fail
    with pytest.raises(RuntimeError, match=r"sum\(ages\) is"):
        verify("sum(ages)", lambda v: max(v["ages"]), draw)


def test_the_sample_is_the_same_on_every_machine(tmp_path: Path) -> None:
    write(tmp_path, generate(50, 10, 10))
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update((tmp_path / f"{part}.tsv").read_bytes())
    assert digest.hexdigest()[:16] == "956ad4a626a2ec39"


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    assert generate(60, 0, 0).train[:30] == generate(30, 0, 0).train
    assert generate(30, 0, 0, seed=2).train != generate(30, 0, 0).train


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_valid must be at least 0, got -1"):
        generate(0, -1, 0)


def test_the_command_writes_both_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "commands"
    assert cli.main(["sample", "commands", str(folder), "--n", "64"]) == 0
    assert "python: train.tsv, valid.tsv, test.tsv" in capsys.readouterr().out
    assert (folder / "train.tsv").read_text(encoding="utf-8").startswith("command\tsteps\n")
    lines = (folder / "python" / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "description\tcode"
    assert len(lines) == 33
