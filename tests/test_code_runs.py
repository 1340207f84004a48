"""`text.kind = "code"` in runs: pairs on either side, labels, language models, `unrolled data`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unrolled.cli import main
from unrolled.predictors.load import load

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["user_name", "fileList", "x", "total", "rowCount", "items"]
PAIRS = [
    *((f"print the length of {name}", f"print(len({name}))") for name in NAMES),
    *((f"add {n} to {name}", f"{name} += {n}") for name in NAMES for n in (1, 2)),
    *((f"loop over {name}", f"for each in {name}: pass") for name in NAMES),
]
TEXT = ["--text.kind", "code", "--text.language", "python"]
SMALL = [
    "--model.hidden_size", "16", "--model.embedding_size", "8", "--training.max_steps", "4",
]  # fmt: skip


def table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("flipped", [False, True])
def test_pairs_have_code_on_either_side(flipped: bool, tmp_path: Path, capsys) -> None:
    rows = [(b, a) if flipped else (a, b) for a, b in PAIRS]
    data = table(tmp_path / "pairs.tsv", rows)
    out = tmp_path / "run"
    command = ["train", "--task", "translate", *TEXT, *SMALL, "--model.copying", "pointer"]
    assert main([*command, "--data", str(data), "--data.header", "no", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "do not come back unchanged" not in printed
    predictor = load(out)
    rules = [predictor.tokenizers[role].code.language for role in ("source", "target")]
    assert rules == (["python", "text"] if flipped else ["text", "python"])
    assert isinstance(predictor(rows[0][0]), str)
    assert main(["predict", str(out), rows[0][0]]) == 0


def test_labels_of_code(tmp_path: Path, capsys) -> None:
    rows = [(code, "loop" if "for" in code else "other") for _, code in PAIRS]
    data = table(tmp_path / "labels.tsv", [("text", "label"), *rows])
    out = tmp_path / "run"
    command = ["train", "--task", "classify", *TEXT, *SMALL, "--data", str(data), "--out", str(out)]
    assert main(command) == 0
    assert main(["predict", str(out), "for x in userNames: pass"]) == 0
    assert "unknown to the model" in capsys.readouterr().err


def test_the_report_names_the_tokens(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "pairs.tsv", PAIRS)
    assert main(["data", str(data), *TEXT, *SMALL, "--data.header", "no"]) == 0
    assert "parts of names, operators and marks of layout" in capsys.readouterr().out


def test_tags_need_whole_words(tmp_path: Path, capsys) -> None:
    data = tmp_path / "tags.conll"
    data.write_text("a\tB\nb\tC\n\n" * 20, encoding="utf-8")
    assert (
        main(["train", "--task", "tag", *TEXT, "--data", str(data), "--out", str(tmp_path / "r")])
        == 2
    )
    assert "text.kind is 'code', but a tag belongs to a whole word" in capsys.readouterr().err


def test_bits_of_a_language_model_are_per_character(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    code = "".join(f"def {name}(x):\n    if x > {n}:\n        return x\n\n\n"
                   for n in range(12) for name in NAMES)  # fmt: skip
    for name in ("a", "b", "c"):
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    out = tmp_path / "run"
    settings = ["--data.n_rows", "4", "--data.k1", "16", "--data.suffixes", ".py"]
    command = ["train", "--task", "language_model", *TEXT, *SMALL, *settings, "--data", str(folder)]
    assert main([*command, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out)]) == 0
    _, first, *_, perplexity, bits = capsys.readouterr().out.splitlines()
    n_tokens, n_characters = (
        int(part.split()[0].replace(",", "")) for part in first.split(", ")[:2]
    )
    held_out = load(out).tokenizers["text"].encode(code[-n_characters:])
    assert (
        abs(len(held_out) - n_tokens) <= 2
    )  # the last line end has no token, the end of the text has one
    expected = math.log2(float(perplexity.split()[-1])) * n_tokens / n_characters
    assert float(bits.split()[-1]) == pytest.approx(expected, abs=2e-3)
    assert main(["generate", str(out), "--prompt", "def f(x):\n    ", "--max-tokens", "20"]) == 0
    assert main(["score", str(out), "def zebra(x): pass"]) == 0
