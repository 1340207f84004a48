"""A short text, and how tests read and encode running text."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.text.config import EOS_ID, TextConfig
from unrolled.text.corpus.corpus import (
    Corpus,
    CorpusConfig,
    open_corpus,
)
from unrolled.text.tokenizer import Tokenizer

KINDS = ("char", "word", "space", "bpe")

CODE = """\
def unroll(step, inputs):
    \"\"\"Don't stop.\"\"\"

    for x in inputs:

        yield step(x)
\t
  \t
 \n\n
class Café:  # 25.5 naïve, 日本
    pass


\rx = "</s>"
"""


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def whole(*paths: Path | str, **settings: object) -> CorpusConfig:
    """All of the text is for training."""
    settings = {"valid_share": 0.0, "test_share": 0.0} | settings
    return CorpusConfig(train=tuple(map(str, paths)), **settings)  # type: ignore[arg-type]


def text_of(corpus: Corpus, part: str = "train") -> str:
    return "".join(corpus.texts(part))  # type: ignore[arg-type]


def documents_of(corpus: Corpus, tokenizer: Tokenizer, part: str = "train") -> list[str]:
    stream = corpus.encode(part, tokenizer)  # type: ignore[arg-type]
    ends = [*stream.starts[1:], stream.n_tokens]
    documents = [stream.ids[a:b].tolist() for a, b in zip(stream.starts, ends, strict=True)]
    assert all(ids[-1] == EOS_ID and EOS_ID not in ids[:-1] for ids in documents)
    return [tokenizer.decode(ids) for ids in documents]


def failure(config: CorpusConfig) -> str:
    with pytest.raises(DataError) as caught:
        open_corpus(config)
    return str(caught.value)


def trained(kind: str, text: str = CODE, **settings: object) -> Tokenizer:
    config = TextConfig(kind=kind, vocab_size=330 if kind == "bpe" else 500, **settings)  # type: ignore[arg-type]
    return Tokenizer.train([text] * 3, config, running=True)
