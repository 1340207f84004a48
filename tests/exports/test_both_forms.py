"""C code and page of one run give the same answers: their arithmetic is not the same code."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import language_model

from unrolled.exports.c import compiler, export_c
from unrolled.exports.page import engine, export_page


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(compiler.find() is None, reason="there is no C compiler")
@pytest.mark.skipif(engine.find() is None, reason="Node.js is not installed")
def test_code_and_page_of_a_run_give_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)
    monkeypatch.setattr("unrolled.exports.page.export._N_STORED", 2)
    predictor = language_model(tmp_path, cell="gru", data={"documents": "file"})
    export_c(predictor, tmp_path / "c", "int8")
    export_page(predictor, tmp_path / "page.html", "int8")
    given = ["The cafe", "isn't open; don't", "Ann's at the U.S. office (10:"]
    node = engine.find()
    assert node is not None
    answers, _ = engine.answers_of(node, tmp_path / "page.html", given)
    command = compiler.find()
    assert command is not None
    program = compiler.compiled(command, tmp_path / "c" / "main.c")
    for text, answer in zip(given, answers, strict=True):
        options = ("generate", "--temperature", "0", "--max-tokens", "40")
        assert compiler.answer(program, options, text).removesuffix("\n") == answer["text"]
        scored = compiler.answer(program, ("score",), text)
        perplexity = 2 ** (sum(answer["bits"]) / len(answer["bits"]))
        assert f"perplexity per token {perplexity:,.2f}\n" in scored
