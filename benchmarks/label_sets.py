"""Convert public data sets of labelled texts to TSV files for the recipes.

    python benchmarks/label_sets.py FOLDER_OF_SETS OUT [--sets sst2 sst5 trec imdb snli stance_a \
        stance_b sst2_joined sst5_joined trec_joined]

Each set is written to OUT/<set>/train.tsv, test.tsv and, if there is an official validation set,
valid.tsv. The input folder has the folders `sst` (stsa.binary.*, stsa.fine.*), `trec` (TREC.*.all),
`imdb` (aclImdb_labeled.tar.gz), `snli` (train_18k.csv and the official dev and test sets) and
`semeval2016-task6`. Tabs and line ends inside a text are replaced by spaces, HTML line breaks of IMDB
too; the hashtag of the stance task is removed; nothing else is changed. In the sets with `_joined`,
the endings that SST and TREC write apart are joined again ("does n't" becomes "doesn't"), as in the text
of which a pretrained language model has learned, and brackets and quotes are written as usual.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from convert_sets import Converter, convert

Rows = Iterable[tuple[str, ...]]
Written = Callable[[str], str]

TREC_CLASSES = ("DESC", "ENTY", "ABBR", "HUM", "NUM", "LOC")
SNLI_CLASSES = {"1": "neutral", "2": "contradiction", "3": "entailment"}


def write(path: Path, columns: tuple[str, ...], rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in (columns, *rows):
            file.write("\t".join(" ".join(re.split(r"[\t\r\n\0]+", cell)) for cell in row) + "\n")
            n += 1
    print(f"{path}: {n - 1:,} rows")


def decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def lines_of(path: Path) -> Iterator[str]:
    for raw in path.read_bytes().split(b"\n"):
        if line := decoded(raw).strip("\r\n"):
            yield line


def joined(text: str) -> str:
    """A text of SST or TREC as one would write it.

    >>> print(joined("it 's -lrb- not quite -rrb- ` a film ' , `` I ca n't see ''"))
    it's ( not quite ) ' a film ' , " I can't see "
    """
    for written, usual in (("-lrb-", "("), ("-rrb-", ")"), ("``", '"'), ("''", '"'), ("`", "'")):
        text = text.replace(written, usual)
    return re.sub(r" (n't|'(?:s|re|ve|ll|d|m))(?= |$)", r"\1", text, flags=re.IGNORECASE)


def labelled_lines(
    path: Path, names: dict[str, str], as_written: Written = str
) -> Iterator[tuple[str, str]]:
    """Parse lines with a label, a space and a text."""
    for line in lines_of(path):
        label, _, text = line.partition(" ")
        yield as_written(text), names.get(label, label)


def sst(
    source: Path, out: Path, kind: str, names: dict[str, str], as_written: Written = str
) -> None:
    for part, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        rows = labelled_lines(source / "sst" / f"stsa.{kind}.{part}", names, as_written)
        write(out / f"{name}.tsv", ("text", "label"), rows)


def sst2(source: Path, out: Path, as_written: Written = str) -> None:
    sst(source, out, "binary", {"0": "negative", "1": "positive"}, as_written)


def sst5(source: Path, out: Path, as_written: Written = str) -> None:
    sst(source, out, "fine", {}, as_written)


def trec(source: Path, out: Path, as_written: Written = str) -> None:
    names = {str(number): name for number, name in enumerate(TREC_CLASSES)}
    for part in ("train", "test"):
        rows = labelled_lines(source / "trec" / f"TREC.{part}.all", names, as_written)
        write(out / f"{part}.tsv", ("text", "label"), rows)


def imdb(source: Path, out: Path) -> None:
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    with tarfile.open(source / "imdb" / "aclImdb_labeled.tar.gz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and parts[-2] in ("pos", "neg") and parts[-3] in rows:
                file = archive.extractfile(member)
                assert file is not None  # since it is a regular file
                text = file.read().decode("utf-8")
                rows[parts[-3]].append((member.name, text.replace("<br />", " "), parts[-2]))
    for part, reviews in rows.items():
        write(
            out / f"{part}.tsv",
            ("text", "label"),
            ((text, label) for _, text, label in sorted(reviews)),
        )


def snli(source: Path, out: Path) -> None:
    columns = ("premise", "hypothesis", "label")
    with (source / "snli" / "train_18k.csv").open(encoding="utf-8", newline="") as file:
        table = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        write(out / "train.tsv", columns, ((row[2], row[3], SNLI_CLASSES[row[0]]) for row in table))
    for part, name in (("dev", "valid"), ("test", "test")):
        with gzip.open(
            source / "snli" / f"snli_1.0_{part}.jsonl.gz", "rt", encoding="utf-8"
        ) as file:
            pairs = (json.loads(line) for line in file)
            rows = (
                (pair["sentence1"], pair["sentence2"], pair["gold_label"])
                for pair in pairs
                if pair["gold_label"] != "-"
            )
            write(out / f"{name}.tsv", columns, rows)


def tweets(path: Path) -> Iterator[tuple[str, str, str]]:
    """Target, tweet without the hashtag of the task, and stance."""
    lines = path.read_bytes().decode("latin-1").splitlines()
    for line in lines[1:]:
        _, target, tweet, stance, *_ = line.split("\t")
        yield target, tweet.replace("#SemST", "").strip(), stance


COLUMNS_OF_STANCE = ("target", "tweet", "stance")


def training_tweets(folder: Path) -> list[tuple[str, str, str]]:
    """The 2,914 training tweets of the task: its trial data and its training data."""
    files = ("trialdata-all-annotations.txt", "trainingdata-all-annotations.txt")
    return [row for file in files for row in tweets(folder / file)]


def stance_a(source: Path, out: Path) -> None:
    folder = source / "semeval2016-task6"
    write(out / "train.tsv", COLUMNS_OF_STANCE, training_tweets(folder))
    write(
        out / "test.tsv", COLUMNS_OF_STANCE, tweets(folder / "testdata-taskA-all-annotations.txt")
    )


def stance_b(source: Path, out: Path) -> None:
    """Four targets for training, Hillary Clinton for validation, Donald Trump for the test."""
    folder = source / "semeval2016-task6"
    rows = training_tweets(folder)
    held_out = "Hillary Clinton"
    write(out / "train.tsv", COLUMNS_OF_STANCE, (row for row in rows if row[0] != held_out))
    write(out / "valid.tsv", COLUMNS_OF_STANCE, (row for row in rows if row[0] == held_out))
    write(
        out / "test.tsv", COLUMNS_OF_STANCE, tweets(folder / "testdata-taskB-all-annotations.txt")
    )


SETS: dict[str, Converter] = {
    "sst2": sst2,
    "sst5": sst5,
    "trec": trec,
    "imdb": imdb,
    "snli": snli,
    "stance_a": stance_a,
    "stance_b": stance_b,
    "sst2_joined": partial(sst2, as_written=joined),
    "sst5_joined": partial(sst5, as_written=joined),
    "trec_joined": partial(trec, as_written=joined),
}


if __name__ == "__main__":
    convert(__doc__, SETS)
