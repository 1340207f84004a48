"""Every form of import that works for `torch.nn` works for `unrolled.nn`, with torch's objects."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import subprocess
import sys

import pytest
import torch

import unrolled.nn
from unrolled import nn


def test_every_other_name_is_torchs() -> None:
    from unrolled.nn import Embedding

    assert Embedding is torch.nn.Embedding
    assert nn.Linear is torch.nn.Linear
    assert nn.functional is torch.nn.functional
    assert nn.utils.rnn.pack_sequence is torch.nn.utils.rnn.pack_sequence
    assert {"LSTM", "Linear", "Module", "from_torch"} <= set(dir(nn))
    for name in ("Linearr", "__wrapped__", "__file_of_torch__"):
        assert not hasattr(nn, name)


def test_a_star_import_gives_all_names_with_our_layers() -> None:
    theirs: dict[str, object] = {}
    ours: dict[str, object] = {}
    exec("from torch.nn import *", theirs)
    exec("from unrolled.nn import *", ours)
    added = {"Recurrent", "RecurrentLayers", "from_torch", "layer_of", "to_torch"}
    assert ours.keys() == theirs.keys() | added
    changed = {name for name in theirs if ours[name] is not theirs[name]} - {"__builtins__"}
    assert changed == {"RNN", "GRU", "LSTM"}


MODULES = [
    "functional",
    "init",
    "modules",
    "modules.rnn",
    "parallel",
    "parameter",
    "utils",
    "utils.parametrizations",
    "utils.parametrize",
    "utils.prune",
    "utils.rnn",
]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_torch_is_the_same_module_here(name: str) -> None:
    theirs = importlib.import_module(f"torch.nn.{name}")
    spec = theirs.__spec__
    assert importlib.import_module(f"unrolled.nn.{name}") is theirs
    assert theirs.__spec__ is spec
    assert theirs.__name__ == f"torch.nn.{name}"
    assert importlib.util.find_spec(f"unrolled.nn.{name}") is spec


def test_the_first_import_of_a_process_may_be_of_any_form() -> None:
    code = """
import unrolled.nn.functional as F
from unrolled.nn.utils.rnn import pack_padded_sequence, PackedSequence
from unrolled.nn.modules.rnn import LSTM
import unrolled.nn.utils.prune
import torch, unrolled.nn as nn
assert F is torch.nn.functional and LSTM is torch.nn.LSTM and nn.LSTM is not LSTM
y, _ = nn.LSTM(5, 6)(pack_padded_sequence(torch.randn(9, 4, 5), [9, 5, 3, 1]))
assert isinstance(y, PackedSequence) and isinstance(y, torch.nn.utils.rnn.PackedSequence)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["nosuch", "utils.nosuch", "LSTM", "utils.rnn.pack_sequence"])
def test_a_module_that_torch_lacks_is_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"No module named 'unrolled.nn.{name}'"):
        importlib.import_module(f"unrolled.nn.{name}")


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_layers_can_be_looked_up_copied_and_pickled(cell: str) -> None:
    kind = getattr(unrolled.nn, cell)
    assert kind.__module__ == "unrolled.nn.layers"
    assert f"class {cell}(torch.nn.{cell})" in inspect.getsource(kind)
    module = kind(5, 3, 2)
    x = torch.randn(7, 4, 5)
    for again in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), copy.copy(module)):
        assert type(again) is kind
        assert torch.equal(again(x)[0], module(x)[0])
    assert type(torch.nn.utils.skip_init(kind, 5, 3)) is kind


def test_help_and_members_of_the_module_can_be_read() -> None:
    import pydoc

    assert "from_torch" in pydoc.render_doc(unrolled.nn, renderer=pydoc.plaintext)
    assert dict(inspect.getmembers(unrolled.nn))["Linear"] is torch.nn.Linear
