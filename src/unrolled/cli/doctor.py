"""`unrolled doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command
def doctor() -> None:
    """Say what this machine has, what each cell will run on, and whether it agrees here."""
    from unrolled.doctor import diagnose, render

    print(render(diagnose()))
