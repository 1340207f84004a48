"""Whether a kernel may read a tensor's memory, and whether code outside of torch may run at all.

A kernel gets memory addresses. For many tensors the memory does not hold their values: fake and
functional tensors, subclasses, batched ones, lazily negated ones. And if operations are recorded,
counted, batched or differentiated in forward mode, a kernel that is not an operation of torch would be
missing from the result. All of these cases are left to torch's own operations.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils._device import DeviceContext

from unrolled.errors import UnavailableError

_PLAIN = (Tensor, Parameter)
# Bound once, because these are called before every step of a stream.
_n_dispatch_modes = torch._C._len_torch_dispatch_stack
_n_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack
_is_jit_tracing = torch._C._is_tracing
_is_compiling = torch.compiler.is_compiling
_strided = torch.strided


def why_no_memory(tensor: Tensor) -> str | None:
    """Why a kernel cannot read the values of a tensor from its memory, as one sentence; None if it can.

    >>> why_no_memory(torch.zeros(3))
    >>> why_no_memory(torch.zeros(3).to_sparse())
    'the kernels read dense tensors, but this is torch.sparse_coo'
    """
    if type(tensor) not in _PLAIN:
        return f"the kernels read torch.Tensor, but this is a {type(tensor).__name__}"
    if tensor.layout is not _strided or tensor.is_nested:
        name = "nested" if tensor.is_nested else tensor.layout
        return f"the kernels read dense tensors, but this is {name}"
    if tensor.is_neg():
        return "the kernels read memory, but this is a negated view of it"
    try:
        has_memory = tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:  # a tensor of functorch outside of its transform
        has_memory = False
    return None if has_memory else "the kernels read memory, but this tensor has none"


def why_recorded() -> str | None:
    """Why kernels cannot run while operations are recorded, counted or batched; None if they are not."""
    # This check comes first, because a compiler cannot trace the others.
    if _is_compiling() or _is_jit_tracing():
        return "a compiler cannot trace the kernels"
    if _n_dispatch_modes():
        return "a dispatch mode cannot see the kernels"
    if _n_function_modes() and not _only_devices():
        return "a function mode cannot see the kernels"
    if _transform() is not None:
        return "torch.func transforms do not support the kernels"
    return None


def why_not_now() -> str | None:
    """Why only operations of torch may run at this point, as one sentence; None if kernels may, too."""
    reason = why_recorded()
    if reason is None and forward_ad._current_level >= 0:
        return "the kernels have no forward-mode derivatives"
    return reason


def why_opaque(tensors: Iterable[Tensor | None]) -> str | None:
    """The reason of `why_not_now`, or of `why_no_memory` for the first tensor that has one, else None."""
    if (reason := why_not_now()) is not None:
        return reason
    for tensor in tensors:
        if tensor is not None and (reason := why_no_memory(tensor)) is not None:
            return reason
    return None


def are_readable(lengths: Tensor) -> bool:
    """Whether the values of lengths can be read; if they are recorded or batched, they cannot."""
    return why_recorded() is None and why_no_memory(lengths) is None


def dense(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor, or a copy of it that is contiguous in memory.

    Raises:
        UnavailableError: it has another type or device, or `why_no_memory` gives a reason. This is
            checked again even if the caller has done so, because its address will be used.
    """
    if tensor.dtype is not dtype:
        raise UnavailableError(f"the kernels read {dtype}, but this is {tensor.dtype}; convert it")
    check_memory(tensor)
    return tensor.contiguous()


def check_memory(tensor: Tensor) -> None:
    """Raise an error for a tensor that a kernel cannot read, if there is no other implementation.

    Raises:
        UnavailableError: it is not on the CPU, `why_no_memory` gives a reason, or a forward-mode
            derivative could be lost.
    """
    reason = why_no_memory(tensor)
    if forward_ad._current_level >= 0:
        reason = "the kernels have no forward-mode derivatives"
    if not tensor.is_cpu:
        reason = f"the kernels run on the CPU, but this is on {tensor.device}"
    if reason is not None:
        raise UnavailableError(
            f"{reason}; use unrolled.ops.dispatch.unroll, or pass an ordinary tensor"
        )


def _only_devices() -> bool:
    """Whether all function modes are `with torch.device(…)`, which only affects new tensors."""
    modes = torch.overrides._get_current_function_mode_stack()
    return all(type(mode) is DeviceContext for mode in modes)
