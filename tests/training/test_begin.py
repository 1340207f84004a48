"""Runs with pretrained embeddings: coverage notes, files needed only once, frozen embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unrolled.errors import ConfigError, DataError
from unrolled.predictors.load import load
from unrolled.tasks import TASKS
from unrolled.tasks.embeddings import EmbeddingsConfig, sections
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.tasks.seq2seq import TranslateConfig
from unrolled.text.config import PAD_ID, TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.splits import DataConfig
from unrolled.training.checkpoint import load_checkpoint
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Event, Started
from unrolled.training.loop import fit
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import read_recipe
from unrolled.vectors.formats.detect import read_vectors, write_vectors

ENGLISH = ["i", "see", "the", "cat", "dog", "red", "bird"]
SPANISH = ["veo", "el", "gato", "perro", "pájaro", "rojo"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Vectors of two languages, with a word that the data have not."""
    generator = np.random.default_rng(4)
    paths = {}
    for name, words in (("en.txt", ENGLISH), ("es.vec.gz", SPANISH)):
        matrix = generator.normal(0, 0.4, (len(words), 6)).astype(np.float32)
        write_vectors(tmp_path / name, words, matrix)
        paths[name[:2]] = str(tmp_path / name)
    return paths


@pytest.fixture
def text_recipe(tmp_path: Path, files: dict[str, str]) -> Recipe:
    lines = [f"I see the {a} {b}\n" for a in ("red", "big") for b in ("cat", "dog")]
    path = tmp_path / "text.txt"
    path.write_text("".join(lines) * 30, encoding="utf-8")
    return Recipe(
        task="language_model",
        seed=3,
        data=StreamConfig(train=(str(path),), documents="line", n_rows=4, k1=8),
        text=TextConfig(kind="word"),
        model=LanguageModelConfig(
            cell="gru", embedding_size=6, hidden_size=8, embeddings=EmbeddingsConfig(files["en"])
        ),
        training=TrainingConfig(max_steps=4, learning_rate=0.02, device="cpu"),
    )


@pytest.fixture
def pair_recipe(tmp_path: Path, files: dict[str, str]) -> Recipe:
    nouns = {"cat": "gato", "dog": "perro", "bird": "pájaro", "horse": "caballo"}
    verbs = {"I see": "Veo", "I like": "Me gusta", "I know": "Conozco", "I paint": "Pinto"}
    lines = [
        f"{verb} the {noun}\t{verbo} el {nombre}"
        for verb, verbo in verbs.items()
        for noun, nombre in nouns.items()
    ]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(["en\tes", *lines, ""]), encoding="utf-8")
    return Recipe(
        data=DataConfig(train=(str(path),), valid_size=3, test_size=2),
        text=TextConfig(kind="word"),
        model=TranslateConfig(
            cell="gru",
            embedding_size=6,
            encoder_size=4,
            hidden_size=8,
            source_embeddings=EmbeddingsConfig(files["en"]),
            target_embeddings=EmbeddingsConfig(files["es"]),
        ),
        training=TrainingConfig(max_steps=4, valid_sentences=2, device="cpu"),
    )


def with_model(recipe: Recipe, **settings) -> Recipe:
    return replace(recipe, model=replace(recipe.model, **settings))  # type: ignore[type-var]


def started(events: list[Event]) -> Started:
    assert isinstance(events[0], Started)
    return events[0]


def vector(path: str, word: str) -> np.ndarray:
    return read_vectors(path, {word}).matrix[0]


def begun_weights(recipe: Recipe, out: Path):
    """The model and tokenizers of a run before its first update."""
    events = fit(recipe, out)
    next(events)
    events.close()
    return load(out)


