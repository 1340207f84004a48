"""The model card, `README.md` of a run folder."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from unrolled.quoting import shell_command
from unrolled.tasks.task import AnyTask
from unrolled.training import checkpoint
from unrolled.training.events import Best, Started
from unrolled.training.run_folder import CONFIG_FILE, read_config, write_file
from unrolled.training.split_file import (
    SPLIT_FILE,
)


def write_card(
    folder: Path,
    name: str,
    task: AnyTask,
    signatures: Mapping[str, str],
    started: Started,
    best: Best | None,
) -> None:
    """Write the model card, `README.md`."""
    recipe = read_config(folder)
    text = "\n".join(_card(name, task, signatures, recipe, started, best)) + "\n"
    with checkpoint.writing(folder / "README.md", folder):
        write_file(folder / "README.md", text)


def _card(
    name: str,
    task: AnyTask,
    signatures: Mapping[str, str],
    recipe: Mapping[str, Any],
    started: Started,
    best: Best | None,
) -> Iterator[str]:
    yield f"# {name}\n"
    yield f"A model for the task `{recipe['task']}`, trained with Unrolled.\n"
    yield "## Use\n"
    yield f"```\nunrolled {task.use.format(run=shell_command(name))}\n```\n"
    yield (
        f"```python\nimport unrolled\nmodel = unrolled.load({json.dumps(name, ensure_ascii=False)})\n"
        f"{task.example_call}\n```\n"
    )
    yield "## Quality on the validation part\n"
    if best is None:
        yield "Not evaluated yet.\n"
    else:
        yield f"Weights of step {best.step:,}, the best by {best.metric}.\n"
        yield "| measure | value | signature |\n|---|---|---|"
        yield f"| loss | {best.loss:.4f} | nats per target |"
        for score, value in best.scores.items():
            signature = signatures.get(score, "").replace("|", "\\|")
            yield f"| {score} | {value:.2f} | {signature} |"
        n_answers = min(recipe["training"]["valid_sentences"], started.sizes["valid"])
        if best.scores and task.kind.scores_sample:
            yield f"\nScores are over {n_answers:,} validation sentences, decoded greedily."
        yield ""
    yield "## Data\n"
    yield f"Trained on {', '.join(f'`{path}`' for path in recipe['data']['train'])}."
    yield f"All files and their checksums: `{SPLIT_FILE}`.\n"
    yield f"| part | {started.unit} | left out |\n|---|---|---|"
    for part, size in started.sizes.items():
        yield f"| {part} | {size:,} | {started.skipped.get(part, 0):,} |"
    yield "\n## Model\n"
    entries = ", ".join(f"{role} {size:,}" for role, size in started.vocabulary_sizes.items())
    yield f"{started.parameters:,} parameters. Vocabulary: {entries}."
    yield f"All settings: `{CONFIG_FILE}`.\n"
    if started.notes:
        yield "## Notes\n"
        yield "\n".join(f"- {note}" for note in started.notes) + "\n"
    yield "## Made with\n"
    yield f"{', '.join(_versions())}, on {started.device}.\n"
    yield f"```\n{shell_command(Path(sys.argv[0]).name, *sys.argv[1:])}\n```"


@cache
def _versions() -> tuple[str, ...]:
    versions = [f"Python {platform.python_version()}"]
    for package in ("unrolled", "torch", "tokenizers", "safetensors"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    return tuple(versions)
