"""`model.copying = "pointer"`: a translator that copies words of the source."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled import cli
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import Forbid
from unrolled.errors import ConfigError
from unrolled.shapes import Padded
from unrolled.tasks import TASKS, seq2seq, seq2seq_decoding
from unrolled.tasks.seq2seq import Pair, TranslateConfig, Translator, collate
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [
    Row(("Ann met Bob .", "Ann vio a Bob ."), 2),
    Row(("Bob met Cy .", "Bob vio a Cy ."), 3),
    Row(("Ann met Ann .", "Ann vio a Ann ."), 4),
]
TEXT = TextConfig(kind="space")


def tokenizers(text: TextConfig = TEXT) -> dict[str, Tokenizer]:
    """Vocabularies of "met", "." and "vio", "a", "."; Ann is in that of the source alone."""
    return {
        "source": Tokenizer.of_tokens(["met", ".", "Ann"], text),
        "target": Tokenizer.of_tokens(["vio", "a", "."], text),
    }


SMALL = TranslateConfig(
    embedding_size=5,
    encoder_size=7,
    hidden_size=14,
    dropout_rate=0.0,
    label_smoothing=0.1,
    copying="pointer",
    unknown_rate=0.0,
)


def make(config: TranslateConfig = SMALL, **changes) -> Translator:
    torch.manual_seed(5)
    return seq2seq.build(replace(config, **changes), tokenizers()).double().eval()


def pairs() -> list[Pair]:
    return [seq2seq.encode(row.texts, tokenizers()) for row in ROWS]


def test_encoding_knows_what_can_be_copied() -> None:
    source, target = tokenizers().values()
    first, second, third = pairs()
    assert first.source == [*source.encode("Ann met <unk> ."), EOS_ID]
    v = len(target)
    assert first.words == ("Ann", "met", "Bob", ".")
    assert first.writes == (v, v + 1, v + 2, *target.encode("."), EOS_ID)
    assert first.copied == (v, *target.encode("vio a"), v + 2, *target.encode("."))
    assert first.target == target.encode("<unk> vio a <unk> .")
    assert second.words == ("Bob", "met", "Cy", ".")
    # Of a word that stands twice it is the first; the source knows all of it.
    assert (third.writes, third.copied[0], third.copied[3]) == ((), v, v)


def test_batch_without_unknown_words_holds_nothing_more() -> None:
    assert collate([Pair([4, EOS_ID], [5])]).copies is None
    batch = collate(pairs())
    assert batch.copies is not None
    has_unknown = (batch.source.values == UNK_ID).any(1)
    assert torch.equal((batch.copies.writes >= 0).any(1), has_unknown)
    moved = batch.to("cpu").copies
    assert moved is not None
    assert torch.equal(moved.right, batch.copies.right)


def loss_by_loop(model: Translator, pair: Pair) -> torch.Tensor:
    """Step by step, each probability by equation 9 of See et al. 2017."""
    source, target = tokenizers().values()
    words = [*(pair.words or source.tokens(pair.source[:-1])), "</s>"]
    v = len(target)
    extended = [  # what each source step writes
        EOS_ID if word == "</s>" else target.id_of(word) or v + words.index(word) for word in words
    ]
    state = model.encode(Padded.from_rows([pair.source]))
    total = torch.zeros((), dtype=torch.float64)
    read = BOS_ID
    for word in [*(pair.copied or pair.target), EOS_ID]:
        scale = model._scale(model.target_embedding)
        if read < v:
            embedded = model.target_embedding.weight[read] * scale
        else:
            assert state.memory is not None
            assert model.embed_copied is not None
            embedded = model.embed_copied.weight @ state.memory.values[0, read - v]
        hidden, state, attention = model.decoder.step(embedded.view(1, 1, -1), state)
        o, a = hidden[0, 0], attention[0, 0]
        head = model.head
        g = torch.sigmoid(head.gate_weight[0] @ o + head.gate_bias[0])
        p = g * torch.softmax(head.weight @ o + head.bias, 0)[word] if word < v else 0.0
        p = p + (1 - g) * sum(a[s] for s, written in enumerate(extended) if written == word)
        total = total - torch.log(p)
        read = word
    return total


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("attention", ["additive", "dot", "general"])
def test_loss_and_gradients_equal_a_plain_loop(attention, input_feeding) -> None:
    model = make(attention=attention, input_feeding=input_feeding)
    batch = collate(pairs())
    total, count = seq2seq.evaluate_loss(model, batch)
    exact = torch.stack([loss_by_loop(model, pair) for pair in pairs()]).sum()
    assert count == batch.n_tokens
    torch.testing.assert_close(total, exact, rtol=1e-10, atol=1e-10)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    wanted = torch.autograd.grad(exact, parameters, allow_unused=True)
    for name, one, other in zip(names, found, wanted, strict=True):
        zero = torch.zeros((), dtype=torch.float64)
        one, other = (zero if each is None else each for each in (one, other))
        torch.testing.assert_close(
            one.broadcast_to(other.shape), other, rtol=1e-8, atol=1e-10, msg=f"{name}"
        )


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_native_kernels_give_the_loss_of_the_loop(cell) -> None:
    model = make(cell=cell).float()
    total, _ = seq2seq.evaluate_loss(model, collate(pairs()))
    exact = torch.stack([loss_by_loop(model.double(), pair) for pair in pairs()]).sum()
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-5)


def test_padding_and_neighbours_change_nothing() -> None:
    model, all_pairs = make(), pairs()
    long = Pair([4] * 9 + [EOS_ID], [4] * 7)
    together, _ = seq2seq.loss(model, collate([*all_pairs, long]))
    apart = sum(seq2seq.loss(model, collate([pair]))[0] for pair in [*all_pairs, long])
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        model.source_embedding.weight[PAD_ID] = float("nan")
    again, _ = seq2seq.loss(model, collate([*all_pairs, long]))
    assert torch.equal(again, together)


def test_words_read_as_unknown_are_still_copied() -> None:
    model = make(unknown_rate=0.5).train()
    model.unknown_source.fill_(10.0)  # every known word is read as unknown
    model.unknown_source[:4] = 0
    batch = collate([pairs()[2]])
    read = model.encode(batch.source, None).memory
    assert read is not None
    seen: list[torch.Tensor] = []
    forward = model.head.loss
    model.head.loss = lambda *a, **k: seen.append(k["ids"]) or forward(*a, **k)
    seq2seq.loss(model, batch)
    assert torch.equal(seen[0][0], read.ids[0])


def answers_of(model: Translator, config: DecodingConfig, mask=None):
    return seq2seq_decoding.decode(model, pairs(), tokenizers(), config, mask=mask)


def test_beam_of_every_width_agrees_with_all_answers() -> None:
    """The best answer of a wide beam has the probability that teacher forcing gives it."""
    model = make()
    config = DecodingConfig(beam_size=40, n_best=3, max_length_ratio=0.0, max_length_extra=2)
    v = len(tokenizers()["target"])
    for pair, prediction in zip(pairs(), answers_of(model, config), strict=True):
        n_steps = len(pair.source)
        ids = [i for i in range(v + n_steps) if i not in (PAD_ID, BOS_ID, EOS_ID)]
        best = -float("inf")
        for n in range(2):
            for answer in product(ids, repeat=n):
                whole = replace(
                    pair, target=[UNK_ID if i >= v else i for i in answer], copied=answer
                )
                batch = collate([whole])
                if batch.copies is None:
                    batch = replace(batch, copies=seq2seq.copies_of([whole]))
                with torch.no_grad():
                    total, _ = seq2seq.evaluate_loss(model, batch)
                if total.isfinite():
                    best = max(best, -total.item())
        finished = [one.log_prob for one in prediction.hypotheses if one.finished]
        assert max(finished) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_forbidden_tokens_are_not_written_but_may_be_copied(method) -> None:
    model = make()
    target = tokenizers()["target"]
    config = DecodingConfig(method=method, max_length_ratio=0.0, max_length_extra=6, seed=2)
    banned = (*target.encode("vio a"), UNK_ID)
    for prediction in answers_of(model, config, lambda _: Forbid(banned)):
        assert not {"vio", "a", "<unk>"} & set(prediction.text.split())
    v = len(target)
    config = replace(config, method="greedy")
    only = Forbid(tuple(i for i in range(v) if i != EOS_ID))
    texts = [prediction.text for prediction in answers_of(model, config, lambda _: only)]
    assert set(" ".join(texts).split()) <= {"Ann", "met", "Bob", "Cy"}


def test_long_source_is_cut_before_it_is_copied() -> None:
    config = DecodingConfig(max_input_length=2, max_length_ratio=0.0, max_length_extra=5)
    for prediction in answers_of(make(), config):
        assert prediction.n_truncated == 2
        assert not {"Bob", "Cy"} & set(prediction.text.split()[1:])


def test_copying_without_attention_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TranslateConfig(attention="none", copying="pointer")
    assert str(caught.value) == (
        "model.copying: 'pointer' needs attention to copy words, but model.attention is 'none'; set "
        "model.attention = 'additive' or model.copying = 'none'"
    )


NAMES = [f"{a}{b}{c}" for a in "BDFGLM" for b in "aeiou" for c in ("k", "nt", "rr")]
NEW = ["Zoe", "Quux", "Ybor-2", "42.7"]


def write(path: Path, names: list[str]) -> str:
    rows = [f"{name} is a {what} .\tel {que} {name} ." for name in names for what, que in WHAT]
    path.write_text("\n".join(["en\tes", *rows, ""]), encoding="utf-8")
    return str(path)


WHAT = [("cat", "gato"), ("dog", "perro"), ("horse", "caballo")]
OPTIONS = {
    "text.kind": "space",
    "model.cell": "gru",
    "model.embedding_size": "16",
    "model.encoder_size": "16",
    "model.hidden_size": "32",
    "model.dropout_rate": "0",
    "model.label_smoothing": "0",
    "training.max_epochs": "14",
    "training.max_tokens": "256",
    "training.learning_rate": "0.01",
    "training.evaluate_every_n_steps": "0",
    "training.threads": "1",
    "training.device": "cpu",
    "data.max_length": "20",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copying")
    data, valid = write(folder / "train.tsv", NAMES), write(folder / "valid.tsv", NEW[:2])
    options = OPTIONS | {"model.copying": "pointer"}
    parts = {"data.train": data, "data.valid": valid, "data.test": valid}
    recipe = folder / "recipe.toml"
    recipe.write_text('task = "translate"\n', encoding="utf-8")
    settings = list((parts | options).items())
    unrolled.train(unrolled.recipe_from_toml(recipe, TASKS, settings), folder / "run")
    return folder / "run"


def test_names_never_seen_are_copied(run: Path, capsys) -> None:
    model = unrolled.load_translator(run)
    texts = [f"{name} is a {what} ." for name in NEW for what, _ in WHAT]
    wanted = [f"el {que} {name} ." for name in NEW for _, que in WHAT]
    assert model(texts) == wanted
    assert cli.main(["predict", str(run), "Xerxes is a dog ."]) == 0
    assert capsys.readouterr().out == "el perro Xerxes .\n"
    (prediction,) = model.predict(["Zoe is a cat ."], with_attention=True)
    (answer, *_) = prediction.hypotheses
    assert answer.pieces == ("el", "gato", "Zoe", ".", "</s>")
    assert answer.attention is not None
    assert answer.attention[2].argmax() == 0  # "Zoe" comes from the first word


def test_scheduled_sampling_reads_copied_words() -> None:
    model = make(sampling_rate=1.0).train()
    with torch.no_grad():
        model.head.gate_bias.fill_(-30)  # all words are copied
    total, _ = seq2seq.loss(model, collate(pairs()))
    total.backward()
    assert total.isfinite()
    assert model.embed_copied is not None
    assert model.embed_copied.weight.grad is not None
    assert model.embed_copied.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_pieces_of_words_are_copied(kind) -> None:
    text = TextConfig(kind=kind, vocab_size=300)
    sides = {
        "source": Tokenizer.train(["Zoe zapped the zoo"] * 5, text),
        "target": Tokenizer.train(["la casa es mía"] * 5, text),
    }
    torch.manual_seed(5)
    model = seq2seq.build(SMALL, sides).eval()
    with torch.no_grad():
        model.head.gate_bias.fill_(-30)  # all pieces are copied
    pair = seq2seq.encode(["Zoe zapped"], sides)
    config = DecodingConfig(method="greedy", max_length_ratio=0.0, max_length_extra=4)
    (prediction,) = seq2seq_decoding.decode(model, [pair], sides, config)
    pieces = set(sides["source"].pieces(pair.source))
    assert set(prediction.hypotheses[0].pieces) <= pieces
    assert all(piece.strip("·") in "Zoe zapped" for piece in pieces - {"</s>"} if kind == "char")


def test_word_unknown_to_the_source_alone_is_one_word() -> None:
    # "vio" is in the target vocabulary only: generating and copying it are one event.
    target = tokenizers()["target"]
    pair = seq2seq.encode(["Ann vio", "a vio"], tokenizers())
    vio = target.encode("vio")
    assert pair.words == ("Ann", "vio")
    assert pair.writes == (len(target), *vio, EOS_ID)
    assert (pair.target, pair.copied) == (target.encode("a vio"), ())
    model = make()
    batch = collate([pair])
    torch.testing.assert_close(seq2seq.evaluate_loss(model, batch)[0], loss_by_loop(model, pair))
    with torch.no_grad():
        model.head.gate_bias.fill_(-30)  # all words are copied
    config = DecodingConfig(method="greedy", max_length_ratio=0.0, max_length_extra=3)
    (prediction,) = seq2seq_decoding.decode(model, [pair], tokenizers(), config)
    assert set(prediction.hypotheses[0].pieces) <= {"Ann", "vio", "</s>"}
