"""Word maps: plot word vectors in two dimensions, so that similar words are close to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import storage
from unrolled.errors import ConfigError, missing_package
from unrolled.inspect.pictures import named_letters
from unrolled.vectors.word_vectors import WordVectors
from unrolled.wording import percent

ENDINGS = (".png", ".svg", ".pdf")
_MOST = 500  # words; with more, the map is unreadable
_FONT_SIZE = 9.0  # points
_GAP = 4.0  # points between a dot and its label

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def draw_words(vectors: WordVectors, words: Sequence[str], path: str | Path) -> Path:
    """Plot words on the first two principal components of their vectors.

    Vectors are normalised to length 1, as for cosine similarity. If possible, a label is placed next to
    its dot, where it covers no other label or dot; a line connects a label further away to its dot.

    Args:
        vectors: the vectors of the words.
        words: 2 to 500; duplicates are drawn once.
        path: ends in `.png`, `.svg` or `.pdf`.

    Characters that the font lacks are drawn as boxes; a `UserWarning` names them.

    Returns:
        The path.

    Raises:
        ConfigError: the path has another ending or is a folder, the folder does not exist, there are
            fewer than 2 or more than 500 words, or a word has no vector.
        UnavailableError: matplotlib is not installed.
        RunError: the disk is full, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"cannot draw words as '{path.suffix or path.name}'; end the file name in .png, .svg or .pdf"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot draw {path}: folder '{path.parent}' does not exist; create it, or choose another"
        )
    if path.is_dir():
        raise ConfigError(f"cannot draw {path}: it is a folder; name a file in it")
    words = list(dict.fromkeys(words))
    if not 2 <= len(words) <= _MOST:
        raise ConfigError(f"a map takes 2 to {_MOST} different words, got {len(words)}")
    ids = np.array([vectors.id_of(word) for word in words])
    places_N2, shares = project(vectors.unit(ids))
    with named_letters(words):
        _draw(words, places_N2, shares, path)
    return path


