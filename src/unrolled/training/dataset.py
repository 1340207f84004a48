"""From data files to encoded examples, for training and validation."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import documents
from unrolled.errors import DataError
from unrolled.reporting import counted
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import LabelTask, StreamTask, Task
from unrolled.text import round_trip
from unrolled.text.corpus.corpus import CorpusConfig, TokenStream, default_cache_folder, open_corpus
from unrolled.text.round_trip import SAMPLE
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig, Duplicate, LabelData, Splits, read_splits
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.checks import check_metric
from unrolled.training.recipe import Recipe
from unrolled.wording import count_of, percent

ROLE = "text"
"""Name of the single tokenizer of running text."""


_ENCODED_TOGETHER = 4096
_MOST_NAMED = 3  # rows that are left out


def too_long(n: int, max_length: int, when_long: str) -> str:
    """How many texts are too long, and what is done with them.

    Args:
        n: number of texts.
        max_length: `data.max_length`.
        when_long: what is done with them.

    >>> too_long(1, 400, "truncated (data.keep)")
    '1 text is longer than data.max_length = 400 tokens and truncated (data.keep)'
    """
    are = "is" if n == 1 else "are"
    limit = f"data.max_length = {max_length} tokens"
    return f"{count_of(n, 'text')} {are} longer than {limit} and {when_long}"


@dataclass(frozen=True)
class Part:
    """The rows of a part and their encoded examples, index by index.

    Args:
        rows: rows as read.
        examples: results of `Task.encode`.
        lengths: `[rows, sides]`, tokens of each field, from `Task.lengths`.
        n_skipped: number of rows left out because they are too long.
        n_cut: number of rows truncated because they are too long.
        unusable: line and problem of each row that was left out because it cannot be encoded.
    """

    rows: list[Row]
    examples: Sequence[Any]
    lengths: NDArray[np.int64]
    n_skipped: int
    n_cut: int = 0
    unusable: tuple[tuple[int, str], ...] = ()

    def evenly(self, n: int) -> list[int]:
        """Indices of at most n examples, spread evenly over the part."""
        return evenly(len(self.rows), n)


def evenly(size: int, n: int) -> list[int]:
    """Indices of at most n of `size` examples, spread evenly.

    >>> evenly(10, 4)
    [0, 2, 5, 7]
    """
    return [index * size // n for index in range(n)] if n < size else list(range(size))


@dataclass(frozen=True)
class PreparedRows:
    """The prepared data of a run on rows.

    Args:
        train: training part.
        valid: validation part.
        n_test: number of rows of the test part.
        n_empty: number of training rows left out because a field is empty.
        tokenizers: tokenizers by role.
        notes: notes on how the data were read.
        duplicates: repeated rows left out of the parts that were split off.
        columns: names of the columns of the training data; () if they have none.
    """

    train: Part
    valid: Part
    n_test: int
    n_empty: int
    tokenizers: Tokenizers
    notes: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def longest_target(self) -> int:
        """Tokens of the longest target to learn from, as the model sees it; 0 where there is none."""
        return int(self.train.lengths[:, -1].max(initial=0))

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows by part."""
        return {"train": len(self.train.rows), "valid": len(self.valid.rows), "test": self.n_test}

    def record(self, data: DataConfig) -> dict[str, Any]:
        """The content of `split.json`."""
        return {
            "sizes": self.sizes,
            "too_long": {"train": self.train.n_skipped, "valid": self.valid.n_skipped},
            "cut": {"train": self.train.n_cut, "valid": self.valid.n_cut},
            "empty_side": self.n_empty,
            "repeated": dict(Counter(row.part for row in self.duplicates)),
            "longest_target": self.longest_target,
            "split_seed": data.split_seed,
            "columns": list(self.columns),
            "files": checksums(data),
        }


@dataclass(frozen=True)
class PreparedText:
    """The prepared data of a run on running text.

    Args:
        train: training part.
        valid: validation part.
        n_test: number of tokens of the test part.
        notes: notes on how the text was processed, one sentence each.
        tokenizers: tokenizers by role.
    """

    train: TokenStream
    valid: TokenStream
    n_test: int
    notes: list[str]
    tokenizers: Tokenizers

    @property
    def sizes(self) -> dict[str, int]:
        """Number of tokens by part."""
        return {"train": self.train.n_tokens, "valid": self.valid.n_tokens, "test": self.n_test}

    def record(self, data: CorpusConfig) -> dict[str, Any]:
        """The content of `split.json`."""
        return {"sizes": self.sizes, "notes": self.notes, "files": checksums(data)}


