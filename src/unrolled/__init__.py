"""Train, inspect and run recurrent sequence models for text, on the machine you have.

>>> import unrolled
>>> translator = unrolled.load("runs/phrasebook")                         # doctest: +SKIP
>>> translator("The old teacher does not read the red books.")            # doctest: +SKIP
'El viejo profesor no lee los libros rojos.'

The names below are imported when they are first used, so that `import unrolled` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled import nn
    from unrolled.decoding.config import DecodingConfig
    from unrolled.errors import (
        ConfigError,
        DataError,
        NonFiniteError,
        RunError,
        UnavailableError,
        UnrolledError,
    )
    from unrolled.hub.pull import pull
    from unrolled.hub.push import push
    from unrolled.inspect.attention import draw_attention
    from unrolled.inspect.attribution import explain_words
    from unrolled.inspect.gradient_flow import inspect_recipe, inspect_run
    from unrolled.inspect.inspected import inspect_text
    from unrolled.inspect.trace import trace_text
    from unrolled.ops import explain, unroll, using
    from unrolled.predictors.code import CodePredictor
    from unrolled.predictors.exporting import export_onnx, export_page
    from unrolled.predictors.labels import LabelledEvaluation, LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.load import (
        load,
        load_code,
        load_labels,
        load_language_model,
        load_queries,
        load_translator,
    )
    from unrolled.predictors.queries import Asked, QueryPredictor
    from unrolled.predictors.seq2seq import Predictor
    from unrolled.shapes import Padded
    from unrolled.tasks import (
        TASKS,
        Answer,
        CodeTask,
        LabelPrediction,
        LabelTask,
        Prediction,
        QueryTask,
        StreamTask,
        Task,
    )
    from unrolled.text.config import TextConfig
    from unrolled.text.corpus.windows import StreamConfig
    from unrolled.text.labels import Labels
    from unrolled.text.splits import DataConfig, LabelData
    from unrolled.text.tokenizer import Tokenizer
    from unrolled.training.config import TrainingConfig
    from unrolled.training.loop import fit, train
    from unrolled.training.recipe import Recipe, recipe_from_toml
    from unrolled.vectors.config import VectorsConfig
    from unrolled.vectors.train import train_vectors
    from unrolled.vectors.word_vectors import WordVectors

_HOME = {
    "nn": "unrolled.nn",
    "TASKS": "unrolled.tasks",
    "Answer": "unrolled.tasks",
    "Asked": "unrolled.predictors.queries",
    "CodePredictor": "unrolled.predictors.code",
    "CodeTask": "unrolled.tasks",
    "ConfigError": "unrolled.errors",
    "DataConfig": "unrolled.text.splits",
    "DataError": "unrolled.errors",
    "DecodingConfig": "unrolled.decoding.config",
    "LabelData": "unrolled.text.splits",
    "LabelPrediction": "unrolled.tasks",
    "LabelPredictor": "unrolled.predictors.labels",
    "LabelTask": "unrolled.tasks",
    "LabelledEvaluation": "unrolled.predictors.labels",
    "Labels": "unrolled.text.labels",
    "LanguagePredictor": "unrolled.predictors.language_model",
    "NonFiniteError": "unrolled.errors",
    "Padded": "unrolled.shapes",
    "Prediction": "unrolled.tasks",
    "Predictor": "unrolled.predictors.seq2seq",
    "QueryPredictor": "unrolled.predictors.queries",
    "QueryTask": "unrolled.tasks",
    "Recipe": "unrolled.training.recipe",
    "RunError": "unrolled.errors",
    "StreamConfig": "unrolled.text.corpus.windows",
    "StreamTask": "unrolled.tasks",
    "Task": "unrolled.tasks",
    "TextConfig": "unrolled.text.config",
    "Tokenizer": "unrolled.text.tokenizer",
    "TrainingConfig": "unrolled.training.config",
    "UnavailableError": "unrolled.errors",
    "UnrolledError": "unrolled.errors",
    "VectorsConfig": "unrolled.vectors.config",
    "WordVectors": "unrolled.vectors.word_vectors",
    "draw_attention": "unrolled.inspect.attention",
    "explain": "unrolled.ops",
    "explain_words": "unrolled.inspect.attribution",
    "export_onnx": "unrolled.predictors.exporting",
    "export_page": "unrolled.predictors.exporting",
    "fit": "unrolled.training.loop",
    "inspect_recipe": "unrolled.inspect.gradient_flow",
    "inspect_run": "unrolled.inspect.gradient_flow",
    "inspect_text": "unrolled.inspect.inspected",
    "load": "unrolled.predictors.load",
    "load_code": "unrolled.predictors.load",
    "load_labels": "unrolled.predictors.load",
    "load_language_model": "unrolled.predictors.load",
    "load_queries": "unrolled.predictors.load",
    "load_translator": "unrolled.predictors.load",
    "pull": "unrolled.hub.pull",
    "push": "unrolled.hub.push",
    "recipe_from_toml": "unrolled.training.recipe",
    "trace_text": "unrolled.inspect.trace",
    "train": "unrolled.training.loop",
    "train_vectors": "unrolled.vectors.train",
    "unroll": "unrolled.ops",
    "using": "unrolled.ops",
}

# Spelled out, because type checkers read it without running anything.
__all__ = [
    "TASKS",
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


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'unrolled' has no attribute '{name}'")
    module = import_module(_HOME[name])
    value = module if name == "nn" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
