"""`unrolled evaluate`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unrolled import storage
from unrolled.cli.options import (
    Files,
    Overrides,
    Precision,
    decoding_from_options,
)
from unrolled.errors import ConfigError
from unrolled.quoting import escape

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command(help_epilogue="Options --decoding.field VALUE change how answers are searched for.")
def evaluate(
    run: Path,
    /,
    *,
    data: Files = (),
    split: Literal["test", "valid"] = "test",
    record: Path | None = None,
    precision: Precision = "float32",
    cache: int = 0,
    cache_theta: float | None = None,
    cache_weight: float | None = None,
    shuffle_words: bool = False,
    words: Literal["none", "attention", "gradients", "occlusion"] = "gradients",
    out: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Score a trained run on data it has not seen.

    A run that answers with labels also writes report.html and predictions.jsonl.

    Args:
        run: run folder.
        data: data to score on, with the columns of the training data, or text for a language model.
        split: which held-out part of the run's own data to score on, without --data.
        record: file to append the scores to as a line of JSON, with date and commit.
        precision: what single steps keep the recurrent weights in; less is faster and coarser. A
            language model is then read step by step.
        cache: of a language model: mix in the words that followed the last CACHE states, the nearest
            the most (Grave et al. 2017); 0 = off.
        cache_theta: how much nearer states count in the cache; 0.3 by default.
        cache_weight: the cache's share of the mixture; 0.1 by default.
        shuffle_words: of a run that answers with labels: score the same texts with their words in random
            order too, which tells what their order was worth.
        words: how the report finds which words of the worst mistakes mattered.
        out: folder for report.html and predictions.jsonl; by default one in the run folder.
    """
    from unrolled.layers.neural_cache import ContinuousCache
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.load import load
    from unrolled.predictors.results_file import record as append_record
    from unrolled.text.readers import read_rows

    if record is not None:
        storage.require_no_link_in(run, record)
    if not cache and (cache_theta is not None or cache_weight is not None):
        raise ConfigError("--cache-theta and --cache-weight belong to --cache; give its size")
    predictor = load(run, precision=precision)
    about: dict[str, object] = {"run": run.name, "data": list(data) or split}
    if precision != "float32":
        about["precision"] = precision
    if isinstance(predictor, LanguagePredictor):
        if overrides:
            raise ConfigError(f"--{overrides[0][0]}: a language model is scored without decoding")
        stream = predictor.read(data) if data else predictor.held_out(split)
        memory = None
        if cache:
            given = {"theta": cache_theta, "weight": cache_weight}
            memory = ContinuousCache(
                cache, **{name: value for name, value in given.items() if value is not None}
            )
        evaluation: Any = predictor.evaluate(stream, memory)
    elif isinstance(predictor, LabelPredictor):
        if overrides or cache:
            name = overrides[0][0] if overrides else "cache"
            raise ConfigError(f"--{name}: labels are scored without it; leave it out")
        from unrolled.cli import labels

        evaluation = labels.evaluate(
            predictor,
            run,
            predictor.read(data) if data else predictor.held_out(split),
            Path(data[0]).name.split(".")[0] if data else split,
            data[0] if data else f"the {split} part",
            shuffle_words=shuffle_words,
            out=out,
            words=words,
            command=shlex.join(["unrolled", *sys.argv[1:]]),
        )
    else:
        if cache:
            raise ConfigError(f"--cache {cache}: {run} is not a language model")
        decoding = decoding_from_options(predictor.recipe.decoding, overrides)
        about["decoding"] = asdict(decoding)
        if data:
            columns = predictor.recipe.data.columns
            rows = list(read_rows(data, columns or None, len(predictor.task.columns)))
        else:
            rows = predictor.held_out(split)
        evaluation = predictor.evaluate(rows, decoding)
    if not isinstance(predictor, LabelPredictor):
        for line in evaluation.lines():
            print(escape(line))
    if record is not None:
        append_record(evaluation, record, **about)
