"""Everything inside a trained model while it reads one text: `inspect_text`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled import storage
from unrolled.diagnosis.verdict import NAMES
from unrolled.errors import ConfigError
from unrolled.inspect.beam_tree import BeamTree
from unrolled.inspect.example import Example, example_of
from unrolled.inspect.figures import (
    Beam,
    Figure,
    NextTokens,
    flow_figures,
    saliency_figures,
    trace_figures,
)
from unrolled.inspect.gradient_flow import Inspection, inspect_example
from unrolled.inspect.next_tokens import NextToken, next_tokens
from unrolled.inspect.report import (
    TITLE,
    Section,
    in_notebook,
    report_page,
    sections_of_answer,
    sections_of_inspection,
    sections_of_next,
    sections_of_saliency,
    sections_of_search,
    sections_of_trace,
)
from unrolled.inspect.saliency import Saliency, saliency_of
from unrolled.inspect.trace import Trace, trace_example
from unrolled.metrics.display import aligned
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.load import AnyPredictor
from unrolled.quoting import quote
from unrolled.wording import percent


@dataclass(frozen=True, repr=False)
class InspectedText:
    """A model on one text, from `inspect_text`.

    Args:
        name: the folder of the run; "" if there is none. It is the heading of its column on a page.
        trace: all gates, states and attention weights.
        inspection: the gradient flow and its diagnosis.
        saliency: of each text that is read, how much each word contributes to the answer.
        search: the beam search for the model's own answer; None if there was none.
        next_tokens: of a language model, the distribution after each token.
    """

    name: str
    trace: Trace
    inspection: Inspection
    saliency: tuple[Saliency, ...] = ()
    search: BeamTree | None = None
    next_tokens: tuple[NextToken, ...] = ()

    def __repr__(self) -> str:
        return (
            f"InspectedText({self.name!r}, answer={self.trace.answer!r:.80}, "
            f"verdict={self.inspection.verdict.kind!r})"
        )

    def _repr_html_(self) -> str:
        """The page, for a notebook."""
        return in_notebook(self.sections())

    def sections(self) -> list[Section]:
        """The parts of its page."""
        return [
            *sections_of_answer(self.trace.answer, self.inspection),
            *sections_of_inspection(self.inspection),
            *sections_of_saliency(list(saliency_figures(self.saliency))),
            *sections_of_search(self._beam()),
            *sections_of_next(self._next()),
            *sections_of_trace(self.trace),
        ]

    def figures(self) -> Iterator[Figure]:
        """All figures, also those for which a page has no room."""
        yield from flow_figures(self.inspection.flow, self.inspection.tokens)
        yield from saliency_figures(self.saliency)
        yield from (each for each in (self._beam(), self._next()) if each is not None)
        yield from trace_figures(self.trace)

    def _beam(self) -> Beam | None:
        if self.search is None or not self.search.nodes:
            return None
        alpha = f"length penalty {self.search.length_penalty:g}"
        return Beam(
            "beam", f"beam search, {self.search.beam_size} hypotheses, {alpha}", self.search
        )

    def _next(self) -> NextTokens | None:
        if not self.next_tokens:
            return None
        return NextTokens(
            "next-tokens", "the most probable tokens after each token", self.next_tokens
        )

    def write_page(self, path: str | Path, command: str = "") -> Path:
        """Write an HTML page that needs no other file and no network.

        Args:
            path: the file.
            command: the command that creates it, for its footer.

        Raises:
            RunError: the file cannot be written.
        """
        return write_pages([self], path, command)

    def write_figures(self, folder: str | Path) -> list[Path]:
        """Write each figure as SVG and as PNG, and its numbers as CSV.

        Args:
            folder: the folder; it is created if its parent exists.

        Returns:
            The files.

        Raises:
            UnavailableError: matplotlib is not installed.
            RunError: a file cannot be written.
        """
        from unrolled.inspect.drawing import write_figures

        return write_figures(self.figures(), folder)


def inspect_text(
    predictor: AnyPredictor,
    text: str | Sequence[str],
    answer: str | Sequence[str] | None = None,
    database: str | None = None,
) -> InspectedText:
    """Everything inside a trained model while it reads a text; shown as a page in a notebook.

    The arguments and errors are those of `trace_text`.
    """
    return inspected_example(predictor, example_of(predictor, text, answer, database))


def inspected_example(predictor: AnyPredictor, example: Example) -> InspectedText:
    """`inspect_text` of an encoded example."""
    following: tuple[NextToken, ...] = ()
    if isinstance(predictor, LanguagePredictor):
        ids = example.batch.inputs[0].tolist()
        following = next_tokens(predictor, ids, example.sequences[0])
    return InspectedText(
        "" if predictor.folder is None else str(predictor.folder),
        trace_example(predictor.model, example),
        inspect_example(predictor, example),
        tuple(saliency_of(predictor.model, example)),
        example.search,
        following,
    )


def write_pages(models: Sequence[InspectedText], path: str | Path, command: str = "") -> Path:
    """Write a page about one model, or about several side by side.

    Raises:
        RunError: the file cannot be written.
    """
    path = Path(path)
    text = report_page([(each.name, each.sections()) for each in models], TITLE, command)
    storage.write_whole(path, text.encode("utf-8"), "try again")
    return path


def check_comparable(first: AnyPredictor, second: AnyPredictor) -> None:
    """Check that two runs can read the same text.

    Raises:
        ConfigError: they are of different tasks.
    """
    tasks = [each.task.name for each in (first, second)]
    if tasks[0] != tasks[1]:
        raise ConfigError(
            f"{first.folder} is of task {quote(tasks[0])} and {second.folder} of task {quote(tasks[1])}; "
            "compare two runs of one task"
        )


def comparison_lines(models: Sequence[InspectedText], width: int) -> Iterator[str]:
    """What tells models on one text apart, as a table."""
    yield from aligned([["", *(each.name for each in models)], *_comparison(models)], width)


def _comparison(models: Sequence[InspectedText]) -> Iterator[list[str]]:
    if any(each.trace.answer for each in models):
        yield ["answer", *(each.trace.answer for each in models)]
    yield ["loss, nats per target", *(f"{each.trace.loss:.4g}" for each in models)]
    yield [
        "diagnosis",
        *(", ".join(NAMES[kind] for kind in each.inspection.verdict.kinds) for each in models),
    ]
    yield ["gradient left at the far end", *(_least_left(each) for each in models)]
    yield ["most saturated", *(_most_saturated(each) for each in models)]
    yield ["largest spectral radius", *(_largest_radius(each) for each in models)]


def _diagnosis(model: InspectedText) -> str:
    return ", ".join(NAMES[kind] for kind in model.inspection.verdict.kinds)


def _least_left(model: InspectedText) -> str:
    left = [layer.reach_at(layer.span) for layer in model.inspection.flow.layers if layer.span]
    return f"{min(left):.2g}" if left else "–"


def _most_saturated(model: InspectedText) -> str:
    parts = [part for layer in model.inspection.flow.layers for part in layer.parts]
    most = max(parts, key=lambda part: part.saturated, default=None)
    return "–" if most is None else f"{most.name} {percent(most.saturated)}"


def _largest_radius(model: InspectedText) -> str:
    radii = [value for layer in model.inspection.flow.layers for value in layer.radius.values()]
    return f"{max(radii):.2f}" if radii else "–"
