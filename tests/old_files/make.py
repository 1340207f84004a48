"""How the files of this folder were made, by version 0.1.0; they stay as they are.

    python tests/old_files/make.py        # in an empty copy of this folder that has only the recipes

The data are sentences of small grammars, the vectors GloVe's of all of them, and each run is what
`unrolled train recipe.toml --out run` makes in its folder, without the checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import answers

from unrolled import cli
from unrolled.errors import UnrolledError
from unrolled.tasks import TASKS
from unrolled.training.events import Evaluated
from unrolled.training.loop import fit
from unrolled.training.recipe import recipe_from_toml

HERE = Path(__file__).resolve().parent

NUMBERS = {"two": "dos", "three": "tres", "four": "cuatro", "five": "cinco"}
NOUNS = {"cats": "gatos", "dogs": "perros", "birds": "pájaros", "horses": "caballos"}
COLOURS = {"": "", "red ": " rojos", "black ": " negros", "white ": " blancos"}
THINGS = ("cat", "dog", "bird", "horse")
VERBS = ("sees", "likes", "follows")

WITH_BASELINES = ("classify", "topics", "pair", "tag")
BASELINES_KEPT = (
    "majority",
    "bigrams",
    "nb_svm",
    "nb_svm-second",
    "frequent_tag",
    "token_logistic",
)
"""Of them; the others are of the same sorts."""

INTERRUPTED_AT = 30
"""The step of the checkpoint at which a run is left."""


def write(path: str, lines: Sequence[str]) -> None:
    """A text file in UTF-8 with LF at the ends of lines."""
    (HERE / path).parent.mkdir(exist_ok=True)
    (HERE / path).write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_parts(
    name: str, header: Sequence[str], lines: Sequence[str], sizes: Sequence[int]
) -> None:
    """`train.tsv`, `valid.tsv` and `test.tsv` of a folder, from lines in random order."""
    lines = list(dict.fromkeys(lines))
    random.Random(1).shuffle(lines)
    start = 0
    for part, size in zip(("train", "valid", "test"), sizes, strict=True):
        write(f"{name}/{part}.tsv", ["\t".join(header), *lines[start : start + size]])
        start += size


def make_pairs() -> None:
    """Translations, as a table and as parallel files."""
    lines = [
        f"I see {number} {colour}{noun}.\tVeo {numero} {nombre}{color}."
        for (number, numero), (noun, nombre), (colour, color) in product(
            NUMBERS.items(), NOUNS.items(), COLOURS.items()
        )
    ]
    write_parts("translate", ("en", "es"), lines, (48, 8, 8))
    random.Random(2).shuffle(lines)
    for part, some in (("train", lines[:24]), ("valid", lines[24:28])):
        for column, language in enumerate(("en", "es")):
            write(f"interrupted/{part}.{language}", [line.split("\t")[column] for line in some])


def make_text() -> None:
    """Running text, a sentence on each line, a blank line after some."""
    draw = random.Random(3)
    lines = []
    for _ in range(240):
        colour, other = (draw.choice(list(COLOURS)) for _ in range(2))
        who, whom = (draw.choice(THINGS) for _ in range(2))
        lines.append(f"The {colour}{who} {draw.choice(VERBS)} the {other}{whom}.")
        if draw.random() < 0.15:
            lines.append("")
    write("text/train.txt", lines[:200])
    write("text/valid.txt", lines[200:220])
    write("text/test.txt", lines[220:240])


def make_labels() -> None:
    """Verdicts in which "not" matters, topics of which a text has any number, stances, entailment."""
    good, bad, neither = ("nice", "great"), ("bad", "rotten"), ("red", "old")
    verdicts = []
    for thing, adjective in product((*THINGS, "phone", "book"), (*good, *bad, *neither)):
        label = "positive" if adjective in good else "negative"
        other = "negative" if adjective in good else "positive"
        label, other = ("neutral", "neutral") if adjective in neither else (label, other)
        verdicts += [
            f"the {thing} is {adjective}\t{label}",
            f"the {thing} is not {adjective}\t{other}",
            f"I think that the {thing} is not at all {adjective} , said the man\t{other}",
        ]
    write_parts("classify", ("text", "label"), verdicts, (72, 18, 18))

    draw = random.Random(4)
    clauses = {
        "sport": ("the team won", "a late goal"),
        "money": ("the bank is closed", "prices fell"),
        "music": ("the band plays", "a new song"),
    }
    rows = []
    for _ in range(90):
        topics = draw.sample(sorted(clauses), draw.choice((0, 1, 1, 2, 2, 3)))
        said = [draw.choice(clauses[topic]) for topic in topics] + ["and it rains"]
        rows.append((" ; ".join(said), sorted(topics)))
    for part, some in (("train", rows[:60]), ("valid", rows[60:75])):
        lines = [json.dumps({"text": text, "label": topics}) for text, topics in some]
        write(f"topics/{part}.jsonl", lines)
    write(
        "topics/test.tsv",
        ["text\tlabel", *(f"{text}\t{'|'.join(topics)}" for text, topics in rows[75:])],
    )

    seasons = ("winter", "summer", "rain", "music")
    forms = {
        "FAVOR": ("I love {}", "I love {} so much", "give me {} any day", "more {} please"),
        "AGAINST": ("I hate {}", "I hate {} so much", "give me no {} any day", "no more {} please"),
    }
    stances = []
    for target, about, (stance, texts) in product(seasons, seasons, forms.items()):
        for text in texts:
            label = stance if target == about else "NONE"
            stances.append(f"{target}\t{text.format(about)}\t{label}")
    write_parts("pair", ("target", "tweet", "stance"), stances, (96, 16, 16))

    above = {"dogs": "animals", "cats": "animals", "roses": "flowers"}
    entailed = []
    for noun, other, verb in product(above, above, ("sleep", "grow", "wait", "fall", "burn")):
        entailed += [
            f"two {noun} {verb}\tsome {above[other]} {verb}\t"
            + ("entailment" if above[noun] == above[other] else "neutral"),
            f"two {noun} {verb}\tno {above[other]} {verb}\t"
            + ("contradiction" if above[noun] == above[other] else "neutral"),
        ]
    write_parts("entailment", ("premise", "hypothesis", "label"), entailed, (44, 8, 8))


def make_tags() -> None:
    """Sentences with parts of speech and noun phrases, a token on each line."""
    draw = random.Random(5)
    sentences = []
    for _ in range(60):
        lines = []
        for place in range(2):
            words = ["the DET", *(["red ADJ"] if draw.random() < 0.5 else [])]
            words.append(f"{draw.choice((*THINGS, 'Anna', 'plan'))} NOUN")
            lines += [f"{word} {'I' if i else 'B'}-NP" for i, word in enumerate(words)]
            verb = draw.choice((*VERBS, "plan"))
            lines.append(". PUNCT O" if place else f"{verb} VERB O")
        sentences.append(lines)
    for part, some in (
        ("train", sentences[:40]),
        ("valid", sentences[40:50]),
        ("test", sentences[50:]),
    ):
        write(f"tag/{part}.conll", [line for sentence in some for line in (*sentence, "")])


def make_vectors() -> None:
    """Vectors of all the sentences, in each format that is read."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*/*.t[sx][vt]"))]
    texts.append((HERE / "tag" / "train.conll").read_text(encoding="utf-8").replace("\n", " "))
    corpus = HERE / "sentences.txt"
    corpus.write_bytes("\n".join(texts).replace("\t", "\n").encode())
    folder = HERE / "vectors"
    run("vectors", "train", "sentences.txt", "--tokens", "word", "--lowercase", "--size", "6",
        "--min-count", "8", "--window", "4", "--epochs", "12", "--threads", "1", "--x-max", "20",
        "--out", "vectors/native")  # fmt: skip
    corpus.unlink()
    for name in ("glove.txt", "word2vec.vec", "word2vec.bin", "vectors.safetensors"):
        run("vectors", "convert", "vectors/native", f"vectors/{name}")
    expected = {"vectors": answers.of_vectors(folder / "native")}
    expected["ratios"] = answers.ratios(folder / "native")
    write_expected(folder, expected)


