"""Convert public sets of descriptions and code to tables, for the recipes.

    python benchmarks/code_sets.py FOLDER_OF_SETS OUT [--sets django conala nl2bash commands]

    OUT/django/train.jsonl, valid.jsonl   rows 1 to 16,000 and 16,001 to 17,000; without indentation
    OUT/conala/train.jsonl, valid.jsonl, test.jsonl, train-valid.jsonl
    OUT/nl2bash/train.jsonl, valid.jsonl, test.jsonl
    OUT/commands/train.tsv, valid.tsv, test.tsv  the Python expressions of `unrolled sample commands`

The input folder has the folders `django` (all.anno.gz, all.code.gz), `conala` (conala-train.json,
conala-test.json) and `nl2bash` (split/train.json, dev.json, test.json). Of CoNaLa's training part, the
rows of 200 questions, drawn with a fixed seed, are the validation part: no question is in both.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

from convert_sets import Converter, convert
from unrolled.samples.expressions import generate
from unrolled.samples.expressions import write as write_commands

N_TRAIN_DJANGO, N_VALID_DJANGO = 16_000, 1_000
N_QUESTIONS_HELD_OUT = 200
SEED = 1


def write(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"description": description, "code": code}, ensure_ascii=False)
        for description, code in pairs
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    print(f"{path}: {len(lines):,} rows")


def django(source: Path, out: Path) -> None:
    sides = []
    for name in ("all.anno.gz", "all.code.gz"):
        with gzip.open(source / "django" / name, "rt", encoding="utf-8", newline="\n") as file:
            sides.append([line.strip() for line in file.read().split("\n")])
    n = N_TRAIN_DJANGO + N_VALID_DJANGO
    pairs = list(zip(*sides, strict=True))[:n]
    write(out / "train.jsonl", pairs[:N_TRAIN_DJANGO])
    write(out / "valid.jsonl", pairs[N_TRAIN_DJANGO:])


def conala(source: Path, out: Path) -> None:
    def pairs(entries: Iterable[dict]) -> list[tuple[str, str]]:
        return [(each["rewritten_intent"] or each["intent"], each["snippet"]) for each in entries]

    train, test = (
        json.loads((source / "conala" / f"conala-{part}.json").read_text(encoding="utf-8"))
        for part in ("train", "test")
    )
    questions = sorted({each["question_id"] for each in train})
    held_out = set(Random(SEED).sample(questions, N_QUESTIONS_HELD_OUT))
    write(out / "train-valid.jsonl", pairs(train))
    write(out / "train.jsonl", pairs(e for e in train if e["question_id"] not in held_out))
    write(out / "valid.jsonl", pairs(e for e in train if e["question_id"] in held_out))
    write(out / "test.jsonl", pairs(test))


def nl2bash(source: Path, out: Path) -> None:
    for part, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        text = (source / "nl2bash" / "split" / f"{name}.json").read_text(encoding="utf-8")
        entries = [json.loads(line) for line in text.splitlines() if line.strip()]
        write(out / f"{part}.jsonl", ((each["nl"], each["bash"]) for each in entries))


def commands(source: Path, out: Path) -> None:
    write_commands(out, generate())
    print(f"{out}: the sample of Python expressions")


SETS: dict[str, Converter] = {
    "django": django,
    "conala": conala,
    "nl2bash": nl2bash,
    "commands": commands,
}


if __name__ == "__main__":
    convert(__doc__, SETS)
