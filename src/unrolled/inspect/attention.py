"""Draw the attention weights of predictions as an image or an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import storage
from unrolled.errors import ConfigError, missing_package
from unrolled.inspect import page
from unrolled.inspect.page import HeatmapCell, HeatmapRow
from unrolled.inspect.pictures import named_letters
from unrolled.metrics.slices import TEXT_SEPARATOR
from unrolled.quoting import shorten
from unrolled.tasks.predictions import LabelPrediction, Prediction
from unrolled.wording import percent, with_minus

_LEAST_NUMBER = 0.05
_STRONG = 0.77  # from this weight on, the text of a cell is light on dark, or dark on light
_LONGEST_LINK = 80
_LEAST_WIDTH = 4.0  # inches of a picture


def draw_attention(
    predictions: Sequence[Prediction | LabelPrediction], path: str | Path, command: str = ""
) -> Path:
    """Draw the attention weights of predictions as heat maps, one for each text.

    A word that the model does not know is shown as it was written, in brackets. Characters that the font
    of a picture lacks are drawn as boxes; a `UserWarning` names them.

    Args:
        predictions: translations with attention, of each of which the best is drawn, or labels from a
            model with attention.
        path: ends in `.html` (one page for all, which needs no other file), `.pdf` (a page for each
            prediction), `.png` or `.svg` (a file for each prediction; several are numbered, as
            `numbered_paths` says). Pictures are drawn by matplotlib.
        command: the command that creates the drawing, for the footer of a page.

    Returns:
        The path; of several files, that of the first.

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
    drawable = list(_drawings(read))
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
        return path
    return _save_pictures(drawable, path)


def numbered_paths(path: Path, n: int) -> list[Path]:
    """The files of n predictions: with numbers for several pictures, otherwise the path itself.

    >>> [str(path) for path in numbered_paths(Path("one.png"), 3)]
    ['one-1.png', 'one-2.png', 'one-3.png']
    >>> len(numbered_paths(Path("one.html"), 3)), len(numbered_paths(Path("one.png"), 1))
    (1, 1)
    """
    if n == 1 or path.suffix.lower() not in (".png", ".svg"):
        return [path]
    width = len(str(n))
    return [path.with_name(f"{path.stem}-{i:0{width}}{path.suffix}") for i in range(1, n + 1)]


@dataclass(frozen=True)
class _Figure:
    """A heat map: one row of weights per name.

    Args:
        text: what the rows are, as caption; "" if the title says it.
        score: its score, in words.
        columns: the words of the input.
        rows: names of the rows.
        weights: one list per row.
        down: title of the rows.
        across: title of the columns.
        has_unknown: whether words are in brackets.
    """

    text: str
    score: str
    columns: Sequence[str]
    rows: Sequence[str]
    weights: Sequence[Sequence[float]]
    down: str
    across: str
    has_unknown: bool

    @property
    def cells(self) -> list[HeatmapRow]:
        """The rows of the page."""
        return heatmap_rows(self.rows, self.weights)


@dataclass(frozen=True)
class _Drawing:
    """The heat maps of one prediction, under the text of it."""

    title: str
    figures: Sequence[_Figure]


def _drawings(
    predictions: Sequence[Prediction | LabelPrediction],
) -> Iterator[_Drawing]:
    for each in predictions:
        if figures := list(_figures(each)):
            yield _Drawing(_title(each), figures)


def _title(prediction: Prediction | LabelPrediction) -> str:
    """The translation, or the labelled texts."""
    if isinstance(prediction, Prediction):
        return prediction.hypotheses[0].text.strip() or "(empty)"
    texts = (" ".join(words) for words in prediction.words or prediction.pieces)
    return f" {TEXT_SEPARATOR} ".join(texts).strip() or "(empty)"


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
                "",
                f"log-probability {with_minus(f'{best.log_prob:.2f}')}",
                columns,
                best.pieces,
                best.attention.tolist(),
                "output",
                "source",
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
                "text",
                columns != list(read),
            )


def _marked(read: Sequence[str], written: Sequence[str]) -> list[str]:
    """The words of a text, in brackets those that the model did not know."""
    return [
        word if word == piece else f"[{word}]" for piece, word in zip(read, written, strict=True)
    ]


