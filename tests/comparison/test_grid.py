"""The settings that vary, and the messages about those that cannot."""

from __future__ import annotations

import pytest

from unrolled.comparison.grid import axes_of, combinations_of, variants_of
from unrolled.errors import ConfigError


def test_variants_are_all_combinations() -> None:
    axes = axes_of(["model.cell=rnn,lstm", "model.n_layers=1,2,3"], "--over")
    variants = variants_of(axes)
    assert len(variants) == 6
    assert variants[4].settings == (("model.cell", "lstm"), ("model.n_layers", "2"))
    assert (variants[4].name, variants[4].key) == ("LSTM, n_layers 2", "lstm-n_layers2")


def test_keys_are_safe_and_different() -> None:
    axes = axes_of(["model.embeddings.file=../a/b.txt,a_b.txt,none"], "--over")
    keys = [variant.key for variant in variants_of(axes)]
    assert len(set(keys)) == 3
    assert all("/" not in key and not key.startswith(".") for key in keys)


def test_lists_keep_their_commas() -> None:
    (axis,) = axes_of(["data.columns=[a,b],[b, a]"], "--over")
    assert axis.values == ("[a,b]", "[b, a]")


def test_without_tuning_there_is_one_trial() -> None:
    assert combinations_of(()) == [()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.cell", "expected a setting with its section, and its values"),
        ("cell=gru,lstm", "expected a setting with its section"),
        ("model.cell=gru", "needs at least two values separated by commas, got 'gru'"),
        ("model.cell=gru,,lstm", "needs at least two values"),
        ("model.cell=gru,gru", "has the same value twice"),
        ("seed=1,2", "set their number with --seeds"),
        ("data.test=a.tsv,b.tsv", "all variants must be scored on the same data"),
        ("training.threads=1,2", "each run gets an equal share"),
    ],
)
def test_what_cannot_vary_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        axes_of([text], "--over")


def test_a_setting_varies_once() -> None:
    with pytest.raises(ConfigError, match=r"model.cell is given twice; give all its values in one"):
        axes_of(["model.cell=gru,lstm", "model.cell=rnn,gru"], "--over")


def test_too_many_variants_are_refused() -> None:
    numbers = ",".join(map(str, range(1, 12)))
    axes = axes_of([f"model.n_layers={numbers}", f"model.embedding_size={numbers}"], "--over")
    with pytest.raises(ConfigError, match="121 variants are too many"):
        variants_of(axes)
