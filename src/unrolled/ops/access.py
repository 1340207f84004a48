"""Whether a kernel may read a tensor's memory, and whether code outside of torch may run at all.

A kernel gets addresses. Many tensors have none that means what they say: fake and functional ones,
subclasses, batched ones, those whose sign is turned when they are read. And where operations are
recorded, counted, batched or differentiated forwards, a kernel that is no operation of torch would be
missing from the result. All of these go to torch's own operations.
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
# Bound once: these are asked before every step of a stream.
_n_dispatch_modes = torch._C._len_torch_dispatch_stack
_n_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack
_is_jit_tracing = torch._C._is_tracing
_is_compiling = torch.compiler.is_compiling
_strided = torch.strided


def why_no_memory(tensor: Tensor) -> str | None:
    """One sentence when the numbers of a tensor do not stand in its memory as they are, else None.

    >>> why_no_memory(torch.zeros(3))
    >>> why_no_memory(torch.zeros(3).to_sparse())
    'the kernels read dense tensors, and this is torch.sparse_coo'
    """
    if type(tensor) not in _PLAIN:
        return f"the kernels read torch.Tensor, and this is a {type(tensor).__name__}"
    if tensor.layout is not _strided or tensor.is_nested:
        name = "nested" if tensor.is_nested else tensor.layout
        return f"the kernels read dense tensors, and this is {name}"
    if tensor.is_neg():
        return "the kernels read memory, and this is a negated view of it"
    try:
        has_memory = tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:  # a tensor of functorch outside of its transform
        has_memory = False
    return None if has_memory else "the kernels read memory, and this tensor has none"


def why_recorded() -> str | None:
    """One sentence when operations are recorded, counted or batched here and now, else None."""
    if (
        _is_compiling() or _is_jit_tracing()
    ):  # first, because a compiler cannot look at what follows
        return "a compiler cannot look into the kernels"
    if _n_dispatch_modes():
        return "a dispatch mode cannot see the kernels"
    if _n_function_modes() and not _only_devices():
        return "a function mode cannot see the kernels"
    if _transform() is not None:
        return "torch.func's transforms cannot look into the kernels"
    return None


def why_not_now() -> str | None:
    """One sentence when nothing but operations of torch may run here and now, else None."""
    reason = why_recorded()
    if reason is None and forward_ad._current_level >= 0:
        return "the kernels have no forward-mode derivatives"
    return reason


def why_opaque(tensors: Iterable[Tensor | None]) -> str | None:
    """`why_not_now`, or `why_no_memory` of the first tensor that has a reason."""
    if (reason := why_not_now()) is not None:
        return reason
    for tensor in tensors:
        if tensor is not None and (reason := why_no_memory(tensor)) is not None:
            return reason
    return None


def are_readable(lengths: Tensor) -> bool:
    """Whether lengths may steer what is computed. Recorded or batched ones must stay tensors."""
    return why_recorded() is None and why_no_memory(lengths) is None


def dense(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor, or a copy of it whose numbers stand one behind the other.

    Raises:
        UnavailableError: it is of another type or device, or `why_no_memory`. Whatever the caller has
            checked, an address is taken of nothing else.
    """
    if tensor.dtype is not dtype:
        raise UnavailableError(f"the kernels read {dtype}, and this is {tensor.dtype}; convert it")
    check_memory(tensor)
    return tensor.contiguous()


def check_memory(tensor: Tensor) -> None:
    """Refuse a tensor that a kernel cannot read, where there is nothing else that could.

    Raises:
        UnavailableError: it is not on the CPU, `why_no_memory`, or its forward-mode derivative, if it
            has one, would be lost.
    """
    reason = why_no_memory(tensor)
    if forward_ad._current_level >= 0:
        reason = "the kernels have no forward-mode derivatives"
    if not tensor.is_cpu:
        reason = f"the kernels run on the CPU, and this is on {tensor.device}"
    if reason is not None:
        raise UnavailableError(
            f"{reason}; use unrolled.ops.dispatch.unroll, or give an ordinary tensor"
        )


def _only_devices() -> bool:
    """Whether all function modes are `with torch.device(…)`, which concerns new tensors alone."""
    modes = torch.overrides._get_current_function_mode_stack()
    return all(type(mode) is DeviceContext for mode in modes)