def project(
    vectors_ND: NDArray[np.floating],
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Project vectors to two dimensions by principal component analysis.

    Args:
        vectors_ND: N points.

    Returns:
        `[N, 2]` coordinates, and the share of the variance (0…1) along each axis. The sign of an axis is
        arbitrary; here the coordinate furthest from 0 is positive.

    >>> places, shares = project(np.array([[0.0, 0, 1], [4, 0, 1], [2, 1, 1], [2, -1, 1]]))
    >>> np.abs(places).round(6).tolist()
    [[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> shares
    (0.8, 0.2)
    """
    centred_ND = np.asarray(vectors_ND, np.float64) - vectors_ND.mean(axis=0, dtype=np.float64)
    left_NK, values_K, _ = np.linalg.svd(centred_ND, full_matrices=False)
    places_N2 = np.zeros((len(centred_ND), 2))
    kept = min(2, len(values_K))
    places_N2[:, :kept] = left_NK[:, :kept] * values_K[:kept]
    furthest = np.abs(places_N2).argmax(axis=0)
    places_N2 *= np.where(places_N2[furthest, [0, 1]] < 0, -1.0, 1.0)
    total = float((values_K**2).sum()) or 1.0
    shares = [round(float(value**2) / total, 6) for value in values_K[:2]] + [0.0]
    return places_N2, (shares[0], shares[1])


def _draw(
    words: Sequence[str], places_N2: NDArray[np.float64], shares: tuple[float, float], path: Path
) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("an image", "matplotlib", "figures") from None
    side = min(16.0, 4.0 + 0.6 * math.sqrt(len(words)))
    figure = Figure(figsize=(side * 1.25, side), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(places_N2[:, 0], places_N2[:, 1], s=14, color="#08519c", zorder=3)
    axes.margins(0.12)
    axes.set_xlabel(f"first principal component ({percent(shares[0])} of the variance)")
    axes.set_ylabel(f"second ({percent(shares[1])})")
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    for edge in axes.spines.values():
        edge.set_color("0.8")
    axes.tick_params(colors="0.5", labelsize=7)
    canvas.draw()  # computes the layout, so that positions in the image are known
    figure.set_layout_engine("none")
    _label(axes, canvas.get_renderer(), words, places_N2, figure.dpi / 72)
    with storage.replacing(path, "try again") as stream:
        figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150)


def _label(
    axes: Any,
    renderer: Any,
    words: Sequence[str],
    places_N2: NDArray[np.float64],
    pixels_per_point: float,
) -> None:
    dots_N2 = axes.transData.transform(places_N2)
    sizes: list[tuple[float, float]] = []
    for word in words:
        text = axes.text(0, 0, word, fontsize=_FONT_SIZE, parse_math=False)
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width, extent.height))
        text.remove()
    window = axes.get_window_extent(renderer)
    inside = (window.x0, window.y0, window.x1, window.y1)
    boxes = place_labels([(x, y) for x, y in dots_N2], sizes, inside, _GAP * pixels_per_point)
    for word, (x, y), (left, bottom, right, top) in zip(words, dots_N2, boxes, strict=True):
        near = min(max(x, left), right), min(max(y, bottom), top)
        is_far = math.dist((x, y), near) > 2.5 * _GAP * pixels_per_point
        offset = (left - x) / pixels_per_point, (bottom - y) / pixels_per_point
        axes.annotate(
            word,
            axes.transData.inverted().transform((x, y)),
            offset,
            textcoords="offset points",
            fontsize=_FONT_SIZE,
            verticalalignment="bottom",
            parse_math=False,  # a dollar sign does not start a formula
            arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6} if is_far else None,
            zorder=4,
        )


def place_labels(
    dots: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    inside: Box,
    gap: float,
) -> list[Box]:
    """Place a label next to every dot, where it overlaps least with other labels and dots.

    Positions around the dot are tried (right, left, above, below and the corners), then wider circles;
    among equally good positions, the first is used. Labels in crowded areas are placed first, because
    those at the edge have more room.

    Args:
        dots: x and y of each dot.
        sizes: width and height of each label.
        inside: box that labels must not leave.
        gap: distance between a dot and the nearest positions of its label.

    Returns:
        A box for each label, in the order of the dots.

    >>> place_labels([(10, 10), (12, 10)], [(8, 3), (8, 3)], (0, 0, 40, 20), 1)
    [(1.0, 8.5, 9.0, 11.5), (13.0, 8.5, 21.0, 11.5)]
    """
    dots_N2 = np.asarray(dots, float)
    between_NN = np.linalg.norm(dots_N2[:, None] - dots_N2[None], axis=2)
    order = np.argsort(np.sort(between_NN, axis=1)[:, :4].sum(axis=1), kind="stable")
    hidden_dots = [(x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in dots]
    placed: dict[int, Box] = {}
    for index in order.tolist():
        taken = np.array([*placed.values(), *hidden_dots[:index], *hidden_dots[index + 1 :]])
        candidates = list(_around(dots[index], sizes[index], gap))
        costs = [_overlap(box, taken) + _outside(box, inside) for box in candidates]
        placed[index] = candidates[int(np.argmin(costs))]
    return [placed[index] for index in range(len(dots))]


def _around(dot: tuple[float, float], size: tuple[float, float], gap: float) -> list[Box]:
    (x, y), (width, height) = dot, size
    boxes: list[Box] = []
    for circle in range(6):
        far = gap * (1 + 2.5 * circle)
        across, up = far, far + height / 2
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            middle_x = x + dx * (across + width / 2)
            middle_y = y + dy * up
            left, bottom = middle_x - width / 2, middle_y - height / 2
            boxes.append((left, bottom, left + width, bottom + height))
    return boxes


def _overlap(box: Box, taken_N4: NDArray[np.float64]) -> float:
    """The area of a box that other boxes cover."""
    if not len(taken_N4):
        return 0.0
    left, bottom, right, top = box
    width_N = np.minimum(right, taken_N4[:, 2]) - np.maximum(left, taken_N4[:, 0])
    height_N = np.minimum(top, taken_N4[:, 3]) - np.maximum(bottom, taken_N4[:, 1])
    return float((width_N.clip(0) * height_N.clip(0)).sum())


def _outside(box: Box, inside: Box) -> float:
    """A cost for the area of a box that would be cut off."""
    left, bottom, right, top = box
    seen_width = min(right, inside[2]) - max(left, inside[0])
    seen_height = min(top, inside[3]) - max(bottom, inside[1])
    whole = (right - left) * (top - bottom)
    return 10 * (whole - max(0.0, seen_width) * max(0.0, seen_height))
