"""What `repr` says of a loaded run."""

from __future__ import annotations

from typing import Any


def represent(predictor: Any) -> str:
    """One line: class, task, cell, size, vocabularies and folder of a predictor."""
    model, recipe = predictor.model, predictor.recipe
    cell = getattr(recipe.model, "cell", None)
    n_parameters = getattr(model, "n_parameters", None)  # of an export, whose weights are in graphs
    if n_parameters is None:
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
    parts = [
        f"task={predictor.task.name!r}",
        *([f"cell={cell!r}"] if cell else []),
        f"{n_parameters:,} parameters",
        *(f"{role}: {len(words):,}" for role, words in predictor.tokenizers.items()),
        *([f"run={str(predictor.folder)!r}"] if predictor.folder is not None else []),
    ]
    return f"{type(predictor).__name__}({', '.join(parts)})"
