"""Sequential digits: images of digits, read pixel by pixel as a text, one character per pixel.

Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units",
section 4.2, read the 784 pixels of an MNIST image in this way. Here the digits are drawn: each is a line
through a few points (`_STROKES`), of random size, slant, position and thickness, with points that are
moved a little, and with 2% of the pixels replaced by noise. They are easier than handwriting.

`scanned` returns handwritten digits instead: the 1,797 images of 8 × 8 pixels that come with
scikit-learn, from the test set of "Optical recognition of handwritten digits" (Alpaydin and Kaynak 1998).

All ten digits are equally likely when drawn, so guessing is right in 1/10 of the images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, missing_package
from unrolled.samples.files import write_labelled
from unrolled.samples.parts import Sample, draw

LEVELS = ".123456789ABCDEFG"
"""The characters of pixels, from white to black; drawn digits use the first four."""

_N_DRAWN_LEVELS = 4
_NOISE = 0.02  # share of the pixels that are replaced by a random one
_SMALLEST, _LARGEST = 8, 64  # pixels of a side
_JITTER = 0.4  # how far points are moved; the strokes below are on a square of 10 by 10
_THICKNESS = (1.0, 1.8)
_SIZE = (0.65, 0.95)  # of the image
_SLANT = (-0.25, 0.25)

_STROKES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((5, 0.5), (7.5, 1.5), (8.5, 5), (7.5, 8.5), (5, 9.5), (2.5, 8.5), (1.5, 5), (2.5, 1.5), (5, 0.5)),
    ((3, 2.5), (5.5, 0.5), (5.5, 9.5)),
    ((2, 2.5), (3, 1), (5, 0.5), (7, 1), (8, 2.8), (7, 5), (2, 9.5), (8.2, 9.5)),
    (
        *((2, 1.5), (4, 0.5), (6.5, 0.8), (7.7, 2.5), (6.8, 4.2), (4.5, 4.8)),
        *((7, 5.3), (8, 7.2), (6.8, 9), (4.5, 9.5), (2, 8.6)),
    ),
    ((6.5, 9.5), (6.5, 0.5), (1.8, 6.5), (8.5, 6.5)),
    ((7.8, 0.5), (2.8, 0.5), (2.3, 4.8), (4.8, 4), (7.2, 4.8), (8, 6.8), (7, 8.8), (4.5, 9.5), (2, 8.6)),
    (
        *((7.3, 1.2), (5, 0.8), (2.8, 3), (2, 6), (2.8, 8.6), (5, 9.5)),
        *((7.2, 8.7), (8, 6.8), (7, 5), (5, 4.4), (2.9, 5.2), (2.1, 6.6)),
    ),
    ((1.8, 0.5), (8.2, 0.5), (4.5, 9.5)),
    (
        *((5, 4.8), (3, 3.8), (2.3, 2.4), (3.2, 0.9), (5, 0.5), (6.8, 0.9), (7.7, 2.4), (7, 3.8)),
        *((5, 4.8), (2.8, 5.8), (2, 7.4), (3, 9), (5, 9.5), (7, 9), (8, 7.4), (7.2, 5.8), (5, 4.8)),
    ),
    (
        *((2.7, 8.8), (5, 9.2), (7.2, 7), (8, 4), (7.2, 1.4), (5, 0.5)),
        *((2.8, 1.3), (2, 3.2), (3, 5), (5, 5.6), (7.1, 4.8), (7.9, 3.4)),
    ),
)  # fmt: skip
"""The points of each digit, x to the right and y downwards."""


class DigitRow(NamedTuple):
    """The pixels of an image, row by row from the top, and its digit."""

    text: str
    label: str


def generate(
    n_train: int = 10_000, n_valid: int = 500, n_test: int = 1_000, size: int = 14, seed: int = 1
) -> Sample[DigitRow]:
    r"""Draw the sample; the same arguments give the same images on every machine.

    Args:
        n_train: number of training images.
        n_valid: number of validation images.
        n_test: number of test images.
        size: pixels of a side; a text has `size`² characters.
        seed: random seed.

    Raises:
        ConfigError: a number is negative, or the size not in 8…64.

    >>> row = generate(n_train=1, n_valid=0, n_test=0, size=12, seed=3).train[0]
    >>> print(row.label, *(row.text[at : at + 12] for at in range(0, 144, 12)), sep="\n")
    4
    ............
    ......21....
    .....232....
    ...13332....
    ..133231....
    .1332231....
    .33223321...
    233333332...
    ....1321....
    ....132.....
    .....1......
    ............
    """
    if not _SMALLEST <= size <= _LARGEST:
        raise ConfigError(f"size must be in {_SMALLEST}…{_LARGEST} pixels, got {size}")
    return draw(partial(_image, size), n_train, n_valid, n_test, seed)


def scanned(seed: int = 1) -> Sample[DigitRow]:
    """Handwritten digits of 8 × 8 pixels and 17 levels: 1,297 for training, 200 and 300 for the rest.

    Args:
        seed: random seed of the split.

    Raises:
        UnavailableError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing_package(
            "the sample of scanned digits", "scikit-learn", "baselines", "leave out --scanned"
        ) from None
    images, labels = load_digits(return_X_y=True)
    rows = [
        DigitRow("".join(LEVELS[int(level)] for level in image), str(label))
        for image, label in zip(images, labels, strict=True)
    ]
    Random(seed).shuffle(rows)
    return Sample(rows[500:], rows[:200], rows[200:500])


