"""The template of a bash command: its utilities and flags, without arguments (Lin et al. 2018)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from unrolled.code.parsing import bash_tree, text_of, walk

_RUNS_NEXT = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
_RUNS_REST = frozenset(("xargs", "sudo", "nohup", "time", "env", "exec", "watch", "parallel"))
_FLAG = re.compile(r"--?[A-Za-z0-9][\w-]*")


@lru_cache(maxsize=4_096)
def template(command: str) -> tuple[str, ...]:
    """The utilities and flags of a bash command, in order; of one that does not parse, as far as they
    are known.

    Utilities are names of commands, also those that `find -exec`, `xargs`, `sudo` and others run. Flags
    are words that begin with a dash and a letter or digit, up to an equals sign.

    >>> template("find . -name '*.py' -exec grep -l TODO {} \\\\; | xargs wc -l")
    ('find', '-name', '-exec', 'grep', '-l', 'xargs', 'wc', '-l')
    """
    parts: list[str] = []
    for node in walk(bash_tree(command)):
        if node.type == "command":
            parts += _of_command(node)
    return tuple(parts)


def _of_command(node: Any) -> Iterator[str]:
    words = [
        text_of(child)
        for child in node.children
        if child.is_named and child.type not in ("variable_assignment", "file_redirect")
    ]
    is_utility = True
    for word in words:
        flag = _FLAG.match(word)
        if flag is not None:
            yield flag[0]
            is_utility = flag[0] in _RUNS_NEXT or is_utility
        elif is_utility:
            yield word
            is_utility = word in _RUNS_REST


def template_similarity(command: str, references: Iterable[str]) -> float:
    """The cosine of the counts of utilities and flags, with the reference that is most similar, 0…1.

    >>> template_similarity("ls -l a", ["ls b", "ls -l"])
    1.0
    """
    counts = Counter(template(command))
    return max((_cosine(counts, Counter(template(each))) for each in references), default=0.0)


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    product = sum(n * other[part] for part, n in one.items())
    norm = math.sqrt(_square(one.values()) * _square(other.values()))
    return product / norm if norm else 0.0


def _square(counts: Iterable[int]) -> int:
    return sum(n * n for n in counts)


def unique(descriptions: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each description; case and runs of white space make no difference."""
    rows: dict[str, list[int]] = {}
    for row, description in enumerate(descriptions):
        rows.setdefault(" ".join(description.lower().split()), []).append(row)
    return rows
