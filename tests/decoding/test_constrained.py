"""A mask determines which tokens may come next, for every decoding method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from toy_step_model import BOS, EOS, PAD, Toy, rescore

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.constrained import Forbid, TokenMask

CONFIGS = [
    DecodingConfig(beam_size=5, n_best=3),
    DecodingConfig(method="greedy"),
    DecodingConfig(method="sample", n_best=3, top_k=7),
]
every_method = pytest.mark.parametrize("config", CONFIGS, ids=["beam", "greedy", "sample"])
LIMITS = [7, 0, 1, 13, 11]


def search(toy, config, mask: TokenMask | None, limits=LIMITS):
    return decode(
        toy,
        toy.start(len(limits)),
        torch.tensor(limits),
        config,
        BOS,
        EOS,
        True,
        forbidden=(PAD,),
        mask=mask,
    )


@dataclass(frozen=True)
class Paths:
    """Allows one path for each sentence, and nothing after it or off the path."""

    paths: tuple[tuple[int, ...], ...]
    n_read_BQ: Tensor  # −1 if a hypothesis left its path

    @classmethod
    def of(cls, paths) -> Paths:
        return cls(tuple(paths), torch.zeros(len(paths), 1, dtype=torch.int64))

    def advance(self, tokens: Tensor) -> Paths:
        after = torch.empty_like(tokens)
        for row, slots in enumerate(tokens.tolist()):
            for slot, token in enumerate(slots):
                n_read = int(self.n_read_BQ[row, slot])
                wanted = (BOS, *self.paths[row])[n_read : n_read + 1]
                after[row, slot] = n_read + 1 if wanted == (token,) else -1
        return replace(self, n_read_BQ=after)

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        allowed = torch.zeros(*self.n_read_BQ.shape, n_words, dtype=torch.bool, device=device)
        for row, slots in enumerate(self.n_read_BQ.tolist()):
            for slot, n_read in enumerate(slots):
                if 0 < n_read <= len(self.paths[row]):
                    allowed[row, slot, self.paths[row][n_read - 1]] = True
        return allowed

    def reorder(self, hypotheses: Tensor) -> Paths:
        return replace(self, n_read_BQ=self.n_read_BQ.gather(1, hypotheses))

    def keep(self, sentences: Tensor) -> Paths:
        chosen = tuple(self.paths[index] for index in sentences.tolist())
        return Paths(chosen, self.n_read_BQ[sentences])


@every_method
def test_a_forbidden_token_is_never_chosen(config: DecodingConfig) -> None:
    toy = Toy(17, end_bias=1.0)
    toy.bias[[5, 9]] = 20.0
    free = search(toy, config, None)
    assert any({5, 9} & set(answer.tokens) for answers in free for answer in answers)
    for answers in search(toy, config, Forbid((5, 9))):
        for answer in answers:
            assert not {5, 9} & set(answer.tokens)


@every_method
def test_a_mask_that_forbids_the_improbable_changes_nothing(config: DecodingConfig) -> None:
    toy = Toy(17, end_bias=1.0)
    toy.bias[[5, 9]] = -1e6
    free, masked = search(toy, config, None), search(toy, config, Forbid((5, 9)))
    for ours, theirs in zip(masked, free, strict=True):
        assert [a.tokens for a in ours] == [a.tokens for a in theirs]
        assert [a.score for a in ours] == [a.score for a in theirs]


@every_method
def test_forbidding_the_end_gives_maximum_length(config: DecodingConfig) -> None:
    toy = Toy(17, end_bias=9.0)
    for limit, answers in zip(LIMITS, search(toy, config, Forbid((EOS,))), strict=True):
        assert all(len(a.tokens) == limit and not a.finished for a in answers)


@every_method
def test_a_forced_path_keeps_the_models_score(config: DecodingConfig) -> None:
    toy = Toy(17)
    paths = [(4, 7, 4), (5,), (6,), (8, 8, 9, 10, 11), ()]
    state = toy.start(len(LIMITS))
    for sentence, (path, answers) in enumerate(
        zip(paths, search(toy, config, Paths.of(paths)), strict=True)
    ):
        best = answers[0]
        limit = LIMITS[sentence]
        assert best.tokens == path[:limit]
        assert best.finished == (len(path) < limit)
        log_prob, _ = rescore(toy, state, sentence, best.tokens, best.finished)
        assert best.log_prob == pytest.approx(log_prob, abs=1e-10)


@every_method
def test_a_hypothesis_ends_if_nothing_is_allowed(config: DecodingConfig) -> None:
    toy = Toy(17)
    (answers,) = search(toy, config, Forbid(tuple(range(17))), [9])
    assert answers[0].tokens == ()
    assert answers[0].finished


def test_a_batch_with_a_mask_decodes_as_each_sentence_alone() -> None:
    toy = Toy(17)
    paths = [(4, 7, 4), (5, 5), (6,)]
    together = search(toy, CONFIGS[0], Paths.of(paths), [9, 9, 9])
    for index, path in enumerate(paths):
        alone = decode(
            toy,
            toy.start(3).keep(torch.tensor([index])),
            torch.tensor([9]),
            CONFIGS[0],
            BOS,
            EOS,
            mask=Paths.of([path]),
            forbidden=(PAD,),
        )
        assert alone[0][0].tokens == together[index][0].tokens == path
