"""Split parts off the training text, and describe the splits in notes for the user."""

from __future__ import annotations

import hashlib
import io
import re
from bisect import bisect_right
from collections.abc import Callable

from unrolled.errors import DataError
from unrolled.text.corpus.config import CorpusConfig, Part
from unrolled.text.corpus.files import BEGIN, Place, ScannedFile, Span, decode, read_raw
from unrolled.wording import count_of, percent

FEWEST_FILES = 20
"""Number of files from which whole files are drawn for a part: 5% of 20 files is one file."""


def cut_off(
    files: list[ScannedFile], shares: dict[Part, float], config: CorpusConfig
) -> dict[Part, list[Span]]:
    """Split off consecutive parts, each beginning with the first line that starts in its share.

    If that leaves a part without a line, as in a text of one endless line, the text is split between
    words, or else between characters.
    """
    for start in (_line_start, _word_start, _character_start):
        parts = _cut_at(files, shares, start, config)
        empty = [name for name, spans in parts.items() if not spans]
        if not empty:
            return parts
    raise _cannot_cut(empty[0], shares, count_of(sum(f.n_characters for f in files), "character"))


def _cut_at(
    files: list[ScannedFile],
    shares: dict[Part, float],
    start: Callable[[list[ScannedFile], int, CorpusConfig], tuple[int, Place]],
    config: CorpusConfig,
) -> dict[Part, list[Span]]:
    total = sum(file.n_characters for file in files)
    before = total - sum(round(total * share) for share in shares.values())
    bounds = [(0, BEGIN)]
    for share in shares.values():
        bounds.append(start(files, before, config))
        before += round(total * share)
    bounds.append((len(files), BEGIN))
    names: list[Part] = ["train", *shares]
    return {
        name: _between(files, first, last)
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True)
    }


def _line_start(files: list[ScannedFile], before: int, config: CorpusConfig) -> tuple[int, Place]:
    """The first line start after at least `before` characters: (index of the file, place)."""
    for index, file in enumerate(files):
        if before >= file.n_characters:
            before -= file.n_characters
            continue
        nearest = bisect_right(file.marks, before, key=lambda mark: mark.characters) - 1
        place, at_line_start = file.marks[nearest], True
        for raw in read_raw(file.path, config.encoding, place):
            for line in io.BytesIO(raw):
                if place.characters >= before and at_line_start:
                    return index, place
                place = place.after(line, decode(line, file.path, place, config)[0])
                at_line_start = line.endswith(b"\n")
        return index + 1, BEGIN
    return len(files), BEGIN


def _word_start(files: list[ScannedFile], before: int, config: CorpusConfig) -> tuple[int, Place]:
    return _start_inside(files, before, config, re.compile(r"(?<=\s)\S"))


def _character_start(
    files: list[ScannedFile], before: int, config: CorpusConfig
) -> tuple[int, Place]:
    return _start_inside(files, before, config, re.compile(r"(?s)."))


def _start_inside(
    files: list[ScannedFile], before: int, config: CorpusConfig, wanted: re.Pattern[str]
) -> tuple[int, Place]:
    """The first match after at least `before` characters: (index of the file, place)."""
    for index, file in enumerate(files):
        if before >= file.n_characters:
            before -= file.n_characters
            continue
        nearest = bisect_right(file.marks, before, key=lambda mark: mark.characters) - 1
        place = file.marks[nearest]
        for raw in read_raw(file.path, config.encoding, place):
            text = decode(raw, file.path, place, config)[0]
            match = wanted.search(text, max(0, before - place.characters))
            # Byte positions can only be computed from characters if decoding was lossless.
            exact = text.encode(config.encoding) == raw
            if match and exact and place.characters + len(text) > before:
                head = text[: match.start()]
                return index, place.after(head.encode(config.encoding), head)
            place = place.after(raw, text)
        return index + 1, BEGIN
    return len(files), BEGIN


def _between(
    files: list[ScannedFile], first: tuple[int, Place], last: tuple[int, Place]
) -> list[Span]:
    spans = [
        Span(
            files[i],
            first[1] if i == first[0] else BEGIN,
            last[1] if i == last[0] else None,
        )
        for i in range(first[0], min(last[0] + 1, len(files)))
    ]
    return [span for span in spans if span.n_characters]


