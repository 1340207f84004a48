"""`unrolled doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command
def doctor() -> None:
    """Show the hardware, the implementation used for each recurrent cell, and whether it is correct."""
    from unrolled.doctor import diagnose, render

    print(render(diagnose()))
