"""Evaluate word vectors on word similarity judgements and analogies.

A similarity set is a text file with two words and a score on each line, separated by tabs or spaces. The
measure is Spearman's correlation between cosines and scores (ties get their mean rank), over the pairs
in which both words have a vector; the coverage is the fraction of these pairs.

An analogy file has four words on each line, a b c d, where d is the answer to a : b = c : ?. A section
begins with a line `: name` (Google's `questions-words.txt`, Mikolov et al. 2013); a file without such
lines is one section. Sections whose name begins with "gram" are syntactic, the others semantic. A
question counts if all four words have a vector; an answer is correct if the best word, other than a, b
and c, is d.

A word without a vector is looked up again in lower case.
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
from unrolled.wording import percent

SIGNATURE = {
    "spearman": "cosine|mean rank of ties|pairs with an unknown word left out|then lower case",
    "3CosAdd": "right answers|all words but the question's three|unknown left out|then lower case",
    "3CosMul": "right answers|epsilon 0.001|otherwise as 3CosAdd",
}
"""How each measure is computed."""


@dataclass(frozen=True)
class SimilaritySet:
    """Pairs of words with human similarity scores.

    Args:
        name: file name without its suffix.
        pairs: the pairs of words.
        scores: one per pair; larger means more similar.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class AnalogySection:
    """Analogy questions of one kind.

    Args:
        name: name of the section, or of its file without the suffix.
        questions: four words each.
    """

    name: str
    questions: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class SimilarityResult:
    """Agreement of cosines with human scores.

    Args:
        name: name of the set.
        n_pairs: number of pairs in the set.
        n_known: number of pairs in which both words have a vector.
        spearman: correlation over the known pairs, −1…1; NaN if there are fewer than two or if all
            cosines or all scores are equal.
    """

    name: str
    n_pairs: int
    n_known: int
    spearman: float


@dataclass(frozen=True)
class AnalogyResult:
    """Number of analogy questions answered correctly.

    Args:
        name: name of the section, or "semantic", "syntactic" or "all".
        n_questions: number of questions in the section.
        n_known: number of questions in which all four words have a vector.
        n_right: number of correct answers to known questions, by method.
    """

    name: str
    n_questions: int
    n_known: int
    n_right: dict[Method, int]

    def accuracy(self, method: Method) -> float:
        """Fraction of known questions answered correctly, 0…1; NaN if no question is known."""
        return self.n_right[method] / self.n_known if self.n_known else float("nan")


@dataclass(frozen=True)
class VectorEvaluation:
    """The results of an evaluation.

    Args:
        similarity: one result per set.
        analogies: one result per section.
        n_words: size of the vocabulary in which answers were searched.
    """

    similarity: list[SimilarityResult] = field(default_factory=list)
    analogies: list[AnalogyResult] = field(default_factory=list)
    n_words: int = 0

    @property
    def n_known(self) -> int:
        """Number of pairs and questions in which all words have a vector."""
        n_pairs = sum(result.n_known for result in self.similarity)
        return n_pairs + sum(result.n_known for result in self.analogies)

    def totals(self) -> list[AnalogyResult]:
        """Results for all semantic, all syntactic and all questions; groups without any are left out."""
        semantic, syntactic = (
            [result for result in self.analogies if is_syntactic(result.name) == wanted]
            for wanted in (False, True)
        )
        groups = {"semantic": semantic, "syntactic": syntactic, "all": self.analogies}
        return [_together(name, results) for name, results in groups.items() if results]

    def figures(self) -> dict[str, object]:
        """All figures by set and section, for a line of JSON; None instead of NaN."""
        return {
            "words": self.n_words,
            "similarity": {
                result.name: {
                    "spearman": None if np.isnan(result.spearman) else result.spearman,
                    "known": result.n_known,
                    "pairs": result.n_pairs,
                }
                for result in self.similarity
            },
            "analogies": {
                result.name: {
                    **{str(method): result.n_right[method] for method in METHODS},
                    "known": result.n_known,
                    "questions": result.n_questions,
                }
                for result in (*self.analogies, *self.totals())
            },
            "signature": SIGNATURE,
        }

    def lines(self) -> Iterator[str]:
        """Two tables as lines of text."""
        if self.similarity:
            width = max(12, *(len(brief(result.name)) for result in self.similarity))
            yield f"{'similarity':{width}}  spearman   pairs  covered"
            for pair in self.similarity:
                yield (
                    f"{brief(pair.name):{width}}  {_figure(pair.spearman, 8, '.4f')}  {pair.n_pairs:6,}  "
                    f"{_share(pair.n_known, pair.n_pairs)}"
                )
        if self.similarity and self.analogies:
            yield ""
        if self.analogies:
            results = [*self.analogies, *self.totals()]
            width = max(12, *(len(brief(result.name)) for result in results))
            heads = "  ".join(f"{method:>7}" for method in METHODS)
            yield f"{'analogies':{width}}  {heads}  questions  covered"
            for result in results:
                figures = "  ".join(_figure(result.accuracy(m), 7, ".1%") for m in METHODS)
                yield (
                    f"{brief(result.name):{width}}  {figures}  {result.n_questions:9,}  "
                    f"{_share(result.n_known, result.n_questions)}"
                )


def is_syntactic(section: str) -> bool:
    """Whether a section of this name is about word forms rather than meanings.

    >>> is_syntactic("gram8-plural"), is_syntactic("family")
    (True, False)
    """
    return section.lower().startswith("gram")


