"""Fixtures of tests that read running text."""

from __future__ import annotations

import pytest
from running_text import trained

from unrolled.text.corpus import cache as corpus_cache
from unrolled.text.corpus import files, segments
from unrolled.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return trained("bpe")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit so low that a short text reaches it."""
    for module in (files, corpus_cache):
        monkeypatch.setattr(module, "_BLOCK", 17)
    for name, value in {"_PIECE": 11, "_LONGEST": 61, "_BATCH": 23}.items():
        monkeypatch.setattr(segments, name, value)
