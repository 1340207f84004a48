"""Which implementation runs, how to pin one, and the error if it cannot run."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from types import ModuleType

import pytest
import torch
from recurrence_cases import make_case

from unrolled import ops
from unrolled.errors import ConfigError, UnavailableError
from unrolled.kernels import _import_kernels
from unrolled.ops.types import Weights

X = torch.zeros(7, 5, 3, dtype=torch.float64)
TOO_WIDE = "the kernels are float32, but this is float64"


@pytest.fixture(autouse=True)
def kernels_or_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons for float64 do not depend on whether the kernels are installed."""
    if ops.native.kernels is None:
        monkeypatch.setattr(ops.native, "kernels", object())


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_explain_names_the_choice_and_every_other_reason() -> None:
    assert str(ops.explain("lstm", X)) == (
        "lstm: torch_native runs\n"
        f"  not native: {TOO_WIDE}\n"
        "  not reference: torch_native comes first"
    )
    assert str(ops.explain("rnn_sigmoid", X)) == (
        "rnn_sigmoid: reference runs\n"
        "  not native: there is no kernel for rnn_sigmoid\n"
        "  not torch_native: torch has no fused rnn_sigmoid"
    )


@pytest.mark.skipif(ops.native.missing_because != "", reason="the kernels are not installed")
@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
def test_the_native_kernels_come_first(kind: ops.Kind) -> None:
    assert ops.explain(kind, X.float()).chosen == "native"


@pytest.mark.skipif(ops.native.missing_because != "", reason="the kernels are not installed")
@pytest.mark.parametrize(
    ("kind", "n_steps", "n_rows", "lengths", "chosen"),
    [
        ("gru", 1, 64, None, "torch_native"),
        ("gru", 2, 64, None, "torch_native"),
        ("rnn_tanh", 4, 1, None, "torch_native"),
        ("gru", 3, 64, None, "native"),
        ("rnn_relu", 8, 1, None, "native"),
        ("lstm", 1, 1, None, "native"),
        ("gru", 1, 2, torch.tensor([1, 0]), "native"),
    ],
)
def test_few_steps_use_the_faster_implementation(
    kind: ops.Kind, n_steps: int, n_rows: int, lengths: torch.Tensor | None, chosen: str
) -> None:
    x = torch.zeros(n_steps, n_rows, 3)
    assert ops.explain(kind, x, lengths).chosen == chosen
    assert ops.choose(kind, x, lengths) == chosen
    with ops.using("native"):
        assert ops.explain(kind, x, lengths).chosen == "native"
        assert ops.choose(kind, x, lengths) == "native"


def test_explain_reports_the_pinned_implementation() -> None:
    with ops.using("reference"):
        explanation = ops.explain("gru", X)
    assert explanation.chosen == "reference"
    assert explanation.reasons == {
        "native": "'reference' is pinned",
        "torch_native": "'reference' is pinned",
    }


def test_explain_says_when_the_pinned_one_cannot_run() -> None:
    with ops.using("torch_native"):
        explanation = ops.explain("rnn_sigmoid", X)
    assert str(explanation).startswith("rnn_sigmoid: nothing runs\n")


def test_a_pinned_implementation_that_cannot_run_refuses() -> None:
    case = make_case("rnn_sigmoid")
    message = exactly(
        "'torch_native' is pinned and cannot run rnn_sigmoid: torch has no fused rnn_sigmoid; "
        "pin another or none"
    )
    with ops.using("torch_native"), pytest.raises(UnavailableError, match=message):
        ops.unroll(case.kind, case.x, None, case.state, case.weights)
    y, _ = ops.unroll(case.kind, case.x, None, case.state, case.weights)
    assert y.shape == (7, 5, 11)


def test_when_nothing_can_run_every_reason_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    lame = ModuleType("lame")
    lame.why_not = lambda *_: "it is lame"  # type: ignore[attr-defined]
    monkeypatch.setattr(ops.dispatch, "IMPLEMENTATIONS", {"lame": lame, "lamer": lame})
    case = make_case("gru")
    message = exactly("no implementation can run gru: lame: it is lame; lamer: it is lame")
    with pytest.raises(UnavailableError, match=message):
        ops.unroll(case.kind, case.x, None, case.state, case.weights)


