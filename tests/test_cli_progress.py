"""What a user sees while a model is trained: at a terminal of any width, and in a log."""

from __future__ import annotations

import io
import re
import shlex
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from unrolled.cli import work
from unrolled.cli.progress import follow, show
from unrolled.cli.screen import TerminalConsole, key_values, print_text
from unrolled.cli.training_view import TrainingView
from unrolled.cli.vectors_view import VectorsView
from unrolled.cli.work import reported, reported_on_stderr
from unrolled.reporting import Work, begun, counted
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Best, Evaluated, Event, Finished, Saved, Started, Step
from unrolled.vectors.events import Counted, Epoch, Read, VocabularyMade
from unrolled.vectors.events import Finished as VectorsFinished

STARTED = Started(
    0, "rows", {"train": 1009, "valid": 53}, {"train": 7}, {"source": 211}, 10007, 13, "cpu"
)
EVALUATED = Evaluated(7, 1, 3.5, {"chrf": 2.5, "bleu": 1.25}, True, 61.0)
FINISHED = Finished(13, "max_steps", Best(7, "bleu", 1.25, 3.5, {"bleu": 1.25}), 125.0)
BLEU = TrainingConfig(metric="bleu", max_steps=13)


def step(number: int, **changes: float) -> Step:
    return replace(Step(number, 1, 4.25, 1e-3, 0.5, 3812.4, 0.5, 252.4, 60.0), **changes)


def terminal(width: int = 80, encoding: str = "utf-8") -> Console:
    class Fixed(TerminalConsole):
        @property
        def encoding(self) -> str:
            return encoding

    return Fixed(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())


def printed(
    events: list[Event], console: Console, training: TrainingConfig = BLEU, out: str = "runs/a"
) -> list[str]:
    show((event for event in events), Path(out), 'predict {run} "…"', training, console)
    return text_of(console).splitlines()


def staying(events: list[Event], width: int, training: TrainingConfig, **options: str) -> list[str]:
    """The lines that stay at a terminal, without the part that is updated."""
    view, console = TrainingView(training), terminal(width, **options)
    for event in events:
        view.take(event)
        view.print(event, console)
    return text_of(console).splitlines()


def living(view: TrainingView, width: int) -> list[str]:
    console = terminal(width)
    console.print(view.living(console))
    return text_of(console).splitlines()


def test_a_log_has_all_evaluations_but_few_steps() -> None:
    events: list[Event] = [STARTED, *map(step, range(1, 8)), EVALUATED, Saved(7, Path("x"))]
    assert printed([*events, replace(EVALUATED, is_best=False), FINISHED], log()) == [
        "event=start step=0 rows_train=1009 rows_valid=53 left_out=7 vocabulary_source=211 "
        "parameters=10007 steps_per_epoch=13 device=cpu",
        "event=step step=1 epoch=1 train_loss=4.25 learning_rate=0.001 grad_norm=0.5 "
        "tokens_per_second=3812 done=0.5 seconds_left=252 seconds=60",
        "event=evaluation step=7 epoch=1 train_loss=4.25 valid_loss=3.5 bleu=1.25 chrf=2.5 "
        "best=yes seconds=61",
        "event=evaluation step=7 epoch=1 valid_loss=3.5 bleu=1.25 chrf=2.5 best=no seconds=61",
        'event=end step=13 reason=max_steps text="stopped after 13 steps (training.max_steps)" '
        "seconds=125 best_step=7 metric=bleu best_valid_loss=3.5 best_bleu=1.25",
        "event=saved run=runs/a",
        r'event=try command="unrolled predict runs/a \"…\""',
        'event=try command="unrolled evaluate runs/a"',
    ]


def test_every_line_of_a_log_can_be_split_into_pairs() -> None:
    note = 'said "a \\ b" = c\x1b[2J\nand d'
    started = replace(STARTED, notes=(note,))
    lines = printed([started, step(1), EVALUATED, FINISHED], log(), out="my runs/it's")
    pairs = [dict(pair.split("=", 1) for pair in shlex.split(line)) for line in lines]
    assert pairs[1] == {"event": "note", "text": 'said "a \\ b" = c\\x1b[2J\\nand d'}
    assert shlex.split(pairs[-1]["command"]) == ["unrolled", "evaluate", "my runs/it's"]
    assert all(line.isprintable() for line in lines)


def test_no_limit_means_no_time_left() -> None:
    (line,) = TrainingView(BLEU).log(step(1, fraction_done=0.0, eta_seconds=None))
    assert "seconds_left" not in line
    assert "done=" not in line


