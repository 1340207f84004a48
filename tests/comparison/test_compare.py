"""A comparison from its plan to its files: what is made, written, and tried again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from comparing import HereRunner, Made, made, plan_of

from unrolled.comparison.compare import compare
from unrolled.comparison.plan import read_plan
from unrolled.comparison.report import lines_of
from unrolled.comparison.schedule import Grid
from unrolled.comparison.sizing import compute_sizes, sized
from unrolled.errors import ConfigError, DataError
from unrolled.predictors.load import load_labels
from unrolled.tasks import TASKS
from unrolled.training.kinds import build_loader, prepare


def data_of(folder: Path) -> dict:
    return json.loads((folder / "compare.json").read_text(encoding="utf-8"))


def test_every_variant_has_a_run_for_each_seed(compared: Made) -> None:
    data = compared.end.data
    assert [variant["name"] for variant in data["variants"]] == ["GRU", "LSTM"]
    for variant in data["variants"]:
        assert [run["seed"] for run in variant["runs"]] == [1, 2]
        assert all(run["state"] == "finished" and run["steps"] == 6 for run in variant["runs"])
    assert data["n_done"] == data["n_runs"] == 4
    assert data == data_of(compared.folder)


def test_variants_have_equal_parameters(compared: Made) -> None:
    data = compared.end.data
    for variant in data["variants"]:
        assert abs(variant["parameters"] / data["target_parameters"] - 1) <= 0.005
        run = load_labels(compared.folder / variant["runs"][0]["folder"])
        assert sum(each.numel() for each in run.model.parameters()) == variant["parameters"]


def test_scores_are_those_of_unrolled_evaluate(compared: Made) -> None:
    variant = compared.end.data["variants"][1]
    for run in variant["runs"]:
        predictor = load_labels(compared.folder / run["folder"])
        accuracy = predictor.evaluate(predictor.held_out("test")).scores["accuracy"]
        assert run["scores"]["accuracy"] == pytest.approx(100 * accuracy)
    values = [run["scores"]["accuracy"] for run in variant["runs"]]
    assert variant["mean"] == pytest.approx(sum(values) / 2)


def test_seeds_have_the_same_batches_in_all_variants(tiny: Path) -> None:
    plan = plan_of(tiny, "model.cell=rnn,lstm")
    loaders = []
    for variant in plan.variants:
        recipe = plan.recipe_of((*variant.settings, ("seed", "3")))
        task = TASKS[recipe.task]
        loaders.append(build_loader(recipe, task, prepare(recipe, task)))
    for epoch in (1, 2):
        n_batches = {loader.n_batches(epoch) for loader in loaders}
        assert len(n_batches) == 1
        for index in range(n_batches.pop()):
            first, second = (loader.batch(epoch, index)[0] for loader in loaders)
            assert torch.equal(first.texts[0].values, second.texts[0].values)


def test_the_order_of_words_can_vary(tiny: Path) -> None:
    plan = plan_of(tiny, "data.word_order=given,random")
    parts = {}
    for variant in plan.variants:
        recipe = plan.recipe_of(variant.settings)
        prepared = prepare(recipe, TASKS[recipe.task])
        parts[variant.name] = [prepared.train.examples, prepared.valid.examples]
    n_moved = 0
    for given, moved in zip(*parts.values(), strict=True):
        assert len(given) == len(moved)
        for one, other in zip(given, moved, strict=True):
            assert one.labels == other.labels
            assert sorted(one.texts[0]) == sorted(other.texts[0])
            n_moved += one.texts != other.texts
    assert n_moved > 50


def test_finished_runs_are_never_repeated(compared: Made, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(compared.folder, folder)
    runner = HereRunner()
    end = made(compared.plan, folder, runner)
    assert runner.made == []
    assert end.data == compared.end.data
    # A result that is lost is made again from its finished run, and is the same.
    (folder / "results" / "lstm-seed2.json").unlink()
    end = made(compared.plan, folder, runner)
    assert runner.made == ["lstm-seed2"]
    assert end.data == compared.end.data


def test_more_seeds_make_only_the_new_runs(compared: Made, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    shutil.copytree(compared.folder, folder)
    runner = HereRunner()
    end = made(dataclasses.replace(compared.plan, seeds=3), folder, runner)
    assert sorted(runner.made) == ["gru-seed3", "lstm-seed3"]
    assert [variant["n"] for variant in end.data["variants"]] == [3, 3]


def test_stopping_and_going_on_changes_no_bit(compared: Made, tmp_path: Path) -> None:
    events = compare(compared.plan, tmp_path / "stopped", HereRunner())
    for _ in range(2):
        next(events)
    events.close()
    assert data_of(tmp_path / "stopped")["n_done"] == 1
    made(compared.plan, tmp_path / "stopped")
    whole = (compared.folder / "compare.json").read_bytes()
    assert (tmp_path / "stopped" / "compare.json").read_bytes() == whole


def test_another_comparison_is_not_continued(compared: Made, tiny: Path) -> None:
    plan = plan_of(tiny, "model.cell=gru,lstm", settings=[("training.max_steps", "7")])
    with pytest.raises(ConfigError, match=r"its training.max_steps is 6, not 7; choose another"):
        made(plan, compared.folder)
    plan = plan_of(tiny, "model.n_layers=1,2")
    with pytest.raises(ConfigError, match=r"its --over is model.cell, not model.n_layers"):
        made(plan, compared.folder)
    assert data_of(compared.folder) == compared.end.data


def test_a_folder_with_something_else_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists and holds no comparison"):
        made(plan_of(tiny, "model.cell=gru,lstm"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        (["model.cel=gru,lstm"], {}, r"unknown key 'cel' in \[model\]; did you mean 'cell'"),
        (["model.cell=gru,lstmm"], {}, "variant 'LSTMM' cannot be built: .*did you mean 'lstm'"),
        (["model.hidden_size=8,16"], {}, "model.hidden_size is the width that is solved"),
        (
            ["model.embeddings.tuning=trained,frozen"],
            {},
            "variant 'embeddings.tuning frozen' cannot",
        ),
        ([], {}, "nothing varies; give a setting and its values"),
        (
            ["model.cell=gru,lstm"],
            {"tune": ("model.cell=gru,lstm",)},
            "model.cell is given to --over and to --tune",
        ),
        (
            ["model.cell=gru,lstm"],
            {"score": "bleu"},
            "--score bleu is not a score of task 'classify'",
        ),
    ],
)
def test_bad_plans_are_refused(tiny: Path, tmp_path: Path, over, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        made(plan_of(tiny, *over, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_widths_that_cannot_match_leave_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    small = [("model.hidden_size", "2"), ("model.embedding_size", "2")]
    plan = plan_of(tiny, "model.cell=gru,lstm", settings=small)
    with pytest.raises(ConfigError, match=r"cannot have .* parameters, as the recipe"):
        made(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_is_adjusted_so_that_all_match(tiny: Path) -> None:
    sizing = compute_sizes(
        plan_of(tiny, "model.cell=gru,lstm", settings=[("model.hidden_size", "16")])
    )
    gru, lstm = sizing.variants
    assert lstm.widths == {"model.hidden_size": 17}
    assert sizing.target == lstm.parameters
    assert abs(gru.parameters / sizing.target - 1) <= 0.005
    assert sizing.notes[0].startswith(
        "the variants match the recipe with model.hidden_size 17 in place of 16, the nearest width"
    )


def test_added_variants_match_those_that_are_there(tiny: Path) -> None:
    settings = [("model.hidden_size", "82")]
    before = compute_sizes(plan_of(tiny, "model.cell=gru,lstm", settings=settings))
    after = compute_sizes(plan_of(tiny, "model.cell=rnn,gru,lstm", settings=settings), before)
    assert after.variants[1:] == before.variants
    assert after.target == before.target
    assert abs(after.variants[0].parameters / before.target - 1) <= 0.005


def test_missing_data_are_refused_before_anything(tiny: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, "model.cell=gru,lstm", settings=[("data.train", "nowhere.tsv")])
    with pytest.raises(DataError, match=r"nowhere\.tsv"):
        made(plan, tmp_path / "out")


def test_a_run_that_diverges_is_named_and_others_go_on(tiny: Path, tmp_path: Path) -> None:
    settings = [("training.optimiser", "sgd"), ("training.clip_norm", "0")]
    plan = plan_of(tiny, "training.learning_rate=1e-2,1e38", seeds=1, settings=settings)
    end = made(plan, tmp_path / "out")
    good, bad = end.data["variants"]
    assert good["n"] == 1
    assert (bad["n"], bad["n_failed"]) == (0, 1)
    assert re.match(r"the \w+ of step \d+ .* is not finite", bad["runs"][0]["problem"])
    lines = "\n".join(lines_of(end.data, end.costs))
    assert "0 of 1, 1 not finite" in lines
    assert "has no score for seed 1, which the mean leaves out" in " ".join(lines.split())
    assert end.failed == {}


def test_a_run_without_result_is_tried_again(tiny: Path, tmp_path: Path) -> None:
    class FailsOnce(HereRunner):
        def start(self, key, job, log):
            if key == "gru-seed2":
                job = dataclasses.replace(job, recipe={**job.recipe, "seed": -1})
            super().start(key, job, log)

    plan = plan_of(tiny, "model.cell=gru,lstm")
    end = made(plan, tmp_path / "out", FailsOnce())
    assert list(end.failed) == ["gru-seed2"]
    assert "seed must be at least 0" in end.failed["gru-seed2"]
    assert end.data["n_done"] == 3
    assert made(plan, tmp_path / "out").data["n_done"] == 4


def test_tuning_tries_every_value_for_every_variant(tiny: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, "model.cell=gru,lstm", tune=("training.learning_rate=1e-9,2e-2",))
    runner = HereRunner()
    end = made(plan, tmp_path / "out", runner)
    # Two trials each, and the second seed with the chosen value.
    assert len(runner.made) == end.data["n_runs"] == 6
    for variant in end.data["variants"]:
        values = {
            trial["settings"]["training.learning_rate"]: trial["value"]
            for trial in variant["trials"]
        }
        assert variant["tuned"]["training.learning_rate"] == max(
            values, key=lambda one: values[one]
        )
        assert variant["runs"][0]["value"] == max(values.values())


def test_csv_has_a_row_for_each_run(compared: Made) -> None:
    text = (compared.folder / "compare.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["model.cell"], row["seed"]) for row in rows] == [
        *(("gru", "1"), ("gru", "2"), ("lstm", "1"), ("lstm", "2"))
    ]
    assert (
        float(rows[0]["accuracy"])
        == compared.end.data["variants"][0]["runs"][0]["scores"]["accuracy"]
    )
    assert all(float(row["seconds"]) > 0 and int(row["model_bytes"]) > 0 for row in rows)


def test_the_page_needs_nothing_else(compared: Made) -> None:
    page = (compared.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=""", page)
    assert "Learning curves" in page
    assert "Quality against training time" in page
    assert "LSTM and GRU: no difference" in page


