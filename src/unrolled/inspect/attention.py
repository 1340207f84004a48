"""The alignment of a translation, as a picture or as a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from unrolled import storage
from unrolled.errors import ConfigError, UnavailableError
from unrolled.tasks.predictions import Prediction


def draw_attention(predictions: Sequence[Prediction], path: str | Path) -> Path:
    """Draw which source piece each target piece looked at, one panel per prediction.

    Args:
        predictions: made with attention; the best answer of each is drawn.
        path: ends in `.png`, `.svg` or `.pdf` (drawn by matplotlib) or `.html` (one self-contained page).

    Raises:
        ConfigError: another ending, no such folder, nothing to draw, or predictions without attention.
        UnavailableError: a picture is asked for and matplotlib is not installed.

    >>> import tempfile, torch
    >>> from unrolled.tasks.predictions import Answer
    >>> answer = Answer("la casa", -0.4, -1.2, ("la", "casa", "</s>"), torch.eye(3), finished=True)
    >>> prediction = Prediction("la casa", -0.4, ("the", "house", "</s>"), (answer,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = draw_attention([prediction], f"{folder}/attention.html")
    ...     page.read_text(encoding="utf-8").count("<td title=")
    9
    """
    path = Path(path)
    # A sentence of nothing but </s> was never shown to the model.
    asked = [p for p in predictions if len(p.source_pieces) > 1]
    if not asked:
        raise ConfigError(f"nothing to draw in {path}: every sentence is empty")
    drawable = [p for p in asked if p.hypotheses[0].attention is not None]
    if not drawable:
        raise ConfigError(
            f"nothing to draw in {path}: this model has no attention (model.attention = 'none')"
        )
    ending = path.suffix.lower()
    if ending not in (".png", ".svg", ".pdf", ".html"):
        raise ConfigError(
            f"cannot draw attention as '{path.suffix or path.name}'; end the file name in .png, .svg, "
            ".pdf or .html"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot draw {path}: there is no folder '{path.parent}'; make it, or name another"
        )
    if ending == ".html":
        storage.write_whole(path, attention_page(drawable).encode("utf-8"), "try again")
    else:
        _draw_picture(drawable, path)
    return path


def _draw_picture(predictions: Sequence[Prediction], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError(
            "drawing a picture needs matplotlib: pip install 'unrolled[figures]', or name a .html file"
        ) from None
    sizes = [
        (len(p.source_pieces) * 0.42 + 1.6, len(p.hypotheses[0].pieces) * 0.36 + 1.6)
        for p in predictions
    ]
    figure = Figure(
        figsize=(max(width for width, _ in sizes), sum(height for _, height in sizes)),
        layout="constrained",
    )
    panels = figure.subplots(
        len(predictions), 1, squeeze=False, height_ratios=[height for _, height in sizes]
    )
    for prediction, panel in zip(predictions, panels[:, 0], strict=True):
        best = prediction.hypotheses[0]
        assert best.attention is not None
        image = panel.imshow(best.attention.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="equal")
        panel.set_xticks(range(len(prediction.source_pieces)), prediction.source_pieces)
        panel.tick_params(axis="x", rotation=60, top=True, bottom=False)
        panel.tick_params(labeltop=True, labelbottom=False)
        for label in panel.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
        panel.set_yticks(range(len(best.pieces)), best.pieces)
        for label in (*panel.get_xticklabels(), *panel.get_yticklabels()):
            label.set_parse_math(False)  # a dollar sign is a dollar sign
        for edge in panel.spines.values():
            edge.set_color("0.8")
        figure.colorbar(image, ax=panel, shrink=0.6, label="attention weight", pad=0.02)
    with storage.replacing(path, "try again") as stream:
        figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150)


_STYLE = """
body {
  font: 16px/1.4 system-ui, sans-serif; color: #1b1f24;
  margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
}
figure { margin: 0 0 2.5rem; overflow-x: auto }
figcaption { margin-bottom: .6rem }
table { border-collapse: collapse }
th { font-weight: 400; padding: .15rem .5rem; white-space: nowrap }
thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left }
tbody th { text-align: right }
td { width: 1.9rem; height: 1.7rem; border: 1px solid #e5e9ee }
.score { color: #667 }
"""


def attention_page(predictions: Sequence[Prediction]) -> str:
    """One HTML page that needs nothing else: a table per translation, the weight as a cell's colour."""
    figures = "\n".join(_table(prediction) for prediction in predictions)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Attention</title><style>{_STYLE}</style></head>\n<body>\n<h1>Attention</h1>\n"
        "<p>Each row is a piece of the translation; the darker a cell, the more that piece looked at "
        f"the source piece above.</p>\n{figures}\n</body></html>\n"
    )


def _table(prediction: Prediction) -> str:
    best = prediction.hypotheses[0]
    assert best.attention is not None
    head = "".join(f"<th>{html.escape(piece)}</th>" for piece in prediction.source_pieces)
    rows = "\n".join(
        f"<tr><th>{html.escape(piece)}</th>{''.join(map(_cell, weights))}</tr>"
        for piece, weights in zip(best.pieces, best.attention.tolist(), strict=True)
    )
    return (
        f"<figure><figcaption>{html.escape(best.text)} "
        f'<span class="score">log-probability {best.log_prob:.2f}</span></figcaption>\n'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></figure>"
    )


def _cell(weight: float) -> str:
    return f'<td title="{weight:.3f}" style="background: rgba(8, 81, 156, {weight:.3f})"></td>'
