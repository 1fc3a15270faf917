"""``valuecast COMMAND``. Exit code 0: done; 2: bad input, one message; 1: a fault of ours."""

from __future__ import annotations

import sys

import typer

# a command exists once its module is imported; --help lists them in this order
from valuecast.cli import logs  # noqa: F401

# isort: split
from valuecast.cli import check, models, networks  # noqa: F401

# isort: split
from valuecast.cli import search  # noqa: F401

# isort: split
from valuecast.cli import label  # noqa: F401

# isort: split
from valuecast.cli import recipes  # noqa: F401
from valuecast.cli.app import app
from valuecast.errors import ValuecastError


def main() -> None:
    """Run the command line; print an error that the user can mend as one message."""
    try:
        app()
    except ValuecastError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None:  # not about a path: ours
            raise
        message = f"{error.filename}: {error.strerror}. Check the path, who may write there, and the space left."
    else:
        return
    typer.echo(f"valuecast: {message}", err=True)
    sys.exit(2)