def prepare_text(recipe: Recipe, task: StreamTask, tokenizers: Tokenizers | None) -> PreparedText:
    """Read running text, train a tokenizer on the training part unless one is given, and encode.

    Raises:
        DataError: a file cannot be read, or a part is too short.
    """
    corpus = open_corpus(recipe.data)
    if tokenizers is None:
        tokenizers = {ROLE: task.train_tokenizer(corpus.texts("train"), recipe.text)}
    cache = default_cache_folder()
    train, valid = (corpus.encode(part, tokenizers[ROLE], cache) for part in ("train", "valid"))
    n_test = 0
    if "test" in corpus.parts:
        n_test = corpus.encode("test", tokenizers[ROLE], cache).n_tokens
    uncached = [] if cache else ["encoded text is held in memory: this user has no home folder"]
    lines = islice(chain.from_iterable(map(str.splitlines, corpus.texts("train"))), SAMPLE)
    notes = [
        *corpus.notes(),
        *uncached,
        *_unknown_notes({"train": train, "valid": valid}),
        *round_trip.note(list(filter(str.strip, lines)), tokenizers[ROLE], "train"),
    ]
    return PreparedText(train, valid, n_test, notes, tokenizers)


def _unknown_notes(parts: Mapping[str, TokenStream]) -> list[str]:
    """Warn of many unknown words: they are easy to predict, so that the loss means little."""
    return [
        f"{name}: {percent(part.n_unknown / part.n_tokens)} of the tokens are unknown words "
        "(text.vocab_size, text.min_count)"
        for name, part in parts.items()
        if part.n_unknown >= part.n_tokens / 1000
    ]


def prepare_rows(recipe: Recipe, task: Task, tokenizers: Tokenizers | None) -> PreparedRows:
    """Read the parts, train tokenizers on the training part unless they are given, and encode.

    Training rows longer than `data.max_length` are left out or truncated, depending on
    `data.too_long`; such validation rows are left out, because they would slow down every evaluation.

    Raises:
        DataError: a file cannot be read, or no training row is left.
    """
    splits = read_splits(recipe.data, len(task.columns), task.reading)
    return encode_splits(splits, recipe, task, tokenizers)


def encode_splits(
    splits: Splits, recipe: Recipe, task: Task, tokenizers: Tokenizers | None = None
) -> PreparedRows:
    """Encode parts that have been read; as `prepare_rows`."""
    if not splits.train:
        raise DataError("no training data; name a file with --data or in data.train")
    if tokenizers is None:
        try:
            trained = task.train_tokenizers(splits.train, recipe.text, *given_words(recipe))
        except DataError as error:
            place = error.path or recipe.data.train[0]
            raise DataError(error.problem, place, error.line) from None
        tokenizers = task.extend(recipe.model, trained)
    cut_off = recipe.data.too_long == "truncate"
    train = _encode(splits.train, task, tokenizers, recipe.data.max_length, cut_off)
    valid = _encode(splits.valid, task, tokenizers, recipe.data.max_length, cut_off=False)
    for name, part, path in (
        ("training", train, recipe.data.train[0]),
        ("validation", valid, (recipe.data.valid or recipe.data.train)[0]),
    ):
        if not part.rows:
            raise DataError(
                f"no {name} row is left: {part.n_skipped:,} are longer than data.max_length = "
                f"{recipe.data.max_length} tokens; raise it, or use other data",
                path,
            )
    counts = len(splits.test), splits.n_empty
    notes = (*splits.notes, *_unusable_notes({"train": train, "valid": valid}))
    return PreparedRows(train, valid, *counts, tokenizers, notes, splits.duplicates, splits.columns)


def _unusable_notes(parts: Mapping[str, Part]) -> Iterator[str]:
    for name, part in parts.items():
        if part.unusable:
            shown = [f"line {line}: {problem}" for line, problem in part.unusable[:_MOST_NAMED]]
            more = len(part.unusable) - len(shown)
            shown += [f"and {more:,} more"] if more else []
            yield f"{name}: {count_of(len(part.unusable), 'row')} left out; {'; '.join(shown)}"


