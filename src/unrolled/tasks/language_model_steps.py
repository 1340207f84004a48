"""The weights of a language model as the kernels take them, to generate in one call."""

from __future__ import annotations

from typing import Any

from unrolled.generating import LanguageWeights
from unrolled.layers.head import SampledHead, SoftmaxHead
from unrolled.layers.recurrent import layer_weights
from unrolled.layers.renewal import renewed
from unrolled.ops.searching import kernel_cell
from unrolled.searching import LayerWeights


def kernel_weights(model: Any) -> LanguageWeights | None:
    """The current weights of a `LanguageModel`.

    None if the kernels would not compute what its `step` and its head do: another head, dropped words in
    training mode, or hooks that would see the steps.
    """
    head, embedding, config = model.head, model.embedding, model.config
    if type(head) not in (SoftmaxHead, SampledHead):
        return None
    if model.training and config.word_rate:
        return None
    parts = (model, model.layers, *model.layers.layers, head, embedding)
    if any(part._forward_hooks or part._forward_pre_hooks for part in parts if part is not None):
        return None
    layers = (layer_weights(layer) for layer in model.layers.layers)
    return LanguageWeights(
        cell=kernel_cell(model.layers.kind),
        embedding=None if embedding is None else renewed(embedding).weight,
        scale=model._scale,
        layers=tuple(LayerWeights(w.w_ih, w.w_hh, w.b_ih, w.b_hh) for w in layers),
        precision=model.layers.precision,
        head=renewed(head).weight,
        bias=head.bias,
    )
