"""Training follows the paper: compared with a float64 reference, on every instruction set."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from unrolled.errors import ConfigError, NonFiniteError, RunError
from unrolled.training.checkpoint import load_tensors
from unrolled.vectors import train_stage
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.glove.model import Parameters, rounds_of, train_epoch
from unrolled.vectors.glove.pairs import PairsInMemory, PairsOnDisk, n_groups_of, shard_pairs
from unrolled.vectors.kernels import native
from unrolled.vectors.train import implementation_named, train_vectors

CONFIG = VectorsConfig(
    size=7, min_count=1, window=4, epochs=2, x_max=3.0, rate=0.2, clip=0.3, threads=2
)


MUCH = 1 << 30  # bytes of memory for pairs


@pytest.fixture(scope="module")
def counted(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with complete counts."""
    folder = tmp_path_factory.mktemp("counted") / "vectors"
    train_vectors(replace(CONFIG, epochs=1), text, folder)
    return folder


def reference_training(
    folder: Path, config: VectorsConfig, n_epochs: int
) -> tuple[list[np.ndarray], list[float]]:
    """Eq. 8 and 9 with AdaGrad, pair by pair in float64, in the documented order of training.

    Returns w, w̃, b, b̃ and the loss of each epoch.
    """
    counts = Counts.open(folder / "counts")
    n_words = counts.n_words
    x = np.zeros((n_words, n_words))
    whole = counts.read(0, n_words)
    for i in range(n_words):
        entries = slice(int(whole.ends[i]), int(whole.ends[i + 1]))
        x[i, whole.columns[entries]] = whole.values[entries]
    start = Parameters.begin(n_words, config)
    w, c, b, d = (
        np.concatenate(list(start.rows(name))).astype(float)
        for name in ("w", "w_context", "b", "b_context")
    )
    w_sums, c_sums, b_sums, d_sums = (np.ones_like(array) for array in (w, c, b, d))
    n_groups, losses = n_groups_of(n_words), []
    for epoch in range(1, n_epochs + 1):
        loss = 0.0
        for blocks in rounds_of(epoch, n_groups, config.seed):
            for row_group, column_group in blocks:
                for i in range(row_group, n_words, n_groups):
                    for j in range(column_group, n_words, n_groups):
                        if not x[i, j]:
                            continue
                        f = min(1.0, x[i, j] / config.x_max) ** config.alpha
                        diff = w[i] @ c[j] + b[i] + d[j] - log(x[i, j])
                        loss += f * diff**2 / 2
                        g_w = np.clip(f * diff * c[j], -config.clip, config.clip) * config.rate
                        g_c = np.clip(f * diff * w[i], -config.clip, config.clip) * config.rate
                        w[i] -= g_w / np.sqrt(w_sums[i])
                        c[j] -= g_c / np.sqrt(c_sums[j])
                        w_sums[i] += g_w**2
                        c_sums[j] += g_c**2
                        b[i] -= f * diff / np.sqrt(b_sums[i])
                        d[j] -= f * diff / np.sqrt(d_sums[j])
                        b_sums[i] += (f * diff) ** 2
                        d_sums[j] += (f * diff) ** 2
        losses.append(loss / np.count_nonzero(x))
    return [w, c, b, d], [float(loss) for loss in losses]


@pytest.mark.parametrize("size", [1, 7, 16, 37, 61, 100, 129, 300])
def test_training_follows_the_paper(
    counted: Path, tmp_path: Path, implementation, size: int
) -> None:
    if implementation == "plain" and size > 40:
        pytest.skip("slow, and the same code as for smaller vectors")
    config = replace(CONFIG, size=size)
    module = implementation_named(implementation)
    counts = Counts.open(counted / "counts")
    vocabulary = Vocabulary.load(counted / "vocabulary.tsv")
    pairs = shard_pairs(counts, config, module, tmp_path / "pairs", MUCH)
    parameters = Parameters.begin(counts.n_words, config)
    losses = [
        train_epoch(pairs, parameters, epoch, config, module, vocabulary) / counts.n_nonzeros
        for epoch in (1, 2)
    ]
    exact, exact_losses = reference_training(counted, config, 2)
    for name, expected in zip(("w", "w_context", "b", "b_context"), exact, strict=True):
        actual = np.concatenate(list(parameters.rows(name)))
        # There are some thousand successive steps; each rounds numbers of about 1 to 2⁻²⁴.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-5 * np.abs(expected).max())
    np.testing.assert_allclose(losses, exact_losses, rtol=1e-5)


