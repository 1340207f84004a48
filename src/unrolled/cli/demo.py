"""`unrolled demo`."""

from __future__ import annotations

from pathlib import Path

from unrolled.cli.app import app


@app.command
def demo(folder: Path = Path("demo"), /) -> None:
    """Train a translator on a small phrasebook, score it, and plot its attention.

    Args:
        folder: output folder for data, runs and plots; created if missing.
    """
    from unrolled.cli.demo_run import run

    run(folder)
