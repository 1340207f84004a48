"""The compiled kernels of `native/`, where this installation has them.

They are C++ compiled for several instruction sets; the best that this machine has is chosen on import,
or the one named by the environment variable `UNROLLED_INSTRUCTION_SET`; "none" leaves them out, as if
they were not installed. Nothing here imports torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from unrolled.errors import ConfigError


def _import_kernels() -> tuple[Any, str]:
    """The compiled module, or None and why."""
    wanted = os.environ.get("UNROLLED_INSTRUCTION_SET")
    if wanted == "none":
        return None, "UNROLLED_INSTRUCTION_SET is 'none'; unset it to use them"
    try:
        module = import_module("unrolled._kernels")
    except ModuleNotFoundError:
        return None, "the package was installed without them, as where there is no C++ compiler"
    except ImportError as error:
        return None, f"the kernels do not load: {error}"
    if not module.instruction_sets():
        return None, "they were compiled for another processor (`make demo`); run `make setup`"
    if wanted:
        try:
            module.use_instruction_set(wanted)
        except ValueError as error:
            raise ConfigError(f"UNROLLED_INSTRUCTION_SET: {error}, none") from None
    return module, ""


kernels, missing_because = _import_kernels()
