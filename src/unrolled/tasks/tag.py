"""Tagging: a tag for each token, as its part of speech, or whether a name begins or goes on there.

A recurrent layer reads the sentence both ways, and what it says at a token gives a score to each tag. The
tag is then chosen by a softmax at each token, or by a linear-chain CRF for the sentence as a whole
(`layers.crf`), as in Lample et al. 2016, "Neural architectures for named entity recognition". A word is
its embedding and, beside it, what a small recurrent layer makes of its characters (section 4.1 there), so
that something is known of a word that was never seen.

Tokens are those of the data, looked up whole. A sentence longer than `data.max_length` is read in pieces
of that length, each without what stands around it: every token has its tag, and the CRF still chooses for
the whole sentence. So nothing is cut away, and nothing of a score either.

Where tags write spans (`metrics.spans`), the scheme is found from the training part: BIO, where spans
begin with B; IOB1, where B only stands between two spans of one type; BIOES, which also marks ends. A CRF
gives no probability to what the scheme does not allow, unless the training part itself holds some of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from unrolled import nn
from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.layers import pretrained
from unrolled.layers.crf import Allowed, LinearChainCRF, allowed_transitions
from unrolled.layers.embedding import Embedding, Tuning
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.metrics.slices import Mistake
from unrolled.metrics.spans import find_scheme, find_spans
from unrolled.metrics.tags import measure_tags, signature, tally_tags
from unrolled.ops.linear import linear
from unrolled.shapes import Float, Padded
from unrolled.tasks import labelled
from unrolled.tasks.classify import check_pretraining
from unrolled.tasks.labelled import ROLE
from unrolled.tasks.task import LABELS, Judged, LabelPrediction, LabelTask, Tokenizers
from unrolled.text.data import DataConfig, Reading, TooLong
from unrolled.text.labels import Labels
from unrolled.text.readers import LIST_SEPARATOR, Row, split_list
from unrolled.text.tokenizer import PAD_ID, SPECIALS, UNK_ID, TextConfig, Tokenizer

CHARACTERS = "characters"
"""The role of the tokenizer of characters."""

Scheme = Literal["auto", "none", "bio", "iob1", "bioes"]

_KINDS = ("word", "space")
_MOST_MISTAKES = 20


@dataclass(frozen=True)
class TagData(DataConfig):
    """Where tagged sentences come from; what is not said here is as in `DataConfig`.

    A file has a token on each line (`text.readers.column_lines`), or is a table whose rows are sentences:
    in JSON lines lists of tokens and of tags, elsewhere both separated by spaces.

    Args:
        columns: the columns of the tokens and of the tags; of a file with a token on each line by their
            numbers, e.g. ["1", "-1"], which is the default.
        max_length: the most tokens that are read at once.
        too_long: whether longer training sentences are left out ("skip"), or read in pieces ("truncate").
        scheme: how tags write spans: "bio", "iob1", "bioes"; "none" for not at all; "auto" finds out.

    Raises:
        ConfigError: a value that cannot be.
    """

    max_length: int = 400
    too_long: TooLong = "truncate"
    scheme: Scheme = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = get_args(Scheme)
        require(self.scheme in choices, "data.scheme", f"one of {', '.join(choices)}", self.scheme)


@dataclass(frozen=True)
class TagConfig:
    """The `[model]` section of a tagging recipe.

    Args:
        head: "crf" chooses the tags of a sentence together, "softmax" each by itself.
        transitions: of a CRF: "scheme" forbids what the scheme of the tags does not allow, where the
            training part keeps to it; "free" forbids nothing.
        cell: the recurrent cell.
        embedding_size: width of the word embeddings.
        char_size: width of the embeddings of characters, and of the states of the layer that reads them
            in each direction; 0 for words alone.
        hidden_size: hidden width of one direction.
        n_layers: recurrent layers.
        bidirectional: whether the sentence is also read from its end.
        dropout_rate: on embeddings, between layers and before the last layer.
        word_rate: chance that a word loses its embedding, wherever it stands in a batch.
        unknown_rate: chance that a word seen once in training is read as unknown, so that the model
            learns what to make of those; its characters stay.
        embeddings, embeddings_missing, embeddings_tuning, embeddings_frozen_epochs,
            embeddings_extra_words: as in `unrolled.tasks.classify.ClassifyConfig`.
    """

    head: Literal["crf", "softmax"] = "crf"
    transitions: Literal["scheme", "free"] = "scheme"
    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    embedding_size: int = 100
    char_size: int = 25
    hidden_size: int = 128
    n_layers: int = 1
    bidirectional: bool = True
    dropout_rate: float = 0.3
    word_rate: float = 0.0
    unknown_rate: float = 0.5
    embeddings: str | None = None
    embeddings_missing: pretrained.Missing = "random"
    embeddings_tuning: Tuning = "trained"
    embeddings_frozen_epochs: int = 0
    embeddings_extra_words: int = 0

    def __post_init__(self) -> None:
        for name in ("embedding_size", "hidden_size", "n_layers"):
            value = getattr(self, name)
            require(value >= 1, f"model.{name}", "at least 1", value)
        require(self.char_size >= 0, "model.char_size", "at least 0", self.char_size)
        for name in ("dropout_rate", "word_rate"):
            value = getattr(self, name)
            require(0 <= value < 1, f"model.{name}", "at least 0 and below 1", value)
        require(0 <= self.unknown_rate <= 1, "model.unknown_rate", "0 to 1", self.unknown_rate)
        check_pretraining(self)


# Data: the vocabularies, the scheme, and a sentence as ids


def train_tokenizers(rows: Sequence[Row], text: TextConfig, data: TagData) -> dict[str, Any]:
    """The vocabularies of words and of characters, and the tags with their scheme.

    Raises:
        ConfigError: tokens that are no words.
        DataError: a sentence without a tag for each token, or a tag that is not of `data.scheme`.
    """
    _check_kind(text)
    sentences, tagged = list[list[str]](), list[list[str]]()
    for row in rows:
        tokens, tags = (split_list(field) for field in row.fields)
        _check_count(tokens, tags, row.line)
        sentences.append(tokens)
        tagged.append(tags)
    labels = Labels.of(chain.from_iterable(tagged))
    if data.scheme not in ("auto", "none"):
        _check_scheme(rows, tagged, labels.names, data.scheme)
    scheme, n_ill_formed = scheme_of(tagged, data.scheme)
    every = list(chain.from_iterable(sentences))
    # Characters are as they are written: a capital is what tells a name.
    letters = TextConfig(kind="char")
    return {
        ROLE: Tokenizer.of_tokens(every, text),
        CHARACTERS: Tokenizer.train(every, letters),
        LABELS: replace(labels, scheme=scheme, n_ill_formed=n_ill_formed),
    }


def _check_kind(text: TextConfig) -> None:
    if text.kind not in _KINDS:
        raise ConfigError(
            f"text.kind is '{text.kind}', but a tag belongs to a whole word; set text.kind to 'word', or "
            "to 'space' where raw text is in tokens already"
        )


def scheme_of(tagged: Sequence[Sequence[str]], asked: str = "auto") -> tuple[str, int]:
    """How tags write spans, "" for not at all; and how many sentences do not keep to it.

    BIO and IOB1 have the same tags: it is the one that more sentences keep to.

    >>> scheme_of([["B-PER", "I-PER", "O", "B-PER"]]), scheme_of([["I-PER", "B-PER", "I-PER"]])
    (('bio', 0), ('iob1', 0))
    >>> scheme_of([["DET", "NOUN"]]), scheme_of([["O", "I-LOC", "O"], ["B-LOC"], ["B-LOC"]])
    (('', 0), ('bio', 1))
    """
    if asked == "none":
        return "", 0
    names = sorted({tag for tags in tagged for tag in tags})
    found = find_scheme(names) if asked == "auto" else asked
    if found is None:
        return "", 0
    choices = ("bio", "iob1") if (asked, found) == ("auto", "bio") else (found,)
    counts = {scheme: _n_ill_formed(tagged, transitions(names, scheme)) for scheme in choices}
    best = min(choices, key=counts.__getitem__)
    return best, counts[best]


def transitions(names: Sequence[str], scheme: str) -> Allowed:
    """What a scheme allows; see `layers.crf.allowed_transitions`.

    In IOB1, B stands only where a span of its type has just ended, and I begins all the others.

    >>> allowed = transitions(["B-PER", "I-PER", "O"], "iob1")
    >>> allowed.starts.tolist(), allowed.steps[:, 0].tolist()
    ([False, True, True], [True, True, False])
    """
    if scheme != "iob1":
        return allowed_transitions(names, scheme)
    parts = [(name[:1], name[2:]) for name in names]
    steps = [
        [letter != "B" or (before != "O" and kind == kind_before) for letter, kind in parts]
        for before, kind_before in parts
    ]
    return Allowed(
        tuple(names),
        torch.tensor([letter != "B" for letter, _ in parts], dtype=torch.bool),
        torch.tensor(steps, dtype=torch.bool).reshape(len(parts), len(parts)),
        torch.ones(len(parts), dtype=torch.bool),
    )


def _n_ill_formed(tagged: Sequence[Sequence[str]], allowed: Allowed) -> int:
    places = {name: place for place, name in enumerate(allowed.labels)}
    return _n_refused(allowed, ([places[tag] for tag in tags] for tags in tagged))


def _n_refused(allowed: Allowed, paths: Iterable[Sequence[int]]) -> int:
    return sum(allowed.why_not(path) is not None for path in paths)


def _check_scheme(
    rows: Sequence[Row], tagged: Sequence[Sequence[str]], names: Sequence[str], scheme: str
) -> None:
    others = set()
    for name in names:
        try:
            find_spans([name], scheme)  # type: ignore[arg-type]
        except DataError:
            others.add(name)
    for row, tags in zip(rows, tagged, strict=True) if others else ():
        for place, tag in enumerate(tags):
            if tag in others:
                letters = "B, I" if scheme != "bioes" else "B, I, E, S"
                raise DataError(
                    f"tag '{tag}' is none of data.scheme = '{scheme}': expected O, or one of {letters} "
                    "with a hyphen and a type; correct it, or set data.scheme = 'none'",
                    line=row.lines[place] if row.lines else row.line,
                )


def _check_count(tokens: Sequence[str], tags: Sequence[str], line: int | None = None) -> None:
    if len(tokens) != len(tags):
        raise DataError(
            f"expected as many tags as there are tokens, {len(tokens):,}; found {len(tags):,}",
            line=line,
        )


@dataclass(frozen=True, eq=False)
class TagExample:
    """One encoded sentence.

    Args:
        tokens: as they are written.
        words: the id of each.
        spellings: the ids of the characters of each.
        tags: the id of each one's tag; None where they are not known.
        piece: the most tokens that are read at once; 0 for all.
        order: in which the tokens are read, where it is not their own; answers go back to their places.
    """

    tokens: tuple[str, ...]
    words: list[int]
    spellings: list[tuple[int, ...]]
    tags: list[int] | None
    piece: int = 0
    order: NDArray[np.int64] | None = None


def encode(fields: Sequence[str], tokenizers: Tokenizers, data: TagData) -> TagExample:
    """A sentence as ids. Without tags, the field may also be text, which is split into tokens."""
    words: Tokenizer = tokenizers[ROLE]
    is_text = len(fields) == 1 and not fields[0].endswith(LIST_SEPARATOR)
    tokens = words.split(fields[0], folded=False) if is_text else split_list(fields[0])
    tags: list[int] | None = None
    if len(fields) > 1:
        names, labels = split_list(fields[1]), tokenizers[LABELS]
        _check_count(tokens, names)
        tags = []
        for place, name in enumerate(names, start=1):
            try:
                tags.append(labels.id_of(name))
            except DataError as error:
                raise DataError(error.problem, line=place) from None
    letters: Tokenizer = tokenizers[CHARACTERS]
    spellings = [tuple(letters.ids_of(unicodedata.normalize("NFC", token))) for token in tokens]
    if () in spellings:
        place = spellings.index(()) + 1
        raise DataError("the token is empty; leave it out, with its tag", line=place)
    return TagExample(tuple(tokens), words.ids_of(tokens), spellings, tags)


def lengths(example: TagExample) -> tuple[int, ...]:
    """Tokens."""
    return (len(example.words),)


def cut(example: TagExample, data: TagData) -> TagExample:
    """The example to be read in pieces of `data.max_length` tokens."""
    return replace(example, piece=data.max_length)


def tokens(example: TagExample) -> list[int]:
    """The ids of the words."""
    return example.words


def shuffle(example: TagExample, random: np.random.Generator) -> TagExample:
    """The example to be read in random order, each answer put back to its token."""
    return replace(example, order=random.permutation(len(example.words)))


def notes(parts: Mapping[str, Sequence[TagExample]], tokenizers: Tokenizers) -> tuple[str, ...]:
    """The scheme of the tags, who does not keep to it, and the share of unknown words."""
    labels: Labels = tokenizers[LABELS]
    told = [f"{len(labels)} tags, each scored by itself: they write no spans"]
    if labels.scheme:
        types = sorted({name[2:] for name in labels if name != "O"})
        shown = ", ".join(types[:8]) + (", …" if len(types) > 8 else "")
        told = [f"{len(labels)} tags, which write spans as {labels.scheme}: {shown}"]
        allowed = transitions(labels.names, labels.scheme)
        for part, examples in parts.items():
            n = _n_refused(allowed, (example.tags or () for example in examples))
            if n:
                so = "a CRF forbids no transition"
                if not labels.n_ill_formed:
                    so = "a CRF gives them no probability, and its loss leaves them out"
                told.append(
                    f"{part}: sentences with tags that {labels.scheme} does not allow: {n:,}; {so}"
                )
    for part, examples in parts.items():
        ids = [id_ for example in examples for id_ in example.words]
        n_unknown = ids.count(UNK_ID)
        if n_unknown:
            told.append(
                f"{part}: {n_unknown / len(ids):.1%} of the tokens are unknown words "
                "(text.vocab_size, text.min_count)"
            )
    return tuple(told)


@dataclass(frozen=True)
class TagBatch:
    """What the loss takes. N tokens of all sentences stand one after another where rows are not needed.

    Args:
        words: `[P, T]` ids of the words of each piece; the pieces of a sentence follow one another.
        places: `[P, T]`, which spelling each word has.
        spellings: `[W, K]` ids of the characters of the different words.
        lengths: `[B]` tokens of each sentence, on the CPU.
        targets: `[N]` ids of the tags; None where they are not known.
    """

    words: Padded
    places: Tensor
    spellings: Padded
    lengths: Tensor
    targets: Tensor | None

    @property
    def n_tokens(self) -> int:
        """Tokens of all sentences."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> TagBatch:
        """The same batch on another device."""
        return TagBatch(
            self.words.to(device),
            self.places.to(device),
            self.spellings.to(device),
            self.lengths,
            None if self.targets is None else self.targets.to(device),
        )


