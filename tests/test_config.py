from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

import pytest

from unrolled.config import (
    Layers,
    OptionText,
    Range,
    Rate,
    _checks,
    apply_overrides,
    check_fields,
    from_mapping,
    read_toml,
    require,
    split_options,
    suggestion,
    to_mapping,
    to_toml,
)
from unrolled.decoding.config import DecodingConfig
from unrolled.errors import ConfigError
from unrolled.training.config import TrainingConfig


@dataclass(frozen=True)
class Data:
    train: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    learning_rate: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    max_steps: int = 100
    minutes: float | None = None
    clip: float | None = 1.0
    resume: bool = False
    schedule: Literal["plateau", "constant"] = "plateau"
    accumulate: Literal[1, 2, 4] = 1

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "training.learning_rate", "above 0", self.learning_rate)


@dataclass(frozen=True)
class Whole:
    name: str = "a"
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    anything: object = None


@dataclass(frozen=True)
class Needed:
    path: str
    size: int | str = 3


def said(mapping: dict[str, Any], cls: type = Whole, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        from_mapping(cls, mapping, where)
    return str(caught.value)


def test_absent_keys_keep_their_defaults() -> None:
    assert from_mapping(Whole, {}) == Whole()
    assert from_mapping(Whole, {"training": {"max_steps": 7}}).training == Training(max_steps=7)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"training": {"learning_rat": 1.0}},
            "unknown key 'learning_rat' in [training]; did you mean 'learning_rate'?",
        ),
        ({"trainng": {}}, "unknown key 'trainng'; did you mean 'training'?"),
        ({"data": {"zzz": 1}}, "unknown key 'zzz' in [data]; choose from train, columns"),
        (
            {"training": {"learning_rate": "fast"}},
            "training.learning_rate: expected a number, got 'fast'",
        ),
        (
            {"training": {"learning_rate": True}},
            "training.learning_rate: expected a number, got true",
        ),
        (
            {"training": {"learning_rate": math.nan}},
            "training.learning_rate: expected a number, got nan",
        ),
        (
            {"training": {"max_steps": True}},
            "training.max_steps: expected a whole number, got true",
        ),
        (
            {"training": {"max_steps": 7.0}},
            "training.max_steps: expected a whole number, got 7.0",
        ),
        (
            {"training": {"max_steps": "7"}},
            "training.max_steps: expected a whole number, got '7'",
        ),
        ({"training": {"resume": 1}}, "training.resume: expected true or false, got 1"),
        (
            {"training": {"minutes": "never"}},
            "training.minutes: expected a number or \"none\", got 'never'",
        ),
        (
            {"training": {"schedule": "plateu"}},
            "training.schedule: expected one of 'plateau', 'constant', got 'plateu'; "
            "did you mean 'plateau'?",
        ),
        (
            {"training": {"schedule": 3}},
            "training.schedule: expected one of 'plateau', 'constant', got 3",
        ),
        (
            {"training": {"accumulate": True}},
            "training.accumulate: expected one of 1, 2, 4, got true",
        ),
        (
            {"training": {"betas": [0.9]}},
            "training.betas: expected a list of 2: a number, a number, got [0.9]",
        ),
        (
            {"training": {"betas": [0.9, "x"]}},
            "training.betas, item 2: expected a number, got 'x'",
        ),
        ({"data": {"train": ["a", 3]}}, "data.train, item 2: expected text, got 3"),
        ({"data": {"train": 3}}, "data.train: expected a list, each item text, got 3"),
        (
            {"data": {"train": {"a": 1}}},
            "data.train: expected a list, each item text, got a section",
        ),
        ({"training": 3}, "training: expected a section with its own keys, got 3"),
        ({"training": [{}]}, "training: expected a section with its own keys, got [a section]"),
        ({"name": 3}, "name: expected text, got 3"),
        ({"name": "a", "training": {"learning_rate": "x" * 99}}, None),
    ],
)
def test_wrong_names_and_values_are_named(mapping: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert said(mapping) == f"training.learning_rate: expected a number, got '{'x' * 56}…"
    else:
        assert said(mapping) == message


def test_a_missing_key_names_the_expected_value() -> None:
    assert said({}, Needed, "source") == "missing key 'path' in [source]: expected text"
    assert said({}, Needed) == "missing key 'path': expected text"


def test_unions_take_each_member() -> None:
    assert from_mapping(Needed, {"path": "a", "size": "big"}).size == "big"
    assert from_mapping(Needed, {"path": "a", "size": 7}).size == 7
    assert said({"path": "a", "size": 7.5}, Needed) == (
        "size: expected a whole number or text, got 7.5"
    )


def test_range_errors_of_the_dataclass_pass_through() -> None:
    assert said({"training": {"learning_rate": -1}}) == (
        "training.learning_rate must be above 0, got -1.0"
    )


def test_integers_become_floats_and_a_string_becomes_a_list() -> None:
    whole = from_mapping(Whole, {"training": {"learning_rate": 1}, "data": {"train": "a.tsv"}})
    assert type(whole.training.learning_rate) is float
    assert whole.data.train == ("a.tsv",)


def test_object_fields_and_built_records_are_taken_unchanged() -> None:
    assert from_mapping(Whole, {"anything": Data(), "data": Data(("x",))}) == Whole(
        data=Data(("x",)), anything=Data()
    )


@pytest.mark.parametrize(
    "whole",
    [
        Whole(),
        Whole('ñandú "q" \\ \t\n\'', Data(("a.en", "a.es"), ("en",)), Training(1e-7, (0.0, 1.0))),
        Whole(training=Training(minutes=2.5, clip=None, resume=True, accumulate=4)),
    ],
)
def test_toml_gives_back_an_equal_record(whole: Whole) -> None:
    assert from_mapping(Whole, tomllib.loads(to_toml(whole))) == whole
    assert from_mapping(Whole, to_mapping(whole)) == whole


def test_none_is_written_only_where_it_is_not_the_default() -> None:
    mapping = to_mapping(Training(clip=None))
    assert mapping["clip"] == "none"
    assert "minutes" not in mapping


def override(*options: tuple[str, str | None]) -> Whole:
    return from_mapping(Whole, apply_overrides({"training": {"max_steps": 3}}, options))


def test_overrides_are_read_by_the_type_of_their_field() -> None:
    whole = override(
        ("training.learning_rate", "1e-3"),
        ("training.max_steps", "7"),
        ("training.resume", None),
        ("training.minutes", "none"),
        ("training.accumulate", "4"),
        ("training.betas", "[0.5, 1]"),
        ("training.schedule", "constant"),
        ("data.train", "a.tsv"),
        ("data.columns", "1"),
        ("data.columns", "2"),
        ("name", "true"),
    )
    assert whole == Whole(
        "true",
        Data(("a.tsv",), ("1", "2")),
        Training(1e-3, (0.5, 1.0), 7, None, 1.0, True, "constant", 4),
    )
    assert override(("training.resume", "False")).training.resume is False
    assert override(("data.train", "[]")).data.train == ()


def test_converted_text_is_plain_text() -> None:
    whole = override(("name", "b"), ("data.train", "a.tsv"))
    assert type(whole.name) is str
    assert type(whole.data.train[0]) is str


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("training.max_steps", "7.5"), "training.max_steps: expected a whole number, got '7.5'"),
        (("training.max_steps", None), "training.max_steps: expected a whole number, got true"),
        (("training.resume", "yes"), "training.resume: expected true or false, got 'yes'"),
        (("training.learning_rate", "nan"), "training.learning_rate: expected a number, got nan"),
        (
            ("training.betas", "[1,"),
            "training.betas: expected a list of 2: a number, a number, got '[1,'",
        ),
        (("trainin.x", "1"), "unknown key 'trainin'; did you mean 'training'?"),
        (
            ("training.max_steps.x", "1"),
            "--training.max_steps.x: 'training.max_steps' is a value, not a section",
        ),
    ],
)
def test_wrong_overrides_are_named(option: tuple[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(option)
    assert str(caught.value) == message


def test_a_repeated_option_is_not_a_single_value() -> None:
    with pytest.raises(ConfigError, match=r"learning_rate: expected a number, got \['1', '2'\]"):
        override(("training.learning_rate", "1"), ("training.learning_rate", "2"))


def test_overrides_leave_the_mapping_alone() -> None:
    mapping = {"training": {"max_steps": 3}}
    apply_overrides(mapping, [("training.max_steps", "7")])
    assert mapping == {"training": {"max_steps": 3}}


def test_dotted_options_are_removed_from_the_command_line() -> None:
    rest, options = split_options(
        [
            "predict",
            "run",
            "--decoding.beam-size",
            "-3",
            "¿Qué?",
            "--n-best",
            "2",
            "--a.b=c=d",
            "--x.y=",
            "--model.tied",
            "--scores",
            "--last.one",
        ]
    )
    assert rest == ["predict", "run", "¿Qué?", "--n-best", "2", "--scores"]
    assert options == [
        ("decoding.beam_size", "-3"),
        ("a.b", "c=d"),
        ("x.y", ""),
        ("model.tied", None),
        ("last.one", None),
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["a.b", "-a.b", "--out", "runs/a.b", "--out=runs/a.b"], ["--", "--a.b", "c"]]
)
def test_other_arguments_stay_in_order(arguments: list[str]) -> None:
    assert split_options(arguments) == (arguments, [])


def test_suggestion_falls_back_on_the_list() -> None:
    assert suggestion("beam-sise", ["beam_size", "seed"]) == "; did you mean 'beam_size'?"
    assert suggestion("q", ["beam_size", "seed"]) == "; choose from beam_size, seed"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb 2\n", ", line 2, column 3: not valid TOML: Expected '=' after a key"),
        (b"a = 1\nb = [1,\n", ", line 3: not valid TOML: "),
        (b"a = 1\na = 2\n", ", line 2, column 6: not valid TOML: Cannot overwrite a value"),
        (b"a = 1\nb = 'caf\xe9'\n", ", line 2: not UTF-8 text (byte 14); save the file as UTF-8"),
        (b"a = 1\x00\n", ", line 1, column 6: not valid TOML: "),
    ],
)
def test_damaged_toml_names_the_line(tmp_path: Any, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_toml(tmp_path / "no.toml")
    assert str(caught.value) == f"{tmp_path / 'no.toml'}: no such file; expected a TOML file"
    with pytest.raises(ConfigError) as caught:
        read_toml(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; expected a TOML file"


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Any) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes("\ufeffname = 'ñ'\r\n[data]\r\n".encode())
    assert read_toml(path) == {"name": "ñ", "data": {}}


@dataclass(frozen=True)
class Bounded:
    n_layers: Layers = 1
    rates: tuple[Rate, ...] = ()
    step: Annotated[float, Range(above=0, most=7)] | None = None
    kind: Literal["a", "b"] = "a"
    any_number: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "model")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"n_layers": 0}, "model.n_layers must be at least 1, got 0"),
        ({"n_layers": 65}, "model.n_layers must be at most 64, got 65"),
        ({"n_layers": 10**9}, "model.n_layers must be at most 64, got 1000000000"),
        ({"rates": [0.5, 1.0]}, "model.rates must be at least 0 and below 1, got 1.0"),
        ({"step": 0}, "model.step must be above 0, got 0.0"),
        ({"step": 7.5}, "model.step must be at most 7, got 7.5"),
        ({"kind": "c"}, "model.kind: expected one of 'a', 'b', got 'c'"),
        (
            {"any_number": 2**63},
            "model.any_number: expected a whole number of at most 63 bits, got 9223372036854775808",
        ),
        (
            {"any_number": 16**20_000},
            "model.any_number: expected a whole number of at most 63 bits, got a number of more than "
            "50 digits",
        ),
        (
            {"rates": 10**400},
            "model.rates: expected a list, each item a number, got a number of more",
        ),
        (
            {"rates": [10**400]},
            "model.rates, item 1: expected a number, got a number of more than 50",
        ),
        ({"rates": [math.inf]}, "model.rates, item 1: expected a number, got inf"),
        (
            {"x" * 99: 1},
            f"unknown key '{'x' * 30}…{'x' * 29}' in [model]; choose from n_layers, rates",
        ),
        ({"\x1b]0;": 1}, r"unknown key '\x1b]0;' in [model]"),
    ],
)
def test_values_out_of_bounds_are_refused(mapping: dict[str, Any], message: str) -> None:
    assert said(mapping, Bounded, "model").startswith(message)


