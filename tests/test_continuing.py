"""Generation and completion without torch, compared with those of the same runs in torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import unrolled
from unrolled import cli
from unrolled.decoding.steps import KernelSteps
from unrolled.decoding.text_session import TextSession
from unrolled.kernels import kernels
from unrolled.predictors import continuing
from unrolled.predictors.without_torch import MODEL_FILE
from unrolled.tasks import TASKS
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.tokenizer import Tokenizer
from unrolled.training import checkpoint
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import file_of, write_recipe
from unrolled.training.split_file import contents_of

pytestmark = pytest.mark.usefixtures("one_thread")
needs_kernels = pytest.mark.skipif(kernels is None, reason="there are no kernels")
OLD = Path(__file__).parent / "old_files"
TEXT = "the cat isn't here; don't sit on the red chair, Ann said to a dog (10:40)\nin Él 25 años."
RUNS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("char", {"cell": "gru", "embedding": "one_hot", "n_layers": 2}, {"documents": "line"}),
    ("char", {"cell": "rnn"}, {"documents": "separator", "separator": "***"}),
    ("word", {"cell": "lstm", "n_layers": 2, "tied": True}, {"restart": True}),
    ("word", {"head": "sampled", "n_samples": 9, "cell": "rnn_relu"}, {"documents": "paragraph"}),
    ("bpe", {"cell": "lstm"}, {}),
    ("code", {"cell": "gru"}, {}),
]


def written(folder: Path, kind: str, model: dict[str, Any], data: dict[str, Any]) -> Path:
    """A run folder of a language model with random weights."""
    language = "python" if kind == "code" else "none"
    text = TextConfig(kind=kind, vocab_size=300, language=language)  # type: ignore[arg-type]
    tokenizer = Tokenizer.train([TEXT], text, running=True)
    config = TASKS["language_model"].Config(embedding_size=7, hidden_size=11, **model)
    built = TASKS["language_model"].build(config, {"text": tokenizer})
    draws = torch.Generator().manual_seed(5)
    for weight in checkpoint.weights_of(built).values():
        scale = 0.3 if weight.dim() < 2 else 2 * weight.shape[-1] ** -0.5
        weight.copy_(torch.randn(weight.shape, generator=draws) * scale)
    folder.mkdir()
    stream = StreamConfig(train=("text.txt",), **data)
    recipe = Recipe(task="language_model", model=config, text=text, data=stream)
    write_recipe(folder, recipe)
    tokenizer.save(folder / file_of("text"))
    checkpoint.save_whole(folder / MODEL_FILE, checkpoint.weights_of(built))
    contents = contents_of(folder, [file_of("text")])
    (folder / "split.json").write_text(json.dumps({"files": [], "contents": contents}))
    return folder


def answers(session: TextSession) -> list[object]:
    """What a session generates, completes and expects in several states."""
    said: list[object] = []
    for piece in ("", "the c", "at is", "n't\n", "25 "):
        session.feed(piece)
        for seed, way in enumerate(({}, {"temperature": 0}, {"top_k": 7, "top_p": 0.8})):
            said.append("".join(session.generate(30, seed=seed, **way)))  # type: ignore[arg-type]
        for found in session.complete(3):
            said += [found.text, found.typed, pytest.approx(found.probability, abs=1e-5)]
    for token in session.surprise(TEXT):
        said += [token.piece, token.written, pytest.approx(token.bits, abs=1e-3)]
    return said


@needs_kernels
@pytest.mark.parametrize(("kind", "model", "data"), RUNS, ids=str)
def test_texts_are_those_of_torch(
    tmp_path: Path, kind: str, model: dict[str, Any], data: dict[str, Any]
) -> None:
    folder = written(tmp_path / "run", kind, model, data)
    for precision in ("float32", "int8") if kind == "word" else ("float32",):
        found = continuing._opened(folder, precision)
        assert isinstance(found._steps, KernelSteps)
        right = unrolled.load_language_model(folder, precision=precision).continuation()
        assert answers(found) == answers(right)


COMMANDS = [
    ["generate", "words", "--prompt", "zzz the", "--n", "2", "--max-tokens", "30"],
    ["generate", "characters", "--temperature", "0", "--max-tokens", "40"],
    ["generate", "characters", "--precision", "int8", "--stop", "e"],
    ["generate", "characters", "--top-p", "2"],
    ["generate", "topics"],
    ["generate", "nothing"],
    ["complete", "words", "zzz th"],
    ["complete", "characters", "th", "--k", "3"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_prints_the_same(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run, *options = command
    found = []
    for is_quick in (True, False):
        if not is_quick:
            monkeypatch.setattr(continuing, "opened", lambda folder, precision: None)
        code = cli.main([name, str(OLD / run / "run"), *options])
        found.append((code, *capsys.readouterr()))
    assert found[0] == found[1]


@needs_kernels
def test_what_is_not_known_is_left_to_torch(tmp_path: Path) -> None:
    known = written(tmp_path / "known", "word", {"cell": "gru"}, {})
    assert continuing.opened(known) is not None
    config = (known / "config.toml").read_text()
    for old, new in (
        ('cell = "gru"', 'cell = "own"'),
        ("hidden_size = 11", "hidden_size = 12"),
        ('direction = "forward"', 'direction = "backward"'),
        ('head = "full"', 'head = "own"'),
        ("[model]", "[model]\nnew_setting = 3"),
        ("[data]", "[data]\nunused = 3\n[other]"),
    ):
        other = tmp_path / "".join(filter(str.isalnum, new))
        shutil.copytree(known, other)
        assert old in config
        (other / "config.toml").write_text(config.replace(old, new))
        assert continuing.opened(other) is None, new
    weights = (known / MODEL_FILE).read_bytes()
    (known / MODEL_FILE).write_bytes(weights[:-4] + b"????")
    assert continuing.opened(known) is None


def test_torch_is_not_imported() -> None:
    run = str(OLD / "characters" / "run")
    commands = [["generate", run, "--max-tokens", "9"], ["complete", run, "the c"]]
    program = (
        "import sys; from unrolled import cli\n"
        f"codes = [cli.main(command) for command in {commands!r}]\n"
        "print(codes, 'torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == f"[0, 0] {kernels is None}"
