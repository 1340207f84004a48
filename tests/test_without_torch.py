"""Answers without torch compared with those of the models of the same runs in torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from unrolled import cli
from unrolled.baselines.counting import Counting
from unrolled.baselines.ngram_scores import NgramScores
from unrolled.decoding.config import DecodingConfig
from unrolled.kernels import kernels
from unrolled.predictors import without_torch
from unrolled.tasks import TASKS
from unrolled.tasks.roles import CHARACTERS, LABELS, NGRAMS
from unrolled.tasks.tagged import TagData
from unrolled.text.config import TextConfig
from unrolled.text.labels import Labels
from unrolled.text.splits import DataConfig, LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.training import checkpoint
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import file_of, write_recipe
from unrolled.training.split_file import contents_of

needs_kernels = pytest.mark.skipif(kernels is None, reason="there are no kernels")
OLD = Path(__file__).parent / "old_files"
TEXT = "The old Cat isn't here; don't sit on the red chair, Ann said to a dog (10:40)."
TEXTS = ("The old cat sat here", "unheard-of zebras, Ann", "zzz qqq", "a", f"{TEXT} {TEXT}")
PAIRS = (("The old cat", "a dog here"), ("here", ""), ("", "the red chair"), ("zzz", "qqq"))
CELLS = ("rnn", "rnn_relu", "gru", "lstm")
WORDS = Tokenizer.train([TEXT] * 2, TextConfig(kind="word", lowercase=True))
LETTERS = Tokenizer.train([TEXT], TextConfig(kind="char"))


def written(
    folder: Path, task: str, model: dict[str, Any], tokenizers: Any, **sections: Any
) -> Path:
    """A run folder with random weights, and what differs from the defaults."""
    config = TASKS[task].Config(**model)
    built = TASKS[task].build(config, tokenizers)
    draw = torch.Generator().manual_seed(5)
    for name, weight in checkpoint.weights_of(built).items():
        if weight.dtype is torch.float32:
            scale = 1.0 if weight.dim() < 2 else weight.shape[-1] ** -0.5
            scale *= 3 if name.startswith("head") else 1  # no answer depends on rounding
            weight.copy_(torch.randn(weight.shape, generator=draw) * scale)
        elif name == "head.thresholds":
            weight.fill_(0.45)
        elif name == "head.share":
            weight.fill_(0.4)
    if task in ("classify", "pair"):
        built.embedding.weight.data[7] = 0  # a word that training has not seen
    folder.mkdir()
    text = TextConfig(kind="word", lowercase=True)
    write_recipe(folder, Recipe(task=task, model=config, text=text, **sections))
    for role, words in tokenizers.items():
        words.save(folder / file_of(role))
    checkpoint.save_whole(folder / without_torch.MODEL_FILE, checkpoint.weights_of(built))
    names = map(file_of, tokenizers)
    record = {"files": [], "longest_target": 9, "contents": contents_of(folder, names)}
    (folder / "split.json").write_text(json.dumps(record))
    return folder


def labels(task: str, folder: Path, several: bool = False, **model: Any) -> Path:
    """A run of `classify` or `pair`."""
    names = Labels.of(["bad, or\tworse", "good", "so é"], multi_label=several)
    tokenizers: dict[str, Any] = {"text": WORDS, LABELS: replace(names, shares=(0.2, 0.5, 0.3))}
    if model.get("characters", "none") != "none":
        tokenizers[CHARACTERS] = LETTERS
    if model.get("ngrams"):
        tokenizers[NGRAMS] = counts(1 if task == "classify" else 2, len(names), model)
    data = LabelData(max_length=11, keep="both", label_separator="|" if several else "")
    sizes = {"embedding_size": 5, "hidden_size": 7, "char_size": 3, "char_filters": 4}
    return written(folder, task, sizes | model, tokenizers, data=data)


def counts(n_texts: int, n_labels: int, model: dict[str, Any]) -> NgramScores:
    """Scores of n-grams with random weights."""
    rows = [TEXT.casefold().split(), ["the", "old", "cat", "sat", "here", ",", "a", "dog"]]
    counting = Counting.learn(
        [[row] * n_texts for row in [*rows, PAIRS[0][0].casefold().split()] * 2],
        model["ngrams"],
        model.get("ngram_characters", 0),
        model.get("ngrams_by_first", False),
    )
    draw = np.random.default_rng(3)
    weights = draw.normal(size=(n_labels, len(counting)))
    return NgramScores(counting, weights, draw.normal(size=n_labels), 1.0)


def tags(folder: Path, scheme: str = "bio", **model: Any) -> Path:
    """A run of `tag`."""
    names = {
        "": ["DET", "N", "V"],
        "bioes": ["B-X", "E-X", "I-X", "O", "S-X"],
    }.get(scheme, ["B-X", "B-Y", "I-X", "I-Y", "O"])
    tokenizers = {
        "text": Tokenizer.of_tokens(TEXT.split(), TextConfig(kind="word", lowercase=True)),
        CHARACTERS: LETTERS,
        LABELS: replace(Labels.of(names), scheme=scheme),
    }
    sizes = {"embedding_size": 5, "hidden_size": 7, "char_size": 3, "char_filters": 4}
    return written(folder, "tag", sizes | model, tokenizers, data=TagData(max_length=6))


def translations(folder: Path, **model: Any) -> Path:
    """A run of `translate`."""
    sizes = {"embedding_size": 6, "encoder_size": 7, "hidden_size": 14}
    tokenizers = {"source": WORDS, "target": WORDS}
    return written(folder, "translate", sizes | model, tokenizers, data=DataConfig())


def never() -> Any:
    raise AssertionError("loaded with torch")


def check_labels(folder: Path, inputs: Sequence[Any]) -> None:
    """Compare the predictions for inputs."""
    found = without_torch._opened(folder, never)
    mine, right = found.predict(inputs), unrolled.load(folder).predict(inputs)
    for one, other in zip(mine, right, strict=True):
        same = ("labels", "pieces", "words", "names", "n_truncated")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
        assert one.probabilities.shape == other.probabilities.shape
        assert one.probabilities.dtype == other.probabilities.dtype
        assert np.abs(one.probabilities - other.probabilities).max(initial=0) < 3e-6


LANGUAGE_MODELS = {
    "pretrained": ("forward", "backward"),
    "pretrained_sizes": (9, 6),
    "embedding_size": 10,
}
CLASSIFIERS = [
    *({"cell": cell, "n_layers": 2} for cell in CELLS),
    *({"pooling": kind} for kind in ("final", "mean", "attentive", "concat")),
    *({"characters": kind, "cell": "gru"} for kind in ("recurrent", "convolution")),
    {"characters": "convolution", "char_window": 4, "bidirectional": False, "pooling": "final"},
    {"several": True},
    *({"ngrams": n, "several": n == 2} for n in (1, 2, 3)),
    {"ngrams": 2, "characters": "recurrent"},
    {"ngrams": 1, "ngram_characters": 4},
    *({**LANGUAGE_MODELS, "cell": cell, "pooling": "concat"} for cell in CELLS),
    {**LANGUAGE_MODELS, "pooling": "final", "characters": "recurrent", "ngrams": 1},
    {**LANGUAGE_MODELS, "pretrained": ("forward",), "pooling": "attentive"},
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
def test_classifiers_answer_as_in_torch(tmp_path: Path, model: dict[str, Any]) -> None:
    check_labels(labels("classify", tmp_path / "run", **model), TEXTS)


ENCODERS = (
    *("first_only", "second_only", "concatenated", "independent", "conditional", "attention"),
    *("word_by_word", "bidirectional_conditional", "aligned"),
)
PAIRS_OF_SETTINGS = [
    *({"encoder": encoder, "cell": "gru"} for encoder in ENCODERS),
    *({"encoder": encoder, "learned_start": True} for encoder in ENCODERS[2:5]),
    *(
        {
            "encoder": encoder,
            "condition": "second",
            "features": ("overlap", "product", "difference"),
        }
        for encoder in ENCODERS[3:]
    ),
    {"encoder": "independent", "bidirectional": True, "head": "linear", "projection_size": 4},
    {"encoder": "concatenated", "features": ("overlap",), "head": "literal", "several": True},
    {"encoder": "bidirectional_conditional", "target": "one_way", "characters": "recurrent"},
    *({"encoder": encoder, "ngrams": 2} for encoder in ("second_only", "aligned")),
    {"encoder": "conditional", "ngrams": 2, "ngram_characters": 3, "ngrams_by_first": True},
    {**LANGUAGE_MODELS, "encoder": "aligned", "features": ("overlap",), "projection_size": 4},
    {**LANGUAGE_MODELS, "encoder": "conditional", "characters": "convolution", "cell": "gru"},
]


@pytest.mark.parametrize("model", PAIRS_OF_SETTINGS, ids=str)
def test_pairs_are_classified_as_in_torch(tmp_path: Path, model: dict[str, Any]) -> None:
    check_labels(labels("pair", tmp_path / "run", **model), PAIRS)


TAGGERS = [
    *({"scheme": scheme} for scheme in ("bio", "iob1", "bioes", "")),
    *({"cell": cell, "head": "softmax", "n_layers": 2} for cell in CELLS),
    {"transitions": "free", "characters": "convolution", "bidirectional": False},
    {"characters": "none"},
    LANGUAGE_MODELS,
    {**LANGUAGE_MODELS, "characters": "none", "pretrained": ("forward",), "cell": "gru"},
]


@pytest.mark.parametrize("model", TAGGERS, ids=str)
def test_tags_are_those_of_torch(tmp_path: Path, model: dict[str, Any]) -> None:
    check_labels(tags(tmp_path / "run", **model), [*TEXTS, ["two words", "x"]])


TRANSLATORS = [
    *({"cell": cell, "decoder_layers": 2} for cell in CELLS),
    *({"attention": score, "encoder_layers": 2} for score in ("none", "dot", "general")),
    *({"tied_embeddings": tied, "bidirectional": False} for tied in ("target", "all")),
    {"input_feeding": False, "attention": "none", "tied_embeddings": "target"},
]
SEARCHES = [
    DecodingConfig(beam_size=4, n_best=3),
    DecodingConfig(method="greedy", max_length_ratio=1.3, max_length_extra=1, max_input_length=4),
]


@needs_kernels
@pytest.mark.parametrize("model", TRANSLATORS, ids=str)
def test_translations_are_those_of_torch(tmp_path: Path, model: dict[str, Any]) -> None:
    folder = translations(tmp_path / "run", **model)
    found, torchs = without_torch._opened(folder, never), unrolled.load(folder)
    for decoding, text in product(SEARCHES, (*TEXTS, "")):
        (mine,), (right,) = (each.predict([text], decoding) for each in (found, torchs))
        assert (mine.text, mine.source_pieces) == (right.text, right.source_pieces)
        assert (mine.n_truncated, mine.source_words) == (right.n_truncated, right.source_words)
        for one, other in zip(mine.hypotheses, right.hypotheses, strict=True):
            assert (one.text, one.pieces, one.finished) == (
                other.text,
                other.pieces,
                other.finished,
            )
            assert one.score == pytest.approx(other.score, abs=2e-5)
            assert one.log_prob == pytest.approx(other.log_prob, abs=2e-4)


def both(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Exit code, output and messages of a command, without torch and with it."""
    found = []
    for is_quick in (True, False):
        with monkeypatch.context() as patched:
            if not is_quick:
                patched.setattr(without_torch, "opened", lambda folder, load: None)
            code = cli.main(arguments)
        found.append((code, *capsys.readouterr()))
    return found[0], found[1]