def _save_pictures(drawings: Sequence[_Drawing], path: Path) -> Path:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise missing_package(
            "an image", "matplotlib", "figures", "write to a .html file"
        ) from None
    paths = numbered_paths(path, len(drawings))
    with named_letters(_texts(drawings)):
        if path.suffix.lower() == ".pdf":
            from matplotlib.backends.backend_pdf import PdfPages

            with storage.replacing(path, "try again") as stream, PdfPages(stream) as pages:
                for each in drawings:
                    pages.savefig(_picture(each), bbox_inches="tight")
            return path
        for each, file in zip(drawings, paths, strict=True):
            with storage.replacing(file, "try again") as stream:
                kind = file.suffix[1:].lower()
                _picture(each).savefig(stream, format=kind, dpi=150, bbox_inches="tight")
    return paths[0]


def _texts(drawings: Sequence[_Drawing]) -> Iterator[str]:
    for drawing in drawings:
        yield drawing.title
        for figure in drawing.figures:
            yield from (*figure.columns, *figure.rows)


def _picture(drawing: _Drawing) -> Any:
    """The heat maps of one prediction as a figure of matplotlib."""
    from matplotlib.figure import Figure

    width = max(_LEAST_WIDTH, *(len(each.columns) * 0.42 + 2.6 for each in drawing.figures))
    heights = [len(each.rows) * 0.4 + 1.6 for each in drawing.figures]
    picture = Figure(figsize=(width, sum(heights) + 0.6), layout="compressed")
    panels = picture.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for each, panel in zip(drawing.figures, panels, strict=True):
        image = panel.imshow(each.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        panel.set_xticks(range(len(each.columns)), [shorten(word, 30) for word in each.columns])
        panel.tick_params(axis="x", rotation=60, top=True, bottom=False)
        panel.tick_params(labeltop=True, labelbottom=False)
        for label in panel.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
        panel.set_yticks(range(len(each.rows)), [shorten(word, 30) for word in each.rows])
        for label in (*panel.get_xticklabels(), *panel.get_yticklabels()):
            label.set_parse_math(False)  # a dollar sign does not start a formula
        for edge in panel.spines.values():
            edge.set_color("0.8")
        unknown = "; [in brackets]: unknown to the model" if each.has_unknown else ""
        panel.set_xlabel(f"{each.across}{unknown}", color="0.35")
        panel.set_ylabel(each.down, color="0.35")
        scale = picture.colorbar(image, ax=panel, shrink=0.8, pad=0.02, fraction=0.04)
        scale.set_label("attention weight")
    caption = f"{shorten(drawing.title, int(width * 9))}\n{drawing.figures[0].score}"
    picture.suptitle(caption, fontsize=11, parse_math=False)
    return picture


def attention_page(predictions: Sequence[Prediction | LabelPrediction], command: str = "") -> str:
    """Create a self-contained HTML page with a heat map for each text.

    Args:
        predictions: predictions with attention; the best translation of each is shown.
        command: the command that creates the page, for the footer.
    """
    return _page(list(_drawings(predictions)), command)


def _page(drawings: Sequence[_Drawing], command: str) -> str:
    return page.render(
        "attention.html",
        title="Attention",
        command=command,
        figures=drawings,
        sections={
            f"text-{number}": f"{number}. {shorten(drawing.title, _LONGEST_LINK)}"
            for number, drawing in enumerate(drawings, start=1)
        },
        least=_LEAST_NUMBER,
        has_unknown=any(figure.has_unknown for each in drawings for figure in each.figures),
    )


def heatmap_rows(names: Sequence[str], weights: Sequence[Sequence[float]]) -> list[HeatmapRow]:
    """Rows of a heat map of weights, with their numbers in percent where they can be seen."""
    return [
        HeatmapRow(name, [_cell(weight) for weight in row])
        for name, row in zip(names, weights, strict=True)
    ]


def _cell(weight: float) -> HeatmapCell:
    text = f"{100 * weight:.0f}" if weight >= _LEAST_NUMBER else ""
    kind = "weight strong" if weight >= _STRONG else "weight"
    return HeatmapCell(weight, f"{weight:.3f}", text, kind)
