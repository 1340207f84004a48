"""How good word vectors are: word similarity by people's judgement, and analogies.

A similarity set is a text file with two words and a score on each line, separated by tabs or spaces.
Its figure is Spearman's correlation of cosines and scores (ties get the mean of their ranks), over the
pairs of which both words have a vector; the share of those pairs is its coverage.

Analogies are four words on each line, a b c d, where d is the answer to a : b = c : ?. A section begins
with a line `: name` (Google's `questions-words.txt`, Mikolov et al. 2013), or is a file. Sections whose
name begins with "gram" are syntactic, the others semantic. A question counts if all four words have a
vector; the answer is right if the best word among all others is d.

A word without a vector is looked up once more in lower case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.quoting import brief, quote
from unrolled.text.lines import read_lines
from unrolled.vectors.word_vectors import METHODS, Method, WordVectors

SIGNATURE = {
    "spearman": "cosine|mean rank of ties|pairs with an unknown word left out|then lower case",
    "3CosAdd": "right answers|all words but the question's three|unknown left out|then lower case",
    "3CosMul": "right answers|epsilon 0.001|otherwise as 3CosAdd",
}
"""How each figure is computed."""


@dataclass(frozen=True)
class SimilaritySet:
    """Pairs of words that people have scored.

    Args:
        name: of the file, without its ending.
        pairs: two words each.
        scores: one per pair; the larger, the more alike.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class AnalogySection:
    """Questions of one kind.

    Args:
        name: of the section, or of its file without the ending.
        questions: four words each.
    """

    name: str
    questions: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class SimilarityResult:
    """How far cosines agree with people.

    Args:
        name: of the set.
        n_pairs: in the set.
        n_known: pairs of which both words have a vector.
        spearman: over those, −1…1; not a number for fewer than two, or where all are alike.
    """

    name: str
    n_pairs: int
    n_known: int
    spearman: float


@dataclass(frozen=True)
class AnalogyResult:
    """How many questions were answered right.

    Args:
        name: of the section, or "semantic", "syntactic", "all".
        n_questions: in the section.
        n_known: questions of which all four words have a vector.
        n_right: of those, by method.
    """

    name: str
    n_questions: int
    n_known: int
    n_right: dict[Method, int]

    def accuracy(self, method: Method) -> float:
        """The share of right answers among known questions, 0…1; not a number where there are none."""
        return self.n_right[method] / self.n_known if self.n_known else float("nan")


@dataclass(frozen=True)
class VectorEvaluation:
    """All that was measured.

    Args:
        similarity: one record per set.
        analogies: one per section.
        n_words: the vocabulary that answers were searched in.
    """

    similarity: list[SimilarityResult] = field(default_factory=list)
    analogies: list[AnalogyResult] = field(default_factory=list)
    n_words: int = 0

    @property
    def n_known(self) -> int:
        """Pairs and questions of which all words have a vector."""
        n_pairs = sum(each.n_known for each in self.similarity)
        return n_pairs + sum(each.n_known for each in self.analogies)

    def totals(self) -> list[AnalogyResult]:
        """Analogies together: semantic, syntactic, all; those of which there are none left out."""
        semantic, syntactic = (
            [each for each in self.analogies if is_syntactic(each.name) == wanted]
            for wanted in (False, True)
        )
        groups = {"semantic": semantic, "syntactic": syntactic, "all": self.analogies}
        return [_together(name, results) for name, results in groups.items() if results]

    def figures(self) -> dict[str, object]:
        """All figures by set and section, for a line of JSON; None for what is not a number."""
        return {
            "words": self.n_words,
            "similarity": {
                each.name: {
                    "spearman": None if np.isnan(each.spearman) else each.spearman,
                    "known": each.n_known,
                    "pairs": each.n_pairs,
                }
                for each in self.similarity
            },
            "analogies": {
                each.name: {
                    **{str(method): each.n_right[method] for method in METHODS},
                    "known": each.n_known,
                    "questions": each.n_questions,
                }
                for each in (*self.analogies, *self.totals())
            },
            "signature": SIGNATURE,
        }

    def lines(self) -> Iterator[str]:
        """Two tables as lines of text."""
        if self.similarity:
            wide = max(12, *(len(brief(each.name)) for each in self.similarity))
            yield f"{'similarity':{wide}}  spearman   pairs  covered"
            for pair in self.similarity:
                yield (
                    f"{brief(pair.name):{wide}}  {_figure(pair.spearman, 8, '.4f')}  {pair.n_pairs:6,}  "
                    f"{_share(pair.n_known, pair.n_pairs)}"
                )
        if self.similarity and self.analogies:
            yield ""
        if self.analogies:
            results = [*self.analogies, *self.totals()]
            wide = max(12, *(len(brief(each.name)) for each in results))
            heads = "  ".join(f"{method:>7}" for method in METHODS)
            yield f"{'analogies':{wide}}  {heads}  questions  covered"
            for each in results:
                figures = "  ".join(_figure(each.accuracy(m), 7, ".1%") for m in METHODS)
                yield (
                    f"{brief(each.name):{wide}}  {figures}  {each.n_questions:9,}  "
                    f"{_share(each.n_known, each.n_questions)}"
                )