def write(folder: str | PathLike[str], sample: Sample[DigitRow]) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `text<tab>label`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    write_labelled(folder, sample.items())


def _image(size: int, random: Callable[[], float]) -> DigitRow:
    digit = int(random() * 10)
    points = _placed(digit, size, random)
    thickness = _between(_THICKNESS, random) * size / 10
    # The ink of a pixel falls from 1 to 0 over one pixel at the edge of the line.
    ink = np.clip(thickness / 2 + 0.5 - _distances(points, size), 0.0, 1.0)
    levels = np.floor(ink * (_N_DRAWN_LEVELS - 1) + 0.5).astype(np.int64).tolist()
    for _ in range(round(_NOISE * size * size)):
        levels[int(random() * size * size)] = int(random() * _N_DRAWN_LEVELS)
    return DigitRow("".join(LEVELS[level] for level in levels), str(digit))


def _placed(digit: int, size: int, random: Callable[[], float]) -> NDArray[np.float64]:
    """The points of a digit in an image, in pixels, `[n, 2]`."""
    width, height = _between(_SIZE, random), _between(_SIZE, random)
    slant = _between(_SLANT, random)
    left, top = random() * (1 - width), random() * (1 - height)
    points = []
    for x, y in _STROKES[digit]:
        x += _between((-_JITTER, _JITTER), random)
        y += _between((-_JITTER, _JITTER), random)
        x += slant * (5 - y)
        points.append((size * (left + width * x / 10), size * (top + height * y / 10)))
    return np.array(points)


def _between(bounds: tuple[float, float], random: Callable[[], float]) -> float:
    return bounds[0] + random() * (bounds[1] - bounds[0])


def _distances(points: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The distance of the centre of each pixel from the line through the points, `[size²]`."""
    # No function but square roots, which every machine rounds in the same way.
    centres = np.arange(size) + 0.5
    x, y = np.tile(centres, size)[:, None], np.repeat(centres, size)[:, None]
    (x_0, y_0), (x_1, y_1) = points[:-1].T, points[1:].T
    step_x, step_y = x_1 - x_0, y_1 - y_0
    share = ((x - x_0) * step_x + (y - y_0) * step_y) / (step_x * step_x + step_y * step_y)
    share = np.clip(share, 0.0, 1.0)
    to_x, to_y = x - (x_0 + share * step_x), y - (y_0 + share * step_y)
    distances: NDArray[np.float64] = np.sqrt((to_x * to_x + to_y * to_y).min(1))
    return distances
