"""Write a run as one HTML page that answers in the browser as the model does.

The page holds the graphs of an ONNX export (`exports.kinds`), which its script runs, the vocabularies and
the settings. Before it is written:

- what the graphs compute, in NumPy and from the bytes that the page holds, is compared with the model;
- with Node.js, the script of the page answers, and its answers are compared with the model's.

A few answers are stored in the page, which compares them whenever it is opened.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from unrolled import documents, storage
from unrolled.baselines.ngram_scores import NgramScores
from unrolled.config import require
from unrolled.errors import ConfigError, RunError
from unrolled.exports.ensembles import kind_of_run
from unrolled.exports.export import cost_of, n_parameters_of, settings_of, with_model
from unrolled.exports.folder import run_hash
from unrolled.exports.gate import (
    TOLERANCE,
    Agreement,
    compare_answers,
    compare_scores,
    inputs_to_answer,
)
from unrolled.exports.inputs import AWKWARD, Inputs, encoded, inputs_for, made_up
from unrolled.exports.kinds import Kind, check_tokenizers
from unrolled.exports.page import counts, engine
from unrolled.exports.page.arithmetic import Session
from unrolled.exports.page.document import FORMAT, described, document
from unrolled.exports.page.program import packed
from unrolled.exports.refusal import check_run
from unrolled.exports.rounding import rounded
from unrolled.reporting import begun
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.roles import LABELS, NGRAMS
from unrolled.training.run_folder import is_there
from unrolled.wording import count_of

Precision = Literal["float32", "int8"]

MOST_BYTES = 64 << 20
"""Bytes of weights of the largest model that a page holds."""

_N_STORED = 6


@dataclass(frozen=True)
class PageAgreement:
    """What was compared before a page was written.

    Args:
        agreement: the scores and the answers.
        node: the version of Node.js in which the script answered; "" if it did not.
        n_stored: number of answers that are stored in the page.
        n_bytes: size of the file.
    """

    agreement: Agreement
    node: str
    n_stored: int
    n_bytes: int


def export_page(
    predictor: Any,
    file: str | os.PathLike[str],
    precision: Precision = "float32",
    force: bool = False,
) -> PageAgreement:
    """Write a run as one HTML page.

    Args:
        predictor: the run, from `load`.
        file: the new file, which ends in .html.
        precision: how weight matrices are stored, "float32" or "int8"; everything is computed in float32.
        force: whether to replace an earlier page.

    Raises:
        ConfigError: the run cannot be exported as a page; the message says why and what to do instead.
        RunError: the file is in the way, or the page does not compute or answer what the model does;
            nothing is written then.
    """
    require(precision in get_args(Precision), "precision", "'float32' or 'int8'", precision)
    path = Path(os.path.realpath(file))
    check_free(path, force)
    check_run(predictor, "page")
    kind = kind_of_run(predictor, "a page")
    check_tokenizers(predictor.tokenizers)
    _check_completed(predictor)
    begun("building the graphs")
    reference = with_model(predictor, rounded(predictor.model, precision).eval())
    program, arrays = packed(kind.graphs(reference.model, precision))
    scores: NgramScores | None = predictor.tokenizers.get(NGRAMS)
    counted = None if scores is None else counts.packed(scores, arrays)
    block = bytes(arrays)
    _check_size(len(block), precision)
    settings = settings_of(predictor, kind)
    inputs = inputs_for(predictor)
    agreement = Agreement(inputs.source)
    begun("comparing scores with the model")
    exported = _stand_in(predictor, kind, settings, program, block)
    compare_scores(kind, reference, exported, inputs, agreement)
    if scores is not None and counted is not None:
        _compare_counts(predictor, scores, counts.unpacked(counted, block), inputs, agreement)
    if precision != "float32":
        agreement.scores, agreement.n_scored = cost_of(predictor, reference, inputs)
    content = {
        "task": predictor.task.name,
        "program": program,
        "settings": settings,
        "tokenizers": {
            role: described(words)
            for role, words in predictor.tokenizers.items()
            if role not in (LABELS, NGRAMS)
        },
        "counts": counted,
        "tolerance": TOLERANCE,
    }
    begun("comparing answers with the model")
    return _written(path, _Page(predictor, reference, precision, content, block), inputs, agreement)


@dataclass(frozen=True)
class _Page:
    """What a page is made of, before its stored answers are known."""

    predictor: Any
    reference: Any
    precision: Precision
    content: Mapping[str, Any]
    block: bytes

    def text(self, stored: Sequence[tuple[Any, Any]], agreement: Agreement, node: str) -> str:
        pairs = [{"input": one, "answer": answer} for one, answer in stored]
        folder = self.predictor.folder
        title = self.predictor.task.name if folder is None else folder.resolve().name
        facts = _facts(self, agreement, node)
        return document(title, {**self.content, "stored": pairs}, self.block, facts)


def check_free(path: Path, force: bool) -> None:
    """Check that a page can be written to a path.

    Raises:
        ConfigError: it does not end in .html.
        RunError: there is a page and `force` is False, or something else.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"--page writes an HTML file, got '{path.name}'; give a name ending in .html"
        )
    if not is_there(path):
        return
    if not _is_page(path):
        raise RunError(f"{path} exists and is not a page of Unrolled; choose another file")
    if not force:
        raise RunError(f"{path} already holds a page; replace it (--force), or choose another file")


