"""Generated commands and the steps that carry them out: a data set with a dozen target words.

    jump twice and walk left after run thrice       RUN RUN RUN JUMP JUMP LEFT WALK

The design follows SCAN (Lake and Baroni 2018). The grammar:

    command = clause | clause "after" clause        the second clause is carried out first
    clause  = phrase | phrase "and" phrase
    phrase  = verb [turn] [count [count]]           two counts multiply: "twice thrice" is 6 times
    turn    = side | "opposite" side | "around" side

"walk left" is one turn and one step, "walk opposite left" is two turns and one step, "walk around left"
is a turn and a step, four times.

Targets have up to `MAX_STEPS` steps, and the target vocabulary is small. This is difficult for beam
search: at every step, the end of the sentence is among the best continuations, even if it is improbable.

The splits share no combination of two phrases and the word that joins them, so a test command has no
combination that occurs in the training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from random import Random

from unrolled.errors import ConfigError
from unrolled.samples.files import write_parts
from unrolled.samples.phrasebook.sentence_state import Part, SentenceState

PARTS: tuple[Part, ...] = ("train", "valid", "test")

VERBS = ("walk", "run", "jump", "look", "hop", "crawl", "wave", "clap", "bow", "spin")
"""Each verb is carried out as a step of the same name in capital letters."""

SIDES = ("left", "right")

COUNTS = {"twice": 2, "thrice": 3}

MAX_STEPS = 50
"""Commands with more steps are left out."""

_MOST_DRAWS = 400  # attempts to draw a phrase that is allowed to follow
_MOST_TRIES = 2_000  # if so many draws give no new command, all commands of a split have been drawn


@dataclass(frozen=True)
class Command:
    """A command and its steps, each as words separated by single spaces."""

    text: str
    steps: str


@dataclass(frozen=True)
class CommandSample:
    """Three splits without common commands."""

    train: list[Command]
    valid: list[Command]
    test: list[Command]


def generate(
    n_train: int = 8_000, n_valid: int = 500, n_test: int = 1_000, seed: int = 1
) -> CommandSample:
    """Generate the sample; the same arguments give the same commands on every machine.

    Each split has its own random stream, so a larger training set begins with the smaller one, and the
    validation and test sets do not depend on its size.

    Args:
        n_train: number of training commands.
        n_valid: number of validation commands.
        n_test: number of test commands.
        seed: random seed.

    Raises:
        ConfigError: a number is negative, or larger than the number of commands of the grammar.

    >>> generate(n_train=0, n_valid=0, n_test=1).test
    [Command(text='walk twice thrice', steps='WALK WALK WALK WALK WALK WALK')]
    """
    sizes = {"train": n_train, "valid": n_valid, "test": n_test}
    for name, size in sizes.items():
        if size < 0:
            raise ConfigError(f"n_{name} must be at least 0, got {size}")
    train, valid, test = (_part(part, sizes[part], seed) for part in PARTS)
    return CommandSample(train, valid, test)


def write(folder: str | PathLike[str], sample: CommandSample) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `command<tab>steps`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {}
    for part in PARTS:
        lines = [f"{command.text}\t{command.steps}\n" for command in getattr(sample, part)]
        contents[f"{part}.tsv"] = "".join(["command\tsteps\n", *lines])
    write_parts(folder, contents)


def carry_out(command: str) -> list[str]:
    """The steps of a command.

    >>> carry_out("look around right")
    ['RIGHT', 'LOOK', 'RIGHT', 'LOOK', 'RIGHT', 'LOOK', 'RIGHT', 'LOOK']
    >>> carry_out("jump twice and walk left after run thrice")
    ['RUN', 'RUN', 'RUN', 'JUMP', 'JUMP', 'LEFT', 'WALK']
    """
    clauses = command.split(" after ")
    phrases = [phrase for clause in reversed(clauses) for phrase in clause.split(" and ")]
    return [step for phrase in phrases for step in _steps(phrase)]


def _steps(phrase: str) -> list[str]:
    verb, *words = phrase.split()
    times = 1
    for word in words:
        times *= COUNTS.get(word, 1)
    turn = [side.upper() for side in SIDES if side in words]
    once = [*turn, verb.upper()]
    if "opposite" in words:
        once = [*turn, *once]
    if "around" in words:
        once *= 4
    return once * times


def _part(part: Part, n_commands: int, seed: int) -> list[Command]:
    state = SentenceState(Random(len(PARTS) * seed + PARTS.index(part)).random, part)
    commands: dict[str, Command] = {}
    n_tries = 0
    while len(commands) < n_commands:
        n_tries += 1
        if n_tries > _MOST_TRIES:
            raise ConfigError(
                f"the sample has only {len(commands)} commands for {part}, but {n_commands} are "
                "requested; request fewer"
            )
        text = _command(state)
        steps = carry_out(text) if text else []
        if text not in commands and 0 < len(steps) <= MAX_STEPS:
            commands[text] = Command(text, " ".join(steps))
            n_tries = 0
    return list(commands.values())


def _command(state: SentenceState) -> str:
    """A random command; "" if none of the drawn phrases is allowed in this split."""
    first, after, second = state.chance(0.5), state.chance(0.6), state.chance(0.5)
    joins = [*["and"] * first, *["after"] * after, *["and"] * (second and after)]
    command = phrase = _phrase_after(state, "", "") if not joins else _phrase(state)
    for join in joins:
        following = _phrase_after(state, phrase, join)
        if not following:
            return ""
        command, phrase = f"{command} {join} {following}", following
    return command


def _phrase_after(state: SentenceState, phrase: str, join: str) -> str:
    """A random phrase that may follow another one in this split; "" if none was drawn."""
    candidates = (_phrase(state) for _ in range(_MOST_DRAWS))
    return next((other for other in candidates if state.allows(phrase, join, other)), "")


def _phrase(state: SentenceState) -> str:
    words = [state.pick(VERBS)]
    turn = state.pick(("", "", "direct", "opposite", "around"))
    if turn:
        words += [*([turn] if turn != "direct" else []), state.pick(SIDES)]
    for _ in range(state.pick((0, 1, 1, 2))):
        words.append(state.pick(tuple(COUNTS)))
    return " ".join(words)