COMMANDS = [
    ("classify", "classify", ["a good film", "zzz, bad"], []),
    ("classify", "classify", ["a good film"], ["--scores"]),
    ("tag", "tag", ["The old cat sat in Paris."], []),
    ("tag", "tag", ["The old cat sat in Paris."], ["--scores"]),
    ("pair", "pair", ["the old cat", "a dog sleeps"], []),
    ("pair", "pair", ["only one"], []),
    ("pair", "pair", ["one", "two", "three"], []),
    ("translate", "translate", ["the old dog", "", "zebras of Paris"], []),
    ("translate", "translate", ["the old dog"], ["--n-best", "2", "--scores"]),
    ("translate", "translate", ["the old dog"], ["--decoding.method", "sample"]),
    ("translate", "translate", ["the old dog"], ["--decoding.beam_size", "0"]),
    ("classify", "classify", ["a good film"], ["--n-best", "2"]),
    ("words", "words", ["a good film"], []),
    ("nothing", "nothing", ["a good film"], []),
]


@pytest.mark.parametrize(("run", "name", "texts", "options"), COMMANDS)
def test_the_command_prints_the_same(
    run: str,
    name: str,
    texts: list[str],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["predict", str(OLD / run / "run"), *texts, *options]
    quick, right = both(arguments, capsys, monkeypatch)
    assert quick == right


@pytest.mark.parametrize("file", ["model.safetensors", "config.toml", "tokenizer-text.json"])
def test_damage_is_reported_as_with_torch(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "topics" / "run", run)
    content = (run / file).read_bytes()
    (run / file).write_bytes(content[:-9] + b"?" * 9)
    quick, right = both(["predict", str(run), "a good film"], capsys, monkeypatch)
    assert quick == right
    assert quick[0] == 2
    assert file in quick[2]


def test_what_is_not_known_is_left_to_torch(tmp_path: Path) -> None:
    known = labels("classify", tmp_path / "known")
    config = known / "config.toml"
    assert without_torch.opened(known, never) is not None
    for old, new in (('cell = "lstm"', 'cell = "own"'), ("hidden_size = 7", "hidden_size = 8")):
        other = tmp_path / new.split()[0]
        shutil.copytree(known, other)
        (other / "config.toml").write_text(config.read_text().replace(old, new))
        assert without_torch.opened(other, never) is None
    added = config.read_text().replace("[model]", "[model]\nnew_setting = 3")
    config.write_text(added)
    assert without_torch.opened(known, never) is None


@needs_kernels
def test_equal_words_are_left_to_torch(tmp_path: Path) -> None:
    folder = translations(tmp_path / "run")
    path = folder / without_torch.MODEL_FILE
    weights = checkpoint.load_tensors(path)
    weights["head.weight"].zero_()
    weights["head.bias"].zero_()
    checkpoint.save_whole(path, weights)
    slow = unrolled.load(folder)
    found: Any = without_torch._opened(folder, lambda: slow)
    decoding = DecodingConfig()
    assert found.predict(["a dog"], decoding) == slow.predict(["a dog"], decoding)


def test_tasks_are_those_of_torch() -> None:
    for name, task in without_torch.TASKS.items():
        right: Any = TASKS[name]
        assert (task.kind, task.columns) == (right.kind, tuple(right.columns))
        if hasattr(right, "by_token"):
            assert (task.by_token, task.cut) == (right.by_token, right.cut)
            assert task.encode == right.encode or type(task.encode) is type(right.encode)


def test_torch_is_not_imported() -> None:
    commands = [
        ["predict", str(OLD / run / "run"), "the cat"] for run in ("topics", "tag", "translate")
    ]
    program = (
        "import sys; from unrolled import cli\n"
        f"codes = [cli.main(command) for command in {commands!r}]\n"
        "print(codes, 'torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
    uses_torch = kernels is None
    assert done.stderr.splitlines()[-1] == f"[0, 0, 0] {uses_torch}"
