"""Exported graphs in other runtimes: how far OpenVINO and tract agree with ONNX Runtime, and their speed.

    pip install openvino tract
    python benchmarks/onnx_runtimes.py EXPORT [EXPORT …]

Each graph of an export reads a ragged batch with an empty row and rows of one token. Printed are the
largest difference from ONNX Runtime, relative to the largest value of the output or 1, and microseconds
for a batch, on one thread, the median of runs that alternate. A runtime that is not installed, or that
refuses a graph, is named with its reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]

LENGTHS = (7, 1, 0, 4, 7, 1)
"""Tokens of each row."""

_N_TIMED = 21


def inputs_of(model: Any, n_tokens: int) -> dict[str, np.ndarray]:
    """Random inputs; ids are 0 beyond the end of a row."""
    draw = np.random.default_rng(1)
    longest = max(LENGTHS)
    is_real = np.arange(longest) < np.array(LENGTHS)[:, None]
    found = {}
    for value in model.graph.input:
        names = [each.dim_param for each in value.type.tensor_type.shape.dim]
        sizes = [each.dim_value or longest for each in value.type.tensor_type.shape.dim]
        sizes = [len(LENGTHS) if n == "rows" else s for n, s in zip(names, sizes, strict=True)]
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
            ids = draw.integers(4, n_tokens, sizes)
            is_text = ids.ndim > 1 and ids.shape[1] == longest
            mask = is_real.reshape(*is_real.shape, *[1] * (ids.ndim - 2)) if is_text else True
            found[value.name] = np.where(mask, ids, 0)
        elif value.name == "bias":
            lowest = np.finfo(np.float32).min
            found["bias"] = np.where(is_real, 0, lowest).astype(np.float32)[:, None]
        else:
            found[value.name] = draw.normal(0, 0.5, sizes).astype(np.float32)
    return found


def in_onnxruntime(path: Path) -> Run:
    """A graph in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    names = [each.name for each in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))


def in_openvino(path: Path) -> Run:
    """A graph in OpenVINO, which by default rounds what it computes."""
    import openvino

    exact = {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "INFERENCE_NUM_THREADS": 1,
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)
    names = [each.name for each in onnx.load(path).graph.output]

    def run(given: Arrays) -> dict[str, np.ndarray]:
        found = compiled(dict(given))
        return {name: found[place] for place, name in enumerate(names)}

    return run


def in_tract(path: Path) -> Run:
    """A graph in tract, whose sizes are those of the inputs."""
    import tract

    loaded = tract.onnx().load(str(path))
    model = onnx.load(path)
    names = [[each.name for each in part] for part in (model.graph.input, model.graph.output)]
    runnable: Any = None

    def run(given: Arrays) -> dict[str, np.ndarray]:
        nonlocal runnable
        if runnable is None:
            for place, name in enumerate(names[0]):
                kind = "i64" if given[name].dtype == np.int64 else "f32"
                loaded.set_input_fact(place, ",".join([*map(str, given[name].shape), kind]))
            runnable = loaded.into_model().into_runnable()
        found = runnable.run([given[name] for name in names[0]])
        return {name: each.to_numpy() for name, each in zip(names[1], found, strict=True)}

    return run


RUNTIMES: Mapping[str, Callable[[Path], Run]] = {"OpenVINO": in_openvino, "tract": in_tract}


def difference(expected: Arrays, found: Arrays) -> float:
    """The largest difference of an output, relative to its largest value or 1."""
    return max(
        float(np.abs(value - found[name]).max()) / max(1.0, float(np.abs(value).max()))
        for name, value in expected.items()
        if value.size
    )


def compare(path: Path, n_tokens: int) -> None:
    """Print the agreement and the speed of one graph."""
    given = inputs_of(onnx.load(path), n_tokens)
    runs = {"ONNX Runtime": in_onnxruntime(path)}
    expected = runs["ONNX Runtime"](given)
    for name, made in RUNTIMES.items():
        try:
            run = made(path)
            print(f"  {name}: {difference(expected, run(given)):.1e} from ONNX Runtime")
            runs[name] = run
        except Exception as error:
            print(f"  {name}: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_N_TIMED):
        for name, run in runs.items():
            began = time.process_time()
            run(given)
            times[name].append((time.process_time() - began) * 1e6)
    shown = [f"{name} {statistics.median(each):.0f} µs" for name, each in times.items()]
    print(f"  a batch of {len(LENGTHS)}: {', '.join(shown)} of processor time")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="+", type=Path)
    for export in parser.parse_args().exports:
        sizes = [
            len(json.loads(file.read_text())["model"]["vocab"])
            for file in export.glob("tokenizer-*.json")
        ]
        for path in sorted(export.glob("*.onnx")):
            print(path)
            compare(path, min(sizes))


if __name__ == "__main__":
    main()
