"""Tables without a header: the first line is a row if it reads like one."""

from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.tasks import TASKS
from unrolled.text.header import judge
from unrolled.text.readers import column_names, read_rows
from unrolled.text.splits import DataConfig, LabelData, read_splits, rows_of

REVIEWS = [
    ["the tea was bad", "neg"],
    ["good tea", "pos"],
    ["I liked the cake, and the coffee was fine too", "pos"],
    ["cold soup and stale bread", "neg"],
]
PAIRS = [["Go.", "Ve."], ["Tom is here.", "Tom está aquí."], ["Who are you?", "¿Quién eres?"]]
CAPTIONS = [
    ["a dog runs over grass", "ein Hund rennt über Gras"],
    ["two men talk", "zwei Männer reden"],
    ["a girl on a swing", "ein Mädchen auf einer Schaukel"],
]
ENTAILMENT = [
    ["A man sleeps.", "A man is awake.", "contradiction"],
    ["Kids play in a park.", "Kids are outside.", "entailment"],
    ["A cat sits.", "A cat is hungry.", "neutral"],
    ["A dog barks.", "A dog makes noise.", "entailment"],
]
COMMANDS = [
    ["list all files", "ls -a"],
    ["print the working directory", "pwd"],
    ["copy a to b", "cp a b"],
]
CHINESE = [["我今天早上在公园里看见一只白狗", "pos"], ["这家餐馆的菜不好吃而且很贵", "neg"]] * 3
NAMES = [["Satoshi", "Japanese"], ["Yuki", "Japanese"], ["Olga", "Russian"], ["Ivan", "Russian"]]
STARS = [["the tea was bad", "1.0"], ["good tea and cake", "5.0"], ["fine but cold", "3.0"]]
TAGS = [
    ["Ann ran .", "B-PER O O"],
    ["Bo Li slept", "B-PER I-PER O"],
    ["It rained in Rome .", "O O O B-LOC O"],
]
TOPICS = [
    ["the match was long", "sport|news"],
    ["he votes in may", "politics"],
    ["a new law", "politics|news"],
]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (["text", "label"], REVIEWS),
        (["sentence", "label"], REVIEWS),
        (["Review Text", "Sentiment"], REVIEWS),
        (["tweet", "class"], REVIEWS),
        (["Phrase", "Sentiment"], STARS),
        (["reseña", "etiqueta"], REVIEWS),
        (["Kundenmeinung", "Bewertung"], STARS),
        (["text", "stars"], STARS),
        (["0", "1"], REVIEWS),
        (["1", "2"], STARS),
        (["", "text"], [["1", "good tea"], ["2", "bad tea"]]),
        (["en", "es"], PAIRS),
        (["English", "Spanish"], PAIRS),
        (["English (UK)", "German (formal)"], CAPTIONS),
        (["source", "target"], PAIRS),
        (["src", "trg"], CAPTIONS),
        (["English sentence", "Spanish sentence"], PAIRS),
        (["source text", "machine translation"], CAPTIONS),
        (["German source text", "English target text"], CAPTIONS),
        (["Source text EN", "Target text DE"], CAPTIONS),
        (["question", "query"], COMMANDS),
        (["intent", "snippet"], COMMANDS),
        (["nl", "bash_command"], COMMANDS),
        (["premise", "hypothesis", "label"], ENTAILMENT),
        (["sentence1", "sentence2", "gold_label"], ENTAILMENT),
        (["sentence_A", "sentence_B", "entailment_judgment"], ENTAILMENT),
        (["中文", "标签"], CHINESE),
        (["text", "label"], CHINESE),
        (["name", "origin"], NAMES),
        (["tokens", "tags"], TAGS),
        (["words", "ner_tags"], TAGS),
        (["text", "topics"], TOPICS),
        (["text", "label"], []),
        (["text", "label"], [["good tea", "pos"]]),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 100])