def _is_page(path: Path) -> bool:
    if storage.is_link(path) or not path.is_file():
        return False
    with documents.open_regular(path) as stream:
        return FORMAT.encode() in stream.read(1000)


def _check_completed(predictor: Any) -> None:
    """Refuse a language model whose words a page cannot complete."""
    if predictor.task.kind is LANGUAGE_MODEL and predictor.tokenizers["text"].kind == "bpe":
        raise ConfigError(
            "text.kind is 'bpe', and a page completes words or characters, not byte pairs; export with "
            "--onnx, or train with --text.kind word or --text.kind char"
        )


def _check_size(n_bytes: int, precision: Precision) -> None:
    if n_bytes > MOST_BYTES:
        fits = precision == "float32" and n_bytes <= 4 * MOST_BYTES
        smaller = "use --precision int8, or " if fits else ""
        raise ConfigError(
            f"the weights take {n_bytes / 1e6:.0f} MB in {precision}, and a page holds at most "
            f"{MOST_BYTES / 1e6:.0f} MB, as a browser reads all of it whenever it is opened; "
            f"{smaller}export with --onnx"
        )


def _stand_in(
    predictor: Any,
    kind: Kind,
    settings: Mapping[str, Any],
    program: Mapping[str, Any],
    block: bytes,
) -> Any:
    """The model whose graphs NumPy computes from what the page holds."""
    sessions: dict[str, Any] = {
        name: Session(description, block) for name, description in program.items()
    }
    model = kind.restored(
        predictor.recipe, predictor.tokenizers, settings, sessions, n_parameters_of(predictor)
    )
    return model.eval()


def _compare_counts(
    predictor: Any, before: NgramScores, after: NgramScores, inputs: Inputs, agreement: Agreement
) -> None:
    examples = encoded(predictor, [*inputs.awkward, *inputs.long, *inputs.texts])
    difference = counts.difference(before, after, examples)
    agreement.largest = max(agreement.largest, difference)
    if not difference <= TOLERANCE:
        raise RunError(
            f"the scores of n-grams differ by {difference:.2g} between the model and the page, and the "
            f"tolerance is {TOLERANCE:g}; nothing was written; please report this"
        )


def _written(path: Path, page: _Page, inputs: Inputs, agreement: Agreement) -> PageAgreement:
    """Compare the answers, store some of them, and write the page."""
    stored = _stored(page.reference)
    node = engine.find()
    version = "" if node is None else engine.version(node)
    if node is not None:
        stored = _compared(node, page, stored, inputs, agreement)
    content = page.text(stored, agreement, version).encode("utf-8")
    storage.write_whole(path, content, "export again")
    return PageAgreement(agreement, version, len(stored), len(content))


