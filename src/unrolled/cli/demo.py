"""`unrolled demo`."""

from __future__ import annotations

from pathlib import Path

from unrolled.cli.app import app


@app.command
def demo(folder: Path = Path("demo"), /) -> None:
    """Train a translator on the phrasebook, score it, and draw what it looks at.

    Args:
        folder: where runs and pictures go.
    """
    from unrolled.cli.demo_run import run

    run(folder)