def test_a_header_is_never_read_as_a_row(header: list[str], rows: list[list[str]], n: int) -> None:
    assert judge(header, rows * n) == "header"
    assert judge(header, rows[: min(n, 2)]) == "header"


@pytest.mark.parametrize(
    "rows", [REVIEWS, ENTAILMENT, NAMES, TAGS, TOPICS, CHINESE, STARS], ids=lambda rows: rows[0][-1]
)
def test_rows_with_labels_have_no_header(rows: list[list[str]]) -> None:
    for row in rows:
        if len(row[0].split()) > 2 or rows in (NAMES, CHINESE):
            others = [[f"{each[0]}{i}", *each[1:]] for each in rows for i in range(5)]
            assert judge(row, others) == "row"


@pytest.mark.parametrize("rows", [PAIRS, CAPTIONS], ids=["short", "captions"])
def test_rows_of_sentences_have_no_header(rows: list[list[str]]) -> None:
    for at, row in enumerate(rows):
        assert judge(row, rows[:at] + rows[at + 1 :]) == "row"


def test_headers_in_the_middle_of_a_file_are_no_rows() -> None:
    assert judge(["text", "label"], [*REVIEWS, ["text", "label"], *REVIEWS]) == "header"
    assert judge(["reseña", "etiqueta"], [*REVIEWS, ["reseña", "etiqueta"]]) == "header"


def test_a_header_that_is_also_a_label_stays_the_header() -> None:
    rows = [[text, {"neg": "ham", "pos": "spam"}[label]] for text, label in REVIEWS]
    assert judge(["text", "spam"], rows) == "unsure"
    assert judge(["Nachricht", "spam"], rows) == "unsure"


def test_words_that_also_name_columns_may_stand_in_a_row() -> None:
    rows = [[f"number {n} is {'fine' if n % 2 else 'dull'}", "ab"[n % 2]] for n in range(20)]
    for at in (0, 1):
        assert judge(rows[at], rows[:at] + rows[at + 1 :]) == "row"


def test_single_words_may_be_either() -> None:
    assert judge(["dog", "Hund"], [["house", "Haus"], ["tree", "Baum"]]) == "unsure"


def test_known_labels_tell_a_row_in_a_short_file() -> None:
    assert judge(["the tea was bad", "neg"], [["good tea", "pos"]], labels=["neg", "pos"]) == "row"


def write(path: Path, rows: list[list[str]], separator: str = "\t") -> Path:
    path.write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_first_line_is_read_as_a_row_with_a_note(tmp_path: Path) -> None:
    for name, separator in (("a.tsv", "\t"), ("a.csv", ";")):
        path = write(tmp_path / name, REVIEWS, separator)
        notes: list[str] = []
        rows = list(read_rows(path, n_columns=2, notes=notes))
        assert [list(row.fields) for row in rows] == REVIEWS
        assert [row.line for row in rows] == [1, 2, 3, 4]
        assert notes == [
            f"{path} has no header: its first line, (the tea was bad, neg), reads like a row and is used "
            "as one; if it names the columns, add --data.header yes"
        ]
        assert column_names(path) == ("1", "2")


def test_an_uncertain_first_line_is_the_header_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "words.tsv", [["dog", "Hund"], ["house", "Haus"]])
    notes: list[str] = []
    assert [row.fields for row in read_rows(path, notes=notes)] == [("house", "Haus")]
    assert notes == [
        f"unsure whether {path} has a header: its first line, (dog, Hund), is read as one; if it is a "
        "row, add --data.header no"
    ]
    assert len(list(read_rows(path, header="no"))) == 2
    assert [row.fields for row in read_rows(path, ["2"])] == [("Hund",), ("Haus",)]


def test_the_setting_overrides_what_the_line_looks_like(tmp_path: Path) -> None:
    without = write(tmp_path / "without.tsv", REVIEWS)
    headed = write(tmp_path / "headed.tsv", [["text", "label"], *REVIEWS])
    assert len(list(read_rows(without, header="yes"))) == 3
    assert len(list(read_rows(headed, header="no"))) == 5
    assert column_names(headed, "no") == ("1", "2")


