"""`unrolled doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command
def doctor() -> None:
    """Show hardware, the kernel chosen for each cell, and the result of a correctness check."""
    from unrolled.doctor import diagnose, render

    print(render(diagnose()))
