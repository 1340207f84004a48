"""Every format gives the same rows, and every fault is one sentence with its place."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.text.conll import is_column_file, token_column
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Row, as_list

ROWS = [("Hello.", "Hola."), ('She said "no".', "Ella dijo «no»."), ("One, two", "Uno, dos")]

TSV = "en\tes\n" + "".join(f"{en}\t{es}\n" for en, es in ROWS)
CSV = 'en,es\nHello.,Hola.\n"She said ""no"".",Ella dijo «no».\n"One, two","Uno, dos"\n'
SEMICOLONS = CSV.replace(",", ";").replace("One;", "One,").replace("Uno;", "Uno,")
JSONL = (
    '{"en": "Hello.", "es": "Hola."}\n'
    '{"es": "Ella dijo «no».", "en": "She said \\"no\\".", "more": [1]}\n'
    '{"en": "One, two", "es": "Uno, dos"}\n'
)
FORMATS = {"a.tsv": TSV, "a.tab": TSV, "a.csv": CSV, "b.csv": SEMICOLONS, "a.jsonl": JSONL}


def fields(rows: object) -> list[tuple[str, ...]]:
    return [row.fields for row in rows]  # type: ignore[attr-defined]


def failure(
    path: object, columns: object = None, n_columns: int | None = None, **options: object
) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path, columns, n_columns, **options))  # type: ignore[arg-type]
    return str(caught.value)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_format_gives_the_same_rows(
    tmp_path: Path, name: str, packed: bool, mark: str, line_end: str
) -> None:
    content = (mark + FORMATS[name].replace("\n", line_end)).encode("utf-8")
    path = tmp_path / (name + ".gz" * packed)
    write(path, gzip.compress(content) if packed else content)
    assert column_names(path) == ("en", "es")
    assert fields(read_rows(path)) == ROWS
    assert fields(read_rows(str(path), ("es", "en"), 2)) == [(es, en) for en, es in ROWS]
    assert fields(read_rows((path,), ("es",))) == [(es,) for _, es in ROWS]


@pytest.mark.parametrize("packed", [False, True])
def test_parallel_files_give_one_column_each(tmp_path: Path, packed: bool) -> None:
    paths = [tmp_path / f"train.{side}{'.gz' * packed}" for side in ("en", "es")]
    for i, path in enumerate(paths):
        content = "\ufeff" * i + "".join(row[i] + "\r\n" * i + "\n" * (not i) for row in ROWS)
        write(path, gzip.compress(content.encode()) if packed else content)
    assert column_names(paths) == ("en", "es")
    assert list(read_rows(paths)) == [Row(row, i) for i, row in enumerate(ROWS, start=1)]
    assert fields(read_rows(paths, ("es",))) == [(es,) for _, es in ROWS]


def test_parallel_files_with_one_suffix_are_named_in_full(tmp_path: Path) -> None:
    paths = [write(tmp_path / "src.txt", "a\n"), write(tmp_path / "trg.txt", "b\n")]
    assert column_names(paths) == ("src.txt", "trg.txt")
    assert fields(read_rows(paths, ("trg.txt", "src.txt"))) == [("b", "a")]


def test_a_last_line_without_line_end_and_blank_lines_are_read(tmp_path: Path) -> None:
    assert fields(read_rows(write(tmp_path / "a.tsv", "en\tes\n\na\tb"))) == [("a", "b")]
    assert fields(read_rows(write(tmp_path / "a.csv", "en,es\n\na,b\n\n"))) == [("a", "b")]
    assert fields(read_rows(write(tmp_path / "a.jsonl", '{"x": "a"}\n\n'))) == [("a",)]
    assert fields(read_rows(write(tmp_path / "b.tsv", "en\na\n\nb\n"))) == [("a",), ("",), ("b",)]
    paths = [write(tmp_path / "a.en", "a\n\nc"), write(tmp_path / "a.es", "\nb\nc\n")]
    assert fields(read_rows(paths)) == [("a", ""), ("", "b"), ("c", "c")]


def test_white_space_at_the_end_of_a_line_belongs_to_the_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "x\ty\na\t\n\tb \r\n")
    assert fields(read_rows(path)) == [("a", ""), ("", "b ")]


def test_lines_end_in_line_feeds_only(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0bd\re"
    path = write(tmp_path / "a.tsv", f"x\ty\n{text}\t1\n")
    assert list(read_rows(path)) == [Row((text, "1"), 2)]


def test_quotes_in_tsv_are_ordinary_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'x\ty\n"a\t""b\n')
    assert fields(read_rows(path)) == [('"a', '""b')]


def test_rows_know_the_line_on_which_they_start(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'x,y\n"1\n2",a\nb,c\n')
    assert list(read_rows(path)) == [Row(("1\n2", "a"), 2), Row(("b", "c"), 4)]


def test_numbers_in_json_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"x": 3, "y": 2.5, "z": [1]}\n')
    assert fields(read_rows(path, ("y", "x"))) == [("2.5", "3")]


def test_a_very_long_line_is_a_line(tmp_path: Path) -> None:
    long = "palabra " * 100_000
    assert fields(read_rows(write(tmp_path / "a.csv", f"x,y\n{long},b\n"))) == [(long, "b")]
    assert fields(read_rows(write(tmp_path / "a.tsv", f"x\ty\n{long}\tb\n"))) == [(long, "b")]


def test_reading_stops_where_the_reader_stops(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"x\ty\na\tb\nc\t\xff\n")
    assert next(read_rows(path)).fields == ("a", "b")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "phrases.tsv", TSV)
    assert failure(tmp_path / "phrase.tsv") == (
        f"{tmp_path / 'phrase.tsv'}: no such file; did you mean 'phrases.tsv'?"
    )
    assert failure(tmp_path / "z.jsonl") == f"{tmp_path / 'z.jsonl'}: no such file"
    nowhere = tmp_path / "gone" / "a.tsv"
    assert (
        failure(nowhere)
        == f"{nowhere}: no such file; the folder '{tmp_path / 'gone'}' does not exist"
    )
    assert failure(()) == "no data file given"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "data.tsv"
    folder.mkdir()
    assert failure(folder) == f"{folder}: this is a folder; give a file"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", TSV)
    path.chmod(0)
    assert failure(path) == f"{path}: cannot be read (Permission denied)"


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, gzip.compress(b"") if name.endswith("gz") else b"")
    assert failure(path) == f"{path}: the file is empty"
    with pytest.raises(DataError, match="the file is empty"):
        column_names(path)


def test_a_table_with_a_header_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "en\tes\n")
    assert failure(path) == f"{path}: no rows after the header en, es"


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", TSV)
    assert failure(path, ("eng", "es")) == (
        f"{path}: no column 'eng'; the columns are en, es; did you mean 'en'?"
    )
    assert failure(path, ("French", "es")) == (
        f"{path}: no column 'French'; the columns are en, es"
    )


@pytest.mark.parametrize(
    ("name", "separator", "hint"),
    [
        ("a.csv", "|", "'|'; separate them by tabs, and name the file .tsv"),
        ("a.tsv", ",", "commas; name the file .csv"),
        ("a.tsv", ";", "semicolons; name the file .csv"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, name: str, separator: str, hint: str) -> None:
    path = tmp_path / name
    path.write_text(separator.join(("text", "label\n")) + separator.join(("good tea", "pos\n")))
    message = failure(path, None, 2)
    assert message.endswith(f"label; the columns seem to be separated by {hint}")


def test_a_column_without_a_name_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,\ngood tea,pos,x\n")
    assert failure(path, None, 2) == (
        f"{path}: expected 2 columns, found 3: text, label, ''; choose them with --columns"
    )


def test_too_many_or_too_few_columns(tmp_path: Path) -> None:
    three = write(tmp_path / "three.tsv", "id\ten\tes\n1\ta\tb\n")
    assert failure(three, None, 2) == (
        f"{three}: expected 2 columns, found 3: id, en, es; choose them with --columns"
    )
    one = write(tmp_path / "one.tsv", "en\na\n")
    assert failure(one, None, 2) == f"{one}: expected 2 columns, found 1: en"
    assert failure(three, ("en",), 2) == f"{three}: expected the names of 2 columns, got 1: en"
    twice = write(tmp_path / "twice.tsv", "en\ten\na\tb\n")
    assert failure(twice, ("en",)) == (
        f"{twice}: the header names column 'en' twice; rename one of them"
    )


def test_a_row_with_the_wrong_number_of_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "en\tes\na\tb\nc\n")
    assert failure(path) == (
        f"{path}, line 3: expected 2 fields separated by tabs as in the header, found 1"
    )
    path = write(tmp_path / "a.csv", "en,es\na,b,c\n")
    assert failure(path) == (
        f"{path}, line 2: expected 2 fields separated by commas as in the header, found 3"
    )


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "en\tes\nyes\tsí\n".encode("latin-1"))
    assert failure(path) == (
        f"{path}, line 2: not UTF-8 at byte 11 (0xED); convert it, e.g. with: "
        "iconv -f latin1 -t utf-8"
    )
    path = write(tmp_path / "b.tsv", "en\tes\n".encode("utf-16"))
    assert failure(path) == f"{path}: this is UTF-16, expected UTF-8; save it again as UTF-8"


def test_nul_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"en\tes\na\tb\0\n")
    assert failure(path) == f"{path}, line 2: NUL byte at byte 9; this is not a text file"


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv.gz", TSV)
    assert failure(path) == (
        f"{path}: damaged gzip file from its first byte; copy or download it again"
    )
    whole = gzip.compress(TSV.encode())
    write(path, whole[:-9])
    assert failure(path).startswith(f"{path}: damaged gzip file ")
    # The checksum stands at the end: what precedes it was read, and is not trusted.
    write(path, whole[:-8] + b"\xff" * 4 + whole[-4:])
    assert failure(path).startswith(f"{path}: damaged gzip file ")
    assert failure(path).endswith("; copy or download it again")


def test_damaged_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'en,es\na,b\nc,"d\ne,f\n')
    assert failure(path) == (
        f"{path}, line 3: damaged CSV (unexpected end of data); check its quotes"
    )
    path = write(tmp_path / "b.csv", 'en,es\n"a"b,c\n')
    assert failure(path) == (
        f"{path}, line 2: damaged CSV (',' expected after '\"'); check its quotes"
    )


def test_damaged_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"x": "a"}\n{"x": }\n')
    assert failure(path) == (
        f"{path}, line 2: not JSON at character 7 (Expecting value); expected one object per line"
    )
    path = write(tmp_path / "b.jsonl", '["a", "b"]\n')
    assert failure(path) == f"{path}, line 1: expected a JSON object, found list"
    path = write(tmp_path / "c.jsonl", '{"x": "a"}\n{"y": "a"}\n')
    assert failure(path) == f"{path}, line 2, field 'x': missing; every object needs this key"
    path = write(tmp_path / "d.jsonl", '{"x": "a"}\n{"x": null}\n')
    assert failure(path) == f"{path}, line 2, field 'x': expected text or a number, found null"
    path = write(tmp_path / "e.jsonl", '{"x": "\\ud800"}\n')
    assert failure(path) == (
        f"{path}, line 1: an escape holds half a surrogate pair; "
        "write the character itself in UTF-8"
    )
    path = write(tmp_path / "f.jsonl", '{"x": ' + "[" * 100_000 + "\n")
    assert failure(path).startswith(f"{path}, line 1: not JSON at character ")


def test_an_unknown_format(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", "PK")
    assert failure(path) == (
        f"{path}: cannot tell the format from '.xlsx'; expected one of .tsv .tab .csv .jsonl "
        ".ndjson (optionally followed by .gz, .bz2 or .xz), or one plain-text file per column"
    )


def test_parallel_files_of_different_length(tmp_path: Path) -> None:
    long = write(tmp_path / "a.en", "a\nb\nc\nd\ne\n")
    short = write(tmp_path / "a.es", "a\nb\nc\n")
    assert failure((long, short)) == (
        f"{long}, {short}: parallel files must have the same number of lines, "
        "found 5 lines and 3 lines"
    )
    assert failure((short, long)).endswith("found 3 lines and 5 lines")
    empty = write(tmp_path / "a.fr", "")
    assert failure((long, empty)) == f"{empty}: the file is empty"
    assert failure((empty, write(tmp_path / "a.de", ""))) == f"{empty}: the file is empty"


def test_a_table_among_parallel_files(tmp_path: Path) -> None:
    table, other = write(tmp_path / "a.tsv", TSV), write(tmp_path / "b.txt", "a\n")
    assert failure((other, table)) == (
        f"{table}: this is a table; give it alone, because several files are read as parallel plain "
        "text, one sentence per line"
    )


def test_several_tables_are_refused_with_what_to_do(tmp_path: Path) -> None:
    tables = write(tmp_path / "a.tsv", TSV), write(tmp_path / "b.csv", TSV)
    sentence = (
        "cannot be read as one; join them into one file{}, or give one at a time (validation and test "
        "data with --valid and --test)"
    )
    place = ", ".join(map(str, tables))
    assert failure(tables) == f"{place}: several tables {sentence.format(' with one header')}"
    tokens = write(tmp_path / "a.conll", "a O\n"), write(tmp_path / "b.bio", "a O\n")
    with pytest.raises(
        DataError, match=re.escape(f"several files of tokens {sentence.format('')}")
    ):
        read_rows(tokens, n_columns=2, by_token=True)


def test_more_parallel_files_than_columns(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"a.{side}", "a\n") for side in ("en", "es", "fr")]
    place = ", ".join(map(str, paths))
    assert failure(paths, None, 2) == (
        f"{place}: expected 2 columns, found 3: en, es, fr; choose them with --columns"
    )
    assert failure(paths, ("de",)) == f"{place}: no column 'de'; the columns are en, es, fr"


# Lists, and a token on each line


def test_a_list_in_json_is_one_field_where_lists_are_taken(tmp_path: Path) -> None:
    lines = (
        '{"tokens": ["New York", "is", "5"], "tags": ["B", "O", 5]}\n{"tokens": [], "tags": []}\n'
    )
    path = write(tmp_path / "a.jsonl", lines)
    rows = list(read_rows(path, lists="all"))
    assert [as_list(field) for field in rows[0].fields] == [
        ["New York", "is", "5"],
        ["B", "O", "5"],
    ]
    assert [as_list(field) for field in rows[1].fields] == [[], []]
    assert (
        failure(path)
        == f"{path}, line 1, field 'tokens': expected text or a number, found list; write it as a string"
    )


def test_only_the_last_column_may_hold_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"label": ["x", "y"], "text": ["a", "b"]}\n')
    assert failure(path, names=("text", "label"), lists="last") == (
        f"{path}, line 1, field 'text': expected text or a number, found list; write it as a string"
    )
    path = write(tmp_path / "b.jsonl", '{"label": ["x", "y"], "text": "a b"}\n')
    (row,) = read_rows(path, names=("text", "label"), lists="last")
    assert (row.fields[0], as_list(row.fields[1])) == ("a b", ["x", "y"])
    assert failure(path, ("label", "text"), lists="last").startswith(
        f"{path}, line 1, field 'label'"
    )


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("label\ttext", "ba"),
        ("text\tlabel", "ab"),
        ("labels\ttext", "ab"),  # not just the columns that are meant
        ("text\ttext", None),
    ],
)
def test_a_table_with_only_the_needed_columns_is_read_by_name(
    tmp_path: Path, header: str, order: str | None
) -> None:
    path = write(tmp_path / "a.tsv", f"{header}\na\tb\n")
    if order is None:
        assert "twice" in failure(path, names=("text", "label"))
    else:
        (row,) = read_rows(path, n_columns=2, names=("text", "label"))
        assert "".join(row.fields) == order


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[null]", "expected text or a number, found null"),
        ("[[1]]", "expected text or a number, found list; write it as a string"),
        ("[true]", "expected text or a number, found bool"),
    ],
)
def test_what_is_no_text_in_a_list(tmp_path: Path, value: str, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"x": {value}}}\n')
    with pytest.raises(DataError) as caught:
        list(read_rows(path, lists="all"))
    assert str(caught.value) == f"{path}, line 1, field 'x': {problem}"


def test_any_character_may_stand_in_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"x": ["a\\u001fb", "", " "], "y": "c"}\n')
    assert [row.fields for row in read_rows(path, lists="all")] == [(("a\x1fb", "", " "), "c")]
    path = write(tmp_path / "a.conll", "a O\nb\x1f O\n")
    (row,) = read_rows(path, by_token=True)
    assert row.fields == (("a", "b\x1f"), ("O", "O"))
    assert row.texts == ("a b\x1f", "O O")


CONLL = """\
-DOCSTART- -X- O O