def trained(text: Path, folder: Path, config: VectorsConfig, **options) -> bytes:
    train_vectors(config, text, folder, **options)
    return (folder / "vectors.safetensors").read_bytes()


def test_vectors_do_not_depend_on_the_number_of_threads(
    text: Path, tmp_path: Path, implementation
) -> None:
    if implementation == "plain":
        pytest.skip("it has only one thread")
    config = replace(CONFIG, size=33, epochs=3, save_every_n_seconds=0)
    results = {trained(text, tmp_path / str(n), replace(config, threads=n)) for n in (1, 2, 5)}
    assert len(results) == 1
    other = trained(text, tmp_path / "seed", replace(config, seed=2))
    assert other not in results


def test_pairs_on_disk_give_the_same_vectors(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = trained(text, tmp_path / "a", CONFIG)
    made = []
    for number, free in enumerate((9_999, 99_999)):

        def little(*given, free=free):
            made.append(shard_pairs(*given[:-1], free))
            return made[-1]

        monkeypatch.setattr(train_stage, "shard_pairs", little)
        assert trained(text, tmp_path / str(number), CONFIG) == in_memory
        losses = [(tmp_path / name / "record.json").read_text() for name in ("a", str(number))]
        assert json.loads(losses[0])["losses"] == json.loads(losses[1])["losses"]
        assert isinstance(made[-1], PairsOnDisk)


def test_blocks_on_disk_are_read_a_few_at_a_time(counted: Path, tmp_path: Path) -> None:
    counts = Counts.open(counted / "counts")
    module, rounds = implementation_named(None), rounds_of(1, 32, 1)
    whole = shard_pairs(counts, CONFIG, module, tmp_path / "pairs", MUCH)
    assert isinstance(whole, PairsInMemory)
    free = 2 * 12 * max(len(block.pairs) for some in whole.rounds(rounds) for block in some)
    pairs = shard_pairs(counts, CONFIG, module, tmp_path / "pairs", free)
    n_rounds, n_pairs = 0, 0
    for blocks in pairs.rounds(rounds):
        assert 2 * sum(block.pairs.nbytes for block in blocks) <= free
        n_pairs += sum(len(block.pairs) for block in blocks)
        n_rounds += 1
    assert n_rounds > 64
    assert n_pairs == counts.n_nonzeros
    with pytest.raises(ConfigError, match=r"too low to train on blocks of \d+ pairs; set it to"):
        shard_pairs(counts, CONFIG, module, tmp_path / "pairs", free - 1)
    (tmp_path / "pairs").write_bytes(b"")
    with pytest.raises(RunError, match="pairs: truncated; continue with --resume"):
        next(pairs.rounds(rounds))


def test_creating_and_loading_parameters_needs_no_copies(tmp_path: Path) -> None:
    config, n_words = replace(CONFIG, size=100), 20_000
    whole = Parameters.n_bytes_of(n_words, 100)
    tracemalloc.start()
    one = Parameters.begin(n_words, config)
    assert whole <= tracemalloc.get_traced_memory()[1] < 1.2 * whole
    one.save(tmp_path / "state", with_sums=True)
    assert tracemalloc.get_traced_memory()[1] < 1.2 * whole
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    other = Parameters.load(tmp_path / "state", n_words, 100)
    assert tracemalloc.get_traced_memory()[1] - before < 1.2 * whole
    tracemalloc.stop()
    for saved, loaded in zip(one.sides, other.sides, strict=True):
        assert all(map(np.array_equal, saved.arrays, loaded.arrays))


def test_a_number_that_is_not_finite_is_found_in_any_array() -> None:
    parameters = Parameters.begin(1001, replace(CONFIG, size=20))
    assert parameters.not_finite() is None
    for number, value in enumerate((np.inf, -np.inf, np.nan)):
        for side, ending in zip(parameters.sides, ("", "_context"), strict=True):
            for array, name in zip(side.arrays, ("w", "sums.w", "b", "sums.b"), strict=True):
                rank = 700 + number
                place = (rank % 32, rank // 32, *([19] if array.ndim == 3 else []))
                before, array[place] = array[place], value
                assert parameters.not_finite() == (name + ending, rank)
                array[place] = before


def test_the_plain_implementation_makes_the_same_pairs(counted: Path, tmp_path: Path) -> None:
    if native.why_not() is not None:
        pytest.skip("no kernels to compare with")
    counts = Counts.open(counted / "counts")
    config = replace(CONFIG, threads=3)
    all_pairs = [
        shard_pairs(counts, config, implementation_named(name), tmp_path / name, MUCH)
        for name in ("native", "plain")
    ]
    rounds = rounds_of(1, 32, 1)
    native_rounds, plain_rounds = (pairs.rounds(rounds) for pairs in all_pairs)
    for blocks, other_blocks in zip(native_rounds, plain_rounds, strict=True):
        for block, other in zip(blocks, other_blocks, strict=True):
            assert np.array_equal(block.pairs, other.pairs)
            assert (np.diff(block.pairs["row"].astype(int)) >= 0).all()


def test_rounds_cover_all_blocks_and_never_repeat_a_group() -> None:
    seen = set()
    for number, blocks in enumerate(rounds_of(3, 37, seed=5)):
        assert sorted(row for row, _ in blocks) == list(range(37))
        assert sorted(column for _, column in blocks) == list(range(37))
        seen |= set(blocks)
        assert len(seen) == 37 * (number + 1)
    assert rounds_of(1, 37, 5) != rounds_of(2, 37, 5) != rounds_of(2, 37, 6)


def test_initial_vectors_are_small_uniform_and_seeded() -> None:
    config = VectorsConfig(size=50)
    one, other = (Parameters.begin(1001, replace(config, seed=seed)) for seed in (1, 2))
    w, c = (np.concatenate(list(one.rows(name))) for name in ("w", "w_context"))
    assert w.shape == (1001, 50)
    assert abs(w).max() <= 0.01
    assert abs(w.mean()) < 1e-4
    assert abs(w.std() - 0.01 / 3**0.5) < 1e-4
    assert not np.array_equal(w, c)
    assert not np.array_equal(w, np.concatenate(list(other.rows("w"))))
    assert (one.sides[0].vectors[..., 50:] == 0).all()


def test_a_gradient_that_is_not_finite_names_the_words(
    counted: Path, tmp_path: Path, implementation
) -> None:
    module = implementation_named(implementation)
    counts = Counts.open(counted / "counts")
    vocabulary = Vocabulary.load(counted / "vocabulary.tsv")
    for threads in (1, 2):
        config = replace(CONFIG, size=20, threads=threads)
        pairs = shard_pairs(counts, config, module, tmp_path / "pairs", MUCH)
        parameters = Parameters.begin(counts.n_words, config)
        parameters.sides[1].vectors[3 % 32, 0, 2] = np.inf  # of the word with rank 3
        with pytest.raises(NonFiniteError) as caught:
            train_epoch(pairs, parameters, 1, config, module, vocabulary)
        assert f"with '{vocabulary.words[3]}' (log X = " in str(caught.value)
        assert str(caught.value).startswith("epoch 1: the gradient of '")
        assert str(caught.value).endswith("is not finite; lower vectors.rate or vectors.clip")


def test_the_file_has_the_documented_layout(counted: Path) -> None:
    tensors = load_file(counted / "vectors.safetensors")
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} == {
        "w": ((97, 7), np.float32),
        "w_context": ((97, 7), np.float32),
        "b": ((97,), np.float32),
        "b_context": ((97,), np.float32),
    }
    # Compares the checksum.
    assert load_tensors(counted / "vectors.safetensors").keys() == tensors.keys()


def test_words_with_similar_contexts_get_similar_vectors(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    lines = []
    for _ in range(3000):
        animal, fruit = draw.choice(["cat", "dog", "hen"]), draw.choice(["fig", "plum", "pear"])
        lines += [f"the {animal} runs and sleeps", f"a ripe {fruit} hangs on trees"]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    config = VectorsConfig(size=10, epochs=30, x_max=100)
    train_vectors(config, tmp_path / "a.txt", tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "vectors.safetensors")
    words = Vocabulary.load(tmp_path / "out" / "vocabulary.tsv").ranks()
    vectors = tensors["w"] + tensors["w_context"]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def near(a: str, b: str) -> float:
        return float(vectors[words[a]] @ vectors[words[b]])

    assert near("cat", "dog") > 0.8 > 0.5 > near("cat", "fig")
    assert near("pear", "plum") > 0.8 > 0.5 > near("plum", "hen")
