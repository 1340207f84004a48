"""Make `import unrolled.nn.functional`, `from unrolled.nn.utils.rnn import …` return torch's modules.

Python finds a module by the path of its parent. Torch's files would therefore be run again under other
names and define classes that differ from torch's. This finder returns the existing modules instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_OURS, _TORCHS = "unrolled.nn.", "torch.nn."
OUR_MODULES = {f"unrolled.nn.{name}" for name in ("conversion", "layers", "running", "torch_names")}


class TorchNames(MetaPathFinder, Loader):
    """Finds `unrolled.nn.X` if there is a `torch.nn.X`, and returns that module."""

    def find_spec(
        self, name: str, path: Iterable[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module specification for torch's module under our name, or None if torch has none."""
        if not name.startswith(_OURS) or name in OUR_MODULES:
            return None
        try:
            there = find_spec(_torchs(name))
        except ModuleNotFoundError:
            return None
        return None if there is None else ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return torch's module. Python will then replace its specification by ours."""
        module = import_module(_torchs(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing; restore the module's own specification."""
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = spec.loader_state


def install() -> None:
    """Put this finder first, because others would follow the path of torch's packages."""
    if not any(type(finder).__qualname__ == "TorchNames" for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchNames())


def _torchs(name: str) -> str:
    return _TORCHS + name.removeprefix(_OURS)
