"""`export_page`: what a page computes and answers, what it holds, and what is refused.

What needs Node.js is skipped without it; what NumPy computes from the bytes of a page is always compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_models
from exported import mixed, predictor

from unrolled import ConfigError, RunError, cli
from unrolled.exports.export import settings_of, with_model
from unrolled.exports.gate import Agreement, compare_scores
from unrolled.exports.inputs import inputs_for
from unrolled.exports.kinds import kind_of
from unrolled.exports.page import counts, document, engine, export_page
from unrolled.exports.page import export as page_export
from unrolled.exports.page.program import packed
from unrolled.exports.rounding import rounded
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 5e-6
NODE = engine.find()
with_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
SEQ, SIZES = small_models.SEQ, small_models.SIZES
LETTERS = {**SIZES, "char_size": 3, "char_filters": 4}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("classify", {"cell": "gru", "pooling": "attentive", "bidirectional": True, **SIZES}),
    ("classify", {"cell": "rnn_relu", "pooling": "concat", "n_layers": 2, **SIZES}),
    ("pair", {"cell": "lstm", "encoder": "word_by_word", "learned_start": True, **SIZES}),
    ("pair", {"cell": "rnn", "encoder": "bidirectional_conditional", "target": "one_way", **SIZES}),
    ("pair", {"cell": "gru", "encoder": "concatenated", "condition": "second", **SIZES}),
    ("tag", {"cell": "lstm", "char_size": 3, "head": "crf", **SIZES}),
    (
        "tag",
        {"cell": "gru", "char_size": 3, "characters": "convolution", "head": "softmax", **SIZES},
    ),
    ("language_model", {"cell": "lstm", "n_layers": 2, "tied": True, **SIZES}),
    ("language_model", {"cell": "gru", "head": "adaptive", "cutoffs": [6], **SIZES}),
    ("translate", {"cell": "lstm", "attention": "additive", "input_feeding": True, **SEQ}),
    ("translate", {"cell": "gru", "attention": "general", "copying": "pointer", **SEQ}),
    ("translate", {"cell": "rnn", "attention": "none", "decoder_layers": 2, **SEQ}),
    ("classify", {"ngrams": 3, "characters": "convolution", **LETTERS}),
    ("classify", {"ngrams": 2, "text_kind": "bpe", **SIZES}),
    ("pair", {"features": ["overlap", "difference"], "characters": "recurrent", **LETTERS}),
    ("pair", {"features": ["overlap"], "encoder": "concatenated", "ngrams": 1, **SIZES}),
    ("pair", {"encoder": "second_only", "ngrams": 2, **SIZES}),
    ("pair", {"cell": "gru", "encoder": "aligned", "learned_start": True, **SIZES}),
]
ANSWERED = (MODELS[0], MODELS[2], MODELS[5], MODELS[8], MODELS[10], *MODELS[12:15], MODELS[-1])


@pytest.fixture(autouse=True)
def _few_texts(monkeypatch: Patch) -> None:
    monkeypatch.setattr(page_export, "_N_STORED", 2)
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)


def names(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(map(str, value.values()))[:40]


def difference(small: Any, precision: Any, block_of: Any = bytes) -> float:
    """The largest difference between a model and what NumPy computes from the bytes of its page."""
    kind, agreement = kind_of(small.task), Agreement("")
    reference = with_model(small, rounded(small.model, precision).eval())
    program, block = packed(kind.graphs(reference.model, precision))
    exported = page_export._stand_in(
        small, kind, settings_of(small, kind), program, block_of(block)
    )
    compare_scores(kind, reference, exported, inputs_for(small), agreement)
    return agreement.largest


@pytest.mark.parametrize(
    ("name", "model"), [each for each in MODELS if each not in ANSWERED], ids=names
)
def test_the_bytes_of_a_page_compute_what_the_model_computes(name: str, model: Any) -> None:
    precision = "int8" if len(str(model)) % 2 else "float32"
    assert difference(predictor(name, **model), precision) < CLOSE


def test_changed_bytes_are_refused() -> None:
    def harmed(block: bytes) -> bytes:
        return block[:1600] + bytes(b ^ 0x40 for b in block[1600:1616]) + block[1616:]

    with pytest.raises(RunError, match="does not compute what the model computes"):
        difference(predictor("classify", **SIZES), "float32", harmed)


@pytest.mark.parametrize(("name", "model"), ANSWERED, ids=names)
def test_bytes_and_script_answer_as_the_model(name: str, model: Any, tmp_path: Path) -> None:
    precision = "float32" if len(str(model)) % 2 else "int8"
    found = export_page(mixed(name, **model), tmp_path / "page.html", precision)
    assert found.agreement.largest < CLOSE
    assert found.agreement.n_ties <= 1
    assert (found.agreement.n_answers > 10) == bool(found.node) == bool(NODE)


def test_changed_weights_of_n_grams_are_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    real = counts.packed
    monkeypatch.setattr(
        counts, "packed", lambda scores, block: real(replace(scores, bias=scores.bias + 1), block)
    )
    with pytest.raises(RunError, match=r"the scores of n-grams differ by .* nothing was written"):
        export_page(mixed("classify", ngrams=2, **SIZES), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def planted(patch: Patch, name: str, before: str, after: str) -> None:
    """Make a mistake in a script of the page."""
    real = document._read

    def read(file: str) -> str:
        text = real(file)
        if file == name:
            assert before in text
            text = text.replace(before, after)
        return text

    patch.setattr(document, "_read", read)


MISTAKES = [
    ("classify", "text.js", "this.lowercase ? lowered(composed) : composed", "lowered(composed)"),
    ("classify", "labels.js", "values.length <= most", "values.length <= 2 * most"),
    ("tag", "graph.js", "step * apart[axis]", "apart[axis]"),
    ("language_model", "continuations.js", "[END, ...this.words", "[...this.words"),
    ("translate", "translations.js", "this.search([...row, END]", "this.search(row"),
    ("counts", "counts.js", "offset += known.length", "offset += 0"),
    ("letters", "labels.js", "Number(id > END && has[1 - i].has(id))", "0"),
]
OTHERS = {"counts": MODELS[12], "letters": MODELS[14]}


@with_node
@pytest.mark.parametrize(("name", "file", "before", "after"), MISTAKES)
def test_mistakes_in_the_script_are_refused(
    name: str, file: str, before: str, after: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    name, model = OTHERS.get(name) or next(each for each in MODELS if each[0] == name)
    small = mixed(name, **model)
    if "lower" in after:  # words with capitals, which the script must leave as they are
        small.tokenizers["text"] = Tokenizer.train(
            ["The Red cat", "a DOG"], TextConfig(kind="word")
        )
        small.model = small.task.build(small.recipe.model, small.tokenizers).eval()
    planted(monkeypatch, file, before, after)
    with pytest.raises(RunError, match=r"nothing was written"):
        export_page(small, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


@with_node
def test_a_page_notices_that_it_answers_differently(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(engine, "find", lambda: None)  # answers are compared by other tests
    file = tmp_path / "page.html"
    export_page(predictor("tag", **next(model for name, model in MODELS if name == "tag")), file)
    assert engine.answers_of(str(NODE), file, []) == ([], [])
    text = file.read_text(encoding="utf-8")
    wrong = text.replace("score + transition[before][tag]", "score + transition[tag][before]")
    file.write_text(wrong, encoding="utf-8")
    assert engine.answers_of(str(NODE), file, [])[1]


def test_without_node_a_page_says_what_was_compared(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(engine, "find", lambda: None)
    found = export_page(predictor("classify", **SIZES), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.agreement.n_answers == 0
    assert found.n_stored == 4
    assert "none, as there was no Node.js" in text


def test_a_page_holds_one_script_and_asks_for_nothing(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(engine, "find", lambda: None)
    file = tmp_path / "page.html"
    export_page(predictor("translate", **SEQ), file)
    text = file.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    hashes = [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()
        for each in (style, script)
    ]
    policy = f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"
    assert policy in text
    assert not re.findall(r"https?:|//\w+\.|@import|url\(|<link|src=", text.replace(script, ""))
    assert "fetch(" not in script
    assert "XMLHttpRequest" not in script


def test_the_module_is_that_of_the_source() -> None:
    record = json.loads((engine.RUNTIME / "runtime.json").read_text("ascii"))
    module = base64.b64decode((engine.RUNTIME / "kernels.wasm.txt").read_text("ascii"))
    source = (engine.RUNTIME / "kernels.c").read_bytes()
    assert hashlib.sha256(source).hexdigest() == record["source_sha256"]
    assert hashlib.sha256(module).hexdigest() == record["module_sha256"]


def test_the_compiler_makes_the_same_module() -> None:
    pytest.importorskip("ziglang")
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "native/build_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, check=False)
    if b"install ziglang==" in done.stderr:
        pytest.skip(done.stderr.decode().strip())
    assert done.returncode == 0, done.stderr.decode()


ODD = [
    "",
    "Don't go, o'clock! Ann's well-known U.S. C++ 25.5 10:40h 1/2 (¿qué?) ...--",
    "ΟΔΥΣΣΕΥΣ İstanbul straße ﬁne ſ's e\u0301 \u0301 漢字 🙂 👩‍👩‍👧 \u200b ٣ ½ \x00\x85\ufeff",
    " \t\r\n two  blanks\u00a0\u2003here ",
    "</s> <pad> a</s>b \ud800x l'ſ it'S IT'LL n'T",
    "aaaa aaab abab 12345 naïve café",
]


@with_node
def test_the_script_splits_texts_as_the_tokenizers(tmp_path: Path) -> None:
    texts = [*ODD, " ".join(ODD[1:])]
    tokenizers = [
        Tokenizer.train(
            [*ODD, "Don't go there"], TextConfig(kind=kind, lowercase=lowercase), running=running
        )
        for kind, running in (
            ("char", False),
            ("word", False),
            ("space", False),
            ("bpe", False),
            ("bpe", True),
        )
        for lowercase in (False, True)
    ]
    program = (engine.RUNTIME / "text.js").read_text("utf-8") + (
        "const [all, texts] = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
        "console.log(JSON.stringify(all.map((one) => { const words = new Words(one);"
        "return texts.map((text) => { const ids = words.encode(text);"
        "return [ids, words.decode(ids)]; }); })));"
    )
    (tmp_path / "text.js").write_text(program, encoding="utf-8")
    given = json.dumps([[document.described(each) for each in tokenizers], texts])
    done = subprocess.run(
        [str(NODE), str(tmp_path / "text.js")],
        input=given.encode(),
        capture_output=True,
        check=True,
    )
    for words, found in zip(tokenizers, json.loads(done.stdout), strict=True):
        for text, (ids, decoded) in zip(texts, found, strict=True):
            assert ids == words.encode(text), (words.kind, text)
            assert decoded == words.decode(ids), (words.kind, text)


@with_node
def test_completions_are_those_of_the_run(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(engine, "find", lambda: None)  # answers are compared by other tests
    monkeypatch.setattr(page_export, "_N_STORED", 0)
    for kind in ("word", "char"):
        small = predictor("language_model", cell="lstm", **SIZES)
        if kind == "char":
            words = Tokenizer.train([small_models.TEXT], TextConfig(kind="char"), running=True)
            small.tokenizers["text"] = words
            small.model = small.task.build(small.recipe.model, small.tokenizers).eval()
        file = tmp_path / f"{kind}.html"
        export_page(small, file)
        texts = ["", "the re", "the red cat ", "the", "a b", "xq", "see."]
        for text, found in zip(texts, completed(file, texts), strict=True):
            expected = small.complete(text, 4)
            assert [word for word, _ in found] == [each.text for each in expected], (kind, text)
            shares = [each.probability for each in expected]
            assert [share for _, share in found] == pytest.approx(shares, abs=1e-5)


def completed(file: Path, texts: list[str]) -> list[list[tuple[str, float]]]:
    """The completions that a page gives."""
    driver = (engine.RUNTIME / "drive.js").read_text("utf-8")
    program = file.with_suffix(".js")
    program.write_text(driver.replace("predict(input)", "complete(input, 4)"), encoding="utf-8")
    done = subprocess.run(
        [str(NODE), str(program), str(file)],
        input=json.dumps(texts).encode(),
        capture_output=True,
        check=True,
    )
    return [each["words"] for each in json.loads(done.stdout)["answers"]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("bytes", "a page holds at most 0 MB.*whenever it is opened; export with --onnx"),
        ("bpe", "text.kind is 'bpe'.*export with --onnx, or train with"),
        ("name", "give a name ending in .html"),
        ("taken", "exists and is not a page of Unrolled; choose another file"),
        ("page", "already holds a page; replace it"),
        ("float16", "precision"),
    ],
)
def test_what_is_refused(change: str, problem: str, tmp_path: Path, monkeypatch: Patch) -> None:
    file, precision = tmp_path / "page.html", "float32"
    small = predictor("language_model" if change == "bpe" else "classify", **SIZES)
    if change == "bytes":
        monkeypatch.setattr(page_export, "MOST_BYTES", 100)
    elif change == "bpe":
        small.tokenizers["text"] = Tokenizer.train(["a b"], TextConfig(kind="bpe"), running=True)
    elif change == "name":
        file = tmp_path / "page"
    elif change == "taken":
        file.write_text("<p>mine</p>", encoding="utf-8")
    elif change == "page":
        file.write_text(f"<!doctype html><meta content='{document.FORMAT}'>", encoding="utf-8")
    else:
        precision = "float16"
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ConfigError, RunError), match=problem):
        export_page(small, file, precision)  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


def test_int8_is_advised_only_where_it_is_small_enough() -> None:
    with pytest.raises(ConfigError, match="use --precision int8, or export with --onnx"):
        page_export._check_size(250 << 20, "float32")
    with pytest.raises(ConfigError, match=r"the weights take 315 MB.*opened; export with --onnx"):
        page_export._check_size(300 << 20, "float32")


def test_the_command_line_takes_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "run", "--page", "a.html", "--onnx", "b"]) == 2
    assert "give one of --onnx FOLDER, --page FILE and --c FOLDER" in capsys.readouterr().err
