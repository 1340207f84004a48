"""Ensembles: several seeds in one folder that predict with the mean of their probabilities."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_step_model import Toy

import unrolled
from unrolled import cli, storage
from unrolled.comparison.run_list import facts_of
from unrolled.errors import ConfigError, RunError
from unrolled.inspect.attribution import explain_words
from unrolled.metrics.multi_label import choose_thresholds
from unrolled.samples import expressions
from unrolled.samples.shop import generator as shop
from unrolled.tasks.classify import ClassifyConfig
from unrolled.tasks.ensemble import JointState, JointSteps
from unrolled.training.checkpoint import load_tensors
from unrolled.training.ensemble import EnsembleFinished, MemberStarted, fit_ensemble
from unrolled.training.events import Evaluated, Finished, Saved, Step
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import HOLDS, is_ensemble

pytestmark = pytest.mark.usefixtures("one_thread")

GOOD, BAD = ("fine", "lovely", "great"), ("awful", "dull", "poor")
THINGS = ("film", "book", "song", "play", "meal", "walk")
TEXTS = ["a lovely film", "the dull book is great", "", "zzz", "the song number 2 is poor today"]


def rows(several: bool = False) -> list[tuple[str, str]]:
    return [
        (
            f"the {thing} number {n} is {word} today",
            label + ("|thing" if several and n == 1 else ""),
        )
        for thing in THINGS
        for label, words in (("good", GOOD), ("bad", BAD))
        for word in words
        for n in (1, 2)
    ]


def recipe_for(folder: Path, task: str = "classify", lines=None, **changes) -> Recipe:
    data = folder / "data.tsv"
    lines = ["text\tlabel", *("\t".join(row) for row in rows())] if lines is None else lines
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sections = {
        "data": {"train": [str(data)], "valid_size": 12, "test_size": 12},
        "text": {"kind": "word"},
        "model": {"embedding_size": 6, "hidden_size": 7},
        "training": {
            "learning_rate": 0.03,
            "max_tokens": 128,
            "max_steps": 12,
            "evaluate_every_n_steps": 6,
            "log_every_n_steps": 1,
            "device": "cpu",
        },
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        sections.setdefault(section, {})[key] = value
    return Recipe.from_mapping({"task": task, "seed": 3, **sections}, unrolled.TASKS)


def files(folder: Path) -> dict[str, bytes]:
    """All files of an ensemble, without what contains times: logs and checkpoints."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "checkpoints" not in path.parts and path.name != "metrics.jsonl"
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ensemble")
    list(fit_ensemble(recipe_for(place), place / "run", 3))
    return place / "run"


def members(folder: Path) -> list:
    return [unrolled.load(each) for each in sorted((folder / "members").iterdir())]


def test_probabilities_are_the_mean_of_the_members(folder: Path) -> None:
    model, parts = unrolled.load(folder), members(folder)
    assert [part.recipe.seed for part in parts] == [3, 4, 5]
    found = model.predict(TEXTS)
    each_MNC = np.array([[one.probabilities for one in part.predict(TEXTS)] for part in parts])
    mean_NC = each_MNC.astype(np.float64).mean(0)
    assert np.ptp(each_MNC, 0)[:2].max() > 0.01  # the members differ
    for one, mean_C in zip(found, mean_NC, strict=True):
        np.testing.assert_allclose(one.probabilities, mean_C, rtol=0, atol=1e-6)
        assert one.labels == (model.labels.names[mean_C.argmax()],)