def test_times_are_not_in_the_results(compared: Made) -> None:
    text = (compared.folder / "compare.json").read_text(encoding="utf-8")
    assert "seconds" not in text
    assert str(compared.folder) not in text
    costs = compared.end.costs["variants"]["lstm"]
    assert costs["seconds"]["mean"] > 0
    assert costs["step_microseconds"]["mean"] > 0


def test_lines_fit_the_width(compared: Made) -> None:
    for width in (60, 100):
        assert all(
            len(line) <= width for line in lines_of(compared.end.data, compared.end.costs, width)
        )


def test_the_plan_can_be_read_back(compared: Made) -> None:
    assert read_plan(compared.folder) == compared.plan


def test_multiply_adds_are_those_of_the_equations(compared: Made) -> None:
    for variant in compared.end.data["variants"]:
        gates = {"gru": 3, "lstm": 4}[variant["settings"]["model.cell"]]
        H, E, C = variant["widths"]["model.hidden_size"], 4, 2
        per_step = gates * H * (E + H)
        # The output layer runs once for each text, of 2 to 6 tokens.
        assert per_step + C * H / 6 <= variant["multiply_adds"] <= per_step + C * H / 2 + 1


def test_without_matching_widths_stay(tiny: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, "model.cell=rnn,lstm", match=())
    sizing = sized(plan, tmp_path)
    assert [variant.widths for variant in sizing.variants] == [{}, {}]
    assert sizing.variants[0].parameters < sizing.variants[1].parameters
    recipes = [run.recipe for run in Grid(plan, sizing, tmp_path).wanted()]
    assert {recipe.model.hidden_size for recipe in recipes} == {17}
