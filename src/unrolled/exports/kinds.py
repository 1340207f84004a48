"""What an export of each task consists of: graphs, settings for prediction, program, and stand-in model.

A task is exported if it is in `TABLE`. For each, `probe` is called with the model and with the graphs,
and returns what is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.baselines.ngram_scores import NgramScores
from unrolled.errors import ConfigError
from unrolled.exports import classify, language_model, pair, tag, translate
from unrolled.exports.graph import Graph
from unrolled.exports.rounding import Precision
from unrolled.exports.runtime import (
    ExportedLanguageModel,
    ExportedModel,
    ExportedTranslator,
    Session,
)
from unrolled.exports.runtime_labels import ExportedClassifier, ExportedTagger
from unrolled.layers.crf import LinearChainCRF
from unrolled.shapes import Padded
from unrolled.tasks import text_labels
from unrolled.tasks.language_model import reads_backward
from unrolled.tasks.roles import CHARACTERS, LABELS, NGRAMS, Tokenizers
from unrolled.tasks.seq2seq import same_words
from unrolled.tasks.tag import data as tag_data
from unrolled.tasks.task import AnyTask
from unrolled.text.config import BOS_ID, PAD_ID, SPECIALS
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.recipe import Recipe

Settings = Mapping[str, Any]
Traces = Iterator[tuple[str, Tensor]]
"""Names and values of what is compared."""


@dataclass(frozen=True)
class Kind:
    """How a task is exported.

    Args:
        graphs: model, precision → the graphs by the names of their files; raises a `ConfigError` for a
            model that cannot be exported.
        settings: recipe, tokenizers, model, number of tokens of the longest target → `generate.json`.
        program: name of the program in `exports/programs`.
        restored: recipe, tokenizers, settings, graphs, number of parameters → the stand-in model.
        probe: task, model, examples → all that the model computes for these examples.
    """

    graphs: Callable[[Any, Precision], dict[str, Graph]]
    settings: Callable[[Recipe, Tokenizers, Any, int], dict[str, Any]]
    program: str
    restored: Callable[[Recipe, Tokenizers, Settings, Mapping[str, Session], int], ExportedModel]
    probe: Callable[[Any, Any, Sequence[Any]], Traces]


_CHECKED = {
    "sql": "is a valid query of the database at hand",
    "code": "the grammar of the language allows",
}
_INSTEAD = {"sql": "ask", "code": "predict"}
"""For tasks that are not exported: what their search checks, and the command to use."""


def kind_of(task: AnyTask, form: str = "an ONNX export") -> Kind:
    """How a task is exported.

    Args:
        task: the task.
        form: what it is exported as, for messages.

    Raises:
        ConfigError: it cannot be exported; the message says why.
    """
    from unrolled.tasks import TASKS

    exported = ", ".join(TABLE)
    if TASKS.get(task.name) is not task:
        raise ConfigError(
            f"task '{task.name}' is your own, and {form} has a graph built by hand for each kind of "
            f"model; only {exported} can be exported"
        )
    if task.name not in TABLE:
        raise ConfigError(
            f"task '{task.name}' cannot be exported, because its search only writes what "
            f"{_CHECKED[task.name]}, which code that is part of Unrolled checks at every token, so "
            f"{form} would answer differently; answer with 'unrolled {_INSTEAD[task.name]}'"
        )
    return TABLE[task.name]


def check_tokenizers(tokenizers: Tokenizers) -> None:
    """Refuse tokenizers that the library `tokenizers` alone cannot apply.

    Raises:
        ConfigError: a tokenizer is of kind "code" or a class of the user's own.
    """
    for role, words in tokenizers.items():
        if role in (LABELS, NGRAMS):
            continue
        if not isinstance(words, Tokenizer):
            raise ConfigError(f"the tokenizer '{role}' is your own class and cannot be exported")
        if words.code is not None:
            raise ConfigError(
                f"the tokens of '{role}' are tokens of code (text.kind = 'code'), split by rules "
                "that are not in tokenizer.json; runs with another text.kind can be exported"
            )


# Labels of texts


def _label_settings(
    recipe: Recipe, tokenizers: Tokenizers, model: Any, longest: int
) -> dict[str, Any]:
    words, labels, data = tokenizers[text_labels.ROLE], tokenizers[LABELS], recipe.data
    letters, scores = tokenizers.get(CHARACTERS), tokenizers.get(NGRAMS)
    reads, attends = _reads(recipe)
    zero = (~model.embedding.weight.detach().bool().any(1)).nonzero().flatten().tolist()
    return {
        "kind": words.kind,
        "max_length": data.max_length,
        "keep": data.keep,
        "reads": reads,
        "attends": attends,
        "labels": list(labels.names),
        "multi_label": labels.multi_label,
        "thresholds": model.head.thresholds.tolist(),
        "shares": list(labels.shares),
        "unseen": sorted(words.silent.union(zero)),
        "max_characters": 0 if letters is None else data.max_characters,
        "unseen_letters": [] if letters is None else sorted(letters.silent),
        "common": "overlap" in getattr(model.config, "features", ()),
        "share": 0.0 if scores is None else float(model.head.share),
        "part_thresholds": [] if scores is None else model.head.part_thresholds.tolist(),
        "counted": [] if scores is None else _counted_pieces(words, scores),
    }


def _counted_pieces(words: Tokenizer, scores: NgramScores) -> list[list[int]]:
    """For byte pairs, the index of each token among those that are counted, for each text; else []."""
    if words.kind != "bpe":
        return []
    pieces = words.pieces(range(len(words)))
    return [ngrams.indices_of(pieces) for ngrams in scores.counting.ngrams]


def _reads(recipe: Recipe) -> tuple[str, int]:
    """Which texts a graph reads, and whose attention it returns; see `ExportedClassifier`."""
    config: Any = recipe.model
    if recipe.task == "classify":
        return "text", 0 if config.pooling == "attentive" else -1
    joined = "joined" if config.condition == "first" else "reversed"
    controls = {"first_only": "first", "second_only": "second", "concatenated": joined}
    if config.encoder in controls:
        return controls[config.encoder], -1
    attends = config.encoder in ("attention", "word_by_word", "aligned")
    return "both", (0 if config.condition == "first" else 1) if attends else -1


def _classifier(
    recipe: Recipe,
    tokenizers: Tokenizers,
    settings: Settings,
    sessions: Mapping[str, Session],
    n_parameters: int,
) -> ExportedModel:
    labels = tokenizers[LABELS]
    is_known = torch.ones(len(tokenizers[text_labels.ROLE]), dtype=torch.bool)
    is_known[torch.tensor(settings["unseen"], dtype=torch.int64)] = False
    if len(settings["thresholds"]) != len(labels):
        raise ValueError("thresholds")
    scores: NgramScores | None = tokenizers.get(NGRAMS)
    reads, attends = _reads(recipe)
    return ExportedClassifier(
        recipe.model,
        sessions,
        n_parameters,
        reads=reads,
        attends=attends,
        thresholds=settings["thresholds"],
        is_known=is_known,
        multi_label=labels.multi_label,
        counted_bias=None if scores is None else scores.bias,
        share=settings.get("share", 0.0),
        part_thresholds=settings.get("part_thresholds", ()),
    )


def _probe_labels(task: Any, model: Any, examples: Sequence[Any]) -> Traces:
    batch = task.collate(examples)
    hidden, attention = text_labels.read(model, batch)
    yield "logits", model.head.logits(hidden)
    for text, weights in zip(batch.texts, attention, strict=True):
        if weights is not None:
            yield "attention", torch.where(text.mask, weights[:, : text.values.shape[1]], 0.0)


# Tags


def _tag_settings(
    recipe: Recipe, tokenizers: Tokenizers, model: Any, longest: int
) -> dict[str, Any]:
    data = recipe.data
    return {
        "max_length": data.max_length,
        "max_characters": data.max_characters,
        "labels": list(tokenizers[LABELS].names),
    }


def _tagger(
    recipe: Recipe,
    tokenizers: Tokenizers,
    settings: Settings,
    sessions: Mapping[str, Session],
    n_parameters: int,
) -> ExportedModel:
    config: Any = recipe.model
    labels, crf = tokenizers[LABELS], None
    if config.head == "crf":
        is_constrained = (
            config.transitions == "scheme" and labels.scheme and not labels.n_ill_formed
        )
        allowed = tag_data.transitions(labels.names, labels.scheme) if is_constrained else None
        crf = LinearChainCRF(len(labels), allowed)
    return ExportedTagger(config, sessions, n_parameters, crf=crf)


def _probe_tags(task: Any, model: Any, examples: Sequence[Any]) -> Traces:
    yield "logits", model(task.collate(examples))
    if model.crf is not None:
        for name, scores in zip(("start", "transition", "end"), model.crf._scores(), strict=True):
            is_allowed = scores > tag.FORBIDDEN
            yield f"{name} scores", torch.where(is_allowed, scores, 0.0)
            yield f"{name} scores that are allowed", is_allowed.float()


# Running text


def _language_settings(
    recipe: Recipe, tokenizers: Tokenizers, model: Any, longest: int
) -> dict[str, Any]:
    data, words = recipe.data, tokenizers["text"]
    if words.kind == "bpe" and not words.running:
        raise ConfigError(
            "the byte pairs of this language model are those of single sentences, of an older version; "
            "train it again to export it"
        )
    return {
        "kind": words.kind,
        "border": border_of(data),
        "restart": data.restart,
        "reads_back": reads_backward(recipe.model),
    }


def border_of(data: Any) -> str:
    """What stands between documents in a text; "" if a text is one document."""
    borders = {"line": "\n", "paragraph": "\n\n", "separator": f"\n{data.separator}\n"}
    return borders.get(data.documents, "")


def _language_model(
    recipe: Recipe,
    tokenizers: Tokenizers,
    settings: Settings,
    sessions: Mapping[str, Session],
    n_parameters: int,
) -> ExportedModel:
    return ExportedLanguageModel(recipe.model, sessions, n_parameters)


def _probe_stream(task: Any, model: Any, examples: Sequence[Sequence[int]]) -> Traces:
    """Read rows of ids at once from zeros; their first tokens again from there; and one more step."""
    rows = Padded.from_rows(examples, PAD_ID)
    if not rows.values.shape[1]:
        return
    state = model.start(len(examples))
    for name, text in (("", rows), (" after a carried state", _halves(examples))):
        output = model(text, state)
        hidden, state = output.hidden, output.state
        scores = model.head.logits(hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
        yield f"logits{name}", torch.where(text.mask.unsqueeze(2), scores, 0.0)
        yield from _parts(state, name)
    firsts = torch.tensor([row[0] if row else BOS_ID for row in examples])
    hidden, state = model.step(firsts, state)
    yield "logits of one step", model.head.logits(hidden)
    yield from _parts(state, " after one step")


def _halves(rows: Sequence[Sequence[int]]) -> Padded:
    """The first half of each row, and at least one column."""
    halves = [list(row[: len(row) // 2]) for row in rows]
    halves[0] = halves[0] or [BOS_ID]
    return Padded.from_rows(halves, PAD_ID)


def _parts(state: Any, name: str) -> Traces:
    for layer, own in enumerate(state):
        for part, value in zip("hc", own, strict=False):
            yield f"{part} of layer {layer + 1}{name}", value


# Pairs of texts


def _translate_settings(
    recipe: Recipe, tokenizers: Tokenizers, model: Any, longest: int
) -> dict[str, Any]:
    decoding = recipe.decoding.for_answers_of(longest)
    if decoding.method == "sample":
        raise ConfigError(
            "decoding.method is 'sample', and the program of an export searches with a beam; set "
            "decoding.method to 'beam' or 'greedy' in config.toml of the run"
        )
    return {
        "kinds": {role: tokenizers[role].kind for role in ("source", "target")},
        "max_input_length": decoding.max_input_length,
        "max_length_ratio": decoding.max_length_ratio,
        "max_length_extra": decoding.max_length_extra,
        "min_length_limit": decoding.min_length_limit,
        "beam_size": decoding.beam_size if decoding.method == "beam" else 1,
        "n_best": decoding.n_best,
        "length_penalty": decoding.length_penalty,
        "copying": model.config.copying != "none",
    }


def _translator(
    recipe: Recipe,
    tokenizers: Tokenizers,
    settings: Settings,
    sessions: Mapping[str, Session],
    n_parameters: int,
) -> ExportedModel:
    config: Any = recipe.model
    source, target = tokenizers["source"], tokenizers["target"]
    same = None if config.copying == "none" else same_words(source, target)
    return ExportedTranslator(config, sessions, n_parameters, len(target), same)


_N_STEPS = 5


def _probe_translator(task: Any, model: Any, examples: Sequence[Any]) -> Traces:
    """Encode sources; read some words with one hypothesis each, then with three."""
    source = Padded.from_rows([example.source for example in examples], PAD_ID)
    state = model.encode(source)
    yield from _parts(state.layers, " after the source")
    n_words = len(model.head.bias)
    # Where the model copies, ids beyond the vocabulary are steps of the source.
    n_ids = n_words + (source.values.shape[1] if model.config.copying != "none" else 0)
    draw = torch.Generator().manual_seed(1)
    steps, tokens = model.step_model(), torch.full((len(examples), 1), BOS_ID)
    for step in range(_N_STEPS):
        if step == 2:
            state = state.reorder(torch.zeros(len(examples), 3, dtype=torch.int64))
        if step:
            shape = (len(examples), 3 if step >= 2 else 1)
            tokens = torch.randint(min(len(SPECIALS), n_words - 1), n_ids, shape, generator=draw)
        logits, state, attention = steps.step(tokens, state)
        is_possible = logits > -torch.inf
        yield f"possible words of step {step + 1}", is_possible.float()
        yield f"logits of step {step + 1}", torch.where(is_possible, logits, 0.0)
        yield from _parts(state.layers, f" after step {step + 1}")
        if attention is not None:
            real = source.mask.unsqueeze(1)
            yield f"attention of step {step + 1}", torch.where(real, attention, 0.0)


TABLE: dict[str, Kind] = {
    "classify": Kind(classify.graphs, _label_settings, "labels", _classifier, _probe_labels),
    "pair": Kind(pair.graphs, _label_settings, "labels", _classifier, _probe_labels),
    "tag": Kind(tag.graphs, _tag_settings, "tag", _tagger, _probe_tags),
    "language_model": Kind(
        language_model.graphs,
        _language_settings,
        "language_model",
        _language_model,
        _probe_stream,
    ),
    "translate": Kind(
        translate.graphs, _translate_settings, "translate", _translator, _probe_translator
    ),
}
"""The tasks that can be exported."""