def prepare_labels(recipe: Recipe, task: LabelTask, tokenizers: Tokenizers | None) -> PreparedRows:
    """Read the parts, train tokenizers and collect the labels of the training part, and encode.

    Raises:
        ConfigError: `training.metric` is not a score of these labels.
        DataError: a file cannot be read, or no training row is left.
    """
    data = recipe.data
    splits = read_splits(data, len(task.columns), task.reading)
    if not splits.train:
        raise DataError("no training data; name a file with --data or in data.train")
    if tokenizers is None:
        try:
            given = given_words(recipe)
            tokenizers = task.train_tokenizers(splits.train, recipe.text, data, *given)
        except DataError as error:
            raise DataError(error.problem, error.path or data.train[0], error.line) from None
        tokenizers = task.extend(recipe.model, tokenizers)
        tokenizers = task.learn(recipe.model, splits.train, tokenizers, data)
    check_metric(recipe.training.metric, task.scores(tokenizers))
    skips = data.too_long == "skip"
    train = encode_rows(splits.train, task, tokenizers, data, data.train[0], skips)
    valid_file = (data.valid or data.train)[0]
    valid = encode_rows(splits.valid, task, tokenizers, data, valid_file)
    if not train.rows:
        raise DataError(
            f"no training {task.unit} is left: {train.n_skipped:,} are longer than data.max_length = "
            f"{data.max_length} tokens; raise it, or set data.too_long = 'truncate'",
            data.train[0],
        )
    if not valid.rows:
        raise DataError(f"no validation {task.unit}; give a file with --valid", valid_file)
    _check_labels(splits.test, task, tokenizers, data)
    counts = len(splits.test), splits.n_empty
    return PreparedRows(
        train, valid, *counts, tokenizers, splits.notes, splits.duplicates, splits.columns
    )


def given_words(recipe: Recipe) -> list[Tokenizer]:
    """The vocabulary of the language models in `model.pretrained`, if there are any."""
    paths: tuple[str, ...] = getattr(recipe.model, "pretrained", ())
    if not paths:
        return []
    from unrolled.training.pretrained import words_of

    return [words_of(paths)]


def _check_labels(
    rows: Sequence[Row], task: LabelTask, tokenizers: Tokenizers, data: LabelData
) -> None:
    """Refuse labels of the test part that do not occur in training, before training starts."""
    labels, labels_of = tokenizers[LABELS], task.reading.labels
    if labels_of is None:
        return
    for row in rows:
        for place, name in enumerate(labels_of(row.fields, data), start=1):
            try:
                labels.id_of(name)
            except DataError as error:
                at = place if task.by_token else None
                problem, line = place_in_row(DataError(error.problem, line=at), row)
                path = (data.test or data.train)[0]
                raise DataError(problem, path, line, task.columns[-1]) from None


def encode_rows(
    rows: Sequence[Row],
    task: LabelTask,
    tokenizers: Tokenizers,
    data: LabelData,
    path: str,
    skips: bool = False,
) -> Part:
    """Encode labelled rows; rows with texts that are too long are truncated or left out.

    Raises:
        DataError: a label does not occur in the training part; the line is named.
    """
    part = _PartBuilder(task, tokenizers)
    n_cut = 0
    encode: Any = task.encode

    def one(row: Row) -> Any:
        try:
            return encode(row.fields, tokenizers, data)
        except DataError as error:
            problem, line = place_in_row(error, row)
            raise DataError(problem, path, line, task.columns[-1]) from None

    def many(block: list[Row]) -> Sequence[Any]:
        try:
            return encode.many([row.fields for row in block], tokenizers, data)
        except DataError:
            return list(map(one, block))  # names the row

    for row, example in _encoded(rows, one, many if hasattr(encode, "many") else None, task.unit):
        lengths = task.lengths(example)
        if max(lengths) > data.max_length:
            if skips:
                continue
            example = task.cut(example, data)
            lengths = task.lengths(example)
            n_cut += 1
        if getattr(data, "word_order", "given") == "random":  # which taggers do not have
            example = task.shuffle(example, tokenizers, _random_of(row))
        part.append(row, example, lengths)
    return part.built(len(rows), n_cut)