def test_an_ensemble_is_evaluated_like_a_run(folder: Path, tmp_path: Path, capsys) -> None:
    model = unrolled.load(folder)
    evaluation = model.evaluate(model.held_out("valid"), "valid")
    record = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
    assert 100 * evaluation.scores["accuracy"] == pytest.approx(record["scores"]["accuracy"])
    assert cli.main(["evaluate", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").exists()
    assert cli.main(["predict", str(folder), "a lovely film", "--scores"]) == 0
    (prediction,) = model.predict(["a lovely film"])
    shown = dict(zip(model.labels, prediction.probabilities.tolist(), strict=True))
    last = capsys.readouterr().out.splitlines()[-1].split("\t")
    assert dict(zip(last[::2], last[1::2], strict=True)) == {
        name: f"{p:.4f}" for name, p in shown.items()
    }


def test_words_are_explained_by_the_mean_of_members(folder: Path) -> None:
    model = unrolled.load(folder)
    text = "the film is lovely today"
    [[words]] = explain_words(model, [text], "occlusion")
    label = model.predict([text])[0].labels[0]
    c = model.labels.names.index(label)
    falls = np.zeros(5)
    for part in members(folder):
        tokens = text.split()
        less = [" ".join(tokens[:t] + tokens[t + 1 :]) for t in range(5)]
        p = np.array([one.probabilities[c] for one in part.predict([text, *less])], np.float64)
        odds = np.log(p) - np.log1p(-p)
        falls += (odds[0] - odds[1:]) / 3
    shown = np.array([weight for _, weight in words])
    np.testing.assert_allclose(shown, falls / np.abs(falls).max(), atol=2e-3)


@pytest.mark.parametrize("stop", [(Step, 2), (Saved, 1), (Evaluated, 2), (Finished, 1), (Step, 20)])
def test_a_killed_ensemble_ends_with_the_same_files(
    folder: Path, tmp_path: Path, stop: tuple[type, int]
) -> None:
    recipe = recipe_for(tmp_path)
    out, seen = tmp_path / "run", 0
    events = fit_ensemble(recipe, out, 3)
    for event in events:
        seen += isinstance(event, stop[0])
        if seen == stop[1]:
            events.close()
    with pytest.raises(RunError, match=r"is an ensemble with \d of 3 members trained; go on with"):
        unrolled.load(out)
    again = list(fit_ensemble(recipe, out, 3))
    assert isinstance(again[-1], EnsembleFinished)
    whole, parts = files(folder), files(out)
    assert parts.keys() == whole.keys()
    for name, content in parts.items():
        if name.endswith("model.safetensors"):
            ours, theirs = load_tensors(out / name), load_tensors(folder / name)
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        elif Path(name).name in ("ensemble.json", "labels.json", "tokenizer-text.json"):
            assert content == whole[name]


def test_a_finished_ensemble_is_not_trained_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    before = files(copy)
    recipe = recipe_for(folder.parent)
    events = list(fit_ensemble(recipe, copy, 3))
    assert [type(event) for event in events] == [MemberStarted] * 3 + [EnsembleFinished]
    assert all(event.is_finished for event in events[:3])
    assert files(copy) == before
    more = [event for event in fit_ensemble(recipe, copy, 4) if isinstance(event, MemberStarted)]
    assert [event.is_finished for event in more] == [True, True, True, False]
    assert len(unrolled.load(copy).model.members) == 4
    with pytest.raises(ConfigError, match="has 4 members, and 2 were asked for; ask for 4 or more"):
        fit_ensemble(recipe, copy, 2)


def test_other_settings_are_refused_and_limits_go_on(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    recipe = recipe_for(folder.parent)
    other = replace(recipe, model=ClassifyConfig(embedding_size=6, hidden_size=5))
    with pytest.raises(ConfigError, match=r"model.hidden_size is 5, but .* was started with 7"):
        fit_ensemble(other, copy, 3)
    longer = replace(recipe, training=replace(recipe.training, max_steps=14))
    ends = [e for e in fit_ensemble(longer, copy, 3) if isinstance(e, Finished)]
    assert [end.step for end in ends] == [14, 14, 14]
    assert unrolled.load(copy).recipe.training.max_steps == 14


def test_force_replaces_only_what_belongs_to_it(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    assert storage.first_foreign(copy, HOLDS) is None
    mine = copy / "members" / "notes.txt"
    mine.write_text("mine", encoding="utf-8")
    recipe = recipe_for(folder.parent)
    with pytest.raises(RunError, match=r"notes.txt does not belong to the run"):
        fit_ensemble(recipe, copy, 2, force=True)
    mine.unlink()
    list(fit_ensemble(recipe, copy, 2, force=True))
    assert len(unrolled.load(copy).model.members) == 2
    unrolled.train(recipe, copy, force=True)
    assert not is_ensemble(copy)
    assert not (copy / "members").exists()


def test_thresholds_are_those_of_the_mean(tmp_path: Path) -> None:
    lines = ["text\tlabel", *("\t".join(row) for row in rows(several=True))]
    recipe = recipe_for(tmp_path, lines=lines, data__label_separator="|")
    list(fit_ensemble(recipe, tmp_path / "run", 2))
    model = unrolled.load(tmp_path / "run")
    held = model.held_out("valid")
    texts = [row.texts[0] for row in held]
    mean_NC = np.mean(
        [[one.probabilities for one in part.predict(texts)] for part in members(tmp_path / "run")],
        0,
    )
    gold_NC = [[name in model.gold(row) for name in model.labels] for row in held]
    wanted = choose_thresholds(np.array(gold_NC, np.int64), mean_NC.astype(np.float32))
    np.testing.assert_allclose(model.model.head.thresholds.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_tags_follow_the_scheme_by_mean_probabilities(tmp_path: Path, head: str) -> None:
    data = tmp_path / "names.conll"
    names = ("Ann Lee", "Bob", "New York", "Oslo")
    data.write_text(
        "\n".join(
            "".join(
                f"{word}\t{tag}\n"
                for word, tag in [
                    *((word, "I-X" if t else "B-X") for t, word in enumerate(name.split())),
                    (f"went{n}", "O"),
                    (".", "O"),
                ]
            )
            for name in names
            for n in range(12)
        ),
        encoding="utf-8",
    )
    recipe = recipe_for(tmp_path, "tag", data__train=[str(data)], model__head=head)
    list(fit_ensemble(recipe, tmp_path / "run", 2))
    model, parts = unrolled.load(tmp_path / "run"), members(tmp_path / "run")
    sentences = [["New", "Oslo", "Ann", "."], ["York", "went"], []]
    found = model.predict(sentences)
    for sentence, one in zip(sentences, found, strict=True):
        mean_TC = np.mean([part.predict([sentence])[0].probabilities for part in parts], 0)
        np.testing.assert_allclose(one.probabilities, mean_TC, atol=1e-6)
        best = best_path(mean_TC, model.labels.names, head == "crf")
        assert one.labels == best


def best_path(mean_TC: np.ndarray, names: tuple[str, ...], by_scheme: bool) -> tuple[str, ...]:
    """The best of all tag sequences, by enumeration."""
    from itertools import product

    if not len(mean_TC):
        return ()
    best = (-np.inf, ())
    for path in product(range(len(names)), repeat=len(mean_TC)):
        tags = [names[c] for c in path]
        broken = any(
            tag.startswith("I") and (t == 0 or tags[t - 1] == "O") for t, tag in enumerate(tags)
        )
        total = sum(np.log(max(mean_TC[t, c], 1e-37)) for t, c in enumerate(path))
        if not (by_scheme and broken) and total > best[0]:
            best = total, tuple(tags)
    return best[1]


def test_one_search_uses_the_mean_distribution(tmp_path: Path, pairs_file: Path) -> None:
    recipe = recipe_for(
        tmp_path,
        "translate",
        data__train=[str(pairs_file)],
        data__valid_size=5,
        data__test_size=7,
        model__encoder_size=7,
        model__hidden_size=14,
        training__max_steps=30,
        training__valid_sentences=5,
    )
    list(fit_ensemble(recipe, tmp_path / "run", 2))
    model, parts = unrolled.load(tmp_path / "run"), members(tmp_path / "run")
    assert model.evaluate(model.held_out("test")).total.n_sentences == 7
    text = "I see four white birds."
    (found,) = model.predict([text], n_best=2, with_attention=True)
    for answer in found.hypotheses:
        total = mean_log_prob(parts, text, answer)
        assert answer.log_prob == pytest.approx(total, abs=1e-4)
    greedy = replace(model.recipe.decoding, method="greedy")
    assert model.predict([text], greedy)[0].text


def mean_log_prob(parts: list, text: str, answer) -> float:
    """log Π_t (1/N Σ_n p_n(y_t | y_<t)), with teacher forcing by each model."""
    from unrolled.shapes import Padded
    from unrolled.text.config import BOS_ID, EOS_ID

    tokenizer = parts[0].tokenizers["target"]
    ids = [
        tokenizer.id_of(piece) for piece in answer.pieces[: len(answer.pieces) - answer.finished]
    ]
    wanted = [*ids, *([EOS_ID] if answer.finished else [])]
    p_NT = []
    for part in parts:
        pair = part.task.encode([text], part.tokenizers)
        source = Padded.from_rows([pair.source])
        with torch.no_grad():
            output = part.model(source, Padded.from_rows([[BOS_ID, *ids][: len(wanted)]]))
            log_p = part.model.head.logits(output.hidden[0]).log_softmax(1)
        p_NT.append([float(log_p[t, id_].exp()) for t, id_ in enumerate(wanted)])
    return float(np.log(np.mean(p_NT, 0)).sum())


@pytest.mark.parametrize("task", ["sql", "code"])
def test_queries_and_code_are_searched_together(tmp_path: Path, task: str) -> None:
    pytest.importorskip("llguidance")
    if task == "sql":
        shop.write(tmp_path, shop.generate(n=60))
    else:
        expressions.write(tmp_path, expressions.generate(60, 5, 5))
    parts = {part: [str(tmp_path / f"{part}.tsv")] for part in ("train", "valid", "test")}
    sizes = {"embedding_size": 8, "encoder_size": 8, "hidden_size": 16}
    training = {"max_steps": 2, "valid_sentences": 2, "device": "cpu"}
    mapping = {"task": task, "data": parts, "model": sizes, "training": training}
    list(fit_ensemble(Recipe.from_mapping(mapping, unrolled.TASKS), tmp_path / "run", 2))
    model = unrolled.load(tmp_path / "run")
    found = model.evaluate(model.held_out("test")[:2])
    assert (found.n_questions if task == "sql" else found.total.n_sentences) == 2
    record = json.loads((tmp_path / "run" / "ensemble.json").read_text(encoding="utf-8"))
    assert record["derived"].keys() == ({"least_log_prob"} if task == "sql" else set())


def test_joint_steps_average_and_move_together() -> None:
    toys = [Toy(11, seed=seed) for seed in (3, 4, 5)]
    joint = JointSteps(tuple(toys))
    state = JointState(tuple(toy.start(2) for toy in toys))
    tokens = torch.tensor([[4], [7]])
    for move in (None, "reorder", "keep"):
        if move == "reorder":
            order = torch.tensor([[0, 0], [0, 0]])
            state, tokens = state.reorder(order), torch.tensor([[5, 6], [8, 9]])
        if move == "keep":
            state, tokens = state.keep(torch.tensor([1])), torch.tensor([[4, 10]])
        each = [toy.step(tokens, one) for toy, one in zip(toys, state.states, strict=True)]
        logits, state, attention = joint.step(tokens, state)
        mean = torch.stack([one.softmax(2) for one, _, _ in each]).mean(0)
        torch.testing.assert_close(logits.exp(), mean, rtol=0, atol=1e-12)
        assert len(state.states) == 3
        if attention is not None:
            weights = torch.stack([one for _, _, one in each]).mean(0)
            torch.testing.assert_close(attention, weights, rtol=0, atol=1e-12)


def test_language_models_have_no_ensembles(tmp_path: Path, capsys) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f g\n" * 400, encoding="utf-8")
    command = ["train", "--task", "language_model", "--data", str(text), "--ensemble", "2"]
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "unrolled: an ensemble averages models of labels, text, queries or code, not of task "
        "'language_model'; train one larger model instead\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_command_goes_on_and_shows_each_member(tmp_path: Path, capsys) -> None:
    recipe_for(tmp_path)
    out = tmp_path / "run"
    quick = ["--training.max_steps", "4", "--model.hidden_size", "5", "--data.valid_size", "12"]
    command = ["train", "--task", "classify", "--data", str(tmp_path / "data.tsv"), *quick]
    command += ["--out", str(out), "--baselines", "none"]
    assert cli.main([*command, "--ensemble", "1"]) == 2
    assert capsys.readouterr().err == "unrolled: ensemble must be from 2 to 100, got 1\n"
    assert cli.main([*command, "--ensemble", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"event=member number=1 members=2 seed=1 run={out}/members/seed-1 trained=no"
    assert sum(line.startswith("event=end ") for line in lines) == 2
    (mean,) = (line for line in lines if line.startswith("event=ensemble members=2 accuracy="))
    assert " mean_member_accuracy=" in mean
    for again in ([*command, "--ensemble", "2"], ["train", "--resume", "--out", str(out)]):
        assert cli.main([*again, *(["--baselines", "none"] if "--resume" in again else [])]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == [
            "event=member",
            "event=member",
            "event=ensemble",
            "event=saved",
            "event=try",
            "event=try",
        ]
    facts = facts_of(out)
    assert (facts.problem, facts.steps) == ("", None)
    assert facts.best.startswith("accuracy ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--from", "{run}"],
            "is an ensemble, and training starts from one run; name one of its mem",
        ),
        (
            ["--ensemble", "2", "--from", "{run}"],
            "--from starts one run from another, and --ensemble",
        ),
        (["--ensemble", "2", "--resume", "--force"], "--resume cannot be combined with --force"),
    ],
)
def test_options_that_exclude_each_other(folder: Path, tmp_path, capsys, options, message) -> None:
    command = ["train", "--task", "classify", "--data", str(folder.parent / "data.tsv")]
    command += [each.format(run=folder) for each in options]
    assert cli.main([*command, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err


def test_inspection_names_a_member(folder: Path, capsys) -> None:
    assert cli.main(["inspect", str(folder), "a lovely film"]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: {folder} is an ensemble, and inspection reads one run; name one of its members, "
        f"such as {folder}/members/seed-3\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seeds"', '"seed"'), ("Unrolled ensemble", "Something"), ('"seeds": [', '"seeds": [-1, ')],
)
def test_a_damaged_record_is_refused(folder: Path, tmp_path: Path, old: str, new: str) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    path = copy / "ensemble.json"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(RunError, match=r"ensemble.json: unreadable \(unexpected content\)"):
        unrolled.load(copy)


def test_members_with_other_vocabularies_are_refused(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(folder.parent)
    out = tmp_path / "run"
    events = fit_ensemble(recipe, out, 2)
    for event in events:
        if isinstance(event, Finished):
            events.close()
    lines = ["text\tlabel", *("\t".join(row) for row in rows()[:40])]
    (tmp_path / "other").mkdir()
    other = replace(recipe_for(tmp_path / "other", lines=lines), seed=4)
    unrolled.train(other, out / "members" / "seed-4")
    with pytest.raises((RunError, ConfigError), match=r"is not a file that|other tokenizers"):
        list(fit_ensemble(recipe, out, 2))
