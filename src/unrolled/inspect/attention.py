"""Draw the attention weights between a source and its translation as an image or an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled import storage
from unrolled.errors import ConfigError, UnavailableError
from unrolled.inspect import page
from unrolled.inspect.page import HeatmapCell, HeatmapRow
from unrolled.tasks.predictions import Prediction


def draw_attention(predictions: Sequence[Prediction], path: str | Path, command: str = "") -> Path:
    """Draw the attention weights of translations as heat maps.

    Args:
        predictions: predictions with attention; the best translation of each is drawn.
        path: ends in `.png`, `.svg` or `.pdf` (drawn by matplotlib), or in `.html` (one page that needs
            no other file).
        command: the command that creates the drawing, for the footer of a page.

    Returns:
        The path.

    Raises:
        ConfigError: the path has another ending, the folder does not exist, every sentence is empty, or
            the model has no attention.
        UnavailableError: the path is that of an image, and matplotlib is not installed.
        RunError: the disk is full, or the file cannot be written.

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
    # The model does not run on a sentence that is only </s>.
    translated = [p for p in predictions if len(p.source_pieces) > 1]
    if not translated:
        raise ConfigError(f"nothing to draw in {path}: every sentence is empty")
    drawable = [p for p in translated if p.hypotheses[0].attention is not None]
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
            f"cannot draw {path}: folder '{path.parent}' does not exist; create it, or choose another"
        )
    if ending == ".html":
        storage.write_whole(path, attention_page(drawable, command).encode("utf-8"), "try again")
    else:
        _draw_picture(drawable, path)
    return path


def _draw_picture(predictions: Sequence[Prediction], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError(
            "an image needs matplotlib; run pip install 'unrolled[figures]', or write to a .html file"
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
            label.set_parse_math(False)  # a dollar sign does not start a formula
        for edge in panel.spines.values():
            edge.set_color("0.8")
        figure.colorbar(image, ax=panel, shrink=0.6, label="attention weight", pad=0.02)
    with storage.replacing(path, "try again") as stream:
        figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150)


@dataclass(frozen=True)
class _Translation:
    """A translation as shown on the page: one row of weights per piece of the translation."""

    text: str
    log_prob: float
    source_pieces: Sequence[str]
    rows: Sequence[HeatmapRow]


def attention_page(predictions: Sequence[Prediction], command: str = "") -> str:
    """Create a self-contained HTML page with a heat map for each translation.

    Args:
        predictions: predictions with attention; the best translation of each is shown.
        command: the command that creates the page, for the footer.
    """
    translations = [_translation(prediction) for prediction in predictions]
    return page.render(
        "attention.html", title="Attention", command=command, translations=translations
    )


def _translation(prediction: Prediction) -> _Translation:
    best = prediction.hypotheses[0]
    assert best.attention is not None
    rows = [
        HeatmapRow(piece, [HeatmapCell(weight, f"{weight:.3f}") for weight in weights])
        for piece, weights in zip(best.pieces, best.attention.tolist(), strict=True)
    ]
    return _Translation(best.text, best.log_prob, prediction.source_pieces, rows)