def test_the_first_usable_implementation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def spy(name: str) -> ModuleType:
        module = ModuleType(name)
        module.why_not = ops.IMPLEMENTATIONS[name].why_not  # type: ignore[attr-defined]

        def unroll(*args: object) -> object:
            called.append(name)
            return ops.reference.unroll(*args)

        module.unroll = unroll  # type: ignore[attr-defined]
        return module

    spies = {name: spy(name) for name in ops.IMPLEMENTATIONS}
    monkeypatch.setattr(ops.dispatch, "IMPLEMENTATIONS", spies)
    gru, sigmoid = make_case("gru"), make_case("rnn_sigmoid")
    ops.unroll("gru", gru.x, None, gru.state, gru.weights)
    ops.unroll("rnn_sigmoid", sigmoid.x, None, sigmoid.state, sigmoid.weights)
    with ops.using("reference"):
        ops.unroll("gru", gru.x, None, gru.state, gru.weights)
    assert called == ["torch_native", "reference", "reference"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refrence", "there is no implementation called 'refrence'; "
         "did you mean 'reference'?"),
        ("cuda", "there is no implementation called 'cuda'; "
         "choose from 'native', 'torch_native', 'reference'"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_refused_at_once(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=exactly(message)), ops.using(name):
        pytest.fail("the block must not be entered")


def test_pins_nest_and_end_even_after_an_error() -> None:
    with ops.using("reference"):
        with suppress(ZeroDivisionError), ops.using("torch_native"):
            assert ops.explain("gru", X).chosen == "torch_native"
            _ = 1 / 0
        assert ops.explain("gru", X).chosen == "reference"
    assert ops.explain("gru", X).chosen == "torch_native"


def test_a_pin_stays_in_its_thread_and_task() -> None:
    seen: list[str | None] = []
    with ops.using("reference"):
        thread = threading.Thread(target=lambda: seen.append(ops.explain("gru", X).chosen))
        thread.start()
        thread.join()

    async def pinned(started: asyncio.Event, looked: asyncio.Event) -> None:
        with ops.using("reference"):
            started.set()
            await looked.wait()

    async def looking() -> None:
        started, looked = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(pinned(started, looked))
        await started.wait()
        seen.append(ops.explain("gru", X).chosen)
        looked.set()
        await task

    asyncio.run(looking())
    assert seen == ["torch_native", "torch_native"]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([7, 7, 7, 7, 7], dtype=torch.int32),
         "lengths must be int64 on the CPU, got torch.int32 on cpu"),
        (torch.tensor([7, 7, 7]),
         "there must be one length per row, got lengths of shape [3] for 5 rows"),
        (torch.tensor([7, 7, 8, 7, 7]), "each length must be in 0…7, got [7, 7, 8, 7, 7]"),
        (torch.tensor([7, 7, -1, 7, 7]), "each length must be in 0…7, got [7, 7, -1, 7, 7]"),
    ],
)  # fmt: skip
def test_invalid_lengths_are_refused(lengths: torch.Tensor, message: str) -> None:
    case = make_case("gru")
    with pytest.raises(ValueError, match=exactly(message)):
        ops.unroll("gru", case.x, lengths, case.state, case.weights)


def test_weights_of_another_kind_are_refused() -> None:
    gru, lstm = make_case("gru"), make_case("lstm")
    message = exactly(
        "w_ih of lstm must be [44, 3] for inputs of width 3 and 11 hidden units, got [33, 3]"
    )
    with pytest.raises(ValueError, match=message):
        ops.unroll("lstm", lstm.x, None, lstm.state, gru.weights)


def test_inputs_of_another_width_are_refused() -> None:
    case, wider = make_case("gru"), make_case("gru", input_size=5)
    message = exactly(
        "w_ih of gru must be [33, 5] for inputs of width 5 and 11 hidden units, got [33, 3]"
    )
    with pytest.raises(ValueError, match=message):
        ops.unroll("gru", wider.x, None, case.state, case.weights)


def test_mismatched_states_are_refused() -> None:
    case = make_case("lstm")
    message = exactly("lstm has 2 state tensor(s) (h, c), got 1")
    with pytest.raises(ValueError, match=message):
        ops.unroll("lstm", case.x, None, case.state[:1], case.weights)
    narrow = (case.state[0], torch.zeros(5, 2).double())
    message = exactly("the initial c of lstm must be [5, 11], got [5, 2]")
    with pytest.raises(ValueError, match=message):
        ops.unroll("lstm", case.x, None, narrow, case.weights)


def test_one_bias_alone_is_refused() -> None:
    message = exactly("b_hh is given and b_ih is None: pass both biases or neither")
    with pytest.raises(ValueError, match=message):
        Weights(torch.zeros(3, 2), torch.zeros(3, 3), None, torch.zeros(3))


def test_kernels_for_another_processor_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    built_elsewhere = ModuleType("_kernels")
    built_elsewhere.instruction_sets = list
    monkeypatch.delenv("UNROLLED_INSTRUCTION_SET", raising=False)
    monkeypatch.setattr("unrolled.kernels.import_module", lambda name: built_elsewhere)
    assert _import_kernels() == (
        None,
        "they were compiled for another processor (`make demo`); run `make setup`",
    )
