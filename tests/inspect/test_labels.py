from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.inspect.label_report import LabelReport, report_page, write_report
from unrolled.inspect.label_views import Baseline
from unrolled.metrics import labels, multi_label, tags
from unrolled.metrics.display import _TITLES
from unrolled.metrics.intervals import bootstrap, paired_bootstrap
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.multi_label import measure_multi_label
from unrolled.metrics.slices import Mistake, by_length, worst_mistakes
from unrolled.metrics.spans import measure_spans, tally_spans
from unrolled.text.labels import Labels

STANCES = ("AGAINST", "FAVOR", "NONE")
NASTY = '<script>alert("1")</script>&amp;\'"</style></svg>'
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A page, with every tag closed in order; tables as rows of cells, and text by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))
        if ("td" in self.open or "th" in self.open) and self.rows:
            self.rows[-1][-1] += data

    def texts_of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]

    def row(self, name: str, width: int | None = None) -> list[str]:
        """The only row with this name, among those with that many cells."""
        rows = [row for row in self.rows if width in (None, len(row))]
        (match,) = [row for row in rows if row[:1] == [name]]
        return match

    def all_of(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [
            held
            for name, held in self.attributes
            if name == tag and (kind is None or kind in (held.get("class") or "").split())
        ]


def evaluated(n: int = 60, seed: int = 1):
    """Gold ids, probabilities of three classes, and the evaluation of them."""
    random = np.random.default_rng(seed)
    gold = random.integers(3, size=n)
    probabilities = random.dirichlet(np.ones(3), n) * 0.6
    probabilities[np.arange(n), gold] += 0.4
    evaluation = measure_labels(
        STANCES, gold, probabilities=probabilities, averaged=("FAVOR", "AGAINST"), n_bins=5
    )
    return gold, probabilities, evaluation


def whole_report() -> LabelReport:
    gold, probabilities, evaluation = evaluated()
    predicted = probabilities.argmax(1)
    tally = tally_labels(gold, predicted, 3, (1, 0))
    mistakes = worst_mistakes(STANCES, ["no good"] * 60, gold, predicted, probabilities, 3)
    mistakes[0] = replace(mistakes[0], words=(("no", -0.75), ("good", 0.5)))
    poor = tally_labels(gold, np.zeros(60, int), 3, (1, 0))
    poor_scores = measure_labels(
        STANCES, gold, np.zeros(60, int), averaged=("FAVOR", "AGAINST")
    ).scores()
    return LabelReport(
        "Stance on test",
        evaluation,
        bootstrap(tally, n_resamples=50),
        [by_length(tally, np.arange(60), edges=(9, 29), n_resamples=20)],
        mistakes,
        [
            Baseline(
                "majority",
                poor_scores,
                bootstrap(poor, n_resamples=50),
                paired_bootstrap([tally], [poor], "mean_f1", n_resamples=50),
            )
        ],
        "unrolled evaluate runs/stance",
        ["2 texts were cut."],
    )


def test_a_page_shows_every_score():
    report = whole_report()
    page = Page(report_page(report))
    scores = report.evaluation.scores()
    assert page.texts_of("h1") == ["Stance on test"]
    assert page.texts_of("h2") == [
        "Comparison with baselines",
        "Scores by class",
        "Confusion matrix",
        "Calibration",
        "Scores by length in tokens",
        "Most confident errors",
        "How the scores were computed",
    ]
    cards = page.texts_of("b")
    assert f"{scores['accuracy']:.2%}" in cards
    assert f"{scores['mean_f1']:.2%}" in cards
    assert f"{scores['nll']:.4f}" in cards
    bounds = report.intervals["mean_f1"]
    assert f"{bounds.low:.2%} – {bounds.high:.2%}" in page.texts_of("span")
    counts = report.evaluation.counts
    assert page.row("FAVOR", 7)[1:] == [
        f"{counts.precision[1]:.2%}",
        f"{counts.recall[1]:.2%}",
        f"{counts.f1[1]:.2%}",
        "",
        str(counts.gold[1]),
        str(counts.predicted[1]),
    ]
    assert "2 texts were cut." in page.texts_of("p")
    assert page.texts_of("pre") == ["unrolled evaluate runs/stance"]


def test_the_confusion_matrix_is_shaded_by_the_share_of_its_row():
    evaluation = measure_labels(
        STANCES, gold=[0] * 10 + [1] * 4, predicted=[0] * 9 + [1] + [1, 1, 1, 2]
    )
    page = Page(report_page(LabelReport("t", evaluation)))
    cells = [held for held in page.all_of("td") if "title" in held]
    assert [held["title"] for held in cells][:3] == [
        "gold AGAINST, predicted AGAINST: 9 (90.0% of 10)",
        "gold AGAINST, predicted FAVOR: 1 (10.0% of 10)",
        "gold AGAINST, predicted NONE: 0 (0.0% of 10)",
    ]
    weights = [float(held["style"].removeprefix("--w: ")) for held in cells]
    assert weights == pytest.approx([0.9, 0.1, 0, 0, 0.75, 0.25, 0, 0, 0])
    assert [held["class"] for held in cells[:3]] == ["correct", "error", "error none"]
    matrix = [row for row in page.rows if row[0] in STANCES and len(row) == 4]
    assert matrix == [
        ["AGAINST", "9 90%", "1 10%", "0"],
        ["FAVOR", "0", "3 75%", "1 25%"],
        ["NONE", "0", "0", "0"],
    ]
    titles = [text for tag, text in page.texts if tag == "th" and text[-1] in "↓→"]
    assert titles == ["predicted →", "gold ↓"]


def test_long_labels_leave_the_page_small():
    names = [f"{'x' * 5_000}{index}" for index in range(30)]
    evaluation = measure_labels(names, range(30), range(30))
    assert len(report_page(LabelReport("t", evaluation))) < 400_000


def test_a_wide_matrix_becomes_a_list_of_confusions():
    names = [f"c{index}" for index in range(31)]
    evaluation = measure_labels(names, gold=[0, 0, 0, 5], predicted=[1, 1, 0, 7])
    page = Page(report_page(LabelReport("t", evaluation)))
    assert "Most frequent confusions" in page.texts_of("h2")
    assert not page.all_of("table", "heatmap")
    assert ["c0", "c1", "2"] in page.rows
    assert ["c5", "c7", "1"] in page.rows
    right = measure_labels(names, [0], [0])
    assert "confusions" not in " ".join(Page(report_page(LabelReport("t", right))).texts_of("h2"))


def test_bins_of_the_calibration_do_not_cover_each_other():
    _, _, evaluation = evaluated()
    page = Page(report_page(LabelReport("t", evaluation)))
    bins = evaluation.calibration.bins
    points = page.all_of("circle", "mark")
    across = page.all_of("line", "expected")
    assert len(points) == len(across) == len(bins) == 5
    places = [float(held["cx"]) for held in points]
    assert min(b - a for a, b in pairwise(places)) > 2 * float(points[0]["r"])
    for point, line, each in zip(points, across, bins, strict=True):
        # Both are on the scale of the frequency, with 1 at the top.
        above = float(line["y1"]) - float(point["cy"])
        assert (above > 0) == (each.accuracy > each.confidence)
    for each in bins:
        assert [
            f"{each.low:.1%} – {each.high:.1%}",
            f"{each.confidence:.1%}",
            f"{each.accuracy:.1%}",
            str(each.n),
        ] in page.rows


def test_words_are_coloured_by_weight_and_sign():
    mistake = Mistake(4, "no good", "neg", "pos", 0.987, (("no", -0.75), ("good", 0.5), ("!", 0.0)))
    evaluation = measure_labels(("neg", "pos"), [0], [1])
    page = Page(report_page(LabelReport("t", evaluation, mistakes=[mistake])))
    against, speaks_for = page.all_of("span", "against"), page.all_of("span", "for")
    assert [held["style"] for held in against] == ["--w: 0.750"]
    assert [held["title"] for held in speaks_for] == ["+0.500", "+0.000"]
    assert "Blue words, marked +, support the predicted label" in " ".join(page.texts_of("p"))
    assert "(98.7%), gold" in page.texts_of("li")
    assert "example 5" in page.texts_of("bdi")
    largest = [text for tag, text in page.texts if "0.75" in text or "0.50" in text]
    assert largest == ["−0.75,", "+0.50"]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("gradients", "orange words, marked −, count against it (integrated gradients)."),
        ("occlusion", "(occlusion: the change in log-odds when the word is removed)."),
        ("attention", "The stronger the colour of a word, the larger the attention weight."),
    ],
)
def test_the_legend_names_the_attribution_method(method, sentence):
    mistake = Mistake(4, "no good", "neg", "pos", 0.987, (("no", -0.75), ("good", 0.5)))
    evaluation = measure_labels(("neg", "pos"), [0], [1])
    text = report_page(LabelReport("t", evaluation, mistakes=[mistake], method=method))
    page = Page(text)
    legend = page.texts_of("p")[1]
    assert sentence in legend
    assert ("Blue words, marked +, support" in legend) == (method != "attention")
    assert ('class="for signed"' in text) == (method != "attention")
    multi_label = measure_multi_label(("neg", "pos"), [[1, 0]], [[0, 1]])
    page = Page(report_page(LabelReport("t", multi_label, mistakes=[mistake], method=method)))
    legend = page.texts_of("p")[1]
    assert "the label that it got most wrong" in legend
    assert ("support the most probable label" in legend) == (method != "attention")