def test_the_table_has_one_header_and_aligned_columns() -> None:
    worse = replace(EVALUATED, step=12345, epoch=17, is_best=False, seconds=3725.0)
    lines = staying([STARTED, step(7), EVALUATED, step(8, loss=3.125), worse], 80, BLEU)
    assert lines[-3:] == [
        "   step  epoch    bleu    valid loss  train loss      chrf     time",
        "      7      1    1.25 ★       3.500       4.250      2.50     1:01",
        " 12,345     17    1.25         3.500       3.125      2.50  1:02:05",
    ]
    lines = staying([STARTED, step(7), EVALUATED], 80, BLEU, encoding="ascii")
    assert lines[-1] == "      7      1    1.25 *       3.500       4.250      2.50     1:01"
    assert lines[0].startswith("rows: train 1,009, valid 53 | 7 left out | ")


def test_the_loss_is_marked_if_it_is_the_metric() -> None:
    lines = staying([STARTED, step(7), EVALUATED], 80, TrainingConfig())
    assert lines[-2:] == [
        "   step  epoch  valid loss    train loss      chrf      bleu     time",
        "      7      1       3.500 ★       4.250      2.50      1.25     1:01",
    ]


def test_a_narrow_table_leaves_out_the_least_important_columns() -> None:
    rows = {width: staying([STARTED, step(7), EVALUATED], width, BLEU) for width in (60, 40, 20)}
    assert [lines[-2].split() for lines in rows.values()] == [
        ["step", "epoch", "bleu", "valid", "loss", "train", "loss", "time"],
        ["step", "bleu", "valid", "loss", "time"],
        ["step", "bleu"],
    ]
    assert rows[20][-1] == "      7    1.25 ★"


def test_a_score_that_repeats_another_is_not_shown() -> None:
    scores = {"accuracy": 93.4, "macro_f1": 93.1, "micro_f1": 93.4}
    event = replace(EVALUATED, scores=scores)
    header = staying([STARTED, event], 80, TrainingConfig(metric="accuracy"))[-2]
    assert header.split() == [
        *("step", "epoch", "accuracy", "valid", "loss", "train", "loss", "macro_f1", "time")
    ]
    header = staying([STARTED, event], 80, TrainingConfig(metric="micro_f1"))[-2]
    assert "accuracy" not in header
    assert "micro_f1" in header
    several = replace(EVALUATED, scores={"micro_f1": 93.4, "subset_accuracy": 93.4})
    assert "micro_f1  subset_accuracy" in staying([several], 80, TrainingConfig())[-2]


LONG = replace(
    STARTED,
    vocabulary_sizes={"source": 8000, "target": 8000},
    notes=("training stops after 5 evaluations and 800 steps without a better validation loss",),
)


