"""The page of `unrolled inspect`: everything is in it, its script alone may run, and it stays small."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled import nn
from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.verdict import judge
from unrolled.inspect import report
from unrolled.inspect.gradient_flow import Inspection
from unrolled.inspect.report import report_page, write_report
from unrolled.inspect.trace import Trace, TracedAttention, TracedLayer

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = ("the", "<b>red</b>", "cat", '"quoted"', "ends")
NASTY = '<script>alert("1")</script>'
T, H = len(TOKENS), 7


def inspected() -> Inspection:
    layer = nn.LSTM(3, H)
    x = torch.randn(T, 1, 3, dtype=torch.float64)
    flow = measure_flow(layer, lambda layer: (layer(x)[0][-1].sum(), 1))
    return Inspection(flow, judge(flow), None, f"about {NASTY}", (f"note {NASTY}",))


def traced(n_layers: int = 1, n_steps: int = T, width: int = H) -> Trace:
    random = np.random.default_rng(3)
    values = {name: random.uniform(-1, 1, (n_steps, width)) for name in ("h", "c", "i", "f")}
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
    weights = np.full((2, T), 1 / T)
    attention = TracedAttention(f"attention {NASTY}", ("a", "b"), TOKENS, weights)
    return Trace(layers, (attention,), f"answer {NASTY}", 0.5, 0.0)


def test_the_page_has_every_part() -> None:
    page = report_page(traced(), inspected())
    for part in ("Diagnosis", "Gradient flow", "Attention", "Gates and states"):
        assert f"<h2>{part}</h2>" in page
    assert page.count("<canvas ") == 4
    assert page.count("<polyline ") == 2 + 2
    assert page.count("<main>") == page.count("</main>") == 1
    assert "forget gate" in page
    for token in TOKENS:
        assert html.escape(token).replace("&quot;", "&#34;") in page


def test_maps_hold_the_values() -> None:
    trace = traced()
    page = report_page(trace, inspected())
    for name, tag in zip(trace.layers[0].values, re.findall(r"<canvas [^>]*>", page), strict=True):
        data = {
            key: html.unescape(value) for key, value in re.findall(r'data-(\w+)="([^"]*)"', tag)
        }
        levels = np.frombuffer(base64.b64decode(data["values"]), np.int8)
        values = levels.reshape(H, T).T * float(data["scale"]) / 127
        assert (int(data["rows"]), int(data["columns"])) == (H, T)
        np.testing.assert_allclose(values, trace.layers[0].values[name], atol=0.5 / 127)
        assert json.loads(data["names"]) == list(TOKENS)
        assert 'tabindex="0" role="img" aria-label="' in tag


def test_values_that_are_not_finite_are_drawn() -> None:
    trace = traced()
    trace.layers[0].values["h"][0, 0] = np.nan
    trace.layers[0].values["c"][0, 0] = np.inf
    assert "<canvas " in report_page(trace, inspected())


def test_only_the_script_of_the_package_may_run() -> None:
    page = report_page(traced(), inspected(), f"unrolled inspect {NASTY}")
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


def test_the_page_of_a_large_model_is_below_two_megabytes() -> None:
    page = report_page(traced(1, 200, 512), inspected())
    assert len(page.encode("utf-8")) < 2_000_000


def test_many_layers_are_left_out_and_it_says_so() -> None:
    page = report_page(traced(report.MOST_LAYERS + 3), inspected())
    assert page.count("<canvas ") == 4 * report.MOST_LAYERS
    assert "3 further layers not drawn; --csv has all of them" in page


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    blocked = tmp_path / "folder.html"
    blocked.mkdir()
    with pytest.raises((unrolled.RunError, OSError)):
        write_report(traced(), inspected(), blocked)
    path = write_report(traced(), inspected(), tmp_path / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
