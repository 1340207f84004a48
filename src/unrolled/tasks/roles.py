"""The roles of tokenizers, under which a run saves them and tasks look them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABELS = "labels"
"""The role of the labels."""

TEXT = "text"
"""The role of the tokenizer of texts, which is used for every text of a row."""

CHARACTERS = "characters"
"""The role of the character tokenizer."""

NGRAMS = "ngrams"
"""The role of the scores of counted n-grams."""

Tokenizers = Mapping[str, Any]
"""The tokenizers of a run by role, e.g. `source` and `target`, saved as `tokenizer-<role>.json`; if the
output is labels, also the `Labels` under the role `labels`, saved as `labels.json`."""
