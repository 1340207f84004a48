from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from unrolled.cli import lines as cli_predict
from unrolled.cli.lines import line_groups, one_line
from unrolled.errors import ConfigError, DataError


def shout(texts: list[str]) -> list[str]:
    assert all(text.strip() for text in texts)
    return [text.upper() for text in texts]


def lines_of(content: bytes) -> list[str]:
    return [line for group in line_groups(io.BytesIO(content), "a.txt") for line in group]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\n\r\nb\rc\n", ["a", "", "b\rc"]),
        ("\ufeffñ\u2028x\x0by\n\ufeffz".encode(), ["ñ\u2028x\x0by", "\ufeffz"]),
        (b"x" * 200_003 + b"\ny\n", ["x" * 200_003, "y"]),
        (b"ab\n" * 50_021, ["ab"] * 50_021),
        ("ñ\n".encode() * 50_021, ["ñ"] * 50_021),
    ],
)
def test_lines_end_at_line_feeds_only(content: bytes, lines: list[str]) -> None:
    assert lines_of(content) == lines


def test_invalid_utf8_is_reported_after_earlier_lines() -> None:
    groups = line_groups(io.BytesIO(b"a\nb\nc\xe9\nd\n"), "a.txt")
    assert next(groups) == ["a", "b"]
    with pytest.raises(DataError) as caught:
        next(groups)
    assert str(caught.value) == (
        "a.txt, line 3: not UTF-8 text (byte 1 of the line); convert it to UTF-8"
    )


def test_a_line_is_answered_before_the_stream_ends() -> None:
    class Waiting(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return self.readline()

    groups = line_groups(Waiting(b"one\ntwo\n"), "standard input")
    assert next(groups) == ["one"]
    assert next(groups) == ["two"]
    assert list(groups) == []


@pytest.mark.parametrize("n_lines", [1, 7, 1009, 2003])
def test_one_output_line_per_input_line_in_order(n_lines: int, tmp_path: Path) -> None:
    given = ["" if i % 3 == 1 else "  " if i % 5 == 4 else f"line {i}" for i in range(n_lines)]
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("\n".join(given) + "\n", encoding="utf-8")
    cli_predict.run(shout, None, source, target)
    written = target.read_bytes().decode("utf-8").split("\n")
    assert written == [*(line.strip().upper() for line in given), ""]


def test_standard_input_is_answered_line_by_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("sí\n\nno".encode()), "latin-1"))
    cli_predict.run(shout, None, None, None)
    assert capsys.readouterr().out == "SÍ\n\nNO\n"


def test_a_sentence_with_line_breaks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli_predict.run(shout, ["a\nb"], None, None)
    assert capsys.readouterr().out == "A B\n"


def prediction(*texts: str) -> Any:
    hypotheses = tuple(
        SimpleNamespace(text=text, score=-0.5 * number) for number, text in enumerate(texts, 1)
    )
    return cast(Any, SimpleNamespace(text=texts[0], score=-0.5, hypotheses=hypotheses))


def test_line_breaks_in_a_prediction_are_replaced() -> None:
    assert one_line(prediction("a\n\u2028b\tc"), 1, False) == "a b\tc"
    assert one_line(prediction("a\tb", "c\r\nd", "e"), 2, False) == "a b\tc d"
    assert one_line(prediction("a", "b"), 2, True) == "a\t-0.5000\tb\t-1.0000"
    assert one_line(prediction("a", "b"), 1, True) == "a\t-0.5000"


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is also the input; choose another file"):
        cli_predict.check((), path, tmp_path / "." / "in.txt", None)
    assert path.read_text(encoding="utf-8") == "a\n"


def test_the_plot_suffix_may_be_in_capitals() -> None:
    for name in ("a.PNG", "a.Html"):
        cli_predict.check("hi", None, None, Path(name))
    with pytest.raises(ConfigError, match=r"a\.JPG: expected a file name ending in \.png"):
        cli_predict.check("hi", None, None, Path("a.JPG"))


def no_odd_number(line: str) -> None:
    if int(line) % 2:
        raise DataError(f"{line} is odd")


@pytest.mark.parametrize(("place", "n_written"), [(1, 1), (5, 5), (1500, 1500)])
def test_lines_before_an_invalid_one_are_answered(
    tmp_path: Path, place: int, n_written: int
) -> None:
    lines = ["" if n % 3 == 0 else "2" for n in range(2003)]
    lines[place] = "3"
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        cli_predict.run(shout, None, source, target, no_odd_number)
    assert str(caught.value) == f"{source}, line {place + 1}: 3 is odd"
    assert target.read_text(encoding="utf-8").split("\n") == [*lines[:n_written], ""]


def test_an_invalid_argument_has_no_line_number() -> None:
    with pytest.raises(DataError) as caught:
        cli_predict.run(shout, "3", None, None, no_odd_number)
    assert str(caught.value) == "3 is odd"


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cli_predict.run(shout, None, tmp_path / "no.txt", None)
    assert str(caught.value) == f"{tmp_path / 'no.txt'}: no such file"
