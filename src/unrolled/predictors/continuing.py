"""A session with the language model of a run, and how it is opened without torch."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from unrolled.decoding.steps import KernelSteps
from unrolled.decoding.text_session import TextSession
from unrolled.errors import UnrolledError
from unrolled.inference.language_model import language_weights
from unrolled.inference.refusal import Refused
from unrolled.inference.weights import Weights
from unrolled.predictors.without_torch import MODEL_FILE, model_settings
from unrolled.system import n_cores
from unrolled.tasks.roles import TEXT
from unrolled.training.run_files import ENSEMBLE_FILE, load_tokenizers, read_config

LANGUAGE_MODEL = "language_model"
"""The name of the task."""


def session(model: Any, tokenizer: Any, data: Any) -> TextSession:
    """A session with an empty text.

    Args:
        model: the language model, or its steps.
        tokenizer: its tokenizer.
        data: the `[data]` section of its recipe.
    """
    borders = {"line": "\n", "paragraph": "\n\n", "separator": f"\n{data.separator}\n"}
    border = borders.get(data.documents, "")
    return TextSession(model, tokenizer, border=border, restart=data.restart)


def opened(folder: Path, precision: str = "float32") -> TextSession | None:
    """Open the language model of a run without torch, as `load(folder, precision=…).continuation()`.

    The texts are those of `load`, except where random numbers or scores differ only by rounding.

    Args:
        folder: the run folder.
        precision: precision of the recurrent weights: "float32", "bfloat16" or "int8".

    Returns:
        The session, or None for a run that is unknown here or cannot be loaded.
    """
    try:
        return _opened(folder, precision)
    except (Refused, UnrolledError, AttributeError, KeyError, TypeError, ValueError, OSError):
        return None


def _opened(folder: Path, precision: str) -> TextSession:
    if (folder / ENSEMBLE_FILE).exists():
        raise Refused("an ensemble")
    mapping = read_config(folder)
    if mapping["task"] != LANGUAGE_MODEL:
        raise Refused(f"the task '{mapping['task']}'")
    tokenizer = load_tokenizers(folder)[TEXT]
    weights = Weights.read(folder / MODEL_FILE)
    settings = model_settings(LANGUAGE_MODEL, mapping["model"])
    taken = language_weights(settings, weights, len(tokenizer), precision)
    if any(weights.left()):
        raise Refused("weights of another model")
    n_threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or n_cores()
    return session(KernelSteps(taken, n_threads), tokenizer, SimpleNamespace(**mapping["data"]))
