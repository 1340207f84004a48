"""Check that the weights of a run fit the model of its recipe, before the model is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from unrolled import tensor_files
from unrolled.documents import DocumentError
from unrolled.errors import RunError, UnrolledError
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.training import checkpoint
from unrolled.training.recipe import Recipe


def check_weights(recipe: Recipe, task: AnyTask, tokenizers: Tokenizers, path: Path) -> None:
    """Compare the model of a recipe with the header of a file of weights.

    The model is built on torch's device `meta`, where tensors have a shape but take no memory, so that an
    untrusted recipe cannot exhaust it. A custom task whose `build` reads values of tensors cannot be
    built there, and is not checked here.

    Args:
        recipe: recipe of the run.
        task: task of the run.
        tokenizers: tokenizers of the run.
        path: path of `model.safetensors`.

    Raises:
        RunError: the file is missing or damaged, or has the weights of another model; the weight is
            named.
    """
    from unrolled.tasks import TASKS

    try:
        stored = tensor_files.read_header(path).shapes
    except DocumentError as error:
        raise checkpoint.damaged(path, error.problem) from None
    try:
        with torch.device("meta"), _Uninitialized():
            model: nn.Module = task.build(recipe.model, tokenizers)
    except UnrolledError:
        raise
    except Exception as error:
        if TASKS.get(task.name) is not task:
            return
        raise RunError(
            f"{path.parent}: the model of config.toml cannot be built ({str(error)[:200]}); restore the "
            "file from a copy"
        ) from error
    own = {name: tuple(weight.shape) for name, weight in checkpoint.weights_of(model).items()}
    check_shapes(own, stored, path)


class _Uninitialized(TorchFunctionMode):
    """Skips the initialization of tensors.

    On the device `meta` it has no effect, but PyTorch imports its compiler for it, which takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        values = kwargs or {}
        module = getattr(func, "__module__", None)
        if module == "torch.nn.init" or getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else values["tensor"]
        return func(*args, **values)


_RANDOM = frozenset({"normal_", "uniform_", "bernoulli_", "exponential_", "random_"})
"""Methods that fill a tensor with random numbers."""


def check_shapes(
    own: dict[str, tuple[int, ...]], stored: dict[str, tuple[int, ...]], path: Path
) -> None:
    """Compare the weights of a model with those stored in a file, by name and shape.

    Raises:
        RunError: a weight is missing, unknown, or of another shape.
    """
    for name in sorted(own.keys() ^ stored.keys()):
        problem = "has no weight" if name in own else "has a weight unknown to the model,"
        raise RunError(
            f"{path} {problem} '{name}'; it belongs to another model than that of config.toml"
        )
    for name, shape in stored.items():
        if shape != own[name]:
            raise RunError(
                f"{path}: weight '{name}' is {list(shape)}, expected {list(own[name])}; it belongs to "
                "another model than that of config.toml"
            )
