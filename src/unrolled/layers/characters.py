"""Vectors of words from their characters: the last states of a recurrent layer, or a convolution.

Either gives a vector to any word, so that words which do not occur in training still show their endings,
capitals and digits. Both read each spelling by itself: padding cannot be seen, and an empty spelling has
a vector of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled import nn
from unrolled.config import Range
from unrolled.layers.embedding import Embedding
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.pooling import largest
from unrolled.shapes import Float, Padded

CharactersKind = Literal["none", "recurrent", "convolution"]
"""How words are read from their characters."""

CharWindow = Annotated[int, Range(1, 64)]
"""Number of characters that a filter of a convolution reads."""


@runtime_checkable
class CharacterSettings(Protocol):
    """The settings of a `[model]` section that determine the encoder of characters.

    Args:
        characters: "recurrent": the last states of a bidirectional layer of `cell`; "convolution";
            "none".
        cell: the recurrent cell.
        char_size: width of the character embeddings, and hidden width per direction of the recurrent
            layer.
        char_filters: number of filters of the convolution.
        char_window: number of characters that a filter reads.
    """

    @property
    def characters(self) -> CharactersKind: ...

    @property
    def cell(self) -> Any: ...

    @property
    def char_size(self) -> int: ...

    @property
    def char_filters(self) -> int: ...

    @property
    def char_window(self) -> int: ...


@dataclass(frozen=True)
class Spellings:
    """The words of a batch by their characters, each distinct word once.

    Args:
        letters: `[W, K]` character ids of the distinct words.
        places: for each text of the batch, `[B, T]`: the row of each word in `letters`; 0 in the padding.
    """

    letters: Padded
    places: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> Spellings:
        """The same spellings on another device."""
        return Spellings(self.letters.to(device), tuple(each.to(device) for each in self.places))


class CharEncoder(nn.Module):
    """Encode a word by its characters: the final states of a bidirectional recurrent layer.

    Lample et al. 2016, "Neural architectures for named entity recognition", section 4.1.

    Args:
        cell: recurrent cell.
        n_characters: size of the character vocabulary.
        size: width of the character embeddings, and hidden width of each direction.

    >>> CharEncoder("lstm", 11, 3)(Padded.from_rows([[4, 5, 7], [6]])).shape
    torch.Size([2, 6])
    """

    def __init__(self, cell: str, n_characters: int, size: int) -> None:
        super().__init__()
        self.embedding = Embedding(n_characters, size)
        self.encoder = RecurrentEncoder(cell, size, size)
        self.output_size = self.encoder.output_size

    def forward(self, spellings: Padded) -> Float[Tensor, "W D"]:
        """`[W, K]` character ids → a vector for each word."""
        _, state = self.encoder(Padded(self.embedding(spellings.values), spellings.lengths))
        return state[-1][0]


class CharConvolution(nn.Module):
    """Encode a word by its characters: the largest output of each filter over all windows.

    With z_k the embeddings of k_w characters around character k, zeros beyond the ends of the word:

        r_j = max_k (W z_k + b)_j

    dos Santos & Zadrozny 2014, "Learning character-level representations for part-of-speech tagging",
    section 2.1.2; Ma & Hovy 2016, "End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF",
    section 2.1.

    Args:
        n_characters: size of the character vocabulary.
        size: width of the character embeddings.
        n_filters: width of the result.
        window: k_w, number of characters of a window; of an even number, one more is to the right.

    >>> CharConvolution(11, 3, 7)(Padded.from_rows([[4, 5, 7], [6]])).shape
    torch.Size([2, 7])
    """

    def __init__(self, n_characters: int, size: int, n_filters: int, window: int = 3) -> None:
        super().__init__()
        self.embedding = Embedding(n_characters, size)
        self.convolution = nn.Conv1d(size, n_filters, window)
        nn.init.xavier_uniform_(self.convolution.weight)
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)
        self.margins = (window - 1) // 2, window // 2
        self.output_size = n_filters

    def forward(self, spellings: Padded) -> Float[Tensor, "W D"]:
        """`[W, K]` character ids → a vector for each word."""
        if not spellings.values.shape[1]:
            return self.convolution.weight.new_zeros(len(spellings.values), self.output_size)
        embedded_WKE = self.embedding(spellings.values)
        embedded_WKE = torch.where(spellings.mask.unsqueeze(2), embedded_WKE, 0.0)
        windows_WDK = self.convolution(F.pad(embedded_WKE.transpose(1, 2), self.margins))
        return largest(Padded(windows_WDK.transpose(1, 2), spellings.lengths))


def character_encoder(
    config: CharacterSettings, n_characters: int
) -> CharEncoder | CharConvolution | None:
    """The encoder of characters that the settings ask for; None for none."""
    if config.characters == "none" or not config.char_size:
        return None
    if config.characters == "recurrent":
        return CharEncoder(config.cell, n_characters, config.char_size)
    return CharConvolution(n_characters, config.char_size, config.char_filters, config.char_window)


def width_of(encoder: CharEncoder | CharConvolution | None) -> int:
    """The width of the vectors of an encoder; 0 without one."""
    return 0 if encoder is None else encoder.output_size


def with_characters(
    texts: Sequence[Padded],
    encoder: CharEncoder | CharConvolution,
    letters: Padded,
    places: Sequence[Tensor],
) -> list[Padded]:
    """Put the vector of each word's characters behind its embedding; each distinct word is read once.

    Args:
        texts: embedded texts, `[B, T, E]`.
        encoder: what reads the characters.
        letters: `[W, K]` character ids of the distinct words.
        places: for each text, `[B, T]`: the row of each word in `letters`.

    >>> letters, places = Padded.from_rows([[4, 5], [6]]), torch.tensor([[1, 0, 1]])
    >>> text = Padded(torch.zeros(1, 3, 2), torch.tensor([3]))
    >>> [text] = with_characters([text], CharConvolution(11, 3, 7), letters, [places])
    >>> text.values.shape
    torch.Size([1, 3, 9])
    """
    if not len(letters.values):
        rows = [F.pad(text.values, (0, encoder.output_size)) for text in texts]
    else:
        spelled_WD = encoder(letters)
        rows = [
            torch.cat([text.values, spelled_WD[places_BT]], dim=2)
            for text, places_BT in zip(texts, places, strict=True)
        ]
    return [Padded(row, text.lengths) for row, text in zip(rows, texts, strict=True)]
