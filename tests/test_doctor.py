"""`unrolled doctor` reports the state of this machine correctly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unrolled import doctor, ops
from unrolled.doctor import CellCheck, Report, check_cell, diagnose, render

GOOD = CellCheck("gru", "cpu", "torch_native", {"reference": "torch_native comes first"},
                 error=3e-7, tolerance=1e-5, seconds=0.0042)  # fmt: skip
SIGMOID = CellCheck("rnn_sigmoid", "cpu", "reference", {"torch_native": "torch has none"},
                    error=0.0, tolerance=1e-5, seconds=0.01)  # fmt: skip
REPORT = Report("3.11.7", "2.13.0", "Linux x86_64", 2, 2, "AVX512", None, (GOOD, SIGMOID),
                kernels="avx512, threads from openmp", bfloat16="torch's own cells")  # fmt: skip


def test_every_cell_agrees_here() -> None:
    report = diagnose()
    assert report.is_healthy
    on_cpu = {cell.kind: cell.chosen for cell in report.cells if cell.device == "cpu"}
    fast = "torch_native" if ops.native.kernels is None else "native"
    assert on_cpu == {
        "rnn_tanh": fast,
        "rnn_relu": fast,
        "rnn_sigmoid": "reference",
        "lstm": fast,
        "gru": fast,
    }
    assert report.torch == torch.__version__
    assert report.n_threads == torch.get_num_threads()
    assert all(0 < cell.seconds < 60 for cell in report.cells)


def test_it_checks_the_pinned_implementation() -> None:
    with ops.using("reference"):
        assert check_cell("lstm", "cpu").chosen == "reference"


def test_it_says_why_kernels_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.native, "kernels", None)
    monkeypatch.setattr(ops.native, "missing_because", "the kernels are not installed (no file)")
    report = diagnose()
    assert report.kernels == (
        "none, torch's own cells are used instead: the kernels are not installed (no file)"
    )
    assert report.is_healthy


class Processor:
    """Stands for the kernels on a processor with these instructions for bfloat16."""

    def __init__(self, *sets: str, width: str = "avx512") -> None:
        self.mixed_sets = lambda: list(sets)
        self.mixed_set = lambda: sets[0]
        self.instruction_set = lambda: width


@pytest.mark.parametrize(
    ("processor", "told"),
    [
        (Processor("amx", "avx512bf16"),
         "native kernels with AMX; this processor has AMX and AVX512_BF16"),
        (Processor("avx512bf16"),
         "torch's own cells; this processor has AVX512_BF16, but the kernels with AVX512_BF16 have not "
         "been shown to be faster than torch; pin 'native' to try"),
        (Processor(),
         "torch's own cells; this processor, or the build of the kernels, has neither AVX512_BF16 nor "
         "AMX"),
        (Processor(width="avx2"),
         "torch's own cells; the kernels for bfloat16 need AVX-512, and those of avx2 are in use"),
        (None, "torch's own cells"),
    ],
)  # fmt: skip
def test_it_says_what_the_processor_has_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, processor: Processor | None, told: str
) -> None:
    monkeypatch.setattr(ops.native, "kernels", processor)
    monkeypatch.setattr(ops.mixed, "kernels", processor)
    assert doctor._bfloat16() == told


@pytest.mark.parametrize("spoilt", ["output", "gradient", "nan"])
def test_a_wrong_implementation_is_detected(monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    right = ops.torch_native.unroll

    def wrong(*args: object) -> object:
        y, state = right(*args)
        if spoilt == "output":
            return y + 1e-3, state
        if spoilt == "nan":
            return y * float("nan"), state
        return y.detach() + 0.999 * (y - y.detach()), state

    monkeypatch.setattr(ops.torch_native, "unroll", wrong)
    with ops.using("torch_native"):
        check = check_cell("lstm", "cpu")
    assert check.chosen == "torch_native"
    assert not check.agrees


def test_the_global_random_state_is_unchanged() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    check_cell("rnn_relu", "cpu")
    assert torch.equal(torch.rand(1), expected)


def test_the_report_fits_a_few_lines() -> None:
    assert render(REPORT) == (
        "python 3.11.7 · torch 2.13.0 · Linux x86_64\n"
        "2 cores, torch uses 2 threads · AVX512 · no GPU\n"
        "native kernels: avx512, threads from openmp\n"
        "layers in bfloat16: torch's own cells\n"
        "matrix products of the layers: oneDNN\n"
        "\n"
        "device  cell         kernel        error    time     "
        "(compared with the reference; 16 rows, 12 steps, width 64)\n"
        "cpu     gru          torch_native  3.0e-07   4.2 ms  agrees\n"
        "cpu     rnn_sigmoid  reference     0.0e+00  10.0 ms  agrees\n"
        "not torch_native for rnn_sigmoid: torch has none"
    )


def test_a_disagreement_is_reported() -> None:
    sick = replace(REPORT, cells=(replace(GOOD, error=0.25),))
    assert not sick.is_healthy
    text = render(sick)
    assert "2.5e-01   4.2 ms  DISAGREES" in text
    assert text.endswith(
        "A cell disagrees with the reference on this machine. Do not trust its results; "
        "use unrolled.ops.dispatch.using('reference') and report this."
    )
    assert not replace(GOOD, error=float("nan")).agrees


def test_more_threads_than_cores_gets_advice() -> None:
    text = render(replace(REPORT, n_cores=1, n_threads=8))
    assert "1 core, torch uses 8 threads (more than cores; try OMP_NUM_THREADS=1)" in text