def test_the_legend_explains_the_marks_in_texts():
    evaluation = measure_labels(("neg", "pos"), [0], [1])
    for text, sentence in (
        ("a ⟦b⟧", "The token in question is between ⟦ and ⟧."),
        ("a ⏎ b", "⏎ separates the two texts."),
    ):
        page = Page(
            report_page(LabelReport("t", evaluation, mistakes=[Mistake(0, text, "a", "b", 0.9)]))
        )
        (legend,) = (each for each in page.texts_of("p") if each.startswith("The percentage"))
        assert legend.endswith(sentence)
        assert "Blue words" not in legend


def test_long_texts_are_truncated_with_a_note():
    words = tuple((f"w{index}", 0.1) for index in range(403))
    mistakes = [Mistake(0, "x" * 50_000, "a", "b", 0.9), Mistake(1, "", "a", "b", 0.9, words)]
    page = report_page(LabelReport("t", measure_labels("ab", [0], [1]), mistakes=mistakes))
    assert "x" * 2_000 + " <span" in page
    assert "x" * 2_001 not in page
    assert "… and 48,000 more characters" in page
    assert "… and 3 more words" in page
    assert "w399" in page
    assert "w400" not in page


def test_the_best_score_among_the_baselines_is_marked():
    report = whole_report()
    text = report_page(report)
    page = Page(text)
    own, majority = page.row("this model"), page.row("majority")
    assert own[1].startswith(f"{report.evaluation.scores()['accuracy']:.2%}")
    assert re.fullmatch(r"\+\d+\.\d\d\+.* to \+.*, p < 0\.\d+", majority[-1])
    assert "this model − the other, points" in text
    table = text.split('<h2 id="models"')[1].split('<h2 id="classes"')[0]
    assert "Calibration (ECE)" not in table
    best = [row for row in text.split("<tr") if 'class="best"' in row]
    assert len(best) == 1
    assert "this model" in best[0]


