"""Split code into atoms: the parts of names, numbers, operators and other signs, without white space.

Names are split at underscores, between lower-case and upper-case letters and between letters and
digits: `getURLOf_2nd` is get URL Of _ 2 nd. There is one pattern per language, the same inside and
outside of strings, so that any text has atoms, whether or not it is valid code. Python's own `tokenize`
refuses much text and returns other tokens in other versions; its tokens begin and end where atoms do.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Language = Literal["python", "bash", "text"]
"""The language of code; "text" for any other with identifiers, and for natural language."""

LANGUAGES: tuple[Language, ...] = get_args(Language)

_LOWER = r"[^\W\d_A-Z]"  # letters other than A to Z
_WORD = rf"[A-Z]+(?=[A-Z]{_LOWER})|[A-Z]?{_LOWER}+|[A-Z]+|\d+|__|_"
_CONTRACTION = r"(?<=[a-z]{2})'(?:s|t|re|ve|ll|d|m)(?![A-Za-z0-9_'])"
_RULES = "|".join(f"{re.escape(sign)}{{{n}}}" for sign in "-=#*~." for n in (16, 8, 4))
_OPERATORS = {
    "python": (
        "**= //= >>= <<= >>> ... ''' \"\"\" ** // >> << <= >= == != -> += -= *= /= %= &= |= ^= @= := <>"
    ),
    "bash": "<<< <<- &>> && || ;; >> << &> >& <& |& == != =~ += -- $( ${ [[ ]] <( >(",
    "text": "=== !== >>> ... ** // >> << <= >= == != -> => += -= *= /= ++ -- && || :: :=",
}
_ESCAPE = {
    "python": r"\\[^\s]",
    "bash": r"\\[^\w\s]|\\[nrt0](?![A-Za-z0-9])",
    "text": r"\\[^\w\s]|\\[nrt0](?![A-Za-z0-9])",
}


def _pattern(language: Language) -> re.Pattern[str]:
    contraction = "" if language == "bash" else f"{_CONTRACTION}|"
    operators = "|".join(map(re.escape, _OPERATORS[language].split()))
    return re.compile(rf"\s+|{_WORD}|{contraction}{_ESCAPE[language]}|{_RULES}|{operators}|.")


_PATTERNS = {language: _pattern(language) for language in LANGUAGES}


def known(language: str) -> Language:
    """The language whose rules apply to a language."""
    return next((each for each in LANGUAGES if each == language), "text")


def atoms(text: str, language: Language) -> list[str]:
    r"""The atoms of a text and the runs of white space between them; joined, they are the text.

    >>> atoms("is_file2 = getName('a\\n')", "python")
    ['is', '_', 'file', '2', ' ', '=', ' ', 'get', 'Name', '(', "'", 'a', '\\n', "'", ')']
    """
    return _PATTERNS[language].findall(text)
