"""The files of a run that are read without torch: its settings, tokenizers and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import RunError
from unrolled.quoting import shell_command
from unrolled.tasks.roles import LABELS, NGRAMS
from unrolled.text import tokenizer_files
from unrolled.text.labels import Labels
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.damage import damaged
from unrolled.training.split_file import check_contents

CONFIG_FILE = "config.toml"
LABELS_FILE = "labels.json"
NGRAMS_FILE = "ngrams.safetensors"
ENSEMBLE_FILE = "ensemble.json"

BEGIN_OF_CONFIG = "# Unrolled run, format 1"
"""The first line of `config.toml` in a run folder; older versions only wrote the last line."""

END_OF_CONFIG = "# end of the recipe; a file without this line was cut short"
_MOST_BYTES = 4 << 20  # bytes of a recipe


def read_config(folder: Path) -> dict[str, Any]:
    """The tables of a run's `config.toml`.

    Raises:
        RunError: there is no run, or the file is damaged.
    """
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        if folder.parts[:1] == ("hf:",):  # of hf://user/name
            address = f"hf://{'/'.join(folder.parts[1:])}"
            raise RunError(
                f"{address} is on the hub, and only 'unrolled pull' downloads; first run "
                f"{shell_command('unrolled', 'pull', address, folder.name.partition('@')[0])}"
            )
        raise RunError(f"{folder}: no such run folder")
    try:
        text = documents.read_text(path, _MOST_BYTES)
        mapping = documents.parse_toml(path, text)
    except documents.DocumentError as error:
        if error.is_missing:
            raise RunError(f"{folder} is not a run folder; it has no {CONFIG_FILE}") from None
        raise damaged(path, error.problem) from None
    if END_OF_CONFIG not in text:
        raise damaged(path, "cut short")
    return mapping


def load_tokenizers(folder: Path) -> dict[str, Any]:
    """The tokenizers and labels of a run, by role; roles with equal files share one object.

    Raises:
        RunError: there are no tokenizers, or a file is damaged.
    """
    check_contents(folder)
    shared: dict[bytes, Tokenizer] = {}
    tokenizers = _Tokenizers(folder)
    for path in _files_of(folder, "tokenizer-*.json"):
        try:
            content = documents.read_bytes(path, tokenizer_files.MOST_BYTES)
        except documents.DocumentError as error:
            raise damaged(path, error.problem) from None
        if content not in shared:
            shared[content] = Tokenizer.load(path)
        tokenizers[path.stem.removeprefix("tokenizer-")] = shared[content]
    if (folder / LABELS_FILE).exists():
        tokenizers[LABELS] = Labels.load(folder / LABELS_FILE)
    if (folder / NGRAMS_FILE).exists():
        from unrolled.baselines.ngram_scores import NgramScores

        tokenizers[NGRAMS] = NgramScores.load(folder / NGRAMS_FILE)
    if not tokenizers:
        raise RunError(f"{folder}: no tokenizer-*.json; restore them from a copy of the run")
    return tokenizers


def _files_of(folder: Path, pattern: str) -> list[Path]:
    """The files of a run that match a pattern, in order.

    Raises:
        RunError: the folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.match(pattern))
    except OSError as error:
        raise documents.cannot_be_read(folder, error) from None


def file_of(role: str) -> str:
    """The name of the file of a tokenizer, of the labels, or of the counted n-grams."""
    files = {LABELS: LABELS_FILE, NGRAMS: NGRAMS_FILE}
    return files.get(role, f"tokenizer-{role}.json")


class _Tokenizers(dict[str, Any]):
    """Tokenizers by role; looking up a missing one raises an error that names its file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, role: str) -> Any:
        raise RunError(
            f"{self._folder / file_of(role)}: missing; restore it from a copy of the run"
        )
