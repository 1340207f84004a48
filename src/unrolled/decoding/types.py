"""What decoding takes and gives; without torch at run time: reading a recipe has to be quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, runtime_checkable

from unrolled.config import Count, Range, Seed, check_fields
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DecodingConfig:
    """The `[decoding]` section of a recipe.

    Args:
        method: "beam" search; "greedy", the most probable token at each step; "sample", a draw.
        beam_size: hypotheses kept per sentence in beam search.
        n_best: answers returned per sentence: at most `beam_size` in beam search, 1 when greedy.
        length_penalty: alpha of Wu et al. 2016, eq. 14; 0 compares plain log-probabilities.
        max_length_ratio: an answer ends, finished or not, after this many tokens per source token …
        max_length_extra: … and this many more.
        max_input_length: an input is read up to this many tokens; what follows is left out, and the
            answer says so.
        temperature: sampling from softmax(logits / temperature).
        top_k: sampling from the k most probable tokens only; 0 is all of them.
        top_p: sampling from the nucleus, the fewest most probable tokens that hold this share of
            the probability (Holtzman et al. 2020); 1 is all of them.
        seed: of sampling.

    Raises:
        ConfigError: a value that cannot be, by name.

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


@dataclass(frozen=True)
class Hypothesis:
    """One answer of decoding.

    Args:
        tokens: ids without begin and end of sentence.
        score: `log_prob` over the length penalty; see `length_penalty`.
        log_prob: the model's log-probability of the tokens and, if finished, of the end, in nats.
        attention: `[T, S]`, one row per token and, if finished, one for the end; None where the
            model has no attention or it was not asked for.
        finished: whether the model ended the answer itself, rather than the limit.
    """

    tokens: tuple[int, ...]
    score: float
    log_prob: float
    attention: Tensor | None
    finished: bool


def length_penalty(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^alpha, Wu et al. 2016, eq. 14; a score is log P(Y) / lp(Y).

    `length` counts the end of sentence, if reached. Alpha 0 is no penalty.

    >>> length_penalty(1, 0.6), length_penalty(7, 1.0)
    (1.0, 2.0)
    """
    return ((5 + length) / 6) ** alpha


@runtime_checkable
class StepState(Protocol):
    """What a stepper remembers: small states per hypothesis, and a memory per sentence.

    A state describes Q hypotheses for each of B sentences; a fresh one has Q = 1.
    """

    def reorder(self, hypotheses: Tensor) -> StepState:
        """New hypothesis q of sentence b goes on from old hypothesis `hypotheses[b, q]`.

        `hypotheses` is `[B, Q2]`, int64; Q2 may differ from Q. Only the small states move: a
        sentence's hypotheses share its memory.
        """
        ...

    def keep(self, sentences: Tensor) -> StepState:
        """Only the sentences at these positions, `[B2]` int64, ascending; memory included."""
        ...


@runtime_checkable
class Stepper(Protocol):
    """A model that can go one token further."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Read `tokens`, `[B, Q]` int64 → (logits `[B, Q, V]`, state, attention `[B, Q, S]`).

        Attention may be None. S may shrink when sentences leave, never below one's own length.
        """
        ...
