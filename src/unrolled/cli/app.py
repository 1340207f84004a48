"""The command line's tree of commands; each command is in the file of its name, and adds itself."""

from __future__ import annotations

from cyclopts import App, Parameter


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("unrolled")
    except PackageNotFoundError:
        return "not installed"


app = App(
    name="unrolled",
    help="Recurrent sequence models for text that you train, look inside and ship.",
    version=_version,
    default_parameter=Parameter(negative=()),
)
sample = App(name="sample", help="Write a data set that the toolkit generates itself.")
app.command(sample)
vectors = App(
    name="vectors",
    help="Word vectors from your own text: train them, query them, evaluate them, plot them.",
)
app.command(vectors)


@app.command
def version() -> None:
    """Print the version."""
    print(_version())
