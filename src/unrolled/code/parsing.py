"""Whether code parses, and code in a normal form. Nothing is ever executed.

Python is parsed by `ast`, bash by tree-sitter. Code of data sets is often a single line of a larger
program, such as "else:" or "except KeyError as error:"; such a fragment of Python is completed before
it is parsed, as in the evaluation of Yin and Neubig (2017).
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Literal, get_args

from unrolled.errors import UnavailableError

ProgramLanguage = Literal["python", "bash"]
PROGRAM_LANGUAGES: tuple[ProgramLanguage, ...] = get_args(ProgramLanguage)

LONGEST = 20_000
"""Characters of code that is parsed; longer code counts as code that does not parse."""

_BEFORE = (
    (re.compile(r"(elif|else)\b"), "if True: pass\n"),
    (re.compile(r"(except|finally)\b"), "try: pass\n"),
    (re.compile(r"case\b[^=]*:$"), "match _:\n "),
)
_TRY = re.compile(r"try\s*:$")
_DEFINITION = "\ndef _(): pass"


def complete(code: str) -> str:
    """A fragment of Python as a complete statement; other code unchanged, without white space around
    it.

    >>> complete("else:"), complete("x = 1")
    ('if True: pass\\nelse: pass', 'x = 1')
    """
    code = code.strip()
    if code.startswith("@") and "\n" not in code:
        return code + _DEFINITION
    if "\n" in code:
        return code
    before = next((text for pattern, text in _BEFORE if pattern.match(code)), "")
    after = ""
    if code.endswith(":"):
        after = " pass\nfinally: pass" if _TRY.match(code) else " pass"
    return f"{before}{code}{after}"


def problem(code: str, language: ProgramLanguage) -> str:
    """Why code does not parse; "" if it does.

    Args:
        code: a statement or several, or a fragment.
        language: its language.

    Raises:
        UnavailableError: the language is bash, and tree-sitter is not installed.

    >>> problem("sorted(x", "python"), problem("else:", "python")
    ("'(' was never closed", '')
    """
    if not code.strip():
        return "the code is empty"
    if len(code) > LONGEST:
        return f"the code has more than {LONGEST:,} characters"
    found = _python(code) if language == "python" else _bash(code)
    return found if isinstance(found, str) else ""


def parses(code: str, language: ProgramLanguage) -> bool:
    """Whether code parses; see `problem`."""
    return not problem(code, language)


def normal_form(code: str, language: ProgramLanguage) -> str | None:
    """The syntax tree of code as text, without layout; None if it does not parse.

    Two programs with the same normal form differ at most in white space, comments, redundant
    parentheses and in how strings and numbers are written. In bash, words are compared as written.

    >>> normal_form("f( 'a' )", "python") == normal_form('f("a")', "python")
    True
    """
    if not code.strip() or len(code) > LONGEST:
        return None
    if language == "python":
        tree = _python(code)
        return None if isinstance(tree, str) else ast.dump(tree)
    root = _bash(code)
    return None if isinstance(root, str) else " ".join(_leaves(root))


@lru_cache(maxsize=4_096)
def _python(code: str) -> ast.Module | str:
    """The tree of a program, or why it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in strings
            return ast.parse(complete(code))
    except SyntaxError as error:
        return error.msg or "invalid syntax"
    except (ValueError, MemoryError, RecursionError) as error:
        return str(error) or "nested too deeply"


@cache
def _bash_parser() -> Any:
    """The parser of bash.

    Raises:
        UnavailableError: tree-sitter is not installed.
    """
    try:
        import tree_sitter
        import tree_sitter_bash
    except ImportError:
        raise UnavailableError(
            "parsing bash needs the packages tree-sitter and tree-sitter-bash; install them with: "
            "pip install 'unrolled[code]'"
        ) from None
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def bash_tree(code: str) -> Any:
    """The root node of tree-sitter's tree of a bash program, which may have errors.

    Raises:
        UnavailableError: tree-sitter is not installed.
    """
    return _bash_parser().parse(code.strip().encode("utf-8", "replace")).root_node


def _bash(code: str) -> Any:
    root = bash_tree(code)
    return "invalid syntax" if root.has_error else root


def walk(node: Any) -> Iterator[Any]:
    """A node of tree-sitter and all nodes below it, in the order of the text."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(node.children)


def text_of(node: Any) -> str:
    """The text of a node of tree-sitter."""
    text: str = node.text.decode("utf-8")
    return text


_WHOLE = frozenset(("word", "string", "raw_string", "concatenation", "comment"))


def _leaves(root: Any) -> Iterator[str]:
    """The words and operators of a tree, strings as a whole; without comments."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.children and node.type not in _WHOLE:
            pending += reversed(node.children)
        elif node.type != "comment" and (text := text_of(node)).strip():
            yield text
