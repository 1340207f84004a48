"""The public API: exactly these names, each at its documented place and with a docstring."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import unrolled

NAMES = [
    "Answer",
    "Asked",
    "CodePredictor",
    "CodeTask",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DecodingConfig",
    "LabelData",
    "LabelPrediction",
    "LabelPredictor",
    "LabelTask",
    "LabelledEvaluation",
    "Labels",
    "LanguagePredictor",
    "NonFiniteError",
    "Padded",
    "Prediction",
    "Predictor",
    "QueryPredictor",
    "QueryTask",
    "Recipe",
    "RunError",
    "TASKS",
    "StreamConfig",
    "StreamTask",
    "Task",
    "TextConfig",
    "Tokenizer",
    "TrainingConfig",
    "UnavailableError",
    "UnrolledError",
    "VectorsConfig",
    "WordVectors",
    "draw_attention",
    "explain",
    "explain_words",
    "export_onnx",
    "export_page",
    "fit",
    "inspect_recipe",
    "inspect_run",
    "inspect_text",
    "load",
    "load_code",
    "load_labels",
    "load_language_model",
    "load_queries",
    "load_translator",
    "nn",
    "pull",
    "push",
    "recipe_from_toml",
    "trace_text",
    "train",
    "train_vectors",
    "unroll",
    "using",
]


def test_the_public_names_are_these() -> None:
    assert sorted(unrolled.__all__) == sorted(NAMES)
    assert len(set(unrolled.__all__)) == len(unrolled.__all__)
    assert set(NAMES) <= set(dir(unrolled))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_the_object_of_the_defining_module(name: str) -> None:
    home = import_module(unrolled._HOME[name])
    assert getattr(unrolled, name) is (home if name == "nn" else getattr(home, name))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_explained(name: str) -> None:
    value = getattr(unrolled, name)
    if not isinstance(value, type | ModuleType) and not inspect.isroutine(value):
        return  # a value is explained where it is made
    text = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    assert text
    assert not text.startswith(f"{name}("), "the docstring that a dataclass makes up"
    summary = text.strip().splitlines()[0]
    assert summary.endswith((".", ":"))


def test_type_checkers_and_the_interpreter_see_the_same_names() -> None:
    source = Path(unrolled.__file__).read_text(encoding="utf-8")
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    homes: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname is None
            submodule = node.module == "unrolled"
            homes[alias.name] = f"unrolled.{alias.name}" if submodule else str(node.module)
    assert homes == unrolled._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'unrolled' has no attribute 'trian'"):
        _ = unrolled.trian  # type: ignore[attr-defined]