def collate(examples: Sequence[TagExample]) -> TagBatch:
    """Examples → padded ids, each spelling once."""
    numbers: dict[tuple[int, ...], int] = {}
    words, places, targets = list[list[int]](), list[list[int]](), list[int]()
    for example in examples:
        n = len(example.words)
        order = range(n) if example.order is None else example.order.tolist()
        size = example.piece or max(1, n)
        for start in range(0, max(1, n), size):
            piece = order[start : start + size]
            words.append([example.words[place] for place in piece])
            spelled = (example.spellings[place] for place in piece)
            places.append([numbers.setdefault(each, len(numbers)) for each in spelled])
        targets += [example.tags[place] for place in order] if example.tags is not None else []
    is_known = all(example.tags is not None for example in examples)
    return TagBatch(
        Padded.from_rows(words, PAD_ID),
        Padded.from_rows(places).values,
        Padded.from_rows(list(numbers), PAD_ID),
        torch.tensor([len(example.words) for example in examples], dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64) if is_known else None,
    )


# Model


class Spelling(nn.Module):
    """What its characters say of a word: the last states of a layer that reads them both ways.

    Lample et al. 2016, section 4.1.

    Args:
        cell: the recurrent cell.
        n_characters: size of their vocabulary.
        size: width of their embeddings, and of the states of each direction.

    >>> Spelling("lstm", 11, 3)(Padded.from_rows([[4, 5, 7], [6]])).shape
    torch.Size([2, 6])
    """

    def __init__(self, cell: str, n_characters: int, size: int) -> None:
        super().__init__()
        self.embedding = Embedding(n_characters, size)
        self.encoder = RecurrentEncoder(cell, size, size)
        self.output_size = self.encoder.output_size

    def forward(self, spellings: Padded) -> Float[Tensor, "W D"]:
        """`[W, K]` ids of characters → a vector for each word."""
        _, state = self.encoder(Padded(self.embedding(spellings.values), spellings.lengths))
        return state[-1][0]


