"""Decoding settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from unrolled.config import Count, Range, Seed, check_fields
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class DecodingConfig:
    """The `[decoding]` section of a recipe.

    Args:
        method: "beam" search; "greedy", the most probable token at each step; "sample", random sampling.
        beam_size: hypotheses kept per sentence in beam search.
        n_best: results returned per sentence: at most `beam_size` in beam search, 1 for greedy.
        length_penalty: alpha of Wu et al. 2016, eq. 14; 0 compares plain log-probabilities.
        max_length_ratio: maximum number of output tokens per input token; longer outputs are cut off …
        max_length_extra: … and how many more tokens are allowed on top of that.
        max_input_length: maximum number of input tokens; a longer input is cut off, and the
            prediction reports it.
        temperature: sample from softmax(logits / temperature).
        top_k: sample from the k most probable tokens only; 0 means all tokens.
        top_p: sample from the nucleus, the smallest set of most probable tokens that holds this share
            of the probability (Holtzman et al. 2020); 1 means all tokens.
        seed: random seed for sampling.

    Raises:
        ConfigError: a value is out of range; the message names the setting.

    >>> DecodingConfig(beam_size=0)
    Traceback (most recent call last):
    ...
    unrolled.errors.ConfigError: decoding.beam_size must be at least 1, got 0
    """

    method: Literal["beam", "greedy", "sample"] = "beam"
    beam_size: Annotated[int, Range(1, 1000)] = 5
    n_best: Annotated[int, Range(1, 10_000)] = 1
    length_penalty: Annotated[float, Range(0, 10)] = 1.0
    max_length_ratio: Annotated[float, Range(0, 100)] = 2.0
    max_length_extra: Annotated[int, Range(0, 10_000)] = 10
    max_input_length: Annotated[int, Range(1, 10**6)] = 500
    temperature: Annotated[float, Range(above=0, most=10**6)] = 1.0
    top_k: Count = 0
    top_p: Annotated[float, Range(above=0, most=1)] = 1.0
    seed: Seed = 1

    def __post_init__(self) -> None:
        check_fields(self, "decoding")
        if self.method == "beam" and self.n_best > self.beam_size:
            raise ConfigError(
                f"decoding.n_best must be at most decoding.beam_size, {self.beam_size}, "
                f"got {self.n_best}"
            )
        if self.method == "greedy" and self.n_best > 1:
            raise ConfigError(
                f"decoding.n_best must be 1 where decoding.method is greedy, got {self.n_best}"
            )
