"""The dependencies of the package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MOST_PACKAGES = 40

ONLY_IN_CUDA_BUILDS = ("nvidia-", "cuda-", "triton", "pytorch-triton")
"""What the public Linux wheels of torch bring, and those for the CPU, macOS and Windows do not."""


def installed_with(package: str) -> set[str]:
    """A package and all it needs here, extras only where something asks for them."""
    found: set[str] = set()
    asked: set[tuple[str, str]] = set()
    waiting = [(package, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        found.add(name)
        for requirement in map(Requirement, requires(name) or ()):
            needed = str(canonicalize_name(requirement.name))
            marker = requirement.marker
            if needed.startswith(ONLY_IN_CUDA_BUILDS):
                continue
            if marker is None or marker.evaluate({"extra": extra}):
                waiting += [(needed, each) for each in ("", *requirement.extras)]
    return found


def test_a_core_install_is_small() -> None:
    packages = installed_with("unrolled") - {"unrolled"}
    assert {"torch", "numpy", "safetensors", "tokenizers", "markupsafe"} <= packages
    assert not {"pytest", "matplotlib", "mypy", "jaxtyping"} & packages
    assert len(packages) <= MOST_PACKAGES, sorted(packages)


def test_shapes_in_signatures_need_no_jaxtyping() -> None:
    program = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "from unrolled import Padded, nn\n"
        "import unrolled.tasks, torch\n"
        "nn.LSTM(2, 3)(torch.zeros(4, 1, 2), lengths=[3])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
