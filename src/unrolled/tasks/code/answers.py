"""From a description to code: search, and the choice among the best hypotheses. Nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from unrolled.code.bleu import ling_tokens, sentence_bleu
from unrolled.code.parsing import ProgramLanguage, parses
from unrolled.code.slots import SLOTS, Slotted
from unrolled.config import Range, check_fields
from unrolled.decoding.code_mask import CodeMask
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import MaskProvider
from unrolled.tasks import seq2seq, seq2seq_decoding
from unrolled.tasks.code.examples import SOURCE, TARGET, CodePair
from unrolled.tasks.ensemble import DecoderEnsemble
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.seq2seq_data import Pair
from unrolled.text.config import SPECIALS

Rerank = Literal["none", "parses", "mbr"]


@dataclass(frozen=True)
class CodeDecoding(DecodingConfig):
    """The `[decoding]` section of a recipe for code; other settings are as in `DecodingConfig`.

    Args:
        grammar: whether only what a grammar of Python can complete is written; has no effect on other
            languages, or if tokens are not those of `text.kind = "code"`.
        rerank: which hypothesis of beam search is the answer: the best ("none"); the best that "parses",
            if there is one; or "mbr", the one with the least expected risk: with the highest mean
            similarity to the others, weighted by their probabilities (Kumar and Byrne 2004), among those
            that parse, if there are any. The similarity is smoothed BLEU over tokens.
        prior: run folder of a language model of code, whose log-probabilities are added (shallow fusion,
            Gulcehre et al. 2015); "" for none. Used by `predict` and `evaluate`, not in training.
        prior_weight: weight of its log-probabilities; -1 = chosen on the run's validation part.

    Raises:
        ConfigError: a value is out of range.
    """

    max_length_extra: int = 40
    grammar: bool = False
    rerank: Rerank = "parses"
    prior: str = ""
    prior_weight: Annotated[float, Range(-1, 10)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "decoding")


def decode(
    model: seq2seq.Translator | DecoderEnsemble,
    pairs: Sequence[CodePair],
    tokenizers: Tokenizers,
    config: DecodingConfig,
    with_attention: bool = False,
    *,
    mask: MaskProvider | None = None,
    fuse: seq2seq_decoding.Fuse | None = None,
    language: ProgramLanguage | None = None,
) -> list[Prediction]:
    """Write code for a batch of descriptions. An empty description has no code.

    The hypotheses of a prediction are its answer, then the others by score.

    Args:
        model: the module.
        pairs: encoded descriptions; their code is not used.
        tokenizers: tokenizers by role.
        config: the decoding method and its options.
        with_attention: whether to return attention weights.
        mask: which tokens may come next; replaces the grammar. See `decoding.constrained`.
        fuse: adds a prior to the model.
        language: language of the code, for `decoding.rerank`; None to choose without parsing.
    """
    settings = config if isinstance(config, CodeDecoding) else CodeDecoding(**vars(config))
    searched: DecodingConfig = settings
    if settings.method == "beam" and settings.rerank != "none":
        searched = replace(settings, n_best=settings.beam_size)
    if mask is None and settings.grammar and language == "python":
        mask = _grammar(tokenizers)
    found = seq2seq_decoding.decode(
        model, pairs, tokenizers, searched, with_attention, mask=mask, fuse=fuse
    )
    return [
        rerank(_shown(prediction, pair), settings, language)
        for prediction, pair in zip(found, pairs, strict=True)
    ]


def _grammar(tokenizers: Tokenizers) -> MaskProvider | None:
    """What makes the masks of a grammar of Python; None if tokens are not those of code."""
    source, target = tokenizers[SOURCE], tokenizers[TARGET]
    if target.kind != "code":
        return None
    vocabulary = [
        "" if id_ < len(SPECIALS) else token
        for id_, token in enumerate(target.tokens(range(len(target))))
    ]

    def mask(pairs: Sequence[Pair]) -> CodeMask:
        # The end of a source is never copied.
        copied = [[*(pair.words or source.tokens(pair.source[:-1])), ""] for pair in pairs]
        return CodeMask.of(vocabulary, copied)

    return mask


def _shown(prediction: Prediction, pair: CodePair) -> Prediction:
    """A prediction with the spans of the description in place of their slots."""
    if not pair.spans:
        return prediction
    slots = Slotted("", pair.spans)

    def shown(pieces: Sequence[str]) -> tuple[str, ...]:
        return tuple(slots.span(piece) if piece in SLOTS else piece for piece in pieces)

    return replace(
        prediction,
        text=slots.show(prediction.text),
        source_pieces=shown(prediction.source_pieces),
        hypotheses=tuple(
            replace(each, text=slots.show(each.text), pieces=shown(each.pieces))
            for each in prediction.hypotheses
        ),
    )


def rerank(
    prediction: Prediction, config: CodeDecoding, language: ProgramLanguage | None
) -> Prediction:
    """The prediction with the chosen hypothesis first, and equal texts only once.

    Args:
        prediction: its hypotheses are sorted by score.
        config: says how to choose.
        language: the language, for a parser; None to choose without parsing.
    """
    distinct: dict[str, Answer] = {}
    for answer in prediction.hypotheses:
        distinct.setdefault(answer.text, answer)
    answers = list(distinct.values())
    if config.rerank == "none" or len(answers) < 2:
        return replace(prediction, hypotheses=tuple(answers))
    allowed = list(range(len(answers)))
    if language is not None:
        parsing = [i for i in allowed if answers[i].finished and parses(answers[i].text, language)]
        allowed = parsing or allowed
    place = allowed[0]
    if config.rerank == "mbr":
        similarity = expected_similarity(prediction.hypotheses, [answers[i].text for i in allowed])
        place = allowed[max(range(len(allowed)), key=similarity.__getitem__)]
    answers.insert(0, answers.pop(place))
    best = answers[0]
    return replace(prediction, text=best.text, score=best.score, hypotheses=tuple(answers))


def expected_similarity(hypotheses: Sequence[Answer], texts: Sequence[str]) -> list[float]:
    """For each text, its mean similarity to the hypotheses, weighted by their probabilities.

    The similarity is smoothed BLEU-4 over the tokens of Ling et al. (2016), 0…1. The probabilities are
    those of the hypotheses, normalised to sum to 1.
    """
    most = max(each.log_prob for each in hypotheses)
    weights = [math.exp(each.log_prob - most) for each in hypotheses]
    references = [ling_tokens(each.text) for each in hypotheses]
    return [
        sum(
            weight * _similarity(ling_tokens(text), reference)
            for weight, reference in zip(weights, references, strict=True)
        )
        / sum(weights)
        for text in texts
    ]


def _similarity(tokens: Sequence[str], reference: Sequence[str]) -> float:
    if tokens == reference:
        return 1.0
    weights = [0.25] * min(4, len(reference))
    return sentence_bleu(tokens, [reference], smooth=True, weights=weights) if weights else 0.0