class Tagger(nn.Module):
    """Words and their spellings, recurrent layers, scores of the tags; a CRF where asked for.

    Attributes:
        seen_once: `[V]`, the words that stand once in the training part.

    Args:
        config: sizes.
        n_words: V.
        n_characters: size of the vocabulary of characters.
        n_labels: C.
        allowed: transitions that a CRF may take; None for all.

    >>> model = Tagger(TagConfig(embedding_size=3, char_size=2, hidden_size=5), 11, 7, 4)
    >>> example = TagExample(("a", "b"), [5, 6], [(4,), (5,)], None)
    >>> model(collate([example, example])).shape
    torch.Size([4, 4])
    """

    seen_once: Tensor

    def __init__(
        self,
        config: TagConfig,
        n_words: int,
        n_characters: int,
        n_labels: int,
        allowed: Allowed | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(
            n_words,
            config.embedding_size,
            tuning=config.embeddings_tuning,
            frozen_epochs=config.embeddings_frozen_epochs,
            word_rate=config.word_rate,
        )
        width = config.embedding_size
        self.spelling: Spelling | None = None
        if config.char_size:
            self.spelling = Spelling(config.cell, n_characters, config.char_size)
            width += self.spelling.output_size
        self.dropout = nn.Dropout(config.dropout_rate)
        self.encoder = RecurrentEncoder(
            config.cell,
            width,
            config.hidden_size,
            n_layers=config.n_layers,
            bidirectional=config.bidirectional,
            dropout_rate=config.dropout_rate,
        )
        self.scorer = labelled.linear_scorer(self.encoder.output_size, n_labels)
        self.crf = LinearChainCRF(n_labels, allowed) if config.head == "crf" else None
        self.register_buffer("seen_once", torch.zeros(n_words, dtype=torch.bool))

    def embed(self, batch: TagBatch) -> Padded:
        """`[P, T, E]`, each word beside what its characters say."""
        ids_PT = batch.words.values
        if self.training and self.config.unknown_rate:
            is_lost_PT = torch.rand(ids_PT.shape, device=ids_PT.device) < self.config.unknown_rate
            ids_PT = torch.where(is_lost_PT & self.seen_once[ids_PT], UNK_ID, ids_PT)
        embedded_PTE = self.embedding(ids_PT)
        if self.spelling is not None and len(batch.spellings.values):
            spelled_PTE = self.spelling(batch.spellings)[batch.places]
            embedded_PTE = torch.cat([embedded_PTE, spelled_PTE], dim=2)
        elif self.spelling is not None:
            embedded_PTE = F.pad(embedded_PTE, (0, self.spelling.output_size))
        return Padded(embedded_PTE, batch.words.lengths)

    def read(self, embedded: Padded) -> Float[Tensor, "N C"]:
        """Embedded pieces → the scores of each real token's tags, unnormalised."""
        encoded, _ = self.encoder(Padded(self.dropout(embedded.values), embedded.lengths))
        hidden_ND = self.dropout(encoded.values[encoded.mask])
        scores_NC = linear(hidden_ND, self.scorer.weight, self.scorer.bias)
        return scores_NC.to(torch.promote_types(scores_NC.dtype, torch.float32))

    def forward(self, batch: TagBatch) -> Float[Tensor, "N C"]:
        """The scores of each token's tags, sentence by sentence."""
        return self.read(self.embed(batch))


def in_rows(values: Tensor, lengths: Tensor) -> Tensor:
    """`[N, …]` of tokens one after another → `[B, T, …]`, zeros in the padding.

    >>> in_rows(torch.tensor([7, 8, 9]), torch.tensor([1, 0, 2])).tolist()
    [[7, 0], [0, 0], [8, 9]]
    """
    mask_BT = _mask(lengths, values.device)
    rows = values.new_zeros(*mask_BT.shape, *values.shape[1:])
    rows[mask_BT] = values
    return rows


def _mask(lengths: Tensor, device: torch.device) -> Tensor:
    T = int(lengths.max()) if len(lengths) else 0
    return (torch.arange(T) < lengths.unsqueeze(1)).to(device)


def build(config: TagConfig, tokenizers: Tokenizers) -> Tagger:
    """A fresh model for these vocabularies and tags.

    Raises:
        ConfigError: tags of which no sentence of some length can be made as their scheme has it.
    """
    labels: Labels = tokenizers[LABELS]
    sizes = len(tokenizers[ROLE]), len(tokenizers[CHARACTERS]), len(labels)
    keeps_to_it = config.transitions == "scheme" and labels.scheme and not labels.n_ill_formed
    if not (config.head == "crf" and keeps_to_it):
        return Tagger(config, *sizes)
    try:
        return Tagger(config, *sizes, transitions(labels.names, labels.scheme))
    except ConfigError as error:
        raise ConfigError(f"{error}: set model.transitions = 'free'") from None


def prepare(model: Tagger, examples: Sequence[TagExample]) -> None:
    """Note which words stand once in the training part.

    Raises:
        DataError: tags that the CRF of another run, which this one starts from, does not allow.
    """
    ids = np.fromiter(chain.from_iterable(example.words for example in examples), np.int64)
    counts_V = np.bincount(ids, minlength=len(model.seen_once))
    counts_V[: len(SPECIALS)] = 0
    model.seen_once.copy_(torch.from_numpy(counts_V == 1))
    allowed = model.crf.allowed if model.crf is not None else None
    if allowed is None:
        return
    for example in examples:
        reason = allowed.why_not(example.tags or ())
        if reason is not None:
            raise DataError(
                f"the sentence '{' '.join(example.tokens[:5])} …': {reason} in the run that this one "
                "starts from; correct it, or begin anew"
            )


# Loss


def loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """−log p of the right tags in nats, summed; and the number of tokens, with a CRF too.

    Of a softmax the sum is over tokens, of a CRF over sentences; the number of tokens is what either is
    divided by, so that batches add up and the two can stand side by side.
    """
    assert batch.targets is not None
    scores_NC = model(batch)
    if model.crf is None:
        return F.cross_entropy(scores_NC, batch.targets, reduction="sum"), len(batch.targets)
    emissions_BTC, tags_BT = (in_rows(each, batch.lengths) for each in (scores_NC, batch.targets))
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths)


