"""A word map shows the distances of the vectors, and its labels are readable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from unrolled.errors import ConfigError, RunError, UnavailableError
from unrolled.inspect.word_map import draw_words, place_labels, project
from unrolled.vectors.word_vectors import WordVectors


def vectors_of(n: int = 40, width: int = 9) -> WordVectors:
    matrix = np.random.default_rng(6).normal(size=(n, width)).astype(np.float32)
    return WordVectors([f"word{i}" for i in range(n)], matrix)


def test_a_projection_keeps_the_distances_of_a_plane() -> None:
    generator = np.random.default_rng(2)
    plane = generator.normal(size=(13, 2)) * [3, 1]
    turned = plane @ np.linalg.qr(generator.normal(size=(7, 7)))[0][:2] + generator.normal(size=7)
    places, shares = project(turned)
    between = np.linalg.norm(places[:, None] - places[None], axis=2)
    expected = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.testing.assert_allclose(between, expected, atol=1e-10)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] > shares[1]


def test_a_projection_has_the_largest_variances() -> None:
    points = np.random.default_rng(3).normal(size=(31, 5)) * [1, 5, 2, 3, 1]
    places, shares = project(points)
    values = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    np.testing.assert_allclose(places.var(axis=0, ddof=1), values[:2])
    np.testing.assert_allclose(shares, values[:2] / values.sum(), atol=1e-6)
    assert abs(places.mean()) < 1e-12
    flipped, _ = project(-points[::-1])
    assert (np.abs(flipped).max(axis=0) == flipped.max(axis=0)).all()


@pytest.mark.parametrize("points", [np.ones((4, 3)), np.eye(2), np.ones((3, 1))])
def test_points_without_two_dimensions_are_projected_too(points: np.ndarray) -> None:
    places, shares = project(points)
    assert places.shape == (len(points), 2)
    assert np.isfinite(places).all()
    assert np.isfinite(shares).all()


def overlaps(a, b) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def test_labels_cover_no_label_or_dot_and_stay_inside() -> None:
    generator = np.random.default_rng(9)
    dots = [tuple(dot) for dot in generator.uniform(0, 1000, (60, 2))]
    sizes = [(float(width), 12.0) for width in generator.uniform(20, 60, 60)]
    boxes = place_labels(dots, sizes, (0, 0, 1000, 1000), 4)
    for index, box in enumerate(boxes):
        assert box[2] - box[0] == pytest.approx(sizes[index][0])
        assert min(box) >= 0
        assert max(box) <= 1000
        assert not any(overlaps(box, other) for other in boxes[:index])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in dots)


def test_a_single_label_is_right_of_its_dot() -> None:
    (box,) = place_labels([(50, 50)], [(20, 10)], (0, 0, 100, 100), 3)
    assert box == (53, 45, 73, 55)
    (box,) = place_labels([(90, 50)], [(20, 10)], (0, 0, 100, 100), 3)
    assert box == (67, 45, 87, 55)


@pytest.mark.parametrize(
    ("ending", "beginning"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_images_are_written(tmp_path: Path, ending: str, beginning: bytes) -> None:
    pytest.importorskip("matplotlib")
    vectors = vectors_of()
    path = draw_words(vectors, [*vectors.words[:12], "word3"], str(tmp_path / f"map{ending}"))
    assert path == tmp_path / f"map{ending}"
    assert path.read_bytes().startswith(beginning)


def test_every_word_is_drawn_once_and_literally(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["$5", "a_b^c", "\\nothing{$", "¿qué?"]
    vectors = WordVectors(words, np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32))
    drawn = draw_words(vectors, [*words, "$5"], tmp_path / "map.svg").read_text(encoding="utf-8")
    # The SVG names each text in a comment before its outlines.
    assert [drawn.count(f"<!-- {word} -->") for word in words] == [1, 1, 1, 1]


def test_letters_missing_from_the_font_are_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["日本", "ñandú", "日"]
    vectors = WordVectors(words, np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32))
    with pytest.warns(UserWarning, match="^the font lacks 日 本; they are drawn") as told:
        draw_words(vectors, words, tmp_path / "map.png")
    assert len(told) == 1


def test_two_words_and_many_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    vectors = vectors_of(150)
    draw_words(vectors, vectors.words[:2], tmp_path / "two.png")
    draw_words(vectors, vectors.words, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > (tmp_path / "two.png").stat().st_size


@pytest.mark.parametrize(
    ("words", "name", "sentence"),
    [
        (["word1", "word1"], "map.png", "a map takes 2 to 500 different words, got 1"),
        (["word1", "wodr2"], "map.png", "no vector for 'wodr2'; did you mean 'word2'?"),
        (
            ["word1", "word2"],
            "map.gif",
            "cannot draw words as '.gif'; end the file name in .png, .svg or .pdf",
        ),
        (
            ["word1", "word2"],
            "map",
            "cannot draw words as 'map'; end the file name in .png, .svg or .pdf",
        ),
    ],
)
def test_invalid_arguments_are_refused(
    tmp_path: Path, words: list[str], name: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        draw_words(vectors_of(), words, tmp_path / name)
    assert str(raised.value) == sentence
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "map.png"
    with pytest.raises(ConfigError) as raised:
        draw_words(vectors_of(), ["word1", "word2"], path)
    assert str(raised.value) == (
        f"cannot draw {path}: folder '{path.parent}' does not exist; create it, or choose another"
    )


def test_images_are_written_atomically(tmp_path: Path, monkeypatch) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure
    vectors, path = vectors_of(), tmp_path / "map.png"
    path.write_bytes(b"before")

    def full(self: object, stream: BinaryIO, **_: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(
        RunError, match=f"^disk full while writing {path}; free space and try again$"
    ):
        draw_words(vectors, vectors.words[:3], path)
    assert [each.name for each in tmp_path.iterdir()] == ["map.png"]
    assert path.read_bytes() == b"before"
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"it is a folder; name a file in it$"):
        draw_words(vectors, vectors.words[:3], path)


def test_a_missing_matplotlib_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnavailableError) as raised:
        draw_words(vectors_of(), ["word1", "word2"], tmp_path / "map.png")
    assert str(raised.value) == ("an image needs matplotlib; run pip install 'unrolled[figures]'")
