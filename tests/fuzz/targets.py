"""What is damaged, and who reads it: every file of a run folder and of vectors, and every reader."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Call = Callable[[Path], int]


@dataclass(frozen=True)
class Target:
    """A file, and who reads it.

    Args:
        name: for the table.
        folder: that holds it, and is made anew after each case.
        file: within it.
        call: reads it, given the folder's copy; 0 where it was accepted, 2 where it was refused.
        then: what a stranger would do to have the damage believed, given the folder's copy.
    """

    name: str
    folder: Path
    file: str
    call: Call
    then: Callable[[Path], None] | None = None


def command(*arguments: str) -> Call:
    """A call of the command line; `{}` in its arguments is the folder."""

    def call(folder: Path) -> int:
        from unrolled import cli

        return cli.main([each.format(folder) for each in arguments])

    return call


# Folders to damage

_TASKS = ("translate", "language_model", "classify", "pair", "tag", "sql", "code")
_SMALL = {
    "translate": ("embedding_size=3", "encoder_size=5", "hidden_size=7"),
    "language_model": ("embedding_size=3", "hidden_size=5"),
    "classify": ("embedding_size=3", "hidden_size=5"),
    "pair": ("embedding_size=3", "hidden_size=5"),
    "tag": ("embedding_size=3", "hidden_size=5", "char_size=2"),
    "sql": ("embedding_size=3", "encoder_size=4", "hidden_size=5"),
    "code": ("embedding_size=3", "encoder_size=5", "hidden_size=7"),
}
_WORDS = (
    "the",
    "tea",
    "was",
    "good",
    "and",
    "hot",
    "but",
    "all",
    "of",
    "it",
    "went",
    "cold",
    "in",
    "cup",
)


def _sentence(number: int) -> str:
    return " ".join(_WORDS[(number * 7 + i * i) % len(_WORDS)] for i in range(3 + number % 5))


def write_data(folder: Path) -> None:
    """A small file for each reader."""
    folder.mkdir(parents=True)
    sentences = [f"{_sentence(n)} {n}" for n in range(60)]
    labels = ["pos" if n % 3 else "neg" for n in range(60)]
    pairs = list(zip(sentences, labels, strict=True))
    tokens = [
        "\n".join(
            f"{word}\t{'B-A' if i == 1 else 'I-A' if i == 2 else 'O'}"
            for i, word in enumerate(each)
        )
        for each in (sentence.split() for sentence in sentences)
    ]
    conllu = [
        "\n".join(f"{i}\t{word}\t_\tNOUN\t_\t_\t0\t_\t_\t_" for i, word in enumerate(each, start=1))
        for each in (sentence.split() for sentence in sentences)
    ]
    texts = {
        "translate.tsv": "".join(f"{a}\t{a.upper()}\n" for a in ["en", *sentences]),
        "classify.tsv": "text\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in pairs),
        "classify.csv": "text,label\n" + "".join(f'"{a}",{b}\n' for a, b in pairs),
        "classify.jsonl": "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in pairs),
        "pair.tsv": "a\tb\tlabel\n" + "".join(f"{a}\t{a[::-1]}\t{b}\n" for a, b in pairs),
        "sql.tsv": "question\tquery\tdatabase\n"
        + "".join(
            f"which words of {a}\tSELECT text FROM word WHERE n > {n}\twords.sqlite\n"
            for n, a in enumerate(sentences)
        ),
        "code.tsv": "description\tcode\n"
        + "".join(f"{a}\t{'_'.join(a.split())} = '{a}'\n" for a in sentences),
        "tag.conll": "\n\n".join(tokens) + "\n",
        "tag.conllu": "\n\n".join(conllu) + "\n",
        "tag.jsonl": "".join(
            json.dumps({"text": a.split(), "tags": ["O"] * len(a.split())}) + "\n"
            for a in sentences
        ),
        "language_model.txt": "\n".join(sentences * 3),
        "parallel.en": "\n".join(sentences),
        "parallel.es": "\n".join(sentence.upper() for sentence in sentences),
        "input.txt": "\n".join(sentences[:9]),
        "words.txt": "".join(f"{word} {n}.5 -1 {n}e-3\n" for n, word in enumerate(_WORDS)),
        "word2vec.txt": f"{len(_WORDS)} 3\n" + "".join(f"{w} 0.5 -1 2e-3\n" for w in _WORDS),
        "vocabulary.tsv": "".join(f"{word}\t{99 - n}\n" for n, word in enumerate(_WORDS)),
        "questions-words.txt": ": capital-world\nthe tea was good\nand hot but all\n: gram1-a\n"
        "of it went cold\nin the tea was\n",
        "wordsim.tab": "Word 1\tWord 2\tHuman (mean)\nthe\ttea\t7.35\nwas\tgood\t10\nhot\tcold\t1.5\n",
        "recipe.toml": "task = 'classify'\nseed = 3\n[data]\ntrain = ['a.tsv']\nmax_length = 7\n"
        "[text]\nkind = 'word'\n[model]\nhidden_size = 7\nn_layers = 1\ndropout_rate = 0.5\n"
        "[training]\nmax_steps = 9\nlearning_rate = 0.5\n[decoding]\nbeam_size = 3\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    plain = texts["language_model.txt"].encode()
    for ending, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        (folder / f"packed.txt{ending}").write_bytes(pack(plain))
    binary = f"{len(_WORDS)} 2\n".encode()
    for word in _WORDS:
        binary += word.encode() + b" " + b"\0\0\x80?\0\0\0@" + b"\n"
    (folder / "word2vec.bin").write_bytes(binary)
    with closing(sqlite3.connect(folder / "words.sqlite")) as connection:
        connection.execute("CREATE TABLE word (text TEXT, n INTEGER)")
        connection.executemany(
            "INSERT INTO word VALUES (?, ?)", zip(_WORDS, range(99), strict=False)
        )
        connection.commit()


def write_run(folder: Path, data: Path, task: str) -> None:
    """A run of this task, one step long."""
    from unrolled.config import apply_overrides
    from unrolled.tasks import TASKS
    from unrolled.training.loop import train
    from unrolled.training.recipe import Recipe

    endings = {"language_model": "txt", "tag": "conll"}
    file = data / f"{task}.{endings.get(task, 'tsv')}"
    given: list[tuple[str, str | None]] = [
        ("task", task),
        ("data.train", str(file)),
        ("training.max_steps", "1"),
        ("text.kind", {"translate": "bpe", "code": "code"}.get(task, "word")),
        ("text.vocab_size", "300"),
        *((f"model.{name}", value) for name, value in (each.split("=") for each in _SMALL[task])),
    ]
    train(Recipe.from_mapping(apply_overrides({}, given), TASKS), folder)
    # What a stranger hands over has whatever checksums it needs.
    record = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    del record["contents"]
    (folder / "split.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def write_vectors(folder: Path, data: Path, *, unfinished: bool) -> None:
    """Vectors, or what is left of their training after its first epoch."""
    from unrolled.vectors.config import VectorsConfig
    from unrolled.vectors.events import Epoch
    from unrolled.vectors.train import fit_vectors

    config = VectorsConfig(size=3, min_count=1, epochs=3, save_every_n_seconds=0)
    events = fit_vectors(config, data / "language_model.txt", folder, implementation="plain")
    for event in events:
        if unfinished and isinstance(event, Epoch) and event.epoch == 1:
            events.close()
    (folder / "counts" / "checksums.json").unlink()


def build(folder: Path) -> None:
    """Everything that is damaged, under one folder."""
    data = folder / "data"
    write_data(data)
    for task in _TASKS:
        write_run(folder / task, data, task)
    write_vectors(folder / "vectors", data, unfinished=False)
    write_vectors(folder / "begun", data, unfinished=True)
    from unrolled.vectors.formats.detect import read_vectors
    from unrolled.vectors.formats.detect import write_vectors as write

    write_cache(folder / "cache", data)
    (folder / "st").mkdir()
    found = read_vectors(data / "words.txt")
    write(folder / "st" / "words.safetensors", found.words, found.matrix)


# Targets

_ASK = {
    "translate": ("predict", "{}", "the tea was good"),
    "language_model": ("complete", "{}", "the te"),
    "classify": ("predict", "{}", "the tea was good"),
    "pair": ("predict", "{}", "the tea", "was good"),
    "tag": ("predict", "{}", "the tea was good"),
    "sql": ("ask", "{}", "which words of the tea", "--database"),
    "code": ("predict", "{}", "the tea was good"),
}


def targets(folder: Path) -> Iterator[Target]:
    """Every target under a folder that `build` made."""
    for task in _TASKS:
        yield from _of_run(folder / task, task)
    yield from _of_vectors(folder)
    yield from _of_readers(folder / "data", folder)


def _of_run(run: Path, task: str) -> Iterator[Target]:
    database = (str(run.parent / "data" / "words.sqlite"),) if task == "sql" else ()
    ask, resume = (
        command(*_ASK[task], *database),
        command("train", "--resume", "--out", "{}", "--training.max_steps", "2"),
    )
    score = command("evaluate", "{}", "--split", "valid")
    files = ["config.toml", "model.safetensors", *sorted(p.name for p in run.glob("tokenizer-*"))]
    if (run / "labels.json").exists():
        files.append("labels.json")
    for file in files:
        yield Target(f"{task}/{file} (predict)", run, file, ask)
    for file in ("config.toml", "split.json"):
        yield Target(f"{task}/{file} (evaluate)", run, file, score)
    (last,) = sorted((run / "checkpoints").glob("step-*"))[-1:]
    state = f"checkpoints/{last.name}/state.json"
    for file in ("config.toml", "split.json", "checkpoints/pointer.json", "metrics.jsonl"):
        yield Target(f"{task}/{file} (resume)", run, file, resume)
    yield Target(f"{task}/state.json (resume)", run, state, resume, _point_to(state))
    for file in ("model.safetensors", "optimiser.safetensors"):
        name = f"checkpoints/{last.name}/{file}"
        yield Target(f"{task}/checkpoint {file} (resume)", run, name, resume)


def _point_to(state: str) -> Callable[[Path], None]:
    def then(folder: Path) -> None:
        path = folder / "checkpoints" / "pointer.json"
        pointer = json.loads(path.read_bytes())
        pointer["last"]["sha256"] = hashlib.sha256((folder / state).read_bytes()).hexdigest()
        path.write_text(json.dumps(pointer), encoding="utf-8")

    return then


def _of_vectors(folder: Path) -> Iterator[Target]:
    done, begun = folder / "vectors", folder / "begun"
    nearest = command("vectors", "nearest", "{}", "the")
    again = command(
        "vectors",
        "train",
        "--counts",
        "{}",
        "--out",
        "{}/../again",
        "--size",
        "2",
        "--epochs",
        "1",
        "--force",
    )
    resume = command(
        *(
            "vectors",
            "train",
            str(folder / "data" / "language_model.txt"),
            "--out",
            "{}",
            "--resume",
        ),
        *("--size", "3", "--min-count", "1", "--epochs", "3", "--save-every-n-seconds", "0"),
    )
    for file in ("vectors.safetensors", "vocabulary.tsv"):
        yield Target(f"vectors/{file} (nearest)", done, file, nearest)
    counts = [f"counts/{name}.npy" for name in ("rows", "columns", "values")]
    for file in ("record.json", "vectors.toml", "vocabulary.tsv", *counts):
        yield Target(f"vectors/{file} (counts)", done, file, again)
    yield Target(
        "vectors/values.npy (ratio)",
        done,
        counts[2],
        command("vectors", "ratio", "{}", "the", "tea", "hot"),
    )
    work = sorted(
        path.relative_to(begun).as_posix() for path in (begun / "work").iterdir() if path.is_file()
    )
    for file in ("record.json", "vectors.toml", "vocabulary.tsv", *counts, *work):
        yield Target(f"begun/{file} (resume)", begun, file, resume)
    yield Target(
        "words.safetensors",
        folder / "st",
        "words.safetensors",
        command("vectors", "nearest", "{}/words.safetensors", "the"),
    )


def _of_readers(data: Path, folder: Path) -> Iterator[Target]:
    for file in ("classify.tsv", "classify.csv", "classify.jsonl"):
        yield Target(file, data, file, command("data", f"{{}}/{file}", "--task", "classify"))
    yield Target("translate.tsv", data, "translate.tsv", command("data", "{}/translate.tsv"))
    yield Target("pair.tsv", data, "pair.tsv", command("data", "{}/pair.tsv", "--task", "pair"))
    for file in ("tag.conll", "tag.conllu", "tag.jsonl"):
        yield Target(file, data, file, command("data", f"{{}}/{file}", "--task", "tag"))
    parallel = command("data", "{}/parallel.en", "{}/parallel.es")
    yield Target("parallel text", data, "parallel.en", parallel)
    classify, tag, lm = (str(folder / task) for task in ("classify", "tag", "language_model"))
    yield Target(
        "predict --input",
        data,
        "input.txt",
        command("predict", classify, "--input", "{}/input.txt"),
    )
    yield Target(
        "predict --input (columns)",
        data,
        "tag.conll",
        command("predict", tag, "--input", "{}/tag.conll"),
    )
    scored = command(
        "evaluate",
        classify,
        "--data",
        "{}/classify.tsv",
        "--words",
        "none",
        "--out",
        "{}/../report",
    )
    yield Target("evaluate --data", data, "classify.tsv", scored)
    for file in ("language_model.txt", "packed.txt.gz", "packed.txt.bz2", "packed.txt.xz"):
        yield Target(f"text {file}", data, file, command("evaluate", lm, "--data", f"{{}}/{file}"))
    for file in ("words.txt", "word2vec.txt", "word2vec.bin"):
        yield Target(
            f"vectors {file}", data, file, command("vectors", "nearest", f"{{}}/{file}", "the")
        )
    yield Target("vocabulary.tsv", data, "vocabulary.tsv", _read_vocabulary)
    yield Target("recipe.toml", data, "recipe.toml", command("config", "{}/recipe.toml"))
    vectors = str(folder / "vectors")
    for file in ("questions-words.txt", "wordsim.tab"):
        yield Target(file, data, file, command("vectors", "evaluate", vectors, f"{{}}/{file}"))
    for path in sorted((folder / "cache").iterdir()):
        yield Target(f"cache of text{path.suffix}", path.parent, path.name, _read_cached(data))


def _read_vocabulary(folder: Path) -> int:
    from unrolled.errors import UnrolledError
    from unrolled.vectors.formats.safetensors import read_vocabulary

    try:
        read_vocabulary(folder / "vocabulary.tsv")
    except UnrolledError as error:
        return refuse(error)
    return 0


def refuse(error: Exception) -> int:
    """What the command line does."""
    import sys

    print(f"unrolled: {error}", file=sys.stderr)
    return 2


def _read_cached(data: Path) -> Call:
    def call(folder: Path) -> int:
        from unrolled.text.config import TextConfig
        from unrolled.text.corpus.corpus import CorpusConfig, open_corpus
        from unrolled.text.tokenizer import Tokenizer

        corpus = open_corpus(
            CorpusConfig(train=(str(data / "language_model.txt"),), valid_share=0, test_share=0)
        )
        words = Tokenizer.train(corpus.texts("train"), TextConfig(kind="word"))
        expected = corpus.encode("train", words).ids.tolist()
        assert corpus.encode("train", words, folder).ids.tolist() == expected, (
            "other ids from the cache"
        )
        return 0

    return call


def write_cache(folder: Path, data: Path) -> None:
    """Encoded text in a cache."""
    _read_cached(data)(folder)


def chosen(all_targets: Sequence[Target], words: Sequence[str]) -> list[Target]:
    """The targets whose name holds one of some words; all without any."""
    return [each for each in all_targets if not words or any(word in each.name for word in words)]
