"""Solve the width of a variant, so that its model has as many parameters as that of the recipe.

Models are built on torch's "meta" device, which has shapes and no memory, so that a count takes
milliseconds for any size. The number of parameters grows with the width: bisection finds the two widths
around the target, and the nearest count among them and their neighbours wins. An encoder–decoder has two
widths, whose ratio stays that of the recipe up to rounding; the rounding is chosen for the nearest count.

The steps between widths are coarse in small models. If some variant cannot match the recipe, the recipe
itself is made a little wider or narrower, so that all variants match.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from unrolled.errors import ConfigError
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.training.recipe import Recipe
from unrolled.wording import percent, with_minus

TOLERANCE = 0.005
"""The largest difference from the parameters of the recipe, as a share of them."""

WIDTH, ENCODER_WIDTH = "hidden_size", "encoder_size"
_WIDEST = 65_536
_NEIGHBOURS = 3
_MOST_CHANGE = 0.1  # of the width of the recipe, as a share of it
_MOST_SUGGESTED = 64  # wider widths of the recipe that are tried for a suggestion

Widths = tuple[int, ...]
"""One value for each solved setting."""


@dataclass(frozen=True)
class Solution:
    """The widths of a variant.

    Args:
        widths: the value of each solved setting, by its dotted name.
        parameters: number of parameters of the model.
    """

    widths: Mapping[str, int]
    parameters: int

    def mismatch(self, target: int) -> float:
        """How far the parameters are from the target, as a share of it, with its sign."""
        return self.parameters / target - 1


class _WithoutDraws(TorchFunctionMode):
    """Skips random numbers, for whose shapes torch would load its compiler, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)


_DRAWS = (
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(nn.init.normal_, nn.init.uniform_),
)


def build(recipe: Recipe, task: AnyTask, tokenizers: Tokenizers) -> nn.Module:
    """The model of a recipe without memory for its weights.

    Raises:
        ConfigError: the model cannot be built.
    """
    with torch.device("meta"), _WithoutDraws():
        return task.build(recipe.model, tokenizers)


