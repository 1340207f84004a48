"""What `classify` and `pair` read beside the ids of tokens: their characters, and counted n-grams.

In the order in which data flows: what is learned from the training part before training (`learned`), the
facts of the tokens of an example (`facts`), those of a batch (`Beside`), and how a model reads them:
`embedded` puts the vector of each word's characters behind its embedding, and `counted` the share of each
token in the scores of the n-grams; `read` takes these shares off again and adds them up behind the hidden
vector, where a `MixedHead` finds them. As every fact belongs to a token, attribution and the removal of a
word work as for embeddings alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.character_ngrams import SHORTEST
from unrolled.baselines.counting import CountedText
from unrolled.baselines.ngram_scores import NgramScores
from unrolled.config import Range
from unrolled.errors import ConfigError, DataError
from unrolled.layers.alignment import in_common
from unrolled.layers.characters import Spellings, with_characters
from unrolled.layers.mixed_head import MixedHead, counts
from unrolled.layers.unknown import count_ids, shares_of, some_unknown
from unrolled.shapes import Float, Padded
from unrolled.tasks.facts import OF_WORDS, TokenFacts, Tokens, truncate
from unrolled.tasks.roles import CHARACTERS, NGRAMS
from unrolled.tasks.spelling import Spelling, distinct, learn_characters
from unrolled.text.config import PAD_ID, TextConfig
from unrolled.text.labels import Labels
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of

Ngrams = Annotated[int, Range(0, 8)]
"""Length of the longest n-grams that are counted, of tokens or of characters."""

LEARNED = ("characters", "ngrams", "ngram_characters", "ngrams_by_first", "class_weights")
"""Settings of `[model]` that determine what is learned before training; see `learned`."""

MOST_COUNTED_LABELS = 1_000


def check(config: Any, text: TextConfig) -> None:
    """Check, before any data are read, that a model can read what its settings name.

    Raises:
        ConfigError: characters are to be read or counted of tokens that are not words, or n-grams of
            single characters are to be counted, or n-grams by first texts, but no n-grams.
        UnavailableError: n-grams are to be counted, and scikit-learn is not installed.
    """
    if config.characters != "none" and text.kind not in OF_WORDS:
        raise ConfigError(
            f"model.characters is '{config.characters}', but text.kind is '{text.kind}', whose tokens "
            "are not words; set text.kind to 'word' or 'space', or model.characters to 'none'"
        )
    if config.ngram_characters and text.kind not in OF_WORDS:
        raise ConfigError(
            f"model.ngram_characters is {config.ngram_characters}, but text.kind is '{text.kind}', whose "
            "tokens are not words; set text.kind to 'word' or 'space', or model.ngram_characters to 0"
        )
    if 0 < config.ngram_characters < SHORTEST:
        raise ConfigError(
            f"model.ngram_characters is {config.ngram_characters}, but the n-grams of characters that "
            f"are counted have at least {SHORTEST}; set it to {SHORTEST} or more, or to 0"
        )
    if counts(config):
        NgramScores.check_available()
    elif getattr(config, "ngrams_by_first", False):
        raise ConfigError(
            "model.ngrams_by_first counts n-grams by the first text, but none are counted; set "
            "model.ngrams or model.ngram_characters, or model.ngrams_by_first to false"
        )


def sizes(tokenizers: Mapping[str, Any]) -> dict[str, Any]:
    """What the constructor of a model needs to know of the tokenizers."""
    letters, scores = tokenizers.get(CHARACTERS), tokenizers.get(NGRAMS)
    return {
        "n_characters": 0 if letters is None else len(letters),
        "counted_bias": None if scores is None else scores.bias,
    }


# What is learned before training


@dataclass(frozen=True)
class TrainingRows:
    """The rows of the training part, from which something is learned before training.

    Args:
        texts: the texts of each row.
        ids: the ids of its labels.
        words: the tokenizer.
        labels: the labels.
    """

    texts: Sequence[Sequence[str]]
    ids: Sequence[Sequence[int]]
    words: Tokenizer
    labels: Labels


def learned(config: Any, rows: TrainingRows, data: LabelData) -> dict[str, Any]:
    """The vocabulary of characters and the scores of n-grams, by role, if the settings ask for them.

    Args:
        config: the `[model]` section.
        rows: the training part.
        data: the `[data]` section.

    Raises:
        ConfigError: n-grams are to be counted in texts in random order.
        DataError: there are too many labels, or no text is short enough.
    """
    found: dict[str, Any] = {}
    if config.characters != "none":
        written = Tokens(rows.words, folded=False)
        tokens = chain.from_iterable(chain.from_iterable(written(row) for row in rows.texts))
        found[CHARACTERS] = learn_characters(tokens, data.max_characters)
    if counts(config):
        found[NGRAMS] = _scores(config, rows, data)
    return found


def _scores(config: Any, rows: TrainingRows, data: LabelData) -> NgramScores:
    if data.word_order == "random" and config.ngrams > 1:
        raise ConfigError(
            f"model.ngrams is {config.ngrams}, but data.word_order is 'random', so that neighbouring "
            "words mean nothing; set model.ngrams to 1, or to 0"
        )
    n_labels = len(rows.labels)
    if n_labels > MOST_COUNTED_LABELS:
        name = "ngrams" if config.ngrams else "ngram_characters"
        raise DataError(
            f"model.{name} is for at most {MOST_COUNTED_LABELS:,} labels, found {n_labels:,}; set it to 0"
        )
    folded = Tokens(rows.words, folded=True)
    examples, given = [], []
    for each, ids in zip(rows.texts, rows.ids, strict=True):
        tokens = list(folded(each))
        if data.too_long == "skip" and max(map(len, tokens)) > data.max_length:
            continue
        examples.append([truncate(side, data) for side in tokens])
        given.append(ids)
    truth_NC = np.zeros((len(given), n_labels), np.bool_)
    for row, ids in enumerate(given):
        truth_NC[row, list(ids)] = True
    return NgramScores.fit(
        examples,
        truth_NC,
        n=config.ngrams,
        characters=config.ngram_characters,
        by_first=getattr(config, "ngrams_by_first", False),
        multi_label=rows.labels.multi_label,
        class_weights=config.class_weights,
    )


# The tokens of a batch


class Counted:
    """The counted tokens of a batch.

    Args:
        rows: for each text of the batch, the tokens of each row, as in `TokenFacts.counted`.
        scores: the scores of n-grams.
    """

    def __init__(self, rows: Sequence[Sequence[CountedText]], scores: NgramScores) -> None:
        self._rows, self._scores = rows, scores

    def shares(self, side: int, n_steps: int) -> Float[Tensor, "B T C"]:
        """The share of each token of a text in the scores, and zeros in the padding."""
        rows = self._scores.token_scores(side, self._rows[side])
        shares_BTC = torch.zeros(len(rows), n_steps, self._scores.n_labels, dtype=torch.float64)
        for row, found_TC in enumerate(rows):
            shares_BTC[row, : len(found_TC)] = torch.from_numpy(found_TC)
        return shares_BTC


@dataclass(frozen=True)
class Beside:
    """What a batch has beside ids.

    Args:
        spellings: the characters of its words; None if they are not read.
        counted: its counted tokens; None if none are.
    """

    spellings: Spellings | None = None
    counted: Counted | None = None

    def to(self, device: torch.device | str) -> Beside:
        """The same on another device."""
        if self.spellings is None:
            return self
        return Beside(self.spellings.to(device), self.counted)


NOTHING = Beside()


def collate_facts(facts: Sequence[TokenFacts | None]) -> Beside:
    """The facts of the tokens of a batch; each distinct word of all its texts is there once."""
    given = [each for each in facts if each is not None]
    if not given:
        return NOTHING
    spellings = counted = None
    if given[0].spellings:
        numbers: dict[Spelling, int] = {}
        places = tuple(
            Padded.from_rows(distinct((each.spellings[side] for each in given), numbers)).values
            for side in range(len(given[0].spellings))
        )
        spellings = Spellings(letters_of(numbers), places)
    scores = given[0].scores
    if scores is not None:
        sides = range(len(given[0].counted))
        counted = Counted([[each.counted[side] for each in given] for side in sides], scores)
    return Beside(spellings, counted)


# What a model reads


def embedded(model: Any, batch: Any, read: Sequence[Padded] | None = None) -> list[Padded]:
    """The words of each text as the network reads them: `[B, T, E]`.

    Args:
        model: the model.
        batch: a `LabelBatch`.
        read: its texts as they are to be read, if some of their words are to be unknown.
    """
    if hasattr(model, "embedded"):  # an export, whose graph does what follows
        own: list[Padded] = model.embedded(batch)
        return own
    texts = [model.embed(text) for text in (batch.texts if read is None else read)]
    spelling = getattr(model, "spelling", None)
    if spelling is not None:
        spellings: Spellings = batch.beside.spellings
        letters = spellings.letters
        if model.training and (rate := model.config.unknown_rate):
            ids_WK = some_unknown(letters.values, model.character_shares, rate)
            letters = Padded(ids_WK, letters.lengths)
        texts = with_characters(texts, spelling, letters, spellings.places)
    if "overlap" in getattr(getattr(model, "config", None), "features", ()):
        texts = [
            _with_columns(text, common_BT.unsqueeze(2))
            for text, common_BT in zip(texts, in_common(*batch.texts), strict=True)
        ]
    return texts


def counted(model: Any, texts: Sequence[Padded], batch: Any) -> list[Padded]:
    """The same texts; if the model counts n-grams, with the shares of each token behind its vector."""
    if not isinstance(getattr(model, "head", None), MixedHead):
        return list(texts)
    scores: Counted = batch.beside.counted
    return [
        _with_columns(text, scores.shares(side, text.values.shape[1]))
        for side, text in enumerate(texts)
    ]


def _with_columns(text: Padded, columns_BTC: Tensor) -> Padded:
    return Padded(torch.cat([text.values, columns_BTC.to(text.values)], dim=2), text.lengths)


def read(model: Any, texts: Sequence[Padded]) -> tuple[Float[Tensor, "B D"], tuple[Any, ...]]:
    """The hidden vectors, with the scores of n-grams behind them, and the attention weights.

    Args:
        model: the model.
        texts: from `counted`.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, MixedHead):
        result: tuple[Tensor, tuple[Any, ...]] = model.read(*texts)
        return result
    n_labels = len(head.class_weights)
    own = [Padded(text.values[:, :, :-n_labels], text.lengths) for text in texts]
    hidden_BD, weights = model.read(*own)
    # Not rounded to the precision of a network in bfloat16.
    scores_BC = head.counted_bias.to(torch.promote_types(hidden_BD.dtype, torch.float32))
    for text in texts[model.sides]:
        shares_BTC = text.values[:, :, -n_labels:]
        scores_BC = scores_BC + torch.where(text.mask.unsqueeze(2), shares_BTC, 0.0).sum(1)
    return torch.cat([hidden_BD, scores_BC.expand(len(hidden_BD), -1)], dim=1), weights


def letters_of(numbers: dict[Spelling, int]) -> Padded:
    """`[W, K]`, the character ids of distinct words."""
    return Padded.from_rows(list(numbers), PAD_ID)


def unknown_shares(words: Iterable[Spelling], n_characters: int, rate: float) -> Tensor:
    """How often each character is to be read as unknown in training; see `layers.unknown.shares_of`."""
    return shares_of(count_ids(chain.from_iterable(words), n_characters), rate)


def set_character_shares(model: Any, examples: Iterable[Any]) -> None:
    """Set how often each character is to be read as unknown in training."""
    if getattr(model, "spelling", None) is None or not model.config.unknown_rate:
        return
    facts = (example.facts for example in examples)
    words = chain.from_iterable(chain.from_iterable(each.spellings for each in facts if each))
    shares = unknown_shares(words, len(model.character_shares), model.config.unknown_rate)
    model.character_shares.copy_(shares)


def describe(tokenizers: Mapping[str, Any]) -> Iterator[str]:
    """Notes on what was learned before training."""
    scores: NgramScores | None = tokenizers.get(NGRAMS)
    if scores is not None:
        yield (
            f"{count_of(len(scores), 'n-gram')} counted beside the network; C = {scores.c:g}, chosen on "
            "the training part"
        )