def test_vector_coverage_is_reported_in_events_and_model_card(
    text_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    told = started(list(fit(text_recipe, out))).notes
    expected = (
        f"model.embeddings.file: 6 of 7 words (85.7%) have a vector in {files['en']}, 1 of them in lower "
        "case; the others start at random values"
    )
    assert told[-1] == expected
    assert f"- {expected}\n" in (out / "README.md").read_text(encoding="utf-8")
    Path(files["en"]).unlink()
    longer = replace(text_recipe, training=replace(text_recipe.training, max_steps=6))
    assert started(list(fit(longer, out, resume=True))).notes[-1] == expected
    assert expected in (out / "README.md").read_text(encoding="utf-8")
    assert load(out) is not None


def test_a_model_starts_with_the_vectors_of_the_file(
    text_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    for tied in (False, True):
        run = begun_weights(with_model(text_recipe, tied=tied), tmp_path / f"run-{tied}")
        id_ = run.tokenizers["text"].id_of("cat")
        seen = run.model._embed(torch.tensor([id_])).detach()[0]
        np.testing.assert_allclose(seen, vector(files["en"], "cat"), rtol=1e-5)
        assert not run.model.embedding.weight[PAD_ID].any()


@pytest.mark.parametrize("tied", ["none", "target"])
def test_each_side_of_a_translator_has_its_file(
    pair_recipe: Recipe, files: dict[str, str], tmp_path: Path, tied: str
) -> None:
    run = begun_weights(with_model(pair_recipe, tied_embeddings=tied), tmp_path / "run")
    model = run.model
    for embedding, role, file, word in (
        (model.source_embedding, "source", "en", "bird"),
        (model.target_embedding, "target", "es", "pájaro"),
    ):
        id_ = run.tokenizers[role].id_of(word)
        seen = embedding.weight[id_].detach() * model._scale(embedding)
        np.testing.assert_allclose(seen, vector(files[file], word), rtol=1e-5)


def test_one_table_for_both_languages_has_one_file(
    pair_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    recipe = replace(
        with_model(pair_recipe, tied_embeddings="all", target_embeddings=EmbeddingsConfig()),
        text=TextConfig(kind="word", shared=True),
    )
    events = fit(recipe, tmp_path / "run")
    first = next(events)
    events.close()
    assert isinstance(first, Started)
    assert len([note for note in first.notes if "_embeddings.file: " in note]) == 1


def test_frozen_embeddings_stay_and_the_others_learn(
    text_recipe: Recipe, pair_recipe: Recipe, tmp_path: Path
) -> None:
    for name, recipe in (("text", text_recipe), ("pairs", pair_recipe)):
        weights = {}
        for frozen in (False, True):
            out = tmp_path / f"{name}-{frozen}"
            tuning = "frozen" if frozen else "trained"
            frozen_recipe = with_model(
                recipe,
                **{
                    name: replace(getattr(recipe.model, name), tuning=tuning)
                    for name in sections(type(recipe.model))
                },
            )
            before = begun_weights(frozen_recipe, out).model
            n_parameters = started(list(fit(frozen_recipe, out, resume=True))).parameters
            after = load(out).model
            weights[frozen] = {
                parameter: torch.equal(tensor, dict(before.named_parameters())[parameter])
                for parameter, tensor in after.named_parameters()
            }
            n_frozen = sum(p.numel() for p in after.parameters() if not p.requires_grad)
            assert n_parameters + n_frozen == sum(p.numel() for p in after.parameters())
        stay = {parameter for parameter, same in weights[True].items() if same}
        assert stay == {parameter for parameter in weights[True] if "embedding.weight" in parameter}
        assert not any(weights[False].values())


def test_frozen_training_resumes_bit_for_bit(text_recipe: Recipe, tmp_path: Path) -> None:
    settings = replace(text_recipe.model.embeddings, tuning="frozen")
    recipe = with_model(text_recipe, embeddings=settings)
    recipe = replace(recipe, training=replace(recipe.training, average=0.9))
    list(fit(recipe, tmp_path / "whole"))
    short = replace(recipe, training=replace(recipe.training, max_steps=2))
    list(fit(short, tmp_path / "parts"))
    list(fit(recipe, tmp_path / "parts", resume=True))
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    for one, other in ((whole.weights, parts.weights), (whole.rest, parts.rest)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_average_starts_with_the_vectors_too(
    text_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    recipe = replace(text_recipe, training=replace(text_recipe.training, average=0.99))
    run = begun_weights(recipe, tmp_path / "run")
    id_ = run.tokenizers["text"].id_of("dog")
    np.testing.assert_array_equal(
        run.model.embedding.weight[id_].detach(), vector(files["en"], "dog")
    )


def test_a_run_without_vectors_draws_as_it_did(text_recipe: Recipe, tmp_path: Path) -> None:
    recipe = with_model(text_recipe, embeddings=EmbeddingsConfig())
    run = begun_weights(recipe, tmp_path / "run")
    torch.manual_seed(recipe.seed)
    fresh = TASKS["language_model"].build(recipe.model, run.tokenizers)
    assert torch.equal(run.model.embedding.weight, fresh.embedding.weight)


def test_fine_tuning_needs_no_vector_file(
    text_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    list(fit(text_recipe, tmp_path / "first"))
    Path(files["en"]).unlink()
    frozen = EmbeddingsConfig(files["en"], tuning="frozen")
    for number, settings in enumerate((text_recipe.model.embeddings, EmbeddingsConfig(), frozen)):
        recipe = with_model(text_recipe, embeddings=settings)
        list(fit(recipe, tmp_path / f"run-{number}", start_from=tmp_path / "first"))
    last = load(tmp_path / "run-2").model.embedding.weight
    assert torch.equal(last, load(tmp_path / "first").model.embedding.weight)
    other = with_model(text_recipe, embeddings=EmbeddingsConfig("other.txt"))
    with pytest.raises(
        ConfigError, match=r"^model.embeddings.file is 'other.txt', but .* was trained with"
    ):
        fit(other, tmp_path / "run-3", start_from=tmp_path / "first")


def refusal(recipe: Recipe, out: Path) -> str:
    """What the call says, before any event is asked for."""
    with pytest.raises((ConfigError, DataError)) as raised:
        fit(recipe, out)
    return str(raised.value).replace(f"{out.parent}/", "")


def test_invalid_embeddings_are_refused_before_reading_data(
    text_recipe: Recipe, pair_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    for path in (*text_recipe.data.train, *pair_recipe.data.train):
        Path(path).unlink()
    junk = tmp_path / "junk.bin"
    junk.write_bytes(bytes(range(200, 256)))
    before, out = sorted(tmp_path.iterdir()), tmp_path / "run"
    for recipe, setting in (
        (text_recipe, "embeddings"),
        (pair_recipe, "source_embeddings"),
        (pair_recipe, "target_embeddings"),
    ):
        asked = with_model(recipe, **{setting: EmbeddingsConfig(str(tmp_path / "eng.txt"))})
        assert refusal(asked, out) == (
            f"eng.txt: no such file; did you mean 'en.txt'? (model.{setting}.file)"
        )
        sentence = refusal(with_model(recipe, **{setting: EmbeddingsConfig(str(junk))}), out)
        assert sentence.startswith("junk.bin, line 1: expected a word and its numbers")
        assert sentence.endswith(f" (model.{setting}.file)")
        asked = with_model(recipe, embedding_size=7, **{setting: EmbeddingsConfig(files["en"])})
        first = "source_embeddings" if setting == "target_embeddings" else setting
        assert refusal(asked, out) == (
            f"model.embedding_size is 7, but the vectors in en.txt (model.{first}.file) have 6 "
            "dimensions; set model.embedding_size = 6"
        )
        asked = replace(recipe, text=TextConfig(kind="bpe"))
        assert "text.kind is 'bpe', whose tokens are parts of words" in refusal(asked, out)
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_that_cannot_start_leaves_nothing(
    text_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("gato 1 2 3 4 5 6\n", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"other.txt: none of the 7 words of the vocabulary is in"):
        list(
            fit(with_model(text_recipe, embeddings=EmbeddingsConfig(str(other))), tmp_path / "run")
        )
    assert sorted(tmp_path.iterdir()) == before


def test_the_recipe_of_a_run_names_its_vectors(
    pair_recipe: Recipe, files: dict[str, str], tmp_path: Path
) -> None:
    settings = replace(pair_recipe.model.source_embeddings, missing="mean")
    recipe = with_model(pair_recipe, source_embeddings=settings)
    begun_weights(recipe, tmp_path / "run")
    saved, _ = read_recipe(tmp_path / "run")
    assert saved == recipe


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"embeddings": EmbeddingsConfig(tuning="frozen")},
            "model.embeddings.tuning is 'frozen', but randomly initialised embeddings must be trainable; "
            "name a file of vectors in model.embeddings.file",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt", tuning="frozen"), "tied": True},
            "model.embeddings.tuning is 'frozen', but the output layer shares the embedding and must be "
            "trainable; set model.tied = false",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt"), "embedding": "one_hot"},
            "model.embeddings.file: one-hot embeddings have no vectors; remove the file, or set "
            "model.embedding = 'learned'",
        ),
        (
            {"embeddings": EmbeddingsConfig("v.txt", extra_words=3)},
            "model.embeddings.extra_words is 3, which is only available for tasks whose output is "
            "labels; remove it",
        ),
    ],
)
def test_invalid_language_model_embeddings_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        LanguageModelConfig(**settings)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"source_embeddings": EmbeddingsConfig(tuning="frozen")},
            "model.source_embeddings.tuning is 'frozen', but randomly initialised embeddings must be "
            "trainable; name a file of vectors in model.source_embeddings.file",
        ),
        (
            {
                "target_embeddings": EmbeddingsConfig("v.txt", tuning="frozen"),
                "tied_embeddings": "target",
            },
            "model.target_embeddings.tuning is 'frozen', but the output layer shares that embedding and "
            "must be trainable; set model.tied_embeddings = 'none'",
        ),
        (
            {"target_embeddings": EmbeddingsConfig("v.txt"), "tied_embeddings": "all"},
            "model.target_embeddings.file: source and target share one table (model.tied_embeddings = "
            "'all'); use model.source_embeddings.file alone",
        ),
        (
            {
                "source_embeddings": EmbeddingsConfig("v.txt", tuning="thawed", frozen_epochs=1),
            },
            "model.source_embeddings.tuning is 'thawed', which is only available for tasks whose output "
            "is labels; remove it",
        ),
    ],
)
def test_invalid_translator_embeddings_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TranslateConfig(**settings)
    assert str(raised.value) == sentence


def test_a_frozen_source_is_allowed_with_a_tied_target() -> None:
    frozen = EmbeddingsConfig("v.txt", tuning="frozen")
    config = TranslateConfig(source_embeddings=frozen, tied_embeddings="target")
    assert config.source_embeddings.tuning == "frozen"
