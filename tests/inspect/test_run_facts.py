"""What the report of a run says about it: recipe, data, learning curve, and where its mistakes are."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.inspect.axes import numbers_around
from unrolled.inspect.label_charts import IntervalScale, learning_charts
from unrolled.inspect.label_report import LabelReport, report_page
from unrolled.inspect.label_views import SHUFFLED, Baseline
from unrolled.inspect.run_facts import DataPart, facts_of, learning_curve
from unrolled.metrics.intervals import Interval, bootstrap, paired_bootstrap
from unrolled.metrics.labels import measure_labels, tally_labels

OLD = Path(__file__).parents[1] / "old_files"
EVALUATED = DataPart("evaluated", 9, "new.tsv")


def write_log(folder: Path, *events: object) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [each if isinstance(each, str) else json.dumps(each) for each in events]
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def evaluated(step: int, loss: float, score: float | None, is_best: bool = False) -> dict:
    scores = {} if score is None else {"accuracy": score}
    return {
        "event": "evaluated", "step": step, "epoch": 1, "loss": loss, "scores": scores,
        "is_best": is_best, "seconds": 2.0 * step,
    }  # fmt: skip


def test_the_facts_of_a_run_are_those_of_its_files() -> None:
    model = unrolled.load(OLD / "classify/run")
    now = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
    found = facts_of(model, EVALUATED, now)
    facts = dict(found.facts)
    assert facts["date"] == "2031-02-03 04:05 UTC"
    assert facts["parameters"] == "1,295"
    assert facts["random seed"] == f"{model.recipe.seed}; of the split 3"
    assert facts["training"].startswith("120 updates, 60 epochs, 2 seconds; best by ")
    assert facts["training"].endswith(" after update 100")
    assert re.search(r"torch \d.*, Python 3\.", facts["versions"])
    assert [(part.name, part.n_rows, part.files) for part in found.parts] == [
        ("training", 72, "train.tsv"),
        ("validation", 18, "valid.tsv"),
        ("test", 18, "test.tsv"),
        ("evaluated", 9, "new.tsv"),
    ]
    assert found.parts[0].sha256 == "d16569af2ec3"
    assert found.recipe == model.recipe.to_toml()


def test_facts_and_curve_are_on_the_page() -> None:
    facts = facts_of(unrolled.load(OLD / "classify/run"), EVALUATED)
    page = report_page(LabelReport("t", measure_labels("ab", [0], [0]), facts=facts))
    for name, text in facts.facts:
        assert f"<bdi>{name}</bdi></th>" in page
        assert f'<td class="line">{text.replace("&", "&amp;")}</td>' in page
    assert "max_epochs = 60" in page
    assert page.count("<polyline") == 3
    for title in ("Loss, nats per target", "Accuracy, validation"):
        assert f'role="img" aria-label="{title}, by number of updates"' in page
    rows = re.findall(r"<bdi>(50|100|120)</bdi></th><td>\d+</td><td>([\d.]+)</td>", page)
    assert rows == [("50", "0.3896"), ("100", "0.0934"), ("120", "0.0971")]


def test_a_part_without_files_was_held_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "classify/run", run)
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    split["files"] = split["files"][:1]
    (run / "split.json").write_text(json.dumps(split), encoding="utf-8")
    parts = facts_of(unrolled.load(run), EVALUATED).parts
    assert [part.files for part in parts[1:3]] == ["held out of train.tsv"] * 2


def test_a_damaged_log_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    log = [
        "{", "[1]", '{"event": "step", "step": 1, "loss": NaN}', {"event": "step", "loss": 1},
        {"event": "step", "step": 3, "loss": 2.5, "seconds": "x"}, "[" * 50_000,
        {"event": "evaluated", "step": True, "loss": 1}, evaluated(4, 1.5, None),
        {**evaluated(6, 1.25, 50), "scores": [1]}, evaluated(8, 1.0, 75.0, True),
    ]  # fmt: skip
    curve = learning_curve(write_log(tmp_path, *log), "accuracy", "accuracy")
    assert curve is not None
    assert list(curve.losses) == [(3, 2.5)]
    assert [(each.step, each.score) for each in curve.evaluations] == [
        (4, None), (6, None), (8, 75.0),
    ]  # fmt: skip
    assert curve.best == curve.evaluations[-1]
    assert learning_curve(tmp_path / "none", "loss", "accuracy") is None
    assert learning_curve(write_log(tmp_path, log[0]), "loss", "accuracy") is None


def test_a_long_log_is_thinned_but_has_the_best(tmp_path: Path) -> None:
    events = [evaluated(step, 1 / step, step / 100, step == 777) for step in range(1, 3001)]
    curve = learning_curve(write_log(tmp_path, *events), "accuracy", "accuracy")
    assert curve is not None
    assert len(curve.evaluations) <= 401
    assert curve.evaluations[-1].step == 3000
    assert curve.best is not None
    assert curve.best.step == 777


@pytest.mark.parametrize("score", [0.0, 50.0, 100.0])
def test_a_single_evaluation_has_a_chart(tmp_path: Path, score: float) -> None:
    log = write_log(tmp_path, evaluated(7, 0.5, score, True))
    curve = learning_curve(log, "accuracy", "accuracy")
    assert curve is not None
    for chart in learning_charts(curve):
        assert [dot.name for dot in chart.dots] == ["", "best"]
        assert len({tick.at for tick in chart.y_ticks}) == len(chart.y_ticks) >= 2
        for dot in chart.dots:
            assert chart.left <= dot.x <= chart.right
            assert chart.top <= dot.y <= chart.bottom


@pytest.mark.parametrize(("low", "high"), [(0.93, 0.97), (0, 1), (1, 1), (0.5, 0.5), (3, 12_345)])
def test_ticks_are_few_and_around_the_values(low: float, high: float) -> None:
    ticks = numbers_around(low, high)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low <= high <= ticks[-1]


def test_intervals_fill_their_scale() -> None:
    intervals = [Interval(0.95, 0.93, 0.965, "t"), Interval(0.96, 0.955, 0.97, "t")]
    scale = IntervalScale.of(intervals, reference=0.958)
    ticks = [tick.text for tick in scale.ticks]
    assert (ticks[0], ticks[-1]) == ("92%", "98%")
    places = [scale.scale.at(value) for value in (0.93, 0.965)]
    assert places[1] - places[0] > 0.4 * scale.width
    outside = IntervalScale.of([Interval(0.5, -0.2, 1.7, "t")])
    assert [tick.text for tick in outside.ticks][:: len(outside.ticks) - 1] == ["0%", "100%"]
    assert outside.scale.at(1.7) == outside.scale.at(1)


def report_with_models() -> LabelReport:
    gold = [0, 1] * 30

    def tally(n_right: int):
        return tally_labels(gold, gold[:n_right] + [1 - each for each in gold[n_right:]], 2)

    own = tally(50)

    def baseline(name: str, n_right: int) -> Baseline:
        other = tally(n_right)
        intervals = bootstrap(other, n_resamples=20)
        scores = {score: each.value for score, each in intervals.items()}
        compared = paired_bootstrap([own], [other], "accuracy", n_resamples=50)
        return Baseline(name, scores, intervals, compared)

    evaluation = measure_labels("ab", gold, gold[:50] + [1 - each for each in gold[50:]])
    return LabelReport(
        "t",
        evaluation,
        bootstrap(own, n_resamples=20),
        baselines=[baseline("nb_svm", 49), baseline("unigrams", 20), baseline("majority", 30)],
        shuffled=baseline(SHUFFLED, 32),
    )


def test_the_majority_comes_first_and_shuffled_words_last() -> None:
    page = report_page(report_with_models())
    table = page.split('<h2 id="models"')[1].split("</table>")[0]
    names = re.findall(r'<th class="name" scope="row">\s*<bdi[^>]*>([^<]+)', table)
    assert names == ["majority", "unigrams", "NB-SVM", "this model", SHUFFLED]
    assert table.count("<circle") == 5
    shuffled = table.split("<tr")[-1]
    assert f"{32 / 60:.2%}" in shuffled
    assert "+30.00" in shuffled
    findings = re.findall(r"<p>(Accuracy: [^<]+)</p>", page)
    assert "of the best baseline, NB-SVM: no significant difference (+1.67 points" in findings[0]
    assert "words of each text in random order: this model is better" in findings[1]


def test_sections_are_linked_and_regions_have_their_own_names() -> None:
    facts = facts_of(unrolled.load(OLD / "classify/run"), EVALUATED)
    report = report_with_models()
    page = report_page(LabelReport("t", report.evaluation, baselines=report.baselines, facts=facts))
    links = re.findall(r'<a href="#([^"]+)">', page)
    assert links == re.findall(r'<h2 id="([^"]+)"', page)
    assert len(links) == len(set(links)) == 6
    for tag in ("header", "main", "footer", "nav"):
        assert len(re.findall(f"<{tag}[ >]", page)) == 1
    regions = re.findall(r'<div class="scroll"([^>]*)>', page)
    assert all('tabindex="0" role="region" aria-label="' in region for region in regions)
    assert len(set(regions)) == len(regions) >= 6


@pytest.mark.parametrize(
    ("kind", "ending"), [("classify", "tsv"), ("entailment", "tsv"), ("tag", "conll")]
)
def test_each_mistake_has_its_file_and_line(
    tmp_path: Path, kind: str, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / kind / "run", run)
    lines = (OLD / kind / f"train.{ending}").read_text(encoding="utf-8").splitlines()
    separator = "\t" if "\t" in lines[0] or ending == "tsv" else " "
    labels = sorted({line.split(separator)[-1] for line in lines[1:] if line})
    wrong = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    data = tmp_path / f"wrong.{ending}"
    changed = [
        separator.join([*line.split(separator)[:-1], wrong.get(last, last)])
        for line in lines
        if (last := line.split(separator)[-1]) is not None
    ]
    data.write_text("\n".join(changed) + "\n", encoding="utf-8")
    arguments = ["evaluate", str(run), "--data", str(data), "--words", "none"]
    if kind == "tag":
        arguments = arguments[:-2]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    mistakes = page.split('<ol class="texts">')[1].split("</ol>")[0].split("<li>")[1:]
    assert len(mistakes) >= 5
    for mistake in mistakes:
        predicted, gold = re.findall(r"<b><bdi>(.*?)</bdi></b>", mistake)
        (place,) = re.findall(r'<span class="soft"><bdi>(.*), line ([\d,]+)</bdi>', mistake)
        assert place[0] == str(data)
        line = changed[int(place[1].replace(",", "")) - 1]
        assert line.split(separator)[-1] == gold != predicted
        if kind == "tag":
            assert f"⟦{line.split(separator)[0]}⟧" in mistake
