"""Draw the figures of a text with matplotlib, and write them with their numbers."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import storage
from unrolled.errors import ConfigError, missing_package
from unrolled.inspect.charts import MOST_STEPS, WORDS_PER_PANEL, tree_panels
from unrolled.inspect.figures import (
    Bars,
    Beam,
    Figure,
    Lines,
    NextTokens,
    Units,
    Weights,
    part_title,
    visible,
)
from unrolled.quoting import shorten
from unrolled.storage import writing

BLUE, ORANGE, GREY = "#08519c", "#c85500", "0.45"
_STYLES = ((BLUE, "-"), (ORANGE, "-"), (GREY, "-"), ("black", "--"), (BLUE, ":"), (ORANGE, ":"))
_WORD = 0.3  # inches
_NEXT_PER_PANEL = 8
_MOST_NAMES = 60


def check_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise missing_package(
            "a figure as SVG or PNG", "matplotlib", "figures", "write a page with --out FILE.html"
        ) from None


def write_figures(figures: Iterable[Figure], folder: str | Path) -> list[Path]:
    """Write each figure as SVG, PNG and CSV, named after it; see `InspectedText.write_figures`.

    Raises:
        ConfigError: the parent of the folder does not exist.
        UnavailableError: matplotlib is not installed.
        RunError: a file cannot be written.
    """
    check_matplotlib()
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise ConfigError(
            f"cannot write figures to {folder}: folder '{folder.parent}' does not exist; create it, or "
            "choose another"
        )
    with writing(folder, "try again"):
        folder.mkdir(exist_ok=True)
    taken: dict[str, int] = {}
    written: list[Path] = []
    for figure in figures:
        number = taken[figure.name] = taken.get(figure.name, 0) + 1
        path = folder / (figure.name if number == 1 else f"{figure.name}-{number}")
        written += _write(figure, path)
    return written


def _write(figure: Figure, path: Path) -> Iterator[Path]:
    import matplotlib

    options: Any = {"svg.fonttype": "none", "svg.hashsalt": figure.name}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # a box stands where a font has no letter
        drawing = draw(figure)
        for ending, more in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 120})):
            file = path.with_name(path.name + ending)
            with storage.replacing(file, "try again") as stream:
                drawing.savefig(stream, format=ending[1:], **more)
            yield file
    file = path.with_name(f"{path.name}.csv")
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    for row in figure.table():
        lines.writerow([f"{each:.6g}" if isinstance(each, float) else each for each in row])
    storage.write_whole(file, text.getvalue().encode("utf-8"), "try again")
    yield file


def draw(figure: Figure) -> Any:
    """A figure as one of matplotlib."""
    drawers: Mapping[type, Callable[[Any], Any]] = {
        Lines: _lines,
        Bars: _bars,
        Weights: _weights,
        Units: _units,
        Beam: _beam,
        NextTokens: _next,
    }
    drawing = drawers[type(figure)](figure)
    title = drawing.suptitle(figure.title, fontsize=9)
    title.set_parse_math(False)
    for axes in drawing.axes:
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts):
            text.set_parse_math(False)  # a dollar sign does not start a formula
    return drawing


def _new(width: float, heights: Sequence[float]) -> tuple[Any, Any]:
    """A figure with panels, one below the other, in inches."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, sum(heights) + 0.4), layout="constrained")
    panels = drawing.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights))
    return drawing, panels[:, 0]


def _over_words(tokens: Sequence[str], height: float) -> tuple[Any, list[tuple[Any, range]]]:
    """A figure with a panel for each part of a text, and the steps of each."""
    starts = range(0, max(1, len(tokens)), WORDS_PER_PANEL)
    parts = [range(start, min(len(tokens), start + WORDS_PER_PANEL)) for start in starts]
    width = 1.8 + _WORD * min(WORDS_PER_PANEL, max(8, len(tokens)))
    drawing, panels = _new(width, [height] * len(parts))
    for panel, steps in zip(panels, parts, strict=True):
        _name_words(panel, tokens, steps)
        longest = min(len(tokens), WORDS_PER_PANEL)
        panel.set_xlim(steps.start - 0.6, steps.start + max(longest, 8) - 0.4)
        panel.spines[["top", "right"]].set_visible(False)
    return drawing, list(zip(panels, parts, strict=True))


def _name_words(panel: Any, tokens: Sequence[str], steps: range) -> None:
    names = [shorten(visible(tokens[step]), 12) for step in steps]
    panel.set_xticks(
        list(steps), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8
    )
    panel.tick_params(axis="y", labelsize=8)


def _lines(figure: Lines) -> Any:
    drawing, panels = _over_words(figure.tokens, 2.2)
    low, high = _bounds(list(figure.lines.values()))
    for panel, steps in panels:
        for place, (name, values) in enumerate(figure.lines.items()):
            color, style = _STYLES[place % len(_STYLES)]
            panel.plot(
                list(steps), values[steps.start : steps.stop], style, color=color, label=name
            )
        panel.set_ylim(*((low, high) if figure.is_log else (min(0.0, low), max(1.0, high))))
    panels[0][0].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


def _bounds(arrays: Sequence[Any]) -> tuple[float, float]:
    values = np.concatenate([each[np.isfinite(each)] for each in arrays])
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    space = 0.05 * (high - low) or 0.5
    return low - space, high + space