def _random_of(row: Row) -> np.random.Generator:
    """A random generator that depends on the texts of a row alone, and not on the label."""
    digest = hashlib.sha256("\n".join(row.texts[:-1]).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(list(digest))


class _PartBuilder:
    """Collect the rows of a part and their examples."""

    def __init__(self, task: Task | LabelTask, tokenizers: Tokenizers) -> None:
        self._rows: list[Row] = []
        store = getattr(task.encode, "store", None)
        self._examples = [] if store is None else store(tokenizers)
        self._lengths = array("q")

    def append(self, row: Row, example: Any, lengths: Sequence[int]) -> None:
        self._rows.append(row)
        self._examples.append(example)
        self._lengths.extend(lengths)

    def built(self, n_read: int, n_cut: int = 0) -> Part:
        """The part, of which `n_read` rows were read and `n_cut` were truncated."""
        n_rows = len(self._rows)
        lengths = np.frombuffer(self._lengths, np.int64) if n_rows else np.zeros(0, np.int64)
        lengths = lengths.reshape(n_rows, -1) if n_rows else lengths.reshape(0, 1)
        return Part(self._rows, self._examples, lengths, n_read - n_rows, n_cut)


def _encoded(
    rows: Sequence[Row],
    one: Callable[[Row], Any],
    many: Callable[[list[Row]], Sequence[Any]] | None,
    unit: str = "row",
) -> Iterator[tuple[Row, Any]]:
    """Yield each row with its example, which `many` encodes together if it is given."""
    read = counted(rows, "encoding", f"{unit}s", len(rows))
    if many is None:
        for row in read:
            yield row, one(row)
        return
    while block := list(islice(read, _ENCODED_TOGETHER)):
        yield from zip(block, many(block), strict=True)


def place_in_row(error: DataError, row: Row) -> tuple[str, int]:
    """The problem with a row and its line; the line of the token if each token has its own."""
    if error.line is None:
        return error.problem, row.line
    if row.lines:
        return error.problem, row.lines[error.line - 1]
    return f"token {error.line}: {error.problem}", row.line


def checksums(data: DataConfig | CorpusConfig) -> list[dict[str, str]]:
    """Part, path and SHA-256 of every data file, to detect changed files.

    Raises:
        DataError: a file cannot be read.
    """
    if isinstance(data, CorpusConfig):
        files = open_corpus(data).files
        return [{"part": part, "path": str(path), "sha256": digest} for part, path, digest in files]
    return [
        {"part": part, "path": path, "sha256": _sha256(path)}
        for part in ("train", "valid", "test")
        for path in getattr(data, part)
    ]


def _encode(
    rows: Sequence[Row], task: Task, tokenizers: Tokenizers, max_length: int, cut_off: bool
) -> Part:
    part = _PartBuilder(task, tokenizers)
    encode: Any = task.encode
    many = getattr(encode, "many", None)
    unusable = []

    def one(row: Row) -> Any:
        try:
            return encode(row.texts, tokenizers)
        except DataError as error:
            unusable.append((row.line, error.problem))
            return None

    for row, example in _encoded(
        rows,
        one,
        None if many is None else lambda block: many([row.texts for row in block], tokenizers),
    ):
        if example is None:
            continue
        lengths = task.lengths(example)
        if max(lengths) > max_length:
            if not cut_off:
                continue
            example = _cut_off(row.texts, task, tokenizers, max_length)
            lengths = task.lengths(example)
        part.append(row, example, lengths)
    built = part.built(len(rows))
    return replace(built, n_skipped=built.n_skipped - len(unusable), unusable=tuple(unusable))


def _cut_off(fields: Sequence[str], task: Task, tokenizers: Tokenizers, max_length: int) -> Any:
    """Encode the longest beginnings of the fields that fit, found by binary search."""
    cut = ["" for _ in fields]
    for side, text in enumerate(fields):
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            cut[side] = text[:middle]
            if task.lengths(task.encode(cut, tokenizers))[side] <= max_length:
                low = middle
            else:
                high = middle - 1
        cut[side] = text[:low]
    return task.encode(cut, tokenizers)


def _sha256(path: str) -> str:
    try:
        with documents.open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}; expected a data file", path) from None
