"""A comparison as a table for a terminal, as CSV, and as one page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from unrolled.comparison import charts
from unrolled.comparison.charts import Series, Value
from unrolled.comparison.matching import signed_percent
from unrolled.comparison.results import COST_NAMES
from unrolled.comparison.statistics import digits_of
from unrolled.inspect import page
from unrolled.metrics.display import WIDTH, aligned, title
from unrolled.wording import count_of, with_minus, wrapped

Json = Mapping[str, Any]


def seconds_shown(seconds: float) -> str:
    """A time with its unit.

    >>> seconds_shown(4.25), seconds_shown(95), seconds_shown(4000)
    ('4.2 s', '95 s', '66.7 min')
    """
    if seconds >= 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 10 or not seconds else f"{seconds:.1f} s"


def bytes_shown(n_bytes: float) -> str:
    """A size with its unit.

    >>> bytes_shown(312_000), bytes_shown(2_345_000), bytes_shown(1_500_000_000)
    ('312 kB', '2.3 MB', '1.5 GB')
    """
    if n_bytes < 1e6:
        return f"{n_bytes / 1e3:.0f} kB"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


_COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("time", seconds_shown),
    "tokens_per_second": ("tokens/s", lambda value: f"{value:,.0f}"),
    "peak_bytes": ("memory", bytes_shown),
    "step_microseconds": ("step", lambda value: f"{value:,.0f} µs"),
    "model_bytes": ("size", bytes_shown),
}


def score_shown(value: float | None, score: str) -> str:
    """A score with its usual decimals; "–" if there is none."""
    return "–" if value is None else f"{value:.{digits_of(score)}f}"


def interval_shown(entry: Json, score: str) -> str:
    """A mean with its interval.

    >>> interval_shown({"mean": 93.4, "low": 92.1, "high": 94.7}, "accuracy")
    '93.40 (92.10 – 94.70)'
    """
    if entry["mean"] is None:
        return "–"
    mean = score_shown(entry["mean"], score)
    if entry["low"] is None:
        return mean
    return f"{mean} ({score_shown(entry['low'], score)} – {score_shown(entry['high'], score)})"


def heading(data: Json) -> str:
    """What the scores of the table are."""
    part = {"test": "test", "valid": "validation"}[data["part"]]
    unit = "token" if data["task"] == "language_model" else "example"
    examples = "" if data["examples"] is None else f", {count_of(data['examples'], unit)}"
    better = "lower is better" if data["smaller_is_better"] else "higher is better"
    return (
        f"{title(data['score'])} on the {part} part{examples}; mean over "
        f"{count_of(len(data['seeds']), 'seed')} with 95% interval; {better}"
    )


def size_rows(data: Json) -> list[list[str]]:
    """The table of variants with score and parameters."""
    is_matched = data["target_parameters"] is not None
    solved = [name.rpartition(".")[2] for name in data["solved"]]
    score = title(data["score"]) if data["score"] else "score"
    mismatch = ["mismatch"] if is_matched else []
    rows = [["variant", score, "seeds", *solved, "parameters", *mismatch]]
    for variant in data["variants"]:
        row = [
            variant["name"],
            interval_shown(variant, data["score"]),
            seeds_shown(variant, data),
            *(str(variant["widths"].get(name, "–")) for name in data["solved"]),
            f"{variant['parameters']:,}",
        ]
        rows.append(row + ([signed_percent(variant["mismatch"])] if is_matched else []))
    return rows


def cost_rows(data: Json, costs: Json) -> list[list[str]]:
    """The table of variants with costs."""
    rows = [["variant", "multiply-adds", *(heading for heading, _ in _COSTS.values())]]
    for variant in data["variants"]:
        measured = costs["variants"].get(variant["key"], {})
        rows.append([variant["name"], f"{variant['multiply_adds']:,}", *_measured(measured)])
    return rows


def seeds_shown(variant: Json, data: Json) -> str:
    """How many seeds have a score, and how many diverged."""
    n, n_seeds = variant["n"], len(data["seeds"])
    shown = f"{n}" if n == n_seeds else f"{n} of {n_seeds}"
    return f"{shown}, {variant['n_failed']} not finite" if variant["n_failed"] else shown


def _measured(measured: Json) -> Iterator[str]:
    for name in COST_NAMES:
        mean = measured.get(name, {}).get("mean")
        yield "–" if mean is None else _COSTS[name][1](mean)


def lines_of(data: Json, costs: Json, width: int = WIDTH) -> Iterator[str]:
    """The comparison as lines of text that fit a width."""
    if data["score"]:
        yield from wrapped(heading(data), width)
        yield ""
    yield from aligned(size_rows(data), width)
    yield ""
    yield from aligned(cost_rows(data, costs), width)
    if any(variant["by_length"] for variant in data["variants"]):
        yield ""
        yield from wrapped(f"{title(data['score'])} by words of the source", width)
        yield from aligned(length_rows(data), width)
    if any(variant["trials"] for variant in data["variants"]):
        yield ""
        yield from aligned(trial_rows(data), width)
    sentences = sentences_of(data)
    for index, sentence in enumerate(sentences):
        if index == 0:
            yield ""
        yield from wrapped(sentence, width)


def sentences_of(data: Json) -> list[str]:
    """What the comparison shows, in words, then what limits it."""
    sentences = [each["sentence"] for each in data["differences"]]
    for variant in data["variants"]:
        failed = [run for run in variant["runs"] if run["state"] == "failed"]
        for run in failed[:1]:
            seeds = ", ".join(str(each["seed"]) for each in failed)
            sentences.append(
                f"{variant['name']} has no score for seed {seeds}, which the mean leaves out: "
                f"{run['problem']}."
            )
    return sentences + [f"Note: {note}." for note in data["notes"]]


def length_rows(data: Json) -> list[list[str]]:
    """The table of scores by the length of the source."""
    groups: list[Json] = next(
        (each["by_length"] for each in data["variants"] if each["by_length"]), []
    )
    rows = [["variant", *(length_shown(group) for group in groups)]]
    for variant in data["variants"]:
        cells = [interval_shown(group, data["score"]) for group in variant["by_length"]]
        rows.append([variant["name"], *(cells or ["–"] * len(groups))])
    return rows


def length_shown(group: Json) -> str:
    """The lengths of a group."""
    shortest, longest = group["shortest"], group["longest"]
    return f"{shortest}" if shortest == longest else f"{shortest}–{longest}"


def trial_rows(data: Json) -> list[list[str]]:
    """The table of tuned values, by the validation metric of the first seed."""
    rows = [[f"tuned on validation data, seed {data['seeds'][0]}", "metric", "chosen"]]
    for variant in data["variants"]:
        for trial in variant["trials"]:
            settings = ", ".join(f"{name} {value}" for name, value in trial["settings"].items())
            value = "not finite" if trial["value"] is None else f"{trial['value']:.4f}"
            is_chosen = trial["settings"] == variant["tuned"]
            rows.append([f"{variant['name']}: {settings}", value, "yes" if is_chosen else ""])
    return rows


def csv_of(data: Json, costs: Json) -> str:
    """One row for each run, with all its scores and costs."""
    scores = list(dict.fromkeys(name for each in data["variants"] for name in each["scores"]))
    settings = list(data["over"])
    names = [
        *("variant", *settings, "seed", "state", "parameters", "multiply_adds", "steps"),
        *("best_step", "validation_metric", *scores, *COST_NAMES, "folder"),
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for variant in data["variants"]:
        for run in variant["runs"]:
            found = run.get("scores", {})
            measured = costs["runs"].get(run["folder"].rpartition("/")[2], {})
            row = [
                variant["name"],
                *(variant["settings"][name] for name in settings),
                run["seed"],
                run["state"],
                variant["parameters"],
                variant["multiply_adds"],
                *(run.get(name) for name in ("steps", "best_step", "value")),
                *(found.get(name) for name in scores),
                *(measured.get(name) for name in COST_NAMES),
                run["folder"],
            ]
            writer.writerow(["" if value is None else value for value in row])
    return stream.getvalue()


def page_of(data: Json, costs: Json, command: str = "") -> str:
    """The page."""
    return page.render(
        "comparison.html",
        title=f"Comparison: {', '.join(data['over'])}",
        command=command,
        data=data,
        heading=heading(data) if data["score"] else "No run is finished yet",
        sizes=size_rows(data),
        costs=cost_rows(data, costs),
        charts=list(_charts(data, costs)),
        sentences=sentences_of(data),
        differences=_difference_rows(data),
        lengths=length_rows(data) if any(v["by_length"] for v in data["variants"]) else [],
        trials=trial_rows(data) if any(v["trials"] for v in data["variants"]) else [],
        runs=_run_rows(data, costs),
    )


def _charts(data: Json, costs: Json) -> Iterator[charts.Chart]:
    score, variants = data["score"], data["variants"]
    curves: dict[str, Series] = {each["name"]: _series(each["curve"]) for each in variants}
    metric = next((run["metric"] for v in variants for run in v["runs"] if "metric" in run), "loss")
    found = [
        charts.curves_chart(
            curves,
            "Learning curves on validation data; bands are 95% intervals over seeds",
            "updates",
            title(metric),
            lambda value: f"{value:.4g}",
        )
    ]
    points: dict[str, dict[str, tuple[Value, Value] | None]] = {"seconds": {}, "parameters": {}}
    for each in variants:
        quality, n = _value(each), float(each["parameters"])
        seconds = _value(costs["variants"].get(each["key"], {}).get("seconds"))
        for name, cost in (("seconds", seconds), ("parameters", Value(n, n, n))):
            points[name][each["name"]] = (cost, quality) if cost and quality else None
    about = {
        "seconds": ("Quality against training time", "training time", seconds_shown),
        "parameters": ("Quality against size", "parameters", lambda value: f"{value:,.0f}"),
    }
    for name, (what, axis, shown) in about.items():
        found.append(
            charts.dots_chart(
                points[name], what, axis, title(score), shown, lambda value: f"{value:.4g}"
            )
        )
    yield from filter(None, found)


def _series(curve: Sequence[Json]) -> list[tuple[float, Value]]:
    return [(point["step"], value) for point in curve if (value := _value(point)) is not None]


def _value(entry: Json | None) -> Value | None:
    if not entry or entry["mean"] is None:
        return None
    mean = entry["mean"]
    low, high = entry["low"], entry["high"]
    return Value(mean, mean if low is None else low, mean if high is None else high)


def _difference_rows(data: Json) -> list[list[str]]:
    rows = []
    for each in data["differences"]:
        if each["value"] is None:
            continue
        entry = {"mean": each["value"], "low": each["low"], "high": each["high"]}
        p, corrected = (_p_shown(each[name]) for name in ("p", "p_corrected"))
        claimed = "yes" if each["differs"] else "no"
        shown = with_minus(interval_shown(entry, data["score"]))
        rows.append([f"{each['a']} − {each['b']}", shown, str(each["n"]), p, corrected, claimed])
    return rows


def _p_shown(p: float | None) -> str:
    return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _run_rows(data: Json, costs: Json) -> list[list[str]]:
    rows = []
    for variant in data["variants"]:
        for run in variant["runs"]:
            measured = costs["runs"].get(run["folder"].rpartition("/")[2], {})
            seconds = measured.get("seconds")
            state = run["state"] if run["state"] == "finished" else run["problem"] or "not made yet"
            rows.append(
                [
                    variant["name"],
                    str(run["seed"]),
                    score_shown(run.get("scores", {}).get(data["score"]), data["score"]),
                    f"{run['steps']:,}" if "steps" in run else "–",
                    f"{run['best_step']:,}" if "best_step" in run else "–",
                    "–" if seconds is None else seconds_shown(seconds),
                    state,
                ]
            )
    return rows
