"""Reuse the counts of an earlier training, with another vector size, learning rate, seed or x_max."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from unrolled import config as settings
from unrolled import documents, storage
from unrolled.errors import ConfigError, DataError
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.vectors.config import OF_COUNTING, VectorsConfig
from unrolled.vectors.counting.cooccurrence import CHECKSUMS_FILE, MATRIX, Counts
from unrolled.vectors.counting.ratios import COUNTS_FOLDER
from unrolled.vectors.formats.safetensors import CONFIG_FILE, VOCABULARY_FILE
from unrolled.vectors.run_state import RECORD_FILE, Job, Record


@dataclass(frozen=True)
class EarlierCounts:
    """The counts in a folder of vectors, which need not be finished.

    Args:
        folder: the folder.
        record: its record.
        config: the settings with which they were counted.
    """

    folder: Path
    record: Record
    config: VectorsConfig

    @classmethod
    def open(cls, folder: Path) -> EarlierCounts:
        """Open the counts of a folder.

        Raises:
            DataError: there are no counts, or they are not complete.
            RunError: the record is damaged.
        """
        if not (folder / RECORD_FILE).is_file():
            raise DataError(
                "no counts found; give a folder written by `unrolled vectors train`", folder
            )
        record = Record.load(folder / RECORD_FILE)
        if not record.is_counted:
            raise DataError(
                "the counts are not complete; finish that training first (--resume)", folder
            )
        path = folder / CONFIG_FILE
        try:
            mapping = documents.read_toml(path)
            of_counting = {name: mapping[name] for name in OF_COUNTING}
            config = settings.from_mapping(VectorsConfig, of_counting)
        except documents.DocumentError as error:
            raise DataError(f"damaged ({error.problem}); count the text again", path) from None
        except (KeyError, ConfigError) as error:
            raise DataError(f"damaged ({error}); count the text again", path) from None
        return cls(folder, record, config)

    @property
    def corpus(self) -> CorpusConfig:
        """The corpus that was counted; it is not read again."""
        return settings.from_mapping(CorpusConfig, self.record.corpus)

    def configured(self, config: VectorsConfig) -> VectorsConfig:
        """A configuration with the counting settings of these counts.

        Raises:
            ConfigError: a counting setting is neither the default nor that of these counts.
        """
        default = VectorsConfig()
        for name in sorted(OF_COUNTING):
            value, counted = getattr(config, name), getattr(self.config, name)
            if value not in (counted, getattr(default, name)):
                raise ConfigError(
                    f"vectors.{name} is {value}, but {self.folder} was counted with {counted}; leave it "
                    "out, or count the text again"
                )
        return replace(config, **{name: getattr(self.config, name) for name in OF_COUNTING})

    def adopt(self, job: Job) -> None:
        """Use these counts as those of a job.

        Count files never change once they are written, so two folders can share them by hard links; if
        the file system has none, they are copied.

        Raises:
            DataError: the counts are damaged.
            RunError: the disk is full.
        """
        Counts.open(self.folder / COUNTS_FOLDER).require_whole()
        try:
            with documents.open_regular(self.folder / VOCABULARY_FILE) as stream:
                vocabulary = stream.read()
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})", self.folder) from None
        with storage.writing(job.counts):
            partial = storage.partial(job.counts)
            storage.remove(partial, MATRIX)
            storage.new_folder(partial)
            counts = self.folder / COUNTS_FOLDER
            for path in sorted([*counts.glob("*.npy"), *counts.glob(CHECKSUMS_FILE)]):
                _share(path, partial / path.name)
            storage.commit(job.counts, MATRIX)
        storage.write_whole(job.vocabulary, vocabulary)
        before, record = self.record, job.record
        record.n_different, record.n_tokens = before.n_different, before.n_tokens
        record.is_read = record.is_counted = True


def _share(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:
        with documents.open_regular(path) as source, other.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            storage.flush(target)
