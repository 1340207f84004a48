"""`export_onnx`: what a folder contains, what uses it, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import unrolled
from unrolled import cli
from unrolled.exports import folder as files
from unrolled.exports import gate
from unrolled.exports.gate import run_program

RunOf = Callable[[str], Path]
pytestmark = pytest.mark.usefixtures("one_thread")
STREAMS = ("language_model", "words")
NAMES = (
    *("classify", "several", "pair", "tag"),
    *("language_model", "words", "translate", "copying"),
)
TEXTS = [
    "the red cat sees it .",
    "",
    "a zebra likes the dog",
    "bird",
    "big big old red dog . . it it",
]
INPUTS: dict[str, list[Any]] = {
    "pair": [(text, TEXTS[0]) for text in TEXTS],
    "tag": [*TEXTS, ["the", "red", "cat"]],
}


@pytest.fixture(scope="session")
def exported(
    run_of: RunOf, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Path]]:
    """The folders of a run and of its export, which tests read, and harm only copies of."""
    folder = tmp_path_factory.mktemp("exports")

    def made(name: str, precision: str = "float32") -> tuple[Path, Path]:
        path = folder / f"{name}-{precision}"
        if not path.exists():
            unrolled.export_onnx(run_of(name), path, precision)
        return run_of(name), path

    return made


def answers_of(predictor: Any, inputs: list[Any]) -> list[Any]:
    if predictor.task.name == "language_model":
        return [predictor.generate(text, max_tokens=40, temperature=0) for text in inputs]
    if predictor.task.name == "translate":
        return [each.text for each in predictor.predict(inputs)]
    return [list(each.labels) for each in predictor.predict(inputs)]


@pytest.mark.parametrize("name", NAMES)
def test_the_program_and_load_answer_as_the_run(
    name: str, exported: Callable[..., tuple[Path, Path]]
) -> None:
    run, path = exported(name)
    inputs = INPUTS.get(name, TEXTS)
    expected = answers_of(unrolled.load(run), inputs)
    assert answers_of(unrolled.load(path), inputs) == expected
    answers = run_program(path, inputs)  # asserts that neither torch nor unrolled are imported
    key = "text" if name in (*STREAMS, "translate", "copying") else "labels"
    assert [each[key] for each in answers] == expected


@pytest.mark.parametrize("name", NAMES)
def test_evaluations_of_an_export_and_its_run_are_equal(
    name: str, exported: Callable[..., tuple[Path, Path]]
) -> None:
    run, path = (unrolled.load(each) for each in exported(name))
    rows = run.held_out("valid")
    if name == "classify":
        assert len(path.held_out("valid")) == len(rows)
    first, second = (each.evaluate(rows) for each in (run, path))
    is_text = name in ("translate", "copying")
    scores = [each.total.scores if is_text else each.scores for each in (first, second)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_completions_of_an_export_are_equal(exported: Callable[..., tuple[Path, Path]]) -> None:
    run, path = (unrolled.load(each) for each in exported("language_model"))
    first, second = (each.complete("the re", k=3) for each in (run, path))
    assert [each.text for each in first] == [each.text for each in second]
    assert first


def test_sampling_draws_the_same_tokens(exported: Callable[..., tuple[Path, Path]]) -> None:
    run, path = exported("language_model")
    options = {"temperature": 0.8, "top_k": 7, "top_p": 0.9, "seed": 5, "max_tokens": 30}
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import infer; import json\n"
        "print(json.dumps(infer.Model().generate(sys.argv[2], **json.loads(sys.argv[3]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), "the ", json.dumps(options)],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == unrolled.load(run).generate("the ", **options)


def test_the_program_reads_arguments_and_lines(exported: Callable[..., tuple[Path, Path]]) -> None:
    run, path = exported("pair")
    found = unrolled.load(run).predict([("a cat", "it")])[0]
    line = f"{found.labels[0]}\t{found.probabilities.max():.4f}\n"
    for arguments, given in ((["a cat", "it"], ""), ([], "a cat\tit\n")):
        done = subprocess.run(
            [sys.executable, "infer.py", *arguments],
            cwd=path,
            input=given,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert done.stdout == line


def test_a_folder_is_complete_and_described(exported: Callable[..., tuple[Path, Path]]) -> None:
    run, path = exported("translate")
    names = {each.name for each in path.iterdir() if each.name != "__pycache__"}
    assert names == {
        *("encoder.onnx", "step.onnx", "generate.json", "export.json", "infer.py", "words.py"),
        *(
            "tokenizer-source.json",
            "tokenizer-target.json",
            "recipe.toml",
            "split.json",
            "README.md",
        ),
    }
    record = json.loads((path / "export.json").read_text())
    assert record["run"] == files.run_hash(run)
    for name in ("encoder.onnx", "step.onnx"):
        model = onnx.load(path / name)
        properties = {each.key: each.value for each in model.metadata_props}
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        assert properties["run_sha256"] == record["run"]
        assert float(properties["largest_difference"]) < gate.TOLERANCE
        recurrent = [node for node in model.graph.node if node.op_type == "LSTM"]
        assert not any(any(node.input[4:5]) for node in recurrent)  # sequence_lens
    card = (path / "README.md").read_text()
    assert "python infer.py" in card
    assert "## Quality on the validation part" in card
    assert record["run"] in card


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.75), ("int8", 0.7)])
def test_lower_precision_states_its_cost(
    precision: str, share: float, exported: Callable[..., tuple[Path, Path]]
) -> None:
    _, path = exported("classify")
    _, rounded = exported("classify", precision)
    assert (rounded / "model.onnx").stat().st_size < share * (path / "model.onnx").stat().st_size
    record = json.loads((rounded / "export.json").read_text())
    before, after = record["agreement"]["validation"]["accuracy"]
    assert 0 <= before <= 1
    assert (
        unrolled.load(rounded).evaluate(unrolled.load(path).held_out("valid")).scores["accuracy"]
        == after
    )
    assert f"| accuracy | {before:.4f} | {after:.4f} |" in (rounded / "README.md").read_text()
    with pytest.raises(unrolled.ConfigError, match=f"was exported in {precision}"):
        unrolled.load(rounded, precision="int8")


def test_without_the_data_random_words_are_compared(run_of: RunOf, tmp_path: Path) -> None:
    shutil.copytree(run_of("classify"), tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("classify.tsv", "gone.tsv"))
    agreement = unrolled.export_onnx(tmp_path / "run", tmp_path / "out", "int8")
    assert "the data of the run are not here" in agreement.inputs
    assert agreement.scores == {}
    assert "What that costs is not known" in (tmp_path / "out" / "README.md").read_text()


# What is refused


def refused(
    run: Path, folder: Path, match: str, error: type = unrolled.UnrolledError, **options: Any
) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(error, match=match):
        unrolled.export_onnx(run, folder, **options)
    assert sorted(folder.parent.rglob("*")) == before


def test_a_damaged_run_is_refused(run_of: RunOf, tmp_path: Path) -> None:
    shutil.copytree(run_of("classify"), tmp_path / "run")
    weights = tmp_path / "run" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    refused(tmp_path / "run", tmp_path / "out", "model.safetensors", unrolled.RunError)
    refused(tmp_path / "none", tmp_path / "out", "no such run folder", unrolled.RunError)


def test_folders_in_the_way_are_refused(run_of: RunOf, tmp_path: Path) -> None:
    run, out = run_of("classify"), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    refused(run, out, "is not an export, so it is not replaced")
    refused(run, out, "is not an export, so it is not replaced", force=True)
    refused(run, run, "is not an export, so it is not replaced", force=True)
    partial = tmp_path / ".new.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    refused(run, tmp_path / "new", "in the way and was not written by Unrolled")
    (tmp_path / "file").write_text("mine")
    refused(run, tmp_path / "file", "is not an export")


def test_an_export_is_replaced_only_by_force(
    exported: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    run, path = exported("classify")
    out = tmp_path / "out"
    shutil.copytree(path, out)
    refused(run, out, r"already holds an export; replace it \(--force\)")
    unrolled.export_onnx(run, out, "float16", force=True)
    assert json.loads((out / "export.json").read_text())["precision"] == "float16"
    (out / "thesis.txt").write_text("mine")
    refused(run, out, "thesis.txt does not belong to the export", force=True)
    refused(out, tmp_path / "other", "is an export already")


def test_a_refusal_leaves_the_earlier_export(
    exported: Callable[..., tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = exported("classify")
    shutil.copytree(path, tmp_path / "out")
    monkeypatch.setattr(gate, "TOLERANCE", 1e-12)
    refused(run, tmp_path / "out", "nothing was written", force=True)
    assert files.checksums(tmp_path / "out") == files.checksums(path)


def test_a_killed_export_leaves_nothing_that_counts(run_of: RunOf, tmp_path: Path) -> None:
    run, out = run_of("classify"), tmp_path / "out"
    program = (
        "import sys, time, unrolled.exports.export as e, unrolled\n"
        "e.compare_answers = lambda *given: (print('there', flush=True), time.sleep(60))\n"
        "unrolled.export_onnx(sys.argv[1], sys.argv[2])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(run), str(out)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert not out.exists()
    assert (tmp_path / ".out.partial").exists()
    unrolled.export_onnx(run, out)
    assert [each.name for each in tmp_path.iterdir() if each.suffix != ".lock"] == ["out"]


def test_own_tasks_are_refused_with_the_reason(run_of: RunOf, tmp_path: Path) -> None:
    from dataclasses import replace

    shutil.copytree(run_of("classify"), tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace('task = "classify"', 'task = "mood"'))
    refused(tmp_path / "run", tmp_path / "out", "own task 'mood', and an ONNX export has a graph")
    own = replace(unrolled.TASKS["classify"], name="mood")
    refused(tmp_path / "run", tmp_path / "out", "own task 'mood'", task=own)


def test_missing_packages_are_named(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(
        run_of("classify"),
        tmp_path / "out",
        r"needs onnxruntime; run pip install 'unrolled\[onnx\]'",
        unrolled.UnavailableError,
    )


@pytest.mark.parametrize(
    "name", ["model.onnx", "generate.json", "labels.json", "tokenizer-text.json"]
)
def test_damaged_exports_are_refused(
    name: str, exported: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    shutil.copytree(exported("classify")[1], tmp_path / "out")
    file = tmp_path / "out" / name
    content = file.read_bytes()
    file.write_bytes(content[:-3])
    with pytest.raises(unrolled.RunError, match=rf"{name}.*checksum"):
        unrolled.load(tmp_path / "out")
    file.unlink()
    with pytest.raises(unrolled.RunError, match=f"{name}.*missing"):
        unrolled.load(tmp_path / "out")


def test_graphs_above_two_gigabytes_are_refused(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.exports.graph.MOST_BYTES", 1000)
    refused(run_of("classify"), tmp_path / "out", "larger than 2 GB", unrolled.ConfigError)


def test_sampling_is_refused_by_name(run_of: RunOf, tmp_path: Path) -> None:
    shutil.copytree(run_of("translate"), tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace('method = "beam"', 'method = "sample"'))
    refused(tmp_path / "run", tmp_path / "out", "decoding.method is 'sample'", unrolled.ConfigError)


def test_the_command_reports_what_it_wrote(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(run_of("classify")), str(tmp_path / "out")
    assert cli.main(["export", run, "--onnx", out, "--precision", "int8"]) == 0
    printed = capsys.readouterr()
    assert f"wrote {out}" in printed.err
    assert re.search(
        r"largest difference of a score \d\.\de-0\d, \d+ answers compared", printed.out
    )
    assert re.search(r"^accuracy: [01]\.\d{4} in float32, [01]\.\d{4} in int8$", printed.out, re.M)
    assert cli.main(["export", run, "--onnx", out]) == 2
    assert "already holds an export; replace it (--force)" in capsys.readouterr().err


def test_what_an_export_lacks_is_refused_in_words(
    exported: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(exported("classify")[1])
    assert cli.main(["predict", path, "a cat", "--words", "gradients"]) == 2
    assert "an export only has the attention weights of words" in capsys.readouterr().err
    assert cli.main(["predict", path, "a cat", "--words", "attention"]) == 0
    assert cli.main(["evaluate", path, "--split", "valid"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert cli.main(["inspect", path, "a cat"]) == 2
    assert "is an export, which has no gradients" in capsys.readouterr().err
    assert cli.main(["evaluate", str(exported("language_model")[1]), "--cache", "9"]) == 2
    assert "a continuous cache compares hidden states" in capsys.readouterr().err
    with pytest.raises(unrolled.ConfigError, match="an export has no gradients"):
        unrolled.inspect_run(unrolled.load(path), "a cat")
