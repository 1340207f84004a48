"""The `[training]` section refuses invalid values and names the field."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from unrolled.errors import ConfigError
from unrolled.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", math.nan, "above 0"),
        ("learning_rate", math.inf, "at most 1e+38"),
        ("beta1", 1.0, "at least 0 and below 1"),
        ("average", -0.1, "at least 0 and below 1"),
        ("weight_decay", -1.0, "at least 0"),
        ("plateau_factor", 1.0, "above 0 and below 1"),
        ("plateau_patience", 0, "at least 1"),
        ("accumulate", 0, "at least 1"),
        ("max_steps", -1, "at least 0"),
        ("max_minutes", -0.5, "at least 0"),
    ],
)
def test_a_wrong_value_is_named(field, value, wanted):
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**{field: value})
    assert str(caught.value) == f"training.{field} must be {wanted}, got {value!r}"


def test_a_score_needs_sentences_to_score():
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(metric="bleu", valid_sentences=0)
    assert str(caught.value) == (
        "training.valid_sentences must be at least 1 if training.metric is 'bleu', got 0"
    )


def test_every_limit_ends_training():
    assert not TrainingConfig().has_limit
    for field in ("max_steps", "max_epochs", "max_minutes", "patience"):
        assert TrainingConfig(**{field: 1.0 if field == "max_minutes" else 1}).has_limit


def run_python(code: str) -> str:
    """What a fresh interpreter prints: no shape checks there, and nothing imported yet."""
    command = [sys.executable, "-c", "from unrolled.training.config import *\n" + code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_reading_settings_does_not_load_torch():
    assert run_python("import sys; print('torch' in sys.modules)") == "False"


def test_a_wrong_choice_is_named():
    code = """
from unrolled.errors import ConfigError
for wrong in ({"optimiser": "adagrad"}, {"reduction": "mean"}, {"device": "tpu"}):
    try:
        TrainingConfig(**wrong)
    except ConfigError as error:
        print(error)
"""
    assert run_python(code).splitlines() == [
        "training.optimiser must be one of adam, sgd, lazy_adam, got 'adagrad'",
        "training.reduction must be one of per_token, per_sequence, got 'mean'",
        "training.device must be one of auto, cpu, cuda, got 'tpu'",
    ]