def evaluate_loss(model: Tagger, batch: TagBatch) -> tuple[Tensor, int]:
    """The same, of the sentences whose tags have a probability: a scheme may not allow all of them."""
    allowed = model.crf.allowed if model.crf is not None else None
    if model.crf is None or allowed is None:
        return loss(model, batch)
    assert batch.targets is not None
    paths = batch.targets.cpu().split(batch.lengths.tolist())
    is_allowed_B = torch.tensor([allowed.why_not(path.tolist()) is None for path in paths])
    scores_NC = model(batch)
    if not is_allowed_B.any():
        return scores_NC.new_zeros(()), 0
    emissions_BTC, tags_BT = (
        in_rows(each, batch.lengths)[is_allowed_B.to(each.device)]
        for each in (scores_NC, batch.targets)
    )
    return model.crf.loss(emissions_BTC, tags_BT, batch.lengths[is_allowed_B])


# Answers


def answer(
    model: Tagger, examples: Sequence[TagExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """The tags of each sentence, the likeliest together of a CRF; and each one's probabilities."""
    names: tuple[str, ...] = tokenizers[LABELS].names
    batch = collate([replace(example, tags=None) for example in examples])
    batch = batch.to(model.seen_once.device)
    probabilities_NC, best_N = _chosen(model, model(batch), batch.lengths)
    ends = np.cumsum(batch.lengths.numpy())[:-1]
    said = []
    for example, probabilities_TC, best_T in zip(
        examples, np.split(probabilities_NC, ends), np.split(best_N, ends), strict=True
    ):
        if example.order is not None:
            # Token order[t] was read at t.
            back_T = np.argsort(example.order)
            probabilities_TC, best_T = probabilities_TC[back_T], best_T[back_T]
        tags = tuple(names[tag] for tag in best_T.tolist())
        said.append(LabelPrediction(tags, probabilities_TC, (example.tokens,), (None,)))
    return said


def _chosen(
    model: Tagger, scores_NC: Tensor, lengths: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if model.crf is None:
        probabilities_NC, best_N = scores_NC.softmax(1), scores_NC.argmax(1)
    else:
        emissions_BTC = in_rows(scores_NC, lengths)
        mask_BT = _mask(lengths, scores_NC.device)
        probabilities_NC = model.crf.marginals(emissions_BTC, lengths)[mask_BT]
        best_N = model.crf.best(emissions_BTC, lengths)[mask_BT]
    return probabilities_NC.float().cpu().numpy(), best_N.cpu().numpy()


def decide(
    model: Any, examples: Sequence[TagExample], said: list[LabelPrediction], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """Nothing is to be chosen on the validation part."""
    return said


@dataclass(frozen=True)
class TaggedSpan:
    """A span that tags write.

    Args:
        start: its first token, from 0.
        end: the token after its last.
        type: what it is.
        text: its tokens, with spaces between them.
        probability: of its tags, the least; that of all of them together is no larger.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float


def spans_of(prediction: LabelPrediction, labels: Labels) -> list[TaggedSpan]:
    """The spans of an answer, read as conlleval does; none where tags write no spans."""
    if not labels.scheme:
        return []
    sure = probabilities_of(prediction, labels)
    words = prediction.pieces[0]
    return [
        TaggedSpan(start, end, kind, " ".join(words[start:end]), min(sure[start:end]))
        for start, end, kind in find_spans(prediction.labels, labels.scheme)  # type: ignore[arg-type]
    ]


def probabilities_of(prediction: LabelPrediction, labels: Labels) -> list[float]:
    """Of each token's tag."""
    rows = zip(prediction.labels, prediction.probabilities, strict=True)
    return [float(row[labels.id_of(tag)]) for tag, row in rows]


# Scores


def judge(
    model: Any,
    examples: Sequence[TagExample],
    said: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> Judged:
    """Everything that is measured of tags."""
    labels: Labels = tokenizers[LABELS]
    gold = [[labels.names[tag] for tag in example.tags or ()] for example in examples]
    given = [each.labels for each in said]
    return Judged(
        measure_tags(gold, given, labels, [each.probabilities for each in said]),
        tally_tags(gold, given, labels),
        lambda texts: list(_mistakes(examples, gold, said, labels)),
    )


def _mistakes(
    examples: Sequence[TagExample],
    gold: Sequence[Sequence[str]],
    said: Sequence[LabelPrediction],
    labels: Labels,
) -> Iterator[Mistake]:
    """Of each sentence with wrong tags the surest, those of all sentences surest first."""
    found = []
    for index, (right, each) in enumerate(zip(gold, said, strict=True)):
        sure = probabilities_of(each, labels)
        wrong = [place for place, tag in enumerate(each.labels) if tag != right[place]]
        if wrong:
            place = max(wrong, key=sure.__getitem__)
            found.append((-sure[place], index, place))
    for surest, index, place in sorted(found)[:_MOST_MISTAKES]:
        words = list(examples[index].tokens)
        words[place] = f"⟦{words[place]}⟧"
        tags = gold[index][place], said[index].labels[place]
        yield Mistake(index, " ".join(words), *tags, -surest)


def _has_tokens(fields: Sequence[str]) -> bool:
    return bool(split_list(fields[0]))


def _sentence(fields: Sequence[str]) -> Sequence[str]:
    return fields[:1]


def check_beginning(config: TagConfig, text: TextConfig) -> None:
    """Refuse tokens that are no words, and a file of vectors that the embedding cannot begin with."""
    _check_kind(text)
    labelled.check_embeddings(config.embeddings, config.embedding_size, text)


TASK: LabelTask = LabelTask(
    name="tag",
    columns=("tokens", "tags"),
    Config=TagConfig,
    reading=Reading(is_full=_has_tokens, linked=_sentence, lists=True, by_token=True),
    train_tokenizers=train_tokenizers,
    encode=encode,
    lengths=lengths,
    cut=cut,
    collate=collate,
    build=build,
    prepare=prepare,
    loss=loss,
    evaluate_loss=evaluate_loss,
    answer=answer,
    decide=decide,
    judge=judge,
    tokens=tokens,
    shuffle=shuffle,
    signature=signature,
    use='predict {run} "…"',
    Data=TagData,
    extend=labelled.extend,
    begin=labelled.begin,
    check_beginning=check_beginning,
    text={"kind": "word", "vocab_size": 50_000},
    by_token=True,
    when_long="read in pieces of that length",
    notes=notes,
)
