"""Convert recurrent layers of `torch.nn` to ours and back, keeping the same parameters."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, TypeVar

import torch

from unrolled.errors import ConfigError

Model = TypeVar("Model", bound=torch.nn.Module)
Kinds = Mapping[type[torch.nn.Module], type[torch.nn.Module]]
Extras = Mapping[type[torch.nn.Module], Mapping[str, Any]]


def change_kinds(model: Model, kinds: Kinds, extras: Extras) -> Model:
    """Change the class of every module of the model whose class is a key of `kinds`.

    The objects stay the same, so parameters, hooks and references to them stay valid.

    Args:
        model: changed in place, and returned.
        kinds: maps old to new classes. Subclasses are not changed, because they may behave differently.
        extras: the attributes that a class has in addition to its counterpart's, with initial values.
    """
    for module in model.modules():
        kind = type(module)
        if kind in kinds:
            _become(module, kinds[kind], extras)
    return model


def counterpart(module: torch.nn.Module, kinds: Kinds, extras: Extras) -> Any:
    """Create a module of the counterpart class in `kinds` that shares the parameters of this one.

    Raises:
        ConfigError: the class is not in `kinds`.
    """
    if type(module) not in kinds:
        listed = ", ".join(kind.__name__ for kind in kinds)
        raise ConfigError(
            f"{type(module).__name__} is a subclass, and only {listed} can be converted; convert the "
            f"layers inside it (if it is parametrized, remove the parametrizations first)"
        )
    made = object.__new__(type(module))
    # The containers of parameters and hooks are copied, so that changing one module does not change both.
    made.__dict__.update(
        {
            name: copy(value) if isinstance(value, (dict, list, set)) else value
            for name, value in module.__dict__.items()
        }
    )
    _become(made, kinds[type(module)], extras)
    return made


def _become(module: torch.nn.Module, kind: type[torch.nn.Module], extras: Extras) -> None:
    for name in extras.get(type(module), {}):
        module.__dict__.pop(name, None)
    module.__class__ = kind
    for name, value in extras.get(kind, {}).items():
        setattr(module, name, value)
