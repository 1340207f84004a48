"""Untrusted run folders are refused with one message, before anything is built."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from targets import write_data, write_run

import unrolled
from unrolled import tensor_files
from unrolled.errors import ConfigError, DataError, RunError, UnrolledError
from unrolled.tasks import TASKS
from unrolled.training.loop import fit
from unrolled.training.recipe import recipe_from_toml
from unrolled.training.split_file import SplitRecord, check_contents, contents_of
from unrolled.training.weights import check_shapes

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each task, a step long, and their data."""
    folder = tmp_path_factory.mktemp("runs")
    write_data(folder / "data")
    for task in TASKS:
        write_run(folder / task, folder / "data", task)
    return folder


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a run that a test may damage."""

    def copy(task: str) -> Path:
        return Path(shutil.copytree(runs / task, tmp_path / task))

    return copy


def set_in(run: Path, name: str, value: str) -> None:
    """Another value in `config.toml`."""
    path = run / "config.toml"
    old = rf"(?ms)^{name} = (\[\n.*?\n\]|[^\n]*)$"
    text, n = re.subn(old, lambda _: f"{name} = {value}", path.read_text(encoding="utf-8"))
    assert n, name
    path.write_text(text, encoding="utf-8")


def refusal(run: Path) -> str:
    with pytest.raises(UnrolledError) as caught:
        unrolled.load(run)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "name", "value", "message"),
    [
        (
            "language_model",
            "n_layers",
            "1000000000",
            "model.n_layers must be at most 64, got 10000",
        ),
        (
            "language_model",
            "n_layers",
            "64",
            "it belongs to another model than that of config.toml",
        ),
        ("language_model", "hidden_size", "100000", "model.hidden_size must be at most 65,536"),
        (
            "language_model",
            "hidden_size",
            "65536",
            "it belongs to another model than that of config.toml",
        ),
        (
            "translate",
            "decoder_layers",
            "64",
            "it belongs to another model than that of config.toml",
        ),
        (
            "translate",
            "encoder_size",
            "65535",
            "it belongs to another model than that of config.toml",
        ),
        ("translate", "beam_size", "1000000", "decoding.beam_size must be at most 1,000"),
        ("translate", "max_length_ratio", "1e300", "decoding.max_length_ratio must be at most 100"),
        ("translate", "max_length_extra", "9" * 400, "expected a whole number of at most 63 bits"),
        (
            "classify",
            "embedding_size",
            "65536",
            "it belongs to another model than that of config.toml",
        ),
        ("classify", "dropout_rate", "9" * 400, "model.dropout_rate: expected a number"),
        (
            "pair",
            "projection_size",
            "65536",
            "it belongs to another model than that of config.toml",
        ),
        ("tag", "char_size", "65536", "it belongs to another model than that of config.toml"),
        ("tag", "n_layers", "64", "it belongs to another model than that of config.toml"),
        ("tag", "task", "[]", "is a run of the task (without a name)"),
        ("tag", "task", "{a = 1}", "is a run of the task (without a name)"),
        ("tag", "threads", "[" * 600 + "]" * 600, "not valid TOML (nested too deeply)"),
        ("tag", "train", r'["\u0000"]', "data.train, item 1: expected text without NUL characters"),
    ],
)
def test_settings_beyond_the_weights_are_refused(
    copied: Callable[[str], Path], task: str, name: str, value: str, message: str
) -> None:
    run = copied(task)
    set_in(run, name, value)
    assert message in refusal(run)


def test_nothing_is_built_before_the_weights_are_compared(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied("classify")
    set_in(run, "hidden_size", "6")
    devices = []
    before = TASKS["classify"]

    def build(config: Any, tokenizers: Any) -> Any:
        devices.append(torch.empty(0).device.type)
        return before.build(config, tokenizers)

    monkeypatch.setitem(TASKS, "classify", replace(before, build=build))
    refusal(run)
    assert devices == ["meta"]


@pytest.mark.parametrize("how", ["resume", "from"])
def test_training_resumes_only_with_fitting_weights(
    copied: Callable[[str], Path], tmp_path: Path, how: str
) -> None:
    run = copied("classify")
    set_in(run, "hidden_size", "65536")
    recipe = recipe_from_toml(run / "config.toml", TASKS, [("training.max_steps", "2")])
    out, source = (run, None) if how == "resume" else (tmp_path / "new", run)
    with pytest.raises(RunError, match=r"it belongs to another model than that of config\.toml"):
        list(fit(recipe, out, resume=how == "resume", start_from=source))


def test_custom_tasks_that_need_values_to_be_built_are_loaded(
    copied: Callable[[str], Path],
) -> None:
    run = copied("classify")
    before = TASKS["classify"]

    def build(config: Any, tokenizers: Any) -> Any:
        assert torch.ones(1).item() == 1
        return before.build(config, tokenizers)

    assert unrolled.load(run, task=replace(before, build=build))("the tea was good")


def test_models_of_every_task_are_loaded(runs: Path) -> None:
    for task in TASKS:
        assert unrolled.load(runs / task).recipe.task == task


def test_an_extra_or_missing_weight_is_named(runs: Path) -> None:
    path = runs / "tag" / "model.safetensors"
    shapes = tensor_files.read_header(path).shapes
    with pytest.raises(RunError, match="has no weight 'a'; it belongs to another model"):
        check_shapes({**shapes, "a": (1,)}, shapes, path)
    with pytest.raises(RunError, match="has a weight unknown to the model, 'a'; it belongs to"):
        check_shapes(shapes, {**shapes, "a": (1,)}, path)


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize(
    "name", ["config.toml", "model.safetensors", "tokenizer-text.json", "labels.json"]
)
def test_only_regular_files_are_read(copied: Callable[[str], Path], name: str, kind: str) -> None:
    run = copied("tag")
    (run / name).unlink()
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "device":
        (run / name).symlink_to("/dev/zero")
    else:
        (run / name).mkdir()
    assert f"it is a {kind}, not a" in refusal(run)


def with_checksums(run: Path) -> Path:
    """As training writes it."""
    path = run / "split.json"
    names = [each.name for each in run.glob("tokenizer-*.json")] + ["labels.json"]
    record = json.loads(path.read_text(encoding="utf-8")) | {"contents": contents_of(run, names)}
    path.write_text(json.dumps(record), encoding="utf-8")
    return run


def test_an_edited_tokenizer_or_label_is_detected(copied: Callable[[str], Path]) -> None:
    run = with_checksums(copied("tag"))
    check_contents(run)
    for name in ("tokenizer-text.json", "labels.json"):
        path = run / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\n", b" \n", 1))
        assert f"{path}: its checksum differs from the one in split.json" in refusal(run)
        path.unlink()
        assert f"{path}: missing; restore it from a copy" in refusal(run)
        path.write_bytes(content)
    unrolled.load(run)


def test_a_new_run_has_checksums_of_its_files(runs: Path, tmp_path: Path) -> None:
    recipe = recipe_from_toml(runs / "classify" / "config.toml", TASKS)
    list(fit(recipe, tmp_path / "run"))
    contents = SplitRecord.load(tmp_path / "run").contents
    assert contents == contents_of(tmp_path / "run", ["tokenizer-text.json", "labels.json"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda record: "[" * 5000, "nested too deeply"),
        (lambda record: [], "unexpected content"),
        (lambda record: {}, "unexpected content"),
        (lambda record: record | {"files": 5}, "unexpected content"),
        (lambda record: record | {"files": [{"part": "train", "path": "a"}]}, "unexpected content"),
        (
            lambda record: record | {"files": [record["files"][0] | {"sha256": []}]},
            "unexpected content",
        ),
        (lambda record: record | {"begins_with": [1]}, "unexpected content"),
        (lambda record: record | {"contents": {"a": 1}}, "unexpected content"),
        (
            lambda record: '{"begins_with": ["\\ud800"], "files": []}',
            "an escape is a lone surrogate",
        ),
    ],
)
def test_a_damaged_split_gets_one_message(
    copied: Callable[[str], Path], change: Callable[[Any], Any], problem: str
) -> None:
    run = copied("classify")
    path = run / "split.json"
    new = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(new if isinstance(new, str) else json.dumps(new), encoding="utf-8")
    with pytest.raises(RunError, match=r"split\.json: unreadable \(.*restore the file") as caught:
        SplitRecord.load(run)
    assert problem in str(caught.value)
    assert problem in refusal(run)


# The data that an evaluation reads


@pytest.mark.parametrize("task", ["translate", "language_model", "classify"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_files_that_were_not_trained_on_are_not_read(
    copied: Callable[[str], Path], tmp_path: Path, task: str, part: str
) -> None:
    run, secret = copied(task), tmp_path / "secret.tsv"
    secret.write_text("text\tlabel\n" + "password\tneg\n" * 99, encoding="utf-8")
    set_in(run, part, json.dumps([str(secret)]))
    with pytest.raises(RunError, match=r"secret\.tsv is not a file that .* was trained on, or its"):
        unrolled.load(run).held_out("valid")


@posix
@pytest.mark.parametrize("task", ["language_model", "classify"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_an_evaluation_opens_no_pipe(
    copied: Callable[[str], Path], tmp_path: Path, task: str, part: str
) -> None:
    run, pipe = copied(task), tmp_path / "pipe"
    os.mkfifo(pipe)
    set_in(run, part, json.dumps([str(pipe)]))
    with pytest.raises(DataError, match="it is a pipe, not a regular file"):
        unrolled.load(run).held_out("valid")


def test_an_untrusted_folder_of_text_is_not_read(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    run, folder = copied("language_model"), tmp_path / "disk"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(f"other text {n} " * 99, encoding="utf-8")
    set_in(run, "train", json.dumps([str(folder)]))
    with pytest.raises(RunError, match="is not a file that"):
        unrolled.load(run).held_out("valid")


def test_a_changed_held_out_file_is_refused(runs: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    shutil.copy(runs / "data" / "classify.tsv", own)
    recipe = recipe_from_toml(
        runs / "classify" / "config.toml",
        TASKS,
        [("data.valid", str(own)), ("data.test", str(own))],
    )
    list(fit(recipe, tmp_path / "run"))
    model = unrolled.load(tmp_path / "run")
    assert len(model.held_out("test")) == 60
    own.write_text(own.read_text(encoding="utf-8") + "more tea\tpos\n", encoding="utf-8")
    with pytest.raises(
        RunError, match=r"own\.tsv is not .*; give the same files, or score other fil"
    ):
        model.held_out("test")
    assert len(model.read([str(own)])) == 61


# Headers of tensors


def header_with(path: Path, change: Callable[[dict[str, Any]], None], cut: int = 0) -> str:
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int64)}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :][: cut or None])
    with pytest.raises(RunError) as caught:
        tensor_files.read_header(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda header: header["a"].update(shape=[2, 2**62]),
            "type, shape or position of a tensor is invalid",
        ),
        (
            lambda header: header["a"].update(shape=[-2, -3]),
            "type, shape or position of a tensor is invalid",
        ),
        (
            lambda header: header["a"].update(shape=[True, 6]),
            "type, shape or position of a tensor is invalid",
        ),
        (
            lambda header: header["a"].update(shape="ab"),
            "type, shape or position of a tensor is invalid",
        ),
        (
            lambda header: header["a"].update(dtype=[]),
            "type, shape or position of a tensor is invalid",
        ),
        (lambda header: header["a"].pop("shape"), "type, shape or position of a tensor is invalid"),
        (
            lambda header: header["a"].update(data_offsets=[0]),
            "type, shape or position of a tensor is invalid",
        ),
        (lambda header: header.update(a=5), "type, shape or position of a tensor is invalid"),
        (lambda header: header.pop("b"), "its tensors overlap or have gaps between them"),
        (lambda header: header.update(__metadata__=5), "its metadata are not strings"),
        (
            lambda header: header.update(__metadata__={"sha256": {}}),
            "its metadata are not strings",
        ),
    ],
)
def test_a_damaged_header_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    assert problem in header_with(tmp_path / "x.safetensors", change)


def test_a_file_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert "cut short or overwritten" in header_with(path, lambda header: None, cut=9)
    for content in (b"", b"\0" * 7, (2**63).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(RunError, match="cut short or overwritten, or not a safetensors file"):
            tensor_files.read_header(path)


def test_the_checksum_is_that_of_the_weights(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copy(runs / "tag" / "model.safetensors", path)
    header = tensor_files.read_header(path)
    assert tensor_files.is_whole(path, header)
    assert header.shapes == {name: each.shape for name, each in load_file(path).items()}
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    assert not tensor_files.is_whole(path, header)


def test_a_model_of_too_many_tags_is_refused(copied: Callable[[str], Path]) -> None:
    run = copied("tag")
    path = run / "labels.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["labels"] = [*(f"{letter}-{n}" for letter in "BI" for n in range(2000)), "O"]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"at most 2,048 tags, found 4,001; set model\.transitions"
    ):
        unrolled.load(run)
