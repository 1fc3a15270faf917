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

_FULL = ("No space left on device", "Disk quota exceeded")
"""What the system says, and every library that writes says after it."""
_ROOM = (
    "Make room where the output goes and for temporary files (TMPDIR), then give the same command: what was finished "
    "is whole, and nothing else counts."
)


def main() -> None:
    """Run the command line; print an error that the user can mend as one message."""
    try:
        app()
    except ValuecastError as error:
        message = str(error)
    except Exception as error:
        place = error.filename if isinstance(error, OSError) else None
        if any(sign in str(error) for sign in _FULL):
            message = f"{place or 'a disk'}: no space left. {_ROOM}"
        elif place is not None:
            message = f"{place}: {error.strerror}. Check the path, and who may write there."  # type: ignore[attr-defined]
        else:  # not about a path: ours
            raise
    else:
        return
    typer.echo(f"valuecast: {message}", err=True)
    sys.exit(2)