def is_syntactic(section: str) -> bool:
    """Whether a section of this name asks for forms of words rather than for what they mean.

    >>> is_syntactic("gram8-plural"), is_syntactic("family")
    (True, False)
    """
    return section.lower().startswith("gram")


def read_sets(
    paths: Sequence[str | PathLike[str]],
) -> tuple[list[SimilaritySet], list[AnalogySection]]:
    """The sets of files and folders, told apart by the fields of their first line.

    A folder stands for the files in it, to any depth, in the order of their paths; a name that starts
    with a dot is left out. Sections of one name are one.

    Raises:
        DataError: a file is missing or empty, or a line has another number of fields or no score.
    """
    similarity: list[SimilaritySet] = []
    analogies: dict[str, list[tuple[str, str, str, str]]] = {}
    for path in (file for each in paths for file in _files(Path(each))):
        rows = [(line.number, _fields(line.text)) for line in read_lines(path) if line.text.strip()]
        if not rows:
            raise DataError("the file is empty; expected pairs of words or analogies", path)
        first = rows[0][1]
        if first[0].startswith(":") or len(first) == 4:
            for name, questions in _sections(path, rows).items():
                analogies.setdefault(name, []).extend(questions)
        else:
            similarity.append(_similarity_set(path, rows))
    sections = [AnalogySection(name, tuple(each)) for name, each in analogies.items()]
    return similarity, sections


def evaluate(
    vectors: WordVectors,
    similarity: Sequence[SimilaritySet] = (),
    analogies: Sequence[AnalogySection] = (),
) -> VectorEvaluation:
    """Measure vectors on sets.

    >>> matrix = np.array([[1, 0], [1, 1], [-1, 1], [-1, 2]], np.float32)
    >>> vectors = WordVectors(["man", "king", "woman", "queen"], matrix)
    >>> section = AnalogySection("family", (("man", "king", "woman", "queen"),))
    >>> evaluate(vectors, analogies=[section]).analogies[0].n_right
    {'3CosAdd': 1, '3CosMul': 1}
    """
    return VectorEvaluation(
        [similarity_result(vectors, each) for each in similarity],
        [analogy_result(vectors, each) for each in analogies],
        len(vectors),
    )


def similarity_result(vectors: WordVectors, judged: SimilaritySet) -> SimilarityResult:
    """Spearman's correlation of cosines and scores, over the pairs that are known."""
    ids: list[tuple[int, int]] = []
    scores: list[float] = []
    for (first, second), score in zip(judged.pairs, judged.scores, strict=True):
        pair = vectors.find(first), vectors.find(second)
        if pair[0] is not None and pair[1] is not None:
            ids.append((pair[0], pair[1]))
            scores.append(score)
    found = float("nan")
    if ids:
        ids_N2 = np.array(ids)
        cosines_N = vectors.similarities(ids_N2[:, 0], ids_N2[:, 1])
        found = spearman(cosines_N, np.array(scores))
    return SimilarityResult(judged.name, len(judged.pairs), len(ids), found)


