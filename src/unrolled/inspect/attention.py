"""Draw the attention weights of predictions as an image or an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled import storage
from unrolled.errors import ConfigError, missing_package
from unrolled.inspect import page
from unrolled.inspect.page import HeatmapCell, HeatmapRow
from unrolled.tasks.predictions import LabelPrediction, Prediction
from unrolled.wording import percent


def draw_attention(
    predictions: Sequence[Prediction | LabelPrediction], path: str | Path, command: str = ""
) -> Path:
    """Draw the attention weights of predictions as heat maps, one for each text.

    A word that the model does not know is shown as it was written, in brackets.

    Args:
        predictions: translations with attention, of each of which the best is drawn, or labels from a
            model with attention.
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
    read = [each for each in predictions if _n_read(each)]
    if not read:
        raise ConfigError(f"nothing to draw in {path}: every sentence is empty")
    drawable = [figure for each in read for figure in _figures(each)]
    if not drawable:
        setting = "model.attention = 'none'" if isinstance(read[0], Prediction) else ""
        raise ConfigError(
            f"nothing to draw in {path}: this model has no attention"
            + (f" ({setting})" if setting else "")
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
        storage.write_whole(path, _page(drawable, command).encode("utf-8"), "try again")
    else:
        _draw_picture(drawable, path)
    return path


@dataclass(frozen=True)
class _Figure:
    """A heat map: one row of weights per name.

    Args:
        text: the output, as caption.
        score: its score, in words.
        columns: the words of the input.
        rows: names of the rows.
        weights: one list per row.
        down: title of the rows.
        has_unknown: whether words are in brackets.
    """

    text: str
    score: str
    columns: Sequence[str]
    rows: Sequence[str]
    weights: Sequence[Sequence[float]]
    down: str
    has_unknown: bool


def _n_read(prediction: Prediction | LabelPrediction) -> int:
    if isinstance(prediction, Prediction):
        return len(prediction.source_pieces) - 1
    return sum(map(len, prediction.pieces))


def _figures(prediction: Prediction | LabelPrediction) -> Iterator[_Figure]:
    """The heat map of a translation, or of each text of a label that has attention."""
    if isinstance(prediction, Prediction):
        best = prediction.hypotheses[0]
        if best.attention is not None:
            read = prediction.source_pieces
            columns = _marked(read, prediction.source_words or read)
            yield _Figure(
                best.text,
                f"log-probability {best.log_prob:.2f}".replace("-", "−").replace("log−", "log-"),
                columns,
                best.pieces,
                best.attention.tolist(),
                "translation",
                columns != list(read),
            )
        return
    if prediction.probabilities.ndim > 1:
        return
    label = ", ".join(prediction.labels) or "no label"
    probability = f"probability {percent(float(prediction.probabilities.max()))}"
    written = prediction.words or prediction.pieces
    for read, words, weights in zip(prediction.pieces, written, prediction.weights, strict=True):
        if weights is not None and len(read):
            columns = _marked(read, words)
            rows = [label]
            yield _Figure(
                label,
                probability,
                columns,
                rows,
                [weights.tolist()],
                "label",
                columns != list(read),
            )


def _marked(read: Sequence[str], written: Sequence[str]) -> list[str]:
    """The words of a text, in brackets those that the model did not know."""
    return [
        word if word == piece else f"[{word}]" for piece, word in zip(read, written, strict=True)
    ]


def _draw_picture(figures: Sequence[_Figure], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package(
            "an image", "matplotlib", "figures", "write to a .html file"
        ) from None
    sizes = [(len(each.columns) * 0.42 + 1.6, len(each.rows) * 0.36 + 1.6) for each in figures]
    drawing = Figure(
        figsize=(max(width for width, _ in sizes), sum(height for _, height in sizes)),
        layout="constrained",
    )
    panels = drawing.subplots(
        len(figures), 1, squeeze=False, height_ratios=[height for _, height in sizes]
    )
    for each, panel in zip(figures, panels[:, 0], strict=True):
        image = panel.imshow(each.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        panel.set_xticks(range(len(each.columns)), each.columns)
        panel.tick_params(axis="x", rotation=60, top=True, bottom=False)
        panel.tick_params(labeltop=True, labelbottom=False)
        for label in panel.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
        panel.set_yticks(range(len(each.rows)), each.rows)
        for label in (*panel.get_xticklabels(), *panel.get_yticklabels()):
            label.set_parse_math(False)  # a dollar sign does not start a formula
        for edge in panel.spines.values():
            edge.set_color("0.8")
    n = len(figures)
    scale = drawing.colorbar(
        image, ax=list(panels[:, 0]), shrink=0.6 / n, pad=0.02, anchor=(0, 0.5 if n == 1 else 1)
    )
    scale.set_label("attention weight")
    with storage.replacing(path, "try again") as stream:
        drawing.savefig(stream, format=path.suffix[1:].lower(), dpi=150)


@dataclass(frozen=True)
class _Shown:
    """A figure as shown on the page."""

    figure: _Figure
    rows: Sequence[HeatmapRow]


def attention_page(predictions: Sequence[Prediction | LabelPrediction], command: str = "") -> str:
    """Create a self-contained HTML page with a heat map for each text.

    Args:
        predictions: predictions with attention; the best translation of each is shown.
        command: the command that creates the page, for the footer.
    """
    return _page([figure for each in predictions for figure in _figures(each)], command)


def _page(figures: Sequence[_Figure], command: str) -> str:
    return page.render(
        "attention.html",
        title="Attention",
        command=command,
        figures=[_Shown(figure, heatmap_rows(figure.rows, figure.weights)) for figure in figures],
        has_unknown=any(figure.has_unknown for figure in figures),
    )


def heatmap_rows(names: Sequence[str], weights: Sequence[Sequence[float]]) -> list[HeatmapRow]:
    """Rows of a heat map of weights."""
    return [
        HeatmapRow(name, [HeatmapCell(weight, f"{weight:.3f}") for weight in row])
        for name, row in zip(names, weights, strict=True)
    ]
