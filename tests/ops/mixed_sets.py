"""The instructions for products in bfloat16, and how far results in mixed precision may be apart."""

from __future__ import annotations

import pytest
from torch import Tensor

from unrolled.kernels import kernels

SETS: list[str] = [] if kernels is None else kernels.mixed_sets()
needs_sets = pytest.mark.skipif(not SETS, reason="no kernels for products in bfloat16 here")

UNIT = 2.0**-24
"""The relative error of a rounding in float32; that of a rounding to bfloat16 is 2⁻⁸ at most."""


def distance(given: Tensor, exact: Tensor) -> float:
    """‖given − exact‖ / ‖exact‖."""
    return float((given.double() - exact).norm() / exact.norm().clamp(min=1e-30))


def allowed(n_summed: int, n_roundings: int) -> float:
    """The distance that another order of summation may cause.

    A sum of K products has a relative error of about K · 2⁻²⁴. So a result lies on the other side of a
    rounding to bfloat16 with probability K · 2⁻²⁴ / 2⁻⁸, and then moves by 2⁻⁸ of its size. The changes
    of several roundings one after another are independent, so 2⁻⁸ · √(n · K · 2⁻¹⁶) is expected after n,
    and up to twice as much by chance.
    """
    return float(2 * 2.0**-8 * (n_roundings * n_summed * 2.0**-16) ** 0.5)