def test_columns_are_chosen_by_number_with_or_without_a_header(tmp_path: Path) -> None:
    without = write(tmp_path / "without.tsv", REVIEWS)
    headed = write(tmp_path / "headed.tsv", [["text", "label"], *REVIEWS])
    for path in (without, headed):
        rows = [row.fields for row in read_rows(path, ["2", "1"])]
        assert rows == [(label, text) for text, label in REVIEWS]
    with pytest.raises(DataError, match="no column 'text': the first line reads like a row"):
        list(read_rows(without, ["text", "label"]))
    with pytest.raises(DataError, match="no column '3'"):
        list(read_rows(headed, ["3"]))


def test_a_headerless_table_with_more_columns_says_what_to_add(tmp_path: Path) -> None:
    path = write(tmp_path / "ids.tsv", [[f"{i}7", *row] for i, row in enumerate(REVIEWS * 3)])
    with pytest.raises(
        DataError, match=r"has no header, so choose them by number, .* --columns 2 3"
    ):
        list(read_rows(path, n_columns=2))
    assert len(list(read_rows(path, ["2", "3"], 2))) == 12


def test_no_example_is_lost_when_a_file_is_split(tmp_path: Path) -> None:
    rows = [[f"{text} number {i}", label] for i in range(10) for text, label in REVIEWS]
    path = write(tmp_path / "reviews.tsv", rows)
    splits = read_splits(LabelData(train=(str(path),)), 2, TASKS["classify"].reading)
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 40
    assert "has no header" in splits.notes[0]
    pairs = [[f"Tom has {i} cats.", f"Tom tiene {i} gatos."] for i in range(40)]
    path = write(tmp_path / "pairs.tsv", pairs)
    splits = read_splits(DataConfig(train=(str(path),)), 2)
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 40


def test_a_short_validation_file_is_read_with_the_labels_of_training(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [["text", "label"], *REVIEWS * 5])
    valid = write(tmp_path / "valid.tsv", [["this tea is bad", "neg"], ["fine cake", "pos"]])
    config = LabelData(train=(str(train),), valid=(str(valid),), test=(str(valid),))
    splits = read_splits(config, 2, TASKS["classify"].reading)
    assert len(splits.valid) == len(splits.test) == 2
    reading = TASKS["classify"].reading
    assert len(rows_of(config, [str(valid)], 2, reading, {"neg", "pos"})) == 2


@pytest.mark.parametrize("task", ["classify", "pair"])
def test_a_label_in_the_first_column_is_refused(task: str, tmp_path: Path) -> None:
    sides = [[text, *([f"{text} here"] if task == "pair" else [])] for text, _ in REVIEWS]
    rows = [[REVIEWS[i % 4][1], *(f"{t} {i}" for t in sides[i % 4])] for i in range(40)]
    path = write(tmp_path / "first.tsv", rows)
    numbers = "2 1" if task == "classify" else "2 3 1"
    n = len(rows[0])
    with pytest.raises(
        DataError, match=f"column '1' looks like it; if it is, add --columns {numbers}$"
    ):
        read_splits(LabelData(train=(str(path),)), n, TASKS[task].reading)
    chosen = LabelData(train=(str(path),), columns=tuple(numbers.split()))
    splits = read_splits(chosen, n, TASKS[task].reading)
    assert {row.fields[-1] for row in splits.train} == {"neg", "pos"}


def test_an_error_below_the_first_line_keeps_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "short.tsv", [*REVIEWS, ["alone"]])
    with pytest.raises(DataError, match="line 5: expected 2 fields"):
        list(read_rows(path))