def draw_files(
    files: list[ScannedFile], shares: dict[Part, float], config: CorpusConfig
) -> dict[Part, list[Span]]:
    """Draw whole files for each part, up to its share, but at least one file."""
    copies: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        copies.setdefault(file.sha256, []).append(i)
    left = sorted(
        copies.values(), key=lambda group: _draw(config.split_seed, files[group[0]].sha256)
    )

    def size(group: list[int]) -> int:
        return sum(files[i].n_characters for i in group)

    total = sum(map(size, left))
    parts: dict[Part, list[int]] = {}
    for name, share in shares.items():
        room = round(total * share)
        taken: list[list[int]] = []
        for group in left:
            if size(group) <= room:
                taken.append(group)
                room -= size(group)
        if not taken and left:
            taken = [min(left, key=size)]
        parts[name] = [i for group in taken for i in group]
        gone = set(parts[name])
        left = [group for group in left if group[0] not in gone]
    parts["train"] = [i for group in left for i in group]
    for name, chosen in parts.items():
        if not chosen:
            copied = f"{len(files):,} files with {count_of(len(copies), 'different text')}"
            raise _cannot_cut(name, shares, copied)
    return {name: [Span(files[i], BEGIN, None) for i in sorted(parts[name])] for name in parts}


def _draw(seed: int, content: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{content}".encode(), digest_size=16).digest()


def _cannot_cut(name: Part, shares: dict[Part, float], what: str) -> DataError:
    cut = " and ".join(shares)
    return DataError(
        f"cannot cut {cut} from {what}: nothing is left for {name}; give files with "
        f"{' and '.join(f'--{part}' for part in shares)}, or more text"
    )


# Notes for the user


def invalid_notes(files: dict[Part, list[ScannedFile]], config: CorpusConfig) -> list[str]:
    """Notes on bytes that are invalid in the encoding, by part."""
    notes = []
    for part, of in files.items():
        faulty = [file for file in of if file.n_invalid]
        if faulty:
            lines = count_of(sum(file.n_invalid for file in faulty), "line")
            lines = f"{lines} of {count_of(len(faulty), 'file')}"
            done = f"bytes that are not {config.encoding} replaced by U+FFFD in {lines}"
            if config.on_invalid == "skip":
                done = f"skipped {lines} with bytes that are not {config.encoding}"
            notes.append(
                f"{part}: {done}; the first is line {faulty[0].first_invalid} of {faulty[0].path}"
            )
    return notes


def empty_notes(files: dict[Part, list[ScannedFile]]) -> list[str]:
    """Notes on files without text, by part."""
    counts = {part: sum(not file.n_characters for file in of) for part, of in files.items()}
    return [
        f"{part}: {n_empty} of {count_of(len(files[part]), 'file')} without text"
        for part, n_empty in counts.items()
        if n_empty
    ]


def cut_notes(
    files: list[ScannedFile],
    spans: dict[Part, list[Span]],
    shares: dict[Part, float],
    by_file: bool,
) -> list[str]:
    """Notes on how parts were split off."""
    total = sum(file.n_characters for file in files)
    notes = []
    for part in shares:
        size = sum(span.n_characters for span in spans[part])
        how = (
            f"{len(spans[part]):,} of {count_of(len(files), 'file')} drawn from the training text"
            if by_file
            else "cut from the end of the training text"
        )
        notes.append(f"{part}: {how}, {count_of(size, 'character')} ({percent(size / total)})")
    return notes


def shared_notes(files: dict[Part, list[ScannedFile]]) -> list[str]:
    """Notes on files of other parts that are also training files."""
    trained = {file.sha256 for file in files.get("train", [])}
    counts = {
        part: sum(file.sha256 in trained for file in of)
        for part, of in files.items()
        if part != "train"
    }
    return [
        f"{part}: {n_shared} of {count_of(len(files[part]), 'file')} also in the training text"
        for part, n_shared in counts.items()
        if n_shared
    ]
