"""What pictures that matplotlib draws have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def named_letters(texts: Iterable[str]) -> Iterator[None]:
    """Draw texts; one warning names all letters that the font lacks, in place of one for each use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ", UserWarning)
        yield
    missing = _letters_without_glyph(texts)
    if missing:
        warnings.warn(f"the font lacks {missing}; they are drawn as boxes", stacklevel=4)


def _letters_without_glyph(texts: Iterable[str]) -> str:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    letters = dict.fromkeys(letter for text in texts for letter in text if letter.isprintable())
    return " ".join(letter for letter in letters if not font.get_char_index(ord(letter)))
