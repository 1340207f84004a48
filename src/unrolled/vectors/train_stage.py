"""The second stage of a training: train vectors on the counts, with checkpoints at epoch ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from unrolled import storage
from unrolled.errors import NonFiniteError
from unrolled.quoting import quote, shell_command
from unrolled.system import trim_memory
from unrolled.vectors import memory
from unrolled.vectors.config import OF_TRAINING, VectorsConfig
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.events import Epoch, VectorsEvent
from unrolled.vectors.formats.safetensors import CONFIG_FILE, VECTORS_FILE, VOCABULARY_FILE
from unrolled.vectors.glove.model import Parameters, train_epoch
from unrolled.vectors.glove.pairs import Pairs, shard_pairs
from unrolled.vectors.run_state import RECORD_FILE, Job

_NAMES = {
    "w": "the vector",
    "w_context": "the context vector",
    "b": "the bias",
    "b_context": "the context bias",
}


class TrainingRun:
    """Trains the vectors of a job whose counts are complete.

    Raises:
        ConfigError: the memory limit is too low.
        DataError: the counts or the vocabulary are damaged.
        NonFiniteError: a number is not finite; the message names the words.
        RunError: the saved state is damaged, or the disk is full.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def events(self) -> Iterator[VectorsEvent]:
        """Yield an `Epoch` for each; the files are written after the last one."""
        job, record, config = self._job, self._job.record, self._job.config
        vocabulary = Vocabulary.load(job.vocabulary)
        counts = Counts.open(job.counts, len(vocabulary))
        trim_memory()
        n_words = len(vocabulary)
        n_bytes = Parameters.n_bytes_of(n_words, config.size)
        free = memory.room_for_pairs(config, n_words, memory.names_of(vocabulary), n_bytes)
        if record.state:
            parameters = Parameters.load(job.work / record.state, n_words, config.size)
        else:
            parameters = Parameters.begin(n_words, config)
        if len(record.losses) < config.epochs:
            pairs = shard_pairs(counts, config, job.implementation, job.work / "pairs", free)
            try:
                yield from self._epochs(pairs, parameters, counts.n_nonzeros, vocabulary)
            except NonFiniteError as error:
                raise NonFiniteError(f"{error}, for example: `{_again(job)}`") from None
        card = "\n".join(_card(job, n_words, counts.n_nonzeros))
        storage.write_whole(job.out / "README.md", (card + "\n").encode())
        parameters.save(job.out / VECTORS_FILE, with_sums=False)
        record.is_finished = True
        job.save_record()

    def _epochs(
        self, pairs: Pairs, parameters: Parameters, n_nonzeros: int, vocabulary: Vocabulary
    ) -> Iterator[VectorsEvent]:
        job, record, config = self._job, self._job.record, self._job.config
        losses, saved = list(record.losses), time.monotonic()
        try:
            while len(losses) < config.epochs:
                tick, epoch = time.monotonic(), len(losses) + 1
                loss = train_epoch(pairs, parameters, epoch, config, job.implementation, vocabulary)
                seconds = max(1e-9, time.monotonic() - tick)
                losses.append(loss / n_nonzeros)
                is_last = epoch == config.epochs
                is_due = time.monotonic() - saved >= config.save_every_n_seconds
                if is_last or is_due:
                    _require_finite(parameters, epoch, vocabulary)
                if is_due and not is_last:
                    self._save_state(parameters, losses)
                    saved = time.monotonic()
                yield Epoch(
                    epoch,
                    config.epochs,
                    losses[-1],
                    seconds,
                    n_nonzeros / seconds,
                    seconds * (config.epochs - epoch),
                )
        except GeneratorExit:
            if len(losses) > len(record.losses) and parameters.not_finite() is None:
                self._save_state(parameters, losses)
            raise
        record.losses = losses

    def _save_state(self, parameters: Parameters, losses: list[float]) -> None:
        record, work = self._job.record, self._job.work
        before = record.state
        name = f"state-{len(losses):06}.safetensors"
        parameters.save(work / name, with_sums=True)
        record.losses, record.state = list(losses), name
        self._job.save_record()
        if before != name:
            storage.remove_in(work, {r"state-\d{6,}\.safetensors": None}, kept={name})


def _require_finite(parameters: Parameters, epoch: int, vocabulary: Vocabulary) -> None:
    """Refuse parameters that the last steps made infinite; training itself only checks gradients."""
    place = parameters.not_finite()
    if place is not None:
        name, rank = place
        what = _NAMES.get(name, "a sum of AdaGrad")
        raise NonFiniteError(
            f"epoch {epoch}: {what} of {quote(vocabulary.words[rank])} is not finite; lower vectors.rate "
            "or vectors.clip"
        )


def _again(job: Job) -> str:
    """A command that trains on the same counts with half the learning rate."""
    usual, config = VectorsConfig(), job.config
    options = [f"--rate {config.rate / 2:g}"]
    for name in sorted((OF_TRAINING | {"epochs"}) - {"rate"}):
        if getattr(config, name) != getattr(usual, name):
            options.append(f"--{name.replace('_', '-')} {getattr(config, name)}")
    new = job.out.with_name(f"{job.out.name}-again")
    words = ("unrolled", "vectors", "train", "--counts", job.out, "--out", new)
    return f"{shell_command(*words)} {' '.join(options)}"


def _card(job: Job, n_words: int, n_nonzeros: int) -> Iterator[str]:
    name, config, record = job.out.name, job.config, job.record
    sides = "on both sides" if config.symmetric else "to the left"
    yield f"# {name}\n"
    yield f"{n_words:,} word vectors of width {config.size}, trained with GloVe (Unrolled).\n"
    yield "## Use\n"
    yield (
        "```python\nfrom safetensors.numpy import load_file\n"
        f'tensors = load_file("{name}/{VECTORS_FILE}")\n'
        'vectors = tensors["w"] + tensors["w_context"]\n```\n'
    )
    yield f"Row i belongs to the word on line i + 1 of `{VOCABULARY_FILE}`.\n"
    yield "## Corpus\n"
    yield f"{record.n_tokens:,} words, {record.n_different:,} different, from:\n"
    for path, size, _ in record.files[:20]:
        yield f"- `{Path(path).name}`, {size:,} bytes"
    if len(record.files) > 20:
        yield f"- … {len(record.files):,} files in total"
    yield "\n## Training\n"
    yield f"{n_nonzeros:,} pairs of words within {config.window} words {sides}."
    yield f"Loss after {len(record.losses)} epochs: {record.losses[-1]:.6f} per pair."
    yield f"All settings: `{CONFIG_FILE}`; training log: `{RECORD_FILE}`."