def _compared(
    node: str, page: _Page, stored: list[tuple[Any, Any]], inputs: Inputs, agreement: Agreement
) -> list[tuple[Any, Any]]:
    """Compare the answers of the script; returns the stored ones, without ties."""
    compared = inputs_to_answer(page.reference, inputs)
    texts = [*compared, *(text for text, _ in stored)]
    with tempfile.TemporaryDirectory(prefix="unrolled-") as scratch:
        file = Path(scratch) / "page.html"
        file.write_text(page.text(stored, agreement, ""), encoding="utf-8")
        found, wrong = engine.answers_of(node, file, texts)
    ties = compare_answers(texts, found, page.reference, agreement, "the script of the page")
    # The page is stricter with itself than this comparison only where two answers are equally good.
    unclear = [*map(json.dumps, ties), *map(json.dumps, wrong)]
    return [(text, answer) for text, answer in stored if json.dumps(text) not in unclear]


def _stored(reference: Any) -> list[tuple[Any, Any]]:
    """Inputs and answers with which a page checks itself: random words, and awkward texts.

    No text of the training data is among them, as pages are made to be passed on.
    """
    texts = [*made_up(reference)[:_N_STORED], *_awkward(reference)]
    pairs = [(text, _answer(reference, text)) for text in texts]
    return [(text, answer) for text, answer in pairs if _is_finite(answer)]


def _is_finite(answer: dict[str, Any]) -> bool:
    """Whether all numbers of an answer are: a model can overflow, and then has no answer."""
    try:
        json.dumps(answer, allow_nan=False)
    except ValueError:
        return False
    return True


def _awkward(reference: Any) -> list[Any]:
    if getattr(reference.task, "by_token", False):
        return [AWKWARD.split()]
    return [(AWKWARD, "")] if getattr(reference, "n_texts", 1) == 2 else ["", AWKWARD]


def _answer(reference: Any, text: Any) -> dict[str, Any]:
    """An answer of the model, as the script gives it."""
    if reference.task.name == "language_model":
        bits = [token.bits for token in reference.continuation().surprise(text)]
        return {"text": reference.generate(text, max_tokens=40, temperature=0), "bits": bits}
    (answer,) = reference.predict([text])
    if reference.task.name == "translate":
        return {"text": answer.text, "score": float(answer.score)}
    labels = list(answer.labels)
    if reference.task.by_token:
        places = [reference.labels.id_of(label) for label in labels]
        rows = zip(answer.probabilities, places, strict=True)
        return {"labels": labels, "probabilities": [float(row[place]) for row, place in rows]}
    shares = zip(reference.labels.names, answer.probabilities.tolist(), strict=True)
    return {"labels": labels, "probabilities": dict(shares)}


def _facts(page: _Page, agreement: Agreement, node: str) -> list[tuple[str, str]]:
    """What the page says of its model."""
    predictor, precision = page.predictor, page.precision
    n = n_parameters_of(predictor)
    facts = [
        ("Task", predictor.task.name),
        ("Parameters", f"{n:,}, stored in {precision} and computed in float32"),
        (
            "Compared with the model",
            f"scores on {agreement.inputs}, largest difference {agreement.largest:.1e} of the largest "
            f"score (tolerance {TOLERANCE:g})",
        ),
        ("Answers compared before the page was written", _answers_in_words(agreement, node)),
    ]
    if predictor.folder is not None:
        facts.append(("SHA-256 of the run", run_hash(predictor.folder)))
    for name, (before, after) in agreement.scores.items():
        facts.append(
            (
                f"{name} on {agreement.n_scored:,} rows or tokens of the validation part",
                f"{before:.4f} in float32, {after:.4f} in {precision}",
            )
        )
    return facts


def _answers_in_words(agreement: Agreement, node: str) -> str:
    if not node:
        return "none, as there was no Node.js; the page compares stored answers when it is opened"
    ties = f", {count_of(agreement.n_ties, 'tie')}" if agreement.n_ties else ""
    return f"{count_of(agreement.n_answers, 'answer')} in Node.js {node}{ties}"
