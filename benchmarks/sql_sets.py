"""Convert public sets of questions and queries to tables with their databases, for the recipes.

    python benchmarks/sql_sets.py FOLDER_OF_SETS OUT [--sets geo atis spider shop]

    OUT/geo/question/train.tsv, valid.tsv, test.tsv, train-valid.tsv, geography.sqlite
    OUT/geo/query/…                       the same, split so that no two parts share a query
    OUT/atis/question/…, OUT/atis/query/… the same with atis.json, a schema without data, but with the
                                          values that five queries of train.tsv name
    OUT/spider/train.jsonl, valid.jsonl, databases/
    OUT/shop/train.tsv, …                 as written by `unrolled sample shop`

The input folder has the folders `text2sql` (geography.json, geography-db.added-in-2020.sqlite,
atis.json.gz, atis-schema.csv) and `spider` (train.jsonl, databases.tar.xz). The parts of GeoQuery and
ATIS are those of Finegan-Dollak et al. (2018), with variables replaced by their values and queries
unchanged: texts stand in double quotes, which is the dialect "mysql". Published models were trained on
train and valid together after tuning. Of Spider, 20 of the 137 training databases, drawn with a fixed
seed, are the validation part; no database is in both.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import get_args

from convert_sets import Converter, convert
from unrolled.samples.shop.generator import generate
from unrolled.samples.shop.generator import write as write_shop
from unrolled.sql.compared import compared_values
from unrolled.sql.examples import Example, SplitBy, read_examples
from unrolled.sql.schema import as_json
from unrolled.sql.schema_files import read_schema

N_HELD_OUT = 20
SEED = 1
LEAST_QUERIES = 5
"""Number of training queries that must name a value of ATIS; a model learns to copy rarer ones."""


def write(path: Path, database: str, examples: Iterable[Example]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("question\tquery\tdatabase\n")
        for each in examples:
            cells = (each.question, each.query, database)
            file.write("\t".join(" ".join(re.split(r"[\t\r\n\0]+", cell)) for cell in cells) + "\n")
            n += 1
    print(f"{path}: {n:,} rows")


def text2sql(
    data: Path, out: Path, name: str, write_database: Callable[[Path, Sequence[Example]], None]
) -> None:
    """Write the parts of a set, and by `write_database`, from the training part, their database."""
    for split in get_args(SplitBy):
        parts: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
        for example in read_examples(data, split):
            parts[example.part].append(example)
        parts["train-valid"] = parts["train"] + parts["valid"]
        for part, examples in parts.items():
            write(out / split / f"{part}.tsv", name, examples)
        write_database(out / split / name, parts["train"])


def geo(source: Path, out: Path) -> None:
    folder = source / "text2sql"
    database = folder / "geography-db.added-in-2020.sqlite"

    def copy(path: Path, _: Sequence[Example]) -> None:
        shutil.copyfile(database, path)

    text2sql(folder / "geography.json", out, "geography.sqlite", copy)


def atis(source: Path, out: Path) -> None:
    folder = source / "text2sql"
    schema = replace(read_schema(folder / "atis-schema.csv"), name="atis")

    def describe(path: Path, train: Sequence[Example]) -> None:
        queries = [example.query for example in train]
        values = compared_values(queries, schema, "mysql", LEAST_QUERIES)
        text = json.dumps(as_json(schema, values), indent=1)
        path.write_text(f"{text}\n", encoding="utf-8", newline="\n")

    text2sql(folder / "atis.json.gz", out, "atis.json", describe)


def spider(source: Path, out: Path) -> None:
    lines = (source / "spider" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    databases = [json.loads(line)["database"] for line in lines]
    held_out = set(Random(SEED).sample(sorted(set(databases)), N_HELD_OUT))
    (out / "databases").mkdir(parents=True, exist_ok=True)
    with tarfile.open(source / "spider" / "databases.tar.xz") as archive:
        archive.extractall(out / "databases", filter="data")
    for part, is_held_out in (("train", False), ("valid", True)):
        chosen = [
            line
            for line, database in zip(lines, databases, strict=True)
            if (database in held_out) == is_held_out
        ]
        path = out / f"{part}.jsonl"
        path.write_text("".join(f"{line}\n" for line in chosen), encoding="utf-8", newline="\n")
        print(f"{path}: {len(chosen):,} rows")


def shop(source: Path, out: Path) -> None:
    write_shop(out, generate())
    print(f"{out}: the sample shop")


SETS: dict[str, Converter] = {
    "geo": geo,
    "atis": atis,
    "spider": spider,
    "shop": shop,
}


if __name__ == "__main__":
    convert(__doc__, SETS)