def analogy_result(vectors: WordVectors, section: AnalogySection) -> AnalogyResult:
    """Right answers to the questions that are known, by both methods."""
    found = [[vectors.find(word) for word in question] for question in section.questions]
    ids_Q4 = np.array([ids for ids in found if None not in ids], np.int64).reshape(-1, 4)
    answers = vectors.analogies(ids_Q4[:, :3])
    n_right = {
        method: int((ids_QK[:, 0] == ids_Q4[:, 3]).sum()) for method, (ids_QK, _) in answers.items()
    }
    return AnalogyResult(section.name, len(section.questions), len(ids_Q4), n_right)


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two `[N]` series: Pearson's, of their ranks.

    Returns:
        −1…1; not a number where a series has fewer than two different values.

    >>> spearman(np.array([1.0, 2, 2, 5]), np.array([0.1, 0.3, 0.2, 0.9]))
    0.9486832980505138
    """
    if len(first) < 2:
        return float("nan")
    a, b = (ranks(each) - (len(each) + 1) / 2 for each in (first, second))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else float("nan")


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """`[N]` ranks from 1, equal values sharing the mean of theirs.

    >>> ranks(np.array([0.5, 0.1, 0.5, 0.9])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean: NDArray[np.float64] = (last - (sizes - 1) / 2)[group]
    return mean


# Files


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(
        each
        for each in path.rglob("*")
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(path).parts)
    )
    if not files:
        raise DataError("no files in this folder", path)
    return files


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line and line[0] != ":" else line.split()


_Rows = Sequence[tuple[int, list[str]]]


def _sections(path: Path, rows: _Rows) -> dict[str, list[tuple[str, str, str, str]]]:
    name = path.name.split(".")[0]
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    for number, fields in rows:
        if fields[0].startswith(":"):
            name = " ".join(fields).removeprefix(":").strip()
        elif len(fields) == 4:
            a, b, c, d = (each.strip() for each in fields)
            sections.setdefault(name, []).append((a, b, c, d))
        else:
            raise DataError(
                f"expected four words or ': section', found {len(fields)} fields", path, number
            )
    if not sections:
        raise DataError("a section without questions; expected lines of four words", path)
    return sections


def _similarity_set(path: Path, rows: _Rows) -> SimilaritySet:
    pairs: list[tuple[str, str]] = []
    scores: list[float] = []
    for number, fields in rows:
        if len(fields) != 3:
            raise DataError(
                f"expected two words and a score, or four words, found {len(fields)} fields",
                path,
                number,
            )
        first, second, score = (each.strip() for each in fields)
        try:
            scores.append(float(score))
        except ValueError:
            if number == rows[0][0]:
                continue  # names of the columns
            raise DataError(f"expected a score, found {quote(score)}", path, number) from None
        if not np.isfinite(scores[-1]):
            raise DataError(f"expected a finite score, found {quote(score)}", path, number)
        pairs.append((first, second))
    if not pairs:
        raise DataError("no pairs of words after the first line", path)
    return SimilaritySet(path.name.split(".")[0], tuple(pairs), tuple(scores))


def _together(name: str, results: Sequence[AnalogyResult]) -> AnalogyResult:
    return AnalogyResult(
        name,
        sum(each.n_questions for each in results),
        sum(each.n_known for each in results),
        {method: sum(each.n_right[method] for each in results) for method in METHODS},
    )


def _figure(value: float, width: int, form: str) -> str:
    return "–".rjust(width) if np.isnan(value) else f"{value:{form}}".rjust(width)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:7.1%}" if whole else "–".rjust(7)
