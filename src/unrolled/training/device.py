"""Device, precision, memory errors and random streams of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from unrolled.errors import UnavailableError
from unrolled.training.config import TrainingConfig


def choose_device(config: TrainingConfig) -> torch.device:
    """The device that `training.device` names; for "auto", CUDA if available.

    Raises:
        UnavailableError: CUDA was requested but is not available.
    """
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        built = "" if torch.version.cuda else f"; this is torch {torch.__version__}, without CUDA"
        raise UnavailableError(
            f"training.device is 'cuda', but torch finds no CUDA device{built}; use 'cpu' or 'auto'"
        )
    return torch.device("cpu" if config.device == "cpu" or not has_cuda else "cuda")


def why_no_bfloat16(device: torch.device) -> str | None:
    """Why bfloat16 is not supported on this device; None if it is.

    >>> why_no_bfloat16(torch.device("meta"))
    'torch has no bfloat16 mode for meta'
    """
    if device.type == "cuda":
        return None if torch.cuda.is_bf16_supported() else "this CUDA device has no bfloat16 units"
    if device.type != "cpu":
        return f"torch has no bfloat16 mode for {device.type}"
    has_onednn = torch.backends.mkldnn.is_available()
    if not has_onednn or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this processor has no vector instructions for bfloat16 (such as AVX-512)"
    return None


def autocast(config: TrainingConfig, device: torch.device) -> AbstractContextManager[None]:
    """A context in which to compute losses in the configured precision.

    Raises:
        UnavailableError: bfloat16 was requested but the device does not support it.
    """
    if config.precision == "float32":
        return nullcontext()
    reason = why_no_bfloat16(device)
    if reason is not None:
        raise UnavailableError(f"training.precision is 'bfloat16', but {reason}; use 'float32'")
    return torch.autocast(device.type, torch.bfloat16)


_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")
"""Parts of torch's messages for out-of-memory errors without a type of their own, as on the CPU."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    has_type = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return has_type or any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def within_memory(remedy: str) -> Iterator[None]:
    """Turn an out-of-memory error into one with a one-line message.

    Args:
        remedy: settings to lower.

    Raises:
        UnavailableError: the model or its batches need more memory than is available.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UnavailableError(
            f"out of memory; lower {remedy}, or the sizes in [model]; the run can be resumed from "
            "its last checkpoint, and --from starts another from its weights"
        ) from error


class Randomness:
    """A separate random stream on torch's global generators.

    Inside `drawn()`, torch draws from this stream; outside it, the global generators are as before. So
    neither an evaluation nor the code that reads the events can affect the random numbers of training.

    >>> stream = Randomness(seed=3, device=torch.device("cpu"))
    >>> with stream.drawn():
    ...     first = torch.rand(1)
    >>> _ = torch.rand(5)
    >>> with stream.drawn():
    ...     second = torch.rand(1)
    >>> torch.manual_seed(3).initial_seed(), torch.rand(2).equal(torch.cat([first, second]))
    (3, True)
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        outer = self._global_states()
        torch.manual_seed(seed)
        self._states = self._global_states()
        self._set_global(outer)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Let torch draw from this stream."""
        outer = self._global_states()
        self._set_global(self._states)
        try:
            yield
        finally:
            self._states = self._global_states()
            self._set_global(outer)

    def tensors(self) -> dict[str, Tensor]:
        """The state of the stream: bytes by device."""
        return dict(self._states)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a state that `tensors` returned; devices without an entry keep theirs."""
        self._states = {name: tensors.get(name, state) for name, state in self._states.items()}

    def _global_states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._on_cuda:
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def _set_global(self, states: dict[str, Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if self._on_cuda:
            torch.cuda.set_rng_state(states["cuda"])
