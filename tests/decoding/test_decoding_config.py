"""Errors name the option, and reading options does not import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.decoding import DecodingConfig
from unrolled.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be at least 1, got 0"),
        ({"n_best": 0}, "n_best must be at least 1, got 0"),
        ({"n_best": 6}, "n_best must be at most decoding.beam_size, 5, got 6"),
        (
            {"method": "greedy", "n_best": 2},
            "n_best must be 1 where decoding.method is greedy, got 2",
        ),
        ({"length_penalty": -0.5}, "length_penalty must be at least 0, got -0.5"),
        ({"length_penalty": float("nan")}, "length_penalty must be at least 0, got nan"),
        ({"max_length_ratio": -1.0}, "max_length_ratio must be at least 0, got -1.0"),
        ({"max_length_extra": -1}, "max_length_extra must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": float("inf")}, "temperature must be at most 1,000,000, got inf"),
        ({"top_k": -1}, "top_k must be at least 0, got -1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_a_wrong_value_is_named(options, message):
    with pytest.raises(ConfigError) as caught:
        DecodingConfig(**options)
    assert str(caught.value) == f"decoding.{message}"


def test_samples_may_outnumber_the_beam():
    assert DecodingConfig(method="sample", n_best=100).n_best == 100


def run(code: str) -> str:
    """The output of a new Python process, without the type checks of the tests."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_an_unknown_method_is_named():
    code = """
from unrolled.decoding import DecodingConfig
try:
    DecodingConfig(method="bean")
except Exception as error:
    print(type(error).__name__, error)
"""
    message = "decoding.method must be one of beam, greedy, sample, got 'bean'"
    assert run(code) == f"ConfigError {message}"


def test_reading_the_options_does_not_import_torch():
    code = "import sys, unrolled.decoding.types; print('torch' in sys.modules)"
    assert run(code) == "False"


def test_an_unknown_attribute_of_the_package_raises():
    import unrolled.decoding

    with pytest.raises(AttributeError, match="no attribute 'decoed'"):
        _ = unrolled.decoding.decoed
