"""Weights that are recomputed by torch's older reparametrisations."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_Module = TypeVar("_Module", bound=torch.nn.Module)


def renewed(module: _Module) -> _Module:
    """Recompute a module's weights if an older torch reparametrisation derives them; return the module.

    `torch.nn.utils.weight_norm`, `spectral_norm` and `prune` replace a parameter by a weight that is
    recomputed whenever the module is called. Code that reads a weight without calling the module must
    call this function first. The newer `torch.nn.utils.parametrize` does not need it.

    >>> layer = torch.nn.utils.prune.l1_unstructured(torch.nn.GRU(1, 1), "weight_hh_l0", amount=0.0)
    >>> layer.weight_hh_l0_orig.data.fill_(3.0).shape
    torch.Size([3, 1])
    >>> renewed(layer).weight_hh_l0.flatten().tolist()
    [3.0, 3.0, 3.0]
    """
    for hook in tuple(module._forward_pre_hooks.values()):
        if isinstance(hook, (WeightNorm, SpectralNorm, BasePruningMethod)):
            hook(module, ())
    return module