def make_run(name: str, inputs: Sequence[answers.Input]) -> None:
    """Train a recipe, drop its checkpoints, and ask it."""
    folder = HERE / name
    os.chdir(folder)
    run("train", "recipe.toml", "--out", "run", *(["--baselines"] * (name in WITH_BASELINES)))
    shutil.rmtree(folder / "run" / "checkpoints")
    for baseline in (folder / "run").glob("baselines/*"):
        if baseline.name not in BASELINES_KEPT:
            shutil.rmtree(baseline)
    write_expected(folder, {"inputs": list(inputs), **answers.of_everything(folder, inputs)})


def make_interrupted_run(inputs: Sequence[answers.Input]) -> None:
    """Train a recipe to its end, for what it comes to, and leave another run of it on the way."""
    folder = HERE / "interrupted"
    os.chdir(folder)
    run("train", "recipe.toml", "--out", "run")
    at_the_end = {
        "training": answers.of_training(folder / "run"),
        "python": answers.of_run(folder / "run", inputs),
    }
    shutil.rmtree(folder / "run")
    events = fit(recipe_from_toml("recipe.toml", TASKS), "run")
    for event in events:
        if isinstance(event, Evaluated) and event.step == INTERRUPTED_AT:
            next(events)  # what was saved at this step
            break
    events.close()
    found = answers.of_everything(folder, inputs)
    write_expected(folder, {"inputs": list(inputs), **found, "resumed": at_the_end})


def write_expected(folder: Path, expected: object) -> None:
    """`expected.json`, lists of numbers on one line."""
    text = answers.as_json(expected)
    (folder / "expected.json").write_bytes(text.encode())


def run(*arguments: str) -> None:
    """A command of `unrolled`."""
    if cli.main(arguments):
        raise UnrolledError(f"`unrolled {' '.join(arguments)}` failed")


def main() -> None:
    """Make everything anew."""
    os.chdir(HERE)
    make_pairs()
    make_text()
    make_labels()
    make_tags()
    make_vectors()
    make_run("translate", ["I see two red cats.", "I see four Black horses and a zebra."])
    make_run("characters", ["The red c", "A zebra sees"])
    make_run("words", ["The red cat", "the black zebra likes the"])
    make_run("classify", ["the phone is not great", "The zebra is nice", ""])
    make_run("topics", ["the team won ; prices fell", "and it rains", "a zebra plays"])
    make_run("pair", [["winter", "I love winter so much"], ["rain", "no more Music please"]])
    make_run("entailment", [["two dogs sleep", "some animals sleep"], ["two roses", "no flowers"]])
    make_run("tag", [["the", "plan", "sees", "Anna", "."], ["the", "red", "zebra", "plan", "it"]])
    make_interrupted_run(["I see two red cats.", "I see four zebras."])


if __name__ == "__main__":
    main()
