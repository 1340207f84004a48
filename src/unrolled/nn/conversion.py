"""From `torch.nn`'s recurrent layers to ours and back, with the same parameters."""

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
    """Give every module of the model whose class is a key of `kinds` the class that stands there.

    The objects stay the same, and with them parameters, hooks, and whatever refers to them.

    Args:
        model: changed in place, and returned.
        kinds: from class to class. Subclasses keep theirs, because they may do other things.
        extras: the attributes that a class has beyond its counterpart, and their values at first.
    """
    for module in model.modules():
        given = type(module)
        if given in kinds:
            _become(module, kinds[given], extras)
    return model


def counterpart(module: torch.nn.Module, kinds: Kinds, extras: Extras) -> Any:
    """Another module of the class that `kinds` gives, which shares the parameters of this one.

    Raises:
        ConfigError: the class is none of `kinds`.
    """
    if type(module) not in kinds:
        listed = ", ".join(kind.__name__ for kind in kinds)
        raise ConfigError(
            f"{type(module).__name__} is a class of its own, not {listed}; convert what it is made of "
            f"(of a parametrized layer, remove the parametrizations first)"
        )
    made = object.__new__(type(module))
    # What holds parameters and hooks is copied, so that a change of one is not seen in the other.
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
