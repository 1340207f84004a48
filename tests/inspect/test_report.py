"""The page of `unrolled inspect`: everything is in it, its script alone may run, and it stays small."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled import nn
from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.verdict import judge
from unrolled.inspect import report
from unrolled.inspect.beam_tree import CONTINUED, ENDED, BeamTree, Node
from unrolled.inspect.gradient_flow import Inspection
from unrolled.inspect.inspected import InspectedText, write_pages
from unrolled.inspect.next_tokens import NextToken
from unrolled.inspect.report import report_page
from unrolled.inspect.saliency import Saliency
from unrolled.inspect.trace import Trace, TracedAttention, TracedLayer

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = ("the", "<b>red</b>", "cat", '"quoted"', "ends")
NASTY = '<script>alert("1")</script>'
T, H = len(TOKENS), 7
PARTS = ("Diagnosis", "Saliency", "Next tokens", "Beam search", "Attention", "Gradient flow",
         "Gates and states")  # fmt: skip


def inspected() -> Inspection:
    layer = nn.LSTM(3, H)
    x = torch.randn(T, 1, 3, dtype=torch.float64)
    flow = measure_flow(layer, lambda layer: (layer(x)[0][-1].sum(), 1))
    tokens = {flow.layers[0].name: TOKENS}
    return Inspection(flow, judge(flow), None, f"about {NASTY}", (f"note {NASTY}",), tokens)


def traced(n_layers: int = 1, n_steps: int = T, width: int = H, parts: str = "hcif") -> Trace:
    random = np.random.default_rng(3)
    values = {name: random.uniform(-1, 1, (n_steps, width)) for name in parts}
    functions = {"i": "sigmoid", "f": "sigmoid"}
    tokens = (TOKENS * n_steps)[:n_steps]
    layers = tuple(
        TracedLayer(
            f"model layer {depth} forward",
            "",
            depth,
            "forward",
            0,
            "lstm",
            tokens,
            values,
            functions,
        )
        for depth in range(n_layers)
    )
    attention = TracedAttention(
        f"attention {NASTY}", tokens, tokens, np.full((n_steps, n_steps), 1 / n_steps)
    )
    return Trace(layers, (attention,), f"answer {NASTY}", 0.5, 0.0)


def whole(trace: Trace | None = None, n_steps: int = T) -> InspectedText:
    trace = trace or traced()
    tokens = (TOKENS * n_steps)[:n_steps]
    values = np.linspace(-2.0, 3.0, n_steps)
    following = NextToken("<b>", NASTY, 2, 3.5, (("a", 0.5), (NASTY, 0.25)))
    nodes = (
        Node(1, 1, NASTY, NASTY, -0.5, -0.5, None, CONTINUED, True),
        Node(2, 1, "</s>", f"{NASTY} </s>", -0.75, -0.6, 0, ENDED, True),
    )
    return InspectedText(
        f"run {NASTY}",
        trace,
        inspected(),
        (Saliency(tokens, values, np.abs(values)),),
        BeamTree(nodes, 1.0),
        (following,) * n_steps,
    )


def page_of(*models: InspectedText, command: str = "") -> str:
    return report_page([(each.name, each.sections()) for each in models], "Inside", command)


def maps(page: str) -> list[dict[str, str]]:
    return [
        {key: html.unescape(value) for key, value in re.findall(r'data-([\w-]+)="([^"]*)"', tag)}
        for tag in re.findall(r"<canvas [^>]*>", page)
    ]


def test_the_page_has_every_part_in_order() -> None:
    page = page_of(whole())
    assert tuple(re.findall("<h2>(.*?)</h2>", page)) == PARTS
    assert page.count("<canvas ") == 4
    assert page.count("<polyline ") == 2 + 2
    assert page.count("<main>") == page.count("</main>") == 1
    assert "forget gate" in page
    for token in TOKENS:
        assert html.escape(token).replace("&quot;", "&#34;") in page


def test_maps_hold_the_values() -> None:
    trace = traced()
    page = page_of(whole(trace))
    for name, data in zip(trace.layers[0].values, maps(page), strict=True):
        levels = np.frombuffer(base64.b64decode(data["values"]), np.int8)
        values = levels.reshape(H, T).T * float(data["scale"]) / 127
        assert (int(data["rows"]), int(data["columns"])) == (H, T)
        np.testing.assert_allclose(values, trace.layers[0].values[name], atol=0.5 / 127)
        assert json.loads(data["names"]) == list(TOKENS)
    assert page.count('<canvas tabindex="0" role="img" aria-label="') == 4


def test_values_that_are_not_finite_are_drawn() -> None:
    trace = traced()
    trace.layers[0].values["h"][0, 0] = np.nan
    trace.layers[0].values["c"][0, 0] = np.inf
    assert "<canvas " in page_of(whole(trace))


def test_only_the_script_of_the_package_may_run() -> None:
    page = page_of(whole(), command=f"unrolled inspect {NASTY}")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in (
        html.unescape(page)
    )
    assert "alert(" not in script
    assert page.count("<script") == 1
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*"?\s*(?:https?:)?//', page)
    assert len(script) < 2500


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_can_be_parsed(tmp_path: Path) -> None:
    source = Path(report.__file__).with_name("templates") / "heatmap.js"
    shutil.copy(source, tmp_path / "heatmap.js")
    subprocess.run(["node", "--check", tmp_path / "heatmap.js"], check=True, capture_output=True)


@pytest.mark.parametrize("n_layers", [1, 2, 12])
def test_the_page_of_a_large_model_is_below_two_megabytes(n_layers: int) -> None:
    page = page_of(whole(traced(n_layers, 200, 512, "hcifogt"), 200))
    assert len(page.encode("utf-8")) < 2_000_000


def test_the_units_that_vary_most_are_drawn_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CELLS_OF_MAPS", 2 * T * 4)
    trace = traced()
    (data, *_) = maps(page_of(whole(trace)))
    variance = trace.layers[0].values["h"].var(0)
    wanted = sorted(np.argsort(-variance)[:2].tolist())
    assert json.loads(data["row-names"]) == [f"unit {unit}" for unit in wanted]
    levels = np.frombuffer(base64.b64decode(data["values"]), np.int8).reshape(2, T)
    np.testing.assert_allclose(
        levels.T / 127, trace.layers[0].values["h"][:, wanted], atol=0.5 / 127
    )


def test_large_attention_is_a_map_with_the_words() -> None:
    trace = traced(n_steps=40)
    data = maps(page_of(whole(trace, 40)))[0]
    assert json.loads(data["row-names"]) == list(trace.attention[0].queries)
    assert json.loads(data["names"]) == list(trace.attention[0].tokens)
    levels = np.frombuffer(base64.b64decode(data["values"]), np.int8)
    np.testing.assert_allclose(levels / 127, 1 / 40, atol=0.5 / 127)


def test_many_layers_are_left_out_and_it_says_so() -> None:
    page = page_of(whole(traced(report.MOST_LAYERS + 3)))
    assert page.count("<canvas ") == 4 * report.MOST_LAYERS
    assert "3 further layers not drawn; --csv has all of them" in page
    assert report.n_layers_drawn(200) < report.MOST_LAYERS
    assert report.n_layers_drawn(1000) == 2


def test_long_texts_are_broken_into_panels() -> None:
    page = page_of(whole(traced(n_steps=80), 80))
    assert page.count(", part 3 of 3") == 2 + 1
    words = re.findall(r"rotate\(60\)\">(.*?)</text>", page)
    assert words.count("cat") == 16 + 16 + 1


def test_two_models_are_shown_side_by_side() -> None:
    first = replace(whole(), name="runs/a")
    second = replace(whole(), name="runs/b", search=None)
    page = page_of(first, second)
    assert tuple(re.findall("<h2>(.*?)</h2>", page)) == PARTS
    assert page.count('<div class="side-by-side">') == len(PARTS) + 1
    for name in ("runs/a", "runs/b"):
        assert f'<section aria-label="{name}: Beam search">' in page
    assert page.count("Not of this model.") == 1
    assert page.count('<svg class="tree"') == 1


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    blocked = tmp_path / "folder.html"
    blocked.mkdir()
    with pytest.raises(unrolled.RunError, match=r"cannot write .*folder\.html"):
        write_pages([whole()], blocked)
    path = write_pages([whole()], tmp_path / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_notebook_gets_the_page_in_a_frame() -> None:
    one = whole()
    for shown, part in (
        (one, "Beam search"),
        (one.trace, "Gates and states"),
        (one.inspection, "Gradient flow"),
    ):
        frame = shown._repr_html_()
        (source,) = re.findall(r'srcdoc="([^"]*)"', frame)
        page = html.unescape(source)
        assert page.startswith("<!doctype html>")
        assert f"<h2>{part}</h2>" in page
        assert 'sandbox="allow-scripts"' in frame
        assert NASTY not in page
        assert len(repr(shown)) < 300
