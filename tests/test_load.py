"""Return types of `load` and related functions, for type checkers and at run time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import unrolled

if TYPE_CHECKING:
    from typing import assert_type

    from unrolled.predictors.load import AnyPredictor

    def type_checkers_know_what_is_loaded(
        task: unrolled.Task,
        queries: unrolled.QueryTask,
        labels: unrolled.LabelTask,
        stream: unrolled.StreamTask,
    ) -> None:
        """Checked by mypy in `make check`; a test of its own would read the whole package again."""
        assert_type(unrolled.load("run"), AnyPredictor)
        assert_type(unrolled.load("run", task), unrolled.Predictor)
        assert_type(unrolled.load("run", queries), unrolled.QueryPredictor)
        assert_type(unrolled.load("run", labels, precision="int8"), unrolled.LabelPredictor)
        assert_type(unrolled.load("run", task=stream), unrolled.LanguagePredictor)
        assert_type(unrolled.load_translator("run"), unrolled.Predictor)
        assert_type(unrolled.load_labels("run"), unrolled.LabelPredictor)
        assert_type(unrolled.load_language_model("run"), unrolled.LanguagePredictor)
        assert_type(unrolled.load_queries("run"), unrolled.QueryPredictor)
        assert_type(unrolled.load_translator("run")("text"), str)
        assert_type(unrolled.load_queries("run")(["a question"], "shop.sqlite"), list[str])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "load_translator": unrolled.load_translator,
    "load_labels": unrolled.load_labels,
    "load_language_model": unrolled.load_language_model,
}


@pytest.mark.parametrize(
    ("run", "function", "output"),
    [
        ("translate", "load_translator", "text"),
        ("classify", "load_labels", "labels"),
        ("words", "load_language_model", "the continuation of a text"),
    ],
)
def test_a_run_of_another_kind_is_refused(run: str, function: str, output: str) -> None:
    path = Path(__file__).parent / "old_files" / run / "run"
    opened = FUNCTIONS[function](path)
    assert type(opened) is type(unrolled.load(path))
    for name in FUNCTIONS.keys() - {function}:
        with pytest.raises(unrolled.ConfigError) as raised:
            FUNCTIONS[name](path)
        task = "language_model" if run == "words" else run
        assert str(raised.value) == (
            f"{path} is a run of task '{task}', whose output is {output}; open it with "
            f"unrolled.{function}"
        )


# What is passed and what is shown

OLD = Path(__file__).parent / "old_files"


@pytest.mark.parametrize("name", ["translate", "classify"])
def test_any_sequence_of_texts_is_a_batch(name: str) -> None:
    model: Any = unrolled.load(OLD / name / "run")
    texts = ["the cat is here", "two dogs", "the cat is here"]
    wanted = [model(text) for text in texts]
    for batch in (texts, tuple(texts), np.array(texts), (text for text in texts)):
        assert model(batch) == wanted


def test_tuples_are_inputs_of_pairs_and_taggers() -> None:
    pair: Any = unrolled.load(OLD / "pair/run")
    assert pair(("cold", "i like it")) == pair("cold", "i like it")
    tagger: Any = unrolled.load(OLD / "tag/run")
    assert len(tagger(("the", "old", "cat"))) == 3


@pytest.mark.parametrize("name", ["translate", "words", "tag"])
def test_repr_tells_task_cell_and_size(name: str) -> None:
    shown = repr(unrolled.load(OLD / name / "run"))
    task = "language_model" if name == "words" else name
    assert f"Predictor(task='{task}', cell='" in shown
    assert " parameters, " in shown
    assert shown.endswith(f"run={str(OLD / name / 'run')!r})")