# 1 of two sentences
EU NNP I-NP B-ORG
# # I-NP O
rejects VBZ I-VP O

-DOCSTART- -X- O O

#1 NN B-NP O
. . O O
"""


def sentences(path: Path, columns: object = None) -> list[tuple[list[str], ...]]:
    rows = read_rows(path, columns, 2, by_token=True)  # type: ignore[arg-type]
    return [tuple(as_list(field) for field in row.fields) for row in rows]


def column_failure(path: Path, columns: object = None) -> str:
    with pytest.raises(DataError) as caught:
        sentences(path, columns)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.BIO", "a.col", "eng.train", "a.conll.gz"])
@pytest.mark.parametrize("separator", [" ", "   ", "\t", " \t "])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_token_a_line_makes_a_row_a_sentence(
    tmp_path: Path, name: str, separator: str, line_end: str
) -> None:
    content = ("\ufeff" + CONLL.replace(" ", separator).replace("\n", line_end)).encode()
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    assert sentences(path) == [
        (["EU", "#", "rejects"], ["B-ORG", "O", "O"]),
        (["#1", "."], ["O", "O"]),
    ]
    assert sentences(path, ("1", "-3")) == sentences(path, ("1", "2"))
    assert sentences(path, ("1", "2"))[0][1] == ["NNP", "#", "VBZ"]
    rows = list(read_rows(path, None, 2, by_token=True))
    assert [row.line for row in rows] == [4, 10]
    assert [list(row.lines) for row in rows] == [[4, 5, 6], [10, 11]]


def test_all_columns_are_read_where_no_number_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", CONLL)
    rows = list(read_rows(path, by_token=True))
    assert [len(row.fields) for row in rows] == [4, 4]


def test_tokens_hold_spaces_where_tabs_separate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "1 000\tNUM\nkm\u00a0a\tX\n \t\nb\tY")
    assert sentences(path) == [(["1 000", "km\u00a0a"], ["NUM", "X"]), (["b"], ["Y"])]
    path = write(tmp_path / "b.conll", "km\u00a0a X\n")
    assert sentences(path) == [(["km\u00a0a"], ["X"])]


CONLLU = """\
# text = Vámonos al mar
1-2	Vámonos	_	_	_	_	_	_	_	_
1	Vamos	ir	VERB	_	_	0	root	_	_
2	nos	nosotros	PRON	_	_	1	obj	_	_
# text = al mar
3-4	al	_	_	_	_	_	_	_	_
"""


def test_conll_u_gives_words_and_their_parts_of_speech(tmp_path: Path) -> None:
    tokens = (
        CONLLU.replace("# text = al mar\n", "")
        + "3	a	a	ADP	_	_	5	case	_	_\n"
    )
    hidden = "3.1	x	x	VERB	_	_	_	_	_	_\n"
    path = write(tmp_path / "a.conllu", tokens + hidden + "\n# id = 2\n# newpar\n" + tokens)
    words = (["Vamos", "nos", "a"], ["VERB", "PRON", "ADP"])
    assert sentences(path) == [words, words]
    assert sentences(path, ("form", "deprel"))[0][1] == ["root", "obj", "case"]
    assert sentences(path, ("lemma", "4"))[0][0] == ["ir", "nosotros", "a"]
    rows = list(read_rows(path, None, 2, by_token=True))
    assert [list(row.lines) for row in rows] == [[3, 4, 6], [13, 14, 16]]


def test_a_column_file_that_cannot_be_read_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "a X O\nb O\n")
    assert column_failure(path) == (
        f"{path}, line 2: expected 3 columns separated by spaces as in line 1, found 2; put a "
        "blank line between sentences"
    )
    path = write(tmp_path / "b.conll", "\n#x\ta\tb\na\tO\nb O\n")
    assert column_failure(path) == (
        f"{path}, line 4: expected 2 columns separated by tabs as in line 3, found 1; put a "
        "blank line between sentences"
    )
    path = write(tmp_path / "c.conll", "a\tO\n\tO\n")
    assert column_failure(path) == f"{path}, line 2: column 1 is empty"
    path = write(tmp_path / "d.conllu", CONLLU)
    assert column_failure(path).startswith(f"{path}, line 5: expected 10 columns separated by tabs")


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", CONLL)
    assert column_failure(path, ("1", "5")) == (
        f"{path}: no column '5'; the columns are 1, 2, 3, 4"
    )
    assert column_failure(path, ("1", "0")).startswith(f"{path}: no column '0'")
    assert column_failure(path, ("tokens", "tags")).startswith(f"{path}: no column 'tokens'")
    one = write(tmp_path / "one.conll", "a\nb\n")
    assert column_failure(one) == f"{one}: expected 2 columns, found 1: 1"


@pytest.mark.parametrize("content", ["", "\n\n \n", "-DOCSTART- O\n\n"])
def test_a_column_file_without_tokens_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.conll", content)
    assert column_failure(path).startswith(f"{path}: the file has no tokens")


def test_what_may_be_comments_alone_are_tokens(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "#one O\n#two O\n")
    assert sentences(path) == [(["#one", "#two"], ["O", "O"])]


def test_a_comment_of_as_many_words_is_no_token(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "# one\na O\n# O\n\n# two\n#b O\n")
    assert sentences(path) == [(["a", "#"], ["O", "O"]), (["#b"], ["O"])]
    path = write(tmp_path / "b.conll", "# one\n#\tO\nb\tO\n")
    assert sentences(path) == [(["#", "b"], ["O", "O"])]


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    assert failure(tmp_path, None, 2) == f"{tmp_path}: this is a folder; give a file"


def test_columns_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", CONLL)
    assert failure(path, None, 2).startswith(f"{path}: cannot tell the format from '.conll'")
    assert is_column_file(path)
    assert is_column_file(tmp_path / "a.CoNLLu.gz")
    assert not is_column_file(tmp_path / "a.txt")
    table = write(tmp_path / "a.tsv", "tokens\ttags\na b\tX Y\n")
    assert sentences(table) == [(["a", "b"], ["X", "Y"])]


@pytest.mark.parametrize(
    ("columns", "place"), [((), 0), (("2", "3"), 1), (("-1", "1"), 3), (("tokens", "tags"), 0)]
)
def test_the_column_of_the_tokens(columns: tuple[str, ...], place: int) -> None:
    assert token_column("a.conll", 4, columns) == place
    assert token_column("a.conllu", 10) == 1
    assert token_column("a.conllu", 10, ("lemma", "upos")) == 2


# Lines that end in CR alone


def test_lines_may_end_in_cr_alone(tmp_path: Path) -> None:
    rows = [("good tea", "pos"), ("bad tea", "neg")] * 3
    lines = ["text\tlabel", *("\t".join(row) for row in rows)]
    for end in ("\r", ""):
        table = tmp_path / "old.tsv"
        table.write_bytes(("\r".join(lines) + end).encode())
        assert [row.fields for row in read_rows(table, n_columns=2)] == rows
        assert [row.line for row in read_rows(table)] == [2, 3, 4, 5, 6, 7]
        csv = tmp_path / "old.csv"
        csv.write_bytes(("\r".join(lines) + end).replace("\t", ",").encode())
        assert [row.fields for row in read_rows(csv)] == rows
        conll = tmp_path / "old.conll"
        conll.write_bytes(f"Ann B-PER\rran O\r\rBo B-PER{end}".encode())
        sentences = [row.fields for row in read_rows(conll, n_columns=2, by_token=True)]
        assert sentences == [(("Ann", "ran"), ("B-PER", "O")), (("Bo",), ("B-PER",))]
        sides = tmp_path / "a.en", tmp_path / "a.es"
        sides[0].write_bytes(("one\rtwo" + end).encode())
        sides[1].write_bytes(b"uno\ndos\n")
        assert [row.fields for row in read_rows(sides)] == [("one", "uno"), ("two", "dos")]


def test_a_large_file_with_cr_alone_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_MAX_LINE", "1KB")
    path = tmp_path / "old.tsv.gz"
    path.write_bytes(gzip.compress(b"text\tlabel\r\n"[:-1] + b"good tea\tpos\r" * 20_000))
    assert sum(row.fields == ("good tea", "pos") for row in read_rows(path)) == 20_000
    path.write_bytes(gzip.compress(b"text\tlabel\r" + b"x" * 5000 + b"\tpos\r"))
    with pytest.raises(DataError, match="line 2: this line is longer than 1 KB"):
        list(read_rows(path))


def test_a_lone_cr_inside_a_line_is_a_character(tmp_path: Path) -> None:
    sides = tmp_path / "a.en", tmp_path / "a.es"
    sides[0].write_bytes(b"one\rmore\ntwo\n")
    sides[1].write_bytes(b"uno\ndos\n")
    assert [row.fields for row in read_rows(sides)] == [("one\rmore", "uno"), ("two", "dos")]
    table = tmp_path / "mixed.tsv"
    table.write_bytes(b"text\tlabel\rgood\tpos\nbad\tneg\n")
    with pytest.raises(DataError, match="line 1: the header holds a CR") as raised:
        list(read_rows(table))
    assert "\r" not in str(raised.value)


def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    rows = [("good; really", "pos"), ('"so-so"', "neg")]
    body = "".join('"{}";{}\r\n'.format(text.replace('"', '""'), name) for text, name in rows)
    excel = write(tmp_path / "excel.csv", f"\ufeffsep=;\r\ntext;label\r\n{body}")
    assert column_names(excel) == ("text", "label")
    assert [row.fields for row in read_rows(excel)] == rows
    assert [row.line for row in read_rows(excel)] == [3, 4]
    assert failure(write(tmp_path / "b.csv", "sep=;\na;b\n1;2\n3\n")).endswith(
        "line 4: expected 2 fields separated by semicolons as in the header, found 1"
    )
    tabs = write(tmp_path / "tabs.csv", "text\tlabel\ngood, really\tpos\n")
    assert [row.fields for row in read_rows(tabs)] == [("good, really", "pos")]


def test_empty_columns_at_the_end_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;label;;\ngood tea;pos;;\nbad tea;neg;;\n")
    assert [row.fields for row in read_rows(path, n_columns=2)] == [
        ("good tea", "pos"),
        ("bad tea", "neg"),
    ]
    named = write(tmp_path / "b.csv", "text;label;\ngood tea;pos;x\nbad tea;neg;\n")
    assert column_names(named) == ("text", "label", "")
