"""Random inputs for exported C code, compiled with the sanitizers for addresses and undefined behaviour.

python tests/exports/c_fuzz.py --n 100000                tokens of every kind of tokenizer
python tests/exports/c_fuzz.py --n 100000 RUN [RUN …]    runs (classify, tag, language_model); the
                                                         answers to the first --compared are compared
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import unrolled
from unrolled.exports.c import compiler
from unrolled.exports.c.agreement import ADVERSARIAL
from unrolled.exports.c.plan import render
from unrolled.exports.c.vocabulary import text_of
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

SANITIZED = (
    "-std=c99", "-O1", "-g", *compiler.WARNINGS, "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)  # fmt: skip

_LINE = 60
_AT_ONCE = 2000
_ODD = "'\u2019.,:/-+#_ \t\u00a0\u2003éÉßſİıŁøñ½²٣१\u0301\u0316\u0345\u200d\U0001f600한ᄒ\u1161ᆫ日ไ\u0e47"
_WORDS = (
    "don't",
    "I've",
    "o'clock",
    "U.S.",
    "a.m.",
    "C++",
    "C#",
    "10:40h",
    "1,000.5",
    "n't",
    "--",
    "...",
)


def texts(n: int, seed: int, known: str = "") -> Iterator[str]:
    """Random lines: letters, odd characters, words that are hard to split, and any code point."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789   " + known
    for _ in range(n):
        parts = []
        for _ in range(draw.randrange(_LINE)):
            kind = draw.random()
            if kind < 0.6:
                parts.append(draw.choice(letters))
            elif kind < 0.85:
                parts.append(draw.choice(_ODD))
            elif kind < 0.95:
                parts.append(draw.choice(_WORDS))
            else:
                parts.append(chr(draw.choice((draw.randrange(0x3000), draw.randrange(0x40000)))))
        line = re.sub("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]", " ", "".join(parts))
        yield line.removeprefix("\ufeff")


CONFIGS = {
    "words": (TextConfig(kind="word"), False),
    "words_lower": (TextConfig(kind="word", lowercase=True), False),
    "space": (TextConfig(kind="space", lowercase=True), False),
    "characters": (TextConfig(kind="char"), True),
    "characters_lower": (TextConfig(kind="char", lowercase=True), True),
    "byte_pairs": (TextConfig(kind="bpe", vocab_size=600), False),
    "byte_pairs_lower": (TextConfig(kind="bpe", vocab_size=600, lowercase=True), True),
}
"""Each kind of tokenizer, and whether it is for running text."""


def tokenizer_of(name: str) -> Tokenizer:
    """A tokenizer that knows many of the tokens of `texts`."""
    config, running = CONFIGS[name]
    return Tokenizer.train([*texts(300, 5), *ADVERSARIAL], config, running=running)


def tokens_program(tokenizer: Tokenizer, folder: Path, options: Sequence[str] = SANITIZED) -> Path:
    """Compile a program that prints the tokens of lines."""
    context = {"text": text_of(tokenizer)}
    for name in ("text.h", "tables.h"):
        (folder / name).write_text(render(name, context), encoding="utf-8")
    source = folder / "tokens.c"
    source.write_bytes(Path(__file__).with_name("tokens.c").read_bytes())
    return compiler.compiled(_command(), source, options)


def first_difference(tokenizer: Tokenizer, program: Path, lines: Sequence[str]) -> str:
    """The first line whose tokens differ from those of the library; "" if there is none."""
    given = "".join(f"{line}\n" for line in lines)
    found = compiler.answer(program, (), given).splitlines()
    for line, numbers, expected in zip(lines, found, tokenizer.encode_batch(lines), strict=True):
        if [int(number) for number in numbers.split()] != expected:
            return f"{line!r}: {numbers} instead of {expected}"
    return ""


def broken_bytes(n: int, seed: int) -> bytes:
    """Random bytes, few of which are UTF-8."""
    return random.Random(seed).randbytes(n)


def _fuzz_tokens(n: int, seed: int) -> bool:
    same = True
    for name in CONFIGS:
        tokenizer = tokenizer_of(name)
        with tempfile.TemporaryDirectory() as folder:
            program = tokens_program(tokenizer, Path(folder))
            difference = first_difference(tokenizer, program, list(texts(n, seed)))
            compiler.answer(program, (), broken_bytes(50 * n, seed))
        print(f"{name}: {difference or f'{n:,} lines with the same tokens'}", flush=True)
        same = same and not difference
    return same


def _n_different_tags(program: Path, predictor: Any, lines: Sequence[str]) -> int:
    answers = compiler.answer(program, (), "".join(f"{line}\n" for line in lines)).split("\n")
    expected = [" ".join(each.labels) for each in predictor.predict(lines)]
    return sum(a != b for a, b in zip(answers[:-1], expected, strict=True))


def fuzz(predictor: Any, name: str, n: int, seed: int, n_compared: int) -> None:
    """Give random lines, and bytes that are not UTF-8, to the sanitized program of a run.

    Args:
        predictor: the run, from `load`.
        name: its name, for what is printed.
        n: number of lines.
        seed: of the random numbers.
        n_compared: number of lines whose labels or tags are compared with those of the run, too.
    """
    from unrolled.exports.c import export_c

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "export"
        print(f"{name}: {export_c(predictor, folder).compared}", flush=True)
        lines = list(texts(n, seed))
        if predictor.task.name == "language_model":
            _fuzz_language_model(folder, lines)
        else:
            _fuzz_labels(folder, predictor, name, lines, n_compared)
        is_stream = predictor.task.name == "language_model"
        refused = subprocess.run(
            [str(folder / "main.exe"), *(("score",) if is_stream else ())],
            input=broken_bytes(1000, seed),
            capture_output=True,
            check=False,
        )
        assert refused.returncode == 2, refused
        print(f"{name}: no fault in {n:,} inputs; {refused.stderr.decode().strip()}", flush=True)


def _fuzz_language_model(folder: Path, lines: Sequence[str]) -> None:
    program = compiler.compiled(_command(), folder / "main.c", SANITIZED)
    fed = "\n".join(lines)
    for words in (("score",), ("generate", "--max-tokens", "100")):
        for start in range(0, len(fed), 20_000):
            compiler.answer(program, words, fed[start : start + 20_000])
    compiler.answer(program, ("complete",), "\n".join(lines[: len(lines) // 100]))


def _fuzz_labels(
    folder: Path, predictor: Any, name: str, lines: Sequence[str], n_compared: int
) -> None:
    from unrolled.exports.c import check_labels

    program = compiler.compiled(_command(), folder / "main.c", (*SANITIZED, "-DDIGITS=9"))
    for start in range(0, len(lines), _AT_ONCE):
        compiler.answer(program, (), "".join(f"{line}\n" for line in lines[start:][:_AT_ONCE]))
    compared = [line for line in lines[:n_compared] if line.strip()]
    if predictor.task.name == "tag":
        n_different = _n_different_tags(program, predictor, compared)
        print(f"{name}: {n_different} of {len(compared):,} lines with other tags", flush=True)
        assert not n_different
    else:
        print(check_labels.check_classifier(predictor, predictor, compared, program), flush=True)


def _command() -> tuple[str, ...]:
    command = compiler.find()
    assert command is not None, "there is no C compiler"
    return command


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--compared", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for run in arguments.runs:
        predictor = unrolled.load(run)
        fuzz(predictor, str(run), arguments.n, arguments.seed, arguments.compared)
    return 0 if arguments.runs or _fuzz_tokens(arguments.n, arguments.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