def read_sets(
    paths: Sequence[str | PathLike[str]],
) -> tuple[list[SimilaritySet], list[AnalogySection]]:
    """Read similarity and analogy sets; the first line of a file shows which it is.

    In a folder, all files at any depth are read in the order of their paths, except those whose name or
    folder name starts with a dot. Sections with the same name are combined.

    Raises:
        DataError: a file is missing or empty, or a line has a wrong number of fields or no score.
    """
    similarity: list[SimilaritySet] = []
    analogies: dict[str, list[tuple[str, str, str, str]]] = {}
    for path in (file for name in paths for file in _files(Path(name))):
        rows = [(line.number, _fields(line.text)) for line in read_lines(path) if line.text.strip()]
        if not rows:
            raise DataError("the file is empty; expected a similarity set or analogies", path)
        first = rows[0][1]
        if first[0].startswith(":") or len(first) == 4:
            for name, questions in _sections(path, rows).items():
                analogies.setdefault(name, []).extend(questions)
        else:
            similarity.append(_similarity_set(path, rows))
    sections = [AnalogySection(name, tuple(questions)) for name, questions in analogies.items()]
    return similarity, sections


def evaluate(
    vectors: WordVectors,
    similarity: Sequence[SimilaritySet] = (),
    analogies: Sequence[AnalogySection] = (),
) -> VectorEvaluation:
    """Evaluate vectors on similarity and analogy sets.

    >>> matrix = np.array([[1, 0], [1, 1], [-1, 1], [-1, 2]], np.float32)
    >>> vectors = WordVectors(["man", "king", "woman", "queen"], matrix)
    >>> section = AnalogySection("family", (("man", "king", "woman", "queen"),))
    >>> evaluate(vectors, analogies=[section]).analogies[0].n_right
    {'3CosAdd': 1, '3CosMul': 1}
    """
    return VectorEvaluation(
        [similarity_result(vectors, judged) for judged in similarity],
        [analogy_result(vectors, section) for section in analogies],
        len(vectors),
    )


def similarity_result(vectors: WordVectors, judged: SimilaritySet) -> SimilarityResult:
    """Spearman's correlation between cosines and scores, over the known pairs."""
    ids: list[tuple[int, int]] = []
    scores: list[float] = []
    for (first, second), score in zip(judged.pairs, judged.scores, strict=True):
        pair = vectors.find(first), vectors.find(second)
        if pair[0] is not None and pair[1] is not None:
            ids.append((pair[0], pair[1]))
            scores.append(score)
    correlation = float("nan")
    if ids:
        ids_N2 = np.array(ids)
        cosines_N = vectors.similarities(ids_N2[:, 0], ids_N2[:, 1])
        correlation = spearman(cosines_N, np.array(scores))
    return SimilarityResult(judged.name, len(judged.pairs), len(ids), correlation)


def analogy_result(vectors: WordVectors, section: AnalogySection) -> AnalogyResult:
    """Number of correct answers to the known questions, by both methods."""
    all_ids = [[vectors.find(word) for word in question] for question in section.questions]
    ids_Q4 = np.array([ids for ids in all_ids if None not in ids], np.int64).reshape(-1, 4)
    answers = vectors.analogies(ids_Q4[:, :3])
    n_right = {
        method: int((ids_QK[:, 0] == ids_Q4[:, 3]).sum()) for method, (ids_QK, _) in answers.items()
    }
    return AnalogyResult(section.name, len(section.questions), len(ids_Q4), n_right)


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two `[N]` series: Pearson's correlation of their ranks.

    Returns:
        −1…1; NaN if a series has fewer than two different values.

    >>> spearman(np.array([1.0, 2, 2, 5]), np.array([0.1, 0.3, 0.2, 0.9]))
    0.9486832980505138
    """
    if len(first) < 2:
        return float("nan")
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else float("nan")


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """`[N]` ranks from 1; equal values get the mean of their ranks.

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
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise DataError("this folder contains no files; give a folder with evaluation sets", path)
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
            a, b, c, d = (word.strip() for word in fields)
            sections.setdefault(name, []).append((a, b, c, d))
        else:
            raise DataError(
                f"expected four words or ': section', found {len(fields)} fields", path, number
            )
    if not sections:
        raise DataError("the file has no questions; expected lines of four words", path)
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
        first, second, score = (value.strip() for value in fields)
        try:
            scores.append(float(score))
        except ValueError:
            if number == rows[0][0]:
                continue  # column names
            raise DataError(f"expected a score, found {quote(score)}", path, number) from None
        if not np.isfinite(scores[-1]):
            raise DataError(f"expected a finite score, found {quote(score)}", path, number)
        pairs.append((first, second))
    if not pairs:
        raise DataError(
            "the file has no pairs after the first line; expected two words and a score per line",
            path,
        )
    return SimilaritySet(path.name.split(".")[0], tuple(pairs), tuple(scores))


def _together(name: str, results: Sequence[AnalogyResult]) -> AnalogyResult:
    return AnalogyResult(
        name,
        sum(result.n_questions for result in results),
        sum(result.n_known for result in results),
        {method: sum(result.n_right[method] for result in results) for method in METHODS},
    )


def _figure(value: float, width: int, form: str) -> str:
    return "–".rjust(width) if np.isnan(value) else f"{value:{form}}".rjust(width)


def _share(part: int, whole: int) -> str:
    return f"{percent(part / whole):>7}" if whole else "–".rjust(7)
