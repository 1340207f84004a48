"""Code comes back from its tokens, and usual code needs no marks of layout."""

from __future__ import annotations

import ast
import gzip
import io
import json
import sysconfig
import time
import tokenize
from collections import Counter
from pathlib import Path

import pytest
from code_texts import AWKWARD, PARTS, code_like, fuzz, texts
from hypothesis import given
from hypothesis import strategies as st

from unrolled.code.lexer import LANGUAGES, atoms
from unrolled.code.marks import DEDENT, INDENT, MARKS, NEWLINE, SPACED
from unrolled.code.tokens import join, split

STDLIB = Path(sysconfig.get_path("stdlib"))
FILES = ["bisect.py", "textwrap.py", "tokenize.py", "heapq.py", "calendar.py"]

languages = st.sampled_from((*LANGUAGES, "java"))


@fuzz
@given(texts, languages)
def test_every_text_comes_back(text: str, language: str) -> None:
    assert join(split(text, language), language) == text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back(text: str, language: str) -> None:
    assert join(split(text, language), language) == text


@fuzz
@given(
    st.lists(st.sampled_from([*MARKS, *PARTS, ""]) | st.text(max_size=3), max_size=30), languages
)
def test_any_tokens_have_a_text(tokens: list[str], language: str) -> None:
    text = join(tokens, language)
    assert join(split(text, language), language) == text


@fuzz
@given(code_like, languages)
def test_no_text_has_the_token_of_a_mark(text: str, language: str) -> None:
    pieces = atoms(text, language if language in LANGUAGES else "text")
    assert "".join(pieces) == text
    assert not set(pieces) & set(MARKS)
    assert all(piece.isspace() or not any(map(str.isspace, piece)) for piece in pieces)


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("python", "x = getURLOf_2nd(a, b=-1)", "x = get URL Of _ 2 nd ( a , b = - 1 )"),
        ("python", "return not self.items[1:]", "return not self . items [ 1 : ]"),
        ("python", "d = {'user name': x ** 2}", "d = { ' user name ' : x ** 2 }"),
        ("python", "f('%s, %d' % (a, b))", "f ( ' % s , % d ' % ( a , b ) )"),
        ("python", "print(*args, **kwargs)", "print ( * args , ** kwargs )"),
        ("python", "@property", "@ property"),
        ("python", "from .a import b", "from . a import b"),
        ("python", "x[i] for i in y if i != 3.5", "x [ i ] for i in y if i != 3 . 5"),
        ("python", "lambda x: x + 1  # it's", "lambda x : x + 1 # it 's"),
        ("bash", "find . -name '*.txt' | wc -l", "find . - name ' * . txt ' | wc - l"),
        ("bash", "ls -l /usr/b.txt > out", "ls - l / usr / b . txt > out"),
        ("bash", 'head -n 5 "$file"', 'head - n 5 " $ file "'),
        ("text", "Don't sort the list `x`, ever.", "Don 't sort the list ` x ` , ever ."),
    ],
)
def test_usual_code_has_no_marks(language: str, text: str, tokens: str) -> None:
    assert split(text, language) == tokens.split()


def test_python_blocks_are_marks() -> None:
    text = "def f(x):\n    if x:\n        return 1\n\n    return 2\n\nf(0)\n"
    tokens = split(text, "python")
    marks = [token for token in tokens if token in MARKS]
    assert marks == [NEWLINE, INDENT] * 2 + [NEWLINE] * 2 + [DEDENT] + [NEWLINE] * 2 + [
        DEDENT,
        NEWLINE,
    ]


@pytest.mark.parametrize("unit", ["  ", "\t", "   "])
def test_another_indentation_is_named_once(unit: str) -> None:
    lines = ["if a:", f"{unit}if b:", f"{unit * 2}c", f"{unit * 2}if d:", f"{unit * 3}e", "f", ""]
    tokens = split("\n".join(lines), "python")
    assert tokens.count(unit) == 1
    assert tokens.count(INDENT) == tokens.count(DEDENT) == 3


def test_tokenised_data_have_one_mark() -> None:
    text = "self . assertEqual ( get_name ( 'a b' ) , 2.5 )"
    tokens = split(text, "python")
    assert tokens[0] == SPACED
    assert not set(tokens[1:]) & set(MARKS)


def test_words_of_strings_and_names_are_plain_words() -> None:
    tokens = split("raise ValueError('no such user_name: %d') # TODO", "python")
    assert {"Value", "Error", "no", "such", "user", "name", "TODO"} <= set(tokens)


@pytest.mark.parametrize("name", FILES)
def test_tokens_agree_with_pythons_tokenizer(name: str) -> None:
    """Each token of `tokenize` begins where an atom begins, and the blocks are the same."""
    text = (STDLIB / name).read_text(encoding="utf-8")
    starts, place = set(), 0
    for atom in atoms(text, "python"):
        starts.add(place)
        place += len(atom)
    lines = [0]
    for line in io.StringIO(text):
        lines.append(lines[-1] + len(line))
    counts: Counter[int] = Counter()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        counts[token.type] += 1
        if token.string.strip():
            assert lines[token.start[0] - 1] + token.start[1] in starts, token
    # Without comments and continued lines, which `tokenize` treats differently.
    plain = ast.unparse(ast.parse(text)) + "\n"
    marks = Counter(split(plain, "python"))
    types = Counter(t.type for t in tokenize.generate_tokens(io.StringIO(plain).readline))
    assert marks[INDENT] == types[tokenize.INDENT] > 10
    n_open = types[tokenize.DEDENT] - marks[DEDENT]  # at the end, levels stay open
    assert 0 <= n_open <= 3


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "part",
    [
        "a",
        "A",
        "aB",
        "1",
        "_",
        " ",
        "\t",
        "(",
        "'",
        '"',
        "x ",
        "x . ",
        "\n",
        "\n ",
        "-",
        "\\",
        "é",
        "``",
    ],
)
def test_time_is_linear_in_the_length(language: str, part: str) -> None:
    text = part * (30_000 // len(part))
    start = time.perf_counter()
    assert join(split(text, language), language) == text
    assert (
        time.perf_counter() - start < 10
    )  # a tenth of a second on an idle core; hours if quadratic


def django(folder: Path) -> list[str]:
    with gzip.open(folder / "django" / "all.code.gz", "rt", encoding="utf-8") as file:
        return file.read().split("\n")[:-1]


def conala(folder: Path) -> list[str]:
    parts = [folder / "conala" / f"conala-{part}.json" for part in ("train", "test")]
    return [
        row["snippet"] for part in parts for row in json.loads(part.read_text(encoding="utf-8"))
    ]


def nl2bash(folder: Path) -> list[str]:
    return (folder / "nl2bash" / "all.cm").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize(
    ("read", "language", "n_lines"),
    [(django, "python", 17_000), (conala, "python", 2_879), (nl2bash, "bash", 12_607)],
)
def test_public_code_comes_back(real_data: Path, read, language: str, n_lines: int) -> None:
    lines = read(real_data)
    assert len(lines) == n_lines
    assert [line for line in lines if join(split(line, language), language) != line] == []