def _bars(figure: Bars) -> Any:
    drawing, panels = _over_words(figure.tokens, 2.0)
    low, high = _bounds([figure.values, np.zeros(1)])
    for panel, steps in panels:
        values = np.nan_to_num(figure.values[steps.start : steps.stop])
        colors = [BLUE if value >= 0 else ORANGE for value in values]
        panel.bar(list(steps), values, 0.6, color=colors)
        panel.axhline(0.0, color=GREY, linewidth=0.8)
        panel.set_ylim(low, high)
        panel.set_ylabel(figure.heading, fontsize=8)
    return drawing


def _weights(figure: Weights) -> Any:
    rows, columns = figure.values.shape
    width, height = 2.2 + 0.3 * min(columns, 60), 1.2 + 0.26 * min(rows, 60)
    drawing, (panel,) = _new(width, [height])
    image = panel.imshow(figure.values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _name(panel.set_xticks, figure.columns, rotation=60, ha="right", rotation_mode="anchor")
    _name(panel.set_yticks, figure.rows)
    drawing.colorbar(image, ax=panel, shrink=0.8).set_label("attention weight")
    return drawing


def _name(set_ticks: Any, names: Sequence[str], **style: Any) -> None:
    """Names of rows or columns; of many, every second, third …"""
    every = -(-len(names) // _MOST_NAMES)
    places = range(0, len(names), every)
    set_ticks(
        list(places), [shorten(visible(names[place]), 12) for place in places], fontsize=8, **style
    )


def _units(figure: Units) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("signs", [ORANGE, "white", BLUE])
    width = 2.2 + 0.3 * min(len(figure.tokens), 40)
    drawing, panels = _new(width, [1.6] * (len(figure.parts) - 1) + [2.2])
    for panel, (name, values_TH) in zip(panels, figure.parts.items(), strict=True):
        values = np.nan_to_num(values_TH.T)
        most = max(1.0, float(np.abs(values).max(initial=0.0)))
        panel.imshow(
            values, cmap=colors, vmin=-most, vmax=most, aspect="auto", interpolation="nearest"
        )
        title = f"{part_title(name)} (±{most:.3g})".replace(" ", "\n", 1)
        panel.set_ylabel(title, fontsize=8)
        panel.tick_params(labelsize=7)
        panel.set_xticks([])
    _name(panels[-1].set_xticks, figure.tokens, rotation=60, ha="right", rotation_mode="anchor")
    return drawing


def _beam(figure: Beam) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    parts = tree_panels(figure.tree)
    drawing, panels = _new(max(part.width for part in parts) / 80, [p.height / 80 for p in parts])
    widest = max(part.width for part in parts)
    for panel, part in zip(panels, parts, strict=True):
        panel.set(xlim=(0, widest), ylim=(part.height, 0))
        panel.axis("off")
        for step in part.steps:
            panel.text(step.x, 12, f"step {step.text}", fontsize=7, color=GREY)
        for edge in part.edges:
            is_answer = edge.kind == "edge-answer"
            codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
            panel.add_patch(
                PathPatch(
                    Curve(edge.points, codes),
                    fill=False,
                    color=BLUE if is_answer else "0.7",
                    linewidth=2 if is_answer else 0.8,
                )
            )
        for box in part.boxes:
            color = {"box-answer": BLUE, "box-dropped": GREY}.get(box.kind, "black")
            weight = "bold" if box.kind == "box-answer" else "normal"
            panel.text(box.x, box.y + 4, box.text, fontsize=8, color=color, weight=weight)
            panel.text(box.x, box.y + 17, box.number, fontsize=6.5, color=GREY)
    return drawing


def _next(figure: NextTokens) -> Any:
    steps = figure.steps[:MOST_STEPS]
    parts = [steps[at : at + _NEXT_PER_PANEL] for at in range(0, len(steps), _NEXT_PER_PANEL)]
    n_best = max((len(step.best) for step in steps), default=1)
    width = 1 + 1.1 * min(len(steps), _NEXT_PER_PANEL)
    drawing, panels = _new(width, [0.6 + 0.28 * n_best] * len(parts))
    for panel, part in zip(panels, parts, strict=True):
        shares = np.zeros((n_best, len(part)))
        for column, step in enumerate(part):
            for place, (token, share) in enumerate(step.best):
                shares[place, column] = share
                weight = "bold" if place + 1 == step.rank else "normal"
                color = "white" if share > 0.65 else "black"
                text = f"{shorten(visible(token), 10)} {share:.0%}"
                panel.text(column, place, text, fontsize=7, ha="center", va="center", color=color,
                           weight=weight)  # fmt: skip
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        panel.set_xlim(-0.5, min(len(steps), _NEXT_PER_PANEL) - 0.5)
        panel.spines[:].set_visible(False)
        names = [
            f"{shorten(visible(step.before), 12)}\n→ {shorten(visible(step.came), 12)}"
            for step in part
        ]
        panel.set_xticks(range(len(part)), names, fontsize=7)
        panel.xaxis.tick_top()
        panel.set_yticks(range(n_best), [str(place + 1) for place in range(n_best)], fontsize=7)
    return drawing