def test_the_lowest_loss_is_marked_as_best():
    evaluation = measure_labels("ab", [0, 1], probabilities=[[0.6, 0.4], [0.4, 0.6]])
    better = Baseline("sure", {"brier": 0.01, "accuracy": 0.5})
    page = report_page(LabelReport("t", evaluation, baselines=[better]))
    assert '<td class="best">0.0100</td>' in page
    assert '<td class="best">100.00%</td>' in page
    assert page.count('class="best"') == 2


def test_missing_scores_of_a_baseline_are_dashes():
    evaluation = measure_labels("ab", [0, 1], [0, 1])
    rows = [Baseline("x", {"accuracy": 0.5}), Baseline("y", {"macro_f1": 0.25})]
    page = Page(report_page(LabelReport("t", evaluation, baselines=rows)))
    assert page.row("x")[1:] == ["50.00%", "–"]
    assert page.row("y")[1:] == ["–", "25.00%"]


def test_slices_are_drawn_with_their_intervals():
    report = whole_report()
    page = Page(report_page(report))
    (table,) = report.slices
    for each in table.slices:
        bounds = each.scores["accuracy"]
        assert page.row(each.name)[1:4] == [
            str(each.n),
            f"{bounds.value:.2%}",
            f"{bounds.low:.2%} – {bounds.high:.2%}",
        ]


def test_signatures_of_scores_and_intervals_are_shown():
    report = whole_report()
    page = Page(report_page(report))
    for name, line in report.evaluation.signature().items():
        assert [name, line] in page.rows
    assert ["interval", report.intervals["accuracy"].how] in page.rows
    assert ["interval", report.baselines[0].comparison.how] in page.rows


def test_empty_sections_are_left_out():
    page = Page(report_page(LabelReport("t", measure_labels("ab", [0, 1], [0, 0]))))
    assert page.texts_of("h2") == [
        "Scores by class",
        "Confusion matrix",
        "How the scores were computed",
    ]
    assert not page.all_of("pre")


