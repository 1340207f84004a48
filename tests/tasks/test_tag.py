"""A tagger sees each sentence alone, all of it, and gives each token a tag that its scheme allows."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unrolled.config import from_mapping
from unrolled.errors import ConfigError, DataError
from unrolled.metrics.spans import find_spans
from unrolled.shapes import Padded
from unrolled.tasks.embeddings import EmbeddingsConfig
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import LABELS
from unrolled.tasks.tag.task import (
    CHARACTERS,
    TASK,
    TagConfig,
    TagData,
    TagExample,
    Tagger,
    collate,
    cut,
    in_rows,
    notes,
    prepare,
    probabilities_of,
    scheme_of,
    shuffle,
    spans_of,
    train_tokenizers,
    transitions,
)
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.text.labels import Labels
from unrolled.text.rows import Row

pytestmark = pytest.mark.usefixtures("one_thread")

V, K = 17, 11
NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
C = len(NAMES)
SMALL = TagConfig(embedding_size=5, char_size=2, hidden_size=7, dropout_rate=0.0)


def example(words: list[int], tags: list[int] | None = None) -> TagExample:
    """Words by their ids; the word of id w is spelled by w mod 4 + 1 characters."""
    spellings = [tuple(4 + (word + place) % 7 for place in range(word % 4 + 1)) for word in words]
    return TagExample(tuple(f"w{word}" for word in words), words, spellings, tags)


EXAMPLES = [
    example([4, 5, 6, 7, 8], [1, 3, 4, 0, 2]),
    example([9], [4]),
    example([], []),
    example([16, 4, 5], [0, 1, 3]),
]


def make(scheme: str = "bio", **changes) -> Tagger:
    torch.manual_seed(2)
    allowed = transitions(NAMES, scheme) if scheme else None
    model = Tagger(replace(SMALL, **changes), V, K, C, allowed).double().eval()
    with torch.no_grad():
        if model.crf is not None:
            for weight in model.crf.parameters():
                weight.normal_()
    return model


def gradients(model: Tagger, loss: torch.Tensor) -> dict[str, torch.Tensor | None]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("char_size", [0, 3])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_each_sentence_has_the_loss_and_gradient_it_has_alone(
    head, cell, char_size, bidirectional
) -> None:
    options = {"cell": cell, "char_size": char_size, "bidirectional": bidirectional}
    model = make(head=head, n_layers=2, **options)
    together, count = TASK.loss(model, collate(EXAMPLES))
    parts = [TASK.loss(model, collate([each])) for each in EXAMPLES]
    assert count == sum(n for _, n in parts) == 9
    alone = torch.stack([part for part, _ in parts]).sum()
    torch.testing.assert_close(together, alone)
    found, wanted = gradients(model, together), gradients(model, alone)
    for name, gradient in found.items():
        if gradient is None:
            assert wanted[name] is None, name
        else:
            torch.testing.assert_close(gradient, wanted[name], msg=name)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_convolved_sentences_have_the_gradient_they_have_alone(window) -> None:
    model = make(characters="convolution", char_filters=3, char_window=window)
    assert model.encoder.recurrent.input_size == 5 + 3
    together, _ = TASK.loss(model, collate(EXAMPLES))
    alone = torch.stack([TASK.loss(model, collate([each]))[0] for each in EXAMPLES]).sum()
    torch.testing.assert_close(together, alone)
    found, wanted = gradients(model, together), gradients(model, alone)
    for name, gradient in found.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, wanted[name], msg=name)
            assert gradient.any() or not name.startswith("spelling."), name


def test_no_characters_are_those_of_size_zero() -> None:
    models = [make(char_size=0), make(characters="none")]
    assert [model.spelling for model in models] == [None, None]
    losses = [TASK.loss(model, collate(EXAMPLES))[0] for model in models]
    assert torch.equal(*losses)


def test_the_softmax_has_the_cross_entropy_of_each_token() -> None:
    model = make(head="softmax")
    loss, count = TASK.loss(model, collate(EXAMPLES))
    logs = model(collate(EXAMPLES)).log_softmax(1)
    tags = [tag for each in EXAMPLES for tag in each.tags]
    assert count == 9
    torch.testing.assert_close(loss, -sum(logs[n, tag] for n, tag in enumerate(tags)))


@pytest.mark.parametrize("scheme", ["", "bio", "iob1"])
def test_the_crf_loss_is_over_all_allowed_paths(scheme) -> None:
    model = make(scheme)
    tags = {"": [1, 2, 0], "bio": [1, 3, 0], "iob1": [3, 1, 2]}[scheme]
    loss, count = TASK.loss(model, collate([EXAMPLES[1], example([4, 9, 5], tags)]))
    scores = model(collate([EXAMPLES[1], example([4, 9, 5])])).tolist()
    start, step, end = (
        weight.tolist()
        for weight in (model.crf.start_weight, model.crf.transition_weight, model.crf.end_weight)
    )
    allowed = transitions(NAMES, scheme) if scheme else None
    nats = 0.0
    for rows, right in ((scores[:1], [4]), (scores[1:], tags)):
        weights = {
            path: math.exp(
                start[path[0]]
                + end[path[-1]]
                + sum(row[tag] for row, tag in zip(rows, path, strict=True))
                + sum(step[a][b] for a, b in pairwise(path))
            )
            for path in product(range(C), repeat=len(rows))
            if allowed is None or allowed.why_not(path) is None
        }
        nats -= math.log(weights[tuple(right)] / sum(weights.values()))
    assert count == 4
    assert loss.item() == pytest.approx(nats, rel=1e-10)


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_padding_cannot_be_seen(head) -> None:
    model = make(head=head)
    batch = collate(EXAMPLES)
    embedded = model.embed(batch)
    poisoned = embedded.values.masked_fill(~batch.words.mask.unsqueeze(2), torch.nan)
    scores = model.read(embedded)
    again = model.read(Padded(poisoned, embedded.lengths))
    torch.testing.assert_close(again, scores, rtol=0, atol=0)


def test_the_order_of_the_words_decides() -> None:
    model = make(head="softmax")
    there, back = (model(collate([example(words)])) for words in ([4, 5, 6], [6, 5, 4]))
    assert not torch.allclose(there[1], back[1])


def test_a_word_is_its_embedding_and_character_states() -> None:
    model = make()
    embedded = model.embed(collate(EXAMPLES))
    for row, each in enumerate(EXAMPLES):
        for place, (word, spelling) in enumerate(zip(each.words, each.spellings, strict=True)):
            torch.testing.assert_close(
                embedded.values[row, place, :5], model.embedding.weight[word]
            )
            alone = model.spelling(Padded.from_rows([spelling]))[0]
            torch.testing.assert_close(embedded.values[row, place, 5:], alone)
    assert len(collate(EXAMPLES).spellings.values) == 7  # of 9 tokens, two stand twice


@pytest.mark.parametrize(
    "changes", [{"char_size": 0}, {"char_size": 2}, {"characters": "convolution"}]
)
def test_a_batch_of_nothing_but_empty_sentences_has_no_loss(changes) -> None:
    model = make(**changes)
    loss, count = TASK.loss(model, collate([EXAMPLES[2], EXAMPLES[2]]))
    assert (loss.item(), count) == (0.0, 0)
    loss, count = TASK.evaluate_loss(model, collate([EXAMPLES[2]]))
    assert (loss.item(), count) == (0.0, 0)


# Long sentences


def test_a_long_sentence_is_read_in_pieces() -> None:
    model = make(head="softmax")
    words = [4, 5, 6, 7, 8, 9, 10, 11]
    long = cut(example(words), TagData(max_length=3))
    scores = model(collate([EXAMPLES[0], long, EXAMPLES[1]]))
    pieces = [model(collate([example(words[at : at + 3])])) for at in (0, 3, 6)]
    assert len(scores) == 5 + 8 + 1
    torch.testing.assert_close(scores[5:13], torch.cat(pieces))
    assert TASK.lengths(long) == (8,)


def test_a_crf_chooses_for_the_whole_of_a_long_sentence() -> None:
    model = make()
    tags = [1, 3, 3, 4, 0, 2, 4]
    whole = cut(example([4, 5, 6, 7, 8, 9, 10], tags), TagData(max_length=2))
    emissions = in_rows(model(collate([whole])), torch.tensor([7]))
    wanted, _ = model.crf.loss(emissions, torch.tensor([tags]), torch.tensor([7]))
    loss, count = TASK.loss(model, collate([EXAMPLES[1], whole]))
    torch.testing.assert_close(loss, wanted + TASK.loss(model, collate([EXAMPLES[1]]))[0])
    assert count == 8
    # A span may go on over the end of a piece.
    best = model.crf.best(emissions, torch.tensor([7]))[0].tolist()
    assert model.crf.allowed.why_not(best) is None


def test_50_000_tokens_have_a_tag_each() -> None:
    model = make(head="softmax")
    long = cut(example([4 + n % 13 for n in range(50_000)]), TagData(max_length=400))
    with torch.inference_mode():
        (said,) = TASK.predict(model, [long], tokenizers())
    assert len(said.labels) == 50_000
    assert said.n_truncated == 0
    assert said.probabilities.shape == (50_000, C)


# Words


def tokenizers(scheme: str = "bio") -> dict[str, object]:
    return {LABELS: Labels(NAMES, scheme=scheme), "text": range(V), CHARACTERS: range(K)}


def test_the_rarer_a_word_the_oftener_it_is_unknown() -> None:
    model = make(unknown_rate=1.0)
    prepare(model, {"train": EXAMPLES, "valid": []})
    shares = {id_: share for id_, share in enumerate(model.seen_once.tolist()) if share}
    assert shares == {4: 0.5, 5: 0.5, 6: 1.0, 7: 1.0, 8: 1.0, 9: 1.0, 16: 1.0}
    prepare(model, {"train": [*EXAMPLES, example([UNK_ID], [4])], "valid": []})
    assert model.seen_once[9] == pytest.approx(1 - 1 / 7)  # one of seven is there of itself


def test_a_word_read_as_unknown_keeps_its_characters() -> None:
    model = make(unknown_rate=1.0)
    model.seen_once[[6, 7, 8, 9, 16]] = 1.0
    batch = collate(EXAMPLES)
    plain = model.embed(batch).values
    lost = model.train().embed(batch).values
    once = model.seen_once[batch.words.values].bool() & batch.words.mask
    assert once.sum() == 5
    unknown = model.embedding.weight[UNK_ID].expand(5, -1)
    torch.testing.assert_close(lost[once][:, :5], unknown)
    torch.testing.assert_close(lost[..., 5:], plain[..., 5:])
    torch.testing.assert_close(lost[~once], plain[~once])
    model.config = replace(model.config, unknown_rate=0.25)
    torch.manual_seed(3)
    many = collate([example([9] * 4000)])
    share = (model.embed(many).values[0, :, :5] == unknown[0]).all(1).double().mean()
    assert float(share) == pytest.approx(0.25, abs=0.03)


def test_characters_are_read_as_unknown_too() -> None:
    model = make(unknown_rate=1.0)
    prepare(model, {"train": EXAMPLES, "valid": []})
    assert ((model.unknown_shares > 0).nonzero().flatten() >= 4).all()
    model.seen_once.zero_()
    model.unknown_shares[4:] = 1.0
    lost = model.train().embed(collate(EXAMPLES)).values
    unread = [replace(e, spellings=[(UNK_ID,) * len(s) for s in e.spellings]) for e in EXAMPLES]
    torch.testing.assert_close(lost, model.eval().embed(collate(unread)).values)


TOKENS = ["Ann", "runs", "in", "Ulan Bator", "."]
TAGS = ["B-PER", "O", "O", "B-LOC", "O"]


def row(tokens: list[str], tags: list[str], line: int = 1, by_line: bool = False) -> Row:
    lines = range(line, line + len(tokens)) if by_line else ()
    return Row((tuple(tokens), tuple(tags)), line, lines)


def test_tokens_are_looked_up_whole() -> None:
    found = train_tokenizers([row(TOKENS, TAGS)], TextConfig(kind="word"), TagData())
    one = TASK.encode(
        row(["Ulan Bator", "Ulan", "don't", "Ann"], ["O"] * 4).fields, found, TagData()
    )
    assert one.words == [
        found["text"].id_of("Ulan Bator"),
        UNK_ID,
        UNK_ID,
        found["text"].id_of("Ann"),
    ]
    assert [len(spelling) for spelling in one.spellings] == [10, 4, 5, 3]
    assert UNK_ID in one.spellings[2]  # no d in training
    assert found[LABELS] == Labels(("B-LOC", "B-PER", "O"), scheme="bio")


def test_upper_case_is_folded_in_words_and_kept_in_characters() -> None:
    rows = [row(["Ann", "ann"], ["B-PER", "O"])]
    found = train_tokenizers(rows, TextConfig(kind="space", lowercase=True), TagData())
    one = TASK.encode(rows[0].fields, found, TagData())
    assert one.words[0] == one.words[1] != UNK_ID
    assert one.spellings[0] != one.spellings[1]
    assert one.tokens == ("Ann", "ann")


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        ("space", ("Ann's", "in", "Ulan", "Bator.")),
        ("word", ("Ann", "'s", "in", "Ulan", "Bator", ".")),
    ],
)
def test_raw_text_is_split_as_the_recipe_says(kind, tokens) -> None:
    found = train_tokenizers([row(TOKENS, TAGS)], TextConfig(kind=kind), TagData())
    assert TASK.encode(["Ann's in Ulan Bator."], found, TagData()).tokens == tokens
    assert TASK.encode([("Ulan Bator",)], found, TagData()).tokens == ("Ulan Bator",)
    assert TASK.encode([""], found, TagData()).words == []


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_parts_of_words_are_refused(kind) -> None:
    with pytest.raises(ConfigError) as caught:
        train_tokenizers([row(TOKENS, TAGS)], TextConfig(kind=kind), TagData())
    assert str(caught.value) == (
        f"text.kind is '{kind}', but a tag belongs to a whole word; set text.kind to 'word', or to "
        "'space' if raw text is already split into tokens"
    )


def test_another_number_of_tags_than_tokens_is_refused() -> None:
    found = train_tokenizers([row(TOKENS, TAGS)], TextConfig(kind="word"), TagData())
    with pytest.raises(DataError) as caught:
        TASK.encode((("a", "b"), ("O",)), found, TagData())
    assert str(caught.value) == "expected one tag per token (2), found 1"
    with pytest.raises(DataError) as caught:
        train_tokenizers([row(TOKENS, TAGS), row(["a"], [], line=8)], TextConfig("word"), TagData())
    assert str(caught.value) == "line 8: expected one tag per token (1), found 0"


def test_an_unseen_tag_and_an_empty_token_are_located() -> None:
    found = train_tokenizers([row(TOKENS, TAGS)], TextConfig(kind="word"), TagData())
    with pytest.raises(DataError) as caught:
        TASK.encode(row(["a", "b", "c"], ["O", "O", "B-LOK"]).fields, found, TagData())
    assert caught.value.line == 3
    assert caught.value.problem == (
        "label 'B-LOK' is not among the training labels (B-LOC, B-PER, O); did you mean 'B-LOC'?"
    )
    with pytest.raises(DataError) as caught:
        TASK.encode(row(["a", ""], ["O", "O"]).fields, found, TagData())
    assert str(caught.value) == "line 2: the token is empty; remove it and its tag"


# The scheme


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("bio", ("B-X", "B-Y", "I-X", "I-Y", "O")),
        ("iob1", ("B-X", "B-Y", "I-X", "I-Y", "O")),
        ("bioes", ("B-X", "E-X", "I-X", "O", "S-X", "S-Y", "E-Y")),
        ("bilou", ("B-X", "L-X", "I-X", "O", "U-X", "U-Y", "L-Y")),
        ("bio", ("B", "I", "O")),
        ("iob1", ("B", "I", "O")),
        ("bilou", ("B", "I", "L", "O", "U")),
    ],
)
def test_allowed_is_what_the_strict_reading_loses_nothing_of(scheme, names) -> None:
    allowed = transitions(names, scheme)
    for n in (1, 2, 3, 4):
        for path in product(range(len(names)), repeat=n):
            tags = [names[tag] for tag in path]
            in_spans = sum(end - start for start, end, _ in find_spans(tags, scheme, "strict"))
            is_whole = in_spans == n - tags.count("O")
            assert (allowed.why_not(path) is None) == is_whole, tags


@pytest.mark.parametrize(
    ("tagged", "asked", "found"),
    [
        ([["B-A", "I-A"], ["O", "B-A", "B-A"]], "auto", ("bio", 0)),
        ([["I-A", "I-A"], ["O", "I-A", "B-A"]], "auto", ("iob1", 0)),
        ([["I-A", "O"]], "auto", ("iob1", 0)),
        ([["B-A", "O"], ["O", "I-A"], ["B-A", "I-A"]], "auto", ("bio", 1)),
        ([["S-A", "O"], ["B-A", "I-A", "E-A"]], "auto", ("bioes", 0)),
        ([["S-A", "O"], ["B-A", "O"]], "auto", ("bioes", 1)),
        ([["U-A", "O"], ["B-A", "I-A", "L-A"]], "auto", ("bilou", 0)),
        ([["B", "I", "O"], ["B", "B"]], "auto", ("bio", 0)),
        ([["I", "B", "O"], ["O", "I"]], "auto", ("iob1", 0)),
        ([["NOUN", "VERB"]], "auto", ("", 0)),
        ([["B-A", "I-A"]], "none", ("", 0)),
        ([["B-A", "I-A"], ["B-A"]], "iob1", ("iob1", 2)),
        ([["O", "O"]], "auto", ("", 0)),
    ],
)
def test_the_scheme_is_found(tagged, asked, found) -> None:
    assert scheme_of(tagged, asked) == found


def test_a_tag_outside_the_scheme_names_its_line() -> None:
    rows = [row(TOKENS, TAGS, 1, by_line=True), row(["a", "b"], ["O", "NOUN"], 7, by_line=True)]
    with pytest.raises(DataError) as caught:
        train_tokenizers(rows, TextConfig(kind="word"), TagData(scheme="bio"))
    assert str(caught.value) == (
        "line 8: tag 'NOUN' is not valid for data.scheme = 'bio': expected O, or one of B, I followed "
        "by a hyphen and a type; correct it, or set data.scheme = 'none'"
    )
    assert train_tokenizers(rows, TextConfig(kind="word"), TagData())[LABELS].scheme == ""


@pytest.mark.parametrize(
    ("labels", "changes", "is_restricted"),
    [
        (Labels(NAMES, scheme="bio"), {}, True),
        (Labels(NAMES, scheme="iob1"), {}, True),
        (Labels(NAMES, scheme="bio"), {"transitions": "free"}, False),
        (Labels(NAMES, scheme="bio", n_ill_formed=1), {}, False),
        (Labels(NAMES), {}, False),
    ],
)
def test_a_crf_is_restricted_where_training_keeps_to_the_scheme(
    labels, changes, is_restricted
) -> None:
    model = TASK.build(replace(SMALL, **changes), {**tokenizers(), LABELS: labels})
    assert (model.crf.allowed is not None) == is_restricted
    softmax = TASK.build(
        replace(SMALL, head="softmax", **changes), {**tokenizers(), LABELS: labels}
    )
    assert softmax.crf is None


def test_a_scheme_without_a_way_through_is_refused() -> None:
    labels = Labels(("B-A", "E-A"), scheme="bioes")
    with pytest.raises(ConfigError, match=r"no path is allowed for rows of 1 label of B-A, E-A"):
        TASK.build(SMALL, {**tokenizers(), LABELS: labels})


def test_the_loss_leaves_out_sentences_the_scheme_forbids() -> None:
    model = make()
    ill = example([4, 5], [4, 3])  # I-PER after O
    wanted, count = TASK.evaluate_loss(model, collate(EXAMPLES))
    found = TASK.evaluate_loss(model, collate([ill, *EXAMPLES, ill]))
    torch.testing.assert_close(found[0], wanted)
    assert found[1] == count == 9
    loss, count = TASK.evaluate_loss(model, collate([ill]))
    assert (loss.item(), count) == (0.0, 0)
    parts = {"train": EXAMPLES, "valid": [ill, ill]}
    with pytest.raises(DataError) as caught:
        prepare(model, parts)
    assert str(caught.value) == (
        "every sentence of the validation part violates the tagging scheme of the training part (in the "
        "first, label 2 is 'I-PER' and cannot follow 'O'), so a CRF gives them probability 0; "
        "correct them, or set model.transitions = 'free'"
    )
    prepare(model, {**parts, "valid": [ill, EXAMPLES[1]]})
    prepare(make(""), parts)
    free = make("")
    torch.testing.assert_close(
        *(f(free, collate([ill]))[0] for f in (TASK.loss, TASK.evaluate_loss))
    )
    with pytest.raises(DataError) as caught:
        prepare(model, {"train": [*EXAMPLES, ill], "valid": []})
    assert str(caught.value).startswith(
        "the tags of sentence 'w4 w5 …' are not allowed in the run that this one starts from (label 2 "
        "is 'I-PER' and cannot follow"
    )


def test_tags_without_types_are_told_as_such() -> None:
    labels = Labels(("B", "I", "O"), scheme="bio")
    parts = {"train": [example([4, 5], [0, 1])], "valid": []}
    assert notes(parts, {**tokenizers(), LABELS: labels}) == (
        "3 tags in the BIO scheme; spans have no types",
    )


@pytest.mark.parametrize("scheme", ["", "bio", "iob1"])
def test_scores_to_choose_by_are_those_that_are_measured(scheme) -> None:
    model, roles = make(head="softmax"), tokenizers(scheme)
    with torch.inference_mode():
        said = TASK.predict(model, EXAMPLES, roles)
    judged = TASK.evaluate(model, EXAMPLES, said, roles)
    assert TASK.scores(roles) == tuple(judged.scores())
    assert "tally" not in vars(judged)  # made when it is asked for
    assert judged.tally.n_examples == len(EXAMPLES)


def test_what_there_is_to_know_of_the_parts_is_told() -> None:
    parts = {"train": [*EXAMPLES, example([UNK_ID], [4])], "valid": [example([4, 5], [4, 3])]}
    assert notes(parts, tokenizers()) == (
        "5 tags in the BIO scheme; span types: LOC, PER",
        "valid: sentences whose tags violate the BIO scheme: 1; a CRF gives them probability 0, and "
        "its loss excludes them",
        "train: 10.0% of the tokens are unknown words (text.vocab_size, text.min_count)",
    )
    assert (
        notes(parts, tokenizers(""))[0]
        == "5 tags that do not encode spans; each tag is scored separately"
    )
    labels = {LABELS: Labels(NAMES, scheme="iob1", n_ill_formed=2)}
    assert notes({"train": EXAMPLES}, labels)[1] == (
        "train: sentences whose tags violate the IOB1 scheme: 2; a CRF therefore allows every transition"
    )


# Answers


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_each_token_has_a_tag_and_probabilities(head) -> None:
    model = make(head=head)
    with torch.inference_mode():
        said = TASK.predict(model, EXAMPLES, tokenizers())
        alone = [TASK.predict(model, [each], tokenizers())[0] for each in EXAMPLES]
    for one, other, each in zip(said, alone, EXAMPLES, strict=True):
        n = len(each.words)
        assert len(one.labels) == n
        assert one.labels == other.labels
        assert one.pieces == (each.tokens,)
        assert one.probabilities.shape == (n, C)
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.probabilities.sum(1), 1, rtol=0, atol=1e-6)
        if head == "softmax":
            assert one.labels == tuple(NAMES[best] for best in one.probabilities.argmax(1))


def test_a_crf_answers_with_the_likeliest_path_and_its_marginals() -> None:
    model = make()
    one = example([4, 9, 5])
    allowed = transitions(NAMES, "bio")
    paths = [path for path in product(range(C), repeat=3) if allowed.why_not(path) is None]
    with torch.inference_mode():
        (said,) = TASK.predict(model, [one], tokenizers())
        emissions = model(collate([one])).expand(len(paths), -1, -1)
        n_tokens = torch.full((len(paths),), 3)
        chances = model.crf.log_prob(emissions, torch.tensor(paths), n_tokens).exp().numpy()
    assert chances.sum() == pytest.approx(1)
    assert said.labels == tuple(NAMES[tag] for tag in paths[int(chances.argmax())])
    marginals = np.zeros((3, C))
    for path, chance in zip(paths, chances, strict=True):
        marginals[range(3), path] += chance
    np.testing.assert_allclose(said.probabilities, marginals, rtol=0, atol=1e-6)


def test_tags_of_shuffled_words_are_in_original_order() -> None:
    model = make(head="softmax")
    one = EXAMPLES[0]
    other = shuffle(one, tokenizers(), np.random.default_rng(5))
    order = other.order.tolist()
    assert sorted(order) == [0, 1, 2, 3, 4] != order
    read = example([one.words[place] for place in order])
    with torch.inference_mode():
        found, wanted = TASK.predict(model, [other, read], tokenizers())
    for t, place in enumerate(order):
        np.testing.assert_allclose(found.probabilities[place], wanted.probabilities[t], rtol=1e-6)
        assert found.labels[place] == wanted.labels[t]
    assert found.pieces == (one.tokens,)


def test_spans_have_position_text_and_least_probability() -> None:
    tags = ("B-PER", "I-PER", "O", "B-LOC", "I-PER")
    rows = np.full((5, C), 0.01, np.float32)
    for place, (tag, p) in enumerate(zip(tags, (0.9, 0.8, 0.5, 0.7, 0.6), strict=True)):
        rows[place, NAMES.index(tag)] = p
    said = LabelPrediction(tags, rows, (("Ann", "Lee", "in", "Oslo", "Ann"),), (None,))
    found = [
        (s.start, s.end, s.type, s.text, round(s.probability, 6))
        for s in spans_of(said, Labels(NAMES, scheme="bio"))
    ]
    assert found == [
        (0, 2, "PER", "Ann Lee", 0.8),
        (3, 4, "LOC", "Oslo", 0.7),
        (4, 5, "PER", "Ann", 0.6),
    ]
    assert spans_of(said, Labels(NAMES)) == []
    assert probabilities_of(said, Labels(NAMES)) == pytest.approx([0.9, 0.8, 0.5, 0.7, 0.6])


# Scores


def test_the_surest_mistakes_come_first_each_with_its_sentence() -> None:
    examples = [
        example(each.words, tags)
        for each, tags in zip(EXAMPLES, ([1, 3, 4, 0, 2], [4], [], [4, 4, 4]), strict=True)
    ]
    said = []
    for each, tags, sure in zip(
        examples, ([1, 3, 4, 1, 3], [0], [], [4, 4, 4]), (0.6, 0.9, 0.0, 0.9), strict=True
    ):
        rows = np.full((len(tags), C), 0.01, np.float32)
        rows[range(len(tags)), tags] = sure
        names = tuple(NAMES[tag] for tag in tags)
        said.append(LabelPrediction(names, rows, (each.tokens,), (None,)))
    found = TASK.evaluate(make(), examples, said, tokenizers()).mistakes([""] * 4)
    assert [(m.index, m.text, m.gold, m.predicted) for m in found] == [
        (1, "⟦w9⟧", "O", "B-LOC"),
        (0, "w4 w5 w6 ⟦w7⟧ w8", "B-LOC", "B-PER"),
    ]
    assert [m.probability for m in found] == pytest.approx([0.9, 0.6])


# Settings


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": 0}, "model.hidden_size must be at least 1, got 0"),
        ({"char_size": -1}, "model.char_size must be at least 0, got -1"),
        ({"unknown_rate": 1.5}, "model.unknown_rate must be at least 0 and at most 1, got 1.5"),
        ({"word_rate": 1.0}, "model.word_rate must be at least 0 and below 1, got 1.0"),
        (
            {"embeddings": EmbeddingsConfig(tuning="frozen")},
            "model.embeddings.tuning is 'frozen', but randomly initialised embeddings must be trainable; "
            "name a file of vectors in model.embeddings.file",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        TagConfig(**changes)
    assert str(caught.value) == sentence


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.scheme: .*'auto'.*'bilou', got 'bmes'"):
        from_mapping(TagData, {"scheme": "bmes"}, "data")


def test_frozen_embeddings_and_the_rest_learn_as_they_should() -> None:
    model = make(embeddings=EmbeddingsConfig("v.txt", tuning="frozen")).train()
    loss, _ = TASK.loss(model, collate(EXAMPLES))
    loss.backward()
    learned = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert "embedding.weight" not in learned
    assert {"spelling.embedding.weight", "scorer.weight", "crf.transition_weight"} <= learned
    assert F.relu(model.scorer.weight.grad).sum() > 0


def test_no_more_characters_of_a_word_are_read_than_the_limit() -> None:
    words = ["Ann", "abcdefgh", "x" * 3_000_000, "e\u0301" * 5]
    found = train_tokenizers([row(words, ["O", "B-X", "O", "O"])], TextConfig("word"), TagData())
    data = TagData(max_characters=5)
    one = TASK.encode([tuple(words)], found, data)
    assert [len(spelled) for spelled in one.spellings] == [3, 5, 5, 5]
    letters = found["characters"]
    assert "".join(letters.pieces(one.spellings[1])) == "abcgh"
    usual = TASK.encode([tuple(words)], found, TagData())
    assert [len(spelled) for spelled in usual.spellings] == [3, 8, 100, 5]
    assert TASK.collate([usual]).spellings.values.shape[1] == 100
    with pytest.raises(ConfigError, match=r"data\.max_characters"):
        TagData(max_characters=0)
