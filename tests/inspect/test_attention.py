from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from unrolled.errors import ConfigError, UnavailableError
from unrolled.inspect.attention import attention_page, draw_attention, numbered_paths
from unrolled.tasks.predictions import Answer, Prediction


def prediction(
    text="la casa",
    source=("the", "house", "</s>"),
    pieces=("la", "casa", "</s>"),
    has_attention=True,
) -> Prediction:
    attention = torch.rand(len(pieces), len(source)).softmax(1) if has_attention else None
    answer = Answer(text, -0.5, -1.25, tuple(pieces), attention, True)
    return Prediction(text, -0.5, tuple(source), (answer,))


EMPTY = prediction("", ("</s>",), ("</s>",), has_attention=False)


class Cells(HTMLParser):
    """Tags in order, the names of rows and columns, and the titles of the cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.headings, self.weights, self.numbers = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "th" and dict(attributes).get("class") != "axis-title":
            self.headings.append("")
        if tag == "td" and "title" in dict(attributes):
            self.weights.append(float(dict(attributes)["title"]))

    def handle_data(self, data):
        if self.tags[-2:] == ["th", "bdi"] and data.strip():
            self.headings[-1] += data
        if self.tags[-1:] == ["td"] and data.strip():
            self.numbers.append(data)


def test_a_page_shows_every_piece_and_weight():
    drawn = prediction()
    page = attention_page([drawn])
    cells = Cells(page)
    assert cells.headings == ["the", "house", "</s>", "la", "casa", "</s>"]
    expected = drawn.hypotheses[0].attention.flatten().tolist()
    assert [f"{100 * weight:.0f}" for weight in expected if weight >= 0.05] == cells.numbers
    assert cells.weights == pytest.approx(expected, abs=6e-4)
    assert "log-probability −1.25" in page
    assert page.startswith("<!doctype html>")


def test_a_page_loads_nothing_and_runs_no_script():
    page = attention_page([prediction(), prediction("el", ("x", "</s>"), ("el",))])
    assert "http" not in page.replace("http-equiv", "")
    assert "//" not in page
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", page)
    assert page.count("<figure>") == page.count("</figure>") == 2
    assert page.count("<main>") == page.count("</main>") == 1
    assert Cells(page).tags.count("td") == (3 * 3 + 1) + (1 * 2 + 1)


def test_text_cannot_break_a_page():
    nasty = '<script>alert("1")</script>&amp;\'"'
    page = attention_page([prediction(nasty, (nasty, "</s>"), (nasty, "</s>"))])
    assert "<script" not in page
    assert Cells(page).headings == [nasty, "</s>", nasty, "</s>"]


def test_html_is_written_as_utf_8(tmp_path):
    path = tmp_path / "página.html"
    assert (
        draw_attention([prediction("¿Dónde?", ("日本", "</s>"), ("¿Dónde?", "</s>"))], path) == path
    )
    written = path.read_text(encoding="utf-8")
    assert "¿Dónde?" in written
    assert "日本" in written
    assert 'charset="utf-8"' in written


@pytest.mark.parametrize(
    ("ending", "beginning"),
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")],
)
def test_images_are_written(tmp_path, ending, beginning):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"alignment{ending}"
    assert draw_attention([prediction()], str(path)) == path
    assert path.read_bytes().startswith(beginning)


def test_the_ending_may_be_in_capitals(tmp_path):
    page = draw_attention([prediction()], tmp_path / "ALIGNMENT.HTML")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["alignment.png", "alignment.html"])
def test_a_missing_folder_is_named(tmp_path, name):
    path = tmp_path / "none" / name
    with pytest.raises(ConfigError) as refusal:
        draw_attention([prediction()], path)
    assert str(refusal.value) == (
        f"cannot draw {path}: folder '{path.parent}' does not exist; create it, or choose another"
    )
    assert list(tmp_path.iterdir()) == []


def size_of(path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def test_each_sentence_has_a_numbered_picture(tmp_path):
    pytest.importorskip("matplotlib")
    longer = prediction("x", ["word"] * 23 + ["</s>"], ["palabra"] * 31 + ["</s>"])
    assert draw_attention([prediction()], tmp_path / "short.png") == tmp_path / "short.png"
    drawn = [longer, EMPTY, prediction()]
    assert draw_attention(drawn, tmp_path / "both.png") == tmp_path / "both-1.png"
    names = ["both-1.png", "both-2.png", "short.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    long, second, short = (size_of(tmp_path / name) for name in names)
    assert all(a < b for a, b in zip(short, long, strict=True))
    assert second == short
    assert [path.name for path in numbered_paths(tmp_path / "a.svg", 10)][::9] == [
        "a-01.svg",
        "a-10.svg",
    ]


def test_a_pdf_has_a_page_for_each_sentence(tmp_path):
    pytest.importorskip("matplotlib")
    path = draw_attention([prediction(), prediction("b")], tmp_path / "two.pdf")
    assert path.read_bytes().count(b"/Type /Page ") == 2


def test_letters_that_the_font_lacks_are_named_once(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.warns(UserWarning, match="^the font lacks 日 本; they are drawn as boxes$") as told:
        draw_attention([prediction("日本", ("日本", "日", "</s>"))], tmp_path / "x.png")
    assert len(told) == 1


def test_unknown_words_are_shown_as_written(tmp_path):
    known = prediction()
    unknown = replace(known, source_pieces=("the", "<unk>", "</s>"))
    unknown = replace(unknown, source_words=("the", "houze", "</s>"))
    page = attention_page([unknown])
    assert Cells(page).headings[:3] == ["the", "[houze]", "</s>"]
    assert "&lt;unk&gt;" not in page
    assert "Words in [brackets] are unknown to the model." in page
    assert "Words in [brackets]" not in attention_page([known])


def test_several_sentences_have_headings_and_contents():
    page = attention_page([prediction("la casa"), prediction("el gato")])
    for number, text in ((1, "la casa"), (2, "el gato")):
        assert f'<h2 id="text-{number}" dir="auto">{text}</h2>' in page
        assert f'<a href="#text-{number}"><bdi>{number}. {text}</bdi></a>' in page
    assert "<nav" not in attention_page([prediction()])


def test_an_image_of_one_cell_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw_attention([prediction("a", ("a", "</s>"), ("a",))], tmp_path / "small.png")
    assert size_of(tmp_path / "small.png") > (0, 0)


def test_dollars_and_backslashes_are_drawn_literally(tmp_path):
    pytest.importorskip("matplotlib")
    pieces = ("$\\nothing{$", "a_b^c", "$5 and $6", "</s>")
    draw_attention([prediction("x", pieces, pieces)], tmp_path / "money.svg")
    assert (tmp_path / "money.svg").stat().st_size > 1000


@pytest.mark.parametrize("name", ["alignment.gif", "alignment", ".png"])
def test_another_ending_is_refused(tmp_path, name):
    ending = ".gif" if name == "alignment.gif" else name
    with pytest.raises(ConfigError) as refusal:
        draw_attention([prediction()], tmp_path / name)
    assert str(refusal.value) == (
        f"cannot draw attention as '{ending}'; end the file name in .png, .svg, .pdf or .html"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["alignment.png", "alignment.html"])
def test_a_model_without_attention_cannot_be_drawn(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ConfigError) as refusal:
        draw_attention([prediction(has_attention=False), EMPTY], path)
    assert str(refusal.value) == (
        f"nothing to draw in {path}: this model has no attention (model.attention = 'none')"
    )
    assert not path.exists()


@pytest.mark.parametrize("predictions", [[], [EMPTY], [EMPTY, EMPTY]])
def test_only_empty_sentences_cannot_be_drawn(tmp_path, predictions):
    path = tmp_path / "alignment.html"
    with pytest.raises(ConfigError) as refusal:
        draw_attention(predictions, path)
    assert str(refusal.value) == f"nothing to draw in {path}: every sentence is empty"
    assert not path.exists()


def test_empty_sentences_are_left_out(tmp_path):
    path = draw_attention([EMPTY, prediction(), EMPTY], tmp_path / "alignment.html")
    assert path.read_text(encoding="utf-8").count("<figure>") == 1


def test_only_images_need_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnavailableError) as refusal:
        draw_attention([prediction()], tmp_path / "alignment.png")
    assert str(refusal.value) == (
        "an image needs matplotlib; run pip install 'unrolled[figures]', or write to a .html file"
    )
    assert draw_attention([prediction()], tmp_path / "alignment.html").exists()


def test_the_footer_names_the_command(tmp_path):
    path = draw_attention([prediction()], tmp_path / "page.html", "unrolled predict 'a<b'")
    footer = path.read_text(encoding="utf-8").split("<footer>")[1]
    assert "<pre>unrolled predict &#39;a&lt;b&#39;</pre>" in footer
    assert "<pre>" not in attention_page([prediction()])


def test_characters_that_html_cannot_contain_are_replaced():
    page = attention_page([prediction("a\x00", ("\ud800", "</s>"), ("\x1b[1m", "</s>"))])
    assert Cells(page).headings == ["\ufffd", "</s>", "\ufffd[1m", "</s>"]
    assert page.encode("utf-8")
