"""Words as characters."""

from __future__ import annotations

import unicodedata

from tokenizers import Tokenizer


def look_up(tokenizer: Tokenizer, token: str) -> int:
    """The id of a whole token; 1 for an unknown one."""
    token = token.encode("utf-8", "replace").decode("utf-8")
    id_ = tokenizer.token_to_id(token)
    if id_ is None:
        id_ = tokenizer.token_to_id(tokenizer.normalizer.normalize_str(token))
    return 1 if id_ is None or id_ < 4 else int(id_)


def shortened(token: str, most: int) -> str:
    """The characters of a word that the model reads: of a long word, those at both ends."""
    token = unicodedata.normalize("NFC", token)
    n_last = most // 2
    return token if len(token) <= most else token[: most - n_last] + token[len(token) - n_last :]