@pytest.mark.parametrize("width", [30, 44, 61, 80, 120])
def test_lines_fit_the_terminal_and_break_between_words(width: int) -> None:
    scores = dict.fromkeys(("bleu", "chrf", "exact_match", "token_accuracy", "another"), 31.4)
    many = replace(EVALUATED, scores=scores)
    finished = replace(FINISHED, best=Best(7, "bleu", 1.25, 3.5, scores))
    lines = staying([LONG, step(1), many, many, finished], width, BLEU)
    assert max(cell_len(line) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    for words in (f"note: {LONG.notes[0]}", "7 left out", "target vocabulary 8,000"):
        assert words in text
    assert sum("step  " in line for line in lines) == 1


@pytest.mark.parametrize("width", [12, 20, 30, 50, 80, 120, 200])
def test_the_bar_fits_the_terminal(width: int) -> None:
    view = TrainingView(TrainingConfig(metric="bleu", max_steps=10**6, patience=5))
    for event in (STARTED, step(123456), replace(EVALUATED, n_without_improvement=2)):
        view.take(event)
    lines = living(view, width)
    assert len(lines) == 2
    assert max(cell_len(line) for line in lines) <= width
    assert "50%" in lines[0]


def test_the_bar_says_how_far_training_is() -> None:
    view = TrainingView(BLEU)
    assert living(view, 100) == [""]
    view.take(STARTED)
    view.take(step(2))
    assert [line.strip("━╺╸ ") for line in living(view, 100)] == [
        "50% · 4:12 left",
        "step 2 · epoch 1 · loss 4.250 · 3,812 tokens/s · lr 0.001 · grad norm 0.5",
    ]
    view.take(EVALUATED)
    assert living(view, 100)[0].endswith("50% · 4:12 left · best bleu 1.25")


def test_the_bar_of_a_run_without_a_limit_says_how_patient_it_is() -> None:
    view = TrainingView(TrainingConfig())
    for event in (
        STARTED,
        replace(EVALUATED, step=13),
        replace(EVALUATED, step=26, is_best=False, n_without_improvement=1),
        step(32, epoch=3, fraction_done=0.0, eta_seconds=None),
    ):
        view.take(event)
    assert living(view, 120)[0].endswith(
        "46% of epoch 3 · best loss 3.500 · no improvement in 1 of 5 evaluations, 19 of 650 steps"
    )


def test_the_loss_of_the_bar_is_smoothed() -> None:
    view = TrainingView(BLEU)
    for number, loss in enumerate((4.0, 2.0), start=1):
        view.take(step(number, loss=loss))
    assert f"loss {(0.9 * 4 + 2) / 1.9:.3f} · " in living(view, 100)[1]


@pytest.mark.parametrize(
    ("training", "reason", "sentence"),
    [
        ({"max_epochs": 8}, "max_epochs", "stopped after 8 epochs (training.max_epochs)"),
        ({"max_epochs": 1}, "max_epochs", "stopped after 1 epoch (training.max_epochs)"),
        ({"max_steps": 1600}, "max_steps", "stopped after 1,600 steps (training.max_steps)"),
        (
            {"max_minutes": 0.6},
            "max_minutes",
            "stopped at the limit of 0.6 minutes (training.max_minutes)",
        ),
        (
            {"patience": 3, "metric": "bleu"},
            "patience",
            "stopped after 3 evaluations without a better validation bleu (training.patience)",
        ),
        (
            {},
            "patience",
            "stopped after 5 evaluations and 650 steps without a better validation loss "
            "(training.patience)",
        ),
    ],
)
def test_the_reason_to_stop_is_a_sentence(
    training: dict[str, float], reason: str, sentence: str
) -> None:
    finished = replace(FINISHED, reason=reason)
    lines = staying([STARTED, finished], 200, TrainingConfig(**training))  # type: ignore[arg-type]
    assert lines[-2].startswith(f"{sentence} · ")
    assert lines[-2].endswith(" · 2:05")
    assert lines[-1] == "best model, of step 7: bleu 1.25 · valid loss 3.500"


def test_the_last_lines_are_commands_that_can_be_pasted() -> None:
    folder = "a long folder/it's here/" + "x" * 80
    lines = printed([STARTED, FINISHED], terminal(60), out=folder)
    assert lines[-3] == f"run: {folder}"
    assert shlex.split(lines[-2].removeprefix("try: ")) == ["unrolled", "predict", folder, "…"]
    assert shlex.split(lines[-1]) == ["unrolled", "evaluate", folder]


def test_a_terminal_shows_every_step_in_place() -> None:
    console = terminal(80)
    text = "\n".join(printed([STARTED, step(1), step(2)], console))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[?25h" in console.file.getvalue().split("step 2")[0]  # the cursor stays visible
    assert "step 2 · epoch 1" in text
    assert "event=" not in text


def test_a_terminal_that_cannot_move_its_cursor_gets_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = terminal(80)
    lines = printed([STARTED, step(1), step(2), EVALUATED, FINISHED], console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b" not in console.file.getvalue()
    assert max(map(cell_len, lines)) <= 80
    assert [line.split(" · ")[0] for line in lines if line.startswith("step ")] == ["step 1"]
    assert "      7      1    1.25 ★       3.500       4.250      2.50     1:01" in lines


class Interrupting(TrainingView):
    """Sends a signal to this process after the first step."""

    by = signal.SIGINT

    def take(self, event: Event) -> None:
        super().take(event)
        if isinstance(event, Step) and event.step == 1:
            signal.raise_signal(self.by)


@pytest.mark.parametrize("make", [terminal, log])
def test_ctrl_c_closes_the_run_and_says_how_to_resume(
    make: Callable[[], Console], tmp_path: Path
) -> None:
    (tmp_path / "config.toml").touch()
    closed = []

    def events() -> Generator[Event, None, None]:
        try:
            yield from (STARTED, step(1), step(2), step(3))
        finally:
            closed.append(True)

    console = make()
    resume = tmp_path / "config.toml", "unrolled train --resume --out 'my run'"
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        follow(events(), Interrupting(BLEU), console=console, resume=resume)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert closed == [True]
    last = text_of(console).splitlines()[-1]
    if console.is_terminal:
        assert last == "resume with: unrolled train --resume --out 'my run'"
    else:
        assert last == """event=stopped resume_with="unrolled train --resume --out 'my run'\""""
        assert "event=step step=2 " not in text_of(console)


def test_ctrl_c_while_data_are_read_does_not_wait_for_the_end(tmp_path: Path) -> None:
    read = []

    def events() -> Generator[Event, None, None]:
        for value in counted(range(10), "reading", "rows"):
            read.append(value)
            if value == 3:
                signal.raise_signal(signal.SIGINT)
        yield STARTED

    (tmp_path / "config.toml").touch()  # of an earlier run, to be replaced
    console, resume = log(), (tmp_path / "config.toml", "unrolled train --resume")
    with pytest.raises(KeyboardInterrupt):
        follow(events(), TrainingView(BLEU), console=console, resume=resume)
    assert read == [0, 1, 2, 3]
    assert text_of(console) == ""


def test_a_log_tells_of_long_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    console = log()
    with reported(console) as reports:
        for second in (1, 2, 4, 5, 13, 15, 25):
            now = 100.0 + second
            reports.take(Work("reading a b.tsv", "rows", 1000 * second))
        now += 1
        reports.take(Work("encoding", "rows", 45, 60))
        now += 10
        reports.take(Work("splitting"))
    assert text_of(console).splitlines() == [
        'event=working stage="reading a b.tsv" done=4000 unit=rows seconds=4',
        'event=working stage="reading a b.tsv" done=15000 unit=rows seconds=15',
        'event=working stage="reading a b.tsv" done=25000 unit=rows seconds=25',
        "event=working stage=splitting seconds=36",
    ]


def test_a_terminal_shows_preparation_in_place() -> None:
    console = terminal(40)
    with reported(console) as reports:
        reports.take(Work("reading pairs.tsv", "rows", 340_000))
        assert reports.line(console).plain == "reading pairs.tsv: 340,000 rows"
        reports.take(Work("encoding", "rows", 9, 20))
        assert reports.line(console).plain == "encoding: 45%"
    assert text_of(console).splitlines()[-1].strip() in ("", "encoding: 45%")


def vectors_events() -> Iterator[object]:
    yield Read(1000, 2e6, 0.5)
    yield VocabularyMade(900, 1000, 5000, 4900)
    yield Counted(4900, 20_000, 1e6, 1.0)
    yield from (Epoch(n, 25, 0.1 / n, 0.04, 5e5, 0.04 * (25 - n)) for n in range(1, 26))
    yield VectorsFinished(Path("my vectors"), 900, 50, 0.004, 1.5)


def test_vectors_take_one_line_at_a_terminal_and_few_in_a_log(tmp_path: Path) -> None:
    def events() -> Generator[object, None, None]:
        yield from vectors_events()

    def lines(console: Console) -> list[str]:
        resume = tmp_path / "vectors.toml", "unrolled"
        view = VectorsView()
        follow(events(), view, console=console, resume=resume, first_log_after=5)  # type: ignore[type-var]
        return text_of(console).splitlines()

    assert lines(log()) == [
        "event=vocabulary words=5000 different=1000 vocabulary=900 covered=0.98",
        "event=epoch epoch=25 epochs=25 loss=0.004 pairs_per_second=500000 seconds_left=0",
        'event=end folder="my vectors" vectors=900 size=50 loss=0.004 seconds=1.5',
    ]
    view, console = VectorsView(), terminal(60)
    for event in vectors_events():
        view.take(event)  # type: ignore[arg-type]
        view.print(event, console)  # type: ignore[arg-type]
    assert text_of(console).splitlines() == [
        "5,000 words, 1,000 different",
        "vocabulary 900, covering 98.0% of the text",
        "my vectors: 900 vectors of 50 · loss 0.004000 · 2 s",
    ]
    view.take(Epoch(7, 25, 0.5, 0.04, 5e5, 61.0))
    assert (
        str(view.living(terminal(60)))
        == "epoch 7 of 25 · loss 0.500000 · 1:01 left · 0.5 M pairs/s"
    )


def test_a_value_of_a_log_is_quoted_where_it_must_be() -> None:
    assert key_values("x", {"a": "b c", "d": "", "e": None, "f": 1e-5, "g": True}) == (
        'event=x a="b c" d="" f=1e-05 g=yes'
    )


def test_a_prefix_is_followed_by_a_hanging_indent() -> None:
    console = terminal(20)
    print_text(console, "one two three four five", prefix="note: ")
    assert text_of(console).splitlines() == ["note: one two three", "      four five"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stage_on_standard_error_is_shown_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    now = 0.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    with reported_on_stderr():
        begun("splitting")
        for value in counted(range(3), "reading a long name.tsv", "rows"):
            assert stream.getvalue().count("reading") == value
            now += 1
    clear = "\r\x1b[2K"
    line = f"{clear}reading a long name.ts…"
    assert stream.getvalue() == 3 * line + clear


def test_a_second_stage_of_the_same_name_is_not_shown_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    now = 0.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    with reported_on_stderr():
        for _ in range(2):
            for _ in counted(range(3), "predicting", "examples", 3):
                now += 0.01
            now += 5
    assert "predicting" not in stream.getvalue()


def test_standard_error_in_a_log_stays_empty_for_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    now = 0.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    with reported_on_stderr():
        for _ in counted(range(7), "decoding", "examples", 7):
            now += 10
    assert stream.getvalue().splitlines() == [
        "event=working stage=decoding done=3 total=7 unit=examples seconds=30",
        "event=working stage=decoding done=6 total=7 unit=examples seconds=60",
    ]
