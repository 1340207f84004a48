"""Saliency, compared with finite differences of the loss, for every task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_models import INPUTS, OTHER, SEQ, SIZES, TEXT, predictor

from unrolled.inspect.example import Example, example_of
from unrolled.inspect.saliency import saliency_of
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("classify", {**SIZES, "n_layers": 2}),
    ("pair", {**SIZES, "encoder": "word_by_word"}),
    ("pair", {**SIZES, "encoder": "bidirectional_conditional"}),
    ("pair", {**SIZES, "encoder": "concatenated"}),
    ("tag", {**SIZES, "char_size": 3}),
    ("translate", {**SEQ}),
    ("translate", {**SEQ, "attention": "none", "bidirectional": False}),
    ("translate", {**SEQ, "copying": "pointer"}),
    ("language_model", {**SIZES, "n_layers": 2}),
    ("language_model", {"hidden_size": 7, "embedding": "one_hot"}),
]
IDS = [f"{name}-{list(model.values())[-1]}" for name, model in MODELS]


def loss_with(one: Any, example: Example, text: int, step: int, scale: float) -> float:
    """The loss if the embedding of one step of one text is multiplied by a number."""
    model, calls = one.model, 0
    name = "embed" if hasattr(model, "embed") else "_embed"
    plain = getattr(model, name)

    def embed(*args: Any) -> Any:
        nonlocal calls
        found = plain(*args)
        if name == "_embed" and len(args) == 2 and args[0] is model.target_embedding:
            return found
        calls += 1
        values = found.values if isinstance(found, Padded) else found
        if calls - 1 == text:
            values = values.clone()
            values[0, step] *= scale
        return Padded(values, found.lengths) if isinstance(found, Padded) else values

    setattr(model, name, embed)
    try:
        with torch.no_grad():
            return float(example.loss(model)[0])
    finally:
        delattr(model, name)


@pytest.mark.parametrize(("name", "model"), MODELS, ids=IDS)
def test_contributions_are_slopes_of_the_loss(name: str, model: dict[str, Any]) -> None:
    one = predictor(name, torch.float64, **model)
    example = example_of(one, INPUTS[name], "no" if name in ("classify", "pair") else None)
    found = saliency_of(one.model, example)
    tokens = [each.tokens for each in found]
    if name == "pair":
        together = [(*TEXT.split(), *OTHER.split())]
        both = [tuple(TEXT.split()), tuple(OTHER.split())]
        assert tokens == (together if model["encoder"] == "concatenated" else both)
    else:
        assert len(found) == 1
    places = [(text, step) for text, each in enumerate(_texts(tokens)) for step in range(len(each))]
    wanted = []
    for text, step in places:
        less, more = (loss_with(one, example, text, step, 1 + share) for share in (-1e-5, 1e-5))
        wanted.append((less - more) / 2e-5)
    given = np.concatenate([each.contributions for each in found])
    assert np.abs(given).max() > 1e-6
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-8)


def _texts(tokens: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The texts as they are embedded; of both as one, the two."""
    n = len(TEXT.split()) + len(OTHER.split())
    if len(tokens) == 1 and len(tokens[0]) == n:
        return [tokens[0][: len(TEXT.split())], tokens[0][len(TEXT.split()) :]]
    return tokens


def test_norms_are_those_of_the_gradient_of_the_embeddings() -> None:
    one = predictor("classify", torch.float64, **SIZES)
    example = example_of(one, TEXT)
    (found,) = saliency_of(one.model, example)
    vectors = one.model.embed(example.batch.texts[0])
    x = vectors.values.detach().requires_grad_()
    logits = one.model.head.logits(one.model.read(Padded(x, vectors.lengths))[0])
    loss = torch.nn.functional.cross_entropy(logits, example.batch.targets[:, 0])
    (gradient,) = torch.autograd.grad(loss, x)
    np.testing.assert_allclose(found.norms, gradient[0].norm(dim=1).numpy(), rtol=1e-9)
    given = -(gradient * x)[0].sum(1).detach().numpy()
    np.testing.assert_allclose(found.contributions, given, rtol=1e-9)


def test_the_model_stays_as_it_is() -> None:
    one = predictor("translate", **SEQ)
    example = example_of(one, TEXT)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    saliency_of(one.model, example)
    assert all(torch.equal(before[name], value) for name, value in one.model.state_dict().items())
    assert all(parameter.grad is None for parameter in one.model.parameters())
