"""Compile the arithmetic of pages, kernels.c, to WebAssembly.

    pip install ziglang==0.17.1
    python native/build_page.py [--check]

Writes kernels.wasm.txt (base64) and runtime.json (its SHA-256, and that of the source). The same compiler
gives the same bytes on every machine; `--check` only compares.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

RUNTIME = Path(__file__).parents[1] / "src/unrolled/exports/page/runtime"
COMPILER = "0.17.1"
EXPORTED = ("tanh_all", "sigmoid_all", "exp_all", "product", "layer", "__heap_base")
OPTIONS = (
    *("-target", "wasm32-freestanding", "-O3", "-msimd128", "-std=c99", "-ffreestanding"),
    *(
        "-fno-builtin",
        "-nostdlib",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wl,--no-entry",
        "-Wl,--strip-all",
    ),
    *(f"-Wl,--export={name}" for name in EXPORTED),
)


def compiled() -> bytes:
    """The module."""
    version = metadata.version("ziglang")
    if version != COMPILER:
        raise SystemExit(f"ziglang {version} is installed; install ziglang=={COMPILER}")
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch) / "kernels.wasm"
        source = RUNTIME / "kernels.c"
        # Compiled from standard input, so that no path is part of the module.
        command = (
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            *OPTIONS,
            "-x",
            "c",
            "-",
            "-o",
            str(module),
        )
        subprocess.run(command, input=source.read_bytes(), cwd=scratch, check=True)
        return module.read_bytes()


def main() -> None:
    module = compiled()
    record = {
        "compiler": f"ziglang {COMPILER}",
        "source_sha256": hashlib.sha256((RUNTIME / "kernels.c").read_bytes()).hexdigest(),
        "module_sha256": hashlib.sha256(module).hexdigest(),
        "bytes": len(module),
    }
    files = {
        "kernels.wasm.txt": base64.encodebytes(module).decode("ascii"),
        "runtime.json": json.dumps(record, indent=1) + "\n",
    }
    for name, text in files.items():
        if "--check" not in sys.argv:
            (RUNTIME / name).write_text(text, encoding="ascii")
        elif (RUNTIME / name).read_text(encoding="ascii") != text:
            raise SystemExit(f"{name} differs from what the compiler makes")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
