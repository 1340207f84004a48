"""A saved baseline predicts the same without scikit-learn, and damage is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.baselines import (
    Baseline,
    BaselineConfig,
    FittedBaseline,
    Labelled,
    fit_baselines,
    load_baseline,
)
from unrolled.errors import ConfigError, RunError

TEXTS = [
    "this phone is no good",
    "no the phone is good",
    "so good",
    "so bad",
    "such a bad film",
    "a good film",
    "",
    "café \ud800",
]
LABELS = ["no", "yes", "yes", "no", "no", "yes", "so-so", "so-so"]


def fitted(multi_label: bool = False, n_texts: int = 1, n_labels: int = 3) -> list[FittedBaseline]:
    texts = [[text.split()] * n_texts for text in TEXTS][: 8 if n_labels == 3 else 6]
    targets = [frozenset({label, "any"}) for label in LABELS] if multi_label else LABELS
    data = Labelled(texts, targets[: len(texts)])
    config = BaselineConfig(c_values=(1.0,), min_texts=1)
    return list(fit_baselines(data, data, lambda truth, found: 0.0, config))


@pytest.mark.parametrize(
    ("multi_label", "n_texts", "n_labels"), [(False, 1, 2), (False, 2, 3), (True, 1, 3)]
)
def test_saving_and_loading_is_exact(
    tmp_path: Path, multi_label: bool, n_texts: int, n_labels: int
) -> None:
    new = [[text.split()] * n_texts for text in ("good film", "no phone is so bad", "", "x")]
    for each in fitted(multi_label, n_texts, n_labels):
        each.baseline.save(tmp_path / "runs" / each.name, each.figures())
        loaded = Baseline.load(tmp_path / "runs" / each.name)
        assert (loaded.margins(new) == each.baseline.margins(new)).all()
        assert loaded.predict(new) == each.baseline.predict(new)
        assert (loaded.thresholds == each.baseline.thresholds).all()
        assert len(loaded.thresholds) == (len(loaded.labels) if multi_label else 0)
        for name in ("name", "labels", "multi_label", "n_texts", "reads", "weighting", "link"):
            assert getattr(loaded, name) == getattr(each.baseline, name)
        assert isinstance(load_baseline(tmp_path / "runs" / each.name), Baseline)


def test_predictions_only_need_numpy(tmp_path: Path) -> None:
    new = [[text.split()] for text in TEXTS[:7]]
    baselines = [each.baseline for each in fitted()]
    for baseline in baselines:
        baseline.save(tmp_path / baseline.name)
    program = (
        "import json, sys\n"
        "for name in ('sklearn', 'scipy', 'torch', 'joblib'): sys.modules[name] = None\n"
        "from unrolled.baselines import load_baseline\n"
        "folder, names, texts = json.loads(sys.argv[1])\n"
        "baselines = [load_baseline(f'{folder}/{name}') for name in names]\n"
        "print(json.dumps([[b.margins(texts).tolist(), b.predict(texts)] for b in baselines]))\n"
    )
    given = json.dumps([str(tmp_path), [baseline.name for baseline in baselines], new])
    done = subprocess.run(
        [sys.executable, "-c", program, given],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])},
    )
    for (margins, answers), baseline in zip(json.loads(done.stdout), baselines, strict=True):
        np.testing.assert_allclose(margins, baseline.margins(new), atol=1e-12)
        assert answers == baseline.predict(new)


def test_the_record_can_be_read_with_cat(tmp_path: Path) -> None:
    (bigrams,) = (each for each in fitted(n_labels=2) if each.name == "bigrams")
    bigrams.baseline.save(tmp_path / "bigrams", bigrams.figures())
    assert sorted(path.name for path in (tmp_path / "bigrams").iterdir()) == [
        "baseline.json",
        "vocabulary.json",
        "weights.safetensors",
    ]
    record = json.loads((tmp_path / "bigrams" / "baseline.json").read_text(encoding="utf-8"))
    assert record["labels"] == ["no", "yes"]
    assert record["fitted"]["c"] == 1.0
    assert record["fitted"]["n_features"] == len(bigrams.baseline.weights[0])
    strongest = record["strongest"]
    assert "bad" in list(strongest["no"])[:3]
    assert "good" in list(strongest["yes"])[:3]
    assert "no good" in strongest["no"]


def test_the_strongest_ngrams_of_two_labels_mirror_each_other() -> None:
    (unigrams,) = (each for each in fitted(n_labels=2) if each.name == "unigrams")
    baseline = unigrams.baseline
    weights = dict(zip(baseline.ngrams[0].tokens, baseline.weights[0], strict=True))
    for label, sign in (("yes", 1), ("no", -1)):
        found = baseline.strongest(label, n=100)
        assert dict(found) == {w: sign * v for w, v in weights.items() if sign * v > 0}
        assert [v for _, v in found] == sorted((v for _, v in found), reverse=True)
    with pytest.raises(ConfigError, match="has no label 'yess'; did you mean 'yes'"):
        baseline.strongest("yess")


def test_the_strongest_ngrams_of_pairs_name_the_text() -> None:
    unigrams = fitted(n_texts=2)[1].baseline
    assert {name[:2] for name, _ in unigrams.strongest("yes", n=100)} == {"1:", "2:"}


def test_only_a_baseline_is_overwritten(tmp_path: Path) -> None:
    first, second = fitted()[:2]
    first.baseline.save(tmp_path / "one")
    second.baseline.save(tmp_path / "one")
    assert Baseline.load(tmp_path / "one").name == "unigrams"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(RunError, match="mine exists and is not the folder of a baseline; choose"):
        first.baseline.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text(encoding="utf-8") == "keep"
    with pytest.raises(RunError, match=r"cannot write .*choose another folder"):
        first.baseline.save(tmp_path / "mine" / "notes.txt" / "below")


@pytest.mark.parametrize("name", ["vocabulary.json", "weights.safetensors"])
def test_a_changed_byte_is_detected(tmp_path: Path, name: str) -> None:
    fitted()[2].baseline.save(tmp_path / "one")
    content = bytearray((tmp_path / "one" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "one" / name).write_bytes(content)
    with pytest.raises(
        RunError, match="one: the baseline is damaged; copy the folder again or fit"
    ):
        Baseline.load(tmp_path / "one")


@pytest.mark.parametrize("name", ["baseline.json", "vocabulary.json", "weights.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    fitted()[2].baseline.save(tmp_path / "one")
    (tmp_path / "one" / name).unlink()
    with pytest.raises(RunError, match=r"one: not a complete baseline; .*weights.safetensors"):
        Baseline.load(tmp_path / "one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "other"}', 'expected "format": "unrolled baseline 2"; it was written by'),
        ("[]", 'expected "format": "unrolled baseline 2"'),
        ("{", "cannot be read"),
        ('{"format": "unrolled baseline 2"}', "the baseline is damaged"),
    ],
)
def test_a_record_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    fitted()[2].baseline.save(tmp_path / "one")
    (tmp_path / "one" / "baseline.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        Baseline.load(tmp_path / "one")


def test_invalid_texts_are_refused() -> None:
    baseline = fitted()[1].baseline
    assert baseline.predict([]) == []
    assert baseline.probabilities([]).shape == (0, 3)
    with pytest.raises(ValueError, match="example 1 has 2 texts, expected 1"):
        baseline.predict([[["a"]], [["a"], ["b"]]])
    with pytest.raises(ValueError, match="example 0 has a text that is a string"):
        baseline.predict([["so good"]])
    with pytest.raises(ValueError, match="example 0 has a text that is a string"):
        baseline.predict(["so good"])


def test_batch_predictions_equal_single_ones() -> None:
    texts = [[text.split()] for text in TEXTS] * 300
    for each in fitted()[:3]:
        margins = each.baseline.margins(texts)
        assert margins.shape == (2400, 3)
        np.testing.assert_allclose(margins, np.tile(margins[:8], (300, 1)), atol=1e-12)
