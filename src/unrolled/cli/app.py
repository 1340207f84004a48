"""The tree of commands; each command is defined in the file of its name and registers itself."""

from __future__ import annotations

from cyclopts import App, Parameter


def _version() -> str:
    from unrolled.system import package_version

    return package_version() or "not installed"


def _default_shown(value: object) -> str | None:
    """The default value that the help shows; nothing for a flag, None and an empty value."""
    return None if value is None or value is False or value in ("", ()) else str(value)


app = App(
    name="unrolled",
    help="Train, inspect and run recurrent sequence models for text.",
    version=_version,
    default_parameter=Parameter(negative=(), show_default=_default_shown),
)
sample = App(name="sample", help="Generate a synthetic data set.")
app.command(sample)
vectors = App(
    name="vectors",
    help="Train, query, evaluate, plot and convert word vectors.",
)
app.command(vectors)


@app.command
def version() -> None:
    """Print the version of Unrolled."""
    print(_version())
