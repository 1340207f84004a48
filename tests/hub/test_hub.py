"""Push and pull runs: a hub on 127.0.0.1 whose repositories are local folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serving

import unrolled
from unrolled.cli.main import main
from unrolled.errors import ConfigError, RunError, UnavailableError
from unrolled.hub.address import Address
from unrolled.hub.contents import ON_HUB, check_names, files_of, is_on_hub

# Of huggingface_hub, which passes files to its HTTP client in a way that the client no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

OLD_FILES = Path(__file__).parents[1] / "old_files"
PUSHED = [
    "README.md",
    "baselines/bigrams/baseline.json",
    "baselines/majority/baseline.json",
    "config.toml",
    "labels.json",
    "metrics.jsonl",
    "model.safetensors",
    "split.json",
    "tokenizer-text.json",
]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    with serving(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_FILES / "classify" / "run", tmp_path / "mine"))


def test_a_pulled_run_is_the_pushed_one(hub: Hub, run: Path, tmp_path: Path) -> None:
    pinned = unrolled.push(run, "hf://ann/station")
    commit = hub.refs("ann/station")["main"]
    assert pinned == f"hf://ann/station@{commit}"
    assert set(PUSHED) <= set(hub.files("ann/station", commit))
    assert unrolled.pull("hf://ann/station", tmp_path / "copy") == pinned
    for name in files_of(run):
        if name.name != "README.md":
            assert (tmp_path / "copy" / name).read_bytes() == (run / name).read_bytes(), name
    texts = ["a good film", "nothing at all", ""]
    first, second = (unrolled.load_labels(path).predict(texts) for path in (run, tmp_path / "copy"))
    for own, other in zip(first, second, strict=True):
        assert own.probabilities.tolist() == other.probabilities.tolist()
    assert not list(tmp_path.glob(".copy*"))


def test_the_card_tells_the_hub_what_it_is(hub: Hub, run: Path, tmp_path: Path) -> None:
    commit = Address.of(unrolled.push(run, "hf://ann/station")).revision
    card = (hub.folder / "ann/station" / commit / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: unrolled\npipeline_tag: text-classification\n")
    assert (run / "README.md").read_text() in card
    assert "unrolled pull hf://ann/station station" in card
    unrolled.pull("hf://ann/station", tmp_path / "copy")
    unrolled.push(tmp_path / "copy", "hf://ann/station")
    assert (
        hub.folder / "ann/station" / hub.refs("ann/station")["main"] / "README.md"
    ).read_text() == card


def test_a_revision_is_that_commit_whatever_comes_after(
    hub: Hub, run: Path, tmp_path: Path
) -> None:
    first = unrolled.push(run, "hf://ann/station")
    (run / "metrics.jsonl").write_text("")
    shutil.rmtree(run / "baselines")
    second = unrolled.push(run, "hf://ann/station")
    assert first != second
    assert unrolled.pull(first, tmp_path / "old") == first
    assert unrolled.pull("hf://ann/station@main", tmp_path / "new") == second
    assert (tmp_path / "old" / "metrics.jsonl").read_text() != ""
    assert (tmp_path / "new" / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "new" / "baselines").exists()  # removed by the second push


def test_branches_and_private_repositories(hub: Hub, run: Path, tmp_path: Path) -> None:
    pinned = unrolled.push(run, "hf://ann/station@small", private=True)
    assert hub.refs("ann/station")["small"] == Address.of(pinned).revision
    assert (hub.folder / "ann/station/private").read_text() == "True"
    assert hub.files("ann/station", hub.refs("ann/station")["main"]) == [".gitattributes"]
    with pytest.raises(RunError, match="has no such revision; name another one"):
        unrolled.pull("hf://ann/station@large", tmp_path / "copy")
    hub.create("ann/open")
    with pytest.raises(RunError, match="exists and is public; make it private"):
        unrolled.push(run, "hf://ann/open", private=True)
    with pytest.raises(ConfigError, match="commits do not change"):
        unrolled.push(run, pinned)


def test_checkpoints_and_reports_stay_here(run: Path) -> None:
    for name in ("checkpoints/step-0000500/state.json", "evaluation-test/predictions.jsonl"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("{}")
    names = [name.as_posix() for name in files_of(run)]
    assert not [name for name in names if name.startswith(("checkpoints", "evaluation"))]
    assert set(PUSHED) <= set(names)


def test_only_whole_runs_are_pushed(hub: Hub, run: Path, tmp_path: Path) -> None:
    (run / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"notes\.txt does not belong to the run"):
        unrolled.push(run, "hf://ann/station")
    (run / "notes.txt").unlink()
    (run / "labels.json").write_text("[]")
    with pytest.raises(RunError, match=r"labels\.json"):
        unrolled.push(run, "hf://ann/station")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="is not a run folder"):
        unrolled.push(tmp_path / "other", "hf://ann/station")
    with pytest.raises(RunError, match="no such run folder"):
        unrolled.push(tmp_path / "none", "hf://ann/station")
    assert hub.requests == []


@pytest.mark.parametrize("path", ["/srv/ann/train.tsv", "C:\\\\data\\\\train.tsv", "~/train.tsv"])
def test_paths_of_this_machine_are_not_pushed(hub: Hub, run: Path, path: str) -> None:
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("train.tsv", path))
    with pytest.raises(RunError, match=r"a path of this machine.*\(--with-paths\)"):
        unrolled.push(run, "hf://ann/station")
    assert hub.requests == []
    assert unrolled.push(run, "hf://ann/station", with_paths=True)


@pytest.mark.parametrize(
    "name",
    ["model.pkl", "setup.py", "baselines/x/weights.npy", "members/seed-1/checkpoints/pointer.json"],
)  # fmt: skip
def test_repositories_with_other_files_are_not_downloaded(
    hub: Hub, run: Path, tmp_path: Path, name: str
) -> None:
    unrolled.push(run, "hf://ann/station")
    hub.commit("ann/station", "main", {name: b"cos\nsystem\n"})
    hub.requests.clear()
    with pytest.raises(RunError, match="which is no file of a run"):
        unrolled.pull("hf://ann/station", tmp_path / "copy")
    assert not [each for each in hub.requests if "resolve" in each]
    with pytest.raises(RunError, match="which is no file of a run"):
        unrolled.push(run, "hf://ann/station")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "name", ["../config.toml", "/config.toml", "members/../config.toml", ".", ""]
)
def test_names_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(RunError, match="which is no file of a run"):
        check_names([name, "config.toml", "model.safetensors"], Address("ann/station"))


def test_a_repository_that_is_no_run(hub: Hub, tmp_path: Path) -> None:
    hub.create("ann/station")
    with pytest.raises(RunError, match=r"is not a run; it has no config\.toml"):
        unrolled.pull("hf://ann/station", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_damaged_run_does_not_appear(hub: Hub, run: Path, tmp_path: Path) -> None:
    unrolled.push(run, "hf://ann/station")
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    hub.commit("ann/station", "main", {"model.safetensors": bytes(weights)})
    with pytest.raises(
        RunError, match=r"hf://ann/station@.*model\.safetensors.*nothing was written"
    ):
        unrolled.pull("hf://ann/station", tmp_path / "new" / "copy")
    assert not (tmp_path / "new").exists()


def test_a_folder_in_the_way_is_kept(hub: Hub, run: Path, tmp_path: Path) -> None:
    unrolled.push(run, "hf://ann/station")
    hub.requests.clear()
    with pytest.raises(RunError, match="exists; choose another folder"):
        unrolled.pull("hf://ann/station", run)
    (tmp_path / ".copy.partial").mkdir()
    (tmp_path / ".copy.partial" / "mine.txt").write_text("")
    with pytest.raises(RunError, match="in the way and was not written by Unrolled"):
        unrolled.pull("hf://ann/station", tmp_path / "copy")
    assert hub.requests == []


def test_errors_of_the_hub_are_one_sentence(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="there is no repository hf://ann/none, or it is private"):
        unrolled.pull("hf://ann/none", tmp_path / "copy")
    hub.refused = 403
    with pytest.raises(RunError, match=r"does not allow this .*status 403.*hf auth login"):
        unrolled.push(run, "hf://ann/station")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="cannot be reached"):
        unrolled.pull("hf://ann/none", tmp_path / "copy")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="because HF_HUB_OFFLINE is set"):
        unrolled.pull("hf://ann/none", tmp_path / "copy")


@pytest.mark.parametrize(
    "address",
    ["ann/station", "hf:/ann/station", "hf://ann", "hf://ann/a/b", "hf://ann/st ation", "hf:///x",
     "hf://ann/..", "hf://ann/x@", "hf://ann/x@a..b", "hf://ann/x@a b", f"hf://ann/{'x' * 97}"],
)  # fmt: skip
def test_bad_addresses_say_what_is_expected(address: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected hf://user/name|after the '@'"):
        unrolled.push(run, address)


def test_nothing_else_downloads(
    hub: Hub, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unrolled.push(run, "hf://ann/station")
    hub.requests.clear()
    with pytest.raises(RunError, match="first run unrolled pull hf://ann/station@v1 station"):
        unrolled.load("hf://ann/station@v1")
    assert main(["predict", "hf://ann/station", "a text"]) == 2
    assert "only 'unrolled pull' downloads" in capsys.readouterr().err
    assert hub.requests == []


def test_the_commands_print_the_commit(
    hub: Hub, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run), "hf://ann/station", "--private"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"hf://ann/station@{hub.refs('ann/station')['main']}\n"
    assert main(["pull", "hf://ann/station", str(tmp_path / "copy")]) == 0
    again = capsys.readouterr()
    assert again.out == printed.out
    assert again.err == f"wrote {tmp_path / 'copy'}\n"
    assert main(["pull", "hf://ann/station", str(tmp_path / "copy")]) == 2
    assert capsys.readouterr().err.startswith("unrolled: ")


def test_only_known_patterns_are_on_the_hub() -> None:
    assert is_on_hub(Path("members/seed-3/model.safetensors"))
    assert not is_on_hub(Path("members/model.safetensors"))
    assert not is_on_hub(Path("baselines"))
    assert all(".pkl" not in pattern and "bin" not in pattern for pattern in ON_HUB)