def test_bounds_are_checked_in_python_too() -> None:
    with pytest.raises(ConfigError, match=r"^model.kind must be one of a, b, got 'c'$"):
        Bounded(kind="c")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^model.step must be above 0, got nan$"):
        Bounded(step=math.nan)
    assert Bounded(64, (0.0, 0.5), 7.0, "b", -5).step == 7


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\0b", r"without NUL characters, got 'a\x00b'"),
        ("\udce9.tsv", r"in UTF-8, got '\udce9.tsv'"),
        ("x" * 10_001, f"of at most 10,000 characters, got '{'x' * 56}…"),
    ],
)
def test_invalid_strings_are_refused(text: str, wanted: str) -> None:
    assert said({"data": {"train": [text]}}) == f"data.train, item 1: expected text {wanted}"
    assert said({"name": OptionText(text)}) == f"name: expected text {wanted}"


def test_every_number_of_every_recipe_has_bounds() -> None:
    from unrolled.tasks import TASKS
    from unrolled.text.config import TextConfig
    from unrolled.training.recipe import Recipe
    from unrolled.vectors.config import VectorsConfig

    of_tasks = [cls for task in TASKS.values() for cls in (task.Config, task.Data)]
    for cls in (*of_tasks, TextConfig, TrainingConfig, DecodingConfig, Recipe, VectorsConfig):
        checks = _checks(cls)
        for name, hint in get_type_hints(cls).items():
            if hint in (int, float) and name != "split_seed":
                bounds = checks[name][0]
                assert bounds is not None, f"{cls.__name__}.{name}"
                assert bounds.why_not(10.0**39) is not None, f"{cls.__name__}.{name}"