def count_parameters(model: nn.Module) -> int:
    """The number of weights, trained or frozen; one that is used twice counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_embedding_parameters(model: nn.Module) -> int:
    """The part of the weights in tables with a row for each word, shared or not."""
    tables = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding)
    }
    return sum(tables.values())


def solved_settings(recipe: Recipe) -> tuple[str, ...]:
    """The widths that are solved for the task of a recipe, by dotted name.

    Raises:
        ConfigError: its model has no such width.
    """
    names = {field.name for field in dataclasses.fields(recipe.model)}  # type: ignore[arg-type]
    if WIDTH not in names:
        raise ConfigError(
            f"the model of task '{recipe.task}' has no {WIDTH} to match parameters with; add --no-match"
        )
    return tuple(f"model.{name}" for name in (WIDTH, ENCODER_WIDTH) if name in names)


class Solver:
    """Finds the widths with which a model has a number of parameters.

    Args:
        recipe: recipe of the variant, with the widths of the recipe that is compared.
        task: its task.
        tokenizers: its tokenizers.
    """

    def __init__(self, recipe: Recipe, task: AnyTask, tokenizers: Tokenizers) -> None:
        self._recipe, self._task, self._tokenizers = recipe, task, tokenizers
        self.settings = solved_settings(recipe)
        self._given = tuple(getattr(recipe.model, _field(name)) for name in self.settings)
        self._counts: dict[Widths, int | None] = {}

    @property
    def given(self) -> Solution:
        """The widths of the recipe."""
        count = self.at(*self._given)
        assert count is not None  # it has been built
        return Solution(dict(zip(self.settings, self._given, strict=True)), count)

    def at(self, *widths: int) -> int | None:
        """The number of parameters with these widths; None if there is no such model."""
        if widths not in self._counts:
            self._counts[widths] = self._count(widths)
        return self._counts[widths]

    def _count(self, widths: Widths) -> int | None:
        try:
            return count_parameters(build(self.recipe_with(widths), self._task, self._tokenizers))
        except ConfigError:
            return None

    def recipe_with(self, widths: Widths) -> Recipe:
        """The recipe with these widths.

        Raises:
            ConfigError: they contradict other settings.
        """
        fields: dict[str, Any] = dict(zip(map(_field, self.settings), widths, strict=True))
        model = dataclasses.replace(self._recipe.model, **fields)  # type: ignore[type-var]
        return dataclasses.replace(self._recipe, model=model)

    def nearest(self, target: int) -> Solution | None:
        """The widths with the nearest number of parameters; None if no width can be built.

        Among equally near ones, those that the recipe gives come first.
        """
        middle = self._bisect(target)
        tried = [self._given]
        for hidden in range(max(1, middle - _NEIGHBOURS), min(_WIDEST, middle + _NEIGHBOURS) + 1):
            tried += self._around(hidden)
        counted = [(widths, count) for widths in tried if (count := self.at(*widths)) is not None]
        if not counted:
            return None
        widths, count = min(counted, key=lambda one: abs(one[1] - target))
        return Solution(dict(zip(self.settings, widths, strict=True)), count)

    def shared(self, variants: Sequence[Solver]) -> Solution | None:
        """The widths of this recipe, or the nearest to them, whose parameters all variants match.

        Args:
            variants: the solvers of all variants.

        Returns:
            None if no widths that differ by at most `_MOST_CHANGE` do.
        """
        given = self._given[0]
        most = int(_MOST_CHANGE * given)
        near = sorted(range(max(1, given - most), given + most + 1), key=lambda w: abs(w - given))
        return self._first_shared(near, variants)

    def suggestion(self, variants: Sequence[Solver]) -> str:
        """What to do if no width near that of this recipe is shared: a wider one that is.

        Args:
            variants: the solvers of all variants.
        """
        if any(solver.is_fixed() for solver in (self, *variants)):
            return f"{self.settings[0]} does not change it with model.pretrained; add --no-match"
        first = self._given[0] + 1
        found = self._first_shared(range(first, first + _MOST_SUGGESTED), variants)
        if found is None:
            return "choose a larger model, whose widths have finer steps, or add --no-match"
        options = " ".join(f"--{name} {width}" for name, width in found.widths.items())
        return f"all variants match with {options}, or add --no-match"

    def is_fixed(self) -> bool:
        """Whether the layers have the widths of language models, and none of their own."""
        wider = tuple(width + 1 for width in self._given)
        return self.at(*wider) == self.at(*self._given)

    def _first_shared(self, tried: Iterable[int], variants: Sequence[Solver]) -> Solution | None:
        for hidden in tried:
            is_given = hidden == self._given[0]
            widths = self._given if is_given else next(iter(self._around(hidden)))
            target = self.at(*widths)
            if target is None:
                continue
            solutions = (solver.nearest(target) for solver in variants)
            if all(each and abs(each.mismatch(target)) <= TOLERANCE for each in solutions):
                return Solution(dict(zip(self.settings, widths, strict=True)), target)
        return None

    def _bisect(self, target: int) -> int:
        """The largest width with at most so many parameters, of those that are asked."""
        low, high = 1, 2
        while high < _WIDEST and self._about(high) < target:
            low, high = high, 2 * high
        while low + 1 < high:
            middle = (low + high) // 2
            if self._about(middle) <= target:
                low = middle
            else:
                high = middle
        return low

    def _about(self, hidden: int) -> int:
        """The parameters at a width, or at the next one that can be built."""
        for wider in range(hidden, hidden + _NEIGHBOURS + 1):
            for widths in self._around(wider):
                if (count := self.at(*widths)) is not None:
                    return count
        return 0

    def _around(self, hidden: int) -> Iterator[Widths]:
        """The widths with this hidden width, those nearest to the ratio of the recipe first."""
        if len(self._given) == 1:
            yield (hidden,)
            return
        exact = self._given[1] * hidden / self._given[0]
        nearest = max(1, round(exact))
        near = range(max(1, nearest - 1), nearest + 2)
        yield from ((hidden, other) for other in sorted(near, key=lambda width: abs(width - exact)))


def solve(solver: Solver, target: int, name: str, suggest: Callable[[], str]) -> Solution:
    """The widths of a variant.

    Args:
        solver: the solver of the variant.
        target: the parameters to match.
        name: name of the variant, for messages.
        suggest: what to do instead, called only if the widths cannot match.

    Raises:
        ConfigError: no width gives a number of parameters within `TOLERANCE`.
    """
    solution = solver.nearest(target)
    settings = " and ".join(solver.settings)
    if solution is None:
        raise ConfigError(f"variant '{name}' cannot be built with any {settings}; add --no-match")
    if abs(solution.mismatch(target)) > TOLERANCE:
        widths = " and ".join(f"{name} = {width}" for name, width in solution.widths.items())
        raise ConfigError(
            f"variant '{name}' cannot have {target:,} parameters, as the recipe: with {widths} it "
            f"has {solution.parameters:,} ({signed_percent(solution.mismatch(target))}), and the "
            f"difference may be at most {percent(TOLERANCE)}; {suggest()}"
        )
    return solution


def signed_percent(share: float) -> str:
    """A relative difference.

    >>> signed_percent(0.0123), signed_percent(-0.00004)
    ('+1.23%', '−0.00%')
    """
    return with_minus(f"{share:+.2%}")


def _field(setting: str) -> str:
    return setting.rpartition(".")[2]
