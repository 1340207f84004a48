"""Whether the weights of a run belong to the model that its recipe describes, before that is built."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from unrolled import tensor_files
from unrolled.documents import DocumentError
from unrolled.errors import RunError, UnrolledError
from unrolled.tasks.task import AnyTask, Tokenizers
from unrolled.training import checkpoint
from unrolled.training.recipe import Recipe


def check_weights(recipe: Recipe, task: AnyTask, tokenizers: Tokenizers, path: Path) -> None:
    """Compare the model of a recipe with the header of a file of weights.

    The model is built on torch's device `meta`, where a tensor has a shape and takes no memory, so that a
    recipe of a stranger cannot fill it. A task of one's own whose `build` looks at numbers cannot be
    built there, and is built as it is.

    Args:
        recipe: of the run.
        task: what it does.
        tokenizers: of the run.
        path: `model.safetensors`.

    Raises:
        RunError: the file is missing or damaged, or holds the weights of another model; the weight is
            named.
    """
    from unrolled.tasks import TASKS

    try:
        found = tensor_files.read_header(path).shapes
    except DocumentError as error:
        raise checkpoint.damaged(path, error.problem) from None
    try:
        with torch.device("meta"):
            model: nn.Module = task.build(recipe.model, tokenizers)
    except UnrolledError:
        raise
    except Exception as error:
        if TASKS.get(task.name) is not task:
            return
        raise RunError(
            f"{path.parent}: no model can be built as config.toml says ({str(error)[:200]}); restore it "
            "from a copy"
        ) from error
    own = {name: tuple(weight.shape) for name, weight in checkpoint.weights_of(model).items()}
    check_shapes(own, found, path)


def check_shapes(
    own: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], path: Path
) -> None:
    """Compare the weights of a model with those of a file, by name and shape.

    Raises:
        RunError: a weight is missing, unknown, or of another shape.
    """
    for name in sorted(own.keys() ^ found.keys()):
        problem = "has no weight" if name in own else "has a weight unknown to the model,"
        raise RunError(
            f"{path} {problem} '{name}'; it belongs to another model than config.toml says"
        )
    for name, shape in found.items():
        if shape != own[name]:
            raise RunError(
                f"{path}: weight '{name}' is {list(shape)}, expected {list(own[name])}; it belongs to "
                "another model than config.toml says"
            )
