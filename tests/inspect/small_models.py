"""Small models of every task, untrained, as `unrolled.load` would return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import unrolled
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.seq2seq import Predictor
from unrolled.tasks import TASKS
from unrolled.text.rows import Row

TEXT = "the red cat sees the big dog"
OTHER = "a dog sees the cat"
ROWS: Mapping[str, list[tuple[Any, ...]]] = {
    "classify": [(TEXT, "yes"), (OTHER, "no")],
    "pair": [(TEXT, OTHER, "yes"), (OTHER, TEXT, "no")],
    "tag": [(tuple(TEXT.split()), ("D", "A", "N", "V", "D", "A", "N"))],
    "translate": [(TEXT, "el gato rojo ve al perro"), (OTHER, "un perro ve al gato")],
}
INPUTS: Mapping[str, Any] = dict.fromkeys(TASKS, TEXT) | {"pair": (TEXT, OTHER)}


def predictor(
    name: str, dtype: torch.dtype = torch.float32, text_kind: str = "word", **model: Any
) -> Any:
    """An untrained model of a task."""
    task: Any = TASKS[name]
    mapping = {"task": name, "model": model, "text": {"kind": text_kind}, "decoding": {}}
    recipe = unrolled.Recipe.from_mapping(mapping, TASKS)
    torch.manual_seed(11)
    if name == "language_model":
        roles = {"text": task.train_tokenizer([TEXT, OTHER], recipe.text)}
        built = task.build(recipe.model, roles).to(dtype).eval()
        return LanguagePredictor(recipe, task, roles, built)
    rows = [Row(fields, number) for number, fields in enumerate(ROWS[name], start=1)]
    extra = () if name == "translate" else (recipe.data,)
    roles = task.train_tokenizers(rows, recipe.text, *extra)
    if name in ("classify", "pair"):
        roles = task.learn(recipe.model, rows, roles, recipe.data)
    built = task.build(recipe.model, roles).to(dtype).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    kind = Predictor if name == "translate" else LabelPredictor
    return kind(recipe, task, roles, built)


SIZES = {"embedding_size": 5, "hidden_size": 7}
SEQ = {"embedding_size": 5, "hidden_size": 7, "encoder_size": 3}
