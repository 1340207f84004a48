"""Characters, counted n-grams and common words beside embeddings, from texts to predictions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import unrolled
from unrolled.cli import main
from unrolled.comparison.costs import multiply_adds_per_token
from unrolled.comparison.sizing import _Data as Prepared
from unrolled.config import from_mapping
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.inspect.attribution import explain_words
from unrolled.inspect.example import example_of
from unrolled.inspect.label_evaluation import evaluate_parts
from unrolled.inspect.saliency import saliency_of
from unrolled.layers.mixed_head import MixedHead, best_share
from unrolled.tasks import TASKS, beside, classify, pair, text_labels
from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.pair import PairConfig
from unrolled.tasks.spelling import CHARACTERS, WrittenWords, characters_of
from unrolled.tasks.text_labels import collate
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.training.device import why_no_bfloat16

pytestmark = pytest.mark.usefixtures("one_thread")

LOWER = TextConfig(kind="word", lowercase=True)
TEXTS = [
    "Good films",
    "so good",
    "Bad films",
    "so BAD",
    "a fine film",
    "an awful film",
    "Fine",
    "bad",
]
LABELS_OF = ["yes", "yes", "no", "no", "yes", "no", "yes", "no"]
ROWS = [
    Row((text, label), line)
    for line, (text, label) in enumerate(zip(TEXTS, LABELS_OF, strict=True))
]
SMALL = ClassifyConfig(
    embedding_size=5, hidden_size=7, char_size=3, char_filters=4, dropout_rate=0.0
)
PAIR = PairConfig(embedding_size=5, hidden_size=7, char_size=3, char_filters=4, dropout_rate=0.0)
KINDS = ["recurrent", "convolution"]


def built(config, rows=ROWS, data=None, text=LOWER, task=classify.TASK):
    data = data or LabelData()
    tokenizers = task.train_tokenizers(rows, text, data)
    tokenizers = task.learn(config, rows, tokenizers, data)
    torch.manual_seed(2)
    model = task.build(config, tokenizers).double().eval()
    examples = [task.cut(task.encode(row.fields, tokenizers, data), data) for row in rows]
    task.prepare(model, {"train": examples, "valid": examples})
    return model, examples, tokenizers


def pair_rows():
    pairs = zip(TEXTS, TEXTS[3:] + TEXTS[:3], LABELS_OF, strict=True)
    return [Row(fields, line) for line, fields in enumerate(pairs)]


def probabilities(model, examples, tokenizers, task=classify.TASK):
    with torch.inference_mode():
        return np.stack([each.probabilities for each in task.predict(model, examples, tokenizers)])


# Words as they are written


def test_words_are_as_written_one_for_each_id() -> None:
    words = Tokenizer.train(["a"], LOWER)
    text = "The U.S. Don't  go,\tÉcole cafe\u0301 10:40h C++ \u1e9e\u0130x."
    written = WrittenWords(words)(text, words.encode(text))
    assert len(written) == len(words.encode(text))
    assert written[:6] == ["The", "U.S.", "Do", "n't", "go", ","]
    assert "café" in written
    assert [word.lower() for word in written[:6]] == words.split(text)[:6]


def test_long_words_keep_their_ends() -> None:
    assert characters_of("abcdefghij", 5) == "abcij"
    assert characters_of("abcdefghij", 1) == "a"
    assert characters_of("cafe\u0301", 4) == "café"


@pytest.mark.parametrize("kind", KINDS)
def test_capitals_and_unknown_words_have_different_vectors(kind) -> None:
    model, _, tokenizers = built(replace(SMALL, characters=kind))
    texts = ["good", "GOOD", "gooder", "ffff", "\u4e2d"]
    examples = [classify.TASK.encode([text], tokenizers, LabelData()) for text in texts]
    ids = [example.texts[0] for example in examples]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3] == ids[4]
    found = [beside.embedded(model, collate([example]))[0].values for example in examples]
    for one in range(len(found)):
        for other in range(one):
            assert not torch.allclose(found[one], found[other])


def test_unknown_characters_have_the_unknown_id() -> None:
    _, _, tokenizers = built(replace(SMALL, characters="recurrent"))
    example = classify.TASK.encode(["g\u4e2d"], tokenizers, LabelData())
    (word,) = example.facts.spellings[0]
    assert tokenizers[CHARACTERS].pieces(word) == ["g", "<unk>"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_distinct_word_of_a_batch_is_read_once(kind) -> None:
    rows = pair_rows()
    model, examples, _ = built(replace(PAIR, characters=kind), rows, task=pair.TASK)
    batch = collate(examples)
    written = {word for row in rows for text in row.fields[:2] for word in text.split()}
    assert len(batch.spellings.values) == len(written)
    read = []
    model.spelling.register_forward_hook(lambda _, given, __: read.append(len(given[0].values)))
    pair.TASK.loss(model, batch)
    assert read == [len(written)]


# Batches


CONFIGS = {
    "recurrent": {"characters": "recurrent"},
    "convolution": {"characters": "convolution", "char_window": 2},
    "counted": {"ngrams": 2},
    "all": {"characters": "convolution", "ngrams": 3},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("task", [classify.TASK, pair.TASK], ids=["classify", "pair"])
def test_a_text_has_the_prediction_it_has_alone(changes, task) -> None:
    config = replace(SMALL if task is classify.TASK else PAIR, **changes)
    rows = ROWS if task is classify.TASK else pair_rows()
    model, examples, tokenizers = built(config, rows, task=task)
    if config.ngrams:
        model.head.share.fill_(0.3)
    texts = [
        [""] * (len(task.columns) - 1),
        ["so", "films of unheard LENGTH"][: len(task.columns) - 1],
    ]
    examples += [task.encode(each, tokenizers, LabelData()) for each in texts]
    together = probabilities(model, examples, tokenizers, task)
    backwards = probabilities(model, examples[::-1], tokenizers, task)[::-1]
    alone = [probabilities(model, [each], tokenizers, task)[0] for each in examples]
    np.testing.assert_allclose(together, alone, atol=1e-7)
    np.testing.assert_allclose(together, backwards, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_texts_alone(kind) -> None:
    model, examples, _ = built(replace(SMALL, characters=kind))
    parameters = dict(model.named_parameters())

    def gradients(loss):
        found = torch.autograd.grad(loss, list(parameters.values()))
        return dict(zip(parameters, found, strict=True))

    together = gradients(classify.TASK.loss(model, collate(examples))[0])
    alone = gradients(sum(classify.TASK.loss(model, collate([each]))[0] for each in examples))
    assert any(name.startswith("spelling.") for name in together)
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, alone[name], msg=name)
        assert gradient.any(), name


def test_training_does_not_look_at_the_counts() -> None:
    plain, examples, _ = built(SMALL)
    mixed, counted, _ = built(replace(SMALL, ngrams=2))
    mixed.load_state_dict({**mixed.state_dict(), **plain.state_dict()})
    mixed.head.share.fill_(0.5)
    losses = [
        classify.TASK.loss(model.eval(), collate(given))[0]
        for model, given in ((plain, examples), (mixed, counted))
    ]
    torch.testing.assert_close(*losses)
    evaluated = [
        classify.TASK.evaluate_loss(model, collate(given))[0]
        for model, given in ((plain, examples), (mixed, counted))
    ]
    assert not torch.allclose(*evaluated)


def test_cut_and_shuffled_texts_keep_their_facts_aligned() -> None:
    config = replace(SMALL, characters="recurrent", ngrams=2)
    _, _, tokenizers = built(config)
    text = "so good films so bad film an awful fine film"
    data = LabelData(max_length=5, keep="both")
    example = classify.TASK.cut(classify.TASK.encode([text], tokenizers, data), data)
    words = text.split()[:3] + text.split()[-2:]
    check_facts(example, words, tokenizers)
    random = np.random.default_rng(3)
    shuffled = classify.TASK.shuffle(example, tokenizers, random)
    order = tokenizers["text"].pieces(shuffled.texts[0])
    assert sorted(order) == sorted(words)
    assert order != words
    check_facts(shuffled, order, tokenizers)


def check_facts(example, words, tokenizers) -> None:
    letters, scores = tokenizers[CHARACTERS], tokenizers[beside.NGRAMS]
    assert tokenizers["text"].pieces(example.texts[0]) == words
    assert ["".join(letters.pieces(word)) for word in example.facts.spellings[0]] == words
    tokens = scores.ngrams[0].tokens
    assert [tokens[index] for index in example.facts.grams[0]] == words


def test_characters_are_replaced_by_unknown_ones_in_training() -> None:
    model, examples, _ = built(replace(SMALL, characters="recurrent", unknown_rate=1.0))
    assert model.character_shares.max() == 1
    model.train()
    seen = set()
    model.spelling.register_forward_hook(
        lambda _, given, __: seen.update(given[0].values[given[0].mask].tolist())
    )
    for _ in range(5):
        classify.TASK.loss(model, collate(examples))
    assert 1 in seen


# Counts


def test_scores_of_a_mixed_head_are_the_mixture() -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2))
    network, counted = (
        np.stack(
            [
                prediction.parts[part]
                for prediction in classify.TASK.predict(model, examples, tokenizers)
            ]
        )
        for part in (0, 1)
    )
    scores = tokenizers[beside.NGRAMS]
    words = tokenizers["text"]
    np.testing.assert_allclose(
        counted, scores.scores([[words.split(text)] for text in TEXTS]), atol=1e-12
    )
    with torch.no_grad():
        hidden = text_labels.hidden_of(model, collate(examples))
        np.testing.assert_allclose(network, model.head.logits(hidden).numpy(), atol=1e-12)
    model.head.share.fill_(0.25)
    logits = 0.75 * network + 0.25 * counted
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(model, examples, tokenizers), wanted, atol=1e-6)
    with torch.no_grad():
        total, _ = classify.TASK.evaluate_loss(model, collate(examples))
    gold = [example.labels[0] for example in examples]
    assert float(total) == pytest.approx(-np.log(wanted[range(len(gold)), gold]).sum())


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_chosen_share_has_the_least_loss(multi_label) -> None:
    random = np.random.default_rng(7)
    truth = np.eye(3, dtype=bool)[random.integers(0, 3, 50)]
    one, other = (random.normal(size=(50, 3)) + truth * scale for scale in (1.0, 2.0))
    found = best_share(one, other, truth, multi_label)

    def loss(share):
        logits = (1 - share) * one + share * other
        if multi_label:
            p = 1 / (1 + np.exp(-logits))
            return -np.log(np.where(truth, p, 1 - p)).sum()
        return -np.log((np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[truth]).sum()

    assert 0 < found < 1
    assert all(loss(found) <= loss(share) + 1e-9 for share in np.linspace(0, 1, 51))


def test_the_share_is_chosen_on_the_rows_given() -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2))
    before = classify.TASK.predict(model, examples, tokenizers)
    after = classify.TASK.tune_thresholds(model, examples, before, tokenizers)
    assert float(model.head.share) > 0.5  # the network is untrained
    again = classify.TASK.predict(model, examples, tokenizers)
    assert [each.labels for each in after] == [each.labels for each in again]
    for one, other in zip(after, again, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)


def test_words_outside_training_leave_the_label_shares() -> None:
    model, _, tokenizers = built(replace(SMALL, ngrams=2))
    unheard = classify.TASK.encode(["xyz"], tokenizers, LabelData())
    (prediction,) = classify.TASK.predict(model, [unheard], tokenizers)
    assert prediction.probabilities.tolist() == pytest.approx(list(tokenizers["labels"].shares))
    assert prediction.parts is None


# Pairs


def test_common_words_are_marked_in_both_texts() -> None:
    model, examples, _ = built(
        replace(PAIR, features=("overlap",)),
        [Row(("so good film", "Good, so", "yes"), 2), *pair_rows()],
        task=pair.TASK,
    )
    first, second = beside.embedded(model, collate(examples[:1]))
    assert first.values[0, :, -1].tolist() == [1, 1, 0]
    assert second.values[0, :, -1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "encoder",
    ["independent", "conditional", "attention", "word_by_word", "bidirectional_conditional"],
)
def test_difference_and_product_follow_the_vector(encoder) -> None:
    torch.manual_seed(2)
    plain = pair.PairClassifier(replace(PAIR, encoder=encoder), 17, 3).double().eval()
    config = replace(PAIR, encoder=encoder, features=("product", "difference"))
    model = pair.PairClassifier(config, 17, 3).double().eval()
    model.encoder.encoder.load_state_dict(plain.encoder.state_dict())
    model.embedding.load_state_dict(plain.embedding.state_dict())
    texts = [text_labels.LabelledExample(([4, 5, 6], [7, 5]), (0,))]
    batch = collate([*texts, text_labels.LabelledExample(([8], [4, 9, 10, 11]), (1,))])
    hidden = text_labels.hidden_of(model, batch)
    values = text_labels.hidden_of(plain, batch)
    size = values.shape[1]
    torch.testing.assert_close(hidden[:, :size], values)
    embedded = [plain.embed(text) for text in batch.texts]
    _, _, u, v = plain.encoder.encodings(*embedded)
    width = u.shape[1]
    torch.testing.assert_close(hidden[:, size : size + width], (u - v).abs())
    torch.testing.assert_close(hidden[:, size + width :], u * v)
    if encoder == "independent":
        torch.testing.assert_close(torch.cat([u, v], 1), values)


@pytest.mark.parametrize("encoder", ["conditional", "bidirectional_conditional"])
def test_the_encoding_of_the_first_text_ignores_the_second(encoder) -> None:
    torch.manual_seed(2)
    model = pair.PairClassifier(replace(PAIR, encoder=encoder), 17, 3).double().eval()
    batches = [
        collate([text_labels.LabelledExample(([4, 5, 6], second), (0,))])
        for second in ([7], [8, 9])
    ]
    found = [model.encoder.encodings(*(model.embed(text) for text in b.texts))[2] for b in batches]
    torch.testing.assert_close(*found)
    _, state = model.encoder.first(
        model.embed(batches[0].texts[0]),
        tuple(part[: model.encoder.first.n_directions] for part in model.encoder.start(1)),
    )
    torch.testing.assert_close(found[0], state[0].transpose(0, 1).flatten(1))


# Runs


def write_data(folder, several: bool = False):
    path = folder / "data.tsv"
    lines = ["text\tlabel"]
    for n in range(6):
        for text, label in zip(TEXTS, LABELS_OF, strict=True):
            labels = f"{label}|long" if several and len(text) > 8 else label
            lines.append(f"{text} number{n}\t{labels}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def recipe_of(folder, several: bool = False, steps: int = 6, **changes):
    separator = "|" if several else ""
    return unrolled.Recipe(
        task="classify",
        data=LabelData(
            train=(write_data(folder, several),),
            valid_size=10,
            test_size=5,
            label_separator=separator,
        ),
        text=LOWER,
        model=replace(SMALL, **changes),
        training=unrolled.TrainingConfig(
            max_steps=steps, learning_rate=0.02, max_tokens=64, evaluate_every_n_steps=3
        ),
        seed=3,
    )


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_saved_run_predicts_what_was_evaluated(tmp_path, changes, several) -> None:
    recipe = recipe_of(tmp_path, several, **changes)
    run = unrolled.train(recipe, tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    evaluation = model.evaluate(model.held_out("valid"))
    for name, value in run.best.scores.items():
        assert 100 * evaluation.scores[name] == pytest.approx(value), name
    if not several:
        assert evaluation.scores["nll"] == pytest.approx(run.best.loss, rel=1e-5)
    texts = ["so good", "GOOD unheard", ""]
    first = [each.probabilities for each in model.predict(texts)]
    again = [each.probabilities for each in unrolled.load(tmp_path / "run").predict(texts)]
    np.testing.assert_array_equal(first, again)


def test_training_begins_with_a_note_on_the_counts(tmp_path) -> None:
    started, *_ = unrolled.fit(recipe_of(tmp_path, ngrams=2, steps=1), tmp_path / "run")
    (note,) = [note for note in started.notes if "n-grams" in note]
    n = started.vocabulary_sizes[beside.NGRAMS]
    assert note.startswith(f"{n:,} n-grams counted beside the network; C = ")


def test_an_interrupted_run_goes_on_exactly(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="convolution", ngrams=2)
    unrolled.train(recipe, tmp_path / "whole")
    events = unrolled.fit(recipe, tmp_path / "cut")
    for event in events:
        if isinstance(event, unrolled.training.loop.Evaluated):
            break
    events.close()
    unrolled.train(recipe, tmp_path / "cut", resume=True)
    whole, cut = (unrolled.load(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    for name, weight in whole.items():
        assert torch.equal(weight, cut[name]), name


def test_parts_are_reported_and_recorded(tmp_path, capsys) -> None:
    recipe = recipe_of(tmp_path, ngrams=2)
    unrolled.train(recipe, tmp_path / "run")
    record = tmp_path / "results.jsonl"
    assert main(["evaluate", str(tmp_path / "run"), "--record", str(record)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (start,) = [place for place, line in enumerate(lines) if line.startswith("part ")]
    names = [line.split("  ")[0] for line in lines[start + 1 : start + 4]]
    assert names == ["network alone", "counts alone", "together"]
    (recorded,) = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    assert set(recorded["parts"]) == {"network", "counts"}
    page = (tmp_path / "run/evaluation-test/report.html").read_text(encoding="utf-8")
    assert "counts alone" in page


def test_parts_alone_are_the_models_without_the_other(tmp_path) -> None:
    unrolled.train(recipe_of(tmp_path, ngrams=2), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    rows = model.held_out("valid")
    parts = {
        each.name: each.scores["accuracy"] for each in evaluate_parts(model, model.evaluate(rows))
    }
    for name, share in (("network alone", 0.0), ("counts alone", 1.0)):
        model.model.head.share.fill_(share)
        assert model.evaluate(rows).scores["accuracy"] == pytest.approx(parts[name])


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_words_of_all_models_can_be_explained(tmp_path, changes, method) -> None:
    unrolled.train(recipe_of(tmp_path, **changes), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    [[words]] = explain_words(model, ["So GOOD"], method)
    assert [word for word, _ in words] == ["so", "good"]
    assert max(abs(weight) for _, weight in words) == 1


def test_attributions_of_a_mixture_add_up(tmp_path) -> None:
    unrolled.train(recipe_of(tmp_path, ngrams=2), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    model.model.head.share.fill_(1.0)  # counts alone: each word has its share
    [[words]] = explain_words(model, ["so good"])
    (prediction,) = model.predict(["so good"])
    scores = model.tokenizers[beside.NGRAMS]
    (shares,) = scores.token_scores(0, [scores.ngrams[0].indices_of(["so", "good"])])
    label = int(prediction.probabilities.argmax())
    wanted = shares[:, label] - shares[:, 1 - label]
    found = np.array([weight for _, weight in words])
    np.testing.assert_allclose(found, wanted / np.abs(wanted).max(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_reads_characters_can_be_inspected(tmp_path, kind) -> None:
    unrolled.train(recipe_of(tmp_path, characters=kind, ngrams=2), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    example = example_of(model, "So GOOD")
    # No training text has the letters S and O.
    assert example.rows["spelling"] == [("<unk>", "o"), ("G", "<unk>", "<unk>", "D")]
    (saliency,) = saliency_of(model.model, example)
    assert saliency.contributions.shape == (2,)
    assert main(["inspect", str(tmp_path / "run"), "So GOOD"]) == 0


def test_a_run_in_bfloat16_has_the_counts_in_full_precision(tmp_path) -> None:
    reason = why_no_bfloat16(torch.device("cpu"))
    if reason is not None:
        pytest.skip(reason)
    recipe = recipe_of(tmp_path, characters="convolution", ngrams=2)
    training = replace(recipe.training, precision="bfloat16", max_steps=2)
    run = unrolled.train(replace(recipe, training=training), tmp_path / "run")
    assert np.isfinite(run.best.loss)
    for precision in ("float32", "int8"):
        model = unrolled.load(tmp_path / "run", precision=precision)
        (prediction,) = model.predict(["so good"])
        wanted = model.tokenizers[beside.NGRAMS].scores([[["so", "good"]]])[0]
        assert prediction.parts[1] == pytest.approx(wanted, abs=1e-6)


def test_another_run_can_be_started_from_it(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="recurrent", ngrams=2)
    unrolled.train(recipe, tmp_path / "one")
    unrolled.train(recipe, tmp_path / "two", start_from=tmp_path / "one")
    files = [(tmp_path / name / "ngrams.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_changed_counts_are_noticed(tmp_path) -> None:
    unrolled.train(recipe_of(tmp_path, ngrams=2), tmp_path / "run")
    path = tmp_path / "run" / "ngrams.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(RunError, match=r"ngrams\.safetensors"):
        unrolled.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(RunError, match=r"ngrams\.safetensors"):
        unrolled.load(tmp_path / "run")


@pytest.mark.parametrize("encoder", ["word_by_word", "second_only"])
def test_a_pair_run_reads_everything(tmp_path, encoder) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [
        "\t".join((f"{a} of {n}", b, label))
        for n in range(5)
        for (a, b, label) in (row.fields for row in pair_rows())
    ]
    path.write_text("\n".join(["first\tsecond\tlabel", *rows]) + "\n", encoding="utf-8")
    features = () if encoder == "second_only" else ("overlap", "difference", "product")
    recipe = unrolled.Recipe(
        task="pair",
        data=LabelData(train=(str(path),), valid_size=8, test_size=5),
        text=LOWER,
        model=replace(PAIR, encoder=encoder, characters="recurrent", ngrams=2, features=features),
        training=unrolled.TrainingConfig(max_steps=4, learning_rate=0.02, max_tokens=64),
    )
    run = unrolled.train(recipe, tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    evaluation = model.evaluate(model.held_out("valid"))
    assert evaluation.scores["nll"] == pytest.approx(run.best.loss, rel=1e-5)
    [[first, second]] = explain_words(model, [("so good", "a BAD film")])
    assert [word for word, _ in second] == ["a", "bad", "film"]
    assert any(weight for _, weight in first) == (encoder != "second_only")


def test_variants_of_a_comparison_learn_what_they_read(tmp_path) -> None:
    data, costs = Prepared(), []
    for characters in ("none", "convolution"):
        recipe = recipe_of(tmp_path, characters=characters)
        prepared = data.of(recipe)
        assert (CHARACTERS in prepared.tokenizers) == (characters != "none")
        costs.append(multiply_adds_per_token(recipe, classify.TASK, prepared))
    assert costs[0] < costs[1]


def test_a_recipe_with_everything_survives_toml(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="convolution", char_window=5, ngrams=3)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert unrolled.recipe_from_toml(path, TASKS) == recipe


# Refusals


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_characters_need_words(kind) -> None:
    config = replace(SMALL, characters="recurrent")
    with pytest.raises(ConfigError) as caught:
        classify.TASK.check_pretrained(config, TextConfig(kind=kind))
    assert str(caught.value) == (
        f"model.characters is 'recurrent', but text.kind is '{kind}', whose tokens are not words; set "
        "text.kind to 'word' or 'space', or model.characters to 'none'"
    )


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_ngrams_of_any_tokens_can_be_counted(kind) -> None:
    model, examples, tokenizers = built(replace(SMALL, ngrams=2), text=TextConfig(kind=kind))
    assert all(len(each.facts.grams[0]) == len(each.texts[0]) for each in examples)
    assert np.isfinite(probabilities(model, examples, tokenizers)).all()


def test_ngrams_of_shuffled_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.ngrams is 2, but data.word_order is 'random'"):
        built(replace(SMALL, ngrams=2), data=LabelData(word_order="random"))


def test_ngrams_of_very_many_labels_are_refused() -> None:
    rows = [Row((f"text {n}", f"label {n}"), n) for n in range(1001)]
    with pytest.raises(DataError, match=r"model\.ngrams is for at most 1,000 labels, found 1,001"):
        built(replace(SMALL, ngrams=1), rows)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"characters": "letters"}, "model.characters: expected"),
        ({"ngrams": 9}, "model.ngrams must be at most 8, got 9"),
        ({"char_window": 0}, "model.char_window must be at least 1, got 0"),
    ],
)
def test_invalid_settings_are_named(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(ClassifyConfig, changes, "model")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"encoder": "first_only", "features": ("overlap",)},
            "model.features compares the two texts, but the encoder 'first_only' reads only one; "
            "remove it",
        ),
        (
            {"encoder": "concatenated", "features": ("overlap", "product")},
            "model.features: 'product' needs an encoding of each text, but the encoder 'concatenated' "
            "reads both as one; remove it, or use 'independent'",
        ),
        (
            {
                "encoder": "bidirectional_conditional",
                "target": "one_way",
                "features": ("difference",),
            },
            "model.features: 'difference' needs encodings of the same width; remove it, or set "
            "model.target = 'both_ways'",
        ),
    ],
)
def test_features_that_an_encoder_lacks_are_refused(changes, sentence) -> None:
    with pytest.raises(ConfigError) as caught:
        PairConfig(**changes)
    assert str(caught.value) == sentence


def test_a_mixed_head_without_counts_is_the_network() -> None:
    head = MixedHead(torch.nn.Linear(3, 2), 2, hidden_size=3)
    head.share.fill_(0.7)
    hidden = torch.randn(4, 3)
    assert torch.equal(head.logits(hidden), head.scorer(hidden))


@pytest.mark.parametrize("kind", KINDS)
def test_characters_stand_beside_a_language_model(kind: str) -> None:
    pretrained = {"pretrained": ("a", "b"), "pretrained_sizes": (6,), "embedding_size": 4}
    config = replace(SMALL, characters=kind, ngrams=2, **pretrained)
    model, _, tokenizers = built(config)
    assert model.encoder.output_size == 12 + model.spelling.output_size
    changed = replace(config, pretrained=(), pretrained_sizes=())
    assert built(changed)[0].encoder.output_size == 14
    example = classify.TASK.encode(["good filming"], tokenizers, LabelData())
    other = classify.TASK.encode(["good filmed"], tokenizers, LabelData())
    hidden = [text_labels.hidden_of(model.eval(), collate([each])) for each in (example, other)]
    assert not torch.allclose(*hidden)  # "filming" and "filmed" are both unknown words


def test_pairs_read_overlap_beside_a_language_model() -> None:
    config = replace(
        PAIR,
        pretrained=("a",),
        pretrained_sizes=(6,),
        characters="recurrent",
        features=("overlap",),
        projection_size=3,
    )
    rows = [Row((row.fields[0], "so good", row.fields[1]), row.line) for row in ROWS]
    model, _, tokenizers = built(config, rows, task=pair.TASK)
    assert model.context.output_size == 6 + model.spelling.output_size + 1
    examples = [
        pair.TASK.encode([text, "so good"], tokenizers, LabelData()) for text in ("good", "fine")
    ]
    assert text_labels.hidden_of(model.eval(), collate(examples)).shape[0] == 2
