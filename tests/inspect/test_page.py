from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from unrolled.inspect import page
from unrolled.inspect.page import HeatmapCell, HeatmapRow, render

TEMPLATES = Path(page.__file__).with_name("templates")
NASTY = '<script>alert("1")</script>&amp;\'"</title></style></pre>'


def text_of(template: str, **values: object) -> str:
    """A template given as text, rendered as those of the package are."""
    head = '{% import "parts.html" as parts %}'
    return page._environment().from_string(head + template).render(**values)


def attention_page(title="t", command="", **values) -> str:
    return render(
        "attention.html",
        title=title,
        command=command,
        figures=(),
        sections={},
        least=0.05,
        has_unknown=False,
        **values,
    )


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_cannot_bypass_escaping(path):
    source = path.read_text(encoding="utf-8")
    if path.name == "shell.html":  # the script of the package, in one place
        source = source.replace("<script>{{ script.source }}</script>", "", 1)
    assert not re.search(r"\|\s*safe|autoescape|Markup|<script|\son\w+\s*=", source)
    assert not re.search(r"=\s*\{\{", source), "an attribute without quotation marks"
    for tag in re.findall(r"<\w[^<>]*>", source):
        assert "='" not in tag, tag


def test_title_and_command_are_escaped():
    text = attention_page(NASTY, NASTY)
    escaped = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;amp;&#39;&#34;"
    assert "<script" not in text
    assert f"<title>{escaped}" in text
    assert f"<pre>{escaped}" in text
    for tag in ("title", "style", "pre"):
        assert text.count(f"</{tag}>") == 1


def test_the_footer_has_the_command_and_the_version(monkeypatch):
    monkeypatch.setattr(page, "package_version", lambda: "9.8.7")
    footer = attention_page(command="unrolled predict run").split("<footer>")[1]
    assert "Created by Unrolled 9.8.7 with:" in footer
    assert "<pre>unrolled predict run</pre>" in footer
    assert "<pre>" not in attention_page()


def test_an_uninstalled_package_has_no_version(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "<p>Created by Unrolled</p>" in attention_page()


def test_scripts_and_the_network_are_forbidden():
    text = attention_page()
    assert "Content-Security-Policy" in text
    assert "default-src 'none'; style-src 'unsafe-inline'" in text


def test_a_missing_value_raises():
    with pytest.raises(UndefinedError, match="least"):
        render("attention.html", title="t")


def test_control_characters_become_replacement_characters():
    values = {"name": "a\x00\x1b\ud800b\t\n", "attribute": '\x07"'}
    template = '<p title="{{ attribute }}">{{ name }}</p>{{ parts.row_name(name) }}'
    text = text_of(template, **values)
    assert '<p title="\ufffd&#34;">a\ufffd\ufffd\ufffdb\t\n</p>' in text
    assert "<bdi>a\ufffd\ufffd\ufffdb\t\n</bdi>" in text


def test_long_names_are_whole_in_their_titles():
    assert "title" not in text_of("{{ parts.isolated(name) }}", name="x" * 24)
    name = '"' + "x" * 24
    assert f'<bdi title="&#34;{"x" * 24}">' in text_of("{{ parts.isolated(name) }}", name=name)
    assert len(text_of("{{ parts.isolated(name) }}", name="x" * 10_000)) < 450


def test_tables_keep_the_rows_of_the_caller_and_escape_the_rest():
    template = (
        '{% call parts.table((heading, "n"), heading) %}'
        "<tr><td>{{ heading }}</td></tr>{% endcall %}"
    )
    text = text_of(template, heading="a<b")
    assert text.count("a&lt;b") == 3
    assert "<tr><td>a&lt;b</td></tr></tbody>" in text
    assert '<th scope="col" class="name">a&lt;b</th><th scope="col">n</th>' in text


def test_heat_maps_have_a_cell_for_each_weight():
    rows = [HeatmapRow("r<", [HeatmapCell(0.25, 'a"b'), HeatmapCell(1, "c", "7", "correct")])]
    text = text_of("{{ parts.heatmap(('x', 'y<'), rows, 'down<', 'across') }}", rows=rows)
    assert '<td title="a&#34;b" class="weight" style="--w: 0.250"></td>' in text
    assert '<td title="c" class="correct" style="--w: 1.000">7</td>' in text
    assert "<bdi>y&lt;</bdi>" in text
    assert "<bdi>r&lt;</bdi>" in text
    assert '<th class="axis-title">down&lt;</th>' in text
    assert 'colspan="2">across</th>' in text


@pytest.mark.parametrize(("share", "width"), [(0.5, "50.0"), (1, "100.0"), (0, None)])
def test_bars_are_as_long_as_their_share(share, width):
    drawn = re.findall(
        r'class="bar"[^>]* width="([\d.]+)"', text_of("{{ parts.bar(share) }}", share=share)
    )
    assert drawn == ([width] if width else [])


def test_words_are_coloured_by_sign_and_size():
    text = text_of("{{ parts.words(words) }}", words=[("<a", -0.5), ("b", 0.25)])
    assert text == (
        '<span class="against signed" style="--w: 0.500" title="-0.500">&lt;a</span> '
        '<span class="for signed" style="--w: 0.250" title="+0.250">b</span>'
    )
    assert "signed" not in text_of("{{ parts.words([('a', 0.19)]) }}")
    assert "signed" not in text_of("{{ parts.words([('a', 0.9)], false) }}")


def test_the_keyboard_reaches_what_scrolls():
    template = (
        "{% call parts.table((), '', label) %}{% endcall %}"
        "{{ parts.heatmap((), (), '', '', label) }}{% call parts.scroll(label) %}x{% endcall %}"
    )
    text = text_of(template, label='a"b')
    region = '<div class="scroll" tabindex="0" role="region" aria-label="a&#34;b">'
    assert text.count(region) == text.count('class="scroll"') == 3