def test_columns_are_found_by_their_names_in_training(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [["en", "es"], *PAIRS])
    found: list[str] = []
    assert len(list(read_rows(train, n_columns=2, found=found))) == 3
    assert found == ["en", "es"]
    turned = [["es", "id", "en"], *([es, str(i), en] for i, (en, es) in enumerate(PAIRS))]
    for name, separator in (("turned.tsv", "\t"), ("turned.csv", ";")):
        path = write(tmp_path / name, turned, separator)
        notes: list[str] = []
        rows = list(read_rows(path, n_columns=2, notes=notes, trained=found))
        assert [list(row.fields) for row in rows] == PAIRS
        assert notes == []
    for side, at in (("es", 1), ("en", 0)):
        lines = [pair[at] + "\n" for pair in PAIRS]
        (tmp_path / f"a.{side}").write_text("".join(lines), encoding="utf-8")
    parallel = (tmp_path / "a.es", tmp_path / "a.en")
    rows = list(read_rows(parallel, n_columns=2, trained=found))
    assert [list(row.fields) for row in rows] == PAIRS


def test_a_table_with_other_columns_than_in_training_gets_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "other.tsv", [["source", "target"], *PAIRS])
    notes: list[str] = []
    rows = list(read_rows(path, n_columns=2, notes=notes, trained=["en", "es"]))
    assert [list(row.fields) for row in rows] == PAIRS
    assert notes == [
        f"{path}: the columns are source, target, and those of the training data en, es; read as source, "
        "target, in this order: if that is wrong, rename them, or choose them with --columns"
    ]
    chosen: list[str] = []
    list(read_rows(path, ["target", "source"], 2, notes=chosen, trained=["en", "es"]))
    assert chosen == []
    headless = write(tmp_path / "headless.tsv", PAIRS)
    notes.clear()
    assert len(list(read_rows(headless, n_columns=2, notes=notes, trained=["en", "es"]))) == 3
    assert len(notes) == 1
    assert "has no header" in notes[0]


def test_a_validation_table_is_read_by_the_names_of_training(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [["en", "es"], *PAIRS])
    valid = write(tmp_path / "valid.tsv", [["es", "en"], *(pair[::-1] for pair in PAIRS)])
    config = DataConfig(train=(str(train),), valid=(str(valid),), test=(str(valid),))
    splits = read_splits(config, 2)
    assert splits.columns == ("en", "es")
    assert [row.fields for row in splits.valid] == [row.fields for row in splits.train]
    assert splits.notes == ()


LONG = [[f"{'very ' * 40}long number {n}", "ab"[n % 2]] for n in range(20)]
SHORT = [["Great", "pos"], ["Bad", "neg"], ["Fine", "pos"]]
WORD_PAIRS = [["cat", "gato"], ["big dog", "perro grande"], ["house", "casa"]]


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (["It broke after two days.", "awful"], REVIEWS),
        (["Hello, how are you today?", "Hola, ¿cómo estás hoy?"], WORD_PAIRS),
        (["He came home late.", "llegó tarde"], WORD_PAIRS),
        (["我喜欢这个电影。", "很好"], CHINESE),
        (["https://example.com/a/very/long/address/of/one/page", "neg"], REVIEWS),
        (["a text of eleven words that is short for this column", "a"], LONG),
        (["Excellent", "pos"], REVIEWS * 2 + SHORT),
    ],
)
def test_sentences_and_long_words_are_no_names_of_columns(
    first: list[str], rows: list[list[str]]
) -> None:
    assert judge(first, rows) == "row"


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (["How do you feel about it?", "label"], REVIEWS),
        (["Donaudampfschifffahrtsgesellschaftskapitän", "captain"], WORD_PAIRS),
        (["https://example.com/a/very/long/address/of/one/page", "new"], REVIEWS),
        (["Excellent", "pos"], REVIEWS),
    ],
)
def test_a_first_line_that_may_be_either_is_unsure(first: list[str], rows: list[list[str]]) -> None:
    assert judge(first, rows) == "unsure"


def test_a_question_above_numbers_names_its_column() -> None:
    rows = [[str(n % 5), f"answer {n} of some length"] for n in range(20)]
    assert judge(["How satisfied are you?", "Remarks"], rows) == "unsure"
    assert judge(["stars given", "Remarks"], rows) == "header"