def test_multi_label_and_span_evaluations_have_pages():
    many = measure_multi_label("ab", [[1, 0]], probabilities=[[0.7, 0.2]], thresholds=[0.25, 0.5])
    page = Page(report_page(LabelReport("t", many)))
    assert page.texts_of("h2") == [
        "Scores by class",
        "Calibration",
        "How the scores were computed",
    ]
    assert page.row("a")[-1] == "0.250"
    assert len(page.row("macro average")) == len(page.row("a"))
    gold = [["B-PER", "O"], ["B-LOC", "I-LOC"]]
    spans = measure_spans(gold, [["B-PER", "O"], ["B-LOC", "O"]])
    tally = tally_spans(gold, gold)
    page = Page(
        report_page(LabelReport("t", spans, slices=[by_length(tally, [2, 2], n_resamples=5)]))
    )
    assert page.texts_of("h2") == [
        "Scores by type",
        "Scores by length in tokens",
        "How the scores were computed",
    ]
    assert "2 sequences, 4 tokens, 2 spans of 2 types." in page.texts_of("p")
    nothing = measure_spans([["O"]], [["O"]])
    assert Page(report_page(LabelReport("t", nothing))).row("macro average")


def test_a_page_loads_nothing_and_runs_no_script():
    page = report_page(whole_report())
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http-equiv", "")
    assert "//" not in page
    assert not re.search(r"<(script|link|img|iframe|object)|@import|url\(|\son\w+=", page)
    assert "prefers-color-scheme: dark" in page


def test_text_cannot_break_a_page():
    classes = (NASTY, f"{NASTY}2")
    evaluation = measure_labels(classes, [0, 1], probabilities=[[0, 1], [0, 1]], averaged=[NASTY])
    mistakes = [
        Mistake(0, NASTY, NASTY, NASTY, 0.5),
        Mistake(0, NASTY, NASTY, NASTY, 0.5, ((NASTY, 0.5),)),
    ]
    table = by_length(tally_labels([0, 1], [1, 1], 2), [1, 2], n_resamples=2)
    report = LabelReport(
        NASTY,
        evaluation,
        {},
        [replace(table, by=NASTY, slices=tuple(replace(s, name=NASTY) for s in table.slices))],
        mistakes,
        [Baseline(NASTY, {"accuracy": 0.5})],
        NASTY,
        [NASTY],
    )
    text = report_page(report)
    assert "<script" not in text
    assert text.count("</style>") == 1
    page = Page(text)
    assert page.texts_of("title")[0] == page.texts_of("h1")[0] == NASTY
    assert page.texts_of("pre") == [NASTY]
    assert [NASTY, "1", "0", "0"] not in page.rows
    assert any(row[0] == f"{NASTY}2" for row in page.rows)
    wide = measure_labels([NASTY, *(f"{NASTY}{i}" for i in range(31))], [0], [1])
    assert "<script" not in report_page(LabelReport("t", wide))


def test_characters_that_html_cannot_contain_are_replaced(tmp_path):
    mistake = Mistake(0, "a\x00b\x1b[1m\ud800 ok\tok\n", "n", "p", 0.5)
    evaluation = measure_labels("np", [0], [1])
    path = write_report(LabelReport("t", evaluation, mistakes=[mistake]), tmp_path / "report.html")
    written = path.read_bytes().decode("utf-8")
    assert "a\ufffdb\ufffd[1m\ufffd ok\tok\n" in written
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", written)


def test_html_is_written_as_utf_8(tmp_path):
    evaluation = measure_labels(("¿sí?", "日本"), [0, 1], [0, 1])
    path = tmp_path / "página.HTML"
    assert write_report(LabelReport("Ünï", evaluation), str(path)) == path
    written = path.read_text(encoding="utf-8")
    assert "日本" in written
    assert 'charset="utf-8"' in written


@pytest.mark.parametrize(("name", "ending"), [("report.pdf", ".pdf"), ("report", "report")])
def test_another_ending_is_refused(tmp_path, name, ending):
    with pytest.raises(ConfigError) as refusal:
        write_report(LabelReport("t", measure_labels("a", [0], [0])), tmp_path / name)
    assert str(refusal.value) == f"cannot write a report as '{ending}'; end the file name in .html"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "none" / "report.html"
    with pytest.raises(ConfigError) as refusal:
        write_report(LabelReport("t", measure_labels("a", [0], [0])), path)
    assert str(refusal.value) == (
        f"cannot write {path}: folder '{path.parent}' does not exist; create it, or choose another"
    )


def test_every_score_has_a_title():
    names = {
        *labels.signature(("FAVOR",)),
        *multi_label.signature(),
        *tags.signature(),
        "ece",
        "brier",
        "nll",
    }
    assert names <= set(_TITLES)
    kinds = Labels(("B-PER", "I-PER", "O"), scheme="bio")
    evaluation = tags.measure_tags([["B-PER", "I-PER"]], [["B-PER", "O"]], kinds)
    assert "F1 (strict)" in report_page(LabelReport("Tags", evaluation))
